/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The preamble, the errors, the table, the JSON object and the file name of
 * made-up runs, against what vLLM's own code printed and saved for the same numbers
 * (tools/record-vllm-bench.py): lines byte for byte, keys in order, doubles to
 * the last bit.
 */
#include "loadgen/config.h"
#include "loadgen/metrics.h"
#include "loadgen/report.h"
#include "tests/unit/main.h"

#include <check.h>
#include <jansson.h>
#include <math.h>
#include <string.h>

#define WORDS_MAX 32

/* Rows that vLLM's table does not have; a title stands for its whole block. */
static const char *const own_rows[] = {
    "Cancelled requests:",
};

/* Where the JSON object differs on purpose. */
static const struct difference {
    const char *key, *why;
} differences[] = {
    {"rps_change_events", "its moments are those of the recorder; the rates are compared"},
    {"loadgen", "all that is ours stands in one object, after vLLM's keys"},
};

static json_t *record;   /* reports.json */
static const json_t *row; /* the case */

static struct config config;
static struct reply *replies;
static size_t num_replies;
static struct client_outcome outcome;
static struct schedule_args schedule;
static struct metrics metrics;
static struct report report;
static struct error error;
static struct buf text;

/* ---- from a recorded case to a report ---- */

static int64_t
integer(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

static const char *
string(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

static void
set(const char *name, const char *value)
{
    ck_assert_msg(option_set(&config_table, &config, name, value, &error) == 0, "%s", error.text);
}

static void
read_config(void)
{
    char *argv[WORDS_MAX] = {(char *)"loadgen"};
    size_t i, num_words;
    json_t *word;
    json_array_foreach(json_object_get(row, "options"), i, word) {
        ck_assert_uint_lt(i + 1, WORDS_MAX);
        argv[i + 1] = (char *)json_string_value(word);
    }
    ck_assert_int_eq(option_defaults(&config_table, &config, &error), 0);
    ck_assert_msg(option_read_argv(&config_table, &config, (int)i + 1, argv, NULL, 0, &num_words,
                                   &error) == 0, "%s", error.text);
    char number[24];
    snprintf(number, sizeof number, "%zu", num_replies);
    set("num-prompts", number);
    ck_assert_msg(config_settle(&config, &error) == 0, "%s", error.text);
}

/* What the client would have left of this answer. */
static void
fill_reply(struct reply *r, const json_t *from)
{
    size_t i;
    json_t *itl;
    bool failed = json_is_true(json_object_get(from, "failed"));
    reply_init(r, REPLY_COMPLETION, integer(from, "input_len"));
    r->status = failed ? REPLY_FAILED : REPLY_SUCCEEDED;
    r->due_ns = r->ready_ns = (uint64_t)integer(from, "due_ns");
    r->start_ns = (uint64_t)integer(from, "start_ns");
    if (integer(from, "ttft_ns") > 0)
        r->first_ns = r->start_ns + (uint64_t)integer(from, "ttft_ns");
    r->last_ns = r->start_ns + (uint64_t)integer(from, "latency_ns");
    r->end_ns = r->last_ns;
    json_array_foreach(json_object_get(from, "itls"), i, itl)
        samples_record(&r->itls_s, json_real_value(itl));
    r->output_len = failed ? 0 : integer(from, "output_len");
    if (failed) {
        r->reason = strdup("made up");
        r->error = strdup(string(from, "error"));
    } else {
        buf_puts(&r->text, string(from, "text"));
    }
}

static void
fill_report(void)
{
    schedule = (struct schedule_args){
        .num_requests = num_replies,
        .request_rate = config.request_rate,
        .burstiness = config.burstiness,
        .ramp_up = (enum ramp_up)config.ramp_up_strategy,
        .ramp_up_start_per_s = (double)config.ramp_up_start_rps,
        .ramp_up_end_per_s = (double)config.ramp_up_end_rps,
    };
    report = (struct report){
        .config = &config,
        .model = "org/model",
        .tokenizer = string(json_object_get(row, "json"), "tokenizer_id"),
        .metrics = &metrics,
        .outcome = &outcome,
        .replies = replies,
        .num_replies = num_replies,
        .schedule = &schedule,
        .date = {.tm_year = 126, .tm_mday = 2, .tm_hour = 3, .tm_min = 4, .tm_sec = 5},
    };
}

static void
load_case(int index)
{
    size_t i;
    json_t *from;
    row = json_array_get(json_object_get(record, "cases"), (size_t)index);
    const json_t *array = json_object_get(row, "replies");
    num_replies = json_array_size(array);
    replies = calloc(num_replies, sizeof *replies);
    ck_assert_ptr_nonnull(replies);
    read_config();
    json_array_foreach(array, i, from)
        fill_reply(&replies[i], from);
    outcome = (struct client_outcome){
        .num_sent = num_replies,
        .start_ns = replies[0].due_ns,
        .duration_s = (double)integer(row, "duration_ns") / 1e9,
    };
    metrics_init(&metrics, &(struct metrics_args){
        .replies = replies, .num_replies = num_replies, .outcome = &outcome, .config = &config});
    fill_report();
}

static void
teardown(void)
{
    metrics_release(&metrics);
    for (size_t i = 0; i < num_replies; i++)
        reply_release(&replies[i]);
    free(replies);
    option_release(&config_table, &config);
    buf_release(&text);
}

/* ---- comparing ---- */

static size_t
line_bytes(const char *s)
{
    size_t n = strcspn(s, "\n");
    return n + (s[n] == '\n');
}

static bool
is_own_row(const char *line)
{
    for (size_t i = 0; i < ARRAY_SIZE(own_rows); i++) {
        if (strncmp(line, own_rows[i], strlen(own_rows[i])) == 0)
            return true;
    }
    return false;
}

/* All of vLLM's lines in order, between them none but our own. */
static void
check_table(const char *ours, const char *vllms)
{
    while (*ours != '\0') {
        size_t n = line_bytes(ours), m = line_bytes(vllms);
        if (n == m && memcmp(ours, vllms, n) == 0)
            vllms += m;
        else
            ck_assert_msg(is_own_row(ours), "%s: '%.*s' where vLLM has '%.*s'",
                          string(row, "name"), (int)n, ours, (int)m, vllms);
        ours += n;
    }
    ck_assert_msg(*vllms == '\0', "%s: missing: %s", string(row, "name"), vllms);
}

static const struct difference *
difference_of(const char *key)
{
    for (size_t i = 0; i < ARRAY_SIZE(differences); i++) {
        if (strcmp(differences[i].key, key) == 0)
            return &differences[i];
    }
    return NULL;
}

/* The next key that is to be compared. */
static void *
skip_differences(json_t *object, void *at)
{
    while (at != NULL && difference_of(json_object_iter_key(at)) != NULL)
        at = json_object_iter_next(object, at);
    return at;
}

static void
check_value(const char *key, json_t *ours, json_t *vllms)
{
    /* json_equal tells 1 from 1.0, and compares reals by ==. */
    if (json_equal(ours, vllms))
        return;
    char *a = json_dumps(ours, JSON_ENCODE_ANY | JSON_REAL_PRECISION(17));
    char *b = json_dumps(vllms, JSON_ENCODE_ANY | JSON_REAL_PRECISION(17));
    ck_abort_msg("%s: '%s' is %s, vLLM has %s", string(row, "name"), key, a, b);
}

static void
check_object(json_t *ours, json_t *vllms)
{
    void *a = skip_differences(ours, json_object_iter(ours));
    void *b = skip_differences(vllms, json_object_iter(vllms));
    while (a != NULL && b != NULL) {
        ck_assert_msg(strcmp(json_object_iter_key(a), json_object_iter_key(b)) == 0,
                      "%s: '%s' where vLLM has '%s'", string(row, "name"),
                      json_object_iter_key(a), json_object_iter_key(b));
        check_value(json_object_iter_key(a), json_object_iter_value(a),
                    json_object_iter_value(b));
        a = skip_differences(ours, json_object_iter_next(ours, a));
        b = skip_differences(vllms, json_object_iter_next(vllms, b));
    }
    ck_assert_msg(a == NULL, "%s: '%s' is not vLLM's", string(row, "name"),
                  json_object_iter_key(a));
    ck_assert_msg(b == NULL, "%s: '%s' is missing", string(row, "name"),
                  json_object_iter_key(b));
}

/* ---- tests ---- */

START_TEST(test_preamble_is_vllms)
{
    load_case(_i);
    const char *printed = string(row, "printed");
    const char *start = strstr(printed, "Starting main benchmark run...\n");
    ck_assert_ptr_nonnull(start);
    report_preamble(&config, &text);
    ck_assert_uint_gt(buf_len(&text), 0);
    ck_assert_msg(strncmp(buf_bytes(&text), start, buf_len(&text)) == 0,
                  "%s:\n%s\nwhere vLLM has\n%s", string(row, "name"), buf_bytes(&text), start);
    const char *end = strstr(start, "Maximum request concurrency: ");
    ck_assert_uint_eq(buf_len(&text), (size_t)(end - start) + line_bytes(end));
}
END_TEST

START_TEST(test_table_is_vllms)
{
    load_case(_i);
    const char *vllms = strstr(string(row, "printed"), "============ Serving");
    ck_assert_ptr_nonnull(vllms);
    report_table(&report, &text);
    check_table(buf_bytes(&text), vllms);
}
END_TEST

START_TEST(test_json_is_vllms)
{
    json_error_t why;
    load_case(_i);
    report_json(&report, config.save_detailed, &text);
    json_t *ours = json_loadb(buf_bytes(&text), buf_len(&text), JSON_REJECT_DUPLICATES, &why);
    ck_assert_msg(ours != NULL, "%s: %s", string(row, "name"), why.text);
    check_object(ours, json_object_get(row, "json"));
    json_decref(ours);
}
END_TEST

START_TEST(test_rate_changes_are_vllms)
{
    load_case(_i);
    json_t *vllms = json_object_get(json_object_get(row, "json"), "rps_change_events");
    report_json(&report, false, &text);
    json_t *root = json_loads(buf_bytes(&text), 0, NULL);
    json_t *ours = json_object_get(root, "rps_change_events");
    ck_assert_uint_eq(json_array_size(ours), json_array_size(vllms));
    for (size_t i = 0; i < json_array_size(ours); i++)
        ck_assert_int_eq(integer(json_array_get(ours, i), "rps"),
                         integer(json_array_get(vllms, i), "rps"));
    json_decref(root);
}
END_TEST

/* Error texts with line ends stand on one line here. */
START_TEST(test_errors_are_vllms)
{
    struct buf expected = {0};
    char number[24];
    size_t num = 0;
    load_case(_i);
    const char *printed = strstr(string(row, "printed"), "Failed requests during");
    for (size_t i = 0; i < num_replies && num < 10; i++) {
        if (replies[i].status != REPLY_FAILED)
            continue;
        if (num == 0)
            buf_append(&expected, printed, line_bytes(printed));
        snprintf(number, sizeof number, "Error %zu: ", num++);
        ck_assert_ptr_nonnull(strstr(printed, number));
        buf_puts(&expected, number);
        for (const char *p = replies[i].error; *p != '\0'; p++)
            buf_putc(&expected, *p == '\n' ? ' ' : *p);
        buf_putc(&expected, '\n');
    }
    snprintf(number, sizeof number, "Error %zu: ", num);
    ck_assert_ptr_null(strstr(string(row, "printed"), number));
    report_errors(&report, &text);
    ck_assert_str_eq(buf_bytes(&text), buf_bytes(&expected));
    buf_release(&expected);
}
END_TEST

START_TEST(test_file_name_is_vllms)
{
    load_case(_i);
    report_file_name(&report, &text);
    const char *ours = buf_bytes(&text);
    if (strncmp(ours, "DIR/", 4) == 0)
        ours += 4;
    ck_assert_str_eq(ours, string(row, "file"));
}
END_TEST

static void
load_record(void)
{
    const char *dir = getenv("srcdir");
    char path[512];
    snprintf(path, sizeof path, "%s/tests/data/loadgen/vllm_bench/reports.json",
             dir != NULL ? dir : ".");
    record = json_load_file(path, 0, NULL);
}

static Suite *
make_suite(void)
{
    Suite *suite = suite_create("loadgen_vllm");
    TCase *tcase = tcase_create("loadgen_vllm");
    load_record();
    int num_cases = (int)json_array_size(json_object_get(record, "cases"));
    tcase_add_checked_fixture(tcase, NULL, teardown);
    /* Without the file one round runs, and fails. */
    tcase_add_loop_test(tcase, test_preamble_is_vllms, 0, MAX(num_cases, 1));
    tcase_add_loop_test(tcase, test_table_is_vllms, 0, MAX(num_cases, 1));
    tcase_add_loop_test(tcase, test_json_is_vllms, 0, MAX(num_cases, 1));
    tcase_add_loop_test(tcase, test_rate_changes_are_vllms, 0, MAX(num_cases, 1));
    tcase_add_loop_test(tcase, test_errors_are_vllms, 0, MAX(num_cases, 1));
    tcase_add_loop_test(tcase, test_file_name_is_vllms, 0, MAX(num_cases, 1));
    suite_add_tcase(suite, tcase);
    return suite;
}

TEST_MAIN(make_suite)
