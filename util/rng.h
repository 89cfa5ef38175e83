/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counter-based random numbers: a value is a pure function of (key, counter),
 * so any thread on any device draws the same one in any order. Philox4x32-10
 * (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
 */
#ifndef UTIL_RNG_H
#define UTIL_RNG_H

#include "util/base.h"

/* The four 32-bit words of Philox4x32-10 for a 64-bit key and a 128-bit
 * counter given as two words. Matches Random123's test vectors. */
void philox4x32(uint64_t key, uint64_t counter_lo, uint64_t counter_hi, uint32_t ret[4]);

/* Uniform in (0, 1): (top 23 bits + 0.5) / 2^23. Exact in f32, so never 0 and
 * never 1 (with 24 bits the largest value would round to 1). */
static inline float
rng_uniform_open(uint32_t word)
{
    return ((float)(word >> 9) + 0.5f) * 0x1p-23f;
}

/* A 64-bit mix (SplitMix64's finaliser): derives seeds from seeds. */
static inline uint64_t
rng_mix64(uint64_t x)
{
    x += 0x9E3779B97F4A7C15u;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    return x ^ (x >> 31);
}

#endif
