/* SPDX-License-Identifier: Apache-2.0 */
#include "loadgen/mt19937.h"

void
mt19937_seed(struct mt19937 *g, uint32_t seed)
{
    g->next = MT19937_WORDS;
    g->words[0] = seed;
    for (uint32_t i = 1; i < MT19937_WORDS; i++) {
        uint32_t last = g->words[i - 1];
        g->words[i] = 1812433253u * (last ^ (last >> 30)) + i;
    }
}

/* Moves to the next word, and from the last one to the second: the first is
 * set at the end. */
static size_t
step(uint32_t *words, size_t i)
{
    if (i + 1 < MT19937_WORDS)
        return i + 1;
    words[0] = words[MT19937_WORDS - 1];
    return 1;
}

void
mt19937_seed_words(struct mt19937 *g, const uint32_t *words, size_t num_words)
{
    uint32_t *w = g->words;
    size_t i = 1;
    mt19937_seed(g, 19650218u);
    for (size_t k = 0; k < MAX(num_words, (size_t)MT19937_WORDS); k++) {
        size_t j = k % num_words;
        w[i] = (w[i] ^ ((w[i - 1] ^ (w[i - 1] >> 30)) * 1664525u)) + words[j] + (uint32_t)j;
        i = step(w, i);
    }
    for (size_t k = 1; k < MT19937_WORDS; k++) {
        w[i] = (w[i] ^ ((w[i - 1] ^ (w[i - 1] >> 30)) * 1566083941u)) - (uint32_t)i;
        i = step(w, i);
    }
    w[0] = 0x80000000u;
}

static void
refill(struct mt19937 *g)
{
    uint32_t *w = g->words;
    for (size_t i = 0; i < MT19937_WORDS; i++) {
        uint32_t y = (w[i] & 0x80000000u) | (w[(i + 1) % MT19937_WORDS] & 0x7fffffffu);
        w[i] = w[(i + 397) % MT19937_WORDS] ^ (y >> 1) ^ ((y & 1) != 0 ? 0x9908b0dfu : 0);
    }
    g->next = 0;
}

uint32_t
mt19937_next(struct mt19937 *g)
{
    if (g->next == MT19937_WORDS)
        refill(g);
    uint32_t y = g->words[g->next++];
    y ^= y >> 11;
    y ^= (y << 7) & 0x9d2c5680u;
    y ^= (y << 15) & 0xefc60000u;
    return y ^ (y >> 18);
}

double
mt19937_uniform(struct mt19937 *g)
{
    uint32_t high = mt19937_next(g) >> 5, low = mt19937_next(g) >> 6;
    return ((double)high * 67108864.0 + (double)low) / 9007199254740992.0;
}

uint32_t
mt19937_at_most(struct mt19937 *g, uint32_t last)
{
    uint32_t mask = last, value;
    for (unsigned shift = 1; shift < 32; shift *= 2)
        mask |= mask >> shift;
    if (last == 0)
        return 0;
    do {
        value = mt19937_next(g) & mask;
    } while (value > last);
    return value;
}
