/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The library that makes CUDA calls fail (fault.c) does so at the call that it
 * was told, and at no other. Each case runs this program again, with the library
 * (FAULT_LIBRARY) in front of the runtime: `test_fault FUNCTION` calls the
 * function six times and cudaStreamSynchronize once more, and prints what they
 * returned.
 */
#include "kernels/cuda/kernels.h"

#include <check.h>
#include <cublasLt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define NUM_CALLS 6

/* ---- the program that is run again ------------------------------------------ */

#define MUST(call)                                               \
    do {                                                         \
        int must_rc = (int)(call);                               \
        if (must_rc != 0) {                                      \
            fprintf(stderr, "%s returned %d\n", #call, must_rc); \
            exit(3);                                             \
        }                                                        \
    } while (0)

#define MATRIX 16   /* rows and columns of the product */

struct caller {
    struct cuda_ctx ctx;
    cudaEvent_t event;
    cudaGraphExec_t graph;
    float *memory;            /* device; a matrix of zeros */
    cublasLtHandle_t blas;
    cublasLtMatmulDesc_t product;
    cublasLtMatrixLayout_t layout;
};

static int
call_malloc(struct caller *c)
{
    void *p;
    (void)c;
    return cudaMalloc(&p, 16);
}

static int
call_malloc_host(struct caller *c)
{
    void *p;
    (void)c;
    return cudaMallocHost(&p, 16);
}

static int
call_host_alloc(struct caller *c)
{
    void *p;
    (void)c;
    return cudaHostAlloc(&p, 16, cudaHostAllocDefault);
}

static int
call_memcpy_async(struct caller *c)
{
    return cudaMemcpyAsync(c->memory, c->memory + 4, 16, cudaMemcpyDeviceToDevice, c->ctx.stream);
}

/* As every kernel is launched. */
static int
call_launch(struct caller *c)
{
    return cuda_softcap(&c->ctx, c->memory, 64, 30);
}

static int
call_graph_launch(struct caller *c)
{
    return cudaGraphLaunch(c->graph, c->ctx.stream);
}

static int
call_stream_synchronize(struct caller *c)
{
    return cudaStreamSynchronize(c->ctx.stream);
}

static int
call_event_synchronize(struct caller *c)
{
    return cudaEventSynchronize(c->event);
}

/* An event may be asked too early; that is no fault. */
static int
call_event_query(struct caller *c)
{
    cudaError_t rc = cudaEventQuery(c->event);
    return rc == cudaErrorNotReady ? cudaSuccess : rc;
}

static int
call_matmul(struct caller *c)
{
    const float one = 1, zero = 0;
    float *out = c->memory + MATRIX * MATRIX;
    return (int)cublasLtMatmul(c->blas, c->product, &one, c->memory, c->layout, c->memory,
                               c->layout, &zero, out, c->layout, out, c->layout, NULL, NULL, 0,
                               c->ctx.stream);
}

static const struct {
    const char *name;
    int (*call)(struct caller *c);
    int code;   /* a likely one */
} functions[] = {
    {"cudaMalloc", call_malloc, cudaErrorMemoryAllocation},
    {"cudaMallocHost", call_malloc_host, cudaErrorMemoryAllocation},
    {"cudaHostAlloc", call_host_alloc, cudaErrorMemoryAllocation},
    {"cudaMemcpyAsync", call_memcpy_async, cudaErrorInvalidValue},
    {"cudaLaunchKernelExC", call_launch, cudaErrorLaunchOutOfResources},
    {"cudaGraphLaunch", call_graph_launch, cudaErrorIllegalAddress},
    {"cudaStreamSynchronize", call_stream_synchronize, cudaErrorIllegalAddress},
    {"cudaEventSynchronize", call_event_synchronize, cudaErrorLaunchFailure},
    {"cudaEventQuery", call_event_query, cudaErrorECCUncorrectable},
    {"cublasLtMatmul", call_matmul, CUBLAS_STATUS_EXECUTION_FAILED},
};
#define NUM_FUNCTIONS (int)(sizeof functions / sizeof functions[0])

/* All that the calls need; `name` itself is not called. */
static void
prepare(struct caller *c, const char *name)
{
    MUST(cudaStreamCreateWithFlags(&c->ctx.stream, cudaStreamNonBlocking));
    MUST(cudaEventCreate(&c->event));
    MUST(cudaEventRecord(c->event, c->ctx.stream));
    if (strcmp(name, "cudaMalloc") == 0)
        return;
    MUST(cudaMalloc((void **)&c->memory, 2 * MATRIX * MATRIX * sizeof *c->memory));
    MUST(cudaMemset(c->memory, 0, 2 * MATRIX * MATRIX * sizeof *c->memory));
    MUST(cudaDeviceSynchronize());
    if (strcmp(name, "cudaGraphLaunch") == 0) {
        cudaGraph_t graph;
        MUST(cudaStreamBeginCapture(c->ctx.stream, cudaStreamCaptureModeThreadLocal));
        MUST(cuda_softcap(&c->ctx, c->memory, 64, 30));
        MUST(cudaStreamEndCapture(c->ctx.stream, &graph));
        MUST(cudaGraphInstantiate(&c->graph, graph, 0));
    }
    if (strcmp(name, "cublasLtMatmul") == 0) {
        MUST(cublasLtCreate(&c->blas));
        MUST(cublasLtMatmulDescCreate(&c->product, CUBLAS_COMPUTE_32F, CUDA_R_32F));
        MUST(cublasLtMatrixLayoutCreate(&c->layout, CUDA_R_32F, MATRIX, MATRIX, MATRIX));
    }
}

static int
call_and_print(const char *name)
{
    struct caller c = {0};
    for (int f = 0; f < NUM_FUNCTIONS; f++) {
        if (strcmp(functions[f].name, name) != 0)
            continue;
        prepare(&c, name);
        for (int i = 0; i < NUM_CALLS; i++)
            printf("%d ", functions[f].call(&c));
        printf("%d\n", cudaStreamSynchronize(c.ctx.stream));
        return 0;
    }
    return 4;
}

/* ---- the tests ---------------------------------------------------------------- */

/* What `test_fault NAME` prints with this LLMD_FAULT, errors first; its exit status. */
static int
run_again(const char *name, const char *fault, char *ret, size_t ret_bytes)
{
    const char *preloaded = getenv("LD_PRELOAD");
    char command[4096];
    int n = snprintf(command, sizeof command,
                     "%s%s LD_PRELOAD='%s:%s' exec /proc/%d/exe %s 2>&1",
                     fault != NULL ? "LLMD_FAULT=" : "", fault != NULL ? fault : "", FAULT_LIBRARY,
                     preloaded != NULL ? preloaded : "", (int)getpid(), name);
    ck_assert_int_lt(n, (int)sizeof command);
    FILE *out = popen(command, "r");
    ck_assert_ptr_nonnull(out);
    memset(ret, 0, ret_bytes);
    ck_assert_uint_lt(fread(ret, 1, ret_bytes - 1, out), ret_bytes - 1);
    int status = pclose(out);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* Calls first..last return `code`, the cudaStreamSynchronize behind them `after`;
 * the first one that fails is announced. first = 0: none does. */
static void
check_calls(int function, const char *fault, int first, int last, int code, int after)
{
    char got[256], want[256];
    int n = 0;
    if (first > 0)
        n = snprintf(want, sizeof want, "fault: call %d of %s returns %d\n", first,
                     functions[function].name, code);
    for (int i = 1; i <= NUM_CALLS; i++)
        n += snprintf(want + n, sizeof want - (size_t)n, "%d ",
                      i >= first && i <= last ? code : 0);
    snprintf(want + n, sizeof want - (size_t)n, "%d\n", after);
    ck_assert_int_eq(run_again(functions[function].name, fault, got, sizeof got), 0);
    ck_assert_str_eq(got, want);
}

START_TEST(test_fault_unset_fails_no_call)
{
    check_calls(_i, NULL, 0, 0, 0, 0);
}
END_TEST

START_TEST(test_fault_fails_the_call_it_names)
{
    char fault[96];
    int code = functions[_i].code;
    for (int n = 1; n <= NUM_CALLS; n += 2) {
        snprintf(fault, sizeof fault, "%s:%d:%d", functions[_i].name, n, code);
        check_calls(_i, fault, n, n, code, 0);
    }
}
END_TEST

START_TEST(test_fault_sticky_fails_all_calls_of_its_function_from_there)
{
    char fault[96];
    int code = functions[_i].code;
    bool same = strcmp(functions[_i].name, "cudaStreamSynchronize") == 0;
    snprintf(fault, sizeof fault, "%s:3:%d:sticky", functions[_i].name, code);
    check_calls(_i, fault, 3, NUM_CALLS, code, same ? code : 0);
}
END_TEST

START_TEST(test_fault_lost_fails_all_calls_of_all_functions_from_there)
{
    char fault[96];
    int code = functions[_i].code;
    bool blas = strcmp(functions[_i].name, "cublasLtMatmul") == 0;
    snprintf(fault, sizeof fault, "%s:4:%d:lost", functions[_i].name, code);
    check_calls(_i, fault, 4, NUM_CALLS, code, blas ? cudaErrorLaunchFailure : code);
}
END_TEST

/* A function's fault is not another's. */
START_TEST(test_fault_of_another_function_fails_no_call)
{
    for (int f = 0; f < NUM_FUNCTIONS; f++) {
        char fault[96];
        snprintf(fault, sizeof fault, "%s:5:%d", functions[f].name, functions[f].code);
        if (f != _i)
            check_calls(_i, fault, 0, 0, 0, 0);
    }
}
END_TEST

START_TEST(test_fault_that_is_not_understood_ends_the_program)
{
    static const char *const faults[] = {
        "''", "cudaMalloc", "cudaMalloc:1", "cudaMalloc:0:2", "cudaMalloc:1:0", "cudaMalloc:1:x",
        "cudaMalloc:1:2:never", "cudaMalloc:1:2:", "cudaMalloc:1:2:sticky:", "cudaFree:1:2",
    };
    char got[1024];
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++)
        ck_assert_msg(run_again("cudaMalloc", faults[i], got, sizeof got) == 2, "'%s' was taken",
                      faults[i]);
}
END_TEST

static Suite *
fault_suite(void)
{
    Suite *suite = suite_create("cuda fault");
    TCase *t = tcase_create("fault");
    tcase_set_timeout(t, 300);
    tcase_add_loop_test(t, test_fault_unset_fails_no_call, 0, NUM_FUNCTIONS);
    tcase_add_loop_test(t, test_fault_fails_the_call_it_names, 0, NUM_FUNCTIONS);
    tcase_add_loop_test(t, test_fault_sticky_fails_all_calls_of_its_function_from_there, 0,
                        NUM_FUNCTIONS);
    tcase_add_loop_test(t, test_fault_lost_fails_all_calls_of_all_functions_from_there, 0,
                        NUM_FUNCTIONS);
    tcase_add_loop_test(t, test_fault_of_another_function_fails_no_call, 0, NUM_FUNCTIONS);
    tcase_add_test(t, test_fault_that_is_not_understood_ends_the_program);
    suite_add_tcase(suite, t);
    return suite;
}

int
main(int argc, char **argv)
{
    if (argc == 2)
        return call_and_print(argv[1]);
    SRunner *runner = srunner_create(fault_suite());
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
