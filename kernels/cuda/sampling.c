/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host's side of sampling: rows and their lists go to the device in one
 * copy, results wait in pinned memory until the step is done.
 */
#include "kernels/cuda/internal.h"

#include <math.h>
#include <string.h>

/* Slots of the hash tables of edited ids, of all rows of one call. */
#define MAX_HASH_SLOTS ((size_t)1 << 20)

int
cuda_sampling_init(struct device *dev, struct error *err)
{
    size_t seqs = (size_t)dev->options.max_seqs, wide = seqs * (size_t)dev->max_top;
    int rows = MIN(dev->options.max_seqs, MAX_LOGIT_ROWS);
    dev->sample_workspace_bytes = cuda_sample_workspace(rows, dev->options.vocab_size,
                                                        MAX_HASH_SLOTS, dev->max_top);
    const struct {
        size_t bytes;
        void *ret;
    } parts[] = {
        {seqs * sizeof *dev->last_tokens, &dev->last_tokens},
        {seqs * sizeof *dev->drawn, &dev->drawn},
        {seqs * sizeof *dev->out, &dev->out},
        {wide * sizeof *dev->top_ids, &dev->top_ids},
        {wide * sizeof *dev->top_logprobs, &dev->top_logprobs},
        {dev->sample_workspace_bytes, &dev->sample_workspace},
    };
    int rc = 0;
    for (size_t i = 0; i < ARRAY_SIZE(parts) && rc == 0; i++)
        rc = cuda_alloc_own(dev, parts[i].bytes, "sampling", parts[i].ret, err);
    return rc;
}

static bool
has_penalties(const struct sample_row *r)
{
    return r->repetition_penalty != 1.0f || r->presence_penalty != 0.0f ||
           r->frequency_penalty != 0.0f;
}

/* Elements of `ids` that a row takes. */
static size_t
num_ids(const struct sample_row *r)
{
    size_t n = (size_t)r->num_bias + (size_t)r->num_banned + (size_t)r->num_allowed;
    return has_penalties(r) ? n + (size_t)r->num_prompt + (size_t)r->num_output : n;
}

static int32_t
append(int32_t *ids, size_t *used, const int32_t *from, int n)
{
    size_t at = *used;
    if (n > 0)
        memcpy(ids + at, from, (size_t)n * sizeof *ids);
    *used += (size_t)n;
    return (int32_t)at;
}

/* A power of two of at least twice the ids whose logits change; 0 for none. */
static size_t
table_size(const struct sample_row *r)
{
    size_t n = 2 * (num_ids(r) - (size_t)r->num_allowed), size = n > 0 ? 16 : 0;
    while (size < n)
        size *= 2;
    return size;
}

/* What the rows are copied into. */
struct lists {
    struct sample_params *params;
    int32_t *ids;
    float *values;
    size_t num_ids, num_slots;
};

static void
fill_row(struct lists *l, int i, const struct sample_row *r)
{
    struct sample_params *p = &l->params[i];
    *p = (struct sample_params){
        .seed = r->seed,
        .position = r->position,
        .temperature = r->temperature,
        .top_p = r->top_p,
        .min_p = r->min_p,
        .repetition_penalty = r->repetition_penalty,
        .presence_penalty = r->presence_penalty,
        .frequency_penalty = r->frequency_penalty,
        .top_k = r->top_k,
        .num_logprobs = r->num_logprobs,
        .num_bias = r->num_bias,
        .num_banned = r->num_banned,
        .num_allowed = r->num_allowed,
    };
    p->bias = (int32_t)l->num_ids;
    if (r->num_bias > 0)
        memcpy(l->values + l->num_ids, r->bias_values, (size_t)r->num_bias * sizeof(float));
    append(l->ids, &l->num_ids, r->bias_ids, r->num_bias);
    p->banned = append(l->ids, &l->num_ids, r->banned_ids, r->num_banned);
    p->allowed = append(l->ids, &l->num_ids, r->allowed_ids, r->num_allowed);
    p->table = (int32_t)l->num_slots;
    p->table_size = (int32_t)table_size(r);
    l->num_slots += table_size(r);
    if (!has_penalties(r))
        return;
    p->num_prompt = r->num_prompt;
    p->num_output = r->num_output;
    p->prompt = append(l->ids, &l->num_ids, r->prompt_ids, r->num_prompt);
    p->output = append(l->ids, &l->num_ids, r->output_ids, r->num_output);
}

static int
flags_of(const struct sample_row *rows, int num_rows)
{
    int flags = 0;
    for (int i = 0; i < num_rows; i++) {
        const struct sample_row *r = &rows[i];
        if (num_ids(r) > 0)
            flags |= SAMPLE_LISTS;
        if (r->top_k > 0 || r->top_p < 1.0f || r->min_p > 0.0f)
            flags |= SAMPLE_FILTERS;
        if (r->num_logprobs >= 0)
            flags |= SAMPLE_LOGPROBS;
        if (r->num_logprobs > 0)
            flags |= SAMPLE_TOP;
    }
    return flags;
}

/* The rows that fit the arena's and the tables' room together with those before
 * them: at least one, or none when one alone is too large. */
