/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/machine.h"

#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define TRIES 12

struct limit_job {
    const char *data;
    size_t bytes;
    uint64_t result, begin_ns, end_ns;
    pthread_barrier_t *barrier;
    int number;
    int streams; /* of a read; 0: multiply and add */
};

#define FMA_ROUNDS 4000000 /* some 6 ms: longer than threads take to settle */
#define FMA_CHAINS 10

#if defined(__x86_64__)
__attribute__((target("avx2,fma"))) static uint64_t
fma_all(void)
{
    __m256 x = _mm256_set1_ps(0.999f), y = _mm256_set1_ps(1e-3f);
    __m256 a = x, b = x, c = x, d = x, e = x, f = x, g = x, h = x, i = x, j = x;
    for (int round = 0; round < FMA_ROUNDS; round++) {
        /* ten chains that the compiler may not merge, in registers */
        __asm__ volatile("" : "+x"(a), "+x"(b), "+x"(c), "+x"(d), "+x"(e));
        __asm__ volatile("" : "+x"(f), "+x"(g), "+x"(h), "+x"(i), "+x"(j));
        a = _mm256_fmadd_ps(a, x, y), b = _mm256_fmadd_ps(b, x, y);
        c = _mm256_fmadd_ps(c, x, y), d = _mm256_fmadd_ps(d, x, y);
        e = _mm256_fmadd_ps(e, x, y), f = _mm256_fmadd_ps(f, x, y);
        g = _mm256_fmadd_ps(g, x, y), h = _mm256_fmadd_ps(h, x, y);
        i = _mm256_fmadd_ps(i, x, y), j = _mm256_fmadd_ps(j, x, y);
    }
    a = a + b + c + d + e + f + g + h + i + j;
    return a[0] > 0;
}

/* `streams` places of the data at once, a cache line of each in turn. */
__attribute__((target("avx2"), always_inline)) static inline uint64_t
read_streams(const char *data, size_t bytes, const int streams)
{
    __m256i sum[2 * 8];
    size_t stride = bytes / (size_t)streams / 64 * 64;
    for (int j = 0; j < 2 * streams; j++)
        sum[j] = _mm256_setzero_si256();
    for (size_t i = 0; i < stride; i += 64) {
#pragma GCC unroll 8
        for (int j = 0; j < streams; j++) {
            const char *at = data + (size_t)j * stride + i;
            _mm_prefetch(at + 1024, _MM_HINT_T0);
            sum[2 * j] = _mm256_add_epi64(sum[2 * j], _mm256_load_si256((const __m256i *)at));
            sum[2 * j + 1] =
                _mm256_add_epi64(sum[2 * j + 1], _mm256_load_si256((const __m256i *)(at + 32)));
        }
    }
    for (int j = 1; j < 2 * streams; j++)
        sum[0] = _mm256_add_epi64(sum[0], sum[j]);
    return (uint64_t)_mm256_extract_epi64(sum[0], 0) ^ (uint64_t)_mm256_extract_epi64(sum[0], 2);
}

__attribute__((target("avx2"))) static uint64_t
read_all(const char *data, size_t bytes, int streams)
{
    switch (streams) {
    case 1: return read_streams(data, bytes, 1);
    case 2: return read_streams(data, bytes, 2);
    case 4: return read_streams(data, bytes, 4);
    default: return read_streams(data, bytes, 8);
    }
}
#else
static uint64_t
fma_all(void)
{
    float acc[FMA_CHAINS * 8] = {0};
    for (int round = 0; round < FMA_ROUNDS; round++) {
        for (int i = 0; i < FMA_CHAINS * 8; i++)
            acc[i] = acc[i] * 0.999f + 1e-3f;
    }
    return acc[0] > 0;
}

static uint64_t
read_all(const char *data, size_t bytes, int streams)
{
    uint64_t sum = (uint64_t)streams;
    for (size_t i = 0; i + 8 <= bytes; i += 8)
        sum += *(const uint64_t *)(const void *)(data + i);
    return sum;
}
#endif

/* A core of its own for each thread: short runs end before the kernel has
 * moved two threads apart. */
static void
pin_to_core(int number)
{
    cpu_set_t allowed, one;
    CPU_ZERO(&one);
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0)
        return;
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (CPU_ISSET(cpu, &allowed) && number-- == 0)
            CPU_SET(cpu, &one);
    }
    if (CPU_COUNT(&one) == 1)
        sched_setaffinity(0, sizeof one, &one);
}

static void *
limit_main(void *arg)
{
    struct limit_job *job = arg;
    pin_to_core(job->number);
    pthread_barrier_wait(job->barrier);
    job->begin_ns = mono_ns();
    job->result = job->streams == 0 ? fma_all() : read_all(job->data, job->bytes, job->streams);
    job->end_ns = mono_ns();
    return NULL;
}

static double
time_limit(const char *data, int threads, int streams)
{
    pthread_barrier_t barrier;
    pthread_t ids[MACHINE_THREADS_MAX];
    struct limit_job jobs[MACHINE_THREADS_MAX];
    pthread_barrier_init(&barrier, NULL, (unsigned)threads);
    for (int i = 0; i < threads; i++) {
        size_t share = MACHINE_SWEEP_BYTES / (size_t)threads / 128 * 128;
        jobs[i] = (struct limit_job){.data = data + (size_t)i * share, .bytes = share,
                                     .barrier = &barrier, .number = i, .streams = streams};
        pthread_create(&ids[i], NULL, limit_main, &jobs[i]);
    }
    /* from the first start to the last end, by the threads' own clocks: this
     * one may wake late */
    uint64_t begin_ns = UINT64_MAX, end_ns = 0;
    for (int i = 0; i < threads; i++) {
        pthread_join(ids[i], NULL);
        begin_ns = MIN(begin_ns, jobs[i].begin_ns);
        end_ns = MAX(end_ns, jobs[i].end_ns);
    }
    pthread_barrier_destroy(&barrier);
    return (double)(end_ns - begin_ns) * 1e-9;
}

char *
machine_memory(void)
{
    char *data = aligned_alloc((size_t)2 << 20, MACHINE_SWEEP_BYTES);
    if (data != NULL) {
        madvise(data, MACHINE_SWEEP_BYTES, MADV_HUGEPAGE); /* as weights are */
        memset(data, 1, MACHINE_SWEEP_BYTES);
    }
    return data;
}

double
machine_read_s(const char *data, int threads, int streams)
{
    return time_limit(data, threads, streams);
}

double
machine_fma_s(int threads)
{
    return time_limit(NULL, threads, 0);
}

double
machine_fma_flops(int threads)
{
    return (double)threads * FMA_ROUNDS * FMA_CHAINS * 16;
}

struct roofline_limits
machine_measure(int threads)
{
    struct roofline_limits best = {0};
    char *data = machine_memory();
    if (threads == 0)
        threads = (int)sysconf(_SC_NPROCESSORS_ONLN);
    threads = MIN(MAX(threads, 1), MACHINE_THREADS_MAX);
    if (data == NULL)
        return best;
    for (int i = 0; i < TRIES; i++) {
        for (int streams = 1; streams <= 8; streams *= 2)
            best.read_bytes_per_s =
                MAX(best.read_bytes_per_s,
                    (double)MACHINE_SWEEP_BYTES / machine_read_s(data, threads, streams));
        best.flops_per_s =
            MAX(best.flops_per_s, machine_fma_flops(threads) / machine_fma_s(threads));
    }
    free(data);
    return best;
}
