/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The inner loops that are compiled once per instruction set. A table of them
 * is chosen when the device opens; see simd.h for how they are written.
 */
#ifndef KERNELS_CPU_KERNELS_H
#define KERNELS_CPU_KERNELS_H

#include "kernels/ops.h"

/* out[rows, 16 * (panel_end - panel_begin)] = x . w^T + bias, cut at column n */
struct gemm_tile {
    const float *x;      /* [rows, k], row-major */
    const char *w;       /* panel 0 of the weight */
    size_t panel_bytes;
    enum dtype dtype;
    const float *bias;   /* [n] or NULL */
    float *out;          /* [rows, n] */
    int64_t k, n;
    int rows;
    int64_t panel_begin, panel_end;
};

/* Most query rows (tokens times heads) and keys that one step of attention
 * holds. A block of keys is aligned in the sequence, so the order of the
 * softmax depends on positions alone. */
#define ATTENTION_ROWS 48
#define ATTENTION_KEYS 64

/* All f32. */
struct attention_scratch {
    float *q;       /* [ATTENTION_ROWS, D], scaled */
    float *scores;  /* [ATTENTION_ROWS, ATTENTION_KEYS] */
    float *acc;     /* [ATTENTION_ROWS, kv_dim] */
    float *max;     /* [ATTENTION_ROWS] */
    float *sum;     /* [ATTENTION_ROWS, 8], one partial sum per lane */
};

/* num_tokens query tokens of num_heads heads that share one kv head: row
 * t * num_heads + h of the tile is at q + t * q_stride + h * head_dim. */
struct attention_tile {
    const float *q;
    float *out;               /* the same place in out[T, Q*D] */
    size_t q_stride, out_stride;
    int num_tokens, num_heads, head_dim, kv_dim;
    int first_position;       /* of the tile's first token */
    float scale, softcap;
    int window;
    enum dtype dtype;         /* of the pages */
    const char *pages;        /* kv_page(layer, 0, kv_head) */
    size_t block_stride;      /* from one block's pages to the next */
    size_t page_bytes;        /* value page = key page + page_bytes */
    const int32_t *block_table;
    int num_blocks;
};

/* Distances below the greatest value at which `survey` counts. */
#define SURVEY_LEVELS 6
static const float survey_levels[SURVEY_LEVELS] = {2, 4, 6, 8, 11, 16};
struct survey {
    double mass[SURVEY_LEVELS + 1];   /* sum of exp(z - max) over z >= max - level */
    int64_t count[SURVEY_LEVELS + 1]; /* the last entry: over all finite z */
};

/* Which tokens of a processed row may be drawn: z > z_min, or z == z_min and
 * id <= id_max. */
struct cut {
    float z_min;
    int32_t id_max;
};

struct draw {
    float value;    /* z + gumbel noise */
    int32_t id;     /* -1: nothing can be drawn */
};

struct cpu_kernels {
    const char *name;

    void (*gemm)(const struct gemm_tile *tile);
    void (*attention)(const struct attention_tile *tile, const struct attention_scratch *s);

    /* One row; residual may be NULL: then out = norm(x). */
    void (*rmsnorm)(float *out, float *residual, const float *x, const float *w, int64_t n,
                    float eps, float weight_offset);
    void (*act_mul)(float *out, const float *gate, const float *up, int64_t n,
                    enum activation act);
    void (*softcap)(float *x, int64_t n, float cap);

    /* Logit rows. NaN counts as -infinity, +infinity as the greatest float. */
    float (*row_max)(const float *x, int64_t n);
    int32_t (*row_find)(const float *x, int64_t n, float value);  /* first id, or -1 */
    double (*row_sum_exp)(const float *x, int64_t n, float max);
    int64_t (*row_count_ge)(const float *x, int64_t n, float value);
    /* ids of values > floor from `from` on, at most `room`; returns how many,
     * and where to go on in *ret_next (n at the end) */
    int (*row_above)(const float *x, int64_t from, int64_t n, float floor, int32_t *ids, int room,
                     int64_t *ret_next);
    void (*row_divide)(float *x, int64_t n, float temperature);
    void (*row_survey)(const float *z, int64_t n, float max, struct survey *ret);
    /* ids [begin, end), begin a multiple of 32 */
    struct draw (*row_draw)(const float *z, int64_t begin, int64_t end, struct cut cut,
                            uint64_t seed, uint64_t position, struct draw best);
};

extern const struct cpu_kernels cpu_kernels_avx2, cpu_kernels_generic;

#endif
