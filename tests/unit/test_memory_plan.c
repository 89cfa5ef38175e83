/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The shares of a device's memory, against capacities that were worked out apart
 * from this code, against vLLM's meaning of the options, and against themselves.
 */
#include "engine/gpu_specs.h"
#include "engine/memory_plan.h"
#include "tests/unit/main.h"
#include "tests/unit/model_configs.h"

#define GIB ((size_t)1 << 30)

enum { GEMMA_9, GEMMA_27, LLAMA_8, QWEN_7, QWEN_14, QWEN_32 };
enum { H100_PCIE, H100_SXM, H200 };

static struct memory_plan_args
gpu_args(const struct model_config *c, int gpu)
{
    return (struct memory_plan_args){
        .model = c,
        .weight_dtype = DTYPE_BF16,
        .act_dtype = DTYPE_BF16,
        .kv_dtype = DTYPE_BF16,
        .gpu = true,
        .memory_total = gpu_specs[gpu].memory_total,
        .memory_free = gpu_specs[gpu].memory_total - GIB / 2,
        .reserve_bytes = MEMORY_PLAN_GPU_RESERVE,
        .max_model_len = MIN(8192, c->max_position_embeddings),
    };
}

static struct memory_plan_args
cpu_args(const struct model_config *c)
{
    return (struct memory_plan_args){
        .model = c,
        .weight_dtype = DTYPE_BF16,
        .act_dtype = DTYPE_F32,
        .kv_dtype = DTYPE_BF16,
        .memory_total = 64 * GIB,
        .memory_free = 48 * GIB,
        .max_logit_rows = 64,
        .max_model_len = 4096,
    };
}

static struct memory_plan
make(const struct memory_plan_args *a)
{
    struct memory_plan p;
    struct error err = {0};
    int rc = memory_plan_make(a, &p, &err);
    ck_assert_msg(rc == 0, "%s", err.text);
    return p;
}

static struct memory_plan
make_good(const struct memory_plan_args *a)
{
    struct memory_plan p = make(a);
    struct error err = {0};
    ck_assert_msg(memory_plan_check(&p, &err) == 0, "%s", err.text);
    return p;
}

/* The check must fail with this code and all these words. */
static void
assert_refused(const struct memory_plan_args *a, int code, const char *const *words)
{
    struct memory_plan p = make(a);
    struct error err = {0};
    ck_assert_int_eq(memory_plan_check(&p, &err), code);
    ck_assert_uint_lt(strlen(err.text), ERROR_TEXT_BYTES - 1); /* not cut */
    for (; *words != NULL; words++)
        ck_assert_msg(strstr(err.text, *words) != NULL, "no '%s' in: %s", *words, err.text);
}

#define WORDS(...) (const char *const[]){__VA_ARGS__, NULL}

/* With 1.5 GiB for all but weights and cache, as vLLM's logs have it, and nine
 * tenths of the memory: tokens on 80 GB, sequences of 700 there and on an H200. */
START_TEST(test_capacity_of_the_field)
{
    static const struct {
        int64_t tokens, seqs, h200_seqs;
    } rows[NUM_MODEL_CONFIGS] = {{163760, 232, 474},    {54064, 76, 297},   {448368, 636, 1272},
                                 {1039296, 1476, 2929}, {230336, 327, 751}, {35472, 50, 368}};
    struct model_config c = model_config_number((size_t)_i);
    for (int gpu = H100_PCIE; gpu <= H200; gpu++) {
        struct memory_plan_args a = gpu_args(&c, gpu);
        a.max_num_batched_tokens = 2048;
        a.max_num_seqs = 512;
        a.reserve_bytes = 0;
        struct memory_plan p = make(&a);
        size_t rest = memory_plan_fixed_bytes(&p) - p.weight_bytes;
        ck_assert_uint_lt(rest, 3 * GIB / 2);
        a.reserve_bytes = 3 * GIB / 2 - rest;
        p = make_good(&a);
        if (gpu != H200)
            ck_assert_int_eq(memory_plan_num_tokens(&p), rows[_i].tokens);
        ck_assert_int_eq(memory_plan_num_seqs(&p, 700),
                         gpu == H200 ? rows[_i].h200_seqs : rows[_i].seqs);
    }
}
END_TEST

/* By hand, for 8192 tokens of Llama-8B: two of 4096, one of 28672, one of 14336,
 * two bytes each; 512 rows of 4096 such and of 128256 f32. */
