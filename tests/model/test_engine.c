/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The whole engine through its door, on the bundled model: requests come back
 * complete and in order, cancels free their blocks, and the promise of
 * docs/design.md: same request, same seed, same tokens and logprobs, alone and
 * among 63 others, with preemptions forced, any chunking, any threads.
 *
 * Built with TEST_CUDA it runs on the CUDA module: the promise with --deterministic,
 * the same bits from recorded and from launched steps, and the CPU's tokens.
 */
#include "engine/engine.h"
#include "tests/unit/main.h"
#include "util/rng.h"

#include <math.h>
#include <string.h>
#include <unistd.h>

#define NUM_PROBES 6
#ifdef TEST_CUDA /* a virtual device takes its time */
#define DEVICE "cuda"
#define PROBE_TOKENS 36
#define NUM_OTHERS 8
#define TIGHT_BLOCKS 10
#define NUM_CANCELLED 40
#define NUM_CROSSINGS 20
#else
#define DEVICE "cpu"
#define PROBE_TOKENS 40
#define NUM_OTHERS 58
#define TIGHT_BLOCKS 12
#define NUM_CANCELLED 200
#define NUM_CROSSINGS 200
#endif

static const char *
model_dir(void)
{
    static char path[4096];
    const char *src = getenv("srcdir");
    snprintf(path, sizeof path, "%s/share/demo", src != NULL ? src : ".");
    return path;
}

static struct engine *
open_engine(struct engine_config cfg)
{
    struct engine *e = NULL;
    struct error err = {0};
    cfg.model_dir = cfg.model_dir == NULL ? model_dir() : cfg.model_dir;
    if (cfg.device == NULL)
        cfg.device = DEVICE;
    cfg.max_logprobs = 5;
    if (engine_open(&cfg, &e, &err) != 0)
        ck_abort_msg("engine_open: %s", err.text);
    return e;
}

static struct request *
make_request(uint64_t variety, int32_t prompt_len, int32_t max_tokens, struct sampling_params p)
{
    int32_t *ids = malloc((size_t)prompt_len * sizeof *ids);
    for (int32_t i = 0; i < prompt_len; i++)
        ids[i] = 5 + (int32_t)(rng_mix64(variety * 7919 + (uint64_t)i) % 500);
    p.max_tokens = max_tokens;
    struct request *r;
    ck_assert_int_eq(request_new(ids, prompt_len, &p, &r), 0);
    free(ids);
    return r;
}

static struct sampling_params
params(float temperature)
{
    return (struct sampling_params){
        .temperature = temperature,
        .top_p = 1,
        .repetition_penalty = 1,
        .ignore_eos = true,
        .num_logprobs = -1,
        .num_prompt_logprobs = -1,
    };
}

/* A probe of each kind of sampling. */
static struct request *
make_probe(int i)
{
    struct sampling_params p = params(i == 0 ? 0 : 0.9f);
    p.has_seed = true;
    p.seed = 1000 + (uint64_t)i;
    p.num_logprobs = i % 2 == 0 ? 3 : -1;
    p.num_prompt_logprobs = i == 2 ? 2 : -1;
    if (i == 1)
        p.top_k = 20;
    if (i == 2)
        p.top_p = 0.8f;
    if (i == 3)
        p.min_p = 0.05f;
    if (i == 4) {
        p.repetition_penalty = 1.3f;
        p.frequency_penalty = 0.4f;
        p.presence_penalty = 0.2f;
    }
    return make_request(40 + (uint64_t)i, 7 + 23 * i, PROBE_TOKENS, p);
}

static void
poll_until(struct engine *e, int32_t *num_finished, int32_t want)
{
    struct engine_event ev[64];
    while (*num_finished < want) {
        size_t n = engine_poll(e, ev, ARRAY_SIZE(ev));
        for (size_t i = 0; i < n; i++) {
            if (ev[i].type == EVENT_FINISHED)
                ++*num_finished;
        }
        if (n == 0)
            usleep(500);
    }
}

/* What a probe answered. */
struct answer {
    int32_t tokens[PROBE_TOKENS];
    float logprobs[PROBE_TOKENS];
    float prompt_logprob;
};

