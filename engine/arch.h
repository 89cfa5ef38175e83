/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an architecture is: three functions (hyper-parameters, tensors, forward)
 * and the inside of struct model that they share. Included by model*.c and
 * arch_*.c only.
 */
#ifndef ENGINE_ARCH_H
#define ENGINE_ARCH_H

#include "engine/loader.h"
#include "engine/model.h"
#include "util/json.h"

struct arch {
    const char *name;       /* as config.json's `architectures` spells it */
    const char *model_type; /* looked at when `architectures` is missing */
    /* What differs in config.json: `ret` holds the common part already. */
    int (*config)(const struct json_object *o, struct model_config *ret, struct error *err);
    /* Names every tensor to the loader, in the order of use. Runs twice: see
     * loader.h. */
    void (*tensors)(struct model *m, struct loader *l);
    /* The layers, over num_rows rows of the buffers below. */
    void (*forward)(struct model *m, int num_rows);
};

extern const struct arch arch_llama, arch_qwen2, arch_gemma2;

/* By `architectures` entry; NULL when llmd does not have it. */
const struct arch *arch_find(const char *name);
const struct arch *arch_find_model_type(const char *model_type);
/* "LlamaForCausalLM, Qwen2ForCausalLM, ..." for error texts. */
const char *arch_names(void);

/* Weights without rows are absent (biases, the norms of other families). */
struct layer {
    struct weight attn_norm;      /* [H] before attention */
    struct weight qkv, qkv_bias;  /* [(Q+2K)*D, H]: q, k, v stacked */
    struct weight o, o_bias;      /* [H, Q*D] */
    struct weight attn_post_norm; /* [H] gemma2: of attention's output */
    struct weight mlp_norm;       /* [H] before the MLP */
    struct weight gate_up, gate_up_bias; /* [2I, H]: gate, up stacked */
    struct weight down, down_bias;       /* [H, I] */
    struct weight mlp_post_norm;  /* [H] gemma2: of the MLP's output */
};

struct model {
    struct model_config config;
    const struct arch *arch;
    const struct ops *ops;  /* borrowed */
    struct device *dev;     /* borrowed */
    bool f32;

    struct weight embed;    /* [V, H] */
    struct weight head;     /* [V, H]; a copy of embed's handle when tied */
    struct weight norm;     /* [H] after the last layer */
    struct layer *layers;   /* owned [L] */

    /* Activations, [max_tokens, ...]. `wide` is qkv in attention and gate_up in
     * the MLP, `mid` attention's output and then the MLP's. */
    struct buffer residual; /* H */
    struct buffer hidden;   /* H; after forward: the last norm's output */
    struct buffer wide;     /* max((Q+2K)*D, 2I) */
    struct buffer mid;      /* max(Q*D, I) */
    struct buffer rows;     /* [max_logit_rows, H] */
    struct buffer logits;   /* [max_logit_rows, V] f32 */
    int max_tokens, max_logit_rows;

    size_t weight_bytes, scratch_bytes;
    size_t num_unused;      /* tensors in the files that no layer asked for */
    char unused_name[128];  /* the first of them */
};

/* The tensors that are alike in all architectures (model.c): the
 * embedding; one layer's matrices and biases; the last norm and the head. */
void tensors_embedding(struct model *m, struct loader *l);
void tensors_attention(struct model *m, struct loader *l, struct layer *ret);
void tensors_mlp(struct model *m, struct loader *l, struct layer *ret);
void tensors_head(struct model *m, struct loader *l);

/* The optional vector `w` as gemm takes it. */
static inline const struct weight *
bias_or_null(const struct weight *w)
{
    return w->rows == 0 ? NULL : w;
}

#endif
