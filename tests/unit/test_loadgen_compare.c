/* SPDX-License-Identifier: Apache-2.0 */
/* Saved results side by side, a sweep's rates, and the search for a rate. */
#include "loadgen/compare.h"
#include "loadgen/find_rate.h"
#include "loadgen/sweep.h"
#include "tests/unit/main.h"
#include "util/rng.h"

#include <check.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

static struct error error;
static struct buf text;
static char path_a[64], path_b[64];

static void
write_file(char *path, const char *content)
{
    strcpy(path, "/tmp/test_loadgen_compare.XXXXXX");
    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, content, strlen(content)), (ssize_t)strlen(content));
    close(fd);
}

static void
setup(void)
{
    text = (struct buf){0};
    path_a[0] = path_b[0] = '\0';
}

static void
teardown(void)
{
    buf_release(&text);
    if (path_a[0] != '\0')
        unlink(path_a);
    if (path_b[0] != '\0')
        unlink(path_b);
}

/* ---- compare ---- */

static void
compare_files(const char *a, const char *b, bool markdown, bool *ret_regressed)
{
    struct result_set set_a, set_b;
    write_file(path_a, a);
    write_file(path_b, b);
    ck_assert_int_eq(result_set_read(&set_a, path_a, &error), 0);
    ck_assert_int_eq(result_set_read(&set_b, path_b, &error), 0);
    ck_assert_int_eq(compare_print(&set_a, &set_b, markdown, &text, &error), 0);
    ck_assert_int_eq(compare_regressed(&set_a, &set_b, 10, ret_regressed, &text, &error), 0);
    result_set_release(&set_a);
    result_set_release(&set_b);
}

START_TEST(test_compare_single_runs_claims_nothing)
{
    bool regressed;
    compare_files("{\"output_throughput\": 100, \"p99_ttft_ms\": 50, \"std_ttft_ms\": 1}",
                  "{\"output_throughput\": 95.0, \"p99_ttft_ms\": 40}", false, &regressed);
    ck_assert_ptr_nonnull(strstr(buf_bytes(&text), "\noutput_throughput            100.00"
                                 "                 95.00                  -5.0 %    -\n"));
    ck_assert_ptr_nonnull(strstr(buf_bytes(&text), "-20.0 %   -\n"));
    ck_assert_ptr_null(strstr(buf_bytes(&text), "std_ttft_ms"));
    ck_assert_ptr_null(strstr(buf_bytes(&text), "WARNING"));
    ck_assert(!regressed);
}
END_TEST

START_TEST(test_compare_several_runs_tests_the_difference)
{
    bool regressed;
    compare_files("{\"output_throughput\": 100, \"median_tpot_ms\": 10}\n"
                  "{\"output_throughput\": 101, \"median_tpot_ms\": 30}\n"
                  "{\"output_throughput\": 99, \"median_tpot_ms\": 20}",
                  "{\"output_throughput\": 80, \"median_tpot_ms\": 11}\n\n"
                  "{\"output_throughput\": 81, \"median_tpot_ms\": 29}", false, &regressed);
    const char *said = buf_bytes(&text);
    ck_assert_ptr_nonnull(strstr(said, "A (n=3)"));
    ck_assert_ptr_nonnull(strstr(said, "100.00 \xc2\xb1 2.48"));
    ck_assert_ptr_nonnull(strstr(said, "-19.5 %   worse\n"));
    ck_assert_ptr_nonnull(strstr(said, "+0.0 %    same\n"));
    ck_assert_ptr_nonnull(strstr(said, "REGRESSION: output_throughput is worse by 19.5 %"));
    ck_assert(regressed);
}
END_TEST

START_TEST(test_compare_warns_of_other_settings)
{
    bool regressed;
    compare_files("{\"model_id\": \"a\", \"request_rate\": 1.0, \"failed\": 0}",
                  "{\"model_id\": \"b\", \"request_rate\": \"inf\", \"failed\": 0}", true,
                  &regressed);
    ck_assert_ptr_nonnull(strstr(buf_bytes(&text), "WARNING: the settings differ: model_id is "
                                                   "\"a\" in A and \"b\" in B\n"));
    ck_assert_ptr_nonnull(strstr(buf_bytes(&text), "request_rate is 1.0 in A and \"inf\" in B"));
    ck_assert_ptr_nonnull(strstr(buf_bytes(&text), "| failed | 0.00 | 0.00 | +0.0 % | - |\n"));
}
END_TEST

