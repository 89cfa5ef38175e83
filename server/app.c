/* SPDX-License-Identifier: Apache-2.0 */
#include "server/app.h"

#include "server/bridge.h"
#include "server/completions.h"
#include "server/routes.h"
#include "util/hashmap.h"
#include "util/json.h"
#include "util/log.h"
#include "util/rng.h"

#include <inttypes.h>
#include <math.h>
#include <sched.h>
#include <string.h>
#include <sys/random.h>

#define FINISH_RATE_TAU_S 10.0
#define MAX_RETRY_AFTER_S 60
#define FIRST_RETRY_AFTER_S 5 /* nothing has finished yet */

const struct http_handlers app_http_handlers = {
    .on_headers = routes_on_headers,
    .on_request = routes_on_request,
    .on_close = routes_on_close,
    .on_refused = routes_on_refused,
};

void
app_config_default(struct app_config *c)
{
    static const char *const any_origin[] = {"*"};
    static const char *const names[] = {"model"};
    *c = (struct app_config){
        .version = "0",
        .served_model_names = names,
        .num_served_model_names = ARRAY_SIZE(names),
        .allowed_origins = any_origin,
        .num_allowed_origins = ARRAY_SIZE(any_origin),
        .max_logprobs = 20,
        .max_prompts = 1024,
        .max_n = 128,
        .max_stop_strings = 16,
        .max_stop_bytes = 256,
        .max_logit_bias = 1024,
        .sse_keep_alive_ms = 15000,
        .engine_stall_ms = 60000,
        .inline_bytes = 65536,
        .access_log = true,
    };
}

/* ---- life ---------------------------------------------------------------- */

static void
on_tick(uv_timer_t *timer)
{
    struct app *a = timer->data;
    uint64_t now_ns = mono_ns();
    list_for_each_safe(pos, next, &a->completions)
        completion_tick(container_of(pos, struct completion, link), now_ns);
    if (a->http != NULL)
        http_server_flush(a->http);
}

/* Often enough that nothing is late by more than a quarter. */
static uint64_t
tick_ms(const struct app_config *c)
{
    int64_t ms = 4000;
    if (c->sse_keep_alive_ms > 0)
        ms = MIN(ms, c->sse_keep_alive_ms);
    if (c->request_timeout_ms > 0)
        ms = MIN(ms, c->request_timeout_ms);
    return (uint64_t)MAX(ms / 4, 5);
}

static int
open_handles(struct app *a, struct error *err)
{
    int rc = uv_async_init(a->loop, &a->wake, bridge_on_wake);
    if (rc < 0)
        return error_set(err, ERR_IO, "cannot make the wake-up: %s", uv_strerror(rc));
    a->wake.data = a;
    uv_timer_init(a->loop, &a->tick);
    a->tick.data = a;
    uint64_t ms = tick_ms(&a->config);
    uv_timer_start(&a->tick, on_tick, ms, ms);
    a->handles_open = true;
    return 0;
}

int
app_init(struct app *a, uv_loop_t *loop, const struct app_config *cfg, struct error *err)
{
    ASSERT(cfg->num_served_model_names >= 1 && cfg->max_stop_bytes <= STOP_STRING_MAX_BYTES);
    *a = (struct app){
        .loop = loop,
        .config = *cfg,
        .state = APP_LOADING,
        .started_s = (int64_t)time(NULL),
    };
    list_init(&a->completions);
    a->config.api_keys = NULL; /* the digests are enough */
    if (getrandom(&a->id_key, sizeof a->id_key, 0) != (ssize_t)sizeof a->id_key)
        a->id_key = mono_ns();
    if (auth_init(&a->auth, cfg->api_keys, cfg->num_api_keys) < 0
        || metrics_init(&a->metrics) < 0
        || (a->host = metrics_host_new(&(struct metrics_host_args){0})) == NULL) {
        app_release(a);
        return error_set(err, ERR_NOMEM, "out of memory for the server");
    }
    int rc = open_handles(a, err);
    if (rc < 0)
        app_release(a);
    return rc;
}

