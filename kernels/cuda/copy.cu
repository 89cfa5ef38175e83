/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copies blocks of the KV cache. A block of the cache is, in each layer, one run
 * of keys and one of values; grid: x pieces of a run, y runs, z pairs. A thread
 * has four vectors of 16 bytes under way, 2048 threads an SM: 128 KB. No shared
 * memory. The pairs run beside each other, so no block may be the target of one
 * and part of another.
 */
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/ptx.cuh"

#define COPY_THREADS 128
#define COPY_VECTORS 4

__global__ void __launch_bounds__(COPY_THREADS)
copy_blocks_kernel(uint4 *cache, const int2 *pairs, int64_t num_blocks, int num_vectors)
{
    int first = blockIdx.x * (COPY_THREADS * COPY_VECTORS) + threadIdx.x;
    pdl_launch_dependents();
    pdl_wait();
    int2 pair = pairs[blockIdx.z];
    uint4 *run = cache + blockIdx.y * num_blocks * num_vectors;
    const uint4 *from = run + (int64_t)pair.x * num_vectors;
    uint4 *to = run + (int64_t)pair.y * num_vectors, v[COPY_VECTORS];
#pragma unroll
    for (int i = 0; i < COPY_VECTORS; i++) {
        if (first + i * COPY_THREADS < num_vectors)
            v[i] = from[first + i * COPY_THREADS];
    }
#pragma unroll
    for (int i = 0; i < COPY_VECTORS; i++) {
        if (first + i * COPY_THREADS < num_vectors)
            to[first + i * COPY_THREADS] = v[i];
    }
}

cudaError_t
cuda_copy_blocks(const struct cuda_ctx *ctx, bf16_bits *cache, const int32_t *pairs,
                 int num_pairs, int num_layers, int64_t num_blocks, int64_t block_elements)
{
    int num_vectors = (int)(block_elements / 8), per_block = COPY_THREADS * COPY_VECTORS;
    dim3 grid((num_vectors + per_block - 1) / per_block, 2 * num_layers, num_pairs);
    return launch(ctx, copy_blocks_kernel, grid, COPY_THREADS, 0, (uint4 *)cache,
                  (const int2 *)pairs, num_blocks, num_vectors);
}
