/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one memory layout of the CPU backend: panels of 16 columns. A panel
 * holds, for each step k of an accumulation, the 16 numbers that 16 output
 * elements need, side by side:
 *
 *   weight[N,K]    N/16 panels [K][16]: 16 output features
 *   key page       one panel [D][16]: 16 keys
 *   value page     D/16 panels [16 keys][16]: 16 dimensions
 *
 * so that q.k, p.v and x.w run through the same micro-kernel, each output
 * element as one chain over k. Scalar access lives here too.
 */
#ifndef KERNELS_CPU_LAYOUT_H
#define KERNELS_CPU_LAYOUT_H

#include "kernels/ops.h"
#include "util/float16.h"

#include <string.h>

#define PANEL 16

/* Where column `lane` of a panel lies among the 16 of its row. bf16 pairs lane
 * i with lane 8 + i in one 32-bit word: widening is a shift and a mask. */
static inline int
lane_slot(enum dtype dtype, int lane)
{
    if (dtype != DTYPE_BF16)
        return lane;
    return lane < PANEL / 2 ? 2 * lane : 2 * (lane - PANEL / 2) + 1;
}

static inline float
element_get(enum dtype dtype, const void *base, int64_t i)
{
    if (dtype == DTYPE_F32) {
        float f;
        memcpy(&f, (const char *)base + i * 4, 4);
        return f;
    }
    uint16_t h;
    memcpy(&h, (const char *)base + i * 2, 2);
    return dtype == DTYPE_BF16 ? f32_from_bf16(h) : f32_from_f16(h);
}

static inline void
element_set(enum dtype dtype, void *base, int64_t i, float f)
{
    if (dtype == DTYPE_F32) {
        memcpy((char *)base + i * 4, &f, 4);
        return;
    }
    uint16_t h = dtype == DTYPE_BF16 ? bf16_from_f32(f) : f16_from_f32(f);
    memcpy((char *)base + i * 2, &h, 2);
}

#endif
