/* SPDX-License-Identifier: Apache-2.0 */
/* The floor, against numbers worked out by hand. */
#include "engine/gpu_specs.h"
#include "engine/roofline.h"
#include "tests/unit/main.h"
#include "tests/unit/model_configs.h"

#include <check.h>
#include <math.h>

/* hidden 8, 2 heads of 4, 1 of them for keys, intermediate 16, vocabulary 32, 3
 * layers: a layer has 8*(8+2*4) + 8*8 + 3*8*16 = 576 weights and two norms of 8, the head
 * 256 and a norm. */
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
    ck_assert_double_eq(r.weight_bytes, (3 * (576 + 16) + 256 + 8) * 2);
    ck_assert_double_eq(r.flops_per_token, 2 * 3 * 576);
    ck_assert_double_eq(r.head_flops, 2 * 256);
    ck_assert_double_eq(r.kv_bytes_per_token, 2 * 3 * 4 * 2);
    ck_assert_double_eq(r.attention_flops_per_key, 4 * 8 * 3);
    struct model_config tied = tiny;
    tied.tie_word_embeddings = true;
    roofline_model_init(&r, &tied, DTYPE_BF16); /* its embedding is the head */
    ck_assert_double_eq(r.weight_bytes, (3 * (576 + 16) + 256 + 8) * 2);
    roofline_model_init(&r, &tiny, DTYPE_F32);
    ck_assert_double_eq(r.weight_bytes, (3 * (576 + 16) + 256 + 8) * 4);
    ck_assert_double_eq(r.kv_bytes_per_token, 2 * 3 * 4 * 4);
}
END_TEST

/* Published shapes: R1-Distill-Llama-8B reads 15.01 GB a step, and has 131,072
 * bytes of keys and values a token; Qwen-7B 14.14 GB and 57,344. */
