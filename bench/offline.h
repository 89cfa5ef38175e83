/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An engine of one's own: prompts in, tokens out, on the caller's thread. Ctrl-C
 * and SIGTERM end a run and leave what was done; a second one ends the program.
 */
#ifndef BENCH_OFFLINE_H
#define BENCH_OFFLINE_H

#include "bench/config.h"
#include "engine/engine.h"
#include "engine/tokenizer/tokenizer.h"

struct offline;

struct offline_result {
    double elapsed_s;              /* from the first prompt given to the last token */
    uint64_t start_ns, end_ns;
    size_t num_finished;           /* prompts, all of whose outputs have ended */
    int64_t prompt_tokens, output_tokens; /* of those that have begun */
    bool interrupted;
};

/* Loads the model; seconds for a large one. */
int offline_open(const struct bench_config *c, struct offline **ret, struct error *err);
/* NULL is allowed. */
void offline_close(struct offline *o);
const struct engine_info *offline_info(const struct offline *o);
/* NULL: there is none, as dummy models may have it. */
const struct tokenizer *offline_tokenizer(const struct offline *o);

/*
 * Runs all prompts, each n times, with their output lengths. `bar`: shows
 * progress on standard error. An error names the prompt that does not fit.
 */
int offline_run(struct offline *o, const struct prompt *prompts, size_t num, int64_t n, bool bar,
                struct offline_result *ret, struct error *err);

#endif
