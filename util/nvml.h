/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What NVIDIA's management library says of one GPU. The library comes with the
 * driver and is loaded at run time: without it there is no figure, and no error.
 * One thread at a time.
 */
#ifndef UTIL_NVML_H
#define UTIL_NVML_H

#include "util/base.h"

struct nvml;

/* Each NAN if it is not known. */
struct nvml_reading {
    double memory_used_bytes, memory_total_bytes; /* as nvidia-smi shows them */
    double utilization; /* [0, 1]: the share of the driver's last period (1/6 s to 1 s) in
                         * which at least one kernel ran; not occupancy */
    double power_w;
    double energy_j;    /* since the driver was loaded */
};

/* NULL: no library, no driver or no such GPU. `library` NULL: the driver's. */
struct nvml *nvml_open(const char *library, unsigned gpu_index);
void nvml_close(struct nvml *n);
void nvml_read(struct nvml *n, struct nvml_reading *ret);

#endif
