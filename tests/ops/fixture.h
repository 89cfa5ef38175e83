/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the op tests share: a device under test, random data, comparison. All
 * functions fail the running check test by themselves.
 */
#ifndef TESTS_OPS_FIXTURE_H
#define TESTS_OPS_FIXTURE_H

#include "kernels/backend.h"
#include "tests/ops/ref_ops.h"
#include "tests/ops/tol.h"

#include <check.h>

#define FIXTURE_MAX_TOKENS 2048
#define FIXTURE_MAX_SEQS 64
#define FIXTURE_VOCAB 50000

struct rig {
    const struct ops *ops;
    struct device *dev;   /* owned */
};

/* isa "reference" opens the reference; false when this processor lacks it. */
bool rig_open(struct rig *rig, const char *isa, int threads);
void rig_close(struct rig *rig);

struct buffer rig_buffer(struct rig *rig, const float *data, int64_t n);
void rig_read(struct rig *rig, const struct buffer *b, float *ret, int64_t n);
struct weight rig_weight(struct rig *rig, const void *data, enum dtype dtype, int64_t rows,
                         int64_t cols, enum weight_use use);

/* A step's frame: step_begin and forward_end; step_end and step_wait. 0, or
 * what failed first. */
int rig_step_begin(struct rig *rig, const struct batch *batch);
int rig_step_end(struct rig *rig);
/* The ops, with their results waited for. */
int rig_sample(struct rig *rig, struct buffer *logits, const struct sample_row *rows,
               int num_rows, int64_t vocab_size, struct sample_result *results, int32_t *top_ids,
               float *top_logprobs, int top_stride);
int rig_logprobs(struct rig *rig, const struct buffer *logits, const int32_t *targets,
                 int num_rows, int64_t vocab_size, int num_logprobs,
                 struct sample_result *results, int32_t *top_ids, float *top_logprobs,
                 int top_stride);

/* n floats in [-scale, scale), a function of seed; the caller frees. */
float *random_floats(uint64_t seed, int64_t n, float scale);
/* The same, stored as dtype. */
void *random_stored(uint64_t seed, int64_t n, float scale, enum dtype dtype);

void assert_close(const char *what, const float *got, const float *want, int64_t n,
                  struct tol tol);
void assert_same_bits(const char *what, const float *got, const float *want, int64_t n);

/* "avx2" and "generic": loop tests run over them. */
extern const char *const isa_names[2];

TCase *attention_tests(void);
TCase *sample_tests(void);
TCase *vmath_tests(void);

#endif
