/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernels of sample.cu, lists.cu, filter.cu and logprobs.cu against the CPU
 * backend: the same logits, parameters and seed give the same token, rank and
 * top list, whatever the numbers are.
 */
#include "tests/cuda/cuda_fixture.h"
#include "tests/cuda/noise.h"
#include "tests/cuda/sample_dice.h"
#include "tests/ops/ref_sample.h"
#include "tests/unit/main.h"
#include "util/rng.h"

#include <float.h>
#include <math.h>
#include <string.h>

START_TEST(test_noise_has_the_cpu_backends_bits)
{
    enum { PART = 1 << 18 };
    if (!cpu_is_exact())
        return;
    float *want = malloc(PART * sizeof *want), *got = malloc(PART * sizeof *got);
    float *device = device_new(PART * sizeof *got);
    for (uint32_t first = 0; first < NUM_NOISES; first += PART) {
        CUDA_OK(cuda_noise(ctx.stream, device, first, PART));
        device_read(got, device, PART * sizeof *got);
        cpu_noise(want, first, PART);
        for (uint32_t i = 0; i < PART; i++) {
            if (memcmp(&got[i], &want[i], sizeof *got) != 0)
                ck_abort_msg("noise %u is %a, not %a", first + i, (double)got[i], (double)want[i]);
        }
    }
    for (uint32_t first = 0; first + PART <= NUM_EXPS; first += PART) {
        CUDA_OK(cuda_exp(ctx.stream, device, first, PART));
        device_read(got, device, PART * sizeof *got);
        cpu_exp(want, first, PART);
        for (uint32_t i = 0; i < PART; i++) {
            if (!isnan(want[i]) && memcmp(&got[i], &want[i], sizeof *got) != 0)
                ck_abort_msg("exp %u is %a, not %a", first + i, (double)got[i], (double)want[i]);
        }
    }
    device_free(device);
    free(want);
    free(got);
}
END_TEST

static const struct {
    int64_t vocab;
    int rows, batches;
} sizes[] = {{5, 64, 20},    {384, 64, 12},   {1003, 32, 4},   {1536, 32, 4},
             {49152, 8, 2},  {50257, 4, 1},   {128256, 3, 1},  {152064, 4, 1},
             {256000, 2, 1}};

/* Parameters of every kind and combination, and rows of every kind beside each
 * other. */
START_TEST(test_sample_draws_as_cpu)
{
    struct dice d = {(uint64_t)_i + 1};
    for (int batch = 0; batch < sizes[_i].batches; batch++) {
        struct rows *b = rows_new(sizes[_i].rows, sizes[_i].vocab);
        int max_top = batch % 2 ? -1 : b->vocab < 64 ? (int)b->vocab + 3 : 20;
        for (int i = 0; i < b->num_rows; i++)
            roll_row(&d, b, i, batch % 3 != 1, max_top);
        compare("sample", b, NULL);
        rows_free(b);
    }
}
END_TEST

START_TEST(test_logprobs_are_cpu_backends)
{
    struct dice d = {(uint64_t)_i + 100};
    for (int batch = 0; batch < (sizes[_i].batches + 1) / 2; batch++) {
        struct rows *b = rows_new(sizes[_i].rows, sizes[_i].vocab);
        int32_t targets[MAX_ROWS];
        int top = (int)ROLL_OF(&d, 0, 1, 20, 100);
        for (int i = 0; i < b->num_rows; i++) {
            roll_row(&d, b, i, false, -1);
            b->row[i].num_logprobs = top;
            targets[i] = (int32_t)roll(&d, (uint32_t)b->vocab);
        }
        compare("logprobs", b, targets);
        rows_free(b);
    }
}
END_TEST

/* Lists longer than what is sorted in shared memory, and than what is gathered
 * there; up to all of the row. */
START_TEST(test_logprobs_long_lists)
{
    static const int lengths[] = {2048, 2049, 8192, 12000, 20011};
    struct dice d = {7};
    struct rows *b = rows_new(ARRAY_SIZE(lengths), 20011);
    int32_t targets[MAX_ROWS] = {0};
    for (int i = 0; i < b->num_rows; i++) {
        for (int64_t j = 0; j < b->vocab; j++)
            b->logits[i * b->vocab + j] = roll_logit(&d, i % 2 ? SPRINKLED : COARSE, 3);
        b->row[i].num_logprobs = lengths[i];
        b->row[i].temperature = 0;
    }
    compare("sample", b, NULL);
    for (int i = 0; i < b->num_rows; i++)
        b->row[i].num_logprobs = lengths[4];
    compare("logprobs", b, targets);
    rows_free(b);
}
END_TEST

