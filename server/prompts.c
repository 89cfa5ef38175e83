/* SPDX-License-Identifier: Apache-2.0 */
#include "server/prompts.h"

static int
too_long(const struct prompt_args *a, int64_t num_tokens, bool at_least, struct api_error *err)
{
    long long max = (long long)a->limits->max_model_len;
    return api_error_set(err, API_ERROR_BAD_VALUE, "input_tokens",
                         "This model's maximum context length is %lld tokens; the prompt has %s%lld"
                         " tokens, and at least one must be left for the output",
                         max, at_least ? "at least " : "", (long long)num_tokens);
}

static int
empty(struct api_error *err)
{
    return api_error_set(err, API_ERROR_BAD_VALUE, "prompt", "prompt must not be empty");
}

static int
wrong_type(const json_t *v, int64_t at, int64_t inner, const char *wanted, struct api_error *err)
{
    char param[64];
    if (at < 0)
        snprintf(param, sizeof param, "prompt");
    else if (inner < 0)
        snprintf(param, sizeof param, "prompt.%lld", (long long)at);
    else
        snprintf(param, sizeof param, "prompt.%lld.%lld", (long long)at, (long long)inner);
    struct buf got = {0};
    param_print_value(v, &got);
    api_error_set(err, API_ERROR_BAD_BODY, param, "%s must be %s, got %s", param, wanted,
                  buf_bytes(&got));
    buf_release(&got);
    return -1;
}

/* ---- truncation and length ----------------------------------------------- */

static bool
truncates(const struct prompt_args *a)
{
    return a->params->truncate_prompt_tokens != PARAM_UNSET;
}

/* How many tokens a truncated prompt keeps; -1 leaves room for max_tokens. */
static size_t
truncation_length(const struct prompt_args *a)
{
    int64_t n = a->params->truncate_prompt_tokens;
    if (n == -1)
        n = MAX(a->limits->max_model_len - MAX(a->params->max_tokens, 1), 1);
    return (size_t)n;
}

static void
truncate_ids(const struct prompt_args *a, struct prompt *p)
{
    size_t keep = truncation_length(a);
    if (p->ids.len <= keep)
        return;
    bool left = a->params->has_truncation_side ? !a->params->truncate_right
                                               : tokenizer_truncates_left(a->tokenizer);
    if (left)
        memmove(p->ids.ids, p->ids.ids + (p->ids.len - keep), keep * sizeof *p->ids.ids);
    p->ids.len = keep;
    buf_clear(&p->echo); /* the text is no longer the client's */
}

static int
finish_prompt(const struct prompt_args *a, struct prompt *p, struct api_error *err)
{
    if (truncates(a))
        truncate_ids(a, p);
    if (p->ids.len == 0)
        return empty(err);
    if ((int64_t)p->ids.len >= a->limits->max_model_len)
        return too_long(a, (int64_t)p->ids.len, false, err);
    if (a->params->echo && buf_len(&p->echo) == 0)
        tokenizer_decode(a->tokenizer, p->ids.ids, p->ids.len, false, &p->echo);
    if (p->echo.failed)
        return api_error_set(err, API_ERROR_INTERNAL, NULL, "out of memory");
    return 0;
}

/* ---- one prompt ---------------------------------------------------------- */

static int
read_text(const struct prompt_args *a, const json_t *v, struct prompt *p, struct api_error *err)
{
    const char *text = json_string_value(v);
    size_t len = json_string_length(v);
    size_t max_ids = 0;
    if (!truncates(a)) {
        size_t max_bytes = (size_t)a->limits->max_model_len
                           * tokenizer_max_token_bytes(a->tokenizer);
        max_ids = (size_t)a->limits->max_model_len;
        if (len > max_bytes)
            return too_long(a, a->limits->max_model_len + 1, true, err);
    }
    struct error why = {0};
    int rc = tokenizer_encode(a->tokenizer, text, len, a->params->add_special_tokens, true,
                              max_ids, &p->ids, &why);
    if (rc == ERR_RANGE)
        return too_long(a, a->limits->max_model_len + 1, true, err);
    if (rc == ERR_NOMEM)
        return api_error_set(err, API_ERROR_INTERNAL, NULL, "out of memory");
    if (rc < 0)
        return api_error_set(err, API_ERROR_BAD_VALUE, "prompt", "%s", why.text);
    if (a->params->echo)
        buf_append(&p->echo, text, len);
    return finish_prompt(a, p, err);
}

