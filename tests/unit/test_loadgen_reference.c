/* SPDX-License-Identifier: Apache-2.0 */
/* The layout of --format reference, of online and offline results. */
#include "loadgen/reference.h"
#include "tests/unit/main.h"

#include <check.h>

static struct result_set
one_run(const char *text)
{
    struct result_set s = {0};
    json_t *run = json_loads(text, 0, NULL);
    ck_assert_ptr_nonnull(run);
    ck_assert_int_eq(result_set_add(&s, run), 0);
    return s;
}

static void
check_table(struct result_set *sets, size_t num, const char *wanted)
{
    struct buf text = {0};
    reference_print(sets, num, &text);
    ck_assert_str_eq(buf_bytes(&text), wanted);
    buf_release(&text);
    for (size_t i = 0; i < num; i++)
        result_set_release(&sets[i]);
}

#define RESOURCES \
    "{\"resources\": {\"cpu_percent\": {\"mean\": 1.44}, \"ram_percent\": {\"mean\": 5.5}, " \
    "\"gpu_memory_percent\": {\"mean\": 90.02}, \"gpu_utilization_percent\": {\"mean\": 83.4}}"

START_TEST(test_online_columns)
{
    struct result_set sets[] = {
        one_run("{\"model_id\": \"google/gemma-2-9b-it\", \"duration\": 48.6, "
                "\"request_throughput\": 5.99, \"output_throughput\": 3594.2, "
                "\"total_token_throughput\": 4193.4, \"loadgen\": " RESOURCES "}}"),
        one_run("{\"model_id\": \"a|b/\", \"duration\": 119.6, \"request_throughput\": 0.5, "
                "\"output_throughput\": 300, \"total_token_throughput\": 350, "
                "\"loadgen\": {\"resources\": null}}"),
    };
    check_table(sets, 2,
                "| online | gemma-2-9b-it | a b/ |\n"
                "| --- | --- | --- |\n"
                "| CPU / RAM | 1.4 / 5.5 % | n/a / n/a |\n"
                "| GPU memory / GPU util | 90.0 % / 83 % | n/a / n/a |\n"
                "| req/s | 5.99 | 0.50 |\n"
                "| duration | 49 s | 2 m 0 s |\n"
                "| input / output / total tok/s | 599 / 3594 / 4193 | 50 / 300 / 350 |\n");
}
END_TEST

START_TEST(test_offline_column)
{
    struct result_set sets[] = {
        one_run("{\"model_id\": \"m\", \"elapsed_time\": 114.2, \"num_requests\": 300, "
                "\"total_num_tokens\": 210000, \"requests_per_second\": 2.627, "
                "\"tokens_per_second\": 1838.9, \"llmd_bench\": " RESOURCES
                ", \"output_throughput\": 1576.2}}"),
    };
    check_table(sets, 1,
                "| offline | m |\n"
                "| --- | --- |\n"
                "| CPU / RAM | 1.4 / 5.5 % |\n"
                "| GPU memory / GPU util | 90.0 % / 83 % |\n"
                "| req/s | 2.63 |\n"
                "| duration | 1 m 54 s |\n"
                "| input / output / total tok/s | 263 / 1576 / 1839 |\n");
}
END_TEST

#define OFFLINE(model) "{\"model_id\": \"" model "\", \"elapsed_time\": 10, " \
    "\"requests_per_second\": 30, \"tokens_per_second\": 400, " \
    "\"llmd_bench\": {\"output_throughput\": 300}}"
#define ONLINE(model) "{\"model_id\": \"" model "\", \"duration\": 20, " \
    "\"request_throughput\": 15, \"output_throughput\": 150, \"total_token_throughput\": 200}"

/* In whatever order they are given. */
START_TEST(test_each_kind_has_its_table)
{
    struct result_set sets[] = {one_run(ONLINE("a")), one_run(OFFLINE("a")),
                                one_run(OFFLINE("b")), one_run(ONLINE("b"))};
    check_table(sets, 4,
                "| offline | a | b |\n"
                "| --- | --- | --- |\n"
                "| CPU / RAM | n/a / n/a | n/a / n/a |\n"
                "| GPU memory / GPU util | n/a / n/a | n/a / n/a |\n"
                "| req/s | 30.00 | 30.00 |\n"
                "| duration | 10 s | 10 s |\n"
                "| input / output / total tok/s | 100 / 300 / 400 | 100 / 300 / 400 |\n"
                "\n"
                "| online | a | b |\n"
                "| --- | --- | --- |\n"
                "| CPU / RAM | n/a / n/a | n/a / n/a |\n"
                "| GPU memory / GPU util | n/a / n/a | n/a / n/a |\n"
                "| req/s | 15.00 | 15.00 |\n"
                "| duration | 20 s | 20 s |\n"
                "| input / output / total tok/s | 50 / 150 / 200 | 50 / 150 / 200 |\n");
}
END_TEST

/* A result of vLLM's own client has no resources. */
START_TEST(test_what_is_missing)
{
    struct result_set sets[] = {one_run("{}")};
    check_table(sets, 1,
                "| online | n/a |\n"
                "| --- | --- |\n"
                "| CPU / RAM | n/a / n/a |\n"
                "| GPU memory / GPU util | n/a / n/a |\n"
                "| req/s | n/a |\n"
                "| duration | n/a |\n"
                "| input / output / total tok/s | n/a / n/a / n/a |\n");
}
END_TEST

static Suite *
make_suite(void)
{
    Suite *suite = suite_create("loadgen_reference");
    TCase *tcase = tcase_create("loadgen_reference");
    tcase_add_test(tcase, test_online_columns);
    tcase_add_test(tcase, test_offline_column);
    tcase_add_test(tcase, test_each_kind_has_its_table);
    tcase_add_test(tcase, test_what_is_missing);
    suite_add_tcase(suite, tcase);
    return suite;
}

TEST_MAIN(make_suite)
