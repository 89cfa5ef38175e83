/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The exchange: what handlers read and how they answer. A reply or the
 * beginning of a stream becomes a libmicrohttpd response, which http_conn.c
 * queues when libmicrohttpd asks for it; a stream's bytes wait in `pending`
 * until libmicrohttpd takes all it has room for. Loop thread only.
 */
#include "server/http_guard.h"
#include "server/http_private.h"

#include <microhttpd.h>

#define STREAM_BLOCK_BYTES 4096  /* HTTP/1.0 only: chunked goes another way */

struct http_exchange *
http_exchange_new(struct http_conn *c, const char *uri)
{
    size_t len = uri == NULL ? 0 : strnlen(uri, HTTP_GUARD_MAX_URI + 1);
    struct http_exchange *x = calloc(1, sizeof *x + 2 * (len + 2));
    if (x == NULL)
        return NULL;
    x->conn = c;
    x->state = EXCHANGE_READING;
    x->arrival_ns = mono_ns();
    x->uri_missing = uri == NULL;
    if (len > 0)
        memcpy(x->uri, uri, len);
    x->uri_len = len;
    return x;
}

/* The second half of `uri` gets the path and the query, each with its NUL. */
void
http_exchange_parse(struct http_exchange *x, const char *method)
{
    snprintf(x->method, sizeof x->method, "%s", method);
    size_t path_len;
    const char *path = http_guard_path(x->uri, &path_len);
    x->path = x->uri + x->uri_len + 1;
    memcpy(x->path, path, path_len);
    x->path[path_len] = '\0';
    x->query = strchr(x->uri, '?');
    if (x->query == NULL)
        x->query = x->uri + x->uri_len;
    else
        x->query++;
}

void
http_exchange_free(struct http_exchange *x)
{
    if (x->response != NULL)
        MHD_destroy_response(x->response);
    buf_release(&x->headers);
    buf_release(&x->body);
    buf_release(&x->pending);
    free(x);
}

void
http_exchange_set_state(struct http_exchange *x, enum exchange_state state)
{
    static const unsigned next[] = {
        [EXCHANGE_READING] = 1u << EXCHANGE_HANDLING | 1u << EXCHANGE_REPLYING,
        [EXCHANGE_HANDLING] = 1u << EXCHANGE_REPLYING | 1u << EXCHANGE_STREAMING,
        [EXCHANGE_STREAMING] = 1u << EXCHANGE_ENDING,
        [EXCHANGE_REPLYING] = 0,
        [EXCHANGE_ENDING] = 0,
        [EXCHANGE_CLOSED] = 0,
    };
    ASSERT(state == EXCHANGE_CLOSED || (next[x->state] & 1u << state) != 0);
    x->state = state;
}

void
http_exchange_finish(struct http_exchange *x, enum http_end how)
{
    http_exchange_set_state(x, EXCHANGE_CLOSED);
    if (!x->active)
        return;
    struct http_server *s = x->conn->server;
    x->active = false;
    s->num_active--;
    s->handlers.on_close(s->app, x, how);
}

const char *
http_method(const struct http_exchange *x)
{
    return x->method;
}

const char *
http_path(const struct http_exchange *x)
{
    return x->path;
}

const char *
http_query(const struct http_exchange *x)
{
    return x->query;
}

const char *
http_header(const struct http_exchange *x, const char *name)
{
    return MHD_lookup_connection_value(x->conn->mhd, MHD_HEADER_KIND, name);
}

const char *
http_body(const struct http_exchange *x, size_t *ret_len)
{
    if (ret_len != NULL)
        *ret_len = buf_len(&x->body);
    return buf_bytes(&x->body);
}

const char *
http_peer(const struct http_exchange *x)
{
    return x->conn->peer;
}

uint64_t
http_arrival_ns(const struct http_exchange *x)
{
    return x->arrival_ns;
}

void
http_set_user(struct http_exchange *x, void *user)
{
    x->user = user;
}

void *
http_user(const struct http_exchange *x)
{
    return x->user;
}

void
http_add_header(struct http_exchange *x, const char *name, const char *value)
{
    buf_append(&x->headers, name, strlen(name) + 1);
    buf_append(&x->headers, value, strlen(value) + 1);
}

void
http_close_after(struct http_exchange *x)
{
    x->close_after = true;
}

/* Takes `response`, which may be NULL: out of memory. Queued on the way back
 * to libmicrohttpd when it is waiting for this handler, else by a resume. */
