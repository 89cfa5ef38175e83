/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bfloat16 and IEEE 754 half precision, a value at a time. Any thread.
 */
#ifndef UTIL_FLOAT16_H
#define UTIL_FLOAT16_H

#include "util/base.h"

#include <string.h>

static inline uint32_t
f32_bits(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

static inline float
f32_from_bits(uint32_t u)
{
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

/* Round to nearest even; NaN stays NaN. */
static inline uint16_t
bf16_from_f32(float f)
{
    uint32_t u = f32_bits(f);
    if (f != f)
        return (uint16_t)(u >> 16 | 0x40);
    return (uint16_t)((u + 0x7fffu + (u >> 16 & 1)) >> 16);
}

static inline float
f32_from_bf16(uint16_t h)
{
    return f32_from_bits((uint32_t)h << 16);
}

static inline float
f32_from_f16(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, magnitude = (uint32_t)(h & 0x7fff) << 13;
    if ((h & 0x7c00) == 0x7c00)
        return f32_from_bits(sign | magnitude | 0x7f800000u);
    return f32_from_bits(sign | f32_bits(f32_from_bits(magnitude) * 0x1p112f));
}

/* Round to nearest even, overflow to infinity. */
static inline uint16_t
f16_from_f32(float f)
{
    uint32_t u = f32_bits(f), sign = u >> 16 & 0x8000, magnitude = u & 0x7fffffffu;
    if (f != f)
        return (uint16_t)(sign | 0x7e00);
    if (magnitude >= 0x477ff000u)   /* 65520 and up */
        return (uint16_t)(sign | 0x7c00);
    if (magnitude < 0x38800000u) {  /* subnormal: let the adder round */
        float shifted = f32_from_bits(magnitude) + 0.5f;
        return (uint16_t)(sign | (f32_bits(shifted) - 0x3f000000u));
    }
    magnitude += 0xfffu + (magnitude >> 13 & 1);
    return (uint16_t)(sign | (magnitude - 0x38000000u) >> 13);
}

#endif
