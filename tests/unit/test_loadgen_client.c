/* SPDX-License-Identifier: Apache-2.0 */
/* Runs of the client against servers that answer as each test says. */
#include "tests/unit/client_fixture.h"
#include "tests/unit/main.h"

#include <check.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#define AN_HOUR_S 3600

/* ---- one reply ---- */

START_TEST(test_run_of_one_request_succeeds)
{
    start(answer_well);
    run(1);
    const struct reply *r = &replies[0];
    ck_assert_uint_eq(outcome.num_sent, 1);
    ck_assert(!outcome.interrupted);
    ck_assert_int_eq(r->status, REPLY_SUCCEEDED);
    ck_assert_ptr_null(r->error);
    ck_assert_uint_eq(r->num_events, 2);
    ck_assert_int_eq(r->output_len, 4);
    ck_assert_int_eq(r->input_len, 7);
    ck_assert_str_eq(buf_bytes(&r->text), " a a");
    ck_assert_uint_le(outcome.start_ns, r->due_ns);
    ck_assert_uint_le(r->due_ns, r->ready_ns);
    ck_assert_uint_le(r->ready_ns, r->start_ns);
    ck_assert_uint_le(r->start_ns, r->first_ns);
    ck_assert_uint_le(r->first_ns, r->last_ns);
    ck_assert_uint_le(r->last_ns, r->end_ns);
    ck_assert_ptr_nonnull(strstr(server_request(server, 0), "POST /v1/completions HTTP/1.1"));
    ck_assert(has_line(server_request(server, 0), "x-request-id: test-0"));
    ck_assert_ptr_nonnull(strstr(server_request(server, 0), "\"prompt\": \"prompt-0\""));
}
END_TEST

static const struct {
    const char *text, *reason, *error; /* error: is in it */
} failures[] = {
    {"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n", "HTTP 500", "HTTP 500"},
    {"HTTP/1.1 500 Internal Server Error\r\nConnection: close\r\n\r\n"
     "{\"error\": {\"message\": \"broken\"}}", "HTTP 500", "broken"},
    {"HTTP/1.1 503 Busy\r\nConnection: close\r\n\r\nplain words", "HTTP 503", "plain words"},
    {NULL, "connection failed", "without an answer"},
    {"nonsense\r\n\r\n", "connection failed", "not HTTP/1.1"},
    {HALF, "connection lost during the stream", "whole"},
    {TYPE "Transfer-Encoding: chunked\r\n\r\n3\r\nda", "connection failed", "whole"},
    {CLOSING TOKEN "data: {\"error\": {\"message\": \"died\"}}\n\n" TOKEN DONE,
     "error in the stream", "died"},
    {CLOSING TOKEN "data: {oops\n\n", "a message of the stream is not JSON", ""},
    {CLOSING, "no token in the answer", "no token in the answer"},
    {CLOSING USAGE DONE, "no token in the answer", "usage"},
};

START_TEST(test_failure_has_reason_and_text)
{
    scripted = (struct server_answer){.text = failures[_i].text};
    start(answer_as_scripted);
    run(2);
    ck_assert_uint_eq(outcome.num_sent, 2);
    for (size_t i = 0; i < 2; i++) {
        ck_assert_int_eq(replies[i].status, REPLY_FAILED);
        ck_assert_str_eq(replies[i].reason, failures[_i].reason);
        ck_assert_str_ne(replies[i].error, "");
        ck_assert_msg(strstr(replies[i].error, failures[_i].error) != NULL, "%s",
                      replies[i].error);
        ck_assert_int_eq(replies[i].output_len, 0);
    }
}
END_TEST

START_TEST(test_stream_without_done_succeeds)
{
    scripted = (struct server_answer){.text = CLOSING TOKEN TOKEN TOKEN};
    start(answer_as_scripted);
    run(1);
    ck_assert_int_eq(replies[0].status, REPLY_SUCCEEDED);
    ck_assert_int_eq(replies[0].output_len, 3);
}
END_TEST

