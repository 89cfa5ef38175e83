/* SPDX-License-Identifier: Apache-2.0 */
/* A run, as its caller sees it: starts the lanes, shows progress, collects. */
#include "loadgen/client_private.h"

#include <math.h>

#define PROGRESS_MS 100

static void
show_progress(struct client *c)
{
    const struct client_run *run = c->run;
    uint64_t now_ns = mono_ns();
    size_t sent = MIN(atomic_load(&c->next), atomic_load(&c->num_total));
    size_t due = now_ns < c->stop_ns ? client_first_after(c, now_ns) : sent;
    struct client_progress p = {
        .num_done = atomic_load(&c->num_done),
        .num_running = atomic_load(&c->num_in_flight),
        .num_waiting = MAX(due, sent) - sent,
        .num_total = c->stop_ns == UINT64_MAX ? run->num_requests : 0,
        .elapsed_s = (double)(now_ns - c->start_ns) / 1e9,
    };
    for (size_t i = 0; i < c->num_lanes; i++)
        p.num_tokens += atomic_load_explicit(&c->lanes[i].num_tokens, memory_order_relaxed);
    run->on_progress(run->arg, &p);
}

static void
on_progress(uv_timer_t *timer)
{
    show_progress(container_of(timer, struct client, timer));
}

/* Blocks until all lanes have ended. Without one of them a part of the schedule
 * would have no clock, so then none runs on. */
static int
run_lanes(struct client *c, struct error *err)
{
    size_t num = 1;
    while (num < c->num_lanes &&
           pthread_create(&c->lanes[num].thread, NULL, client_lane_main, &c->lanes[num]) == 0)
        num++;
    bool has_all = num == c->num_lanes;
    if (has_all) {
        client_lane_main(&c->lanes[0]);
    } else {
        client_stop_lanes(c);
        client_cancel_requests(&c->lanes[0]); /* a probe */
    }
    for (size_t i = 1; i < num; i++)
        pthread_join(c->lanes[i].thread, NULL);
    return has_all ? 0 : error_set(err, ERR_NOMEM, "cannot start %zu threads", c->num_lanes - 1);
}

static void
begin(struct client *c, const struct client_run *run)
{
    c->run = run;
    c->next = c->num_in_flight = c->num_done = 0;
    c->num_total = run->num_requests;
    c->over = false;
    for (size_t i = 0; i < c->num_lanes; i++)
        c->lanes[i].num_tokens = 0;
    c->start_ns = mono_ns();
    c->end_ns = c->start_ns;
    c->stop_ns = isnan(run->duration_s) ? UINT64_MAX : c->start_ns + client_ns_of(run->duration_s);
}

/* What was taken and is not ended was cancelled; the rest was never sent. */
static void
collect(struct client *c, struct client_outcome *ret)
{
    if (!c->over)
        c->end_ns = mono_ns();
    ret->num_sent = MIN(atomic_load(&c->next), atomic_load(&c->num_total));
    ret->start_ns = c->start_ns;
    ret->duration_s = (double)(c->end_ns - c->start_ns) / 1e9;
    ret->interrupted = c->interrupted;
    for (size_t i = 0; i < c->num_lanes; i++) {
        ret->cpu_s += c->lanes[i].cpu_s;
        if (ret->duration_s > 0)
            ret->busiest_share = MAX(ret->busiest_share, c->lanes[i].cpu_s / ret->duration_s);
    }
}

int
client_run(struct client *c, const struct client_run *run, struct client_outcome *ret,
           struct error *err)
{
    ASSERT(run->schedule == NULL || run->schedule->len == run->num_requests);
    ASSERT(run->num_requests > 0 && run->num_prompts > 0);
    *ret = (struct client_outcome){0};
    if (c->interrupted)
        return error_set(err, ERR_CANCELLED, "interrupted before the run");
    client_watch_signals(c);
    begin(c, run);
    if (run->on_progress != NULL)
        uv_timer_start(&c->timer, on_progress, 0, PROGRESS_MS);
    if (run->probe_request_rate > 0)
        prober_start(c);
    int e = run_lanes(c, err);
    uv_timer_stop(&c->timer);
    collect(c, ret);
    if (run->probe_request_rate > 0)
        prober_collect(c, ret);
    if (run->on_progress != NULL)
        show_progress(c);
    c->run = NULL;
    return e;
}