START_TEST(test_compare_offline_results)
{
    bool regressed;
    compare_files("{\"elapsed_time\": 10.0, \"num_requests\": 300, \"tokens_per_second\": 100}",
                  "{\"elapsed_time\": 12.5, \"num_requests\": 300, \"tokens_per_second\": 80}",
                  true, &regressed);
    ck_assert_ptr_nonnull(strstr(buf_bytes(&text), "| elapsed_time | 10.00 | 12.50 | +25.0 % |"));
    ck_assert_ptr_nonnull(strstr(buf_bytes(&text), "| tokens_per_second | 100.00 | 80.00 |"));
    ck_assert_ptr_null(strstr(buf_bytes(&text), "WARNING"));
    ck_assert(regressed);
}
END_TEST

START_TEST(test_compare_results_of_different_kinds)
{
    struct result_set a, b;
    write_file(path_a, "{\"duration\": 1.0, \"mean_ttft_ms\": 2.0}");
    write_file(path_b, "{\"elapsed_time\": 1.0}");
    ck_assert_int_eq(result_set_read(&a, path_a, &error), 0);
    ck_assert_int_eq(result_set_read(&b, path_b, &error), 0);
    ck_assert_int_eq(compare_print(&a, &b, false, &text, &error), ERR_INVALID);
    ck_assert_ptr_nonnull(strstr(error.text, "no figure to compare"));
    result_set_release(&a);
    result_set_release(&b);
}
END_TEST

START_TEST(test_result_set_refuses_what_is_no_result)
{
    static const char *const bad[] = {"", " \n", "[]", "{\"a\": 1}\n{\"a\": ", "{\"a\": 1} x", "3"};
    struct result_set s;
    ck_assert_int_eq(result_set_read(&s, "/no/such/file", &error), ERR_NOTFOUND);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        write_file(path_a, bad[i]);
        ck_assert_msg(result_set_read(&s, path_a, &error) < 0, "%s", bad[i]);
        ck_assert_ptr_nonnull(strstr(error.text, path_a));
        unlink(path_a);
    }
}
END_TEST

/* ---- sweep ---- */

START_TEST(test_sweep_parse_reads_lists_and_ranges)
{
    static const struct {
        const char *text;
        size_t num;
        double rates[5];
    } cases[] = {
        {"1,2.5,inf", 3, {1, 2.5, INFINITY}},
        {"1:3:1", 3, {1, 2, 3}},
        {"0.1:0.3:0.1", 3, {0.1, 0.2, 0.3}},
        {"1:16:*2", 5, {1, 2, 4, 8, 16}},
        {"7", 1, {7}},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        double *rates;
        size_t num;
        ck_assert_int_eq(sweep_parse(cases[i].text, &rates, &num, &error), 0);
        ck_assert_uint_eq(num, cases[i].num);
        for (size_t k = 0; k < num; k++)
            ck_assert(rates[k] == cases[i].rates[k] ||
                      fabs(rates[k] - cases[i].rates[k]) < 1e-12);
        free(rates);
    }
}
END_TEST

START_TEST(test_sweep_parse_refuses_the_rest)
{
    static const char *const bad[] = {"", ",", "1,", "0", "-1", "x", "1:2", "1:2:0", "2:1:1",
                                      "1:2:*1", "1:inf:1", "1:1e9:1", "1:2:1x", "nan"};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        double *rates;
        size_t num;
        ck_assert_msg(sweep_parse(bad[i], &rates, &num, &error) < 0, "%s", bad[i]);
        ck_assert_ptr_nonnull(strstr(error.text, "--sweep"));
    }
}
END_TEST

/* ---- find-rate ---- */

