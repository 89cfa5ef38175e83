/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the server/http*.c files share. Loop thread only.
 *
 *   http.c           the server: start, pump, quiesce, stop
 *   http_conn.c      connections and what libmicrohttpd calls back for them
 *   http_exchange.c  the exchange: what handlers read and answer
 *   http_listen.c    the listening socket
 *   http_linger.c    lets a refused client finish sending
 *   http_guard.c     which requests are refused at once
 */
#ifndef SERVER_HTTP_PRIVATE_H
#define SERVER_HTTP_PRIVATE_H

#include "server/http.h"
#include "util/buf.h"

struct MHD_Connection;
struct MHD_Daemon;
struct MHD_Response;

#define HTTP_MAX_LINGER 64  /* refused connections drained at a time */

struct http_server {
    uv_loop_t *loop;            /* borrowed */
    struct http_config cfg;     /* host and uds: not kept */
    struct http_handlers handlers;
    void *app;                  /* borrowed */
    struct MHD_Daemon *daemon;  /* owned */
    int port;
    int listen_fd;              /* owned after quiesce, else libmicrohttpd's; -1: closed */
    char *uds_path;             /* owned; removed when listening ends, or NULL */

    uv_poll_t poll;             /* libmicrohttpd's epoll set */
    uv_timer_t timer;           /* its next timeout */
    uv_prepare_t prepare;       /* flushes what nobody flushed */
    int num_handles;            /* of ours on the loop, open or closing */

    struct list conns;          /* of struct http_conn */
    int num_connections;
    int num_active;
    int num_linger;
    struct list lingering;      /* of struct http_linger */

    bool pumping;
    bool need_run;              /* something was resumed or closed: MHD_run once more */
    bool quiesced;
    bool stop_requested;
    bool stopping;
};

struct http_conn {
    struct list node;              /* in server->conns */
    struct http_server *server;    /* borrowed */
    struct MHD_Connection *mhd;    /* borrowed; NULL when it is closed */
    struct http_exchange *exchange;  /* owned; NULL between requests */
    int fd;                        /* libmicrohttpd's */
    int num_handles;
    uv_poll_t watch;               /* the client left */
    uv_timer_t deadline;           /* absolute: head, body, or keep-alive */
    bool over_limit;               /* answer 503 */
    bool served;                   /* has had a request */
    bool leaving;                  /* the client left with no request under way */
    bool killed;                   /* shut down by us */
    bool unread;                   /* refused with (part of) the body unread */
    char peer[64];
};

enum exchange_state {
    EXCHANGE_READING,    /* headers, guard, body */
    EXCHANGE_HANDLING,   /* on_request called, not answered */
    EXCHANGE_REPLYING,   /* a whole answer is with libmicrohttpd */
    EXCHANGE_STREAMING,
    EXCHANGE_ENDING,     /* http_stream_end called, bytes may be pending */
    EXCHANGE_CLOSED,     /* on_close called, or there is none to call */
};

struct http_exchange {
    struct http_conn *conn;         /* borrowed */
    enum exchange_state state;
    bool headers_seen;              /* libmicrohttpd's first call came */
    bool active;                    /* between on_request and on_close */
    bool reported;                  /* on_refused was called, or on_headers answered */
    bool suspended;                 /* in libmicrohttpd, waits for our resume */
    bool close_after;
    bool http_1_0;
    bool uri_missing;
    int status;
    struct MHD_Response *response;  /* owned until queued */
    struct buf headers;             /* of the reply: name NUL value NUL ... */
    struct buf body;
    struct buf pending;             /* of the stream, not yet taken */
    void *user;
    uint64_t arrival_ns;
    char method[24];
    char *path, *query;             /* inside `uri`; NULL before the guard passed */
    size_t uri_len;
    char uri[];                     /* the raw target, NUL, the path, NUL */
};

/* http.c */
void http_server_pump(struct http_server *s);
/* A handle of the server's was closed. */
void http_server_unref(struct http_server *s);

/* http_conn.c: starts libmicrohttpd with its callbacks; NULL when it refuses,
 * fd is then still the caller's. */
struct MHD_Daemon *http_conn_start_daemon(struct http_server *s, int fd);
/* Shuts the socket down; libmicrohttpd notices on the next run. */
void http_conn_kill(struct http_conn *c);
void http_conn_resume(struct http_conn *c);

/* http_exchange.c */
struct http_exchange *http_exchange_new(struct http_conn *c, const char *uri);
void http_exchange_free(struct http_exchange *x);
/* Fills method, path and query of a request that passed the guard. */
void http_exchange_parse(struct http_exchange *x, const char *method);
void http_exchange_set_state(struct http_exchange *x, enum exchange_state state);
/* Tells the handler the end, once; the exchange stays allocated until
 * libmicrohttpd is done with it. */
void http_exchange_finish(struct http_exchange *x, enum http_end how);
/* Answers with the JSON error object; the connection closes after it. */
void http_exchange_refuse(struct http_exchange *x, int status, const char *reason);

/* http_listen.c: binds as the configuration says; ret_port is 0 for a Unix
 * socket, ret_unlink the path to remove at the end or NULL. */
int http_listen(const struct http_config *cfg, int *ret_fd, int *ret_port, char **ret_unlink,
                struct error *err);
/* "address:port", "[v6]:port" or "unix". */
void http_peer_name(const void *sockaddr, char *text, size_t text_bytes);

/* http_linger.c */
struct http_linger;
/* Reads and drops what the client still sends on a duplicate of fd, for a
 * short while, so that closing does not reset the connection before the
 * client has read the refusal. */
void http_linger_start(struct http_server *s, int fd);
void http_linger_stop_all(struct http_server *s);

#endif
