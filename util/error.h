/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How functions fail: they return 0 or a negative `enum err`; when a human
 * will read it, their last parameter is a `struct error *` that the caller
 * owns and that may be NULL.
 *
 * Text: lower case, no full stop, what failed first, the subject quoted, value
 * and limit given: "cannot open 'model.safetensors': no such file".
 */
#ifndef UTIL_ERROR_H
#define UTIL_ERROR_H

#include "util/base.h"

#include <stdarg.h>

#define ERR_MAP(X)                                \
    X(NOMEM, 1, "out of memory")                  \
    X(INVALID, 2, "invalid argument")             \
    X(RANGE, 3, "out of range")                   \
    X(NOTFOUND, 4, "not found")                   \
    X(UNSUPPORTED, 5, "not supported")            \
    X(IO, 6, "input or output error")             \
    X(CORRUPT, 7, "corrupt data")                 \
    X(DEVICE, 8, "device error")                  \
    X(BUSY, 9, "busy")                            \
    X(CANCELLED, 10, "cancelled")

enum err {
#define X(name, number, text) ERR_##name = -(number),
    ERR_MAP(X)
#undef X
};

#define ERROR_TEXT_BYTES 512

struct error {
    int code;                     /* 0 or an `enum err` */
    char text[ERROR_TEXT_BYTES];  /* NUL-terminated, cut when too long */
};

/* Fills `err` (when not NULL) and returns `code`, so that it ends a function:
 * `return error_set(err, ERR_IO, "cannot read '%s'", path);` */
int error_set(struct error *err, int code, const char *fmt, ...) PRINTF_LIKE(3, 4);
int error_vset(struct error *err, int code, const char *fmt, va_list args);

/* Puts "prefix: " before the text that is there; returns err->code. */
int error_prefix(struct error *err, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* The generic text of a code. */
const char *error_name(int code);

#endif
