/* SPDX-License-Identifier: Apache-2.0 */
#include "server/params.h"

#include "util/utf8.h"

#include <errno.h>
#include <math.h>
#include <string.h>

static int
out_of_memory(struct param_reader *r)
{
    return api_error_set(r->err, API_ERROR_INTERNAL, r->name, "out of memory");
}

/* ---- stop ---------------------------------------------------------------- */

static int
add_stop(struct param_reader *r, const json_t *v)
{
    if (!json_is_string(v))
        return param_wrong_type(r, v, "a string or an array of strings");
    size_t len = json_string_length(v);
    if (len == 0)
        return api_error_set(r->err, API_ERROR_BAD_VALUE, "stop",
                             "stop must not contain an empty string");
    if ((int64_t)len > r->limits->max_stop_bytes)
        return api_error_set(r->err, API_ERROR_BAD_VALUE, "stop",
                             "each stop string must be at most %lld bytes, got %zu",
                             (long long)r->limits->max_stop_bytes, len);
    if (stop_strings_add(&r->params->stop, json_string_value(v), len) < 0)
        return out_of_memory(r);
    return 0;
}

int
param_read_stop(struct param_reader *r, const json_t *v)
{
    if (!json_is_array(v))
        return add_stop(r, v);
    if ((int64_t)json_array_size(v) > r->limits->max_stop_strings)
        return api_error_set(r->err, API_ERROR_BAD_VALUE, "stop",
                             "stop must have at most %lld strings, got %zu",
                             (long long)r->limits->max_stop_strings, json_array_size(v));
    for (size_t i = 0; i < json_array_size(v); i++) {
        if (add_stop(r, json_array_get(v, i)) < 0)
            return -1;
    }
    return 0;
}

/* ---- lists of token ids -------------------------------------------------- */

