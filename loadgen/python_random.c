/* SPDX-License-Identifier: Apache-2.0 */
#include "loadgen/python_random.h"

void
python_random_seed(struct mt19937 *g, uint64_t seed)
{
    uint32_t words[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    mt19937_seed_words(g, words, words[1] != 0 ? 2 : 1);
}

/* Draws as many high bits as `count` itself has, so one more than needed where
 * that is a power of two. */
size_t
python_random_below(struct mt19937 *g, size_t count)
{
    ASSERT(count > 0 && count <= UINT32_MAX);
    int shift = __builtin_clz((unsigned)count);
    size_t value;
    do {
        value = mt19937_next(g) >> shift;
    } while (value >= count);
    return value;
}

void
python_random_shuffle(struct mt19937 *g, size_t *indices, size_t count)
{
    for (size_t i = 0; i < count; i++)
        indices[i] = i;
    for (size_t i = count; i-- > 1;) {
        size_t j = python_random_below(g, i + 1), kept = indices[i];
        indices[i] = indices[j];
        indices[j] = kept;
    }
}
