/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config.json and generation_config.json to struct model_config. Files of
 * transformers 4 (torch_dtype, rope_theta + rope_scaling) and 5 (dtype,
 * rope_parameters) are read alike; a missing key gets the default of the
 * architecture's class in transformers. All sizes are bounded here, so that
 * products of them fit in int64_t everywhere below.
 *
 * What llmd does not have is refused by name rather than ignored, when ignoring
 * it would give other logits.
 */
#include "engine/arch.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#define CONFIG_FILE "config.json"
#define GENERATION_FILE "generation_config.json"
#define CONFIG_MAX_BYTES (1 << 20)

#define MAX_LAYERS 1024
#define MAX_HEADS 1024
#define MAX_HEAD_DIM 512
#define MAX_HIDDEN_SIZE (1 << 16)
#define MAX_INTERMEDIATE_SIZE (1 << 20)
#define MAX_VOCAB_SIZE (1 << 23)
#define MAX_POSITIONS (1 << 24) /* a position is exact in float32 */

static int
read_sizes(const struct json_object *o, struct model_config *c, struct error *err)
{
    static const char *const needed[] = {"hidden_size", "intermediate_size", "vocab_size",
                                         "num_hidden_layers", "num_attention_heads"};
    for (size_t i = 0; i < ARRAY_SIZE(needed); i++)
        if (json_need(o, needed[i], err) != 0)
            return ERR_CORRUPT;
    int64_t layers = 0, heads = 0;
    int code;
    if ((code = json_get_int(o, "hidden_size", 1, MAX_HIDDEN_SIZE, &c->hidden_size, err)) != 0 ||
        (code = json_get_int(o, "intermediate_size", 1, MAX_INTERMEDIATE_SIZE,
                             &c->intermediate_size, err)) != 0 ||
        (code = json_get_int(o, "vocab_size", 1, MAX_VOCAB_SIZE, &c->vocab_size, err)) != 0 ||
        (code = json_get_int(o, "num_hidden_layers", 1, MAX_LAYERS, &layers, err)) != 0 ||
        (code = json_get_int(o, "num_attention_heads", 1, MAX_HEADS, &heads, err)) != 0)
        return code;
    c->num_layers = (int)layers;
    c->num_heads = (int)heads;
    return 0;
}

/* Key/value heads and head_dim: given, or derived. c holds the class's default
 * of both, 0 where the class derives it. */
static int
read_heads(const struct json_object *o, struct model_config *c, struct error *err)
{
    int64_t kv = c->num_kv_heads, dim = c->head_dim;
    if (json_is_null_member(o, "num_key_value_heads"))
        kv = 0;
    if (json_is_null_member(o, "head_dim"))
        dim = 0;
    int code;
    if ((code = json_get_int(o, "num_key_value_heads", 1, MAX_HEADS, &kv, err)) != 0 ||
        (code = json_get_int(o, "head_dim", 2, MAX_HEAD_DIM, &dim, err)) != 0)
        return code;
    if (kv == 0)
        kv = c->num_heads;
    if (c->num_heads % kv != 0)
        return error_set(err, ERR_RANGE,
                         "%s: 'num_attention_heads' is %d, not a multiple of "
                         "'num_key_value_heads', %" PRId64,
                         o->path, c->num_heads, kv);
    if (dim == 0) {
        if (c->hidden_size % c->num_heads != 0)
            return error_set(err, ERR_RANGE,
                             "%s: 'hidden_size' is %" PRId64
                             ", not a multiple of 'num_attention_heads', %d",
                             o->path, c->hidden_size, c->num_heads);
        dim = c->hidden_size / c->num_heads;
    }
    if (dim < 2 || dim > MAX_HEAD_DIM || dim % 2 != 0)
        return error_set(err, ERR_RANGE,
                         "%s: 'head_dim' is %" PRId64 ", not an even number within [2, %d]",
                         o->path, dim, MAX_HEAD_DIM);
    c->num_kv_heads = (int)kv;
    c->head_dim = (int)dim;
    return 0;
}

