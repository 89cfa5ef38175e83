/* SPDX-License-Identifier: Apache-2.0 */
#include "server/bridge.h"

#include "server/completions.h"
#include "util/log.h"

#define BATCH_EVENTS 256
/* Then the sockets get their turn. */
#define MAX_EVENTS_PER_TURN 8192

static void
deliver(struct app *a, const struct engine_event *event, uint64_t now_ns)
{
    struct choice *ch = event->request->user;
    struct completion *cm = ch->completion;
    completion_hold(cm);
    if (event->type == EVENT_TOKEN) {
        choice_on_token(ch, event, now_ns);
    } else {
        choice_on_finished(ch, event);
        app_count_finished(a, now_ns);
    }
    completion_drop(cm);
}

/* A dead engine stays dead: main.c ends the process. */
static void
check_engine(struct app *a)
{
    struct error why;
    if (a->state == APP_FAILED || !engine_failed(a->engine, &why))
        return;
    log_error("engine failed: %s", why.text);
    app_set_failed(a, why.text);
}

void
bridge_on_wake(uv_async_t *wake)
{
    struct app *a = wake->data;
    struct engine_event events[BATCH_EVENTS];
    size_t total = 0, num = BATCH_EVENTS;
    if (a->engine == NULL)
        return;
    uint64_t now_ns = mono_ns();
    while (num == BATCH_EVENTS && total < MAX_EVENTS_PER_TURN) {
        num = engine_poll(a->engine, events, BATCH_EVENTS);
        for (size_t i = 0; i < num; i++)
            deliver(a, &events[i], now_ns);
        total += num;
    }
    check_engine(a);
    if (total > 0)
        hist_record(&a->metrics.drain_events, (double)total);
    if (num == BATCH_EVENTS)
        uv_async_send(wake);
    http_server_flush(a->http);
}
