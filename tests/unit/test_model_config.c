/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config.json and generation_config.json: the six models' own values, both
 * spellings of transformers, defaults, and what is refused with which words.
 */
#include "engine/model.h"
#include "tests/unit/model_configs.h"
#include "util/json.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A small Llama; `more` is put before the end. */
#define SMALL(arch, more)                                                          \
    "{\"architectures\": [\"" arch "\"], \"hidden_size\": 64,"                     \
    "\"intermediate_size\": 128, \"num_hidden_layers\": 2,"                        \
    "\"num_attention_heads\": 4, \"vocab_size\": 100" more "}"
#define SMALL_LLAMA(more) SMALL("LlamaForCausalLM", more)
#define SMALL_QWEN2(more) SMALL("Qwen2ForCausalLM", ", \"num_key_value_heads\": 4" more)
#define SMALL_GEMMA2(more) SMALL("Gemma2ForCausalLM", more)

static int
parse(const char *config, const char *generation, struct model_config *ret, struct error *err)
{
    err->text[0] = '\0';
    return model_config_parse(config, strlen(config), generation,
                              generation == NULL ? 0 : strlen(generation), ret, err);
}

static struct model_config
parse_good(const char *config, const char *generation)
{
    struct model_config c;
    struct error err;
    int code = parse(config, generation, &c, &err);
    ck_assert_msg(code == 0, "%s", err.text);
    return c;
}

START_TEST(test_parse_six_models_parameters)
{
    static const int64_t num_parameters[NUM_MODEL_CONFIGS] = {
        9241705984, 27227128320, 8030261248, 7615616512, 14770033664, 32763876352};
    for (size_t i = 0; i < NUM_MODEL_CONFIGS; i++) {
        struct model_config c = parse_good(model_configs[i].json, NULL);
        ck_assert_int_eq(model_config_num_parameters(&c), num_parameters[i]);
        ck_assert_uint_eq(model_config_weight_bytes(&c, DTYPE_BF16),
                          2 * (size_t)num_parameters[i]);
    }
}
END_TEST

START_TEST(test_parse_llama_8b)
{
    struct model_config c = parse_good(
        LLAMA_8B, "{\"_from_model_config\": true, \"bos_token_id\": 128000, \"eos_token_id\":"
                  "[128001, 128009], \"do_sample\": true, \"temperature\": 0.6, \"top_p\": 0.95}");
    ck_assert_str_eq(c.architecture, "LlamaForCausalLM");
    ck_assert_int_eq(c.head_dim, 128);
    ck_assert_int_eq(c.num_layers, 32);
    ck_assert_int_eq(c.num_kv_heads, 8);
    ck_assert_int_eq(c.max_position_embeddings, 131072);
    ck_assert(c.rms_norm_eps == 1e-5f);
    ck_assert_int_eq(c.activation, ACT_SILU);
    ck_assert(!c.tie_word_embeddings && !c.qkv_bias && !c.o_bias && !c.mlp_bias && !c.post_norms);
    ck_assert_int_eq(c.dtype, DTYPE_BF16);
    ck_assert_int_eq(c.rope_type, ROPE_LLAMA3);
    ck_assert_double_eq(c.rope_theta, 500000);
    ck_assert_double_eq(c.rope_factor, 8);
    ck_assert_int_eq(c.rope_original_max_position, 8192);
    ck_assert_int_eq(c.sliding_window, 0);
    ck_assert(c.attn_softcap == 0 && c.final_softcap == 0);
    ck_assert(c.attn_scale == (float)(1 / sqrt(128)));
    ck_assert_int_eq(c.bos_token_id, 128000);
    ck_assert_int_eq(c.num_eos_token_ids, 2);
    ck_assert_int_eq(c.eos_token_ids[0], 128001);
    ck_assert_int_eq(c.eos_token_ids[1], 128009);
    ck_assert_double_eq(c.temperature, 0.6);
    ck_assert_double_eq(c.top_p, 0.95);
    ck_assert(isnan(c.min_p) && isnan(c.repetition_penalty));
    ck_assert_int_eq(c.top_k, -1);
    ck_assert_int_eq(c.max_new_tokens, -1);
}
END_TEST

