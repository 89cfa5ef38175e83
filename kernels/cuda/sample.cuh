/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the kernels of sampling and log-probabilities share. NaN counts as
 * -infinity and +infinity as the greatest float, as in kernels/cpu; a token's
 * place in its row is one 64-bit number, greater for a greater value and, of
 * equal values, for the lower id. A best token is then a maximum, and a set of
 * best tokens ("what may be drawn", "the top n") is all numbers from one on,
 * whoever finds them in whatever order.
 */
#ifndef KERNELS_CUDA_SAMPLE_CUH
#define KERNELS_CUDA_SAMPLE_CUH

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/ptx.cuh"

#include <cfloat>
#include <cmath>

/* Colder than this is greedy: the division would overflow. */
#define MIN_TEMPERATURE 1e-5f

/* A row is cut into pieces of one block each, whatever the number of rows. */
#define PIECE_THREADS 256
#define PIECE_GROUPS 8   /* of four logits a thread: 32 KB a block in flight */
#define PIECE_TOKENS (PIECE_THREADS * PIECE_GROUPS * 4)

static inline int
num_pieces(int64_t vocab_size)
{
    return (int)((vocab_size + PIECE_TOKENS - 1) / PIECE_TOKENS);
}

typedef unsigned long long place_t;

/* ---- the workspace ------------------------------------------------------ */

/* What one kernel tells the next about a row. */
struct row_state {
    place_t best;           /* of value + noise so far; 0: nothing can be drawn */
    place_t cut;            /* what may be drawn: places >= cut */
    uint32_t pieces_done;
    int32_t fallback;       /* what is drawn when nothing can be */
};

/* The sum of exp(x - max) over a piece of a row, and how many of its logits
 * are at least the target's (when that is finite). */
struct piece_norm {
    double sum;
    float max;
    int32_t count;
};

/* A slot of a row's hash table of edited ids. */
struct edit_slot {
    int32_t id;             /* -1: the slot is free */
    uint32_t word;          /* marks and count, see lists.cu */
    float raw;              /* the logit before it was edited */
};

struct sample_space {
    struct row_state *states;   /* [R] */
    struct piece_norm *norms;   /* [R, pieces] */
    uint32_t *allowed;          /* [R, allowed_words] bit i: id i is allowed */
    place_t *lists;             /* [R, list_length], of long top lists */
    struct edit_slot *slots;    /* all tables, of the lengths that params say */
    int allowed_words, list_length;
};

/* Top lists up to this long are sorted in shared memory. */
#define SHORT_LIST 2048

/* Carves `memory`; the tables come last. Returns the bytes without them. */
static inline size_t
sample_space_carve(struct sample_space *space, char *memory, int num_rows, int64_t vocab_size,
                   int max_top)
{
    size_t rows = (size_t)num_rows, at = 0;
    int64_t longest = max_top < vocab_size ? max_top : vocab_size;
    space->allowed_words = (int)((vocab_size + 31) / 32);
    space->list_length = longest > SHORT_LIST ? (int)longest : 0;
    space->states = (struct row_state *)(memory + at);
    at += rows * sizeof *space->states;
    space->norms = (struct piece_norm *)(memory + at);
    at += rows * (size_t)num_pieces(vocab_size) * sizeof *space->norms;
    space->lists = (place_t *)(memory + at);
    at += rows * (size_t)space->list_length * sizeof *space->lists;
    space->allowed = (uint32_t *)(memory + at);
    at += rows * (size_t)space->allowed_words * sizeof *space->allowed;
    space->slots = (struct edit_slot *)(memory + at);
    return at;
}

/* ---- launchers of the files, each one kernel or a few -------------------- */

/* lists.cu: every row's state, its allowed ids and its edited logits. */
cudaError_t sample_prepare(const struct cuda_ctx *ctx, const struct sample_args *args,
                           const struct sample_space *space);
/* The raw logits again. */
cudaError_t sample_restore(const struct cuda_ctx *ctx, const struct sample_args *args,
                           const struct sample_space *space);
/* filter.cu: the cut of each row that has top_k, top_p or min_p. */
cudaError_t sample_filter(const struct cuda_ctx *ctx, const struct sample_args *args,
                          const struct sample_space *space);
/* logprobs.cu: of args->out[i].token (drawn) or params[i].target, from raw logits. */
cudaError_t sample_logprobs(const struct cuda_ctx *ctx, const struct sample_args *args,
                            const struct sample_space *space, bool drawn, bool top);

