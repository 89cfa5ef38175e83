/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections by libcurl: it says which sockets it waits for (on_socket) and
 * when it wants to be called anyway (on_timeout), libuv tells it what happened.
 * Once it has connected, the socket is ours until the connection is closed.
 * Finished handles are taken out after each call into libcurl, never inside.
 */
#include "loadgen/arrival.h"
#include "loadgen/http_private.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#define CONNECT_TIMEOUT_S 30L

/* A socket that libcurl waits for; freed when its handle has closed. */
struct watch {
    uv_poll_t poll;
    struct http *http;
    curl_socket_t socket;
};

/* ---- while connecting ---- */

static int
on_new_socket(void *arg, curl_socket_t socket, curlsocktype purpose)
{
    (void)arg;
    (void)purpose;
    arrival_watch(socket);
    return CURL_SOCKOPT_OK;
}

/*
 * The socket of a handle that has connected. To send nothing, where the first
 * bytes do not go through libcurl, says that the connection is in use: others it
 * closes when it makes a new one, once they are old or look as if they had ended.
 */
static void
take_socket(struct http_connection *c)
{
    size_t num_sent;
    curl_easy_getinfo(c->easy, CURLINFO_ACTIVESOCKET, &c->socket);
    if (!c->is_tls)
        curl_easy_send(c->easy, "", 0, &num_sent);
}

static void
take_finished(struct http *http)
{
    CURLMsg *message;
    int left;
    while ((message = curl_multi_info_read(http->multi, &left)) != NULL) {
        struct http_connection *c;
        CURLcode code = message->data.result;
        if (message->msg != CURLMSG_DONE)
            continue;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&c);
        if (code == CURLE_OK)
            take_socket(c);
        if (code != CURLE_OK || c->socket == CURL_SOCKET_BAD ||
            uv_poll_init_socket(http->loop, &c->poll, c->socket) != 0) {
            const char *text = code == CURLE_OK ? "cannot wait for its socket"
                                                : curl_easy_strerror(code);
            c->socket = CURL_SOCKET_BAD;
            http_not_connected(c, c->error_text[0] != '\0' ? c->error_text : text);
        } else {
            c->poll.data = c;
            http_connected(c);
        }
    }
}

static void
on_poll(uv_poll_t *poll, int status, int events)
{
    struct watch *w = container_of(poll, struct watch, poll);
    struct http *http = w->http;
    int flags = status < 0 ? CURL_CSELECT_ERR : 0, running;
    if ((events & UV_READABLE) != 0)
        flags |= CURL_CSELECT_IN;
    if ((events & UV_WRITABLE) != 0)
        flags |= CURL_CSELECT_OUT;
    curl_multi_socket_action(http->multi, w->socket, flags, &running);
    take_finished(http);
}

