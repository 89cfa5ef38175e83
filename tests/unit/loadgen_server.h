/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A server whose answers are whatever bytes a test says: a thread for each
 * connection, blocking. It keeps what it was asked. Aborts the test program when
 * the machine fails.
 */
#ifndef TESTS_UNIT_LOADGEN_SERVER_H
#define TESTS_UNIT_LOADGEN_SERVER_H

#include "util/base.h"

#include <stdint.h>

struct server;

struct server_answer {
    const char *text; /* bytes as they go over the wire; NULL: none */
    bool keep_open;   /* for the next request */
    bool resets;      /* the connection, right behind the text */
};

/* On the connection's thread; may wait. `request`: its head and body. */
typedef struct server_answer server_answer_fn(struct server *s, const char *request);

struct server *server_start(server_answer_fn *answer);
/* Ends all connections and waits for their threads. */
void server_stop(struct server *s);
uint16_t server_port(const struct server *s);

/* Of all that came so far. */
size_t server_num_requests(struct server *s);
/* Stays until server_stop. */
const char *server_request(struct server *s, size_t i);
/* Requests at the same time at most, from their last byte to their answer. */
size_t server_peak(struct server *s);

/* Waits until so many requests have come, connections have ended, or the server
 * stops. */
void server_wait_requests(struct server *s, size_t num);
void server_wait_closed(struct server *s, size_t num);
/* Waits until the server stops. */
void server_wait_stop(struct server *s);

#endif