static void
run_probes(struct engine_config cfg, int num_others, struct answer *ret, int64_t *ret_preemptions)
{
    struct engine *e = open_engine(cfg);
    struct request *probes[NUM_PROBES], *others[NUM_OTHERS];
    int32_t finished = 0, submitted = 0;
    *ret_preemptions = 0;
    for (int i = 0; i < MAX(NUM_PROBES, num_others); i++) {
        if (i < num_others) {
            struct sampling_params p = params(1);
            others[i] = make_request((uint64_t)i, 1 + i * 5 % 120, 5 + i * 7 % 60, p);
            ck_assert_int_eq(engine_submit(e, others[i]), 0);
            submitted++;
        }
        if (i < NUM_PROBES) {
            probes[i] = make_probe(i);
            ck_assert_int_eq(engine_submit(e, probes[i]), 0);
            submitted++;
            if (num_others == 0)
                poll_until(e, &finished, submitted); /* alone, one by one */
        }
    }
    poll_until(e, &finished, submitted);
    for (int i = 0; i < NUM_PROBES; i++) {
        struct request *r = probes[i];
        ck_assert_int_eq(r->finish_reason, FINISH_LENGTH);
        ck_assert_int_eq(r->num_output_tokens, PROBE_TOKENS);
        memcpy(ret[i].tokens, r->output_ids, sizeof ret[i].tokens);
        if (r->sampling.num_logprobs >= 0)
            memcpy(ret[i].logprobs, r->logprobs.logprob, sizeof ret[i].logprobs);
        if (r->sampling.num_prompt_logprobs >= 0)
            ret[i].prompt_logprob = r->prompt_logprobs.logprob[r->num_prompt_tokens - 1];
        *ret_preemptions += r->num_preemptions;
        request_free(r);
    }
    for (int i = 0; i < num_others; i++) {
        *ret_preemptions += others[i]->num_preemptions;
        request_free(others[i]);
    }
    engine_close(e);
}

static void
assert_same(const struct answer *a, const struct answer *b, const char *what)
{
    for (int i = 0; i < NUM_PROBES; i++) {
        for (int t = 0; t < PROBE_TOKENS; t++) {
            if (a[i].tokens[t] != b[i].tokens[t])
                ck_abort_msg("%s: probe %d differs at token %d: %d, %d", what, i, t,
                             a[i].tokens[t], b[i].tokens[t]);
        }
        if (memcmp(&a[i], &b[i], sizeof a[i]) != 0)
            ck_abort_msg("%s: probe %d has other log-probabilities", what, i);
    }
}

START_TEST(test_engine_same_request_same_bytes_in_any_company)
{
    static struct answer alone[NUM_PROBES], other[NUM_PROBES];
    int64_t preemptions;
    struct engine_config base = {.dtype = _i == 0 ? MODEL_DTYPE_AUTO : MODEL_DTYPE_FLOAT32,
                                 .deterministic = true,
                                 .max_model_len = 512, .kv_cache_memory_bytes = 64 << 20};
    run_probes(base, 0, alone, &preemptions);

    run_probes(base, NUM_OTHERS, other, &preemptions);
    assert_same(alone, other, "among others");

    struct engine_config tight = base;
    tight.num_gpu_blocks_override = TIGHT_BLOCKS;
    tight.max_model_len = 16 * TIGHT_BLOCKS;
    tight.max_num_seqs = 64;
    run_probes(tight, NUM_OTHERS, other, &preemptions);
    ck_assert_int_gt(preemptions, 0);
    assert_same(alone, other, "with preemptions");

    struct engine_config chunks = base;
    chunks.max_num_seqs = 13;
    chunks.max_num_batched_tokens = 13;
    run_probes(chunks, NUM_OTHERS, other, &preemptions);
    assert_same(alone, other, "with chunks of at most 13");

    for (int threads = 1; threads <= 3 && strcmp(DEVICE, "cpu") == 0; threads++) {
        struct engine_config t = base;
        t.threads = threads;
        run_probes(t, threads == 3 ? NUM_OTHERS : 0, other, &preemptions);
        assert_same(alone, other, "with other thread counts");
    }
}
END_TEST

#ifdef TEST_CUDA
/* Steps recorded as graphs, padded to their sizes, are the steps launched. */
START_TEST(test_engine_recorded_steps_give_bits_of_launched_ones)
{
    static struct answer recorded[NUM_PROBES], launched[NUM_PROBES];
    int64_t preemptions;
    struct engine_config cfg = {.max_model_len = 256, .max_num_seqs = 8,
                                .kv_cache_memory_bytes = 64 << 20};
    run_probes(cfg, 0, recorded, &preemptions);
    cfg.enforce_eager = true;
    cfg.no_pdl = true;
    run_probes(cfg, 0, launched, &preemptions);
    assert_same(recorded, launched, "launched");
}
END_TEST

