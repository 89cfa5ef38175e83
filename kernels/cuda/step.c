/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A step's frame on the stream: its block is copied, its layers are launched or
 * replayed, its results come back with an event. Two steps may be under way, so
 * each has its own pinned memory.
 *
 * A step in which every sequence decodes is padded to one of a few sizes, and
 * its layers are recorded as a CUDA graph the second time: the first one loads the
 * kernels of that size, which must not happen while recording. What is recorded
 * are addresses and the padded shape; all that changes is in the block.
 */
#include "kernels/cuda/internal.h"
#include "kernels/cuda/nvtx.h"

#include <string.h>

/* Parameters of one step's sampling: row ids and rows for all sequences, and
 * ids of penalties, biases and the like; a step that needs more waits in between. */
#define ARENA_BYTES ((size_t)8 << 20)

/* 1, 2, 4, 8, then by 8 to 64, by 16 beyond. */
static int
next_size(int n)
{
    if (n < 8)
        return 2 * n;
    return n < 64 ? n + 8 : n + 16;
}

static int
init_recorded(struct device *dev, struct error *err)
{
    int most = MIN(dev->options.max_seqs, dev->options.max_tokens), n = 0;
    if (dev->options.enforce_eager || dev->options.deterministic)
        return 0; /* tiles are no part of a recorded step */
    for (int size = 1; size < most; size = next_size(size))
        n++;
    dev->recorded = calloc((size_t)n + 1, sizeof *dev->recorded);
    if (dev->recorded == NULL)
        return error_set(err, ERR_NOMEM, "cannot list the recorded steps: out of memory");
    for (int size = 1; size < most; size = next_size(size))
        dev->recorded[dev->num_recorded++].num_rows = size;
    dev->recorded[dev->num_recorded++].num_rows = most;
    return 0;
}

static int
init_slot(struct device *dev, struct step_slot *s, struct error *err)
{
    size_t seqs = (size_t)dev->options.max_seqs, wide = seqs * (size_t)dev->max_top;
    int rc;
    if ((rc = cuda_alloc_pinned(dev->block_bytes, "a step", &s->block, err)) != 0 ||
        (rc = cuda_arena_init(dev, &s->arena, ARENA_BYTES, err)) != 0 ||
        (rc = cuda_alloc_pinned(seqs * sizeof *s->out, "results", &s->out, err)) != 0 ||
        (rc = cuda_alloc_pinned(wide * sizeof(int32_t), "results", &s->top_ids, err)) != 0 ||
        (rc = cuda_alloc_pinned(wide * sizeof(float), "results", &s->top_logprobs, err)) != 0)
        return rc;
    cudaError_t cuda_rc = cudaEventCreateWithFlags(&s->done, cudaEventDisableTiming);
    return cuda_rc == cudaSuccess ? 0 : cuda_fail(err, cuda_rc, "cannot make an event");
}

int
cuda_step_init(struct device *dev, struct error *err)
{
    dev->max_top = MAX(dev->options.max_logprobs, 1);
    dev->tile_rows = PREFILL_TILE_ROWS;
    dev->block_bytes = block_bytes_most(dev);
    int rc = init_recorded(dev, err);
    if (rc == 0)
        rc = cuda_alloc_own(dev, dev->block_bytes, "a step", (void **)&dev->block, err);
    for (int i = 0; i < MAX_STEPS && rc == 0; i++)
        rc = init_slot(dev, &dev->slots[i], err);
    return rc;
}

static void
release_slot(struct step_slot *s)
{
    void *const pinned[] = {s->block, s->out, s->top_ids, s->top_logprobs};
    for (size_t i = 0; i < ARRAY_SIZE(pinned); i++) {
        if (pinned[i] != NULL)
            cudaFreeHost(pinned[i]);
    }
    cuda_arena_release(&s->arena);
    if (s->done != NULL)
        cudaEventDestroy(s->done);
}

void
cuda_step_release(struct device *dev)
{
    for (int i = 0; i < MAX_STEPS; i++)
        release_slot(&dev->slots[i]);
    for (int i = 0; i < dev->num_recorded; i++) {
        if (dev->recorded[i].exec != NULL)
            cudaGraphExecDestroy(dev->recorded[i].exec);
    }
    free(dev->recorded);
}

/* The size that a batch is padded to, or NULL: it is run as it is. */
static struct recorded_step *
find_recorded(struct device *dev, const struct batch *b)
{
    if (b->num_tokens != b->num_seqs || b->num_seqs == 0 || dev->cache == NULL)
        return NULL;
    for (int i = 0; i < dev->num_recorded; i++) {
        if (dev->recorded[i].num_rows >= b->num_seqs)
            return &dev->recorded[i];
    }
    return NULL;
}

static int
copy_block(struct device *dev, const struct batch *b)
{
    int seqs = dev->recording != NULL ? dev->num_rows : b->num_seqs;
    struct block_layout l = block_layout(dev, dev->num_rows, seqs, dev->num_tiles);
    size_t tables = (size_t)b->num_seqs * (size_t)b->max_blocks_per_seq * sizeof(int32_t);
    if (l.block_tables + tables > dev->block_bytes)
        return ERR_INVALID;
    size_t bytes = block_fill(dev, dev->slot->block, &l, b, dev->num_rows);
    block_views(dev, &l);
    return cuda_check(dev, cudaMemcpyAsync(dev->block, dev->slot->block, bytes,
                                           cudaMemcpyHostToDevice, dev->ctx.stream),
                      "cannot copy a step");
}