START_TEST(test_parse_qwen2_7b)
{
    struct model_config c =
        parse_good(QWEN_7B,
                   "{\"bos_token_id\": 151646, \"eos_token_id\": 151643}");
    ck_assert(c.qkv_bias && !c.o_bias && !c.mlp_bias);
    ck_assert_int_eq(c.sliding_window, 0);
    ck_assert_double_eq(c.rope_theta, 10000);
    ck_assert_int_eq(c.rope_type, ROPE_DEFAULT);
    ck_assert_int_eq(c.bos_token_id, 151646);
    ck_assert_int_eq(c.num_eos_token_ids, 1);
}
END_TEST

START_TEST(test_parse_gemma2_27b)
{
    struct model_config c = parse_good(
        GEMMA_27B, "{\"eos_token_id\": [1, 107]}");
    ck_assert(c.tie_word_embeddings && c.post_norms && c.window_on_even_layers);
    ck_assert_int_eq(c.sliding_window, 4096);
    ck_assert(c.attn_softcap == 50 && c.final_softcap == 30);
    ck_assert(c.attn_scale == (float)(1.0 / 12));
    ck_assert_int_eq(c.activation, ACT_GELU_TANH);
    ck_assert_int_eq(c.head_dim, 128);
    ck_assert_int_eq(c.num_eos_token_ids, 2);
}
END_TEST

START_TEST(test_parse_defaults_of_the_classes)
{
    struct model_config c = parse_good(SMALL_LLAMA(""), NULL);
    ck_assert_int_eq(c.num_kv_heads, 4);
    ck_assert_int_eq(c.head_dim, 16);
    ck_assert_int_eq(c.max_position_embeddings, 2048);
    ck_assert(c.rms_norm_eps == 1e-6f && !c.tie_word_embeddings);
    ck_assert_double_eq(c.rope_theta, 10000);
    ck_assert_int_eq(c.dtype, DTYPE_BF16);
    ck_assert_int_eq(c.bos_token_id, -1);
    ck_assert_int_eq(c.num_eos_token_ids, 0);

    c = parse_good(SMALL_LLAMA(", \"attention_bias\": true, \"mlp_bias\": true,"
                               "\"head_dim\": null, \"num_key_value_heads\": null,"
                               "\"rope_scaling\": null, \"bos_token_id\": null,"
                               "\"eos_token_id\": null"), NULL);
    ck_assert(c.qkv_bias && c.o_bias && c.mlp_bias);
    ck_assert_int_eq(c.num_kv_heads, 4);

    c = parse_good(SMALL_GEMMA2(""), NULL);
    ck_assert_int_eq(c.head_dim, 256);
    ck_assert_int_eq(c.num_kv_heads, 4);
    ck_assert_int_eq(c.sliding_window, 4096);
    ck_assert(c.tie_word_embeddings && c.attn_softcap == 50 && c.final_softcap == 30);
    ck_assert(c.attn_scale == 0.0625f);

    c = parse_good(SMALL_GEMMA2(", \"attn_logit_softcapping\": null,"
                                "\"final_logit_softcapping\": null, \"sliding_window\": null,"
                                "\"tie_word_embeddings\": false"), NULL);
    ck_assert(c.attn_softcap == 0 && c.final_softcap == 0 && !c.tie_word_embeddings);
    ck_assert_int_eq(c.sliding_window, 0);

    c = parse_good("{\"model_type\": \"llama\", \"hidden_size\": 64, \"intermediate_size\": 128,"
                   "\"num_hidden_layers\": 2, \"num_attention_heads\": 4, \"vocab_size\": 100}",
                   NULL);
    ck_assert_str_eq(c.architecture, "LlamaForCausalLM");
}
END_TEST