static int
rows_that_fit(const struct arena *a, const struct sample_row *rows, int num_rows)
{
    size_t bytes = 0, slots = 0, room = a->bytes - a->used;
    for (int i = 0; i < num_rows; i++) {
        bytes += sizeof(struct sample_params) + 2 * num_ids(&rows[i]) * sizeof(int32_t);
        slots += table_size(&rows[i]);
        if (bytes + 64 > room || slots > MAX_HASH_SLOTS)
            return i;
    }
    return num_rows;
}

static int
send_rows(struct device *dev, const struct sample_row *rows, int num_rows,
          struct sample_args *args)
{
    struct arena *arena = &dev->slot->arena;
    size_t ids = 0;
    for (int i = 0; i < num_rows; i++)
        ids += num_ids(&rows[i]);
    struct lists l = {
        .params = cuda_arena_take(arena, (size_t)num_rows * sizeof *l.params, &args->params),
        .ids = cuda_arena_take(arena, ids * sizeof *l.ids, &args->ids),
        .values = cuda_arena_take(arena, ids * sizeof *l.values, &args->values),
    };
    ASSERT(l.params != NULL && l.ids != NULL && l.values != NULL);
    memset(l.values, 0, ids * sizeof *l.values);
    for (int i = 0; i < num_rows; i++)
        fill_row(&l, i, &rows[i]);
    return cuda_arena_send(dev, arena);
}

static struct sample_args
args_for(struct device *dev, struct buffer *logits, int num_rows, int64_t vocab_size, int first)
{
    return (struct sample_args){
        .logits = logits->data,
        .num_rows = num_rows,
        .vocab_size = vocab_size,
        .last_tokens = dev->last_tokens,
        .drawn = dev->drawn + first,
        .out = dev->out + first,
        .top_ids = dev->top_ids + (size_t)first * (size_t)dev->max_top,
        .top_logprobs = dev->top_logprobs + (size_t)first * (size_t)dev->max_top,
        .top_stride = dev->max_top,
        .workspace = dev->sample_workspace,
        .workspace_bytes = dev->sample_workspace_bytes,
    };
}

/* Starts the results' way to the slot's pinned memory. */
static int
fetch(struct device *dev, struct step_slot *slot, int first, int num_rows, bool has_top)
{
    size_t rows = (size_t)num_rows, wide = rows * (size_t)dev->max_top;
    size_t at = (size_t)first * (size_t)dev->max_top;
    const struct {
        void *to;
        const void *from;
        size_t bytes;
    } copies[] = {
        {slot->out + first, dev->out + first, rows * sizeof *slot->out},
        {slot->top_ids + at, dev->top_ids + at, wide * sizeof *slot->top_ids},
        {slot->top_logprobs + at, dev->top_logprobs + at, wide * sizeof *slot->top_logprobs},
    };
    int rc = 0;
    for (int i = 0; i < (has_top ? 3 : 1) && rc == 0; i++)
        rc = cuda_check(dev, cudaMemcpyAsync(copies[i].to, copies[i].from, copies[i].bytes,
                                             cudaMemcpyDeviceToHost, dev->ctx.stream),
                        "cannot fetch a step's tokens");
    return rc;
}

static void
deliver(const struct device *dev, const struct step_slot *slot, const struct pending_sample *p)
{
    for (int i = 0; i < p->num_rows; i++) {
        const struct sample_out *out = &slot->out[p->first + i];
        p->output.results[i] = (struct sample_result){
            .token = out->token, .logprob = out->logprob, .rank = out->rank};
        if (!p->has_top)
            continue;
        size_t from = (size_t)(p->first + i) * (size_t)dev->max_top;
        size_t to = (size_t)i * (size_t)p->output.top_stride;
        size_t n = (size_t)MIN(dev->max_top, p->output.top_stride);
        memcpy(p->output.top_ids + to, slot->top_ids + from, n * sizeof(int32_t));
        memcpy(p->output.top_logprobs + to, slot->top_logprobs + from, n * sizeof(float));
    }
}

void
cuda_sampling_deliver(struct device *dev, struct step_slot *slot)
{
    for (int i = 0; i < slot->num_samples; i++)
        deliver(dev, slot, &slot->samples[i]);
}

/* Waits until the device has used all that the step has sent so far; its results
 * are delivered, and the arena is empty again. */
static int
make_room(struct device *dev)
{
    struct step_slot *slot = dev->slot;
    int rc = cuda_check(dev, cudaStreamSynchronize(dev->ctx.stream), "a step failed");
    if (rc != 0)
        return rc;
    cuda_sampling_deliver(dev, slot);
    slot->num_samples = 0;
    slot->arena.used = slot->arena.sent = 0;
    return 0;
}

void *
cuda_step_take(struct device *dev, size_t bytes, void *ret_device)
{
    struct arena *arena = &dev->slot->arena;
    void *taken = cuda_arena_take(arena, bytes, ret_device);
    if (taken != NULL || arena->used == 0 || make_room(dev) != 0)
        return taken;
    return cuda_arena_take(arena, bytes, ret_device);
}

