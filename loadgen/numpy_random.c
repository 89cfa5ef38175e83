/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Gamma: Marsaglia and Tsang 2000 above shape 1, Ahrens and Dieter 1974 below.
 * PCG64: O'Neill 2014. Its bounded draws: Lemire 2019.
 */
#include "loadgen/numpy_random.h"

#include <math.h>

/* ---- legacy ---- */

void
numpy_legacy_seed(struct numpy_legacy *g, uint32_t seed)
{
    *g = (struct numpy_legacy){0};
    mt19937_seed(&g->twister, seed);
}

double
numpy_legacy_uniform(struct numpy_legacy *g)
{
    return mt19937_uniform(&g->twister);
}

int64_t
numpy_legacy_below(struct numpy_legacy *g, int64_t count)
{
    ASSERT(count > 0 && count <= (int64_t)1 << 32);
    return mt19937_at_most(&g->twister, (uint32_t)(count - 1));
}

void
numpy_legacy_permutation(struct numpy_legacy *g, size_t *indices, size_t count)
{
    for (size_t i = 0; i < count; i++)
        indices[i] = i;
    for (size_t i = count; i-- > 1;) {
        size_t j = mt19937_at_most(&g->twister, (uint32_t)i), kept = indices[i];
        indices[i] = indices[j];
        indices[j] = kept;
    }
}

static double
legacy_exponential(struct numpy_legacy *g)
{
    return -log(1.0 - numpy_legacy_uniform(g));
}

/* Polar method; pairs come one by one. */
static double
legacy_normal(struct numpy_legacy *g)
{
    if (g->has_normal) {
        g->has_normal = false;
        return g->spare_normal;
    }
    double x, y, r2;
    do {
        x = 2.0 * numpy_legacy_uniform(g) - 1.0;
        y = 2.0 * numpy_legacy_uniform(g) - 1.0;
        r2 = x * x + y * y;
    } while (r2 >= 1.0 || r2 == 0.0);
    double f = sqrt(-2.0 * log(r2) / r2);
    g->spare_normal = f * x;
    g->has_normal = true;
    return f * y;
}

static double
gamma_below_one(struct numpy_legacy *g, double shape)
{
    for (;;) {
        double u = numpy_legacy_uniform(g), v = legacy_exponential(g), x;
        if (u <= 1.0 - shape) {
            x = pow(u, 1.0 / shape);
            if (x <= v)
                return x;
        } else {
            double y = -log((1.0 - u) / shape);
            x = pow(1.0 - shape + shape * y, 1.0 / shape);
            if (x <= v + y)
                return x;
        }
    }
}

static double
gamma_above_one(struct numpy_legacy *g, double shape)
{
    double b = shape - 1.0 / 3.0, c = 1.0 / sqrt(9.0 * b);
    for (;;) {
        double x, v;
        do {
            x = legacy_normal(g);
            v = 1.0 + c * x;
        } while (v <= 0.0);
        v = v * v * v;
        double u = numpy_legacy_uniform(g);
        if (u < 1.0 - 0.0331 * (x * x) * (x * x))
            return b * v;
        if (log(u) < 0.5 * x * x + b * (1.0 - v + log(v)))
            return b * v;
    }
}

double
numpy_legacy_gamma(struct numpy_legacy *g, double shape)
{
    if (shape == 1.0)
        return legacy_exponential(g);
    if (shape == 0.0)
        return 0.0;
    return shape < 1.0 ? gamma_below_one(g, shape) : gamma_above_one(g, shape);
}

/* ---- new: SeedSequence ---- */

#define POOL_WORDS 4

static uint32_t
hash_mix(uint32_t value, uint32_t *constant)
{
    value ^= *constant;
    *constant *= 0x931e8875u;
    value *= *constant;
    return value ^ (value >> 16);
}

static uint32_t
mix(uint32_t x, uint32_t y)
{
    uint32_t r = 0xca01f9ddu * x - 0x4973f715u * y;
    return r ^ (r >> 16);
}

/* The first four 64-bit words of SeedSequence(seed). */
static void
seed_words(uint64_t seed, uint64_t ret[4])
{
    uint32_t entropy[POOL_WORDS] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    uint32_t pool[POOL_WORDS], constant = 0x43b0d7e5u, words[8];
    for (size_t i = 0; i < POOL_WORDS; i++)
        pool[i] = hash_mix(entropy[i], &constant);
    for (size_t from = 0; from < POOL_WORDS; from++) {
        for (size_t to = 0; to < POOL_WORDS; to++) {
            if (from != to)
                pool[to] = mix(pool[to], hash_mix(pool[from], &constant));
        }
    }
    constant = 0x8b51f9ddu;
    for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
        uint32_t value = pool[i % POOL_WORDS] ^ constant;
        constant *= 0x58f38dedu;
        value *= constant;
        words[i] = value ^ (value >> 16);
    }
    for (size_t i = 0; i < 4; i++)
        ret[i] = words[2 * i] | (uint64_t)words[2 * i + 1] << 32;
}

/* ---- new: PCG64 ---- */

static void
pcg64_step(struct numpy_generator *g)
{
    const unsigned __int128 multiplier =
        (unsigned __int128)2549297995355413924u << 64 | 4865540595714422341u;
    g->state = g->state * multiplier + g->increment;
}

void
numpy_generator_seed(struct numpy_generator *g, uint64_t seed)
{
    uint64_t w[4];
    seed_words(seed, w);
    *g = (struct numpy_generator){0};
    g->increment = ((unsigned __int128)w[2] << 64 | w[3]) << 1 | 1;
    pcg64_step(g);
    g->state += (unsigned __int128)w[0] << 64 | w[1];
    pcg64_step(g);
}

static uint64_t
pcg64_next(struct numpy_generator *g)
{
    pcg64_step(g);
    uint64_t x = (uint64_t)(g->state >> 64) ^ (uint64_t)g->state;
    unsigned turn = (unsigned)(g->state >> 122);
    return x >> turn | x << (-turn & 63);
}

/* The low half of a word first, then its high half. */
static uint32_t
pcg64_next_half(struct numpy_generator *g)
{
    if (g->has_half) {
        g->has_half = false;
        return g->half;
    }
    uint64_t word = pcg64_next(g);
    g->half = (uint32_t)(word >> 32);
    g->has_half = true;
    return (uint32_t)word;
}

int64_t
numpy_generator_integer(struct numpy_generator *g, int64_t low, int64_t high)
{
    ASSERT(low < high && high - low <= (int64_t)1 << 32);
    uint32_t last = (uint32_t)(high - low - 1);
    if (last == 0)
        return low;
    if (last == UINT32_MAX)
        return low + pcg64_next_half(g);
    uint32_t count = last + 1;
    uint64_t m = (uint64_t)pcg64_next_half(g) * count;
    if ((uint32_t)m < count) {
        uint32_t threshold = (UINT32_MAX - last) % count;
        while ((uint32_t)m < threshold)
            m = (uint64_t)pcg64_next_half(g) * count;
    }
    return low + (int64_t)(m >> 32);
}