START_TEST(test_slo_parse_reads_limits)
{
    struct slo s;
    static const char *const bad[] = {"",         "ttft",       "ttft:",        "x:1",
                                      "ttft:0",   "ttft:1@",    "ttft:1@p",     "ttft:1@p101",
                                      "ttft:1@x", "ttft:1,",    "ttft:1@mean9", "ttft:1x"};
    ck_assert_int_eq(slo_parse(&s, "ttft:200,tpot:50@mean,itl:3.5@median,e2el:9@p99.9", &error),
                     0);
    ck_assert_uint_eq(s.len, 4);
    ck_assert_int_eq(s.limits[0].metric, METRIC_TTFT);
    ck_assert_double_eq(s.limits[0].percent, 99);
    ck_assert(isnan(s.limits[1].percent));
    ck_assert_double_eq(s.limits[2].limit_ms, 3.5);
    ck_assert_double_eq(s.limits[2].percent, 50);
    ck_assert_double_eq(s.limits[3].percent, 99.9);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        ck_assert_msg(slo_parse(&s, bad[i], &error) < 0, "%s", bad[i]);
        ck_assert_ptr_nonnull(strstr(error.text, "--find-rate"));
    }
}
END_TEST

START_TEST(test_slo_check_names_what_is_broken)
{
    struct slo s;
    struct metrics m = {.num_succeeded = 10, .duration_s = 10};
    ck_assert_int_eq(slo_parse(&s, "ttft:200@mean", &error), 0);
    samples_record(&m.values_s[METRIC_TTFT], 0.1);
    samples_record(&m.values_s[METRIC_TTFT], 0.3);
    ck_assert(slo_check(&s, 1, &m, &text)); /* the limit itself is kept */
    ck_assert_str_eq(buf_bytes(&text), "");
    ck_assert(!slo_check(&s, 2, &m, &text)); /* asked for in 5 s, done in 10 */
    ck_assert_ptr_nonnull(strstr(buf_bytes(&text), "were answered"));
    buf_clear(&text);
    m.num_failed = 1;
    samples_record(&m.values_s[METRIC_TTFT], 0.3);
    ck_assert(!slo_check(&s, 1, &m, &text));
    ck_assert_ptr_nonnull(strstr(buf_bytes(&text), "ttft is 233.33 ms, above 200;"));
    ck_assert_ptr_nonnull(strstr(buf_bytes(&text), "1 requests failed;"));
    metrics_release(&m);
}
END_TEST

/* A server that keeps its limits up to `capacity`, but for chance. */
static double
search(double capacity, double chance, size_t *ret_runs)
{
    struct find_rate f;
    find_rate_init(&f);
    for (uint64_t i = 0; !f.done && i < 1000; i++) {
        bool unlucky = (double)(rng_mix64(i) >> 11) * 0x1p-53 < chance;
        find_rate_report(&f, f.rate <= capacity && !unlucky);
    }
    ck_assert(f.done);
    *ret_runs = f.num_runs;
    return f.low;
}

START_TEST(test_find_rate_comes_within_five_percent)
{
    static const double capacities[] = {0.01, 0.3, 1, 7, 999, 100000};
    size_t num_runs;
    for (size_t i = 0; i < ARRAY_SIZE(capacities); i++) {
        double found = search(capacities[i], 0, &num_runs);
        ck_assert_double_le(found, capacities[i]);
        ck_assert_double_ge(found, capacities[i] / 1.05);
        ck_assert_uint_le(num_runs, 40);
        ck_assert_double_ge(search(capacities[i], 0.05, &num_runs), capacities[i] / 1.5);
    }
    ck_assert_double_eq(search(0, 0, &num_runs), 0);
    ck_assert(isinf(search(INFINITY, 0, &num_runs)));
}
END_TEST

static Suite *
make_suite(void)
{
    Suite *suite = suite_create("loadgen_compare");
    TCase *tcase = tcase_create("loadgen_compare");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, test_compare_single_runs_claims_nothing);
    tcase_add_test(tcase, test_compare_several_runs_tests_the_difference);
    tcase_add_test(tcase, test_compare_warns_of_other_settings);
    tcase_add_test(tcase, test_compare_offline_results);
    tcase_add_test(tcase, test_compare_results_of_different_kinds);
    tcase_add_test(tcase, test_result_set_refuses_what_is_no_result);
    tcase_add_test(tcase, test_sweep_parse_reads_lists_and_ranges);
    tcase_add_test(tcase, test_sweep_parse_refuses_the_rest);
    tcase_add_test(tcase, test_slo_parse_reads_limits);
    tcase_add_test(tcase, test_slo_check_names_what_is_broken);
    tcase_add_test(tcase, test_find_rate_comes_within_five_percent);
    suite_add_tcase(suite, tcase);
    return suite;
}

TEST_MAIN(make_suite)
