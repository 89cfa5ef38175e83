/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A library that is preloaded in front of the CUDA runtime and tells of another
 * machine than this one. The environment says which:
 *
 *     LLMD_PRETEND=no-driver       as where none is loaded
 *                  old-driver      one of CUDA 12.4
 *                  no-gpu          a driver alone
 *                  capability-8.0  a GPU of the generation before
 *
 * What it does not change is asked of the runtime behind it. Any thread.
 */
#include <cuda_runtime_api.h>
#include <dlfcn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool
pretends(const char *machine)
{
    const char *text = getenv("LLMD_PRETEND");
    return text != NULL && strcmp(text, machine) == 0;
}

static void *
real_function(const char *name)
{
    void *function = dlsym(RTLD_NEXT, name);
    void *runtime = function == NULL ? dlopen("libcudart.so.13", RTLD_LAZY | RTLD_NOLOAD) : NULL;
    if (runtime != NULL)
        function = dlsym(runtime, name);
    if (function == NULL) {
        fprintf(stderr, "pretend: no %s behind this library\n", name);
        abort();
    }
    return function;
}

cudaError_t
cudaGetDeviceCount(int *ret)
{
    if (pretends("no-driver") || pretends("old-driver"))
        return cudaErrorInsufficientDriver; /* the runtime does not tell them apart */
    if (pretends("no-gpu"))
        return cudaErrorNoDevice;
    return ((cudaError_t(*)(int *))real_function("cudaGetDeviceCount"))(ret);
}

cudaError_t
cudaDriverGetVersion(int *ret)
{
    if (pretends("no-driver") || pretends("old-driver")) {
        *ret = pretends("no-driver") ? 0 : 12040;
        return cudaSuccess;
    }
    return ((cudaError_t(*)(int *))real_function("cudaDriverGetVersion"))(ret);
}

cudaError_t
cudaGetDeviceProperties(struct cudaDeviceProp *ret, int device)
{
    cudaError_t rc = ((cudaError_t(*)(struct cudaDeviceProp *, int))real_function(
        "cudaGetDeviceProperties"))(ret, device);
    if (rc == cudaSuccess && pretends("capability-8.0")) {
        ret->major = 8;
        ret->minor = 0;
        snprintf(ret->name, sizeof ret->name, "NVIDIA A100 80GB PCIe");
    }
    return rc;
}