static int
read_dtype(const struct json_object *o, struct model_config *c, struct error *err)
{
    static const struct {
        const char *name;
        enum dtype dtype;
    } rows[] = {{"bfloat16", DTYPE_BF16}, {"float16", DTYPE_F16}, {"half", DTYPE_F16},
                {"float32", DTYPE_F32}, {"float", DTYPE_F32}};
    const char *name = "bfloat16";
    int code;
    if ((code = json_get_string(o, "torch_dtype", &name, err)) != 0 ||
        (code = json_get_string(o, "dtype", &name, err)) != 0)
        return code;
    const char *bare = strncmp(name, "torch.", 6) == 0 ? name + 6 : name;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        if (strcmp(bare, rows[i].name) == 0) {
            c->dtype = rows[i].dtype;
            return 0;
        }
    return error_set(err, ERR_UNSUPPORTED,
                     "%s: dtype '%.40s' is not supported: bfloat16, float16 and float32 are",
                     o->path, name);
}

static int
read_activation(const struct json_object *o, struct model_config *c, struct error *err)
{
    const char *name = c->activation == ACT_SILU ? "silu" : "gelu_pytorch_tanh";
    const char *key = "hidden_act";
    int code;
    /* Gemma's files have both; transformers reads hidden_activation alone. */
    if (c->activation == ACT_GELU_TANH && json_object_get(o->value, "hidden_activation") != NULL)
        key = "hidden_activation";
    if ((code = json_get_string(o, key, &name, err)) != 0)
        return code;
    if (strcmp(name, "silu") == 0 || strcmp(name, "swish") == 0)
        c->activation = ACT_SILU;
    else if (strcmp(name, "gelu_pytorch_tanh") == 0 || strcmp(name, "gelu_new") == 0)
        c->activation = ACT_GELU_TANH;
    else
        return error_set(err, ERR_UNSUPPORTED,
                         "%s: %s '%.40s' is not supported: silu and gelu_pytorch_tanh are",
                         o->path, key, name);
    return 0;
}

static int
read_rope_scaling(const struct json_object *rope, struct model_config *c, struct error *err)
{
    const char *type = NULL;
    int code;
    if ((code = json_get_string(rope, "type", &type, err)) != 0 ||
        (code = json_get_string(rope, "rope_type", &type, err)) != 0)
        return code;
    if (type == NULL) {
        if (json_object_get(rope->value, "factor") != NULL)
            return json_need(rope, "rope_type", err);
        type = "default";
    }
    if (strcmp(type, "default") == 0)
        return 0;
    bool llama3 = strcmp(type, "llama3") == 0;
    if (!llama3 && strcmp(type, "linear") != 0)
        return error_set(err, ERR_UNSUPPORTED,
                         "%s: rope type '%.40s' is not supported: default, linear and llama3 are",
                         rope->path, type);
    c->rope_type = llama3 ? ROPE_LLAMA3 : ROPE_LINEAR;
    if ((code = json_need(rope, "factor", err)) != 0 ||
        (code = json_get_double(rope, "factor", 1, 1e6, &c->rope_factor, err)) != 0)
        return code;
    if (!llama3)
        return 0;
    if ((code = json_need(rope, "low_freq_factor", err)) != 0 ||
        (code = json_need(rope, "high_freq_factor", err)) != 0 ||
        (code = json_need(rope, "original_max_position_embeddings", err)) != 0 ||
        (code = json_get_double(rope, "low_freq_factor", 1e-3, 1e6, &c->rope_low_freq_factor,
                                err)) != 0 ||
        (code = json_get_double(rope, "high_freq_factor", 1e-3, 1e6, &c->rope_high_freq_factor,
                                err)) != 0 ||
        (code = json_get_int(rope, "original_max_position_embeddings", 1, MAX_POSITIONS,
                             &c->rope_original_max_position, err)) != 0)
        return code;
    if (c->rope_high_freq_factor <= c->rope_low_freq_factor)
        return error_set(err, ERR_RANGE,
                         "%s: 'high_freq_factor' is %g, not above 'low_freq_factor', %g",
                         rope->path, c->rope_high_freq_factor, c->rope_low_freq_factor);
    return 0;
}