/* A lane that is busy meets a token and the reset behind it in one turn. */
START_TEST(test_reset_behind_a_token_ends_the_request)
{
    set("timeout", "20");
    scripted = (struct server_answer){.text = HALF, .resets = true};
    start(answer_as_scripted);
    run(NUM_MAX);
    ck_assert_uint_eq(count_status(REPLY_FAILED), NUM_MAX);
    for (size_t i = 0; i < NUM_MAX; i++) {
        ck_assert_str_eq(replies[i].reason, "connection lost during the stream");
        ck_assert_uint_eq(replies[i].num_events, 1);
    }
}
END_TEST

START_TEST(test_server_that_is_gone_fails_each_request)
{
    start(answer_well);
    server_stop(server);
    server = NULL;
    run(20);
    ck_assert_uint_eq(outcome.num_sent, 20);
    ck_assert_uint_eq(count_status(REPLY_FAILED), 20);
    for (size_t i = 0; i < 20; i++)
        ck_assert_str_eq(replies[i].reason, "connection failed");
}
END_TEST

START_TEST(test_timeout_before_and_during_the_stream)
{
    set("timeout", "0.05");
    scripted = (struct server_answer){.text = _i == 0 ? NULL : HALF, .keep_open = true};
    start(answer_as_scripted);
    run(3);
    ck_assert_uint_eq(count_status(REPLY_FAILED), 3);
    for (size_t i = 0; i < 3; i++) {
        ck_assert_str_eq(replies[i].reason, "timed out");
        ck_assert_ptr_nonnull(strstr(replies[i].error, "timed out"));
    }
}
END_TEST

/* ---- many requests ---- */

static const unsigned lane_counts[] = {1, 2, 4};

/* Nobody is answered before as many wait as may. */
static struct server_answer
answer_three(struct server *s, const char *request)
{
    (void)request;
    server_wait_requests(s, 3);
    return (struct server_answer){.text = good_text, .keep_open = true};
}

START_TEST(test_max_concurrency_is_reached_and_kept)
{
    set_number("threads", lane_counts[_i]);
    set("max-concurrency", "3");
    start(answer_three);
    run(NUM_MAX);
    ck_assert_uint_eq(count_status(REPLY_SUCCEEDED), NUM_MAX);
    ck_assert_uint_eq(server_peak(server), 3);
    ck_assert_uint_eq(server_num_requests(server), NUM_MAX);
}
END_TEST

/* The index at the end of x-request-id. */
static size_t
id_of(const char *request)
{
    const char *id = strstr(request, "x-request-id: test-");
    ck_assert_ptr_nonnull(id);
    return strtoul(id + strlen("x-request-id: test-"), NULL, 10);
}

static void
check_each_came_once(size_t num)
{
    unsigned times[NUM_MAX] = {0};
    ck_assert_uint_eq(server_num_requests(server), num);
    for (size_t i = 0; i < num; i++) {
        const char *request = server_request(server, i);
        size_t id = id_of(request);
        ck_assert_uint_lt(id, num);
        times[id]++;
        ck_assert_ptr_nonnull(strstr(request, texts[id % NUM_PROMPTS]));
    }
    for (size_t i = 0; i < num; i++)
        ck_assert_uint_eq(times[i], 1);
}

#define NUM_HELD 40
#define BIG_NUMBERS 4000000u

/* The first answer ends with a message that takes a while to read, and meanwhile
 * those of others are reset one after another. */
static char *big_text;

static struct server_answer
answer_while_busy(struct server *s, const char *request)
{
    size_t id = id_of(request);
    (void)s;
    if (id > NUM_HELD)
        return (struct server_answer){.text = good_text};
    usleep(1100000 + (useconds_t)id * 5000); /* libcurl looks once a second */
    return id == 0 ? (struct server_answer){.text = big_text}
                   : (struct server_answer){.text = HALF, .resets = true};
}

