/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/server/http_raw.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static void
open_address(struct raw *r, const void *address, socklen_t len, int family)
{
    *r = (struct raw){.fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    ASSERT(r->fd >= 0);
    ASSERT(connect(r->fd, address, len) == 0);
    struct timeval limit = {.tv_sec = 10};
    setsockopt(r->fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
}

void
raw_open(struct raw *r, int port)
{
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons((uint16_t)port),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    open_address(r, &a, sizeof a, AF_INET);
}

void
raw_open_unix(struct raw *r, const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    snprintf(a.sun_path, sizeof a.sun_path, "%s", path);
    open_address(r, &a, sizeof a, AF_UNIX);
}

void
raw_close(struct raw *r)
{
    close(r->fd);
    buf_release(&r->in);
}

void
raw_reset(struct raw *r)
{
    struct linger now = {.l_onoff = 1};
    setsockopt(r->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    raw_close(r);
}

bool
raw_send(struct raw *r, const void *bytes, size_t len)
{
    const char *p = bytes;
    while (len > 0) {
        ssize_t n = send(r->fd, p, len, MSG_NOSIGNAL);
        if (n <= 0)
            return false;
        p += n;
        len -= (size_t)n;
    }
    return true;
}

bool
raw_puts(struct raw *r, const char *text)
{
    return raw_send(r, text, strlen(text));
}

int
raw_fill(struct raw *r, int timeout_ms)
{
    char piece[65536];
    struct pollfd p = {.fd = r->fd, .events = POLLIN};
    if (poll(&p, 1, MAX(timeout_ms, 0)) <= 0)
        return -1;
    ssize_t n = recv(r->fd, piece, sizeof piece, 0);
    if (n <= 0)
        return 0;
    buf_append(&r->in, piece, (size_t)n);
    return (int)n;
}

/* More bytes before the deadline: RAW_CLOSED, RAW_TIMEOUT or 1. */
static int
more(struct raw *r, uint64_t deadline_ns)
{
    uint64_t now = mono_ns();
    int left = deadline_ns > now ? (int)((deadline_ns - now) / 1000000u) + 1 : 0;
    int n = raw_fill(r, left);
    return n > 0 ? 1 : n == 0 ? RAW_CLOSED : RAW_TIMEOUT;
}

static bool
take(struct raw *r, size_t len, struct buf *to, uint64_t deadline_ns)
{
    while (buf_len(&r->in) < len) {
        if (more(r, deadline_ns) != 1)
            return false;
    }
    if (to != NULL)
        buf_append(to, buf_bytes(&r->in), len);
    buf_consume(&r->in, len);
    return true;
}

static bool
take_chunked(struct raw *r, struct buf *to, uint64_t deadline_ns)
{
    for (;;) {
        const char *eol;
        while ((eol = memchr(buf_bytes(&r->in), '\n', buf_len(&r->in))) == NULL) {
            if (more(r, deadline_ns) != 1)
                return false;
        }
        size_t size = strtoul(buf_bytes(&r->in), NULL, 16);
        buf_consume(&r->in, (size_t)(eol + 1 - buf_bytes(&r->in)));
        if (!take(r, size, to, deadline_ns) || !take(r, 2, NULL, deadline_ns))
            return false;
        if (size == 0)
            return true;
    }
}

int
raw_read(struct raw *r, int timeout_ms, bool no_body, struct raw_reply *ret)
{
    *ret = (struct raw_reply){0};
    uint64_t deadline_ns = mono_ns() + (uint64_t)timeout_ms * 1000000u;
    const char *end;
    while ((end = memmem(buf_bytes(&r->in), buf_len(&r->in), "\r\n\r\n", 4)) == NULL) {
        int rc = more(r, deadline_ns);
        if (rc != 1)
            return rc;
    }
    take(r, (size_t)(end + 4 - buf_bytes(&r->in)), &ret->head, deadline_ns);
    const char *head = buf_bytes(&ret->head);
    ret->status = strncmp(head, "HTTP/1.", 7) == 0 ? atoi(head + 9) : 999;
    const char *length = strcasestr(head, "\r\nContent-Length:");
    if (no_body || ret->status < 200 || ret->status == 204) {
        ret->complete = true;
    } else if (strcasestr(head, "\r\nTransfer-Encoding: chunked") != NULL) {
        ret->complete = take_chunked(r, &ret->body, deadline_ns);
    } else if (length != NULL) {
        ret->complete = take(r, strtoul(length + 17, NULL, 10), &ret->body, deadline_ns);
    } else {
        int rc;
        while ((rc = more(r, deadline_ns)) == 1)
            continue;
        ret->complete = rc == RAW_CLOSED;
        take(r, buf_len(&r->in), &ret->body, deadline_ns);
    }
    return ret->status;
}

int
raw_status(struct raw *r, int timeout_ms)
{
    struct raw_reply reply;
    int status = raw_read(r, timeout_ms, false, &reply);
    raw_reply_release(&reply);
    return status;
}

bool
raw_wait_closed(struct raw *r, int timeout_ms)
{
    uint64_t deadline_ns = mono_ns() + (uint64_t)timeout_ms * 1000000u;
    int rc;
    while ((rc = more(r, deadline_ns)) == 1)
        buf_clear(&r->in);
    return rc == RAW_CLOSED;
}

void
raw_reply_release(struct raw_reply *reply)
{
    buf_release(&reply->head);
    buf_release(&reply->body);
}

int
raw_probe(int port)
{
    struct raw r;
    raw_open(&r, port);
    raw_puts(&r, "POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 4\r\n\r\ngood");
    int status = raw_status(&r, 2000);
    raw_close(&r);
    return status;
}
