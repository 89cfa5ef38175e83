/* SPDX-License-Identifier: Apache-2.0 */
/* request, kv_cache and scheduler, without a device: a fake step advances what
 * was planned, and every step the invariants are checked. */
#include "engine/scheduler.h"
#include "tests/unit/main.h"
#include "util/rng.h"

#include <string.h>

struct bench {
    struct kv_cache kv;
    struct scheduler s;
    uint64_t arrivals;
};

static void
bench_init(struct bench *b, int32_t blocks, int32_t seqs, int32_t tokens, int32_t max_len)
{
    memset(b, 0, sizeof *b);
    ck_assert_int_eq(kv_cache_init(&b->kv, blocks, seqs, max_len), 0);
    struct scheduler_config cfg = {.max_num_seqs = seqs, .max_num_batched_tokens = tokens};
    ck_assert_int_eq(scheduler_init(&b->s, &cfg, &b->kv), 0);
}

static void
bench_release(struct bench *b)
{
    ck_assert_int_eq(b->kv.num_free, b->kv.num_blocks);
    scheduler_release(&b->s);
    kv_cache_release(&b->kv);
}

static struct request *
add(struct bench *b, int32_t prompt, int32_t max_tokens)
{
    int32_t *ids = calloc((size_t)prompt, sizeof *ids);
    struct sampling_params p = {.max_tokens = max_tokens, .num_logprobs = -1,
                                .num_prompt_logprobs = -1};
    struct request *r;
    ck_assert_int_eq(request_new(ids, prompt, &p, &r), 0);
    free(ids);
    r->arrival = b->arrivals++;
    scheduler_add(&b->s, r);
    return r;
}

/* What a step would do; frees those that have all their tokens. Returns how
 * many ended. */
static int
step(struct bench *b)
{
    int32_t tokens = scheduler_schedule(&b->s);
    ck_assert_int_le(tokens, b->s.config.max_num_batched_tokens);
    int32_t sum = 0, ended = 0;
    for (int32_t i = 0; i < b->s.num_scheduled; i++) {
        struct request *r = b->s.scheduled[i];
        ck_assert_int_gt(r->num_scheduled_tokens, 0);
        sum += r->num_scheduled_tokens;
        r->num_computed_tokens += r->num_scheduled_tokens;
        ck_assert_int_le(r->num_computed_tokens, r->num_blocks * KV_BLOCK_SIZE);
        if (r->num_computed_tokens < request_num_tokens(r))
            continue;
        r->output_ids[r->num_output_tokens++] = 1;
        if (r->num_output_tokens == r->sampling.max_tokens) {
            scheduler_finish(&b->s, r);
            request_free(r);
            ended++;
        }
    }
    ck_assert_int_eq(sum, tokens);
    scheduler_check(&b->s);
    return ended;
}

START_TEST(test_schedule_long_prompt_is_chunked_by_the_budget)
{
    struct bench b;
    bench_init(&b, 100, 4, 32, 512);
    struct request *r = add(&b, 70, 1);
    ck_assert_int_eq(scheduler_schedule(&b.s), 32);
    r->num_computed_tokens += 32;
    ck_assert_int_eq(scheduler_schedule(&b.s), 32);
    r->num_computed_tokens += 32;
    ck_assert_int_eq(scheduler_schedule(&b.s), 6);
    ck_assert_int_eq(r->num_blocks, 5);
    scheduler_finish(&b.s, r);
    request_free(r);
    bench_release(&b);
}
END_TEST

START_TEST(test_schedule_decodes_go_before_prefill)
{
    struct bench b;
    bench_init(&b, 100, 8, 16, 512);
    struct request *a = add(&b, 4, 10);
    step(&b);
    struct request *big = add(&b, 100, 2);
    struct request *c = add(&b, 3, 5);
    step(&b);
    ck_assert_int_eq(a->num_scheduled_tokens, 1);
    ck_assert_int_eq(big->num_scheduled_tokens, 15);
    ck_assert_int_eq(c->state, REQUEST_WAITING);
    int ended = 0;
    for (int i = 0; i < 200 && ended < 3; i++)
        ended += step(&b);
    ck_assert_int_eq(ended, 3);
    bench_release(&b);
}
END_TEST

