/* SPDX-License-Identifier: Apache-2.0 */
/* Options, figures, the table byte for byte, and the JSON of a made-up run. */
#include "loadgen/config.h"
#include "loadgen/metrics.h"
#include "loadgen/payload.h"
#include "loadgen/report.h"
#include "tests/unit/main.h"

#include <check.h>
#include <jansson.h>
#include <math.h>
#include <string.h>

#define S 1000000000u
#define MS 1000000u

static struct config config;
static struct reply replies[4];
static struct metrics metrics;
static struct client_outcome outcome;
static struct report report;
static struct error error;
static struct buf text;

/* One answer of `n` token events, `gap_ms` apart. */
static void
make_reply(struct reply *r, unsigned start_ms, unsigned ttft_ms, unsigned n, unsigned gap_ms)
{
    char event[] = "data: {\"choices\": [{\"text\": \"x\"}]}\n\n";
    reply_init(r, REPLY_COMPLETION, 100);
    r->due_ns = r->ready_ns = S + (uint64_t)start_ms * MS - 2 * MS;
    reply_start(r, S + (uint64_t)start_ms * MS);
    for (unsigned i = 0; i < n; i++)
        reply_feed(r, 200, event, strlen(event),
                   S + ((uint64_t)start_ms + ttft_ms + i * gap_ms) * MS);
    reply_finish(r, 200, n == 0 ? "refused" : NULL, 0);
}

static void
setup(void)
{
    ck_assert_int_eq(option_defaults(&config_table, &config, &error), 0);
    ck_assert_int_eq(config_settle(&config, &error), 0);
    make_reply(&replies[0], 0, 50, 11, 10);
    make_reply(&replies[1], 500, 100, 1, 0);
    make_reply(&replies[2], 800, 0, 0, 0);
    make_reply(&replies[3], 1000, 60, 101, 20);
    outcome = (struct client_outcome){.num_sent = 4, .start_ns = S, .duration_s = 4, .cpu_s = 1};
    struct metrics_args args = {replies, ARRAY_SIZE(replies), &outcome, &config};
    metrics_init(&metrics, &args);
    report = (struct report){.config = &config, .model = "org/model", .metrics = &metrics,
                             .outcome = &outcome,
                             .replies = replies, .num_replies = ARRAY_SIZE(replies)};
    report.date = (struct tm){.tm_year = 126, .tm_mon = 0, .tm_mday = 2, .tm_hour = 3,
                              .tm_min = 4, .tm_sec = 5};
    text = (struct buf){0};
}

static void
teardown(void)
{
    metrics_release(&metrics);
    for (size_t i = 0; i < ARRAY_SIZE(replies); i++)
        reply_release(&replies[i]);
    option_release(&config_table, &config);
    buf_release(&text);
}

static void
set(const char *name, const char *value)
{
    ck_assert_int_eq(option_set(&config_table, &config, name, value, &error), 0);
}

static void
read_options(char **argv, int argc)
{
    size_t num_words;
    int e = option_read_argv(&config_table, &config, argc, argv, NULL, 0, &num_words, &error);
    ck_assert_msg(e == 0, "%s", error.text);
}

START_TEST(test_metrics_count_only_successes)
{
    ck_assert_uint_eq(metrics.num_succeeded, 3);
    ck_assert_uint_eq(metrics.num_failed, 1);
    ck_assert_int_eq(metrics.input_tokens, 300);
    ck_assert_int_eq(metrics.output_tokens, 113);
    ck_assert_double_eq(metrics.requests_per_s, 0.75);
    ck_assert_uint_eq(metrics.values_s[METRIC_TTFT].len, 3);
    ck_assert_uint_eq(metrics.values_s[METRIC_TPOT].len, 2); /* one token has none */
    ck_assert_uint_eq(metrics.values_s[METRIC_ITL].len, 110);
    ck_assert_double_eq_tol(samples_mean(&metrics.values_s[METRIC_TPOT]), 0.015, 1e-9);
    ck_assert_double_eq_tol(samples_mean(&metrics.values_s[METRIC_QUEUE]), 0.002, 1e-9);
    /* Second 1 has 47 messages of the last one, second 2 has 50. */
    ck_assert_double_eq(metrics.max_output_tokens_per_s, 50);
    ck_assert_int_eq(metrics.max_concurrent_requests, 2);
}
END_TEST

