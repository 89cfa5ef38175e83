/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who computes how many tokens in the next step: continuous batching with a
 * token budget. First every running request that decodes (one token each), then
 * running prefills, then admissions from the waiting queue, first come first
 * served, prompts cut into chunks by what is left of the budget.
 *
 * Admission is optimistic: a request enters when the blocks of the tokens it
 * already has are free, its future is not reserved. When blocks run out the
 * youngest running request is preempted: its blocks go back, and it will be
 * computed anew later. The oldest is never preempted for a younger one, and a
 * request alone always fits (num_blocks covers max_model_len), so there is
 * progress in every step. Worker thread; knows no device.
 */
#ifndef ENGINE_SCHEDULER_H
#define ENGINE_SCHEDULER_H

#include "engine/kv_cache.h"
#include "engine/request.h"

struct scheduler_config {
    int32_t max_num_seqs;
    int32_t max_num_batched_tokens;
    int32_t max_prefill_chunk;   /* most prompt tokens of one request in a step; 0: no cap */
};

struct scheduler {
    struct scheduler_config config;
    struct kv_cache *kv;         /* borrowed */
    struct list waiting;         /* WAITING and PREEMPTED, by arrival */
    struct list running;         /* RUNNING, by arrival */
    int32_t num_waiting, num_running;
    uint64_t num_preemptions;    /* ever */
    struct request **scheduled;  /* owned [max_num_seqs], of the last schedule() */
    int32_t num_scheduled;
    int32_t num_tokens;          /* sum of num_scheduled_tokens */
};

/* 0 or ERR_NOMEM. */
int scheduler_init(struct scheduler *s, const struct scheduler_config *cfg, struct kv_cache *kv);
void scheduler_release(struct scheduler *s);
/* Takes a NEW request into the waiting queue. */
void scheduler_add(struct scheduler *s, struct request *r);
/* Takes `r` out wherever it is, gives its blocks back, makes it FINISHED. */
void scheduler_finish(struct scheduler *s, struct request *r);
/* Plans a step: fills `scheduled` with requests whose num_scheduled_tokens > 0
 * and whose blocks are there. Returns the number of tokens, 0 when idle. */
int32_t scheduler_schedule(struct scheduler *s);
/* Asserts the invariants of queues and cache. O(blocks): for tests and debug. */
void scheduler_check(const struct scheduler *s);

#endif
