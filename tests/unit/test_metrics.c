/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The text of /metrics: well formed, each family once, HELP and TYPE first, and
 * as promtool likes it where that is installed (names that vLLM has given,
 * with a colon or a histogram's "_total", it never likes).
 */
#include "server/app.h"
#include "tests/unit/main.h"

#include <check.h>
#include <string.h>
#include <unistd.h>

static const char *const names[] = {"a\"b\\c"};

static void
open_app(struct app *a, uv_loop_t *loop)
{
    struct app_config cfg;
    struct error err;
    app_config_default(&cfg);
    cfg.served_model_names = names;
    cfg.num_served_model_names = 1;
    ck_assert_int_eq(uv_loop_init(loop), 0);
    ck_assert_int_eq(app_init(a, loop, &cfg, &err), 0);
}

static void
close_app(struct app *a, uv_loop_t *loop)
{
    app_close(a);
    uv_run(loop, UV_RUN_DEFAULT);
    ck_assert_int_eq(uv_loop_close(loop), 0);
    app_release(a);
}

static void
fill(struct app *a)
{
    struct metrics *m = &a->metrics;
    struct metrics_request r = {
        .reason = METRICS_LENGTH,
        .num_prompt_tokens = 10,
        .num_output_tokens = 5,
        .max_tokens = 16,
        .n = 1,
        .arrival_ns = 1000000000,
        .submitted_ns = 1001000000,
        .scheduled_ns = 1002000000,
        .first_token_ns = 1010000000,
        .finished_ns = 1050000000,
    };
    metrics_count_request(m, &r);
    r.reason = METRICS_ABORT;
    r.scheduled_ns = r.first_token_ns = 0;
    metrics_count_request(m, &r);
    metrics_count_http(m, 0, "POST", 200, 100, 2000, 0.05);
    metrics_count_http(m, -1, "BREW", 404, 0, 100, 0.001);
}

START_TEST(test_write_counts_what_was_counted)
{
    static const char *const wanted[] = {
        "vllm:request_success_total{engine=\"0\",model_name=\"a\\\"b\\\\c\","
        "finished_reason=\"length\"} 1\n",
        "vllm:request_queue_time_seconds_count{engine=\"0\",model_name=\"a\\\"b\\\\c\"} 1\n",
        "vllm:request_prefill_time_seconds_bucket{engine=\"0\",model_name=\"a\\\"b\\\\c\","
        "le=\"0.01\"} 1\n",
        "vllm:request_time_per_output_token_seconds_bucket{engine=\"0\",model_name="
        "\"a\\\"b\\\\c\",le=\"0.01\"} 1\n",
        "llmd:aborted_before_first_token_total{engine=\"0\",model_name=\"a\\\"b\\\\c\"} 1\n",
        "http_requests_total{handler=\"none\",method=\"other\",status=\"4xx\"} 1\n",
        "http_response_size_bytes_sum{handler=\"/v1/completions\"} 2000\n",
    };
    struct app a;
    uv_loop_t loop;
    struct buf b = {0};
    open_app(&a, &loop);
    fill(&a);
    metrics_write(&a, &b);
    ck_assert(!b.failed);
    for (size_t i = 0; i < ARRAY_SIZE(wanted); i++)
        ck_assert_msg(strstr(b.data, wanted[i]) != NULL, "missing: %s", wanted[i]);
    buf_release(&b);
    close_app(&a, &loop);
}
END_TEST

START_TEST(test_write_has_every_family_once)
{
    struct app a;
    uv_loop_t loop;
    struct buf b = {0};
    open_app(&a, &loop);
    fill(&a);
    metrics_write(&a, &b);
    for (const char *p = b.data; (p = strstr(p, "# TYPE ")) != NULL; p++) {
        char line[128];
        snprintf(line, sizeof line, "\n%.*s", (int)strcspn(p, "\n"), p);
        line[strcspn(line + 8, " ") + 9] = '\0';
        ck_assert_msg(strstr(p + 1, line) == NULL, "twice: %s", line);
    }
    buf_release(&b);
    close_app(&a, &loop);
}
END_TEST

static bool
is_vllms(const char *line)
{
    return strstr(line, "should not contain ':'") != NULL
           || strstr(line, "vllm:iteration_tokens_total") != NULL;
}

START_TEST(test_write_passes_promtool)
{
    struct app a;
    uv_loop_t loop;
    struct buf b = {0};
    char path[] = "/tmp/llmd-metrics-XXXXXX", command[128], line[512];
    if (system("command -v promtool >/dev/null 2>&1") != 0)
        return;
    open_app(&a, &loop);
    fill(&a);
    metrics_write(&a, &b);
    int fd = mkstemp(path);
    ck_assert_int_eq(write(fd, b.data, b.len), (ssize_t)b.len);
    close(fd);
    snprintf(command, sizeof command, "promtool check metrics < %s 2>&1", path);
    FILE *f = popen(command, "r");
    while (fgets(line, sizeof line, f) != NULL)
        ck_assert_msg(is_vllms(line), "%s", line);
    pclose(f);
    unlink(path);
    buf_release(&b);
    close_app(&a, &loop);
}
END_TEST

static Suite *
make_suite(void)
{
    Suite *s = suite_create("metrics");
    TCase *t = tcase_create("all");
    tcase_add_test(t, test_write_counts_what_was_counted);
    tcase_add_test(t, test_write_has_every_family_once);
    tcase_add_test(t, test_write_passes_promtool);
    suite_add_tcase(s, t);
    return s;
}

TEST_MAIN(make_suite)
