/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Norms, activations and the soft cap, one row at a time.
 * Included by kernels_<isa>.c.
 */
#ifndef KERNELS_CPU_ROWS_IMPL_H
#define KERNELS_CPU_ROWS_IMPL_H

#include "kernels/cpu/kernels.h"
#include "kernels/cpu/vmath.h"

/* Eight partial sums, lane i over the elements i, i + 8, ...: the order
 * depends on the row's length alone. */
static void
row_rmsnorm(float *out, float *residual, const float *x, const float *w, int64_t n, float eps,
            float weight_offset)
{
    int64_t whole = n / LANES * LANES;
    int part = (int)(n - whole);
    vf sum = v_set(0.0f);
    for (int64_t i = 0; i < whole; i += LANES) {
        vf v = v_load(x + i);
        if (residual != NULL) {
            v = v + v_load(residual + i);
            v_store(residual + i, v);
        }
        sum = v_fma(v, v, sum);
    }
    if (part > 0) {
        vf v = v_load_part(x + whole, part, 0.0f);
        if (residual != NULL) {
            v = v + v_load_part(residual + whole, part, 0.0f);
            v_store_part(residual + whole, part, v);
        }
        sum = v_fma(v, v, sum);
    }
    vf scale = v_set(1.0f / sqrtf(v_sum(sum) / (float)n + eps));
    vf offset = v_set(weight_offset);
    const float *from = residual != NULL ? residual : x;
    for (int64_t i = 0; i < whole; i += LANES)
        v_store(out + i, v_load(from + i) * scale * (v_load(w + i) + offset));
    if (part > 0) {
        vf v = v_load_part(from + whole, part, 0.0f) * scale;
        v_store_part(out + whole, part, v * (v_load_part(w + whole, part, 0.0f) + offset));
    }
}

INLINE vf
activate(vf x, const enum activation act)
{
    return act == ACT_SILU ? v_silu(x) : v_gelu_tanh(x);
}

INLINE void
act_mul_with(float *out, const float *gate, const float *up, int64_t n, const enum activation act)
{
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        v_store(out + i, activate(v_load(gate + i), act) * v_load(up + i));
    if (i < n) {
        int part = (int)(n - i);
        vf g = v_load_part(gate + i, part, 0.0f), u = v_load_part(up + i, part, 0.0f);
        v_store_part(out + i, part, activate(g, act) * u);
    }
}

static void
row_act_mul(float *out, const float *gate, const float *up, int64_t n, enum activation act)
{
    if (act == ACT_SILU)
        act_mul_with(out, gate, up, n, ACT_SILU);
    else
        act_mul_with(out, gate, up, n, ACT_GELU_TANH);
}

static void
row_softcap(float *x, int64_t n, float cap)
{
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        v_store(x + i, v_set(cap) * v_tanh(v_load(x + i) / v_set(cap)));
    if (i < n) {
        int part = (int)(n - i);
        vf v = v_load_part(x + i, part, 0.0f);
        v_store_part(x + i, part, v_set(cap) * v_tanh(v / v_set(cap)));
    }
}

#define CPU_KERNELS_TABLE                                                         \
    .gemm = gemm_tile_run, .attention = attention_tile_run, .rmsnorm = row_rmsnorm, \
    .act_mul = row_act_mul, .softcap = row_softcap, .row_max = logits_max,        \
    .row_find = logits_find, .row_sum_exp = logits_sum_exp,                       \
    .row_count_ge = logits_count_ge, .row_above = logits_above,                   \
    .row_divide = logits_divide, .row_survey = logits_survey, .row_draw = logits_draw

#endif
