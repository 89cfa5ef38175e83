/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Completions that do not end by themselves: disconnect, full queue, silence,
 * timeout, drain, failure of the engine; and a crowd.
 */
#include "tests/server/test_api.h"

#include <pthread.h>
#include <string.h>
#include <unistd.h>

static struct api_server server;

static void
start(void (*change)(struct app_config *, struct fake_engine_config *))
{
    struct app_config cfg = api_server_config();
    struct fake_engine_config engine = api_server_engine_config();
    if (change != NULL)
        change(&cfg, &engine);
    api_server_start(&server, &cfg, &engine, true);
}

static void
setup(void)
{
    start(NULL);
}

static void
teardown(void)
{
    api_server_stop(&server);
}

static struct api_reply
complete(const char *body)
{
    struct api_reply r = api_post(server.port, "/v1/completions", body);
    ck_assert_msg(r.status == 200, "%s: %d", body, r.status);
    return r;
}

/* Waits until the engine holds `n` requests. */
static bool
wait_inside(int64_t n)
{
    return api_server_wait_inside(&server, n);
}

/* ---- the other end ------------------------------------------------------- */

static void
send_completion(struct raw *r, const char *body)
{
    char text[1024];
    int len = snprintf(text, sizeof text,
                       "POST /v1/completions HTTP/1.1\r\nHost: t\r\nContent-Length: %zu\r\n\r\n%s",
                       strlen(body), body);
    raw_open(r, server.port);
    ck_assert(raw_send(r, text, (size_t)len));
}

START_TEST(test_disconnect_cancels_all_choices)
{
    struct raw r;
    fake_engine_set_step_us(server.engine, 5000);
    for (int i = 0; i < 2; i++) {
        send_completion(&r, i == 0 ? "{\"prompt\":[\"ab\",\"c\"],\"n\":3,\"max_tokens\":400,"
                                     "\"stream\":true}"
                                   : "{\"prompt\":[\"ab\",\"c\"],\"n\":3,\"max_tokens\":400}");
        ck_assert(wait_inside(6));
        raw_close(&r);
        ck_assert(wait_inside(0));
        ck_assert_int_eq(fake_engine_num_aborted(server.engine), 6 * (i + 1));
    }
    struct api_reply m = api_get(server.port, "/metrics");
    ck_assert_ptr_nonnull(strstr(m.raw.body.data, "finished_reason=\"abort\"} 12\n"));
    ck_assert_ptr_nonnull(strstr(m.raw.body.data, "llmd:prefill_backlog_tokens{engine=\"0\","
                                                  "model_name=\"fake\"} 0\n"));
    api_reply_release(&m);
}
END_TEST

START_TEST(test_stop_string_cancels_the_engine)
{
    struct api_reply r = complete("{\"prompt\":\"abcd\",\"max_tokens\":500,\"stop\":\"d\"}");
    api_reply_release(&r);
    ck_assert(wait_inside(0));
    ck_assert_int_eq(fake_engine_num_aborted(server.engine), 1);
    r = api_get(server.port, "/metrics");
    ck_assert_ptr_nonnull(strstr(r.raw.body.data, "finished_reason=\"stop\"} 1\n"));
    api_reply_release(&r);
}
END_TEST

static void
small_queue(struct app_config *cfg, struct fake_engine_config *engine)
{
    cfg->max_num_queued_tokens = 40;
    engine->queue_size = 4;
}

