/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The transport: HTTP/1.1 over libmicrohttpd in external epoll mode under a
 * libuv loop. Everything here runs on the loop thread. What libmicrohttpd does
 * stays behind this header (and can be exchanged behind it): the rest of the
 * server sees exchanges.
 *
 * An exchange is one request and its reply. Life:
 *   READING    headers, guard, body                     (ours)
 *   HANDLING   on_request was called, no reply yet      (the handler's)
 *   STREAMING  http_stream_start was called             (the handler's)
 *   CLOSED     on_close was called; the pointer is dead
 * on_close comes exactly once for each exchange that on_request saw: after the
 * reply has been handed to the kernel, or when the client left, a deadline
 * passed or the pending bytes went over the cap. It may come from inside
 * http_reply(), http_stream_start() and http_stream_write(), and it comes from
 * inside http_abort(); nothing may be called on the exchange afterwards.
 *
 * Half closing counts as leaving: a client that shuts its sending side down
 * after the request loses the answer.
 */
#ifndef SERVER_HTTP_H
#define SERVER_HTTP_H

#include "util/base.h"
#include "util/error.h"

#include <uv.h>

struct http_server;
struct http_exchange;

enum http_end {
    HTTP_END_COMPLETED,  /* the whole reply went out */
    HTTP_END_GONE,       /* the client closed, half-closed or reset */
    HTTP_END_DEADLINE,   /* a deadline of ours passed */
    HTTP_END_OVERFLOW,   /* the client reads too slowly: over max_pending_bytes */
    HTTP_END_ABORTED,    /* http_abort, or the server stopped */
};

struct http_config {
    const char *host;           /* NULL: all interfaces */
    int port;                   /* 0: any free one, see http_server_port */
    const char *uds;            /* path of a Unix socket instead, or NULL */
    int listen_fd;              /* inherited listening socket, or -1 */
    int max_connections;        /* beyond it: 503; the process needs 130 descriptors more */
    size_t max_body_bytes;      /* beyond it: 413 */
    size_t max_header_bytes;    /* beyond it: 431; request line included */
    size_t max_pending_bytes;   /* unsent bytes of one stream before it is dropped */
    int head_timeout_ms;        /* absolute, from accept to complete headers: closed or 408 */
    int body_timeout_ms;        /* absolute, from headers to complete body: 408 */
    int idle_timeout_ms;        /* keep-alive, and a writer that makes no progress;
                                   rounded up to seconds */
};

struct http_handlers {
    /*
     * Headers are there and passed the guard; no body yet. Returns true to go
     * on, or answers with http_reply() and returns false (the connection is
     * closed after that reply: the body was not read). For 401, 404, 405, 413.
     * No on_close follows unless on_request is reached, so that nothing owned
     * may be hung on the exchange here.
     */
    bool (*on_headers)(void *app, struct http_exchange *x);
    /* The whole body is there. The handler must answer now or later. */
    void (*on_request)(void *app, struct http_exchange *x);
    void (*on_close)(void *app, struct http_exchange *x, enum http_end how);
    /* Requests that never reached on_request and were not answered by
     * on_headers: the guard's, libmicrohttpd's own refusals, 408 for a
     * deadline, 499 for a client that left early, 503 over max_connections.
     * For metrics and the log; `peer` as http_peer(). May be NULL. */
    void (*on_refused)(void *app, const char *peer, int status, const char *reason);
};

/* Binds and listens; handlers are called from `loop` afterwards. */
int http_server_start(uv_loop_t *loop, const struct http_config *cfg,
                      const struct http_handlers *handlers, void *app,
                      struct http_server **ret, struct error *err);
int http_server_port(const struct http_server *s);
/* Stops listening; exchanges under way go on, connections close after them. */
void http_server_quiesce(struct http_server *s);
/* Exchanges on_request has seen and on_close has not. */
int http_server_active(const struct http_server *s);
int http_server_connections(const struct http_server *s);
/* Ends everything (HTTP_END_ABORTED), closes all handles on the loop and frees
 * `s` by itself when libuv is done with them (run the loop once more). From
 * inside a handler: as soon as the handler has returned. */
void http_server_stop(struct http_server *s);
/* Hands what has been written to the kernel: call once after a batch of
 * replies and stream writes that did not start in a handler. */
void http_server_flush(struct http_server *s);

/* The request. Strings are borrowed and live until on_close. */
const char *http_method(const struct http_exchange *x);
const char *http_path(const struct http_exchange *x);   /* raw; without query, scheme and host */
const char *http_query(const struct http_exchange *x);  /* after '?', or "" */
const char *http_header(const struct http_exchange *x, const char *name);
const char *http_body(const struct http_exchange *x, size_t *ret_len); /* NUL-terminated */
const char *http_peer(const struct http_exchange *x);   /* "127.0.0.1:43210", "unix" */
/* mono_ns when the request line was complete */
uint64_t http_arrival_ns(const struct http_exchange *x);

/* What the handler hangs on the exchange. */
void http_set_user(struct http_exchange *x, void *user);
void *http_user(const struct http_exchange *x);

/* Adds a header to the coming reply; before http_reply / http_stream_start.
 * Silently left out when name or value cannot be in a header. */
void http_add_header(struct http_exchange *x, const char *name, const char *value);
/* The whole answer. `body` is copied. */
void http_reply(struct http_exchange *x, int status, const char *content_type, const void *body,
                size_t len);
/* Begins a chunked answer (or one ended by close, for HTTP/1.0). */
void http_stream_start(struct http_exchange *x, int status, const char *content_type);
/* Appends; sent on the next flush or loop turn. Copied. False when the
 * exchange has just been dropped for overflow (on_close has been called). What
 * is written before a flush counts as pending, too. */
bool http_stream_write(struct http_exchange *x, const void *bytes, size_t len);
void http_stream_end(struct http_exchange *x);
/* Drops the connection without an end of the body; on_close comes from inside. */
void http_abort(struct http_exchange *x);
/* Closes the connection after the coming reply. */
void http_close_after(struct http_exchange *x);

#endif
