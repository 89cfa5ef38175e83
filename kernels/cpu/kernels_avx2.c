/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernels for AVX2 with FMA and F16C. The file needs no compiler flags:
 * the instruction set is switched on for it alone, and the device opens it
 * only where the processor has all three.
 */
#include "kernels/cpu/kernels.h"

#if defined(__x86_64__)

#include <immintrin.h>
#include <math.h>
#include <string.h>

#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")
#endif

#define SIMD_AVX2
#include "kernels/cpu/attention_impl.h"
#include "kernels/cpu/gemm_impl.h"
#include "kernels/cpu/logits_impl.h"
#include "kernels/cpu/rows_impl.h"

const struct cpu_kernels cpu_kernels_avx2 = {
    .name = "AVX2+FMA",
    CPU_KERNELS_TABLE,
};

#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#endif
