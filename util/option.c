/* SPDX-License-Identifier: Apache-2.0 */
/* Rows and fields: finding a row by name, storing into its field, defaults. */
#include "util/option_private.h"

#include <math.h>

bool
option_takes_value(const struct option *o)
{
    if (o->type == OPT_IGNORED || o->type == OPT_REFUSED)
        return o->metavar != NULL;
    return o->type != OPT_BOOL;
}

static char
fold(char c)
{
    return c == '_' ? '-' : c;
}

/* Compares `len` bytes of `name` with the start of `known`. */
static bool
same_start(const char *name, size_t len, const char *known)
{
    for (size_t i = 0; i < len; i++) {
        if (known[i] == '\0' || fold(name[i]) != fold(known[i]))
            return false;
    }
    return true;
}

static bool
same_name(const char *name, size_t len, const char *known)
{
    return known != NULL && same_start(name, len, known) && known[len] == '\0';
}

/* A row without a value can be written "no-name". */
static bool
can_negate(const struct option *o)
{
    return o->type == OPT_BOOL || (o->type == OPT_IGNORED && o->metavar == NULL);
}

static bool
starts_with_no(const char *name, size_t len)
{
    return len > 3 && same_start(name, 3, "no-");
}

bool
option_find(const struct option_table *t, const char *name, size_t len, struct option_match *ret)
{
    for (size_t i = 0; i < t->num_options; i++) {
        const struct option *o = &t->options[i];
        if (same_name(name, len, o->name) || same_name(name, len, o->alias)) {
            *ret = (struct option_match){.option = o};
            return true;
        }
    }
    if (!starts_with_no(name, len))
        return false;
    for (size_t i = 0; i < t->num_options; i++) {
        const struct option *o = &t->options[i];
        if (can_negate(o) && (same_name(name + 3, len - 3, o->name) ||
                              same_name(name + 3, len - 3, o->alias))) {
            *ret = (struct option_match){.option = o, .negated = true};
            return true;
        }
    }
    return false;
}

bool
option_find_prefix(const struct option_table *t, const char *name, size_t len,
                   struct option_match *ret)
{
    const struct option *found = NULL;
    for (size_t i = 0; i < t->num_options; i++) {
        const struct option *o = &t->options[i];
        if (!same_start(name, len, o->name) &&
            (o->alias == NULL || !same_start(name, len, o->alias)))
            continue;
        if (found != NULL)
            return false;
        found = o;
    }
    if (found == NULL || len == 0)
        return false;
    *ret = (struct option_match){.option = found};
    return true;
}

/*
 * Edit distance with swaps of neighbours as one edit, over folded names of at
 * most OPTION_NAME_MAX bytes.
 */
static size_t
edit_distance(const char *a, size_t a_len, const char *b, size_t b_len)
{
    size_t rows[3][OPTION_NAME_MAX + 1];
    size_t *before = rows[0], *last = rows[1], *now = rows[2];
    for (size_t j = 0; j <= b_len; j++)
        last[j] = before[j] = j;
    for (size_t i = 1; i <= a_len; i++) {
        now[0] = i;
        for (size_t j = 1; j <= b_len; j++) {
            size_t change = fold(a[i - 1]) != fold(b[j - 1]);
            size_t best = MIN(last[j - 1] + change, MIN(last[j], now[j - 1]) + 1);
            if (i > 1 && j > 1 && fold(a[i - 1]) == fold(b[j - 2]) &&
                fold(a[i - 2]) == fold(b[j - 1]))
                best = MIN(best, before[j - 2] + 1);
            now[j] = best;
        }
        size_t *unused = before;
        before = last;
        last = now;
        now = unused;
    }
    return last[b_len];
}

/* The nearest name that is at most a third of the letters away. */
static const struct option *
nearest(const struct option_table *t, const char *name, size_t len)
{
    const struct option *best = NULL;
    size_t best_distance = len / 3 + 1;
    if (len == 0 || len > OPTION_NAME_MAX)
        return NULL;
    for (size_t i = 0; i < t->num_options; i++) {
        const struct option *o = &t->options[i];
        size_t known_len = strlen(o->name);
        if (o->type == OPT_REFUSED || known_len > OPTION_NAME_MAX)
            continue;
        size_t distance = edit_distance(name, len, o->name, known_len);
        if (distance < best_distance) {
            best = o;
            best_distance = distance;
        }
    }
    struct option_match m;
    if (best == NULL && option_find_prefix(t, name, len, &m) && m.option->type != OPT_REFUSED)
        best = m.option;
    return best;
}

