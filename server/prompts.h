/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The prompt of a completions body, in its four forms (a string, an array of
 * strings, an array of token ids, an array of such arrays), as lists of token
 * ids that fit the context. Pure: any thread, so that long prompts can be
 * tokenised beside the loop.
 */
#ifndef SERVER_PROMPTS_H
#define SERVER_PROMPTS_H

#include "engine/tokenizer/tokenizer.h"
#include "server/params.h"

struct prompt {
    struct token_ids ids; /* owned */
    struct buf echo;      /* the prompt's text; only with echo */
};

struct prompts {
    struct prompt *items; /* owned */
    size_t len;
};

struct prompt_args {
    const struct tokenizer *tokenizer;
    const struct param_limits *limits;
    const struct completion_params *params; /* completed */
};

/* Reads params->prompt. On failure -1 and *err, nothing to release. */
int prompts_read(const struct prompt_args *args, struct prompts *ret, struct api_error *err);
void prompts_release(struct prompts *p);
int64_t prompts_num_tokens(const struct prompts *p);

#endif