/* A seed under which the token's noise is among the greatest. */
static uint64_t
seed_for(int32_t token, uint64_t from)
{
    for (uint64_t seed = from;; seed++) {
        uint32_t words[4];
        philox4x32(seed, 0, (uint64_t)token / 4, words);
        if (words[token % 4] > UINT32_MAX - (1u << 17))
            return seed;
    }
}

/* The last token of what may be drawn and the first beyond, under seeds that
 * favour them: drawn or not as by the CPU backend, in rows where 8192 places are
 * enough and where they are not. */
START_TEST(test_sample_sets_are_cpu_backends)
{
    static const struct {
        float slope, top_p, min_p;
        int32_t top_k;
    } cases[] = {
        {0.01f, 0.5f, 0, 0},      {0.01f, 0.95f, 0, 0},  {0.01f, 1, 0, 1},
        {0.01f, 1, 0, 300},       {1e-5f, 1, 0, 9000},   {1e-5f, 1, 0, 40000},
        {1e-5f, 0.5f, 0, 0},      {1e-5f, 0.9f, 0, 0},   {1e-4f, 0.9f, 0.1f, 20000},
        {1e-5f, 0.7f, 0.8f, 0},   {1e-4f, 1, 0.3f, 0},   {0, 0.3f, 0, 0},
        {0, 1, 0, 77},            {0.01f, 1e-6f, 0, 64}, {1e-5f, 0.999f, 0, 30000},
    };
    enum { V = 49152, SIDE = 4 };
    int num_drawn = 0;
    double *p = malloc(V * sizeof *p);
    for (size_t c = 0; c < ARRAY_SIZE(cases); c++) {
        struct rows *b = rows_new(2 * SIDE, V);
        for (int64_t j = 0; j < V; j++)   /* token order scrambled by a prime */
            b->logits[j * 7919 % V] = 3 - cases[c].slope * (float)j;
        for (int i = 0; i < b->num_rows; i++) {
            memmove(b->logits + i * V, b->logits, V * sizeof(float));
            b->row[i].top_p = cases[c].top_p;
            b->row[i].top_k = cases[c].top_k;
            b->row[i].min_p = cases[c].min_p;
        }
        ref_distribution(&b->row[0], b->logits, V, p);
        int32_t last = 0, next = -1;   /* ties by id: the later one is worse */
        for (int32_t j = 0; j < V; j++) {
            if (p[j] > 0 && (p[last] == 0 || b->logits[j] <= b->logits[last]))
                last = j;
            if (p[j] == 0 && (next < 0 || b->logits[j] > b->logits[next]))
                next = j;
        }
        for (int i = 0; i < b->num_rows; i++)
            b->row[i].seed = seed_for(i < SIDE || next < 0 ? last : next, (uint64_t)i << 40);
        struct results *want = run_cpu(b, NULL), *got = run_cuda(b, NULL);
        assert_same_results("sets", b, got, want, true);
        for (int i = 0; i < SIDE; i++)
            num_drawn += got->out[i].token == last;
        results_free(want);
        results_free(got);
        rows_free(b);
    }
    ck_assert_int_ge(num_drawn, 20);   /* or the seeds show nothing */
    free(p);
}
END_TEST

static void
fill_spread(struct rows *b, uint64_t seed)
{
    struct dice d = {seed};
    for (int64_t j = 0; j < b->num_rows * b->vocab; j++)
        b->logits[j] = roll_logit(&d, SPREAD, 2);
}

/* A row's results have the same bits alone and in any company. */
START_TEST(test_sample_rows_do_not_depend_on_company)
{
    enum { V = 20000, R = 5 };
    struct rows *all = rows_new(R, V), *one = rows_new(1, V);
    fill_spread(all, 3);
    for (int i = 0; i < R; i++) {
        all->row[i].seed = (uint64_t)i;
        all->row[i].top_p = i % 2 ? 0.9f : 1;
        all->row[i].num_logprobs = 5;
    }
    struct results *together = run_cuda(all, NULL);
    for (int i = 0; i < R; i++) {
        one->row[0] = all->row[i];
        memcpy(one->logits, all->logits + i * V, V * sizeof(float));
        struct results *alone = run_cuda(one, NULL);
        ck_assert_int_eq(alone->out[0].token, together->out[i].token);
        ck_assert_int_eq(alone->out[0].rank, together->out[i].rank);
        ck_assert_mem_eq(&alone->out[0].logprob, &together->out[i].logprob, sizeof(float));
        ck_assert_mem_eq(alone->top_logprobs, together->top_logprobs + i * 5, 5 * sizeof(float));
        results_free(alone);
    }
    results_free(together);
    rows_free(all);
    rows_free(one);
}
END_TEST