#ifdef __CUDACC__

/* ---- values and places --------------------------------------------------- */

__device__ __forceinline__ float
clean(float x)
{
    return fminf(fmaxf(x, -INFINITY), FLT_MAX);
}

/* Ordered like the values; -0 and 0 are one. */
__device__ __forceinline__ uint32_t
ordered_bits(float z)
{
    int32_t bits = __float_as_int(__fadd_rn(z, 0.0f));
    return (uint32_t)(bits ^ (bits >> 31 | INT32_MIN));   /* negative: ~bits */
}

__device__ __forceinline__ place_t
place_of(float z, int32_t id)
{
    return (place_t)ordered_bits(z) << 32 | (uint32_t)~id;
}

/* The last place that value z can have. */
__device__ __forceinline__ place_t
last_place(float z)
{
    return (place_t)ordered_bits(z) << 32;
}

__device__ __forceinline__ float
place_value(place_t place)
{
    uint32_t bits = (uint32_t)(place >> 32);
    return __uint_as_float(bits & 0x80000000u ? bits & 0x7fffffffu : ~bits);
}

__device__ __forceinline__ int32_t
place_id(place_t place)
{
    return (int32_t)~(uint32_t)place;
}

/* One row, as it is drawn from. */
struct row_view {
    const float *x;
    int32_t n;
    const uint32_t *allowed;   /* NULL: all ids */
    float temperature;         /* 1: no division */
};

/* Four logits from id on, id % 4 == 0; -infinity beyond the end. `aligned`: the
 * row's length is a multiple of four. */
template <bool aligned>
__device__ __forceinline__ float4
load_group(const struct row_view &row, int32_t id)
{
    float4 g = make_float4(-INFINITY, -INFINITY, -INFINITY, -INFINITY);
    if (id >= row.n)
        return g;
    if (aligned)
        return *reinterpret_cast<const float4 *>(row.x + id);
    g.x = row.x[id];
    if (id + 1 < row.n)
        g.y = row.x[id + 1];
    if (id + 2 < row.n)
        g.z = row.x[id + 2];
    if (id + 3 < row.n)
        g.w = row.x[id + 3];
    return g;
}

/* -infinity where an id is not allowed. */
__device__ __forceinline__ float4
mask_group(const struct row_view &row, float4 g, int32_t id)
{
    if (row.allowed != NULL && id < row.n) {
        uint32_t bits = row.allowed[id / 32] >> (id % 32);
        g.x = bits & 1 ? g.x : -INFINITY;
        g.y = bits & 2 ? g.y : -INFINITY;
        g.z = bits & 4 ? g.z : -INFINITY;
        g.w = bits & 8 ? g.w : -INFINITY;
    }
    return g;
}

__device__ __forceinline__ float4
clean_group(float4 g)
{
    return make_float4(clean(g.x), clean(g.y), clean(g.z), clean(g.w));
}

/* Of the numbers among them; NaN when there is none. */
__device__ __forceinline__ float
group_max(float4 g)
{
    return fmaxf(fmaxf(g.x, g.y), fmaxf(g.z, g.w));
}

__device__ __forceinline__ float
heat(float x, float temperature)
{
    return temperature == 1.0f ? x : clean(__fdiv_rn(x, temperature));
}

__device__ __forceinline__ bool
is_greedy(const struct sample_params &p)
{
    return !(p.temperature >= MIN_TEMPERATURE);
}

__device__ __forceinline__ struct row_view
view_row(const struct sample_args &args, const struct sample_space &space, int row)
{
    const struct sample_params &p = args.params[row];
    struct row_view view;
    view.x = args.logits + (int64_t)row * args.vocab_size;
    view.n = (int32_t)args.vocab_size;
    view.allowed = p.num_allowed > 0 ? space.allowed + (int64_t)row * space.allowed_words : NULL;
    view.temperature = is_greedy(p) ? 1.0f : p.temperature;
    return view;
}

/* ---- exp, log and noise: kernels/cpu/vmath.h, operation by operation ------ */

