/* SPDX-License-Identifier: Apache-2.0 */
#include "util/ring.h"

#include "util/error.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

int
ring_init(struct ring *r, size_t capacity, size_t item_bytes)
{
    size_t cap = 2;
    while (cap < capacity)
        cap *= 2;
    *r = (struct ring){.capacity = cap, .item_bytes = item_bytes};
    r->items = calloc(cap, item_bytes);
    return r->items == NULL ? ERR_NOMEM : 0;
}

void
ring_release(struct ring *r)
{
    free(r->items);
    r->items = NULL;
}

size_t
ring_room(struct ring *r)
{
    size_t tail = atomic_load_explicit(&r->tail, memory_order_relaxed);
    r->seen_head = atomic_load_explicit(&r->head, memory_order_acquire);
    return r->capacity - (tail - r->seen_head);
}

bool
ring_push(struct ring *r, const void *item)
{
    size_t tail = atomic_load_explicit(&r->tail, memory_order_relaxed);
    if (tail - r->seen_head == r->capacity && ring_room(r) == 0)
        return false;
    memcpy(r->items + (tail & (r->capacity - 1)) * r->item_bytes, item, r->item_bytes);
    atomic_store_explicit(&r->tail, tail + 1, memory_order_release);
    return true;
}

size_t
ring_pop(struct ring *r, void *items, size_t max)
{
    size_t head = atomic_load_explicit(&r->head, memory_order_relaxed);
    if (r->seen_tail - head < max)
        r->seen_tail = atomic_load_explicit(&r->tail, memory_order_acquire);
    size_t n = MIN(max, r->seen_tail - head);
    unsigned char *out = items;
    for (size_t i = 0; i < n; i++)
        memcpy(out + i * r->item_bytes,
               r->items + ((head + i) & (r->capacity - 1)) * r->item_bytes, r->item_bytes);
    if (n > 0)
        atomic_store_explicit(&r->head, head + n, memory_order_release);
    return n;
}

size_t
ring_count(const struct ring *r)
{
    size_t head = atomic_load_explicit(&r->head, memory_order_acquire);
    size_t tail = atomic_load_explicit(&r->tail, memory_order_acquire);
    return tail - head;
}

int
waiter_init(struct waiter *w)
{
    atomic_init(&w->sleeping, 0);
    w->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return w->fd < 0 ? ERR_IO : 0;
}

void
waiter_release(struct waiter *w)
{
    if (w->fd >= 0)
        close(w->fd);
    w->fd = -1;
}

/*
 * Both sides read-modify-write `sleeping`, so one of the two comes first: if
 * the producer's, the consumer's exchange sees what it pushed; if the
 * consumer's, the producer sees 1 and writes the eventfd. No wake-up is lost.
 */
void
waiter_wake(struct waiter *w)
{
    if (atomic_fetch_add_explicit(&w->sleeping, 0, memory_order_acq_rel) == 0)
        return;
    uint64_t one = 1;
    ssize_t n;
    do
        n = write(w->fd, &one, sizeof one);
    while (n < 0 && errno == EINTR);
}

void
waiter_sleep(struct waiter *w, bool (*ready)(void *arg), void *arg, int timeout_ms)
{
    atomic_exchange_explicit(&w->sleeping, 1, memory_order_acq_rel);
    if (!ready(arg)) {
        struct pollfd p = {.fd = w->fd, .events = POLLIN};
        poll(&p, 1, timeout_ms);
    }
    atomic_exchange_explicit(&w->sleeping, 0, memory_order_acq_rel);
    uint64_t drained;
    while (read(w->fd, &drained, sizeof drained) < 0 && errno == EINTR)
        ;
}
