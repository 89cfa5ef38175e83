/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The CPU backend's table and device: opening, buffers, memory, the step.
 */
#include "kernels/cpu/cpu.h"

#include "kernels/backend.h"
#include "kernels/batch_check.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#include <sched.h>
#include <string.h>
#include <unistd.h>

#define MAX_THREADS 512
/* Logits of a wide vocabulary are large, and more rows at once gain nothing. */
#define MAX_LOGIT_ROWS 64
/* Buffers from this size on lie on huge pages. */
#define LARGE_BUFFER_BYTES ((size_t)1 << 20)

static bool
has_avx2(void)
{
#if defined(__x86_64__)
    unsigned a, b, c, d;
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma"))
        return false;   /* also where the system does not save AVX registers */
    return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
#else
    return false;
#endif
}

static int
choose_kernels(const char *isa, const struct cpu_kernels **ret_kernels, struct error *err)
{
    bool best = isa == NULL || strcmp(isa, "auto") == 0;
    if (!best && strcmp(isa, "avx2") != 0 && strcmp(isa, "generic") != 0)
        return error_set(err, ERR_INVALID,
                         "unknown instruction set '%s': use auto, avx2 or generic", isa);
    *ret_kernels = &cpu_kernels_generic;
    if (!best && strcmp(isa, "generic") == 0)
        return 0;
    if (!has_avx2()) {
        if (best)
            return 0;
        return error_set(err, ERR_UNSUPPORTED,
                         "this processor lacks AVX2, FMA or F16C: use isa auto or generic");
    }
#if defined(__x86_64__)
    *ret_kernels = &cpu_kernels_avx2;
#endif
    return 0;
}

/* Cores that this process may use. */
static int
num_cores(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0)
        return MAX(1, CPU_COUNT(&set));
    return (int)MAX(1, sysconf(_SC_NPROCESSORS_ONLN));
}

static void
device_close(struct device *dev)
{
    if (dev == NULL)
        return;
    cpu_kv_release(dev);
    if (dev->scratch != NULL)
        cpu_sample_release(dev);
    pool_free(dev->pool);
    cpu_weights_release(dev);
    free(dev->scratch);
    free(dev->rope);
    free(dev->items);
    free(dev);
}

static int
device_open(const struct device_options *opt, struct device **ret, struct error *err)
{
    if (opt->max_tokens <= 0 || opt->max_seqs <= 0 || opt->vocab_size <= 0)
        return error_set(err, ERR_INVALID, "a device for %d tokens, %d sequences and %d words",
                         opt->max_tokens, opt->max_seqs, opt->vocab_size);
    if (opt->threads < 0 || opt->threads > MAX_THREADS)
        return error_set(err, ERR_RANGE, "%d compute threads: at most %d are possible",
                         opt->threads, MAX_THREADS);
    struct device *dev = calloc(1, sizeof *dev);
    if (dev == NULL)
        return error_set(err, ERR_NOMEM, "cannot open the CPU device: out of memory");
    dev->options = *opt;
    dev->options.isa = NULL;   /* borrowed for the call only */
    int num_threads = opt->threads > 0 ? opt->threads : MIN(num_cores(), MAX_THREADS);
    int rc = choose_kernels(opt->isa, &dev->kernels, err);
    if (rc == 0)
        rc = pool_new(num_threads, &dev->pool, err);
    if (rc == 0) {
        dev->scratch = calloc((size_t)num_threads, sizeof *dev->scratch);
        dev->items = calloc((size_t)opt->max_tokens + (size_t)opt->max_seqs, sizeof *dev->items);
        if (dev->scratch == NULL || dev->items == NULL || cpu_sample_init(dev) != 0)
            rc = error_set(err, ERR_NOMEM, "cannot allocate the scratch of %d threads",
                           num_threads);
    }
    if (rc != 0) {
        device_close(dev);
        return rc;
    }
    *ret = dev;
    return 0;
}

/* A line "name:   n kB" of /proc/meminfo, in bytes. */
static size_t
meminfo(const char *name)
{
    FILE *f = fopen("/proc/meminfo", "re");
    if (f == NULL)
        return 0;
    char line[128];
    size_t bytes = 0, length = strlen(name);
    while (bytes == 0 && fgets(line, sizeof line, f) != NULL) {
        if (strncmp(line, name, length) == 0 && line[length] == ':')
            bytes = (size_t)strtoull(line + length + 1, NULL, 10) << 10;
    }
    fclose(f);
    return bytes;
}

