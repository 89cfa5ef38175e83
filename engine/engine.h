/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The only door to the engine: open a model, submit requests, receive events.
 * One loop thread calls everything here except engine_open (any thread, before
 * the loop uses it). The worker thread is the engine's own.
 *
 * Loop to worker: a bounded ring of SUBMIT and CANCEL. Worker to loop: a
 * bounded ring of 32-byte events. The worker starts a step only when the event
 * ring has room for all that it can produce, so no event is ever lost.
 */
#ifndef ENGINE_ENGINE_H
#define ENGINE_ENGINE_H

#include "engine/request.h"
#include "util/base.h"
#include "util/error.h"

#include <stdatomic.h>

struct engine;

enum load_format { LOAD_AUTO, LOAD_DUMMY };
enum model_dtype { MODEL_DTYPE_AUTO, MODEL_DTYPE_BFLOAT16, MODEL_DTYPE_FLOAT16,
                   MODEL_DTYPE_FLOAT32 };

/* Progress of engine_open, read by other threads (the health route). */
struct engine_progress {
    _Atomic(const char *) phase;   /* "reading config", "loading weights", ...; never NULL */
    atomic_uint_fast64_t done_bytes, total_bytes;
};

struct engine_config {
    const char *model_dir;
    const char *device;              /* "auto", "cpu", "cuda" */
    enum load_format load_format;
    enum model_dtype dtype;
    int64_t max_model_len;           /* 0: from config.json */
    int64_t max_num_seqs;            /* 0: the device's default, see memory_plan.h */
    int64_t max_num_batched_tokens;  /* 0: the device's default */
    double gpu_memory_utilization;   /* (0, 1]: share of a GPU's memory to use; 0: 0.9 */
    int64_t num_gpu_blocks_override; /* 0: from memory */
    int64_t kv_cache_memory_bytes;   /* 0: what memory leaves */
    int threads;                     /* CPU compute threads, 0: all cores */
    const char *isa;                 /* CPU: "auto", "avx2", "generic" */
    bool enforce_eager;              /* GPU: record no steps as graphs */
    bool no_pdl;                     /* GPU: no programmatic dependent launch */
    bool deterministic;              /* GPU: results independent of what else runs */
    bool autotune;                   /* GPU: time matrix products at start */
    const char *cache_dir;           /* where timings are kept; NULL: nowhere */
    uint64_t seed;                   /* of requests that bring none, and of dummy weights */
    int64_t queue_size;              /* most requests inside the engine; more: ERR_BUSY */
    int64_t max_logprobs;            /* widest logprobs a request may ask, for scratch sizes */
    struct engine_progress *progress;/* borrowed, may be NULL */
    /* Called on the worker thread after events were put into the ring, and once
     * when the worker dies. Must be thread-safe and quick (uv_async_send). */
    void (*wake)(void *arg);
    void *wake_arg;
};

/* What the model and the plan are, fixed after engine_open. */
struct engine_info {
    char architecture[64];      /* "LlamaForCausalLM" */
    char device[96];
    char device_note[512];      /* why device "auto" took no GPU; "" otherwise */
    char dtype[16];             /* "bfloat16" */
    int64_t num_parameters;
    int32_t max_model_len;
    int32_t vocab_size;         /* embedding rows: logits width */
    int32_t max_num_seqs, max_num_batched_tokens;
    int32_t block_size, num_blocks;
    size_t weight_bytes, kv_cache_bytes, scratch_bytes;
    int32_t eos_token_ids[16];  /* union of config and generation_config */
    int32_t num_eos_token_ids;
    int32_t bos_token_id;       /* -1: none */
    /* generation_config.json's sampling defaults; NAN or -1 where absent */
    double default_temperature, default_top_p, default_min_p, default_repetition_penalty;
    int64_t default_top_k, default_max_new_tokens;
    char memory_plan[256];      /* a line for the log */
    int64_t num_unused_tensors; /* in the files, not in the model: worth a warning */
    char unused_tensor[128];    /* the first one's name */
};

enum engine_event_type {
    EVENT_TOKEN,      /* output_ids[output_index] = token */
    EVENT_FINISHED,   /* the request is the loop's again; no token in this event */
    EVENT_CANCEL_TAKEN, /* never leaves engine_poll: see there */
};

struct engine_event {
    struct request *request;
    int32_t token;
    int32_t output_index;
    float logprob;
    uint8_t type;            /* enum engine_event_type */
    uint8_t finish_reason;   /* enum finish_reason; with EVENT_TOKEN: this is the last one,
                                and EVENT_FINISHED follows */
    uint16_t cancel_taken;   /* with EVENT_FINISHED: the CANCEL has been read */
    uint64_t time_ns;        /* mono_ns when the step that made it ended */
};
_Static_assert(sizeof(struct engine_event) == 32, "events are 32 bytes");

/* Counters of the worker, for /metrics; all monotonic unless said. */
struct engine_stats {
    atomic_uint_fast64_t num_running, num_waiting;    /* gauges */
    atomic_uint_fast64_t blocks_used;                 /* gauge */
    atomic_uint_fast64_t num_preemptions;
    atomic_uint_fast64_t num_steps;
    atomic_uint_fast64_t prompt_tokens, generation_tokens;
    atomic_uint_fast64_t step_ns_total;
    atomic_uint_fast64_t heartbeat_ns;                /* mono_ns of the last loop turn */
#define ENGINE_STEP_BUCKETS 24
    atomic_uint_fast64_t step_us_log2[ENGINE_STEP_BUCKETS];     /* [i]: 2^(i-1) < us <= 2^i */
    atomic_uint_fast64_t step_tokens_log2[ENGINE_STEP_BUCKETS]; /* tokens per step, the same way */
    atomic_uint_fast64_t step_tokens_total;
};

/* Loads the model and starts the worker. Blocks: seconds for a large model. Device
 * "auto" is the CPU also when the GPU's memory is too small. */
int engine_open(const struct engine_config *cfg, struct engine **ret, struct error *err);
/* Aborts what is left (each request still gets its FINISHED event, to be read
 * with engine_poll before), stops the worker, frees everything. */
void engine_close(struct engine *e);
const struct engine_info *engine_info(const struct engine *e);
const struct engine_stats *engine_stats(const struct engine *e);

/*
 * Gives `r` to the worker. ERR_BUSY: the queue is full, `r` stays the
 * caller's. ERR_DEVICE: the engine is dead.
 */
int engine_submit(struct engine *e, struct request *r);
/* Room for how many more requests engine_submit would take now. */
int64_t engine_room(const struct engine *e);
/* Asks the worker to end `r` within one step; its FINISHED event still comes.
 * Never blocks, cannot fail. Calling it twice is harmless. */
void engine_cancel(struct engine *e, struct request *r);
/* Moves up to `max` events out, in order; fewer only when there are no more. */
size_t engine_poll(struct engine *e, struct engine_event *events, size_t max);
/* True once the device or the worker failed; `ret` says why. All requests
 * have got or will get FINISHED with FINISH_ERROR. */
bool engine_failed(const struct engine *e, struct error *ret);

#endif
