/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of routes, and what happens to every request before its handler:
 * unknown URL, wrong method, API key, OPTIONS and CORS, readiness.
 */
#ifndef SERVER_ROUTES_H
#define SERVER_ROUTES_H

#include "server/call.h"

enum route_flags {
    ROUTE_PREFIX = 1,       /* the path may go on; call.tail is the rest */
    ROUTE_OPEN = 2,         /* asks for no API key */
    ROUTE_METRICS = 4,      /* asks for one only with guard_metrics */
    ROUTE_NEEDS_READY = 8,  /* 503 while the model loads, or has failed */
    ROUTE_PROBE = 16,       /* asked every few seconds for ever: logged at debug level */
};

struct route {
    const char *method;     /* "GET" (HEAD too) or "POST"; one row per method */
    const char *path;
    void (*handle)(struct call *c);
    unsigned flags;
};

/* The row of a path and a method; when only the path is known the first row
 * with it, and the caller compares methods. NULL: unknown. *ret_tail is what
 * follows a prefix. One trailing slash is ignored. */
const struct route *routes_find(const char *path, const char *method, const char **ret_tail);
/* Position in the table, the same for all methods of a path; -1 for NULL. */
int routes_index(const struct route *r);
/* The path as a metric label: "/v1/models/{model}", "none". */
const char *routes_label(int index);
int routes_count(void);
/* Access-Control-Allow-Origin, where the Origin is allowed. */
void routes_add_cors(struct call *c);

/* http_handlers.on_headers and on_request. */
bool routes_on_headers(void *app, struct http_exchange *x);
void routes_on_request(void *app, struct http_exchange *x);
void routes_on_close(void *app, struct http_exchange *x, enum http_end how);
void routes_on_refused(void *app, const char *peer, int status, const char *reason);

#endif
