/* SPDX-License-Identifier: Apache-2.0 */
#include "server/params.h"

#include "util/json.h"
#include "util/utf8.h"

#include <errno.h>
#include <math.h>
#include <strings.h>

#define NO_MAX 0x1p62 /* as the max of an integer: not worth telling */

/* ---- values -------------------------------------------------------------- */

bool
param_to_int(const json_t *v, int64_t *ret)
{
    switch (json_typeof(v)) {
    case JSON_INTEGER:
        *ret = json_integer_value(v);
        return true;
    case JSON_TRUE:
    case JSON_FALSE:
        *ret = json_is_true(v);
        return true;
    case JSON_REAL: {
        double d = json_real_value(v);
        if (!(d >= -0x1p53 && d <= 0x1p53) || d != floor(d))
            return false;
        *ret = (int64_t)d;
        return true;
    }
    case JSON_STRING: {
        const char *text = json_string_value(v);
        char *end;
        errno = 0;
        long long n = strtoll(text, &end, 10);
        if (end == text || *end != '\0' || errno != 0 || strlen(text) != json_string_length(v))
            return false;
        *ret = n;
        return true;
    }
    default:
        return false;
    }
}

bool
param_to_number(const json_t *v, double *ret)
{
    if (json_is_number(v)) {
        *ret = json_number_value(v);
        return isfinite(*ret);
    }
    if (json_is_boolean(v)) {
        *ret = json_is_true(v);
        return true;
    }
    if (!json_is_string(v))
        return false;
    const char *text = json_string_value(v);
    char *end;
    *ret = strtod(text, &end);
    return end != text && *end == '\0' && strpbrk(text, "xXpP") == NULL && isfinite(*ret)
           && strlen(text) == json_string_length(v);
}

bool
param_to_bool(const json_t *v, bool *ret)
{
    static const char *const words[][6] = {
        {"false", "0", "no", "off", "n", "f"},
        {"true", "1", "yes", "on", "y", "t"},
    };
    if (json_is_boolean(v)) {
        *ret = json_is_true(v);
        return true;
    }
    if (json_is_number(v)) {
        *ret = json_number_value(v) == 1;
        return json_number_value(v) == 0 || json_number_value(v) == 1;
    }
    for (size_t i = 0; json_is_string(v) && i < 2 * ARRAY_SIZE(words[0]); i++) {
        if (strcasecmp(json_string_value(v), words[i & 1][i >> 1]) == 0) {
            *ret = i & 1;
            return true;
        }
    }
    return false;
}

void
param_print_value(const json_t *v, struct buf *ret)
{
    switch (json_typeof(v)) {
    case JSON_INTEGER:
        json_write_int(ret, json_integer_value(v));
        break;
    case JSON_REAL:
        json_write_double(ret, json_real_value(v));
        break;
    case JSON_STRING: {
        size_t len = utf8_cut(json_string_value(v), json_string_length(v), 32);
        json_write_string(ret, json_string_value(v), len);
        if (len < json_string_length(v))
            buf_puts(ret, "...");
        break;
    }
    case JSON_TRUE:
        buf_puts(ret, "true");
        break;
    case JSON_FALSE:
        buf_puts(ret, "false");
        break;
    case JSON_NULL:
        buf_puts(ret, "null");
        break;
    case JSON_ARRAY:
        buf_printf(ret, "an array of %zu", json_array_size(v));
        break;
    case JSON_OBJECT:
        buf_puts(ret, "an object");
        break;
    }
}

int
param_wrong_type(struct param_reader *r, const json_t *v, const char *wanted)
{
    struct buf got = {0};
    param_print_value(v, &got);
    api_error_set(r->err, API_ERROR_BAD_BODY, r->name, "%s must be %s, got %s", r->name, wanted,
                  buf_bytes(&got));
    buf_release(&got);
    return -1;
}

/* ---- readers of single values -------------------------------------------- */

static void *
field(const struct param_reader *r)
{
    return (char *)r->params + r->param->offset;
}

static double
highest(const struct param_reader *r)
{
    const struct param *p = r->param;
    if (p->limit == 0)
        return p->max;
    return (double)*(const int64_t *)((const char *)r->limits + p->limit - 1);
}

