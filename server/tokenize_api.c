/* SPDX-License-Identifier: Apache-2.0 */
#include "server/tokenize_api.h"

#include "util/json.h"

#include <string.h>

/* A request under way, on the loop or on the thread pool. */
struct job {
    struct app *app;            /* borrowed */
    struct call *call;          /* borrowed; NULL once the exchange has closed */
    bool on_pool;               /* the pool has it: it is freed afterwards */
    bool reverse;               /* detokenize */
    uv_work_t work;
    char *body;                 /* owned copy while on the pool */
    size_t body_len;
    struct buf answer;
    struct api_error error;
};

static void
free_job(struct job *j)
{
    free(j->body);
    buf_release(&j->answer);
    free(j);
}

/* ---- what is asked ------------------------------------------------------- */

static int
wrong_type(const char *name, const json_t *v, const char *wanted, struct api_error *err)
{
    struct buf got = {0};
    if (v == NULL)
        buf_puts(&got, "nothing");
    else
        param_print_value(v, &got);
    api_error_set(err, API_ERROR_BAD_BODY, name, "%s must be %s, got %s", name, wanted,
                  buf_bytes(&got));
    buf_release(&got);
    return -1;
}

static int
get_bool(const json_t *body, const char *name, bool *io, struct api_error *err)
{
    const json_t *v = json_object_get(body, name);
    if (v == NULL || json_is_null(v) || param_to_bool(v, io))
        return 0;
    return wrong_type(name, v, "a boolean", err);
}

static int
check_model(const struct app *a, const json_t *body, struct api_error *err)
{
    const json_t *v = json_object_get(body, "model");
    if (v == NULL || json_is_null(v))
        return 0;
    if (!json_is_string(v))
        return wrong_type("model", v, "a string", err);
    return call_model_is_served(a, json_string_value(v), err) ? 0 : -1;
}

/* ---- answers ------------------------------------------------------------- */

static void
write_tokens(const struct app *a, const struct token_ids *ids, bool strings, struct buf *b)
{
    buf_printf(b, "{\"count\":%zu,\"max_model_len\":%lld,\"tokens\":[", ids->len,
               (long long)a->limits.max_model_len);
    for (size_t i = 0; i < ids->len; i++) {
        if (i > 0)
            buf_putc(b, ',');
        json_write_int(b, ids->ids[i]);
    }
    buf_puts(b, strings ? "],\"token_strs\":[" : "],\"token_strs\":null}");
    for (size_t i = 0; strings && i < ids->len; i++) {
        const char *text = tokenizer_token_string(a->tokenizer, ids->ids[i]);
        if (i > 0)
            buf_putc(b, ',');
        if (text == NULL)
            text = "";
        json_write_string(b, text, strlen(text));
    }
    if (strings)
        buf_puts(b, "]}");
}

static void
tokenize(const struct app *a, const json_t *body, struct buf *ret, struct api_error *err)
{
    bool add_special = true, strings = false;
    const json_t *prompt = json_object_get(body, "prompt");
    if (check_model(a, body, err) < 0 || get_bool(body, "add_special_tokens", &add_special, err) < 0
        || get_bool(body, "return_token_strs", &strings, err) < 0)
        return;
    if (prompt == NULL && json_object_get(body, "messages") != NULL) {
        api_error_set(err, API_ERROR_BAD_VALUE, "messages",
                      "messages is not supported, only prompt");
        return;
    }
    if (!json_is_string(prompt)) {
        wrong_type("prompt", prompt, "a string", err);
        return;
    }
    struct token_ids ids = {0};
    struct error why = {0};
    int rc = tokenizer_encode(a->tokenizer, json_string_value(prompt), json_string_length(prompt),
                              add_special, true, 0, &ids, &why);
    if (rc < 0)
        api_error_set(err, rc == ERR_NOMEM ? API_ERROR_INTERNAL : API_ERROR_BAD_VALUE, "prompt",
                      "%s", why.text);
    else
        write_tokens(a, &ids, strings, ret);
    token_ids_release(&ids);
}

