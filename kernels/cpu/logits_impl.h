/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Passes over a row of logits: what sample.c builds its choices from. NaN
 * counts as -infinity and +infinity as the greatest float, so that no later
 * difference is NaN. Sums run in an order that depends on the length alone.
 * Included by kernels_<isa>.c.
 */
#ifndef KERNELS_CPU_LOGITS_IMPL_H
#define KERNELS_CPU_LOGITS_IMPL_H

#include "kernels/cpu/kernels.h"
#include "kernels/cpu/vmath.h"
#include "util/rng.h"

#include <float.h>

INLINE vf
clean(vf x)
{
    return v_min(v_select(x == x, x, v_set(-INFINITY)), v_set(FLT_MAX));
}

/* Lanes from i on; -infinity beyond n. */
INLINE vf
logits_at(const float *x, int64_t i, int64_t n)
{
    return clean(i + LANES <= n ? v_load(x + i) : v_load_part(x + i, (int)(n - i), -INFINITY));
}

static float
logits_max(const float *x, int64_t n)
{
    vf max0 = v_set(-INFINITY), max1 = max0;
    int64_t i = 0;
    for (; i + 2 * LANES <= n; i += 2 * LANES) {
        max0 = v_max(max0, clean(v_load(x + i)));
        max1 = v_max(max1, clean(v_load(x + i + LANES)));
    }
    for (; i < n; i += LANES)
        max0 = v_max(max0, logits_at(x, i, n));
    return v_reduce_max(v_max(max0, max1));
}

static int32_t
logits_find(const float *x, int64_t n, float value)
{
    for (int64_t i = 0; i < n; i += LANES) {
        vf v = logits_at(x, i, n);
        if (!v_any(v == v_set(value)))
            continue;
        for (int j = 0; j < LANES && i + j < n; j++) {
            if (v[j] == value)
                return (int32_t)(i + j);
        }
    }
    return -1;
}

/* Lanes add up in f32 over a stretch, stretches in double. */
#define SUM_STRETCH 512

static double
logits_sum_exp(const float *x, int64_t n, float max)
{
    double total = 0;
    for (int64_t begin = 0; begin < n; begin += SUM_STRETCH) {
        int64_t end = MIN(n, begin + SUM_STRETCH);
        vf sum = v_set(0.0f);
        for (int64_t i = begin; i < end; i += LANES)
            sum = sum + v_exp(logits_at(x, i, n) - v_set(max));
        total += (double)v_sum(sum);
    }
    return total;
}

static int64_t
logits_count_ge(const float *x, int64_t n, float value)
{
    int64_t count = 0;
    for (int64_t i = 0; i < n; i += LANES) {
        if (i + LANES <= n)
            count += v_count(clean(v_load(x + i)) >= v_set(value));
        else
            for (int64_t j = i; j < n; j++)
                count += clean(v_set(x[j]))[0] >= value;
    }
    return count;
}

static int
logits_above(const float *x, int64_t from, int64_t n, float floor, int32_t *ids, int room,
             int64_t *ret_next)
{
    int count = 0;
    int64_t i = from;
    for (; i < n && count + LANES <= room; i += LANES) {
        vf v = logits_at(x, i, n);
        if (!v_any(v > v_set(floor)))
            continue;
        for (int j = 0; j < LANES && i + j < n; j++) {
            if (v[j] > floor)
                ids[count++] = (int32_t)(i + j);
        }
    }
    *ret_next = MIN(i, n);
    return count;
}

static void
logits_divide(float *x, int64_t n, float temperature)
{
    vf t = v_set(temperature);
    for (int64_t i = 0; i < n; i += LANES) {
        vf z = clean(logits_at(x, i, n) / t);
        if (i + LANES <= n)
            v_store(x + i, z);
        else
            v_store_part(x + i, (int)(n - i), z);
    }
}

