/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The limits of this machine's processors: how fast they read memory, and how
 * fast they multiply and add, in f32.
 */
#ifndef BENCH_MACHINE_H
#define BENCH_MACHINE_H

#include "engine/roofline.h"

#define MACHINE_THREADS_MAX 64
/* More than any last-level cache of the machines we know: 256 MiB. */
#define MACHINE_SWEEP_BYTES ((size_t)256 << 20)

/* MACHINE_SWEEP_BYTES of memory that has been written, or NULL. free() it. */
char *machine_memory(void);

/* Seconds of one run: all of `data` is read, by each thread in `streams` places
 * at once (1, 2, 4 or 8). */
double machine_read_s(const char *data, int threads, int streams);
/* Seconds of one run of machine_fma_flops(threads) operations. */
double machine_fma_s(int threads);
double machine_fma_flops(int threads);

/* The best of a few runs of each kind, which take some seconds. threads 0: as
 * many as cores; at most MACHINE_THREADS_MAX. Zeros: out of memory. */
struct roofline_limits machine_measure(int threads);

#endif
