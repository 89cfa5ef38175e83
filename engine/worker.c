/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The worker's loop: take commands, schedule, launch a step, land the oldest
 * step on its way, publish, wake. With a device that runs one step at a time the
 * step that lands is the one just launched; with a GPU it is the one before.
 *
 * It starts a step only when the event ring has room for two events (a token
 * and the end) of every sequence that may run, in this step and in those on
 * their way, and takes a command only when there is room for one event more, so
 * a push never fails. When the loop thread lags behind, the worker sleeps until
 * it has polled.
 *
 * A request may end while a newer step computes a token for it: that token is
 * dropped when it lands. Its blocks may be given to others at once, since what
 * the device does for them comes after that step.
 */
#include "engine/worker.h"

static void
push_event(struct engine *e, const struct engine_event *event)
{
    bool pushed = ring_push(&e->events, event);
    ASSERT(pushed);
    e->events_pending = true;
}

static void
wake_loop(struct engine *e)
{
    if (!e->events_pending)
        return;
    e->events_pending = false;
    e->wake(e->wake_arg);
}

static struct engine_event
finished_event(struct request *r, enum finish_reason reason, uint64_t now)
{
    r->finish_reason = reason;
    r->finished_ns = now;
    return (struct engine_event){
        .request = r,
        .token = -1,
        .output_index = r->num_output_tokens,
        .type = EVENT_FINISHED,
        .finish_reason = (uint8_t)reason,
        .time_ns = now,
    };
}

/* Takes `r` away from the scheduler and from the steps on their way. */
static void
retire(struct engine *e, struct request *r)
{
    scheduler_finish(&e->scheduler, r);
    for (int i = 0; i < e->max_flights && r->num_pending_tokens > 0; i++)
        flight_drop(&e->flights[i], r);
    r->num_pending_tokens = 0;
}

/* Ends `r`: unless a CANCEL is on its way, the loop's again afterwards. */
static void
finish(struct engine *e, struct request *r, enum finish_reason reason, uint64_t now)
{
    retire(e, r);
    struct engine_event event = finished_event(r, reason, now);
    push_event(e, &event);
}

static size_t
events_of_steps(const struct engine *e, int num_steps)
{
    return 2 * (size_t)e->info.max_num_seqs * (size_t)num_steps;
}

static void
take_submission(struct engine *e, struct request *r)
{
    r->arrival = e->num_submitted++;
    if (!r->sampling.has_seed)
        r->sampling.seed = rng_mix64(e->seed ^ rng_mix64(r->arrival));
    if (atomic_load_explicit(&e->failed, memory_order_relaxed)) {
        request_set_state(r, REQUEST_FINISHED);
        struct engine_event event = finished_event(r, FINISH_ERROR, mono_ns());
        push_event(e, &event);
        return;
    }
    scheduler_add(&e->scheduler, r);
}

/*
 * A CANCEL may cross with the request's own end: its FINISHED event is out, but
 * the loop keeps the request until it learns that this command has been read.
 */
static void
take_cancel(struct engine *e, struct request *r)
{
    struct engine_event event;
    if (r->state == REQUEST_FINISHED) {
        event = (struct engine_event){.request = r, .token = -1, .type = EVENT_CANCEL_TAKEN};
    } else {
        retire(e, r);
        event = finished_event(r, FINISH_ABORT, mono_ns());
        event.cancel_taken = 1;
    }
    push_event(e, &event);
}

static void
take_commands(struct engine *e)
{
    struct engine_command c;
    while (ring_room(&e->events) > events_of_steps(e, e->max_flights)
           && ring_pop(&e->commands, &c, 1) == 1) {
        if (c.type == COMMAND_SUBMIT)
            take_submission(e, c.request);
        else
            take_cancel(e, c.request);
    }
}