/* The worker may be on its way to wake the loop for events long polled. */
void
app_close(struct app *a)
{
    if (!a->handles_open)
        return;
    a->handles_open = false;
    a->http = NULL;
    atomic_store(&a->wake_closed, true);
    while (atomic_load(&a->wakers) > 0)
        sched_yield();
    uv_close((uv_handle_t *)&a->wake, NULL);
    uv_close((uv_handle_t *)&a->tick, NULL);
}

void
app_release(struct app *a)
{
    ASSERT(!a->handles_open && list_empty(&a->completions));
    auth_release(&a->auth);
    metrics_release(&a->metrics);
    metrics_host_free(a->host);
}

void
app_set_http(struct app *a, struct http_server *http)
{
    a->http = http;
}

void
app_set_progress(struct app *a, const struct engine_progress *progress)
{
    a->progress = progress;
}

void
app_wake(void *app)
{
    struct app *a = app;
    atomic_fetch_add(&a->wakers, 1);
    if (!atomic_load(&a->wake_closed))
        uv_async_send(&a->wake);
    atomic_fetch_sub(&a->wakers, 1);
}

/* ---- getting ready ------------------------------------------------------- */

static double
known_or(double value, double fallback)
{
    return isfinite(value) && value >= 0 ? value : fallback;
}

static void
defaults_of_model(struct app *a, const struct engine_info *info)
{
    a->defaults = (struct sampling_defaults){
        .temperature = 1,
        .top_p = 1,
        .repetition_penalty = 1,
    };
    if (a->config.generation_config_vllm)
        return;
    a->defaults.temperature = known_or(info->default_temperature, 1);
    a->defaults.top_p = known_or(info->default_top_p, 1);
    a->defaults.min_p = known_or(info->default_min_p, 0);
    a->defaults.repetition_penalty = known_or(info->default_repetition_penalty, 1);
    a->defaults.top_k = MAX(info->default_top_k, 0);
    a->defaults.max_tokens = MAX(info->default_max_new_tokens, 0);
}

static int
override_defaults(struct app *a, struct error *err)
{
    static const char path[] = "override-generation-config";
    const char *text = a->config.override_generation_config;
    struct sampling_defaults *d = &a->defaults;
    json_t *v;
    if (text == NULL)
        return 0;
    int rc = json_parse_object(text, strlen(text), 0, path, &v, err);
    if (rc < 0)
        return rc;
    struct json_object o = {.value = v, .path = path};
    const struct {
        const char *key;
        double min, max;
        double *io;
    } numbers[] = {
        {"temperature", 0, 2, &d->temperature},
        {"top_p", 1e-6, 1, &d->top_p},
        {"min_p", 0, 1, &d->min_p},
        {"repetition_penalty", 1e-3, 1e6, &d->repetition_penalty},
        {"presence_penalty", -2, 2, &d->presence_penalty},
        {"frequency_penalty", -2, 2, &d->frequency_penalty},
    };
    for (size_t i = 0; i < ARRAY_SIZE(numbers) && rc == 0; i++)
        rc = json_get_double(&o, numbers[i].key, numbers[i].min, numbers[i].max, numbers[i].io,
                             err);
    if (rc == 0)
        rc = json_get_int(&o, "top_k", -1, INT32_MAX, &d->top_k, err);
    if (rc == 0)
        rc = json_get_int(&o, "max_new_tokens", 1, INT32_MAX, &d->max_tokens, err);
    json_decref(v);
    return rc;
}

static void
set_limits(struct app *a, const struct engine_info *info)
{
    a->limits = (struct param_limits){
        .max_model_len = info->max_model_len,
        .vocab_size = info->vocab_size,
        .max_n = a->config.max_n,
        .max_logprobs = a->config.max_logprobs,
        .max_prompts = a->config.max_prompts,
        .max_stop_strings = a->config.max_stop_strings,
        .max_stop_bytes = a->config.max_stop_bytes,
        .max_stop_token_ids = MAX_STOP_TOKEN_IDS,
        .max_logit_bias = a->config.max_logit_bias,
        .num_eos_token_ids = info->num_eos_token_ids,
    };
    memcpy(a->limits.eos_token_ids, info->eos_token_ids, sizeof a->limits.eos_token_ids);
}