/* What is in use is not libcurl's to tidy up when it makes another connection. */
START_TEST(test_connections_in_use_outlive_new_ones)
{
    static const char start_text[] = CLOSING "data: {\"metrics\": [0", end_text[] =
        "], \"choices\": [{\"index\": 0, \"text\": \"a\"}]}\n\n";
    struct buf text = {0};
    buf_puts(&text, start_text);
    for (size_t i = 0; i < BIG_NUMBERS; i++)
        buf_puts(&text, ",0");
    buf_puts(&text, end_text);
    big_text = buf_take(&text, NULL);
    set("timeout", "20");
    set_number("max-concurrency", NUM_HELD + 1);
    start(answer_while_busy);
    run(NUM_HELD + 10);
    ck_assert_uint_eq(count_status(REPLY_SUCCEEDED), 10);
    for (size_t i = 1; i <= NUM_HELD; i++)
        ck_assert_str_eq(replies[i].reason, "connection lost during the stream");
    server_stop(server); /* its threads hold the text */
    server = NULL;
    free(big_text);
}
END_TEST

/* Some at once, then one every 50 us. */
START_TEST(test_lanes_send_each_request_once)
{
    double times_s[NUM_MAX];
    struct schedule schedule = {.times_s = times_s, .len = NUM_MAX};
    struct client_run args = run_of(NUM_MAX);
    args.schedule = &schedule;
    for (size_t i = 0; i < NUM_MAX; i++)
        times_s[i] = i < 50 ? 0 : (double)(i - 50) * 50e-6;
    set_number("threads", lane_counts[_i]);
    start(answer_well);
    ck_assert_int_eq(client_run(client, &args, &outcome, &last_error), 0);
    ck_assert_uint_eq(outcome.num_sent, NUM_MAX);
    ck_assert_uint_eq(count_status(REPLY_SUCCEEDED), NUM_MAX);
    check_each_came_once(NUM_MAX);
    for (size_t i = 0; i < NUM_MAX; i++) /* none before its time */
        ck_assert_uint_ge(replies[i].start_ns, replies[i].due_ns);
}
END_TEST

static void
note_progress(void *arg, const struct client_progress *p)
{
    struct client_progress *last = arg;
    ck_assert_uint_ge(p->num_done, last->num_done);
    *last = *p;
}

/* Nothing of a run is left for the next one. */
START_TEST(test_client_runs_again_and_again)
{
    set_number("threads", lane_counts[_i]);
    start(answer_well);
    for (size_t i = 0; i < 20; i++) {
        struct client_progress last = {0};
        struct client_run args = run_of(7);
        args.on_progress = note_progress;
        args.arg = &last;
        ck_assert_int_eq(client_run(client, &args, &outcome, &last_error), 0);
        ck_assert_uint_eq(outcome.num_sent, 7);
        ck_assert_uint_eq(count_status(REPLY_SUCCEEDED), 7);
        ck_assert_uint_eq(last.num_done, 7);
        ck_assert_uint_eq(last.num_total, 7);
        ck_assert_uint_eq(last.num_running + last.num_waiting, 0);
        ck_assert_uint_eq(last.num_tokens, 14);
        for (size_t j = 0; j < 7; j++)
            reply_release(&replies[j]);
    }
}
END_TEST

/* The server closes what it said it would keep: perhaps just when it is used. */
START_TEST(test_kept_connection_that_is_closed_is_made_anew)
{
    scripted = (struct server_answer){.text = good_text};
    set_number("threads", lane_counts[_i]);
    set_number("max-concurrency", lane_counts[_i]);
    start(answer_as_scripted);
    run(100);
    ck_assert_uint_eq(count_status(REPLY_SUCCEEDED), 100);
    check_each_came_once(100);
}
END_TEST

/* ---- ends before the end ---- */

static const struct {
    int number;
    unsigned num_lanes;
} signals[] = {{SIGINT, 1}, {SIGINT, 4}, {SIGTERM, 2}};
static int signal_number;

/* Of four at a time, the first two are answered; with the sixth comes Ctrl-C. */
static struct server_answer
answer_two_then_signal(struct server *s, const char *request)
{
    size_t id = id_of(request);
    if (id < 2)
        return (struct server_answer){.text = good_text, .keep_open = true};
    server_wait_requests(s, 6);
    if (id == 5)
        kill(getpid(), signal_number);
    return answer_never(s, request);
}