START_TEST(test_parse_spellings_of_transformers_4_and_5)
{
    static const char *const rows[] = {
        SMALL_LLAMA(", \"torch_dtype\": \"float16\", \"rope_theta\": 20000, \"rope_scaling\":"
                    "{\"type\": \"linear\", \"factor\": 2}"),
        SMALL_LLAMA(", \"dtype\": \"float16\", \"rope_theta\": 20000, \"rope_scaling\":"
                    "{\"rope_type\": \"linear\", \"factor\": 2.0}"),
        SMALL_LLAMA(", \"dtype\": \"float16\", \"rope_parameters\":"
                    "{\"rope_theta\": 20000.0, \"rope_type\": \"linear\", \"factor\": 2.0}"),
    };
    struct model_config first = parse_good(rows[0], NULL);
    ck_assert_int_eq(first.rope_type, ROPE_LINEAR);
    ck_assert_int_eq(first.dtype, DTYPE_F16);
    for (size_t i = 1; i < ARRAY_SIZE(rows); i++) {
        struct model_config c = parse_good(rows[i], NULL);
        ck_assert_int_eq(c.rope_type, first.rope_type);
        ck_assert_int_eq(c.dtype, first.dtype);
        ck_assert_double_eq(c.rope_theta, first.rope_theta);
        ck_assert_double_eq(c.rope_factor, first.rope_factor);
    }
}
END_TEST

START_TEST(test_parse_windows_that_change_nothing)
{
    struct model_config c =
        parse_good(SMALL_QWEN2(", \"use_sliding_window\": true, \"sliding_window\": 8,"
                               "\"max_window_layers\": 2"), NULL);
    ck_assert_int_eq(c.sliding_window, 0);
    c = parse_good(SMALL_QWEN2(", \"use_sliding_window\": true, \"sliding_window\": null,"
                               "\"max_window_layers\": 0"), NULL);
    ck_assert_int_eq(c.sliding_window, 0);
    c = parse_good(SMALL_QWEN2(", \"layer_types\": [\"full_attention\", \"full_attention\"]"),
                   NULL);
    c = parse_good(SMALL_GEMMA2(", \"layer_types\": [\"sliding_attention\","
                                "\"full_attention\"]"), NULL);
    ck_assert_int_eq(c.sliding_window, 4096);
}
END_TEST

