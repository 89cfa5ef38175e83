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
    client_unwatch_signals(c);
    for (size_t i = 0; i < c->num_lanes; i++)
        uv_async_send(&c->lanes[i].stop);
}

void
client_watch_signals(struct client *c)
{
    uv_signal_start_oneshot(&c->interrupt, on_signal, SIGINT);
    uv_signal_start_oneshot(&c->terminate, on_signal, SIGTERM);
}

void
client_unwatch_signals(struct client *c)
{
    uv_signal_stop(&c->interrupt);
    uv_signal_stop(&c->terminate);
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
    c->headers = client_make_headers(c->config);
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

/* What it has opened when it fails is lane_release's. */
static int
lane_init(struct lane *lane, struct client *c, size_t index, struct error *err)
{
    lane->client = c;
    lane->index = index;
    int e = uv_loop_init(&lane->loop);
    if (e < 0)
        return error_set(err, ERR_IO, "cannot start a loop: %s", uv_strerror(e));
    c->num_lanes = index + 1;
    lane->clock_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (lane->clock_fd < 0)
        return error_set(err, ERR_IO, "cannot create a timer: %s", strerror(errno));
    uv_idle_init(&lane->loop, &lane->more);
    e = uv_poll_init(&lane->loop, &lane->clock, lane->clock_fd);
    if (e == 0)
        e = uv_async_init(&lane->loop, &lane->stop, on_stop);
    if (e < 0)
        return error_set(err, ERR_IO, "cannot start a loop: %s", uv_strerror(e));
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
    if (lane->clock_fd >= 0)
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

static int
init_signals(struct client *c, struct error *err)
{
    uv_loop_t *loop = &c->lanes[0].loop;
    c->interrupt.data = c->terminate.data = c;
    int e = uv_signal_init(loop, &c->interrupt);
    if (e == 0)
        e = uv_signal_init(loop, &c->terminate);
    return e == 0 ? 0 : error_set(err, ERR_IO, "cannot watch signals: %s", uv_strerror(e));
}

int
client_new(const struct config *config, struct client **ret, struct error *err)
{
    struct client *c = calloc(1, sizeof *c);
    if (c == NULL)
        return error_set(err, ERR_NOMEM, "out of memory");
    c->config = config;
    int e = curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK
                ? make_strings(c, err)
                : error_set(err, ERR_NOMEM, "cannot start libcurl");
    for (size_t i = 0; i < wanted_lanes(config) && e == 0; i++)
        e = lane_init(&c->lanes[i], c, i, err);
    if (e == 0)
        e = init_signals(c, err);
    if (e < 0) {
        client_free(c);
        return e;
    }
    uv_timer_init(&c->lanes[0].loop, &c->timer);
    uv_timer_init(&c->lanes[0].loop, &c->prober.pause);
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
