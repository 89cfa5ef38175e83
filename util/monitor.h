/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Watches this machine while something is measured: a thread of its own reads
 * /proc and NVML ten times a second.
 */
#ifndef UTIL_MONITOR_H
#define UTIL_MONITOR_H

#include "util/base.h"
#include "util/error.h"

#include <sys/types.h>

enum monitor_value {
    MONITOR_CPU_PERCENT,        /* of all processors together */
    MONITOR_RAM_PERCENT,        /* not available */
    MONITOR_GPU_MEMORY_PERCENT, /* used */
    MONITOR_GPU_UTIL_PERCENT,   /* of the time, at least one kernel ran */
    MONITOR_GPU_POWER_W,
    MONITOR_PROCESS_CPU_PERCENT, /* of one processor */
    MONITOR_PROCESS_RSS_BYTES,
    NUM_MONITOR_VALUES,
};

struct monitor_sample {
    uint64_t time_ns; /* CLOCK_MONOTONIC */
    double values[NUM_MONITOR_VALUES]; /* NAN: not known */
    double energy_j;  /* a counter; NAN: not known */
};

/* Samples in the order of time. */
struct monitor_series {
    struct monitor_sample *samples; /* owned */
    size_t len, cap;
};

/* Room for one more, or NULL when memory is out: then the series ends. */
struct monitor_sample *monitor_series_add(struct monitor_series *s);
void monitor_series_release(struct monitor_series *s);
/* 100 * part / whole, NAN unless whole > 0. */
double monitor_percent(double part, double whole);

struct monitor_args {
    pid_t pid; /* the process that is watched too; 0: none */
    unsigned gpu_index;
    const char *proc_root;    /* NULL: "/proc" */
    const char *nvml_library; /* NULL: the driver's */
};

struct monitor;

int monitor_start(const struct monitor_args *args, struct monitor **ret, struct error *err);
/* Takes a last sample and ends the thread; the samples, borrowed. */
const struct monitor_series *monitor_stop(struct monitor *m);
/* NULL is allowed; stops it first. */
void monitor_free(struct monitor *m);

#endif
