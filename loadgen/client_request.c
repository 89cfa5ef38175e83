/* SPDX-License-Identifier: Apache-2.0 */
/* One request, from its body to its reply. */
#include "loadgen/client_private.h"

static void
request_free(struct request *r)
{
    buf_release(&r->body);
    curl_slist_free_all(r->headers);
    free(r);
}

static void
on_request_data(struct http_transfer *t, const char *bytes, size_t len)
{
    struct request *r = t->arg;
    size_t before = r->reply->num_events;
    reply_feed(r->reply, t->status, bytes, len, t->http->arrival_ns);
    uint64_t num_tokens = atomic_load_explicit(&r->lane->num_tokens, memory_order_relaxed);
    atomic_store_explicit(&r->lane->num_tokens, num_tokens + r->reply->num_events - before,
                          memory_order_relaxed);
}

static void
on_request_done(struct http_transfer *t, const char *error)
{
    struct request *r = t->arg;
    reply_finish(r->reply, t->status, error, mono_ns());
    r->on_done(r);
    request_free(r);
}

int
client_send(struct lane *lane, const struct prompt *prompt, size_t index, struct reply *reply,
            void (*on_done)(struct request *r), struct error *err)
{
    const struct client *c = lane->client;
    struct request *r = calloc(1, sizeof *r);
    if (r == NULL)
        return error_set(err, ERR_NOMEM, "out of memory for a request");
    r->lane = lane;
    r->reply = reply;
    r->on_done = on_done;
    payload_write(&c->payload, prompt, &r->body);
    if (index != NO_ID)
        r->headers = client_headers_with_id(c, index);
    if (r->body.failed || (index != NO_ID && r->headers == NULL)) {
        request_free(r);
        return error_set(err, ERR_NOMEM, "out of memory for a request");
    }
    r->transfer = (struct http_transfer){
        .url = c->url,
        .body = buf_bytes(&r->body),
        .body_bytes = buf_len(&r->body),
        .headers = r->headers != NULL ? r->headers : c->headers,
        .timeout_ms = (int64_t)(c->config->timeout_s * 1000),
        .arg = r,
        .on_data = on_request_data,
        .on_done = on_request_done,
    };
    reply_start(reply, mono_ns());
    int e = http_start(&lane->http, &r->transfer, err);
    if (e < 0)
        request_free(r);
    return e;
}

void
client_cancel_requests(struct lane *lane)
{
    while (!list_empty(&lane->http.transfers)) {
        struct http_transfer *t =
            container_of(lane->http.transfers.next, struct http_transfer, node);
        struct request *r = t->arg;
        http_cancel(t);
        reply_cancel(r->reply, mono_ns());
        request_free(r);
    }
}
