/* SPDX-License-Identifier: Apache-2.0 */
#include "server/completions.h"

#include "util/log.h"

#include <string.h>

/* ---- life ---------------------------------------------------------------- */

static void
free_completion(struct completion *cm)
{
    for (size_t i = 0; cm->choices != NULL && i < cm->num_choices; i++)
        choice_release(&cm->choices[i]);
    free(cm->choices);
    prompts_release(&cm->prompts);
    params_release(&cm->params);
    buf_release(&cm->chunk_head);
    buf_release(&cm->out);
    free(cm->body);
    if (cm->in_list)
        list_remove(&cm->link);
    free(cm);
}

void
completion_hold(struct completion *cm)
{
    cm->busy++;
}

void
completion_drop(struct completion *cm)
{
    cm->busy--;
    bool done = cm->state == COMPLETION_ANSWERED && cm->call == NULL && !cm->reading
                && cm->num_inside == 0 && cm->busy == 0;
    if (done)
        free_completion(cm);
}

static void
set_state(struct completion *cm, enum completion_state state)
{
    ASSERT(state > cm->state);
    if (state == COMPLETION_ANSWERED)
        cm->app->num_completions--;
    cm->state = state;
}

static void
cancel_all(struct completion *cm)
{
    for (size_t i = 0; cm->choices != NULL && i < cm->num_choices; i++) {
        cm->choices[i].ended = true;
        choice_cancel(&cm->choices[i]);
    }
    cm->num_open = 0;
    cm->app->num_queued_tokens -= cm->num_queued_tokens;
    cm->num_queued_tokens = 0;
}

/* What the access log says: of the first choice. */
static void
report_to_call(struct completion *cm)
{
    struct call *c = cm->call;
    if (cm->choices == NULL || c == NULL)
        return;
    c->num_prompt_tokens = cm->num_prompt_tokens;
    c->num_output_tokens = 0;
    for (size_t i = 0; i < cm->num_choices; i++)
        c->num_output_tokens += cm->choices[i].num_tokens;
    c->finish_reason = finish_reason_name(cm->choices[0].reason);
}

/* The exchange has closed; `cm` is not owed anything any more. */
static void
on_close(struct call *c, enum http_end how)
{
    (void)how;
    struct completion *cm = c->job;
    completion_hold(cm);
    report_to_call(cm);
    cm->call = NULL;
    if (cm->state != COMPLETION_ANSWERED) {
        set_state(cm, COMPLETION_ANSWERED);
        cancel_all(cm);
    }
    completion_drop(cm);
}

void
completion_fail(struct completion *cm, const struct api_error *err)
{
    if (cm->state == COMPLETION_ANSWERED)
        return;
    completion_hold(cm);
    bool streaming = cm->state == COMPLETION_RUNNING && cm->params.stream;
    set_state(cm, COMPLETION_ANSWERED);
    cancel_all(cm);
    if (streaming) {
        buf_clear(&cm->out);
        buf_puts(&cm->out, "data: ");
        api_error_write(err, &cm->out);
        buf_puts(&cm->out, "\n\ndata: [DONE]\n\n");
        if (completion_write(cm))
            call_stream_end(cm->call);
    } else {
        call_error(cm->call, err);
    }
    completion_drop(cm);
}

bool
completion_write(struct completion *cm)
{
    if (cm->call == NULL)
        return false;
    if (cm->out.failed) {
        http_abort(cm->call->x);
        return false;
    }
    cm->last_write_ns = mono_ns();
    return call_stream_write(cm->call, &cm->out);
}

void
completion_answer(struct completion *cm)
{
    if (cm->state == COMPLETION_ANSWERED)
        return;
    set_state(cm, COMPLETION_ANSWERED);
    buf_clear(&cm->out);
    if (!cm->params.stream) {
        completion_write_answer(cm, &cm->out);
        call_reply_json(cm->call, 200, &cm->out);
        return;
    }
    if (cm->params.include_usage)
        completion_write_usage_chunk(cm);
    buf_puts(&cm->out, "data: [DONE]\n\n");
    if (completion_write(cm))
        call_stream_end(cm->call);
}

void
completion_tick(struct completion *cm, uint64_t now_ns)
{
    const struct app_config *cfg = &cm->app->config;
    if (cm->state == COMPLETION_ANSWERED)
        return;
    uint64_t timeout_ns = (uint64_t)cfg->request_timeout_ms * 1000000u;
    if (timeout_ns > 0 && now_ns - cm->arrival_ns > timeout_ns) {
        struct api_error err;
        api_error_set(&err, API_ERROR_TIMEOUT, NULL, "the request took longer than %lld ms",
                      (long long)cfg->request_timeout_ms);
        completion_fail(cm, &err);
        return;
    }
    uint64_t idle_ns = (uint64_t)cfg->sse_keep_alive_ms * 1000000u;
    if (cm->state != COMPLETION_RUNNING || !cm->params.stream || idle_ns == 0
        || now_ns - cm->last_write_ns < idle_ns)
        return;
    buf_clear(&cm->out);
    buf_puts(&cm->out, ": keep-alive\n\n");
    cm->app->metrics.keep_alive_comments++;
    completion_hold(cm);
    completion_write(cm);
    completion_drop(cm);
}

