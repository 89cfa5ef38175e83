/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What reaches the device when a checkpoint is loaded, seen by an op table that
 * only takes notes: stacking, types, order of checks, progress, the tied head.
 */
#include "engine/loader.h"
#include "engine/model.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct device {
    int num_loads, num_random;
    enum dtype matrix_dtype;     /* of the matrices' parts, as they came */
    int64_t vector_cols;
    int num_three_parts, num_two_parts;
    int max_position;
    size_t alloc_bytes;
};

static void
note_info(const struct device *dev, struct device_info *ret)
{
    (void)dev;
    *ret = (struct device_info){.act_dtype = DTYPE_F32};
}

static int
note_buffer(struct device *dev, size_t bytes, struct buffer *ret, struct error *err)
{
    (void)err;
    dev->alloc_bytes += bytes;
    *ret = (struct buffer){.data = dev, .bytes = bytes};
    return 0;
}

static void
note_buffer_free(struct device *dev, struct buffer *b)
{
    dev->alloc_bytes -= b->bytes;
}

static int
note_load(struct device *dev, const struct host_tensor *parts, int num_parts,
          enum weight_use use, bool f32, struct weight *ret, struct error *err)
{
    int64_t rows = 0;
    (void)err;
    for (int i = 0; i < num_parts; i++) {
        rows += parts[i].rows;
        ck_assert_int_eq(parts[i].cols, parts[0].cols);
        ck_assert_int_eq(parts[i].dtype, parts[0].dtype);
    }
    if (use == WEIGHT_VECTOR) {
        ck_assert_int_eq(num_parts, 1);
        ck_assert_int_eq(rows, 1);
        ck_assert_int_eq(parts[0].dtype, DTYPE_F32);
        dev->vector_cols += parts[0].cols;
    } else {
        dev->matrix_dtype = parts[0].dtype;
    }
    dev->num_loads++;
    dev->num_three_parts += num_parts == 3;
    dev->num_two_parts += num_parts == 2;
    *ret = (struct weight){.rows = rows, .cols = parts[0].cols,
                           .dtype = f32 || use == WEIGHT_VECTOR ? DTYPE_F32 : parts[0].dtype};
    return 0;
}

static int
note_random(struct device *dev, int64_t rows, int64_t cols, enum weight_use use,
            enum dtype dtype, float scale, uint64_t seed, struct weight *ret, struct error *err)
{
    (void)seed;
    (void)err;
    ck_assert(scale > 0 && isfinite(scale));
    dev->num_random++;
    *ret = (struct weight){.rows = rows, .cols = cols,
                           .dtype = use == WEIGHT_VECTOR ? DTYPE_F32 : dtype};
    return 0;
}

static int
note_rope(struct device *dev, const struct rope_config *cfg, struct error *err)
{
    (void)err;
    ck_assert(cfg->inv_freq[0] == 1 && cfg->attention_factor == 1);
    dev->max_position = cfg->max_position;
    return 0;
}

static const struct ops note_ops = {
    .abi = OPS_ABI,
    .name = "notes",
    .device_info = note_info,
    .buffer_alloc = note_buffer,
    .buffer_free = note_buffer_free,
    .weight_load = note_load,
    .weight_random = note_random,
    .rope_init = note_rope,
};

static char path[512];

static const char *
tiny(const char *name)
{
    const char *src = getenv("srcdir");
    snprintf(path, sizeof path, "%s/tests/data/tiny/%s", src == NULL ? "." : src, name);
    return path;
}

/* Loads a tiny checkpoint with config.json as `c`. */
static int
load(const char *name, const struct model_config *c, struct model_load_args args,
     struct device *dev, struct model **ret, struct error *err)
{
    memset(dev, 0, sizeof *dev);
    args.dir = tiny(name);
    args.config = c;
    args.ops = &note_ops;
    args.dev = dev;
    args.max_tokens = 32;
    args.max_logit_rows = 4;
    return model_load(&args, ret, err);
}

static struct model_config
read_config(const char *name)
{
    struct model_config c;
    struct error err;
    int code = model_config_read(tiny(name), &c, &err);
    ck_assert_msg(code == 0, "%s", err.text);
    return c;
}

static struct model *
load_good(const char *name, const struct model_config *c, struct model_load_args args,
          struct device *dev)
{
    struct model *m;
    struct error err = {0};
    int code = load(name, c, args, dev, &m, &err);
    ck_assert_msg(code == 0, "%s: %s", name, err.text);
    return m;
}