START_TEST(test_table_is_vllms_byte_for_byte)
{
    set("request-rate", "10");
    set("percentile-metrics", "e2el,ttft,tpot,itl");
    set("metric-percentiles", "50,99.9");
    report_table(&report, &text);
    ck_assert_str_eq(buf_bytes(&text),
                     "============ Serving Benchmark Result ============\n"
                     "Successful requests:                     3         \n"
                     "Failed requests:                         1         \n"
                     "Request rate configured (RPS):           10.00     \n"
                     "Benchmark duration (s):                  4.00      \n"
                     "Total input tokens:                      300       \n"
                     "Total generated tokens:                  113       \n"
                     "Request throughput (req/s):              0.75      \n"
                     "Output token throughput (tok/s):         28.25     \n"
                     "Peak output token throughput (tok/s):    50.00     \n"
                     "Peak concurrent requests:                2.00      \n"
                     "Total token throughput (tok/s):          103.25    \n"
                     "---------------Time to First Token----------------\n"
                     "Mean TTFT (ms):                          70.00     \n"
                     "Median TTFT (ms):                        60.00     \n"
                     "P50 TTFT (ms):                           60.00     \n"
                     "P99.9 TTFT (ms):                         99.92     \n"
                     "-----Time per Output Token (excl. 1st token)------\n"
                     "Mean TPOT (ms):                          15.00     \n"
                     "Median TPOT (ms):                        15.00     \n"
                     "P50 TPOT (ms):                           15.00     \n"
                     "P99.9 TPOT (ms):                         19.99     \n"
                     "---------------Inter-token Latency----------------\n"
                     "Mean ITL (ms):                           19.09     \n"
                     "Median ITL (ms):                         20.00     \n"
                     "P50 ITL (ms):                            20.00     \n"
                     "P99.9 ITL (ms):                          20.00     \n"
                     "----------------End-to-end Latency----------------\n"
                     "Mean E2EL (ms):                          770.00    \n"
                     "Median E2EL (ms):                        150.00    \n"
                     "P50 E2EL (ms):                           150.00    \n"
                     "P99.9 E2EL (ms):                         2056.18   \n"
                     "==================================================\n");
}
END_TEST

START_TEST(test_table_of_vllm_0_8)
{
    set("format", "vllm-0.8");
    set("request-rate", "10");
    set("max-concurrency", "4");
    report_table(&report, &text);
    ck_assert_str_eq(buf_bytes(&text),
                     "============ Serving Benchmark Result ============\n"
                     "Successful requests:                     3         \n"
                     "Benchmark duration (s):                  4.00      \n"
                     "Total input tokens:                      300       \n"
                     "Total generated tokens:                  113       \n"
                     "Request throughput (req/s):              0.75      \n"
                     "Output token throughput (tok/s):         28.25     \n"
                     "Total Token throughput (tok/s):          103.25    \n"
                     "---------------Time to First Token----------------\n"
                     "Mean TTFT (ms):                          70.00     \n"
                     "Median TTFT (ms):                        60.00     \n"
                     "P99 TTFT (ms):                           99.20     \n"
                     "-----Time per Output Token (excl. 1st token)------\n"
                     "Mean TPOT (ms):                          15.00     \n"
                     "Median TPOT (ms):                        15.00     \n"
                     "P99 TPOT (ms):                           19.90     \n"
                     "---------------Inter-token Latency----------------\n"
                     "Mean ITL (ms):                           19.09     \n"
                     "Median ITL (ms):                         20.00     \n"
                     "P99 ITL (ms):                            20.00     \n"
                     "==================================================\n");
}
END_TEST