static const struct {
    const char *config;
    const char *generation; /* NULL: none */
    int code;
    const char *text;
} bad_rows[] = {
    {"", NULL, ERR_CORRUPT, "config.json: not JSON"},
    {"[]", NULL, ERR_CORRUPT, "config.json: an object is expected, not an array"},
    {"{}", NULL, ERR_CORRUPT, "config.json: 'architectures' is missing or empty"},
    {"{\"architectures\": []}", NULL, ERR_CORRUPT, "'architectures' is missing or empty"},
    {"{\"architectures\": 1}", NULL, ERR_CORRUPT,
     "config.json: 'architectures' must be an array, not an integer"},
    {"{\"architectures\": [7]}", NULL, ERR_UNSUPPORTED,
     "config.json: architecture '?' is not supported"},
    {SMALL("MixtralForCausalLM", ""), NULL, ERR_UNSUPPORTED,
     "config.json: architecture 'MixtralForCausalLM' is not supported: LlamaForCausalLM, "
     "Qwen2ForCausalLM and Gemma2ForCausalLM are"},
    {"{\"model_type\": \"mamba\"}", NULL, ERR_UNSUPPORTED, "architecture 'mamba'"},
    {"{\"architectures\": [\"LlamaForCausalLM\"], \"hidden_size\": 64}", NULL, ERR_CORRUPT,
     "config.json: 'intermediate_size' is missing"},
    {SMALL_LLAMA(", \"hidden_size\": 0"), NULL, ERR_RANGE,
     "config.json: 'hidden_size' is 0, not within [1, 65536]"},
    {SMALL_LLAMA(", \"hidden_size\": \"64\""), NULL, ERR_CORRUPT,
     "'hidden_size' must be an integer, not a string"},
    {SMALL_LLAMA(", \"hidden_size\": 64.0"), NULL, ERR_CORRUPT,
     "'hidden_size' must be an integer, not a number"},
    {SMALL_LLAMA(", \"num_hidden_layers\": 2147483648"), NULL, ERR_RANGE,
     "'num_hidden_layers' is 2147483648, not within [1, 1024]"},
    {SMALL_LLAMA(", \"num_hidden_layers\": 99999999999999999999"), NULL, ERR_CORRUPT,
     "too big integer"},
    {SMALL_LLAMA(", \"num_attention_heads\": 0"), NULL, ERR_RANGE, "'num_attention_heads' is 0"},
    {SMALL_LLAMA(", \"num_attention_heads\": -4"), NULL, ERR_RANGE, "'num_attention_heads' is -4"},
    {SMALL_LLAMA(", \"num_key_value_heads\": 0"), NULL, ERR_RANGE, "'num_key_value_heads' is 0"},
    {SMALL_LLAMA(", \"num_key_value_heads\": 3"), NULL, ERR_RANGE,
     "'num_attention_heads' is 4, not a multiple of 'num_key_value_heads', 3"},
    {SMALL_LLAMA(", \"num_attention_heads\": 5, \"num_key_value_heads\": 5"), NULL, ERR_RANGE,
     "'hidden_size' is 64, not a multiple of 'num_attention_heads', 5"},
    {SMALL_LLAMA(", \"head_dim\": 15"), NULL, ERR_RANGE,
     "'head_dim' is 15, not an even number within [2, 512]"},
    {SMALL_LLAMA(", \"head_dim\": 514"), NULL, ERR_RANGE, "'head_dim' is 514"},
    {SMALL_LLAMA(", \"num_attention_heads\": 64"), NULL, ERR_RANGE, "'head_dim' is 1"},
    {SMALL_LLAMA(", \"vocab_size\": 0"), NULL, ERR_RANGE, "'vocab_size' is 0"},
    {SMALL_LLAMA(", \"intermediate_size\": 9223372036854775807"), NULL, ERR_RANGE,
     "'intermediate_size' is 9223372036854775807"},
    {SMALL_LLAMA(", \"max_position_embeddings\": 0"), NULL, ERR_RANGE, "max_position_embeddings"},
    {SMALL_LLAMA(", \"rms_norm_eps\": 0"), NULL, ERR_RANGE, "'rms_norm_eps' is 0"},
    {SMALL_LLAMA(", \"rms_norm_eps\": \"tiny\""), NULL, ERR_CORRUPT, "'rms_norm_eps' must be"},
    {SMALL_LLAMA(", \"tie_word_embeddings\": 1"), NULL, ERR_CORRUPT,
     "'tie_word_embeddings' must be a boolean, not an integer"},
    {SMALL_LLAMA(", \"torch_dtype\": \"float8_e4m3fn\""), NULL, ERR_UNSUPPORTED,
     "dtype 'float8_e4m3fn' is not supported"},
    {SMALL_LLAMA(", \"hidden_act\": \"relu\""), NULL, ERR_UNSUPPORTED, "hidden_act 'relu'"},
    {SMALL_GEMMA2(", \"hidden_activation\": \"gelu\""), NULL, ERR_UNSUPPORTED,
     "hidden_activation 'gelu'"},
    {SMALL_LLAMA(", \"rope_theta\": 0"), NULL, ERR_RANGE, "'rope_theta' is 0"},
    {SMALL_LLAMA(", \"rope_scaling\": {\"rope_type\": \"yarn\", \"factor\": 4}"), NULL,
     ERR_UNSUPPORTED, "config.json: rope_scaling: rope type 'yarn' is not supported"},
    {SMALL_LLAMA(", \"rope_scaling\": {\"type\": \"dynamic\", \"factor\": 4}"), NULL,
     ERR_UNSUPPORTED, "rope type 'dynamic'"},
    {SMALL_LLAMA(", \"rope_parameters\": {\"rope_type\": \"longrope\"}"), NULL, ERR_UNSUPPORTED,
     "config.json: rope_parameters: rope type 'longrope'"},
    {SMALL_LLAMA(", \"rope_parameters\": {\"full_attention\": {\"rope_type\": \"default\"}}"),
     NULL, ERR_UNSUPPORTED, "per layer type ('full_attention')"},
    {SMALL_LLAMA(", \"rope_scaling\": {\"factor\": 4}"), NULL, ERR_CORRUPT,
     "rope_scaling: 'rope_type' is missing"},
    {SMALL_LLAMA(", \"rope_scaling\": {\"type\": \"linear\"}"), NULL, ERR_CORRUPT,
     "rope_scaling: 'factor' is missing"},
    {SMALL_LLAMA(", \"rope_scaling\": {\"type\": \"linear\", \"factor\": 0}"), NULL, ERR_RANGE,
     "rope_scaling: 'factor' is 0"},
    {SMALL_LLAMA(", \"rope_scaling\": {\"type\": \"llama3\", \"factor\": 8, \"low_freq_factor\": 4,"
                 "\"high_freq_factor\": 4, \"original_max_position_embeddings\": 8192}"),
     NULL, ERR_RANGE, "'high_freq_factor' is 4, not above 'low_freq_factor', 4"},
    {SMALL_LLAMA(", \"rope_scaling\": \"linear\""), NULL, ERR_CORRUPT, "'rope_scaling' must be"},
    {SMALL_LLAMA(", \"partial_rotary_factor\": 0.5"), NULL, ERR_UNSUPPORTED,
     "'partial_rotary_factor' is 0.5"},
    {SMALL_LLAMA(", \"quantization_config\": {\"quant_method\": \"gptq\", \"bits\": 4}"), NULL,
     ERR_UNSUPPORTED, "config.json: quantization_config: quant_method 'gptq' is not supported"},
    {SMALL_QWEN2(", \"use_mrope\": true"), NULL, ERR_UNSUPPORTED, "'use_mrope' true"},
    {SMALL_QWEN2(", \"use_sliding_window\": true, \"sliding_window\": 8,"
                 "\"max_window_layers\": 1"), NULL, ERR_UNSUPPORTED,
     "'use_sliding_window' with 'max_window_layers' 1 below 'num_hidden_layers', 2"},
    {SMALL_QWEN2(", \"layer_types\": [\"full_attention\", \"sliding_attention\"]"), NULL,
     ERR_UNSUPPORTED, "'sliding_attention' for layer 1"},
    {SMALL_GEMMA2(", \"layer_types\": [\"full_attention\", \"sliding_attention\"]"), NULL,
     ERR_UNSUPPORTED, "'full_attention' for layer 0"},
    {SMALL_GEMMA2(", \"layer_types\": [\"full_attention\"]"), NULL, ERR_CORRUPT,
     "'layer_types' has 1 entries for 2 layers"},
    {SMALL_GEMMA2(", \"query_pre_attn_scalar\": 0"), NULL, ERR_RANGE, "query_pre_attn_scalar"},
    {SMALL_GEMMA2(", \"attn_logit_softcapping\": -1"), NULL, ERR_RANGE, "attn_logit_softcapping"},
    {SMALL_GEMMA2(", \"sliding_window\": 0"), NULL, ERR_RANGE, "'sliding_window' is 0"},
    {SMALL_LLAMA(", \"eos_token_id\": 100"), NULL, ERR_RANGE,
     "config.json: 'eos_token_id' has 100, not within [0, 99]"},
    {SMALL_LLAMA(", \"eos_token_id\": [1, \"2\"]"), NULL, ERR_CORRUPT,
     "'eos_token_id' must be an integer or a list of integers"},
    {SMALL_LLAMA(", \"eos_token_id\": [0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16]"), NULL,
     ERR_RANGE, "more than 16 different ids"},
    {SMALL_LLAMA(", \"bos_token_id\": -1"), NULL, ERR_RANGE, "'bos_token_id' is -1"},
    {SMALL_LLAMA(""), "{", ERR_CORRUPT, "generation_config.json: not JSON"},
    {SMALL_LLAMA(""), "{\"eos_token_id\": [1, 107]}", ERR_RANGE,
     "generation_config.json: 'eos_token_id' has 107"},
    {SMALL_LLAMA(""), "{\"temperature\": -1}", ERR_RANGE,
     "generation_config.json: 'temperature' is -1"},
    {SMALL_LLAMA(""), "{\"top_p\": 1.5}", ERR_RANGE, "'top_p' is 1.5, not within [0, 1]"},
    {SMALL_LLAMA(""), "{\"top_k\": 1.5}", ERR_CORRUPT, "'top_k' must be an integer"},
};

