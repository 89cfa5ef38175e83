/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading JSON with jansson, and writing it ourselves. Reading: typed getters
 * whose errors say where ("config.json: 'num_hidden_layers' is 0, not within
 * [1, 1024]"). Writing: values appended to a struct buf, ASCII only, so that
 * the bytes pass unchanged through any client; punctuation is the caller's. Any
 * thread; no state.
 */
#ifndef UTIL_JSON_H
#define UTIL_JSON_H

#include "util/base.h"
#include "util/buf.h"
#include "util/error.h"

#include <jansson.h>

/* An object and what errors call it. */
struct json_object {
    const json_t *value; /* borrowed; an object */
    const char *path;    /* borrowed: "config.json", "config.json: rope_scaling" */
};

/*
 * Parses `len` bytes of JSON whose top is an object; errors begin with `path`.
 * `flags` are jansson's. The caller owns *ret (json_decref). ERR_CORRUPT.
 */
int json_parse_object(const char *bytes, size_t len, size_t flags, const char *path,
                      json_t **ret, struct error *err);

/*
 * Reads the regular file `dir`/`name`, at most max_bytes, as a malloc'd
 * NUL-terminated string. ERR_NOTFOUND, ERR_IO, ERR_RANGE (too large), ERR_NOMEM.
 */
int json_read_file(const char *dir, const char *name, size_t max_bytes, char **ret,
                   size_t *ret_len, struct error *err);

/*
 * Optional members: an absent or null member leaves *io as it is (put the
 * default there first) and returns 0. A wrong type is ERR_CORRUPT, a value
 * outside [min, max] ERR_RANGE.
 */
int json_get_int(const struct json_object *o, const char *key, int64_t min, int64_t max,
                 int64_t *io, struct error *err);
/* Takes an integer too. */
int json_get_double(const struct json_object *o, const char *key, double min, double max,
                    double *io, struct error *err);
int json_get_bool(const struct json_object *o, const char *key, bool *io, struct error *err);
/* *io is borrowed from the object. */
int json_get_string(const struct json_object *o, const char *key, const char **io,
                    struct error *err);
/* The member itself, of this type; NULL in *ret when absent or null. */
int json_get_typed(const struct json_object *o, const char *key, json_type type,
                   const json_t **ret, struct error *err);
/* ERR_CORRUPT when the member is absent or null. */
int json_need(const struct json_object *o, const char *key, struct error *err);
/* Whether the member is there, and is null. */
bool json_is_null_member(const struct json_object *o, const char *key);

/*
 * Appends a quoted string: control characters and all beyond ASCII escaped
 * (\uXXXX, surrogate pairs). Bytes that are not UTF-8 become U+FFFD, one for
 * each maximal invalid part.
 */
void json_write_string(struct buf *b, const char *text, size_t len);
void json_write_int(struct buf *b, int64_t value);
void json_write_uint(struct buf *b, uint64_t value);
/*
 * The shortest decimal that reads back as the same double, spelled as Python's
 * repr(): 1.0, 0.1, 1e-05, 1e+16. NaN and infinities, which JSON does not have,
 * become null. A float passed in is printed as Python prints float(f32):
 * 0.1f is 0.10000000149011612.
 */
void json_write_double(struct buf *b, double value);

#endif