START_TEST(test_table_queue_only_with_a_cap)
{
    set("percentile-metrics", "client_queue_time,e2el_including_client_queue,unknown");
    report_table(&report, &text);
    ck_assert_ptr_null(strstr(buf_bytes(&text), "Queue"));
    buf_clear(&text);
    set("max-concurrency", "8");
    report_table(&report, &text);
    ck_assert_ptr_nonnull(strstr(buf_bytes(&text),
                                 "Maximum request concurrency:             8         \n"));
    ck_assert_ptr_nonnull(strstr(buf_bytes(&text),
                                 "---------------Client-side Queueing---------------\n"
                                 "Mean Client Queue Time (ms):             2.00      \n"));
    ck_assert_ptr_null(strstr(buf_bytes(&text), "Queue-inclusive"));
    buf_clear(&text);
    set("rate", "5");
    report_table(&report, &text);
    ck_assert_ptr_nonnull(strstr(buf_bytes(&text), "--Queue-inclusive End-to-end Latency--"));
}
END_TEST

START_TEST(test_preamble_names_the_traffic)
{
    report_preamble(&config, &text);
    ck_assert_str_eq(buf_bytes(&text), "Starting main benchmark run...\n"
                                       "Traffic request rate: inf\n"
                                       "Burstiness factor: 1.0 (Poisson process)\n"
                                       "Maximum request concurrency: None\n");
    buf_clear(&text);
    set("rate", "10");
    set("burstiness", "0.5");
    set("max-concurrency", "3");
    report_preamble(&config, &text);
    ck_assert_str_eq(buf_bytes(&text), "Starting main benchmark run...\n"
                                       "Traffic request rate: 10.0\n"
                                       "Burstiness factor: 0.5 (Gamma distribution)\n"
                                       "Maximum request concurrency: 3\n");
}
END_TEST

START_TEST(test_failures_are_listed_and_counted_by_reason)
{
    report_errors(&report, &text);
    ck_assert_str_eq(buf_bytes(&text),
                     "Failed requests during benchmark run detected (capping to 10):\n"
                     "Error 0: refused\n");
    buf_clear(&text);
    metrics.client_limited = true;
    report_warnings(&report, &text);
    ck_assert_str_eq(buf_bytes(&text),
                     "CLIENT LIMITED: loadgen did not keep up; these figures describe it, not the "
                     "server. Give it more processors or --threads.\n"
                     "1 failed: connection failed; for example request 2: refused\n");
}
END_TEST

START_TEST(test_own_table_has_slip_and_intended_time)
{
    report_own_table(&report, &text);
    ck_assert_ptr_nonnull(strstr(buf_bytes(&text),
                                 "----------------Client and Server-----------------\n"
                                 "Median schedule slip (ms):               2.00      \n"
                                 "P99 schedule slip (ms):                  2.00      \n"
                                 "Mean TTFT from intended time (ms):       72.00     \n"));
    ck_assert_ptr_nonnull(strstr(buf_bytes(&text),
                                 "Client CPU (% of one processor):         25.00     \n"));
    buf_clear(&text);
    set("format", "text");
    report.replies = NULL;
    report.num_replies = 0;
    report_warnings(&report, &text);
    ck_assert_uint_eq(buf_len(&text), 0);
}
END_TEST

/* A rate that was missed, or a thread that was always busy. */
START_TEST(test_client_limited_by_slip_or_by_a_busy_thread)
{
    struct metrics_args args = {replies, ARRAY_SIZE(replies), &outcome, &config};
    replies[3].ready_ns -= 10 * MS;
    metrics_release(&metrics);
    metrics_init(&metrics, &args);
    ck_assert(!metrics.client_limited); /* all are due at once */
    set("rate", "10");
    metrics_release(&metrics);
    metrics_init(&metrics, &args);
    ck_assert(metrics.client_limited);
    set("rate", "inf");
    outcome.busiest_share = 0.95;
    metrics_release(&metrics);
    metrics_init(&metrics, &args);
    ck_assert(metrics.client_limited);
}
END_TEST

