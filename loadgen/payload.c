/* SPDX-License-Identifier: Apache-2.0 */
#include "loadgen/payload.h"

#include "util/json.h"

#include <math.h>
#include <string.h>

/* Stand for the parts that differ. No JSON of a user can hold such an object:
 * it would have to be this very one. */
struct marks {
    json_t *prompt, *output_len;
};

/* ---- the members ---- */

static json_t *
stream_options(void)
{
    return json_pack("{s:b}", "include_usage", 1);
}

static json_t *
completion(const struct config *c, const char *model, const struct marks *m)
{
    json_t *logprobs = isnan(c->logprobs) ? json_null() : json_integer((json_int_t)c->logprobs);
    return json_pack("{s:s, s:O, s:f, s:O, s:o, s:b, s:o}", "model", model, "prompt", m->prompt,
                     "repetition_penalty", 1.0, "max_tokens", m->output_len, "logprobs",
                     logprobs, "stream", 1, "stream_options", stream_options());
}

static json_t *
chat(const char *model, const struct marks *m)
{
    return json_pack("{s:s, s:[{s:s, s:[{s:s, s:O}]}], s:O, s:b, s:o}", "model", model,
                     "messages", "role", "user", "content", "type", "text", "text", m->prompt,
                     "max_completion_tokens", m->output_len, "stream", 1, "stream_options",
                     stream_options());
}

static void
set_double(json_t *body, const char *key, double value)
{
    if (!isnan(value))
        json_object_set_new(body, key, json_real(value));
}

/* Later wins, in the place of the earlier: as a dict of Python is updated. */
static int
add_options(json_t *body, const struct config *c, struct error *err)
{
    if (c->ignore_eos)
        json_object_set_new(body, "ignore_eos", json_true());
    set_double(body, "top_p", c->top_p);
    if (!isnan(c->top_k))
        json_object_set_new(body, "top_k", json_integer((json_int_t)c->top_k));
    set_double(body, "min_p", c->min_p);
    set_double(body, "temperature", c->temperature);
    set_double(body, "frequency_penalty", c->frequency_penalty);
    set_double(body, "presence_penalty", c->presence_penalty);
    set_double(body, "repetition_penalty", c->repetition_penalty);
    if (c->extra_body == NULL)
        return 0;
    json_t *extra;
    int e = json_parse_object(c->extra_body, strlen(c->extra_body), JSON_ALLOW_NUL,
                              "option '--extra-body'", &extra, err);
    if (e < 0)
        return e;
    json_object_update(body, extra);
    json_decref(extra);
    return 0;
}

/* ---- as text ---- */

static void write_value(struct payload *p, const struct marks *m, const json_t *value);

static void
write_members(struct payload *p, const struct marks *m, json_t *object)
{
    const char *key;
    json_t *member;
    const char *between = "";
    buf_putc(&p->text, '{');
    json_object_foreach(object, key, member) {
        buf_puts(&p->text, between);
        json_write_string(&p->text, key, strlen(key));
        buf_puts(&p->text, ": ");
        write_value(p, m, member);
        between = ", ";
    }
    buf_putc(&p->text, '}');
}

static void
write_items(struct payload *p, const struct marks *m, const json_t *array)
{
    size_t i;
    const json_t *item;
    buf_putc(&p->text, '[');
    json_array_foreach(array, i, item) {
        buf_puts(&p->text, i > 0 ? ", " : "");
        write_value(p, m, item);
    }
    buf_putc(&p->text, ']');
}

static void
write_value(struct payload *p, const struct marks *m, const json_t *value)
{
    if (value == m->prompt) {
        p->prompt_at = buf_len(&p->text);
        return;
    }
    if (value == m->output_len) {
        p->output_len_at = buf_len(&p->text);
        return;
    }
    switch (json_typeof(value)) {
    case JSON_OBJECT: write_members(p, m, (json_t *)value); break;
    case JSON_ARRAY: write_items(p, m, value); break;
    case JSON_STRING:
        json_write_string(&p->text, json_string_value(value), json_string_length(value));
        break;
    case JSON_INTEGER: json_write_int(&p->text, json_integer_value(value)); break;
    case JSON_REAL: json_write_double(&p->text, json_real_value(value)); break;
    case JSON_TRUE: buf_puts(&p->text, "true"); break;
    case JSON_FALSE: buf_puts(&p->text, "false"); break;
    case JSON_NULL: buf_puts(&p->text, "null"); break;
    }
}

int
payload_init(struct payload *p, const struct config *c, const char *model, struct error *err)
{
    *p = (struct payload){.prompt_at = SIZE_MAX, .output_len_at = SIZE_MAX};
    struct marks m = {json_object(), json_object()};
    json_t *body = config_is_chat(c) ? chat(model, &m) : completion(c, model, &m);
    int e = body == NULL ? error_set(err, ERR_INVALID, "option '--model': '%.100s' is not UTF-8",
                                     model)
                         : add_options(body, c, err);
    if (e == 0)
        write_members(p, &m, body);
    if (e == 0 && p->text.failed)
        e = error_set(err, ERR_NOMEM, "out of memory for a request");
    json_decref(body);
    json_decref(m.prompt);
    json_decref(m.output_len);
    return e;
}

void
payload_release(struct payload *p)
{
    buf_release(&p->text);
}

/* ---- one body ---- */

static void
write_prompt(const struct prompt *prompt, struct buf *ret)
{
    if (prompt->text != NULL) {
        json_write_string(ret, prompt->text, prompt->text_bytes);
        return;
    }
    buf_putc(ret, '[');
    for (size_t i = 0; i < prompt->len; i++) {
        if (i > 0)
            buf_puts(ret, ", ");
        json_write_int(ret, prompt->ids[i]);
    }
    buf_putc(ret, ']');
}

/* What stands at a mark. */
static void
write_mark(const struct payload *p, size_t at, const struct prompt *prompt, struct buf *ret)
{
    if (at == p->prompt_at)
        write_prompt(prompt, ret);
    else if (at == p->output_len_at)
        json_write_int(ret, prompt->output_len);
}

void
payload_write(const struct payload *p, const struct prompt *prompt, struct buf *ret)
{
    const char *text = buf_bytes(&p->text);
    size_t len = buf_len(&p->text);
    size_t first = MIN(len, MIN(p->prompt_at, p->output_len_at));
    size_t second = MIN(len, MAX(p->prompt_at, p->output_len_at));
    buf_append(ret, text, first);
    write_mark(p, first, prompt, ret);
    buf_append(ret, text + first, second - first);
    write_mark(p, second, prompt, ret);
    buf_append(ret, text + second, len - second);
}
