/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/main.h"
#include "util/hist.h"
#include "util/samples.h"

#include <check.h>
#include <jansson.h>
#include <math.h>

static const double bounds[] = {0.5, 1, 2.5, 10};
static struct hist hist;

static void
setup(void)
{
    ck_assert_int_eq(hist_init(&hist, bounds, ARRAY_SIZE(bounds)), 0);
}

static void
teardown(void)
{
    hist_release(&hist);
}

START_TEST(test_record_bounds_are_inclusive)
{
    static const double values[] = {-1, 0, 0.5, 0.500001, 1, 2, 2.5, 10, 11, 1e300};
    for (size_t i = 0; i < ARRAY_SIZE(values); i++)
        hist_record(&hist, values[i]);
    hist_record(&hist, NAN);
    hist_record(&hist, INFINITY);
    ck_assert_uint_eq(hist.count, 10);
    ck_assert_uint_eq(hist_cumulative(&hist, 0), 3);
    ck_assert_uint_eq(hist_cumulative(&hist, 1), 5);
    ck_assert_uint_eq(hist_cumulative(&hist, 2), 7);
    ck_assert_uint_eq(hist_cumulative(&hist, 3), 8);
    ck_assert_uint_eq(hist_cumulative(&hist, 4), 10);
}
END_TEST

START_TEST(test_quantile_is_linear_within_a_bucket)
{
    ck_assert(isnan(hist_quantile(&hist, 0.5)));
    hist_record_n(&hist, 2, 4);
    ck_assert_double_eq_tol(hist_quantile(&hist, 0.5), 1.75, 1e-12);
    ck_assert_double_eq_tol(hist_quantile(&hist, 1), 2.5, 1e-12);
    hist_record_n(&hist, 0.1, 4);
    ck_assert_double_eq_tol(hist_quantile(&hist, 0.25), 0.25, 1e-12);
    hist_record_n(&hist, 99, 100);
    ck_assert_double_eq(hist_quantile(&hist, 0.99), 10);
}
END_TEST

START_TEST(test_print_is_prometheus_text)
{
    struct buf b = {0};
    hist_record(&hist, 0.25);
    hist_record(&hist, 3);
    hist_print(&hist, "x_seconds", "model_name=\"m\"", &b);
    ck_assert_str_eq(buf_bytes(&b), "x_seconds_bucket{model_name=\"m\",le=\"0.5\"} 1\n"
                                    "x_seconds_bucket{model_name=\"m\",le=\"1.0\"} 1\n"
                                    "x_seconds_bucket{model_name=\"m\",le=\"2.5\"} 1\n"
                                    "x_seconds_bucket{model_name=\"m\",le=\"10.0\"} 2\n"
                                    "x_seconds_bucket{model_name=\"m\",le=\"+Inf\"} 2\n"
                                    "x_seconds_sum{model_name=\"m\"} 3.25\n"
                                    "x_seconds_count{model_name=\"m\"} 2\n");
    buf_clear(&b);
    hist_print(&hist, "y", "", &b);
    ck_assert_ptr_nonnull(strstr(buf_bytes(&b), "y_bucket{le=\"+Inf\"} 2\ny_sum 3.25\n"
                                                "y_count 2\n"));
    buf_release(&b);
}
END_TEST

START_TEST(test_samples_empty_gives_zero)
{
    struct samples s = {0};
    ck_assert_double_eq(samples_mean(&s), 0);
    ck_assert_double_eq(samples_std(&s), 0);
    ck_assert_double_eq(samples_median(&s), 0);
    ck_assert_double_eq(samples_percentile(&s, 99), 0);
    samples_release(&s);
}
END_TEST

/* Recorded by tools/record-numpy.py. */
START_TEST(test_samples_equal_numpy_to_the_bit)
{
    const char *dir = getenv("srcdir");
    char path[512];
    snprintf(path, sizeof path, "%s/tests/data/loadgen/numpy.json", dir != NULL ? dir : ".");
    json_t *record = json_load_file(path, 0, NULL);
    ck_assert_ptr_nonnull(record);
    size_t i, j;
    json_t *row, *pair;
    json_array_foreach(json_object_get(record, "stats"), i, row) {
        struct samples s = {0};
        json_int_t n = json_integer_value(json_object_get(row, "n"));
        for (json_int_t k = 0; k < n; k++)
            samples_record(&s, fmod((double)k * 0.7310585786300049, 1.0));
        ck_assert_double_eq(samples_mean(&s), json_real_value(json_object_get(row, "mean")));
        ck_assert_double_eq(samples_std(&s), json_real_value(json_object_get(row, "std")));
        ck_assert_double_eq(samples_median(&s), json_real_value(json_object_get(row, "median")));
        json_array_foreach(json_object_get(row, "percentiles"), j, pair) {
            double p = json_number_value(json_array_get(pair, 0));
            ck_assert_double_eq(samples_percentile(&s, p),
                                json_real_value(json_array_get(pair, 1)));
        }
        samples_release(&s);
    }
    ck_assert_uint_eq(i, 10);
    json_decref(record);
}
END_TEST

static Suite *
make_suite(void)
{
    Suite *suite = suite_create("hist");
    TCase *tcase = tcase_create("hist");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, test_record_bounds_are_inclusive);
    tcase_add_test(tcase, test_quantile_is_linear_within_a_bucket);
    tcase_add_test(tcase, test_print_is_prometheus_text);
    tcase_add_test(tcase, test_samples_empty_gives_zero);
    tcase_add_test(tcase, test_samples_equal_numpy_to_the_bit);
    suite_add_tcase(suite, tcase);
    return suite;
}

TEST_MAIN(make_suite)
