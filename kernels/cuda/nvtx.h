/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Named ranges of the worker thread for profilers (configure --enable-nvtx); nothing
 * otherwise. They nest: a step, its layers, their ops; then the wait for a step. What
 * is recorded shows its ops while it is recorded, and when replayed the step alone.
 */
#ifndef KERNELS_CUDA_NVTX_H
#define KERNELS_CUDA_NVTX_H

#ifdef LLMD_NVTX
#include <nvtx3/nvToolsExt.h>
#define NVTX_BEGIN(name) nvtxRangePushA(name)
#define NVTX_END() nvtxRangePop()
#else
#define NVTX_BEGIN(name) ((void)0)
#define NVTX_END() ((void)0)
#endif

#endif
