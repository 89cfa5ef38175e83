/* SPDX-License-Identifier: Apache-2.0 */
/* What llmd-bench can be asked for, each from options to what is printed. */
#ifndef BENCH_COMMANDS_H
#define BENCH_COMMANDS_H

#include "bench/offline.h"

/* ERR_CANCELLED: Ctrl-C; what was measured has been printed. */
typedef int command_fn(const struct bench_config *c, struct offline *o, struct error *err);

command_fn command_throughput, command_latency;

#endif
