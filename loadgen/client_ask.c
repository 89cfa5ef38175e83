/* SPDX-License-Identifier: Apache-2.0 */
/* What is asked of a server before a run: its model, and whether it is ready. */
#include "loadgen/client_private.h"
#include "util/json.h"

#include <string.h>

#define ASK_TIMEOUT_MS 30000
#define ANSWER_BYTES_MAX (16u << 20)
#define READY_RETRY_MS 5000

/* ---- one call ---- */

struct question {
    struct http_transfer transfer;
    struct buf *answer;
    struct error *err;
};

static void
on_answer_data(struct http_transfer *t, const char *bytes, size_t len)
{
    struct question *q = t->arg;
    if (buf_len(q->answer) + len <= ANSWER_BYTES_MAX)
        buf_append(q->answer, bytes, len);
}

static void
on_answer_done(struct http_transfer *t, const char *error)
{
    struct question *q = t->arg;
    if (error != NULL) {
        t->status = 0;
        error_set(q->err, ERR_IO, "%s", error);
    }
    uv_stop(t->http->loop);
}

void
client_ask(struct client *c, const char *path, const struct buf *body, struct buf *ret,
           int *ret_status, struct error *err)
{
    struct buf url = {0};
    struct question q = {.answer = ret, .err = err};
    buf_printf(&url, "%s%s", c->base_url, path);
    q.transfer = (struct http_transfer){
        .url = buf_bytes(&url),
        .body = body != NULL ? buf_bytes(body) : NULL,
        .body_bytes = body != NULL ? buf_len(body) : 0,
        .headers = c->headers,
        .timeout_ms = ASK_TIMEOUT_MS,
        .arg = &q,
        .on_data = on_answer_data,
        .on_done = on_answer_done,
    };
    client_watch_signals(c);
    if (http_start(&c->lanes[0].http, &q.transfer, err) == 0) {
        uv_run(&c->lanes[0].loop, UV_RUN_DEFAULT);
        if (q.transfer.connection != NULL) { /* Ctrl-C */
            http_cancel(&q.transfer);
            q.transfer.status = 0;
            error_set(err, ERR_CANCELLED, "interrupted");
        }
    }
    client_unwatch_signals(c);
    *ret_status = q.transfer.status;
    buf_release(&url);
}

/* ---- the model ---- */

static int
read_models(const struct buf *answer, char **ret_id, char **ret_root, struct error *err)
{
    json_t *body;
    int e = json_parse_object(buf_bytes(answer), buf_len(answer), 0, "/v1/models", &body, err);
    if (e < 0)
        return e;
    const json_t *first = json_array_get(json_object_get(body, "data"), 0);
    const char *id = json_string_value(json_object_get(first, "id"));
    const char *root = json_string_value(json_object_get(first, "root"));
    if (id == NULL) {
        e = error_set(err, ERR_CORRUPT, "/v1/models lists no model");
    } else {
        *ret_id = strdup(id);
        *ret_root = strdup(root != NULL ? root : id);
        if (*ret_id == NULL || *ret_root == NULL)
            e = error_set(err, ERR_NOMEM, "out of memory");
    }
    json_decref(body);
    return e;
}

int
client_find_model(struct client *c, char **ret_id, char **ret_root, struct error *err)
{
    struct buf answer = {0};
    struct error why = {0};
    int status, e;
    client_ask(c, "/v1/models", NULL, &answer, &status, &why);
    if (status == 0)
        e = error_set(err, ERR_IO, "cannot ask '%s' for its models: %s", c->base_url, why.text);
    else if (status != 200)
        e = error_set(err, ERR_IO, "cannot ask '%s' for its models: HTTP %d", c->base_url,
                      status);
    else
        e = read_models(&answer, ret_id, ret_root, err);
    buf_release(&answer);
    return e;
}

/* ---- readiness ---- */

static void
on_single_done(struct request *r)
{
    uv_stop(&r->lane->loop);
}

static void
on_pause_over(uv_timer_t *timer)
{
    uv_stop(timer->loop);
}

static int
not_ready(const struct reply *r, struct error *err)
{
    const char *reason = r->reason != NULL ? r->reason : "out of memory";
    if (r->error == NULL || strcmp(r->error, reason) == 0)
        return error_set(err, ERR_IO, "the server is not ready: %s", reason);
    return error_set(err, ERR_IO, "the server is not ready: %s: %.300s", reason, r->error);
}

/* Sends one request and waits for its end; an error says why it failed. */
static int
try_once(struct client *c, const struct prompt *prompt, struct error *err)
{
    struct lane *lane = &c->lanes[0];
    struct reply reply;
    reply_init(&reply, config_is_chat(c->config) ? REPLY_CHAT : REPLY_COMPLETION,
               (int64_t)prompt->len);
    int e = client_send(lane, prompt, NO_ID, &reply, on_single_done, err);
    if (e == 0)
        uv_run(&lane->loop, UV_RUN_DEFAULT);
    client_cancel_requests(lane);
    if (e == 0 && reply.status != REPLY_SUCCEEDED)
        e = not_ready(&reply, err);
    reply_release(&reply);
    return e;
}

/* As vLLM does: the time that is left is taken before a try, so that one more
 * try follows the last pause. */
static int
try_until_ready(struct client *c, const struct prompt *prompt, struct error *err)
{
    uint64_t end_ns = mono_ns() + (uint64_t)c->config->ready_check_timeout_s * 1000000000u;
    for (;;) {
        uint64_t now_ns = mono_ns();
        uint64_t left_ms = now_ns < end_ns ? (end_ns - now_ns) / 1000000 : 0;
        int e = c->interrupted ? 0 : try_once(c, prompt, err);
        if (c->interrupted)
            return error_set(err, ERR_CANCELLED, "interrupted");
        if (e == 0 || left_ms == 0)
            return e;
        uv_timer_start(&c->timer, on_pause_over, MIN(left_ms, (uint64_t)READY_RETRY_MS), 0);
        uv_run(&c->lanes[0].loop, UV_RUN_DEFAULT);
        uv_timer_stop(&c->timer);
    }
}

int
client_check_ready(struct client *c, const struct prompt *prompt, struct error *err)
{
    client_watch_signals(c);
    int e = try_until_ready(c, prompt, err);
    client_unwatch_signals(c);
    return e;
}
