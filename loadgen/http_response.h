/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Takes HTTP/1.1 answers apart as their bytes come (RFC 9112): the status line,
 * the headers that say where the body ends, a body that is chunked, counted, or
 * ends with the connection. Interim answers (100 to 199) are passed over.
 */
#ifndef LOADGEN_HTTP_RESPONSE_H
#define LOADGEN_HTTP_RESPONSE_H

#include "util/base.h"
#include "util/buf.h"

enum http_response_state {
    RESPONSE_STATUS, /* a line is awaited: of the status, */
    RESPONSE_HEADER, /* a header, */
    RESPONSE_CHUNK_SIZE,
    RESPONSE_CHUNK_END,
    RESPONSE_TRAILER,
    RESPONSE_BODY,   /* `left` bytes of the body or of a chunk */
    RESPONSE_UNTIL_CLOSED,
    RESPONSE_DONE,
};

struct http_response {
    enum http_response_state state;
    int status;         /* 0 before its line */
    bool keeps_alive;   /* the connection can be used again, once done */
    bool has_begun;     /* a byte has come */
    bool is_chunked, has_length;
    uint64_t left;
    struct buf line;    /* owned: the beginning of a line */
    size_t num_header_bytes;
    void (*on_body)(void *arg, const char *bytes, size_t len); /* once status is known */
    void *arg;
};

void http_response_init(struct http_response *r, void (*on_body)(void *, const char *, size_t),
                        void *arg);
void http_response_release(struct http_response *r);
/* The next bytes: NULL, or what is wrong with them. What follows the answer's end
 * is dropped. */
const char *http_response_feed(struct http_response *r, const char *bytes, size_t len);
/* The connection was closed. NULL if the answer is whole then. */
const char *http_response_end(struct http_response *r);

#endif
