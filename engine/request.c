/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/request.h"

#include "kernels/ops.h"

#include <string.h>

static bool
logprob_rows_alloc(struct logprob_rows *l, int32_t rows, int32_t width)
{
    size_t n = (size_t)rows;
    size_t wide = n * (size_t)MAX(width, 1);
    l->width = width;
    l->logprob = malloc(n * sizeof *l->logprob);
    l->rank = malloc(n * sizeof *l->rank);
    l->top_ids = malloc(wide * sizeof *l->top_ids);
    l->top_logprobs = malloc(wide * sizeof *l->top_logprobs);
    return l->logprob && l->rank && l->top_ids && l->top_logprobs;
}

static void
logprob_rows_release(struct logprob_rows *l)
{
    free(l->logprob);
    free(l->rank);
    free(l->top_ids);
    free(l->top_logprobs);
}

void
logprob_rows_store(struct logprob_rows *l, int32_t row, const struct sample_output *from)
{
    size_t at = (size_t)row * (size_t)l->width, width = (size_t)l->width;
    l->logprob[row] = from->results[0].logprob;
    l->rank[row] = from->results[0].rank;
    memcpy(l->top_ids + at, from->top_ids, width * sizeof *l->top_ids);
    memcpy(l->top_logprobs + at, from->top_logprobs, width * sizeof *l->top_logprobs);
}

static void
sampling_params_release(struct sampling_params *p)
{
    free(p->stop_token_ids);
    free(p->bias_ids);
    free(p->bias_values);
    free(p->allowed_ids);
}

int
request_new(const int32_t *prompt_ids, int32_t num_prompt_tokens,
            const struct sampling_params *sampling, struct request **ret)
{
    ASSERT(num_prompt_tokens >= 1 && sampling->max_tokens >= 1);
    struct request *r = calloc(1, sizeof *r);
    if (r == NULL)
        return ERR_NOMEM;
    r->num_prompt_tokens = num_prompt_tokens;
    r->stop_token_id = -1;
    r->slot = -1;
    list_init(&r->link);
    r->prompt_ids = malloc((size_t)num_prompt_tokens * sizeof *r->prompt_ids);
    r->output_ids = malloc((size_t)sampling->max_tokens * sizeof *r->output_ids);
    bool ok = r->prompt_ids != NULL && r->output_ids != NULL;
    if (ok && sampling->num_logprobs >= 0)
        ok = logprob_rows_alloc(&r->logprobs, sampling->max_tokens, sampling->num_logprobs);
    if (ok && sampling->num_prompt_logprobs >= 0)
        ok = logprob_rows_alloc(&r->prompt_logprobs, num_prompt_tokens,
                                sampling->num_prompt_logprobs);
    if (!ok) {
        request_free(r); /* the sampling arrays are still the caller's */
        return ERR_NOMEM;
    }
    memcpy(r->prompt_ids, prompt_ids, (size_t)num_prompt_tokens * sizeof *r->prompt_ids);
    r->sampling = *sampling;
    *ret = r;
    return 0;
}

void
request_free(struct request *r)
{
    if (r == NULL)
        return;
    ASSERT(r->state == REQUEST_NEW || r->state == REQUEST_FINISHED);
    sampling_params_release(&r->sampling);
    logprob_rows_release(&r->logprobs);
    logprob_rows_release(&r->prompt_logprobs);
    free(r->prompt_ids);
    free(r->output_ids);
    free(r);
}

void
request_set_state(struct request *r, enum request_state state)
{
    static const unsigned char allowed[] = {
        [REQUEST_NEW] = 1 << REQUEST_WAITING | 1 << REQUEST_FINISHED,
        [REQUEST_WAITING] = 1 << REQUEST_RUNNING | 1 << REQUEST_FINISHED,
        [REQUEST_RUNNING] = 1 << REQUEST_PREEMPTED | 1 << REQUEST_FINISHED,
        [REQUEST_PREEMPTED] = 1 << REQUEST_RUNNING | 1 << REQUEST_FINISHED,
        [REQUEST_FINISHED] = 0,
    };
    ASSERT(allowed[r->state] >> state & 1);
    r->state = state;
}

void
request_check(const struct request *r)
{
    ASSERT(r->num_prompt_tokens >= 1);
    ASSERT(r->num_output_tokens >= 0 && r->num_pending_tokens >= 0);
    ASSERT(request_num_outputs(r) <= r->sampling.max_tokens);
    ASSERT(r->num_computed_tokens >= 0);
    ASSERT(r->num_computed_tokens < request_num_tokens(r) || r->state == REQUEST_FINISHED);
    switch (r->state) {
    case REQUEST_NEW:
    case REQUEST_WAITING:
    case REQUEST_PREEMPTED:
    case REQUEST_FINISHED:
        ASSERT(r->slot == -1 && r->num_blocks == 0);
        break;
    case REQUEST_RUNNING:
        ASSERT(r->slot >= 0);
        ASSERT((int64_t)r->num_computed_tokens <= (int64_t)r->num_blocks * 16);
        break;
    }
}