/* ---- admission ----------------------------------------------------------- */

static void
set_overloaded(struct app *a, enum metrics_rejection why, int64_t num_requests,
               struct api_error *err)
{
    a->metrics.rejections[why]++;
    api_error_set(err, API_ERROR_OVERLOADED, NULL,
                  why == METRICS_MAX_NUM_QUEUED_REQS
                      ? "the queue is full: no room for %lld more requests"
                      : "too many prompt tokens wait already for %lld more requests",
                  (long long)num_requests);
    err->retry_after_s = app_retry_after(a, num_requests);
}

static bool
has_room(struct app *a, int64_t num_requests, int64_t num_tokens, struct api_error *err)
{
    const struct app_config *cfg = &a->config;
    int64_t inside = a->num_inside;
    bool over_reqs = engine_room(a->engine) < num_requests
                     || (cfg->max_num_queued_reqs > 0 && inside > 0
                         && inside + num_requests > cfg->max_num_queued_reqs);
    if (over_reqs) {
        set_overloaded(a, METRICS_MAX_NUM_QUEUED_REQS, num_requests, err);
        return false;
    }
    if (cfg->max_num_queued_tokens > 0 && a->num_queued_tokens > 0
        && a->num_queued_tokens + num_tokens > cfg->max_num_queued_tokens) {
        set_overloaded(a, METRICS_MAX_NUM_QUEUED_TOKENS, num_requests, err);
        return false;
    }
    return true;
}

/* Before anything is read: what no body could change. */
static bool
takes_work(struct app *a, struct api_error *err)
{
    struct error why;
    if (a->state == APP_DRAINING) {
        api_error_set(err, API_ERROR_DRAINING, NULL, "the server is shutting down");
        err->retry_after_s = 5;
        return false;
    }
    if (engine_failed(a->engine, &why)) {
        api_error_set(err, API_ERROR_ENGINE_DEAD, NULL, "the engine has failed: %s", why.text);
        return false;
    }
    return has_room(a, 1, 0, err);
}

static bool
outputs_fit(struct completion *cm, struct api_error *err)
{
    const struct app *a = cm->app;
    int64_t bytes = 0;
    for (size_t i = 0; i < cm->prompts.len; i++) {
        int64_t len = (int64_t)cm->prompts.items[i].ids.len;
        int64_t max = params_max_tokens(&cm->params, &a->limits, &a->defaults, len);
        bytes += cm->params.n * params_output_bytes(&cm->params, len, max);
    }
    if (bytes <= MAX_OUTPUT_BYTES)
        return true;
    api_error_set(err, API_ERROR_BAD_VALUE, cm->params.n > 1 ? "n" : "logprobs",
                  "prompts x n x max_tokens x logprobs would take %lld bytes, more than %lld",
                  (long long)bytes, (long long)MAX_OUTPUT_BYTES);
    return false;
}

/* ---- submission ---------------------------------------------------------- */

static bool
make_choices(struct completion *cm, struct api_error *err)
{
    size_t num = cm->prompts.len * (size_t)cm->params.n;
    cm->choices = calloc(num, sizeof *cm->choices);
    bool ok = cm->choices != NULL;
    if (ok) {
        cm->num_choices = num;
        for (size_t i = 0; i < num; i++)
            choice_init(&cm->choices[i], cm, (int32_t)i);
        for (size_t i = 0; i < num && ok; i++)
            ok = choice_make_request(&cm->choices[i]) == 0;
    }
    if (!ok)
        api_error_set(err, API_ERROR_INTERNAL, NULL, "out of memory for %zu choices", num);
    return ok;
}

static bool
submit_choices(struct completion *cm, struct api_error *err)
{
    struct app *a = cm->app;
    cm->num_open = cm->num_choices;
    cm->num_queued_tokens = cm->num_prompt_tokens * cm->params.n;
    a->num_queued_tokens += cm->num_queued_tokens;
    for (size_t i = 0; i < cm->num_choices; i++) {
        struct choice *ch = &cm->choices[i];
        int rc = engine_submit(a->engine, ch->request);
        if (rc < 0) {
            api_error_set(err, rc == ERR_BUSY ? API_ERROR_OVERLOADED : API_ERROR_ENGINE_DEAD,
                          NULL, "the engine took %zu of %zu requests: %s", i, cm->num_choices,
                          error_name(rc));
            err->retry_after_s = 1;
            return false;
        }
        ch->inside = true;
        cm->num_inside++;
        a->num_inside++;
    }
    return true;
}

