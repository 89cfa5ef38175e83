/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tensors of a Hugging Face directory: model.safetensors, or the shards
 * that model.safetensors.index.json names. Headers are read and checked in full
 * before anything is mapped; the data is mapped read-only and never copied
 * here. Format: huggingface/safetensors README.md; the rules enforced are
 * listed in safetensors_header.c and safetensors.c. One thread at a time.
 */
#ifndef ENGINE_SAFETENSORS_H
#define ENGINE_SAFETENSORS_H

#include "kernels/ops.h"
#include "util/base.h"
#include "util/error.h"

#define SAFETENSORS_MAX_RANK 8
#define SAFETENSORS_MAX_HEADER_BYTES (8 << 20)
#define SAFETENSORS_MAX_TENSORS (1 << 17)
#define SAFETENSORS_MAX_NAME_BYTES 512
#define SAFETENSORS_MAX_FILES 4096

struct safetensor {
    char *name;             /* owned */
    enum dtype dtype;       /* only when dtype_supported */
    bool dtype_supported;
    char dtype_name[16];    /* as the file spells it */
    int rank;
    int64_t shape[SAFETENSORS_MAX_RANK];
    uint64_t offset;        /* of its first byte, after the header */
    uint64_t bytes;
    const void *data;       /* borrowed from the mapping; any alignment */
    int file;               /* index into the files */
    bool used;              /* set by safetensors_take */
};

/*
 * Checks one file's header: the `len` bytes of JSON that follow the length
 * word, for a file with `data_bytes` after them. *ret_tensors is an array in
 * order of offsets, `data` and `file` not set yet. Pure: reads nothing else.
 * ERR_CORRUPT, ERR_RANGE (beyond a limit above), ERR_NOMEM.
 */
int safetensors_parse_header(const char *json, size_t len, uint64_t data_bytes,
                             struct safetensor **ret_tensors, size_t *ret_num,
                             struct error *err);
void safetensors_free_tensors(struct safetensor *tensors, size_t num);
/* Copies a name out of a file for an error text: printable ASCII, cut. */
void safetensors_printable(const char *name, char *ret, size_t ret_bytes);

struct safetensors;

/* Opens all files of `dir`: model.safetensors if there is one, else the index's
 * shards. Time: that of reading the headers. */
int safetensors_open(const char *dir, struct safetensors **ret, struct error *err);
void safetensors_close(struct safetensors *st);
size_t safetensors_count(const struct safetensors *st);
/* Bytes of data of all tensors. */
size_t safetensors_total_bytes(const struct safetensors *st);
/* NULL when there is none. */
const struct safetensor *safetensors_find(const struct safetensors *st, const char *name);
/* Finds a tensor that must exist with exactly this shape (rank 1 when rows is
 * 0: [cols]) and a float dtype, and marks it used. */
int safetensors_take(struct safetensors *st, const char *name, int64_t rows, int64_t cols,
                     struct host_tensor *ret, struct error *err);
/* Marks a tensor used, if it is there. */
void safetensors_ignore(struct safetensors *st, const char *name);
/* ERR_IO when a file has changed since it was opened: what was read from the
 * mapping may be of another file. */
int safetensors_check_unchanged(const struct safetensors *st, struct error *err);
/* The tensors nobody took: how many, and the i-th or NULL, for a warning. */
size_t safetensors_num_unused(const struct safetensors *st);
const struct safetensor *safetensors_unused(const struct safetensors *st, size_t i);
/* Tells the kernel that a taken tensor will be read soon / is not needed again. */
void safetensors_will_need(const struct host_tensor *t);
void safetensors_done_with(const struct host_tensor *t);

#endif
