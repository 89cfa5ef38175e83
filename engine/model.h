/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A model: its configuration, its weights on a device and its forward pass. An
 * architecture is a row of three functions (hyper-parameters, tensors, forward);
 * see arch_llama.c and arch_gemma2.c. Worker thread, except for reading.
 */
#ifndef ENGINE_MODEL_H
#define ENGINE_MODEL_H

#include "engine/engine.h"
#include "kernels/ops.h"
#include "util/base.h"
#include "util/error.h"

#define MODEL_MAX_EOS 16

enum rope_type { ROPE_DEFAULT, ROPE_LINEAR, ROPE_LLAMA3 };

/* config.json and generation_config.json, in Hugging Face's words, checked. */
struct model_config {
    char architecture[64];
    int64_t hidden_size, intermediate_size, vocab_size;
    int num_layers, num_heads, num_kv_heads, head_dim;
    int64_t max_position_embeddings;
    float rms_norm_eps;
    enum activation activation;
    bool tie_word_embeddings;
    bool qkv_bias, o_bias, mlp_bias;
    bool post_norms;                 /* gemma2: norms after attention and MLP too */
    enum dtype dtype;                /* torch_dtype / dtype of config.json; bf16 if absent */

    double rope_theta;
    enum rope_type rope_type;
    double rope_factor, rope_low_freq_factor, rope_high_freq_factor;
    int64_t rope_original_max_position;

    int sliding_window;              /* 0: none */
    bool window_on_even_layers;      /* gemma2: layers 0, 2, ... are local */
    float attn_softcap, final_softcap; /* 0: off */
    float attn_scale;                /* multiplies q.k */

    int32_t bos_token_id;            /* -1: none */
    int32_t eos_token_ids[MODEL_MAX_EOS]; /* union of both files */
    int num_eos_token_ids;
    /* generation_config.json's sampling defaults: NAN / -1 where absent */
    double temperature, top_p, min_p, repetition_penalty;
    int64_t top_k, max_new_tokens;
};

/*
 * Reads and checks `dir`/config.json and generation_config.json (the latter may
 * be missing). ERR_NOTFOUND, ERR_CORRUPT, ERR_RANGE; ERR_UNSUPPORTED names the
 * architecture, rope type or quantisation that llmd does not have.
 */
int model_config_read(const char *dir, struct model_config *ret, struct error *err);
/* The same from the files' bytes; `generation` NULL: there is none. */
int model_config_parse(const char *config, size_t config_len, const char *generation,
                       size_t generation_len, struct model_config *ret, struct error *err);
/* Parameters of the whole model (a tied head counts once). */
int64_t model_config_num_parameters(const struct model_config *cfg);
/* Bytes of all parameters when each is stored as `dtype`. */
size_t model_config_weight_bytes(const struct model_config *cfg, enum dtype dtype);
/* Bytes of the buffers that a forward pass writes. */
struct model_scratch {
    size_t residual, hidden, wide, mid; /* activations of a step's tokens */
    size_t rows, logits;                /* of the rows that get logits */
};
/* For steps of at most max_tokens tokens with activations of type `act`. */
void model_config_scratch(const struct model_config *cfg, enum dtype act, size_t max_tokens,
                          size_t max_logit_rows, struct model_scratch *ret);
/* inv_freq[D/2] with the scaling applied, as transformers computes it (f32). */
void model_config_inv_freq(const struct model_config *cfg, float *ret);

struct model;

struct model_load_args {
    const char *dir;
    const struct model_config *config;   /* copied */
    enum load_format load_format;
    bool f32;                            /* weights and cache in f32 */
    /* Unless f32: DTYPE_BF16 or DTYPE_F16 converts matrices stored as another
     * type; DTYPE_F32 (0) keeps 16-bit types as stored and makes f32 bf16. */
    enum dtype dtype;
    uint64_t seed;                       /* of dummy weights */
    const struct ops *ops;               /* borrowed */
    struct device *dev;                  /* borrowed: closed by the caller, after model_free */
    int max_tokens;                      /* most tokens of a step: sizes the scratch */
    int max_logit_rows;                  /* most rows of one model_logits call */
    int max_model_len;                   /* sizes the rotary table; 0: as config says */
    struct engine_progress *progress;    /* may be NULL */
};

/* Checks every file's header first (milliseconds), then loads. Errors name
 * file, tensor and reason. */
int model_load(const struct model_load_args *args, struct model **ret, struct error *err);
void model_free(struct model *m);
const struct model_config *model_config(const struct model *m);
/* Bytes on the device. */
size_t model_weight_bytes(const struct model *m);
size_t model_scratch_bytes(const struct model *m);
/* Tensors in the files that the model does not have (not counting a tied head
 * and stored rotary tables): their number, and the first one's name, for a
 * warning. *ret_first is borrowed from the model, "" when there are none. */
size_t model_unused_tensors(const struct model *m, const char **ret_first);

/* Has the device time its ways to do this model's matrix products; see ops->tune.
 * Before the first step. */
int model_tune(struct model *m, struct error *err);

/* Runs all layers over the batch given to ops->step_begin, which returned
 * num_rows. The last hidden states stay inside the model until the next call. */
void model_forward(struct model *m, int num_rows);
/* Head and soft cap of num_rows <= max_logit_rows token rows of the last
 * forward; returns the logits [num_rows, vocab_size] f32, which may be
 * overwritten and are valid until the next call. Before step_end. */
struct buffer *model_logits(struct model *m, const int32_t *row_ids, int num_rows);

#endif
