/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One sequence to generate: a prompt, how to sample, and the room for what
 * comes out. A client's request with n = 3 and two prompts is six of these.
 *
 * Ownership: made and freed by the loop thread. engine_submit() gives it to the
 * worker; its FINISHED event gives it back. In between the loop reads only
 * what the events of the ring have published: output_ids[i] and the logprobs of
 * output i once the event with output_index i has been received, and the
 * prompt's logprobs once any event has.
 *
 * States (worker only; changed in request_set_state alone):
 *
 *            submit              schedule               stop, length, abort, error
 *   NEW ----------> WAITING ----------------> RUNNING ---------------> FINISHED
 *                      |        <----------      |
 *                      |          preempt        |
 *                      +------- abort, error ----+----------------------^
 *
 * PREEMPTED is WAITING again with num_computed_tokens = 0: its blocks are gone,
 * prompt and output so far are computed anew (recompute), then it goes on.
 */
#ifndef ENGINE_REQUEST_H
#define ENGINE_REQUEST_H

#include "util/base.h"
#include "util/error.h"

struct sample_output; /* kernels/ops.h */

/* Most stop_token_ids of one request. */
#define MAX_STOP_TOKEN_IDS 128

enum request_state {
    REQUEST_NEW,
    REQUEST_WAITING,
    REQUEST_RUNNING,
    REQUEST_PREEMPTED,
    REQUEST_FINISHED,
};

enum finish_reason {
    FINISH_NONE,
    FINISH_STOP,    /* EOS or a stop token id; a stop string is the loop's */
    FINISH_LENGTH,  /* max_tokens, or the context is full */
    FINISH_ABORT,   /* engine_cancel, or shutdown */
    FINISH_ERROR,   /* the device failed */
};

/* vLLM's SamplingParams, as far as the worker acts on them. Validated before
 * submission: the worker trusts every field. */
struct sampling_params {
    float temperature;          /* 0: greedy */
    float top_p, min_p;
    int32_t top_k;              /* 0: off */
    float repetition_penalty, presence_penalty, frequency_penalty;
    bool has_seed;
    uint64_t seed;              /* without has_seed: drawn by the engine at submission */
    int32_t max_tokens;         /* >= 1; prompt + max_tokens <= max_model_len + 1 */
    int32_t min_tokens;
    bool ignore_eos;
    int32_t num_logprobs;       /* -1: none; else top n, 0..max_logprobs */
    int32_t num_prompt_logprobs;/* -1: none; else top n for each prompt token */
    int32_t *stop_token_ids;    /* owned; sorted, no EOS of the model in it */
    int32_t num_stop_token_ids;
    int32_t *bias_ids;          /* owned, logit_bias */
    float *bias_values;         /* owned */
    int32_t num_bias;
    int32_t *allowed_ids;       /* owned, allowed_token_ids */
    int32_t num_allowed;
};

/* Log-probabilities of a run of tokens: row i has the token's own and the
 * `width` most likely. */
struct logprob_rows {
    int32_t width;              /* N of "top N" */
    float *logprob;             /* owned [rows] */
    int32_t *rank;              /* owned [rows], 1 = most likely */
    int32_t *top_ids;           /* owned [rows, width] */
    float *top_logprobs;        /* owned [rows, width] */
};

struct request {
    /* Set by the loop before submission. */
    int32_t *prompt_ids;        /* owned */
    int32_t num_prompt_tokens;  /* >= 1 */
    struct sampling_params sampling;
    int32_t *output_ids;        /* owned [max_tokens], filled by the worker */
    struct logprob_rows logprobs;        /* [max_tokens] when num_logprobs >= 0 */
    struct logprob_rows prompt_logprobs; /* [num_prompt_tokens], row 0 unused */
    void *user;                 /* the loop's own, never read by the worker */
    bool cancel_sent;           /* engine.c's, loop side: a CANCEL is or was on its way */

    /* Written by the worker, read by the loop after the FINISHED event. */
    enum finish_reason finish_reason;
    int32_t stop_token_id;      /* what ended it: a stop_token_ids entry, or one of the
                                   model's further EOS ids; -1 for its first EOS */
    int32_t num_output_tokens;
    int32_t num_preemptions;
    uint64_t submitted_ns;      /* mono_ns at engine_submit */
    uint64_t scheduled_ns;      /* first time in a step; 0 = never */
    uint64_t first_token_ns;
    uint64_t finished_ns;

    /* The worker's own. */
    enum request_state state;
    struct list link;           /* in the scheduler's waiting or running list */
    int32_t num_pending_tokens; /* drawn in steps on their way: output_ids beyond
                                   num_output_tokens holds -1 - i for them (flight.h) */
    int32_t num_computed_tokens;
    int32_t num_scheduled_tokens; /* in the step being run */
    int32_t num_prompt_logprob_rows; /* rows of prompt_logprobs already written */
    int32_t *block_table;       /* owned by the kv cache's pool row */
    int32_t num_blocks;
    int32_t slot;               /* row of the kv cache's block table pool, or -1 */
    uint64_t arrival;           /* submission number: FCFS order */
};

/*
 * Makes a request. `prompt_ids` is copied; arrays inside `sampling` are taken
 * over on success (the caller's copy must not be freed then). ERR_NOMEM.
 */
int request_new(const int32_t *prompt_ids, int32_t num_prompt_tokens,
                const struct sampling_params *sampling, struct request **ret);
void request_free(struct request *r);
/* Copies row 0 of `from` into row `row`. */
void logprob_rows_store(struct logprob_rows *l, int32_t row, const struct sample_output *from);
/* Asserts that the transition is drawn above. Worker only. */
void request_set_state(struct request *r, enum request_state state);
/* Tokens drawn so far, known or still on their way. */
static inline int32_t
request_num_outputs(const struct request *r)
{
    return r->num_output_tokens + r->num_pending_tokens;
}
/* Prompt and output so far. */
static inline int32_t
request_num_tokens(const struct request *r)
{
    return r->num_prompt_tokens + request_num_outputs(r);
}
/* A token, or -1 - i where it is on its way. */
static inline int32_t
request_token(const struct request *r, int32_t i)
{
    return i < r->num_prompt_tokens ? r->prompt_ids[i] : r->output_ids[i - r->num_prompt_tokens];
}
/* Asserts the invariants between the fields. */
void request_check(const struct request *r);

#endif
