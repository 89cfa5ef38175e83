/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attention over the paged cache for any geometry, on the ordinary cores: head
 * dimensions and groups that the tensor-core kernels do not take. One warp
 * computes one row of one query head, 32 keys at a time: for the scores a lane
 * owns a key, for the values it owns pairs of columns. The heads of a kv head
 * are neighbours among the warps, so that L1 and L2 serve what is read again.
 *
 * Shared memory: the warp's query as D floats. The grid is persistent, 16 warps
 * an SM; with a 16-byte read of a key's row per lane and turn, and four of the
 * values' rows in a row, some 8-16 KB are under way per SM: it is correct
 * everywhere, not fast.
 */
#include "kernels/cuda/attention.cuh"
#include "kernels/cuda/launch.cuh"

#define GENERAL_WARPS 4
#define GENERAL_BLOCKS_PER_SM 4
#define GENERAL_MAX_DIM 256

/* One query row: where it is, and the last key that it sees. */
struct query_row {
    int row, seq, position;
};

/* Row i of the decode items (num_tiles = 0) or of the prefill tiles; false: the
 * tile is not that high. */
__device__ __forceinline__ bool
find_row(const struct step_ints &ints, int num_tiles, int i, struct query_row *ret)
{
    if (num_tiles == 0) {
        const struct decode_item &item = ints.decode_items[i];
        *ret = {item.row, item.seq, ints.seq_lens[item.seq] - 1};
        return true;
    }
    const struct prefill_tile &tile = ints.prefill_tiles[i / PREFILL_TILE_ROWS];
    int offset = i % PREFILL_TILE_ROWS;
    *ret = {tile.row + offset, tile.seq, tile.position + offset};
    return offset < tile.num_rows;
}

/* q.k for a query in shared memory and a key in global memory. */
__device__ __forceinline__ float
dot(const float4 *q, const bf16_bits *k, int head_dim)
{
    float sum = 0;
    for (int i = 0; i < head_dim / 8; i++) {
        uint4 key = ((const uint4 *)k)[i];
        float4 a = q[2 * i], b = q[2 * i + 1];
        sum += a.x * bf16_low(key.x) + a.y * bf16_high(key.x);
        sum += a.z * bf16_low(key.y) + a.w * bf16_high(key.y);
        sum += b.x * bf16_low(key.z) + b.y * bf16_high(key.z);
        sum += b.z * bf16_low(key.w) + b.w * bf16_high(key.w);
    }
    return sum;
}

/* One warp's output of one query head. */
__device__ __forceinline__ void
attend_row(const struct attention_params &p, float4 *query, const struct query_row &row,
           int head, int head_dim, int lane)
{
    constexpr int max_pairs = GENERAL_MAX_DIM / 2 / 32; /* of columns, a lane */
    const int num_pairs = head_dim / 2, kv_head = head / p.group;
    const int width = (p.num_heads + 2 * p.num_kv_heads) * head_dim;
    const uint32_t *q = (const uint32_t *)(p.qkv + (int64_t)row.row * width + head * head_dim);
    __syncwarp(); /* the row before has been used */
    for (int i = lane; i < num_pairs; i += 32)
        ((float2 *)query)[i] = make_float2(bf16_low(q[i]), bf16_high(q[i]));
    __syncwarp();

    const int32_t *table =
        p.ints.block_tables + (int64_t)row.seq * p.ints.header[STEP_TABLE_STRIDE];
    float max = -INFINITY, sum = 0, o[max_pairs][2] = {};
    for (int first = ::max(0, row.position - p.window + 1); first <= row.position; first += 32) {
        int key = first + lane, num_keys = min(32, row.position + 1 - first);
        int64_t at = 0;
        float logit = -INFINITY;
        if (lane < num_keys) {
            int64_t page = table[key / CUDA_PAGE_TOKENS];
            at = ((page * p.num_kv_heads + kv_head) * CUDA_PAGE_TOKENS + key % CUDA_PAGE_TOKENS) *
                 head_dim;
            float s = dot(query, p.k + at, head_dim);
            logit = p.cap == 0 ? s * p.factor : capped_logit(s, p.factor, p.cap);
        }
        float new_max = fmaxf(max, warp_max(logit)), scale = exp2_fast(max - new_max);
        float weight = exp2_fast(logit - new_max);
        max = new_max;
        sum = sum * scale + weight;
        for (int j = 0; j < max_pairs; j++) {
            o[j][0] *= scale;
            o[j][1] *= scale;
        }
#pragma unroll 4
        for (int i = 0; i < num_keys; i++) {
            float w = __shfl_sync(0xffffffffu, weight, i);
            const uint32_t *v = (const uint32_t *)(p.v + __shfl_sync(0xffffffffu, at, i));
#pragma unroll
            for (int j = 0; j < max_pairs; j++)
                if (lane + 32 * j < num_pairs) {
                    uint32_t pair = v[lane + 32 * j];
                    o[j][0] += w * bf16_low(pair);
                    o[j][1] += w * bf16_high(pair);
                }
        }
    }
    float scale = 1 / warp_sum(sum);
    uint32_t *out = (uint32_t *)(p.out + ((int64_t)row.row * p.num_heads + head) * head_dim);
#pragma unroll
    for (int j = 0; j < max_pairs; j++)
        if (lane + 32 * j < num_pairs)
            out[lane + 32 * j] = bf16_pair(o[j][0] * scale, o[j][1] * scale);
}

__global__ void
__launch_bounds__(GENERAL_WARPS * 32, GENERAL_BLOCKS_PER_SM)
general_kernel(const __grid_constant__ struct attention_params p, int head_dim, int num_tiles)
{
    __shared__ float4 queries[GENERAL_WARPS][GENERAL_MAX_DIM / 4];
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;

    pdl_wait();
    pdl_launch_dependents();
    const int num_rows = num_tiles > 0 ? num_tiles * PREFILL_TILE_ROWS
                                       : p.ints.header[STEP_NUM_DECODE_ITEMS];
    const int64_t num_work = (int64_t)num_rows * p.num_heads;
    for (int64_t work = blockIdx.x * GENERAL_WARPS + warp; work < num_work;
         work += gridDim.x * GENERAL_WARPS) {
        struct query_row row;
        if (find_row(p.ints, num_tiles, (int)(work / p.num_heads), &row))
            attend_row(p, queries[warp], row, (int)(work % p.num_heads), head_dim, lane);
    }
}

cudaError_t
cuda_attention_general(const struct cuda_ctx *ctx, bf16_bits *out, const bf16_bits *qkv,
                       const struct kv_layer *kv, const struct step_ints *ints, int num_tiles,
                       const struct attention_shape *shape)
{
    return launch(ctx, general_kernel, dim3(ctx->num_sms * GENERAL_BLOCKS_PER_SM),
                  dim3(GENERAL_WARPS * 32), 0,
                  attention_params_of(out, qkv, kv, ints, shape), shape->head_dim, num_tiles);
}
