/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Drawing a token a row: the greatest of z + Gumbel noise (temperature), or of z
 * (greedy). One pass over the logits, in pieces of 8192: grid (rows, pieces), so
 * that the pieces of a long batch come in waves across all rows.
 *
 * A piece is fetched into shared memory at once, 32 KB in flight a block, five
 * blocks an SM; every thread waits for and reads only what it fetched itself, so
 * no barrier is needed, and the loop over its eight groups stays rolled (the body
 * is long). A group of four logits is one Philox counter. Noise needs two
 * logarithms, which a token can be spared in two ways that change no result: its
 * logit is more than the greatest noise below the best value known (then it needs
 * no random word either), or its word bounds the noise below what it needs (as in
 * kernels/cpu/logits_impl.h). What is known is the best of the warp and what
 * earlier blocks have put into the row's state; which that is depends on timing,
 * the drawn token does not.
 *
 * Blocks meet by an atomic maximum of places (value and id in 64 bits), and the
 * one that ends last writes the row's token.
 *
 * Shared memory: [8][256] groups of four logits (group i of thread t at i * 256 + t),
 * one place a warp.
 */
#include "kernels/cuda/sample.cuh"

/* From one group of a thread to its next, in ids. */
#define GROUP_STRIDE (PIECE_THREADS * 4)

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
 * noise's word: -log(-log(u)) < -log(1 - u). Of a group by its greatest of both. */
__device__ __forceinline__ bool
cannot_win(float z, uint32_t word, float best)
{
    float need = well_below(best) - z;
    float v = (float)(0xffffff - (word >> 8)) * 0x1p-24f;   /* at most 1 - u */
    return (need > 1.0f) & (v > exp2_fast(need * -1.44269504f));
}

/* This thread's groups of a piece into shared memory, PIECE_THREADS apart from
 * `group` on; id: of the first of them. */
template <bool aligned>
__device__ __forceinline__ void
fetch_piece(float4 *group, const struct row_view &row, int32_t id)
{
    const float *from = row.x + id;
    if (aligned && ((int)blockIdx.y + 1) * PIECE_TOKENS <= row.n) {
#pragma unroll
        for (int i = 0; i < PIECE_GROUPS; i++)
            cp_async_16(group + i * PIECE_THREADS, from + i * GROUP_STRIDE);
    } else {
#pragma unroll
        for (int i = 0; i < PIECE_GROUPS; i++)
            group[i * PIECE_THREADS] = load_group<aligned>(row, id + i * GROUP_STRIDE);
    }
    cp_async_commit();
}

__device__ __forceinline__ void
mask_piece(float4 *group, const struct row_view &row, int32_t id)
{
    for (int i = 0; i < PIECE_GROUPS; i++) {
        *group = mask_group(row, *group, id);
        group += PIECE_THREADS;
        id += GROUP_STRIDE;
    }
}

__device__ static struct best_token
best_of_greedy(const float4 *group, int32_t id)
{
    struct best_token best = {-INFINITY, -1};
    for (int i = 0; i < PIECE_GROUPS; i++) {
        float4 x = clean_group(*group);
        consider(best, x.x, id);
        consider(best, x.y, id + 1);
        consider(best, x.z, id + 2);
        consider(best, x.w, id + 3);
        group += PIECE_THREADS;
        id += GROUP_STRIDE;
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

__device__ __forceinline__ void
consider_group(struct best_token &best, float known, const struct draw_view &draw, float4 x,
               int32_t id)
{
    uint4 words = philox_words(draw.seed, draw.position, (uint32_t)id / 4);
    uint32_t greatest = max(max(words.x, words.y), max(words.z, words.w));
    if (cannot_win(group_max(x) * draw.per_temperature, greatest, known))
        return;
    x = clean_group(x);
    consider_noisy(best, known, draw, x.x, id, words.x);
    consider_noisy(best, known, draw, x.y, id + 1, words.y);
    consider_noisy(best, known, draw, x.z, id + 2, words.z);
    consider_noisy(best, known, draw, x.w, id + 3, words.w);
}

/* The least z that can win, up to rounding; a finite number. */
__device__ __forceinline__ float
least_winner(float known, const struct draw_view &draw)
{
    float needed = fmaxf(well_below(known - GUMBEL_MAX), well_below(place_value(draw.cut)));
    return fmaxf(needed, -FLT_MAX);
}

/* known: a value that some token of the row reaches, or -infinity. Rounded
 * towards zero z is finite wherever the exact one is. */
__device__ static struct best_token
best_of_noisy(const float4 *group, int32_t id, const struct draw_view &draw, float known)
{
    struct best_token best = {-INFINITY, -1};
    float least = least_winner(known, draw);
#pragma unroll 1
    for (int i = 0; i < PIECE_GROUPS; i++) {
        float4 x = *group;
        if (__fmul_rz(group_max(x), draw.per_temperature) >= least)
            consider_group(best, known, draw, x, id);
        if (__any_sync(0xffffffffu, best.value > known)) {
            known = warp_max(fmaxf(best.value, known));
            least = least_winner(known, draw);
        }
        group += PIECE_THREADS;
        id += GROUP_STRIDE;
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

/* By one thread: the block's best joins the row's; the last block's thread writes
 * the result. */
__device__ static void
end_piece(const struct sample_args &args, struct row_state *state, int row, const place_t *room)
{
    place_t best = 0;
    for (int i = 0; i < PIECE_THREADS / 32; i++)
        best = room[i] > best ? room[i] : best;
    if (best > 0)
        atomicMax(&state->best, best);
    __threadfence();
    if (atomicAdd(&state->pieces_done, 1) != gridDim.y - 1)
        return;
    __threadfence();
    best = *(const volatile place_t *)&state->best;
    int32_t token = best > 0 ? place_id(best) : state->fallback;
    args.out[row] = {token, 0, 0};
    args.drawn[row] = token;
}

template <bool aligned>
__global__ void
__launch_bounds__(PIECE_THREADS, 5)
draw_rows(struct sample_args args, struct sample_space space)
{
    __shared__ float4 groups[PIECE_GROUPS * PIECE_THREADS];
    __shared__ place_t room[PIECE_THREADS / 32];
    int row = blockIdx.x;
    int32_t id = blockIdx.y * PIECE_TOKENS + threadIdx.x * 4;
    float4 *group = &groups[threadIdx.x];
    pdl_wait();
    pdl_launch_dependents();
    struct row_view view = view_row(args, space, row);
    fetch_piece<aligned>(group, view, id);

    const struct sample_params &p = args.params[row];
    struct row_state *state = &space.states[row];
    struct draw_view draw = {p.seed, p.position, view.temperature, __frcp_rz(view.temperature),
                             state->cut};
    float known = known_value(state);
    bool greedy = is_greedy(p);
    cp_async_wait<0>();
    if (view.allowed != NULL)
        mask_piece(group, view, id);
    struct best_token best = greedy ? best_of_greedy(group, id)
                                    : best_of_noisy(group, id, draw, known);
    place_t place = best.id < 0 ? 0 : place_of(best.value, best.id);
    place = warp_best(place);
    if (threadIdx.x % 32 == 0)
        room[threadIdx.x / 32] = place;
    __syncthreads();
    if (threadIdx.x == 0)
        end_piece(args, state, row, room);
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
