/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What sampling parameters say of single tokens: allowed, banned and biased
 * ids, penalties for tokens that have been seen. One block a row.
 *
 * Every id that has a say is put into the row's hash table (open addressing,
 * linear probing, no deletion; at most half full) with one word of what was
 * said: marks, and above them the count of its occurrences in the output. Then
 * each slot's one thread computes the token's logit in the order of the CPU
 * backend, keeps the raw value in the slot and stores the new one in the row.
 * So a row's raw logits can be restored after the draw, at the cost of its
 * lists, not of its length. Allowed ids become a bitmap that the readers of the
 * row look at.
 *
 * Cost: the lists (4 bytes an id), two or three L2 atomics an id, 12 bytes a
 * slot twice; latency-bound, a few microseconds for thousands of ids.
 */
#include "kernels/cuda/sample.cuh"

#define LIST_THREADS 512
#define FREE_SLOT (-1)

/* A slot's word. */
#define EDIT_PROMPT 1u
#define EDIT_BANNED 2u
#define EDIT_BIASED 4u
#define EDIT_COUNT_ONE 8u   /* one occurrence in the output; their number from bit 3 on */

__device__ static bool
has_penalties(const struct sample_params &p)
{
    return p.repetition_penalty != 1.0f || p.presence_penalty != 0.0f ||
           p.frequency_penalty != 0.0f;
}

/* The id's slot, taken now if it had none. */
__device__ static struct edit_slot *
find_slot(struct edit_slot *table, uint32_t size, int32_t id)
{
    uint32_t at = (uint32_t)id * 0x9E3779B9u;
    at = (at ^ at >> 15) & (size - 1);
    for (;;) {
        int32_t owner = atomicCAS(&table[at].id, FREE_SLOT, id);
        if (owner == FREE_SLOT || owner == id)
            return &table[at];
        at = (at + 1) & (size - 1);
    }
}

/* Ids out of range are passed over, as on the CPU; with last_tokens the last id
 * may stand for one of these. */
__device__ static void
mark_ids(struct edit_slot *table, uint32_t size, const int32_t *ids, int num_ids, int64_t n,
         uint32_t mark, const int32_t *last_tokens)
{
    for (int i = threadIdx.x; i < num_ids; i += LIST_THREADS) {
        int32_t id = ids[i];
        if (id < 0 && last_tokens != NULL && i == num_ids - 1)
            id = last_tokens[-1 - id];
        if (id < 0 || id >= n)
            continue;
        struct edit_slot *slot = find_slot(table, size, id);
        if (mark == EDIT_COUNT_ONE)
            atomicAdd(&slot->word, mark);
        else
            atomicOr(&slot->word, mark);
    }
}

__device__ static float
edit_logit(const struct sample_args &args, const struct sample_params &p, float z, int32_t id,
           uint32_t word)
{
    if (word & EDIT_BANNED)
        z = -INFINITY;
    if (word & EDIT_BIASED) {   /* doubles add up in their order */
        for (int i = 0; i < p.num_bias; i++) {
            if (args.ids[p.bias + i] == id)
                z = __fadd_rn(z, args.values[p.bias + i]);
        }
    }
    uint32_t count = word / EDIT_COUNT_ONE;
    if (count > 0 || word & EDIT_PROMPT) {
        z = z > 0 ? __fdiv_rn(z, p.repetition_penalty) : __fmul_rn(z, p.repetition_penalty);
        z = __fsub_rn(z, __fmul_rn(p.frequency_penalty, (float)count));
        z = __fsub_rn(z, __fmul_rn(p.presence_penalty, count > 0 ? 1.0f : 0.0f));
    }
    return z;
}