static void
on_timer(uv_timer_t *timer)
{
    struct http *http = container_of(timer, struct http, timer);
    int running;
    curl_multi_socket_action(http->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    take_finished(http);
}

static void
free_watch(uv_handle_t *handle)
{
    free(container_of((uv_poll_t *)handle, struct watch, poll));
}

static struct watch *
add_watch(struct http *http, curl_socket_t socket)
{
    struct watch *w = calloc(1, sizeof *w);
    if (w == NULL)
        return NULL;
    w->http = http;
    w->socket = socket;
    if (uv_poll_init_socket(http->loop, &w->poll, socket) != 0) {
        free(w);
        return NULL;
    }
    curl_multi_assign(http->multi, socket, w);
    return w;
}

static int
on_socket(CURL *easy, curl_socket_t socket, int what, void *arg, void *socket_arg)
{
    struct http *http = arg;
    struct watch *w = socket_arg;
    (void)easy;
    if (what == CURL_POLL_REMOVE) {
        if (w != NULL) {
            uv_poll_stop(&w->poll);
            uv_close((uv_handle_t *)&w->poll, free_watch);
            curl_multi_assign(http->multi, socket, NULL);
        }
        return 0;
    }
    if (w == NULL) {
        w = add_watch(http, socket);
        http->new_socket = socket;
    }
    if (w == NULL)
        return -1;
    int events = (what != CURL_POLL_OUT ? UV_READABLE : 0) |
                 (what != CURL_POLL_IN ? UV_WRITABLE : 0);
    return uv_poll_start(&w->poll, events, on_poll) == 0 ? 0 : -1;
}

static int
on_timeout(CURLM *multi, long timeout_ms, void *arg)
{
    struct http *http = arg;
    (void)multi;
    if (timeout_ms < 0)
        uv_timer_stop(&http->timer);
    else
        uv_timer_start(&http->timer, on_timer, (uint64_t)timeout_ms, 0);
    return 0;
}

int
http_multi_init(struct http *http)
{
    http->multi = curl_multi_init();
    if (http->multi == NULL)
        return ERR_NOMEM;
    uv_timer_init(http->loop, &http->timer);
    curl_multi_setopt(http->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    curl_multi_setopt(http->multi, CURLMOPT_SOCKETDATA, http);
    curl_multi_setopt(http->multi, CURLMOPT_TIMERFUNCTION, on_timeout);
    curl_multi_setopt(http->multi, CURLMOPT_TIMERDATA, http);
    return 0;
}

static CURL *
new_easy(const struct http *http, struct http_connection *c, const char *url)
{
    CURL *e = curl_easy_init();
    if (e == NULL)
        return NULL;
    curl_easy_setopt(e, CURLOPT_URL, url);
    curl_easy_setopt(e, CURLOPT_CONNECT_ONLY, 1L);
    curl_easy_setopt(e, CURLOPT_HTTPPROXYTUNNEL, 1L);
    curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(e, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT, CONNECT_TIMEOUT_S);
    curl_easy_setopt(e, CURLOPT_SOCKOPTFUNCTION, on_new_socket);
    curl_easy_setopt(e, CURLOPT_RESOLVE, http->addresses);
    curl_easy_setopt(e, CURLOPT_PRIVATE, c);
    curl_easy_setopt(e, CURLOPT_ERRORBUFFER, c->error_text);
    if (http->insecure) {
        curl_easy_setopt(e, CURLOPT_SSL_VERIFYPEER, 0L);
        curl_easy_setopt(e, CURLOPT_SSL_VERIFYHOST, 0L);
    }
    return e;
}

/*
 * Goes on now rather than in later turns of the loop, as far as the socket lets
 * it: a connection to this machine is made at once. In a busy loop later turns
 * are milliseconds away.
 */
static void
connect_now(struct http *http)
{
    int running;
    http->new_socket = CURL_SOCKET_BAD;
    curl_multi_socket_action(http->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    struct pollfd p = {.fd = http->new_socket, .events = POLLOUT};
    if (http->new_socket != CURL_SOCKET_BAD && poll(&p, 1, 0) == 1 && p.revents == POLLOUT)
        curl_multi_socket_action(http->multi, p.fd, CURL_CSELECT_OUT, &running);
    take_finished(http);
}

int
http_connect(struct http *http, struct http_transfer *t, struct error *err)
{
    struct http_connection *c = calloc(1, sizeof *c);
    if (c == NULL)
        return error_set(err, ERR_NOMEM, "out of memory for a connection");
    c->http = http;
    c->socket = CURL_SOCKET_BAD;
    c->is_tls = strncasecmp(t->url, "https:", strlen("https:")) == 0;
    c->easy = new_easy(http, c, t->url);
    CURLMcode code = c->easy != NULL ? curl_multi_add_handle(http->multi, c->easy)
                                     : CURLM_OUT_OF_MEMORY;
    if (code != CURLM_OK) {
        curl_easy_cleanup(c->easy);
        free(c);
        return error_set(err, ERR_IO, "cannot send a request: %s", curl_multi_strerror(code));
    }
    c->transfer = t;
    t->connection = c;
    connect_now(http);
    return 0;
}

/* ---- connected ---- */

static void
free_connection(uv_handle_t *handle)
{
    free(handle->data);
}

void
http_connection_close(struct http_connection *c)
{
    bool has_poll = c->socket != CURL_SOCKET_BAD;
    if (has_poll) /* while the socket is open: then its number may be another lane's */
        uv_close((uv_handle_t *)&c->poll, free_connection);
    curl_multi_remove_handle(c->http->multi, c->easy); /* closes a connection of CONNECT_ONLY */
    curl_easy_cleanup(c->easy);
    if (!has_poll)
        free(c);
}

/* Nothing may come on an idle connection but its end. */
static bool
is_open(const struct http_connection *c)
{
    char byte;
    return recv(c->socket, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN;
}

struct http_connection *
http_connection_reuse(struct http *http)
{
    while (!list_empty(&http->idle)) {
        struct http_connection *c = container_of(http->idle.next, struct http_connection, node);
        list_remove(&c->node);
        if (is_open(c))
            return c;
        http_connection_close(c);
    }
    return NULL;
}

ssize_t
http_connection_send(struct http_connection *c, const void *bytes, size_t len)
{
    size_t sent = 0;
    if (!c->is_tls)
        return send(c->socket, bytes, len, MSG_NOSIGNAL | MSG_DONTWAIT);
    CURLcode code = curl_easy_send(c->easy, bytes, len, &sent);
    errno = code == CURLE_AGAIN ? EAGAIN : EIO;
    return code == CURLE_OK ? (ssize_t)sent : -1;
}

ssize_t
http_connection_receive(struct http_connection *c, void *bytes, size_t len,
                        uint64_t *ret_arrival_ns)
{
    char byte;
    size_t got = 0;
    if (!c->is_tls)
        return arrival_receive(c->socket, bytes, len, 0, ret_arrival_ns);
    arrival_receive(c->socket, &byte, 1, MSG_PEEK, ret_arrival_ns);
    CURLcode code = curl_easy_recv(c->easy, bytes, len, &got);
    errno = code == CURLE_AGAIN ? EAGAIN : EIO;
    return code == CURLE_OK ? (ssize_t)got : -1;
}

static void
on_ready(uv_poll_t *poll, int status, int events)
{
    struct http_connection *c = poll->data;
    if (status < 0) {
        /* Of a socket that was reset libuv lets go, but one read gets no more
         * than what came before the reset: there must be a next one. */
        c->events = 0;
        http_connection_wait(c, UV_READABLE);
        events = UV_READABLE;
    }
    http_ready(c, events);
}

int
http_connection_wait(struct http_connection *c, int events)
{
    if (c->events == events)
        return 0;
    c->events = events;
    if (events == 0)
        return uv_poll_stop(&c->poll);
    return uv_poll_start(&c->poll, events, on_ready);
}
