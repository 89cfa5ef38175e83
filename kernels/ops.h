/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The op table: all that a model's forward pass asks of a device. A backend
 * (kernels/cpu, the CUDA module) implements it; tests/ops/ref_ops.c implements
 * it in plain double loops and judges the others.
 *
 * Dimension letters: T tokens in the step, S sequences, R logit rows, H hidden,
 * I intermediate, Q query heads, K key/value heads, D head_dim, V vocab,
 * L layers, B = KV_BLOCK_SIZE tokens per block.
 *
 * Activations are row-major, of the device's activation type (f32 on the CPU).
 * Logits are always f32. All functions are called from one thread, the worker.
 *
 * Determinism: an output element has one accumulation order that depends on
 * its own sequence alone, never on T, S, the chunking or the thread count. (A GPU
 * promises this for gemm only when opened with `deterministic`.)
 */
#ifndef KERNELS_OPS_H
#define KERNELS_OPS_H

#include "util/base.h"
#include "util/error.h"

/* Bumped on any change of this file; compared when a module is loaded. */
#define OPS_ABI 2

#define KV_BLOCK_SIZE 16

enum dtype { DTYPE_F32, DTYPE_BF16, DTYPE_F16 };

static inline size_t
dtype_bytes(enum dtype t)
{
    return t == DTYPE_F32 ? 4 : 2;
}

/* A tensor in host memory: the mapped file. May be unaligned. */
struct host_tensor {
    const void *data;  /* borrowed */
    enum dtype dtype;
    int64_t rows, cols; /* a vector has rows = 1 */
};

/* A parameter on the device, opaque beyond its shape. Made by weight_load. */
struct weight {
    void *impl;        /* owned by the device, freed by device_close */
    int64_t rows, cols; /* [N, K]: rows are output features */
    enum dtype dtype;  /* as stored on the device */
};

/* What weight_load prepares a parameter for. */
enum weight_use {
    WEIGHT_MATRIX,     /* gemm operand, 16-bit kept 16-bit */
    WEIGHT_EMBEDDING,  /* gathered by row, and also a gemm operand (tied head) */
    WEIGHT_VECTOR,     /* norm weight or bias: widened to f32 */
};

struct buffer {
    void *data;   /* device memory; owned by whoever called buffer_alloc */
    size_t bytes;
};

/* The shape of the KV cache, given once. */
struct kv_config {
    int num_layers, num_kv_heads, head_dim;
    int num_blocks;     /* of KV_BLOCK_SIZE tokens; block 0 is usable */
    enum dtype dtype;   /* DTYPE_BF16, or DTYPE_F32 for --dtype float32 */
    int num_heads;      /* query heads; 0: as many as num_kv_heads */
    int window;         /* of the layers that have one, see attention_args; 0: none has */
};

/*
 * The integers of one step, in host memory, read by step_begin alone on a device
 * that runs steps ahead, else until step_end. A token id -1 - i stands for the
 * token that the step before drew as its i-th (counted over all its `sample`
 * calls), which the host need not know yet. A sequence's rows are consecutive; its query tokens are the last ones of its
 * context: position of its i-th row = seq_lens[s] - q_len + i.
 */
struct batch {
    int num_tokens;                  /* T */
    int num_seqs;                    /* S */
    int max_blocks_per_seq;          /* row length of block_tables */
    const int32_t *token_ids;        /* [T] */
    const int32_t *positions;        /* [T] */
    const int32_t *slot_mapping;     /* [T] block * KV_BLOCK_SIZE + offset */
    const int32_t *cu_seqlens_q;     /* [S+1] row offsets */
    const int32_t *seq_lens;         /* [S] context length, this step included */
    const int32_t *block_tables;     /* [S, max_blocks_per_seq] */
};

/* Rotary table: angle of pair i at position p = p * inv_freq[i] (f64 product
 * rounded as transformers does: f32 inv_freq times f32 position). */
struct rope_config {
    int head_dim;
    int max_position;
    const float *inv_freq;   /* [D/2], host; scaling already applied */
    float attention_factor;  /* multiplies cos and sin; 1 for llama3 and linear */
};

struct attention_args {
    int layer;
    int num_heads, num_kv_heads, head_dim;
    float scale;        /* multiplies q.k */
    float softcap;      /* 0: off; else s = cap * tanh(s / cap), before the mask */
    int window;         /* 0: off; else keys p - window < key <= p */
};

enum activation { ACT_SILU, ACT_GELU_TANH };

/* What step_begin made of a batch. */
struct step_shape {
    int num_rows;   /* of every op up to forward_end: T, or more where the device pads
                       the batch to a shape that it records */
    bool recorded;  /* the layers are recorded for this shape: their ops are not called */
};