/* `outer` is the index of the list in a list of lists, or -1. */
static int
read_ids(const struct prompt_args *a, const json_t *v, int64_t outer, struct prompt *p,
         struct api_error *err)
{
    size_t len = json_array_size(v);
    if (len == 0)
        return empty(err);
    if ((int64_t)len >= a->limits->max_model_len && !truncates(a))
        return too_long(a, (int64_t)len, false, err);
    p->ids.ids = malloc(len * sizeof *p->ids.ids);
    if (p->ids.ids == NULL)
        return api_error_set(err, API_ERROR_INTERNAL, NULL, "out of memory");
    p->ids.cap = len;
    for (size_t i = 0; i < len; i++) {
        const json_t *item = json_array_get(v, i);
        int64_t id;
        if (!json_is_number(item) || !param_to_int(item, &id))
            return wrong_type(item, outer < 0 ? (int64_t)i : outer, outer < 0 ? -1 : (int64_t)i,
                              "a token id, as all others in its array are", err);
        if (id < 0 || id >= a->limits->vocab_size)
            return api_error_set(err, API_ERROR_BAD_VALUE, "prompt",
                                 "prompt: token id %lld is not in [0, %lld]", (long long)id,
                                 (long long)a->limits->vocab_size - 1);
        p->ids.ids[p->ids.len++] = (int32_t)id;
    }
    return finish_prompt(a, p, err);
}

/* ---- all of them --------------------------------------------------------- */

static int
read_item(const struct prompt_args *a, const json_t *list, size_t i, struct prompt *p,
          struct api_error *err)
{
    const json_t *item = json_array_get(list, i);
    bool texts = json_is_string(json_array_get(list, 0));
    if (texts && json_is_string(item))
        return read_text(a, item, p, err);
    if (!texts && json_is_array(item))
        return read_ids(a, item, (int64_t)i, p, err);
    return wrong_type(item, (int64_t)i, -1,
                      texts ? "a string, as the first prompt is"
                            : "an array of token ids, as the first prompt is",
                      err);
}

static int
read_list(const struct prompt_args *a, const json_t *v, struct prompts *ret,
          struct api_error *err)
{
    const json_t *first = json_array_get(v, 0);
    if (json_is_number(first))
        return read_ids(a, v, -1, &ret->items[0], err);
    if (!json_is_string(first) && !json_is_array(first))
        return wrong_type(first, 0, -1, "a string, a token id or an array of token ids", err);
    for (size_t i = 0; i < ret->len; i++) {
        if (read_item(a, v, i, &ret->items[i], err) < 0)
            return -1;
    }
    return 0;
}

static int
read_any(const struct prompt_args *a, const json_t *v, struct prompts *ret, struct api_error *err)
{
    return json_is_string(v) ? read_text(a, v, &ret->items[0], err) : read_list(a, v, ret, err);
}

int
prompts_read(const struct prompt_args *a, struct prompts *ret, struct api_error *err)
{
    const json_t *v = a->params->prompt;
    *ret = (struct prompts){0};
    if (v == NULL)
        return api_error_set(err, API_ERROR_BAD_VALUE, "prompt", "prompt is missing");
    if (!json_is_string(v) && !json_is_array(v))
        return wrong_type(v, -1, -1, "a string, an array of strings, or token ids", err);
    size_t size = json_is_string(v) ? json_string_length(v) : json_array_size(v);
    if (size == 0)
        return empty(err);
    bool one = json_is_string(v) || json_is_number(json_array_get(v, 0));
    ret->len = one ? 1 : size;
    if ((int64_t)ret->len > a->limits->max_prompts)
        return api_error_set(err, API_ERROR_BAD_VALUE, "prompt",
                             "prompt must be at most %lld prompts, got %zu",
                             (long long)a->limits->max_prompts, ret->len);
    ret->items = calloc(ret->len, sizeof *ret->items);
    if (ret->items == NULL)
        return api_error_set(err, API_ERROR_INTERNAL, NULL, "out of memory");
    if (read_any(a, v, ret, err) < 0) {
        prompts_release(ret);
        return -1;
    }
    return 0;
}

void
prompts_release(struct prompts *p)
{
    for (size_t i = 0; p->items != NULL && i < p->len; i++) {
        token_ids_release(&p->items[i].ids);
        buf_release(&p->items[i].echo);
    }
    free(p->items);
    *p = (struct prompts){0};
}

int64_t
prompts_num_tokens(const struct prompts *p)
{
    int64_t n = 0;
    for (size_t i = 0; i < p->len; i++)
        n += (int64_t)p->items[i].ids.len;
    return n;
}