/* `value` is what was read: 5 for "5". */
static int
check_range(struct param_reader *r, double value, bool is_int)
{
    const struct param *p = r->param;
    double max = highest(r);
    if (p->min == max)
        return 0;
    bool low_ok = p->above_min ? value > p->min : value >= p->min;
    if (low_ok && (value <= max || max >= NO_MAX))
        return 0;
    struct buf text = {0};
    if (is_int && max >= NO_MAX) {
        buf_printf(&text, "at least %.0f, got %.0f", p->min, value);
    } else if (is_int) {
        buf_printf(&text, "in [%.0f, %.0f], got %.0f", p->min, max, value);
    } else {
        buf_puts(&text, p->above_min ? "in (" : "in [");
        json_write_double(&text, p->min);
        buf_puts(&text, ", ");
        json_write_double(&text, max);
        buf_puts(&text, "], got ");
        json_write_double(&text, value);
    }
    api_error_set(r->err, API_ERROR_BAD_VALUE, p->name, "%s must be %s", p->name,
                  buf_bytes(&text));
    buf_release(&text);
    return -1;
}

static int
read_int(struct param_reader *r, const json_t *v)
{
    int64_t value;
    if (!param_to_int(v, &value))
        return param_wrong_type(r, v, "an integer");
    if (check_range(r, (double)value, true) < 0)
        return -1;
    *(int64_t *)field(r) = value;
    return 0;
}

static int
read_number(struct param_reader *r, const json_t *v)
{
    double value;
    if (!param_to_number(v, &value))
        return param_wrong_type(r, v, "a finite number");
    if (check_range(r, value, false) < 0)
        return -1;
    *(double *)field(r) = value;
    return 0;
}

static int
read_bool(struct param_reader *r, const json_t *v)
{
    bool value;
    if (!param_to_bool(v, &value))
        return param_wrong_type(r, v, "a boolean");
    *(bool *)field(r) = value;
    return 0;
}

static int
read_model(struct param_reader *r, const json_t *v)
{
    if (!json_is_string(v))
        return param_wrong_type(r, v, "a string");
    size_t len = json_string_length(v);
    if (len > MODEL_NAME_MAX_BYTES || strlen(json_string_value(v)) != len)
        return api_error_set(r->err, API_ERROR_BAD_VALUE, r->name,
                             "%s must be at most %d bytes, without NUL", r->name,
                             MODEL_NAME_MAX_BYTES);
    memcpy(r->params->model, json_string_value(v), len + 1);
    return 0;
}

bool
request_id_is_valid(const char *id)
{
    size_t len = strlen(id);
    if (len == 0 || len > REQUEST_ID_MAX_BYTES)
        return false;
    for (size_t i = 0; i < len; i++) {
        if (id[i] <= ' ' || id[i] > '~')
            return false;
    }
    return true;
}

static int
read_request_id(struct param_reader *r, const json_t *v)
{
    if (!json_is_string(v))
        return param_wrong_type(r, v, "a string");
    const char *id = json_string_value(v);
    if (!request_id_is_valid(id) || strlen(id) != json_string_length(v))
        return api_error_set(r->err, API_ERROR_BAD_VALUE, r->name,
                             "%s must be 1 to %d visible ASCII characters", r->name,
                             REQUEST_ID_MAX_BYTES);
    memcpy(r->params->request_id, id, strlen(id) + 1);
    return 0;
}

static int
read_prompt(struct param_reader *r, const json_t *v)
{
    r->params->prompt = v;
    return 0;
}

/* ---- the table ----------------------------------------------------------- */

