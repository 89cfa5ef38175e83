/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/loader.h"

#include "util/float16.h"
#include "util/rng.h"

#include <math.h>
#include <string.h>

/* How far ahead of the weight being loaded the kernel is asked to read. */
#define READ_AHEAD_BYTES ((size_t)256 << 20)

static float
element(const struct host_tensor *t, size_t i)
{
    const unsigned char *p = (const unsigned char *)t->data + i * dtype_bytes(t->dtype);
    if (t->dtype == DTYPE_F32) {
        float f;
        memcpy(&f, p, sizeof f);
        return f;
    }
    uint16_t h;
    memcpy(&h, p, sizeof h);
    return t->dtype == DTYPE_BF16 ? f32_from_bf16(h) : f32_from_f16(h);
}

void
loader_convert(const struct host_tensor *t, enum dtype to, void *ret)
{
    size_t n = (size_t)(t->rows * t->cols);
    if (to == DTYPE_F32) {
        for (size_t i = 0; i < n; i++)
            ((float *)ret)[i] = element(t, i);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        float f = element(t, i);
        ((uint16_t *)ret)[i] = to == DTYPE_BF16 ? bf16_from_f32(f) : f16_from_f32(f);
    }
}

static size_t
tensor_bytes(const struct host_tensor *t)
{
    return (size_t)(t->rows * t->cols) * dtype_bytes(t->dtype);
}

/* The walk */

void
loader_layer(struct loader *l, int layer)
{
    l->prefix[0] = '\0';
    if (layer >= 0)
        snprintf(l->prefix, sizeof l->prefix, "model.layers.%d.", layer);
}

static int
plan_append(struct loader *l, const struct host_tensor *t)
{
    if (l->num_plan == l->cap_plan) {
        size_t cap = l->cap_plan == 0 ? 256 : 2 * l->cap_plan;
        struct host_tensor *plan = reallocarray(l->plan, cap, sizeof *plan);
        if (plan == NULL)
            return error_set(l->err, ERR_NOMEM, "cannot plan the weights: out of memory");
        l->plan = plan;
        l->cap_plan = cap;
    }
    l->plan[l->num_plan++] = *t;
    l->total_bytes += tensor_bytes(t);
    return 0;
}

static int
check_parts(struct loader *l, const struct tensor_part *parts)
{
    int code = 0;
    for (const struct tensor_part *p = parts; code == 0 && p->name != NULL; p++) {
        char name[128];
        struct host_tensor t = {.rows = MAX(p->rows, 1), .cols = p->cols,
                                .dtype = l->dummy_dtype};
        snprintf(name, sizeof name, "%s%s", l->prefix, p->name);
        if (l->st != NULL)
            code = safetensors_take(l->st, name, p->rows, p->cols, &t, l->err);
        if (code == 0)
            code = plan_append(l, &t);
    }
    return code;
}

/* Keeps READ_AHEAD_BYTES asked for beyond what is loaded. */
static void
read_ahead(struct loader *l)
{
    while (l->ahead < l->num_plan &&
           (l->ahead <= l->next || l->ahead_bytes < READ_AHEAD_BYTES)) {
        const struct host_tensor *t = &l->plan[l->ahead++];
        safetensors_will_need(t);
        l->ahead_bytes += tensor_bytes(t);
    }
}

/* The type all parts get before the device sees them: see model_load_args. */
static enum dtype
target_dtype(const struct loader *l, const struct host_tensor *parts, int num_parts)
{
    if (l->dtype != DTYPE_F32)
        return l->dtype;
    for (int i = 0; i < num_parts; i++)
        if (parts[i].dtype == DTYPE_F32 || parts[i].dtype != parts[0].dtype)
            return DTYPE_BF16;
    return parts[0].dtype;
}

/*
 * Joins the parts in host memory, as `to`: vectors, which are small, always (in
 * f32, side by side), matrices only when their type must change.
 */
static int
join_parts(struct loader *l, const struct host_tensor *parts, int num_parts, enum dtype to,
           struct host_tensor *ret, void **ret_memory)
{
    size_t bytes = 0;
    for (int i = 0; i < num_parts; i++)
        bytes += (size_t)(parts[i].rows * parts[i].cols) * dtype_bytes(to);
    unsigned char *memory = malloc(bytes);
    if (memory == NULL)
        return error_set(l->err, ERR_NOMEM, "cannot convert a weight of %zu bytes: out of memory",
                         bytes);
    size_t at = 0;
    *ret = (struct host_tensor){.data = memory, .dtype = to, .cols = parts[0].cols};
    for (int i = 0; i < num_parts; i++) {
        loader_convert(&parts[i], to, memory + at);
        at += (size_t)(parts[i].rows * parts[i].cols) * dtype_bytes(to);
        ret->rows += parts[i].rows;
    }
    *ret_memory = memory;
    return 0;
}

