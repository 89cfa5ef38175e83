/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The judge: every op of kernels/ops.h as the plainest loop over doubles. One
 * thread, row-major, slow. Buffers hold f32 as on the CPU, so that both can be
 * fed and read alike; what a backend rounds to 16 bits (weights as stored, the
 * KV cache by kv_config.dtype) is rounded here too.
 */
#ifndef TESTS_OPS_REF_OPS_H
#define TESTS_OPS_REF_OPS_H

#include "kernels/ops.h"

extern const struct ops ref_ops;

/* Element i of a host array. */
float ref_get(enum dtype dtype, const void *data, int64_t i);
/* f rounded to `dtype` and back. */
float ref_round(enum dtype dtype, float f);
/* Writes f, rounded, as element i. */
void ref_set(enum dtype dtype, void *data, int64_t i, float f);

#endif
