/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Matrix product over packed panels (layout.h). Each output element is one
 * chain of multiply-adds over k, from 0 up, whatever rows and panels are
 * computed beside it: blocks of k hand the chain on through `out` in f32.
 * Included by kernels_<isa>.c.
 */
#ifndef KERNELS_CPU_GEMM_IMPL_H
#define KERNELS_CPU_GEMM_IMPL_H

#include "kernels/cpu/kernels.h"
#include "kernels/cpu/layout.h"
#include "kernels/cpu/simd.h"

/* Rows of a register block: 6 rows x 16 columns are 12 of AVX2's 16 registers. */
#define MICRO_ROWS 6
/* k per block, so that the rows and the panel of a register block stay in L1. */
#define GEMM_K_BLOCK 640
/* How far ahead of its use a weight is asked for, in bytes of its panel. */
#define PREFETCH_BYTES 1024

struct micro_args {
    const float *x;      /* [rows, ldx] */
    size_t ldx;
    const char *w;       /* [k][16] */
    size_t panel_bytes;  /* to the next panel */
    const char *next;    /* as long as w: fetched into L2 meanwhile; only with one panel */
    int64_t k;
    float *c;            /* [rows, ldc] */
    size_t ldc;
    bool first;          /* start the chain at 0, else at c */
    const float *bias;   /* added at the end of the chain; or NULL */
};

/* c[rows, 16 * panels], both counts and the type known to the compiler. */
INLINE void
micro(const int rows, const int panels, const enum dtype dtype, const struct micro_args *a)
{
    const size_t step = PANEL * dtype_bytes(dtype);
    vf acc[MICRO_ROWS][8];
    UNROLL
    for (int r = 0; r < rows; r++) {
        UNROLL
        for (int j = 0; j < 2 * panels; j++)
            acc[r][j] = a->first ? v_set(0.0f) : v_load(a->c + r * a->ldc + j * LANES);
    }
    const float *x = a->x;
    const char *w = a->w;
    const char *next = a->next;
    for (int64_t k = 0; k < a->k; k++) {
        vf b[8];
        UNROLL
        for (int p = 0; p < panels; p++) {
            /* several panels are streams, fetched a little ahead; one panel is
             * used again by the next rows while what comes after it is fetched */
            if (panels > 1)
                __builtin_prefetch(w + p * a->panel_bytes + PREFETCH_BYTES);
            else
                __builtin_prefetch(next, 0, 2);
            v_load16(dtype, w + p * a->panel_bytes, &b[2 * p], &b[2 * p + 1]);
        }
        UNROLL
        for (int r = 0; r < rows; r++) {
            vf xr = v_set(x[r * a->ldx]);
            UNROLL
            for (int j = 0; j < 2 * panels; j++)
                acc[r][j] = v_fma(xr, b[j], acc[r][j]);
        }
        x++;
        w += step;
        next += step;
    }
    UNROLL
    for (int r = 0; r < rows; r++) {
        UNROLL
        for (int j = 0; j < 2 * panels; j++) {
            if (a->bias != NULL)
                acc[r][j] = acc[r][j] + v_load(a->bias + j * LANES);
            v_store(a->c + r * a->ldc + j * LANES, acc[r][j]);
        }
    }
}

/* Panels taken together for few rows, of `left`: enough chains to hide the
 * latency of the adder, and as many streams from memory. */
INLINE int
panels_together(int rows, int64_t left)
{
    if (rows == 1 && left >= 4)
        return 4;
    return rows <= 2 && left >= 2 ? 2 : 1;
}

INLINE void
micro_type(int rows, int panels, const enum dtype dtype, const struct micro_args *a)
{
    switch (rows * 8 + panels) {
    case 1 * 8 + 4: micro(1, 4, dtype, a); break;
    case 1 * 8 + 2: micro(1, 2, dtype, a); break;
    case 2 * 8 + 2: micro(2, 2, dtype, a); break;
    case 1 * 8 + 1: micro(1, 1, dtype, a); break;
    case 2 * 8 + 1: micro(2, 1, dtype, a); break;
    case 3 * 8 + 1: micro(3, 1, dtype, a); break;
    case 4 * 8 + 1: micro(4, 1, dtype, a); break;
    case 5 * 8 + 1: micro(5, 1, dtype, a); break;
    case 6 * 8 + 1: micro(6, 1, dtype, a); break;
    default: ASSERT(false);
    }
}

