/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the tensor-core attention kernels share: pages brought to shared memory,
 * scores, masks, the online softmax and the product with the values, for one
 * warp that holds 16 query rows.
 *
 * A tile in shared memory is rows of D elements (a power of two >= 64), rows of
 * queries or keys. Its 16-byte chunks are swizzled: chunk c of row r lies at
 * c ^ (r % 8), so that both the copies and ldmatrix touch all banks once. A tile
 * is aligned to 128 bytes.
 *
 * Fragments are those of mma_bf16 (ptx.cuh): with g = lane / 4, t = lane % 4 a
 * lane holds rows g and g + 8 ("its two rows"), and of each 8 columns 2t, 2t+1.
 */
#ifndef KERNELS_CUDA_ATTENTION_CUH
#define KERNELS_CUDA_ATTENTION_CUH

#include "kernels/cuda/kernels.h"
#include "kernels/cuda/ptx.cuh"

#include <math.h>

#define ATTENTION_LOG2E 1.44269504088896341f

/* The arguments of an attention kernel, as host code fills them. */
struct attention_params {
    bf16_bits *out;         /* [rows, num_heads * D] */
    const bf16_bits *qkv;   /* [rows, (num_heads + 2 * num_kv_heads) * D] */
    const bf16_bits *k, *v; /* the layer's halves of the cache */
    struct step_ints ints;
    int num_heads, num_kv_heads, group; /* group: query heads of a kv head */
    float factor, cap;      /* of attention_logits */
    int window;             /* 2^30: off */
};

static inline struct attention_params
attention_params_of(bf16_bits *out, const bf16_bits *qkv, const struct kv_layer *kv,
                    const struct step_ints *ints, const struct attention_shape *shape)
{
    struct attention_params p = {};
    p.out = out;
    p.qkv = qkv;
    p.k = kv->k;
    p.v = kv->v;
    p.ints = *ints;
    p.num_heads = shape->num_heads;
    p.num_kv_heads = shape->num_kv_heads;
    p.group = shape->num_heads / shape->num_kv_heads;
    p.cap = shape->softcap * ATTENTION_LOG2E;
    p.factor = shape->softcap != 0 ? 2 * ATTENTION_LOG2E * shape->scale / shape->softcap
                                   : ATTENTION_LOG2E * shape->scale;
    p.window = shape->window != 0 ? shape->window : 1 << 30;
    return p;
}

/*
 * A logit of base 2 with softcap: cap * tanh(y) = cap - 2 cap / (1 + exp(2y)), with
 * 2y * log2(e) = s * factor; exact to a few 1e-7 of cap, also where exp overflows
 * or vanishes.
 */
__device__ __forceinline__ float
capped_logit(float s, float factor, float cap)
{
    return cap - __fdividef(2 * cap, 1 + exp2_fast(s * factor));
}

/* Index of the first element of a chunk (8 elements) in a tile. */
template <int D>
__device__ __forceinline__ int
tile_index(int row, int chunk)
{
    return row * D + ((chunk ^ (row & 7)) << 3);
}

/* Where one page of one kv head begins, in either half of a layer's cache. */
template <int D>
__device__ __forceinline__ const bf16_bits *
page_address(const bf16_bits *half, int page, int num_kv_heads, int kv_head)
{
    return half + ((int64_t)page * num_kv_heads + kv_head) * (CUDA_PAGE_TOKENS * D);
}

/*
 * One warp starts copying a page (16 keys) to 16 rows of a tile; rows outside
 * [first, last) become zeros and are not read: an unused slot may hold NaN, and
 * 0 * NaN would reach the sum over values.
 */
template <int D>
__device__ __forceinline__ void
load_page(bf16_bits *tile, const bf16_bits *page, int first, int last, int lane)
{
    constexpr int chunks = D / 8, rows = 32 / chunks; /* rows of one pass of the warp */
    static_assert(chunks <= 32 && (chunks & (chunks - 1)) == 0, "passes are whole rows");
    const int row = lane / chunks, chunk = lane % chunks;
    const uint32_t num_valid = max(last - first, 0);
    const bf16_bits *from = opaque(page + lane * 8);
    bf16_bits *to = opaque(tile + row * D);
#pragma unroll
    for (int i = 0; i < CUDA_PAGE_TOKENS / rows; i++) {
        int swizzled = chunk ^ row ^ (i * rows & 7); /* row < rows: no carry */
        cp_async_16(to + swizzled * 8 + i * rows * D, from + i * 256,
                    (uint32_t)(i * rows + row - first) < num_valid);
    }
}

/* Where in its row a lane finds chunk 2d + odd, x = odd ^ (row & 7): depends on
 * d % 4, the rest is a constant of the unrolled loop. */
__device__ __forceinline__ int
step_index(int d, int x)
{
    return d / 4 * 64 + ((2 * (d & 3)) ^ x) * 8;
}