__device__ static void
edit_row(const struct sample_args &args, const struct sample_params &p, struct edit_slot *table,
         float *x)
{
    for (int i = threadIdx.x; i < p.table_size; i += LIST_THREADS) {
        table[i].id = FREE_SLOT;
        table[i].word = 0;
    }
    __syncthreads();
    uint32_t size = (uint32_t)p.table_size;
    int64_t n = args.vocab_size;
    mark_ids(table, size, args.ids + p.banned, p.num_banned, n, EDIT_BANNED, NULL);
    mark_ids(table, size, args.ids + p.bias, p.num_bias, n, EDIT_BIASED, NULL);
    if (has_penalties(p)) {
        mark_ids(table, size, args.ids + p.prompt, p.num_prompt, n, EDIT_PROMPT, NULL);
        mark_ids(table, size, args.ids + p.output, p.num_output, n, EDIT_COUNT_ONE,
                 args.last_tokens);
    }
    __syncthreads();
    for (int i = threadIdx.x; i < p.table_size; i += LIST_THREADS) {
        int32_t id = table[i].id;
        if (id == FREE_SLOT)
            continue;
        float raw = x[id];
        table[i].raw = raw;
        x[id] = edit_logit(args, p, raw, id, table[i].word);
    }
}

/* Fills the row's bitmap; returns the thread's lowest allowed id. */
__device__ static int32_t
allow_ids(const struct sample_args &args, const struct sample_params &p, uint32_t *bitmap,
          int num_words)
{
    for (int i = threadIdx.x; i < num_words; i += LIST_THREADS)
        bitmap[i] = 0;
    __syncthreads();
    int32_t lowest = INT32_MAX;
    for (int i = threadIdx.x; i < p.num_allowed; i += LIST_THREADS) {
        int32_t id = args.ids[p.allowed + i];
        if (id < 0 || id >= args.vocab_size)
            continue;
        atomicOr(&bitmap[id / 32], 1u << (id % 32));
        lowest = id < lowest ? id : lowest;
    }
    return lowest;
}

__global__ void
__launch_bounds__(LIST_THREADS)
prepare_rows(struct sample_args args, struct sample_space space)
{
    __shared__ place_t room[LIST_THREADS / 32];
    pdl_wait();
    pdl_launch_dependents();
    int row = blockIdx.x;
    const struct sample_params &p = args.params[row];
    int32_t lowest = INT32_MAX;
    if (p.num_allowed > 0)
        lowest = allow_ids(args, p, space.allowed + (int64_t)row * space.allowed_words,
                           space.allowed_words);
    if (p.table_size > 0)
        edit_row(args, p, space.slots + p.table, args.logits + (int64_t)row * args.vocab_size);
    /* of equal values the lowest id has the best place */
    place_t best = block_best<LIST_THREADS>(place_of(0, lowest), room);
    if (threadIdx.x == 0) {
        struct row_state *state = &space.states[row];
        lowest = place_id(best);
        state->best = 0;
        state->cut = last_place(-FLT_MAX);
        state->pieces_done = 0;
        state->fallback = lowest == INT32_MAX ? 0 : lowest;
    }
}

__global__ void
__launch_bounds__(LIST_THREADS)
restore_rows(struct sample_args args, struct sample_space space)
{
    pdl_wait();
    pdl_launch_dependents();
    int row = blockIdx.x;
    const struct sample_params &p = args.params[row];
    const struct edit_slot *table = space.slots + p.table;
    float *x = args.logits + (int64_t)row * args.vocab_size;
    for (int i = threadIdx.x; i < p.table_size; i += LIST_THREADS) {
        if (table[i].id != FREE_SLOT)
            x[table[i].id] = table[i].raw;
    }
}

cudaError_t
sample_prepare(const struct cuda_ctx *ctx, const struct sample_args *args,
               const struct sample_space *space)
{
    return launch(ctx, prepare_rows, args->num_rows, LIST_THREADS, 0, *args, *space);
}

cudaError_t
sample_restore(const struct cuda_ctx *ctx, const struct sample_args *args,
               const struct sample_space *space)
{
    return launch(ctx, restore_rows, args->num_rows, LIST_THREADS, 0, *args, *space);
}
