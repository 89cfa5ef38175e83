/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/ops/fixture.h"

#include "util/rng.h"

#include <math.h>
#include <string.h>

const char *const isa_names[2] = {"avx2", "generic"};

bool
rig_open(struct rig *rig, const char *isa, int threads)
{
    struct error err = {0};
    struct device_options opt = {
        .threads = threads,
        .isa = isa,
        .max_tokens = FIXTURE_MAX_TOKENS,
        .max_seqs = FIXTURE_MAX_SEQS,
        .vocab_size = FIXTURE_VOCAB,
    };
    rig->ops = strcmp(isa, "reference") == 0 ? &ref_ops : &cpu_ops;
    int rc = rig->ops->device_open(&opt, &rig->dev, &err);
    if (rc == ERR_UNSUPPORTED && strcmp(isa, "avx2") == 0)
        return false;
    ck_assert_msg(rc == 0, "cannot open %s: %s", isa, err.text);
    return true;
}

void
rig_close(struct rig *rig)
{
    rig->ops->device_close(rig->dev);
    rig->dev = NULL;
}

struct buffer
rig_buffer(struct rig *rig, const float *data, int64_t n)
{
    struct buffer b;
    ck_assert_int_eq(rig->ops->buffer_alloc(rig->dev, (size_t)n * sizeof *data, &b, NULL), 0);
    if (data != NULL)
        ck_assert_int_eq(rig->ops->upload(rig->dev, &b, 0, data, (size_t)n * sizeof *data), 0);
    return b;
}

void
rig_read(struct rig *rig, const struct buffer *b, float *ret, int64_t n)
{
    ck_assert_int_eq(rig->ops->download(rig->dev, ret, b, 0, (size_t)n * sizeof *ret), 0);
}

struct weight
rig_weight(struct rig *rig, const void *data, enum dtype dtype, int64_t rows, int64_t cols,
           enum weight_use use)
{
    struct error err = {0};
    struct weight w;
    struct host_tensor part = {.data = data, .dtype = dtype, .rows = rows, .cols = cols};
    int rc = rig->ops->weight_load(rig->dev, &part, 1, use, false, &w, &err);
    ck_assert_msg(rc == 0, "weight_load: %s", err.text);
    return w;
}

int
rig_step_begin(struct rig *rig, const struct batch *batch)
{
    struct step_shape step;
    int rc = rig->ops->step_begin(rig->dev, batch, &step);
    ck_assert(rc != 0 || step.num_rows >= batch->num_tokens);
    return rc;
}

int
rig_step_end(struct rig *rig)
{
    int rc = rig->ops->step_end(rig->dev);
    return rc != 0 ? rc : rig->ops->step_wait(rig->dev);
}

int
rig_sample(struct rig *rig, struct buffer *logits, const struct sample_row *rows, int num_rows,
           int64_t vocab_size, struct sample_result *results, int32_t *top_ids,
           float *top_logprobs, int top_stride)
{
    const struct sample_output output = {results, top_ids, top_logprobs, top_stride};
    return rig->ops->sample(rig->dev, logits, rows, num_rows, vocab_size, &output);
}

int
rig_logprobs(struct rig *rig, const struct buffer *logits, const int32_t *targets, int num_rows,
             int64_t vocab_size, int num_logprobs, struct sample_result *results,
             int32_t *top_ids, float *top_logprobs, int top_stride)
{
    const struct sample_output output = {results, top_ids, top_logprobs, top_stride};
    return rig->ops->logprobs(rig->dev, logits, targets, num_rows, vocab_size, num_logprobs,
                              &output);
}

float *
random_floats(uint64_t seed, int64_t n, float scale)
{
    float *x = malloc((size_t)MAX(n, 1) * sizeof *x);
    ck_assert_ptr_nonnull(x);
    for (int64_t i = 0; i < n; i++) {
        uint64_t word = rng_mix64(rng_mix64(seed) + (uint64_t)i);
        x[i] = ((float)(word >> 40) * 0x1p-23f - 1.0f) * scale;
    }
    return x;
}

void *
random_stored(uint64_t seed, int64_t n, float scale, enum dtype dtype)
{
    float *x = random_floats(seed, n, scale);
    void *stored = malloc((size_t)n * dtype_bytes(dtype));
    ck_assert_ptr_nonnull(stored);
    for (int64_t i = 0; i < n; i++)
        ref_set(dtype, stored, i, x[i]);
    free(x);
    return stored;
}

void
assert_close(const char *what, const float *got, const float *want, int64_t n, struct tol tol)
{
    for (int64_t i = 0; i < n; i++) {
        double limit = tol.abs + tol.rel * fabs((double)want[i]);
        double off = fabs((double)got[i] - (double)want[i]);
        if (off <= limit || got[i] == want[i])
            continue;   /* check's own assertions cost a system call each */
        ck_abort_msg("%s: element %lld is %.9g, not %.9g: off by %.3g, allowed %.3g", what,
                     (long long)i, (double)got[i], (double)want[i], off, limit);
    }
}

void
assert_same_bits(const char *what, const float *got, const float *want, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        if (memcmp(&got[i], &want[i], sizeof *got) != 0)
            ck_abort_msg("%s: element %lld is %.9g, not the same bits as %.9g", what,
                         (long long)i, (double)got[i], (double)want[i]);
    }
}
