/* SPDX-License-Identifier: Apache-2.0 */
#include "util/error.h"

#include <string.h>

int
error_vset(struct error *err, int code, const char *fmt, va_list args)
{
    if (err != NULL) {
        err->code = code;
        vsnprintf(err->text, sizeof err->text, fmt, args);
    }
    return code;
}

int
error_set(struct error *err, int code, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    error_vset(err, code, fmt, args);
    va_end(args);
    return code;
}

int
error_prefix(struct error *err, const char *fmt, ...)
{
    if (err == NULL)
        return ERR_INVALID;
    char prefix[ERROR_TEXT_BYTES];
    va_list args;
    va_start(args, fmt);
    vsnprintf(prefix, sizeof prefix, fmt, args);
    va_end(args);
    size_t len = MIN(strlen(prefix), sizeof err->text - 3);
    size_t old = MIN(strlen(err->text), sizeof err->text - 3 - len);
    memmove(err->text + len + 2, err->text, old);
    memcpy(err->text, prefix, len);
    memcpy(err->text + len, ": ", 2);
    err->text[len + 2 + old] = '\0';
    return err->code;
}

const char *
error_name(int code)
{
    switch (code) {
    case 0: return "success";
#define X(name, number, text) \
    case ERR_##name: return text;
        ERR_MAP(X)
#undef X
    default: return "unknown error";
    }
}
