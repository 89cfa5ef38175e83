/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What GET /metrics says of the machine (llmd_host_*, llmd_gpu_*) and of this
 * process (process_*, as Prometheus's client libraries name it). loadgen on
 * another machine reads these names: loadgen/prometheus.c.
 *
 * Loop thread. /proc is read when a page is written; the GPU is read once a second
 * by a thread that the first page starts, for a call into the driver may take as
 * long as it likes (the first one wakes an idle GPU: seconds), and streams do not
 * wait for it.
 */
#ifndef SERVER_METRICS_HOST_H
#define SERVER_METRICS_HOST_H

#include "util/buf.h"

struct metrics_host;

struct metrics_host_args {
    const char *proc_root;    /* NULL: "/proc" */
    const char *nvml_library; /* NULL: the driver's */
};

/* NULL: out of memory. `args` is copied, what it points at borrowed. */
struct metrics_host *metrics_host_new(const struct metrics_host_args *args);
/* Waits for the thread. NULL is allowed. */
void metrics_host_free(struct metrics_host *h);
/* Families of the machine; what is not known is left out. */
void metrics_host_write(struct metrics_host *h, struct buf *ret);
/* Families of the process, which began at `started_s` of unix time. */
void metrics_host_write_process(int64_t started_s, struct buf *ret);

#endif
