/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The module's device: whether this machine's GPU can be used, opening and
 * closing it, and how failures are told.
 */
#include "kernels/cuda/internal.h"

#include <stdarg.h>
#include <string.h>

/* Compute capability of the GPUs that the module's code is for: Hopper, and by
 * its PTX anything newer. */
#define MIN_CAPABILITY 90

int
cuda_check(struct device *dev, cudaError_t rc, const char *what)
{
    if (rc == cudaSuccess)
        return 0;
    if (dev->failure.code == 0)
        error_set(&dev->failure, ERR_DEVICE, "%s: %s (%s)", what, cudaGetErrorString(rc),
                  cudaGetErrorName(rc));
    return ERR_DEVICE;
}

int
cuda_fail(struct error *err, cudaError_t rc, const char *fmt, ...)
{
    char what[256];
    va_list args;
    va_start(args, fmt);
    vsnprintf(what, sizeof what, fmt, args);
    va_end(args);
    cudaGetLastError(); /* an error that can be survived must not be found by the next call */
    return error_set(err, rc == cudaErrorMemoryAllocation ? ERR_NOMEM : ERR_DEVICE,
                     "%s: %s (%s)", what, cudaGetErrorString(rc), cudaGetErrorName(rc));
}

/* A driver is there, new enough, and has the device. */
static int
find_device(int ordinal, struct error *err)
{
    int count = 0, driver = 0, runtime = 0;
    cudaError_t rc = cudaGetDeviceCount(&count);
    cudaDriverGetVersion(&driver);
    cudaRuntimeGetVersion(&runtime);
    if (driver == 0)
        return error_set(err, ERR_NOTFOUND, "no NVIDIA driver is loaded on this machine");
    if (rc == cudaErrorInsufficientDriver)
        return error_set(err, ERR_UNSUPPORTED,
                         "the NVIDIA driver is too old: it supports CUDA %d.%d, this module "
                         "needs %d.%d",
                         driver / 1000, driver % 1000 / 10, runtime / 1000, runtime % 1000 / 10);
    if (rc == cudaErrorNoDevice || (rc == cudaSuccess && count == 0))
        return error_set(err, ERR_NOTFOUND, "no NVIDIA GPU is on this machine");
    if (rc != cudaSuccess)
        return cuda_fail(err, rc, "cannot ask for the machine's GPUs");
    if (ordinal < 0 || ordinal >= count)
        return error_set(err, ERR_RANGE, "no GPU %d: this machine has %d", ordinal, count);
    return 0;
}

static int
select_device(struct device *dev, struct error *err)
{
    int ordinal = dev->options.ordinal;
    int rc = find_device(ordinal, err);
    if (rc != 0)
        return rc;
    struct cudaDeviceProp prop;
    cudaError_t cuda_rc = cudaGetDeviceProperties(&prop, ordinal);
    if (cuda_rc != cudaSuccess)
        return cuda_fail(err, cuda_rc, "cannot ask GPU %d for its properties", ordinal);
    if (prop.major * 10 + prop.minor < MIN_CAPABILITY)
        return error_set(err, ERR_UNSUPPORTED,
                         "GPU %d, %s, has compute capability %d.%d: %d.%d or newer is needed "
                         "(H100, H200)",
                         ordinal, prop.name, prop.major, prop.minor, MIN_CAPABILITY / 10,
                         MIN_CAPABILITY % 10);
    cuda_rc = cudaSetDevice(ordinal);
    if (cuda_rc != cudaSuccess)
        return cuda_fail(err, cuda_rc, "cannot use GPU %d, %s", ordinal, prop.name);
    snprintf(dev->name, sizeof dev->name, "%.*s", (int)sizeof dev->name - 1, prop.name);
    dev->memory_total = prop.totalGlobalMem;
    dev->ctx.num_sms = prop.multiProcessorCount;
    return 0;
}

static int
open_plans(struct device *dev, struct error *err)
{
    struct gemm_config cfg = {
        .workspace_bytes = dev->options.deterministic ? 0 : GEMM_WORKSPACE_BYTES,
        .deterministic = dev->options.deterministic,
        .cache_dir = dev->options.cache_dir,
    };
    int rc = cuda_alloc_own(dev, cfg.workspace_bytes, "matrix products", &cfg.workspace, err);
    return rc != 0 ? rc : gemm_plans_new(&cfg, &dev->plans, err);
}

void
cuda_device_close(struct device *dev)
{
    if (dev == NULL)
        return;
    if (dev->ctx.stream != NULL)
        cudaStreamSynchronize(dev->ctx.stream);
    cuda_step_release(dev);
    gemm_plans_free(dev->plans);
    cuda_weights_release(dev);
    cuda_memory_release(dev);
    if (dev->ctx.stream != NULL)
        cudaStreamDestroy(dev->ctx.stream);
    free(dev);
}

static int
open_parts(struct device *dev, struct error *err)
{
    int rc = select_device(dev, err);
    if (rc != 0)
        return rc;
    cudaError_t cuda_rc = cudaStreamCreateWithFlags(&dev->ctx.stream, cudaStreamNonBlocking);
    if (cuda_rc != cudaSuccess)
        return cuda_fail(err, cuda_rc, "cannot make a stream on GPU %d, %s",
                         dev->options.ordinal, dev->name);
    dev->ctx.pdl = !dev->options.no_pdl;
    if ((rc = open_plans(dev, err)) != 0 || (rc = cuda_step_init(dev, err)) != 0)
        return rc;
    return cuda_sampling_init(dev, err);
}

int
cuda_device_open(const struct device_options *opt, struct device **ret, struct error *err)
{
    if (opt->max_tokens <= 0 || opt->max_seqs <= 0 || opt->vocab_size <= 0)
        return error_set(err, ERR_INVALID, "a device for %d tokens, %d sequences and %d words",
                         opt->max_tokens, opt->max_seqs, opt->vocab_size);
    struct device *dev = calloc(1, sizeof *dev);
    if (dev == NULL)
        return error_set(err, ERR_NOMEM, "cannot open the GPU: out of memory");
    dev->options = *opt;
    int rc = open_parts(dev, err);
    if (rc != 0) {
        cuda_device_close(dev);
        return rc;
    }
    dev->options.cache_dir = dev->options.isa = NULL; /* borrowed for the call only */
    *ret = dev;
    return 0;
}

void
cuda_device_info(const struct device *dev, struct device_info *ret)
{
    size_t available = 0, total = dev->memory_total;
    cudaMemGetInfo(&available, &total);
    *ret = (struct device_info){
        .act_dtype = DTYPE_BF16,
        .is_gpu = true,
        .memory_total = total,
        .memory_free = available,
        .workspace_bytes = dev->workspace_bytes,
        .max_steps_in_flight = MAX_STEPS,
        .max_logit_rows = MAX_LOGIT_ROWS,
    };
    snprintf(ret->name, sizeof ret->name, "cuda:%d (%.48s)", dev->options.ordinal, dev->name);
}

const char *
cuda_failure(const struct device *dev)
{
    return dev->failure.code != 0 ? dev->failure.text : NULL;
}
