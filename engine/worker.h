/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The worker thread's side of the engine: take submissions, schedule, build the
 * batch, forward, sample, publish. Inside engine/ only.
 */
#ifndef ENGINE_WORKER_H
#define ENGINE_WORKER_H

#include "engine/batch.h"
#include "engine/engine.h"
#include "engine/kv_cache.h"
#include "engine/model.h"
#include "engine/scheduler.h"
#include "util/ring.h"
#include "util/rng.h"

#include <pthread.h>

/* Most rows of logits held at once: bounds the scratch of a wide vocabulary. */
#define MAX_LOGIT_ROWS 64

enum command_type { COMMAND_SUBMIT, COMMAND_CANCEL };

struct engine_command {
    struct request *request;
    enum command_type type;
};

/* Rows handed to ops->sample and ops->logprobs, and what comes back. */
struct sample_scratch {
    struct sample_row rows[MAX_LOGIT_ROWS];
    struct sample_result results[MAX_LOGIT_ROWS];
    int32_t row_ids[MAX_LOGIT_ROWS];
    int32_t targets[MAX_LOGIT_ROWS];
    int32_t *banned_ids;      /* owned [MAX_LOGIT_ROWS, max_banned] */
    int32_t max_banned;
    int32_t *top_ids;         /* owned [MAX_LOGIT_ROWS, top_stride] */
    float *top_logprobs;      /* owned [MAX_LOGIT_ROWS, top_stride] */
    int32_t top_stride;
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

/* Draws or scores the logit rows of the step just run. 0, or an error of the
 * device. Publishes nothing: see worker.c. */
int worker_sample(struct engine *e);

#endif
