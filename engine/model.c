/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a model: check, load, scratch, forward, free. What differs
 * between architectures is in arch_*.c.
 */
#include "engine/arch.h"

#include <string.h>

static const struct arch *const archs[] = {&arch_llama, &arch_qwen2, &arch_gemma2};

const struct arch *
arch_find(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(archs); i++)
        if (strcmp(archs[i]->name, name) == 0)
            return archs[i];
    return NULL;
}

const struct arch *
arch_find_model_type(const char *model_type)
{
    for (size_t i = 0; i < ARRAY_SIZE(archs); i++)
        if (strcmp(archs[i]->model_type, model_type) == 0)
            return archs[i];
    return NULL;
}

const char *
arch_names(void)
{
    return "LlamaForCausalLM, Qwen2ForCausalLM and Gemma2ForCausalLM";
}

/* Tensors that are alike everywhere */

void
tensors_embedding(struct model *m, struct loader *l)
{
    const struct model_config *c = &m->config;
    loader_layer(l, -1);
    loader_weight(l, &m->embed, WEIGHT_EMBEDDING,
                  (struct tensor_part[]){
                      {"model.embed_tokens.weight", c->vocab_size, c->hidden_size}, {0}});
}

void
tensors_attention(struct model *m, struct loader *l, struct layer *ret)
{
    const struct model_config *c = &m->config;
    int64_t h = c->hidden_size;
    int64_t q = (int64_t)c->num_heads * c->head_dim;
    int64_t kv = (int64_t)c->num_kv_heads * c->head_dim;
    loader_weight(l, &ret->qkv, WEIGHT_MATRIX,
                  (struct tensor_part[]){{"self_attn.q_proj.weight", q, h},
                                         {"self_attn.k_proj.weight", kv, h},
                                         {"self_attn.v_proj.weight", kv, h},
                                         {0}});
    if (c->qkv_bias)
        loader_weight(l, &ret->qkv_bias, WEIGHT_VECTOR,
                      (struct tensor_part[]){{"self_attn.q_proj.bias", 0, q},
                                             {"self_attn.k_proj.bias", 0, kv},
                                             {"self_attn.v_proj.bias", 0, kv},
                                             {0}});
    loader_matrix(l, &ret->o, "self_attn.o_proj.weight", h, q);
    loader_vector(l, &ret->o_bias, "self_attn.o_proj.bias", h, c->o_bias);
    loader_ignore(l, "self_attn.rotary_emb.inv_freq"); /* of old exports */
}

void
tensors_mlp(struct model *m, struct loader *l, struct layer *ret)
{
    const struct model_config *c = &m->config;
    int64_t h = c->hidden_size, i = c->intermediate_size;
    loader_weight(l, &ret->gate_up, WEIGHT_MATRIX,
                  (struct tensor_part[]){
                      {"mlp.gate_proj.weight", i, h}, {"mlp.up_proj.weight", i, h}, {0}});
    if (c->mlp_bias)
        loader_weight(l, &ret->gate_up_bias, WEIGHT_VECTOR,
                      (struct tensor_part[]){
                          {"mlp.gate_proj.bias", 0, i}, {"mlp.up_proj.bias", 0, i}, {0}});
    loader_matrix(l, &ret->down, "mlp.down_proj.weight", h, i);
    loader_vector(l, &ret->down_bias, "mlp.down_proj.bias", h, c->mlp_bias);
}

void
tensors_head(struct model *m, struct loader *l)
{
    const struct model_config *c = &m->config;
    loader_layer(l, -1);
    loader_vector(l, &m->norm, "model.norm.weight", c->hidden_size, true);
    loader_ignore(l, "model.rotary_emb.inv_freq");
    if (c->tie_word_embeddings) {
        loader_ignore(l, "lm_head.weight");
        m->head = m->embed;
    } else {
        loader_matrix(l, &m->head, "lm_head.weight", c->vocab_size, c->hidden_size);
    }
}

/* Loading */

static void
set_phase(struct engine_progress *p, const char *phase)
{
    if (p != NULL)
        atomic_store(&p->phase, phase);
}

