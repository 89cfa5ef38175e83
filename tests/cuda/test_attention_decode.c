/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Decode attention and the kernel for any geometry, against double loops: heads
 * of the supported models, context lengths around pages, tiles and splits,
 * windows, splits merged by whichever block ends last, recorded launches.
 */
#include "tests/cuda/paged_fixture.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct cuda_ctx ctx;

static void
open_device(void)
{
    ctx = ctx_open();
}

static void
close_device(void)
{
    ctx_close(&ctx);
}

struct geometry {
    const char *name;
    struct attention_shape shape;
    float q_scale;
};

static const struct geometry geometries[] = {
    {"gemma-2-9b", {16, 8, 256, 1 / 16.0f, 50, 4096}, 8},
    {"gemma-2-27b", {32, 16, 128, 1 / 12.0f, 50, 4096}, 8},
    {"Llama-8B", {32, 8, 128, 0.0883883476f, 0, 0}, 2},
    {"Qwen-7B", {28, 4, 128, 0.0883883476f, 0, 0}, 2},
    {"Qwen-14B and 32B", {40, 8, 128, 0.0883883476f, 0, 0}, 2},
    {"SmolLM2", {9, 3, 64, 0.125f, 0, 0}, 2},
    {"no groups", {3, 3, 64, 0.125f, 0, 0}, 2},
    {"one kv head", {8, 1, 128, 0.0883883476f, 0, 0}, 2},
    {"groups of 16", {32, 2, 64, 0.125f, 30, 0}, 4},
    {"groups of 16, 256 wide", {16, 1, 256, 1 / 16.0f, 0, 0}, 2},
};

static const int lengths[] = {1, 257, 16, 63, 700, 15, 17, 64, 200, 65};

/* Every sequence's items as a host makes them: from the window's first tile on,
 * split by decode_split_keys. */
static void
add_all_items(struct paged *p)
{
    for (int s = 0; s < p->num_seqs; s++) {
        int first = paged_first_visible(p, s) / 64 * 64;
        paged_add_items(p, s, first, decode_split_keys(p->seq_lens[s] - first));
    }
}

static void
enqueue(const struct paged *p)
{
    CUDA_OK(cuda_attention_decode(&ctx, p->dev_out, p->dev_qkv, &p->kv, &p->ints, &p->shape,
                                  p->partials, p->counters));
}

static void
expect_zero_counters(const struct paged *p)
{
    size_t n = (size_t)p->num_seqs * (size_t)p->shape.num_kv_heads;
    uint32_t *counters = calloc(n, sizeof *counters);
    ck_assert_ptr_nonnull(counters);
    device_read(counters, p->counters, n * sizeof *counters);
    for (size_t i = 0; i < n; i++)
        ck_assert_uint_eq(counters[i], 0);
    free(counters);
}

/* The output of the items that p has now; the caller frees. */
static bf16_bits *
decode(struct paged *p)
{
    paged_upload(p, &ctx);
    paged_wipe(p, &ctx);
    enqueue(p);
    bf16_bits *out = paged_read(p, &ctx);
    expect_zero_counters(p);
    return out;
}

static void
decode_and_check(struct paged *p, const char *what)
{
    bf16_bits *out = decode(p);
    paged_check(p, what, out);
    free(out);
}

START_TEST(test_decode_real_geometries_are_exact)
{
    const struct geometry *g = &geometries[_i];
    struct paged p;
    ck_assert(cuda_attention_is_fast(&g->shape));
    paged_open(&p, &g->shape, lengths, NULL, ARRAY_SIZE(lengths), g->q_scale, 100 + (uint64_t)_i);
    add_all_items(&p);
    decode_and_check(&p, g->name);
    paged_close(&p);
}
END_TEST

/* Beyond Gemma's window, in 17 parts; one kv head of the real shapes. */
START_TEST(test_decode_long_context_is_exact)
{
    static const struct attention_shape shapes[] = {
        {2, 1, 256, 1 / 16.0f, 50, 4096},
        {4, 2, 128, 1 / 12.0f, 50, 0},
        {7, 1, 128, 0.0883883476f, 0, 0},
    };
    static const int lens[] = {4200, 3};
    for (size_t i = 0; i < ARRAY_SIZE(shapes); i++) {
        struct paged p;
        paged_open(&p, &shapes[i], lens, NULL, ARRAY_SIZE(lens), 2, 200 + i);
        add_all_items(&p);
        ck_assert_int_eq(p.items[0].num_splits, 17);
        decode_and_check(&p, "long context, split");
        paged_clear(&p);
        paged_add_items(&p, 0, 0, 0);
        decode_and_check(&p, "long context, whole");
        paged_close(&p);
    }
}
END_TEST

