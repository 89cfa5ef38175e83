/* SPDX-License-Identifier: Apache-2.0 */
/* What http.c (requests and answers) and http_connection.c share. */
#ifndef LOADGEN_HTTP_PRIVATE_H
#define LOADGEN_HTTP_PRIVATE_H

#include "loadgen/http.h"

struct http_connection {
    struct http *http;
    struct http_transfer *transfer; /* NULL: idle */
    CURL *easy;                     /* owned; the connection belongs to it */
    curl_socket_t socket;           /* CURL_SOCKET_BAD: not connected yet */
    uv_poll_t poll;                 /* on the socket, once connected */
    int events;                     /* that `poll` waits for */
    bool is_tls;                    /* bytes go through libcurl, not straight to `socket` */
    bool was_used;                  /* carried an earlier request */
    struct list node;               /* in http.idle */
    char error_text[CURL_ERROR_SIZE];
};

int http_multi_init(struct http *http);

/* Begins to connect to the host of `t`; http_connected or http_not_connected
 * follows, at once or later. */
int http_connect(struct http *http, struct http_transfer *t, struct error *err);
/* Closes and frees it; the loop must run once more. */
void http_connection_close(struct http_connection *c);
/* One that is idle and whose server has not closed it, or NULL. */
struct http_connection *http_connection_reuse(struct http *http);
/* Sends and receives as send() and recv() do, with -1 and EAGAIN. */
ssize_t http_connection_send(struct http_connection *c, const void *bytes, size_t len);
ssize_t http_connection_receive(struct http_connection *c, void *bytes, size_t len,
                                uint64_t *ret_arrival_ns);
/* Waits for these of UV_READABLE and UV_WRITABLE. */
int http_connection_wait(struct http_connection *c, int events);

/* ---- http.c, called by http_connection.c ---- */

void http_connected(struct http_connection *c);
void http_not_connected(struct http_connection *c, const char *error);
void http_ready(struct http_connection *c, int events);

#endif