/* Why `r` ends with the token it has just got; sets stop_token_id. */
static enum finish_reason
reason_to_finish(const struct engine *e, struct request *r, int32_t token)
{
    const struct sampling_params *p = &r->sampling;
    if (r->num_output_tokens >= p->min_tokens) {
        for (int32_t i = 0; i < p->num_stop_token_ids; i++) {
            if (token == p->stop_token_ids[i]) {
                r->stop_token_id = token;
                return FINISH_STOP;
            }
        }
        for (int32_t i = 0; i < e->info.num_eos_token_ids && !p->ignore_eos; i++) {
            if (token == e->info.eos_token_ids[i]) {
                r->stop_token_id = i == 0 ? -1 : token;
                return FINISH_STOP;
            }
        }
    }
    if (r->num_output_tokens >= p->max_tokens)
        return FINISH_LENGTH;
    return FINISH_NONE;
}

/* The token drawn for `r` becomes part of it, and known to the loop. */
static void
publish_token(struct engine *e, struct request *r, uint64_t now)
{
    int32_t index = r->num_output_tokens++;
    int32_t token = r->output_ids[index];
    if (index == 0)
        r->first_token_ns = now;
    bool scored = r->sampling.num_logprobs >= 0;
    enum finish_reason reason = reason_to_finish(e, r, token);
    push_event(e, &(struct engine_event){
                      .request = r,
                      .token = token,
                      .output_index = index,
                      .logprob = scored ? r->logprobs.logprob[index] : 0,
                      .type = EVENT_TOKEN,
                      .finish_reason = (uint8_t)reason,
                      .time_ns = now,
                  });
    if (reason != FINISH_NONE)
        finish(e, r, reason, now);
}

static void
count_up(atomic_uint_fast64_t *counter, uint64_t n)
{
    /* One writer: a plain add, seen whole by readers. */
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n,
                          memory_order_relaxed);
}

static int
log2_bucket(uint64_t value)
{
    int b = value <= 1 ? 0 : 64 - __builtin_clzll(value - 1);
    return MIN(b, ENGINE_STEP_BUCKETS - 1);
}

static void
publish_gauges(struct engine *e)
{
    struct engine_stats *s = &e->stats;
    atomic_store_explicit(&s->num_running, (uint64_t)e->scheduler.num_running,
                          memory_order_relaxed);
    atomic_store_explicit(&s->num_waiting, (uint64_t)e->scheduler.num_waiting,
                          memory_order_relaxed);
    atomic_store_explicit(&s->blocks_used, (uint64_t)(e->kv.num_blocks - e->kv.num_free),
                          memory_order_relaxed);
    atomic_store_explicit(&s->num_preemptions, e->scheduler.num_preemptions,
                          memory_order_relaxed);
    atomic_store_explicit(&s->heartbeat_ns, mono_ns(), memory_order_relaxed);
}

static void
count_step(struct engine *e, const struct flight *f, uint64_t ended, int32_t num_sampled)
{
    struct engine_stats *s = &e->stats;
    uint64_t tokens = (uint64_t)f->num_tokens;
    /* steps overlap: each counts from where the one before ended */
    uint64_t ns = ended - MAX(f->started_ns, e->last_landing_ns);
    e->last_landing_ns = ended;
    count_up(&s->num_steps, 1);
    count_up(&s->step_ns_total, ns);
    count_up(&s->step_us_log2[log2_bucket(ns / 1000)], 1);
    count_up(&s->step_tokens_log2[log2_bucket(tokens)], 1);
    count_up(&s->step_tokens_total, tokens);
    count_up(&s->generation_tokens, (uint64_t)num_sampled);
}

/* The planned tokens are in the cache, for any later step. */
static void
advance(struct engine *e, uint64_t now)
{
    for (int32_t i = 0; i < e->scheduler.num_scheduled; i++) {
        struct request *r = e->scheduler.scheduled[i];
        if (r->scheduled_ns == 0)
            r->scheduled_ns = now;
        bool was_prefill = r->num_computed_tokens < r->num_prompt_tokens;
        int32_t before = r->num_computed_tokens;
        r->num_computed_tokens += r->num_scheduled_tokens;
        if (was_prefill)
            count_up(&e->stats.prompt_tokens,
                     (uint64_t)(MIN(r->num_computed_tokens, r->num_prompt_tokens) - before));
    }
}

