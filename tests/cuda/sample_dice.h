/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random rows: logits of all kinds, parameters, lists with doubles and ids of no
 * token. A function of the dice's state.
 */
#ifndef TESTS_CUDA_SAMPLE_DICE_H
#define TESTS_CUDA_SAMPLE_DICE_H

#include "tests/cuda/sample_rows.h"
#include "util/base.h"

struct dice {
    uint64_t state;
};

/* Below `sides`. */
uint32_t roll(struct dice *d, uint32_t sides);
/* One of the floats. */
#define ROLL_OF(d, ...)                                                          \
    ((const float[]){__VA_ARGS__})[roll(d, ARRAY_SIZE(((const float[]){__VA_ARGS__})))]

enum logit_kind {
    SPREAD, PEAKED, COARSE, EQUAL, HUGE_VALUES, SPRINKLED, NOTHING, NUM_LOGIT_KINDS
};

float roll_logit(struct dice *d, enum logit_kind kind, float scale);
/* Row i: logits and parameters; lists, and up to max_top log-probabilities (-1:
 * none), by chance. */
void roll_row(struct dice *d, struct rows *b, int i, bool lists, int max_top);

#endif
