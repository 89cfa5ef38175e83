/* SPDX-License-Identifier: Apache-2.0 */
/* Shows what the inline functions of kernels/cuda/sample.cuh compute. */
#include "tests/cuda/noise.h"

#include "kernels/cuda/sample.cuh"

#define NOISE_THREADS 256

__global__ void
__launch_bounds__(NOISE_THREADS)
noise_of_words(float *noise, uint32_t first, uint32_t n)
{
    uint32_t i = blockIdx.x * NOISE_THREADS + threadIdx.x;
    if (i < n)
        noise[i] = gumbel_noise(NOISE_WORD(first + i));
}

__global__ void
__launch_bounds__(NOISE_THREADS)
exp_of_bits(float *exps, uint32_t first, uint32_t n)
{
    uint32_t i = blockIdx.x * NOISE_THREADS + threadIdx.x;
    if (i < n)
        exps[i] = exact_exp(__uint_as_float(EXP_BITS(first + i)));
}

extern "C" cudaError_t
cuda_noise(cudaStream_t stream, float *noise, uint32_t first, uint32_t n)
{
    noise_of_words<<<(n + NOISE_THREADS - 1) / NOISE_THREADS, NOISE_THREADS, 0, stream>>>(
        noise, first, n);
    return cudaGetLastError();
}

extern "C" cudaError_t
cuda_exp(cudaStream_t stream, float *exps, uint32_t first, uint32_t n)
{
    exp_of_bits<<<(n + NOISE_THREADS - 1) / NOISE_THREADS, NOISE_THREADS, 0, stream>>>(
        exps, first, n);
    return cudaGetLastError();
}
