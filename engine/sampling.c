/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the step's logit rows to tokens and log-probabilities: groups rows so
 * that the logits of a wide vocabulary fit the scratch, calls the device, and
 * stores the results in the requests. Worker thread.
 */
#include "engine/worker.h"

#include <string.h>

/* EOS ids and stop ids cannot be drawn before min_tokens. */
static void
ban_stop_tokens(struct engine *e, struct sample_row *row, const struct request *r, int32_t *banned)
{
    const struct sampling_params *p = &r->sampling;
    if (r->num_output_tokens >= p->min_tokens)
        return;
    int32_t n = 0;
    for (int32_t i = 0; i < e->info.num_eos_token_ids; i++)
        banned[n++] = e->info.eos_token_ids[i];
    for (int32_t i = 0; i < p->num_stop_token_ids && n < e->scratch.max_banned; i++)
        banned[n++] = p->stop_token_ids[i];
    row->banned_ids = banned;
    row->num_banned = n;
}

static void
fill_sample_row(struct engine *e, int32_t i, const struct request *r)
{
    const struct sampling_params *p = &r->sampling;
    struct sample_row *row = &e->scratch.rows[i];
    *row = (struct sample_row){
        .temperature = p->temperature,
        .top_p = p->top_p,
        .min_p = p->min_p,
        .top_k = p->top_k,
        .repetition_penalty = p->repetition_penalty,
        .presence_penalty = p->presence_penalty,
        .frequency_penalty = p->frequency_penalty,
        .seed = p->seed,
        .position = (uint64_t)r->num_output_tokens,
        .prompt_ids = r->prompt_ids,
        .output_ids = r->output_ids,
        .num_prompt = r->num_prompt_tokens,
        .num_output = r->num_output_tokens,
        .bias_ids = p->bias_ids,
        .bias_values = p->bias_values,
        .num_bias = p->num_bias,
        .allowed_ids = p->allowed_ids,
        .num_allowed = p->num_allowed,
        .num_logprobs = p->num_logprobs,
    };
    ban_stop_tokens(e, row, r,
                    e->scratch.banned_ids + (size_t)i * (size_t)e->scratch.max_banned);
}

static void
store_logprobs(struct logprob_rows *out, int32_t out_row, const struct sample_scratch *s,
               int32_t row)
{
    out->logprob[out_row] = s->results[row].logprob;
    out->rank[out_row] = s->results[row].rank;
    size_t from = (size_t)row * (size_t)s->top_stride;
    size_t to = (size_t)out_row * (size_t)out->width;
    memcpy(out->top_ids + to, s->top_ids + from, (size_t)out->width * sizeof *out->top_ids);
    memcpy(out->top_logprobs + to, s->top_logprobs + from,
           (size_t)out->width * sizeof *out->top_logprobs);
}

static int
sample_group(struct engine *e, const struct logit_row *rows, int32_t n)
{
    struct sample_scratch *s = &e->scratch;
    for (int32_t i = 0; i < n; i++) {
        s->row_ids[i] = rows[i].token_row;
        fill_sample_row(e, i, rows[i].request);
    }
    struct buffer *logits = model_logits(e->model, s->row_ids, n);
    int rc = e->ops->sample(e->dev, logits, s->rows, n, e->info.vocab_size, s->results, s->top_ids,
                            s->top_logprobs, s->top_stride);
    if (rc < 0)
        return rc;
    for (int32_t i = 0; i < n; i++) {
        struct request *r = rows[i].request;
        if (r->sampling.num_logprobs >= 0)
            store_logprobs(&r->logprobs, r->num_output_tokens, s, i);
        r->output_ids[r->num_output_tokens] = s->results[i].token;
    }
    return 0;
}

static int
score_group(struct engine *e, const struct logit_row *rows, int32_t n)
{
    struct sample_scratch *s = &e->scratch;
    int32_t width = 0;
    for (int32_t i = 0; i < n; i++) {
        const struct request *r = rows[i].request;
        s->row_ids[i] = rows[i].token_row;
        s->targets[i] = r->prompt_ids[rows[i].prompt_row];
        width = MAX(width, r->sampling.num_prompt_logprobs);
    }
    struct buffer *logits = model_logits(e->model, s->row_ids, n);
    int rc = e->ops->logprobs(e->dev, logits, s->targets, n, e->info.vocab_size, width, s->results,
                              s->top_ids, s->top_logprobs, s->top_stride);
    if (rc < 0)
        return rc;
    for (int32_t i = 0; i < n; i++)
        store_logprobs(&rows[i].request->prompt_logprobs, rows[i].prompt_row, s, i);
    return 0;
}

/* Moves the rows to sample behind those to score; order within is kept. */
static int32_t
partition_rows(struct logit_row *rows, int32_t n, struct logit_row *samples)
{
    int32_t num_score = 0, num_sample = 0;
    for (int32_t i = 0; i < n; i++) {
        if (rows[i].prompt_row >= 0)
            rows[num_score++] = rows[i];
        else
            samples[num_sample++] = rows[i];
    }
    memcpy(rows + num_score, samples, (size_t)num_sample * sizeof *samples);
    return num_score;
}

int
worker_sample(struct engine *e)
{
    struct batch_builder *b = &e->builder;
    int32_t num_score = partition_rows(b->logit_rows, b->num_logit_rows, b->sample_rows);
    int rc = 0;
    for (int32_t i = 0; i < num_score && rc == 0; i += MAX_LOGIT_ROWS)
        rc = score_group(e, b->logit_rows + i, MIN(num_score - i, MAX_LOGIT_ROWS));
    for (int32_t i = num_score; i < b->num_logit_rows && rc == 0; i += MAX_LOGIT_ROWS)
        rc = sample_group(e, b->logit_rows + i, MIN(b->num_logit_rows - i, MAX_LOGIT_ROWS));
    return rc;
}