#define FIELD(f) .offset = offsetof(struct completion_params, f)
#define LIMIT(l) .limit = 1 + offsetof(struct param_limits, l)
#define BOOL(f) {.name = #f, .read = read_bool, FIELD(f)}
#define INT(f, lo, hi) {.name = #f, .read = read_int, FIELD(f), .min = (lo), .max = (hi)}
#define INT_UP_TO(f, lo, l) {.name = #f, .read = read_int, FIELD(f), .min = (lo), LIMIT(l)}
#define NUMBER(f, lo, hi) {.name = #f, .read = read_number, FIELD(f), .min = (lo), .max = (hi)}
#define NUMBER_ABOVE(f, lo, hi) \
    {.name = #f, .read = read_number, FIELD(f), .min = (lo), .max = (hi), .above_min = true}
#define SPECIAL(f, reader) {.name = f, .read = reader}
#define REFUSED(f) {.name = f, .read = param_refuse}

static const struct param table[] = {
    SPECIAL("model", read_model),
    SPECIAL("prompt", read_prompt),
    SPECIAL("request_id", read_request_id),
    INT_UP_TO(max_tokens, 0, max_model_len),
    INT_UP_TO(min_tokens, 0, max_model_len),
    INT_UP_TO(n, 1, max_n),
    INT(logprobs, -1, INT32_MAX),
    INT(prompt_logprobs, -1, INT32_MAX),
    INT(top_k, -1, NO_MAX),
    INT(seed, 0, 0),
    INT(priority, 0, 0),
    INT_UP_TO(truncate_prompt_tokens, -1, max_model_len),
    NUMBER(temperature, 0, 2),
    NUMBER_ABOVE(top_p, 0, 1),
    NUMBER(min_p, 0, 1),
    NUMBER_ABOVE(repetition_penalty, 0, 1e6),
    NUMBER(presence_penalty, -2, 2),
    NUMBER(frequency_penalty, -2, 2),
    BOOL(stream),
    BOOL(echo),
    BOOL(ignore_eos),
    BOOL(include_stop_str_in_output),
    BOOL(skip_special_tokens),
    BOOL(spaces_between_special_tokens),
    BOOL(add_special_tokens),
    BOOL(return_token_ids),
    BOOL(return_tokens_as_token_ids),
    SPECIAL("stop", param_read_stop),
    SPECIAL("stop_token_ids", param_read_stop_token_ids),
    SPECIAL("allowed_token_ids", param_read_allowed_token_ids),
    SPECIAL("logit_bias", param_read_logit_bias),
    SPECIAL("stream_options", param_read_stream_options),
    SPECIAL("truncation_side", param_read_truncation_side),
    SPECIAL("response_format", param_refuse_unless_text),
    REFUSED("suffix"),
    REFUSED("structured_outputs"),
    REFUSED("use_beam_search"),
    REFUSED("prompt_embeds"),
    REFUSED("bad_words"),
    REFUSED("logprob_token_ids"),
    REFUSED("repetition_detection"),
    REFUSED("thinking_token_budget"),
    REFUSED("logits_processors"),
};

static void
set_unset(struct completion_params *p)
{
    *p = (struct completion_params){
        .max_tokens = PARAM_UNSET,
        .min_tokens = PARAM_UNSET,
        .n = PARAM_UNSET,
        .logprobs = PARAM_UNSET,
        .prompt_logprobs = PARAM_UNSET,
        .top_k = PARAM_UNSET,
        .seed = -1,
        .priority = PARAM_UNSET,
        .truncate_prompt_tokens = PARAM_UNSET,
        .temperature = NAN,
        .top_p = NAN,
        .min_p = NAN,
        .repetition_penalty = NAN,
        .presence_penalty = NAN,
        .frequency_penalty = NAN,
        .skip_special_tokens = true,
        .spaces_between_special_tokens = true,
        .add_special_tokens = true,
    };
}

int
params_parse(const json_t *body, const struct param_limits *limits,
             struct completion_params *ret, struct api_error *err)
{
    set_unset(ret);
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        const json_t *v = json_object_get(body, table[i].name);
        if (v == NULL || json_is_null(v))
            continue;
        struct param_reader r = {
            .param = &table[i],
            .name = table[i].name,
            .limits = limits,
            .params = ret,
            .err = err,
        };
        if (table[i].read(&r, v) < 0) {
            params_release(ret);
            return -1;
        }
    }
    return 0;
}

void
params_release(struct completion_params *p)
{
    stop_strings_release(&p->stop);
    free(p->stop_token_ids.ids);
    free(p->allowed_token_ids.ids);
    free(p->bias_ids.ids);
    free(p->bias_values);
    *p = (struct completion_params){0};
}