static void
logits_survey(const float *z, int64_t n, float max, struct survey *ret)
{
    memset(ret, 0, sizeof *ret);
    for (int64_t begin = 0; begin < n; begin += SUM_STRETCH) {
        int64_t end = MIN(n, begin + SUM_STRETCH);
        vf mass[SURVEY_LEVELS + 1];
        vi count[SURVEY_LEVELS + 1];
        for (int k = 0; k <= SURVEY_LEVELS; k++) {
            mass[k] = v_set(0.0f);
            count[k] = v_seti(0);
        }
        for (int64_t i = begin; i < end; i += LANES) {
            vf v = logits_at(z, i, n), e = v_exp(v - v_set(max));
            UNROLL
            for (int k = 0; k < SURVEY_LEVELS; k++) {
                vi in = v >= v_set(max - survey_levels[k]);
                mass[k] = mass[k] + (vf)(in & (vi)e);
                count[k] = count[k] - in;
            }
            mass[SURVEY_LEVELS] = mass[SURVEY_LEVELS] + e;
            count[SURVEY_LEVELS] = count[SURVEY_LEVELS] - (v > v_set(-INFINITY));
        }
        for (int k = 0; k <= SURVEY_LEVELS; k++) {
            ret->mass[k] += (double)v_sum(mass[k]);
            for (int j = 0; j < LANES; j++)
                ret->count[k] += count[k][j];
        }
    }
}

/* The words of the eight Philox counters from `group` on: of 32 ids, in the
 * order of the ids. Returns the greatest. */