static void
note_unused(struct model *m, const struct safetensors *st)
{
    const struct safetensor *first = safetensors_unused(st, 0);
    if (first != NULL)
        safetensors_printable(first->name, m->unused_name, sizeof m->unused_name);
    m->num_unused = safetensors_num_unused(st);
}

static int
load_weights(struct model *m, const struct model_load_args *args, struct error *err)
{
    struct loader l = {
        .ops = m->ops,
        .dev = m->dev,
        .progress = args->progress,
        .f32 = args->f32,
        .dtype = args->f32 ? DTYPE_F32 : args->dtype,
        .dummy_dtype = DTYPE_BF16,
        .seed = args->seed,
        .checking = true,
        .err = err,
    };
    if (!args->f32 && (args->dtype == DTYPE_F16 ||
                       (args->dtype == DTYPE_F32 && m->config.dtype == DTYPE_F16)))
        l.dummy_dtype = DTYPE_F16;
    set_phase(args->progress, "checking weights");
    if (args->load_format != LOAD_DUMMY)
        l.code = safetensors_open(args->dir, &l.st, err);
    m->arch->tensors(m, &l);
    if (l.code == 0)
        loader_begin_loading(&l);
    m->arch->tensors(m, &l);
    if (l.code == 0 && l.st != NULL) {
        note_unused(m, l.st);
        l.code = safetensors_check_unchanged(l.st, err);
    }
    m->weight_bytes = l.weight_bytes;
    loader_release(&l);
    safetensors_close(l.st);
    return l.code;
}

static int
alloc_scratch(struct model *m, struct error *err)
{
    struct device_info info;
    struct model_scratch s;
    m->ops->device_info(m->dev, &info);
    model_config_scratch(&m->config, info.act_dtype, (size_t)m->max_tokens,
                         (size_t)m->max_logit_rows, &s);
    const struct {
        struct buffer *buffer;
        size_t bytes;
    } plan[] = {
        {&m->residual, s.residual}, {&m->hidden, s.hidden}, {&m->wide, s.wide},
        {&m->mid, s.mid},           {&m->rows, s.rows},     {&m->logits, s.logits},
    };
    for (size_t i = 0; i < ARRAY_SIZE(plan); i++) {
        int code = m->ops->buffer_alloc(m->dev, plan[i].bytes, plan[i].buffer, err);
        if (code != 0)
            return code;
        m->scratch_bytes += plan[i].bytes;
    }
    return 0;
}

static int
init_rope(struct model *m, int max_model_len, struct error *err)
{
    const struct model_config *c = &m->config;
    float *inv_freq = malloc((size_t)c->head_dim / 2 * sizeof *inv_freq);
    if (inv_freq == NULL)
        return error_set(err, ERR_NOMEM, "cannot compute rotary frequencies: out of memory");
    model_config_inv_freq(c, inv_freq);
    const struct rope_config rope = {
        .head_dim = c->head_dim,
        .max_position = max_model_len > 0 ? max_model_len : (int)c->max_position_embeddings,
        .inv_freq = inv_freq,
        .attention_factor = 1,
    };
    int code = m->ops->rope_init(m->dev, &rope, err);
    free(inv_freq);
    return code;
}

int
model_load(const struct model_load_args *args, struct model **ret, struct error *err)
{
    ASSERT(args->max_tokens > 0 && args->max_logit_rows > 0);
    const struct arch *arch = arch_find(args->config->architecture);
    if (arch == NULL)
        return error_set(err, ERR_UNSUPPORTED, "architecture '%s' is not supported: %s are",
                         args->config->architecture, arch_names());
    struct model *m = calloc(1, sizeof *m);
    if (m == NULL)
        return error_set(err, ERR_NOMEM, "cannot load the model: out of memory");
    m->config = *args->config;
    m->arch = arch;
    m->ops = args->ops;
    m->dev = args->dev;
    m->f32 = args->f32;
    m->max_tokens = args->max_tokens;
    m->max_logit_rows = args->max_logit_rows;
    m->layers = calloc((size_t)m->config.num_layers, sizeof *m->layers);
    int code;
    if (m->layers == NULL)
        code = error_set(err, ERR_NOMEM, "cannot load the model: out of memory");
    else if ((code = load_weights(m, args, err)) == 0 &&
             (code = init_rope(m, args->max_model_len, err)) == 0)
        code = alloc_scratch(m, err);
    if (code != 0) {
        model_free(m);
        return code;
    }
    *ret = m;
    return 0;
}

