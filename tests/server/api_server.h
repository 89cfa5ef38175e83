/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The whole API server over the fake engine, in a thread of its own, and a
 * client for it. The tokenizer is byte-level without merges: the id of a token
 * is its byte; 256 is <|end|> (EOS), 257 <|other_end|> (EOS too), 258 <|mark|>;
 * 259 has no entry.
 */
#ifndef TESTS_SERVER_API_SERVER_H
#define TESTS_SERVER_API_SERVER_H

#include "server/app.h"
#include "tests/server/fake_engine.h"
#include "tests/server/http_raw.h"

#include <jansson.h>

#define API_EOS 256
#define API_OTHER_EOS 257
#define API_MARK 258
#define API_VOCAB 260
#define API_MAX_LEN 512

struct api_server {
    struct app app;                /* of the server's thread; others look through api_server_call */
    struct engine *engine;         /* the fake one's controls are for any thread */
    int port;
    struct api_thread *thread;     /* owned */
};

/* Defaults for tests: model names "fake" and "org/alias", no access log. */
struct app_config api_server_config(void);
struct fake_engine_config api_server_engine_config(void);
/* Starts; with `ready` false the app stays in LOADING. */
void api_server_start(struct api_server *s, const struct app_config *cfg,
                      const struct fake_engine_config *engine, bool ready);
void api_server_set_ready(struct api_server *s);
/* Runs `fn` on the server's thread and waits for it. */
void api_server_call(struct api_server *s, void (*fn)(struct app *a));
/* Waits until the engine holds `n` requests; false when it does not in time. */
bool api_server_wait_inside(struct api_server *s, int64_t n);
/* Aborts what is under way, stops, joins, and asserts that all is clean. */
void api_server_stop(struct api_server *s);

/* The tokenizer of all servers of this program. */
const struct tokenizer *api_tokenizer(void);
void api_tokenizer_release(void);

/* ---- client -------------------------------------------------------------- */

struct api_reply {
    int status;
    struct raw_reply raw;
    json_t *json;                  /* owned; the body, when it is JSON */
};

/* Sends one request on a connection of its own and reads the whole answer. */
struct api_reply api_request(int port, const char *method, const char *path,
                             const char *headers, const char *body);
struct api_reply api_post(int port, const char *path, const char *body);
struct api_reply api_get(int port, const char *path);
void api_reply_release(struct api_reply *r);
/* The value of a header, "" when it is not there. Valid until the next call. */
const char *api_header(const struct api_reply *r, const char *name);
/* "choices.0.text" of the JSON; NULL when it is not there. */
const json_t *api_at(const json_t *root, const char *path);
const char *api_text(const struct api_reply *r, const char *path);
int64_t api_int(const struct api_reply *r, const char *path);

/* A stream's events, without "data: ". */
struct api_events {
    char **items;                  /* owned, each owned */
    json_t **json;                 /* owned; NULL for [DONE] */
    size_t len;
    size_t num_comments;
    bool well_formed;              /* every event is one "data: ...\n\n" line */
    bool done;                     /* the last one is [DONE] */
};

struct api_events api_events_parse(const char *body, size_t len);
void api_events_release(struct api_events *e);
/* Sends a streaming completion and reads all of it. */
struct api_events api_stream(int port, const char *body);
/* The texts of a choice, joined; malloc'd. */
char *api_events_text(const struct api_events *e, int64_t choice);

#endif
