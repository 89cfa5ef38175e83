/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How kernels are launched: on the context's stream, with programmatic stream
 * serialization when it is on. Every kernel therefore calls pdl_wait().
 */
#ifndef KERNELS_CUDA_LAUNCH_CUH
#define KERNELS_CUDA_LAUNCH_CUH

#include "kernels/cuda/kernels.h"

#include <cuda_runtime.h>

template <typename... Params, typename... Args>
static cudaError_t
launch(const struct cuda_ctx *ctx, void (*kernel)(Params...), dim3 grid, dim3 block,
       size_t smem_bytes, Args... args)
{
    if (grid.x == 0 || grid.y == 0 || grid.z == 0)
        return cudaSuccess;   /* no rows: nothing to do */
    cudaLaunchAttribute attribute = {};
    attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attribute.val.programmaticStreamSerializationAllowed = 1;
    cudaLaunchConfig_t config = {};
    config.gridDim = grid;
    config.blockDim = block;
    config.dynamicSmemBytes = smem_bytes;
    config.stream = ctx->stream;
    config.attrs = &attribute;
    config.numAttrs = ctx->pdl ? 1 : 0;
    return cudaLaunchKernelEx(&config, kernel, static_cast<Params>(args)...);
}

/* More than 48 KB of shared memory has to be asked for, once. */
template <typename... Params>
static cudaError_t
allow_smem(void (*kernel)(Params...), size_t bytes)
{
    return cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes);
}

#endif