static int
read_rope(const struct json_object *o, struct model_config *c, struct error *err)
{
    const json_t *scaling, *parameters;
    double rotary = 1;
    int code;
    c->rope_theta = 10000;
    if ((code = json_get_double(o, "rope_theta", 1, 1e12, &c->rope_theta, err)) != 0 ||
        (code = json_get_double(o, "partial_rotary_factor", 0, 1e6, &rotary, err)) != 0 ||
        (code = json_get_typed(o, "rope_scaling", JSON_OBJECT, &scaling, err)) != 0 ||
        (code = json_get_typed(o, "rope_parameters", JSON_OBJECT, &parameters, err)) != 0)
        return code;
    struct json_object rope = {scaling, CONFIG_FILE ": rope_scaling"};
    if (parameters != NULL)
        rope = (struct json_object){parameters, CONFIG_FILE ": rope_parameters"};
    if (rope.value != NULL) {
        const char *key;
        json_t *value;
        json_object_foreach((json_t *)rope.value, key, value)
        {
            if (json_is_object(value))
                return error_set(err, ERR_UNSUPPORTED,
                                 "%s: parameters per layer type ('%.40s') are not supported",
                                 rope.path, key);
        }
        if ((code = json_get_double(&rope, "rope_theta", 1, 1e12, &c->rope_theta, err)) != 0 ||
            (code = json_get_double(&rope, "partial_rotary_factor", 0, 1e6, &rotary, err)) != 0 ||
            (code = read_rope_scaling(&rope, c, err)) != 0)
            return code;
    }
    if (rotary != 1)
        return error_set(err, ERR_UNSUPPORTED,
                         "%s: 'partial_rotary_factor' is %g, only 1 is supported", o->path,
                         rotary);
    return 0;
}

/* Appends the ids of member `key` (an integer, a list, null or absent) that are
 * not there yet. */
static int
read_eos(const struct json_object *o, const char *key, struct model_config *c, struct error *err)
{
    const json_t *v = json_object_get(o->value, key);
    if (v == NULL || json_is_null(v))
        return 0;
    bool list = json_is_array(v);
    size_t n = list ? json_array_size(v) : 1;
    for (size_t i = 0; i < n; i++) {
        const json_t *item = list ? json_array_get(v, i) : v;
        if (!json_is_integer(item))
            return error_set(err, ERR_CORRUPT,
                             "%s: '%s' must be an integer or a list of integers", o->path, key);
        int64_t id = json_integer_value(item);
        if (id < 0 || id >= c->vocab_size)
            return error_set(err, ERR_RANGE,
                             "%s: '%s' has %" PRId64 ", not within [0, %" PRId64 "]", o->path, key,
                             id, c->vocab_size - 1);
        int known = 0;
        while (known < c->num_eos_token_ids && c->eos_token_ids[known] != id)
            known++;
        if (known < c->num_eos_token_ids)
            continue;
        if (c->num_eos_token_ids == MODEL_MAX_EOS)
            return error_set(err, ERR_RANGE, "%s: '%s' gives more than %d different ids", o->path,
                             key, MODEL_MAX_EOS);
        c->eos_token_ids[c->num_eos_token_ids++] = (int32_t)id;
    }
    return 0;
}

static int
read_token_ids(const struct json_object *o, struct model_config *c, struct error *err)
{
    int64_t bos = c->bos_token_id;
    int code = json_get_int(o, "bos_token_id", 0, c->vocab_size - 1, &bos, err);
    if (code != 0)
        return code;
    c->bos_token_id = (int32_t)bos;
    return read_eos(o, "eos_token_id", c, err);
}