/* logprobs only reads the logits. */
START_TEST(test_logprobs_leave_logits)
{
    struct rows *b = rows_new(2, 5001);
    fill_spread(b, 5);
    int32_t targets[] = {17, 5000};
    b->row[0].num_logprobs = b->row[1].num_logprobs = 3;
    struct device_rows d = device_rows_open(b, targets);
    CUDA_OK(cuda_logprobs(&ctx, &d.args));
    float *after = malloc(d.logits_bytes);
    device_read(after, d.args.logits, d.logits_bytes);
    ck_assert_mem_eq(after, b->logits, d.logits_bytes);
    free(after);
    device_rows_close(&d);
    rows_free(b);
}
END_TEST

/* Recorded once, replayed over new logits and parameters at the same addresses. */
START_TEST(test_sample_replays_from_a_graph)
{
    enum { V = 3000, R = 8 };
    struct rows *b = rows_new(R, V);
    struct dice d = {11};
    for (int i = 0; i < R; i++)
        roll_row(&d, b, i, true, 5);
    for (int i = 0; i < R; i++)
        b->row[i].num_logprobs = i % 3 ? 5 : -1;
    struct device_rows dev = device_rows_open(b, NULL);
    dev.args.flags = SAMPLE_LISTS | SAMPLE_FILTERS | SAMPLE_LOGPROBS | SAMPLE_TOP;
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    CUDA_OK(cudaStreamBeginCapture(ctx.stream, cudaStreamCaptureModeGlobal));
    CUDA_OK(cuda_sample(&ctx, &dev.args));
    CUDA_OK(cudaStreamEndCapture(ctx.stream, &graph));
    CUDA_OK(cudaGraphInstantiate(&exec, graph, 0));
    for (int step = 0; step < 3; step++) {
        fill_spread(b, (uint64_t)step + 20);
        for (int i = 0; i < R; i++)
            b->row[i].seed += 1000;
        struct device_rows fresh = device_rows_open(b, NULL);
        CUDA_OK(cudaMemcpy(dev.args.logits, b->logits, dev.logits_bytes, cudaMemcpyHostToDevice));
        CUDA_OK(cudaMemcpy((void *)(uintptr_t)dev.args.params, fresh.args.params,
                           R * sizeof(struct sample_params), cudaMemcpyDeviceToDevice));
        device_rows_close(&fresh);
        CUDA_OK(cudaGraphLaunch(exec, ctx.stream));
        struct results *got = read_results(b, &dev, true), *want = run_cpu(b, NULL);
        assert_same_results("replay", b, got, want, true);
        results_free(got);
        results_free(want);
    }
    CUDA_OK(cudaGraphExecDestroy(exec));
    CUDA_OK(cudaGraphDestroy(graph));
    device_rows_close(&dev);
    rows_free(b);
}
END_TEST

/* A workspace that is too small is refused before anything runs. */
START_TEST(test_sample_refuses_small_workspace)
{
    struct rows *b = rows_new(2, 1000);
    fill_spread(b, 1);
    struct device_rows d = device_rows_open(b, NULL);
    d.args.workspace_bytes--;
    ck_assert_int_eq(cuda_sample(&ctx, &d.args), cudaErrorInvalidValue);
    ck_assert_int_eq(cuda_logprobs(&ctx, &d.args), cudaErrorInvalidValue);
    device_rows_close(&d);
    rows_free(b);
}
END_TEST

static Suite *
sample_suite(void)
{
    Suite *suite = suite_create("cuda_sample");
    TCase *tc = tcase_create("sample");
    int num_sizes = ARRAY_SIZE(sizes);
    tcase_set_timeout(tc, 600);
    tcase_add_unchecked_fixture(tc, setup, teardown);
    tcase_add_test(tc, test_noise_has_the_cpu_backends_bits);
    tcase_add_loop_test(tc, test_sample_draws_as_cpu, 0, num_sizes);
    tcase_add_loop_test(tc, test_logprobs_are_cpu_backends, 0, num_sizes);
    tcase_add_test(tc, test_logprobs_long_lists);
    tcase_add_test(tc, test_sample_sets_are_cpu_backends);
    tcase_add_test(tc, test_sample_rows_do_not_depend_on_company);
    tcase_add_test(tc, test_logprobs_leave_logits);
    tcase_add_test(tc, test_sample_replays_from_a_graph);
    tcase_add_test(tc, test_sample_refuses_small_workspace);
    suite_add_tcase(suite, tc);
    return suite;
}

TEST_MAIN(sample_suite)