static int
begin_recording(struct device *dev)
{
    int rc = cuda_check(dev, cudaStreamBeginCapture(dev->ctx.stream,
                                                    cudaStreamCaptureModeThreadLocal),
                        "cannot record a step");
    if (rc == 0)
        dev->recording->state = GRAPH_RECORDING;
    return rc;
}

/* A size comes around: launched the first time, recorded the second. */
static int
see_again(struct device *dev, struct recorded_step *r)
{
    if (r->state == GRAPH_SEEN)
        return begin_recording(dev);
    if (r->state == GRAPH_UNSEEN)
        r->state = GRAPH_SEEN;
    return 0;
}

int
cuda_step_begin(struct device *dev, const struct batch *batch, struct step_shape *ret)
{
    const struct batch_limits limits = {
        .max_tokens = dev->options.max_tokens,
        .max_seqs = dev->options.max_seqs,
        .vocab_size = dev->options.vocab_size,
        .num_blocks = dev->cache != NULL ? dev->kv.num_blocks : 0,
        .max_position = dev->rope != NULL ? dev->rope_max_position : 0,
        .num_drawn = dev->num_last_tokens,
    };
    if (dev->failure.code != 0)
        return ERR_DEVICE;
    if (!batch_is_valid(batch, &limits))
        return ERR_INVALID;
    ASSERT(dev->slot == NULL && dev->num_slots < MAX_STEPS);
    struct step_slot *slot = &dev->slots[(dev->first_slot + dev->num_slots) % MAX_STEPS];
    slot->arena.used = slot->arena.sent = 0;
    slot->num_samples = slot->num_drawn = 0;
    dev->slot = slot;
    dev->recording = find_recorded(dev, batch);
    dev->num_rows = dev->recording != NULL ? dev->recording->num_rows : batch->num_tokens;
    dev->num_tiles = block_count_tiles(dev, batch);
    int rc = copy_block(dev, batch);
    if (rc == 0 && dev->recording != NULL)
        rc = see_again(dev, dev->recording);
    if (rc != 0) {
        dev->slot = NULL;
        return rc;
    }
    *ret = (struct step_shape){
        .num_rows = dev->num_rows,
        .recorded = dev->recording != NULL && dev->recording->state == GRAPH_READY,
    };
    NVTX_BEGIN("step");   /* until step_end */
    NVTX_BEGIN("layers"); /* until forward_end */
    return 0;
}

/* A recording that failed leaves nothing behind. */
static int
end_recording(struct device *dev)
{
    struct recorded_step *r = dev->recording;
    cudaGraph_t graph = NULL;
    r->state = GRAPH_SEEN;
    int rc = cuda_check(dev, cudaStreamEndCapture(dev->ctx.stream, &graph),
                        "cannot record a step");
    if (rc == 0 && dev->failure.code == 0)
        rc = cuda_check(dev, cudaGraphInstantiate(&r->exec, graph, 0), "cannot record a step");
    if (graph != NULL)
        cudaGraphDestroy(graph);
    if (rc == 0 && dev->failure.code == 0)
        r->state = GRAPH_READY;
    return rc;
}

int
cuda_forward_end(struct device *dev)
{
    struct recorded_step *r = dev->recording;
    int rc = 0;
    NVTX_END(); /* layers */
    if (r != NULL && r->state == GRAPH_RECORDING)
        rc = end_recording(dev);
    if (rc == 0 && r != NULL && r->state == GRAPH_READY)
        rc = cuda_check(dev, cudaGraphLaunch(r->exec, dev->ctx.stream), "cannot launch a step");
    return dev->failure.code != 0 ? ERR_DEVICE : rc;
}

/* What was drawn is what the next step's ids -1 - i mean. */
static int
keep_drawn(struct device *dev)
{
    size_t bytes = (size_t)dev->slot->num_drawn * sizeof(int32_t);
    if (bytes == 0)
        return 0;
    dev->num_last_tokens = dev->slot->num_drawn;
    return cuda_check(dev, cudaMemcpyAsync(dev->last_tokens, dev->drawn, bytes,
                                           cudaMemcpyDeviceToDevice, dev->ctx.stream),
                      "cannot keep a step's tokens");
}

int
cuda_step_end(struct device *dev)
{
    int rc = keep_drawn(dev);
    if (rc == 0)
        rc = cuda_check(dev, cudaEventRecord(dev->slot->done, dev->ctx.stream), "cannot end a step");
    NVTX_END(); /* step */
    dev->slot = NULL;
    dev->num_slots++;
    return dev->failure.code != 0 ? ERR_DEVICE : rc;
}

int
cuda_step_wait(struct device *dev)
{
    ASSERT(dev->num_slots > 0);
    struct step_slot *slot = &dev->slots[dev->first_slot];
    dev->first_slot = (dev->first_slot + 1) % MAX_STEPS;
    dev->num_slots--;
    NVTX_BEGIN("wait");
    int rc = cuda_check(dev, cudaEventSynchronize(slot->done), "a step failed");
    NVTX_END();
    if (rc == 0 && dev->failure.code == 0)
        cuda_sampling_deliver(dev, slot);
    return dev->failure.code != 0 ? ERR_DEVICE : rc;
}
