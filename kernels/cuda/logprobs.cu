/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Log-probabilities of one token a row and of the row's best tokens, from raw
 * logits.
 *
 * norm_pieces: one pass, pieces of 8192 logits as in sample.cu (32 KB in flight
 * a block, four blocks an SM): each block's maximum, its sum of exp(x - maximum)
 * and how many logits are at least the target's. The pieces are those of the row
 * length alone and meet in a fixed order in float64, so that a row's numbers do
 * not depend on its company. score_rows: a warp a row adds the pieces up.
 * top_rows: the best n by radix select (select.cuh), two passes, sorted by a
 * bitonic network in shared memory; lists longer than 2048 in the workspace.
 *
 * Shared memory: a few words a warp; top_rows struct select_space.
 */
#include "kernels/cuda/select.cuh"

/* log(sum(exp(x))) in two parts, which stay exact for large x. */
struct row_norm {
    double log_sum;
    float max;
    int32_t count;   /* of logits >= the target's, when that is finite */
};

__device__ __forceinline__ int32_t
target_of(const struct sample_args &args, bool drawn, int row)
{
    return drawn ? args.out[row].token : args.params[row].target;
}

__device__ __forceinline__ float
logprob_of(const struct row_norm &norm, float x)
{
    if (norm.max == -INFINITY)
        return -INFINITY;
    return (float)((double)x - (double)norm.max - norm.log_sum);
}

__device__ __forceinline__ struct row_view
raw_row(const struct sample_args &args, int row)
{
    return {args.logits + (int64_t)row * args.vocab_size, (int32_t)args.vocab_size, NULL, 1.0f};
}

template <bool aligned>
__global__ void
__launch_bounds__(PIECE_THREADS, 4)
norm_pieces(struct sample_args args, struct sample_space space, bool drawn)
{
    __shared__ float maxima[PIECE_THREADS / 32];
    __shared__ double sums[PIECE_THREADS / 32];
    __shared__ int32_t counts[PIECE_THREADS / 32];
    int row = blockIdx.x, warp = threadIdx.x / 32;
    pdl_wait();
    pdl_launch_dependents();
    if (drawn && args.params[row].num_logprobs < 0)
        return;
    struct row_view view = raw_row(args, row);
    int32_t first = blockIdx.y * PIECE_TOKENS + threadIdx.x * 4;
    float4 groups[PIECE_GROUPS];
#pragma unroll
    for (int i = 0; i < PIECE_GROUPS; i++)
        groups[i] = load_group<aligned>(view, first + i * PIECE_THREADS * 4);
    float target = clean(view.x[target_of(args, drawn, row)]), max = -INFINITY;
    int32_t count = 0;
#pragma unroll
    for (int i = 0; i < PIECE_GROUPS; i++) {
        float4 g = groups[i] = clean_group(groups[i]);
        max = fmaxf(max, group_max(g));
        count += (g.x >= target) + (g.y >= target) + (g.z >= target) + (g.w >= target);
    }
    max = warp_max(max);
    count = __reduce_add_sync(0xffffffffu, count);
    if (threadIdx.x % 32 == 0) {
        maxima[warp] = max;
        counts[warp] = count;
    }
    __syncthreads();
    for (int i = 0; i < PIECE_THREADS / 32; i++)
        max = fmaxf(max, maxima[i]);
    float sum = 0;
    if (max > -INFINITY) {
#pragma unroll
        for (int i = 0; i < PIECE_GROUPS; i++)
            sum += (exp_near(groups[i].x, max) + exp_near(groups[i].y, max)) +
                   (exp_near(groups[i].z, max) + exp_near(groups[i].w, max));
    }
    double total = sum;
#pragma unroll
    for (int offset = 16; offset > 0; offset /= 2)
        total += __shfl_xor_sync(0xffffffffu, total, offset);
    if (threadIdx.x % 32 == 0)
        sums[warp] = total;
    __syncthreads();
    if (threadIdx.x == 0) {
        struct piece_norm norm = {0, max, 0};
        for (int i = 0; i < PIECE_THREADS / 32; i++) {
            norm.sum += sums[i];
            norm.count += counts[i];
        }
        space.norms[(int64_t)row * gridDim.y + blockIdx.y] = norm;
    }
}

/* By one whole warp; in every lane. */
__device__ static struct row_norm
add_pieces(const struct piece_norm *pieces, int n)
{
    int lane = threadIdx.x % 32;
    struct row_norm norm = {0, -INFINITY, 0};
    for (int i = lane; i < n; i += 32) {
        norm.max = fmaxf(norm.max, pieces[i].max);
        norm.count += pieces[i].count;
    }
    norm.max = warp_max(norm.max);
    norm.count = __reduce_add_sync(0xffffffffu, norm.count);
    double sum = 0;
    for (int i = lane; i < n; i += 32) {
        if (pieces[i].max > -INFINITY)
            sum += pieces[i].sum * exp((double)pieces[i].max - (double)norm.max);
    }
#pragma unroll
    for (int offset = 16; offset > 0; offset /= 2)
        sum += __shfl_xor_sync(0xffffffffu, sum, offset);
    norm.log_sum = log(sum);
    return norm;
}

#define SCORE_WARPS 4

