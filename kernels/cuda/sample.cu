/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Drawing a token a row: the greatest of z + Gumbel noise (temperature), or of z
 * (greedy). One pass over the logits, in pieces of 8192: grid (rows, pieces), so
 * that the pieces of a long batch come in waves across all rows.
 *
 * A piece is fetched into shared memory at once, 32 KB in flight a block, six
 * blocks an SM; every thread waits for and reads only what it fetched itself, so
 * no barrier is needed, and the loop over its eight groups stays rolled (the body
 * is long). A group of four logits is one Philox counter. Noise needs two logarithms, which a token can be spared in two
 * ways that change no result: its logit is more than the greatest noise below
 * the best value known, or its random word bounds the noise below what it needs
 * (as kernels/cpu/logits_impl.h does for 32 at once). What is known is the best
 * of the warp and what earlier blocks have put into the row's state; which that
 * is depends on timing, the drawn token does not.
 *
 * Blocks meet by an atomic maximum of places (value and id in 64 bits), and the
 * one that ends last writes the row's token.
 *
 * Shared memory: [8][256] groups of four logits (group i of thread t at i * 256 + t),
 * one place a warp.
 */
#include "kernels/cuda/sample.cuh"

/* No noise exceeds this: -log(2^-24) = 16.64. */
#define GUMBEL_MAX 16.7f

struct best_token {
    float value;
    int32_t id;   /* -1: none yet */
};

/* Ids come in ascending order: the first of equals stays. */
__device__ __forceinline__ void
consider(struct best_token &best, float value, int32_t id)
{
    if (value > best.value)
        best = {value, id};
}

/* Below v by more than all roundings of the comparisons here together. */
__device__ __forceinline__ float
well_below(float v)
{
    return v - (0.01f + fabsf(v) * 1e-6f);
}

/* Whether z + noise is below `best` for certain, from z up to rounding and the
 * noise's word: -log(-log(u)) < -log(1 - u). */
__device__ __forceinline__ bool
cannot_win(float z, uint32_t word, float best)
{
    float need = well_below(best) - z;
    float v = (float)(0xffffff - (word >> 8)) * 0x1p-24f;   /* at most 1 - u */
    return need > 1.0f && v > exp2_fast(need * -1.44269504f);
}

/* This thread's groups of a piece; first: the id of the first of them. */
template <bool aligned>
__device__ __forceinline__ void
fetch_piece(float4 *groups, const struct row_view &row, int64_t first)
{
#pragma unroll
    for (int i = 0; i < PIECE_GROUPS; i++) {
        int64_t id = first + i * PIECE_THREADS * 4;
        float4 *group = &groups[i * PIECE_THREADS + threadIdx.x];
        if (!aligned)
            *group = load_group<false>(row, id);
        else if (id < row.n)
            cp_async_16(group, row.x + id);
    }
    cp_async_commit();
}

/* This thread's groups of a piece; first: the id of the first of them. */
template <bool aligned>
__device__ __forceinline__ void
fetch_piece(float4 *groups, const struct row_view &row, int32_t first)
{
#pragma unroll
    for (int i = 0; i < PIECE_GROUPS; i++) {
        int32_t id = first + i * PIECE_THREADS * 4;
        float4 *group = &groups[i * PIECE_THREADS + threadIdx.x];
        if (aligned && id < row.n)
            cp_async_16(group, row.x + id);
        else
            *group = load_group<false>(row, id);
    }
    cp_async_commit();
}

__device__ static struct best_token
best_of_greedy(const struct row_view &row, const float4 *groups, int32_t first)
{
    struct best_token best = {-INFINITY, -1};
#pragma unroll 2
    for (int i = 0; i < PIECE_GROUPS; i++) {
        int32_t id = first + i * PIECE_THREADS * 4;
        float4 x = clean_group(mask_group(row, groups[i * PIECE_THREADS + threadIdx.x], id));
        consider(best, x.x, id);
        consider(best, x.y, id + 1);
        consider(best, x.z, id + 2);
        consider(best, x.w, id + 3);
    }
    return best;
}

/* How a row is drawn from. */
struct draw_view {
    uint64_t seed, position;
    float temperature, per_temperature;
    place_t cut;
};

/* One token of a group whose random words are known. */
__device__ __forceinline__ void
consider_noisy(struct best_token &best, float known, const struct draw_view &draw, float x,
               int32_t id, uint32_t word)
{
    if (cannot_win(x * draw.per_temperature, word, known))
        return;
    float z = heat(x, draw.temperature);
    if (place_of(z, id) >= draw.cut)
        consider(best, __fadd_rn(z, gumbel_noise(word)), id);
}

