/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rotary embedding and the write of keys and values to the paged cache. Element i
 * of a head's first half turns with element i of its second half. A thread holds
 * 8 such pairs, at the same place of two heads, so that the table's 64 bytes serve
 * twice; a value head is copied in the same two vectors. Threads: x runs over
 * the pairs of a head, y over heads; no shared memory.
 *
 * A row with slot -1 is left alone, unread. k and v stay as they are in qkv:
 * attention takes them from the cache.
 *
 * Bytes in flight per SM: four vectors of qkv are 64 bytes a thread, 64 KB with
 * the 1024 threads that 64 registers allow, without the table's (in L1 after the
 * first head of a row).
 */
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/ptx.cuh"

#define ROPE_THREADS 128   /* at most */
#define ROPE_HEADS 2       /* of a thread */

/* Pairs (a, b) of two elements each; turn = cos, sin, cos, sin. */
__device__ __forceinline__ void
rotate(uint32_t &a, uint32_t &b, float4 turn)
{
    float a0 = bf16_low(a), a1 = bf16_high(a), b0 = bf16_low(b), b1 = bf16_high(b);
    a = bf16_pair(a0 * turn.x - b0 * turn.y, a1 * turn.z - b1 * turn.w);
    b = bf16_pair(b0 * turn.x + a0 * turn.y, b1 * turn.z + a1 * turn.w);
}

struct rope_args {
    bf16_bits *qkv, *k, *v;
    const float *rope;
    const int32_t *positions, *slot_mapping;
    int num_heads, num_kv_heads, head_dim;
};

/* Where a head of the row goes: back, or to its place in the cache. */
__device__ __forceinline__ bf16_bits *
destination(const struct rope_args &a, bf16_bits *qkv_row, int slot, int head)
{
    if (head < a.num_heads)
        return qkv_row + head * a.head_dim;
    int kv_head = head - a.num_heads;
    bf16_bits *cache = a.k;
    if (kv_head >= a.num_kv_heads) {
        kv_head -= a.num_kv_heads;
        cache = a.v;
    }
    int page = slot / CUDA_PAGE_TOKENS, offset = slot % CUDA_PAGE_TOKENS;
    int64_t line = ((int64_t)page * a.num_kv_heads + kv_head) * CUDA_PAGE_TOKENS + offset;
    return cache + line * a.head_dim;
}

__global__ void __launch_bounds__(ROPE_THREADS)
rope_kv_write_kernel(struct rope_args a)
{
    int row = blockIdx.x, num_rotated = a.num_heads + a.num_kv_heads;
    int width = num_rotated + a.num_kv_heads;   /* in heads */
    int first_head = blockIdx.y * (ROPE_HEADS * blockDim.y) + threadIdx.y;
    int at = threadIdx.x * 8, half = a.head_dim / 2;
    pdl_launch_dependents();
    pdl_wait();
    int slot = a.slot_mapping[row], position = a.positions[row];
    if (slot < 0)
        return;
    bf16_bits *qkv_row = a.qkv + (int64_t)row * width * a.head_dim;
    uint4 low[ROPE_HEADS], high[ROPE_HEADS];
#pragma unroll
    for (int i = 0; i < ROPE_HEADS; i++) {
        int head = first_head + i * blockDim.y;
        if (head < width) {
            const bf16_bits *from = qkv_row + head * a.head_dim + at;
            low[i] = *(const uint4 *)from;
            high[i] = *(const uint4 *)(from + half);
        }
    }
    const float4 *turns = (const float4 *)(a.rope + (int64_t)position * a.head_dim + 2 * at);
    float4 turn[4] = {turns[0], turns[1], turns[2], turns[3]};
#pragma unroll
    for (int i = 0; i < ROPE_HEADS; i++) {
        int head = first_head + i * blockDim.y;
        if (head >= width)
            continue;
        if (head < num_rotated) {
            rotate(low[i].x, high[i].x, turn[0]);
            rotate(low[i].y, high[i].y, turn[1]);
            rotate(low[i].z, high[i].z, turn[2]);
            rotate(low[i].w, high[i].w, turn[3]);
        }
        bf16_bits *to = destination(a, qkv_row, slot, head) + at;
        *(uint4 *)to = low[i];
        *(uint4 *)(to + half) = high[i];
    }
}

cudaError_t
cuda_rope_kv_write(const struct cuda_ctx *ctx, bf16_bits *qkv, const struct kv_layer *kv,
                   const float *rope, const struct step_ints *ints, int rows,
                   const struct attention_shape *shape)
{
    struct rope_args args = {
        qkv, kv->k, kv->v, rope, ints->positions, ints->slot_mapping,
        shape->num_heads, shape->num_kv_heads, shape->head_dim,
    };
    int width = shape->num_heads + 2 * shape->num_kv_heads;
    int threads_per_head = shape->head_dim / 16;
    int heads = ROPE_THREADS / threads_per_head, per_block = heads * ROPE_HEADS;
    dim3 grid(rows, (width + per_block - 1) / per_block), block(threads_per_head, heads);
    return launch(ctx, rope_kv_write_kernel, grid, block, 0, args);
}