START_TEST(test_queue_full_is_503_for_all_of_a_request)
{
    struct raw r;
    start(small_queue);
    fake_engine_pause(server.engine, true);
    send_completion(&r, "{\"prompt\":\"abc\",\"n\":3,\"max_tokens\":4}");
    ck_assert(wait_inside(3));
    struct api_reply a = api_post(server.port, "/v1/completions", "{\"prompt\":\"a\",\"n\":2}");
    ck_assert_int_eq(a.status, 503);
    ck_assert_str_eq(api_text(&a, "error.code"), "queue_full");
    ck_assert_int_ge(atoi(api_header(&a, "Retry-After")), 1);
    ck_assert_int_eq(fake_engine_num_inside(server.engine), 3);
    api_reply_release(&a);
    a = api_post(server.port, "/v1/completions",
                 "{\"prompt\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"}");
    ck_assert_int_eq(a.status, 503);
    api_reply_release(&a);
    fake_engine_pause(server.engine, false);
    ck_assert_int_eq(raw_status(&r, 5000), 200);
    raw_close(&r);
    a = complete("{\"prompt\":\"a\",\"n\":2,\"max_tokens\":3}");
    api_reply_release(&a);
    a = api_get(server.port, "/metrics");
    ck_assert_ptr_nonnull(strstr(a.raw.body.data, "reason=\"max_num_queued_reqs\"} 1\n"));
    ck_assert_ptr_nonnull(strstr(a.raw.body.data, "reason=\"max_num_queued_tokens\"} 1\n"));
    api_reply_release(&a);
    api_server_stop(&server);
}
END_TEST

static void
short_times(struct app_config *cfg, struct fake_engine_config *engine)
{
    (void)engine;
    cfg->sse_keep_alive_ms = 20;
    cfg->request_timeout_ms = 300;
}

START_TEST(test_keep_alive_comments_and_timeouts)
{
    start(short_times);
    fake_engine_pause(server.engine, true);
    struct api_reply r = api_post(server.port, "/v1/completions",
                                  "{\"prompt\":\"abc\",\"stream\":true}");
    struct api_events e = api_events_parse(r.raw.body.data, r.raw.body.len);
    ck_assert(e.well_formed && e.done && r.raw.complete);
    ck_assert_uint_ge(e.num_comments, 3);
    ck_assert_uint_eq(e.len, 2);
    ck_assert_str_eq(json_string_value(api_at(e.json[0], "error.code")), "request_timeout");
    api_events_release(&e);
    api_reply_release(&r);
    r = api_post(server.port, "/v1/completions", "{\"prompt\":\"abc\"}");
    ck_assert_int_eq(r.status, 408);
    ck_assert_str_eq(api_header(&r, "x-should-retry"), "false");
    api_reply_release(&r);
    api_server_stop(&server);
}
END_TEST

static void
fail_engine(struct app *a)
{
    fake_engine_fail(a->engine);
}

/* One stream and one plain request under way while something happens. */
static void
end_under_way(void (*fn)(struct app *), int status, const char *code)
{
    struct raw stream, plain;
    struct raw_reply reply = {0};
    start(NULL);
    fake_engine_set_step_us(server.engine, 2000);
    send_completion(&stream, "{\"prompt\":\"ab\",\"max_tokens\":500,\"stream\":true}");
    send_completion(&plain, "{\"prompt\":\"ab\",\"max_tokens\":500}");
    ck_assert(wait_inside(2));
    usleep(30000);
    api_server_call(&server, fn);
    ck_assert_int_eq(raw_read(&stream, 5000, false, &reply), 200);
    struct api_events e = api_events_parse(reply.body.data, reply.body.len);
    ck_assert(reply.complete && e.well_formed && e.done && e.len >= 3);
    ck_assert_str_eq(json_string_value(api_at(e.json[e.len - 2], "error.code")), code);
    api_events_release(&e);
    raw_reply_release(&reply);
    ck_assert_int_eq(raw_status(&plain, 5000), status);
    raw_close(&stream);
    raw_close(&plain);
    ck_assert(wait_inside(0));
    api_server_stop(&server);
}

START_TEST(test_engine_failure_reaches_all)
{
    end_under_way(fail_engine, 500, "engine_dead");
}
END_TEST

START_TEST(test_abort_all_reaches_all)
{
    end_under_way(app_abort_all, 503, "shutting_down");
}
END_TEST

START_TEST(test_drain_lets_running_ones_finish)
{
    struct raw r;
    fake_engine_set_step_us(server.engine, 2000);
    send_completion(&r, "{\"prompt\":\"ab\",\"max_tokens\":40}");
    ck_assert(wait_inside(1));
    api_server_call(&server, app_drain);
    ck_assert_int_eq(raw_status(&r, 5000), 200);
    raw_close(&r);
}
END_TEST

