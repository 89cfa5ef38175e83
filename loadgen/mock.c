/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One thread, one epoll. All streams have the same gap, so those that wait for
 * their first token and those that wait for a later one are two queues, each in
 * the order of time: whatever is due is at a head.
 */
#include "loadgen/mock.h"
#include "loadgen/arrival.h"
#include "util/buf.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define REQUEST_BYTES_MAX (1u << 20)
#define EVENTS_MAX 256
#define NOT_NOTED SIZE_MAX

static const char token_text[] =
    "data: {\"id\": \"cmpl-mock\", \"object\": \"text_completion\", \"created\": 1700000000, "
    "\"model\": \"mock\", \"choices\": [{\"index\": 0, \"text\": \" token\", \"logprobs\": null, "
    "\"finish_reason\": null}]}\n\n";
static const char chat_token_text[] =
    "data: {\"id\": \"chatcmpl-mock\", \"object\": \"chat.completion.chunk\", \"created\": "
    "1700000000, \"model\": \"mock\", \"choices\": [{\"index\": 0, \"delta\": {\"content\": "
    "\" token\"}, \"logprobs\": null, \"finish_reason\": null}]}\n\n";
static const char error_text[] =
    "data: {\"error\": {\"message\": \"mock error\", \"type\": \"InternalServerError\", "
    "\"code\": 500}}\n\n";
