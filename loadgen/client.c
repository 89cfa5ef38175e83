/* SPDX-License-Identifier: Apache-2.0 */
#include "loadgen/client_private.h"
#include "loadgen/payload.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/random.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define REQUEST_TIMEOUT_MS (6 * 3600 * 1000)

/* ---- one request ---- */

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
    reply_feed(r->reply, t->status, bytes, len, mono_ns());
}

static void
on_request_done(struct http_transfer *t, const char *error)
{
    struct request *r = t->arg;
    reply_finish(r->reply, t->status, error, mono_ns());
    r->on_done(r);
    request_free(r);
}

/* The common headers and the request's own id. */
static struct curl_slist *
headers_with_id(const struct client *c, size_t index)
{
    struct buf id = {0};
    struct curl_slist *headers = NULL;
    for (const struct curl_slist *h = c->headers; h != NULL; h = h->next)
        headers = curl_slist_append(headers, h->data);
    buf_printf(&id, "x-request-id: %s%zu", c->id_prefix, index);
    headers = curl_slist_append(headers, buf_bytes(&id));
    buf_release(&id);
    return headers;
}

int
client_send(struct client *c, const char *model, const struct prompt *prompt, size_t index,
            struct reply *reply, void (*on_done)(struct request *r), struct error *err)
{
    struct request *r = calloc(1, sizeof *r);
    if (r == NULL)
        return error_set(err, ERR_NOMEM, "out of memory for a request");
    r->client = c;
    r->reply = reply;
    r->on_done = on_done;
    payload_completion(c->config, model, prompt, &r->body);
    if (index != NO_ID)
        r->headers = headers_with_id(c, index);
    if (r->body.failed) {
        request_free(r);
        return error_set(err, ERR_NOMEM, "out of memory for a request");
    }
    r->transfer = (struct http_transfer){
        .url = c->url,
        .body = buf_bytes(&r->body),
        .body_bytes = buf_len(&r->body),
        .headers = r->headers != NULL ? r->headers : c->headers,
        .timeout_ms = REQUEST_TIMEOUT_MS,
        .arg = r,
        .on_data = on_request_data,
        .on_done = on_request_done,
    };
    reply_start(reply, mono_ns());
    int e = http_start(&c->http, &r->transfer, err);
    if (e < 0)
        request_free(r);
    return e;
}

void
client_cancel_requests(struct client *c)
{
    while (!list_empty(&c->http.transfers)) {
        struct http_transfer *t =
            container_of(c->http.transfers.next, struct http_transfer, node);
        struct request *r = t->arg;
        http_cancel(t);
        r->reply->status = REPLY_CANCELLED;
        request_free(r);
    }
}

/* ---- signals ---- */

/* A second one finds no handler, and ends the program. */
static void
on_signal(uv_signal_t *handle, int number)
{
    struct client *c = handle->data;
    (void)number;
    c->interrupted = true;
    uv_signal_stop(&c->interrupt);
    uv_signal_stop(&c->terminate);
    uv_stop(&c->loop);
}

void
client_watch_signals(struct client *c)
{
    uv_signal_start_oneshot(&c->interrupt, on_signal, SIGINT);
    uv_signal_start_oneshot(&c->terminate, on_signal, SIGTERM);
}

/* ---- life ---- */

static int
make_strings(struct client *c, struct error *err)
{
    const struct config *config = c->config;
    struct buf url = {0}, models = {0}, prefix = {0}, key = {0};
    uint32_t random = 0;
    config_url(config, &url);
    config_url(config, &models);
    buf_puts(&url, config->endpoint);
    buf_puts(&models, "/v1/models");
    if (config->request_id_prefix != NULL) {
        buf_puts(&prefix, config->request_id_prefix);
    } else {
        if (getrandom(&random, sizeof random, 0) < 0)
            random = (uint32_t)mono_ns();
        buf_printf(&prefix, "bench-%08x-", random);
    }
    c->url = buf_take(&url, NULL);
    c->models_url = buf_take(&models, NULL);
    c->id_prefix = buf_take(&prefix, NULL);
    c->headers = curl_slist_append(NULL, "Content-Type: application/json");
    c->headers = curl_slist_append(c->headers, "Expect:"); /* no 100-continue */
    if (config->api_key != NULL) {
        buf_printf(&key, "Authorization: Bearer %s", config->api_key);
        c->headers = curl_slist_append(c->headers, buf_bytes(&key));
        buf_release(&key);
    }
    if (c->url == NULL || c->models_url == NULL || c->id_prefix == NULL || c->headers == NULL)
        return error_set(err, ERR_NOMEM, "out of memory");
    return 0;
}

static int
init_loop(struct client *c, struct error *err)
{
    uv_loop_init(&c->loop);
    c->clock_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (c->clock_fd < 0)
        return error_set(err, ERR_IO, "cannot create a timer: %s", strerror(errno));
    uv_poll_init(&c->loop, &c->clock, c->clock_fd);
    uv_signal_init(&c->loop, &c->interrupt);
    uv_signal_init(&c->loop, &c->terminate);
    uv_timer_init(&c->loop, &c->progress);
    c->interrupt.data = c->terminate.data = c;
    return http_init(&c->http, &c->loop, c->config->insecure, err);
}

int
client_new(const struct config *config, struct client **ret, struct error *err)
{
    struct client *c = calloc(1, sizeof *c);
    if (c == NULL)
        return error_set(err, ERR_NOMEM, "out of memory");
    c->config = config;
    curl_global_init(CURL_GLOBAL_DEFAULT);
    int e = init_loop(c, err);
    if (e == 0)
        e = make_strings(c, err);
    if (e < 0) {
        client_free(c);
        return e;
    }
    *ret = c;
    return 0;
}

static void
close_handle(uv_handle_t *handle, void *arg)
{
    (void)arg;
    if (!uv_is_closing(handle))
        uv_close(handle, NULL);
}

void
client_free(struct client *c)
{
    if (c == NULL)
        return;
    if (c->http.multi != NULL)
        client_cancel_requests(c);
    http_release(&c->http);
    uv_walk(&c->loop, close_handle, NULL);
    while (uv_run(&c->loop, UV_RUN_DEFAULT) != 0)
        ;
    uv_loop_close(&c->loop);
    if (c->clock_fd >= 0)
        close(c->clock_fd);
    curl_slist_free_all(c->headers);
    free(c->url);
    free(c->models_url);
    free(c->id_prefix);
    free(c);
    curl_global_cleanup();
}