/* s[16, 8N] = q . k^T: q 16 rows of a tile, k 8N rows of a tile. */
template <int D, int N>
__device__ __forceinline__ void
attention_scores(float (&s)[N][4], const bf16_bits *q, const bf16_bits *k, int lane)
{
    static_assert(N % 2 == 0, "keys come in sixteens");
#pragma unroll
    for (int j = 0; j < N; j++)
        s[j][0] = s[j][1] = s[j][2] = s[j][3] = 0;
    const int row = (lane & 7) + (lane >> 4) * 8;
    const bf16_bits *a_row = q + (lane & 15) * D, *b_row = k + row * D;
    const int a_x = (lane >> 4) ^ (lane & 7), b_x = (lane >> 3 & 1) ^ (lane & 7);
#pragma unroll
    for (int d = 0; d < D / 16; d++) {
        uint32_t a[4];
        ldmatrix_x4(a, a_row + step_index(d, a_x));
#pragma unroll
        for (int j = 0; j < N; j += 2) {
            uint32_t b[4];
            ldmatrix_x4(b, b_row + j * 8 * D + step_index(d, b_x));
            mma_bf16(s[j], a, b[0], b[1]);
            mma_bf16(s[j + 1], a, b[2], b[3]);
        }
    }
}

/* Scores to logits of base 2: s * factor, or with softcap where cap is not 0. */
template <int N>
__device__ __forceinline__ void
attention_logits(float (&s)[N][4], float factor, float cap)
{
    if (cap == 0) {
#pragma unroll
        for (int j = 0; j < N; j++)
#pragma unroll
            for (int i = 0; i < 4; i++)
                s[j][i] *= factor;
    } else {
#pragma unroll
        for (int j = 0; j < N; j++)
#pragma unroll
            for (int i = 0; i < 4; i++)
                s[j][i] = capped_logit(s[j][i], factor, cap);
    }
}

/* Only keys first[r] <= key < last[r] count for the lane's row r; the first
 * column is key first_key. */
template <int N>
__device__ __forceinline__ void
attention_mask(float (&s)[N][4], int first_key, const int (&first)[2], const int (&last)[2],
               int lane)
{
#pragma unroll
    for (int j = 0; j < N; j++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
            int key = first_key + 8 * j + 2 * (lane & 3) + (i & 1);
            if (key < first[i >> 1] || key >= last[i >> 1])
                s[j][i] = -INFINITY;
        }
}

/* The state of the lane's two rows: greatest logit, and the lane's own share of
 * the sum of exp2(logit - max); the row's sum is that of its four lanes. */
struct softmax_state {
    float max[2], sum[2];
};

/*
 * Takes in the logits of 8N more keys: s becomes their weights relative to the
 * new maximum, what has been summed so far (state, o) is scaled to it. A row
 * may have seen no key yet.
 */
template <int D, int N>
__device__ __forceinline__ void
softmax_update(float (&s)[N][4], struct softmax_state &state, float (&o)[D / 8][4])
{
#pragma unroll
    for (int r = 0; r < 2; r++) {
        float max = state.max[r];
#pragma unroll
        for (int j = 0; j < N; j++)
            max = fmaxf(max, fmaxf(s[j][2 * r], s[j][2 * r + 1]));
        max = fmaxf(max, __shfl_xor_sync(0xffffffffu, max, 1));
        max = fmaxf(max, __shfl_xor_sync(0xffffffffu, max, 2));
        float base = max == -INFINITY ? 0 : max;
        float scale = exp2_fast(state.max[r] - base);
        state.max[r] = max;
        float sum = 0;
#pragma unroll
        for (int j = 0; j < N; j++) {
            s[j][2 * r] = exp2_fast(s[j][2 * r] - base);
            s[j][2 * r + 1] = exp2_fast(s[j][2 * r + 1] - base);
            sum += s[j][2 * r] + s[j][2 * r + 1];
        }
        state.sum[r] = state.sum[r] * scale + sum;
#pragma unroll
        for (int d = 0; d < D / 8; d++) {
            o[d][2 * r] *= scale;
            o[d][2 * r + 1] *= scale;
        }
    }
}

/* o[16, D] += s . v: s the weights, rounded to bf16 here, v 8N rows of a tile. */
template <int D, int N>
__device__ __forceinline__ void
attention_values(float (&o)[D / 8][4], const float (&s)[N][4], const bf16_bits *v, int lane)
{
    const bf16_bits *row = v + (lane & 15) * D;
    const int x = (lane >> 4) ^ (lane & 7);
#pragma unroll
    for (int j = 0; j < N; j += 2) {
        uint32_t a[4] = {bf16_pair(s[j][0], s[j][1]), bf16_pair(s[j][2], s[j][3]),
                         bf16_pair(s[j + 1][0], s[j + 1][1]), bf16_pair(s[j + 1][2], s[j + 1][3])};
#pragma unroll
        for (int d = 0; d < D / 16; d++) {
            uint32_t b[4];
            ldmatrix_x4_trans(b, row + j * 8 * D + step_index(d, x));
            mma_bf16(o[2 * d], a, b[0], b[1]);
            mma_bf16(o[2 * d + 1], a, b[2], b[3]);
        }
    }
}

/* The sum over a row's four lanes. */
__device__ __forceinline__ float
row_sum(float x)
{
    x += __shfl_xor_sync(0xffffffffu, x, 1);
    return x + __shfl_xor_sync(0xffffffffu, x, 2);
}

#endif