START_TEST(test_goodput_counts_those_within_all_limits)
{
    read_options((char *[]){"loadgen", "--goodput", "ttft:60", "e2el:150"}, 4);
    ck_assert_int_eq(config_settle(&config, &error), 0);
    struct metrics_args args = {replies, ARRAY_SIZE(replies), &outcome, &config};
    metrics_release(&metrics);
    metrics_init(&metrics, &args);
    ck_assert_uint_eq(metrics.num_good, 1); /* the limit itself is good */
    report_table(&report, &text);
    ck_assert_ptr_nonnull(strstr(buf_bytes(&text),
                                 "Request throughput (req/s):              0.75      \n"
                                 "Request goodput (req/s):                 0.25      \n"));
}
END_TEST

START_TEST(test_metadata_keeps_the_first_place_and_the_last_value)
{
    read_options((char *[]){"loadgen", "--metadata", "tp=1", " label = x y ", "completed=9"}, 5);
    report_json(&report, false, &text);
    const char *json = buf_bytes(&text);
    ck_assert_ptr_nonnull(strstr(json, "\"label\": \"x y\", \"model_id\""));
    ck_assert_ptr_nonnull(strstr(json, "\"num_prompts\": 1000, \"tp\": \"1\", "
                                       "\"completed\": 3, \"request_rate\""));
}
END_TEST

START_TEST(test_json_has_vllms_keys_in_order)
{
    static const char *const keys[] = {
        "date", "endpoint_type", "backend", "label", "model_id", "tokenizer_id", "num_prompts",
        "request_rate", "burstiness", "max_concurrency", "duration", "completed", "failed",
        "total_input_tokens", "total_output_tokens", "request_throughput", "request_goodput",
        "output_throughput", "total_token_throughput", "input_lens", "output_lens", "ttfts",
        "itls", "latencies", "start_times", "queue_times", "generated_texts", "errors",
        "max_output_tokens_per_s", "max_concurrent_requests", "rtfx", "mean_ttft_ms",
        "median_ttft_ms", "std_ttft_ms", "p99_ttft_ms", "mean_tpot_ms", "median_tpot_ms",
        "std_tpot_ms", "p99_tpot_ms", "mean_itl_ms", "median_itl_ms", "std_itl_ms",
        "p99_itl_ms", "loadgen"};
    report_json(&report, true, &text);
    json_t *root = json_loads(buf_bytes(&text), 0, NULL);
    ck_assert_ptr_nonnull(root);
    size_t i = 0;
    const char *key;
    json_t *value;
    json_object_foreach(root, key, value) {
        ck_assert_uint_lt(i, ARRAY_SIZE(keys));
        ck_assert_str_eq(key, keys[i++]);
    }
    ck_assert_uint_eq(i, ARRAY_SIZE(keys));
    ck_assert_str_eq(json_string_value(json_object_get(root, "request_rate")), "inf");
    ck_assert_str_eq(json_string_value(json_object_get(root, "date")), "20260102-030405");
    ck_assert_uint_eq(json_array_size(json_object_get(root, "latencies")), 4);
    ck_assert_double_eq_tol(json_real_value(json_object_get(root, "std_ttft_ms")),
                            sqrt(1400.0 / 3), 1e-6);
    json_decref(root);
}
END_TEST

START_TEST(test_file_name_is_vllms)
{
    report_file_name(&report, &text);
    ck_assert_str_eq(buf_bytes(&text), "openai-infqps-model-20260102-030405.json");
    buf_clear(&text);
    set("rate", "10");
    set("max-concurrency", "4");
    set("label", "L");
    set("result-dir", "/d");
    report_file_name(&report, &text);
    ck_assert_str_eq(buf_bytes(&text), "/d/L-10.0qps-concurrency4-model-20260102-030405.json");
}
END_TEST

