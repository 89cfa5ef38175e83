/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ops that touch each number once: embedding and row gather, the gated
 * activation, the soft cap of logits. A thread moves 16-byte vectors that lie
 * side by side in a warp, all of them loaded before the first is used; no shared
 * memory. A row is cut into blocks of threads, so that one row of a decode step
 * spreads over several SMs.
 *
 * Bytes in flight per SM with 2048 resident threads (at most 32 registers):
 * 2 vectors of 16 bytes a thread are 64 KB, more than the 40 KB that 4.8 TB/s
 * ask for. Blocks are small where steps are (a row of a table), and hold 12 KB of
 * traffic where a prefill makes a million of them (the activation), so that
 * handing them out is not what bounds.
 */
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/ptx.cuh"

#include <math.h>

#define COPY_THREADS 64
#define COPY_VECTORS 2      /* of a thread */
#define ACT_THREADS 256     /* a vector of gate and one of up each */
#define SOFTCAP_THREADS 256
#define SOFTCAP_VECTORS 2

/* The source row of an output row: a token's, where ids below zero stand for
 * tokens that the step before drew; or one of a list. */
struct token_rows {
    const int32_t *token_ids, *last_tokens;

    __device__ int32_t operator[](int row) const
    {
        int32_t id = token_ids[row];
        return id >= 0 ? id : last_tokens[-1 - id];
    }
};

struct listed_rows {
    const int32_t *row_ids;

    __device__ int32_t operator[](int row) const { return row_ids[row]; }
};

__device__ __forceinline__ uint32_t
scale_pair(uint32_t pair, float scale)
{
    return bf16_pair(bf16_low(pair) * scale, bf16_high(pair) * scale);
}

template <bool scaled, typename Source>
__global__ void __launch_bounds__(COPY_THREADS)
copy_rows_kernel(uint4 *out, const uint4 *table, Source source, int num_vectors,
                 int blocks_per_row, float scale)
{
    int row = blockIdx.x / blocks_per_row;
    int first = blockIdx.x % blocks_per_row * (COPY_THREADS * COPY_VECTORS) + threadIdx.x;
    pdl_launch_dependents();
    pdl_wait();
    const uint4 *from = table + (int64_t)source[row] * num_vectors;
    uint4 v[COPY_VECTORS];
#pragma unroll
    for (int i = 0; i < COPY_VECTORS; i++) {
        if (first + i * COPY_THREADS < num_vectors)
            v[i] = from[first + i * COPY_THREADS];
    }
    uint4 *to = out + (int64_t)row * num_vectors;
#pragma unroll
    for (int i = 0; i < COPY_VECTORS; i++) {
        if (scaled)
            v[i] = make_uint4(scale_pair(v[i].x, scale), scale_pair(v[i].y, scale),
                              scale_pair(v[i].z, scale), scale_pair(v[i].w, scale));
        if (first + i * COPY_THREADS < num_vectors)
            to[first + i * COPY_THREADS] = v[i];
    }
}

template <bool scaled, typename Source>
static cudaError_t
copy_rows(const struct cuda_ctx *ctx, bf16_bits *out, const bf16_bits *table, Source source,
          int rows, int hidden_size, float scale)
{
    int num_vectors = hidden_size / 8, per_block = COPY_THREADS * COPY_VECTORS;
    int blocks_per_row = (num_vectors + per_block - 1) / per_block;
    return launch(ctx, copy_rows_kernel<scaled, Source>, rows * blocks_per_row, COPY_THREADS, 0,
                  (uint4 *)out, (const uint4 *)table, source, num_vectors, blocks_per_row, scale);
}

cudaError_t
cuda_embed(const struct cuda_ctx *ctx, bf16_bits *out, const bf16_bits *table,
           const struct step_ints *ints, int rows, int hidden_size, float scale)
{
    struct token_rows source = {ints->token_ids, ints->last_tokens};
    if (scale == 1)
        return copy_rows<false>(ctx, out, table, source, rows, hidden_size, 1);
    return copy_rows<true>(ctx, out, table, source, rows, hidden_size,
                           __bfloat162float(__float2bfloat16_rn(scale)));
}

cudaError_t
cuda_gather_rows(const struct cuda_ctx *ctx, bf16_bits *out, const bf16_bits *x,
                 const int32_t *row_ids, int num_rows, int hidden_size)
{
    struct listed_rows source = {row_ids};
    return copy_rows<false>(ctx, out, x, source, num_rows, hidden_size, 1);
}

