/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NVIDIA's datasheets "H100 Tensor Core GPU" and "H200 Tensor Core GPU"; the
 * figures there are with sparsity, those here are the halves, without.
 */
#include "engine/gpu_specs.h"

#define GIB(x) ((size_t)((x)*1073741824.0))

const struct gpu_spec gpu_specs[NUM_GPU_SPECS] = {
    {"h100-pcie", "H100 PCIe 80 GB", GIB(79.1), {2.0e12, 756e12}},
    {"h100-sxm", "H100 SXM 80 GB", GIB(79.1), {3.35e12, 989e12}},
    {"h200", "H200 141 GB", GIB(139.8), {4.8e12, 989e12}},
};
