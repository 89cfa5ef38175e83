/* SPDX-License-Identifier: Apache-2.0 */
/* numpy's streams and arrivals, against what numpy gave
 * (tools/record-numpy.py). */
#include "loadgen/numpy_random.h"
#include "loadgen/schedule.h"
#include "tests/unit/main.h"

#include <check.h>
#include <jansson.h>
#include <math.h>
#include <string.h>

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
        struct numpy_legacy legacy;
        struct schedule_args args = {
            .num_requests = (size_t)real(row, "count"),
            .request_rate = real(row, "rate"),
            .burstiness = real(row, "burstiness"),
            .ramp_up = RAMP_UP_NONE,
        };
        numpy_legacy_seed(&legacy, (uint32_t)real(row, "seed"));
        const json_t *times = json_object_get(row, "times");
        ck_assert_int_eq(schedule_init(&s, &args, &legacy, NULL), 0);
        ck_assert_uint_eq(s.len, json_array_size(times));
        for (j = 0; j < s.len; j++)
            ck_assert_double_eq(s.times_s[j], json_real_value(json_array_get(times, j)));
        schedule_release(&s);
    }
    ck_assert_uint_eq(i, 4);
}
END_TEST

/* The exponential one is as exact as pow() is. */
START_TEST(test_schedule_ramp_up_equals_numpy)
{
    size_t i;
    json_t *row;
    json_array_foreach(json_object_get(record, "ramp_ups"), i, row) {
        struct schedule s;
        struct numpy_legacy legacy;
        const json_t *burstiness = json_object_get(row, "burstiness");
        const json_t *rates = json_object_get(row, "rates"), *times = json_object_get(row, "times");
        bool is_linear = strcmp(json_string_value(json_object_get(row, "strategy")), "linear") == 0;
        double tolerance = is_linear ? 0 : 1e-12;
        struct schedule_args args = {
            .num_requests = (size_t)real(row, "count"),
            .request_rate = INFINITY,
            .burstiness = json_is_null(burstiness) ? INFINITY : json_number_value(burstiness),
            .ramp_up = is_linear ? RAMP_UP_LINEAR : RAMP_UP_EXPONENTIAL,
            .ramp_up_start_per_s = real(row, "start"),
            .ramp_up_end_per_s = real(row, "end"),
        };
        numpy_legacy_seed(&legacy, (uint32_t)real(row, "seed"));
        ck_assert_int_eq(schedule_init(&s, &args, &legacy, NULL), 0);
        ck_assert_uint_eq(s.len, json_array_size(times));
        for (size_t j = 0; j < s.len; j++) {
            double rate = json_number_value(json_array_get(rates, j));
            double time_s = json_real_value(json_array_get(times, j));
            ck_assert_double_le(fabs(schedule_rate(&args, j) - rate), tolerance * rate);
            ck_assert_double_le(fabs(s.times_s[j] - time_s), tolerance * time_s);
        }
        schedule_release(&s);
    }
    ck_assert_uint_eq(i, 9);
}
END_TEST

START_TEST(test_schedule_infinite_rate_or_burstiness)
{
    struct schedule s;
    struct numpy_legacy legacy;
    struct schedule_args args = {.num_requests = 4, .request_rate = INFINITY, .burstiness = 1,
                                 .ramp_up = RAMP_UP_NONE};
    numpy_legacy_seed(&legacy, 0);
    ck_assert_int_eq(schedule_init(&s, &args, &legacy, NULL), 0);
    for (size_t i = 0; i < 4; i++)
        ck_assert_double_eq(s.times_s[i], 0);
    schedule_release(&s);
    args.request_rate = 2;
    args.burstiness = INFINITY;
    ck_assert_int_eq(schedule_init(&s, &args, &legacy, NULL), 0);
    for (size_t i = 0; i < 4; i++)
        ck_assert_double_eq_tol(s.times_s[i], 0.5 * (double)(i + 1), 1e-12);
    schedule_release(&s);
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
    tcase_add_test(tcase, test_schedule_ramp_up_equals_numpy);
    tcase_add_test(tcase, test_schedule_infinite_rate_or_burstiness);
    suite_add_tcase(suite, tcase);
    return suite;
}

TEST_MAIN(make_suite)
