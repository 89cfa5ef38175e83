/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An open-addressing table from 64-bit keys to 64-bit values: 16 bytes a slot,
 * no removal, no per-entry allocation. Also the hash of a byte string, for
 * tables that keep their keys elsewhere. Filled by one thread; afterwards any
 * number may read. Not hardened against keys chosen by an adversary.
 */
#ifndef UTIL_HASHMAP_H
#define UTIL_HASHMAP_H

#include "util/base.h"

#include <string.h>

/* The one key that cannot be stored: it marks a free slot. */
#define HASHMAP_NO_KEY UINT64_MAX

struct hashmap_slot {
    uint64_t key, value;
};

/* Zero-initialised is a valid empty map. */
struct hashmap {
    struct hashmap_slot *slots; /* owned; NULL while empty */
    int bits;                   /* 2^bits slots */
    size_t len;                 /* keys stored */
};

/* Makes room for `num_keys` keys in all, so that putting them does not grow
 * the table. ERR_NOMEM. */
int hashmap_reserve(struct hashmap *h, size_t num_keys);
void hashmap_release(struct hashmap *h);
/* Stores or replaces. ERR_NOMEM leaves the map as it was. */
int hashmap_put(struct hashmap *h, uint64_t key, uint64_t value);

/* The value of `key`, or NULL. Valid until the next put. */
static inline const uint64_t *
hashmap_get(const struct hashmap *h, uint64_t key)
{
    if (h->slots == NULL)
        return NULL;
    size_t mask = ((size_t)1 << h->bits) - 1;
    size_t i = (size_t)((key * 0x9e3779b97f4a7c15u) >> (64 - h->bits));
    while (h->slots[i].key != key) {
        if (h->slots[i].key == HASHMAP_NO_KEY)
            return NULL;
        i = (i + 1) & mask;
    }
    return &h->slots[i].value;
}

/* A 64-bit hash of bytes whose high and low bits are both usable. */
static inline uint64_t
hash_bytes(const void *bytes, size_t len)
{
    const unsigned char *p = bytes;
    uint64_t h = 0x9e3779b97f4a7c15u ^ len;
    while (len > 0) {
        uint64_t word = 0;
        size_t n = MIN(len, sizeof word);
        memcpy(&word, p, n);
        h = (h ^ word) * 0xff51afd7ed558ccdu;
        h ^= h >> 32;
        p += n;
        len -= n;
    }
    h *= 0xc4ceb9fe1a85ec53u;
    return h ^ (h >> 29);
}

#endif
