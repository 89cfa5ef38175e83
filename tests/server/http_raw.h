/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An HTTP client for tests that sends exactly the bytes it is given. Blocking,
 * every wait has an end. Aborts the test program when the machine fails.
 */
#ifndef TESTS_SERVER_HTTP_RAW_H
#define TESTS_SERVER_HTTP_RAW_H

#include "util/buf.h"

struct raw {
    int fd;
    struct buf in;  /* read, not yet parsed */
};

struct raw_reply {
    int status;
    struct buf head;  /* status line and headers, each with its CRLF */
    struct buf body;  /* of a chunked one: decoded */
    bool complete;    /* the body's end was seen */
};

#define RAW_CLOSED 0
#define RAW_TIMEOUT (-1)

void raw_open(struct raw *r, int port);
void raw_open_unix(struct raw *r, const char *path);
void raw_close(struct raw *r);
/* Closes with a reset. */
void raw_reset(struct raw *r);
/* False when the connection broke before all was sent. */
bool raw_send(struct raw *r, const void *bytes, size_t len);
bool raw_puts(struct raw *r, const char *text);
/*
 * The next reply: its status; RAW_CLOSED when the connection ends before there
 * is one; RAW_TIMEOUT. An interim (1xx) reply counts as one. A reply cut in
 * its body has its status and complete == false. no_body: it answers a HEAD.
 */
int raw_read(struct raw *r, int timeout_ms, bool no_body, struct raw_reply *ret);
/* The same, for callers that want the status alone. */
int raw_status(struct raw *r, int timeout_ms);
/* Reads and drops until the connection ends; false when it does not in time. */
bool raw_wait_closed(struct raw *r, int timeout_ms);
/* Reads once what is there within the time; bytes read, 0 at the end, -1. */
int raw_fill(struct raw *r, int timeout_ms);
void raw_reply_release(struct raw_reply *reply);
/* Sends a good request on a connection of its own; its status. */
int raw_probe(int port);

#endif