/* The body of a prompt of two ids, into `text`. */
static void
write_payload(const char *model)
{
    int32_t ids[] = {1, 2};
    struct prompt prompt = {.ids = ids, .len = 2, .output_len = 7};
    struct payload payload;
    buf_clear(&text);
    ck_assert_msg(payload_init(&payload, &config, model, &error) == 0, "%s", error.text);
    payload_write(&payload, &prompt, &text);
    payload_release(&payload);
}

START_TEST(test_payload_has_vllms_fields)
{
    write_payload("m\"");
    ck_assert_str_eq(buf_bytes(&text),
                     "{\"model\": \"m\\\"\", \"prompt\": [1, 2], \"repetition_penalty\": 1.0, "
                     "\"max_tokens\": 7, \"logprobs\": null, \"stream\": true, "
                     "\"stream_options\": {\"include_usage\": true}, \"ignore_eos\": true}");
    set("ignore-eos", "false");
    set("temperature", "0");
    set("repetition-penalty", "1.5");
    set("extra-body", "{\"max_tokens\": 3, \"x\": [1.50, \"\u00e9\", {}]}");
    write_payload("m");
    ck_assert_str_eq(buf_bytes(&text),
                     "{\"model\": \"m\", \"prompt\": [1, 2], \"repetition_penalty\": 1.5, "
                     "\"max_tokens\": 3, \"logprobs\": null, \"stream\": true, "
                     "\"stream_options\": {\"include_usage\": true}, \"temperature\": 0.0, "
                     "\"x\": [1.5, \"\\u00e9\", {}]}");
}
END_TEST

START_TEST(test_payload_of_chat_is_one_part_of_text)
{
    char hi[] = "h\"i";
    struct prompt prompt = {.text = hi, .text_bytes = 3, .len = 1, .output_len = 7};
    struct payload payload;
    set("backend", "openai-chat");
    ck_assert_int_eq(payload_init(&payload, &config, "m", &error), 0);
    payload_write(&payload, &prompt, &text);
    payload_release(&payload);
    ck_assert_str_eq(buf_bytes(&text),
                     "{\"model\": \"m\", \"messages\": [{\"role\": \"user\", \"content\": "
                     "[{\"type\": \"text\", \"text\": \"h\\\"i\"}]}], "
                     "\"max_completion_tokens\": 7, "
                     "\"stream\": true, \"stream_options\": {\"include_usage\": true}, "
                     "\"ignore_eos\": true}");
}
END_TEST

START_TEST(test_payload_refuses_an_extra_body_that_is_no_object)
{
    static const char *const bad[] = {"", "x", "[]", "{\"a\": }", "{} {}"};
    struct payload payload;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        set("extra-body", bad[i]);
        ck_assert_int_lt(payload_init(&payload, &config, "m", &error), 0);
        ck_assert_ptr_nonnull(strstr(error.text, "--extra-body"));
        payload_release(&payload);
    }
}
END_TEST

