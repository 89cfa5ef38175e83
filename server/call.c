/* SPDX-License-Identifier: Apache-2.0 */
#include "server/call.h"

#include "server/json_scan.h"
#include "server/routes.h"
#include "util/log.h"

#include <string.h>
#include <strings.h>

void
call_init(struct call *c, struct app *a, struct http_exchange *x)
{
    *c = (struct call){
        .app = a,
        .x = x,
        .num_prompt_tokens = -1,
        .num_output_tokens = -1,
    };
    c->route = routes_find(http_path(x), http_method(x), &c->tail);
    const char *id = http_header(x, "X-Request-Id");
    c->id_given = id != NULL && request_id_is_valid(id);
    if (c->id_given)
        memcpy(c->id, id, strlen(id) + 1);
    else
        app_new_id(a, c->id);
}

/* ---- answers ------------------------------------------------------------- */

static void
add_headers(struct call *c)
{
    http_add_header(c->x, "X-Request-Id", c->id);
    routes_add_cors(c);
}

void
call_reply(struct call *c, int status, const char *content_type, const void *body, size_t len)
{
    c->status = status;
    c->response_bytes = len;
    add_headers(c);
    http_reply(c->x, status, content_type, body, len);
}

void
call_reply_json(struct call *c, int status, const struct buf *body)
{
    if (body->failed) {
        struct api_error err;
        api_error_set(&err, API_ERROR_INTERNAL, NULL, "out of memory");
        call_error(c, &err);
        return;
    }
    call_reply(c, status, "application/json", buf_bytes(body), buf_len(body));
}

void
call_error(struct call *c, const struct api_error *err)
{
    struct buf body = {0};
    api_error_write(err, &body);
    if (err->retry_after_s > 0) {
        char seconds[16];
        snprintf(seconds, sizeof seconds, "%d", err->retry_after_s);
        http_add_header(c->x, "Retry-After", seconds);
    }
    if (err->kind == API_ERROR_UNAUTHORIZED)
        http_add_header(c->x, "WWW-Authenticate", "Bearer");
    if (err->kind == API_ERROR_TIMEOUT)
        http_add_header(c->x, "x-should-retry", "false");
    if (err->kind == API_ERROR_DRAINING)
        http_close_after(c->x);
    call_reply(c, api_error_status(err->kind), "application/json", buf_bytes(&body),
               buf_len(&body));
    buf_release(&body);
}

void
call_stream_start(struct call *c)
{
    c->status = 200;
    add_headers(c);
    http_add_header(c->x, "Cache-Control", "no-cache");
    http_add_header(c->x, "X-Accel-Buffering", "no");
    http_stream_start(c->x, 200, "text/event-stream; charset=utf-8");
}

bool
call_stream_write(struct call *c, const struct buf *events)
{
    c->response_bytes += buf_len(events);
    c->app->metrics.sse_bytes += buf_len(events);
    return http_stream_write(c->x, buf_bytes(events), buf_len(events));
}

void
call_stream_end(struct call *c)
{
    http_stream_end(c->x);
}

/* ---- the end ------------------------------------------------------------- */

static const char *
end_word(enum http_end how)
{
    static const char *const words[] = {
        [HTTP_END_COMPLETED] = "completed",
        [HTTP_END_GONE] = "client_gone",
        [HTTP_END_DEADLINE] = "deadline",
        [HTTP_END_OVERFLOW] = "slow_reader",
        [HTTP_END_ABORTED] = "aborted",
    };
    return words[how];
}

static void
log_completion(const struct call *c, int status, double seconds, enum http_end how)
{
    log_info("req %s client %s status %d method %s path %.200s prompt_tokens %lld "
             "output_tokens %lld queue_ms %.1f ttft_ms %.1f e2e_ms %.1f finish %s end %s",
             c->id, http_peer(c->x), status, http_method(c->x), http_path(c->x),
             (long long)c->num_prompt_tokens, (long long)c->num_output_tokens,
             (double)c->queue_ns / 1e6, (double)c->ttft_ns / 1e6, seconds * 1e3,
             c->finish_reason == NULL ? "none" : c->finish_reason, end_word(how));
}