/* Logits in bfloat16 are off by some hundredths. */
#define LOGPROB_TOLERANCE 0.1f

/*
 * The same requests on both backends: the same tokens, with the same
 * log-probabilities, up to the first that rounding decides; most have none.
 */
START_TEST(test_engine_agrees_with_cpu)
{
    static struct answer cpu[NUM_PROBES], cuda[NUM_PROBES];
    int64_t preemptions;
    struct engine_config cfg = {.max_model_len = 256, .kv_cache_memory_bytes = 64 << 20};
    run_probes(cfg, NUM_OTHERS, cuda, &preemptions);
    cfg.device = "cpu";
    run_probes(cfg, NUM_OTHERS, cpu, &preemptions);
    int num_alike = 0;
    for (int i = 0; i < NUM_PROBES; i++) {
        int n = 0;
        while (n < PROBE_TOKENS && cpu[i].tokens[n] == cuda[i].tokens[n]) {
            float off = fabsf(cpu[i].logprobs[n] - cuda[i].logprobs[n]);
            if (!(off <= LOGPROB_TOLERANCE))
                ck_abort_msg("probe %d token %d: log-probability %g, on the CPU %g", i, n,
                             (double)cuda[i].logprobs[n], (double)cpu[i].logprobs[n]);
            n++;
        }
        printf("probe %d: %d of %d tokens are the CPU's\n", i, n, PROBE_TOKENS);
        num_alike += n;
    }
    ck_assert_int_ge(num_alike, NUM_PROBES * PROBE_TOKENS / 2);
}
END_TEST
#endif

/* Probes differ from each other: the comparison above compares something. */
START_TEST(test_engine_other_seed_other_tokens)
{
    struct engine *e = open_engine((struct engine_config){.max_model_len = 256});
    struct request *r[2];
    for (int i = 0; i < 2; i++) {
        struct sampling_params p = params(1);
        p.has_seed = true;
        p.seed = (uint64_t)i;
        r[i] = make_request(3, 10, 30, p);
        ck_assert_int_eq(engine_submit(e, r[i]), 0);
    }
    int32_t finished = 0;
    poll_until(e, &finished, 2);
    ck_assert(memcmp(r[0]->output_ids, r[1]->output_ids, 30 * sizeof(int32_t)) != 0);
    request_free(r[0]);
    request_free(r[1]);
    engine_close(e);
}
END_TEST

START_TEST(test_engine_events_are_in_order_and_complete)
{
    struct engine *e = open_engine((struct engine_config){.max_model_len = 256,
                                                          .max_num_seqs = 4});
    enum { N = 12 };
    struct request *r[N];
    int32_t next[N] = {0};
    bool done[N] = {false};
    for (int i = 0; i < N; i++) {
        r[i] = make_request((uint64_t)i, 3 + i, 1 + i * 3, params(0));
        r[i]->user = &next[i];
        ck_assert_int_eq(engine_submit(e, r[i]), 0);
    }
    int ended = 0;
    struct engine_event ev[3];
    while (ended < N) {
        size_t n = engine_poll(e, ev, ARRAY_SIZE(ev));
        for (size_t i = 0; i < n; i++) {
            int k = (int)((int32_t *)ev[i].request->user - next);
            ck_assert(!done[k]);
            ck_assert_int_eq(ev[i].output_index, next[k]);
            if (ev[i].type == EVENT_TOKEN) {
                ck_assert_int_eq(ev[i].token, ev[i].request->output_ids[next[k]]);
                next[k]++;
                continue;
            }
            ck_assert_int_eq(next[k], 1 + k * 3);
            done[k] = true;
            ended++;
        }
        if (n == 0)
            usleep(200);
    }
    ck_assert_uint_eq(engine_stats(e)->blocks_used, 0);
    for (int i = 0; i < N; i++)
        request_free(r[i]);
    engine_close(e);
}
END_TEST

