/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections, and what libmicrohttpd calls back for them. Per connection: a
 * watch for the client leaving (libmicrohttpd does not look at suspended
 * connections) and an absolute deadline (its own timeout starts again with
 * every byte). Loop thread only, inside http_server_pump() but for the two
 * libuv callbacks.
 */
#include "server/http_guard.h"
#include "server/http_private.h"

#include <microhttpd.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#define SPARE_CONNECTIONS 64       /* beyond the limit: they get a 503 */
#define OVER_LIMIT_TIMEOUT_MS 2000
#define LEAVING_TIMEOUT_MS 500
#define STATUS_CLIENT_LEFT 499         /* never sent: for the log, as nginx does */
#define SEND_BUFFER_BYTES (128 * 1024)
#define TCP_USER_TIMEOUT_MS 30000
#define POOL_BYTES_MIN (32 * 1024)
#define POOL_BYTES_WORK (16 * 1024)  /* header records and the write buffer */

static const char left_early[] = "the client left before the request was complete";
static const char request_timeout_reply[] =
    "HTTP/1.1 408 Request Timeout\r\n"
    "Connection: close\r\n"
    "Content-Type: application/json\r\n"
    "Content-Length: 98\r\n"
    "\r\n"
    "{\"error\":{\"message\":\"the request took too long\",\"type\":"
    "\"BadRequestError\",\"param\":null,\"code\":408}}";

static void set_deadline(struct http_conn *c, int after_ms);

static void
report_refused(struct http_exchange *x, int status, const char *reason)
{
    struct http_server *s = x->conn->server;
    if (!x->reported && s->handlers.on_refused != NULL)
        s->handlers.on_refused(s->app, x->conn->peer, status, reason);
    x->reported = true;
}

void
http_conn_resume(struct http_conn *c)
{
    struct http_exchange *x = c->exchange;
    if (x == NULL || !x->suspended)
        return;
    x->suspended = false;
    MHD_resume_connection(c->mhd);
    c->server->need_run = true;
}

void
http_conn_kill(struct http_conn *c)
{
    if (c->killed)
        return;
    c->killed = true;
    shutdown(c->fd, SHUT_RDWR);
    http_conn_resume(c);
    c->server->need_run = true;
}

/*
 * Any event, and any error, means that the client left; a half close counts,
 * too. With a request under way that ends it. Before that libmicrohttpd is
 * given a moment: a whole request may still lie unread before the end. It
 * cannot be left to itself: when the end arrives together with the last bytes
 * its edge-triggered epoll misses it.
 */
static void
on_watch(uv_poll_t *p, int status, int events)
{
    struct http_conn *c = p->data;
    struct http_exchange *x = c->exchange;
    (void)status;
    (void)events;
    uv_poll_stop(p);
    if (x == NULL || !x->active) {
        c->leaving = true;
        if (uv_timer_get_due_in(&c->deadline) > LEAVING_TIMEOUT_MS)
            set_deadline(c, LEAVING_TIMEOUT_MS);
        return;
    }
    http_conn_kill(c);
    http_exchange_finish(x, HTTP_END_GONE);
    http_server_pump(c->server);
}

/* Of the reply that libmicrohttpd is sending, be it its own; 0: none. */
static int
reply_status(struct MHD_Connection *mhd)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_HTTP_STATUS);
    return info == NULL ? 0 : (int)info->http_status;
}

static void
on_deadline(uv_timer_t *t)
{
    struct http_conn *c = t->data;
    struct http_exchange *x = c->exchange;
    bool reading = x != NULL && x->state == EXCHANGE_READING && reply_status(c->mhd) == 0;
    if (reading && !c->leaving) {
        /* Nothing has been sent for this request: the answer can go past
         * libmicrohttpd, which would not take one now. */
        (void)!send(c->fd, request_timeout_reply, sizeof request_timeout_reply - 1,
                    MSG_DONTWAIT | MSG_NOSIGNAL);
    }
    http_conn_kill(c);
    if (reading && c->leaving)
        report_refused(x, STATUS_CLIENT_LEFT, left_early);
    else if (reading)
        report_refused(x, MHD_HTTP_REQUEST_TIMEOUT, "the request took too long");
    http_server_pump(c->server);
}

static void
set_deadline(struct http_conn *c, int after_ms)
{
    int ms = c->leaving ? MIN(after_ms, LEAVING_TIMEOUT_MS) : after_ms;
    uv_timer_start(&c->deadline, on_deadline, (uint64_t)MAX(ms, 1), 0);
}

static void
set_socket_options(int fd, const struct sockaddr *peer)
{
    int one = 1, user_timeout = TCP_USER_TIMEOUT_MS, send_buffer = SEND_BUFFER_BYTES;
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &send_buffer, sizeof send_buffer);
    if (peer == NULL || (peer->sa_family != AF_INET && peer->sa_family != AF_INET6))
        return;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &user_timeout, sizeof user_timeout);
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
}

