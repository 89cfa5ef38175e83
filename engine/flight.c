/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/flight.h"

#include <string.h>

int
flight_init(struct flight *f, int32_t max_seqs, int32_t top_stride)
{
    size_t n = (size_t)max_seqs, wide = n * (size_t)top_stride;
    *f = (struct flight){
        .requests = malloc(n * sizeof *f->requests),
        .output = {
            .results = malloc(n * sizeof *f->output.results),
            .top_ids = malloc(wide * sizeof *f->output.top_ids),
            .top_logprobs = malloc(wide * sizeof *f->output.top_logprobs),
            .top_stride = top_stride,
        },
    };
    if (f->requests && f->output.results && f->output.top_ids && f->output.top_logprobs)
        return 0;
    flight_release(f);
    return ERR_NOMEM;
}

void
flight_release(struct flight *f)
{
    free(f->requests);
    free(f->output.results);
    free(f->output.top_ids);
    free(f->output.top_logprobs);
    *f = (struct flight){0};
}

void
flight_start(struct flight *f, int32_t num_tokens, uint64_t now)
{
    f->num_requests = 0;
    f->num_tokens = num_tokens;
    f->started_ns = now;
}

void
flight_add(struct flight *f, struct request *r)
{
    int32_t i = f->num_requests++;
    f->requests[i] = r;
    r->output_ids[request_num_outputs(r)] = -1 - i;
    r->num_pending_tokens++;
}

struct sample_output
flight_output(const struct flight *f, int32_t i)
{
    size_t at = (size_t)i * (size_t)f->output.top_stride;
    return (struct sample_output){
        .results = f->output.results + i,
        .top_ids = f->output.top_ids + at,
        .top_logprobs = f->output.top_logprobs + at,
        .top_stride = f->output.top_stride,
    };
}

void
flight_drop(struct flight *f, const struct request *r)
{
    for (int32_t i = 0; i < f->num_requests; i++) {
        if (f->requests[i] == r)
            f->requests[i] = NULL;
    }
}

struct request *
flight_land(struct flight *f, int32_t i)
{
    struct request *r = f->requests[i];
    if (r == NULL)
        return NULL;
    r->num_pending_tokens--;
    r->output_ids[r->num_output_tokens] = f->output.results[i].token;
    if (r->sampling.num_logprobs >= 0) {
        struct sample_output from = flight_output(f, i);
        logprob_rows_store(&r->logprobs, r->num_output_tokens, &from);
    }
    return r;
}