/*
 * Both activations are x * sigmoid(t): silu with t = x; gelu's tanh form with
 * t = 2 sqrt(2/pi) (x + 0.044715 x^3), since (1 + tanh(u)) / 2 = sigmoid(2u).
 * Relative error below 2e-5 everywhere, below 1e-6 for |t| < 4: no cancellation.
 */
template <bool gelu_tanh>
__device__ __forceinline__ float
activate(float x)
{
    const float log2_e = 1.442695041f, two_root = 1.595769122f;
    float t = gelu_tanh ? two_root * x * (1 + 0.044715f * x * x) : x;
    return __fdividef(x, 1 + exp2_fast(-log2_e * t));
}

template <bool gelu_tanh>
__device__ __forceinline__ uint32_t
act_mul_pair(uint32_t gate, uint32_t up)
{
    return bf16_pair(activate<gelu_tanh>(bf16_low(gate)) * bf16_low(up),
                     activate<gelu_tanh>(bf16_high(gate)) * bf16_high(up));
}

template <bool gelu_tanh>
__global__ void __launch_bounds__(ACT_THREADS)
act_mul_kernel(uint4 *out, const uint4 *gate_up, int num_vectors, int blocks_per_row)
{
    int64_t row = blockIdx.x / blocks_per_row;
    int i = blockIdx.x % blocks_per_row * ACT_THREADS + threadIdx.x;
    pdl_launch_dependents();
    pdl_wait();
    if (i >= num_vectors)
        return;
    const uint4 *from = gate_up + row * 2 * num_vectors + i;
    uint4 gate = from[0], up = from[num_vectors];
    out[row * num_vectors + i] =
        make_uint4(act_mul_pair<gelu_tanh>(gate.x, up.x), act_mul_pair<gelu_tanh>(gate.y, up.y),
                   act_mul_pair<gelu_tanh>(gate.z, up.z), act_mul_pair<gelu_tanh>(gate.w, up.w));
}

cudaError_t
cuda_act_mul(const struct cuda_ctx *ctx, bf16_bits *out, const bf16_bits *gate_up, int rows,
             int64_t intermediate_size, int gelu_tanh)
{
    int num_vectors = (int)(intermediate_size / 8);
    int blocks_per_row = (num_vectors + ACT_THREADS - 1) / ACT_THREADS;
    return launch(ctx, gelu_tanh ? act_mul_kernel<true> : act_mul_kernel<false>,
                  rows * blocks_per_row, ACT_THREADS, 0, (uint4 *)out, (const uint4 *)gate_up,
                  num_vectors, blocks_per_row);
}

/* tanhf is short enough: a polynomial near zero, else 1 - 2 / (exp(2x) + 1). */
__device__ __forceinline__ float
softcap(float x, float cap, float inverse)
{
    return cap * tanhf(x * inverse);
}

__global__ void __launch_bounds__(SOFTCAP_THREADS)
softcap_kernel(float *logits, int64_t n, float cap, float inverse)
{
    int64_t num_vectors = n / 4;
    int64_t first =
        (int64_t)blockIdx.x * (SOFTCAP_THREADS * SOFTCAP_VECTORS) + threadIdx.x;
    float4 *vectors = (float4 *)logits, v[SOFTCAP_VECTORS];
    pdl_launch_dependents();
    pdl_wait();
#pragma unroll
    for (int i = 0; i < SOFTCAP_VECTORS; i++) {
        if (first + i * SOFTCAP_THREADS < num_vectors)
            v[i] = vectors[first + i * SOFTCAP_THREADS];
    }
#pragma unroll
    for (int i = 0; i < SOFTCAP_VECTORS; i++) {
        if (first + i * SOFTCAP_THREADS < num_vectors)
            vectors[first + i * SOFTCAP_THREADS] =
                make_float4(softcap(v[i].x, cap, inverse), softcap(v[i].y, cap, inverse),
                            softcap(v[i].z, cap, inverse), softcap(v[i].w, cap, inverse));
    }
    if (first < n % 4) {   /* what is left behind the last vector */
        float *last = logits + num_vectors * 4 + first;
        *last = softcap(*last, cap, inverse);
    }
}

cudaError_t
cuda_softcap(const struct cuda_ctx *ctx, float *logits, int64_t n, float cap)
{
    int64_t per_block = SOFTCAP_THREADS * SOFTCAP_VECTORS * 4;
    return launch(ctx, softcap_kernel, (unsigned)((n + per_block - 1) / per_block),
                  SOFTCAP_THREADS, 0, logits, n, cap, 1 / cap);
}
