/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Brings a model's tensors onto the device. An architecture names its tensors
 * one after another; the whole list is gone through twice, first to check that
 * each tensor exists with the right shape (milliseconds), then to load it: so
 * a wrong file is refused before the first byte of weights is read, and the
 * second pass knows what to read ahead.
 *
 * The first error sticks: later calls do nothing. One thread, at start.
 */
#ifndef ENGINE_LOADER_H
#define ENGINE_LOADER_H

#include "engine/engine.h"
#include "engine/safetensors.h"
#include "kernels/ops.h"
#include "util/base.h"
#include "util/error.h"

#define LOADER_MAX_PARTS 3

struct loader {
    const struct ops *ops;       /* borrowed */
    struct device *dev;          /* borrowed */
    struct safetensors *st;      /* borrowed; NULL: random weights */
    struct engine_progress *progress; /* borrowed, may be NULL */
    bool f32;                    /* weights in f32 on the device */
    enum dtype dtype;            /* 16-bit type to convert to; DTYPE_F32: see model_load_args */
    enum dtype dummy_dtype;      /* of random weights */
    uint64_t seed;

    bool checking;               /* the first pass */
    char prefix[32];             /* "model.layers.7." */
    struct host_tensor *plan;    /* owned; every part, in order, from the first pass */
    size_t num_plan, cap_plan;
    size_t next, ahead;          /* plan entries loaded, and asked of the kernel */
    size_t ahead_bytes;          /* asked for and not loaded yet */
    size_t total_bytes, done_bytes; /* of the files */
    size_t weight_bytes;         /* on the device */
    uint64_t num_weights;        /* numbers the seeds of random weights */
    int code;                    /* 0 or the first error */
    struct error *err;           /* borrowed, may be NULL */
};

/* One tensor of the files: [rows, cols], or a vector [cols] when rows is 0. A
 * list of parts ends with name NULL. */
struct tensor_part {
    const char *name; /* after the prefix */
    int64_t rows, cols;
};

/* Sets what precedes the names from now on: the layer's number, or -1 for none. */
void loader_layer(struct loader *l, int layer);

/*
 * Stacks the parts by rows into one weight. A matrix keeps 16 bits unless
 * l->f32; vectors are f32 on the device.
 */
void loader_weight(struct loader *l, struct weight *ret, enum weight_use use,
                   const struct tensor_part *parts);
/* The same for a single tensor; a vector only when `wanted`. */
void loader_matrix(struct loader *l, struct weight *ret, const char *name, int64_t rows,
                   int64_t cols);
void loader_vector(struct loader *l, struct weight *ret, const char *name, int64_t size,
                   bool wanted);
/* Accounts for a tensor that may be in the file and is not needed. */
void loader_ignore(struct loader *l, const char *name);

/* The elements of `t` as `to`, rounded to nearest even, into ret. */
void loader_convert(const struct host_tensor *t, enum dtype to, void *ret);

/* Between the passes: what was checked becomes the plan. */
void loader_begin_loading(struct loader *l);
void loader_release(struct loader *l);

#endif
