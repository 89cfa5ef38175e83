/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The inside of the CUDA module: its device and what its files do for each
 * other. One thread, the worker, calls everything.
 */
#ifndef KERNELS_CUDA_INTERNAL_H
#define KERNELS_CUDA_INTERNAL_H

#include "kernels/batch_check.h"
#include "kernels/cuda/gemm.h"
#include "kernels/cuda/kernels.h"
#include "kernels/ops.h"

/* Steps begun and not yet waited for. */
#define MAX_STEPS 2
/* Most rows of logits at once: 300 MB at a vocabulary of 152,064. */
#define MAX_LOGIT_ROWS 512
/* Calls of `sample` in one step. */
#define MAX_SAMPLES 32

/* Device memory that device_close frees. */
struct allocation {
    struct allocation *next;
    void *data;
};

/* The weight behind struct weight: bf16 for matrices, f32 for vectors. */
struct cuda_weight {
    struct cuda_weight *next;
    void *data;
    bf16_bits *bf16;   /* of a vector: the same rounded, as a gemm's bias */
};

/* Memory that is written on the host and read by kernels: the two halves look
 * alike, and what was written since the last cuda_arena_send is copied by it. */
struct arena {
    char *host;        /* pinned */
    char *device;
    size_t bytes, used, sent;
};

/* Where a step's integers lie in its block, in bytes; a function of the shape
 * alone, since recorded steps bake the addresses in. */
struct block_layout {
    size_t token_ids, positions, slot_mapping, seq_lens;
    size_t decode_items, window_items;  /* the latter beside its own header */
    size_t prefill_tiles;
    size_t block_tables;                /* last: its length varies */
};

/* A call of `sample` whose results are on their way. */
struct pending_sample {
    struct sample_output output;  /* the caller's memory */
    int first, num_rows;          /* of the step's staging */
    bool has_top;
};

/* What one of the steps under way owns until it is waited for. */
struct step_slot {
    char *block;                  /* pinned [block_bytes] */
    struct arena arena;           /* row ids, sampling parameters */
    struct sample_out *out;       /* pinned [max_seqs] */
    int32_t *top_ids;             /* pinned [max_seqs, max_top] */
    float *top_logprobs;          /* pinned [max_seqs, max_top] */
    struct pending_sample samples[MAX_SAMPLES];
    int num_samples, num_drawn;
    cudaEvent_t done;
};

enum graph_state { GRAPH_UNSEEN, GRAPH_SEEN, GRAPH_RECORDING, GRAPH_READY };

/* The layers of a decode step of so many rows. */
struct recorded_step {
    int num_rows;
    enum graph_state state;
    cudaGraphExec_t exec;
};

struct device {
    struct device_options options;
    char name[64];
    size_t memory_total;
    struct cuda_ctx ctx;
    struct allocation *allocations;
    struct cuda_weight *weights;
    size_t workspace_bytes;

    /* Uploads: two halves of pinned memory take turns. */
    char *staging;
    cudaEvent_t staging_free[2];
    int staging_turn;

    struct gemm_plans *plans;

    /* The cache and the rotary table. */
    struct kv_config kv;
    bf16_bits *cache;             /* [L][2][num_blocks][K][16][D] */
    float *rope;                  /* [max_position, D/2] pairs of cos and sin */
    int rope_max_position;

    /* Attention. */
    void *partials;
    int num_partials;             /* slots */
    bool fast_attention;          /* the geometry has tensor-core kernels */
    int tile_rows;                /* query rows of a prefill tile */
    uint32_t *counters;           /* [max_seqs, K] */

    /* The step being begun, and those under way. */
    char *block;                  /* device [block_bytes]: of the newest step */
    size_t block_bytes;
    struct step_slot slots[MAX_STEPS];
    int first_slot, num_slots;    /* those under way */
    struct step_slot *slot;       /* of the step being begun, NULL between steps */
    struct step_ints ints;        /* of all layers, and of those with a window */
    struct step_ints window_ints;
    int num_rows, num_tiles;
    bool has_decodes;
    struct recorded_step *recorded;   /* ascending num_rows */
    int num_recorded;
    struct recorded_step *recording;  /* what the step's layers are or become */

    /* Sampling. */
    int32_t *last_tokens;         /* [max_seqs] drawn in the step before */
    int32_t *drawn;               /* [max_seqs] drawn in this one */
    int num_last_tokens;
    struct sample_out *out;       /* device [max_seqs] */
    int32_t *top_ids;             /* device [max_seqs, max_top] */
    float *top_logprobs;
    int max_top;
    void *sample_workspace;
    size_t sample_workspace_bytes;

