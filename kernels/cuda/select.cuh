/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The best tokens of a row without sorting it, by one block: a radix select on
 * places (sample.cuh), by number or by mass.
 *
 * Two passes over the row gather the best few thousand places in shared memory:
 * the first counts by the leading 11 bits of the value and finds the greatest
 * value, the second collects from the lowest bin that still fits. What is wanted
 * is nearly always in that list; where it is not (a flat distribution), the same
 * rounds run over the row itself. A round counts, or adds up masses, in 2048 bins
 * of the interval that is left and goes on inside the one where the target is
 * reached: at most 6 rounds, two as a rule.
 *
 * Masses are exp(z - max) in fixed point, 2^-44: sums are exact in any order, and
 * the 64-bit bins are two 32-bit atomics with a carry. 2^19 masses of 1 fit.
 *
 * Shared memory: the list (64 KB), the bins (24 KB).
 */
#ifndef KERNELS_CUDA_SELECT_CUH
#define KERNELS_CUDA_SELECT_CUH

#include "kernels/cuda/sample.cuh"

#define SELECT_THREADS 512
#define SELECT_LIST 8192
#define SELECT_BITS 11
#define SELECT_BINS (1 << SELECT_BITS)
#define SELECT_UNROLL 4   /* groups of four logits a thread: 32 KB a block in flight */
#define ROUND_UNROLL 2    /* of the rare rounds over a whole row, which need more registers */

struct bin_choice {
    int bin;          /* -1: the target is beyond all bins */
    uint32_t count;   /* elements of the bin */
    place_t above;    /* weight of the bins above it */
    place_t weight;   /* of the bin */
};

struct select_space {
    place_t list[SELECT_LIST];
    uint32_t count[SELECT_BINS];
    uint32_t mass_low[SELECT_BINS], mass_high[SELECT_BINS];
    place_t warps[SELECT_THREADS / 32];
    struct bin_choice choice;
    uint32_t length;
};

/* What a select looks at: the list, or all of the row. */
struct source {
    struct row_view row;
    const place_t *list;
    int length;
};

__device__ __forceinline__ uint64_t
mass_of(place_t place, float max)
{
    return __float2ull_rn(__fmul_rn(exact_exp(__fsub_rn(place_value(place), max)), 0x1p44f));
}

/* visit(z, id) for each token of the row. */
template <bool aligned, int unroll, typename Visit>
__device__ __forceinline__ void
each_of_row(const struct row_view &row, Visit visit)
{
    for (int32_t base = threadIdx.x * 4; base < row.n; base += SELECT_THREADS * unroll * 4) {
        float4 groups[unroll];
#pragma unroll
        for (int i = 0; i < unroll; i++)
            groups[i] = load_group<aligned>(row, base + i * SELECT_THREADS * 4);
#pragma unroll
        for (int i = 0; i < unroll; i++) {
            int32_t id = base + i * SELECT_THREADS * 4;
            float4 g = clean_group(mask_group(row, groups[i], id));
            float z[4] = {g.x, g.y, g.z, g.w};
#pragma unroll
            for (int j = 0; j < 4; j++) {
                if (id + j < row.n)
                    visit(heat(z[j], row.temperature), id + j);
            }
        }
    }
}

/* visit(place) for each token of the source. */
template <bool aligned, typename Visit>
__device__ __forceinline__ void
each_of(const struct source &source, bool listed, Visit visit)
{
    if (listed) {
        for (int i = threadIdx.x; i < source.length; i += SELECT_THREADS)
            visit(source.list[i]);
    } else {
        each_of_row<aligned, ROUND_UNROLL>(
            source.row, [&](float z, int32_t id) { visit(place_of(z, id)); });
    }
}

/* The sum over the block, in every thread. */
__device__ __forceinline__ place_t
block_sum(struct select_space *s, place_t x)
{
#pragma unroll
    for (int offset = 16; offset > 0; offset /= 2)
        x += __shfl_xor_sync(0xffffffffu, x, offset);
    __syncthreads();
    if (threadIdx.x % 32 == 0)
        s->warps[threadIdx.x / 32] = x;
    __syncthreads();
    x = 0;
#pragma unroll
    for (int i = 0; i < SELECT_THREADS / 32; i++)
        x += s->warps[i];
    return x;
}

__device__ __forceinline__ void
clear_bins(struct select_space *s)
{
    for (int i = threadIdx.x; i < SELECT_BINS; i += SELECT_THREADS)
        s->count[i] = s->mass_low[i] = s->mass_high[i] = 0;
    __syncthreads();
}

__device__ __forceinline__ void
add_mass(struct select_space *s, int bin, uint64_t mass)
{
    uint32_t low = (uint32_t)mass, high = (uint32_t)(mass >> 32);
    uint32_t before = atomicAdd(&s->mass_low[bin], low);
    high += before + low < before;   /* the carry */
    if (high > 0)
        atomicAdd(&s->mass_high[bin], high);
}

__device__ __forceinline__ place_t
bin_weight(const struct select_space *s, int bin, bool by_mass)
{
    return by_mass ? (place_t)s->mass_high[bin] << 32 | s->mass_low[bin] : s->count[bin];
}

/* An interval of places, cut into bins of 2^shift. */
__device__ __forceinline__ int
bin_shift(place_t width)
{
    int bits = 64 - __clzll((long long)width);
    return bits > SELECT_BITS ? bits - SELECT_BITS : 0;
}

/* The bin where the weights, added from the last bin down to `above`, reach the
 * target. All threads; begins and ends with a barrier. */
