/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the step's logit rows to tokens and log-probabilities: groups rows so
 * that the logits of a wide vocabulary fit the scratch, and calls the device.
 * What prompt rows score is stored at once, what is drawn lands later
 * (flight.h). Worker thread.
 */
#include "engine/worker.h"

#include <string.h>

int
sample_scratch_init(struct sample_scratch *s, int32_t max_rows, int32_t max_banned,
                    int32_t top_stride)
{
    size_t n = (size_t)max_rows;
    s->max_rows = max_rows;
    s->max_banned = max_banned;
    s->rows = malloc(n * sizeof *s->rows);
    s->row_ids = malloc(n * sizeof *s->row_ids);
    s->targets = malloc(n * sizeof *s->targets);
    s->banned_ids = malloc(n * (size_t)max_banned * sizeof *s->banned_ids);
    bool ok = s->rows && s->row_ids && s->targets && s->banned_ids;
    return ok ? flight_init(&s->scores, max_rows, top_stride) : ERR_NOMEM;
}

void
sample_scratch_release(struct sample_scratch *s)
{
    free(s->rows);
    free(s->row_ids);
    free(s->targets);
    free(s->banned_ids);
    flight_release(&s->scores);
}

/* EOS ids and stop ids cannot be drawn before min_tokens. */
static void
ban_stop_tokens(struct engine *e, struct sample_row *row, const struct request *r, int32_t *banned)
{
    const struct sampling_params *p = &r->sampling;
    if (request_num_outputs(r) >= p->min_tokens)
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
        .position = (uint64_t)request_num_outputs(r),
        .prompt_ids = r->prompt_ids,
        .output_ids = r->output_ids,
        .num_prompt = r->num_prompt_tokens,
        .num_output = request_num_outputs(r),
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

static int
sample_group(struct engine *e, struct flight *f, const struct logit_row *rows, int32_t n)
{
    struct sample_scratch *s = &e->scratch;
    for (int32_t i = 0; i < n; i++) {
        s->row_ids[i] = rows[i].token_row;
        fill_sample_row(e, i, rows[i].request);
    }
    struct buffer *logits = model_logits(e->model, s->row_ids, n);
    struct sample_output output = flight_output(f, f->num_requests);
    int rc = e->ops->sample(e->dev, logits, s->rows, n, e->info.vocab_size, &output);
    if (rc < 0)
        return rc;
    for (int32_t i = 0; i < n; i++)
        flight_add(f, rows[i].request);
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
    int rc = e->ops->logprobs(e->dev, logits, s->targets, n, e->info.vocab_size, width,
                              &s->scores.output);
    if (rc < 0)
        return rc;
    for (int32_t i = 0; i < n; i++) {
        struct sample_output from = flight_output(&s->scores, i);
        logprob_rows_store(&rows[i].request->prompt_logprobs, rows[i].prompt_row, &from);
    }
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
worker_sample(struct engine *e, struct flight *f)
{
    struct batch_builder *b = &e->builder;
    int32_t most = e->scratch.max_rows;
    int32_t num_score = partition_rows(b->logit_rows, b->num_logit_rows, b->sample_rows);
    int rc = 0;
    for (int32_t i = 0; i < num_score && rc == 0; i += most)
        rc = score_group(e, b->logit_rows + i, MIN(num_score - i, most));
    for (int32_t i = num_score; i < b->num_logit_rows && rc == 0; i += most)
        rc = sample_group(e, f, b->logit_rows + i, MIN(b->num_logit_rows - i, most));
    return rc;
}
