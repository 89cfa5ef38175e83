/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/scheduler.h"

static struct request *
request_of(struct list *pos)
{
    return container_of(pos, struct request, link);
}

int
scheduler_init(struct scheduler *s, const struct scheduler_config *cfg, struct kv_cache *kv)
{
    *s = (struct scheduler){.config = *cfg, .kv = kv};
    list_init(&s->waiting);
    list_init(&s->running);
    s->scheduled = malloc((size_t)cfg->max_num_seqs * sizeof *s->scheduled);
    return s->scheduled == NULL ? ERR_NOMEM : 0;
}

void
scheduler_release(struct scheduler *s)
{
    free(s->scheduled);
    s->scheduled = NULL;
}

/* Links `r` into a queue kept by arrival; nearly always at its end. */
static void
insert_by_arrival(struct list *head, struct request *r)
{
    struct list *pos = head;
    while (pos->prev != head && request_of(pos->prev)->arrival > r->arrival)
        pos = pos->prev;
    list_insert_before(pos, &r->link);
}

void
scheduler_add(struct scheduler *s, struct request *r)
{
    request_set_state(r, REQUEST_WAITING);
    insert_by_arrival(&s->waiting, r);
    s->num_waiting++;
}

void
scheduler_finish(struct scheduler *s, struct request *r)
{
    if (r->state == REQUEST_RUNNING)
        s->num_running--;
    else
        s->num_waiting--;
    list_remove(&r->link);
    kv_cache_close(s->kv, r);
    request_set_state(r, REQUEST_FINISHED);
}

static void
preempt(struct scheduler *s, struct request *r)
{
    list_remove(&r->link);
    kv_cache_close(s->kv, r);
    request_set_state(r, REQUEST_PREEMPTED);
    r->num_computed_tokens = 0;
    r->num_scheduled_tokens = 0;
    r->num_preemptions++;
    s->num_running--;
    s->num_preemptions++;
    insert_by_arrival(&s->waiting, r);
    s->num_waiting++;
}

/*
 * Makes room for `num_tokens` tokens of `r`, at the cost of younger running
 * requests. Those already planned for this step lose their place in it. False
 * when `r` is the youngest itself: then it is the one that went.
 */
static bool
grow_or_preempt(struct scheduler *s, struct request *r, int32_t num_tokens)
{
    while (!kv_cache_grow(s->kv, r, num_tokens)) {
        struct request *victim = request_of(s->running.prev);
        s->num_tokens -= victim->num_scheduled_tokens;
        preempt(s, victim);
        if (victim == r)
            return false;
    }
    return true;
}

/* Its last token is on its way: nothing is left to compute. */
static bool
is_complete(const struct request *r)
{
    return request_num_outputs(r) >= r->sampling.max_tokens;
}

static int32_t
tokens_wanted(const struct scheduler *s, const struct request *r)
{
    int32_t want = request_num_tokens(r) - r->num_computed_tokens;
    if (s->config.max_prefill_chunk > 0)
        want = MIN(want, s->config.max_prefill_chunk);
    return MIN(want, s->config.max_num_batched_tokens - s->num_tokens);
}

/* Plans running requests: those that decode, or those still in prefill. */
static void
plan_running(struct scheduler *s, bool decodes)
{
    for (struct list *pos = s->running.next, *next; pos != &s->running; pos = next) {
        struct request *r = request_of(pos);
        next = pos->next;
        bool is_decode = request_num_tokens(r) - r->num_computed_tokens == 1;
        if (is_decode != decodes || is_complete(r))
            continue;
        int32_t n = tokens_wanted(s, r);
        if (n <= 0)
            return;
        if (!grow_or_preempt(s, r, r->num_computed_tokens + n))
            return; /* it was the last of the list */
        r->num_scheduled_tokens = n;
        s->num_tokens += n;
        next = pos->next; /* younger ones may have gone */
    }
}

/*
 * A newcomer needs blocks for all it has now, and one more for each running
 * request, lest the next step preempt what this one admitted.
 */
static bool
may_admit(const struct scheduler *s, const struct request *r)
{
    if (s->num_running == 0)
        return true;
    return kv_blocks_for(request_num_tokens(r)) + s->num_running <= s->kv->num_free;
}

static void
plan_waiting(struct scheduler *s)
{
    while (!list_empty(&s->waiting) && s->num_running < s->config.max_num_seqs) {
        struct request *r = request_of(s->waiting.next);
        int32_t n = tokens_wanted(s, r);
        /* one that was preempted waits for its token on the way: only the next
         * step could have told it by its place */
        if (n <= 0 || r->num_pending_tokens > 0 || !may_admit(s, r))
            return;
        list_remove(&r->link);
        s->num_waiting--;
        insert_by_arrival(&s->running, r);
        s->num_running++;
        request_set_state(r, REQUEST_RUNNING);
        kv_cache_open(s->kv, r);
        bool grown = kv_cache_grow(s->kv, r, n);
        ASSERT(grown);
        r->num_scheduled_tokens = n;
        s->num_tokens += n;
    }
}

int32_t
scheduler_schedule(struct scheduler *s)
{
    s->num_tokens = 0;
    s->num_scheduled = 0;
    uint64_t preemptions = s->num_preemptions;
    list_for_each(pos, &s->running)
        request_of(pos)->num_scheduled_tokens = 0;
    plan_running(s, true);
    plan_running(s, false);
    if (s->num_preemptions == preemptions)
        plan_waiting(s);
    list_for_each(pos, &s->running) {
        if (request_of(pos)->num_scheduled_tokens > 0)
            s->scheduled[s->num_scheduled++] = request_of(pos);
    }
    return s->num_tokens;
}

void
scheduler_check(const struct scheduler *s)
{
    int32_t waiting = 0, running = 0;
    uint64_t last = 0;
    list_for_each(pos, &s->waiting) {
        const struct request *r = request_of(pos);
        ASSERT(r->state == REQUEST_WAITING || r->state == REQUEST_PREEMPTED);
        ASSERT(r->arrival >= last);
        last = r->arrival;
        request_check(r);
        waiting++;
    }
    last = 0;
    list_for_each(pos, &s->running) {
        const struct request *r = request_of(pos);
        ASSERT(r->state == REQUEST_RUNNING && r->arrival >= last);
        last = r->arrival;
        request_check(r);
        running++;
    }
    ASSERT(waiting == s->num_waiting && running == s->num_running);
    ASSERT(running <= s->config.max_num_seqs);
    kv_cache_check(s->kv, &s->running);
}
