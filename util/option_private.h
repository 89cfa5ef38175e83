/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the option module share: option.c (rows and fields),
 * option_value.c (written forms), option_parse.c (argv and files), optdoc.c
 * (help, man page, example file). Nobody else includes this.
 */
#ifndef UTIL_OPTION_PRIVATE_H
#define UTIL_OPTION_PRIVATE_H

#include "util/option.h"

#include <string.h>

#define OPTION_NAME_MAX 63 /* longer names are never known, never suggested */

/* Where a value comes from: decides how an error spells the name. */
enum option_source {
    OPTION_ARGV, /* "--port" */
    OPTION_FILE, /* "port" */
};

/* A row found by name. */
struct option_match {
    const struct option *option;
    bool negated; /* "no-name" of a bool */
};

/* The field of `o` in `config`. */
static inline void *
option_field(const struct option *o, const void *config)
{
    return (char *)config + o->offset;
}

/* Whether the row is followed by a value (a bool is not). */
bool option_takes_value(const struct option *o);
/* Finds by exact name, alias or "no-" + name, `-` and `_` being equal. */
bool option_find(const struct option_table *t, const char *name, size_t len,
                 struct option_match *ret);
/* Finds by unambiguous prefix of a name; false when none or several match. */
bool option_find_prefix(const struct option_table *t, const char *name, size_t len,
                        struct option_match *ret);
/* "unknown option '--x'; did you mean '--y'?" */
int option_unknown(const struct option_table *t, const char *name, size_t len,
                   enum option_source source, struct error *err);
/*
 * Stores `value` (NULL: none given, for a bool) into the field of the row;
 * `append` adds to a list instead of replacing it.
 */
int option_store(const struct option_match *m, void *config, const char *value, bool append,
                 enum option_source source, struct error *err);
/*
 * The same from the right side of a line in a file: quotes, comments, and a
 * list in words. `text` has no NUL; `append` is for the first word of a list.
 */
int option_store_text(const struct option_match *m, void *config, const char *text, size_t len,
                      bool append, enum option_source source, struct error *err);
/* Empties the list of an OPT_LIST row. */
void option_list_clear(struct option_list *list);

/* Written forms. The parsers return 0, ERR_INVALID (no such number), ERR_RANGE
 * (does not fit) and write `ret` only on success. */
int option_parse_bool(const char *text, bool *ret);
int option_parse_int(const char *text, int64_t *ret);
int option_parse_float(const char *text, double *ret);
/* "0..65535", "at least 1", "at most 5"; nothing when there is no limit. */
void option_print_range(const struct option *o, struct buf *ret);
/* A word as a file writes it, in quotes where it must be. */
void option_print_word(const char *text, struct buf *ret);
/* "a, b, c" */
void option_print_choices(const struct option *o, struct buf *ret);

#endif
