/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A server of known latencies: answers completions on 127.0.0.1 with a fixed
 * time to the first token and a fixed gap, from a thread of its own, and notes
 * when it sent what. For --self-test and for tests of the client; it reads just
 * enough HTTP for that.
 */
#ifndef LOADGEN_MOCK_H
#define LOADGEN_MOCK_H

#include "util/base.h"
#include "util/error.h"

struct mock;

struct mock_args {
    uint64_t ttft_ns, itl_ns;
    size_t num_tokens;   /* of each answer, at least 1 */
    size_t max_requests; /* noted: those whose x-request-id ends in less than this */
    /* Faults, for tests; 0: none. */
    size_t refuse_every; /* every n-th request gets a 503 */
    size_t error_after;  /* tokens; then an error inside the stream */
    size_t close_after;  /* tokens; then the connection closes */
};

int mock_new(const struct mock_args *args, struct mock **ret, struct error *err);
/* Stops the thread, closes all connections. */
void mock_free(struct mock *m);
uint16_t mock_port(const struct mock *m);

/* To be read when the requests have ended. All in CLOCK_MONOTONIC; 0: never. */
/* When the end of the request came to the machine. */
uint64_t mock_arrival_ns(const struct mock *m, size_t request);
/* Just before the token was handed to the kernel. */
uint64_t mock_token_ns(const struct mock *m, size_t request, size_t token);
/* Processor time of its thread so far. */
double mock_cpu_s(const struct mock *m);

#endif