/* Items trimmed to the window as a host does, not at all (whole parts then lie
 * before it), or to its very first key. */
START_TEST(test_decode_window_is_exact)
{
    static const int windows[] = {1, 5, 16, 37, 64, 100, 256};
    static const struct attention_shape shapes[] = {
        {4, 2, 64, 0.125f, 0, 0},
        {2, 1, 128, 0.0883883476f, 50, 0},
        {2, 1, 256, 1 / 16.0f, 50, 0},
    };
    for (size_t i = 0; i < ARRAY_SIZE(windows); i++) {
        struct attention_shape shape = shapes[i % ARRAY_SIZE(shapes)];
        shape.window = windows[i];
        struct paged p;
        paged_open(&p, &shape, lengths, NULL, ARRAY_SIZE(lengths), 4, 300 + i);
        add_all_items(&p);
        decode_and_check(&p, "trimmed to tiles");
        paged_clear(&p);
        for (int s = 0; s < p.num_seqs; s++)
            paged_add_items(&p, s, 0, s % 2 == 0 ? 64 : 0);
        decode_and_check(&p, "not trimmed");
        paged_clear(&p);
        for (int s = 0; s < p.num_seqs; s++)
            paged_add_items(&p, s, paged_first_visible(&p, s), s % 2 == 0 ? 64 : 0);
        decode_and_check(&p, "trimmed to the key");
        paged_close(&p);
    }
}
END_TEST

/* Logits so great that every exponential saturates, with and without softcap. */
START_TEST(test_decode_great_logits_are_exact)
{
    static const struct attention_shape shapes[] = {
        {4, 2, 64, 1, 0, 0}, {4, 2, 64, 1, 50, 0}, {4, 2, 128, 1, 1, 0}, {2, 1, 256, 1, 0.25f, 0},
    };
    static const float q_scales[] = {64, 512, 4096, 1 << 20};
    static const int lens[] = {1, 40, 100};
    for (size_t i = 0; i < ARRAY_SIZE(shapes); i++) {
        struct paged p;
        paged_open(&p, &shapes[i], lens, NULL, ARRAY_SIZE(lens), q_scales[i], 400 + i);
        add_all_items(&p);
        decode_and_check(&p, "great logits");
        paged_close(&p);
    }
}
END_TEST

/* 2, 3, 17 and 32 parts and whole sequences in one launch. */
START_TEST(test_decode_splits_are_exact)
{
    static const struct attention_shape shapes[] = {
        {10, 2, 64, 0.125f, 0, 0},
        {7, 1, 128, 0.0883883476f, 0, 0},
        {2, 1, 256, 1 / 16.0f, 50, 0},
    };
    static const int lens[] = {100, 130, 33, 1050, 2048, 1, 64, 65};
    for (size_t i = 0; i < ARRAY_SIZE(shapes); i++) {
        struct paged p;
        paged_open(&p, &shapes[i], lens, NULL, ARRAY_SIZE(lens), 2, 500 + i);
        for (int s = 0; s < p.num_seqs; s++)
            paged_add_items(&p, s, 0, 64);
        ck_assert_int_eq(p.num_items, 2 + 3 + 1 + 17 + 32 + 1 + 1 + 2);
        decode_and_check(&p, "splits");
        paged_close(&p);
    }
}
END_TEST

static void
swap_items(struct decode_item *a, struct decode_item *b)
{
    struct decode_item t = *a;
    *a = *b;
    *b = t;
}

/* Alone, in company, in any order of items, on any number of blocks: the same
 * bits, run after run. */