static void
log_call(const struct call *c, int status, double seconds, enum http_end how)
{
    if (!c->app->config.access_log)
        return;
    if (c->num_prompt_tokens >= 0) {
        log_completion(c, status, seconds, how);
        return;
    }
    log_at(c->route != NULL && (c->route->flags & ROUTE_PROBE) ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO,
           "req %s client %s status %d method %s path %.200s e2e_ms %.1f end %s", c->id,
           http_peer(c->x), status, http_method(c->x), http_path(c->x), seconds * 1e3,
           end_word(how));
}

void
call_finish(struct call *c, enum http_end how)
{
    size_t body_bytes;
    http_body(c->x, &body_bytes);
    /* 499: the client left before the answer, as proxies log it. */
    int status = c->status == 0 || (how == HTTP_END_GONE && c->status == 200) ? 499 : c->status;
    double seconds = (double)(mono_ns() - http_arrival_ns(c->x)) / 1e9;
    metrics_count_http(&c->app->metrics, routes_index(c->route), http_method(c->x), status,
                       body_bytes, c->response_bytes, seconds);
    log_call(c, status, seconds, how);
}

void
call_finish_refused(struct call *c, const struct api_error *err)
{
    c->status = api_error_status(err->kind);
    call_finish(c, HTTP_END_COMPLETED);
    call_error(c, err);
}

/* ---- bodies -------------------------------------------------------------- */

bool
call_has_json_type(const struct call *c, struct api_error *err)
{
    static const char wanted[] = "application/json";
    const char *type = http_header(c->x, "Content-Type");
    size_t len = sizeof wanted - 1;
    if (type == NULL || (strncasecmp(type, wanted, len) == 0 && strchr(" \t;", type[len]) != NULL))
        return true;
    api_error_set(err, API_ERROR_BAD_BODY, NULL,
                  "Content-Type must be application/json, got \"%.64s\"", type);
    err->param[0] = '\0';
    return false;
}

static const char *
skip_bom(const char *body, size_t *len)
{
    if (*len >= 3 && memcmp(body, "\xef\xbb\xbf", 3) == 0) {
        *len -= 3;
        return body + 3;
    }
    return body;
}

json_t *
json_body_parse(const char *body, size_t len, struct api_error *err)
{
    /* jansson takes up to 80 bytes of heap for a byte of text. */
    static const struct json_scan_limits limits = {
        .max_depth = 32,
        .max_containers = 16384,
        .max_values = 524288,
    };
    body = skip_bom(body, &len);
    if (len == 0) {
        api_error_set(err, API_ERROR_BAD_BODY, NULL, "the body is empty, not a JSON object");
        return NULL;
    }
    const char *bomb = json_scan(body, len, &limits);
    if (bomb != NULL) {
        api_error_set(err, API_ERROR_BAD_BODY, NULL, "the body %s", bomb);
        return NULL;
    }
    json_error_t why;
    json_t *v = json_loadb(body, len, JSON_DECODE_ANY | JSON_ALLOW_NUL, &why);
    if (v == NULL) {
        char position[24];
        snprintf(position, sizeof position, "%d", why.position);
        api_error_set(err, API_ERROR_BAD_BODY, position,
                      "the body is not valid JSON: %s, at byte %d", why.text, why.position);
        return NULL;
    }
    if (!json_is_object(v)) {
        json_decref(v);
        api_error_set(err, API_ERROR_BAD_BODY, NULL, "the body must be a JSON object");
        return NULL;
    }
    return v;
}

bool
call_model_is_served(const struct app *a, const char *model, struct api_error *err)
{
    if (app_serves(a, model))
        return true;
    struct buf names = {0};
    for (size_t i = 0; i < a->config.num_served_model_names; i++)
        buf_printf(&names, "%s%s", i == 0 ? "" : ", ", a->config.served_model_names[i]);
    api_error_set(err, API_ERROR_UNKNOWN_MODEL, "model",
                  "The model `%s` does not exist; served here: %s", model, buf_bytes(&names));
    buf_release(&names);
    return false;
}