/* known: a value that some token of the row reaches, or -infinity. */
__device__ static struct best_token
best_of_noisy(const struct row_view &row, const float4 *groups, int32_t first,
              const struct draw_view &draw, float known)
{
    struct best_token best = {-INFINITY, -1};
    float cut = fmaxf(well_below(place_value(draw.cut)), -FLT_MAX);
    float floor = fmaxf(well_below(known - GUMBEL_MAX), cut);
#pragma unroll 1
    for (int i = 0; i < PIECE_GROUPS; i++) {
        int32_t id = first + i * PIECE_THREADS * 4;
        float4 x = mask_group(row, groups[i * PIECE_THREADS + threadIdx.x], id);
        float max = group_max(x);
        bool may_win = max > -INFINITY && fmaxf(max * draw.per_temperature, -FLT_MAX) >= floor;
        if (!__any_sync(0xffffffffu, may_win))
            continue;
        if (may_win) {
            uint4 words = philox_words(draw.seed, draw.position, (uint32_t)id / 4);
            x = clean_group(x);
            consider_noisy(best, known, draw, x.x, id, words.x);
            consider_noisy(best, known, draw, x.y, id + 1, words.y);
            consider_noisy(best, known, draw, x.z, id + 2, words.z);
            consider_noisy(best, known, draw, x.w, id + 3, words.w);
        }
        known = fmaxf(known, warp_max(best.value));
        floor = fmaxf(well_below(known - GUMBEL_MAX), cut);
    }
    return best;
}

/* What is known of the row by now, from blocks that have ended. */
__device__ __forceinline__ float
known_value(const struct row_state *state)
{
    place_t best = *(const volatile place_t *)&state->best;
    return best > 0 ? place_value(best) : -INFINITY;
}

/* The row's result, by one thread of the block that came last. */
__device__ static void
finish_row(const struct sample_args &args, const struct row_state *state, int row)
{
    place_t best = *(const volatile place_t *)&state->best;
    int32_t token = best > 0 ? place_id(best) : state->fallback;
    args.out[row] = {token, 0, 0};
    args.drawn[row] = token;
}

template <bool aligned>
__global__ void
__launch_bounds__(PIECE_THREADS, 6)
draw_rows(struct sample_args args, struct sample_space space)
{
    __shared__ float4 groups[PIECE_GROUPS * PIECE_THREADS];
    __shared__ place_t room[PIECE_THREADS / 32];
    int row = blockIdx.x;
    int32_t first = blockIdx.y * PIECE_TOKENS + threadIdx.x * 4;
    pdl_wait();
    pdl_launch_dependents();
    struct row_view view = view_row(args, space, row);
    fetch_piece<aligned>(groups, view, first);

    const struct sample_params &p = args.params[row];
    struct row_state *state = &space.states[row];
    struct draw_view draw = {p.seed, p.position, view.temperature, 1.0f / view.temperature,
                             state->cut};
    float known = known_value(state);
    bool greedy = is_greedy(p);
    cp_async_wait<0>();
    struct best_token best = greedy ? best_of_greedy(view, groups, first)
                                    : best_of_noisy(view, groups, first, draw, known);
    place_t place = best.id < 0 ? 0 : place_of(best.value, best.id);
    place = block_best<PIECE_THREADS>(place, room);
    if (threadIdx.x == 0) {
        if (place > 0)
            atomicMax(&state->best, place);
        __threadfence();
        if (atomicAdd(&state->pieces_done, 1) == gridDim.y - 1)
            finish_row(args, state, row);
    }
}

static cudaError_t
draw(const struct cuda_ctx *ctx, const struct sample_args *args, const struct sample_space *space)
{
    dim3 grid(args->num_rows, num_pieces(args->vocab_size));
    if (args->vocab_size % 4 == 0)
        return launch(ctx, draw_rows<true>, grid, PIECE_THREADS, 0, *args, *space);
    return launch(ctx, draw_rows<false>, grid, PIECE_THREADS, 0, *args, *space);
}

extern "C" size_t
cuda_sample_workspace(int num_rows, int64_t vocab_size, size_t num_hash_slots, int max_top)
{
    struct sample_space space;
    size_t bytes = sample_space_carve(&space, NULL, num_rows, vocab_size, max_top);
    return bytes + num_hash_slots * sizeof *space.slots;
}

extern "C" cudaError_t
cuda_sample(const struct cuda_ctx *ctx, const struct sample_args *args)
{
    struct sample_space space;
    int max_top = args->flags & SAMPLE_TOP ? args->top_stride : 0;
    if (sample_space_carve(&space, (char *)args->workspace, args->num_rows, args->vocab_size,
                           max_top) > args->workspace_bytes)
        return cudaErrorInvalidValue;
    bool logprobs = args->flags & SAMPLE_LOGPROBS;
    cudaError_t err = sample_prepare(ctx, args, &space);
    if (err == cudaSuccess && args->flags & SAMPLE_FILTERS)
        err = sample_filter(ctx, args, &space);
    if (err == cudaSuccess)
        err = draw(ctx, args, &space);
    if (err == cudaSuccess && logprobs && args->flags & SAMPLE_LISTS)
        err = sample_restore(ctx, args, &space);
    if (err == cudaSuccess && logprobs)
        err = sample_logprobs(ctx, args, &space, true, args->flags & SAMPLE_TOP);
    return err;
}
