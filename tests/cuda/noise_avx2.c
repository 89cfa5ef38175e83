/* SPDX-License-Identifier: Apache-2.0 */
/* What kernels/cpu/kernels_avx2.c computes, in the same way. */
#include "tests/cuda/noise.h"

#include "util/rng.h"

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
#include "kernels/cpu/vmath.h"

void
cpu_noise(float *noise, uint32_t first, uint32_t n)
{
    for (uint32_t i = 0; i < n; i += LANES) {
        float u[LANES];
        for (uint32_t j = 0; j < LANES; j++)
            u[j] = rng_uniform_open(NOISE_WORD(first + i + j));
        v_store(noise + i, -v_log(-v_log(v_load(u))));
    }
}

void
cpu_exp(float *exps, uint32_t first, uint32_t n)
{
    for (uint32_t i = 0; i < n; i += LANES) {
        float x[LANES];
        for (uint32_t j = 0; j < LANES; j++) {
            uint32_t bits = EXP_BITS(first + i + j);
            memcpy(&x[j], &bits, sizeof x[j]);
        }
        v_store(exps + i, v_exp(v_load(x)));
    }
}

#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
