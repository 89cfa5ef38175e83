/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The run. Requests leave in the order of the schedule: whichever lane is awake
 * takes the next one that is due and that --max-concurrency allows. Each lane's
 * timerfd wakes it for every K-th request; who ends a request sends what waited
 * for its place. So no request waits for a lane that sleeps.
 */
#include "loadgen/client_private.h"

#include <math.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define PROGRESS_MS 100
/* Requests that a lane starts before it looks at its sockets again. */
#define SENDS_PER_TURN 8

/* ---- shared among lanes ---- */

static uint64_t
due_ns(const struct client *c, size_t i)
{
    const struct schedule *s = c->run->schedule;
    return c->start_ns + (s != NULL ? (uint64_t)(s->times_s[i] * 1e9) : 0);
}

/* A place under --max-concurrency. */
static bool
take_place(struct client *c)
{
    size_t cap = (size_t)c->config->max_concurrency;
    size_t n = atomic_load(&c->num_in_flight);
    do {
        if (cap > 0 && n >= cap)
            return false;
    } while (!atomic_compare_exchange_weak(&c->num_in_flight, &n, n + 1));
    return true;
}

/* The next request, if it is due and there is a place for it. */
static bool
take_next(struct client *c, uint64_t now_ns, size_t *ret)
{
    size_t i = atomic_load(&c->next);
    while (i < c->run->num_requests && due_ns(c, i) <= now_ns) {
        if (!take_place(c))
            return false;
        if (atomic_compare_exchange_strong(&c->next, &i, i + 1)) {
            *ret = i;
            return true;
        }
        atomic_fetch_sub(&c->num_in_flight, 1);
    }
    return false;
}

static void
end_if_done(struct client *c)
{
    if (atomic_load(&c->num_done) < atomic_load(&c->num_total) || atomic_exchange(&c->over, true))
        return;
    c->end_ns = mono_ns();
    for (size_t i = 0; i < c->num_lanes; i++)
        uv_async_send(&c->lanes[i].stop);
}

/* The time for sending is over: what was not taken is not sent. */
static void
stop_sending(struct client *c)
{
    size_t num_sent = atomic_exchange(&c->next, c->run->num_requests);
    if (num_sent < c->run->num_requests)
        atomic_store(&c->num_total, num_sent);
    end_if_done(c);
}

/* ---- on a lane ---- */

static void send_due(struct lane *lane, uint64_t free_ns);
static void on_run_request_done(struct request *r);

/* `free_ns`: since when there was a place for it. */
static void
send_one(struct lane *lane, size_t i, uint64_t free_ns)
{
    struct client *c = lane->client;
    const struct client_run *run = c->run;
    struct reply *reply = &run->replies[i];
    const struct prompt *prompt = &run->prompts[i % run->num_prompts];
    struct error err;
    reply_init(reply, config_is_chat(c->config) ? REPLY_CHAT : REPLY_COMPLETION,
               (int64_t)prompt->len);
    reply->due_ns = due_ns(c, i);
    reply->ready_ns = MAX(reply->due_ns, free_ns);
    if (client_send(lane, prompt, run->anonymous ? NO_ID : i, reply, on_run_request_done,
                    &err) < 0) {
        reply_finish(reply, 0, err.text, mono_ns());
        atomic_fetch_sub(&c->num_in_flight, 1);
        atomic_fetch_add(&c->num_done, 1);
    }
}

static void
on_more(uv_idle_t *idle)
{
    send_due(container_of(idle, struct lane, more), 0);
}

static void
send_due(struct lane *lane, uint64_t free_ns)
{
    struct client *c = lane->client;
    size_t i, num = 0;
    while (num < SENDS_PER_TURN && take_next(c, mono_ns(), &i)) {
        send_one(lane, i, free_ns);
        num++;
    }
    if (num == SENDS_PER_TURN)
        uv_idle_start(&lane->more, on_more);
    else
        uv_idle_stop(&lane->more);
    end_if_done(c);
}

static void
on_run_request_done(struct request *r)
{
    struct client *c = r->lane->client;
    atomic_fetch_sub(&c->num_in_flight, 1);
    atomic_fetch_add(&c->num_done, 1);
    send_due(r->lane, r->reply->end_ns);
}

