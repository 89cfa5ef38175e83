/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The logprobs object of a completions choice, and prompt_logprobs. Natural
 * logarithms, -inf as -9999.0, all with json_write_double, so that one number
 * is the same text wherever it stands.
 */
#ifndef SERVER_LOGPROBS_H
#define SERVER_LOGPROBS_H

#include "engine/request.h"
#include "engine/tokenizer/tokenizer.h"

struct logprobs_args {
    const struct tokenizer *tokenizer;
    const struct request *request;
    int32_t width;              /* N of "top N"; the token itself is always there */
    bool as_token_ids;          /* "token_id:5" instead of text */
    bool with_prompt;           /* the prompt's tokens first (echo) */
    int32_t from, to;           /* output tokens [from, to) */
    int64_t *text_offset;       /* characters before; moved on */
};

/* {"text_offset":[],"token_logprobs":[],"tokens":[],"top_logprobs":[]} */
void logprobs_write(const struct logprobs_args *args, struct buf *ret);
/* [null,{"<id>":{"logprob":x,"rank":r,"decoded_token":s},...},...] */
void prompt_logprobs_write(const struct logprobs_args *args, struct buf *ret);

#endif
