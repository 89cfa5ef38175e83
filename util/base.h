/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Small things every file needs: attributes, checked arithmetic, assertions,
 * an intrusive list and the monotonic clock. No state, any thread.
 */
#ifndef UTIL_BASE_H
#define UTIL_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))
#define CEIL_DIV(a, b) (((a) + (b)-1) / (b))
#define ROUND_UP(a, b) (CEIL_DIV(a, b) * (b))
#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))
#define CACHE_LINE 64

/*
 * ASSERT: a caller broke the contract, or an index would leave a device
 * table. Always on. DASSERT: the same in hot loops, in debug builds only.
 * Input from clients, files or the network is never asserted.
 */
#define ASSERT(cond)                                                                         \
    do {                                                                                     \
        if (__builtin_expect(!(cond), 0)) {                                                  \
            fprintf(stderr, "<2>%s:%d: assertion failed: %s\n", __FILE__, __LINE__, #cond);  \
            abort();                                                                         \
        }                                                                                    \
    } while (0)

#ifdef LLMD_DEBUG
#define DASSERT(cond) ASSERT(cond)
#else
#define DASSERT(cond) ((void)0)
#endif

/* ret = a * b, a + b; true when the result does not fit. */
#define mul_overflow(a, b, ret) __builtin_mul_overflow(a, b, ret)
#define add_overflow(a, b, ret) __builtin_add_overflow(a, b, ret)

/* Nanoseconds of CLOCK_MONOTONIC. */
static inline uint64_t
mono_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* A circular doubly linked list threaded through its members. */
struct list {
    struct list *prev, *next;
};

static inline void
list_init(struct list *head)
{
    head->prev = head->next = head;
}

static inline bool
list_empty(const struct list *head)
{
    return head->next == head;
}

/* Links `node` before `at`; with at = the head, appends. */
static inline void
list_insert_before(struct list *at, struct list *node)
{
    node->prev = at->prev;
    node->next = at;
    at->prev->next = node;
    at->prev = node;
}

static inline void
list_append(struct list *head, struct list *node)
{
    list_insert_before(head, node);
}

static inline void
list_prepend(struct list *head, struct list *node)
{
    list_insert_before(head->next, node);
}

static inline void
list_remove(struct list *node)
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    node->prev = node->next = node;
}

#define list_for_each(pos, head) \
    for (struct list *pos = (head)->next; pos != (head); pos = pos->next)
/* Safe against removal of `pos` itself. */
#define list_for_each_safe(pos, tmp, head)                                        \
    for (struct list *pos = (head)->next, *tmp = pos->next; pos != (head);        \
         pos = tmp, tmp = pos->next)

#endif