/* The first request that is not due yet. */
static size_t
first_after(const struct client *c, uint64_t now_ns)
{
    size_t low = atomic_load(&c->next), high = c->run->num_requests;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (due_ns(c, middle) <= now_ns)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Sets the clock for the next of this lane's share of the schedule. What is due
 * and was not sent waits for a place, and whoever frees one sends it. */
static void
set_clock(struct lane *lane, uint64_t now_ns)
{
    const struct client *c = lane->client;
    size_t i = first_after(c, now_ns);
    i += (lane->index + c->num_lanes - i % c->num_lanes) % c->num_lanes;
    uint64_t at_ns = i < c->run->num_requests ? due_ns(c, i) : UINT64_MAX;
    if (lane->index == 0)
        at_ns = MIN(at_ns, c->stop_ns);
    struct itimerspec spec = {0}; /* stopped */
    if (at_ns != UINT64_MAX) {
        spec.it_value.tv_sec = (time_t)(at_ns / 1000000000u);
        spec.it_value.tv_nsec = (long)(at_ns % 1000000000u);
    }
    timerfd_settime(lane->clock_fd, TFD_TIMER_ABSTIME, &spec, NULL);
}

static void
advance(struct lane *lane)
{
    struct client *c = lane->client;
    /* From before sending: what becomes due meanwhile wakes the lane again. */
    uint64_t now_ns = mono_ns();
    send_due(lane, 0);
    if (now_ns >= c->stop_ns)
        stop_sending(c);
    else
        set_clock(lane, now_ns);
}

static void
on_clock(uv_poll_t *poll, int status, int events)
{
    struct lane *lane = container_of(poll, struct lane, clock);
    uint64_t times;
    (void)status;
    (void)events;
    if (read(lane->clock_fd, &times, sizeof times) == (ssize_t)sizeof times)
        advance(lane);
}

static double
thread_cpu_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void *
lane_main(void *arg)
{
    struct lane *lane = arg;
    double cpu_s = thread_cpu_s();
    uv_poll_start(&lane->clock, UV_READABLE, on_clock);
    advance(lane);
    /* Ends by the one `stop` that each lane is sent, even if it came already:
     * none is left over for the next run. */
    uv_run(&lane->loop, UV_RUN_DEFAULT);
    client_cancel_requests(lane);
    uv_poll_stop(&lane->clock);
    uv_idle_stop(&lane->more);
    lane->cpu_s = thread_cpu_s() - cpu_s;
    return NULL;
}

/* ---- the caller's side ---- */

static void
show_progress(struct client *c)
{
    const struct client_run *run = c->run;
    uint64_t now_ns = mono_ns();
    size_t sent = MIN(atomic_load(&c->next), atomic_load(&c->num_total)), due = sent;
    while (due < run->num_requests && now_ns < c->stop_ns && due_ns(c, due) <= now_ns)
        due++;
    struct client_progress p = {
        .num_done = atomic_load(&c->num_done),
        .num_running = atomic_load(&c->num_in_flight),
        .num_waiting = due - sent,
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

/* Starts the threads of all lanes but the caller's; returns how many lanes run. */
static size_t
start_lanes(struct client *c)
{
    size_t num = 1;
    while (num < c->num_lanes &&
           pthread_create(&c->lanes[num].thread, NULL, lane_main, &c->lanes[num]) == 0)
        num++;
    return num;
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
    c->start_ns = c->end_ns = mono_ns();
    c->stop_ns = isnan(run->duration_s) ? UINT64_MAX
                                        : c->start_ns + (uint64_t)(run->duration_s * 1e9);
}

/* What was taken and is not ended was cancelled; the rest was never sent. */
static void
collect(struct client *c, size_t num_lanes, struct client_outcome *ret)
{
    if (!c->over)
        c->end_ns = mono_ns();
    ret->num_sent = MIN(atomic_load(&c->next), atomic_load(&c->num_total));
    ret->start_ns = c->start_ns;
    ret->duration_s = (double)(c->end_ns - c->start_ns) / 1e9;
    ret->interrupted = c->interrupted;
    for (size_t i = 0; i < num_lanes; i++) {
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
    size_t num_lanes = start_lanes(c);
    lane_main(&c->lanes[0]);
    for (size_t i = 1; i < num_lanes; i++)
        pthread_join(c->lanes[i].thread, NULL);
    uv_timer_stop(&c->timer);
    collect(c, num_lanes, ret);
    if (run->probe_request_rate > 0) {
        prober_stop(c);
        ret->probe_latencies_s = c->prober.latencies_s;
        ret->num_probes_failed = c->prober.num_failed;
    }
    if (run->on_progress != NULL)
        show_progress(c);
    c->run = NULL;
    return 0;
}
