/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bounded lock-free ring, one producer thread and one consumer thread, of
 * fixed-size items, and the eventfd by which a sleeping consumer is woken.
 *
 * Invariants
 *  1. head and tail only grow; tail - head is the number of items, 0..capacity.
 *  2. Only the producer writes tail, only the consumer writes head.
 *  3. An item is written before tail is released and read before head is.
 * Both words stand on cache lines of their own; each side keeps a copy of the
 * other's word and looks again only when the copy says full (or empty).
 */
#ifndef UTIL_RING_H
#define UTIL_RING_H

#include "util/base.h"

#include <stdatomic.h>

struct ring {
    _Alignas(CACHE_LINE) atomic_size_t head;  /* next item to read */
    size_t seen_tail;                         /* consumer's copy of tail */
    _Alignas(CACHE_LINE) atomic_size_t tail;  /* next item to write */
    size_t seen_head;                         /* producer's copy of head */
    _Alignas(CACHE_LINE) unsigned char *items; /* owned, [capacity][item_bytes] */
    size_t capacity;                          /* a power of two */
    size_t item_bytes;
};

/* Room for at least `capacity` items of `item_bytes` bytes. 0 or ERR_NOMEM. */
int ring_init(struct ring *r, size_t capacity, size_t item_bytes);
void ring_release(struct ring *r);

/* Producer: number of items that can be pushed now (at least). */
size_t ring_room(struct ring *r);
/* Producer: copies one item in; false when full. */
bool ring_push(struct ring *r, const void *item);
/* Consumer: moves up to `max` items out, returns how many. */
size_t ring_pop(struct ring *r, void *items, size_t max);
/* Either side: a snapshot of the number of items. */
size_t ring_count(const struct ring *r);

/*
 * Sleep and wake of the consumer. waiter_sleep() announces the sleep, lets
 * `ready` look once more (so that no wake-up is lost), then blocks on the
 * eventfd up to timeout_ms (-1: for ever). waiter_wake() costs a system call
 * only when the consumer has announced that it sleeps.
 */
struct waiter {
    int fd;                  /* owned eventfd */
    atomic_int sleeping;     /* 1 while the consumer is going to sleep or asleep */
};

int waiter_init(struct waiter *w);
void waiter_release(struct waiter *w);
void waiter_wake(struct waiter *w);
void waiter_sleep(struct waiter *w, bool (*ready)(void *arg), void *arg, int timeout_ms);

#endif
