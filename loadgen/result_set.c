/* SPDX-License-Identifier: Apache-2.0 */
#include "loadgen/result_set.h"
#include "util/json.h"

#include <string.h>

#define FILE_BYTES_MAX (1u << 30)

int
result_set_add(struct result_set *s, json_t *run)
{
    json_t **runs = reallocarray(s->runs, s->len + 1, sizeof(json_t *));
    if (runs == NULL) {
        json_decref(run);
        return ERR_NOMEM;
    }
    s->runs = runs;
    s->runs[s->len++] = run;
    return 0;
}

/* Reads object after object until only white space is left. */
static int
read_runs(struct result_set *s, const char *text, size_t len, struct error *err)
{
    const char *end = text + len;
    for (;;) {
        json_error_t why;
        text += strspn(text, " \t\r\n");
        if (text >= end)
            return 0;
        json_t *run = json_loadb(text, (size_t)(end - text),
                                 JSON_DISABLE_EOF_CHECK | JSON_ALLOW_NUL, &why);
        if (!json_is_object(run)) {
            json_decref(run);
            return error_set(err, ERR_CORRUPT, "'%s': result %zu is not a JSON object: %s",
                             s->name, s->len + 1, run == NULL ? why.text : "another type");
        }
        if (result_set_add(s, run) < 0)
            return error_set(err, ERR_NOMEM, "'%s': out of memory", s->name);
        text += why.position;
    }
}

int
result_set_read(struct result_set *s, const char *path, struct error *err)
{
    char *text = NULL;
    size_t len;
    *s = (struct result_set){.name = path};
    int e = json_read_file(path[0] == '/' ? "/" : ".", path, FILE_BYTES_MAX, &text, &len, err);
    if (e == 0)
        e = read_runs(s, text, len, err);
    if (e == 0 && s->len == 0)
        e = error_set(err, ERR_CORRUPT, "'%s' holds no result", path);
    free(text);
    if (e < 0)
        result_set_release(s);
    return e;
}

void
result_set_release(struct result_set *s)
{
    for (size_t i = 0; i < s->len; i++)
        json_decref(s->runs[i]);
    free(s->runs);
    *s = (struct result_set){0};
}

bool
result_set_values(const struct result_set *s, const char *key, double *ret)
{
    for (size_t i = 0; i < s->len; i++) {
        const json_t *value = json_object_get(s->runs[i], key);
        if (!json_is_number(value))
            return false;
        ret[i] = json_number_value(value);
    }
    return s->len > 0;
}
