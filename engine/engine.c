/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Life cycle of the engine, and the loop thread's side of its rings: configure,
 * plan the memory, load, start the worker; submit, cancel, poll; stop.
 */
#include "engine/engine.h"

#include "engine/memory_plan.h"
#include "engine/worker.h"
#include "kernels/backend.h"

#include <errno.h>
#include <math.h>
#include <string.h>
#include <sys/sysinfo.h>

#define DEFAULT_QUEUE_SIZE 4096

/* ---- opening ---------------------------------------------------------- */

static void
report_phase(const struct engine_config *cfg, const char *phase)
{
    if (cfg->progress != NULL)
        atomic_store_explicit(&cfg->progress->phase, phase, memory_order_release);
}

static bool
is_gpu(const struct engine *e)
{
    return strcmp(e->ops->name, "cpu") != 0;
}

static bool
wants_f32(const struct engine_config *cfg)
{
    return cfg->dtype == MODEL_DTYPE_FLOAT32;
}

/* As model_load_args has it: DTYPE_F32 keeps 16-bit types as they are stored. */
static enum dtype
weights_dtype(const struct engine_config *cfg, bool gpu)
{
    if (gpu)
        return DTYPE_BF16;
    switch (cfg->dtype) {
    case MODEL_DTYPE_BFLOAT16: return DTYPE_BF16;
    case MODEL_DTYPE_FLOAT16: return DTYPE_F16;
    default: return DTYPE_F32;
    }
}

static const char *
dtype_name(const struct engine_config *cfg, const struct model_config *mc, bool gpu)
{
    if (gpu)
        return "bfloat16";
    if (wants_f32(cfg))
        return "float32";
    bool as_stored = cfg->dtype == MODEL_DTYPE_AUTO && mc->dtype == DTYPE_F16;
    return as_stored || cfg->dtype == MODEL_DTYPE_FLOAT16 ? "float16" : "bfloat16";
}

static struct kv_config
kv_shape(const struct engine_config *cfg, const struct model_config *mc)
{
    return (struct kv_config){
        .num_layers = mc->num_layers,
        .num_kv_heads = mc->num_kv_heads,
        .head_dim = mc->head_dim,
        .dtype = wants_f32(cfg) ? DTYPE_F32 : DTYPE_BF16,
        .num_heads = mc->num_heads,
        .window = mc->sliding_window,
    };
}

/* Limits and memory, which the options, the model and the device decide together.
 * Before the device is open only the limits are good, and those as upper bounds. */
static int
plan_memory(struct engine *e, const struct engine_config *cfg, const struct model_config *mc,
            struct memory_plan *ret, struct error *err)
{
    struct kv_config shape = kv_shape(cfg, mc);
    struct device_info di = {0};
    struct memory_plan_args args;
    memory_plan_args_init(&args, cfg, mc);
    args.gpu = is_gpu(e);
    args.kv_block_bytes = e->ops->kv_block_bytes(&shape);
    args.reserve_bytes = args.gpu ? MEMORY_PLAN_GPU_RESERVE : 0;
    if (e->dev != NULL) {
        e->ops->device_info(e->dev, &di);
        args.act_dtype = di.act_dtype;
        args.max_logit_rows = di.max_logit_rows;
        args.memory_total = di.memory_total;
        args.memory_free = di.memory_free + di.workspace_bytes; /* taken, and planned */
        args.workspace_bytes = di.workspace_bytes;
    }
    int rc = memory_plan_make(&args, ret, err);
    if (rc == 0 && e->dev != NULL)
        rc = memory_plan_check(ret, err);
    if (rc < 0)
        return rc;
    e->info.max_model_len = ret->max_model_len;
    e->info.max_num_seqs = ret->max_num_seqs;
    e->info.max_num_batched_tokens = ret->max_num_batched_tokens;
    e->info.block_size = KV_BLOCK_SIZE;
    e->info.num_blocks = ret->num_blocks;
    e->info.kv_cache_bytes = ret->kv_cache_bytes;
    return 0;
}

static void
fill_model_info(struct engine_info *info, const struct engine_config *cfg,
                const struct model_config *mc, bool gpu)
{
    snprintf(info->architecture, sizeof info->architecture, "%s", mc->architecture);
    snprintf(info->dtype, sizeof info->dtype, "%s", dtype_name(cfg, mc, gpu));
    info->num_parameters = model_config_num_parameters(mc);
    info->vocab_size = (int32_t)mc->vocab_size;
    info->num_eos_token_ids = mc->num_eos_token_ids;
    memcpy(info->eos_token_ids, mc->eos_token_ids, sizeof mc->eos_token_ids);
    info->bos_token_id = mc->bos_token_id;
    info->default_temperature = mc->temperature;
    info->default_top_p = mc->top_p;
    info->default_min_p = mc->min_p;
    info->default_repetition_penalty = mc->repetition_penalty;
    info->default_top_k = mc->top_k;
    info->default_max_new_tokens = mc->max_new_tokens;
}

