/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Parameters on the device: matrices row-major in bf16 as in the file, so that
 * loading is a copy; vectors in f32, with a rounded copy for use as a bias.
 */
#include "kernels/cuda/internal.h"

#include "util/float16.h"
#include "util/rng.h"

#include <string.h>

/* Rows are read 16 bytes at a time. */
#define ROW_MULTIPLE 8

static int
weight_new(struct device *dev, int64_t rows, int64_t cols, enum weight_use use,
           struct weight *ret, struct error *err)
{
    struct cuda_weight *w = calloc(1, sizeof *w);
    if (w == NULL)
        return error_set(err, ERR_NOMEM, "cannot load a weight: out of memory");
    bool vector = use == WEIGHT_VECTOR;
    size_t n = (size_t)(rows * cols);
    int rc = cuda_alloc(dev, n * (vector ? 4 : 2), "weights", &w->data, err);
    if (rc == 0 && vector)
        rc = cuda_alloc(dev, n * 2, "weights", (void **)&w->bf16, err);
    if (rc != 0) {
        cudaFree(w->data);
        free(w);
        return rc;
    }
    w->next = dev->weights;
    dev->weights = w;
    *ret = (struct weight){
        .impl = w,
        .rows = rows,
        .cols = cols,
        .dtype = vector ? DTYPE_F32 : DTYPE_BF16,
    };
    return 0;
}

void
cuda_weights_release(struct device *dev)
{
    for (struct cuda_weight *w = dev->weights, *next; w != NULL; w = next) {
        next = w->next;
        cudaFree(w->data);
        cudaFree(w->bf16);
        free(w);
    }
    dev->weights = NULL;
}

static int
report(const struct device *dev, int rc, struct error *err)
{
    if (rc != 0)
        error_set(err, dev->failure.code != 0 ? dev->failure.code : rc, "%s", dev->failure.text);
    return rc;
}

static int
load_vector(struct device *dev, const struct host_tensor *part, const struct weight *w,
            struct error *err)
{
    const struct cuda_weight *impl = w->impl;
    size_t n = (size_t)(w->rows * w->cols);
    bf16_bits *rounded = malloc(n * sizeof *rounded);
    if (rounded == NULL)
        return error_set(err, ERR_NOMEM, "cannot load a weight: out of memory");
    for (size_t i = 0; i < n; i++) {
        float f;
        memcpy(&f, (const char *)part->data + i * sizeof f, sizeof f);
        rounded[i] = bf16_from_f32(f);
    }
    int rc = cuda_stage(dev, impl->data, part->data, n * sizeof(float));
    if (rc == 0)
        rc = cuda_stage(dev, impl->bf16, rounded, n * sizeof *rounded);
    free(rounded);
    return report(dev, rc, err);
}

static int
load_matrix(struct device *dev, const struct host_tensor *parts, int num_parts,
            const struct weight *w, struct error *err)
{
    char *at = ((const struct cuda_weight *)w->impl)->data;
    int rc = 0;
    for (int i = 0; i < num_parts && rc == 0; i++) {
        size_t bytes = (size_t)(parts[i].rows * parts[i].cols) * sizeof(bf16_bits);
        rc = cuda_stage(dev, at, parts[i].data, bytes);
        at += bytes;
    }
    return report(dev, rc, err);
}

static int
check_matrix(int64_t rows, int64_t cols, struct error *err)
{
    if (rows % ROW_MULTIPLE == 0 && cols % ROW_MULTIPLE == 0)
        return 0;
    return error_set(err, ERR_UNSUPPORTED,
                     "a matrix of %lld x %lld: on a GPU both must be multiples of %d",
                     (long long)rows, (long long)cols, ROW_MULTIPLE);
}

int
cuda_weight_load(struct device *dev, const struct host_tensor *parts, int num_parts,
                 enum weight_use use, bool f32_weights, struct weight *ret, struct error *err)
{
    int64_t rows = 0;
    enum dtype wanted = use == WEIGHT_VECTOR ? DTYPE_F32 : DTYPE_BF16;
    for (int i = 0; i < num_parts; i++) {
        if (parts[i].cols != parts[0].cols)
            return error_set(err, ERR_INVALID, "parts of %lld and %lld columns",
                             (long long)parts[0].cols, (long long)parts[i].cols);
        if (parts[i].dtype != wanted || (f32_weights && use != WEIGHT_VECTOR))
            return error_set(err, ERR_UNSUPPORTED, "a GPU computes in bfloat16 alone");
        rows += parts[i].rows;
    }
    int rc = use == WEIGHT_VECTOR ? 0 : check_matrix(rows, parts[0].cols, err);
    struct weight w;
    if (rc == 0)
        rc = weight_new(dev, rows, parts[0].cols, use, &w, err);
    if (rc == 0)
        rc = use == WEIGHT_VECTOR ? load_vector(dev, &parts[0], &w, err)
                                  : load_matrix(dev, parts, num_parts, &w, err);
    if (rc == 0)
        *ret = w;
    return rc;
}

int
cuda_weight_random(struct device *dev, int64_t rows, int64_t cols, enum weight_use use,
                   enum dtype dtype, float scale, uint64_t seed, struct weight *ret,
                   struct error *err)
{
    struct weight w;
    bool vector = use == WEIGHT_VECTOR;
    if (!vector && dtype != DTYPE_BF16)
        return error_set(err, ERR_UNSUPPORTED, "a GPU computes in bfloat16 alone");
    int rc = vector ? 0 : check_matrix(rows, cols, err);
    if (rc == 0)
        rc = weight_new(dev, vector ? 1 : rows, vector ? rows * cols : cols, use, &w, err);
    if (rc != 0)
        return rc;
    const struct cuda_weight *impl = w.impl;
    int64_t n = rows * cols;
    rc = cuda_check(dev, cuda_random(&dev->ctx, impl->data, n, scale, rng_mix64(seed), vector),
                    "cannot fill a weight");
    if (rc == 0 && vector)
        rc = cuda_check(dev, cuda_random(&dev->ctx, impl->bf16, n, scale, rng_mix64(seed), 0),
                        "cannot fill a weight");
    if (rc == 0)
        *ret = w;
    return report(dev, rc, err);
}
