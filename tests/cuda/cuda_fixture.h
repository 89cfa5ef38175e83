/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the tests of the CUDA kernels share: a context, device memory made of
 * host arrays, a step's integers in device memory, comparison. All functions
 * fail the running check test by themselves; arrays that they return are the
 * caller's to free. Run with CK_FORK=no: a CUDA context survives no fork.
 */
#ifndef TESTS_CUDA_CUDA_FIXTURE_H
#define TESTS_CUDA_CUDA_FIXTURE_H

#include "kernels/cuda/kernels.h"
#include "kernels/ops.h"

#include <check.h>

#define CUDA_OK(call)                                                                       \
    do {                                                                                    \
        cudaError_t cuda_ok_rc = (call);                                                    \
        ck_assert_msg(cuda_ok_rc == cudaSuccess, "%s: %s", #call,                           \
                      cudaGetErrorString(cuda_ok_rc));                                      \
    } while (0)

/* A stream of its own, programmatic launch on. */
struct cuda_ctx ctx_open(void);
/* Waits for the stream and destroys it. */
void ctx_close(struct cuda_ctx *ctx);

/* Host memory, and an array of it as the reference takes it. */
void *host_new(size_t bytes);
struct buffer host_buffer(const float *data, int64_t n);
/* Never-written device memory. */
void *device_new(size_t bytes);
void *device_copy(const void *data, size_t bytes);
/* Rounded to bf16. */
bf16_bits *device_bf16(const float *data, int64_t n);
void device_free(const void *p);
/* All of the device's work is done first. */
void device_read(void *ret, const void *src, size_t bytes);
/* Widened to f32. */
float *device_read_bf16(const bf16_bits *src, int64_t n);

/* n floats in [-scale, scale) that bf16 holds exactly, a function of seed. */
float *random_bf16(uint64_t seed, int64_t n, float scale);

/*
 * got[i], which bf16 holds, is want[i] rounded once: off by half the spacing of
 * bf16 around want[i] and by `slack` spacings more, what arithmetic in f32 may
 * add; `floor` is an error that is allowed to any.
 */
void assert_rounded(const char *what, const float *got, const float *want, int64_t n,
                    double slack, double floor);
/* The same of n elements in device memory. */
void assert_device_rounded(const char *what, const bf16_bits *got, const float *want, int64_t n,
                           double slack, double floor);
/* They are want[i], rounded, to the bit. */
void assert_device_bits(const char *what, const bf16_bits *got, const float *want, int64_t n);

/*
 * A batch in host memory: sequence s has seq_lens[s] tokens, of which the last
 * q_lens[s] are this step's, in pages drawn without repetition from num_blocks.
 * Token ids are below vocab_size. `batch` points into the rest.
 */
struct batch_fixture {
    struct batch batch;
    int32_t *memory;   /* owned */
};
void batch_open(struct batch_fixture *ret, uint64_t seed, const int *q_lens, const int *seq_lens,
                int num_seqs, int num_blocks, int vocab_size);
void batch_close(struct batch_fixture *f);

/*
 * The batch's integers in device memory, padded to `rows` rows. Sequences with
 * one row are decode items, split as decode_split_keys says (unless !split);
 * the others are prefill tiles. row_ids and last_tokens may be NULL.
 */
struct step_fixture {
    struct step_ints ints;   /* owned, all of them */
    int32_t *row_ids;        /* owned, device memory */
    int rows, num_items, num_tiles;
    int num_partials;        /* slots that the split items need */
};
void step_open(struct step_fixture *ret, const struct batch *batch, int rows, bool split,
               const int32_t *row_ids, int num_row_ids, const int32_t *last_tokens,
               int num_last_tokens);
void step_close(struct step_fixture *f);

#endif
