/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The lanes of a run. Requests leave in the order of the schedule: whichever lane
 * is awake takes the next one that is due and that --max-concurrency allows. Each
 * lane's timerfd wakes it for every K-th request; who ends a request sends what
 * waited for its place. So no request waits for a lane that sleeps.
 */
#include "loadgen/client_private.h"

#include <sys/timerfd.h>
#include <unistd.h>

/* Requests that a lane starts before it looks at its sockets again. */
#define SENDS_PER_TURN 8

/* ---- shared among lanes ---- */

static uint64_t
due_ns(const struct client *c, size_t i)
{
    const struct schedule *s = c->run->schedule;
    return c->start_ns + (s != NULL ? client_ns_of(s->times_s[i]) : 0);
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

/*
 * The next request, if it is due and there is a place for it. Who gives a place
 * back looks again, and at a new time: another lane may have found none because
 * of it.
 */
static bool
take_next(struct client *c, size_t *ret)
{
    size_t i = atomic_load(&c->next);
    while (i < c->run->num_requests && due_ns(c, i) <= mono_ns()) {
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

void
client_stop_lanes(struct client *c)
{
    if (atomic_exchange(&c->over, true))
        return;
    c->end_ns = mono_ns();
    for (size_t i = 0; i < c->num_lanes; i++)
        uv_async_send(&c->lanes[i].stop);
}

static void
end_if_done(struct client *c)
{
    if (atomic_load(&c->num_done) == atomic_load(&c->num_total))
        client_stop_lanes(c);
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
    while (num < SENDS_PER_TURN && take_next(c, &i)) {
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

size_t
client_first_after(const struct client *c, uint64_t now_ns)
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
    size_t i = client_first_after(c, now_ns);
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

void *
client_lane_main(void *arg)
{
    struct lane *lane = arg;
    double cpu_s = thread_cpu_s();
    uv_poll_start(&lane->clock, UV_READABLE, on_clock);
    advance(lane);
    /* Ends by the one `stop` that each lane is sent, even if it came already:
     * none is left over for the next run. */
    uv_run(&lane->loop, UV_RUN_DEFAULT);
    uv_poll_stop(&lane->clock);
    uv_idle_stop(&lane->more);
    lane->cpu_s = thread_cpu_s() - cpu_s;
    if (lane->index == 0)
        prober_finish(lane->client);
    client_cancel_requests(lane);
    return NULL;
}
