/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/server/fake_engine.h"

#include <math.h>
#include <pthread.h>
#include <string.h>

struct engine {
    struct fake_engine_config cfg;
    struct engine_info info;
    struct engine_stats stats;

    pthread_t thread;
    pthread_mutex_t lock;       /* all below */
    pthread_cond_t wake;
    struct list requests;       /* inside, oldest first */
    struct engine_event *events; /* owned */
    size_t num_events, cap_events;
    int64_t num_inside, num_aborted;
    bool stopping, paused, failed, heartbeat_frozen;
    struct sampling_params last;
};

float
fake_engine_logprob(int32_t token, int32_t k)
{
    return -0.25f - 0.125f * (float)(token % 8) - (float)k;
}

/* ---- the worker ---------------------------------------------------------- */

static void
push(struct engine *e, const struct engine_event *event)
{
    if (e->num_events == e->cap_events) {
        e->cap_events = MAX(2 * e->cap_events, 256);
        e->events = realloc(e->events, e->cap_events * sizeof *e->events);
        ASSERT(e->events != NULL);
    }
    e->events[e->num_events++] = *event;
}

static void
finish(struct engine *e, struct request *r, enum finish_reason reason)
{
    list_remove(&r->link);
    request_set_state(r, REQUEST_FINISHED);
    r->finish_reason = reason;
    r->finished_ns = mono_ns();
    e->num_aborted += reason == FINISH_ABORT;
    push(e, &(struct engine_event){.request = r,
                                   .token = -1,
                                   .output_index = r->num_output_tokens,
                                   .type = EVENT_FINISHED,
                                   .finish_reason = (uint8_t)reason,
                                   .time_ns = r->finished_ns});
}

static void
fill_row(const struct logprob_rows *rows, int32_t row, int32_t token, int32_t vocab_size)
{
    rows->logprob[row] = fake_engine_logprob(token, 0);
    rows->rank[row] = 1;
    for (int32_t k = 0; k < rows->width; k++) {
        rows->top_ids[row * rows->width + k] = (token + k) % vocab_size;
        rows->top_logprobs[row * rows->width + k] = fake_engine_logprob(token, k);
    }
}

static void
begin(struct engine *e, struct request *r)
{
    request_set_state(r, REQUEST_RUNNING);
    r->scheduled_ns = mono_ns();
    atomic_fetch_add(&e->stats.prompt_tokens, (uint64_t)r->num_prompt_tokens);
    for (int32_t i = 1; r->sampling.num_prompt_logprobs >= 0 && i < r->num_prompt_tokens; i++)
        fill_row(&r->prompt_logprobs, i, r->prompt_ids[i], e->info.vocab_size);
}

static enum finish_reason
reason_to_finish(const struct engine *e, struct request *r, int32_t token)
{
    const struct sampling_params *p = &r->sampling;
    bool may_stop = r->num_output_tokens >= p->min_tokens;
    for (int32_t i = 0; may_stop && i < p->num_stop_token_ids; i++) {
        if (token == p->stop_token_ids[i]) {
            r->stop_token_id = token;
            return FINISH_STOP;
        }
    }
    for (int32_t i = 0; may_stop && !p->ignore_eos && i < e->info.num_eos_token_ids; i++) {
        if (token == e->info.eos_token_ids[i]) {
            r->stop_token_id = i == 0 ? -1 : token;
            return FINISH_STOP;
        }
    }
    return r->num_output_tokens >= p->max_tokens ? FINISH_LENGTH : FINISH_NONE;
}

static void
step_request(struct engine *e, struct request *r)
{
    if (r->state != REQUEST_RUNNING)
        begin(e, r);
    int32_t index = r->num_output_tokens++;
    uint64_t at = (r->sampling.has_seed ? r->sampling.seed : 0) + (uint64_t)index;
    int32_t token = r->prompt_ids[at % (uint64_t)r->num_prompt_tokens];
    r->output_ids[index] = token;
    if (r->sampling.num_logprobs >= 0)
        fill_row(&r->logprobs, index, token, e->info.vocab_size);
    uint64_t now = mono_ns();
    if (index == 0)
        r->first_token_ns = now;
    enum finish_reason reason = reason_to_finish(e, r, token);
    push(e, &(struct engine_event){.request = r,
                                   .token = token,
                                   .output_index = index,
                                   .type = EVENT_TOKEN,
                                   .finish_reason = (uint8_t)reason,
                                   .time_ns = now});
    if (reason != FINISH_NONE)
        finish(e, r, reason);
}

