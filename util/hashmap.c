/* SPDX-License-Identifier: Apache-2.0 */
#include "util/hashmap.h"
#include "util/error.h"

#define MIN_BITS 4
#define MAX_BITS 40

/* At most two slots in three are taken. */
static bool
fits(size_t num_keys, int bits)
{
    return num_keys <= (((size_t)1 << bits) / 3) * 2;
}

static void
insert(struct hashmap_slot *slots, int bits, uint64_t key, uint64_t value)
{
    size_t mask = ((size_t)1 << bits) - 1;
    size_t i = (size_t)((key * 0x9e3779b97f4a7c15u) >> (64 - bits));
    while (slots[i].key != HASHMAP_NO_KEY)
        i = (i + 1) & mask;
    slots[i] = (struct hashmap_slot){key, value};
}

int
hashmap_reserve(struct hashmap *h, size_t num_keys)
{
    int bits = h->slots == NULL ? MIN_BITS : h->bits;
    while (bits < MAX_BITS && !fits(num_keys, bits))
        bits++;
    if (!fits(num_keys, bits))
        return ERR_NOMEM;
    if (h->slots != NULL && bits == h->bits)
        return 0;
    size_t num_slots = (size_t)1 << bits;
    struct hashmap_slot *slots = malloc(num_slots * sizeof *slots);
    if (slots == NULL)
        return ERR_NOMEM;
    memset(slots, 0xff, num_slots * sizeof *slots);
    for (size_t i = 0; h->slots != NULL && i < (size_t)1 << h->bits; i++) {
        if (h->slots[i].key != HASHMAP_NO_KEY)
            insert(slots, bits, h->slots[i].key, h->slots[i].value);
    }
    free(h->slots);
    h->slots = slots;
    h->bits = bits;
    return 0;
}

void
hashmap_release(struct hashmap *h)
{
    free(h->slots);
    *h = (struct hashmap){0};
}

int
hashmap_put(struct hashmap *h, uint64_t key, uint64_t value)
{
    ASSERT(key != HASHMAP_NO_KEY);
    uint64_t *old = (uint64_t *)hashmap_get(h, key);
    if (old != NULL) {
        *old = value;
        return 0;
    }
    if (h->slots == NULL || !fits(h->len + 1, h->bits)) {
        int rc = hashmap_reserve(h, h->len + 1);
        if (rc < 0)
            return rc;
    }
    insert(h->slots, h->bits, key, value);
    h->len++;
    return 0;
}