static void
conn_open(struct http_server *s, struct MHD_Connection *mhd, void **socket_context)
{
    int fd = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
    struct http_conn *c = calloc(1, sizeof *c);
    if (c == NULL || uv_poll_init(s->loop, &c->watch, fd) != 0) {
        free(c);
        shutdown(fd, SHUT_RDWR);
        return;
    }
    uv_timer_init(s->loop, &c->deadline);
    c->num_handles = 2;
    s->num_handles += 2;
    c->watch.data = c->deadline.data = c;
    c->server = s;
    c->mhd = mhd;
    c->fd = fd;
    const union MHD_ConnectionInfo *addr =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    const struct sockaddr *peer = addr == NULL ? NULL : addr->client_addr;
    http_peer_name(peer, c->peer, sizeof c->peer);
    set_socket_options(fd, peer);
    uv_poll_start(&c->watch, UV_DISCONNECT, on_watch);
    list_append(&s->conns, &c->node);
    c->over_limit = ++s->num_connections > s->cfg.max_connections;
    set_deadline(c, c->over_limit ? MIN(s->cfg.head_timeout_ms, OVER_LIMIT_TIMEOUT_MS)
                                  : s->cfg.head_timeout_ms);
    *socket_context = c;
}

static void
on_handle_closed(uv_handle_t *h)
{
    struct http_conn *c = h->data;
    struct http_server *s = c->server;
    if (--c->num_handles == 0)
        free(c);
    http_server_unref(s);
}

/* libmicrohttpd closes the socket after this. */
static void
conn_close(struct http_conn *c)
{
    struct http_server *s = c->server;
    if (c->unread && !c->killed)
        http_linger_start(s, c->fd);
    c->mhd = NULL;
    c->fd = -1;
    list_remove(&c->node);
    s->num_connections--;
    s->need_run = true;
    uv_poll_stop(&c->watch);
    uv_close((uv_handle_t *)&c->watch, on_handle_closed);
    uv_close((uv_handle_t *)&c->deadline, on_handle_closed);
}

static void
on_connection(void *cls, struct MHD_Connection *mhd, void **socket_context,
              enum MHD_ConnectionNotificationCode code)
{
    if (code == MHD_CONNECTION_NOTIFY_STARTED)
        conn_open(cls, mhd, socket_context);
    else if (*socket_context != NULL)
        conn_close(*socket_context);
}

/* The request line is complete. The only place where libmicrohttpd shows it
 * as it was sent. */
static void *
on_request_line(void *cls, const char *uri, struct MHD_Connection *mhd)
{
    (void)cls;
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    struct http_conn *c = info == NULL ? NULL : info->socket_context;
    if (c == NULL)
        return NULL;
    ASSERT(c->exchange == NULL);
    c->exchange = http_exchange_new(c, uri);
    if (c->served)
        set_deadline(c, c->server->cfg.head_timeout_ms);
    return c->exchange;
}

struct header_list {
    struct http_guard_header headers[HTTP_GUARD_MAX_HEADERS];
    size_t num_headers;
};

static enum MHD_Result
collect_header(void *cls, enum MHD_ValueKind kind, const char *name, size_t name_len,
               const char *value, size_t value_len)
{
    struct header_list *l = cls;
    (void)kind;
    if (l->num_headers < HTTP_GUARD_MAX_HEADERS)
        l->headers[l->num_headers] = (struct http_guard_header){name, name_len, value, value_len};
    l->num_headers++;
    return MHD_YES;
}

static enum MHD_Result
queue_response(struct http_exchange *x)
{
    if (x->response == NULL)
        return MHD_NO;
    enum MHD_Result rc = MHD_queue_response(x->conn->mhd, (unsigned)x->status, x->response);
    MHD_destroy_response(x->response);
    x->response = NULL;
    return rc;
}

static enum MHD_Result
refuse(struct http_exchange *x, int status, const char *reason)
{
    report_refused(x, status, reason);
    http_exchange_refuse(x, status, reason);
    return queue_response(x);
}

/* The first call for a request. An answer queued in it makes libmicrohttpd
 * skip the body and close. */
