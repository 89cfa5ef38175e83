/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory of the device and pinned memory of the host, and the copies between
 * them. Nothing here runs in a step, but for the arenas.
 */
#include "kernels/cuda/internal.h"

#include <string.h>

/* Uploads go through two halves of this size: one is filled from the mapped
 * file while the other is copied. */
#define STAGING_BYTES ((size_t)16 << 20)

struct size_text {
    char text[24];
};

static struct size_text
size_text(size_t bytes)
{
    struct size_text s;
    bool small = bytes < (size_t)1 << 20;
    snprintf(s.text, sizeof s.text, "%.1f %s", (double)bytes / (small ? 1024.0 : 1048576.0),
             small ? "KiB" : "MiB");
    return s;
}

int
cuda_alloc(struct device *dev, size_t bytes, const char *what, void **ret, struct error *err)
{
    void *data = NULL;
    cudaError_t rc = cudaMalloc(&data, MAX(bytes, 16));
    if (rc != cudaSuccess) {
        size_t available = 0, total = 0;
        cudaMemGetInfo(&available, &total);
        return cuda_fail(err, rc, "cannot allocate %s of GPU memory for %s, %s are free",
                         size_text(bytes).text, what, size_text(available).text);
    }
    /* Rows that no op writes are read as padding: they must hold numbers. */
    rc = cudaMemsetAsync(data, 0, MAX(bytes, 16), dev->ctx.stream);
    if (rc != cudaSuccess) {
        cudaFree(data);
        return cuda_fail(err, rc, "cannot clear GPU memory for %s", what);
    }
    *ret = data;
    return 0;
}

int
cuda_alloc_own(struct device *dev, size_t bytes, const char *what, void **ret, struct error *err)
{
    struct allocation *a = malloc(sizeof *a);
    if (a == NULL)
        return error_set(err, ERR_NOMEM, "cannot allocate %s: out of memory", what);
    int rc = cuda_alloc(dev, bytes, what, &a->data, err);
    if (rc != 0) {
        free(a);
        return rc;
    }
    a->next = dev->allocations;
    dev->allocations = a;
    dev->workspace_bytes += bytes;
    *ret = a->data;
    return 0;
}

int
cuda_alloc_pinned(size_t bytes, const char *what, void *ret, struct error *err)
{
    cudaError_t rc = cudaMallocHost((void **)ret, MAX(bytes, 16));
    if (rc != cudaSuccess)
        return cuda_fail(err, rc, "cannot allocate %s of pinned memory for %s",
                         size_text(bytes).text, what);
    return 0;
}

void
cuda_memory_release(struct device *dev)
{
    for (struct allocation *a = dev->allocations, *next; a != NULL; a = next) {
        next = a->next;
        cudaFree(a->data);
        free(a);
    }
    dev->allocations = NULL;
    for (int i = 0; i < 2; i++) {
        if (dev->staging_free[i] != NULL)
            cudaEventDestroy(dev->staging_free[i]);
    }
    if (dev->staging != NULL)
        cudaFreeHost(dev->staging);
}

int
cuda_buffer_alloc(struct device *dev, size_t bytes, struct buffer *ret, struct error *err)
{
    void *data;
    int rc = cuda_alloc(dev, bytes, "activations", &data, err);
    if (rc == 0)
        *ret = (struct buffer){.data = data, .bytes = bytes};
    return rc;
}

void
cuda_buffer_free(struct device *dev, struct buffer *b)
{
    cudaStreamSynchronize(dev->ctx.stream);
    cudaFree(b->data);
    *b = (struct buffer){0};
}

/* The pinned halves come with the first upload. */
static int
staging_init(struct device *dev)
{
    struct error err;
    if (dev->staging != NULL)
        return 0;
    if (cuda_alloc_pinned(2 * STAGING_BYTES, "uploads", &dev->staging, &err) != 0) {
        dev->failure = err;
        return err.code;
    }
    for (int i = 0; i < 2; i++) {
        int rc = cuda_check(dev, cudaEventCreateWithFlags(&dev->staging_free[i],
                                                          cudaEventDisableTiming),
                            "cannot make an event");
        if (rc != 0)
            return rc;
    }
    return 0;
}

int
cuda_stage(struct device *dev, void *dst, const void *src, size_t bytes)
{
    int rc = staging_init(dev);
    for (size_t done = 0; rc == 0 && done < bytes;) {
        size_t n = MIN(bytes - done, STAGING_BYTES);
        int turn = dev->staging_turn;
        char *half = dev->staging + (size_t)turn * STAGING_BYTES;
        dev->staging_turn = 1 - turn;
        rc = cuda_check(dev, cudaEventSynchronize(dev->staging_free[turn]), "an upload failed");
        if (rc != 0)
            return rc;
        memcpy(half, (const char *)src + done, n);
        rc = cuda_check(dev, cudaMemcpyAsync((char *)dst + done, half, n, cudaMemcpyHostToDevice,
                                             dev->ctx.stream),
                        "an upload failed");
        if (rc == 0)
            rc = cuda_check(dev, cudaEventRecord(dev->staging_free[turn], dev->ctx.stream),
                            "an upload failed");
        done += n;
    }
    return rc;
}

int
cuda_upload(struct device *dev, struct buffer *dst, size_t offset, const void *src, size_t bytes)
{
    ASSERT(offset <= dst->bytes && bytes <= dst->bytes - offset);
    return cuda_stage(dev, (char *)dst->data + offset, src, bytes);
}

int
cuda_download(struct device *dev, void *dst, const struct buffer *src, size_t offset,
              size_t bytes)
{
    ASSERT(offset <= src->bytes && bytes <= src->bytes - offset);
    int rc = cuda_check(dev, cudaMemcpyAsync(dst, (const char *)src->data + offset, bytes,
                                             cudaMemcpyDeviceToHost, dev->ctx.stream),
                        "a download failed");
    return rc != 0 ? rc : cuda_check(dev, cudaStreamSynchronize(dev->ctx.stream),
                                     "a download failed");
}

/* Arenas */

int
cuda_arena_init(struct device *dev, struct arena *a, size_t bytes, struct error *err)
{
    a->bytes = bytes;
    int rc = cuda_alloc_pinned(bytes, "a step's parameters", &a->host, err);
    if (rc != 0)
        return rc;
    return cuda_alloc_own(dev, bytes, "a step's parameters", (void **)&a->device, err);
}

void
cuda_arena_release(struct arena *a)
{
    if (a->host != NULL)
        cudaFreeHost(a->host);
    a->host = NULL;
}

void *
cuda_arena_take(struct arena *a, size_t bytes, void *ret_device)
{
    size_t at = a->used, end = at + ROUND_UP(bytes, 16);
    if (end > a->bytes)
        return NULL;
    a->used = end;
    *(void **)ret_device = a->device + at;
    return a->host + at;
}

int
cuda_arena_send(struct device *dev, struct arena *a)
{
    size_t at = a->sent, n = a->used - at;
    a->sent = a->used;
    if (n == 0)
        return 0;
    return cuda_check(dev, cudaMemcpyAsync(a->device + at, a->host + at, n,
                                           cudaMemcpyHostToDevice, dev->ctx.stream),
                      "cannot copy a step's parameters");
}
