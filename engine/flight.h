/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A step on its way: begun on the device, its tokens not yet known here. A GPU
 * has two, so that it never waits for the host: while the newer one is launched
 * the older one still runs, and a token drawn in it is known by its place alone
 * (-1 - i, see struct batch). Worker thread.
 */
#ifndef ENGINE_FLIGHT_H
#define ENGINE_FLIGHT_H

#include "engine/request.h"
#include "kernels/ops.h"

#define MAX_FLIGHTS 2

struct flight {
    /* In the order of drawing; NULL: ended since, its token is for nobody. */
    struct request **requests;     /* owned [max_seqs] */
    int32_t num_requests;
    struct sample_output output;   /* owned arrays [max_seqs], [max_seqs, top_stride] */
    int32_t num_tokens;            /* of the whole step */
    uint64_t started_ns;
};

/* 0 or ERR_NOMEM. */
int flight_init(struct flight *f, int32_t max_seqs, int32_t top_stride);
void flight_release(struct flight *f);
/* Empties it for a new step. */
void flight_start(struct flight *f, int32_t num_tokens, uint64_t now);
/* The token that `r` draws in this step gets its place, and `r` a pending token. */
void flight_add(struct flight *f, struct request *r);
/* Where the results of the step's draws from the i-th on go. */
struct sample_output flight_output(const struct flight *f, int32_t i);
/* `r` has ended: what is drawn for it is dropped. */
void flight_drop(struct flight *f, const struct request *r);
/* After the step: the i-th drawn token and its log-probabilities become part of
 * its request. Returns the request, or NULL when there is none any more. */
struct request *flight_land(struct flight *f, int32_t i);

#endif