__device__ static struct bin_choice
choose_bin(struct select_space *s, place_t above, double target, bool by_mass)
{
    const int each = SELECT_BINS / SELECT_THREADS;
    int top = SELECT_BINS - 1 - (int)threadIdx.x * each;
    if (threadIdx.x == 0)
        s->choice.bin = -1;
    __syncthreads();
    place_t own = 0;
#pragma unroll
    for (int i = 0; i < each; i++)
        own += bin_weight(s, top - i, by_mass);
    place_t sum = own;   /* of the warp up to this thread */
#pragma unroll
    for (int offset = 1; offset < 32; offset *= 2) {
        place_t other = __shfl_up_sync(0xffffffffu, sum, offset);
        sum += (int)threadIdx.x % 32 >= offset ? other : 0;
    }
    if (threadIdx.x % 32 == 31)
        s->warps[threadIdx.x / 32] = sum;
    __syncthreads();
    sum += above;
    for (int i = 0; i < (int)threadIdx.x / 32; i++)
        sum += s->warps[i];
    place_t before = sum - own;
    if ((double)before < target && (double)sum >= target) {
        int i = 0;
        for (; i < each - 1; i++) {
            place_t weight = bin_weight(s, top - i, by_mass);
            if ((double)(before + weight) >= target)
                break;
            before += weight;
        }
        s->choice = {top - i, s->count[top - i], before, bin_weight(s, top - i, by_mass)};
    }
    __syncthreads();
    return s->choice;
}

/* Which places a select tells apart: of all tokens, or of values alone (the
 * result is then the last place of a value). */
enum select_grain { SELECT_TOKENS = 0, SELECT_VALUES = 32 };

/*
 * The lowest place of the shortest best-first run of places >= low whose number
 * (by_mass: mass) reaches the target, or a place between it and the next one;
 * `low` when none does. high: no place is above it. Target > 0.
 */
template <bool aligned, bool by_mass>
__device__ static place_t
select_place(struct select_space *s, const struct source &source, bool listed, place_t low,
             place_t high, double target, enum select_grain grain, float max)
{
    place_t mask = ~(place_t)0 << grain, above = 0;
    high &= mask;
    for (;;) {
        int shift = bin_shift(high - low);
        clear_bins(s);
        each_of<aligned>(source, listed, [&](place_t place) {
            place_t from_low = (place & mask) - low;
            if (from_low > high - low)
                return;
            int bin = (int)(from_low >> shift);
            atomicAdd(&s->count[bin], 1);
            if (by_mass)
                add_mass(s, bin, mass_of(place, max));
        });
        struct bin_choice choice = choose_bin(s, above, target, by_mass);
        if (choice.bin < 0)
            return low;
        place_t last = low + ((place_t)(choice.bin + 1) << shift) - 1;
        low += (place_t)choice.bin << shift;
        high = last < high ? last & mask : high;
        bool exact = !by_mass && (double)(choice.above + choice.weight) == target;
        if (shift <= grain || choice.count == 1 || exact)
            return low;
        above = choice.above;
    }
}

/*
 * The first pass: counts values >= low by their leading bits. Returns the lowest
 * place of the bin from which on there are the best `wanted` (<= SELECT_LIST) of
 * them, or of the bin above where the list cannot hold so many. ret_max: the
 * greatest, -infinity when there is none.
 */
template <bool aligned>
__device__ static place_t
survey_row(struct select_space *s, const struct row_view &row, float low, int wanted,
           float *ret_max)
{
    uint32_t low_bits = ordered_bits(low);
    float max = -INFINITY;
    clear_bins(s);
    each_of_row<aligned, SELECT_UNROLL>(row, [&](float z, int32_t) {
        uint32_t bits = ordered_bits(z);
        if (bits < low_bits)
            return;
        atomicAdd(&s->count[bits >> (32 - SELECT_BITS)], 1);
        max = fmaxf(max, z);
    });
    *ret_max = place_value(block_best<SELECT_THREADS>(last_place(max), s->warps));
    struct bin_choice choice = choose_bin(s, 0, wanted, false);
    if (choice.bin < 0)
        return 0;
    bool fits = choice.above + choice.weight <= SELECT_LIST;
    return (place_t)(choice.bin + !fits) << (64 - SELECT_BITS);
}

/*
 * The second pass: puts all places >= from, the last place of a value, into the
 * list. with_mass: ret_mass is that of all places >= low; here exp is the
 * hardware's and sums are f32 within a thread, in the order of the ids.
 */
template <bool aligned, bool with_mass>
__device__ static struct source
collect_list(struct select_space *s, const struct row_view &row, place_t from, place_t low,
             float max, place_t *ret_mass)
{
    uint32_t from_bits = (uint32_t)(from >> 32), low_bits = (uint32_t)(low >> 32);
    float mass = 0;
    if (threadIdx.x == 0)
        s->length = 0;
    __syncthreads();
    each_of_row<aligned, SELECT_UNROLL>(row, [&](float z, int32_t id) {
        uint32_t bits = ordered_bits(z);
        if (with_mass && bits >= low_bits)
            mass += exp_near(z, max);
        if (bits >= from_bits)
            s->list[atomicAdd(&s->length, 1)] = place_of(z, id);
    });
    __syncthreads();
    if (with_mass)
        *ret_mass = block_sum(s, __float2ull_rn(__fmul_rn(mass, 0x1p44f)));
    return {row, s->list, (int)s->length};
}

#endif
