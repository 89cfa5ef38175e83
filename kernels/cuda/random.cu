/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Weights that no file has (--load-format dummy), made where they are used. A
 * thread makes 8 elements of two counters and writes them as one or two vectors;
 * bound by the integer multiplications of the mix and by writes. No shared memory.
 */
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/ptx.cuh"

#define RANDOM_THREADS 256

/* rng_mix64 of util/rng.h */
__device__ __forceinline__ uint64_t
mix64(uint64_t x)
{
    x += 0x9E3779B97F4A7C15u;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    return x ^ (x >> 31);
}

/* Everything before the product with scale is exact. */
__device__ __forceinline__ float
uniform(uint64_t bits, float scale)
{
    return (((float)(uint32_t)(bits & 0xffff) + 0.5f) * 0x1p-15f - 1) * scale;
}

__device__ __forceinline__ void
store_eight(bf16_bits *dst, const float (&e)[8])
{
    *(uint4 *)dst = make_uint4(bf16_pair(e[0], e[1]), bf16_pair(e[2], e[3]),
                               bf16_pair(e[4], e[5]), bf16_pair(e[6], e[7]));
}

__device__ __forceinline__ void
store_eight(float *dst, const float (&e)[8])
{
    ((float4 *)dst)[0] = make_float4(e[0], e[1], e[2], e[3]);
    ((float4 *)dst)[1] = make_float4(e[4], e[5], e[6], e[7]);
}

__device__ __forceinline__ void
store_one(bf16_bits *dst, float e)
{
    *dst = (bf16_bits)bf16_pair(e, 0);
}

__device__ __forceinline__ void
store_one(float *dst, float e)
{
    *dst = e;
}

template <typename Element>
__global__ void __launch_bounds__(RANDOM_THREADS)
random_kernel(Element *dst, int64_t n, float scale, uint64_t seed)
{
    int64_t first = ((int64_t)blockIdx.x * RANDOM_THREADS + threadIdx.x) * 8;
    uint64_t counter = seed + (uint64_t)first / 4;
    uint64_t words[2] = {mix64(counter), mix64(counter + 1)};
    float e[8];
#pragma unroll
    for (int i = 0; i < 8; i++)
        e[i] = uniform(words[i / 4] >> (i % 4 * 16), scale);
    pdl_launch_dependents();
    pdl_wait();
    if (first + 8 <= n) {
        store_eight(dst + first, e);
        return;
    }
#pragma unroll
    for (int i = 0; i < 8; i++) {
        if (first + i < n)
            store_one(dst + first + i, e[i]);
    }
}

cudaError_t
cuda_random(const struct cuda_ctx *ctx, void *dst, int64_t n, float scale, uint64_t seed, int f32)
{
    unsigned blocks = (unsigned)((n + RANDOM_THREADS * 8 - 1) / (RANDOM_THREADS * 8));
    if (f32)
        return launch(ctx, random_kernel<float>, blocks, RANDOM_THREADS, 0, (float *)dst, n,
                      scale, seed);
    return launch(ctx, random_kernel<bf16_bits>, blocks, RANDOM_THREADS, 0, (bf16_bits *)dst, n,
                  scale, seed);
}
