/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernels in plain C with the compiler's vector types: any x86-64, and any
 * other machine. Tests run it beside AVX2.
 */
/* no vector crosses a call: every function that takes one is inlined */
#pragma GCC diagnostic ignored "-Wpsabi"

#include "kernels/cpu/attention_impl.h"
#include "kernels/cpu/gemm_impl.h"
#include "kernels/cpu/logits_impl.h"
#include "kernels/cpu/rows_impl.h"

const struct cpu_kernels cpu_kernels_generic = {
    .name = "generic",
    CPU_KERNELS_TABLE,
};
