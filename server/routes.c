/* SPDX-License-Identifier: Apache-2.0 */
#include "server/routes.h"

#include "server/completions.h"
#include "server/models.h"
#include "server/tokenize_api.h"
#include "util/log.h"

#include <string.h>

static const struct route table[] = {
    {"POST", "/v1/completions", completions_handle, ROUTE_NEEDS_READY},
    {"GET", "/v1/models", models_handle_list, ROUTE_NEEDS_READY},
    {"GET", "/v1/models/", models_handle_one, ROUTE_NEEDS_READY | ROUTE_PREFIX},
    {"POST", "/tokenize", tokenize_handle, ROUTE_NEEDS_READY},
    {"POST", "/detokenize", detokenize_handle, ROUTE_NEEDS_READY},
    {"GET", "/health", models_handle_health, ROUTE_OPEN | ROUTE_PROBE},
    {"GET", "/ping", models_handle_health, ROUTE_OPEN | ROUTE_PROBE},
    {"POST", "/ping", models_handle_health, ROUTE_OPEN | ROUTE_PROBE},
    {"GET", "/version", models_handle_version, ROUTE_OPEN | ROUTE_PROBE},
    {"GET", "/load", models_handle_load, ROUTE_PROBE},
    {"GET", "/metrics", models_handle_metrics, ROUTE_METRICS | ROUTE_PROBE},
};
_Static_assert(ARRAY_SIZE(table) < METRICS_MAX_HANDLERS, "metrics have a row per route");

/* ---- finding ------------------------------------------------------------- */

static bool
path_matches(const struct route *r, const char *path, const char **ret_tail)
{
    size_t len = strlen(r->path);
    if (strncmp(path, r->path, len) != 0)
        return false;
    *ret_tail = path + len;
    if (r->flags & ROUTE_PREFIX)
        return path[len] != '\0';
    return path[len] == '\0' || (path[len] == '/' && path[len + 1] == '\0');
}

static bool
method_matches(const struct route *r, const char *method)
{
    if (strcmp(r->method, method) == 0)
        return true;
    return strcmp(r->method, "GET") == 0 && strcmp(method, "HEAD") == 0;
}

const struct route *
routes_find(const char *path, const char *method, const char **ret_tail)
{
    const struct route *found = NULL;
    *ret_tail = "";
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        const char *tail;
        if (!path_matches(&table[i], path, &tail))
            continue;
        if (found == NULL || method_matches(&table[i], method)) {
            found = &table[i];
            *ret_tail = tail;
        }
        if (method_matches(&table[i], method))
            break;
    }
    return found;
}

int
routes_index(const struct route *r)
{
    if (r == NULL)
        return -1;
    int i = (int)(r - table);
    while (i > 0 && strcmp(table[i - 1].path, r->path) == 0)
        i--;
    return i;
}

const char *
routes_label(int index)
{
    if (index < 0 || index >= (int)ARRAY_SIZE(table))
        return "none";
    return table[index].flags & ROUTE_PREFIX ? "/v1/models/{model}" : table[index].path;
}

int
routes_count(void)
{
    return (int)ARRAY_SIZE(table);
}

/* ---- CORS, OPTIONS ------------------------------------------------------- */

static void
list_methods(const struct route *r, char *ret, size_t size)
{
    ret[0] = '\0';
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        if (strcmp(table[i].path, r->path) != 0)
            continue;
        size_t len = strlen(ret);
        const char *methods = strcmp(table[i].method, "GET") == 0 ? "GET, HEAD" : table[i].method;
        snprintf(ret + len, size - len, "%s%s", len == 0 ? "" : ", ", methods);
    }
    size_t len = strlen(ret);
    snprintf(ret + len, size - len, ", OPTIONS");
}

void
routes_add_cors(struct call *c)
{
    const struct app_config *cfg = &c->app->config;
    const char *origin = http_header(c->x, "Origin");
    if (origin == NULL)
        return;
    for (size_t i = 0; i < cfg->num_allowed_origins; i++) {
        bool all = strcmp(cfg->allowed_origins[i], "*") == 0;
        if (!all && strcmp(cfg->allowed_origins[i], origin) != 0)
            continue;
        http_add_header(c->x, "Access-Control-Allow-Origin", all ? "*" : origin);
        http_add_header(c->x, "Access-Control-Expose-Headers", "X-Request-Id");
        if (!all)
            http_add_header(c->x, "Vary", "Origin");
        return;
    }
}