static void
device_info(const struct device *dev, struct device_info *ret)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    *ret = (struct device_info){
        .act_dtype = DTYPE_F32,
        .max_steps_in_flight = 1,
        .max_logit_rows = MAX_LOGIT_ROWS,
        .memory_total = (size_t)sysconf(_SC_PHYS_PAGES) * page,
        .memory_free = meminfo("MemAvailable"),
    };
    if (ret->memory_free == 0)
        ret->memory_free = (size_t)sysconf(_SC_AVPHYS_PAGES) * page;
    int n = pool_num_threads(dev->pool);
    snprintf(ret->name, sizeof ret->name, "cpu (%s, %d thread%s)", dev->kernels->name, n,
             n == 1 ? "" : "s");
}

static int
buffer_alloc(struct device *dev, size_t bytes, struct buffer *ret, struct error *err)
{
    (void)dev;
    size_t align = bytes >= LARGE_BUFFER_BYTES ? (size_t)2 << 20 : CACHE_LINE;
    void *data = bytes < SIZE_MAX / 2 ? aligned_alloc(align, MAX(align, ROUND_UP(bytes, align)))
                                      : NULL;
    if (data == NULL)
        return error_set(err, ERR_NOMEM, "cannot allocate a buffer of %zu MiB", bytes >> 20);
    *ret = (struct buffer){.data = data, .bytes = bytes};
    return 0;
}

static void
buffer_free(struct device *dev, struct buffer *b)
{
    (void)dev;
    free(b->data);
    *b = (struct buffer){0};
}

static int
upload(struct device *dev, struct buffer *dst, size_t offset, const void *src, size_t bytes)
{
    (void)dev;
    ASSERT(offset <= dst->bytes && bytes <= dst->bytes - offset);
    memcpy((char *)dst->data + offset, src, bytes);
    return 0;
}

static int
download(struct device *dev, void *dst, const struct buffer *src, size_t offset, size_t bytes)
{
    (void)dev;
    ASSERT(offset <= src->bytes && bytes <= src->bytes - offset);
    memcpy(dst, (const char *)src->data + offset, bytes);
    return 0;
}

static int
step_begin(struct device *dev, const struct batch *batch, struct step_shape *ret)
{
    const struct batch_limits limits = {
        .max_tokens = dev->options.max_tokens,
        .max_seqs = dev->options.max_seqs,
        .vocab_size = dev->options.vocab_size,
        .num_blocks = dev->kv_data != NULL ? dev->kv.num_blocks : 0,
        .max_position = dev->rope != NULL ? dev->rope_max_position : 0,
    };
    if (!batch_is_valid(batch, &limits))
        return ERR_INVALID;
    dev->batch = batch;
    dev->items_tile = 0;
    *ret = (struct step_shape){.num_rows = batch->num_tokens};
    return 0;
}

/* Every op has done its work when it returns. */
static int
nothing_to_do(struct device *dev)
{
    (void)dev;
    return 0;
}

/* There is one way to do a product. */
static int
tune(struct device *dev, const struct gemm_product *products, int num_products,
     struct error *err)
{
    (void)dev, (void)products, (void)num_products, (void)err;
    return 0;
}

static const char *
failure(const struct device *dev)
{
    (void)dev;
    return NULL;
}

static int
step_end(struct device *dev)
{
    dev->batch = NULL;
    return 0;
}

const struct ops cpu_ops = {
    .abi = OPS_ABI,
    .name = "cpu",
    .device_open = device_open,
    .device_close = device_close,
    .device_info = device_info,
    .buffer_alloc = buffer_alloc,
    .buffer_free = buffer_free,
    .upload = upload,
    .download = download,
    .weight_load = cpu_weight_load,
    .weight_random = cpu_weight_random,
    .kv_init = cpu_kv_init,
    .kv_block_bytes = cpu_kv_block_bytes,
    .rope_init = cpu_rope_init,
    .tune = tune,
    .step_begin = step_begin,
    .forward_end = nothing_to_do,
    .step_end = step_end,
    .step_wait = nothing_to_do,
    .failure = failure,
    .embed = cpu_embed,
    .rmsnorm = cpu_rmsnorm,
    .add_rmsnorm = cpu_add_rmsnorm,
    .gemm = cpu_gemm,
    .gemm_logits = cpu_gemm_logits,
    .rope_kv_write = cpu_rope_kv_write,
    .attention = cpu_attention,
    .act_mul = cpu_act_mul,
    .gather_rows = cpu_gather_rows,
    .softcap = cpu_softcap,
    .sample = cpu_sample,
    .logprobs = cpu_logprobs,
};
