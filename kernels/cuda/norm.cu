/* SPDX-License-Identifier: Apache-2.0 */
/*
 * RMSNorm, alone or behind the addition of the residual. One block a row, which
 * is read once and stays in registers: a thread holds 1, 2 or 4 vectors of 8
 * elements, by the row's length alone. The sum of squares is a butterfly in each
 * warp and then one chain over the warps, so its order depends on the length
 * alone as well. Shared memory: one float a warp.
 *
 * The weights are the model's, so they are loaded before the wait for the kernel
 * ahead: at small steps their way from memory is hidden behind that kernel.
 *
 * Bytes in flight per SM: with 64 registers 1024 threads are resident; two
 * vectors of x and two of the residual each are 64 KB (of x alone 32 KB, with 64
 * KB of weights beside them that come from L1 from the second row of an SM on).
 */
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/ptx.cuh"

#define NORM_MAX_THREADS 512
#define NORM_MAX_WARPS (NORM_MAX_THREADS / 32)

/* Eight elements, widened. */
struct octet {
    float e[8];
};

__device__ __forceinline__ struct octet
octet_widen(uint4 v)
{
    return {bf16_low(v.x), bf16_high(v.x), bf16_low(v.y), bf16_high(v.y),
            bf16_low(v.z), bf16_high(v.z), bf16_low(v.w), bf16_high(v.w)};
}

__device__ __forceinline__ uint4
octet_round(const struct octet &x)
{
    return make_uint4(bf16_pair(x.e[0], x.e[1]), bf16_pair(x.e[2], x.e[3]),
                      bf16_pair(x.e[4], x.e[5]), bf16_pair(x.e[6], x.e[7]));
}

__device__ __forceinline__ struct octet
octet_load(const float4 *p)
{
    float4 a = p[0], b = p[1];
    return {a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w};
}

__device__ __forceinline__ struct octet
octet_add(struct octet a, const struct octet &b)
{
#pragma unroll
    for (int i = 0; i < 8; i++)
        a.e[i] += b.e[i];
    return a;
}

/* The sum over the block, the same bits in every thread. */
__device__ __forceinline__ float
block_sum(float x)
{
    __shared__ float partial[NORM_MAX_WARPS];
    x = warp_sum(x);
    if (threadIdx.x % 32 == 0)
        partial[threadIdx.x / 32] = x;
    __syncthreads();
    float sum = 0;
    for (int warp = 0; warp < (int)blockDim.x / 32; warp++)
        sum += partial[warp];
    return sum;
}

/* add: residual += x, rounded, is what is normed; else x is. */
template <int vectors, bool add>
__global__ void __launch_bounds__(NORM_MAX_THREADS, vectors == 4 ? 1 : 2)
norm_kernel(uint4 *out, uint4 *residual, const uint4 *x, const float4 *w, int num_vectors,
            float inverse_size, float eps, float offset)
{
    int64_t row = (int64_t)blockIdx.x * num_vectors;
    struct octet weight[vectors], value[vectors];
#pragma unroll
    for (int i = 0; i < vectors; i++) {
        int at = i * blockDim.x + threadIdx.x;
        weight[i] = at < num_vectors ? octet_load(w + 2 * at) : octet{};
    }
    pdl_launch_dependents();
    pdl_wait();
    uint4 raw[vectors], raw_residual[vectors];
#pragma unroll
    for (int i = 0; i < vectors; i++) {
        int at = i * blockDim.x + threadIdx.x;
        raw[i] = at < num_vectors ? x[row + at] : uint4{};
        raw_residual[i] = add && at < num_vectors ? residual[row + at] : uint4{};
    }
    float squares = 0;
#pragma unroll
    for (int i = 0; i < vectors; i++) {
        int at = i * blockDim.x + threadIdx.x;
        if (add) {
            raw[i] = octet_round(octet_add(octet_widen(raw_residual[i]), octet_widen(raw[i])));
            if (at < num_vectors)
                residual[row + at] = raw[i];
        }
        value[i] = octet_widen(raw[i]);
#pragma unroll
        for (int j = 0; j < 8; j++)
            squares += value[i].e[j] * value[i].e[j];
    }
    float scale = rsqrtf(block_sum(squares) * inverse_size + eps);
#pragma unroll
    for (int i = 0; i < vectors; i++) {
        int at = i * blockDim.x + threadIdx.x;
#pragma unroll
        for (int j = 0; j < 8; j++)
            value[i].e[j] *= scale * (weight[i].e[j] + offset);
        if (at < num_vectors)
            out[row + at] = octet_round(value[i]);
    }
}

template <bool add>
static cudaError_t
launch_norm(const struct cuda_ctx *ctx, bf16_bits *out, bf16_bits *residual, const bf16_bits *x,
            const float *w, int rows, int hidden_size, float eps, float offset)
{
    int num_vectors = hidden_size / 8;
    int vectors = num_vectors <= NORM_MAX_THREADS / 2   ? 1
                  : num_vectors <= NORM_MAX_THREADS * 2 ? 2
                                                        : 4;
    int threads = ((num_vectors + vectors - 1) / vectors + 31) / 32 * 32;
    auto kernel = vectors == 1   ? norm_kernel<1, add>
                  : vectors == 2 ? norm_kernel<2, add>
                                 : norm_kernel<4, add>;
    return launch(ctx, kernel, rows, threads, 0, (uint4 *)out, (uint4 *)residual,
                  (const uint4 *)x, (const float4 *)w, num_vectors, 1.0f / hidden_size, eps,
                  offset);
}

cudaError_t
cuda_rmsnorm(const struct cuda_ctx *ctx, bf16_bits *out, const bf16_bits *x, const float *w,
             int rows, int hidden_size, float eps, float offset)
{
    return launch_norm<false>(ctx, out, nullptr, x, w, rows, hidden_size, eps, offset);
}

cudaError_t
cuda_add_rmsnorm(const struct cuda_ctx *ctx, bf16_bits *out, bf16_bits *residual,
                 const bf16_bits *x, const float *w, int rows, int hidden_size, float eps,
                 float offset)
{
    return launch_norm<true>(ctx, out, residual, x, w, rows, hidden_size, eps, offset);
}
