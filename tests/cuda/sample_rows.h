/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rows to sample or to score, given to the CPU backend and to the CUDA kernels,
 * and their results compared. One program: the context and the CPU's device are
 * its own.
 */
#ifndef TESTS_CUDA_SAMPLE_ROWS_H
#define TESTS_CUDA_SAMPLE_ROWS_H

#include "kernels/cuda/kernels.h"
#include "kernels/ops.h"

#define MAX_VOCAB 256000
#define MAX_ROWS 64
#define MAX_IDS 100   /* of one list of a random row */

extern struct cuda_ctx ctx;
extern struct device *cpu;

void setup(void);
void teardown(void);
/* Whether the CPU backend rounds as the kernels do: only with AVX2. */
bool cpu_is_exact(void);

struct rows {
    int num_rows;
    int64_t vocab;
    float *logits;               /* owned, [R, V] */
    struct sample_row row[MAX_ROWS];
    int32_t ids[MAX_ROWS][5 * MAX_IDS];   /* of random rows */
    float biases[MAX_ROWS][MAX_IDS];
    int32_t last_tokens[MAX_ROWS];        /* row i's last output id on the device is -1 - i */
};

struct results {
    struct sample_result out[MAX_ROWS];
    int32_t drawn[MAX_ROWS];
    int32_t *top_ids;            /* owned, [R, stride] */
    float *top_logprobs;
    int stride;
};

/* The rows in device memory. */
struct device_rows {
    struct sample_args args;
    size_t logits_bytes;
};

/* Plain rows, with room for logits. */
struct rows *rows_new(int num_rows, int64_t vocab);
void rows_free(struct rows *b);
void results_free(struct results *r);
/* What a backend makes of the rows; targets NULL: draw, else score them. */
struct results *run_cpu(const struct rows *b, const int32_t *targets);
struct results *run_cuda(const struct rows *b, const int32_t *targets);
/* The parts of run_cuda. */
struct device_rows device_rows_open(const struct rows *b, const int32_t *targets);
struct results *read_results(const struct rows *b, const struct device_rows *d, bool drawn);
void device_rows_close(struct device_rows *d);
/* Tokens, ranks and lists are equal, log-probabilities close. */
void assert_same_results(const char *what, const struct rows *b, const struct results *got,
                         const struct results *want, bool drawn);
/* All of it: run_cpu, run_cuda, assert_same_results. */
void compare(const char *what, const struct rows *b, const int32_t *targets);

#endif
