/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What /proc says of the machine and of one process. `root` is "/proc", or a
 * copy of it for tests. Any thread; no state.
 */
#ifndef UTIL_PROCFS_H
#define UTIL_PROCFS_H

#include "util/base.h"

#include <sys/types.h>

/* Each NAN if it is not known. */
struct procfs_host {
    double cpu_busy_s, cpu_total_s; /* of all processors since boot; busy: neither idle nor
                                     * waiting for a disk */
    double memory_total_bytes, memory_available_bytes;
};

struct procfs_process {
    double cpu_s;     /* user and system, of all threads and of ended children */
    double rss_bytes;
};

void procfs_read_host(const char *root, struct procfs_host *ret);
void procfs_read_process(const char *root, pid_t pid, struct procfs_process *ret);
/* The process that listens on a TCP port, 0 if it cannot be seen. */
pid_t procfs_find_listener(const char *root, unsigned port);

#endif