START_TEST(test_decode_row_has_the_same_bits_in_any_company)
{
    static const struct attention_shape shape = {10, 2, 128, 0.0883883476f, 0, 0};
    static const int grids[] = {1, 3, 114};
    struct paged p;
    int num_sms = ctx.num_sms, width = shape.num_heads * shape.head_dim;
    paged_open(&p, &shape, lengths, NULL, ARRAY_SIZE(lengths), 2, 600);
    add_all_items(&p);
    bf16_bits *want = decode(&p);
    for (size_t i = 0; i < ARRAY_SIZE(grids); i++) {
        ctx.num_sms = grids[i];
        for (int j = 0; j < p.num_items; j++)
            swap_items(&p.items[j], &p.items[(j * 7 + (int)i) % p.num_items]);
        bf16_bits *got = decode(&p);
        ck_assert_msg(memcmp(got, want, (size_t)(p.num_rows * width) * sizeof *got) == 0,
                      "another order on %d SMs: other bits", grids[i]);
        free(got);
    }
    ctx.num_sms = num_sms;
    for (int s = 0; s < p.num_seqs; s++) {
        paged_clear(&p);
        paged_add_items(&p, s, 0, decode_split_keys(p.seq_lens[s]));
        bf16_bits *got = decode(&p);
        ck_assert_msg(memcmp(got + s * width, want + s * width, (size_t)width * sizeof *got) == 0,
                      "a sequence of %d alone: other bits", p.seq_lens[s]);
        free(got);
    }
    free(want);
    paged_close(&p);
}
END_TEST

/* A recorded launch reads items, lengths and their number anew each time, from
 * none to many; two launches in a row share partials and counters. */
START_TEST(test_decode_recorded_launch_follows_the_items)
{
    static const struct attention_shape shape = {4, 2, 64, 0.125f, 0, 0};
    struct paged p;
    paged_open(&p, &shape, lengths, NULL, ARRAY_SIZE(lengths), 2, 700);
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    CUDA_OK(cudaStreamBeginCapture(ctx.stream, cudaStreamCaptureModeThreadLocal));
    enqueue(&p);
    enqueue(&p);
    CUDA_OK(cudaStreamEndCapture(ctx.stream, &graph));
    CUDA_OK(cudaGraphInstantiate(&exec, graph, 0));
    for (int step = 0; step < 4; step++) {
        paged_clear(&p);
        for (int s = 0; s < p.num_seqs; s++) {
            p.seq_lens[s] = MAX(1, lengths[s] - 13 * step);
            if (step > 0 && s % step == 0)
                paged_add_items(&p, s, 0, 64 * step);
        }
        paged_upload(&p, &ctx);
        paged_wipe(&p, &ctx);
        CUDA_OK(cudaGraphLaunch(exec, ctx.stream));
        bf16_bits *out = paged_read(&p, &ctx);
        paged_check(&p, "recorded", out);
        expect_zero_counters(&p);
        free(out);
    }
    CUDA_OK(cudaGraphExecDestroy(exec));
    CUDA_OK(cudaGraphDestroy(graph));
    paged_close(&p);
}
END_TEST

static const struct geometry general_geometries[] = {
    {"16 wide", {3, 3, 16, 0.25f, 0, 0}, 2},
    {"8 wide, 20 a group", {20, 1, 8, 0.35f, 0, 20}, 2},
    {"32 wide, softcap", {4, 2, 32, 0.17f, 30, 0}, 8},
    {"80 wide", {14, 2, 80, 0.1118034f, 0, 0}, 2},
    {"96 wide, window", {7, 1, 96, 0.1020621f, 0, 50}, 2},
    {"256 wide, softcap and window", {2, 1, 256, 1 / 16.0f, 50, 1}, 8},
    {"24 wide, 2 a group", {4, 2, 24, 0.2f, 0, 64}, 2},
    {"64 wide, 17 a group", {17, 1, 64, 0.125f, 0, 0}, 2},
};

/* Decode rows and prompt chunks of one batch, each by its own launch; few blocks,
 * so that a warp has many rows. */