void
model_free(struct model *m)
{
    if (m == NULL)
        return;
    struct buffer *const buffers[] = {&m->residual, &m->hidden, &m->wide,
                                      &m->mid,      &m->rows,   &m->logits};
    for (size_t i = 0; i < ARRAY_SIZE(buffers); i++)
        if (buffers[i]->data != NULL)
            m->ops->buffer_free(m->dev, buffers[i]);
    free(m->layers);
    free(m);
}

const struct model_config *
model_config(const struct model *m)
{
    return &m->config;
}

size_t
model_weight_bytes(const struct model *m)
{
    return m->weight_bytes;
}

size_t
model_scratch_bytes(const struct model *m)
{
    return m->scratch_bytes;
}

size_t
model_unused_tensors(const struct model *m, const char **ret_first)
{
    *ret_first = m->unused_name;
    return m->num_unused;
}

/* Tuning */

/* The same matrix of every layer, at `offset` in struct layer. */
static void
list_weights(const struct model *m, size_t offset, const struct weight **ret)
{
    for (int i = 0; i < m->config.num_layers; i++)
        ret[i] = (const struct weight *)((const char *)&m->layers[i] + offset);
}

int
model_tune(struct model *m, struct error *err)
{
    const struct {
        size_t weight, bias;
        struct buffer *x, *out;
    } layer_products[] = {
        {offsetof(struct layer, qkv), offsetof(struct layer, qkv_bias), &m->hidden, &m->wide},
        {offsetof(struct layer, o), offsetof(struct layer, o_bias), &m->mid, &m->hidden},
        {offsetof(struct layer, gate_up), offsetof(struct layer, gate_up_bias), &m->hidden,
         &m->wide},
        {offsetof(struct layer, down), offsetof(struct layer, down_bias), &m->mid, &m->hidden},
    };
    enum { NUM = ARRAY_SIZE(layer_products) };
    size_t n = (size_t)m->config.num_layers;
    const struct weight **lists = malloc(NUM * n * sizeof *lists), *head = &m->head;
    if (lists == NULL)
        return error_set(err, ERR_NOMEM, "cannot time matrix products: out of memory");
    struct gemm_product products[NUM + 1];
    for (size_t i = 0; i < NUM; i++) {
        const char *first = (const char *)&m->layers[0];
        list_weights(m, layer_products[i].weight, lists + i * n);
        products[i] = (struct gemm_product){
            .weights = lists + i * n,
            .num_weights = m->config.num_layers,
            .bias = bias_or_null((const struct weight *)(first + layer_products[i].bias)),
            .x = layer_products[i].x,
            .out = layer_products[i].out,
            .max_rows = m->max_tokens,
        };
    }
    products[NUM] = (struct gemm_product){.weights = &head, .num_weights = 1, .logits = true,
                                          .x = &m->rows, .out = &m->logits,
                                          .max_rows = m->max_logit_rows};
    int rc = m->ops->tune(m->dev, products, NUM + 1, err);
    free(lists);
    return rc;
}

/* Running */

void
model_forward(struct model *m, int num_rows)
{
    DASSERT(num_rows > 0 && num_rows <= m->max_tokens);
    m->arch->forward(m, num_rows);
}

struct buffer *
model_logits(struct model *m, const int32_t *row_ids, int num_rows)
{
    DASSERT(num_rows > 0 && num_rows <= m->max_logit_rows);
    const struct model_config *c = &m->config;
    m->ops->gather_rows(m->dev, &m->rows, &m->hidden, row_ids, num_rows, c->hidden_size);
    m->ops->gemm_logits(m->dev, &m->logits, &m->rows, &m->head, num_rows);
    if (c->final_softcap > 0)
        m->ops->softcap(m->dev, &m->logits, num_rows, c->vocab_size, c->final_softcap);
    return &m->logits;
}