static int
find_backend(struct engine *e, const struct engine_config *cfg, struct error *err)
{
    struct error why = {0};
    int rc = backend_find(cfg->device == NULL ? "auto" : cfg->device, &e->ops, &why);
    if (rc < 0)
        return error_set(err, rc, "%s", why.text);
    snprintf(e->info.device_note, sizeof e->info.device_note, "%s", why.text);
    return 0;
}

/* A GPU computes in bfloat16; other 16-bit weights are rounded only unasked. */
static int
check_gpu_dtype(const struct engine_config *cfg, struct error *err)
{
    if (cfg->dtype == MODEL_DTYPE_AUTO || cfg->dtype == MODEL_DTYPE_BFLOAT16)
        return 0;
    return error_set(err, ERR_UNSUPPORTED,
                     "option '--dtype': a GPU computes in bfloat16, not in %s; use --dtype bfloat16, "
                     "or --device cpu",
                     cfg->dtype == MODEL_DTYPE_FLOAT32 ? "float32" : "float16");
}

static int
open_device(struct engine *e, const struct engine_config *cfg, struct error *err)
{
    struct device_options opt = {
        .threads = cfg->threads,
        .isa = cfg->isa,
        .max_tokens = e->info.max_num_batched_tokens,
        .max_seqs = e->info.max_num_seqs,
        .vocab_size = e->info.vocab_size,
        .max_model_len = e->info.max_model_len,
        .max_logprobs = (int)cfg->max_logprobs,
        .enforce_eager = cfg->enforce_eager,
        .no_pdl = cfg->no_pdl,
        .deterministic = cfg->deterministic,
        .cache_dir = cfg->cache_dir,
    };
    int rc = e->ops->device_open(&opt, &e->dev, err);
    if (rc < 0)
        return rc;
    struct device_info di;
    e->ops->device_info(e->dev, &di);
    snprintf(e->info.device, sizeof e->info.device, "%s", di.name);
    e->max_flights = di.max_steps_in_flight;
    e->scratch.max_rows = MIN(di.max_logit_rows, e->info.max_num_seqs);
    ASSERT(e->max_flights >= 1 && e->max_flights <= MAX_FLIGHTS);
    return di.is_gpu ? check_gpu_dtype(cfg, err) : 0;
}

static int
load_model(struct engine *e, const struct engine_config *cfg, const struct model_config *mc,
           struct error *err)
{
    struct model_load_args args = {
        .dir = cfg->model_dir,
        .config = mc,
        .load_format = cfg->load_format,
        .f32 = wants_f32(cfg),
        .dtype = weights_dtype(cfg, is_gpu(e)),
        .seed = cfg->seed,
        .ops = e->ops,
        .dev = e->dev,
        .max_tokens = e->info.max_num_batched_tokens,
        .max_logit_rows = e->scratch.max_rows,
        .max_model_len = e->info.max_model_len,
        .progress = cfg->progress,
    };
    int rc = model_load(&args, &e->model, err);
    if (rc < 0)
        return rc;
    e->info.weight_bytes = model_weight_bytes(e->model);
    e->info.scratch_bytes = model_scratch_bytes(e->model);
    const char *unused;
    e->info.num_unused_tensors = (int64_t)model_unused_tensors(e->model, &unused);
    snprintf(e->info.unused_tensor, sizeof e->info.unused_tensor, "%s", unused);
    return 0;
}

static int
init_kv(struct engine *e, const struct engine_config *cfg, const struct model_config *mc,
        struct error *err)
{
    struct kv_config shape = kv_shape(cfg, mc);
    shape.num_blocks = e->info.num_blocks;
    int rc = e->ops->kv_init(e->dev, &shape, err);
    if (rc < 0)
        return rc;
    rc = kv_cache_init(&e->kv, e->info.num_blocks, e->info.max_num_seqs, e->info.max_model_len);
    return rc < 0 ? error_set(err, rc, "out of memory for the block tables") : 0;
}