static int
compute_step(struct engine *e, struct flight *f)
{
    struct step_shape step;
    batch_build(&e->builder, e->scheduler.scheduled, e->scheduler.num_scheduled);
    int rc = e->ops->step_begin(e->dev, &e->builder.batch, &step);
    if (rc < 0)
        return rc;
    if (!step.recorded)
        model_forward(e->model, step.num_rows);
    rc = e->ops->forward_end(e->dev);
    if (rc == 0)
        rc = worker_sample(e, f);
    int end = e->ops->step_end(e->dev);
    return rc < 0 ? rc : end;
}

/* Only when a device fails while the loop lags: elsewhere room is kept. */
static void
wait_for_room(struct engine *e)
{
    while (ring_room(&e->events) == 0) {
        wake_loop(e);
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
}

/* The device is lost: nobody gets an answer from it any more. */
static void
fail_all(struct engine *e, int code)
{
    const char *why = e->ops->failure(e->dev);
    error_set(&e->failure, code, "device '%s' failed in a step: %s", e->info.device,
              why != NULL ? why : error_name(code));
    atomic_store_explicit(&e->failed, true, memory_order_release);
    e->num_flights = 0;
    uint64_t now = mono_ns();
    struct list *queues[] = {&e->scheduler.running, &e->scheduler.waiting};
    for (size_t q = 0; q < ARRAY_SIZE(queues); q++) {
        list_for_each_safe(pos, next, queues[q]) {
            struct request *r = container_of(pos, struct request, link);
            wait_for_room(e);
            finish(e, r, FINISH_ERROR, now);
        }
    }
    e->wake(e->wake_arg);
}

/* What the scheduler planned, up to the draws of its tokens. */
static void
launch_step(struct engine *e)
{
    struct flight *f = &e->flights[(e->first_flight + e->num_flights) % e->max_flights];
    flight_start(f, e->scheduler.num_tokens, mono_ns());
    int rc = compute_step(e, f);
    if (rc < 0) {
        fail_all(e, rc);
        return;
    }
    advance(e, f->started_ns);
    e->num_flights++;
}

/* Waits for the oldest step on its way; its tokens become known. */
static void
land_step(struct engine *e)
{
    struct flight *f = &e->flights[e->first_flight];
    int rc = e->ops->step_wait(e->dev);
    if (rc < 0) {
        fail_all(e, rc);
        return;
    }
    e->first_flight = (e->first_flight + 1) % e->max_flights;
    e->num_flights--;
    uint64_t now = mono_ns();
    int32_t num_sampled = 0;
    for (int32_t i = 0; i < f->num_requests; i++) {
        struct request *r = flight_land(f, i);
        if (r != NULL) {
            publish_token(e, r, now);
            num_sampled++;
        }
    }
    count_step(e, f, now, num_sampled);
}

static bool
has_commands_or_stops(void *arg)
{
    struct engine *e = arg;
    return atomic_load_explicit(&e->stopping, memory_order_acquire)
           || (ring_count(&e->commands) > 0
               && ring_room(&e->events) > events_of_steps(e, e->max_flights));
}

static bool
may_step(void *arg)
{
    struct engine *e = arg;
    return atomic_load_explicit(&e->stopping, memory_order_acquire)
           || ring_room(&e->events) >= events_of_steps(e, e->num_flights + 1);
}

/* Launches what there is to compute, and lands a step when as many as the device
 * takes are on their way, or there is nothing to launch. False: nothing to do. */
static bool
turn(struct engine *e)
{
    bool launched = scheduler_schedule(&e->scheduler) > 0;
    if (launched)
        launch_step(e);
    bool landing = e->num_flights > 0 && (!launched || e->num_flights == e->max_flights);
    if (landing)
        land_step(e);
    return launched || landing;
}

void *
worker_run(void *arg)
{
    struct engine *e = arg;
    while (!atomic_load_explicit(&e->stopping, memory_order_acquire)) {
        take_commands(e);
        bool idle = false;
        if (may_step(e))
            idle = !turn(e);
        else if (e->num_flights > 0)
            land_step(e);
        else
            waiter_sleep(&e->worker_waiter, may_step, e, 1000);
#ifdef LLMD_DEBUG
        scheduler_check(&e->scheduler);
#endif
        publish_gauges(e);
        wake_loop(e);
        if (idle)
            waiter_sleep(&e->worker_waiter, has_commands_or_stops, e, 1000);
    }
    while (e->num_flights > 0)
        land_step(e);
    return NULL;
}