START_TEST(test_signal_cancels_what_is_in_flight)
{
    signal_number = signals[_i].number;
    set_number("threads", signals[_i].num_lanes);
    set("max-concurrency", "4");
    start(answer_two_then_signal);
    run(20);
    ck_assert(outcome.interrupted);
    ck_assert_uint_eq(outcome.num_sent, 6);
    ck_assert_uint_eq(count_status(REPLY_SUCCEEDED), 2);
    ck_assert_uint_eq(count_status(REPLY_CANCELLED), 4);
    for (size_t i = 2; i < 6; i++) {
        ck_assert_str_eq(replies[i].error, "cancelled");
        ck_assert_uint_ge(replies[i].end_ns, replies[i].start_ns);
    }
    struct client_run again = run_of(1);
    ck_assert_int_eq(client_run(client, &again, &outcome, &last_error), ERR_CANCELLED);
}
END_TEST

/* Five at once, the others in an hour. */
START_TEST(test_duration_ends_sending_and_not_replies)
{
    double times_s[20] = {0};
    struct schedule schedule = {.times_s = times_s, .len = 20};
    struct client_run args = run_of(20);
    args.schedule = &schedule;
    args.duration_s = 0.05;
    for (size_t i = 5; i < 20; i++)
        times_s[i] = AN_HOUR_S;
    set_number("threads", lane_counts[_i]);
    start(answer_well);
    ck_assert_int_eq(client_run(client, &args, &outcome, &last_error), 0);
    ck_assert(!outcome.interrupted);
    ck_assert_uint_eq(outcome.num_sent, 5);
    ck_assert_uint_eq(count_status(REPLY_SUCCEEDED), 5);
    check_each_came_once(5);
    for (size_t i = 5; i < 20; i++)
        ck_assert_int_eq(replies[i].status, REPLY_PENDING);
}
END_TEST

START_TEST(test_duration_without_a_request_ends)
{
    double time_s = AN_HOUR_S;
    struct schedule schedule = {.times_s = &time_s, .len = 1};
    struct client_run args = run_of(1);
    args.schedule = &schedule;
    args.duration_s = 0.01;
    start(answer_well);
    ck_assert_int_eq(client_run(client, &args, &outcome, &last_error), 0);
    ck_assert_uint_eq(outcome.num_sent, 0);
    ck_assert_uint_eq(server_num_requests(server), 0);
}
END_TEST

/* ---- probes ---- */

static bool
is_probe(const char *request)
{
    return strstr(request, "\"prompt\": \"Hi\"") != NULL;
}

/* The probe's answer comes when the client has closed all other connections. */
static struct server_answer
answer_probe_last(struct server *s, const char *request)
{
    if (!is_probe(request))
        return (struct server_answer){.text = CLOSING TOKEN DONE};
    server_wait_closed(s, 4);
    usleep(50000); /* the client has seen the end of the run */
    return scripted;
}

START_TEST(test_probe_under_way_at_the_end_counts)
{
    struct client_run args = run_of(4);
    args.probe_request_rate = 0.001;
    scripted = (struct server_answer){.text = _i == 0 ? good_text : NULL, .keep_open = true};
    if (_i == 1)
        scripted.keep_open = false;
    set("max-concurrency", "2");
    start(answer_probe_last);
    ck_assert_int_eq(client_run(client, &args, &outcome, &last_error), 0);
    ck_assert_uint_eq(count_status(REPLY_SUCCEEDED), 4);
    ck_assert_uint_eq(server_num_requests(server), 5);
    ck_assert_uint_eq(outcome.probe_latencies_s.len, _i == 0 ? 1 : 0);
    ck_assert_uint_eq(outcome.num_probes_failed, _i == 0 ? 0 : 1);
    for (size_t i = 0; i < 5; i++) {
        const char *request = server_request(server, i);
        ck_assert_uint_eq(count_lines(request, "x-request-id:"), is_probe(request) ? 0 : 1);
    }
}
END_TEST

