/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The compute threads of the CPU backend: one parallel-for at a time, with a
 * barrier at its end. Tasks are handed out one by one, so a thread that the
 * system delays holds up only the task it is in, never the rest.
 *
 * Idle threads look for work for a few microseconds, then sleep in the kernel.
 * No allocation and no lock per call.
 */
#ifndef KERNELS_CPU_POOL_H
#define KERNELS_CPU_POOL_H

#include "util/base.h"
#include "util/error.h"

struct pool;

/* One task. `thread` is in [0, num_threads) and unique among running tasks. */
typedef void pool_fn(void *arg, int task, int thread);

/* Starts num_threads - 1 threads, named "llmd-cpu-1"...; the caller of
 * pool_run is thread 0. */
int pool_new(int num_threads, struct pool **ret_pool, struct error *err);
void pool_free(struct pool *pool);

int pool_num_threads(const struct pool *pool);

/* Runs fn(arg, 0..num_tasks-1) and returns when all are done. From one thread
 * at a time; not from within a task. */
void pool_run(struct pool *pool, int num_tasks, pool_fn *fn, void *arg);

#endif