START_TEST(test_engine_cancel_at_any_time_returns_everything)
{
    struct engine *e = open_engine((struct engine_config){.max_model_len = 512, .max_num_seqs = 8});
    enum { N = NUM_CANCELLED };
    static struct request *r[N];
    int32_t finished = 0;
    for (int i = 0; i < N; i++) {
        r[i] = make_request((uint64_t)i, 1 + i % 90, 1 + i % 30, params(1));
        ck_assert_int_eq(engine_submit(e, r[i]), 0);
        if (i % 3 == 0)
            engine_cancel(e, r[i]);
        if (i >= 20 && i % 2 == 0 && finished < i - 20) {
            engine_cancel(e, r[i - 20]); /* running, or ended long ago but not polled */
            engine_cancel(e, r[i - 20]);
        }
        if (i % 16 == 0)
            usleep(3000);
    }
    poll_until(e, &finished, N);
    for (int i = 0; i < 3000 && engine_stats(e)->blocks_used > 0; i++)
        usleep(1000);
    ck_assert_uint_eq(engine_stats(e)->blocks_used, 0);
    ck_assert_int_eq(engine_room(e), 4096);
    for (int i = 0; i < N; i++)
        request_free(r[i]);
    engine_close(e);
}
END_TEST

/* A stop string found in a TOKEN cancels the request whose FINISHED lies in the
 * same poll: it must come back once, and the worker must not meet it again. */
START_TEST(test_engine_cancel_between_token_and_end_returns_it_once)
{
    struct engine *e = open_engine((struct engine_config){.max_model_len = 128});
    enum { ROUNDS = NUM_CROSSINGS };
    for (int round = 0; round < ROUNDS; round++) {
        struct request *r = make_request((uint64_t)round, 3, 1, params(0));
        ck_assert_int_eq(engine_submit(e, r), 0);
        while (atomic_load(&engine_stats(e)->num_steps) <= (uint64_t)round)
            usleep(100);
        int num_finished = 0;
        struct engine_event ev[8];
        while (num_finished == 0) {
            size_t n = engine_poll(e, ev, ARRAY_SIZE(ev));
            for (size_t i = 0; i < n; i++) {
                if (ev[i].type == EVENT_TOKEN)
                    engine_cancel(e, r);
                else
                    num_finished++;
            }
        }
        ck_assert_int_eq(num_finished, 1);
        request_free(r);
    }
    usleep(20000);
    struct engine_event ev[8];
    ck_assert_uint_eq(engine_poll(e, ev, ARRAY_SIZE(ev)), 0);
    engine_close(e);
}
END_TEST

START_TEST(test_engine_submit_full_queue_is_busy)
{
    struct engine *e = open_engine((struct engine_config){.max_model_len = 256, .queue_size = 3});
    struct request *r[4];
    for (int i = 0; i < 4; i++) {
        r[i] = make_request(1, 4, 20, params(0));
        ck_assert_int_eq(engine_submit(e, r[i]), i < 3 ? 0 : ERR_BUSY);
    }
    int32_t finished = 0;
    poll_until(e, &finished, 3);
    ck_assert_int_eq(engine_submit(e, r[3]), 0);
    poll_until(e, &finished, 4);
    for (int i = 0; i < 4; i++)
        request_free(r[i]);
    engine_close(e);
}
END_TEST

START_TEST(test_engine_stop_and_min_tokens)
{
    struct engine *e = open_engine((struct engine_config){.max_model_len = 256});
    struct request *first = make_request(9, 12, 10, params(0));
    ck_assert_int_eq(engine_submit(e, first), 0);
    int32_t finished = 0;
    poll_until(e, &finished, 1);

    /* The third greedy token as a stop token: ends there, and is the last. */
    struct sampling_params p = params(0);
    p.stop_token_ids = malloc(sizeof(int32_t));
    p.stop_token_ids[0] = first->output_ids[2];
    p.num_stop_token_ids = 1;
    int32_t at = 0;
    while (first->output_ids[at] != first->output_ids[2])
        at++;
    struct request *stopped = make_request(9, 12, 10, p);
    ck_assert_int_eq(engine_submit(e, stopped), 0);
    poll_until(e, &finished, 2);
    ck_assert_int_eq(stopped->finish_reason, FINISH_STOP);
    ck_assert_int_eq(stopped->stop_token_id, first->output_ids[2]);
    ck_assert_int_eq(stopped->num_output_tokens, at + 1);

    /* With min_tokens it cannot even be drawn before. */
    p.stop_token_ids = malloc(sizeof(int32_t));
    p.stop_token_ids[0] = first->output_ids[2];
    p.min_tokens = 8;
    struct request *later = make_request(9, 12, 10, p);
    ck_assert_int_eq(engine_submit(e, later), 0);
    poll_until(e, &finished, 3);
    ck_assert_int_ge(later->num_output_tokens, 8);
    for (int i = 0; i < 8; i++)
        ck_assert_int_ne(later->output_ids[i], first->output_ids[2]);
    request_free(first);
    request_free(stopped);
    request_free(later);
    engine_close(e);
}
END_TEST