static void
answer(struct http_exchange *x, enum exchange_state state, int status, const char *content_type,
       struct MHD_Response *response)
{
    if (response == NULL || x->headers.failed) {
        if (response != NULL)
            MHD_destroy_response(response);
        http_abort(x);
        return;
    }
    if (content_type != NULL)
        MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, content_type);
    for (size_t at = 0; at < x->headers.len;) {
        const char *name = x->headers.data + at;
        at += strlen(name) + 1;
        const char *value = x->headers.data + at;
        at += strlen(value) + 1;
        MHD_add_response_header(response, name, value);
    }
    if (x->close_after || x->conn->server->quiesced)
        MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
    x->response = response;
    x->status = status;
    http_exchange_set_state(x, state);
    http_conn_resume(x->conn);
}

void
http_reply(struct http_exchange *x, int status, const char *content_type, const void *body,
           size_t len)
{
    char *copy = malloc(len + 1);
    struct MHD_Response *response = NULL;
    if (copy != NULL) {
        if (len > 0)
            memcpy(copy, body, len);
        response = MHD_create_response_from_buffer(len, copy, MHD_RESPMEM_MUST_FREE);
        if (response == NULL)
            free(copy);
    }
    answer(x, EXCHANGE_REPLYING, status, content_type, response);
}

void
http_exchange_refuse(struct http_exchange *x, int status, const char *reason)
{
    const char *type = status == MHD_HTTP_SERVICE_UNAVAILABLE ? "ServiceUnavailableError"
                                                              : "BadRequestError";
    char text[256];
    int len = snprintf(text, sizeof text,
                       "{\"error\":{\"message\":\"%s\",\"type\":\"%s\",\"param\":null,"
                       "\"code\":%d}}",
                       reason, type, status);
    if (status == MHD_HTTP_SERVICE_UNAVAILABLE)
        http_add_header(x, MHD_HTTP_HEADER_RETRY_AFTER, "1");
    http_close_after(x);
    http_reply(x, status, "application/json", text, (size_t)len);
}

/* libmicrohttpd wants bytes of the stream. Returning 0 without suspending
 * would make it ask again for ever. */
static ssize_t
read_stream(void *cls, uint64_t pos, char *space, size_t space_bytes)
{
    struct http_exchange *x = cls;
    (void)pos;
    if (x->state == EXCHANGE_CLOSED)
        return MHD_CONTENT_READER_END_WITH_ERROR;
    size_t n = MIN(buf_len(&x->pending), space_bytes);
    if (n > 0) {
        memcpy(space, buf_bytes(&x->pending), n);
        buf_consume(&x->pending, n);
        return (ssize_t)n;
    }
    if (x->state == EXCHANGE_ENDING)
        return MHD_CONTENT_READER_END_OF_STREAM;
    x->suspended = true;
    MHD_suspend_connection(x->conn->mhd);
    return 0;
}

void
http_stream_start(struct http_exchange *x, int status, const char *content_type)
{
    ASSERT(x->state == EXCHANGE_HANDLING);
    /* To HEAD libmicrohttpd 0.9.75 would send the final chunk of a chunked
     * body, which the client takes for the next reply. */
    struct MHD_Response *response =
        strcmp(x->method, MHD_HTTP_METHOD_HEAD) == 0
            ? MHD_create_response_from_buffer(0, "", MHD_RESPMEM_PERSISTENT)
            : MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, STREAM_BLOCK_BYTES, read_stream,
                                                x, NULL);
    answer(x, EXCHANGE_STREAMING, status, content_type, response);
}

bool
http_stream_write(struct http_exchange *x, const void *bytes, size_t len)
{
    ASSERT(x->state == EXCHANGE_STREAMING);
    buf_append(&x->pending, bytes, len);
    if (x->pending.failed || buf_len(&x->pending) > x->conn->server->cfg.max_pending_bytes) {
        http_conn_kill(x->conn);
        http_exchange_finish(x, HTTP_END_OVERFLOW);
        return false;
    }
    if (len > 0)
        http_conn_resume(x->conn);
    return true;
}

void
http_stream_end(struct http_exchange *x)
{
    http_exchange_set_state(x, EXCHANGE_ENDING);
    http_conn_resume(x->conn);
}

void
http_abort(struct http_exchange *x)
{
    http_conn_kill(x->conn);
    http_exchange_finish(x, HTTP_END_ABORTED);
}