__global__ void
__launch_bounds__(SCORE_WARPS * 32)
score_rows(struct sample_args args, struct sample_space space, int num_pieces, bool drawn)
{
    pdl_wait();
    pdl_launch_dependents();
    int row = blockIdx.x * SCORE_WARPS + threadIdx.x / 32;
    if (row >= args.num_rows || (drawn && args.params[row].num_logprobs < 0))
        return;
    struct row_norm norm = add_pieces(space.norms + (int64_t)row * num_pieces, num_pieces);
    int32_t token = target_of(args, drawn, row);
    float x = clean(args.logits[(int64_t)row * args.vocab_size + token]);
    __syncwarp();
    if (threadIdx.x % 32 == 0)
        args.out[row] = {token, logprob_of(norm, x),
                         x > -INFINITY ? norm.count : (int32_t)args.vocab_size};
}

/* ---- top lists ------------------------------------------------------------ */

/*
 * Greatest first, by the block. Every comparison of this form of the bitonic
 * network moves the greater one to the front, so that a length that is no power
 * of two can be thought to end in zeros, which stay there.
 */
__device__ static void
sort_places(place_t *list, int n)
{
    for (int width = 2; width < 2 * n; width *= 2) {
        for (int step = width / 2; step > 0; step /= 2) {
            for (int i = threadIdx.x; i < n; i += SELECT_THREADS) {
                int other = step == width / 2 ? i ^ (width - 1) : i ^ step;
                if (other <= i || other >= n || list[i] >= list[other])
                    continue;
                place_t swapped = list[i];
                list[i] = list[other];
                list[other] = swapped;
            }
            __syncthreads();
        }
    }
}

/* Puts the best n of the row, in no order, into `list`. */
template <bool aligned>
__device__ static void
gather_best(struct select_space *s, const struct row_view &row, int n, place_t *list)
{
    int wanted = n < SELECT_LIST ? n : SELECT_LIST;
    float max;
    place_t from = survey_row<aligned>(s, row, -INFINITY, wanted, &max);
    struct source source = collect_list<aligned, false>(s, row, from, 0, max, NULL);
    bool listed = source.length >= n;
    place_t cut = select_place<aligned, false>(s, source, listed, listed ? from : 0,
                                               last_place(max) | UINT32_MAX, n, SELECT_TOKENS,
                                               max);
    if (threadIdx.x == 0)
        s->length = 0;
    __syncthreads();
    each_of<aligned>(source, listed, [&](place_t place) {
        if (place >= cut)
            list[atomicAdd(&s->length, 1)] = place;
    });
    __syncthreads();
}

template <bool aligned>
__global__ void
__launch_bounds__(SELECT_THREADS, 2)
top_rows(struct sample_args args, struct sample_space space, int num_pieces)
{
    extern __shared__ __align__(16) unsigned char shared[];
    struct select_space *s = reinterpret_cast<struct select_space *>(shared);
    place_t *short_list = reinterpret_cast<place_t *>(s->mass_low);   /* counts need no masses */
    static_assert(SHORT_LIST * sizeof(place_t) <= 2 * sizeof s->mass_low, "the list fits");
    pdl_wait();
    pdl_launch_dependents();
    int row = blockIdx.x, wanted = args.params[row].num_logprobs;
    if (wanted <= 0)
        return;
    int n = wanted < args.vocab_size ? wanted : (int)args.vocab_size;
    place_t *list = n <= SHORT_LIST ? short_list
                                    : space.lists + (int64_t)row * space.list_length;
    gather_best<aligned>(s, raw_row(args, row), n, list);
    sort_places(list, n);
    struct row_norm norm = add_pieces(space.norms + (int64_t)row * num_pieces, num_pieces);
    for (int i = threadIdx.x; i < wanted; i += SELECT_THREADS) {
        int64_t at = (int64_t)row * args.top_stride + i;
        args.top_ids[at] = i < n ? place_id(list[i]) : -1;
        args.top_logprobs[at] = i < n ? logprob_of(norm, place_value(list[i])) : -INFINITY;
    }
}

template <bool aligned>
static cudaError_t
score(const struct cuda_ctx *ctx, const struct sample_args *args,
      const struct sample_space *space, bool drawn, bool top)
{
    int pieces = num_pieces(args->vocab_size);
    int score_blocks = (args->num_rows + SCORE_WARPS - 1) / SCORE_WARPS;
    size_t bytes = sizeof(struct select_space);
    cudaError_t err = launch(ctx, norm_pieces<aligned>, dim3(args->num_rows, pieces),
                             PIECE_THREADS, 0, *args, *space, drawn);
    if (err == cudaSuccess)
        err = launch(ctx, score_rows, score_blocks, SCORE_WARPS * 32, 0, *args, *space, pieces,
                     drawn);
    if (err == cudaSuccess && top)
        err = allow_smem(top_rows<aligned>, bytes);
    if (err == cudaSuccess && top)
        err = launch(ctx, top_rows<aligned>, args->num_rows, SELECT_THREADS, bytes, *args, *space,
                     pieces);
    return err;
}

cudaError_t
sample_logprobs(const struct cuda_ctx *ctx, const struct sample_args *args,
                const struct sample_space *space, bool drawn, bool top)
{
    return args->vocab_size % 4 == 0 ? score<true>(ctx, args, space, drawn, top)
                                     : score<false>(ctx, args, space, drawn, top);
}

extern "C" cudaError_t
cuda_logprobs(const struct cuda_ctx *ctx, const struct sample_args *args)
{
    struct sample_space space;
    bool top = args->flags & SAMPLE_TOP;
    if (sample_space_carve(&space, (char *)args->workspace, args->num_rows, args->vocab_size,
                           top ? args->top_stride : 0) > args->workspace_bytes)
        return cudaErrorInvalidValue;
    return sample_logprobs(ctx, args, &space, false, top);
}