START_TEST(test_parse_bad_files_are_refused_by_name)
{
    struct model_config c = {.num_layers = 77};
    struct error err;
    int code = parse(bad_rows[_i].config, bad_rows[_i].generation, &c, &err);
    ck_assert_msg(code == bad_rows[_i].code && strstr(err.text, bad_rows[_i].text) != NULL,
                  "row %d: %s: %s; expected %s: %s", _i, error_name(code), err.text,
                  error_name(bad_rows[_i].code), bad_rows[_i].text);
    ck_assert_int_eq(err.code, code);
    ck_assert_int_eq(c.num_layers, 77); /* written on success only */
}
END_TEST

static void
write_file(const char *dir, const char *name, const char *text)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    ck_assert_ptr_nonnull(f);
    fputs(text, f);
    fclose(f);
}

START_TEST(test_read_from_a_directory)
{
    char dir[] = "/tmp/test_model_config.XXXXXX", path[128];
    struct model_config c;
    struct error err;
    ck_assert_ptr_nonnull(mkdtemp(dir));
    ck_assert_int_eq(model_config_read(dir, &c, &err), ERR_NOTFOUND);
    ck_assert_ptr_nonnull(strstr(err.text, "/config.json': No such file"));
    write_file(dir, "config.json", SMALL_LLAMA(", \"eos_token_id\": 5"));
    ck_assert_int_eq(model_config_read(dir, &c, &err), 0);
    ck_assert_int_eq(c.num_eos_token_ids, 1);
    write_file(dir, "generation_config.json",
               "{\"eos_token_id\": [5, 6], \"temperature\": 1, \"top_k\": 20, \"top_p\": 1,"
               "\"min_p\": 0.1, \"repetition_penalty\": 1.05, \"max_new_tokens\": 100}");
    ck_assert_int_eq(model_config_read(dir, &c, &err), 0);
    ck_assert_int_eq(c.num_eos_token_ids, 2);
    ck_assert_int_eq(c.eos_token_ids[1], 6);
    ck_assert_double_eq(c.temperature, 1);
    ck_assert_double_eq(c.repetition_penalty, 1.05);
    ck_assert_int_eq(c.top_k, 20);
    ck_assert_int_eq(c.max_new_tokens, 100);
    snprintf(path, sizeof path, "%s/generation_config.json", dir);
    unlink(path);
    ck_assert_int_eq(mkdir(path, 0700), 0);
    ck_assert_int_eq(model_config_read(dir, &c, &err), ERR_IO);
    ck_assert_ptr_nonnull(strstr(err.text, "generation_config.json"));
    rmdir(path);
    snprintf(path, sizeof path, "%s/config.json", dir);
    unlink(path);
    rmdir(dir);
}
END_TEST

