/* SPDX-License-Identifier: Apache-2.0 */
/* Modules for tests/unit/test_backend.c: a table that names itself "fake", one of
 * another interface (FAKE_ABI), and none (FAKE_EMPTY). */
#include "kernels/ops.h"

#ifndef FAKE_ABI
#define FAKE_ABI OPS_ABI
#endif

#ifdef FAKE_EMPTY
int llmd_some_other_table;
#else
extern const struct ops llmd_cuda_ops;
const struct ops llmd_cuda_ops = {.abi = FAKE_ABI, .name = "fake"};
#endif
