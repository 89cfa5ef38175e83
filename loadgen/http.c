/* SPDX-License-Identifier: Apache-2.0 */
/* A request over a connection: written, its answer read, the connection kept. */
#include "loadgen/http_private.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

/* ---- the request ---- */

static bool
has_header(const struct curl_slist *headers, const char *name)
{
    size_t len = strlen(name);
    for (; headers != NULL; headers = headers->next) {
        if (strncasecmp(headers->data, name, len) == 0 && headers->data[len] == ':')
            return true;
    }
    return false;
}

/* "http://host:1/path?x" gives Host "host:1" and the target "/path?x". */
static void
write_request(struct http_transfer *t)
{
    struct buf *b = &t->request;
    const char *host = strstr(t->url, "://");
    host = host != NULL ? host + 3 : t->url;
    size_t host_len = strcspn(host, "/?#");
    const char *target = host + host_len;
    size_t target_len = strcspn(target, "#");
    buf_printf(b, "%s %s%.*s HTTP/1.1\r\n", t->body != NULL ? "POST" : "GET",
               target[0] == '/' ? "" : "/", (int)target_len, target);
    if (!has_header(t->headers, "Host"))
        buf_printf(b, "Host: %.*s\r\n", (int)host_len, host);
    if (!has_header(t->headers, "Accept"))
        buf_puts(b, "Accept: */*\r\n");
    for (const struct curl_slist *h = t->headers; h != NULL; h = h->next)
        buf_printf(b, "%s\r\n", h->data);
    if (t->body != NULL)
        buf_printf(b, "Content-Length: %zu\r\n", t->body_bytes);
    buf_puts(b, "\r\n");
    buf_append(b, t->body, t->body != NULL ? t->body_bytes : 0);
}

/* ---- ends ---- */

/* Takes the transfer off its connection, which may be NULL. */
static struct http_connection *
detach(struct http_transfer *t)
{
    struct http_connection *c = t->connection;
    list_remove(&t->node);
    http_response_release(&t->response);
    buf_release(&t->request);
    t->connection = NULL;
    if (c != NULL)
        c->transfer = NULL;
    return c;
}

static void
keep_idle(struct http_connection *c)
{
    if (http_connection_wait(c, 0) != 0) {
        http_connection_close(c);
        return;
    }
    c->was_used = true;
    list_prepend(&c->http->idle, &c->node);
}

static void
end(struct http_transfer *t, const char *error)
{
    bool keep = error == NULL && t->response.keeps_alive;
    t->status = t->response.status;
    struct http_connection *c = detach(t);
    if (keep)
        keep_idle(c);
    t->on_done(t, error); /* may be a text of the connection, and free `t` */
    if (!keep && c != NULL)
        http_connection_close(c);
}

static struct http_transfer *
first_failed(struct http *http)
{
    list_for_each(pos, &http->transfers) {
        struct http_transfer *t = container_of(pos, struct http_transfer, node);
        if (t->error != NULL)
            return t;
    }
    return NULL;
}

static void
on_soon(uv_timer_t *timer)
{
    struct http *http = container_of(timer, struct http, soon);
    struct http_transfer *t;
    while ((t = first_failed(http)) != NULL)
        end(t, t->error);
}

/* As `end`, but not inside http_start, whose caller does not expect it. */
static void
fail(struct http_transfer *t, const char *error)
{
    struct http *http = t->http;
    if (!http->is_starting) {
        end(t, error);
        return;
    }
    t->error = error;
    uv_timer_start(&http->soon, on_soon, 0, 0);
}

/* The connection broke. One that was kept may have been closed by the server
 * just before this request, which then goes over a new one. */
static void
fail_or_send_again(struct http_transfer *t, const char *error)
{
    struct http_connection *c = t->connection;
    struct error err;
    if (!c->was_used || t->response.has_begun) {
        fail(t, error);
        return;
    }
    c->transfer = NULL;
    http_connection_close(c);
    t->connection = NULL;
    t->num_sent = 0;
    if (http_connect(t->http, t, &err) < 0)
        fail(t, "out of memory for a connection");
}

/* ---- deadlines ---- */

static void
on_deadline(uv_timer_t *timer)
{
    struct http *http = container_of(timer, struct http, deadline);
    while (!list_empty(&http->transfers)) {
        struct http_transfer *t =
            container_of(http->transfers.next, struct http_transfer, node);
        uint64_t now_ns = mono_ns();
        if (t->deadline_ns == 0 || t->deadline_ns > now_ns) {
            uint64_t left_ns = t->deadline_ns != 0 ? t->deadline_ns - now_ns : 1000000000;
            uv_timer_start(timer, on_deadline, left_ns / 1000000 + 1, 0);
            return;
        }
        end(t, HTTP_TIMED_OUT);
    }
}