START_TEST(test_client_leaves_while_the_pool_reads)
{
    struct buf b = {0};
    buf_puts(&b, "{\"max_tokens\":3,\"truncate_prompt_tokens\":5,\"prompt\":\"");
    for (int i = 0; i < 300000; i++)
        buf_putc(&b, 'x');
    buf_puts(&b, "\"}");
    struct api_reply reply = api_post(server.port, "/v1/completions", b.data);
    ck_assert_int_eq(reply.status, 200);
    ck_assert_int_eq(api_int(&reply, "usage.prompt_tokens"), 5);
    api_reply_release(&reply);
    for (int i = 0; i < 5; i++) {
        struct raw r;
        char head[128];
        raw_open(&r, server.port);
        int len = snprintf(head, sizeof head,
                           "POST /v1/completions HTTP/1.1\r\nHost: t\r\n"
                           "Content-Length: %zu\r\n\r\n",
                           b.len);
        raw_send(&r, head, (size_t)len);
        raw_send(&r, b.data, b.len);
        usleep(1000);
        raw_reset(&r);
    }
    buf_release(&b);
    usleep(50000);
    ck_assert(wait_inside(0));
}
END_TEST

/* ---- a crowd ------------------------------------------------------------- */

static void *
run_client(void *arg)
{
    int id = (int)(intptr_t)arg;
    for (int i = 0; i < 8; i++) {
        char body[256], *text;
        int tokens = 5 + (id * 8 + i) % 40;
        bool leave = (id + i) % 8 == 7;
        snprintf(body, sizeof body,
                 "{\"prompt\":\"%c%c\",\"max_tokens\":%d,\"stream\":true%s%s}", 'a' + id, 'A' + i,
                 tokens, (id + i) % 3 == 0 ? ",\"logprobs\":2" : "",
                 (id + i) % 4 == 0 ? ",\"stop\":[\"zz\",\"ab\"]" : "");
        if (leave) {
            struct raw r;
            send_completion(&r, body);
            usleep(2000);
            raw_reset(&r);
            continue;
        }
        struct api_events e = api_stream(server.port, body);
        text = api_events_text(&e, 0);
        bool good = e.well_formed && e.done && e.len == (size_t)tokens + 1
                    && strlen(text) == (size_t)tokens;
        for (int k = 0; k < tokens && good; k++)
            good = text[k] == (k % 2 == 0 ? 'a' + id : 'A' + i);
        free(text);
        api_events_release(&e);
        if (!good)
            return (void *)1;
    }
    return NULL;
}

START_TEST(test_64_mixed_streams)
{
    pthread_t threads[8];
    for (int i = 0; i < 8; i++)
        pthread_create(&threads[i], NULL, run_client, (void *)(intptr_t)i);
    for (int i = 0; i < 8; i++) {
        void *failed;
        pthread_join(threads[i], &failed);
        ck_assert_msg(failed == NULL, "client %d", i);
    }
    ck_assert(wait_inside(0));
}
END_TEST

void
test_api_add_life(Suite *s)
{
    TCase *t = tcase_create("life");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 20);
    tcase_add_test(t, test_disconnect_cancels_all_choices);
    tcase_add_test(t, test_stop_string_cancels_the_engine);
    tcase_add_test(t, test_drain_lets_running_ones_finish);
    tcase_add_test(t, test_client_leaves_while_the_pool_reads);
    tcase_add_test(t, test_64_mixed_streams);
    suite_add_tcase(s, t);
    t = tcase_create("special servers");
    tcase_set_timeout(t, 20);
    tcase_add_test(t, test_queue_full_is_503_for_all_of_a_request);
    tcase_add_test(t, test_keep_alive_comments_and_timeouts);
    tcase_add_test(t, test_engine_failure_reaches_all);
    tcase_add_test(t, test_abort_all_reaches_all);
    suite_add_tcase(s, t);
}
