/* SPDX-License-Identifier: Apache-2.0 */
/* The client's life: loops, strings, signals. */
#include "loadgen/client_private.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/random.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define PROCESSORS_PER_LANE 4
#define DEFAULT_LANES_MAX 8

/* ---- signals ---- */

/* A second one finds no handler, and ends the program. */
static void
on_signal(uv_signal_t *handle, int number)
{
    struct client *c = handle->data;
    (void)number;
    c->interrupted = true;
    uv_signal_stop(&c->interrupt);
    uv_signal_stop(&c->terminate);
    for (size_t i = 0; i < c->num_lanes; i++)
        uv_async_send(&c->lanes[i].stop);
}

void
client_watch_signals(struct client *c)
{
    uv_signal_start_oneshot(&c->interrupt, on_signal, SIGINT);
    uv_signal_start_oneshot(&c->terminate, on_signal, SIGTERM);
}

/* ---- strings ---- */

static void
make_id_prefix(const struct config *config, struct buf *ret)
{
    uint32_t random = 0;
    if (config->request_id_prefix != NULL) {
        buf_puts(ret, config->request_id_prefix);
        return;
    }
    if (getrandom(&random, sizeof random, 0) < 0)
        random = (uint32_t)mono_ns();
    buf_printf(ret, "bench-%08x-", random);
}

static void
trim(const char **text, size_t *len)
{
    while (*len > 0 && **text == ' ')
        (*text)++, (*len)--;
    while (*len > 0 && (*text)[*len - 1] == ' ')
        (*len)--;
}

/* "KEY=VALUE" as "KEY: VALUE". */
static void
add_header(struct client *c, const char *pair)
{
    const char *value = strchr(pair, '=') + 1;
    size_t key_len = (size_t)(value - 1 - pair), value_len = strlen(value);
    struct buf line = {0};
    trim(&pair, &key_len);
    trim(&value, &value_len);
    /* libcurl sends an empty header for "KEY;". */
    if (value_len > 0)
        buf_printf(&line, "%.*s: %.*s", (int)key_len, pair, (int)value_len, value);
    else
        buf_printf(&line, "%.*s;", (int)key_len, pair);
    c->headers = curl_slist_append(c->headers, buf_bytes(&line));
    buf_release(&line);
}

static bool
has_header(const struct option_list *headers, const char *name)
{
    for (size_t i = 0; i < headers->len; i++) {
        size_t len = strcspn(headers->items[i], "= ");
        if (len == strlen(name) && strncasecmp(headers->items[i], name, len) == 0)
            return true;
    }
    return false;
}

static void
make_headers(struct client *c)
{
    const struct config *config = c->config;
    struct buf key = {0};
    c->headers = curl_slist_append(NULL, "Expect:"); /* no 100-continue */
    if (!has_header(&config->header, "Content-Type"))
        c->headers = curl_slist_append(c->headers, "Content-Type: application/json");
    if (config->api_key != NULL && !has_header(&config->header, "Authorization")) {
        buf_printf(&key, "Authorization: Bearer %s", config->api_key);
        c->headers = curl_slist_append(c->headers, buf_bytes(&key));
        buf_release(&key);
    }
    for (size_t i = 0; i < config->header.len; i++)
        add_header(c, config->header.items[i]);
}

static int
make_strings(struct client *c, struct error *err)
{
    struct buf url = {0}, base = {0}, prefix = {0};
    config_url(c->config, &url);
    config_url(c->config, &base);
    buf_puts(&url, c->config->endpoint);
    make_id_prefix(c->config, &prefix);
    c->url = buf_take(&url, NULL);
    c->base_url = buf_take(&base, NULL);
    c->id_prefix = buf_take(&prefix, NULL);
    make_headers(c);
    if (c->base_url != NULL)
        c->addresses = client_resolve(c->base_url);
    if (c->url == NULL || c->base_url == NULL || c->id_prefix == NULL || c->headers == NULL)
        return error_set(err, ERR_NOMEM, "out of memory");
    return 0;
}

int
client_set_model(struct client *c, const char *model, struct error *err)
{
    payload_release(&c->payload);
    return payload_init(&c->payload, c->config, model, err);
}

/* ---- lanes ---- */

static void
on_stop(uv_async_t *async)
{
    uv_stop(async->loop);
}

static int
lane_init(struct lane *lane, struct client *c, size_t index, struct error *err)
{
    lane->client = c;
    lane->index = index;
    lane->clock_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (lane->clock_fd < 0)
        return error_set(err, ERR_IO, "cannot create a timer: %s", strerror(errno));
    uv_loop_init(&lane->loop);
    uv_poll_init(&lane->loop, &lane->clock, lane->clock_fd);
    uv_async_init(&lane->loop, &lane->stop, on_stop);
    uv_idle_init(&lane->loop, &lane->more);
    c->num_lanes = index + 1;
    return http_init(&lane->http, &lane->loop, c->config->insecure, c->addresses, err);
}

static void
close_handle(uv_handle_t *handle, void *arg)
{
    (void)arg;
    if (!uv_is_closing(handle))
        uv_close(handle, NULL);
}

static void
lane_release(struct lane *lane)
{
    if (lane->http.multi != NULL)
        client_cancel_requests(lane);
    http_release(&lane->http);
    uv_walk(&lane->loop, close_handle, NULL);
    while (uv_run(&lane->loop, UV_RUN_DEFAULT) != 0)
        ;
    uv_loop_close(&lane->loop);
    close(lane->clock_fd);
}

static size_t
wanted_lanes(const struct config *config)
{
    if (config->threads > 0)
        return MIN((size_t)config->threads, (size_t)CLIENT_LANES_MAX);
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    long lanes = (processors + PROCESSORS_PER_LANE - 1) / PROCESSORS_PER_LANE;
    return (size_t)MIN(MAX(lanes, 1L), (long)DEFAULT_LANES_MAX);
}

/* ---- life ---- */

int
client_new(const struct config *config, struct client **ret, struct error *err)
{
    struct client *c = calloc(1, sizeof *c);
    if (c == NULL)
        return error_set(err, ERR_NOMEM, "out of memory");
    c->config = config;
    curl_global_init(CURL_GLOBAL_DEFAULT);
    int e = make_strings(c, err);
    for (size_t i = 0; i < wanted_lanes(config) && e == 0; i++)
        e = lane_init(&c->lanes[i], c, i, err);
    if (e < 0) {
        client_free(c);
        return e;
    }
    uv_loop_t *loop = &c->lanes[0].loop;
    uv_signal_init(loop, &c->interrupt);
    uv_signal_init(loop, &c->terminate);
    uv_timer_init(loop, &c->timer);
    uv_timer_init(loop, &c->prober.pause);
    c->interrupt.data = c->terminate.data = c;
    *ret = c;
    return 0;
}

void
client_free(struct client *c)
{
    if (c == NULL)
        return;
    for (size_t i = 0; i < c->num_lanes; i++)
        lane_release(&c->lanes[i]);
    curl_slist_free_all(c->headers);
    curl_slist_free_all(c->addresses);
    payload_release(&c->payload);
    free(c->url);
    free(c->base_url);
    free(c->id_prefix);
    free(c);
    curl_global_cleanup();
}
