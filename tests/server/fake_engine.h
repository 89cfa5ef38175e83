/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An engine without a model, behind engine/engine.h, so that the server can be
 * tested alone: output token i of a request is prompt token (seed + i) mod its
 * length, so a client decides by its prompt what comes out. Everything else is
 * as in the real one: a worker thread, steps, EOS, stop tokens, min_tokens,
 * max_tokens, cancellation, events that come back in order.
 */
#ifndef TESTS_SERVER_FAKE_ENGINE_H
#define TESTS_SERVER_FAKE_ENGINE_H

#include "engine/engine.h"

struct fake_engine_config {
    int32_t max_model_len, vocab_size, max_num_seqs;
    int32_t eos_token_ids[16];
    int32_t num_eos_token_ids;
    int64_t queue_size;
    int64_t step_us;             /* how long a step takes */
    double default_temperature;  /* NAN: none */
    void (*wake)(void *arg);
    void *wake_arg;
};

int fake_engine_open(const struct fake_engine_config *cfg, struct engine **ret);
/* Stops and starts the steps; cancels are taken meanwhile. */
void fake_engine_pause(struct engine *e, bool paused);
void fake_engine_set_step_us(struct engine *e, int64_t step_us);
/* The device is lost. */
void fake_engine_fail(struct engine *e);
/* Makes the heartbeat this old. */
void fake_engine_age_heartbeat(struct engine *e, uint64_t age_ns);
/* Requests that have ended by a cancel; requests inside now. */
int64_t fake_engine_num_aborted(struct engine *e);
int64_t fake_engine_num_inside(struct engine *e);
/* The sampling parameters of the last submission (arrays not included). */
struct sampling_params fake_engine_last_sampling(struct engine *e);

/* The log-probability that it reports for a token, and its k-th neighbour's. */
float fake_engine_logprob(int32_t token, int32_t k);

#endif
