/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A request refused before its body was read: closing now would make the
 * kernel reset the connection, and a client still busy sending would see
 * "connection reset" instead of the answer. libmicrohttpd closes its socket;
 * a duplicate stays open here for a moment and what arrives is dropped.
 */
#include "server/http_private.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#define LINGER_MS 2000
#define LINGER_READS 16  /* per event, so that one sender cannot hold the loop */

struct http_linger {
    struct list node;            /* in server->lingering */
    struct http_server *server;  /* borrowed */
    int fd;                      /* owned */
    int num_handles;
    uv_poll_t poll;
    uv_timer_t timer;
};

static void
on_closed(uv_handle_t *h)
{
    struct http_linger *l = h->data;
    struct http_server *s = l->server;
    if (--l->num_handles == 0)
        free(l);
    http_server_unref(s);
}

static void
linger_end(struct http_linger *l)
{
    list_remove(&l->node);
    l->server->num_linger--;
    uv_poll_stop(&l->poll);
    close(l->fd);
    uv_close((uv_handle_t *)&l->poll, on_closed);
    uv_close((uv_handle_t *)&l->timer, on_closed);
}

static void
on_readable(uv_poll_t *p, int status, int events)
{
    struct http_linger *l = p->data;
    char dropped[16384];
    (void)events;
    for (int i = 0; status == 0 && i < LINGER_READS; i++) {
        ssize_t n = recv(l->fd, dropped, sizeof dropped, MSG_DONTWAIT);
        if (n > 0)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        status = -1;
    }
    if (status != 0)
        linger_end(l);
}

static void
on_expired(uv_timer_t *t)
{
    linger_end(t->data);
}

void
http_linger_start(struct http_server *s, int fd)
{
    if (s->num_linger >= HTTP_MAX_LINGER || s->stopping)
        return;
    struct http_linger *l = calloc(1, sizeof *l);
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (l == NULL || copy < 0 || uv_poll_init(s->loop, &l->poll, copy) != 0) {
        if (copy >= 0)
            close(copy);
        free(l);
        return;
    }
    uv_timer_init(s->loop, &l->timer);
    l->server = s;
    l->fd = copy;
    l->num_handles = 2;
    s->num_handles += 2;
    l->poll.data = l->timer.data = l;
    list_append(&s->lingering, &l->node);
    s->num_linger++;
    uv_poll_start(&l->poll, UV_READABLE | UV_DISCONNECT, on_readable);
    uv_timer_start(&l->timer, on_expired, LINGER_MS, 0);
}

void
http_linger_stop_all(struct http_server *s)
{
    list_for_each_safe(i, next, &s->lingering)
        linger_end(container_of(i, struct http_linger, node));
}
