/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/offline.h"
#include "engine/tokenizer/detokenize.h"
#include "loadgen/progress.h"

#include <errno.h>
#include <semaphore.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#define EVENTS_AT_ONCE 1024
#define QUEUE_SIZE 65536
#define PROGRESS_NS 100000000

struct offline {
    const struct bench_config *config; /* borrowed */
    struct engine *engine;
    struct tokenizer *tokenizer;
    sem_t events; /* posted by the worker, and by a signal */
};

/* One output of a prompt. */
struct output {
    struct request *request; /* owned while the engine has it */
    struct detokenizer detokenizer;
    struct buf text;
    size_t prompt;
};

/* A run under way. */
struct run {
    struct offline *o;
    const struct prompt *prompts;
    size_t num_outputs, num_submitted, num_ended, num_inside;
    int64_t n;
    struct output *outputs; /* owned */
    int64_t *left;          /* owned: outputs of each prompt that have not ended */
    struct token_ids ids;
    struct offline_result *result;
    struct progress progress;
    uint64_t drawn_ns;
};

/* ---- signals: a handler has no argument ---- */

static volatile sig_atomic_t stop_signal;
static sem_t *stop_semaphore;

static void
on_signal(int number)
{
    stop_signal = number;
    sem_post(stop_semaphore);
}

