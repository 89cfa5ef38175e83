/* SPDX-License-Identifier: Apache-2.0 */
/* What loadgen can be asked for, each from options to what is printed. */
#ifndef LOADGEN_ACTIONS_H
#define LOADGEN_ACTIONS_H

#include "loadgen/config.h"

/*
 * `c` is settled; its rate is changed by --sweep and --find-rate. *ret_good:
 * whether the exit status is 0. ERR_CANCELLED: Ctrl-C; what was measured has
 * been printed.
 */
typedef int action_fn(struct config *c, bool *ret_good, struct error *err);

action_fn action_print_schedule, action_run, action_runs, action_sweep, action_find_rate,
    action_compare, action_reference, action_self_test;

#endif