INLINE uint32_t
philox_group(uint64_t seed, uint64_t position, uint64_t group, uint32_t words[4 * LANES])
{
#ifdef SIMD_AVX2
    const __m256i m0 = _mm256_set1_epi32((int32_t)0xD2511F53u);
    const __m256i m1 = _mm256_set1_epi32((int32_t)0xCD9E8D57u);
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    __m256i c0 = _mm256_set1_epi32((int32_t)(uint32_t)position);
    __m256i c1 = _mm256_set1_epi32((int32_t)(uint32_t)(position >> 32));
    __m256i c2 =
        _mm256_add_epi32(_mm256_set1_epi32((int32_t)(uint32_t)group), (__m256i)v_iota());
    __m256i c3 = _mm256_setzero_si256();   /* ids are below 2^31 */
    UNROLL
    for (int round = 0; round < 10; round++) {
        __m256i even0 = _mm256_mul_epu32(m0, c0);
        __m256i odd0 = _mm256_mul_epu32(m0, _mm256_srli_epi64(c0, 32));
        __m256i even1 = _mm256_mul_epu32(m1, c2);
        __m256i odd1 = _mm256_mul_epu32(m1, _mm256_srli_epi64(c2, 32));
        __m256i lo0 = _mm256_blend_epi32(even0, _mm256_slli_epi64(odd0, 32), 0xaa);
        __m256i hi0 = _mm256_blend_epi32(_mm256_srli_epi64(even0, 32), odd0, 0xaa);
        __m256i lo1 = _mm256_blend_epi32(even1, _mm256_slli_epi64(odd1, 32), 0xaa);
        __m256i hi1 = _mm256_blend_epi32(_mm256_srli_epi64(even1, 32), odd1, 0xaa);
        c0 = _mm256_xor_si256(_mm256_xor_si256(hi1, c1), _mm256_set1_epi32((int32_t)k0));
        c2 = _mm256_xor_si256(_mm256_xor_si256(hi0, c3), _mm256_set1_epi32((int32_t)k1));
        c1 = lo1;
        c3 = lo0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    /* four words of eight counters to eight counters of four words */
    __m256i a0 = _mm256_unpacklo_epi32(c0, c1), a1 = _mm256_unpackhi_epi32(c0, c1);
    __m256i b0 = _mm256_unpacklo_epi32(c2, c3), b1 = _mm256_unpackhi_epi32(c2, c3);
    __m256i r04 = _mm256_unpacklo_epi64(a0, b0), r15 = _mm256_unpackhi_epi64(a0, b0);
    __m256i r26 = _mm256_unpacklo_epi64(a1, b1), r37 = _mm256_unpackhi_epi64(a1, b1);
    __m256i *out = (__m256i *)words;
    _mm256_storeu_si256(out, _mm256_permute2x128_si256(r04, r15, 0x20));
    _mm256_storeu_si256(out + 1, _mm256_permute2x128_si256(r26, r37, 0x20));
    _mm256_storeu_si256(out + 2, _mm256_permute2x128_si256(r04, r15, 0x31));
    _mm256_storeu_si256(out + 3, _mm256_permute2x128_si256(r26, r37, 0x31));
    __m256i max8 = _mm256_max_epu32(_mm256_max_epu32(c0, c1), _mm256_max_epu32(c2, c3));
    __m128i max4 = _mm_max_epu32(_mm256_castsi256_si128(max8), _mm256_extracti128_si256(max8, 1));
    max4 = _mm_max_epu32(max4, _mm_shuffle_epi32(max4, 0x4e));
    max4 = _mm_max_epu32(max4, _mm_shuffle_epi32(max4, 0xb1));
    return (uint32_t)_mm_cvtsi128_si32(max4);
#else
    uint32_t max = 0;
    for (int lane = 0; lane < LANES; lane++)
        philox4x32(seed, position, group + (uint64_t)lane, words + 4 * lane);
    for (int i = 0; i < 4 * LANES; i++)
        max = MAX(max, words[i]);
    return max;
#endif
}

/* -log(-log(u)), u of rng_uniform_open: at most 1 - 2^-24. */
INLINE vf
gumbel(vf u)
{
    return -v_log(-v_log(u));
}

/* No noise exceeds this (-log(2^-24) = 16.64): groups that cannot win even so
 * are passed over, which changes no result. */
#define GUMBEL_MAX 16.7f
#define DRAW_GROUP (4 * LANES)

/*
 * Whether no token of a group can reach `best`, by its greatest value and
 * word: -log(-log(u)) < -log(1 - u), so the noise stays below d where 1 - u is
 * above exp(-d). The margin covers all roundings. Saves the logarithms of
 * nearly every group.
 */
INLINE bool
cannot_win(float group_max, uint32_t max_word, float best)
{
    float margin = 0.01f + fabsf(best) * 1e-6f, d = best - group_max - margin;
    float v = (float)(0xffffff - (max_word >> 8)) * 0x1p-24f;   /* at most 1 - u */
    return d > 1.0f && v > v_exp(v_set(-d))[0];
}

static struct draw
logits_draw(const float *z, int64_t begin, int64_t end, struct cut cut, uint64_t seed,
            uint64_t position, struct draw best)
{
    for (int64_t i = begin; i < end; i += DRAW_GROUP) {
        float value[DRAW_GROUP];
        vf max = v_set(-INFINITY);
        for (int j = 0; j < DRAW_GROUP; j += LANES) {
            vf v = i + j < end ? logits_at(z, i + j, end) : v_set(-INFINITY);
            vi id = v_iota() + (int32_t)(i + j);
            vi in = (v > v_set(cut.z_min)) | ((v == v_set(cut.z_min)) & (id <= cut.id_max));
            v = v_select(in, v, v_set(-INFINITY));
            v_store(value + j, v);
            max = v_max(max, v);
        }
        float group_max = v_reduce_max(max);
        if (group_max == -INFINITY || group_max + GUMBEL_MAX < best.value)
            continue;
        uint32_t words[DRAW_GROUP];
        uint32_t max_word = philox_group(seed, position, (uint64_t)i / 4, words);
        if (cannot_win(group_max, max_word, best.value))
            continue;
        max = v_set(-INFINITY);
        for (int j = 0; j < DRAW_GROUP; j += LANES) {
            float u[LANES];
            for (int lane = 0; lane < LANES; lane++)
                u[lane] = rng_uniform_open(words[j + lane]);
            vf v = v_load(value + j) + gumbel(v_load(u));
            v_store(value + j, v);
            max = v_max(max, v);
        }
        if (v_reduce_max(max) < best.value)
            continue;
        for (int j = 0; j < DRAW_GROUP; j++) {
            int32_t id = (int32_t)(i + j);
            if (value[j] > best.value || (value[j] == best.value && id < best.id)) {
                best.value = value[j];
                best.id = id;
            }
        }
    }
    return best;
}

#endif