static const char stream_head[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                                  "Transfer-Encoding: chunked\r\n\r\n";

struct stream {
    int fd;
    struct buf in;    /* of a request not yet whole */
    bool is_chat;
    size_t request;   /* where its times are noted, or NOT_NOTED */
    size_t num_sent;  /* tokens of the answer under way */
    uint64_t start_ns; /* arrival of what was read last: the end of the request */
    uint64_t due_ns;
    struct list node; /* in `all` */
    struct list wait; /* in one of the two queues while it answers */
};

struct mock {
    struct mock_args args;
    int listener, epoll, timer, stop;
    uint16_t port;
    pthread_t thread;
    bool has_thread;
    size_t num_requests;
    struct list all, first, later; /* streams */
    uint64_t *arrivals_ns;         /* owned, by request, as the next */
    uint64_t *tokens_ns;           /* num_tokens of each */
    struct buf token, chat_token, end, fault; /* as they go over the wire */
};

/* ---- what is sent ---- */

static void
append_chunk(struct buf *b, const char *text)
{
    buf_printf(b, "%zx\r\n%s\r\n", strlen(text), text);
}

static void
make_texts(struct mock *m)
{
    struct buf usage = {0};
    append_chunk(&m->token, token_text);
    append_chunk(&m->chat_token, chat_token_text);
    append_chunk(&m->fault, error_text);
    buf_puts(&m->fault, "0\r\n\r\n");
    buf_printf(&usage, "data: {\"id\": \"cmpl-mock\", \"choices\": [], \"usage\": "
               "{\"prompt_tokens\": 16, \"total_tokens\": %zu, \"completion_tokens\": %zu}}\n\n",
               m->args.num_tokens + 16, m->args.num_tokens);
    append_chunk(&m->end, buf_bytes(&usage));
    append_chunk(&m->end, "data: [DONE]\n\n");
    buf_puts(&m->end, "0\r\n\r\n");
    buf_release(&usage);
}

/* A socket that takes no more is a client that has gone, for our purpose. */
static bool
send_bytes(const struct stream *s, const char *bytes, size_t len)
{
    return send(s->fd, bytes, len, MSG_NOSIGNAL) == (ssize_t)len;
}

static void
close_stream(struct stream *s)
{
    list_remove(&s->node);
    list_remove(&s->wait);
    close(s->fd);
    buf_release(&s->in);
    free(s);
}

/* Sends the next token, and what follows the last one. */
static void
send_token(struct mock *m, struct stream *s)
{
    const struct buf *token = s->is_chat ? &m->chat_token : &m->token;
    struct buf out = {0};
    size_t i = s->num_sent++;
    bool is_last = s->num_sent == m->args.num_tokens;
    bool is_fault = s->num_sent == m->args.error_after;
    if (i == 0)
        buf_puts(&out, stream_head);
    buf_append(&out, buf_bytes(token), buf_len(token));
    if (is_fault)
        buf_append(&out, buf_bytes(&m->fault), buf_len(&m->fault));
    else if (is_last)
        buf_append(&out, buf_bytes(&m->end), buf_len(&m->end));
    if (s->request != NOT_NOTED)
        m->tokens_ns[s->request * m->args.num_tokens + i] = mono_ns();
    bool ok = send_bytes(s, buf_bytes(&out), buf_len(&out)) && s->num_sent != m->args.close_after;
    buf_release(&out);
    list_remove(&s->wait);
    if (!ok) {
        close_stream(s);
    } else if (!is_last && !is_fault) {
        s->due_ns = s->start_ns + m->args.ttft_ns + m->args.itl_ns * s->num_sent;
        list_append(&m->later, &s->wait);
    }
}

/* ---- what is asked ---- */

/* The value of a header in a head that ends in an empty line, or NULL. */
static const char *
find_header(const char *head, const char *name)
{
    size_t len = strlen(name);
    for (const char *line = strstr(head, "\r\n"); line != NULL; line = strstr(line + 2, "\r\n")) {
        if (strncasecmp(line + 2, name, len) == 0 && line[2 + len] == ':')
            return line + 3 + len;
    }
    return NULL;
}

/* The number at the end of x-request-id. */
static size_t
request_index(const struct mock *m, const char *head)
{
    const char *id = find_header(head, "x-request-id");
    if (id == NULL)
        return NOT_NOTED;
    const char *end = strstr(id, "\r\n"), *start = end;
    while (start > id && start[-1] >= '0' && start[-1] <= '9')
        start--;
    size_t index = start < end ? strtoul(start, NULL, 10) : NOT_NOTED;
    return index < m->args.max_requests ? index : NOT_NOTED;
}

static bool
reply_plain(const struct stream *s, const char *status, const char *body)
{
    struct buf out = {0};
    buf_printf(&out, "HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n"
               "%s", status, strlen(body), body);
    bool ok = send_bytes(s, buf_bytes(&out), buf_len(&out));
    buf_release(&out);
    return ok;
}

/* Answers a whole request; false: the connection is to be closed. */
static bool
answer(struct mock *m, struct stream *s, const char *head)
{
    if (strncmp(head, "GET /v1/models ", 15) == 0)
        return reply_plain(s, "200 OK", "{\"data\": [{\"id\": \"mock\", \"root\": \"mock\"}]}");
    if (strncmp(head, "POST /v1/completions ", 21) != 0 &&
        strncmp(head, "POST /v1/chat/completions ", 26) != 0)
        return reply_plain(s, "404 Not Found", "{\"error\": {\"message\": \"not found\"}}");
    if (m->args.refuse_every > 0 && ++m->num_requests % m->args.refuse_every == 0)
        return reply_plain(s, "503 Service Unavailable", "{\"error\": {\"message\": \"busy\"}}");
    s->is_chat = head[10] == 'h';
    s->num_sent = 0;
    s->due_ns = s->start_ns + m->args.ttft_ns;
    s->request = request_index(m, head);
    if (s->request != NOT_NOTED)
        m->arrivals_ns[s->request] = s->start_ns;
    list_append(&m->first, &s->wait);
    return true;
}

/* Takes the request at the front of `in`, if it is whole. */
static bool
take_request(struct mock *m, struct stream *s)
{
    const char *head = buf_bytes(&s->in), *end = strstr(head, "\r\n\r\n");
    if (end == NULL)
        return buf_len(&s->in) < REQUEST_BYTES_MAX;
    const char *length = find_header(head, "Content-Length");
    size_t body_bytes = length != NULL ? strtoul(length, NULL, 10) : 0;
    size_t whole = (size_t)(end + 4 - head) + MIN(body_bytes, (size_t)REQUEST_BYTES_MAX);
    if (whole > REQUEST_BYTES_MAX)
        return false;
    if (buf_len(&s->in) > whole || !list_empty(&s->wait)) /* we do not pipeline */
        return false;
    if (buf_len(&s->in) < whole)
        return true;
    bool ok = answer(m, s, head);
    buf_clear(&s->in);
    return ok;
}

static void
read_stream(struct mock *m, struct stream *s)
{
    char bytes[16384];
    ssize_t n = arrival_receive(s->fd, bytes, sizeof bytes, 0, &s->start_ns);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n > 0)
        buf_append(&s->in, bytes, (size_t)n);
    if (n <= 0 || s->in.failed || !take_request(m, s))
        close_stream(s);
}

