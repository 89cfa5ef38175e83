/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The worker thread's side of the engine: take submissions, schedule, build the
 * batch, forward, sample, publish. Inside engine/ only.
 */
#ifndef ENGINE_WORKER_H
#define ENGINE_WORKER_H

#include "engine/batch.h"
#include "engine/engine.h"
#include "engine/flight.h"
#include "engine/kv_cache.h"
#include "engine/model.h"
#include "engine/scheduler.h"
#include "util/ring.h"
#include "util/rng.h"

#include <pthread.h>

enum command_type { COMMAND_SUBMIT, COMMAND_CANCEL };

struct engine_command {
    struct request *request;
    enum command_type type;
};

/* Rows handed to ops->sample and ops->logprobs, R at once: as many as the
 * device likes, which bounds the logits of a wide vocabulary. */
struct sample_scratch {
    int32_t max_rows;         /* R */
    struct sample_row *rows;  /* owned [R] */
    int32_t *row_ids;         /* owned [R] */
    int32_t *targets;         /* owned [R] */
    int32_t *banned_ids;      /* owned [R, max_banned] */
    int32_t max_banned;
    struct flight scores;     /* what ops->logprobs gives, [R] */
};

struct engine {
    struct engine_info info;
    struct engine_stats stats;
    uint64_t seed;
    int64_t queue_size;

    /* Device and model: opened by engine_open, used by the worker. */
    const struct ops *ops;
    struct device *dev;
    struct model *model;

    /* The worker's own. */
    struct kv_cache kv;
    struct scheduler scheduler;
    struct batch_builder builder;
    struct sample_scratch scratch;
    struct flight flights[MAX_FLIGHTS]; /* steps begun: a queue */
    int num_flights, first_flight, max_flights;
    uint64_t last_landing_ns;        /* end of the step before */
    uint64_t num_submitted;          /* arrival numbers */
    bool events_pending;             /* pushed since the last wake */

    /* Between the threads. */
    struct ring commands;            /* loop -> worker */
    struct ring events;              /* worker -> loop */
    struct waiter worker_waiter;
    atomic_bool stopping;
    atomic_bool failed;
    struct error failure;            /* written before `failed` is set */
    void (*wake)(void *arg);
    void *wake_arg;

    /* The loop's own. */
    int64_t num_inside;              /* submitted and not yet finished */
    pthread_t thread;
    bool thread_started;
};

/* The thread function; `arg` is the engine. */
void *worker_run(void *arg);

/* Sizes the scratch for max_rows logit rows at once. 0 or ERR_NOMEM. */
int sample_scratch_init(struct sample_scratch *s, int32_t max_rows, int32_t max_banned,
                        int32_t top_stride);
void sample_scratch_release(struct sample_scratch *s);
/* Scores the prompt rows of the step just launched, and launches the draws of
 * the others into `f`. 0, or an error of the device. */
int worker_sample(struct engine *e, struct flight *f);

#endif
