/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the client share: client.c (its life, one request),
 * client_probe.c (before a run), client_run.c (the run).
 */
#ifndef LOADGEN_CLIENT_PRIVATE_H
#define LOADGEN_CLIENT_PRIVATE_H

#include "loadgen/client.h"
#include "loadgen/http.h"
#include "util/buf.h"

struct client {
    const struct config *config; /* borrowed */
    uv_loop_t loop;
    struct http http;
    uv_poll_t clock; /* on clock_fd: libuv's own timers count in ms */
    int clock_fd;
    uv_signal_t interrupt, terminate;
    uv_timer_t progress;
    char *url, *models_url; /* owned */
    char *id_prefix;        /* owned */
    struct curl_slist *headers; /* owned; of every request */
    bool interrupted;

    /* Of client_run. */
    const struct client_run *run;
    uint64_t start_ns, end_ns;
    size_t num_due, num_sent, num_done; /* requests are due and sent in order */
};

/* One completion in flight. */
struct request {
    struct http_transfer transfer;
    struct client *client;
    struct reply *reply; /* borrowed */
    struct buf body;
    struct curl_slist *headers; /* owned, or NULL */
    void (*on_done)(struct request *r);
};

#define NO_ID SIZE_MAX

/*
 * Sends one prompt, with the x-request-id of `index` unless that is NO_ID.
 * `on_done` is called once `reply` is finished, and is not on an error.
 */
int client_send(struct client *c, const char *model, const struct prompt *prompt, size_t index,
                struct reply *reply, void (*on_done)(struct request *r), struct error *err);
/* Ends what is in flight and frees it. */
void client_cancel_requests(struct client *c);
/* From now on the first Ctrl-C ends the loop, and the second one the program. */
void client_watch_signals(struct client *c);

#endif