static void
apply_server_switches(struct completion *cm)
{
    const struct app_config *cfg = &cm->app->config;
    cm->params.return_tokens_as_token_ids |= cfg->return_tokens_as_token_ids;
    if (cfg->force_include_usage)
        cm->params.include_usage = cm->params.continuous_usage_stats = true;
    cm->params.continuous_usage_stats &= cm->params.include_usage;
}

static void
name_completion(struct completion *cm)
{
    struct call *c = cm->call;
    if (!c->id_given && cm->params.request_id[0] != '\0')
        memcpy(c->id, cm->params.request_id, sizeof c->id);
    snprintf(cm->id, sizeof cm->id, "cmpl-%s", c->id);
}

/* The body has been read. */
static void
begin(struct completion *cm)
{
    struct app *a = cm->app;
    struct api_error *err = &cm->error;
    completion_hold(cm);
    if (cm->state == COMPLETION_READING && !err->set) {
        name_completion(cm);
        apply_server_switches(cm);
        cm->num_prompt_tokens = prompts_num_tokens(&cm->prompts);
        int64_t num = (int64_t)cm->prompts.len * cm->params.n;
        bool ok = takes_work(a, err) && has_room(a, num, cm->num_prompt_tokens * cm->params.n, err)
                  && outputs_fit(cm, err) && make_choices(cm, err) && submit_choices(cm, err);
        if (ok) {
            set_state(cm, COMPLETION_RUNNING);
            completion_write_head(cm);
            if (cm->params.stream)
                call_stream_start(cm->call);
        }
    }
    if (cm->state == COMPLETION_READING)
        completion_fail(cm, err);
    completion_drop(cm);
}

/* ---- reading ------------------------------------------------------------- */

/* Pure: reads cm->body into params and prompts, or sets cm->error. */
static void
read_body(struct completion *cm, const char *body, size_t len)
{
    const struct app *a = cm->app;
    struct api_error *err = &cm->error;
    json_t *v = json_body_parse(body, len, err);
    if (v == NULL)
        return;
    if (params_parse(v, &a->limits, &cm->params, err) == 0
        && call_model_is_served(a, cm->params.model, err)
        && params_complete(&cm->params, &a->limits, &a->defaults, err) == 0) {
        struct prompt_args args = {
            .tokenizer = a->tokenizer,
            .limits = &a->limits,
            .params = &cm->params,
        };
        prompts_read(&args, &cm->prompts, err);
    }
    cm->params.prompt = NULL;
    json_decref(v);
}

static void
read_on_pool(uv_work_t *work)
{
    struct completion *cm = work->data;
    read_body(cm, cm->body, cm->body_len);
}

static void
after_read(uv_work_t *work, int status)
{
    struct completion *cm = work->data;
    (void)status; /* never cancelled */
    struct app *a = cm->app;
    completion_hold(cm);
    cm->reading = false;
    free(cm->body);
    cm->body = NULL;
    begin(cm);
    completion_drop(cm);
    http_server_flush(a->http);
}

/* The exchange, and its body with it, may close before the pool is done. */
static void
start_reading(struct completion *cm, const char *body, size_t len)
{
    cm->body = malloc(len + 1);
    cm->work.data = cm;
    if (cm->body != NULL) {
        memcpy(cm->body, body, len + 1);
        cm->body_len = len;
        cm->reading = true;
        if (uv_queue_work(cm->app->loop, &cm->work, read_on_pool, after_read) == 0)
            return;
        cm->reading = false;
    }
    api_error_set(&cm->error, API_ERROR_INTERNAL, NULL, "out of memory");
    begin(cm);
}

static struct completion *
new_completion(struct call *c)
{
    struct app *a = c->app;
    struct completion *cm = calloc(1, sizeof *cm);
    if (cm == NULL)
        return NULL;
    cm->app = a;
    cm->call = c;
    cm->created_s = (int64_t)time(NULL);
    cm->arrival_ns = http_arrival_ns(c->x);
    cm->last_write_ns = mono_ns();
    list_append(&a->completions, &cm->link);
    cm->in_list = true;
    a->num_completions++;
    c->job = cm;
    c->on_close = on_close;
    return cm;
}

static void
count_retry(struct call *c)
{
    const char *count = http_header(c->x, "x-stainless-retry-count");
    if (count != NULL && strcmp(count, "0") != 0)
        c->app->metrics.client_retries++;
}

void
completions_handle(struct call *c)
{
    struct app *a = c->app;
    struct api_error err = {0};
    count_retry(c);
    if (!call_has_json_type(c, &err) || !takes_work(a, &err)) {
        call_error(c, &err);
        return;
    }
    struct completion *cm = new_completion(c);
    if (cm == NULL) {
        api_error_set(&err, API_ERROR_INTERNAL, NULL, "out of memory");
        call_error(c, &err);
        return;
    }
    size_t len;
    const char *body = http_body(c->x, &len);
    if (len > a->config.inline_bytes) {
        start_reading(cm, body, len);
        return;
    }
    read_body(cm, body, len);
    begin(cm);
}
