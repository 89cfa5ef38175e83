/* SPDX-License-Identifier: Apache-2.0 */
/* numpy's streams, arrivals and prompts, against what numpy gave
 * (tools/record-numpy.py). */
#include "engine/tokenizer/tokenizer.h"
#include "loadgen/dataset.h"
#include "loadgen/numpy_random.h"
#include "loadgen/schedule.h"
#include "tests/unit/main.h"

#include <check.h>
#include <jansson.h>
#include <math.h>

static json_t *record;

static void
setup(void)
{
    const char *dir = getenv("srcdir");
    char path[512];
    snprintf(path, sizeof path, "%s/tests/data/loadgen/numpy.json", dir != NULL ? dir : ".");
    record = json_load_file(path, 0, NULL);
    ck_assert_ptr_nonnull(record);
}

static void
teardown(void)
{
    json_decref(record);
}

static double
real(const json_t *row, const char *key)
{
    return json_number_value(json_object_get(row, key));
}

static json_int_t
integer(const json_t *array, size_t i)
{
    return json_integer_value(json_array_get(array, i));
}

START_TEST(test_legacy_uniform_equals_numpy)
{
    size_t i, j;
    json_t *row, *v;
    json_array_foreach(json_object_get(record, "legacy"), i, row) {
        struct numpy_legacy g;
        numpy_legacy_seed(&g, (uint32_t)real(row, "seed"));
        json_array_foreach(json_object_get(row, "uniform"), j, v)
            ck_assert_double_eq(numpy_legacy_uniform(&g), json_real_value(v));
        ck_assert_uint_eq(j, 5);
    }
    ck_assert_uint_eq(i, 3);
}
END_TEST

/* Of 700 draws the first 8 and the last 8 are recorded. */
START_TEST(test_legacy_gamma_equals_numpy_for_all_shapes)
{
    size_t i, j;
    json_t *row, *draws;
    const char *shape;
    json_array_foreach(json_object_get(record, "legacy"), i, row) {
        json_object_foreach(json_object_get(row, "gamma"), shape, draws) {
            struct numpy_legacy g;
            numpy_legacy_seed(&g, (uint32_t)real(row, "seed"));
            for (j = 0; j < 700; j++) {
                double v = 0.1 * numpy_legacy_gamma(&g, strtod(shape, NULL));
                if (j < 8 || j >= 692)
                    ck_assert_double_eq(
                        v, json_real_value(json_array_get(draws, j < 8 ? j : j - 684)));
            }
        }
    }
}
END_TEST

START_TEST(test_generator_integers_equal_numpy)
{
    size_t i, j, k;
    json_t *row, *range;
    json_array_foreach(json_object_get(record, "integers"), i, row) {
        struct numpy_generator g;
        numpy_generator_seed(&g, (uint64_t)json_integer_value(json_object_get(row, "seed")));
        json_array_foreach(json_object_get(row, "ranges"), j, range) {
            const json_t *draws = json_array_get(json_object_get(row, "draws"), j);
            for (k = 0; k < json_array_size(draws); k++)
                ck_assert_int_eq(
                    numpy_generator_integer(&g, integer(range, 0), integer(range, 1)),
                    integer(draws, k));
        }
    }
    ck_assert_uint_eq(i, 4);
}
END_TEST

START_TEST(test_schedule_equals_numpy_to_the_bit)
{
    size_t i, j;
    json_t *row;
    json_array_foreach(json_object_get(record, "arrivals"), i, row) {
        struct schedule s;
        struct schedule_args args = {
            .num_requests = (size_t)real(row, "count"),
            .request_rate = real(row, "rate"),
            .burstiness = real(row, "burstiness"),
            .seed = (uint32_t)real(row, "seed"),
        };
        const json_t *times = json_object_get(row, "times");
        ck_assert_int_eq(schedule_init(&s, &args, NULL), 0);
        ck_assert_uint_eq(s.len, json_array_size(times));
        for (j = 0; j < s.len; j++)
            ck_assert_double_eq(s.times_s[j], json_real_value(json_array_get(times, j)));
        schedule_release(&s);
    }
    ck_assert_uint_eq(i, 4);
}
END_TEST

START_TEST(test_schedule_infinite_rate_or_burstiness)
{
    struct schedule s;
    struct schedule_args args = {.num_requests = 4, .request_rate = INFINITY, .burstiness = 1};
    ck_assert_int_eq(schedule_init(&s, &args, NULL), 0);
    for (size_t i = 0; i < 4; i++)
        ck_assert_double_eq(s.times_s[i], 0);
    schedule_release(&s);
    args.request_rate = 2;
    args.burstiness = INFINITY;
    ck_assert_int_eq(schedule_init(&s, &args, NULL), 0);
    for (size_t i = 0; i < 4; i++)
        ck_assert_double_eq_tol(s.times_s[i], 0.5 * (double)(i + 1), 1e-12);
    schedule_release(&s);
}
END_TEST