static void
micro_any(int rows, int panels, enum dtype dtype, const struct micro_args *a)
{
    switch (dtype) {
    case DTYPE_BF16: micro_type(rows, panels, DTYPE_BF16, a); break;
    case DTYPE_F16: micro_type(rows, panels, DTYPE_F16, a); break;
    case DTYPE_F32: micro_type(rows, panels, DTYPE_F32, a); break;
    }
}

/* The panel whose columns are not all there, over the whole of k. */
static void
gemm_last_panel(const struct gemm_tile *t, int64_t panel)
{
    int num_columns = (int)(t->n - panel * PANEL);
    float c[MICRO_ROWS * PANEL];
    for (int r = 0; r < t->rows; r += MICRO_ROWS) {
        int rows = MIN(MICRO_ROWS, t->rows - r);
        micro_any(rows, 1, t->dtype,
                  &(struct micro_args){.x = t->x + r * t->k,
                                       .ldx = (size_t)t->k,
                                       .w = t->w + (size_t)panel * t->panel_bytes,
                                       .next = t->w,
                                       .k = t->k,
                                       .c = c,
                                       .ldc = PANEL,
                                       .first = true});
        for (int i = 0; i < rows; i++) {
            float *out = t->out + (size_t)(r + i) * t->n + panel * PANEL;
            for (int j = 0; j < num_columns; j++)
                out[j] = c[i * PANEL + j] + (t->bias ? t->bias[panel * PANEL + j] : 0.0f);
        }
    }
}

/* One block of k, all rows, panels that are whole. */
static void
gemm_k_block(const struct gemm_tile *t, int64_t k0, int64_t k, int64_t panel_end)
{
    /* rows in equal shares: 8 rows are 4 + 4, not 6 + 2 */
    int num_shares = CEIL_DIV(t->rows, MICRO_ROWS);
    size_t w_offset = (size_t)k0 * PANEL * dtype_bytes(t->dtype);
    int panels;
    for (int64_t p = t->panel_begin; p < panel_end; p += panels) {
        panels = panels_together(t->rows, panel_end - p);
        const char *w = t->w + (size_t)p * t->panel_bytes + w_offset;
        int row = 0;
        for (int share = 0; share < num_shares; share++) {
            int rows = (t->rows - row) / (num_shares - share);
            micro_any(rows, panels, t->dtype,
                      &(struct micro_args){
                          .x = t->x + (size_t)row * t->k + k0,
                          .ldx = (size_t)t->k,
                          .w = w,
                          .panel_bytes = t->panel_bytes,
                          .next = p + 1 < panel_end ? w + t->panel_bytes : w,
                          .k = k,
                          .c = t->out + (size_t)row * t->n + p * PANEL,
                          .ldc = (size_t)t->n,
                          .first = k0 == 0,
                          .bias = t->bias && k0 + k == t->k ? t->bias + p * PANEL : NULL,
                      });
            row += rows;
        }
    }
}

static void
gemm_tile_run(const struct gemm_tile *t)
{
    int64_t panel_end = MIN(t->panel_end, t->n / PANEL);
    int64_t num_blocks = t->rows <= MICRO_ROWS ? 1 : CEIL_DIV(t->k, GEMM_K_BLOCK);
    int64_t k0 = 0;
    for (int64_t i = 0; i < num_blocks; i++) {
        int64_t k = (t->k - k0) / (num_blocks - i);
        gemm_k_block(t, k0, k, panel_end);
        k0 += k;
    }
    if (panel_end < t->panel_end)
        gemm_last_panel(t, panel_end);
}

#endif