START_TEST(test_schedule_out_of_blocks_preempts_the_youngest)
{
    struct bench b;
    bench_init(&b, 6, 4, 64, 96);
    struct request *a = add(&b, 30, 40);
    struct request *y = add(&b, 30, 40);
    step(&b); /* two blocks each: tokens 30 -> 31 */
    ck_assert_int_eq(y->state, REQUEST_RUNNING);
    int ended = 0;
    bool seen_preempted = false;
    for (int i = 0; i < 200 && ended < 2; i++) {
        ended += step(&b);
        if (ended == 0) {
            ck_assert_int_eq(a->state, REQUEST_RUNNING);
            seen_preempted |= y->state == REQUEST_PREEMPTED;
        }
    }
    ck_assert_int_eq(ended, 2);
    ck_assert(seen_preempted);
    ck_assert_uint_ge(b.s.num_preemptions, 1);
    bench_release(&b);
}
END_TEST

START_TEST(test_schedule_first_come_first_served)
{
    struct bench b;
    bench_init(&b, 100, 2, 64, 256);
    struct request *r[3];
    for (int i = 0; i < 3; i++)
        r[i] = add(&b, 5, 100);
    step(&b);
    ck_assert_int_eq(r[0]->state, REQUEST_RUNNING);
    ck_assert_int_eq(r[1]->state, REQUEST_RUNNING);
    ck_assert_int_eq(r[2]->state, REQUEST_WAITING);
    scheduler_finish(&b.s, r[0]);
    step(&b);
    ck_assert_int_eq(r[2]->state, REQUEST_RUNNING);
    for (int i = 0; i < 3; i++) {
        if (i > 0)
            scheduler_finish(&b.s, r[i]);
        request_free(r[i]);
    }
    bench_release(&b);
}
END_TEST

START_TEST(test_finish_in_any_state_gives_everything_back)
{
    struct bench b;
    bench_init(&b, 8, 2, 16, 128);
    struct request *run = add(&b, 40, 5), *wait = add(&b, 128, 1);
    step(&b);
    ck_assert_int_eq(run->state, REQUEST_RUNNING);
    scheduler_finish(&b.s, run);
    scheduler_finish(&b.s, wait);
    ck_assert_int_eq(scheduler_schedule(&b.s), 0);
    scheduler_check(&b.s);
    request_free(run);
    request_free(wait);
    bench_release(&b);
}
END_TEST

/* Mixed lengths, little memory, random cancels: everything ends, nothing leaks,
 * invariants hold after each of some thousand steps. */
START_TEST(test_schedule_random_load_ends_and_leaks_nothing)
{
    struct bench b;
    bench_init(&b, 24, 7, 40, 256);
    uint64_t x = 12345 + (uint64_t)_i;
    int total = 0, ended = 0, idle = 0;
    while (ended < 200 && idle < 1000) {
        x = rng_mix64(x);
        if (total < 200 && x % 3 == 0) {
            add(&b, 1 + (int32_t)(x >> 8 & 0xffff) % 200, 1 + (int32_t)(x >> 24 & 0xffff) % 50);
            total++;
        }
        if (x % 41 == 0 && !list_empty(&b.s.running)) {
            struct request *r = container_of(b.s.running.prev, struct request, link);
            scheduler_finish(&b.s, r);
            request_free(r);
            ended++;
        }
        int n = step(&b);
        ended += n;
        idle = n == 0 && b.s.num_scheduled == 0 ? idle + 1 : 0;
    }
    ck_assert_int_eq(ended, 200);
    ck_assert_uint_gt(b.s.num_preemptions, 0);
    bench_release(&b);
}
END_TEST

START_TEST(test_request_set_state_forbidden_transition_aborts)
{
    struct request r = {.state = REQUEST_FINISHED};
    request_set_state(&r, REQUEST_RUNNING);
}
END_TEST

static Suite *
scheduler_suite(void)
{
    Suite *s = suite_create("scheduler");
    TCase *tc = tcase_create("scheduler");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, test_schedule_long_prompt_is_chunked_by_the_budget);
    tcase_add_test(tc, test_schedule_decodes_go_before_prefill);
    tcase_add_test(tc, test_schedule_out_of_blocks_preempts_the_youngest);
    tcase_add_test(tc, test_schedule_first_come_first_served);
    tcase_add_test(tc, test_finish_in_any_state_gives_everything_back);
    tcase_add_loop_test(tc, test_schedule_random_load_ends_and_leaks_nothing, 0, 20);
    tcase_add_test_raise_signal(tc, test_request_set_state_forbidden_transition_aborts, 6);
    suite_add_tcase(s, tc);
    return s;
}

TEST_MAIN(scheduler_suite)
