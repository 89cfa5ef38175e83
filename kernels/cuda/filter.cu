/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What top_k, top_p and min_p leave of a row: its cut, the place of the last
 * token that may be drawn. One block a row; rows that ask for nothing end at
 * once.
 *
 * Passes over the row (select.cuh): min_p alone one, all else two, one more for
 * each round where 8192 places do not suffice. Two blocks of 512 threads an SM,
 * each with 32 KB in flight.
 *
 * The order is that of kernels/cpu/sample.c: min_p gives a floor; top_k the k
 * best of what is left, and all that equal the last of them; top_p the shortest
 * run of the best whose mass reaches its share of what is left then. Masses have
 * an error of 1e-7 each, half the last place of float32, as on the CPU; the two
 * may differ by a token only where a mass is that close to the share.
 *
 * Shared memory: struct select_space.
 */
#include "kernels/cuda/select.cuh"

/* What is left of a row so far, and where to look at it. */
struct rest {
    place_t low;             /* places >= low are left */
    place_t high;            /* none is above */
    place_t from;            /* those >= from are in the source's list */
    place_t mass;            /* of all that are left, without top_k; 0: not known */
    float max;
    struct source source;
};

__device__ __forceinline__ bool
is_listed(const struct rest &rest)
{
    return rest.from <= rest.low;
}

template <bool aligned>
__device__ static place_t
total_mass(struct select_space *s, const struct rest &rest, bool listed, place_t low)
{
    place_t mass = 0;
    each_of<aligned>(rest.source, listed, [&](place_t place) {
        if (place >= low)
            mass += mass_of(place, rest.max);
    });
    return block_sum(s, mass);
}

template <bool aligned>
__device__ static void
keep_top_k(struct select_space *s, struct rest &rest, int k)
{
    bool listed = rest.source.length >= k;
    if (!listed && is_listed(rest))
        return;   /* there are fewer */
    place_t from = listed && rest.from > rest.low ? rest.from : rest.low;
    rest.low = select_place<aligned, false>(s, rest.source, listed, from, rest.high, k,
                                            SELECT_VALUES, rest.max);
}

template <bool aligned>
__device__ static void
keep_top_p(struct select_space *s, struct rest &rest, float p)
{
    place_t from = is_listed(rest) ? rest.low : rest.from;
    place_t mass = total_mass<aligned>(s, rest, true, from);
    if (is_listed(rest))
        rest.mass = mass;
    else if (rest.mass == 0)
        rest.mass = total_mass<aligned>(s, rest, false, rest.low);
    double target = fmax((double)p * (double)rest.mass, 1.0);   /* one token at least */
    bool listed = (double)mass >= target;
    rest.low = select_place<aligned, true>(s, rest.source, listed, listed ? from : rest.low,
                                           rest.high, target, SELECT_TOKENS, rest.max);
}

template <bool aligned>
__device__ static place_t
find_cut(struct select_space *s, const struct row_view &row, const struct sample_params &p)
{
    int top_k = p.top_k > 0 && p.top_k < row.n ? p.top_k : 0;
    bool top_p = p.top_p < 1.0f;
    int wanted = top_k > 0 && top_k < SELECT_LIST ? top_k : SELECT_LIST;
    struct rest rest;
    rest.low = last_place(-FLT_MAX);
    rest.from = survey_row<aligned>(s, row, -FLT_MAX, wanted, &rest.max);
    rest.high = last_place(rest.max) | UINT32_MAX;
    rest.mass = 0;
    if (rest.max == -INFINITY)
        return rest.low;   /* nothing can be drawn */
    if (p.min_p > 0) {
        place_t floor = last_place(__fadd_rn(rest.max, (float)log((double)p.min_p)));
        rest.low = floor > rest.low ? floor : rest.low;
    }
    if (top_k == 0 && !top_p)
        return rest.low;
    place_t from = is_listed(rest) ? rest.low : rest.from;
    if (top_k == 0)
        rest.source = collect_list<aligned, true>(s, row, from, rest.low, rest.max, &rest.mass);
    else
        rest.source = collect_list<aligned, false>(s, row, from, rest.low, rest.max, NULL);
    if (top_k > 0)
        keep_top_k<aligned>(s, rest, top_k);
    if (top_p)
        keep_top_p<aligned>(s, rest, p.top_p);
    return rest.low;
}

template <bool aligned>
__global__ void
__launch_bounds__(SELECT_THREADS, 2)
filter_rows(struct sample_args args, struct sample_space space)
{
    extern __shared__ __align__(16) unsigned char shared[];
    struct select_space *s = reinterpret_cast<struct select_space *>(shared);
    pdl_wait();
    pdl_launch_dependents();
    const struct sample_params &p = args.params[blockIdx.x];
    bool filters = p.min_p > 0 || (p.top_k > 0 && p.top_k < args.vocab_size) || p.top_p < 1.0f;
    if (is_greedy(p) || !filters)
        return;
    place_t cut = find_cut<aligned>(s, view_row(args, space, blockIdx.x), p);
    if (threadIdx.x == 0)
        space.states[blockIdx.x].cut = cut;
}

template <bool aligned>
static cudaError_t
filter(const struct cuda_ctx *ctx, const struct sample_args *args,
       const struct sample_space *space)
{
    cudaError_t err = allow_smem(filter_rows<aligned>, sizeof(struct select_space));
    if (err != cudaSuccess)
        return err;
    return launch(ctx, filter_rows<aligned>, args->num_rows, SELECT_THREADS,
                  sizeof(struct select_space), *args, *space);
}

cudaError_t
sample_filter(const struct cuda_ctx *ctx, const struct sample_args *args,
              const struct sample_space *space)
{
    return args->vocab_size % 4 == 0 ? filter<true>(ctx, args, space)
                                     : filter<false>(ctx, args, space);
}