    struct error failure;         /* the first; code 0: none */
};

/* device.c */
int cuda_device_open(const struct device_options *opt, struct device **ret, struct error *err);
void cuda_device_close(struct device *dev);
void cuda_device_info(const struct device *dev, struct device_info *ret);
const char *cuda_failure(const struct device *dev);
/* Notes a failed call for device->failure; returns ERR_DEVICE, or 0
 * for cudaSuccess. */
int cuda_check(struct device *dev, cudaError_t rc, const char *what);
/* The same while opening, with the text in `err`. ERR_NOMEM or ERR_DEVICE. */
int cuda_fail(struct error *err, cudaError_t rc, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* memory.c */
int cuda_alloc(struct device *dev, size_t bytes, const char *what, void **ret, struct error *err);
/* The device's own memory: counts as workspace, freed by device_close. */
int cuda_alloc_own(struct device *dev, size_t bytes, const char *what, void **ret,
                   struct error *err);
int cuda_alloc_pinned(size_t bytes, const char *what, void *ret, struct error *err);
void cuda_memory_release(struct device *dev);
int cuda_buffer_alloc(struct device *dev, size_t bytes, struct buffer *ret, struct error *err);
void cuda_buffer_free(struct device *dev, struct buffer *b);
int cuda_upload(struct device *dev, struct buffer *dst, size_t offset, const void *src,
                size_t bytes);
int cuda_download(struct device *dev, void *dst, const struct buffer *src, size_t offset,
                  size_t bytes);
/* Copies to the device through the pinned halves; returns when src may change. */
int cuda_stage(struct device *dev, void *dst, const void *src, size_t bytes);
int cuda_arena_init(struct device *dev, struct arena *a, size_t bytes, struct error *err);
void cuda_arena_release(struct arena *a);
/* Room for `bytes`, aligned to 16: the host's address, and the device's. NULL
 * when it is full. */
void *cuda_arena_take(struct arena *a, size_t bytes, void *ret_device);
/* Copies what was taken since the last time, on the stream. */
int cuda_arena_send(struct device *dev, struct arena *a);

/* weights.c */
int cuda_weight_load(struct device *dev, const struct host_tensor *parts, int num_parts,
                     enum weight_use use, bool f32_weights, struct weight *ret,
                     struct error *err);
int cuda_weight_random(struct device *dev, int64_t rows, int64_t cols, enum weight_use use,
                       enum dtype dtype, float scale, uint64_t seed, struct weight *ret,
                       struct error *err);
void cuda_weights_release(struct device *dev);

/* cache.c */
int cuda_kv_init(struct device *dev, const struct kv_config *cfg, struct error *err);
size_t cuda_kv_block_bytes(const struct kv_config *cfg);
int cuda_rope_init(struct device *dev, const struct rope_config *cfg, struct error *err);
struct kv_layer cuda_kv_layer(const struct device *dev, int layer);

/* step_block.c: the layout for a shape and what a batch fills it with. */
size_t block_bytes_most(const struct device *dev);
struct block_layout block_layout(const struct device *dev, int num_rows, int num_seqs,
                                 int num_tiles);
/* Fills the slot's block; returns the bytes to copy. */
size_t block_fill(struct device *dev, char *block, const struct block_layout *l,
                  const struct batch *b, int num_rows);
/* The addresses in the device's block. */
void block_views(struct device *dev, const struct block_layout *l);
/* Tiles that the batch's prefill rows make. */
int block_count_tiles(const struct device *dev, const struct batch *b);

/* step.c */
int cuda_step_init(struct device *dev, struct error *err);
void cuda_step_release(struct device *dev);
int cuda_step_begin(struct device *dev, const struct batch *batch, struct step_shape *ret);
int cuda_forward_end(struct device *dev);
int cuda_step_end(struct device *dev);
int cuda_step_wait(struct device *dev);

/* sampling.c */
int cuda_sampling_init(struct device *dev, struct error *err);
int cuda_op_sample(struct device *dev, struct buffer *logits, const struct sample_row *rows,
                   int num_rows, int64_t vocab_size, const struct sample_output *ret);
int cuda_op_logprobs(struct device *dev, const struct buffer *logits, const int32_t *targets,
                     int num_rows, int64_t vocab_size, int num_logprobs,
                     const struct sample_output *ret);
/* As cuda_arena_take, of the step being begun; when its arena is full, what the step
 * has enqueued so far is waited for. NULL: more than an arena, or the device failed. */
void *cuda_step_take(struct device *dev, size_t bytes, void *ret_device);
/* The results of a step that is done go to where its callers want them. */
void cuda_sampling_deliver(struct device *dev, struct step_slot *slot);

#endif