static void
reply_to_options(struct call *c)
{
    char methods[64];
    list_methods(c->route, methods, sizeof methods);
    http_add_header(c->x, "Allow", methods);
    if (http_header(c->x, "Access-Control-Request-Method") != NULL) {
        const char *headers = http_header(c->x, "Access-Control-Request-Headers");
        http_add_header(c->x, "Access-Control-Allow-Methods", methods);
        http_add_header(c->x, "Access-Control-Allow-Headers",
                        headers == NULL ? "Authorization, Content-Type" : headers);
        http_add_header(c->x, "Access-Control-Max-Age", "600");
    }
    call_reply(c, 204, NULL, "", 0);
}

/* ---- what comes before the handler --------------------------------------- */

static bool
needs_key(const struct call *c)
{
    if (c->route == NULL)
        return true; /* 401 rather than a map of what exists */
    if (c->route->flags & ROUTE_METRICS)
        return c->app->config.guard_metrics;
    return !(c->route->flags & ROUTE_OPEN);
}

static bool
is_options(const struct call *c)
{
    return c->route != NULL && strcmp(http_method(c->x), "OPTIONS") == 0;
}

/* Whether the request may go on to its handler, as far as headers can tell. */
static bool
check_headers(struct call *c, struct api_error *err)
{
    struct app *a = c->app;
    if (is_options(c))
        return true;
    if (needs_key(c) && !auth_allows(&a->auth, http_header(c->x, "Authorization"))) {
        api_error_set(err, API_ERROR_UNAUTHORIZED, NULL,
                      "a valid API key is needed: Authorization: Bearer KEY");
        return false;
    }
    if (c->route == NULL) {
        api_error_set(err, API_ERROR_UNKNOWN_URL, NULL, "no route for %s %.200s",
                      http_method(c->x), http_path(c->x));
        return false;
    }
    if (!method_matches(c->route, http_method(c->x))) {
        char methods[64];
        list_methods(c->route, methods, sizeof methods);
        http_add_header(c->x, "Allow", methods);
        api_error_set(err, API_ERROR_BAD_METHOD, NULL, "%s does not take %s, only %s",
                      c->route->path, http_method(c->x), methods);
        return false;
    }
    return true;
}

static void
set_loading_error(const struct app *a, struct api_error *err)
{
    api_error_set(err, API_ERROR_LOADING, NULL, "the model is loading: %s",
                  a->progress == NULL ? "not ready yet" : atomic_load(&a->progress->phase));
    err->retry_after_s = 5;
}

static bool
check_ready(const struct call *c, struct api_error *err)
{
    const struct app *a = c->app;
    if (!(c->route->flags & ROUTE_NEEDS_READY))
        return true;
    if (a->state == APP_FAILED)
        api_error_set(err, API_ERROR_ENGINE_DEAD, NULL, "the engine has failed: %s", a->failure);
    else if (a->engine == NULL)
        set_loading_error(a, err);
    else
        return true;
    return false;
}

static bool
has_body(const struct http_exchange *x)
{
    const char *length = http_header(x, "Content-Length");
    return http_header(x, "Transfer-Encoding") != NULL
           || (length != NULL && strcmp(length, "0") != 0);
}

/*
 * Refuses before the body is read. Without a body there is nothing to save: the
 * request goes on and is refused in on_request, which keeps the connection.
 */
bool
routes_on_headers(void *app, struct http_exchange *x)
{
    struct call c;
    struct api_error err = {0};
    if (!has_body(x))
        return true;
    call_init(&c, app, x);
    if (check_headers(&c, &err) && check_ready(&c, &err))
        return true;
    call_finish_refused(&c, &err);
    return false;
}

void
routes_on_request(void *app, struct http_exchange *x)
{
    struct call *c = malloc(sizeof *c);
    struct api_error err = {0};
    if (c == NULL) {
        http_abort(x);
        return;
    }
    call_init(c, app, x);
    http_set_user(x, c);
    if (!check_headers(c, &err) || (!is_options(c) && !check_ready(c, &err)))
        call_error(c, &err);
    else if (is_options(c))
        reply_to_options(c);
    else
        c->route->handle(c);
}

void
routes_on_close(void *app, struct http_exchange *x, enum http_end how)
{
    (void)app;
    struct call *c = http_user(x);
    if (c == NULL)
        return;
    if (c->on_close != NULL)
        c->on_close(c, how);
    call_finish(c, how);
    free(c);
}

void
routes_on_refused(void *app, const char *peer, int status, const char *reason)
{
    struct app *a = app;
    a->metrics.refused_connections++;
    log_debug("client %s status %d refused %s", peer, status, reason);
}