/* As rows_that_fit, once there is room; 0: one row is too many, or the device failed. */
static int
rows_with_room(struct device *dev, const struct sample_row *rows, int num_rows)
{
    struct step_slot *slot = dev->slot;
    int n = slot->num_samples < MAX_SAMPLES ? rows_that_fit(&slot->arena, rows, num_rows) : 0;
    if (n > 0 || slot->arena.used == 0 || make_room(dev) != 0)
        return n;
    return rows_that_fit(&slot->arena, rows, num_rows);
}

static int
sample_rows(struct device *dev, struct buffer *logits, const struct sample_row *rows,
            int num_rows, int64_t vocab_size, const struct sample_output *ret)
{
    struct step_slot *slot = dev->slot;
    int first = slot->num_drawn, flags = flags_of(rows, num_rows);
    struct sample_args args = args_for(dev, logits, num_rows, vocab_size, first);
    args.flags = flags;
    ASSERT(first + num_rows <= dev->options.max_seqs && slot->num_samples < MAX_SAMPLES);
    int rc = send_rows(dev, rows, num_rows, &args);
    if (rc == 0)
        rc = cuda_check(dev, cuda_sample(&dev->ctx, &args), "cannot sample");
    if (rc == 0)
        rc = fetch(dev, slot, first, num_rows, (flags & SAMPLE_TOP) != 0);
    slot->samples[slot->num_samples++] = (struct pending_sample){
        .output = *ret,
        .first = first,
        .num_rows = num_rows,
        .has_top = (flags & SAMPLE_TOP) != 0,
    };
    slot->num_drawn += num_rows;
    return rc;
}

/* Rows whose lists are too long for one call go in several. */
int
cuda_op_sample(struct device *dev, struct buffer *logits, const struct sample_row *rows,
               int num_rows, int64_t vocab_size, const struct sample_output *ret)
{
    if (vocab_size <= 0 || vocab_size > dev->options.vocab_size)
        return ERR_INVALID;
    ASSERT(dev->slot != NULL);
    ASSERT((size_t)num_rows * (size_t)vocab_size * sizeof(float) <= logits->bytes);
    for (int i = 0, n; i < num_rows; i += n) {
        n = rows_with_room(dev, rows + i, num_rows - i);
        if (n == 0 && dev->failure.code != 0)
            return ERR_DEVICE;
        if (n == 0)
            return error_set(&dev->failure, ERR_DEVICE,
                             "a request's penalties, biases and allowed tokens exceed %zu MiB",
                             dev->slot->arena.bytes >> 20);
        size_t at = (size_t)i * (size_t)ret->top_stride;
        const struct sample_output output = {
            .results = ret->results + i,
            .top_ids = ret->top_ids != NULL ? ret->top_ids + at : NULL,
            .top_logprobs = ret->top_logprobs != NULL ? ret->top_logprobs + at : NULL,
            .top_stride = ret->top_stride,
        };
        struct buffer part = {
            .data = (float *)logits->data + (size_t)i * (size_t)vocab_size,
            .bytes = (size_t)n * (size_t)vocab_size * sizeof(float),
        };
        int rc = sample_rows(dev, &part, rows + i, n, vocab_size, &output);
        if (rc != 0)
            return rc;
    }
    return 0;
}

/* Scores are rare (prompt_logprobs, echo): the results are waited for. */
int
cuda_op_logprobs(struct device *dev, const struct buffer *logits, const int32_t *targets,
                 int num_rows, int64_t vocab_size, int num_logprobs,
                 const struct sample_output *ret)
{
    if (vocab_size <= 0 || vocab_size > dev->options.vocab_size
        || num_rows > dev->options.max_seqs)
        return ERR_INVALID;
    ASSERT(dev->slot != NULL);
    struct step_slot *slot = dev->slot;
    struct buffer readable = *logits;
    struct sample_args args = args_for(dev, &readable, num_rows, vocab_size, 0);
    struct sample_params *params =
        cuda_step_take(dev, (size_t)num_rows * sizeof *params, &args.params);
    if (params == NULL)
        return dev->failure.code != 0 ? ERR_DEVICE : ERR_INVALID;
    for (int i = 0; i < num_rows; i++) {
        if (targets[i] < 0 || targets[i] >= vocab_size)
            return ERR_INVALID;
        params[i] = (struct sample_params){.target = targets[i], .num_logprobs = num_logprobs};
    }
    args.flags = SAMPLE_LOGPROBS | (num_logprobs > 0 ? SAMPLE_TOP : 0);
    int rc = cuda_arena_send(dev, &slot->arena);
    if (rc == 0)
        rc = cuda_check(dev, cuda_logprobs(&dev->ctx, &args), "cannot score tokens");
    if (rc == 0)
        rc = fetch(dev, slot, 0, num_rows, num_logprobs > 0);
    if (rc == 0)
        rc = cuda_check(dev, cudaStreamSynchronize(dev->ctx.stream), "cannot score tokens");
    if (rc == 0)
        deliver(dev, slot, &(struct pending_sample){.output = *ret, .num_rows = num_rows,
                                                    .has_top = num_logprobs > 0});
    return rc;
}
