/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two threads over a small ring with sleeps on both sides: every item arrives
 * once, in order, and no wake-up is lost. Meant for ThreadSanitizer as well.
 * Argument: number of items (default 2 million).
 */
#include "util/ring.h"

#include <pthread.h>
#include <string.h>

struct item {
    uint64_t number, check, fill[2];
};

struct shared {
    struct ring ring;
    struct waiter has_items, has_room;
    uint64_t total;
};

static bool
items_ready(void *arg)
{
    struct shared *s = arg;
    return ring_count(&s->ring) > 0;
}

static bool
room_ready(void *arg)
{
    struct shared *s = arg;
    return ring_room(&s->ring) > 0;
}

static void *
produce(void *arg)
{
    struct shared *s = arg;
    for (uint64_t i = 0; i < s->total; i++) {
        struct item it = {.number = i, .check = ~i};
        while (!ring_push(&s->ring, &it))
            waiter_sleep(&s->has_room, room_ready, s, 10000);
        waiter_wake(&s->has_items);
    }
    return NULL;
}

int
main(int argc, char **argv)
{
    struct shared *s = aligned_alloc(CACHE_LINE, ROUND_UP(sizeof *s, CACHE_LINE));
    memset(s, 0, sizeof *s);
    s->total = argc > 1 ? strtoull(argv[1], NULL, 10) : 2000000;
    if (ring_init(&s->ring, 64, sizeof(struct item)) != 0 || waiter_init(&s->has_items) != 0
        || waiter_init(&s->has_room) != 0)
        return 2;
    pthread_t t;
    if (pthread_create(&t, NULL, produce, s) != 0)
        return 2;
    struct item items[17];
    uint64_t next = 0, stalls = 0;
    while (next < s->total) {
        size_t n = ring_pop(&s->ring, items, ARRAY_SIZE(items));
        for (size_t i = 0; i < n; i++, next++) {
            if (items[i].number != next || items[i].check != ~next) {
                fprintf(stderr, "item %llu came as %llu\n", (unsigned long long)next,
                        (unsigned long long)items[i].number);
                return 1;
            }
        }
        waiter_wake(&s->has_room);
        if (n == 0) {
            uint64_t start = mono_ns();
            waiter_sleep(&s->has_items, items_ready, s, 10000);
            stalls += mono_ns() - start > 9000000000u;
        }
    }
    pthread_join(t, NULL);
    printf("%llu items in order, %llu lost wake-ups\n", (unsigned long long)next,
           (unsigned long long)stalls);
    ring_release(&s->ring);
    waiter_release(&s->has_items);
    waiter_release(&s->has_room);
    free(s);
    return stalls == 0 ? 0 : 1;
}