static int
read_ids(const json_t *list, struct token_ids *ret, struct api_error *err)
{
    ret->ids = malloc(MAX(json_array_size(list), 1) * sizeof *ret->ids);
    if (ret->ids == NULL)
        return api_error_set(err, API_ERROR_INTERNAL, NULL, "out of memory");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *v = json_array_get(list, i);
        char name[40];
        int64_t id;
        snprintf(name, sizeof name, "tokens.%zu", i);
        if (!param_to_int(v, &id) || id < 0 || id > INT32_MAX)
            return wrong_type(name, v, "a token id in [0, 2147483647]", err);
        ret->ids[ret->len++] = (int32_t)id;
    }
    return 0;
}

static void
detokenize(const struct app *a, const json_t *body, struct buf *ret, struct api_error *err)
{
    const json_t *list = json_object_get(body, "tokens");
    if (check_model(a, body, err) < 0)
        return;
    if (!json_is_array(list)) {
        wrong_type("tokens", list, "an array of token ids", err);
        return;
    }
    struct token_ids ids = {0};
    struct buf text = {0};
    if (read_ids(list, &ids, err) == 0) {
        tokenizer_decode(a->tokenizer, ids.ids, ids.len, false, &text);
        buf_puts(ret, "{\"prompt\":");
        json_write_string(ret, buf_bytes(&text), buf_len(&text));
        buf_putc(ret, '}');
        ret->failed |= text.failed;
    }
    buf_release(&text);
    token_ids_release(&ids);
}

/* ---- the way there and back ---------------------------------------------- */

/* Pure: any thread. */
static void
run(struct job *j, const char *body, size_t len)
{
    json_t *v = json_body_parse(body, len, &j->error);
    if (v == NULL)
        return;
    if (j->reverse)
        detokenize(j->app, v, &j->answer, &j->error);
    else
        tokenize(j->app, v, &j->answer, &j->error);
    json_decref(v);
}

static void
on_close(struct call *c, enum http_end how)
{
    (void)how;
    struct job *j = c->job;
    j->call = NULL;
    if (!j->on_pool)
        free_job(j);
}

/* The call, and the job with it, may be gone afterwards. */
static void
answer(struct job *j)
{
    if (j->error.set)
        call_error(j->call, &j->error);
    else
        call_reply_json(j->call, 200, &j->answer);
}

static void
run_on_pool(uv_work_t *work)
{
    struct job *j = work->data;
    run(j, j->body, j->body_len);
}

static void
after_run(uv_work_t *work, int status)
{
    struct job *j = work->data;
    struct app *a = j->app;
    (void)status; /* never cancelled */
    j->on_pool = false;
    if (j->call == NULL) {
        free_job(j);
        return;
    }
    answer(j);
    http_server_flush(a->http);
}

static void
start_on_pool(struct job *j, const char *body, size_t len)
{
    j->body = malloc(len + 1);
    j->work.data = j;
    if (j->body != NULL) {
        memcpy(j->body, body, len + 1);
        j->body_len = len;
        j->on_pool = true;
        if (uv_queue_work(j->app->loop, &j->work, run_on_pool, after_run) == 0)
            return;
        j->on_pool = false;
    }
    api_error_set(&j->error, API_ERROR_INTERNAL, NULL, "out of memory");
    answer(j);
}

static void
handle(struct call *c, bool reverse)
{
    struct api_error err = {0};
    if (!call_has_json_type(c, &err)) {
        call_error(c, &err);
        return;
    }
    struct job *j = calloc(1, sizeof *j);
    if (j == NULL) {
        api_error_set(&err, API_ERROR_INTERNAL, NULL, "out of memory");
        call_error(c, &err);
        return;
    }
    j->app = c->app;
    j->call = c;
    j->reverse = reverse;
    c->job = j;
    c->on_close = on_close;
    size_t len;
    const char *body = http_body(c->x, &len);
    if (len > c->app->config.inline_bytes) {
        start_on_pool(j, body, len);
        return;
    }
    run(j, body, len);
    answer(j);
}

void
tokenize_handle(struct call *c)
{
    handle(c, false);
}

void
detokenize_handle(struct call *c)
{
    handle(c, true);
}
