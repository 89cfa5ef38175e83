/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The inside of the CPU backend: the device and what its files offer each
 * other. Everything here runs on the worker thread, which hands parts of an op
 * to the pool; nothing is locked because one op runs at a time.
 */
#ifndef KERNELS_CPU_CPU_H
#define KERNELS_CPU_CPU_H

#include "kernels/cpu/kernels.h"
#include "kernels/cpu/layout.h"
#include "kernels/cpu/pool.h"
#include "kernels/cpu/select.h"
#include "kernels/ops.h"

/* Memory that lives as long as the device, carved from huge pages. */
struct arena {
    struct arena_chunk *chunks;  /* owned, a list, newest first */
    size_t num_bytes;            /* handed out */
};

/* What a matrix or embedding is on this device. */
struct packed {
    void *data;          /* owned by the arena: [ceil(N/16)][K][16] */
    size_t panel_bytes;  /* K * 16 elements */
};

/* Scratch of one compute thread, sized when the sizes are known. */
struct thread_scratch {
    struct attention_scratch attention; /* from kv_init on */
    uint32_t *seen;                /* owned, [V], all zero between calls: penalties */
    struct candidate *candidates;  /* owned, [V]: top-k, top-p, top logprobs */
    float *logits;                 /* owned, [V]: a row that may be changed */
};

/* Query tokens of one sequence that attention takes together. */
struct attention_item {
    int32_t seq, first, num_tokens;  /* rows first.. within the sequence */
};

struct device {
    const struct cpu_kernels *kernels;   /* of the instruction set chosen */
    struct pool *pool;                   /* owned */
    struct arena arena;
    struct device_options options;
    struct thread_scratch *scratch;      /* owned, [threads] */
    struct weight_list *weights;         /* owned: the impl of every weight */

    /* kv_init */
    struct kv_config kv;
    char *kv_data;            /* owned, mapped: [L][num_blocks][K][key page, value page] */
    size_t kv_map_bytes, kv_page_bytes;  /* of the mapping; of a key or a value page */
    int kv_dim;               /* D rounded up to PANEL: width of a value row */
    float *attention_scratch; /* owned */

    /* rope_init */
    float *rope;              /* owned: [max_position][cos[D/2], sin[D/2]] */
    int rope_dim, rope_max_position;

    /* the step */
    const struct batch *batch;   /* borrowed from step_begin to step_end */
    struct attention_item *items;  /* owned, [max_tokens + max_seqs] */
    int num_items, items_tile;      /* items_tile: tokens per item they were made for, 0: none */
};

/* Chunks of about this many elements make a task worth handing to a thread. */
#define TASK_ELEMENTS 4096

/* weights.c */
void *arena_alloc(struct arena *arena, size_t bytes);   /* 64-byte aligned, zero; or NULL */
void arena_release(struct arena *arena);
/* Zeroed memory of its own mapping, reserved but not touched; NULL on failure. */
void *map_reserve(size_t bytes, size_t *ret_map_bytes);
int cpu_weight_load(struct device *dev, const struct host_tensor *parts, int num_parts,
                    enum weight_use use, bool f32_weights, struct weight *ret, struct error *err);
int cpu_weight_random(struct device *dev, int64_t rows, int64_t cols, enum weight_use use,
                      enum dtype dtype, float scale, uint64_t seed, struct weight *ret,
                      struct error *err);
void cpu_weights_release(struct device *dev);

/* kvcache.c */
int cpu_kv_init(struct device *dev, const struct kv_config *cfg, struct error *err);
size_t cpu_kv_block_bytes(const struct kv_config *cfg);
void cpu_kv_release(struct device *dev);
int cpu_rope_init(struct device *dev, const struct rope_config *cfg, struct error *err);
void cpu_rope_kv_write(struct device *dev, struct buffer *qkv, const struct attention_args *a);

/* The key page of a block; its value page follows it at once. */
static inline char *
kv_page(const struct device *dev, int layer, int block, int kv_head)
{
    size_t index = ((size_t)layer * dev->kv.num_blocks + block) * dev->kv.num_kv_heads + kv_head;
    return dev->kv_data + index * 2 * dev->kv_page_bytes;
}

/* attention.c */
void cpu_attention(struct device *dev, struct buffer *out, const struct buffer *qkv,
                   const struct attention_args *a);

/* gemm.c */
void cpu_gemm(struct device *dev, struct buffer *out, const struct buffer *x,
              const struct weight *w, const struct weight *bias, int rows);
void cpu_gemm_logits(struct device *dev, struct buffer *out, const struct buffer *x,
                     const struct weight *w, int rows);

/* elementwise.c */
void cpu_embed(struct device *dev, struct buffer *out, const struct weight *table, float scale);
void cpu_rmsnorm(struct device *dev, struct buffer *out, const struct buffer *x,
                 const struct weight *w, int rows, float eps, float weight_offset);
void cpu_add_rmsnorm(struct device *dev, struct buffer *out, struct buffer *residual,
                     const struct buffer *x, const struct weight *w, int rows, float eps,
                     float weight_offset);
void cpu_act_mul(struct device *dev, struct buffer *out, const struct buffer *gate_up, int rows,
                 int64_t intermediate_size, enum activation act);
void cpu_gather_rows(struct device *dev, struct buffer *out, const struct buffer *x,
                     const int32_t *row_ids, int num_rows, int64_t hidden_size);
void cpu_softcap(struct device *dev, struct buffer *logits, int rows, int64_t vocab_size,
                 float cap);

/* sample.c */
int cpu_sample_init(struct device *dev);   /* 0 or ERR_NOMEM */
void cpu_sample_release(struct device *dev);
int cpu_sample(struct device *dev, struct buffer *logits, const struct sample_row *rows,
               int num_rows, int64_t vocab_size, const struct sample_output *ret);
int cpu_logprobs(struct device *dev, const struct buffer *logits, const int32_t *targets,
                 int num_rows, int64_t vocab_size, int num_logprobs,
                 const struct sample_output *ret);

#endif
