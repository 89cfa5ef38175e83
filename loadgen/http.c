/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libcurl says which sockets it waits for (on_socket) and when it wants to be
 * called anyway (on_timeout); libuv tells it what happened. Finished transfers
 * are taken out after each call into libcurl, never from inside of it.
 */
#include "loadgen/http.h"
#include "loadgen/arrival.h"

#include <poll.h>

#define CONNECT_TIMEOUT_S 30L
#define MAX_IDLE_CONNECTIONS 65536L

/* A socket that libcurl waits for; freed when its handle has closed. */
struct watch {
    uv_poll_t poll;
    struct http *http;
    curl_socket_t socket;
};

static int
on_new_socket(void *arg, curl_socket_t socket, curlsocktype purpose)
{
    (void)arg;
    (void)purpose;
    arrival_watch(socket);
    return CURL_SOCKOPT_OK;
}

/* ---- transfers ---- */

static void
detach(struct http_transfer *t)
{
    struct http *http = t->http;
    list_remove(&t->node);
    curl_multi_remove_handle(http->multi, t->easy);
    if (http->num_idle < HTTP_IDLE_MAX)
        http->idle[http->num_idle++] = t->easy;
    else
        curl_easy_cleanup(t->easy);
    t->easy = NULL;
}

static void
take_finished(struct http *http)
{
    CURLMsg *message;
    int left;
    while ((message = curl_multi_info_read(http->multi, &left)) != NULL) {
        if (message->msg != CURLMSG_DONE)
            continue;
        struct http_transfer *t;
        CURLcode code = message->data.result;
        long status = 0;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&t);
        curl_easy_getinfo(message->easy_handle, CURLINFO_RESPONSE_CODE, &status);
        t->status = (int)status;
        detach(t);
        const char *text = t->error_text[0] != '\0' ? t->error_text : curl_easy_strerror(code);
        t->on_done(t, code == CURLE_OK ? NULL : text);
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
    http->arrival_ns = (events & UV_READABLE) != 0 ? arrival_ns(w->socket) : mono_ns();
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
    http->arrival_ns = mono_ns();
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

static size_t
on_write(char *bytes, size_t size, size_t count, void *arg)
{
    struct http_transfer *t = arg;
    if (t->status == 0) {
        long status = 0;
        curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
        t->status = (int)status;
    }
    t->on_data(t, bytes, size * count);
    return size * count;
}

int
http_init(struct http *http, uv_loop_t *loop, bool insecure, struct curl_slist *addresses,
          struct error *err)
{
    *http = (struct http){.loop = loop, .insecure = insecure, .addresses = addresses};
    list_init(&http->transfers);
    http->multi = curl_multi_init();
    if (http->multi == NULL)
        return error_set(err, ERR_NOMEM, "cannot start libcurl");
    uv_timer_init(loop, &http->timer);
    curl_multi_setopt(http->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    curl_multi_setopt(http->multi, CURLMOPT_SOCKETDATA, http);
    curl_multi_setopt(http->multi, CURLMOPT_TIMERFUNCTION, on_timeout);
    curl_multi_setopt(http->multi, CURLMOPT_TIMERDATA, http);
    curl_multi_setopt(http->multi, CURLMOPT_MAXCONNECTS, MAX_IDLE_CONNECTIONS);
    return 0;
}

/* A handle with all that is the same for every request. */
static CURL *
new_easy(const struct http *http)
{
    CURL *e = curl_easy_init();
    if (e == NULL)
        return NULL;
    curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(e, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT, CONNECT_TIMEOUT_S);
    curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_write);
    curl_easy_setopt(e, CURLOPT_SOCKOPTFUNCTION, on_new_socket);
    curl_easy_setopt(e, CURLOPT_RESOLVE, http->addresses);
    if (http->insecure) {
        curl_easy_setopt(e, CURLOPT_SSL_VERIFYPEER, 0L);
        curl_easy_setopt(e, CURLOPT_SSL_VERIFYHOST, 0L);
    }
    return e;
}

static void
set_request(CURL *e, struct http_transfer *t)
{
    curl_easy_setopt(e, CURLOPT_URL, t->url);
    curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, (long)t->timeout_ms);
    curl_easy_setopt(e, CURLOPT_PRIVATE, t);
    curl_easy_setopt(e, CURLOPT_ERRORBUFFER, t->error_text);
    curl_easy_setopt(e, CURLOPT_WRITEDATA, t);
    curl_easy_setopt(e, CURLOPT_HTTPHEADER, t->headers);
    if (t->body != NULL) {
        curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)t->body_bytes);
        curl_easy_setopt(e, CURLOPT_POSTFIELDS, t->body);
    } else {
        curl_easy_setopt(e, CURLOPT_HTTPGET, 1L);
    }
}

/*
 * Sends a request now rather than in later turns of the loop, as far as the
 * socket lets it: over a connection that is kept, or one to this machine, which
 * is made at once. In a busy loop later turns are milliseconds away.
 */
static void
send_now(struct http *http)
{
    int running;
    http->new_socket = CURL_SOCKET_BAD;
    http->arrival_ns = mono_ns();
    curl_multi_socket_action(http->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    struct pollfd p = {.fd = http->new_socket, .events = POLLOUT};
    if (http->new_socket != CURL_SOCKET_BAD && poll(&p, 1, 0) == 1 && p.revents == POLLOUT)
        curl_multi_socket_action(http->multi, p.fd, CURL_CSELECT_OUT, &running);
    /* What failed at once is taken out in the next turn: never from in here,
     * where the caller does not expect it. libcurl renews its own timer then. */
    uv_timer_start(&http->timer, on_timer, 0, 0);
}

int
http_start(struct http *http, struct http_transfer *t, struct error *err)
{
    t->http = http;
    t->status = 0;
    t->error_text[0] = '\0';
    t->easy = http->num_idle > 0 ? http->idle[--http->num_idle] : new_easy(http);
    if (t->easy == NULL)
        return error_set(err, ERR_NOMEM, "out of memory for a request");
    set_request(t->easy, t);
    CURLMcode code = curl_multi_add_handle(http->multi, t->easy);
    if (code != CURLM_OK) {
        curl_easy_cleanup(t->easy);
        t->easy = NULL;
        return error_set(err, ERR_IO, "cannot send a request: %s", curl_multi_strerror(code));
    }
    list_append(&http->transfers, &t->node);
    send_now(http);
    return 0;
}

void
http_cancel(struct http_transfer *t)
{
    detach(t);
}

void
http_release(struct http *http)
{
    if (http->multi == NULL)
        return;
    ASSERT(list_empty(&http->transfers));
    while (http->num_idle > 0)
        curl_easy_cleanup(http->idle[--http->num_idle]);
    curl_multi_cleanup(http->multi);
    http->multi = NULL;
    uv_close((uv_handle_t *)&http->timer, NULL);
}
