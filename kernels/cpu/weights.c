/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Parameters on the device: packed once at load (layout.h), never copied
 * again. They share one arena of huge pages, which the device frees whole.
 */
#include "kernels/cpu/cpu.h"
#include "util/rng.h"

#include <sys/mman.h>

#define HUGE_BYTES ((size_t)2 << 20)
#define CHUNK_BYTES ((size_t)64 << 20)

struct arena_chunk {
    struct arena_chunk *next;
    char *data;                  /* owned, mapped */
    size_t bytes, used, map_bytes;
};

/* Every weight's impl, to free it. */
struct weight_list {
    struct weight_list *next;
    struct packed packed;
};

void *
map_reserve(size_t bytes, size_t *ret_map_bytes)
{
    size_t map_bytes = ROUND_UP(bytes, HUGE_BYTES) + HUGE_BYTES;
    if (map_bytes < bytes)
        return NULL;
    char *map = mmap(NULL, map_bytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (map == MAP_FAILED)
        return NULL;
    /* keep the part that starts on a huge page */
    char *start = (char *)ROUND_UP((uintptr_t)map, HUGE_BYTES);
    if (start > map)
        munmap(map, (size_t)(start - map));
    size_t tail = map_bytes - (size_t)(start - map) - ROUND_UP(bytes, HUGE_BYTES);
    if (tail > 0)
        munmap(start + ROUND_UP(bytes, HUGE_BYTES), tail);
    *ret_map_bytes = ROUND_UP(bytes, HUGE_BYTES);
    madvise(start, *ret_map_bytes, MADV_HUGEPAGE);   /* only speed depends on it */
    return start;
}

void *
arena_alloc(struct arena *arena, size_t bytes)
{
    if (bytes > SIZE_MAX / 2)
        return NULL;
    bytes = ROUND_UP(bytes, CACHE_LINE);
    struct arena_chunk *chunk = arena->chunks;
    if (chunk == NULL || chunk->bytes - chunk->used < bytes) {
        chunk = calloc(1, sizeof *chunk);
        if (chunk == NULL)
            return NULL;
        chunk->bytes = MAX(bytes, CHUNK_BYTES);
        chunk->data = map_reserve(chunk->bytes, &chunk->map_bytes);
        if (chunk->data == NULL) {
            free(chunk);
            return NULL;
        }
        chunk->next = arena->chunks;
        arena->chunks = chunk;
    }
    void *data = chunk->data + chunk->used;
    chunk->used += bytes;
    arena->num_bytes += bytes;
    return data;
}

void
arena_release(struct arena *arena)
{
    while (arena->chunks != NULL) {
        struct arena_chunk *chunk = arena->chunks;
        arena->chunks = chunk->next;
        munmap(chunk->data, chunk->map_bytes);
        free(chunk);
    }
}

void
cpu_weights_release(struct device *dev)
{
    while (dev->weights != NULL) {
        struct weight_list *entry = dev->weights;
        dev->weights = entry->next;
        free(entry);
    }
    arena_release(&dev->arena);
}

/* Memory and description of a weight; its content is zero. */
static int
weight_new(struct device *dev, int64_t rows, int64_t cols, enum weight_use use, enum dtype dtype,
           struct weight *ret, struct error *err)
{
    int64_t padded, elements;
    if (rows <= 0 || cols <= 0 || rows > INT64_MAX - PANEL)
        return error_set(err, ERR_INVALID, "a weight of shape [%lld, %lld] is empty",
                         (long long)rows, (long long)cols);
    padded = use == WEIGHT_VECTOR ? rows : ROUND_UP(rows, PANEL);
    size_t bytes;
    if (mul_overflow(padded, cols, &elements) ||
        mul_overflow((size_t)elements, dtype_bytes(dtype), &bytes))
        return error_set(err, ERR_RANGE, "a weight of shape [%lld, %lld] is too large",
                         (long long)rows, (long long)cols);
    /* room for a vector's last eight, read whole by the kernels */
    void *data = arena_alloc(&dev->arena, bytes + CACHE_LINE);
    struct weight_list *entry = calloc(1, sizeof *entry);
    if (data == NULL || entry == NULL) {
        free(entry);
        return error_set(err, ERR_NOMEM, "cannot allocate %zu MiB for a weight of [%lld, %lld]",
                         bytes >> 20, (long long)rows, (long long)cols);
    }
    entry->packed.data = data;
    entry->packed.panel_bytes = (size_t)cols * PANEL * dtype_bytes(dtype);
    entry->next = dev->weights;
    dev->weights = entry;
    *ret = (struct weight){.impl = &entry->packed, .rows = rows, .cols = cols, .dtype = dtype};
    return 0;
}

struct load_job {
    const struct host_tensor *parts;
    int num_parts;
    const struct weight *weight;
    uint64_t seed;    /* fill: */
    float scale;
};

/* Row `row` of the stacked parts. */
static const struct host_tensor *
find_row(const struct load_job *job, int64_t row, int64_t *ret_row)
{
    const struct host_tensor *part = job->parts;
    while (row >= part->rows) {
        row -= part->rows;
        part++;
    }
    *ret_row = row;
    return part;
}

/* Widens or copies one row of a tensor into its column of a panel. */
static void
pack_row(const struct host_tensor *from, int64_t row, enum dtype dtype, char *panel, int lane)
{
    int64_t cols = from->cols;
    int slot = lane_slot(dtype, lane);
    const char *src = (const char *)from->data + (size_t)(row * cols) * dtype_bytes(from->dtype);
    if (from->dtype == dtype && dtype != DTYPE_F32) {
        for (int64_t k = 0; k < cols; k++)
            memcpy(panel + (k * PANEL + slot) * 2, src + k * 2, 2);
        return;
    }
    for (int64_t k = 0; k < cols; k++)
        element_set(dtype, panel, k * PANEL + slot, element_get(from->dtype, src, k));
}

/* A task packs one panel: sixteen rows. */
static void
pack_task(void *arg, int task, int thread)
{
    (void)thread;
    const struct load_job *job = arg;
    const struct weight *w = job->weight;
    const struct packed *packed = w->impl;
    char *panel = (char *)packed->data + (size_t)task * packed->panel_bytes;
    for (int lane = 0; lane < PANEL; lane++) {
        int64_t row = (int64_t)task * PANEL + lane, part_row;
        if (row >= w->rows)
            break;
        const struct host_tensor *part = find_row(job, row, &part_row);
        pack_row(part, part_row, w->dtype, panel, lane);
    }
}

/* The type that keeps all parts exact. */
static enum dtype
common_dtype(const struct host_tensor *parts, int num_parts)
{
    enum dtype dtype = parts[0].dtype;
    for (int i = 1; i < num_parts; i++) {
        if (parts[i].dtype != dtype)
            return DTYPE_F32;
    }
    return dtype;
}

static int
load_vector(struct device *dev, const struct host_tensor *parts, int num_parts,
            struct weight *ret, struct error *err)
{
    int64_t n = 0;
    for (int i = 0; i < num_parts; i++)
        n += parts[i].rows * parts[i].cols;
    struct weight w;
    int rc = weight_new(dev, 1, n, WEIGHT_VECTOR, DTYPE_F32, &w, err);
    if (rc != 0)
        return rc;
    float *out = ((struct packed *)w.impl)->data;
    for (int i = 0; i < num_parts; i++) {
        int64_t count = parts[i].rows * parts[i].cols;
        for (int64_t j = 0; j < count; j++)
            *out++ = element_get(parts[i].dtype, parts[i].data, j);
    }
    *ret = w;
    return 0;
}

int
cpu_weight_load(struct device *dev, const struct host_tensor *parts, int num_parts,
                enum weight_use use, bool f32_weights, struct weight *ret, struct error *err)
{
    ASSERT(num_parts >= 1);
    if (use == WEIGHT_VECTOR)
        return load_vector(dev, parts, num_parts, ret, err);
    int64_t rows = 0;
    for (int i = 0; i < num_parts; i++) {
        if (parts[i].cols != parts[0].cols)
            return error_set(err, ERR_INVALID,
                             "cannot stack tensors of %lld and %lld columns",
                             (long long)parts[0].cols, (long long)parts[i].cols);
        rows += parts[i].rows;
    }
    enum dtype dtype = f32_weights ? DTYPE_F32 : common_dtype(parts, num_parts);
    struct weight w;
    int rc = weight_new(dev, rows, parts[0].cols, use, dtype, &w, err);
    if (rc != 0)
        return rc;
    struct load_job job = {.parts = parts, .num_parts = num_parts, .weight = &w};
    pool_run(dev->pool, (int)CEIL_DIV(rows, PANEL), pack_task, &job);
    *ret = w;
    return 0;
}

/* Value number i of a random weight: sixteen bits of one mixed counter. */
static float
random_value(uint64_t seed, int64_t i, float scale)
{
    uint64_t word = rng_mix64(seed + (uint64_t)(i / 4));
    uint32_t bits = (uint32_t)(word >> (i % 4 * 16)) & 0xffff;
    return (((float)bits + 0.5f) * 0x1p-15f - 1.0f) * scale;
}

static void
random_task(void *arg, int task, int thread)
{
    (void)thread;
    const struct load_job *job = arg;
    const struct weight *w = job->weight;
    const struct packed *packed = w->impl;
    char *panel = (char *)packed->data + (size_t)task * packed->panel_bytes;
    for (int lane = 0; lane < PANEL && (int64_t)task * PANEL + lane < w->rows; lane++) {
        int64_t row = (int64_t)task * PANEL + lane;
        int slot = lane_slot(w->dtype, lane);
        for (int64_t k = 0; k < w->cols; k++)
            element_set(w->dtype, panel, k * PANEL + slot,
                        random_value(job->seed, row * w->cols + k, job->scale));
    }
}

int
cpu_weight_random(struct device *dev, int64_t rows, int64_t cols, enum weight_use use,
                  enum dtype dtype, float scale, uint64_t seed, struct weight *ret,
                  struct error *err)
{
    struct weight w;
    if (use == WEIGHT_VECTOR) {
        int64_t n = rows * cols;
        int rc = weight_new(dev, 1, n, use, DTYPE_F32, &w, err);
        if (rc != 0)
            return rc;
        float *out = ((struct packed *)w.impl)->data;
        for (int64_t i = 0; i < n; i++)
            out[i] = random_value(rng_mix64(seed), i, scale);
        *ret = w;
        return 0;
    }
    int rc = weight_new(dev, rows, cols, use, dtype, &w, err);
    if (rc != 0)
        return rc;
    struct load_job job = {.weight = &w, .seed = rng_mix64(seed), .scale = scale};
    pool_run(dev->pool, (int)CEIL_DIV(rows, PANEL), random_task, &job);
    *ret = w;
    return 0;
}