/* One row of `sample`. All pointers are host memory, borrowed for the call. */
struct sample_row {
    float temperature;          /* 0: greedy */
    float top_p;                /* (0, 1]; 1: off */
    float min_p;                /* [0, 1]; 0: off */
    int32_t top_k;              /* 0: off */
    float repetition_penalty;   /* 1: off; over prompt and output */
    float presence_penalty;     /* 0: off; over output */
    float frequency_penalty;    /* 0: off; over output */
    uint64_t seed;              /* key of the generator */
    uint64_t position;          /* index of the token being drawn, 0-based */
    const int32_t *prompt_ids;  /* [num_prompt] */
    const int32_t *output_ids;  /* [num_output]; the last may be -1 - i as in batch */
    int num_prompt, num_output;
    const int32_t *bias_ids;    /* [num_bias] logit_bias */
    const float *bias_values;
    int num_bias;
    const int32_t *banned_ids;  /* [num_banned] cannot be drawn (min_tokens, bad_words) */
    int num_banned;
    const int32_t *allowed_ids; /* [num_allowed] only these can be drawn; 0: all */
    int num_allowed;
    int num_logprobs;           /* -1: none; 0: the token's own; n: top n as well */
};

/* What comes back per row. */
struct sample_result {
    int32_t token;
    float logprob;     /* raw: of the logits before any processing; 0 without logprobs */
    int32_t rank;      /* 1 = most likely; 0 without logprobs */
};

/* Where the results of `sample` and `logprobs` go: host memory of the caller's,
 * written by the time step_wait has returned for the step. */
struct sample_output {
    struct sample_result *results;  /* [R] */
    int32_t *top_ids;               /* [R, top_stride] */
    float *top_logprobs;            /* [R, top_stride] */
    int top_stride;
};

struct device_info {
    char name[64];              /* "cpu (AVX2+FMA, 2 threads)" */
    enum dtype act_dtype;       /* of activations */
    bool is_gpu;                /* memory of its own, 16-bit arithmetic alone */
    size_t memory_total, memory_free;  /* bytes */
    size_t workspace_bytes;     /* the device's own, taken so far beyond what its callers
                                   allocate; kv_init and rope_init take more */
    int max_steps_in_flight;    /* begun and not waited for: 1, or 2 */
    int max_logit_rows;         /* most R that it likes at once */
};

struct device_options {
    int threads;                /* CPU: compute threads, 0 = as many as cores */
    const char *isa;            /* CPU: NULL or "auto", "avx2", "generic" */
    int max_tokens;             /* most T of any step */
    int max_seqs;               /* most S of any step */
    int vocab_size;
    int max_model_len;          /* most context of any sequence; 0: unknown */
    int max_logprobs;           /* widest top list of `sample` and `logprobs` */
    int ordinal;                /* CUDA: device number */
    bool enforce_eager;         /* CUDA: record no steps */
    bool no_pdl;                /* CUDA: no programmatic dependent launch */
    bool deterministic;         /* CUDA: results independent of the batch, as on the CPU */
    const char *cache_dir;      /* CUDA: where timed algorithms are kept; NULL: nowhere */
};

struct device;

/* Matrices of one shape, for `tune`: x[max_rows, K] . w[N, K]^T of all layers. */
struct gemm_product {
    const struct weight *const *weights;
    int num_weights;
    const struct weight *bias;  /* one of them, or NULL */
    bool logits;                /* out is f32, as gemm_logits gives it */
    struct buffer *x, *out;     /* scratch, overwritten */
    int max_rows;
};

/*
 * A function returning int returns 0 or a negative `enum err`, ERR_DEVICE
 * meaning that the device is lost. Functions returning void cannot fail on
 * valid arguments; a device that fails asynchronously says so in step_end.
 */
struct ops {
    int abi;                    /* OPS_ABI, first */
    const char *name;           /* "cpu", "cuda" */

    /* Device and memory. */
    int (*device_open)(const struct device_options *opt, struct device **ret, struct error *err);
    void (*device_close)(struct device *dev);
    void (*device_info)(const struct device *dev, struct device_info *ret);
    int (*buffer_alloc)(struct device *dev, size_t bytes, struct buffer *ret, struct error *err);
    void (*buffer_free)(struct device *dev, struct buffer *b);
    int (*upload)(struct device *dev, struct buffer *dst, size_t offset, const void *src,
                  size_t bytes);
    int (*download)(struct device *dev, void *dst, const struct buffer *src, size_t offset,
                    size_t bytes);

