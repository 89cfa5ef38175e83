/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small app over the transport, for tests: a server in a thread of its own.
 *
 *   /now                 200 "hello\n" from inside on_request
 *   /echo                200 with the request's body
 *   /target              200 with "METHOD path?query"
 *   /delay?ms=N          200 "late\n" after N ms
 *   /hold                never answers
 *   /big?size=N          200 with N bytes
 *   /stream?n=N&size=S&ms=M   N server-sent events of about S bytes, one each
 *                        M ms (0: each tick of 2 ms), then the end
 *   /flood?size=S        S bytes per tick until the transport drops it
 *   /cut                 a stream of 2 events, then http_abort
 *   /deny                401 from on_headers
 *   /quiet, /bye         200, then http_server_quiesce / http_server_stop
 *   anything else        404 from on_headers
 */
#ifndef TESTS_SERVER_HTTP_APP_H
#define TESTS_SERVER_HTTP_APP_H

#include "server/http.h"

#include <stdatomic.h>

struct http_app {
    atomic_int num_requests;    /* on_request */
    atomic_int num_ended[5];    /* on_close, by enum http_end */
    atomic_int num_refused;     /* on_refused */
    atomic_int refused_status;  /* of the latest */
    atomic_int num_active;      /* as http_server_active, each tick */
    atomic_int num_connections; /* as http_server_connections, each tick */
    int port;
    struct http_app_loop *loop; /* owned; the thread's */
};

/* Limits small enough for tests; port 0 on 127.0.0.1. */
struct http_config http_app_config(void);
/* Aborts the test program when it cannot start. */
void http_app_start(struct http_app *app, const struct http_config *cfg);
/* Stops the server whatever is under way, joins, and asserts that every
 * on_request had its on_close and that libuv's loop closed clean. */
void http_app_stop(struct http_app *app);
/* The same for a server that stopped by itself (/bye). */
void http_app_join(struct http_app *app);
/* CPU time of the server's thread. */
uint64_t http_app_cpu_ns(struct http_app *app);

/* Waits until the counter has at least `want`; false after timeout_ms. */
bool http_app_reaches(atomic_int *counter, int want, int timeout_ms);
/* The counter's value when it has become `want`, or after 2 s: what a client
 * sees may come a little before the server has counted it. */
int http_app_settles(atomic_int *counter, int want);

#endif
