/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exp, tanh and log of eight floats: one sequence of operations per lane, no
 * branch on data, so a value's result never depends on its neighbours.
 * At most 1 ulp from the true value for exp and log, 1.3 for tanh
 * (tests/ops/test_vmath.c measures it).
 */
#ifndef KERNELS_CPU_VMATH_H
#define KERNELS_CPU_VMATH_H

#include "kernels/cpu/simd.h"

/* 0 below -87.33 (no subnormal results), infinity above 88.72, NaN kept. */
INLINE vf
v_exp(vf x)
{
    const float lowest = -87.33654f, highest = 88.72283f;
    vf clamped = v_max(v_min(x, v_set(highest)), v_set(lowest));
    vf n = v_round(clamped * v_set(1.44269504f));
    vf r = v_fma(n, v_set(-0.693359375f), clamped);
    r = v_fma(n, v_set(2.12194440e-4f), r);
    /* exp(r), |r| <= ln 2 / 2: Cephes' minimax polynomial */
    vf p = v_fma(v_set(1.9875691500e-4f), r, v_set(1.3981999507e-3f));
    p = v_fma(p, r, v_set(8.3334519073e-3f));
    p = v_fma(p, r, v_set(4.1665795894e-2f));
    p = v_fma(p, r, v_set(1.6666665459e-1f));
    p = v_fma(p, r, v_set(5.0000001201e-1f));
    p = v_fma(p, r * r, r) + v_set(1.0f);
    /* times 2^n in two factors: n reaches 128, one float exponent does not */
    vi half = v_to_int(n) >> 1;
    vi rest = v_to_int(n) - half;
    vf y = p * (vf)((half + 127) << 23) * (vf)((rest + 127) << 23);
    y = v_select(x < v_set(lowest), v_set(0.0f), y);
    y = v_select(x > v_set(highest), v_set(INFINITY), y);
    return v_select(x != x, x, y);
}

/* For positive normal numbers; 0 gives -infinity. */
INLINE vf
v_log(vf x)
{
    vi bits = (vi)x;
    vi e = ((bits >> 23) & 0xff) - 126;
    vf m = (vf)((bits & 0x007fffff) | 0x3f000000);   /* in [0.5, 1) */
    vi small = m < v_set(0.70710678f);
    e = e + small;                                   /* minus one where small */
    m = m - v_set(1.0f) + (vf)(small & (vi)m);
    vf z = m * m;
    vf p = v_fma(v_set(7.0376836292e-2f), m, v_set(-1.1514610310e-1f));
    p = v_fma(p, m, v_set(1.1676998740e-1f));
    p = v_fma(p, m, v_set(-1.2420140846e-1f));
    p = v_fma(p, m, v_set(1.4249322787e-1f));
    p = v_fma(p, m, v_set(-1.6668057665e-1f));
    p = v_fma(p, m, v_set(2.0000714765e-1f));
    p = v_fma(p, m, v_set(-2.4999993993e-1f));
    p = v_fma(p, m, v_set(3.3333331174e-1f));
    p = p * m * z;
    vf fe = v_from_int(e);
    p = v_fma(fe, v_set(-2.12194440e-4f), p);
    p = v_fma(v_set(-0.5f), z, p);
    vf y = v_fma(fe, v_set(0.693359375f), m + p);
    return v_select(x == v_set(0.0f), v_set(-INFINITY), y);
}

INLINE vf
v_tanh(vf x)
{
    vi sign = (vi)x & v_seti((int32_t)0x80000000);
    vf a = (vf)((vi)x & 0x7fffffff);
    /* small: x + x^3 P(x^2) (Cephes); large: 1 - 2 / (exp(2x) + 1) */
    vf z = a * a;
    vf p = v_fma(v_set(-5.70498872745e-3f), z, v_set(2.06390887954e-2f));
    p = v_fma(p, z, v_set(-5.37397155531e-2f));
    p = v_fma(p, z, v_set(1.33314422036e-1f));
    p = v_fma(p, z, v_set(-3.33332819422e-1f));
    vf near = v_fma(p * z, a, a);
    vf far = v_set(1.0f) - v_set(2.0f) / (v_exp(a + a) + v_set(1.0f));
    vf y = v_select(a < v_set(0.625f), near, far);
    return (vf)((vi)y | sign);
}

INLINE vf
v_silu(vf x)
{
    return x / (v_set(1.0f) + v_exp(-x));
}

/* 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) */
INLINE vf
v_gelu_tanh(vf x)
{
    vf inner = v_fma(v_set(0.044715f) * x * x, x, x) * v_set(0.7978845608f);
    return v_set(0.5f) * x * (v_set(1.0f) + v_tanh(inner));
}

#endif