static void
watch_signals(struct offline *o, bool on)
{
    struct sigaction action = {.sa_handler = on ? on_signal : SIG_DFL,
                               .sa_flags = (int)SA_RESETHAND};
    stop_signal = 0;
    stop_semaphore = &o->events;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

/* ---- life ---- */

static void
on_wake(void *arg)
{
    struct offline *o = arg;
    sem_post(&o->events);
}

static bool
has_tokenizer(const char *dir)
{
    struct buf path = {0};
    buf_printf(&path, "%s/tokenizer.json", dir);
    bool has = !path.failed && access(buf_bytes(&path), R_OK) == 0;
    buf_release(&path);
    return has;
}

int
offline_open(const struct bench_config *c, struct offline **ret, struct error *err)
{
    struct engine_config engine;
    struct offline *o = calloc(1, sizeof *o);
    if (o == NULL)
        return error_set(err, ERR_NOMEM, "out of memory");
    o->config = c;
    sem_init(&o->events, 0, 0);
    engine_options_apply(&c->engine, &engine);
    engine.model_dir = c->model;
    engine.queue_size = QUEUE_SIZE;
    engine.wake = on_wake;
    engine.wake_arg = o;
    int e = 0;
    if (engine.load_format != LOAD_DUMMY || has_tokenizer(c->model))
        e = tokenizer_load(c->model, &o->tokenizer, err);
    if (e == 0)
        e = engine_open(&engine, &o->engine, err);
    if (e < 0)
        offline_close(o);
    else
        *ret = o;
    return e;
}

void
offline_close(struct offline *o)
{
    if (o == NULL)
        return;
    if (o->engine != NULL)
        engine_close(o->engine);
    tokenizer_free(o->tokenizer);
    sem_destroy(&o->events);
    free(o);
}

const struct engine_info *
offline_info(const struct offline *o)
{
    return engine_info(o->engine);
}

const struct tokenizer *
offline_tokenizer(const struct offline *o)
{
    return o->tokenizer;
}

/* ---- requests ---- */

/* The tokens of a prompt as the engine sees them: with BOS, where it has one. */
static int
encode(struct run *run, const struct prompt *p, struct error *err)
{
    run->ids.len = 0;
    if (p->text != NULL)
        return tokenizer_encode(run->o->tokenizer, p->text, p->text_bytes, true, true, 0,
                                &run->ids, err);
    for (size_t i = 0; i < p->len; i++) {
        if (token_ids_push(&run->ids, p->ids[i]) < 0)
            return error_set(err, ERR_NOMEM, "out of memory for prompts");
    }
    return 0;
}

static int
check_length(const struct run *run, size_t i, struct error *err)
{
    int64_t max = engine_info(run->o->engine)->max_model_len;
    int64_t input = (int64_t)run->ids.len, output = run->prompts[i].output_len;
    if (input == 0)
        return error_set(err, ERR_INVALID, "prompt %zu has no tokens", i);
    if (output < 1 || input + output > max)
        return error_set(err, ERR_RANGE, "prompt %zu has %lld tokens and asks for %lld more: "
                                         "option '--max-model-len' is %lld",
                         i, (long long)input, (long long)output, (long long)max);
    return 0;
}

/* Makes the next request; as vLLM's benchmark samples. */
static int
prepare(struct run *run, size_t i, struct error *err)
{
    struct output *out = &run->outputs[i];
    out->prompt = i / (size_t)run->n;
    const struct prompt *p = &run->prompts[out->prompt];
    struct sampling_params params = {
        .temperature = 1,
        .top_p = 1,
        .repetition_penalty = 1,
        .max_tokens = (int32_t)p->output_len,
        .ignore_eos = true,
        .num_logprobs = -1,
        .num_prompt_logprobs = -1,
    };
    int e = i % (size_t)run->n == 0 ? encode(run, p, err) : 0;
    if (e == 0)
        e = check_length(run, out->prompt, err);
    if (e < 0)
        return e;
    if (request_new(run->ids.ids, (int32_t)run->ids.len, &params, &out->request) < 0)
        return error_set(err, ERR_NOMEM, "out of memory for a request");
    out->request->user = out;
    if (run->o->tokenizer != NULL)
        detokenizer_init(&out->detokenizer, run->o->tokenizer, true);
    return 0;
}

static int
submit(struct run *run, size_t i, struct error *err)
{
    struct output *out = &run->outputs[i];
    int64_t prompt_tokens = out->request->num_prompt_tokens;
    int e = engine_submit(run->o->engine, out->request);
    if (e < 0)
        return error_set(err, e, "the engine takes no request: %s", error_name(e));
    run->num_inside++;
    if (i % (size_t)run->n == 0)
        run->result->prompt_tokens += prompt_tokens;
    return 0;
}

/* As many as the engine takes now. */
static int
submit_some(struct run *run, struct error *err)
{
    while (run->num_submitted < run->num_outputs && engine_room(run->o->engine) > 0 &&
           stop_signal == 0) {
        size_t i = run->num_submitted;
        int e = run->outputs[i].request == NULL ? prepare(run, i, err) : 0;
        if (e == 0)
            e = submit(run, i, err);
        if (e < 0)
            return e;
        run->num_submitted++;
    }
    return 0;
}

/* ---- events ---- */

static void
take_token(struct run *run, struct output *out, int32_t token)
{
    run->result->output_tokens++;
    if (run->o->config->disable_detokenize || run->o->tokenizer == NULL)
        return;
    detokenizer_push(&out->detokenizer, token, &out->text);
}

static void
end_output(struct run *run, struct output *out)
{
    bool is_whole = out->request->finish_reason == FINISH_LENGTH;
    request_free(out->request);
    out->request = NULL;
    buf_release(&out->text);
    run->num_inside--;
    run->num_ended++;
    if (is_whole && --run->left[out->prompt] == 0)
        run->result->num_finished++;
}

static void
take_events(struct run *run)
{
    struct engine_event events[EVENTS_AT_ONCE];
    size_t num;
    while ((num = engine_poll(run->o->engine, events, EVENTS_AT_ONCE)) > 0) {
        for (size_t i = 0; i < num; i++) {
            struct output *out = events[i].request->user;
            if (events[i].type == EVENT_TOKEN)
                take_token(run, out, events[i].token);
            else if (events[i].type == EVENT_FINISHED)
                end_output(run, out);
        }
    }
}

static void
draw(struct run *run)
{
    const struct engine_stats *stats = engine_stats(run->o->engine);
    uint64_t now_ns = mono_ns();
    if (now_ns - run->drawn_ns < PROGRESS_NS && run->num_ended < run->num_outputs)
        return;
    run->drawn_ns = now_ns;
    size_t num_running = (size_t)atomic_load(&stats->num_running);
    struct client_progress p = {
        .num_done = run->num_ended,
        .num_running = num_running,
        .num_waiting = run->num_outputs - run->num_ended - MIN(num_running, run->num_inside),
        .num_total = run->num_outputs,
        .num_tokens = (uint64_t)run->result->output_tokens,
        .elapsed_s = (double)(now_ns - run->result->start_ns) / 1e9,
    };
    progress_draw(&run->progress, &p);
}

/* Ends what the engine has, and waits for it. */
static void
cancel_all(struct run *run)
{
    for (size_t i = 0; i < run->num_submitted; i++) {
        if (run->outputs[i].request != NULL)
            engine_cancel(run->o->engine, run->outputs[i].request);
    }
    while (run->num_inside > 0) {
        take_events(run);
        if (run->num_inside > 0)
            sem_wait(&run->o->events);
    }
}

static int
prepare_all(struct run *run, struct error *err)
{
    int e = 0;
    for (size_t i = 0; i < run->num_outputs && e == 0 && stop_signal == 0; i++)
        e = prepare(run, i, err);
    return e;
}

static int
process(struct run *run, bool bar, struct error *err)
{
    int prepared = run->o->config->prequeue_requests ? prepare_all(run, err) : 0;
    if (prepared < 0)
        return prepared;
    while (run->num_ended < run->num_outputs && stop_signal == 0) {
        int e = submit_some(run, err);
        if (e < 0)
            return e;
        take_events(run);
        if (engine_failed(run->o->engine, err))
            return ERR_DEVICE;
        if (bar)
            draw(run);
        if (run->num_inside > 0)
            sem_wait(&run->o->events); /* interrupted: looks again */
    }
    return 0;
}

static void
run_release(struct run *run)
{
    for (size_t i = 0; run->outputs != NULL && i < run->num_outputs; i++) {
        buf_release(&run->outputs[i].text);
        if (run->outputs[i].request != NULL) /* that the engine never took */
            request_free(run->outputs[i].request);
    }
    free(run->outputs);
    free(run->left);
    token_ids_release(&run->ids);
}

int
offline_run(struct offline *o, const struct prompt *prompts, size_t num, int64_t n, bool bar,
            struct offline_result *ret, struct error *err)
{
    struct run run = {.o = o, .prompts = prompts, .num_outputs = num * (size_t)n, .n = n,
                      .result = ret};
    *ret = (struct offline_result){0};
    run.outputs = calloc(run.num_outputs, sizeof *run.outputs);
    run.left = calloc(num, sizeof *run.left);
    int e = run.outputs == NULL || run.left == NULL
                ? error_set(err, ERR_NOMEM, "out of memory for %zu outputs", run.num_outputs)
                : 0;
    for (size_t i = 0; i < num && e == 0; i++)
        run.left[i] = n;
    if (e == 0) {
        watch_signals(o, true);
        ret->start_ns = mono_ns();
        e = process(&run, bar, err);
        ret->end_ns = mono_ns();
        ret->elapsed_s = (double)(ret->end_ns - ret->start_ns) / 1e9;
        ret->interrupted = stop_signal != 0;
        watch_signals(o, false);
        if (bar)
            progress_end();
        cancel_all(&run);
    }
    run_release(&run);
    return e;
}
