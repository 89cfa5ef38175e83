/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Llama and Qwen2: pre-norm blocks, grouped-query attention with rotary
 * positions, SwiGLU. Qwen2 is Llama with a bias on q, k and v.
 * transformers: modeling_llama.py, modeling_qwen2.py.
 */
#include "engine/arch.h"

static int
llama_config(const struct json_object *o, struct model_config *c, struct error *err)
{
    bool attention_bias = false;
    int code;
    c->activation = ACT_SILU;
    c->max_position_embeddings = 2048;
    if ((code = json_get_bool(o, "attention_bias", &attention_bias, err)) != 0 ||
        (code = json_get_bool(o, "mlp_bias", &c->mlp_bias, err)) != 0)
        return code;
    c->qkv_bias = c->o_bias = attention_bias;
    return 0;
}

/*
 * transformers uses the window in layers max_window_layers and above, and only
 * with use_sliding_window. So it is off in every published Qwen2 model although
 * sliding_window is in the file.
 */
static int
qwen2_config(const struct json_object *o, struct model_config *c, struct error *err)
{
    bool use_window = false;
    int64_t full_layers = 28;
    int code;
    c->activation = ACT_SILU;
    c->max_position_embeddings = 32768;
    c->num_kv_heads = 32;
    c->qkv_bias = true;
    if ((code = json_get_bool(o, "use_sliding_window", &use_window, err)) != 0 ||
        (code = json_get_int(o, "max_window_layers", 0, INT32_MAX, &full_layers, err)) != 0)
        return code;
    if (use_window && full_layers < c->num_layers && !json_is_null_member(o, "sliding_window"))
        return error_set(err, ERR_UNSUPPORTED,
                         "%s: 'use_sliding_window' with 'max_window_layers' %d below "
                         "'num_hidden_layers', %d, is not supported for %s",
                         o->path, (int)full_layers, c->num_layers, c->architecture);
    return 0;
}

static void
llama_tensors(struct model *m, struct loader *l)
{
    int64_t h = m->config.hidden_size;
    tensors_embedding(m, l);
    for (int i = 0; i < m->config.num_layers; i++) {
        struct layer *layer = &m->layers[i];
        loader_layer(l, i);
        loader_vector(l, &layer->attn_norm, "input_layernorm.weight", h, true);
        tensors_attention(m, l, layer);
        loader_vector(l, &layer->mlp_norm, "post_attention_layernorm.weight", h, true);
        tensors_mlp(m, l, layer);
    }
    tensors_head(m, l);
}

static void
llama_forward(struct model *m, int tokens)
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
    };

    ops->embed(dev, &m->residual, &m->embed, 1.0f);
    ops->rmsnorm(dev, &m->hidden, &m->residual, &m->layers[0].attn_norm, tokens, eps, 0);
    for (int i = 0; i < c->num_layers; i++) {
        const struct layer *l = &m->layers[i];
        const struct weight *next_norm =
            i + 1 < c->num_layers ? &m->layers[i + 1].attn_norm : &m->norm;

        attn.layer = i;
        ops->gemm(dev, &m->wide, &m->hidden, &l->qkv, bias_or_null(&l->qkv_bias), tokens);
        ops->rope_kv_write(dev, &m->wide, &attn);
        ops->attention(dev, &m->mid, &m->wide, &attn);
        ops->gemm(dev, &m->hidden, &m->mid, &l->o, bias_or_null(&l->o_bias), tokens);
        ops->add_rmsnorm(dev, &m->hidden, &m->residual, &m->hidden, &l->mlp_norm, tokens, eps, 0);

        ops->gemm(dev, &m->wide, &m->hidden, &l->gate_up, bias_or_null(&l->gate_up_bias), tokens);
        ops->act_mul(dev, &m->mid, &m->wide, tokens, c->intermediate_size, c->activation);
        ops->gemm(dev, &m->hidden, &m->mid, &l->down, bias_or_null(&l->down_bias), tokens);
        ops->add_rmsnorm(dev, &m->hidden, &m->residual, &m->hidden, next_norm, tokens, eps, 0);
    }
}

const struct arch arch_llama = {
    .name = "LlamaForCausalLM",
    .model_type = "llama",
    .config = llama_config,
    .tensors = llama_tensors,
    .forward = llama_forward,
};

const struct arch arch_qwen2 = {
    .name = "Qwen2ForCausalLM",
    .model_type = "qwen2",
    .config = qwen2_config,
    .tensors = llama_tensors,
    .forward = llama_forward,
};
