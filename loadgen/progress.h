/* SPDX-License-Identifier: Apache-2.0 */
/* A progress bar on standard error, if that is a terminal. */
#ifndef LOADGEN_PROGRESS_H
#define LOADGEN_PROGRESS_H

#include "loadgen/client.h"

struct progress {
    /* Of about a second ago, for the live rates. */
    double then_s;
    size_t num_done_then;
    uint64_t num_tokens_then;
    double requests_per_s, tokens_per_s;
};

/* Draws over the last one. `p` starts zeroed. */
void progress_draw(struct progress *p, const struct client_progress *now);
/* Goes to the next line. */
void progress_end(void);

#endif
