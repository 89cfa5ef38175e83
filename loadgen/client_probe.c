/* SPDX-License-Identifier: Apache-2.0 */
/* What is asked of a server before a run: its model, and whether it is ready. */
#include "loadgen/client_private.h"
#include "util/json.h"

#include <string.h>

#define MODELS_TIMEOUT_MS 30000
#define MODELS_BYTES_MAX (1u << 20)
#define READY_RETRY_S 5

static void
on_single_done(struct request *r)
{
    uv_stop(&r->client->loop);
}

static void
on_pause_over(uv_timer_t *timer)
{
    uv_stop(timer->loop);
}

int
client_check_ready(struct client *c, const char *model, const struct prompt *prompt,
                   struct error *err)
{
    uint64_t end_ns = mono_ns() + (uint64_t)c->config->ready_check_timeout_s * 1000000000u;
    client_watch_signals(c);
    for (;;) {
        struct reply reply;
        reply_init(&reply, (int64_t)prompt->len, false);
        int e = client_send(c, model, prompt, NO_ID, &reply, on_single_done, err);
        if (e == 0)
            uv_run(&c->loop, UV_RUN_DEFAULT);
        client_cancel_requests(c);
        bool ready = reply.status == REPLY_SUCCEEDED;
        if (!ready && e == 0)
            e = error_set(err, ERR_IO, "the server is not ready: %s: %.300s",
                          reply.reason != NULL ? reply.reason : "no answer",
                          reply.error != NULL ? reply.error : "");
        reply_release(&reply);
        if (c->interrupted)
            return error_set(err, ERR_CANCELLED, "interrupted");
        if (ready)
            return 0;
        if (mono_ns() + (uint64_t)READY_RETRY_S * 1000000000u > end_ns)
            return e;
        uv_timer_start(&c->progress, on_pause_over, READY_RETRY_S * 1000, 0);
        uv_run(&c->loop, UV_RUN_DEFAULT);
        uv_timer_stop(&c->progress);
    }
}

/* GET /v1/models in flight. */
struct models_request {
    struct http_transfer transfer;
    struct client *client;
    struct buf body;
    char *error; /* owned */
};

static void
on_models_data(struct http_transfer *t, const char *bytes, size_t len)
{
    struct models_request *m = t->arg;
    if (buf_len(&m->body) + len <= MODELS_BYTES_MAX)
        buf_append(&m->body, bytes, len);
}

static void
on_models_done(struct http_transfer *t, const char *error)
{
    struct models_request *m = t->arg;
    m->error = error != NULL ? strdup(error) : NULL;
    uv_stop(&m->client->loop);
}

static int
read_models(const struct models_request *m, char **ret, struct error *err)
{
    json_t *body;
    int e = json_parse_object(buf_bytes(&m->body), buf_len(&m->body), 0, m->transfer.url, &body,
                              err);
    if (e < 0)
        return e;
    const json_t *first = json_array_get(json_object_get(body, "data"), 0);
    const char *id = json_string_value(json_object_get(first, "id"));
    if (id == NULL)
        e = error_set(err, ERR_CORRUPT, "'%s' lists no model", m->transfer.url);
    else if ((*ret = strdup(id)) == NULL)
        e = error_set(err, ERR_NOMEM, "out of memory");
    json_decref(body);
    return e;
}

int
client_find_model(struct client *c, char **ret, struct error *err)
{
    struct models_request m = {.client = c};
    m.transfer = (struct http_transfer){
        .url = c->models_url,
        .headers = c->headers,
        .timeout_ms = MODELS_TIMEOUT_MS,
        .arg = &m,
        .on_data = on_models_data,
        .on_done = on_models_done,
    };
    int e = http_start(&c->http, &m.transfer, err);
    if (e < 0)
        return e;
    uv_run(&c->loop, UV_RUN_DEFAULT);
    if (m.error != NULL)
        e = error_set(err, ERR_IO, "cannot ask '%s' for its models: %s", c->models_url, m.error);
    else if (m.transfer.status != 200)
        e = error_set(err, ERR_IO, "cannot ask '%s' for its models: HTTP %d", c->models_url,
                      m.transfer.status);
    else
        e = read_models(&m, ret, err);
    buf_release(&m.body);
    free(m.error);
    return e;
}