static int
init_scratch(struct engine *e, const struct engine_config *cfg, struct error *err)
{
    int32_t top_stride = (int32_t)MAX(cfg->max_logprobs, 1);
    int32_t max_banned = ARRAY_SIZE(e->info.eos_token_ids) + MAX_STOP_TOKEN_IDS;
    struct scheduler_config sc = {
        .max_num_seqs = e->info.max_num_seqs,
        .max_num_batched_tokens = e->info.max_num_batched_tokens,
    };
    bool ok = sample_scratch_init(&e->scratch, e->scratch.max_rows, max_banned, top_stride) == 0
              && scheduler_init(&e->scheduler, &sc, &e->kv) == 0
              && batch_builder_init(&e->builder, sc.max_num_batched_tokens, sc.max_num_seqs,
                                    e->kv.max_blocks)
                     == 0;
    for (int i = 0; ok && i < e->max_flights; i++)
        ok = flight_init(&e->flights[i], sc.max_num_seqs, top_stride) == 0;
    return ok ? 0 : error_set(err, ERR_NOMEM, "out of memory for the step's arrays");
}

static int
init_rings(struct engine *e, const struct engine_config *cfg, struct error *err)
{
    e->queue_size = cfg->queue_size > 0 ? cfg->queue_size : DEFAULT_QUEUE_SIZE;
    size_t queue = (size_t)e->queue_size;
    /* Each request inside may have one SUBMIT and one CANCEL on the way. */
    int rc = ring_init(&e->commands, 2 * queue, sizeof(struct engine_command));
    /* The events of the steps on their way and of one more, and the end and a
     * crossing CANCEL of every request. */
    size_t steps = (size_t)e->max_flights + 1;
    if (rc == 0)
        rc = ring_init(&e->events, 2 * steps * (size_t)e->info.max_num_seqs + 2 * queue + 1,
                       sizeof(struct engine_event));
    if (rc == 0)
        rc = waiter_init(&e->worker_waiter);
    return rc < 0 ? error_set(err, rc, "cannot make the rings: %s", error_name(rc)) : 0;
}

static int
start_worker(struct engine *e, struct error *err)
{
    atomic_store(&e->stats.heartbeat_ns, mono_ns());
    int rc = pthread_create(&e->thread, NULL, worker_run, e);
    if (rc != 0)
        return error_set(err, ERR_IO, "cannot start the worker thread: %s", strerror(rc));
    e->thread_started = true;
    pthread_setname_np(e->thread, "llmd-worker");
    return 0;
}

static int
open_parts(struct engine *e, const struct engine_config *cfg, struct error *err)
{
    struct model_config mc;
    struct memory_plan plan;
    int rc;
    report_phase(cfg, "reading config");
    if ((rc = model_config_read(cfg->model_dir, &mc, err)) < 0)
        return rc;
    if ((rc = find_backend(e, cfg, err)) < 0)
        return rc;
    fill_model_info(&e->info, cfg, &mc, is_gpu(e));
    if ((rc = plan_memory(e, cfg, &mc, &plan, err)) < 0
        || (rc = open_device(e, cfg, err)) < 0
        || (rc = plan_memory(e, cfg, &mc, &plan, err)) < 0)
        return rc;
    report_phase(cfg, "loading weights");
    if ((rc = load_model(e, cfg, &mc, err)) < 0)
        return rc;
    report_phase(cfg, "allocating the kv cache");
    if ((rc = init_kv(e, cfg, &mc, err)) < 0 || (rc = init_scratch(e, cfg, err)) < 0
        || (rc = init_rings(e, cfg, err)) < 0)
        return rc;
    report_phase(cfg, "timing matrix products");
    if (cfg->autotune && (rc = model_tune(e->model, err)) < 0)
        return rc;
    plan.weight_bytes = e->info.weight_bytes; /* as they turned out */
    memory_plan_line(&plan, e->info.memory_plan, sizeof e->info.memory_plan);
    report_phase(cfg, "starting");
    return start_worker(e, err);
}

static void
ignore_wake(void *arg)
{
    (void)arg;
}

/* ret_gpu: whether it was a GPU that it opened, or failed on. */
static int
open_once(const struct engine_config *cfg, struct engine **ret, bool *ret_gpu, struct error *err)
{
    struct engine *e = aligned_alloc(CACHE_LINE, ROUND_UP(sizeof *e, CACHE_LINE));
    if (e == NULL)
        return error_set(err, ERR_NOMEM, "out of memory");
    memset(e, 0, sizeof *e);
    e->worker_waiter.fd = -1;
    e->seed = cfg->seed;
    e->wake = cfg->wake != NULL ? cfg->wake : ignore_wake;
    e->wake_arg = cfg->wake_arg;
    int rc = open_parts(e, cfg, err);
    *ret_gpu = e->ops != NULL && is_gpu(e);
    if (rc < 0) {
        engine_close(e);
        return rc;
    }
    *ret = e;
    return 0;
}