    /*
     * Puts `num_parts` host tensors, stacked by rows, onto the device as one
     * weight: q, k, v become one [(Q+2K)*D, H] matrix, gate and up one [2I, H].
     * f32_weights: widen to f32 (--dtype float32). The host data may be
     * unmapped afterwards unless the device reports otherwise.
     */
    int (*weight_load)(struct device *dev, const struct host_tensor *parts, int num_parts,
                       enum weight_use use, bool f32_weights, struct weight *ret,
                       struct error *err);
    /* --load-format dummy: uniform values in +-scale from a counter-based
     * generator, at the given shape. */
    int (*weight_random)(struct device *dev, int64_t rows, int64_t cols, enum weight_use use,
                         enum dtype dtype, float scale, uint64_t seed, struct weight *ret,
                         struct error *err);
    int (*kv_init)(struct device *dev, const struct kv_config *cfg, struct error *err);
    /* Bytes of one block over all layers, keys and values. */
    size_t (*kv_block_bytes)(const struct kv_config *cfg);
    int (*rope_init)(struct device *dev, const struct rope_config *cfg, struct error *err);

    /*
     * Times the ways there are to do each product, for up to max_rows rows, and
     * keeps the fastest; what was timed before, as the device's cache_dir tells, is
     * not timed again. Between steps; takes seconds.
     */
    int (*tune)(struct device *dev, const struct gemm_product *products, int num_products,
                struct error *err);

    /*
     * One step: step_begin, the ops of the layers (unless recorded), forward_end,
     * gather_rows ... sample, step_end; later step_wait. A device with
     * max_steps_in_flight 2 may begin a step before the one ahead was waited for;
     * results then come in the order of the steps.
     */
    int (*step_begin)(struct device *dev, const struct batch *batch, struct step_shape *ret);
    int (*forward_end)(struct device *dev);
    int (*step_end)(struct device *dev);
    /* Until the oldest step that ended is done and its outputs are written. */
    int (*step_wait)(struct device *dev);
    /* What made a function return ERR_DEVICE, for a human; NULL: nothing did. */
    const char *(*failure)(const struct device *dev);

    /* out[T,H] = table[token_ids[t]] * scale */
    void (*embed)(struct device *dev, struct buffer *out, const struct weight *table, float scale);
    /* out[rows,H] = x / rms(x) * (w + weight_offset); x f32-accumulated; out may be x */
    void (*rmsnorm)(struct device *dev, struct buffer *out, const struct buffer *x,
                    const struct weight *w, int rows, float eps, float weight_offset);
    /* residual[T,H] += x[T,H]; out = rmsnorm(residual); out may be x */
    void (*add_rmsnorm)(struct device *dev, struct buffer *out, struct buffer *residual,
                        const struct buffer *x, const struct weight *w, int rows, float eps,
                        float weight_offset);
    /* out[M,N] = x[M,K] . w[N,K]^T + bias[N]; bias may be NULL; out is not x */
    void (*gemm)(struct device *dev, struct buffer *out, const struct buffer *x,
                 const struct weight *w, const struct weight *bias, int rows);
    /* as gemm, but out is f32 logits on any device */
    void (*gemm_logits)(struct device *dev, struct buffer *out, const struct buffer *x,
                        const struct weight *w, int rows);
    /* qkv[T,(Q+2K)*D]: rotates q in place (first half with second half of each
     * head), rotates k and writes k and v to the cache at slot_mapping */
    void (*rope_kv_write)(struct device *dev, struct buffer *qkv, const struct attention_args *a);
    /* out[T,Q*D] from the q part of qkv and the paged cache, causal */
    void (*attention)(struct device *dev, struct buffer *out, const struct buffer *qkv,
                      const struct attention_args *a);
    /* out[T,I] = act(gate_up[:, :I]) * gate_up[:, I:] */
    void (*act_mul)(struct device *dev, struct buffer *out, const struct buffer *gate_up,
                    int rows, int64_t intermediate_size, enum activation act);
    /* out[num_rows,H] = x[row_ids[i]]; row_ids in host memory */
    void (*gather_rows)(struct device *dev, struct buffer *out, const struct buffer *x,
                        const int32_t *row_ids, int num_rows, int64_t hidden_size);
    /* logits[R,V] = cap * tanh(logits / cap) */
    void (*softcap)(struct device *dev, struct buffer *logits, int rows, int64_t vocab_size,
                    float cap);

    /*
     * Draws one token per row of logits[R,V] (destroyed). Order: logprobs of
     * the raw logits, then allowed/banned/bias, penalties, temperature, min_p,
     * top_k, top_p, and Gumbel-max with the counter-based generator of
     * util/rng.h keyed by (seed, position, token id). Ties: the lowest id.
     * The top lists receive each row's most likely num_logprobs tokens in
     * descending order (ties by id).
     */
    int (*sample)(struct device *dev, struct buffer *logits, const struct sample_row *rows,
                  int num_rows, int64_t vocab_size, const struct sample_output *ret);
    /*
     * Log-probabilities of given tokens (prompt_logprobs, echo): for each row
     * the logprob and rank of targets[i] and the top num_logprobs.
     */
    int (*logprobs)(struct device *dev, const struct buffer *logits, const int32_t *targets,
                    int num_rows, int64_t vocab_size, int num_logprobs,
                    const struct sample_output *ret);
};

#endif
