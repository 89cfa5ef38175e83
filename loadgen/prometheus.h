/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a page of /metrics says of the machine behind it: names of llmd, of
 * Prometheus's client libraries, of node_exporter and of NVIDIA's DCGM exporter.
 * Any thread; no state.
 */
#ifndef LOADGEN_PROMETHEUS_H
#define LOADGEN_PROMETHEUS_H

#include "util/base.h"

/* Each NAN if no page had it. Counters where the name says `total_s`. */
struct machine_reading {
    double cpu_busy_total_s, cpu_total_s; /* of all processors */
    double memory_total_bytes, memory_available_bytes;
    double process_cpu_total_s, process_rss_bytes;
    double gpu_memory_used, gpu_memory_total; /* of the same unit */
    double gpu_utilization;                   /* [0, 1] */
    double gpu_power_w, gpu_energy_total_j;
};

void machine_reading_init(struct machine_reading *r);
/* Adds what a page has; what is no sample line is passed over. */
void machine_reading_add(struct machine_reading *r, const char *page, size_t len);

#endif