/* Changes with whatever may change an answer for the same seed. */
static void
set_fingerprint(struct app *a, const struct engine_info *info)
{
    char text[1024];
    snprintf(text, sizeof text, "%s|%s|%s|%s|%d|%d|%" PRId64, app_model_name(a),
             info->architecture, info->dtype, info->device, info->max_model_len, info->vocab_size,
             info->num_parameters);
    snprintf(a->fingerprint, sizeof a->fingerprint, "llmd-%.32s-%08x", a->config.version,
             (unsigned)(hash_bytes(text, strlen(text)) >> 32));
}

int
app_set_ready(struct app *a, struct engine *engine, const struct tokenizer *tokenizer,
              struct error *err)
{
    ASSERT(a->state == APP_LOADING || a->state == APP_DRAINING);
    const struct engine_info *info = engine_info(engine);
    defaults_of_model(a, info);
    int rc = override_defaults(a, err);
    if (rc < 0)
        return rc;
    set_limits(a, info);
    set_fingerprint(a, info);
    a->engine = engine;
    a->tokenizer = tokenizer;
    if (a->state == APP_LOADING)
        a->state = APP_READY;
    return 0;
}

/* ---- the other states ---------------------------------------------------- */

void
app_set_failed(struct app *a, const char *why)
{
    snprintf(a->failure, sizeof a->failure, "%s", why);
    a->state = APP_FAILED;
}

void
app_drain(struct app *a)
{
    if (a->state == APP_READY || a->state == APP_LOADING)
        a->state = APP_DRAINING;
}

void
app_abort_all(struct app *a)
{
    struct api_error err;
    api_error_set(&err, API_ERROR_DRAINING, NULL, "the server is shutting down");
    err.retry_after_s = 5;
    list_for_each_safe(pos, next, &a->completions)
        completion_fail(container_of(pos, struct completion, link), &err);
    if (a->http != NULL)
        http_server_flush(a->http);
}

bool
app_is_idle(const struct app *a)
{
    return list_empty(&a->completions);
}

/* ---- for the other files ------------------------------------------------- */

bool
app_serves(const struct app *a, const char *name)
{
    if (name[0] == '\0')
        return true;
    for (size_t i = 0; i < a->config.num_served_model_names; i++) {
        if (strcmp(name, a->config.served_model_names[i]) == 0)
            return true;
    }
    return false;
}

const char *
app_model_name(const struct app *a)
{
    return a->config.served_model_names[0];
}

void
app_new_id(struct app *a, char ret[REQUEST_ID_MAX_BYTES + 1])
{
    snprintf(ret, REQUEST_ID_MAX_BYTES + 1, "%016" PRIx64, rng_mix64(a->id_key + a->next_id++));
}

bool
app_engine_is_healthy(const struct app *a, const char **ret_why)
{
    struct error why;
    if (engine_failed(a->engine, &why)) {
        *ret_why = "the engine has failed";
        return false;
    }
    uint64_t beat = atomic_load_explicit(&engine_stats(a->engine)->heartbeat_ns,
                                         memory_order_relaxed);
    uint64_t now = mono_ns();
    if (now > beat && now - beat > (uint64_t)a->config.engine_stall_ms * 1000000u) {
        *ret_why = "the engine has not finished a step for too long";
        return false;
    }
    return true;
}

/* Events per second, each counting less the older it is. */
void
app_count_finished(struct app *a, uint64_t now_ns)
{
    double dt = (double)(now_ns - a->finish_rate_ns) / 1e9;
    a->finish_rate = a->finish_rate * exp(-dt / FINISH_RATE_TAU_S) + 1 / FINISH_RATE_TAU_S;
    a->finish_rate_ns = now_ns;
}

int
app_retry_after(const struct app *a, int64_t num_requests)
{
    if (a->finish_rate_ns == 0)
        return FIRST_RETRY_AFTER_S;
    double dt = (double)(mono_ns() - a->finish_rate_ns) / 1e9;
    double rate = a->finish_rate * exp(-dt / FINISH_RATE_TAU_S);
    if (!(rate * MAX_RETRY_AFTER_S > (double)num_requests))
        return MAX_RETRY_AFTER_S;
    return MAX((int)ceil((double)num_requests / rate), 1);
}
