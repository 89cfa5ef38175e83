/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Mersenne twister, MT19937 (Matsumoto and Nishimura 1998), which both
 * numpy's global generator and Python's `random` are made of. One thread at a
 * time.
 */
#ifndef LOADGEN_MT19937_H
#define LOADGEN_MT19937_H

#include "util/base.h"

#define MT19937_WORDS 624

struct mt19937 {
    uint32_t words[MT19937_WORDS];
    size_t next; /* MT19937_WORDS: all are used up */
};

/* From one word, as numpy.random.seed(seed) does. */
void mt19937_seed(struct mt19937 *g, uint32_t seed);
/* From `num_words` >= 1 words, as Python's random.seed(int) does. */
void mt19937_seed_words(struct mt19937 *g, const uint32_t *words, size_t num_words);
uint32_t mt19937_next(struct mt19937 *g);
/* Uniform in [0, 1), 53 bits, from two words. */
double mt19937_uniform(struct mt19937 *g);
/* Uniform in [0, last], by drawing as many low bits as `last` has. */
uint32_t mt19937_at_most(struct mt19937 *g, uint32_t last);

#endif
