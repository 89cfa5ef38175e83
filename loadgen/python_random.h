/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Draws of Python's `random` module, to the bit: random.seed(int),
 * random.shuffle, random.choice. One thread at a time.
 */
#ifndef LOADGEN_PYTHON_RANDOM_H
#define LOADGEN_PYTHON_RANDOM_H

#include "loadgen/mt19937.h"

void python_random_seed(struct mt19937 *g, uint64_t seed);
/* Uniform in [0, count), 1 <= count < 2^32: the index that random.choice takes. */
size_t python_random_below(struct mt19937 *g, size_t count);
/* The order random.shuffle gives to 0, 1, ... count - 1; count < 2^32. */
void python_random_shuffle(struct mt19937 *g, size_t *indices, size_t count);

#endif