/* Things that change what is computed and that no architecture here has. */
static int
refuse_variants(const struct json_object *o, struct error *err)
{
    static const char *const flags[] = {"use_mrope", "use_qk_norm", "use_bidirectional_attention"};
    static const char *const quantizations[] = {"quantization_config", "compression_config"};
    for (size_t i = 0; i < ARRAY_SIZE(quantizations); i++) {
        const json_t *q = json_object_get(o->value, quantizations[i]);
        if (q == NULL || json_is_null(q))
            continue;
        const char *method = json_string_value(json_object_get(q, "quant_method"));
        return error_set(err, ERR_UNSUPPORTED,
                         "%s: %s: quant_method '%.40s' is not supported: llmd loads bf16, fp16 "
                         "and fp32 weights",
                         o->path, quantizations[i], method == NULL ? "(none)" : method);
    }
    for (size_t i = 0; i < ARRAY_SIZE(flags); i++) {
        bool on = false;
        int code = json_get_bool(o, flags[i], &on, err);
        if (code != 0)
            return code;
        if (on)
            return error_set(err, ERR_UNSUPPORTED, "%s: '%s' true is not supported", o->path,
                             flags[i]);
    }
    return 0;
}

/* `layer_types`, where given, must say what the architecture does anyway. */
static int
check_layer_types(const struct json_object *o, const struct model_config *c, struct error *err)
{
    const json_t *types;
    int code = json_get_typed(o, "layer_types", JSON_ARRAY, &types, err);
    if (code != 0 || types == NULL)
        return code;
    if (json_array_size(types) != (size_t)c->num_layers)
        return error_set(err, ERR_CORRUPT, "%s: 'layer_types' has %zu entries for %d layers",
                         o->path, json_array_size(types), c->num_layers);
    for (int i = 0; i < c->num_layers; i++) {
        const char *type = json_string_value(json_array_get(types, (size_t)i));
        bool local = c->window_on_even_layers && i % 2 == 0;
        const char *expected = local ? "sliding_attention" : "full_attention";
        if (type == NULL || strcmp(type, expected) != 0)
            return error_set(err, ERR_UNSUPPORTED,
                             "%s: 'layer_types' has '%.40s' for layer %d: %s has %s there", o->path,
                             type == NULL ? "?" : type, i, c->architecture, expected);
    }
    return 0;
}

/* The first entry of `architectures` that llmd has, or by model_type when the
 * list is missing. */
static int
choose_arch(const struct json_object *o, const struct arch **ret, struct error *err)
{
    const json_t *list;
    const char *name = NULL, *type = NULL;
    int code;
    if ((code = json_get_typed(o, "architectures", JSON_ARRAY, &list, err)) != 0 ||
        (code = json_get_string(o, "model_type", &type, err)) != 0)
        return code;
    const struct arch *arch = NULL;
    for (size_t i = 0; arch == NULL && i < json_array_size(list); i++) {
        name = json_string_value(json_array_get(list, i));
        arch = name == NULL ? NULL : arch_find(name);
    }
    if (json_array_size(list) == 0) {
        if (type == NULL)
            return error_set(err, ERR_CORRUPT, "%s: 'architectures' is missing or empty", o->path);
        name = type;
        arch = arch_find_model_type(type);
    }
    if (arch == NULL)
        return error_set(err, ERR_UNSUPPORTED,
                         "%s: architecture '%.60s' is not supported: %s are", o->path,
                         name == NULL ? "?" : name, arch_names());
    *ret = arch;
    return 0;
}

