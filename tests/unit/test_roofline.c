/* SPDX-License-Identifier: Apache-2.0 */
/* The floor, against numbers worked out by hand. */
#include "bench/roofline.h"
#include "tests/unit/main.h"

#include <check.h>

/* hidden 8, 2 heads of 4, 1 of them for keys, intermediate 16, vocabulary 32, 3
 * layers: a layer has 8*(8+2*4) + 8*8 + 3*8*16 = 576 weights, the head 256. */
static const struct model_config tiny = {
    .hidden_size = 8,
    .intermediate_size = 16,
    .vocab_size = 32,
    .num_layers = 3,
    .num_heads = 2,
    .num_kv_heads = 1,
    .head_dim = 4,
};

START_TEST(test_model_costs)
{
    struct roofline_model r;
    roofline_model_init(&r, &tiny, DTYPE_BF16);
    ck_assert_double_eq(r.weight_bytes, (3 * 576 + 256) * 2);
    ck_assert_double_eq(r.flops_per_token, 2 * 3 * 576);
    ck_assert_double_eq(r.head_flops, 2 * 256);
    ck_assert_double_eq(r.kv_bytes_per_token, 2 * 3 * 4 * 2);
    ck_assert_double_eq(r.attention_flops_per_key, 4 * 8 * 3);
    roofline_model_init(&r, &tiny, DTYPE_F32);
    ck_assert_double_eq(r.weight_bytes, (3 * 576 + 256) * 4);
    ck_assert_double_eq(r.kv_bytes_per_token, 2 * 3 * 4 * 4);
}
END_TEST

/* Published shapes: R1-Distill-Llama-8B reads 15.01 GB a step, and has 131,072
 * bytes of keys and values a token; Qwen-7B 14.14 GB and 57,344. */
START_TEST(test_models_of_the_field)
{
    struct model_config llama = {.hidden_size = 4096, .intermediate_size = 14336,
                                 .vocab_size = 128256, .num_layers = 32, .num_heads = 32,
                                 .num_kv_heads = 8, .head_dim = 128};
    struct model_config qwen = {.hidden_size = 3584, .intermediate_size = 18944,
                                .vocab_size = 152064, .num_layers = 28, .num_heads = 28,
                                .num_kv_heads = 4, .head_dim = 128};
    struct roofline_model r;
    roofline_model_init(&r, &llama, DTYPE_BF16);
    ck_assert_double_eq_tol(r.weight_bytes, 15.01e9, 0.005e9);
    ck_assert_double_eq(r.kv_bytes_per_token, 131072);
    roofline_model_init(&r, &qwen, DTYPE_BF16);
    ck_assert_double_eq_tol(r.weight_bytes, 14.14e9, 0.005e9);
    ck_assert_double_eq(r.kv_bytes_per_token, 57344);
}
END_TEST

/* Costs that make every term visible: 1000 bytes of weights, 10 of a token's
 * keys, 1 and 100 operations, nothing for attention. */
static const struct roofline_model plain = {
    .weight_bytes = 1000, .flops_per_token = 1, .head_flops = 100, .kv_bytes_per_token = 10};

/* A byte takes a second, an operation nothing: one sequence of 3 + 4 tokens is a
 * prompt and three steps, of 3, 4, 5 and 6 keys. */
START_TEST(test_bound_by_memory)
{
    const struct machine_limits m = {1, 1e30};
    const struct roofline_sequence one = {3, 4};
    ck_assert_double_eq_tol(roofline_s(&plain, &m, &one, 1, 8), 4 * 1000 + 10 * (3 + 4 + 5 + 6),
                            1e-9);
}
END_TEST

/* The other way round. */
START_TEST(test_bound_by_arithmetic)
{
    const struct machine_limits m = {1e30, 1};
    const struct roofline_sequence one = {3, 4};
    ck_assert_double_eq_tol(roofline_s(&plain, &m, &one, 1, 8), (3 + 100) + 3 * (1 + 100), 1e-9);
}
END_TEST

/* Weights are read once for all that run, keys for each. */
START_TEST(test_batches_and_waves)
{
    const struct machine_limits m = {1, 1e30};
    const struct roofline_sequence four[] = {{2, 3}, {2, 3}, {2, 3}, {2, 3}};
    double keys = 4 * 10 * (2 + 3 + 4);
    ck_assert_double_eq_tol(roofline_s(&plain, &m, four, 4, 4), 3 * 1000 + keys, 1e-9);
    /* Two at a time: the next two begin in the step in which the first end. */
    ck_assert_double_eq_tol(roofline_s(&plain, &m, four, 4, 2), 5 * 1000 + keys, 1e-9);
    ck_assert_double_eq_tol(roofline_s(&plain, &m, four, 4, 1), 9 * 1000 + keys, 1e-9);
}
END_TEST

/* One token is the prompt's own step; nothing takes no time. */
START_TEST(test_edges)
{
    const struct machine_limits m = {1, 1e30};
    const struct roofline_sequence ones[] = {{5, 1}, {1, 1}, {1, 1}};
    ck_assert_double_eq_tol(roofline_s(&plain, &m, ones, 1, 1), 1000 + 50, 1e-9);
    ck_assert_double_eq_tol(roofline_s(&plain, &m, ones, 3, 1), 1000 + 70, 1e-9);
    ck_assert_double_eq(roofline_s(&plain, &m, ones, 0, 4), 0);
}
END_TEST

static Suite *
make_suite(void)
{
    Suite *suite = suite_create("roofline");
    TCase *tcase = tcase_create("roofline");
    tcase_add_test(tcase, test_model_costs);
    tcase_add_test(tcase, test_models_of_the_field);
    tcase_add_test(tcase, test_bound_by_memory);
    tcase_add_test(tcase, test_bound_by_arithmetic);
    tcase_add_test(tcase, test_batches_and_waves);
    tcase_add_test(tcase, test_edges);
    suite_add_tcase(suite, tcase);
    return suite;
}

TEST_MAIN(make_suite)
