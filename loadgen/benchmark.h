/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A benchmark, from options to a printed and saved result: prepared once, run
 * as often as wanted. One thread.
 */
#ifndef LOADGEN_BENCHMARK_H
#define LOADGEN_BENCHMARK_H

#include "loadgen/client.h"
#include "loadgen/config.h"
#include "loadgen/metrics.h"

struct benchmark;

/* Finds the model, makes the prompts, and checks that the server is ready.
 * `config` is borrowed, and its rate may change between runs. */
int benchmark_new(const struct config *config, struct benchmark **ret, struct error *err);
void benchmark_free(struct benchmark *b);

/* The send times of a run, without a server. */
int benchmark_schedule(const struct config *config, struct schedule *ret, struct error *err);

/*
 * One run: sends, waits, prints, saves. *ret_metrics is the caller's to
 * release; `ret_json` gets the result without the values of each request, and
 * may be NULL. ERR_CANCELLED: Ctrl-C, after what was measured until then has been
 * printed and saved.
 */
int benchmark_run(struct benchmark *b, struct metrics *ret_metrics, struct buf *ret_json,
                  struct error *err);

#endif