int
engine_open(const struct engine_config *cfg, struct engine **ret, struct error *err)
{
    bool automatic = cfg->device == NULL || strcmp(cfg->device, "auto") == 0, gpu = false;
    int rc = open_once(cfg, ret, &gpu, err);
    if (rc != ERR_NOMEM || !automatic || !gpu)
        return rc;
    /* a GPU with too little memory is as good as none */
    struct engine_config cpu = *cfg;
    struct error why = *err;
    cpu.device = "cpu";
    rc = open_once(&cpu, ret, &gpu, err);
    if (rc == 0)
        snprintf((*ret)->info.device_note, sizeof (*ret)->info.device_note, "%s", why.text);
    return rc;
}

void
engine_close(struct engine *e)
{
    if (e == NULL)
        return;
    ASSERT(e->num_inside == 0);
    if (e->thread_started) {
        atomic_store_explicit(&e->stopping, true, memory_order_release);
        waiter_wake(&e->worker_waiter);
        pthread_join(e->thread, NULL);
    }
    waiter_release(&e->worker_waiter);
    ring_release(&e->events);
    ring_release(&e->commands);
    batch_builder_release(&e->builder);
    scheduler_release(&e->scheduler);
    kv_cache_release(&e->kv);
    sample_scratch_release(&e->scratch);
    for (int i = 0; i < MAX_FLIGHTS; i++)
        flight_release(&e->flights[i]);
    model_free(e->model);
    if (e->dev != NULL)
        e->ops->device_close(e->dev);
    free(e);
}

/* ---- the loop's side -------------------------------------------------- */

const struct engine_info *
engine_info(const struct engine *e)
{
    return &e->info;
}

const struct engine_stats *
engine_stats(const struct engine *e)
{
    return &e->stats;
}

int64_t
engine_room(const struct engine *e)
{
    return e->queue_size - e->num_inside;
}

static void
send_command(struct engine *e, struct request *r, enum command_type type)
{
    bool pushed = ring_push(&e->commands, &(struct engine_command){.request = r, .type = type});
    ASSERT(pushed); /* sized for every request inside */
    waiter_wake(&e->worker_waiter);
}

int
engine_submit(struct engine *e, struct request *r)
{
    if (atomic_load_explicit(&e->failed, memory_order_acquire))
        return ERR_DEVICE;
    if (engine_room(e) <= 0)
        return ERR_BUSY;
    ASSERT(r->num_prompt_tokens + r->sampling.max_tokens <= e->info.max_model_len + 1);
    ASSERT(r->sampling.num_stop_token_ids <= MAX_STOP_TOKEN_IDS);
    r->submitted_ns = mono_ns();
    e->num_inside++;
    send_command(e, r, COMMAND_SUBMIT);
    return 0;
}

void
engine_cancel(struct engine *e, struct request *r)
{
    if (r->cancel_sent)
        return;
    r->cancel_sent = true;
    send_command(e, r, COMMAND_CANCEL);
}

/*
 * What an event means to the caller; false when it is not for him. A request
 * that was cancelled comes back only when the worker has read the CANCEL too:
 * with FINISHED when the CANCEL ended it, else with CANCEL_TAKEN. A request
 * that comes back cannot be cancelled any more, even while the caller is still
 * busy with earlier events of the same poll.
 */
static bool
deliver(struct engine *e, struct engine_event *event)
{
    struct request *r = event->request;
    if (event->type == EVENT_TOKEN)
        return true;
    if (event->type == EVENT_FINISHED && r->cancel_sent && !event->cancel_taken)
        return false;
    if (event->type == EVENT_CANCEL_TAKEN) {
        event->type = EVENT_FINISHED;
        event->finish_reason = (uint8_t)r->finish_reason;
        event->output_index = r->num_output_tokens;
        event->time_ns = r->finished_ns;
    }
    r->cancel_sent = true;
    e->num_inside--;
    return true;
}

/* Fewer than `max` only when the ring is empty. */
size_t
engine_poll(struct engine *e, struct engine_event *events, size_t max)
{
    size_t popped, n = 0;
    while (n < max && (popped = ring_pop(&e->events, events + n, max - n)) > 0) {
        for (size_t i = n, end = n + popped; i < end; i++) {
            if (deliver(e, &events[i]))
                events[n++] = events[i];
        }
        waiter_wake(&e->worker_waiter); /* it may wait for room */
    }
    return n;
}

bool
engine_failed(const struct engine *e, struct error *ret)
{
    if (!atomic_load_explicit(&e->failed, memory_order_acquire))
        return false;
    if (ret != NULL)
        *ret = e->failure;
    return true;
}
