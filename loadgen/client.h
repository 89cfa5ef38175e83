/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs a benchmark: finds the model, checks that the server is ready, sends
 * each prompt at its time, and collects the replies. One thread, one libuv
 * loop that it owns.
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

/* Asks GET /v1/models for the first model; *ret is the caller's. */
int client_find_model(struct client *client, char **ret, struct error *err);

/* Sends one prompt until it succeeds or the configured time is over. Returns
 * ERR_CANCELLED on Ctrl-C. */
int client_check_ready(struct client *client, const char *model, const struct prompt *prompt,
                       struct error *err);

struct client_run {
    const char *model;
    const struct dataset *dataset;
    const struct schedule *schedule; /* as many as prompts */
    struct reply *replies;           /* as many; initialised */
    /* Called as replies come and about ten times a second; may be NULL. */
    void (*on_progress)(void *arg, size_t num_done, double elapsed_s);
    void *arg;
};

/* Blocks until all replies have ended, or Ctrl-C has cancelled those that have
 * not. *ret_duration_s is from before the first request to the last end. */
int client_run(struct client *client, const struct client_run *run, double *ret_duration_s,
               struct error *err);

#endif
