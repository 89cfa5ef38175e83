/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a device's memory is shared out before anything is loaded: weights,
 * activations, logits, the device's own workspace, a reserve, and the KV cache
 * in what is left. With it come the limits of a step that the options leave
 * open, since memory depends on them and they on memory. Pure functions: the
 * engine asks for the device it has, `llmd plan` for one that it has not.
 *
 * A GPU: llmd may use --gpu-memory-utilization of the total, as in vLLM; what
 * others hold already must lie outside of that. The CPU: the cache gets half of
 * what is free beside the rest; the other half stays for the page cache and the
 * system.
 */
#ifndef ENGINE_MEMORY_PLAN_H
#define ENGINE_MEMORY_PLAN_H

#include "engine/engine.h"
#include "engine/model.h"

#define MEMORY_PLAN_GPU_UTILIZATION 0.9 /* as in vLLM */
/* Of a GPU: its context, the modules' code, graphs, and what allocation loses. */
#define MEMORY_PLAN_GPU_RESERVE ((size_t)512 << 20)

struct memory_plan_args {
    const struct model_config *model; /* borrowed */
    enum dtype weight_dtype, kv_dtype;
    enum dtype act_dtype;    /* of activations, the device's choice */
    bool gpu;
    /* Of the device before the model is loaded; total 0: not known yet, and then
     * the step's limits are the greatest that are possible. */
    size_t memory_total, memory_free;
    size_t kv_block_bytes;   /* as the device lays a block out; 0: without padding */
    size_t workspace_bytes;  /* the device's own once it is open; 0: on a GPU an estimate */
    size_t reserve_bytes;
    int64_t max_logit_rows;  /* of one model_logits call; 0: max_num_seqs, which is the most */
    /* As the options say; 0: open. */
    double gpu_memory_utilization;
    int64_t max_model_len, max_num_seqs, max_num_batched_tokens;
    int64_t num_gpu_blocks_override, kv_cache_memory_bytes;
};

struct memory_plan {
    bool gpu;
    bool kv_given;           /* by an option, and not by what is left */
    double gpu_memory_utilization;
    size_t memory_total, memory_free;
    size_t usable_bytes;     /* for all that follows */
    size_t weight_bytes;
    size_t activation_bytes; /* of max_num_batched_tokens */
    size_t logit_bytes;
    size_t workspace_bytes, reserve_bytes;
    size_t kv_block_bytes, kv_cache_bytes;
    int32_t num_blocks;      /* of KV_BLOCK_SIZE tokens */
    int32_t max_model_len, max_num_seqs, max_num_batched_tokens;
};

/* Sets the model, its types and what the options say; the device is left open: a
 * CPU whose memory is not known. */
void memory_plan_args_init(struct memory_plan_args *a, const struct engine_config *cfg,
                           const struct model_config *model);
/*
 * Makes the plan, also one that does not fit. ERR_RANGE: options that contradict
 * each other or the model.
 */
int memory_plan_make(const struct memory_plan_args *args, struct memory_plan *ret,
                     struct error *err);
/* With the numbers and what to change: ERR_NOMEM when the device has not that much
 * memory, ERR_RANGE when one request of max_model_len has no room in the cache. */
int memory_plan_check(const struct memory_plan *p, struct error *err);

/* All but the KV cache. */
size_t memory_plan_fixed_bytes(const struct memory_plan *p);
int64_t memory_plan_num_tokens(const struct memory_plan *p);
/* How many sequences of num_tokens the cache holds at once. */
int64_t memory_plan_num_seqs(const struct memory_plan *p, int64_t num_tokens);
/* The plan as a line for the log. */
void memory_plan_line(const struct memory_plan *p, char *ret, size_t size);

#endif
