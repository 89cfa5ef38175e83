/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the module's matrix products have in common: how a slice of 64 k is laid
 * out over a warp, and how an element is rounded and stored.
 *
 * Rows of w are the A operand of mma m16n8k16, tokens the B operand. Within a
 * slice the order of k is free as long as both operands agree: lane (g, t) =
 * (lane / 4, lane % 4) takes k = 8t.. and 32 + 8t.., 16 bytes each, of rows g and
 * g + 8 (w) or of token g (x). A LINE is the 512 bytes that a warp so loads at
 * once for 8 rows: its lanes' 16 bytes lie in a row in shared memory and are 8
 * pieces of 64 bytes in global memory. No access has a bank conflict, and none
 * needs another's lane bytes or ldmatrix.
 *
 * The sum of an element, in all kernels: slice j is added to partial sum j % 4, in
 * order of j; then ((p0 + p1) + p2) + p3, then the bias.
 */
#ifndef KERNELS_CUDA_GEMM_TILE_CUH
#define KERNELS_CUDA_GEMM_TILE_CUH

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/ptx.cuh"

namespace gemm {

constexpr int SLICE = 64;
constexpr int PARTS = 4;
constexpr int LINE = 32 * 16;

struct Product {
    void *out;
    const bf16_bits *x, *w, *bias;
    int M, N, K;
    int out_f32;
};

/* A lane's 16 elements of one token (B) or of one row of w (half of A). */
struct Elements {
    uint4 low, high;
};

__device__ __forceinline__ uint32_t
pair(const Elements &e, int i)
{
    const uint4 &v = i < 4 ? e.low : e.high;
    return i % 4 == 0 ? v.x : i % 4 == 1 ? v.y : i % 4 == 2 ? v.z : v.w;
}

/* Two lines of shared memory, from the lane's own place in the first. */
__device__ __forceinline__ Elements
load_lines(const char *lane_line)
{
    return {*reinterpret_cast<const uint4 *>(lane_line),
            *reinterpret_cast<const uint4 *>(lane_line + LINE)};
}

/* sums += 16 rows of w . 8 tokens over one slice. */
__device__ __forceinline__ void
multiply(float (&sums)[4], const Elements &upper, const Elements &lower, const Elements &tokens)
{
#pragma unroll
    for (int s = 0; s < SLICE / 16; s++) {
        uint32_t a[4] = {pair(upper, 2 * s), pair(lower, 2 * s), pair(upper, 2 * s + 1),
                         pair(lower, 2 * s + 1)};
        mma_bf16(sums, a, pair(tokens, 2 * s), pair(tokens, 2 * s + 1));
    }
}

/* Elements (m, n) and (m, n + 1), n even. */
__device__ __forceinline__ void
store_pair(const Product &p, int m, int n, float2 sum)
{
    if (p.bias != nullptr) {
        uint32_t b = *reinterpret_cast<const uint32_t *>(p.bias + n);
        sum.x += bf16_low(b);
        sum.y += bf16_high(b);
    }
    size_t at = (size_t)m * p.N + n;
    if (p.out_f32)
        *reinterpret_cast<float2 *>(static_cast<float *>(p.out) + at) = sum;
    else
        *reinterpret_cast<uint32_t *>(static_cast<bf16_bits *>(p.out) + at) =
            bf16_pair(sum.x, sum.y);
}

} // namespace gemm

#endif