START_TEST(test_load_stacks_and_counts)
{
    struct device dev;
    struct model_config c = read_config("qwen-14b");
    struct engine_progress progress = {.phase = ""};
    struct model *m = load_good("qwen-14b", &c,
                                (struct model_load_args){.progress = &progress,
                                                         .max_model_len = 100}, &dev);
    const char *unused;
    int64_t parameters = model_config_num_parameters(&c);
    ck_assert_int_eq(dev.num_three_parts, c.num_layers);   /* q, k, v */
    ck_assert_int_eq(dev.num_two_parts, c.num_layers);     /* gate, up */
    ck_assert_int_eq(dev.num_loads, 3 + 7 * c.num_layers); /* embed, norm, head */
    ck_assert_int_eq(dev.max_position, 100);
    ck_assert_uint_eq(model_weight_bytes(m), 2 * (size_t)(parameters + dev.vector_cols));
    ck_assert_uint_eq(model_scratch_bytes(m), dev.alloc_bytes);
    ck_assert_uint_eq(model_unused_tensors(m, &unused), 0);
    ck_assert_str_eq(unused, "");
    ck_assert_str_eq(atomic_load(&progress.phase), "loading weights");
    ck_assert_uint_eq(atomic_load(&progress.done_bytes), 2 * (size_t)parameters);
    ck_assert_uint_eq(atomic_load(&progress.total_bytes), 2 * (size_t)parameters);
    model_free(m);
    ck_assert_uint_eq(dev.alloc_bytes, 0);
}
END_TEST

START_TEST(test_load_types)
{
    static const struct {
        const char *name;
        bool f32;
        enum dtype asked, expected;
    } rows[] = {
        {"qwen-32b", false, DTYPE_F32, DTYPE_BF16}, /* stored as bf16 */
        {"qwen-32b", false, DTYPE_BF16, DTYPE_BF16},
        {"qwen-32b", false, DTYPE_F16, DTYPE_F16},
        {"qwen-32b", true, DTYPE_F16, DTYPE_BF16},  /* the device widens */
        {"qwen-14b", false, DTYPE_F32, DTYPE_F16},  /* stored as f16 */
        {"qwen-14b", false, DTYPE_BF16, DTYPE_BF16},
        {"qwen-7b", false, DTYPE_F32, DTYPE_BF16},  /* stored as f32 */
        {"qwen-7b", false, DTYPE_F16, DTYPE_F16},
        {"qwen-7b", true, DTYPE_F32, DTYPE_F32},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct device dev;
        struct model_config c = read_config(rows[i].name);
        struct model *m = load_good(rows[i].name, &c,
                                    (struct model_load_args){.f32 = rows[i].f32,
                                                             .dtype = rows[i].asked}, &dev);
        ck_assert_msg(dev.matrix_dtype == rows[i].expected, "row %zu: type %d", i,
                      dev.matrix_dtype);
        model_free(m);
    }
}
END_TEST

START_TEST(test_load_tied_head_is_the_embedding)
{
    struct device dev;
    struct model_config c = read_config("llama-8b");
    const char *unused;
    struct model *m = load_good("llama-8b", &c, (struct model_load_args){0}, &dev);
    int untied = dev.num_loads;
    size_t untied_bytes = model_weight_bytes(m);
    model_free(m);
    /* The file's lm_head is then neither loaded nor called unknown. */
    c.tie_word_embeddings = true;
    m = load_good("llama-8b", &c, (struct model_load_args){0}, &dev);
    ck_assert_int_eq(dev.num_loads, untied - 1);
    ck_assert_uint_eq(model_weight_bytes(m),
                      untied_bytes - (size_t)(c.vocab_size * c.hidden_size) * 2);
    ck_assert_uint_eq(model_unused_tensors(m, &unused), 0);
    model_free(m);
}
END_TEST

START_TEST(test_load_unknown_tensors_are_counted)
{
    struct device dev;
    struct model_config c = read_config("llama-8b");
    const char *unused;
    c.num_layers--;
    struct model *m = load_good("llama-8b", &c, (struct model_load_args){0}, &dev);
    ck_assert_uint_eq(model_unused_tensors(m, &unused), 9);
    ck_assert_str_eq(unused, "model.layers.2.input_layernorm.weight");
    model_free(m);
}
END_TEST

START_TEST(test_load_wrong_config_is_refused_before_loading)
{
    struct device dev;
    struct model *m = NULL;
    struct error err;
    struct model_config c = read_config("llama-8b");
    c.num_layers++;
    ck_assert_int_eq(load("llama-8b", &c, (struct model_load_args){0}, &dev, &m, &err),
                     ERR_NOTFOUND);
    ck_assert_ptr_nonnull(
        strstr(err.text, "tensor 'model.layers.3.input_layernorm.weight' is missing in"));
    ck_assert_int_eq(dev.num_loads, 0);

    c = read_config("llama-8b");
    c.intermediate_size *= 2;
    ck_assert_int_eq(load("llama-8b", &c, (struct model_load_args){0}, &dev, &m, &err),
                     ERR_CORRUPT);
    ck_assert_ptr_nonnull(strstr(err.text, "model.safetensors: tensor 'model.layers.0.mlp."
                                           "gate_proj.weight' has shape [64, 128], but "
                                           "config.json makes it [128, 128]"));
    ck_assert_int_eq(dev.num_loads, 0);

    c = read_config("llama-8b");
    c.qkv_bias = true;
    ck_assert_int_eq(load("llama-8b", &c, (struct model_load_args){0}, &dev, &m, &err),
                     ERR_NOTFOUND);
    ck_assert_ptr_nonnull(strstr(err.text, "'model.layers.0.self_attn.q_proj.bias' is missing"));

    ck_assert_int_eq(load("nowhere", &c, (struct model_load_args){0}, &dev, &m, &err),
                     ERR_NOTFOUND);
    ck_assert_ptr_nonnull(strstr(err.text, "looked for model.safetensors"));
    ck_assert_ptr_null(m);
}
END_TEST