START_TEST(test_engine_open_refuses_what_cannot_be)
{
    struct error err = {0};
    struct engine *e = NULL;
    struct engine_config cfg = {.model_dir = "/nonexistent", .device = "cpu"};
    ck_assert_int_lt(engine_open(&cfg, &e, &err), 0);
    ck_assert_ptr_nonnull(strstr(err.text, "/nonexistent"));

    cfg = (struct engine_config){.model_dir = model_dir(), .device = "cpu",
                                 .max_model_len = 1000000};
    ck_assert_int_eq(engine_open(&cfg, &e, &err), ERR_RANGE);
    ck_assert_ptr_nonnull(strstr(err.text, "--max-model-len"));

    cfg = (struct engine_config){.model_dir = model_dir(), .device = "cpu", .max_model_len = 512,
                                 .num_gpu_blocks_override = 31};
    ck_assert_int_eq(engine_open(&cfg, &e, &err), ERR_RANGE);
    ck_assert_ptr_nonnull(strstr(err.text, "needs 32"));
}
END_TEST

START_TEST(test_engine_dummy_weights_need_config_alone)
{
    struct engine *e = open_engine((struct engine_config){
        .load_format = LOAD_DUMMY, .max_model_len = 128, .max_num_seqs = 4});
    struct request *r = make_request(1, 20, 12, params(0));
    ck_assert_int_eq(engine_submit(e, r), 0);
    int32_t finished = 0;
    poll_until(e, &finished, 1);
    ck_assert_int_eq(r->num_output_tokens, 12);
    request_free(r);
    engine_close(e);
}
END_TEST

/* What was planned before loading is what was allocated. */
START_TEST(test_engine_memory_is_as_planned)
{
    struct engine *e = open_engine((struct engine_config){
        .load_format = LOAD_DUMMY, .max_model_len = 512, .kv_cache_memory_bytes = 1 << 20,
        .max_num_seqs = 5}); /* fewer than rows of logits otherwise */
    const struct engine_info *i = engine_info(e);
    const double mib = 1048576.0;
    char line[256];
    snprintf(line, sizeof line, "weights %.1f MiB, kv cache %.1f MiB (%d blocks of 16 tokens = "
             "%d tokens), activations and logits %.1f MiB", (double)i->weight_bytes / mib,
             (double)i->kv_cache_bytes / mib, i->num_blocks, 16 * i->num_blocks,
             (double)i->scratch_bytes / mib);
    ck_assert_msg(strncmp(i->memory_plan, line, strlen(line)) == 0, "%s", i->memory_plan);
    ck_assert_uint_le(i->kv_cache_bytes, 1 << 20);
    ck_assert_int_ge(i->num_blocks, 512 / 16);
    engine_close(e);
}
END_TEST

static Suite *
engine_suite(void)
{
    Suite *s = suite_create("engine");
    TCase *tc = tcase_create("engine");
    tcase_set_timeout(tc, 300);
#ifdef TEST_CUDA
    tcase_add_loop_test(tc, test_engine_same_request_same_bytes_in_any_company, 0, 1);
    tcase_add_test(tc, test_engine_recorded_steps_give_bits_of_launched_ones);
    tcase_add_test(tc, test_engine_agrees_with_cpu);
#else
    tcase_add_loop_test(tc, test_engine_same_request_same_bytes_in_any_company, 0, 2);
#endif
    tcase_add_test(tc, test_engine_other_seed_other_tokens);
    tcase_add_test(tc, test_engine_events_are_in_order_and_complete);
    tcase_add_test(tc, test_engine_cancel_at_any_time_returns_everything);
    tcase_add_test(tc, test_engine_cancel_between_token_and_end_returns_it_once);
    tcase_add_test(tc, test_engine_submit_full_queue_is_busy);
    tcase_add_test(tc, test_engine_stop_and_min_tokens);
    tcase_add_test(tc, test_engine_open_refuses_what_cannot_be);
    tcase_add_test(tc, test_engine_dummy_weights_need_config_alone);
    tcase_add_test(tc, test_engine_memory_is_as_planned);
    suite_add_tcase(s, tc);
    return s;
}

TEST_MAIN(engine_suite)