/* The same checkpoint as transformers 4 and 5 write it. */
START_TEST(test_read_recorded_files_of_both_versions)
{
    static const char *const rows[][3] = {{"llama-8b", "config.json", "config-new.json"},
                                          {"qwen-7b", "config.json", "config-old.json"}};
    const char *src = getenv("srcdir");
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct model_config c[2];
        for (int k = 0; k < 2; k++) {
            char data_dir[400], *bytes;
            size_t len;
            struct error err;
            snprintf(data_dir, sizeof data_dir, "%s/tests/data/tiny/%s", src == NULL ? "." : src,
                     rows[i][0]);
            int code = json_read_file(data_dir, rows[i][k + 1], 1 << 16, &bytes, &len, &err);
            ck_assert_msg(code == 0, "%s", err.text);
            code = model_config_parse(bytes, len, NULL, 0, &c[k], &err);
            ck_assert_msg(code == 0, "%s", err.text);
            free(bytes);
        }
        ck_assert_int_eq(c[0].rope_type, c[1].rope_type);
        ck_assert(c[0].rope_theta == c[1].rope_theta && c[0].rope_factor == c[1].rope_factor &&
                  c[0].rope_low_freq_factor == c[1].rope_low_freq_factor &&
                  c[0].rope_high_freq_factor == c[1].rope_high_freq_factor);
        ck_assert_int_eq(c[0].rope_original_max_position, c[1].rope_original_max_position);
        ck_assert_int_eq(c[0].head_dim, c[1].head_dim);
        ck_assert_int_eq(c[0].dtype, c[1].dtype);
        ck_assert_int_eq(c[0].bos_token_id, c[1].bos_token_id);
        ck_assert_int_eq(c[0].eos_token_ids[0], c[1].eos_token_ids[0]);
        ck_assert_int_eq(c[0].sliding_window, c[1].sliding_window);
        ck_assert_int_eq(model_config_num_parameters(&c[0]), model_config_num_parameters(&c[1]));
    }
}
END_TEST

