/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The server around libmicrohttpd's external epoll mode: one uv_poll on its
 * epoll set, one timer for its next timeout, one prepare handle that flushes
 * what handlers wrote and nobody flushed. Loop thread only.
 *
 * libmicrohttpd 0.9.75 needs care here: MHD_get_timeout() knows nothing of
 * pending resumes, and after a connection has closed at the connection limit
 * nothing listens again until the next MHD_run(). Both set need_run. Rounds
 * per pump are bounded and the timer is never below 1 ms, so that no
 * connection, however it makes libmicrohttpd spin, starves the loop.
 */
#include "server/http_private.h"

#include <microhttpd.h>
#include <unistd.h>

#define PUMP_ROUNDS 32
#define STOP_ROUNDS 64

static void on_timer(uv_timer_t *t);
static void server_shutdown(struct http_server *s);

void
http_server_pump(struct http_server *s)
{
    if (s->pumping || s->stopping) {
        s->need_run = true;
        return;
    }
    s->pumping = true;
    MHD_UNSIGNED_LONG_LONG wait_ms = 0;
    bool has_timeout = false;
    for (int i = 0; i < PUMP_ROUNDS; i++) {
        s->need_run = false;
        MHD_run(s->daemon);
        has_timeout = MHD_get_timeout(s->daemon, &wait_ms) == MHD_YES;
        if (!s->need_run && !(has_timeout && wait_ms == 0))
            break;
    }
    s->pumping = false;
    if (s->stop_requested) {
        server_shutdown(s);
        return;
    }
    if (s->need_run) {
        has_timeout = true;
        wait_ms = 0;
    }
    if (has_timeout)
        uv_timer_start(&s->timer, on_timer, MAX(wait_ms, 1), 0);
    else
        uv_timer_stop(&s->timer);
}

static void
on_timer(uv_timer_t *t)
{
    http_server_pump(t->data);
}

static void
on_poll(uv_poll_t *p, int status, int events)
{
    (void)status;
    (void)events;
    http_server_pump(p->data);
}

static void
on_prepare(uv_prepare_t *p)
{
    http_server_flush(p->data);
}

void
http_server_flush(struct http_server *s)
{
    if (s->need_run)
        http_server_pump(s);
}

static void
server_free(struct http_server *s)
{
    ASSERT(list_empty(&s->conns) && list_empty(&s->lingering));
    free(s->uds_path);
    free(s);
}

void
http_server_unref(struct http_server *s)
{
    if (--s->num_handles == 0 && s->stopping)
        server_free(s);
}

static void
on_handle_closed(uv_handle_t *h)
{
    http_server_unref(h->data);
}

int
http_server_start(uv_loop_t *loop, const struct http_config *cfg,
                  const struct http_handlers *handlers, void *app, struct http_server **ret,
                  struct error *err)
{
    struct http_server *s = calloc(1, sizeof *s);
    if (s == NULL)
        return error_set(err, ERR_NOMEM, "cannot start the HTTP server: out of memory");
    s->loop = loop;
    s->cfg = *cfg;
    s->cfg.host = s->cfg.uds = NULL;
    s->handlers = *handlers;
    s->app = app;
    list_init(&s->conns);
    list_init(&s->lingering);

    int fd;
    int rc = http_listen(cfg, &fd, &s->port, &s->uds_path, err);
    if (rc < 0) {
        server_free(s);
        return rc;
    }
    s->daemon = http_conn_start_daemon(s, fd);
    if (s->daemon == NULL) {
        close(fd);
        if (s->uds_path != NULL)
            unlink(s->uds_path);
        server_free(s);
        return error_set(err, ERR_IO, "cannot start the HTTP server: libmicrohttpd %s refused",
                         MHD_get_version());
    }

    uv_timer_init(loop, &s->timer);
    uv_prepare_init(loop, &s->prepare);
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(s->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    rc = uv_poll_init(loop, &s->poll, info->epoll_fd);
    ASSERT(rc == 0);
    s->timer.data = s->prepare.data = s->poll.data = s;
    s->num_handles = 3;
    uv_poll_start(&s->poll, UV_READABLE, on_poll);
    uv_prepare_start(&s->prepare, on_prepare);
    uv_unref((uv_handle_t *)&s->prepare);
    http_server_pump(s);
    *ret = s;
    return 0;
}

int
http_server_port(const struct http_server *s)
{
    return s->port;
}

int
http_server_active(const struct http_server *s)
{
    return s->num_active;
}

int
http_server_connections(const struct http_server *s)
{
    return s->num_connections;
}

void
http_server_quiesce(struct http_server *s)
{
    if (s->quiesced)
        return;
    s->quiesced = true;
    MHD_socket fd = MHD_quiesce_daemon(s->daemon);
    if (fd != MHD_INVALID_SOCKET)
        close(fd);
    if (s->uds_path != NULL)
        unlink(s->uds_path);
}

/* MHD_stop_daemon() aborts the process when a connection is suspended: all are
 * ended, resumed and run first. */
static void
server_shutdown(struct http_server *s)
{
    if (s->stopping)
        return;
    http_server_quiesce(s);
    s->stopping = true;
    list_for_each(i, &s->conns) {
        struct http_conn *c = container_of(i, struct http_conn, node);
        if (c->exchange != NULL)
            http_exchange_finish(c->exchange, HTTP_END_ABORTED);
        http_conn_kill(c);
    }
    for (int i = 0; i < STOP_ROUNDS && s->num_connections > 0; i++)
        MHD_run(s->daemon);
    uv_poll_stop(&s->poll);
    MHD_stop_daemon(s->daemon);
    s->daemon = NULL;
    http_linger_stop_all(s);
    uv_close((uv_handle_t *)&s->poll, on_handle_closed);
    uv_close((uv_handle_t *)&s->timer, on_handle_closed);
    uv_close((uv_handle_t *)&s->prepare, on_handle_closed);
}

void
http_server_stop(struct http_server *s)
{
    if (s->pumping)
        s->stop_requested = true;
    else
        server_shutdown(s);
}
