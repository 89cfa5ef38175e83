/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Eight floats at a time. Included once per instruction set, by
 * kernels_avx2.c (which defines SIMD_AVX2) and kernels_generic.c: the kernels
 * are written once, over these few functions and the compilers' vector
 * operators, and so have the same order of accumulation on both. What differs
 * is one rounding: AVX2 fuses multiply and add, the generic version cannot.
 *
 * Expressions never rely on the compiler to fuse: `v_fma` says so where it
 * matters.
 */
#ifndef KERNELS_CPU_SIMD_H
#define KERNELS_CPU_SIMD_H

#include "kernels/ops.h"

#include <math.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline, unused))
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

#define LANES 8

#ifdef SIMD_AVX2
#define VECTOR vector_size(32)
#else
#define VECTOR vector_size(32), aligned(16)   /* two registers */
#endif

/* clang-format off */
typedef float    vf __attribute__((VECTOR));
typedef int32_t  vi __attribute__((VECTOR));
typedef uint32_t vu __attribute__((VECTOR));
typedef float    vf_mem __attribute__((vector_size(32), aligned(4), may_alias));
typedef uint32_t vu_mem __attribute__((vector_size(32), aligned(2), may_alias));
typedef uint16_t vh_mem __attribute__((vector_size(16), aligned(2), may_alias));
/* clang-format on */

INLINE vf
v_load(const float *p)
{
    return *(const vf_mem *)p;
}

INLINE void
v_store(float *p, vf a)
{
    *(vf_mem *)p = a;
}

INLINE vf
v_set(float a)
{
    return (vf){a, a, a, a, a, a, a, a};
}

INLINE vi
v_seti(int32_t a)
{
    return (vi){a, a, a, a, a, a, a, a};
}

INLINE vi
v_iota(void)
{
    return (vi){0, 1, 2, 3, 4, 5, 6, 7};
}

/* mask lanes are all ones or all zeros */
INLINE vf
v_select(vi mask, vf yes, vf no)
{
#ifdef SIMD_AVX2
    return (vf)_mm256_blendv_ps((__m256)no, (__m256)yes, (__m256)mask);
#else
    return (vf)((mask & (vi)yes) | (~mask & (vi)no));
#endif
}

/* a * b + c */
INLINE vf
v_fma(vf a, vf b, vf c)
{
#ifdef SIMD_AVX2
    return (vf)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#else
    vf product = a * b;
    return product + c;
#endif
}

/* As maxps: the second operand where either is NaN. */
INLINE vf
v_max(vf a, vf b)
{
#ifdef SIMD_AVX2
    return (vf)_mm256_max_ps((__m256)a, (__m256)b);
#else
    return v_select(a > b, a, b);
#endif
}

INLINE vf
v_min(vf a, vf b)
{
#ifdef SIMD_AVX2
    return (vf)_mm256_min_ps((__m256)a, (__m256)b);
#else
    return v_select(a < b, a, b);
#endif
}

INLINE bool
v_any(vi mask)
{
#ifdef SIMD_AVX2
    return _mm256_movemask_ps((__m256)mask) != 0;
#else
    int32_t any = 0;
    for (int i = 0; i < LANES; i++)
        any |= mask[i];
    return any != 0;
#endif
}

/* How many lanes are set. */
INLINE int
v_count(vi mask)
{
#ifdef SIMD_AVX2
    return __builtin_popcount((unsigned)_mm256_movemask_ps((__m256)mask));
#else
    int32_t count = 0;
    for (int i = 0; i < LANES; i++)
        count -= mask[i];
    return count;
#endif
}

/* Nearest integer, for |a| < 2^22. */
INLINE vf
v_round(vf a)
{
#ifdef SIMD_AVX2
    return (vf)_mm256_round_ps((__m256)a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
#else
    vf magic = v_set(0x1.8p23f);
    return (a + magic) - magic;
#endif
}

/* Of integral values. */
INLINE vi
v_to_int(vf a)
{
    return __builtin_convertvector(a, vi);
}

INLINE vf
v_from_int(vi a)
{
    return __builtin_convertvector(a, vf);
}

/* The order of both reductions is fixed: halves, then quarters, then pairs. */
INLINE float
v_sum(vf a)
{
    float b0 = a[0] + a[4], b1 = a[1] + a[5], b2 = a[2] + a[6], b3 = a[3] + a[7];
    return (b0 + b2) + (b1 + b3);
}

INLINE float
v_reduce_max(vf a)
{
    float m = a[0];
    for (int i = 1; i < LANES; i++)
        m = a[i] > m ? a[i] : m;
    return m;
}

/* First n lanes from memory, `rest` in the others; reads nothing beyond. */
INLINE vf
v_load_part(const float *p, int n, float rest)
{
    float t[LANES];
    for (int i = 0; i < LANES; i++)
        t[i] = i < n ? p[i] : rest;
    return v_load(t);
}

INLINE void
v_store_part(float *p, int n, vf a)
{
    for (int i = 0; i < n; i++)
        p[i] = a[i];
}

/*
 * Sixteen stored numbers, widened. Sixteen-bit brain floats lie interleaved
 * (lane_slot in layout.h), so that one load, one shift and one mask widen them.
 */
INLINE void
v_load16(enum dtype dtype, const void *p, vf *ret_lo, vf *ret_hi)
{
    if (dtype == DTYPE_BF16) {
        vu w = *(const vu_mem *)p;
        *ret_lo = (vf)(w << 16);
        *ret_hi = (vf)(w & 0xffff0000u);
    } else if (dtype == DTYPE_F16) {
#ifdef SIMD_AVX2
        *ret_lo = (vf)_mm256_cvtph_ps(_mm_loadu_si128(p));
        *ret_hi = (vf)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p + 1));
#else
        for (int half = 0; half < 2; half++) {
            vu w = __builtin_convertvector(((const vh_mem *)p)[half], vu);
            vu magnitude = (w & 0x7fffu) << 13;
            vf scaled = (vf)magnitude * 0x1p112f;   /* exact, subnormals too */
            vf special = (vf)(magnitude | 0x7f800000u);
            vf value = v_select((vi)((w & 0x7c00u) == 0x7c00u), special, scaled);
            *(half ? ret_hi : ret_lo) = (vf)((vu)value | ((w & 0x8000u) << 16));
        }
#endif
    } else {
        *ret_lo = v_load(p);
        *ret_hi = v_load((const float *)p + LANES);
    }
}

#endif
