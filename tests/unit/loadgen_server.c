/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/loadgen_server.h"

#include "util/buf.h"

#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONNECTIONS_MAX 512
#define REQUESTS_MAX 4096

struct connection {
    struct server *server;
    pthread_t thread;
    int fd;
};

struct server {
    server_answer_fn *answer;
    int listener;
    uint16_t port;
    pthread_t thread;
    pthread_mutex_t lock; /* of all below */
    pthread_cond_t changed;
    bool is_stopping;
    struct connection connections[CONNECTIONS_MAX];
    char *requests[REQUESTS_MAX]; /* owned */
    size_t num_connections, num_closed, num_requests, num_now, peak;
};

/* ---- one connection ---- */

/* The bytes of a request that starts at `text`; 0: it is not whole. */
static size_t
whole_bytes(const char *text, size_t len)
{
    const char *end = strstr(text, "\r\n\r\n"), *length = strcasestr(text, "\r\nContent-Length:");
    if (end == NULL)
        return 0;
    size_t body = length != NULL && length < end ? strtoul(length + 17, NULL, 10) : 0;
    size_t whole = (size_t)(end + 4 - text) + body;
    return whole <= len ? whole : 0;
}

/* The next request, the caller's; NULL: the connection ends. */
static char *
read_request(int fd, struct buf *in)
{
    char bytes[16384];
    size_t whole;
    while ((whole = whole_bytes(buf_bytes(in), buf_len(in))) == 0) {
        ssize_t n = recv(fd, bytes, sizeof bytes, 0);
        if (n <= 0)
            return NULL;
        buf_append(in, bytes, (size_t)n);
    }
    char *request = strndup(buf_bytes(in), whole);
    ASSERT(request != NULL);
    buf_consume(in, whole);
    return request;
}

static void
note_request(struct server *s, char *request)
{
    pthread_mutex_lock(&s->lock);
    ASSERT(s->num_requests < REQUESTS_MAX);
    s->requests[s->num_requests++] = request;
    s->num_now++;
    s->peak = MAX(s->peak, s->num_now);
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
}

static void
note_answer(struct server *s)
{
    pthread_mutex_lock(&s->lock);
    s->num_now--;
    pthread_mutex_unlock(&s->lock);
}

static void
send_all(int fd, const char *text)
{
    size_t len = strlen(text);
    while (len > 0) {
        ssize_t n = send(fd, text, len, MSG_NOSIGNAL);
        if (n <= 0)
            return;
        text += n;
        len -= (size_t)n;
    }
}

/* What a process leaves that dies: no end of the stream, but a reset. */
static void
reset(int fd)
{
    struct sockaddr none = {.sa_family = AF_UNSPEC};
    int e = connect(fd, &none, sizeof none);
    ASSERT(e == 0);
}

/* Answers until one side ends it. Then waits for the client's end: bytes that
 * lie unread would turn ours into a reset. */
static void *
connection_main(void *arg)
{
    struct connection *c = arg;
    struct server *s = c->server;
    struct buf in = {0};
    struct server_answer a = {.keep_open = true};
    char *request;
    while (a.keep_open && (request = read_request(c->fd, &in)) != NULL) {
        note_request(s, request);
        a = s->answer(s, request);
        note_answer(s);
        if (a.text != NULL)
            send_all(c->fd, a.text);
    }
    if (a.resets) {
        reset(c->fd);
    } else {
        shutdown(c->fd, SHUT_WR);
        free(read_request(c->fd, &in));
    }
    buf_release(&in);
    pthread_mutex_lock(&s->lock);
    s->num_closed++;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

/* ---- life ---- */

static void *
server_main(void *arg)
{
    struct server *s = arg;
    int fd;
    while ((fd = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
        pthread_mutex_lock(&s->lock);
        ASSERT(s->num_connections < CONNECTIONS_MAX);
        struct connection *c = &s->connections[s->num_connections++];
        *c = (struct connection){.server = s, .fd = fd};
        int e = pthread_create(&c->thread, NULL, connection_main, c);
        ASSERT(e == 0);
        pthread_mutex_unlock(&s->lock);
    }
    return NULL;
}

struct server *
server_start(server_answer_fn *answer)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    struct server *s = calloc(1, sizeof *s);
    ASSERT(s != NULL);
    s->answer = answer;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->changed, NULL);
    s->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ASSERT(s->listener >= 0);
    ASSERT(bind(s->listener, (struct sockaddr *)&address, len) == 0);
    ASSERT(listen(s->listener, SOMAXCONN) == 0);
    ASSERT(getsockname(s->listener, (struct sockaddr *)&address, &len) == 0);
    s->port = ntohs(address.sin_port);
    int e = pthread_create(&s->thread, NULL, server_main, s);
    ASSERT(e == 0);
    return s;
}

void
server_stop(struct server *s)
{
    if (s == NULL)
        return;
    pthread_mutex_lock(&s->lock);
    s->is_stopping = true;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
    shutdown(s->listener, SHUT_RDWR);
    pthread_join(s->thread, NULL);
    close(s->listener);
    for (size_t i = 0; i < s->num_connections; i++) {
        shutdown(s->connections[i].fd, SHUT_RDWR);
        pthread_join(s->connections[i].thread, NULL);
        close(s->connections[i].fd);
    }
    for (size_t i = 0; i < s->num_requests; i++)
        free(s->requests[i]);
    pthread_cond_destroy(&s->changed);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

/* ---- what it knows ---- */

uint16_t
server_port(const struct server *s)
{
    return s->port;
}

static size_t
get(struct server *s, const size_t *what)
{
    pthread_mutex_lock(&s->lock);
    size_t value = *what;
    pthread_mutex_unlock(&s->lock);
    return value;
}

size_t
server_num_requests(struct server *s)
{
    return get(s, &s->num_requests);
}

size_t
server_peak(struct server *s)
{
    return get(s, &s->peak);
}

const char *
server_request(struct server *s, size_t i)
{
    ASSERT(i < server_num_requests(s));
    pthread_mutex_lock(&s->lock);
    const char *request = s->requests[i];
    pthread_mutex_unlock(&s->lock);
    return request;
}

static void
wait_for(struct server *s, const size_t *what, size_t num)
{
    pthread_mutex_lock(&s->lock);
    while (*what < num && !s->is_stopping)
        pthread_cond_wait(&s->changed, &s->lock);
    pthread_mutex_unlock(&s->lock);
}

void
server_wait_requests(struct server *s, size_t num)
{
    wait_for(s, &s->num_requests, num);
}

void
server_wait_closed(struct server *s, size_t num)
{
    wait_for(s, &s->num_closed, num);
}

void
server_wait_stop(struct server *s)
{
    wait_for(s, &s->num_closed, SIZE_MAX);
}
