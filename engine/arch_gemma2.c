/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Gemma 2: Llama with a norm after attention and after the MLP as well, norms
 * that multiply by 1 + w, embeddings scaled by sqrt(H), GeGLU, soft caps on the
 * scores and the logits, and a sliding window in layers 0, 2, 4, ...
 * `post_attention_layernorm` is the norm after attention here; in Llama's files
 * it is the one before the MLP. transformers: modeling_gemma2.py.
 */
#include "engine/arch.h"

#include <math.h>

/* A cap that null switches off; absent: the class's default. */
static int
read_cap(const struct json_object *o, const char *key, double fallback, float *ret,
         struct error *err)
{
    double cap = json_is_null_member(o, key) ? 0 : fallback;
    int code = json_get_double(o, key, 1e-3, 1e6, &cap, err);
    if (code == 0)
        *ret = (float)cap;
    return code;
}

static int
gemma2_config(const struct json_object *o, struct model_config *c, struct error *err)
{
    bool attention_bias = false;
    int64_t window = json_is_null_member(o, "sliding_window") ? 0 : 4096;
    double scalar = 256;
    int code;
    c->activation = ACT_GELU_TANH;
    c->max_position_embeddings = 8192;
    c->num_kv_heads = 4;
    c->head_dim = 256;
    c->tie_word_embeddings = true;
    c->post_norms = true;
    c->window_on_even_layers = true;
    if ((code = json_get_bool(o, "attention_bias", &attention_bias, err)) != 0 ||
        (code = json_get_int(o, "sliding_window", 1, INT32_MAX, &window, err)) != 0 ||
        (code = json_get_double(o, "query_pre_attn_scalar", 1e-3, 1e6, &scalar, err)) != 0 ||
        (code = read_cap(o, "attn_logit_softcapping", 50, &c->attn_softcap, err)) != 0 ||
        (code = read_cap(o, "final_logit_softcapping", 30, &c->final_softcap, err)) != 0)
        return code;
    c->qkv_bias = c->o_bias = attention_bias;
    c->sliding_window = (int)window;
    c->attn_scale = (float)(1 / sqrt(scalar));
    return 0;
}

static void
gemma2_tensors(struct model *m, struct loader *l)
{
    int64_t h = m->config.hidden_size;
    tensors_embedding(m, l);
    for (int i = 0; i < m->config.num_layers; i++) {
        struct layer *layer = &m->layers[i];
        loader_layer(l, i);
        loader_vector(l, &layer->attn_norm, "input_layernorm.weight", h, true);
        tensors_attention(m, l, layer);
        loader_vector(l, &layer->attn_post_norm, "post_attention_layernorm.weight", h, true);
        loader_vector(l, &layer->mlp_norm, "pre_feedforward_layernorm.weight", h, true);
        tensors_mlp(m, l, layer);
        loader_vector(l, &layer->mlp_post_norm, "post_feedforward_layernorm.weight", h, true);
    }
    tensors_head(m, l);
}

/* transformers rounds the factor to the type of the activations: 59.75 instead
 * of 59.866 for H = 3584. */
static float
embedding_scale(const struct model *m)
{
    float scale = sqrtf((float)m->config.hidden_size);
    if (m->f32)
        return scale;
    struct host_tensor t = {.data = &scale, .dtype = DTYPE_F32, .rows = 1, .cols = 1};
    uint16_t rounded;
    loader_convert(&t, DTYPE_BF16, &rounded);
    float ret;
    loader_convert(&(struct host_tensor){&rounded, DTYPE_BF16, 1, 1}, DTYPE_F32, &ret);
    return ret;
}

static void
gemma2_forward(struct model *m, int tokens)
{
    const struct model_config *c = &m->config;
    const struct ops *ops = m->ops;
    struct device *dev = m->dev;
    float eps = c->rms_norm_eps;
    struct attention_args attn = {
        .num_heads = c->num_heads,
        .num_kv_heads = c->num_kv_heads,
        .head_dim = c->head_dim,
        .scale = c->attn_scale,
        .softcap = c->attn_softcap,
    };

    ops->embed(dev, &m->residual, &m->embed, embedding_scale(m));
    ops->rmsnorm(dev, &m->hidden, &m->residual, &m->layers[0].attn_norm, tokens, eps, 1);
    for (int i = 0; i < c->num_layers; i++) {
        const struct layer *l = &m->layers[i];
        const struct weight *next_norm =
            i + 1 < c->num_layers ? &m->layers[i + 1].attn_norm : &m->norm;

        attn.layer = i;
        attn.window = i % 2 == 0 ? c->sliding_window : 0;
        ops->gemm(dev, &m->wide, &m->hidden, &l->qkv, bias_or_null(&l->qkv_bias), tokens);
        ops->rope_kv_write(dev, &m->wide, &attn);
        ops->attention(dev, &m->mid, &m->wide, &attn);
        ops->gemm(dev, &m->hidden, &m->mid, &l->o, bias_or_null(&l->o_bias), tokens);
        ops->rmsnorm(dev, &m->hidden, &m->hidden, &l->attn_post_norm, tokens, eps, 1);
        ops->add_rmsnorm(dev, &m->hidden, &m->residual, &m->hidden, &l->mlp_norm, tokens, eps, 1);

        ops->gemm(dev, &m->wide, &m->hidden, &l->gate_up, NULL, tokens);
        ops->act_mul(dev, &m->mid, &m->wide, tokens, c->intermediate_size, c->activation);
        ops->gemm(dev, &m->hidden, &m->mid, &l->down, NULL, tokens);
        ops->rmsnorm(dev, &m->hidden, &m->hidden, &l->mlp_post_norm, tokens, eps, 1);
        ops->add_rmsnorm(dev, &m->hidden, &m->residual, &m->hidden, next_norm, tokens, eps, 1);
    }
}

const struct arch arch_gemma2 = {
    .name = "Gemma2ForCausalLM",
    .model_type = "gemma2",
    .config = gemma2_config,
    .tensors = gemma2_tensors,
    .forward = gemma2_forward,
};
