/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whether a batch may be run: every index that an op will follow without a
 * look. Shared by the backends.
 */
#ifndef KERNELS_BATCH_CHECK_H
#define KERNELS_BATCH_CHECK_H

#include "kernels/ops.h"

struct batch_limits {
    int max_tokens, max_seqs, vocab_size;
    int num_blocks;     /* of the cache; 0: there is none yet, slots are not looked at */
    int max_position;   /* rows of the rotary table; 0: there is none yet */
    int num_drawn;      /* tokens of the step before that an id -1 - i may mean */
};

bool batch_is_valid(const struct batch *b, const struct batch_limits *limits);

#endif