static int
compare_ids(const void *a, const void *b)
{
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

static void
sort_unique(struct id_list *list)
{
    qsort(list->ids, (size_t)list->len, sizeof *list->ids, compare_ids);
    int32_t len = 0;
    for (int32_t i = 0; i < list->len; i++) {
        if (len == 0 || list->ids[len - 1] != list->ids[i])
            list->ids[len++] = list->ids[i];
    }
    list->len = len;
}

static int
read_ids(struct param_reader *r, const json_t *v, int64_t max_len, struct id_list *ret)
{
    if (!json_is_array(v))
        return param_wrong_type(r, v, "an array of token ids");
    size_t len = json_array_size(v);
    if ((int64_t)len > max_len)
        return api_error_set(r->err, API_ERROR_BAD_VALUE, r->name,
                             "%s must have at most %lld ids, got %zu", r->name,
                             (long long)max_len, len);
    ret->ids = malloc(MAX(len, 1) * sizeof *ret->ids);
    if (ret->ids == NULL)
        return out_of_memory(r);
    for (size_t i = 0; i < len; i++) {
        int64_t id;
        if (!param_to_int(json_array_get(v, i), &id))
            return param_wrong_type(r, json_array_get(v, i), "an array of token ids");
        if (id < 0 || id >= r->limits->vocab_size)
            return api_error_set(r->err, API_ERROR_BAD_VALUE, r->name,
                                 "%s: token id %lld is not in [0, %lld]", r->name,
                                 (long long)id, (long long)r->limits->vocab_size - 1);
        ret->ids[ret->len++] = (int32_t)id;
    }
    sort_unique(ret);
    return 0;
}

int
param_read_stop_token_ids(struct param_reader *r, const json_t *v)
{
    return read_ids(r, v, r->limits->max_stop_token_ids, &r->params->stop_token_ids);
}

int
param_read_allowed_token_ids(struct param_reader *r, const json_t *v)
{
    if (read_ids(r, v, r->limits->vocab_size, &r->params->allowed_token_ids) < 0)
        return -1;
    if (r->params->allowed_token_ids.len == 0)
        return api_error_set(r->err, API_ERROR_BAD_VALUE, r->name, "%s must not be empty",
                             r->name);
    r->params->has_allowed = true;
    return 0;
}

/* ---- logit_bias ---------------------------------------------------------- */

static int
read_bias_key(struct param_reader *r, const char *key, int32_t *ret)
{
    char *end;
    errno = 0;
    long long id = strtoll(key, &end, 10);
    if (end == key || *end != '\0' || errno != 0)
        return api_error_set(r->err, API_ERROR_BAD_VALUE, r->name,
                             "logit_bias: key \"%.32s\" is not a token id", key);
    if (id < 0 || id >= r->limits->vocab_size)
        return api_error_set(r->err, API_ERROR_BAD_VALUE, r->name,
                             "logit_bias: token id %lld is not in [0, %lld]", id,
                             (long long)r->limits->vocab_size - 1);
    *ret = (int32_t)id;
    return 0;
}

/* "7" and "07" are one id: the last one counts, so that no id stands twice. */
static int
put_bias(struct param_reader *r, int32_t id, float value)
{
    struct completion_params *p = r->params;
    for (int32_t i = 0; i < p->bias_ids.len; i++) {
        if (p->bias_ids.ids[i] == id) {
            p->bias_values[i] = value;
            return 0;
        }
    }
    p->bias_values[p->bias_ids.len] = value;
    p->bias_ids.ids[p->bias_ids.len++] = id;
    return 0;
}

int
param_read_logit_bias(struct param_reader *r, const json_t *v)
{
    if (!json_is_object(v))
        return param_wrong_type(r, v, "an object from token id to number");
    size_t len = json_object_size(v);
    if ((int64_t)len > r->limits->max_logit_bias)
        return api_error_set(r->err, API_ERROR_BAD_VALUE, r->name,
                             "logit_bias must have at most %lld entries, got %zu",
                             (long long)r->limits->max_logit_bias, len);
    r->params->bias_ids.ids = malloc(MAX(len, 1) * sizeof(int32_t));
    r->params->bias_values = malloc(MAX(len, 1) * sizeof(float));
    if (r->params->bias_ids.ids == NULL || r->params->bias_values == NULL)
        return out_of_memory(r);
    const char *key;
    json_t *item;
    json_object_foreach((json_t *)v, key, item) {
        int32_t id = 0;
        double value;
        if (read_bias_key(r, key, &id) < 0)
            return -1;
        if (!param_to_number(item, &value))
            return param_wrong_type(r, item, "an object from token id to number");
        put_bias(r, id, (float)fmin(fmax(value, -100), 100));
    }
    return 0;
}

/* ---- stream_options, truncation_side ------------------------------------- */

static int
read_option(struct param_reader *r, const json_t *options, const char *name, bool *ret)
{
    char path[64];
    snprintf(path, sizeof path, "stream_options.%s", name);
    const json_t *v = json_object_get(options, name);
    if (v == NULL || json_is_null(v))
        return 0;
    struct param_reader inner = *r;
    inner.name = path;
    return param_to_bool(v, ret) ? 0 : param_wrong_type(&inner, v, "a boolean");
}

int
param_read_stream_options(struct param_reader *r, const json_t *v)
{
    if (!json_is_object(v))
        return param_wrong_type(r, v, "an object");
    r->params->has_stream_options = true;
    if (read_option(r, v, "include_usage", &r->params->include_usage) < 0)
        return -1;
    return read_option(r, v, "continuous_usage_stats", &r->params->continuous_usage_stats);
}

int
param_read_truncation_side(struct param_reader *r, const json_t *v)
{
    const char *side = json_string_value(v);
    if (side == NULL || (strcmp(side, "left") != 0 && strcmp(side, "right") != 0))
        return param_wrong_type(r, v, "\"left\" or \"right\"");
    r->params->truncate_right = strcmp(side, "right") == 0;
    r->params->has_truncation_side = true;
    return 0;
}

/* ---- what is not here ---------------------------------------------------- */

int
param_refuse(struct param_reader *r, const json_t *v)
{
    bool empty = json_is_false(v) || (json_is_array(v) && json_array_size(v) == 0)
                 || (json_is_string(v) && json_string_length(v) == 0);
    if (empty)
        return 0;
    return api_error_set(r->err, API_ERROR_BAD_VALUE, r->name, "%s is not supported", r->name);
}

int
param_refuse_unless_text(struct param_reader *r, const json_t *v)
{
    const char *type = json_string_value(json_object_get(v, "type"));
    if (type != NULL && strcmp(type, "text") == 0)
        return 0;
    if (!json_is_object(v) || type == NULL)
        return param_wrong_type(r, v, "an object with a string \"type\"");
    return api_error_set(r->err, API_ERROR_BAD_VALUE, r->name,
                         "response_format of type \"%.32s\" is not supported, only \"text\"",
                         type);
}
