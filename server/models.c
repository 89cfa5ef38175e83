/* SPDX-License-Identifier: Apache-2.0 */
#include "server/models.h"

#include "util/json.h"

#include <string.h>

/* ---- /v1/models ---------------------------------------------------------- */

static void
write_text(struct buf *b, const char *text)
{
    json_write_string(b, text, strlen(text));
}

static void
write_card(struct call *c, const char *name, struct buf *b)
{
    const struct app *a = c->app;
    char id[REQUEST_ID_MAX_BYTES + 1];
    app_new_id(c->app, id);
    buf_puts(b, "{\"id\":");
    write_text(b, name);
    buf_printf(b, ",\"object\":\"model\",\"created\":%lld,\"owned_by\":\"llmd\",\"root\":",
               (long long)a->started_s);
    write_text(b, a->config.model_root == NULL ? name : a->config.model_root);
    buf_printf(b, ",\"parent\":null,\"max_model_len\":%lld,\"permission\":[{\"id\":",
               (long long)a->limits.max_model_len);
    buf_printf(b, "\"modelperm-%s\"", id);
    buf_printf(b,
               ",\"object\":\"model_permission\",\"created\":%lld,\"allow_create_engine\":false,"
               "\"allow_sampling\":true,\"allow_logprobs\":true,\"allow_search_indices\":false,"
               "\"allow_view\":true,\"allow_fine_tuning\":false,\"organization\":\"*\","
               "\"group\":null,\"is_blocking\":false}]}",
               (long long)a->started_s);
}

void
models_handle_list(struct call *c)
{
    struct buf b = {0};
    buf_puts(&b, "{\"object\":\"list\",\"data\":[");
    for (size_t i = 0; i < c->app->config.num_served_model_names; i++) {
        if (i > 0)
            buf_putc(&b, ',');
        write_card(c, c->app->config.served_model_names[i], &b);
    }
    buf_puts(&b, "]}");
    call_reply_json(c, 200, &b);
    buf_release(&b);
}

static int
hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if ((c | 32) >= 'a' && (c | 32) <= 'f')
        return (c | 32) - 'a' + 10;
    return -1;
}

/* Undoes %XX; false when it is too long, or has a NUL or half an escape. */
static bool
decode_path(const char *path, char *ret, size_t size)
{
    size_t len = 0;
    for (const char *p = path; *p != '\0'; p++) {
        char c = *p;
        if (c == '%') {
            int hi = hex_digit(p[1]), lo = hi < 0 ? -1 : hex_digit(p[2]);
            if (lo < 0 || (hi == 0 && lo == 0))
                return false;
            c = (char)(hi << 4 | lo);
            p += 2;
        }
        if (len + 1 >= size)
            return false;
        ret[len++] = c;
    }
    ret[len] = '\0';
    return true;
}

void
models_handle_one(struct call *c)
{
    char name[MODEL_NAME_MAX_BYTES + 1];
    struct api_error err;
    if (!decode_path(c->tail, name, sizeof name)) {
        api_error_set(&err, API_ERROR_UNKNOWN_MODEL, "model", "the model's name is malformed");
        call_error(c, &err);
        return;
    }
    if (!call_model_is_served(c->app, name, &err)) {
        call_error(c, &err);
        return;
    }
    struct buf b = {0};
    write_card(c, name, &b);
    call_reply_json(c, 200, &b);
    buf_release(&b);
}

/* ---- /health, /version, /load, /metrics ---------------------------------- */

static void
write_progress(const struct engine_progress *p, struct buf *b)
{
    uint64_t done = atomic_load(&p->done_bytes), total = atomic_load(&p->total_bytes);
    buf_puts(b, ",\"phase\":");
    write_text(b, atomic_load(&p->phase));
    buf_printf(b, ",\"percent\":%.1f", total == 0 ? 0 : 100.0 * (double)done / (double)total);
}

void
models_handle_health(struct call *c)
{
    static const char *const words[] = {
        [APP_LOADING] = "loading",
        [APP_READY] = "failed", /* only when the engine is not healthy */
        [APP_DRAINING] = "draining",
        [APP_FAILED] = "failed",
    };
    struct app *a = c->app;
    const char *why = NULL;
    if (a->state == APP_READY && app_engine_is_healthy(a, &why)) {
        call_reply(c, 200, NULL, "", 0);
        return;
    }
    struct buf b = {0};
    buf_printf(&b, "{\"status\":\"%s\"", words[a->state]);
    if (a->state == APP_LOADING && a->progress != NULL)
        write_progress(a->progress, &b);
    if (a->state == APP_FAILED)
        why = a->failure;
    if (why != NULL) {
        buf_puts(&b, ",\"message\":");
        write_text(&b, why);
    }
    buf_putc(&b, '}');
    call_reply_json(c, 503, &b);
    buf_release(&b);
}

void
models_handle_version(struct call *c)
{
    struct buf b = {0};
    buf_puts(&b, "{\"version\":");
    write_text(&b, c->app->config.version);
    buf_putc(&b, '}');
    call_reply_json(c, 200, &b);
    buf_release(&b);
}

void
models_handle_load(struct call *c)
{
    struct buf b = {0};
    buf_printf(&b, "{\"server_load\":%lld}", (long long)c->app->num_completions);
    call_reply_json(c, 200, &b);
    buf_release(&b);
}

void
models_handle_metrics(struct call *c)
{
    struct buf b = {0};
    metrics_write(c->app, &b);
    if (b.failed)
        call_reply_json(c, 200, &b);
    else
        call_reply(c, 200, "text/plain; version=0.0.4; charset=utf-8", buf_bytes(&b),
                   buf_len(&b));
    buf_release(&b);
}