static void
set_deadline(struct http_transfer *t)
{
    struct http *http = t->http;
    t->deadline_ns = t->timeout_ms > 0 ? mono_ns() + (uint64_t)t->timeout_ms * 1000000 : 0;
    if (t->timeout_ms > 0 && list_empty(&http->transfers))
        uv_timer_start(&http->deadline, on_deadline, (uint64_t)t->timeout_ms, 0);
}

/* ---- bytes ---- */

static void
on_body(void *arg, const char *bytes, size_t len)
{
    struct http_transfer *t = arg;
    t->status = t->response.status;
    t->on_data(t, bytes, len);
}

/* Sends as much as the socket takes, and waits for the rest and the answer. */
static void
send_rest(struct http_connection *c)
{
    struct http_transfer *t = c->transfer;
    size_t len = buf_len(&t->request) - t->num_sent;
    ssize_t n = len > 0 ? http_connection_send(c, buf_bytes(&t->request) + t->num_sent, len) : 0;
    if (n < 0 && errno != EAGAIN) {
        fail_or_send_again(t, strerror(errno));
        return;
    }
    t->num_sent += n > 0 ? (size_t)n : 0;
    bool is_sent = t->num_sent == buf_len(&t->request);
    if (http_connection_wait(c, UV_READABLE | (is_sent ? 0 : UV_WRITABLE)) != 0)
        fail(t, "out of memory for a connection");
}

/* Whether there may be more to read at once. */
static bool
receive(struct http_connection *c)
{
    struct http *http = c->http;
    struct http_transfer *t = c->transfer;
    ssize_t n = http_connection_receive(c, http->bytes, sizeof http->bytes, &http->arrival_ns);
    if (n < 0 && errno == EAGAIN)
        return false;
    if (n < 0) {
        fail_or_send_again(t, strerror(errno));
        return false;
    }
    if (n == 0) {
        const char *wrong = http_response_end(&t->response);
        if (wrong != NULL)
            fail_or_send_again(t, wrong);
        else
            end(t, NULL);
        return false;
    }
    const char *wrong = http_response_feed(&t->response, http->bytes, (size_t)n);
    if (wrong != NULL || t->response.state == RESPONSE_DONE) {
        end(t, wrong);
        return false;
    }
    return c->is_tls; /* which may have more than the socket shows */
}

void
http_ready(struct http_connection *c, int events)
{
    if ((events & UV_WRITABLE) != 0)
        send_rest(c); /* may end the transfer; `c` is freed in a later turn at the earliest */
    if (c->transfer == NULL || (events & UV_READABLE) == 0)
        return;
    while (receive(c))
        ;
}

void
http_connected(struct http_connection *c)
{
    send_rest(c);
}

void
http_not_connected(struct http_connection *c, const char *error)
{
    fail(c->transfer, error);
}

/* ---- life ---- */

int
http_init(struct http *http, uv_loop_t *loop, bool insecure, struct curl_slist *addresses,
          struct error *err)
{
    http->loop = loop;
    http->insecure = insecure;
    http->addresses = addresses;
    list_init(&http->transfers);
    list_init(&http->idle);
    if (http_multi_init(http) < 0)
        return error_set(err, ERR_NOMEM, "cannot start libcurl");
    uv_timer_init(loop, &http->deadline);
    uv_timer_init(loop, &http->soon);
    uv_unref((uv_handle_t *)&http->deadline);
    return 0;
}

int
http_start(struct http *http, struct http_transfer *t, struct error *err)
{
    t->http = http;
    t->status = 0;
    t->num_sent = 0;
    t->error = NULL;
    t->request = (struct buf){0};
    http_response_init(&t->response, on_body, t);
    write_request(t);
    if (t->request.failed) {
        buf_release(&t->request);
        return error_set(err, ERR_NOMEM, "out of memory for a request");
    }
    bool was_starting = http->is_starting;
    int e = 0;
    set_deadline(t);
    list_append(&http->transfers, &t->node);
    http->is_starting = true;
    t->connection = http_connection_reuse(http);
    if (t->connection != NULL) {
        t->connection->transfer = t;
        send_rest(t->connection);
    } else {
        e = http_connect(http, t, err);
    }
    http->is_starting = was_starting;
    if (e < 0)
        detach(t);
    return e;
}

void
http_cancel(struct http_transfer *t)
{
    struct http_connection *c = detach(t);
    if (c != NULL)
        http_connection_close(c);
}

void
http_release(struct http *http)
{
    if (http->multi == NULL)
        return;
    ASSERT(list_empty(&http->transfers));
    while (!list_empty(&http->idle)) {
        struct http_connection *c = container_of(http->idle.next, struct http_connection, node);
        list_remove(&c->node);
        http_connection_close(c);
    }
    curl_multi_cleanup(http->multi);
    http->multi = NULL;
    uv_close((uv_handle_t *)&http->timer, NULL);
    uv_close((uv_handle_t *)&http->deadline, NULL);
    uv_close((uv_handle_t *)&http->soon, NULL);
}