START_TEST(test_general_any_geometry_is_exact)
{
    ctx.num_sms = 1 + _i % 2;
    static const int seq_lens[] = {1, 33, 90, 16, 257, 32, 48};
    static const int q_lens[] = {1, 1, 37, 16, 1, 3, 1};
    const struct geometry *g = &general_geometries[_i];
    struct paged p;
    paged_open(&p, &g->shape, seq_lens, q_lens, ARRAY_SIZE(seq_lens), g->q_scale,
               800 + (uint64_t)_i);
    for (int s = 0; s < p.num_seqs; s++)
        if (p.q_lens[s] == 1)
            paged_add_items(&p, s, 0, 0);
    paged_upload(&p, &ctx);
    paged_wipe(&p, &ctx);
    CUDA_OK(cuda_attention_general(&ctx, p.dev_out, p.dev_qkv, &p.kv, &p.ints, 0, &p.shape));
    bf16_bits *out = paged_read(&p, &ctx);
    paged_check(&p, g->name, out); /* and that rows of the chunks were left alone */
    free(out);
    for (int s = 0; s < p.num_seqs; s++)
        if (p.q_lens[s] > 1)
            paged_add_tiles(&p, s);
    paged_upload(&p, &ctx);
    CUDA_OK(cuda_attention_general(&ctx, p.dev_out, p.dev_qkv, &p.kv, &p.ints, p.num_tiles,
                                   &p.shape));
    out = paged_read(&p, &ctx);
    paged_check(&p, g->name, out);
    free(out);
    paged_close(&p);
}
END_TEST

/* What a row gets does not depend on being decoded or part of a chunk. */
START_TEST(test_general_chunks_have_the_bits_of_decode)
{
    static const struct attention_shape shape = {6, 3, 80, 0.1118034f, 0, 40};
    static const int seq_lens[] = {70}, q_lens[] = {20};
    struct paged p;
    paged_open(&p, &shape, seq_lens, q_lens, 1, 2, 900);
    paged_add_tiles(&p, 0);
    paged_upload(&p, &ctx);
    CUDA_OK(cuda_attention_general(&ctx, p.dev_out, p.dev_qkv, &p.kv, &p.ints, p.num_tiles,
                                   &p.shape));
    bf16_bits *chunk = paged_read(&p, &ctx);
    paged_clear(&p);
    paged_add_items(&p, 0, 0, 0);
    paged_upload(&p, &ctx);
    CUDA_OK(cuda_attention_general(&ctx, p.dev_out, p.dev_qkv, &p.kv, &p.ints, 0, &p.shape));
    bf16_bits *row = paged_read(&p, &ctx);
    size_t n = (size_t)p.num_rows * (size_t)(shape.num_heads * shape.head_dim);
    ck_assert_mem_eq(row, chunk, n * sizeof *row);
    free(chunk);
    free(row);
    paged_close(&p);
}
END_TEST

START_TEST(test_is_fast_knows_the_geometries)
{
    static const struct {
        struct attention_shape shape;
        int fast;
    } cases[] = {
        {{16, 1, 64, 1, 0, 0}, 1},  {{17, 1, 64, 1, 0, 0}, 0}, {{8, 8, 128, 1, 0, 0}, 1},
        {{16, 8, 256, 1, 0, 0}, 1}, {{8, 8, 32, 1, 0, 0}, 0},  {{8, 8, 96, 1, 0, 0}, 0},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        ck_assert_int_eq(cuda_attention_is_fast(&cases[i].shape) != 0, cases[i].fast);
}
END_TEST

static TCase *
new_tests(const char *name)
{
    TCase *tests = tcase_create(name);
    tcase_set_timeout(tests, 600);
    tcase_add_checked_fixture(tests, open_device, close_device);
    return tests;
}

int
main(void)
{
    int num_devices;
    if (cudaGetDeviceCount(&num_devices) != cudaSuccess || num_devices == 0) {
        fprintf(stderr, "no CUDA device\n");
        return 77;
    }
    Suite *suite = suite_create("attention_decode");
    TCase *fast = new_tests("decode"), *general = new_tests("general");
    tcase_add_loop_test(fast, test_decode_real_geometries_are_exact, 0,
                        (int)ARRAY_SIZE(geometries));
    tcase_add_test(fast, test_decode_long_context_is_exact);
    tcase_add_test(fast, test_decode_window_is_exact);
    tcase_add_test(fast, test_decode_great_logits_are_exact);
    tcase_add_test(fast, test_decode_splits_are_exact);
    tcase_add_test(fast, test_decode_row_has_the_same_bits_in_any_company);
    tcase_add_test(fast, test_decode_recorded_launch_follows_the_items);
    tcase_add_test(fast, test_is_fast_knows_the_geometries);
    tcase_add_loop_test(general, test_general_any_geometry_is_exact, 0,
                        (int)ARRAY_SIZE(general_geometries));
    tcase_add_test(general, test_general_chunks_have_the_bits_of_decode);
    suite_add_tcase(suite, fast);
    suite_add_tcase(suite, general);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