int
option_unknown(const struct option_table *t, const char *name, size_t len,
               enum option_source source, struct error *err)
{
    const char *dashes = source == OPTION_ARGV ? "--" : "";
    const char *no = "no-";
    const struct option *o = NULL;
    if (starts_with_no(name, len))
        o = nearest(t, name + 3, len - 3);
    if (o == NULL || !can_negate(o)) {
        no = "";
        o = nearest(t, name, len);
    }
    int shown = (int)MIN(len, (size_t)100);
    if (o == NULL)
        return error_set(err, ERR_NOTFOUND, "unknown option '%s%.*s'", dashes, shown, name);
    return error_set(err, ERR_NOTFOUND, "unknown option '%s%.*s'; did you mean '%s%s%s'?", dashes,
                     shown, name, dashes, no, o->name);
}

void
option_list_clear(struct option_list *list)
{
    for (size_t i = 0; i < list->len; i++)
        free(list->items[i]);
    free(list->items);
    *list = (struct option_list){0};
}

/* "option '--port': " before what follows. */
static int PRINTF_LIKE(5, 6)
bad_value(const struct option *o, enum option_source source, struct error *err, int code,
          const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    error_vset(err, code, fmt, args);
    va_end(args);
    error_prefix(err, "option '%s%s'", source == OPTION_ARGV ? "--" : "", o->name);
    return code;
}

/* The complaint about a number that is none, or is outside of its range. */
static int
bad_number(const struct option *o, const char *value, int code, enum option_source source,
           struct error *err)
{
    struct buf range = {0};
    option_print_range(o, &range);
    const char *kind = o->type == OPT_INT ? "not a whole number" : "not a number";
    const char *limits = buf_bytes(&range);
    bool both_ends = strstr(limits, "..") != NULL;
    bad_value(o, source, err, code, "'%.100s' is %s%s%s%s", value,
              code == ERR_INVALID ? kind : "out of range",
              code == ERR_INVALID && both_ends ? " in the range" : "",
              *limits == '\0' ? "" : both_ends ? " " : ": ", limits);
    buf_release(&range);
    return code;
}

static bool
in_range(const struct option *o, double v)
{
    return o->min == o->max || (v >= o->min && v <= o->max);
}

static int
store_int(const struct option *o, int64_t *field, const char *value, enum option_source source,
          struct error *err)
{
    int64_t v;
    int r = option_parse_int(value, &v);
    if (r == 0 && !in_range(o, (double)v))
        r = ERR_RANGE;
    if (r < 0)
        return bad_number(o, value, r, source, err);
    *field = v;
    return 0;
}

static int
store_float(const struct option *o, double *field, const char *value, enum option_source source,
            struct error *err)
{
    double v;
    int r = option_parse_float(value, &v);
    if (r == 0 && (!in_range(o, v) || (isinf(v) && !isinf(v > 0 ? o->max : o->min))))
        r = ERR_RANGE;
    if (r < 0)
        return bad_number(o, value, r, source, err);
    *field = v;
    return 0;
}

static int
store_choice(const struct option *o, int *field, const char *value, enum option_source source,
             struct error *err)
{
    for (int i = 0; o->choices[i] != NULL; i++) {
        if (strcmp(o->choices[i], value) == 0) {
            *field = i;
            return 0;
        }
    }
    struct buf names = {0};
    option_print_choices(o, &names);
    int r = bad_value(o, source, err, ERR_INVALID, "'%.100s' is none of %s", value,
                      buf_bytes(&names));
    buf_release(&names);
    return r;
}

static int
store_string(char **field, const char *value, struct error *err)
{
    char *copy = strdup(value);
    if (copy == NULL)
        return error_set(err, ERR_NOMEM, "out of memory");
    free(*field);
    *field = copy;
    return 0;
}

static int
store_list(struct option_list *list, const char *value, bool append, struct error *err)
{
    char *copy = strdup(value);
    size_t len = append ? list->len : 0;
    char **items = calloc(len + 1, sizeof *items);
    if (copy == NULL || items == NULL) {
        free(copy);
        free(items);
        return error_set(err, ERR_NOMEM, "out of memory");
    }
    if (append) {
        if (len > 0)
            memcpy(items, list->items, len * sizeof *items);
        free(list->items);
    } else {
        option_list_clear(list);
    }
    items[len] = copy;
    *list = (struct option_list){.items = items, .len = len + 1};
    return 0;
}