/* A probe that never ends does not outlive Ctrl-C. */
static struct server_answer
answer_no_probe(struct server *s, const char *request)
{
    if (!is_probe(request))
        return (struct server_answer){.text = CLOSING TOKEN DONE};
    server_wait_closed(s, 4);
    usleep(50000);
    kill(getpid(), SIGINT);
    return answer_never(s, request);
}

START_TEST(test_probe_that_never_ends_ends_by_signal)
{
    struct client_run args = run_of(4);
    args.probe_request_rate = 0.001;
    start(answer_no_probe);
    ck_assert_int_eq(client_run(client, &args, &outcome, &last_error), 0);
    ck_assert(outcome.interrupted);
    ck_assert_uint_eq(count_status(REPLY_SUCCEEDED), 4);
    ck_assert_uint_eq(outcome.probe_latencies_s.len, 0);
    ck_assert_uint_eq(outcome.num_probes_failed, 0);
}
END_TEST

/* Probes come one after another, for as long as the run takes. */
static struct server_answer
answer_after_three_probes(struct server *s, const char *request)
{
    if (!is_probe(request))
        server_wait_requests(s, 4); /* this one and three probes */
    return (struct server_answer){.text = good_text, .keep_open = true};
}

START_TEST(test_probes_come_beside_the_run)
{
    for (size_t i = 0; i < 3; i++) {
        struct client_run args = run_of(1);
        args.probe_request_rate = 1000;
        if (server == NULL)
            start(answer_after_three_probes);
        ck_assert_int_eq(client_run(client, &args, &outcome, &last_error), 0);
        ck_assert_uint_eq(count_status(REPLY_SUCCEEDED), 1);
        ck_assert_uint_ge(outcome.probe_latencies_s.len, i == 0 ? 3 : 1);
        ck_assert_uint_eq(outcome.num_probes_failed, 0);
        samples_release(&outcome.probe_latencies_s);
        reply_release(&replies[0]);
    }
}
END_TEST

static Suite *
make_suite(void)
{
    Suite *suite = suite_create("loadgen_client");
    TCase *tcase = tcase_create("loadgen_client");
    tcase_set_timeout(tcase, 60);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, test_run_of_one_request_succeeds);
    tcase_add_loop_test(tcase, test_failure_has_reason_and_text, 0, ARRAY_SIZE(failures));
    tcase_add_test(tcase, test_stream_without_done_succeeds);
    tcase_add_test(tcase, test_reset_behind_a_token_ends_the_request);
    tcase_add_test(tcase, test_connections_in_use_outlive_new_ones);
    tcase_add_test(tcase, test_server_that_is_gone_fails_each_request);
    tcase_add_loop_test(tcase, test_timeout_before_and_during_the_stream, 0, 2);
    tcase_add_loop_test(tcase, test_max_concurrency_is_reached_and_kept, 0,
                        ARRAY_SIZE(lane_counts));
    tcase_add_loop_test(tcase, test_lanes_send_each_request_once, 0, ARRAY_SIZE(lane_counts));
    tcase_add_loop_test(tcase, test_client_runs_again_and_again, 0, ARRAY_SIZE(lane_counts));
    tcase_add_loop_test(tcase, test_kept_connection_that_is_closed_is_made_anew, 0,
                        ARRAY_SIZE(lane_counts));
    tcase_add_loop_test(tcase, test_signal_cancels_what_is_in_flight, 0, ARRAY_SIZE(signals));
    tcase_add_loop_test(tcase, test_duration_ends_sending_and_not_replies, 0,
                        ARRAY_SIZE(lane_counts));
    tcase_add_test(tcase, test_duration_without_a_request_ends);
    tcase_add_loop_test(tcase, test_probe_under_way_at_the_end_counts, 0, 2);
    tcase_add_test(tcase, test_probe_that_never_ends_ends_by_signal);
    tcase_add_test(tcase, test_probes_come_beside_the_run);
    suite_add_tcase(suite, tcase);
    return suite;
}

TEST_MAIN(make_suite)
