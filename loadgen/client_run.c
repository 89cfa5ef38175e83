/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The run: a timerfd says when the next request is due, --max-concurrency when
 * it may go. Requests become due, and are sent, in the order of the data set.
 */
#include "loadgen/client_private.h"

#include <sys/timerfd.h>
#include <unistd.h>

#define PROGRESS_MS 100

static void
end_run(struct client *c)
{
    c->end_ns = mono_ns();
    uv_stop(&c->loop);
}

static void on_run_request_done(struct request *r);

/* Sends what is due, as far as --max-concurrency allows. */
static void
send_due(struct client *c)
{
    const struct client_run *run = c->run;
    int64_t cap = c->config->max_concurrency;
    while (c->num_sent < c->num_due &&
           (cap == 0 || c->num_sent - c->num_done < (size_t)cap)) {
        size_t i = c->num_sent++;
        struct error err;
        if (client_send(c, run->model, &run->dataset->prompts[i], i, &run->replies[i],
                         on_run_request_done, &err) < 0) {
            reply_finish(&run->replies[i], 0, err.text, mono_ns());
            c->num_done++;
        }
    }
    if (c->num_done == run->dataset->len)
        end_run(c);
}

static void
on_run_request_done(struct request *r)
{
    r->client->num_done++;
    send_due(r->client);
}

static uint64_t
due_ns(const struct client *c, size_t i)
{
    return c->start_ns + (uint64_t)(c->run->schedule->times_s[i] * 1e9);
}

static void
set_clock(struct client *c, uint64_t at_ns)
{
    struct itimerspec spec = {
        .it_value = {(time_t)(at_ns / 1000000000u), (long)(at_ns % 1000000000u)},
    };
    timerfd_settime(c->clock_fd, TFD_TIMER_ABSTIME, &spec, NULL);
}

/* Marks what has become due, and sets the clock for what comes next. */
static void
advance(struct client *c)
{
    uint64_t now_ns = mono_ns();
    while (c->num_due < c->run->dataset->len && due_ns(c, c->num_due) <= now_ns) {
        /* Its creation, which vLLM's queue time counts from. */
        c->run->replies[c->num_due].due_ns = now_ns;
        c->num_due++;
    }
    if (c->num_due < c->run->dataset->len)
        set_clock(c, due_ns(c, c->num_due));
    send_due(c);
}

static void
on_clock(uv_poll_t *poll, int status, int events)
{
    struct client *c = container_of(poll, struct client, clock);
    uint64_t times;
    (void)status;
    (void)events;
    if (read(c->clock_fd, &times, sizeof times) == (ssize_t)sizeof times)
        advance(c);
}

static void
on_progress(uv_timer_t *timer)
{
    struct client *c = container_of(timer, struct client, progress);
    c->run->on_progress(c->run->arg, c->num_done, (double)(mono_ns() - c->start_ns) * 1e-9);
}

int
client_run(struct client *c, const struct client_run *run, double *ret_duration_s,
           struct error *err)
{
    ASSERT(run->dataset->len == run->schedule->len && run->dataset->len > 0);
    if (c->interrupted)
        return error_set(err, ERR_CANCELLED, "interrupted before the run");
    c->run = run;
    c->num_due = c->num_sent = c->num_done = 0;
    client_watch_signals(c);
    uv_poll_start(&c->clock, UV_READABLE, on_clock);
    if (run->on_progress != NULL)
        uv_timer_start(&c->progress, on_progress, 0, PROGRESS_MS);
    c->start_ns = c->end_ns = mono_ns();
    advance(c);
    if (c->num_done < run->dataset->len)
        uv_run(&c->loop, UV_RUN_DEFAULT);
    if (c->interrupted)
        c->end_ns = mono_ns();
    client_cancel_requests(c);
    if (run->on_progress != NULL)
        run->on_progress(run->arg, c->num_done, (double)(c->end_ns - c->start_ns) * 1e-9);
    uv_timer_stop(&c->progress);
    uv_poll_stop(&c->clock);
    *ret_duration_s = (double)(c->end_ns - c->start_ns) * 1e-9;
    c->run = NULL;
    return 0;
}