START_TEST(test_shares_of_llama)
{
    struct model_config c = model_config_number(LLAMA_8);
    struct memory_plan_args a = gpu_args(&c, H100_SXM);
    a.workspace_bytes = 100 << 20;
    struct memory_plan p = make_good(&a);
    ck_assert_uint_eq(p.weight_bytes, 2 * 8030261248u);
    ck_assert_uint_eq(p.activation_bytes, 8192u * (2 * 4096 + 28672 + 14336) * 2);
    ck_assert_uint_eq(p.logit_bytes, 512u * (4096 * 2 + 128256 * 4));
    /* and the rotary table of 8192 times 128, and parts of 32 heads of 132 */
    size_t parts = 512 + (p.usable_bytes - p.weight_bytes) / (16 * 131072) * 16 / 256;
    ck_assert_uint_eq(p.workspace_bytes, (100 << 20) + (4 << 20) + parts * 32 * 132 * 4);
    ck_assert_uint_eq(p.reserve_bytes, MEMORY_PLAN_GPU_RESERVE);
    ck_assert_uint_eq(p.kv_block_bytes, 16 * 131072);
    ck_assert_int_eq(p.max_num_seqs, 512);
    ck_assert_int_eq(p.max_num_batched_tokens, 8192);
    a.max_logit_rows = 1000; /* no more than sequences */
    ck_assert_uint_eq(make_good(&a).logit_bytes, p.logit_bytes);
    a.max_logit_rows = 64;
    ck_assert_uint_eq(make_good(&a).logit_bytes, 64u * (4096 * 2 + 128256 * 4));
    a.kv_block_bytes = 3 << 20; /* the device's word counts */
    p = make_good(&a);
    ck_assert_uint_eq(p.kv_cache_bytes, (size_t)p.num_blocks * (3 << 20));
    a.workspace_bytes = 0; /* an estimate, then */
    ck_assert_uint_gt(make_good(&a).workspace_bytes - parts * 32 * 132 * 4, 64 << 20);
}
END_TEST

/* Everything lies within what may be used, and one more block does not. */
START_TEST(test_gpu_is_used_up)
{
    static const double shares[] = {0.85, 0.9, 0.95};
    struct model_config c = model_config_number((size_t)_i);
    for (int gpu = H100_PCIE; gpu <= H200; gpu++) {
        for (size_t i = 0; i < ARRAY_SIZE(shares); i++) {
            struct memory_plan_args a = gpu_args(&c, gpu);
            a.gpu_memory_utilization = shares[i];
            a.max_model_len = 4096;
            struct memory_plan p = make(&a);
            size_t used = memory_plan_fixed_bytes(&p) + p.kv_cache_bytes;
            ck_assert_uint_eq(p.usable_bytes, (size_t)((double)a.memory_total * shares[i]));
            if (memory_plan_check(&p, NULL) != 0)
                continue;
            bool all = p.num_blocks == 4096 / 16 * p.max_num_seqs;
            ck_assert_uint_le(used, p.usable_bytes);
            ck_assert(all || used + p.kv_block_bytes > p.usable_bytes);
            ck_assert(p.max_num_seqs == 512 || p.max_num_seqs <= p.num_blocks / 8);
            ck_assert(p.max_num_batched_tokens == 2048 ||
                      p.activation_bytes <= p.kv_cache_bytes / 32);
        }
    }
}
END_TEST

START_TEST(test_default_limits)
{
    struct model_config llama = model_config_number(LLAMA_8), qwen = model_config_number(QWEN_32);
    struct memory_plan_args a = gpu_args(&llama, H100_PCIE);
    a.memory_total = a.memory_free = 40 * GIB; /* a small GPU */
    ck_assert_int_eq(make_good(&a).max_num_batched_tokens, 2048);
    a.memory_total = a.memory_free = 0; /* not known: the greatest */
    ck_assert_int_eq(make(&a).max_num_batched_tokens, 8192);
    ck_assert_int_eq(make(&a).max_num_seqs, 512);

    a = gpu_args(&qwen, H100_PCIE); /* too small for 512 times 128 tokens */
    struct memory_plan p = make_good(&a);
    ck_assert_int_eq(p.max_num_batched_tokens, 2048); /* and for 8192 in a step */
    ck_assert_int_lt(p.max_num_seqs, 512);
    ck_assert_int_ge(p.max_num_seqs, 200);
    ck_assert_uint_eq(p.logit_bytes, (size_t)p.max_num_seqs * (5120 * 2 + 152064 * 4));
    a.max_num_seqs = 512; /* but as the user says */
    a.max_num_batched_tokens = 8192;
    ck_assert_int_eq(make_good(&a).max_num_seqs, 512);
    ck_assert_int_eq(make_good(&a).max_num_batched_tokens, 8192);
    a = gpu_args(&qwen, H200); /* roomy */
    ck_assert_int_eq(make_good(&a).max_num_seqs, 512);
    ck_assert_int_eq(make_good(&a).max_num_batched_tokens, 8192);

    a = gpu_args(&llama, H100_PCIE); /* a cache that is small because no more is of use */
    a.max_model_len = 64;
    p = make_good(&a);
    ck_assert_int_eq(p.num_blocks, 512 * 64 / 16);
    ck_assert_int_eq(p.max_num_seqs, 512);
    ck_assert_int_eq(p.max_num_batched_tokens, 8192);
    ck_assert_uint_lt(p.workspace_bytes, 200 << 20); /* its keys have few parts */

    a = gpu_args(&llama, H100_PCIE); /* one long sequence has no more than 32 parts */
    a.max_model_len = 0;
    a.max_num_seqs = 1;
    a.workspace_bytes = 1;
    ck_assert_uint_eq(make_good(&a).workspace_bytes, 1 + 131072 * 512 + 32 * 32 * 132 * 4);

    a = cpu_args(&llama);
    ck_assert_int_eq(make_good(&a).max_num_seqs, 256);
    ck_assert_int_eq(make_good(&a).max_num_batched_tokens, 256);
    a.max_num_seqs = 1000;
    ck_assert_int_eq(make_good(&a).max_num_batched_tokens, 1000);
    a.max_num_seqs = 0;
    a.max_num_batched_tokens = 100; /* the default gives way */
    ck_assert_int_eq(make_good(&a).max_num_seqs, 100);
    a.max_model_len = 0;
    a.kv_cache_memory_bytes = (int64_t)(20 * GIB);
    ck_assert_int_eq(make_good(&a).max_model_len, 131072);
}
END_TEST

