/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs a benchmark: finds the model, checks that the server is ready, sends
 * each prompt at its time, and collects the replies. K threads with a libuv
 * loop each, the caller's being the first of them; they share nothing but a few
 * counters, and no lock is taken while tokens come.
 */
#ifndef LOADGEN_CLIENT_H
#define LOADGEN_CLIENT_H

#include "loadgen/config.h"
#include "loadgen/dataset.h"
#include "loadgen/reply.h"
#include "loadgen/schedule.h"

struct client;

/* All arguments are borrowed until client_free. */
int client_new(const struct config *c, struct client **ret, struct error *err);
void client_free(struct client *client);

/* Asks GET /v1/models for the first model: the name that it is asked for by,
 * and its root, which may be a directory. Both are the caller's. */
int client_find_model(struct client *client, char **ret_id, char **ret_root,
                      struct error *err);
/* The model that requests name, and all else that is in their bodies. Before
 * anything below. */
int client_set_model(struct client *client, const char *model, struct error *err);

/* Sends one prompt until it succeeds or the configured time is over. Returns
 * ERR_CANCELLED on Ctrl-C. */
int client_check_ready(struct client *client, const struct prompt *prompt, struct error *err);

/*
 * Has the server's /tokenize count the tokens of the first prompt; where it
 * differs from the data set's count, cuts every prompt that is too long for the
 * server's tokenizer. What it found is printed to `ret_said`, nothing if all is
 * well. Never fails a run.
 */
void client_align(struct client *client, const char *model, struct dataset *d,
                  struct buf *ret_said);

/* What the progress bar shows. */
struct client_progress {
    size_t num_done, num_running, num_waiting, num_total; /* total 0: not known */
    uint64_t num_tokens; /* token events so far */
    double elapsed_s;
};

struct client_run {
    const struct prompt *prompts; /* used again and again, if there are fewer than requests */
    size_t num_prompts;
    size_t num_requests;
    const struct schedule *schedule; /* as many as requests; NULL: all at once */
    struct reply *replies;           /* as many; zeroed */
    bool anonymous;                  /* without x-request-id */
    double duration_s;               /* nothing is sent after it; NAN: no limit */
    double probe_request_rate;       /* per second; 0: no probes */
    /* Called about ten times a second; may be NULL. */
    void (*on_progress)(void *arg, const struct client_progress *p);
    void *arg;
};

struct client_outcome {
    size_t num_sent;       /* replies[0 .. num_sent) hold something */
    uint64_t start_ns;     /* before the first request */
    double duration_s;     /* to the last end */
    double cpu_s;          /* of all threads */
    double busiest_share;  /* of the run's time, of the thread that worked most */
    struct samples probe_latencies_s; /* the caller's to release */
    size_t num_probes_failed;
    bool interrupted;      /* by Ctrl-C */
};

/* Blocks until all replies have ended, or Ctrl-C has cancelled those that have
 * not. ERR_CANCELLED: Ctrl-C came before; ERR_NOMEM: its threads cannot be
 * started. */
int client_run(struct client *client, const struct client_run *run, struct client_outcome *ret,
               struct error *err);

#endif