static int
load_parts(struct loader *l, struct weight *ret, enum weight_use use,
           const struct host_tensor *parts, int num_parts)
{
    enum dtype to = use == WEIGHT_VECTOR ? DTYPE_F32 : target_dtype(l, parts, num_parts);
    bool join = use == WEIGHT_VECTOR;
    for (int i = 0; i < num_parts; i++)
        join = join || (!l->f32 && parts[i].dtype != to);
    if (!join)
        return l->ops->weight_load(l->dev, parts, num_parts, use, l->f32, ret, l->err);
    struct host_tensor joined;
    void *memory = NULL;
    int code = join_parts(l, parts, num_parts, to, &joined, &memory);
    if (code != 0)
        return code;
    if (use == WEIGHT_VECTOR) {
        joined.cols = 0;
        for (int i = 0; i < num_parts; i++)
            joined.cols += parts[i].cols;
        joined.rows = 1;
    }
    code = l->ops->weight_load(l->dev, &joined, 1, use, l->f32, ret, l->err);
    free(memory);
    return code;
}

/*
 * Uniform in +-scale. A matrix keeps its input's variance (scale^2 / 3 = 1 / K),
 * so that activations stay of ordinary size through any number of layers.
 */
static int
random_weight(struct loader *l, struct weight *ret, enum weight_use use,
              const struct host_tensor *parts, int num_parts)
{
    int64_t rows = 0, cols = parts[0].cols;
    for (int i = 0; i < num_parts; i++)
        rows += parts[i].rows;
    float scale = (float)sqrt(3.0 / (double)cols);
    if (use == WEIGHT_VECTOR) {
        cols = 0;
        for (int i = 0; i < num_parts; i++)
            cols += parts[i].cols;
        rows = 1;
        scale = 1;
    }
    enum dtype dtype = l->f32 ? DTYPE_F32 : l->dummy_dtype;
    return l->ops->weight_random(l->dev, rows, cols, use, dtype, scale,
                                 rng_mix64(l->seed + l->num_weights), ret, l->err);
}

static void
count_loaded(struct loader *l, const struct weight *w, const struct host_tensor *parts,
             int num_parts)
{
    for (int i = 0; i < num_parts; i++) {
        size_t bytes = tensor_bytes(&parts[i]);
        if (l->st != NULL) {
            safetensors_done_with(&parts[i]);
            l->ahead_bytes -= bytes;
        }
        l->done_bytes += bytes;
    }
    l->next += (size_t)num_parts;
    l->num_weights++;
    l->weight_bytes += (size_t)(w->rows * w->cols) * dtype_bytes(w->dtype);
    if (l->progress != NULL)
        atomic_store_explicit(&l->progress->done_bytes, l->done_bytes, memory_order_relaxed);
}

void
loader_weight(struct loader *l, struct weight *ret, enum weight_use use,
              const struct tensor_part *parts)
{
    if (l->code != 0)
        return;
    if (l->checking) {
        l->code = check_parts(l, parts);
        return;
    }
    int num_parts = 0;
    while (parts[num_parts].name != NULL)
        num_parts++;
    ASSERT(num_parts <= LOADER_MAX_PARTS && l->next + (size_t)num_parts <= l->num_plan);
    const struct host_tensor *tensors = &l->plan[l->next];
    if (l->st != NULL) {
        read_ahead(l);
        l->code = load_parts(l, ret, use, tensors, num_parts);
    } else {
        l->code = random_weight(l, ret, use, tensors, num_parts);
    }
    if (l->code == 0)
        count_loaded(l, ret, tensors, num_parts);
    else
        error_prefix(l->err, "cannot load '%s%s'", l->prefix, parts[0].name);
}

void
loader_matrix(struct loader *l, struct weight *ret, const char *name, int64_t rows, int64_t cols)
{
    const struct tensor_part parts[] = {{name, rows, cols}, {0}};
    loader_weight(l, ret, WEIGHT_MATRIX, parts);
}

void
loader_vector(struct loader *l, struct weight *ret, const char *name, int64_t size, bool wanted)
{
    const struct tensor_part parts[] = {{name, 0, size}, {0}};
    if (wanted)
        loader_weight(l, ret, WEIGHT_VECTOR, parts);
}

void
loader_ignore(struct loader *l, const char *name)
{
    char full[128];
    snprintf(full, sizeof full, "%s%s", l->prefix, name);
    if (l->st != NULL)
        safetensors_ignore(l->st, full);
}

void
loader_begin_loading(struct loader *l)
{
    l->checking = false;
    if (l->progress == NULL)
        return;
    atomic_store(&l->progress->done_bytes, 0);
    atomic_store(&l->progress->total_bytes, l->total_bytes);
    atomic_store(&l->progress->phase, "loading weights");
}

void
loader_release(struct loader *l)
{
    free(l->plan);
    l->plan = NULL;
    l->num_plan = l->cap_plan = 0;
}
