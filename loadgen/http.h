/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An HTTP/1.1 client on a libuv loop. Connections, with their names, TLS and
 * proxies, are libcurl's, made through its multi interface; requests and answers
 * are written and read here, so that a token costs one system call, and the
 * kernel's stamp of its arrival comes with it. Connections are kept and used
 * again. All on the loop's thread.
 */
#ifndef LOADGEN_HTTP_H
#define LOADGEN_HTTP_H

#include "loadgen/http_response.h"
#include "util/base.h"
#include "util/error.h"

#include <curl/curl.h>
#include <uv.h>

#define HTTP_READ_BYTES 65536
#define HTTP_TIMED_OUT "timed out" /* the error of a transfer past its timeout */

struct http {
    uv_loop_t *loop; /* borrowed */
    CURLM *multi;    /* owned */
    uv_timer_t timer;    /* libcurl's */
    uv_timer_t deadline; /* of the first transfer */
    uv_timer_t soon;     /* ends transfers that failed inside http_start */
    struct list transfers; /* those in flight, oldest first */
    struct list idle;      /* connections without a transfer */
    bool insecure;
    bool is_starting;
    struct curl_slist *addresses; /* borrowed; for CURLOPT_RESOLVE, or NULL */
    /*
     * When the bytes that on_data is being called with came, CLOCK_MONOTONIC:
     * the kernel's own stamp of their arrival, if it gives one, so that a busy
     * program does not lengthen what it measures; else when they were read.
     */
    uint64_t arrival_ns;
    curl_socket_t new_socket; /* that libcurl asked to watch last */
    char bytes[HTTP_READ_BYTES];
};

struct http_connection;

/* One request, in memory of the caller that stays until on_done was called, or
 * http_cancel. */
struct http_transfer {
    const char *url;
    const char *body; /* NULL: GET */
    size_t body_bytes;
    const struct curl_slist *headers; /* lines as they are sent; or NULL */
    int64_t timeout_ms; /* the same for all that run at once; 0: none */
    void *arg;
    void (*on_data)(struct http_transfer *t, const char *bytes, size_t len);
    /* `error` is NULL if an answer came whole. May start other transfers. */
    void (*on_done)(struct http_transfer *t, const char *error);

    int status; /* of the answer; 0 before there is one */
    /* Private. */
    struct http *http;
    struct http_connection *connection; /* NULL: ended */
    struct list node;
    struct http_response response;
    struct buf request;     /* all of its bytes */
    size_t num_sent;        /* of them */
    uint64_t deadline_ns;   /* 0: none */
    const char *error;      /* `soon` will end it with this; or NULL */
};

/* `http` is zeroed, and stays at its address until http_release, and the loop has
 * then run. */
int http_init(struct http *http, uv_loop_t *loop, bool insecure, struct curl_slist *addresses,
              struct error *err);
/* Nothing may be in flight; the loop must run once more to close handles. */
void http_release(struct http *http);
/* Sends a request. On an error on_done is not called. */
int http_start(struct http *http, struct http_transfer *t, struct error *err);
/* Ends a transfer in flight without calling on_done. */
void http_cancel(struct http_transfer *t);

#endif