/* Some of transformers' own values (5.23, CPU), to the bit. */
START_TEST(test_inv_freq_equals_transformers)
{
    static const struct {
        const char *config;
        struct {
            int i;
            float value;
        } expected[4];
    } rows[] = {
        {LLAMA_8B,
         {{28, 0x1.a4ee4p-9f}, {30, 0x1.67a23ap-10f}, {33, 0x1.47e21p-12f},
          {63, 0x1.4985fep-22f}}},
        {SMALL_LLAMA(", \"head_dim\": 64, \"rope_theta\": 500000,"
                     "\"rope_scaling\": {\"factor\": 32, \"low_freq_factor\": 1,"
                     "\"high_freq_factor\": 4, \"rope_type\": \"llama3\","
                     "\"original_max_position_embeddings\": 8192}"),
         {{14, 0x1.a4ee4p-9f}, {15, 0x1.524f36p-10f}, {16, 0x1.c26c4p-12f}, {31, 0x1.94836p-24f}}},
        {SMALL_LLAMA(", \"head_dim\": 128,"
                     "\"rope_scaling\": {\"type\": \"linear\", \"factor\": 4}"),
         {{1, 0x1.bb5faep-3f}, {20, 0x1.ccab84p-7f}, {40, 0x1.9e7c7p-11f}, {63, 0x1.e459c4p-16f}}},
        {SMALL_LLAMA(", \"head_dim\": 128, \"rope_theta\": 10000"),
         {{1, 0x1.bb5faep-1f}, {20, 0x1.ccab84p-5f}, {40, 0x1.9e7c7p-9f}, {63, 0x1.e459c4p-14f}}},
    };
    for (size_t r = 0; r < ARRAY_SIZE(rows); r++) {
        struct model_config c = parse_good(rows[r].config, NULL);
        float inv_freq[256];
        model_config_inv_freq(&c, inv_freq);
        ck_assert(inv_freq[0] == (c.rope_type == ROPE_LINEAR ? 0.25f : 1.0f));
        for (size_t k = 0; k < ARRAY_SIZE(rows[r].expected); k++) {
            int i = rows[r].expected[k].i;
            ck_assert_msg(inv_freq[i] == rows[r].expected[k].value, "row %zu: inv_freq[%d] = %a",
                          r, i, (double)inv_freq[i]);
        }
    }
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("model_config");
    TCase *tc = tcase_create("model_config");
    tcase_add_test(tc, test_parse_six_models_parameters);
    tcase_add_test(tc, test_parse_llama_8b);
    tcase_add_test(tc, test_parse_qwen2_7b);
    tcase_add_test(tc, test_parse_gemma2_27b);
    tcase_add_test(tc, test_parse_defaults_of_the_classes);
    tcase_add_test(tc, test_parse_spellings_of_transformers_4_and_5);
    tcase_add_test(tc, test_parse_windows_that_change_nothing);
    tcase_add_loop_test(tc, test_parse_bad_files_are_refused_by_name, 0,
                        (int)ARRAY_SIZE(bad_rows));
    tcase_add_test(tc, test_read_from_a_directory);
    tcase_add_test(tc, test_read_recorded_files_of_both_versions);
    tcase_add_test(tc, test_inv_freq_equals_transformers);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