static void
step(struct engine *e)
{
    uint64_t num = 0;
    list_for_each_safe(pos, next, &e->requests) {
        if (num == (uint64_t)e->cfg.max_num_seqs)
            break;
        step_request(e, container_of(pos, struct request, link));
        num++;
    }
    atomic_store(&e->stats.num_running, num);
    atomic_fetch_add(&e->stats.num_steps, 1);
    atomic_fetch_add(&e->stats.generation_tokens, num);
    atomic_fetch_add(&e->stats.step_us_log2[4], 1);
    atomic_fetch_add(&e->stats.step_tokens_log2[MIN(num, 3)], 1);
    atomic_fetch_add(&e->stats.step_tokens_total, num);
}

static void
wait_ms(struct engine *e, int ms)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += ms * 1000000L;
    until.tv_sec += until.tv_nsec / 1000000000L;
    until.tv_nsec %= 1000000000L;
    pthread_cond_timedwait(&e->wake, &e->lock, &until);
}

static void *
work(void *arg)
{
    struct engine *e = arg;
    pthread_mutex_lock(&e->lock);
    while (!e->stopping) {
        if (!e->heartbeat_frozen)
            atomic_store(&e->stats.heartbeat_ns, mono_ns());
        if (list_empty(&e->requests) || e->paused || e->failed) {
            atomic_store(&e->stats.num_running, 0);
            wait_ms(e, 100);
            continue;
        }
        int64_t us = e->cfg.step_us;
        pthread_mutex_unlock(&e->lock);
        nanosleep(&(struct timespec){.tv_nsec = us * 1000}, NULL);
        pthread_mutex_lock(&e->lock);
        step(e);
        pthread_mutex_unlock(&e->lock);
        e->cfg.wake(e->cfg.wake_arg);
        pthread_mutex_lock(&e->lock);
    }
    pthread_mutex_unlock(&e->lock);
    return NULL;
}

/* ---- engine.h ------------------------------------------------------------ */

int
fake_engine_open(const struct fake_engine_config *cfg, struct engine **ret)
{
    struct engine *e = calloc(1, sizeof *e);
    ASSERT(e != NULL);
    e->cfg = *cfg;
    e->info = (struct engine_info){
        .architecture = "FakeForCausalLM",
        .device = "none",
        .dtype = "bfloat16",
        .max_model_len = cfg->max_model_len,
        .vocab_size = cfg->vocab_size,
        .max_num_seqs = cfg->max_num_seqs,
        .block_size = 16,
        .num_blocks = 1000,
        .num_eos_token_ids = cfg->num_eos_token_ids,
        .bos_token_id = -1,
        .default_temperature = cfg->default_temperature,
        .default_top_p = NAN,
        .default_min_p = NAN,
        .default_repetition_penalty = NAN,
        .default_top_k = -1,
        .default_max_new_tokens = -1,
    };
    memcpy(e->info.eos_token_ids, cfg->eos_token_ids, sizeof e->info.eos_token_ids);
    list_init(&e->requests);
    pthread_mutex_init(&e->lock, NULL);
    pthread_cond_init(&e->wake, NULL);
    atomic_store(&e->stats.heartbeat_ns, mono_ns());
    int rc = pthread_create(&e->thread, NULL, work, e);
    ASSERT(rc == 0);
    *ret = e;
    return 0;
}

void
engine_close(struct engine *e)
{
    if (e == NULL)
        return;
    pthread_mutex_lock(&e->lock);
    ASSERT(e->num_inside == 0);
    e->stopping = true;
    pthread_cond_signal(&e->wake);
    pthread_mutex_unlock(&e->lock);
    pthread_join(e->thread, NULL);
    pthread_mutex_destroy(&e->lock);
    pthread_cond_destroy(&e->wake);
    free(e->events);
    free(e);
}

const struct engine_info *
engine_info(const struct engine *e)
{
    return &e->info;
}

const struct engine_stats *
engine_stats(const struct engine *e)
{
    return &e->stats;
}