START_TEST(test_limits_that_contradict)
{
    struct model_config c = model_config_number(GEMMA_9);
    struct memory_plan p;
    struct error err = {0};
    struct memory_plan_args a = gpu_args(&c, H200);
    a.max_model_len = 8193;
    ck_assert_int_eq(memory_plan_make(&a, &p, &err), ERR_RANGE);
    ck_assert_str_eq(err.text, "option '--max-model-len': 8193 exceeds the model's "
                               "max_position_embeddings 8192");
    a.max_model_len = 0;
    a.max_num_seqs = 64;
    a.max_num_batched_tokens = 63;
    ck_assert_int_eq(memory_plan_make(&a, &p, &err), ERR_RANGE);
    ck_assert_str_eq(err.text, "option '--max-num-batched-tokens': 63 is less than "
                               "--max-num-seqs 64");
}
END_TEST

/* Half of what is free beside the rest; as told; never more than can be used. */
START_TEST(test_cpu_cache)
{
    struct model_config c = model_config_number(LLAMA_8);
    struct memory_plan_args a = cpu_args(&c);
    struct memory_plan p = make_good(&a);
    size_t half = (48 * GIB - memory_plan_fixed_bytes(&p)) / 2;
    ck_assert_uint_eq(p.workspace_bytes + p.reserve_bytes, 0);
    ck_assert_int_eq(p.num_blocks, (int)(half / (16 * 131072)));
    a.gpu_memory_utilization = 0.1; /* is not for it */
    ck_assert_int_eq(make_good(&a).num_blocks, p.num_blocks);
    a.kv_cache_memory_bytes = (int64_t)GIB;
    ck_assert_int_eq(make_good(&a).num_blocks, 512);
    a.num_gpu_blocks_override = 1000;
    ck_assert_int_eq(make_good(&a).num_blocks, 1000);
    ck_assert_uint_eq(make_good(&a).kv_cache_bytes, (size_t)1000 * 16 * 131072);
    a.num_gpu_blocks_override = 0;
    a.max_num_seqs = 2;
    a.max_model_len = 100;
    ck_assert_int_eq(make_good(&a).num_blocks, 14);
    a.num_gpu_blocks_override = 134217727;
    ck_assert_int_eq(make_good(&a).num_blocks, INT32_MAX / 16);
}
END_TEST

/* On a GPU too the cache is as told, beyond the share, as long as it is free. */
START_TEST(test_gpu_cache_as_told)
{
    struct model_config c = model_config_number(LLAMA_8);
    struct memory_plan_args a = gpu_args(&c, H100_PCIE);
    a.gpu_memory_utilization = 0.3;
    a.kv_cache_memory_bytes = (int64_t)(56 * GIB);
    struct memory_plan p = make_good(&a);
    ck_assert_uint_eq(p.kv_cache_bytes, 56 * GIB);
    ck_assert_uint_eq(p.usable_bytes, a.memory_free);
    a.kv_cache_memory_bytes = (int64_t)GIB; /* which fewer tokens a step do not change */
    ck_assert_int_eq(make_good(&a).max_num_batched_tokens, 8192);
    a.kv_cache_memory_bytes = (int64_t)(70 * GIB);
    assert_refused(&a, ERR_NOMEM,
                   WORDS("needs 86.", "kv cache 70.00", "78.60 of the GPU's 79.10 GiB are free",
                         "lower --kv-cache-memory-bytes or --num-gpu-blocks-override"));
}
END_TEST

