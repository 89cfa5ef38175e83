/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The API server: what stands between the transport (server/http.h) and the
 * engine (engine/engine.h). Everything here runs on the loop thread, except
 * app_wake. main.c builds it like this:
 *
 *   app_init(&app, loop, &config, &err);
 *   http_server_start(loop, &http_config, &app_http_handlers, &app, &server, &err);
 *   app_set_http(&app, server);          requests are answered now: 503, loading
 *   app_set_progress(&app, &progress);   what /health shows meanwhile
 *   ... engine_open() on a thread, with .wake = app_wake, .wake_arg = &app ...
 *   app_set_ready(&app, engine, tokenizer, &err);  or app_set_failed(&app, text)
 *   app_drain(&app);                     SIGTERM: new requests get 503
 *   app_abort_all(&app);                 the drain's deadline: errors to all
 *   when app_is_idle(&app): http_server_stop(server); app_close(&app);
 *   uv_run(loop, UV_RUN_DEFAULT);        closes what is left on the loop
 *   engine_close(engine); tokenizer_free(tokenizer); app_release(&app);
 *
 * app.state:
 *
 *   LOADING --> READY --> DRAINING
 *      |          |          |
 *      +----------+----------+--> FAILED   (the engine did not open, or died)
 */
#ifndef SERVER_APP_H
#define SERVER_APP_H

#include "engine/engine.h"
#include "engine/tokenizer/tokenizer.h"
#include "server/auth.h"
#include "server/http.h"
#include "server/metrics.h"
#include "server/metrics_host.h"
#include "server/params.h"
#include "util/base.h"
#include "util/error.h"

#include <uv.h>

enum app_state { APP_LOADING, APP_READY, APP_DRAINING, APP_FAILED };

/* Filled by app_config_default(), then by main.c from its options. Strings are
 * borrowed and must outlive the app. */
struct app_config {
    const char *version;                     /* "0.1.0" */
    const char *const *served_model_names;   /* the first one is what answers say */
    size_t num_served_model_names;           /* at least 1 */
    const char *model_root;                  /* `root` of /v1/models */
    const char *const *api_keys;             /* only their digests are kept */
    size_t num_api_keys;                     /* 0: no key is asked for */
    bool guard_metrics;                      /* ask for the key on /metrics too */
    const char *const *allowed_origins;      /* CORS; "*" allows all */
    size_t num_allowed_origins;

    int64_t max_logprobs;                    /* -1: the whole vocabulary */
    int64_t max_prompts, max_n;
    int64_t max_stop_strings, max_stop_bytes, max_logit_bias;
    int64_t max_num_queued_reqs;             /* 0: what the engine takes */
    int64_t max_num_queued_tokens;           /* of prompts without a first token; 0: no limit */

    bool generation_config_vllm;             /* ignore the model's sampling defaults */
    const char *override_generation_config;  /* a JSON object, or NULL */
    int64_t request_timeout_ms;              /* 0: none */
    int64_t sse_keep_alive_ms;               /* comment after so long without an event; 0: never */
    int64_t engine_stall_ms;                 /* /health is 503 when no step ends for so long */
    size_t inline_bytes;                     /* larger bodies are read on the thread pool */

    bool enable_prompt_tokens_details;
    bool force_include_usage;
    bool return_tokens_as_token_ids;
    bool access_log;                         /* a line per request at info level */
};

struct app {
    uv_loop_t *loop;                     /* borrowed */
    struct http_server *http;            /* borrowed */
    struct engine *engine;               /* borrowed; NULL while loading */
    const struct tokenizer *tokenizer;   /* borrowed; NULL while loading */
    const struct engine_progress *progress; /* borrowed, may be NULL */
    struct app_config config;
    enum app_state state;
    char failure[256];                   /* why FAILED */
    int64_t started_s;                   /* unix time, `created` of the models */
    char fingerprint[64];                /* system_fingerprint */
    uint64_t next_id;                    /* of generated request ids */
    uint64_t id_key;                     /* random, so that ids do not repeat */

    struct auth auth;
    struct param_limits limits;
    struct sampling_defaults defaults;
    struct metrics metrics;
    struct metrics_host *host;           /* owned: the machine's metrics */

    struct list completions;             /* of struct completion, oldest first */
    int64_t num_completions;             /* client requests whose answer is owed */
    int64_t num_inside;                  /* engine requests that have not come back */
    int64_t num_queued_tokens;           /* prompt tokens without a first token yet */
    double finish_rate;                  /* engine requests per second, decaying */
    uint64_t finish_rate_ns;             /* when that was computed */

    uv_async_t wake;                     /* the worker has put events into the ring */
    atomic_int wakers;                   /* threads inside app_wake */
    atomic_bool wake_closed;             /* app_wake does nothing any more */
    uv_timer_t tick;                     /* deadlines, keep-alive comments */
    bool handles_open;
};

extern const struct http_handlers app_http_handlers;

void app_config_default(struct app_config *c);
/* Makes the app; state LOADING. `cfg` is copied, what it points at borrowed. */
int app_init(struct app *a, uv_loop_t *loop, const struct app_config *cfg, struct error *err);
void app_set_http(struct app *a, struct http_server *http);
void app_set_progress(struct app *a, const struct engine_progress *progress);
/* LOADING -> READY. ERR_CORRUPT: override_generation_config is no good. */
int app_set_ready(struct app *a, struct engine *engine, const struct tokenizer *tokenizer,
                  struct error *err);
void app_set_failed(struct app *a, const char *why);
/* engine_config.wake: any thread, until app_release; after app_close harmless. */
void app_wake(void *app);
/* New completions get 503 with Retry-After from now on. */
void app_drain(struct app *a);
/* Ends every completion under way with an error to its client. */
void app_abort_all(struct app *a);
/* No client is owed an answer and the engine holds nothing of ours. */
bool app_is_idle(const struct app *a);
/* Closes the handles on the loop; run it until they are closed. */
void app_close(struct app *a);
/* After app_close and the loop. */
void app_release(struct app *a);

/* ---- for the other files of server/ -------------------------------------- */

/* Whether `name` is served; "" is. */
bool app_serves(const struct app *a, const char *name);
/* The first served name. */
const char *app_model_name(const struct app *a);
/* A fresh request id of 16 hexadecimal digits. */
void app_new_id(struct app *a, char ret[REQUEST_ID_MAX_BYTES + 1]);
/* True unless the engine is dead or has stalled; else *ret_why says it. */
bool app_engine_is_healthy(const struct app *a, const char **ret_why);
/* One engine request has come back: for the rate. */
void app_count_finished(struct app *a, uint64_t now_ns);
/* Seconds after which `num_requests` more are likely to find room, 1..60. */
int app_retry_after(const struct app *a, int64_t num_requests);

#endif
