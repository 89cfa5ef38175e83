/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the client share: client.c (its life), client_request.c
 * and client_headers.c (one request), client_resolve.c, client_ask.c and
 * client_align.c (before a run), client_run.c, client_lane.c and client_probe.c
 * (the run).
 */
#ifndef LOADGEN_CLIENT_PRIVATE_H
#define LOADGEN_CLIENT_PRIVATE_H

#include "loadgen/client.h"
#include "loadgen/http.h"
#include "loadgen/payload.h"
#include "util/buf.h"

#include <pthread.h>
#include <stdatomic.h>

#define CLIENT_LANES_MAX 64

/* One thread's loop, and all that belongs to it. */
struct lane {
    struct client *client;
    size_t index;
    pthread_t thread; /* but of lane 0, which is the caller's */
    uv_loop_t loop;
    struct http http;
    uv_poll_t clock; /* on clock_fd: libuv's own timers count in ms */
    int clock_fd;
    uv_async_t stop;
    uv_idle_t more; /* while requests are due that this turn had no time for */
    double cpu_s; /* of the run, at its end */
    _Atomic uint64_t num_tokens; /* written by the lane alone */
};

/* Small requests beside a run, on lane 0. */
struct prober {
    uv_timer_t pause;
    struct reply reply;
    struct samples latencies_s;
    size_t num_failed;
    bool is_waiting;   /* for a reply */
    bool is_finishing; /* none comes after it */
};

struct client {
    const struct config *config; /* borrowed */
    struct lane lanes[CLIENT_LANES_MAX];
    size_t num_lanes;
    uv_signal_t interrupt, terminate; /* on lane 0, as the timer */
    uv_timer_t timer;
    struct prober prober;
    char *url;              /* owned, as all here */
    char *base_url;
    char *id_prefix;
    struct curl_slist *headers;   /* of every request */
    struct curl_slist *addresses; /* of the server's name; NULL: it is an address */
    struct payload payload;
    atomic_bool interrupted;

    /* Of client_run. */
    const struct client_run *run;
    uint64_t start_ns, stop_ns; /* stop: when sending ends */
    atomic_size_t next;         /* the first request that nobody has taken */
    atomic_size_t num_total;    /* how many will be sent */
    atomic_size_t num_in_flight, num_done;
    atomic_bool over;
    _Atomic uint64_t end_ns;
};

/* One completion in flight. */
struct request {
    struct http_transfer transfer;
    struct lane *lane;
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
int client_send(struct lane *lane, const struct prompt *prompt, size_t index,
                struct reply *reply, void (*on_done)(struct request *r), struct error *err);
/* Ends what is in flight on a lane and frees it. */
void client_cancel_requests(struct lane *lane);
/* From now on the first Ctrl-C ends the loops, and the second one the program. */
void client_watch_signals(struct client *c);
/* Where no loop runs, Ctrl-C ends the program at once. */
void client_unwatch_signals(struct client *c);

/*
 * One call that is no completion, on lane 0: blocks. `body` NULL: GET. Its
 * answer is appended to `ret`; *ret_status is 0 when there was none, and then
 * `err` says why.
 */
void client_ask(struct client *c, const char *path, const struct buf *body, struct buf *ret,
                int *ret_status, struct error *err);

/* The addresses of a URL's host for CURLOPT_RESOLVE, the caller's to free; NULL
 * if it is an address itself, or is not known. Blocks. */
struct curl_slist *client_resolve(const char *url);

/* Lists of header lines, the caller's to free: those of every request, and with
 * the x-request-id of `index` besides. NULL when memory is out. */
struct curl_slist *client_make_headers(const struct config *config);
struct curl_slist *client_headers_with_id(const struct client *c, size_t index);

#define CLIENT_TIME_MAX_S 1e9 /* 31 years */

static inline uint64_t
client_ns_of(double s)
{
    return (uint64_t)(MIN(s, CLIENT_TIME_MAX_S) * 1e9);
}

/* A lane's part of the run, on its thread. */
void *client_lane_main(void *lane);
/* Ends the run: each lane is sent one `stop`, by whoever comes first. */
void client_stop_lanes(struct client *c);
/* The first request that is not taken, nor due at this time. */
size_t client_first_after(const struct client *c, uint64_t now_ns);

/* All on lane 0. */
void prober_start(struct client *c);
/* Sends none any more; waits for the one under way, but not after Ctrl-C. */
void prober_finish(struct client *c);
/* After all has ended: moves what the probes gave to `ret`. */
void prober_collect(struct client *c, struct client_outcome *ret);

#endif