static void
accept_all(struct mock *m)
{
    int fd, on = 1;
    while ((fd = accept4(m->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct stream *s = calloc(1, sizeof *s);
        if (s == NULL) {
            close(fd);
            return;
        }
        s->fd = fd;
        list_init(&s->wait);
        list_append(&m->all, &s->node);
        arrival_watch(fd);
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        struct epoll_event e = {.events = EPOLLIN, .data.ptr = s};
        if (epoll_ctl(m->epoll, EPOLL_CTL_ADD, fd, &e) < 0)
            close_stream(s);
    }
}

/* ---- time ---- */

static struct stream *
head_of(struct list *queue)
{
    return list_empty(queue) ? NULL : container_of(queue->next, struct stream, wait);
}

static void
send_due(struct mock *m, struct list *queue)
{
    struct stream *s;
    while ((s = head_of(queue)) != NULL && s->due_ns <= mono_ns())
        send_token(m, s);
}

static void
set_timer(struct mock *m)
{
    const struct stream *a = head_of(&m->first), *b = head_of(&m->later);
    uint64_t at_ns = MIN(a != NULL ? a->due_ns : UINT64_MAX, b != NULL ? b->due_ns : UINT64_MAX);
    struct itimerspec spec = {0};
    if (at_ns != UINT64_MAX) {
        spec.it_value.tv_sec = (time_t)(at_ns / 1000000000u);
        spec.it_value.tv_nsec = (long)(at_ns % 1000000000u);
    }
    timerfd_settime(m->timer, TFD_TIMER_ABSTIME, &spec, NULL);
}

static void *
mock_main(void *arg)
{
    struct mock *m = arg;
    struct epoll_event events[EVENTS_MAX];
    for (;;) {
        int n = epoll_wait(m->epoll, events, EVENTS_MAX, -1);
        for (int i = 0; i < n; i++) {
            if (events[i].data.ptr == &m->stop)
                return NULL;
            if (events[i].data.ptr == &m->listener)
                accept_all(m);
            else if (events[i].data.ptr != &m->timer) /* set_timer sets that anew */
                read_stream(m, events[i].data.ptr);
        }
        send_due(m, &m->first);
        send_due(m, &m->later);
        set_timer(m);
    }
}

/* ---- life ---- */

static int
open_listener(struct mock *m)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    m->listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    /* Another default, such as BBR, would pace the tokens by a clock of its own. */
    setsockopt(m->listener, IPPROTO_TCP, TCP_CONGESTION, "reno", 4);
    if (m->listener < 0 || bind(m->listener, (struct sockaddr *)&address, len) < 0 ||
        listen(m->listener, SOMAXCONN) < 0 ||
        getsockname(m->listener, (struct sockaddr *)&address, &len) < 0)
        return -1;
    m->port = ntohs(address.sin_port);
    return 0;
}

static int
watch(struct mock *m, int fd, void *data)
{
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = data};
    return fd < 0 ? -1 : epoll_ctl(m->epoll, EPOLL_CTL_ADD, fd, &e);
}

static int
open_all(struct mock *m)
{
    m->epoll = epoll_create1(EPOLL_CLOEXEC);
    m->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    m->stop = eventfd(0, EFD_CLOEXEC);
    if (m->epoll < 0 || open_listener(m) < 0)
        return -1;
    return watch(m, m->listener, &m->listener) | watch(m, m->timer, &m->timer) |
           watch(m, m->stop, &m->stop);
}

int
mock_new(const struct mock_args *args, struct mock **ret, struct error *err)
{
    ASSERT(args->num_tokens > 0);
    struct mock *m = calloc(1, sizeof *m);
    if (m == NULL)
        return error_set(err, ERR_NOMEM, "out of memory");
    m->args = *args;
    m->listener = m->epoll = m->timer = m->stop = -1;
    list_init(&m->all);
    list_init(&m->first);
    list_init(&m->later);
    m->arrivals_ns = calloc(args->max_requests + 1, sizeof *m->arrivals_ns);
    m->tokens_ns = calloc(args->max_requests * args->num_tokens + 1, sizeof *m->tokens_ns);
    make_texts(m);
    int e = 0;
    if (m->arrivals_ns == NULL || m->tokens_ns == NULL || m->token.failed ||
        m->chat_token.failed || m->end.failed || m->fault.failed)
        e = error_set(err, ERR_NOMEM, "out of memory");
    else if (open_all(m) < 0)
        e = error_set(err, ERR_IO, "cannot open a server: %s", strerror(errno));
    else if (pthread_create(&m->thread, NULL, mock_main, m) != 0)
        e = error_set(err, ERR_NOMEM, "cannot start a thread");
    m->has_thread = e == 0;
    if (e < 0)
        mock_free(m);
    else
        *ret = m;
    return e;
}

static void
close_fd(int fd)
{
    if (fd >= 0)
        close(fd);
}

void
mock_free(struct mock *m)
{
    if (m == NULL)
        return;
    if (m->has_thread) {
        uint64_t one = 1;
        while (write(m->stop, &one, sizeof one) < 0 && errno == EINTR)
            ;
        pthread_join(m->thread, NULL);
    }
    while (!list_empty(&m->all))
        close_stream(container_of(m->all.next, struct stream, node));
    close_fd(m->listener);
    close_fd(m->epoll);
    close_fd(m->timer);
    close_fd(m->stop);
    free(m->arrivals_ns);
    free(m->tokens_ns);
    buf_release(&m->token);
    buf_release(&m->chat_token);
    buf_release(&m->end);
    buf_release(&m->fault);
    free(m);
}

uint16_t
mock_port(const struct mock *m)
{
    return m->port;
}

uint64_t
mock_arrival_ns(const struct mock *m, size_t request)
{
    return m->arrivals_ns[request];
}

uint64_t
mock_token_ns(const struct mock *m, size_t request, size_t token)
{
    return m->tokens_ns[request * m->args.num_tokens + token];
}

double
mock_cpu_s(const struct mock *m)
{
    clockid_t clock;
    struct timespec t = {0};
    if (pthread_getcpuclockid(m->thread, &clock) == 0)
        clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}