START_TEST(test_load_dummy_needs_no_weights)
{
    struct device dev;
    struct model_config c = read_config("gemma-2-27b");
    struct model *m = load_good("nowhere", &c,
                                (struct model_load_args){.load_format = LOAD_DUMMY}, &dev);
    ck_assert_int_eq(dev.num_loads, 0);
    ck_assert_int_eq(dev.num_random, 2 + 8 * c.num_layers);
    model_free(m);
}
END_TEST

static uint16_t
convert16(float f, enum dtype to)
{
    struct host_tensor t = {&f, DTYPE_F32, 1, 1};
    uint16_t ret;
    loader_convert(&t, to, &ret);
    return ret;
}

START_TEST(test_convert_16_bit_floats)
{
    static const struct {
        float value;
        uint16_t bf16, f16;
    } rows[] = {
        {0.0f, 0x0000, 0x0000}, {-0.0f, 0x8000, 0x8000}, {1.0f, 0x3F80, 0x3C00},
        {-2.0f, 0xC000, 0xC000}, {0x1.01p0f, 0x3F80, 0x3C04}, /* a tie, to even */
        {0x1.03p0f, 0x3F82, 0x3C0C}, {0x1.002p0f, 0x3F80, 0x3C00}, {0x1.006p0f, 0x3F80, 0x3C02},
        {65504.0f, 0x4780, 0x7BFF}, {65519.0f, 0x4780, 0x7BFF}, {65520.0f, 0x4780, 0x7C00},
        {0x1p-14f, 0x3880, 0x0400}, {0x1p-24f, 0x3380, 0x0001}, {0x1p-25f, 0x3300, 0x0000},
        {0x1.8p-25f, 0x3340, 0x0001}, {0x1.ff8p-15f, 0x3880, 0x03FF}, {3e38f, 0x7F62, 0x7C00},
        {0x1.fffffep127f, 0x7F80, 0x7C00}, {INFINITY, 0x7F80, 0x7C00},
        {-INFINITY, 0xFF80, 0xFC00}, {9.0f / 8, 0x3F90, 0x3C80},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        ck_assert_msg(convert16(rows[i].value, DTYPE_BF16) == rows[i].bf16,
                      "%a is bf16 0x%04x", (double)rows[i].value,
                      convert16(rows[i].value, DTYPE_BF16));
        ck_assert_msg(convert16(rows[i].value, DTYPE_F16) == rows[i].f16, "%a is f16 0x%04x",
                      (double)rows[i].value, convert16(rows[i].value, DTYPE_F16));
    }
    ck_assert_int_eq(convert16(NAN, DTYPE_BF16) & 0x7FC0, 0x7FC0);
    ck_assert_int_eq(convert16(NAN, DTYPE_F16) & 0x7E00, 0x7E00);
}
END_TEST

/* Each 16-bit value survives the way through f32, from any alignment. */
START_TEST(test_convert_every_value_round_trips)
{
    static const enum dtype types[] = {DTYPE_BF16, DTYPE_F16};
    for (size_t k = 0; k < ARRAY_SIZE(types); k++)
        for (uint32_t h = 0; h < 0x10000; h++) {
            unsigned char odd[3] = {0, (unsigned char)h, (unsigned char)(h >> 8)};
            struct host_tensor t = {odd + 1, types[k], 1, 1};
            float f;
            loader_convert(&t, DTYPE_F32, &f);
            if (isnan(f))
                continue;
            ck_assert_uint_eq(convert16(f, types[k]), h);
        }
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("loader");
    TCase *tc = tcase_create("loader");
    tcase_add_test(tc, test_load_stacks_and_counts);
    tcase_add_test(tc, test_load_types);
    tcase_add_test(tc, test_load_tied_head_is_the_embedding);
    tcase_add_test(tc, test_load_unknown_tensors_are_counted);
    tcase_add_test(tc, test_load_wrong_config_is_refused_before_loading);
    tcase_add_test(tc, test_load_dummy_needs_no_weights);
    tcase_add_test(tc, test_convert_16_bit_floats);
    tcase_add_test(tc, test_convert_every_value_round_trips);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
