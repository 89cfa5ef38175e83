/* SPDX-License-Identifier: Apache-2.0 */
/* What `llmd plan` prints, of directories that hold config.json alone. */
#include "engine/gpu_specs.h"
#include "engine/plan_report.h"
#include "tests/unit/main.h"
#include "tests/unit/model_configs.h"
#include "util/json.h"

#include <unistd.h>

enum { ALL, H100_PCIE, H100_SXM, H200 };

static char dir[64];
static struct engine_options options;
static struct plan_request request;

static void
remove_config(void)
{
    char path[100];
    snprintf(path, sizeof path, "%s/config.json", dir);
    unlink(path);
}

static void
write_config(const char *json)
{
    char path[100];
    snprintf(path, sizeof path, "%s/config.json", dir);
    FILE *f = fopen(path, "w");
    ck_assert_ptr_nonnull(f);
    ck_assert_int_ge(fputs(json, f), 0);
    ck_assert_int_eq(fclose(f), 0);
}

static void
setup(void)
{
    snprintf(dir, sizeof dir, "/tmp/llmd-plan-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    options = (struct engine_options){.gpu_memory_utilization = 0.9, .max_model_len = 4096};
    request = (struct plan_request){.dir = dir, .options = &options, .context = 400};
}

static void
teardown(void)
{
    remove_config();
    rmdir(dir);
}

/* The report, with each run of blanks as one. */
static char *
report(bool expect_fit)
{
    struct buf b = {0};
    struct error err = {0};
    bool fits = !expect_fit;
    int rc = plan_report(&request, &b, &fits, &err);
    ck_assert_msg(rc == 0, "%s", err.text);
    ck_assert(fits == expect_fit);
    char *text = buf_take(&b, NULL), *to = text;
    for (const char *from = text; *from != '\0'; from++) {
        if (*from != ' ' || from[1] != ' ')
            *to++ = *from;
    }
    *to = '\0';
    return text;
}

static void
assert_has(const char *text, const char *line)
{
    ck_assert_msg(strstr(text, line) != NULL, "no '%s' in:\n%s", line, text);
}

static json_t *
json_report(void)
{
    struct error err = {0};
    json_t *top;
    request.json = true;
    char *text = report(true);
    int rc = json_parse_object(text, strlen(text), 0, "plan", &top, &err);
    ck_assert_msg(rc == 0, "%s in %s", err.text, text);
    free(text);
    return top;
}

START_TEST(test_names_are_those_of_the_table)
{
    for (size_t i = 0; i < NUM_GPU_SPECS; i++)
        ck_assert_str_eq(plan_gpus[i + 1], gpu_specs[i].name);
    ck_assert_ptr_null(plan_gpus[NUM_GPU_SPECS + 1]);
}
END_TEST

START_TEST(test_text_of_three_gpus)
{
    write_config(LLAMA_8B);
    char *text = report(true);
    assert_has(text, ": LlamaForCausalLM, 8030.3M parameters\n");
    assert_has(text, "Memory (GiB) h100-pcie h100-sxm h200\n");
    assert_has(text, "\nthe GPU has 79.10 79.10 139.80\n");
    assert_has(text, "\nof these 0.90 may be used 71.19 71.19 125.82\n");
    assert_has(text, "\nweights 14.96 14.96 14.96\n");
    assert_has(text, "\nactivations 0.78 0.78 0.78\n");
    assert_has(text, "\nbatch 1 7.53 133 4.50 222 3.14 319\n");
    assert_has(text, "\nbatch 300 15.37 19520 *9.25 32439 *7.83 38316\n");
    free(text);
}
END_TEST

/* 128 and more contexts of 400 tokens are more than 80 GB hold. */
START_TEST(test_text_marks_what_is_too_much)
{
    write_config(QWEN_32B);
    request.gpu = H100_SXM;
    char *text = report(true);
    assert_has(text, "Memory (GiB) h100-sxm\n");
    assert_has(text, "\nbatch 64 21.10 3033\n");
    assert_has(text, "\nbatch 128 +23.10 5541\n");
    assert_has(text, "\nbatch 300 +*28.79 10419\n");
    ck_assert_ptr_null(strstr(text, "will not serve"));
    free(text);
    request.context = 800; /* longer ones are fewer, and take longer */
    text = report(true);
    assert_has(text, "contexts of 800 tokens");
    assert_has(text, "\nbatch 64 +23.10 2770\n");
    free(text);
}
END_TEST

START_TEST(test_text_says_what_does_not_fit)
{
    write_config(QWEN_32B);
    options.max_model_len = 0; /* 131072 tokens are 32 GiB: only an H200 has them */
    char *text = report(true);
    assert_has(text, "\nh100-pcie will not serve this: the kv cache holds ");
    assert_has(text, "\nh100-sxm will not serve this: the kv cache holds ");
    ck_assert_ptr_null(strstr(text, "h200 will not"));
    free(text);
    request.gpu = H100_PCIE;
    free(report(false));

    options.gpu_memory_utilization = 0.5; /* not even the weights */
    text = report(false);
    assert_has(text, "\nh100-pcie will not serve this: the model needs ");
    assert_has(text, "\ntokens in the KV cache 0\n");
    assert_has(text, "\nseconds -\noutput tok/s -\n");
    free(text);
}
END_TEST

START_TEST(test_options_count)
{
    write_config(LLAMA_8B);
    request.gpu = H200;
    options.max_num_seqs = 100;
    options.max_num_batched_tokens = 1000;
    options.kv_cache_memory_bytes = 10LL << 30;
    char *text = report(true);
    assert_has(text, "\nof these are free 139.30\n");
    assert_has(text, "\nKV cache 10.00\n");
    assert_has(text, "\ntokens in the KV cache 81920\n");
    assert_has(text, "\nsequences of 700 tokens 116\n");
    assert_has(text, "\nmax-num-seqs 100\n");
    assert_has(text, "\nmax-num-batched-tokens 1000\n");
    assert_has(text, "\nbatch 128 +4.53 28286\n"); /* of which 100 may run */
    free(text);
    options.max_model_len = 699; /* too short for the workload */
    text = report(true);
    assert_has(text, "\nmax-model-len 699\n");
    assert_has(text, "\nseconds -\n");
    free(text);
    options.dtype = MODEL_DTYPE_FLOAT32;
    text = report(true);
    assert_has(text, "\nweights 29.92\n");
    assert_has(text, "\ntokens in the KV cache 40960\n");
    free(text);
}
END_TEST

/* Every model: the same figures, for machines. */
START_TEST(test_json)
{
    static const double batch_300_ms[NUM_MODEL_CONFIGS] = {14.21, 25.94, 7.83, 5.72, 13.40, 25.96};
    static const double workload_s[NUM_MODEL_CONFIGS] = {9.01, 17.3, 5.11, 3.83, 8.83, 17.4};
    write_config(model_configs[_i].json);
    json_t *top = json_report(), *gpus = json_object_get(top, "gpus");
    ck_assert_uint_eq(json_array_size(gpus), NUM_GPU_SPECS);
    ck_assert_int_eq(json_integer_value(json_object_get(top, "context")), 400);
    const json_t *h200 = json_array_get(gpus, 2), *memory = json_object_get(h200, "memory");
    ck_assert_str_eq(json_string_value(json_object_get(h200, "name")), "h200");
    ck_assert(json_is_true(json_object_get(h200, "fits")));
    ck_assert(json_is_null(json_object_get(h200, "refusal")));
    static const char *const shares[] = {"weight_bytes", "activation_bytes", "logit_bytes",
                                         "workspace_bytes", "reserve_bytes", "kv_cache_bytes"};
    int64_t sum = 0;
    for (size_t i = 0; i < ARRAY_SIZE(shares); i++)
        sum += json_integer_value(json_object_get(memory, shares[i]));
    ck_assert_int_gt(sum, 20LL << 30);
    ck_assert_int_le(sum, json_integer_value(json_object_get(memory, "usable_bytes")));

    const json_t *steps = json_object_get(h200, "decode_floor"), *last = json_array_get(steps, 6);
    ck_assert_uint_eq(json_array_size(steps), 7);
    ck_assert_int_eq(json_integer_value(json_object_get(last, "batch")), 300);
    double s = json_real_value(json_object_get(last, "s"));
    ck_assert_double_eq_tol(1e3 * s, batch_300_ms[_i], 0.006);
    ck_assert_double_eq_tol(json_real_value(json_object_get(last, "tokens_per_s")), 300 / s, 1e-6);
    ck_assert(json_is_true(json_object_get(last, "compute_bound")));
    ck_assert(json_is_false(json_object_get(json_array_get(steps, 0), "compute_bound")));

    const json_t *floor = json_object_get(h200, "workload_floor");
    s = json_real_value(json_object_get(floor, "s"));
    ck_assert_double_eq_tol(s, workload_s[_i], 0.03 * s);
    ck_assert_double_eq_tol(json_real_value(json_object_get(floor, "output_tokens_per_s")),
                            180000 / s, 1e-6);
    json_decref(top);
}
END_TEST

/* Where it does not fit, the reason is a string and the workload has no floor. */
START_TEST(test_json_of_what_does_not_fit)
{
    write_config(QWEN_32B);
    options.gpu_memory_utilization = 0.7;
    json_t *top = json_report();
    const json_t *pcie = json_array_get(json_object_get(top, "gpus"), 0);
    ck_assert(json_is_false(json_object_get(pcie, "fits")));
    ck_assert_ptr_nonnull(strstr(json_string_value(json_object_get(pcie, "refusal")),
                                 "the model needs"));
    ck_assert(json_is_null(json_object_get(json_object_get(pcie, "workload_floor"), "s")));
    json_decref(top);
}
END_TEST

START_TEST(test_errors)
{
    struct buf b = {0};
    struct error err = {0};
    bool fits;
    ck_assert_int_eq(plan_report(&request, &b, &fits, &err), ERR_NOTFOUND);
    assert_has(err.text, "config.json");
    write_config("{\"architectures\": [\"BertModel\"]}");
    ck_assert_int_eq(plan_report(&request, &b, &fits, &err), ERR_UNSUPPORTED);
    assert_has(err.text, "BertModel");
    write_config(GEMMA_9B);
    options.max_model_len = 8193;
    ck_assert_int_eq(plan_report(&request, &b, &fits, &err), ERR_RANGE);
    assert_has(err.text, "option '--max-model-len': 8193");
    ck_assert_uint_eq(buf_len(&b), 0);
    buf_release(&b);
}
END_TEST

static Suite *
make_suite(void)
{
    Suite *suite = suite_create("plan_report");
    TCase *tcase = tcase_create("plan_report");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, test_names_are_those_of_the_table);
    tcase_add_test(tcase, test_text_of_three_gpus);
    tcase_add_test(tcase, test_text_marks_what_is_too_much);
    tcase_add_test(tcase, test_text_says_what_does_not_fit);
    tcase_add_test(tcase, test_options_count);
    tcase_add_loop_test(tcase, test_json, 0, NUM_MODEL_CONFIGS);
    tcase_add_test(tcase, test_json_of_what_does_not_fit);
    tcase_add_test(tcase, test_errors);
    suite_add_tcase(suite, tcase);
    return suite;
}

TEST_MAIN(make_suite)