static int
store_bool(const struct option_match *m, bool *field, const char *value,
           enum option_source source, struct error *err)
{
    bool v = true;
    if (value != NULL && m->negated)
        return bad_value(m->option, source, err, ERR_INVALID, "'no-%s' takes no value",
                         m->option->name);
    if (value != NULL && option_parse_bool(value, &v) < 0)
        return bad_value(m->option, source, err, ERR_INVALID, "'%.100s' is not true or false",
                         value);
    *field = m->negated ? false : v;
    return 0;
}

/* Says why a row cannot be had; the row's text loses its full stop. */
static int
refuse(const struct option *o, enum option_source source, struct error *err)
{
    size_t len = strlen(o->text);
    if (len > 0 && o->text[len - 1] == '.')
        len--;
    return error_set(err, ERR_UNSUPPORTED, "option '%s%s' is not supported: %.*s",
                     source == OPTION_ARGV ? "--" : "", o->name, (int)len, o->text);
}

int
option_store(const struct option_match *m, void *config, const char *value, bool append,
             enum option_source source, struct error *err)
{
    const struct option *o = m->option;
    void *field = option_field(o, config);
    if (o->type == OPT_REFUSED)
        return refuse(o, source, err);
    if (value == NULL && option_takes_value(o))
        return bad_value(o, source, err, ERR_INVALID, "a value is missing");
    switch (o->type) {
    case OPT_BOOL: return store_bool(m, field, value, source, err);
    case OPT_INT: return store_int(o, field, value, source, err);
    case OPT_FLOAT: return store_float(o, field, value, source, err);
    case OPT_STRING: return store_string(field, value, err);
    case OPT_CHOICE: return store_choice(o, field, value, source, err);
    case OPT_LIST: return store_list(field, value, append, err);
    case OPT_IGNORED:
    case OPT_REFUSED: break;
    }
    return 0;
}

/* The value of a row without a default. */
static void
unset(const struct option *o, void *config)
{
    void *field = option_field(o, config);
    switch (o->type) {
    case OPT_BOOL: *(bool *)field = false; break;
    case OPT_INT: *(int64_t *)field = 0; break;
    case OPT_FLOAT: *(double *)field = NAN; break;
    case OPT_STRING: *(char **)field = NULL; break;
    case OPT_CHOICE: *(int *)field = -1; break;
    case OPT_LIST: *(struct option_list *)field = (struct option_list){0}; break;
    case OPT_IGNORED:
    case OPT_REFUSED: break;
    }
}

int
option_defaults(const struct option_table *t, void *config, struct error *err)
{
    for (size_t i = 0; i < t->num_options; i++)
        unset(&t->options[i], config);
    for (size_t i = 0; i < t->num_options; i++) {
        const struct option *o = &t->options[i];
        if (o->fallback == NULL || o->type == OPT_IGNORED || o->type == OPT_REFUSED)
            continue;
        struct option_match m = {.option = o};
        int r;
        if (o->type == OPT_LIST)
            r = option_store_text(&m, config, o->fallback, strlen(o->fallback), false,
                                  OPTION_FILE, err);
        else
            r = option_store(&m, config, o->fallback, false, OPTION_FILE, err);
        if (r < 0) {
            option_release(t, config);
            return r;
        }
    }
    return 0;
}

int
option_set(const struct option_table *t, void *config, const char *name, const char *value,
           struct error *err)
{
    struct option_match m;
    if (!option_find(t, name, strlen(name), &m))
        return option_unknown(t, name, strlen(name), OPTION_ARGV, err);
    if (value == NULL || m.option->type != OPT_LIST)
        return option_store(&m, config, value, false, OPTION_ARGV, err);
    return option_store_text(&m, config, value, strlen(value), false, OPTION_ARGV, err);
}

void
option_release(const struct option_table *t, void *config)
{
    for (size_t i = 0; i < t->num_options; i++) {
        const struct option *o = &t->options[i];
        if (o->type == OPT_STRING)
            free(*(char **)option_field(o, config));
        else if (o->type == OPT_LIST)
            option_list_clear(option_field(o, config));
        unset(o, config);
    }
}
