/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the datasheets say of the GPUs that llmd is written for: the ground of
 * `llmd plan` on a machine that has none. A const table.
 */
#ifndef ENGINE_GPU_SPECS_H
#define ENGINE_GPU_SPECS_H

#include "engine/roofline.h"

#define NUM_GPU_SPECS 3

struct gpu_spec {
    const char *name;              /* "h100-pcie", as options write it */
    const char *title;             /* "H100 PCIe 80 GB" */
    size_t memory_total;           /* bytes that CUDA reports, a little below the nominal ones */
    struct roofline_limits limits; /* memory bandwidth; dense bf16 tensor cores */
};

extern const struct gpu_spec gpu_specs[NUM_GPU_SPECS];

#endif