START_TEST(test_refused_taken_by_others)
{
    struct model_config c = model_config_number(LLAMA_8);
    struct memory_plan_args a = gpu_args(&c, H100_PCIE);
    a.memory_free = 60 * GIB;
    assert_refused(&a, ERR_NOMEM,
                   WORDS("option '--gpu-memory-utilization': 0.90 of the GPU's 79.10 GiB is "
                         "71.19 GiB, but only 60.00 GiB are free; lower it to 0.75"));
    a.gpu_memory_utilization = 0.75; /* so it is */
    make_good(&a);
}
END_TEST

START_TEST(test_refused_too_large)
{
    struct model_config c = model_config_number(QWEN_32);
    struct memory_plan_args a = gpu_args(&c, H100_PCIE);
    a.gpu_memory_utilization = 0.75;
    assert_refused(&a, ERR_NOMEM,
                   WORDS("the model needs 6", "weights 61.03", "activations 0.36",
                         "reserve 0.50", "--gpu-memory-utilization 0.75", "79.10 GiB is 59.3",
                         "raise it"));
    a.memory_total = a.memory_free = 24 * GIB;
    assert_refused(&a, ERR_NOMEM,
                   WORDS("weights 61.03", "of the GPU's 24.00 GiB",
                         "the weights alone are more"));
}
END_TEST

START_TEST(test_refused_too_long)
{
    struct model_config c = model_config_number(QWEN_32);
    struct memory_plan_args a = gpu_args(&c, H100_PCIE);
    a.max_model_len = 0;
    struct memory_plan p = make(&a);
    char remedy[100];
    snprintf(remedy, sizeof remedy, "lower --max-model-len to %lld, or raise "
             "--gpu-memory-utilization", (long long)memory_plan_num_tokens(&p));
    assert_refused(&a, ERR_RANGE,
                   WORDS("--max-model-len 131072 tokens needs 8192 blocks (32768.0 MiB)",
                             remedy));
    a.max_model_len = memory_plan_num_tokens(&p); /* so it is: the tables are smaller now */
    make_good(&a);

    a = cpu_args(&c);
    a.num_gpu_blocks_override = 255;
    assert_refused(&a, ERR_RANGE,
                   WORDS("holds 4080 tokens in 255 blocks (1020.0 MiB)", "needs 256 blocks",
                         "lower --max-model-len to 4080, or raise --kv-cache-memory-bytes or "
                         "--num-gpu-blocks-override"));
    a.num_gpu_blocks_override = 0;
    a.memory_free = GIB;
    assert_refused(&a, ERR_RANGE,
                   WORDS("holds 0 tokens", "; raise --kv-cache-memory-bytes"));
}
END_TEST

START_TEST(test_line)
{
    struct memory_plan p = {
        .weight_bytes = 300 << 20, .activation_bytes = 10 << 20, .logit_bytes = 5 << 20,
        .workspace_bytes = 64 << 20, .reserve_bytes = 32 << 20, .memory_total = 2 * GIB,
        .kv_cache_bytes = 7 << 20, .num_blocks = 14};
    char line[256];
    memory_plan_line(&p, line, sizeof line);
    ck_assert_str_eq(line, "weights 300.0 MiB, kv cache 7.0 MiB (14 blocks of 16 tokens = 224 "
                           "tokens), activations and logits 15.0 MiB");
    p.gpu = true;
    memory_plan_line(&p, line, sizeof line);
    ck_assert_str_eq(line, "weights 300.0 MiB, kv cache 7.0 MiB (14 blocks of 16 tokens = 224 "
                           "tokens), activations and logits 15.0 MiB, workspace 64.0 MiB, "
                           "reserve 32.0 MiB, of 2048.0 MiB");
    memory_plan_line(&p, line, 20); /* cut, not more */
    ck_assert_str_eq(line, "weights 300.0 MiB, ");
}
END_TEST

static Suite *
make_suite(void)
{
    Suite *suite = suite_create("memory_plan");
    TCase *tcase = tcase_create("memory_plan");
    tcase_add_loop_test(tcase, test_capacity_of_the_field, 0, NUM_MODEL_CONFIGS);
    tcase_add_test(tcase, test_shares_of_llama);
    tcase_add_loop_test(tcase, test_gpu_is_used_up, 0, NUM_MODEL_CONFIGS);
    tcase_add_test(tcase, test_default_limits);
    tcase_add_test(tcase, test_limits_that_contradict);
    tcase_add_test(tcase, test_cpu_cache);
    tcase_add_test(tcase, test_gpu_cache_as_told);
    tcase_add_test(tcase, test_refused_taken_by_others);
    tcase_add_test(tcase, test_refused_too_large);
    tcase_add_test(tcase, test_refused_too_long);
    tcase_add_test(tcase, test_line);
    suite_add_tcase(suite, tcase);
    return suite;
}

TEST_MAIN(make_suite)