/* Not of NaN. */
__device__ __forceinline__ float
exact_exp(float x)
{
    const float lowest = -87.33654f, highest = 88.72283f;
    float clamped = fmaxf(fminf(x, highest), lowest);
    float n = rintf(__fmul_rn(clamped, 1.44269504f));
    float r = __fmaf_rn(n, -0.693359375f, clamped);
    r = __fmaf_rn(n, 2.12194440e-4f, r);
    float p = __fmaf_rn(1.9875691500e-4f, r, 1.3981999507e-3f);
    p = __fmaf_rn(p, r, 8.3334519073e-3f);
    p = __fmaf_rn(p, r, 4.1665795894e-2f);
    p = __fmaf_rn(p, r, 1.6666665459e-1f);
    p = __fmaf_rn(p, r, 5.0000001201e-1f);
    p = __fadd_rn(__fmaf_rn(p, __fmul_rn(r, r), r), 1.0f);
    int whole = (int)n, half = whole >> 1;
    float y = __fmul_rn(p, __int_as_float((half + 127) << 23));
    y = __fmul_rn(y, __int_as_float((whole - half + 127) << 23));
    y = x < lowest ? 0.0f : y;
    return x > highest ? INFINITY : y;
}

/* exp(x - max), x <= max, where the hardware's error (2^-22) will do. */
__device__ __forceinline__ float
exp_near(float x, float max)
{
    return exp2_fast(__fmul_rn(x - max, 1.44269504f));
}

/* Of positive normal numbers. */
__device__ __forceinline__ float
exact_log(float x)
{
    int bits = __float_as_int(x);
    int e = ((bits >> 23) & 0xff) - 126;
    float m = __int_as_float((bits & 0x007fffff) | 0x3f000000);
    bool small = m < 0.70710678f;
    e -= small;
    m = __fadd_rn(__fadd_rn(m, -1.0f), small ? m : 0.0f);
    float z = __fmul_rn(m, m);
    float p = __fmaf_rn(7.0376836292e-2f, m, -1.1514610310e-1f);
    p = __fmaf_rn(p, m, 1.1676998740e-1f);
    p = __fmaf_rn(p, m, -1.2420140846e-1f);
    p = __fmaf_rn(p, m, 1.4249322787e-1f);
    p = __fmaf_rn(p, m, -1.6668057665e-1f);
    p = __fmaf_rn(p, m, 2.0000714765e-1f);
    p = __fmaf_rn(p, m, -2.4999993993e-1f);
    p = __fmaf_rn(p, m, 3.3333331174e-1f);
    p = __fmul_rn(__fmul_rn(p, m), z);
    float fe = (float)e;
    p = __fmaf_rn(fe, -2.12194440e-4f, p);
    p = __fmaf_rn(-0.5f, z, p);
    return __fmaf_rn(fe, 0.693359375f, __fadd_rn(m, p));
}

/* -log(-log(u)), u uniform in (0, 1) from a random word. */
__device__ __forceinline__ float
gumbel_noise(uint32_t word)
{
    float u = __fmul_rn(__fadd_rn((float)(word >> 9), 0.5f), 0x1p-23f);
    return -exact_log(-exact_log(u));
}

/* Philox4x32-10 (util/rng.h): the words of ids 4 * group .. 4 * group + 3. */
__device__ __forceinline__ uint4
philox_words(uint64_t seed, uint64_t position, uint32_t group)
{
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    uint4 c = make_uint4((uint32_t)position, (uint32_t)(position >> 32), group, 0);
#pragma unroll
    for (int round = 0; round < 10; round++) {
        uint32_t high0 = __umulhi(0xD2511F53u, c.x), low0 = 0xD2511F53u * c.x;
        uint32_t high1 = __umulhi(0xCD9E8D57u, c.z), low1 = 0xCD9E8D57u * c.z;
        c = make_uint4(high1 ^ c.y ^ k0, low1, high0 ^ c.w ^ k1, low0);
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return c;
}

/* ---- over a warp and a block ---------------------------------------------- */

__device__ __forceinline__ place_t
warp_best(place_t place)
{
#pragma unroll
    for (int offset = 16; offset > 0; offset /= 2) {
        place_t other = __shfl_xor_sync(0xffffffffu, place, offset);
        place = other > place ? other : place;
    }
    return place;
}

/* In every thread; `room` is of the block's warps and free again after the next
 * barrier that follows. */
template <int threads>
__device__ __forceinline__ place_t
block_best(place_t place, place_t *room)
{
    place = warp_best(place);
    if (threadIdx.x % 32 == 0)
        room[threadIdx.x / 32] = place;
    __syncthreads();
    place = room[0];
#pragma unroll
    for (int i = 1; i < threads / 32; i++)
        place = room[i] > place ? room[i] : place;
    return place;
}

#endif

#endif
