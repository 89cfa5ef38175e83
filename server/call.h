/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One API request: the exchange of the transport, with the route it took, its
 * id, and what the access log and the metrics will say. Made when the request
 * is whole, freed when the exchange closes. A call is dead, as its exchange is,
 * when call_reply(), call_error() or call_stream_end() return; call_stream_write()
 * says whether it still lives.
 */
#ifndef SERVER_CALL_H
#define SERVER_CALL_H

#include "server/app.h"

struct route;

struct call {
    struct app *app;            /* borrowed */
    struct http_exchange *x;    /* borrowed */
    const struct route *route;  /* borrowed; NULL: none */
    const char *tail;           /* the path after a prefix route */
    char id[REQUEST_ID_MAX_BYTES + 1]; /* X-Request-Id, given or made */
    bool id_given;              /* by the header */
    int status;
    uint64_t response_bytes;

    /* What the handler hangs on it; told once when the exchange has closed. */
    void *job;
    void (*on_close)(struct call *c, enum http_end how);

    /* For the access log: completions fill it. */
    int64_t num_prompt_tokens, num_output_tokens; /* -1: not a completion */
    uint64_t queue_ns, ttft_ns;
    const char *finish_reason;  /* borrowed, static */
};

/* Fills a call from the headers: route, id. */
void call_init(struct call *c, struct app *a, struct http_exchange *x);

void call_reply(struct call *c, int status, const char *content_type, const void *body,
                size_t len);
/* As JSON; a failed buffer becomes a 500. */
void call_reply_json(struct call *c, int status, const struct buf *body);
void call_error(struct call *c, const struct api_error *err);

void call_stream_start(struct call *c);
/* One or several whole events. False: the exchange is closed. */
bool call_stream_write(struct call *c, const struct buf *events);
void call_stream_end(struct call *c);

/* The exchange has closed: log, metrics. */
void call_finish(struct call *c, enum http_end how);
/* Answers from on_headers: no on_close follows, so log and metrics come first. */
void call_finish_refused(struct call *c, const struct api_error *err);

/*
 * The body as a JSON object, checked for content type, size in memory and
 * syntax; NULL and *err when it is not one. The caller owns it (json_decref).
 * json_body_parse() is its pure part, for any thread.
 */
bool call_has_json_type(const struct call *c, struct api_error *err);
json_t *json_body_parse(const char *body, size_t len, struct api_error *err);
/* Whether the `model` of a request is served: else 404 in *err. */
bool call_model_is_served(const struct app *a, const char *model, struct api_error *err);

#endif