/* Seed 0: the first draws of numpy.random.default_rng(0).integers(0, v). */
static const struct {
    int64_t vocab_size;
    int32_t offsets[6];
} offset_cases[] = {
    {256000, {217759, 163062, 130850, 69065, 78804, 10489}},
    {128000, {108879, 81531, 65425, 34532, 39402, 5244}},
    {151643, {128991, 96590, 77510, 40911, 46680, 6213}},
};

START_TEST(test_dataset_ids_count_up_from_numpys_offsets)
{
    struct dataset d;
    struct dataset_random_args args = {.num_prompts = 300, .input_len = 100, .output_len = 600,
                                       .vocab_size = offset_cases[_i].vocab_size};
    ck_assert_int_eq(dataset_init_random(&d, &args, NULL), 0);
    ck_assert_uint_eq(d.len, 300);
    for (size_t i = 0; i < 6; i++) {
        const struct prompt *p = &d.prompts[i];
        ck_assert_uint_eq(p->len, 100);
        ck_assert_int_eq(p->output_len, 600);
        for (size_t j = 0; j < p->len; j++)
            ck_assert_int_eq(p->ids[j], (offset_cases[_i].offsets[i] + (int64_t)(i + j)) %
                                            args.vocab_size);
    }
    dataset_release(&d);
}
END_TEST

START_TEST(test_dataset_lengths_come_before_offsets)
{
    static const size_t in[] = {134, 113, 100, 76, 80};
    static const int64_t out[] = {368, 305, 361, 519, 365};
    static const int32_t offsets[] = {149849, 229581, 163203, 149329, 125072};
    struct dataset d;
    struct dataset_random_args args = {.num_prompts = 300, .input_len = 99, .output_len = 600,
                                       .range_ratio = 0.5, .vocab_size = 256000};
    ck_assert_int_eq(dataset_init_random(&d, &args, NULL), 0);
    for (size_t i = 0; i < 5; i++) {
        ck_assert_uint_eq(d.prompts[i].len, in[i]);
        ck_assert_int_eq(d.prompts[i].output_len, out[i]);
        ck_assert_int_eq(d.prompts[i].ids[0], offsets[i] + (int32_t)i);
    }
    dataset_release(&d);
}
END_TEST

/* With a tokenizer prompts are texts of the wanted number of tokens. */
START_TEST(test_dataset_texts_have_the_wanted_length)
{
    const char *dir = getenv("srcdir");
    char path[512];
    struct dataset d;
    struct tokenizer *tok;
    struct error err = {0};
    snprintf(path, sizeof path, "%s/share/demo", dir != NULL ? dir : ".");
    struct dataset_random_args args = {.num_prompts = 40, .input_len = 50, .output_len = 6,
                                       .tokenizer_dir = path};
    ck_assert_int_eq(tokenizer_load(path, &tok, &err), 0);
    ck_assert_msg(dataset_init_random(&d, &args, &err) == 0, "%s", err.text);
    size_t num_exact = 0;
    for (size_t i = 0; i < d.len; i++) {
        struct token_ids ids = {0};
        const struct prompt *p = &d.prompts[i];
        ck_assert_ptr_nonnull(p->text);
        ck_assert_int_eq(tokenizer_encode(tok, p->text, p->text_bytes, false, true, 0, &ids,
                                          &err), 0);
        ck_assert_uint_eq(ids.len, p->len);
        num_exact += p->len == 50 || p->len == 49; /* 49: a BOS comes before it */
        token_ids_release(&ids);
    }
    ck_assert_uint_ge(num_exact, 20); /* ten corrections do not always do */
    dataset_release(&d);
    tokenizer_free(tok);
}
END_TEST

static Suite *
make_suite(void)
{
    Suite *suite = suite_create("loadgen_random");
    TCase *tcase = tcase_create("loadgen_random");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, test_legacy_uniform_equals_numpy);
    tcase_add_test(tcase, test_legacy_gamma_equals_numpy_for_all_shapes);
    tcase_add_test(tcase, test_generator_integers_equal_numpy);
    tcase_add_test(tcase, test_schedule_equals_numpy_to_the_bit);
    tcase_add_test(tcase, test_schedule_infinite_rate_or_burstiness);
    tcase_add_loop_test(tcase, test_dataset_ids_count_up_from_numpys_offsets, 0,
                        ARRAY_SIZE(offset_cases));
    tcase_add_test(tcase, test_dataset_lengths_come_before_offsets);
    tcase_add_test(tcase, test_dataset_texts_have_the_wanted_length);
    suite_add_tcase(suite, tcase);
    return suite;
}

TEST_MAIN(make_suite)