/* Options that contradict, each named. */
START_TEST(test_config_settle_refuses_what_contradicts)
{
    static const struct {
        const char *name, *value, *said;
    } cases[] = {
        {"random-range-ratio", "1", "random-range-ratio"},
        {"random-range-ratio", "{\"input\": 2}", "random-range-ratio"},
        {"random-range-ratio", "x", "random-range-ratio"},
        {"goodput", "itl:3", "--goodput"},
        {"goodput", "ttft:", "--goodput"},
        {"header", "novalue", "--header"},
        {"metadata", "novalue", "--metadata"},
        {"endpoint", "v1", "--endpoint"},
        {"base-url", "http://me:secret@host:1", "--base-url"},
        {"ramp-up-strategy", "linear", "ramp-up"},
        {"ramp-up-start-rps", "1", "ramp-up"},
        {"dataset-path", "f", "--dataset-path"},
        {"dataset-name", "sharegpt", "--dataset-path"},
        {"duration", "3", "--duration"},
        {"compare", "one", "--compare"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct config c = {0};
        ck_assert_int_eq(option_defaults(&config_table, &c, &error), 0);
        ck_assert_int_eq(option_set(&config_table, &c, cases[i].name, cases[i].value, &error), 0);
        ck_assert_msg(config_settle(&c, &error) < 0, "%s %s", cases[i].name, cases[i].value);
        ck_assert_msg(strstr(error.text, cases[i].said) != NULL, "%s: %s", cases[i].name,
                      error.text);
        option_release(&config_table, &c);
    }
}
END_TEST

START_TEST(test_config_settle_spreads_the_lengths)
{
    set("input-len", "5");
    set("output-len", "6");
    set("random-range-ratio", "{\"input\": 0.25, \"output\": 0.5}");
    ck_assert_int_eq(config_settle(&config, &error), 0);
    ck_assert_int_eq(config.random_input_len, 5);
    ck_assert_int_eq(config.random_output_len, 6);
    ck_assert_int_eq(config.prefix_repetition_output_len, 6);
    ck_assert_double_eq(config.random_input_range, 0.25);
    ck_assert_double_eq(config.random_output_range, 0.5);
}
END_TEST

START_TEST(test_config_url_and_percentiles)
{
    double percents[CONFIG_PERCENTILES_MAX];
    size_t num = 0;
    config_url(&config, &text);
    ck_assert_str_eq(buf_bytes(&text), "http://127.0.0.1:8000");
    buf_clear(&text);
    set("host", "::1");
    config_url(&config, &text);
    ck_assert_str_eq(buf_bytes(&text), "http://[::1]:8000");
    buf_clear(&text);
    set("base-url", "https://x/y//");
    config_url(&config, &text);
    ck_assert_str_eq(buf_bytes(&text), "https://x/y");
    set("metric-percentiles", "50,90,99.9");
    ck_assert_int_eq(config_percentiles(&config, percents, &num, &error), 0);
    ck_assert_uint_eq(num, 3);
    ck_assert_double_eq(percents[2], 99.9);
    static const char *const bad[] = {"", "x", "1,", "101", "-1", "nan", "1;2"};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        set("metric-percentiles", bad[i]);
        ck_assert_int_lt(config_percentiles(&config, percents, &num, &error), 0);
    }
}
END_TEST

static Suite *
make_suite(void)
{
    Suite *suite = suite_create("loadgen_report");
    TCase *tcase = tcase_create("loadgen_report");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, test_metrics_count_only_successes);
    tcase_add_test(tcase, test_table_is_vllms_byte_for_byte);
    tcase_add_test(tcase, test_table_of_vllm_0_8);
    tcase_add_test(tcase, test_table_queue_only_with_a_cap);
    tcase_add_test(tcase, test_preamble_names_the_traffic);
    tcase_add_test(tcase, test_failures_are_listed_and_counted_by_reason);
    tcase_add_test(tcase, test_own_table_has_slip_and_intended_time);
    tcase_add_test(tcase, test_client_limited_by_slip_or_by_a_busy_thread);
    tcase_add_test(tcase, test_goodput_counts_those_within_all_limits);
    tcase_add_test(tcase, test_metadata_keeps_the_first_place_and_the_last_value);
    tcase_add_test(tcase, test_json_has_vllms_keys_in_order);
    tcase_add_test(tcase, test_file_name_is_vllms);
    tcase_add_test(tcase, test_payload_has_vllms_fields);
    tcase_add_test(tcase, test_payload_of_chat_is_one_part_of_text);
    tcase_add_test(tcase, test_payload_refuses_an_extra_body_that_is_no_object);
    tcase_add_test(tcase, test_config_settle_refuses_what_contradicts);
    tcase_add_test(tcase, test_config_settle_spreads_the_lengths);
    tcase_add_test(tcase, test_config_url_and_percentiles);
    suite_add_tcase(suite, tcase);
    return suite;
}

TEST_MAIN(make_suite)
