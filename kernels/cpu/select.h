/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The best tokens of a row, without sorting the row. Better means a greater
 * value, or the lower id of two equal ones: a strict order, so every result is
 * unique. No allocation.
 */
#ifndef KERNELS_CPU_SELECT_H
#define KERNELS_CPU_SELECT_H

#include "util/base.h"

struct candidate {
    float z;
    float mass;   /* what `select_mass` adds up */
    int32_t id;
};

/* Moves the `count` best to the front, in no order. */
void select_count(struct candidate *c, int64_t n, int64_t count);

/* The index of the last candidate of the shortest best-first prefix whose mass
 * reaches `target`; n - 1 if none does. Reorders c so that the prefix is in
 * front. n >= 1. */
int64_t select_mass(struct candidate *c, int64_t n, double target);

/* Best first. */
void select_sort(struct candidate *c, int64_t n);

#endif