START_TEST(test_models_of_the_field)
{
    struct model_config llama = model_config_number(2), qwen = model_config_number(3);
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

#define AT_MOST(n) (struct roofline_batching){.max_seqs = (n)}

/* A byte takes a second, an operation nothing: one sequence of 3 + 4 tokens is a
 * prompt and three steps, of 3, 4, 5 and 6 keys. */
START_TEST(test_bound_by_memory)
{
    const struct roofline_limits m = {1, 1e30};
    const struct roofline_sequence one = {3, 4};
    ck_assert_double_eq_tol(roofline_s(&plain, &m, &AT_MOST(8), &one, 1),
                            4 * 1000 + 10 * (3 + 4 + 5 + 6), 1e-9);
}
END_TEST

/* The other way round. */
START_TEST(test_bound_by_arithmetic)
{
    const struct roofline_limits m = {1e30, 1};
    const struct roofline_sequence one = {3, 4};
    ck_assert_double_eq_tol(roofline_s(&plain, &m, &AT_MOST(8), &one, 1),
                            (3 + 100) + 3 * (1 + 100), 1e-9);
}
END_TEST

/* Weights are read once for all that run, keys for each. */
START_TEST(test_batches_and_waves)
{
    const struct roofline_limits m = {1, 1e30};
    const struct roofline_sequence four[] = {{2, 3}, {2, 3}, {2, 3}, {2, 3}};
    double keys = 4 * 10 * (2 + 3 + 4);
    ck_assert_double_eq_tol(roofline_s(&plain, &m, &AT_MOST(4), four, 4), 3 * 1000 + keys, 1e-9);
    /* Two at a time: the next two begin in the step in which the first end. */
    ck_assert_double_eq_tol(roofline_s(&plain, &m, &AT_MOST(2), four, 4), 5 * 1000 + keys, 1e-9);
    ck_assert_double_eq_tol(roofline_s(&plain, &m, &AT_MOST(1), four, 4), 9 * 1000 + keys, 1e-9);
}
END_TEST

/* One token is the prompt's own step; nothing takes no time. */
START_TEST(test_edges)
{
    const struct roofline_limits m = {1, 1e30};
    const struct roofline_sequence ones[] = {{5, 1}, {1, 1}, {1, 1}};
    ck_assert_double_eq_tol(roofline_s(&plain, &m, &AT_MOST(1), ones, 1), 1000 + 50, 1e-9);
    ck_assert_double_eq_tol(roofline_s(&plain, &m, &AT_MOST(1), ones, 3), 1000 + 70, 1e-9);
    ck_assert_double_eq(roofline_s(&plain, &m, &AT_MOST(4), ones, 0), 0);
}
END_TEST

/* Cut to 4 tokens a step, a prompt of 10 takes three steps, in which it reads its
 * 4, 8 and 10 keys; the second, behind it, takes what the first leaves. */
START_TEST(test_prompts_are_cut)
{
    const struct roofline_limits m = {1, 1e30};
    const struct roofline_sequence two[] = {{10, 1}, {3, 1}};
    const struct roofline_batching four = {.max_batched_tokens = 4};
    ck_assert_double_eq_tol(roofline_s(&plain, &m, &four, two, 1), 3 * 1000 + 10 * (4 + 8 + 10),
                            1e-9);
    ck_assert_double_eq_tol(roofline_s(&plain, &m, &four, two, 2),
                            4 * 1000 + 10 * (4 + 8 + 10 + 2 + 3), 1e-9);
}
END_TEST

/* 16 tokens each, then a second block for the next one. With three blocks the
 * second sequence goes, and is computed anew, prompt and all, when the first has
 * ended: in its step of 18 tokens at once. */
START_TEST(test_preempted_is_computed_anew)
{
    const struct roofline_limits m = {1, 1e30};
    const struct roofline_sequence two[] = {{15, 4}, {15, 4}};
    const struct roofline_batching roomy = {.num_blocks = 4}, tight = {.num_blocks = 3};
    ck_assert_double_eq_tol(roofline_s(&plain, &m, &roomy, two, 2),
                            4 * 1000 + 2 * 10 * (15 + 16 + 17 + 18), 1e-9);
    /* steps: 15+15, 16+16, 17 and the second goes, 18 and it comes back, 18 */
    ck_assert_double_eq_tol(roofline_s(&plain, &m, &tight, two, 2),
                            5 * 1000 + 10 * (30 + 32 + 17 + 18 + 17 + 18), 1e-9);
}
END_TEST

/* Who was preempted comes before who has not begun, though that one would fit. */
START_TEST(test_preempted_is_first_in_line)
{
    const struct roofline_limits m = {1, 1e30};
    const struct roofline_sequence three[] = {{16, 5}, {31, 3}, {1, 4}};
    const struct roofline_batching b = {.num_blocks = 4};
    /* 16+31; 17+32; 18, for 33 are a block too many; 19; 20, which makes room for
     * 33 and for the third, alone from then on */
    double keys = 16 + 31 + 17 + 32 + 18 + 19 + 20 + 33;
    ck_assert_double_eq_tol(roofline_s(&plain, &m, &b, three, 2), 5 * 1000 + 10 * keys, 1e-9);
    ck_assert_double_eq_tol(roofline_s(&plain, &m, &b, three, 3),
                            8 * 1000 + 10 * (keys + 1 + 2 + 3 + 4), 1e-9);
}
END_TEST

/* Attention's operations count where they take longer than its reads. */
START_TEST(test_attention_bound_by_arithmetic)
{
    struct roofline_model r = plain;
    const struct roofline_limits m = {1, 1};
    bool compute_bound;
    r.attention_flops_per_key = 30;
    ck_assert_double_eq_tol(roofline_decode_s(&r, &m, 2, 7, &compute_bound), 1000 + 14 * 30, 1e-9);
    ck_assert(!compute_bound);
    ck_assert_double_eq_tol(roofline_decode_s(&r, &m, 10, 7, &compute_bound),
                            10 * 101 + 70 * 30, 1e-9);
    ck_assert(compute_bound);
}
END_TEST

/* Milliseconds and tokens per second of a step with contexts of 400, on the
 * three GPUs, models in the order of model_configs, batches as in the loop; *:
 * bound by arithmetic. Worked out apart from this code. */
static const char *const step_rows[NUM_GPU_SPECS][NUM_MODEL_CONFIGS] = {
    {
        "9.31/107 9.79/816 11.4/2796 13.6/4690 18.0/7091 26.9/9531 29.9/10038",
        "27.3/36 27.8/287 29.6/1079 32.1/1996 36.9/3471 46.5/5502 49.8/6019",
        "7.53/132 7.71/1036 8.34/3835 9.18/6969 10.9/11785 14.2/18008 15.4/19519",
        "7.08/141 7.16/1116 7.44/4302 7.80/8200 8.54/14990 10.0/25583 10.5/28540",
        "14.0/71 14.3/559 15.2/2098 16.5/3876 19.0/6728 24.1/10641 25.8/11633",
        "32.0/31 32.4/246 33.7/950 35.3/1810 38.7/3307 45.4/5637 47.7/6287",
    },
    {
        "5.56/179 5.85/1368 6.83/4683 8.15/7855 10.8/11878 16.0/15965 17.9/16730*",
        "16.3/61 16.6/481 17.7/1808 19.1/3344 22.0/5814 27.8/9217 30.0/9994*",
        "4.50/222 4.61/1736 4.98/6423 5.48/11674 6.48/19741 8.49/30163 9.25/32439*",
        "4.23/236 4.28/1870 4.44/7206 4.66/13735 5.10/25109 5.97/42851 6.34/47292*",
        "8.38/119 8.54/936 9.10/3514 9.86/6493 11.4/11269 14.4/17823 15.5/19316*",
        "19.1/52 19.3/413 20.1/1592 21.1/3033 23.1/5540 27.1/9443 28.8/10418*",
    },
    {
        "3.88/257 4.08/1960 4.77/6711 5.69/11256 7.52/17019 12.1/21114* 14.2/21114*",
        "11.4/87 11.6/689 12.3/2591 13.4/4792 15.4/8331 22.1/11565* 25.9/11565*",
        "3.14/318 3.21/2488 3.48/9204 3.83/16727 4.53/28286 6.68/38315* 7.83/38315*",
        "2.95/338 2.98/2680 3.10/10325 3.25/19680 3.56/35977 4.88/52420* 5.72/52420*",
        "5.85/171 5.96/1342 6.35/5036 6.88/9304 7.93/16147 11.4/22383* 13.4/22383*",
        "13.3/74 13.5/592 14.0/2281 14.7/4346 16.1/7938 22.2/11557* 26.0/11557*",
    },
};

START_TEST(test_steps_on_gpus)
{
    static const int64_t batches[] = {1, 8, 32, 64, 128, 256, 300};
    size_t number = (size_t)_i % NUM_MODEL_CONFIGS, gpu = (size_t)_i / NUM_MODEL_CONFIGS;
    struct model_config c = model_config_number(number);
    struct roofline_model r;
    char row[200] = "";
    roofline_model_init(&r, &c, DTYPE_BF16);
    for (size_t i = 0; i < ARRAY_SIZE(batches); i++) {
        bool compute_bound;
        double s = roofline_decode_s(&r, &gpu_specs[gpu].limits, batches[i], 400, &compute_bound);
        size_t len = strlen(row);
        snprintf(row + len, sizeof row - len, "%s%#.3g/%d%s", i == 0 ? "" : " ", 1e3 * s,
                 (int)((double)batches[i] / s), compute_bound ? "*" : "");
    }
    ck_assert_str_eq(row, step_rows[gpu][number]);
}
END_TEST

/*
 * 300 prompts of 100 tokens and 600 more, 8192 tokens a step: tokens of the cache
 * on 80 GB, how often 700 find room on an H200, and seconds on each GPU, from
 * another simulator. Where sequences are preempted it differs by its admission,
 * which spares no block.
 */
START_TEST(test_offline_on_gpus)
{
    static const struct {
        int64_t tokens, h200_seqs;
        double s[NUM_GPU_SPECS];
    } rows[NUM_MODEL_CONFIGS] = {
        {163760, 474, {20.9, 12.8, 9.01}},  {54064, 297, {62.5, 38.8, 17.3}},
        {448368, 1272, {9.76, 5.96, 5.11}}, {1039296, 2929, {6.82, 4.20, 3.83}},
        {230336, 751, {16.5, 10.1, 8.83}},  {35472, 368, {94.6, 58.6, 17.4}},
    };
    static struct roofline_sequence sequences[300];
    struct model_config c = model_config_number((size_t)_i);
    struct roofline_model r;
    roofline_model_init(&r, &c, DTYPE_BF16);
    for (size_t i = 0; i < ARRAY_SIZE(sequences); i++)
        sequences[i] = (struct roofline_sequence){100, 600};
    for (size_t g = 0; g < NUM_GPU_SPECS; g++) {
        const struct roofline_batching b = {
            .max_batched_tokens = 8192,
            .num_blocks = g < 2 ? rows[_i].tokens / KV_BLOCK_SIZE : rows[_i].h200_seqs * 44};
        double s = roofline_s(&r, &gpu_specs[g].limits, &b, sequences, ARRAY_SIZE(sequences));
        double tolerance = b.num_blocks >= 300 * 44 ? 0.005 : 0.03;
        ck_assert_double_eq_tol(s, rows[_i].s[g], tolerance * s);
    }
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
    tcase_add_test(tcase, test_prompts_are_cut);
    tcase_add_test(tcase, test_preempted_is_computed_anew);
    tcase_add_test(tcase, test_preempted_is_first_in_line);
    tcase_add_test(tcase, test_attention_bound_by_arithmetic);
    tcase_add_loop_test(tcase, test_steps_on_gpus, 0, NUM_GPU_SPECS * NUM_MODEL_CONFIGS);
    tcase_add_loop_test(tcase, test_offline_on_gpus, 0, NUM_MODEL_CONFIGS);
    suite_add_tcase(suite, tcase);
    return suite;
}

TEST_MAIN(make_suite)
