/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two of numpy's random streams, to the bit: the legacy global one
 * (numpy.random.seed: gamma, randint, permutation; MT19937), from which arrival
 * gaps come, and the new one (numpy.random.default_rng(seed).integers; SeedSequence and PCG64),
 * from which the random data set comes. One thread at a time.
 */
#ifndef LOADGEN_NUMPY_RANDOM_H
#define LOADGEN_NUMPY_RANDOM_H

#include "loadgen/mt19937.h"

struct numpy_legacy {
    struct mt19937 twister;
    bool has_normal;
    double spare_normal; /* the second of a pair, when has_normal */
};

void numpy_legacy_seed(struct numpy_legacy *g, uint32_t seed);
/* Uniform in [0, 1), 53 bits. */
double numpy_legacy_uniform(struct numpy_legacy *g);
/* Gamma of this shape >= 0 and scale 1. */
double numpy_legacy_gamma(struct numpy_legacy *g, double shape);
/* randint(0, count): uniform in [0, count), 1 <= count <= 2^32. */
int64_t numpy_legacy_below(struct numpy_legacy *g, int64_t count);
/* The order in which permutation(count) puts 0, 1, ... count - 1; count < 2^32. */
void numpy_legacy_permutation(struct numpy_legacy *g, size_t *indices, size_t count);

struct numpy_generator {
    unsigned __int128 state, increment;
    bool has_half;
    uint32_t half; /* the high word of the last draw, when has_half */
};

void numpy_generator_seed(struct numpy_generator *g, uint64_t seed);
/* Uniform in [low, high), with 0 < high - low <= 2^32. */
int64_t numpy_generator_integer(struct numpy_generator *g, int64_t low, int64_t high);

#endif
