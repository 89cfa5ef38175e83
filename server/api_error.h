/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a client is told when something fails:
 * {"error":{"message":...,"type":...,"param":...,"code":...}}. The table gives
 * each kind its HTTP status, its type, and whether `code` is the status as a
 * number (as vLLM writes it) or a word (where vLLM has no such answer).
 */
#ifndef SERVER_API_ERROR_H
#define SERVER_API_ERROR_H

#include "util/base.h"
#include "util/buf.h"

#include <stdarg.h>

/* kind, status, type, code (NULL: the status) */
#define API_ERROR_MAP(X)                                                        \
    X(BAD_BODY, 400, "Bad Request", NULL)                                       \
    X(BAD_VALUE, 400, "BadRequestError", NULL)                                  \
    X(UNAUTHORIZED, 401, "AuthenticationError", "invalid_api_key")              \
    X(UNKNOWN_MODEL, 404, "NotFoundError", NULL)                                \
    X(UNKNOWN_URL, 404, "NotFoundError", "unknown_url")                         \
    X(BAD_METHOD, 405, "MethodNotAllowedError", "method_not_allowed")           \
    X(TIMEOUT, 408, "TimeoutError", "request_timeout")                          \
    X(INTERNAL, 500, "InternalServerError", NULL)                               \
    X(ENGINE_DEAD, 500, "InternalServerError", "engine_dead")                   \
    X(LOADING, 503, "ServiceUnavailableError", "model_loading")                 \
    X(OVERLOADED, 503, "ServiceUnavailableError", "queue_full")                 \
    X(DRAINING, 503, "ServiceUnavailableError", "shutting_down")

enum api_error_kind {
#define X(kind, status, type, code) API_ERROR_##kind,
    API_ERROR_MAP(X)
#undef X
};

struct api_error {
    enum api_error_kind kind;
    bool set;                /* there is an error */
    int retry_after_s;       /* > 0: Retry-After */
    char param[96];          /* "": null */
    char message[512];       /* UTF-8, cut at a character when too long */
};

/*
 * Fills `e` and returns -1, so that it ends a function. `param` may be NULL. For
 * BAD_BODY it is written as vLLM does: "body" or "body.<param>".
 */
int api_error_set(struct api_error *e, enum api_error_kind kind, const char *param,
                  const char *fmt, ...) PRINTF_LIKE(4, 5);
int api_error_status(enum api_error_kind kind);
/* The JSON object, without a line end. */
void api_error_write(const struct api_error *e, struct buf *ret);

#endif
