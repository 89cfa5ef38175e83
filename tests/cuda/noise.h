/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The noise of the draw, and exp, as the kernels and as the CPU backend compute
 * them: n values from number `first` on. Noise number i is that of the i-th of
 * the 2^23 random words that differ in it; exp number i is of the float with the
 * bits i * 509.
 */
#ifndef TESTS_CUDA_NOISE_H
#define TESTS_CUDA_NOISE_H

#include <cuda_runtime_api.h>
#include <stdint.h>

#define NUM_NOISES (1u << 23)
#define NOISE_WORD(i) ((i) << 9 | ((i) * 2654435761u >> 23))   /* low bits do not matter */
#define NUM_EXPS (0xffffffffu / 509u)
#define EXP_BITS(i) ((i) * 509u)

#ifdef __cplusplus
extern "C" {
#endif

/* Device memory. */
cudaError_t cuda_noise(cudaStream_t stream, float *noise, uint32_t first, uint32_t n);
cudaError_t cuda_exp(cudaStream_t stream, float *exps, uint32_t first, uint32_t n);

/* Host memory; n % 8 == 0. The AVX2 kernels' values: call where they are used. */
void cpu_noise(float *noise, uint32_t first, uint32_t n);
void cpu_exp(float *exps, uint32_t first, uint32_t n);

#ifdef __cplusplus
}
#endif

#endif
