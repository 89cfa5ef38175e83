/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What tests of the client share: a server that answers as they say, a client of
 * it, and runs of small prompts. One test at a time.
 */
#ifndef TESTS_UNIT_CLIENT_FIXTURE_H
#define TESTS_UNIT_CLIENT_FIXTURE_H

#include "loadgen/client.h"
#include "tests/unit/loadgen_server.h"

#define NUM_MAX 200
#define NUM_PROMPTS 3

#define TOKEN "data: {\"choices\": [{\"index\": 0, \"text\": \" a\"}]}\n\n"
#define USAGE                                                  \
    "data: {\"choices\": [], \"usage\": {\"prompt_tokens\": 7, " \
    "\"completion_tokens\": 4}}\n\n"
#define DONE "data: [DONE]\n\n"
#define TYPE "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
#define CLOSING TYPE "Connection: close\r\n\r\n"
#define HALF TYPE "Content-Length: 1000\r\n\r\n" TOKEN

extern struct server *server;
extern struct client *client;
extern struct config config;
extern struct error last_error;
extern struct reply replies[NUM_MAX];
extern struct client_outcome outcome;
extern const char *const texts[NUM_PROMPTS]; /* of the prompts */
extern char good_text[1024]; /* a whole answer on a connection that is kept */
extern struct server_answer scripted;

void setup(void);
void teardown(void);

/* Options, which are set before start(). */
void set(const char *name, const char *value);
void set_number(const char *name, unsigned value);
/* Starts the server, and a client of it. */
void start(server_answer_fn *answer);

/* As many prompts at once; fills replies and outcome. */
struct client_run run_of(size_t num);
void run(size_t num);
size_t count_status(enum reply_status status);

/* How many lines of the head of a request start so, in any case. */
size_t count_lines(const char *request, const char *start);
/* Whether a header has this line, and no other one. */
bool has_line(const char *request, const char *line);

/* With good_text, with `scripted`, or with nothing. */
struct server_answer answer_well(struct server *s, const char *request);
struct server_answer answer_as_scripted(struct server *s, const char *request);
struct server_answer answer_never(struct server *s, const char *request);

#endif