static int
read_config(const struct json_object *o, struct model_config *c, struct error *err)
{
    const struct arch *arch = NULL;
    double eps = 1e-6;
    int code;
    if ((code = choose_arch(o, &arch, err)) != 0)
        return code;
    snprintf(c->architecture, sizeof c->architecture, "%s", arch->name);
    if ((code = refuse_variants(o, err)) != 0 || (code = read_sizes(o, c, err)) != 0)
        return code;
    /* The architecture sets its defaults and reads what is its own, then the
     * rest is read over those defaults. */
    if ((code = arch->config(o, c, err)) != 0 || (code = read_heads(o, c, err)) != 0 ||
        (code = read_dtype(o, c, err)) != 0 || (code = read_activation(o, c, err)) != 0 ||
        (code = read_rope(o, c, err)) != 0 ||
        (code = json_get_int(o, "max_position_embeddings", 1, MAX_POSITIONS,
                             &c->max_position_embeddings, err)) != 0 ||
        (code = json_get_double(o, "rms_norm_eps", 1e-12, 0.1, &eps, err)) != 0 ||
        (code = json_get_bool(o, "tie_word_embeddings", &c->tie_word_embeddings, err)) != 0 ||
        (code = check_layer_types(o, c, err)) != 0 || (code = read_token_ids(o, c, err)) != 0)
        return code;
    c->rms_norm_eps = (float)eps;
    if (c->attn_scale == 0)
        c->attn_scale = (float)(1 / sqrt(c->head_dim));
    return 0;
}

static int
read_generation_config(const struct json_object *o, struct model_config *c, struct error *err)
{
    int code;
    if ((code = read_token_ids(o, c, err)) != 0 ||
        (code = json_get_double(o, "temperature", 0, 100, &c->temperature, err)) != 0 ||
        (code = json_get_double(o, "top_p", 0, 1, &c->top_p, err)) != 0 ||
        (code = json_get_double(o, "min_p", 0, 1, &c->min_p, err)) != 0 ||
        (code = json_get_double(o, "repetition_penalty", 1e-3, 1e3, &c->repetition_penalty,
                                err)) != 0 ||
        (code = json_get_int(o, "top_k", -1, INT32_MAX, &c->top_k, err)) != 0 ||
        (code = json_get_int(o, "max_new_tokens", 1, INT32_MAX, &c->max_new_tokens, err)) != 0)
        return code;
    if (c->top_p == 0) /* as transformers: keeps at least one token, so does a tiny value */
        c->top_p = 1e-6;
    return 0;
}

/* Parses one of the two files and hands its top object on. */
static int
parse_with(int (*read)(const struct json_object *, struct model_config *, struct error *),
           const char *name, const char *bytes, size_t len, struct model_config *c,
           struct error *err)
{
    json_t *top;
    int code = json_parse_object(bytes, len, 0, name, &top, err);
    if (code != 0)
        return code;
    struct json_object o = {top, name};
    code = read(&o, c, err);
    json_decref(top);
    return code;
}

int
model_config_parse(const char *config, size_t config_len, const char *generation,
                   size_t generation_len, struct model_config *ret, struct error *err)
{
    struct model_config c = {
        .bos_token_id = -1,
        .rope_factor = 1,
        .temperature = NAN, .top_p = NAN, .min_p = NAN, .repetition_penalty = NAN,
        .top_k = -1, .max_new_tokens = -1,
    };
    int code = parse_with(read_config, CONFIG_FILE, config, config_len, &c, err);
    if (code == 0 && generation != NULL)
        code = parse_with(read_generation_config, GENERATION_FILE, generation, generation_len, &c,
                          err);
    if (code == 0)
        *ret = c;
    return code;
}

int
model_config_read(const char *dir, struct model_config *ret, struct error *err)
{
    char *config = NULL, *generation = NULL;
    size_t config_len = 0, generation_len = 0;
    int code = json_read_file(dir, CONFIG_FILE, CONFIG_MAX_BYTES, &config, &config_len, err);
    if (code == 0) {
        struct error second = {0};
        code = json_read_file(dir, GENERATION_FILE, CONFIG_MAX_BYTES, &generation,
                              &generation_len, &second);
        if (code == ERR_NOTFOUND)
            code = 0;
        if (code != 0)
            error_set(err, code, "%s", second.text);
    }
    if (code == 0)
        code = model_config_parse(config, config_len, generation, generation_len, ret, err);
    free(config);
    free(generation);
    return code;
}