static enum MHD_Result
headers_complete(struct http_exchange *x, const char *method, const char *version)
{
    struct http_conn *c = x->conn;
    struct http_server *s = c->server;
    struct header_list list = {.num_headers = 0};
    MHD_get_connection_values_n(c->mhd, MHD_HEADER_KIND, collect_header, &list);
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(c->mhd, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
    struct http_guard_request r = {
        .method = method,
        .uri = x->uri_missing ? NULL : x->uri,
        .http_1_0 = strcmp(version, "HTTP/1.0") == 0,
        .headers = list.headers,
        .num_headers = list.num_headers,
        .header_bytes = info == NULL ? 0 : info->header_size,
        .max_header_bytes = s->cfg.max_header_bytes,
        .max_body_bytes = s->cfg.max_body_bytes,
    };
    uint64_t length = 0;
    const char *reason = "";
    x->http_1_0 = r.http_1_0;
    int status = http_guard_check(&r, &length, &reason);
    c->unread = status != 0 || length > 0;
    if (c->over_limit)
        return refuse(x, MHD_HTTP_SERVICE_UNAVAILABLE, "too many connections");
    if (status != 0)
        return refuse(x, status, reason);

    http_exchange_parse(x, method);
    if (!s->handlers.on_headers(s->app, x)) {
        x->reported = true;
        return queue_response(x);
    }
    ASSERT(x->state == EXCHANGE_READING && x->response == NULL);
    set_deadline(c, s->cfg.body_timeout_ms);
    return MHD_YES;
}

static void
request_complete(struct http_exchange *x)
{
    struct http_conn *c = x->conn;
    struct http_server *s = c->server;
    c->unread = false;
    uv_timer_stop(&c->deadline);
    if (c->leaving) /* tells so again */
        uv_poll_start(&c->watch, UV_DISCONNECT, on_watch);
    http_exchange_set_state(x, EXCHANGE_HANDLING);
    x->active = true;
    s->num_active++;
    s->handlers.on_request(s->app, x);
}

/* libmicrohttpd's access handler: once for the headers, then for pieces of the
 * body, then with size 0 until there is a response. */
static enum MHD_Result
on_access(void *cls, struct MHD_Connection *mhd, const char *url, const char *method,
          const char *version, const char *upload, size_t *upload_size, void **context)
{
    struct http_exchange *x = *context;
    (void)cls;
    (void)url;
    if (x == NULL || x->state == EXCHANGE_CLOSED || x->conn->killed)
        return MHD_NO;
    if (!x->headers_seen) {
        x->headers_seen = true;
        return headers_complete(x, method, version);
    }
    if (*upload_size > 0) {
        buf_append(&x->body, upload, *upload_size);
        *upload_size = 0;
        return x->body.failed ? MHD_NO : MHD_YES;
    }
    if (x->state == EXCHANGE_READING)
        request_complete(x);
    if (x->state == EXCHANGE_CLOSED)
        return MHD_NO;
    if (x->response != NULL)
        return queue_response(x);
    x->suspended = true;
    MHD_suspend_connection(mhd);
    return MHD_YES;
}

static enum http_end
end_of(enum MHD_RequestTerminationCode code)
{
    switch (code) {
    case MHD_REQUEST_TERMINATED_COMPLETED_OK: return HTTP_END_COMPLETED;
    case MHD_REQUEST_TERMINATED_TIMEOUT_REACHED: return HTTP_END_DEADLINE;
    case MHD_REQUEST_TERMINATED_DAEMON_SHUTDOWN: return HTTP_END_ABORTED;
    default: return HTTP_END_GONE;
    }
}

static void
on_completed(void *cls, struct MHD_Connection *mhd, void **context,
             enum MHD_RequestTerminationCode code)
{
    struct http_exchange *x = *context;
    (void)cls;
    if (x == NULL)
        return;
    struct http_conn *c = x->conn;
    *context = NULL;
    if (x->state == EXCHANGE_READING && !x->reported && !c->server->stopping) {
        /* libmicrohttpd answered by itself, or the client left. */
        int status = reply_status(mhd);
        if (status != 0)
            report_refused(x, status, "malformed request");
        else if (code == MHD_REQUEST_TERMINATED_TIMEOUT_REACHED)
            report_refused(x, MHD_HTTP_REQUEST_TIMEOUT, "the client stopped sending");
        else
            report_refused(x, STATUS_CLIENT_LEFT, left_early);
    }
    http_exchange_finish(x, end_of(code));
    http_exchange_free(x);
    c->exchange = NULL;
    c->served = true;
    set_deadline(c, c->server->cfg.idle_timeout_ms + c->server->cfg.head_timeout_ms);
}

/* Keeps libmicrohttpd from decoding the URI: nobody reads its copy. */
static size_t
keep_escapes(void *cls, struct MHD_Connection *mhd, char *text)
{
    (void)cls;
    (void)mhd;
    return strlen(text);
}

struct MHD_Daemon *
http_conn_start_daemon(struct http_server *s, int fd)
{
    size_t pool = ROUND_UP(s->cfg.max_header_bytes + POOL_BYTES_WORK, 4096);
    unsigned timeout_s = (unsigned)CEIL_DIV(MAX(s->cfg.idle_timeout_ms, 1), 1000);
    unsigned limit = (unsigned)s->cfg.max_connections + SPARE_CONNECTIONS;
    return MHD_start_daemon(
        MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, on_access, s,
        MHD_OPTION_LISTEN_SOCKET, fd,
        MHD_OPTION_CONNECTION_LIMIT, limit,
        MHD_OPTION_CONNECTION_TIMEOUT, timeout_s,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, MAX(pool, (size_t)POOL_BYTES_MIN),
        MHD_OPTION_NOTIFY_CONNECTION, on_connection, s,
        MHD_OPTION_NOTIFY_COMPLETED, on_completed, s,
        MHD_OPTION_URI_LOG_CALLBACK, on_request_line, s,
        MHD_OPTION_UNESCAPE_CALLBACK, keep_escapes, s,
        MHD_OPTION_END);
}
