/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A library that is preloaded in front of the CUDA runtime and of cuBLASLt and
 * makes one call fail: the call is not made, its error code is returned. The
 * environment says which:
 *
 *     LLMD_FAULT=function:n:code[:sticky|:lost]
 *
 * the n-th call, counted from 1, of one of FUNCTIONS. With "sticky" all later
 * calls of this function fail as well (no memory is left); with "lost" all later
 * calls of all functions do (an error that a device does not recover from).
 * A fault that happens says so on standard error, once. Any thread.
 */
#include <cublasLt.h>
#include <cuda_runtime_api.h>
#include <dlfcn.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FUNCTIONS(X)                                                                       \
    X(cudaMalloc) X(cudaMallocHost) X(cudaHostAlloc) X(cudaMemcpyAsync)                    \
    X(cudaLaunchKernelExC) X(cudaGraphLaunch) X(cudaStreamSynchronize)                     \
    X(cudaEventSynchronize) X(cudaEventQuery) X(cublasLtMatmul)

enum function {
#define X(name) FAULT_##name,
    FUNCTIONS(X)
#undef X
    NUM_FUNCTIONS,
};

static const char *const names[] = {
#define X(name) #name,
    FUNCTIONS(X)
#undef X
};

static struct {
    int function;      /* NUM_FUNCTIONS: none */
    unsigned long call;
    int code;
    bool sticky, lost;
} plan = {.function = NUM_FUNCTIONS};

static atomic_ulong num_calls[NUM_FUNCTIONS];
static atomic_bool happened;

static void
refuse(const char *text)
{
    fprintf(stderr, "fault: LLMD_FAULT is '%s', not function:n:code[:sticky|:lost] of", text);
    for (int i = 0; i < NUM_FUNCTIONS; i++)
        fprintf(stderr, " %s", names[i]);
    fprintf(stderr, "\n");
    _Exit(2);
}

__attribute__((constructor)) static void
read_plan(void)
{
    const char *text = getenv("LLMD_FAULT");
    if (text == NULL)
        return;
    char name[64], end[8] = "";
    int length = 0, fields = sscanf(text, "%63[^:]:%lu:%d%n:%7[a-z]%n", name, &plan.call,
                                    &plan.code, &length, end, &length);
    plan.sticky = strcmp(end, "sticky") == 0;
    plan.lost = strcmp(end, "lost") == 0;
    if (fields < 3 || text[length] != '\0' || plan.call == 0 || plan.code == 0 ||
        (fields == 4 && !plan.sticky && !plan.lost))
        refuse(text);
    for (plan.function = 0; strcmp(names[plan.function], name) != 0;) {
        if (++plan.function == NUM_FUNCTIONS)
            refuse(text);
    }
}

/* What a function returns once the device is lost: the code that was asked for,
 * where it is one of the function's own kind. */
static int
lost_code(enum function function)
{
    if ((function == FAULT_cublasLtMatmul) == (plan.function == FAULT_cublasLtMatmul))
        return plan.code;
    return function == FAULT_cublasLtMatmul ? (int)CUBLAS_STATUS_EXECUTION_FAILED
                                            : (int)cudaErrorLaunchFailure;
}

/* Counts a call; what it must return, or 0 when it is to be made. */
static int
fault_code(enum function function)
{
    unsigned long call = atomic_fetch_add(&num_calls[function], 1) + 1;
    if (plan.lost && atomic_load(&happened))
        return lost_code(function);
    if ((int)function != plan.function || call < plan.call || (call > plan.call && !plan.sticky))
        return 0;
    if (!atomic_exchange(&happened, true))
        fprintf(stderr, "fault: call %lu of %s returns %d\n", call, names[function], plan.code);
    return plan.code;
}

/* The function behind this library: of a library that came with the program, or
 * with a module that it opened. */
static void *
real_function(const char *name, const char *library)
{
    void *function = dlsym(RTLD_NEXT, name);
    void *opened = function == NULL ? dlopen(library, RTLD_LAZY | RTLD_NOLOAD) : NULL;
    if (opened != NULL)
        function = dlsym(opened, name);
    if (function == NULL) {
        fprintf(stderr, "fault: no %s behind this library\n", name);
        abort();
    }
    return function;
}

#define WRAP(type, name, library, params, args)                                            \
    type name params                                                                       \
    {                                                                                      \
        int code = fault_code(FAULT_##name);                                               \
        return code != 0 ? (type)code : ((type(*) params)real_function(#name, library))args; \
    }
#define WRAP_CUDA(name, params, args) WRAP(cudaError_t, name, "libcudart.so.13", params, args)

WRAP_CUDA(cudaMalloc, (void **p, size_t bytes), (p, bytes))
WRAP_CUDA(cudaMallocHost, (void **p, size_t bytes), (p, bytes))
WRAP_CUDA(cudaHostAlloc, (void **p, size_t bytes, unsigned flags), (p, bytes, flags))
WRAP_CUDA(cudaMemcpyAsync,
          (void *dst, const void *src, size_t bytes, enum cudaMemcpyKind kind, cudaStream_t stream),
          (dst, src, bytes, kind, stream))
WRAP_CUDA(cudaLaunchKernelExC, (const cudaLaunchConfig_t *config, const void *kernel, void **args),
          (config, kernel, args))
WRAP_CUDA(cudaGraphLaunch, (cudaGraphExec_t graph, cudaStream_t stream), (graph, stream))
WRAP_CUDA(cudaStreamSynchronize, (cudaStream_t stream), (stream))
WRAP_CUDA(cudaEventSynchronize, (cudaEvent_t event), (event))
WRAP_CUDA(cudaEventQuery, (cudaEvent_t event), (event))
WRAP(cublasStatus_t, cublasLtMatmul, "libcublasLt.so.13",
     (cublasLtHandle_t handle, cublasLtMatmulDesc_t desc, const void *alpha, const void *a,
      cublasLtMatrixLayout_t a_layout, const void *b, cublasLtMatrixLayout_t b_layout,
      const void *beta, const void *c, cublasLtMatrixLayout_t c_layout, void *d,
      cublasLtMatrixLayout_t d_layout, const cublasLtMatmulAlgo_t *algo, void *workspace,
      size_t workspace_bytes, cudaStream_t stream),
     (handle, desc, alpha, a, a_layout, b, b_layout, beta, c, c_layout, d, d_layout, algo,
      workspace, workspace_bytes, stream))
