/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A thread that calls a function at fixed times: one period after its start,
 * two periods after it, and so on, and a last time when it is stopped.
 */
#ifndef UTIL_TICKER_H
#define UTIL_TICKER_H

#include "util/base.h"
#include "util/error.h"

struct ticker;

int ticker_start(uint64_t period_ns, void (*tick)(void *arg), void *arg, struct ticker **ret,
                 struct error *err);
/* Waits for the last call, and frees it. NULL is allowed. */
void ticker_stop(struct ticker *t);

#endif