int
engine_submit(struct engine *e, struct request *r)
{
    int rc = 0;
    pthread_mutex_lock(&e->lock);
    if (e->failed) {
        rc = ERR_DEVICE;
    } else if (e->num_inside >= e->cfg.queue_size) {
        rc = ERR_BUSY;
    } else {
        ASSERT(r->num_prompt_tokens + r->sampling.max_tokens <= e->info.max_model_len + 1);
        r->submitted_ns = mono_ns();
        request_set_state(r, REQUEST_WAITING);
        list_append(&e->requests, &r->link);
        e->num_inside++;
        e->last = r->sampling;
        pthread_cond_signal(&e->wake);
    }
    pthread_mutex_unlock(&e->lock);
    return rc;
}

int64_t
engine_room(const struct engine *e)
{
    struct engine *writable = (struct engine *)e;
    pthread_mutex_lock(&writable->lock);
    int64_t room = e->cfg.queue_size - e->num_inside;
    pthread_mutex_unlock(&writable->lock);
    return room;
}

void
engine_cancel(struct engine *e, struct request *r)
{
    pthread_mutex_lock(&e->lock);
    if (r->state != REQUEST_FINISHED)
        finish(e, r, FINISH_ABORT);
    pthread_mutex_unlock(&e->lock);
    e->cfg.wake(e->cfg.wake_arg);
}

size_t
engine_poll(struct engine *e, struct engine_event *events, size_t max)
{
    pthread_mutex_lock(&e->lock);
    size_t num = MIN(max, e->num_events);
    if (num > 0)
        memcpy(events, e->events, num * sizeof *events);
    e->num_events -= num;
    if (e->num_events > 0)
        memmove(e->events, e->events + num, e->num_events * sizeof *events);
    for (size_t i = 0; i < num; i++)
        e->num_inside -= events[i].type == EVENT_FINISHED;
    pthread_mutex_unlock(&e->lock);
    return num;
}

bool
engine_failed(const struct engine *e, struct error *ret)
{
    struct engine *writable = (struct engine *)e;
    pthread_mutex_lock(&writable->lock);
    bool failed = e->failed;
    pthread_mutex_unlock(&writable->lock);
    if (failed)
        error_set(ret, ERR_DEVICE, "the fake device is lost");
    return failed;
}

/* ---- for tests ----------------------------------------------------------- */

void
fake_engine_pause(struct engine *e, bool paused)
{
    pthread_mutex_lock(&e->lock);
    e->paused = paused;
    pthread_cond_signal(&e->wake);
    pthread_mutex_unlock(&e->lock);
}

void
fake_engine_set_step_us(struct engine *e, int64_t step_us)
{
    pthread_mutex_lock(&e->lock);
    e->cfg.step_us = step_us;
    pthread_mutex_unlock(&e->lock);
}

void
fake_engine_fail(struct engine *e)
{
    pthread_mutex_lock(&e->lock);
    e->failed = true;
    list_for_each_safe(pos, next, &e->requests)
        finish(e, container_of(pos, struct request, link), FINISH_ERROR);
    pthread_mutex_unlock(&e->lock);
    e->cfg.wake(e->cfg.wake_arg);
}

void
fake_engine_age_heartbeat(struct engine *e, uint64_t age_ns)
{
    pthread_mutex_lock(&e->lock);
    e->heartbeat_frozen = age_ns > 0;
    atomic_store(&e->stats.heartbeat_ns, mono_ns() - age_ns);
    pthread_mutex_unlock(&e->lock);
}

int64_t
fake_engine_num_aborted(struct engine *e)
{
    pthread_mutex_lock(&e->lock);
    int64_t n = e->num_aborted;
    pthread_mutex_unlock(&e->lock);
    return n;
}

int64_t
fake_engine_num_inside(struct engine *e)
{
    pthread_mutex_lock(&e->lock);
    int64_t n = e->num_inside;
    pthread_mutex_unlock(&e->lock);
    return n;
}

struct sampling_params
fake_engine_last_sampling(struct engine *e)
{
    pthread_mutex_lock(&e->lock);
    struct sampling_params s = e->last;
    pthread_mutex_unlock(&e->lock);
    return s;
}
