/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads memory and does nothing with it but a sum that keeps the compiler honest:
 * the bandwidth that a kernel which only reads can have. Each thread has four loads
 * of 16 bytes under way; four blocks of 512 threads a multiprocessor make 128 KB.
 */
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/ptx.cuh"

#include <stdint.h>

namespace {

constexpr int THREADS = 512;
constexpr int BLOCKS_PER_SM = 4;
constexpr int LOADS = 4;

__global__ void
__launch_bounds__(THREADS, BLOCKS_PER_SM)
read_kernel(const uint4 *data, size_t n, uint32_t *sums)
{
    pdl_wait();
    uint32_t sum = 0;
    size_t stride = (size_t)gridDim.x * THREADS;
    size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x;
    for (; i + (LOADS - 1) * stride < n; i += LOADS * stride) {
        uint4 v[LOADS];
#pragma unroll
        for (int k = 0; k < LOADS; k++)
            v[k] = data[i + k * stride];
#pragma unroll
        for (int k = 0; k < LOADS; k++)
            sum ^= v[k].x ^ v[k].y ^ v[k].z ^ v[k].w;
    }
    for (; i < n; i += stride)
        sum ^= data[i].x ^ data[i].y ^ data[i].z ^ data[i].w;
    /* the sum of random words is hardly ever this one */
    if (sum == 0x5bd1e995u)
        sums[blockIdx.x] = sum;
}

} // namespace

extern "C" cudaError_t
bench_read(const struct cuda_ctx *ctx, const void *data, size_t bytes, void *sums)
{
    return launch(ctx, read_kernel, dim3(ctx->num_sms * BLOCKS_PER_SM), dim3(THREADS), 0,
                  static_cast<const uint4 *>(data), bytes / sizeof(uint4),
                  static_cast<uint32_t *>(sums));
}