/* Matrix parameters of one layer, biases included. */
static int64_t
layer_parameters(const struct model_config *c)
{
    int64_t h = c->hidden_size, i = c->intermediate_size;
    int64_t q = (int64_t)c->num_heads * c->head_dim;
    int64_t kv = (int64_t)c->num_kv_heads * c->head_dim;
    int64_t n = (q + 2 * kv) * h + h * q + 3 * h * i;
    n += c->qkv_bias ? q + 2 * kv : 0;
    n += c->o_bias ? h : 0;
    n += c->mlp_bias ? 2 * i + h : 0;
    return n;
}

int64_t
model_config_num_parameters(const struct model_config *c)
{
    int64_t embeddings = c->vocab_size * c->hidden_size * (c->tie_word_embeddings ? 1 : 2);
    int64_t norms = c->post_norms ? 4 : 2;
    return embeddings + c->num_layers * (layer_parameters(c) + norms * c->hidden_size) +
           c->hidden_size;
}

size_t
model_config_weight_bytes(const struct model_config *c, enum dtype dtype)
{
    return (size_t)model_config_num_parameters(c) * dtype_bytes(dtype);
}

void
model_config_scratch(const struct model_config *c, enum dtype act, size_t max_tokens,
                     size_t max_logit_rows, struct model_scratch *ret)
{
    size_t h = (size_t)c->hidden_size, inter = (size_t)c->intermediate_size;
    size_t q = (size_t)c->num_heads * (size_t)c->head_dim;
    size_t kv = (size_t)c->num_kv_heads * (size_t)c->head_dim;
    size_t column = max_tokens * dtype_bytes(act);
    *ret = (struct model_scratch){
        .residual = column * h,
        .hidden = column * h,
        .wide = column * MAX(q + 2 * kv, 2 * inter),
        .mid = column * MAX(q, inter),
        .rows = max_logit_rows * h * dtype_bytes(act),
        .logits = max_logit_rows * (size_t)c->vocab_size * sizeof(float),
    };
}

/*
 * modeling_rope_utils.py in float32, operation by operation: torch divides a
 * number by a tensor as reciprocal times number, and a tensor by a number as a
 * division. Each step is a statement, so that none can be contracted.
 */
static float
llama3_scaled(const struct model_config *c, float inv_freq)
{
    float old_len = (float)c->rope_original_max_position;
    float low = (float)c->rope_low_freq_factor;
    float factor = (float)c->rope_factor;
    float low_wavelen = (float)((double)c->rope_original_max_position / c->rope_low_freq_factor);
    float high_wavelen = (float)((double)c->rope_original_max_position / c->rope_high_freq_factor);
    float reciprocal = 1.0f / inv_freq;
    float wavelen = reciprocal * (float)(2 * M_PI);
    if (wavelen > low_wavelen)
        return inv_freq / factor;
    if (wavelen < high_wavelen)
        return inv_freq;
    float waves = 1.0f / wavelen;
    waves = waves * old_len;
    float smooth = waves - low;
    smooth = smooth / (float)(c->rope_high_freq_factor - c->rope_low_freq_factor);
    float slow = 1.0f - smooth;
    slow = slow * inv_freq;
    slow = slow / factor;
    float fast = smooth * inv_freq;
    return slow + fast;
}

void
model_config_inv_freq(const struct model_config *c, float *ret)
{
    float theta = (float)c->rope_theta;
    for (int i = 0; i < c->head_dim / 2; i++) {
        float exponent = (float)(2 * i) / (float)c->head_dim;
        float f = 1.0f / powf(theta, exponent);
        if (c->rope_type == ROPE_LINEAR)
            f = f / (float)c->rope_factor;
        else if (c->rope_type == ROPE_LLAMA3)
            f = llama3_scaled(c, f);
        ret[i] = f;
    }
}
