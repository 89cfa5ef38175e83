/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sampling and log-probabilities: which tokens can be drawn, how often, what
 * is reported, and that bad numbers do no harm.
 */
#include "tests/ops/fixture.h"

#include "tests/ops/ref_sample.h"
#include "util/rng.h"

#include <math.h>
#include <string.h>

static struct sample_row
plain_row(float temperature, uint64_t seed)
{
    return (struct sample_row){.temperature = temperature,
                               .top_p = 1,
                               .repetition_penalty = 1,
                               .seed = seed,
                               .num_logprobs = -1};
}

/* Logits with a few likely tokens and a long tail. */
static float *
peaked_logits(uint64_t seed, int64_t n)
{
    float *x = random_floats(seed, n, 1);
    for (int64_t i = 0; i < n; i++)
        x[i] = x[i] * 3 - 2 * logf(fabsf(x[i]) + 1e-3f);
    return x;
}

static struct sample_result
sample_one(struct rig *rig, const float *x, int64_t n, const struct sample_row *row)
{
    struct sample_result result = {.token = -1};
    struct buffer logits = rig_buffer(rig, x, n);
    ck_assert_int_eq(rig_sample(rig, &logits, row, 1, n, &result, NULL, NULL, 0), 0);
    rig->ops->buffer_free(rig->dev, &logits);
    return result;
}

START_TEST(test_sample_greedy_takes_lowest_of_equals)
{
    struct rig rig;
    if (!rig_open(&rig, isa_names[_i], 2))
        return;
    enum { V = 1003 };
    float *x = random_floats(1, V, 5);
    struct sample_row row = plain_row(0, 1);
    static const int places[][2] = {{0, 1002}, {17, 18}, {1001, 1002}, {500, 999}, {3, 11}};
    for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
        float a = x[places[i][0]], b = x[places[i][1]];
        x[places[i][0]] = x[places[i][1]] = 9;
        ck_assert_int_eq(sample_one(&rig, x, V, &row).token, places[i][0]);
        x[places[i][0]] = a;
        x[places[i][1]] = b;
    }
    free(x);
    rig_close(&rig);
}
END_TEST

/* The same seed draws the reference's token, in every combination of filters,
 * and a batch gives each row what it gets alone. */
START_TEST(test_sample_draws_as_reference)
{
    enum { V = 3001, R = 60 };
    struct rig rig, ref;
    if (!rig_open(&rig, isa_names[_i], 3))
        return;
    rig_open(&ref, "reference", 1);
    float *x = malloc(R * V * sizeof *x);
    struct sample_row rows[R];
    int32_t history[40];
    for (int i = 0; i < 40; i++)
        history[i] = (i * i * 7) % 50 * 60;
    for (int i = 0; i < R; i++) {
        float *row = peaked_logits((uint64_t)i, V);
        memcpy(x + i * V, row, V * sizeof *x);
        free(row);
        rows[i] = plain_row(0.3f + 0.05f * (float)i, (uint64_t)i * 77);
        rows[i].position = (uint64_t)i % 5;
        rows[i].top_k = i % 3 == 1 ? 1 + i : 0;
        rows[i].top_p = i % 4 == 1 ? 0.9f : i % 4 == 2 ? 0.31f : 1.0f;
        rows[i].min_p = i % 5 == 1 ? 0.05f : 0.0f;
        if (i % 2 == 1) {
            rows[i].repetition_penalty = 1.3f;
            rows[i].presence_penalty = 0.4f;
            rows[i].frequency_penalty = -0.2f;
            rows[i].prompt_ids = history;
            rows[i].num_prompt = 30;
            rows[i].output_ids = history + 10;
            rows[i].num_output = 30;
        }
    }
    struct sample_result want[R], got[R];
    struct buffer rx = rig_buffer(&ref, x, R * V), cx = rig_buffer(&rig, x, R * V);
    rig_sample(&ref, &rx, rows, R, V, want, NULL, NULL, 0);
    ck_assert_int_eq(rig_sample(&rig, &cx, rows, R, V, got, NULL, NULL, 0), 0);
    for (int i = 0; i < R; i++) {
        ck_assert_msg(got[i].token == want[i].token, "row %d draws %d, not %d", i, got[i].token,
                      want[i].token);
        ck_assert_int_eq(sample_one(&rig, x + i * V, V, &rows[i]).token, got[i].token);
    }
    rig.ops->buffer_free(rig.dev, &cx);
    ref.ops->buffer_free(ref.dev, &rx);
    free(x);
    rig_close(&rig);
    rig_close(&ref);
}
END_TEST

/* Each case is lost if one penalty counts too little, too much or twice. */
START_TEST(test_sample_penalties_each_counts_right)
{
    enum { V = 6 };
    static const struct {
        float logits[V], repetition, presence, frequency;
        int32_t winner;
    } cases[] = {
        /* token 0 is three times in the output, 1 once, 2 in the prompt twice */
        {{5, 4.5f, 4, 0, 0, 0}, 1, 0, 0.4f, 1},        /* 3.8, 4.1, 4 */
        {{5, 4.7f, 4, 0, 0, 0}, 1, 0, 0.45f, 1},       /* 3.65, 4.25, 4 */
        {{5, 4.5f, 4.2f, 0, 0, 0}, 1, 0.9f, 0, 2},     /* 4.1, 3.6, 4.2 */
        {{5, 4.5f, 4.2f, 0, 0, 0}, 1, 0.7f, 0, 0},     /* 4.3, 3.8, 4.2 */
        {{6, 4, 4, 2.9f, 0, 0}, 2, 0, 0, 0},           /* 3, 2, 2, 2.9: not twice */
        {{6, 4, 4, 3.1f, 0, 0}, 2, 0, 0, 3},
        {{-1, -2, -1.5f, -1.9f, -9, -9}, 2, 0, 0, 3},  /* negative ones fall */
        {{4, 4, 4, 3, 0, 0}, 2, -1.5f, 0, 0},          /* 3.5, 3.5, 2, 3: lowest id */
    };
    static const int32_t output[] = {0, 1, 0, 0}, prompt[] = {2, 0, 2};
    struct rig rig;
    if (!rig_open(&rig, isa_names[_i], 1))
        return;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct sample_row row = plain_row(0, 1);
        row.repetition_penalty = cases[i].repetition;
        row.presence_penalty = cases[i].presence;
        row.frequency_penalty = cases[i].frequency;
        row.output_ids = output;
        row.num_output = ARRAY_SIZE(output);
        row.prompt_ids = prompt;
        row.num_prompt = ARRAY_SIZE(prompt);
        int32_t token = sample_one(&rig, cases[i].logits, V, &row).token;
        ck_assert_msg(token == cases[i].winner, "case %zu: %d, not %d", i, token, cases[i].winner);
    }
    rig_close(&rig);
}
END_TEST

/* Draws N tokens with N seeds; counts[V] */
static void
draw_many(struct rig *rig, const float *x, int V, const struct sample_row *row, int N, int *counts)
{
    enum { BATCH = 500 };
    float *all = malloc((size_t)BATCH * V * sizeof *all);
    struct sample_row *rows = malloc(BATCH * sizeof *rows);
    struct sample_result *results = malloc(BATCH * sizeof *results);
    struct buffer logits = rig_buffer(rig, NULL, (int64_t)BATCH * V);
    memset(counts, 0, (size_t)V * sizeof *counts);
    for (int done = 0; done < N; done += BATCH) {
        for (int i = 0; i < BATCH; i++) {
            memcpy(all + (size_t)i * V, x, (size_t)V * sizeof *x);
            rows[i] = *row;
            rows[i].seed = 0x9E3779B9u * (uint64_t)(done + i);
            rows[i].position = (uint64_t)(done + i) % 3;
        }
        rig->ops->upload(rig->dev, &logits, 0, all, (size_t)BATCH * V * sizeof *all);
        ck_assert_int_eq(
            rig_sample(rig, &logits, rows, BATCH, V, results, NULL, NULL, 0), 0);
        for (int i = 0; i < BATCH; i++) {
            if (results[i].token < 0 || results[i].token >= V)
                ck_abort_msg("token %d of %d", results[i].token, V);
            counts[results[i].token]++;
        }
    }
    rig->ops->buffer_free(rig->dev, &logits);
    free(all);
    free(rows);
    free(results);
}

/* Chi-square against the reference's distribution; what has probability 0 is
 * never drawn, what has some is. */
START_TEST(test_sample_frequencies_follow_distribution)
{
    enum { V = 40, N = 40000 };
    struct rig rig;
    if (!rig_open(&rig, isa_names[_i], 2))
        return;
    float *x = random_floats(11, V, 2.5f);
    int32_t bias_ids[] = {3, 5}, banned[] = {8, 9}, allowed[] = {1, 5, 7, 20, 39, 12};
    float biases[] = {2, -1};
    for (int kind = 0; kind < 8; kind++) {
        struct sample_row row = plain_row(kind == 1 ? 0.6f : 1.0f, 0);
        row.top_k = kind == 2 || kind == 5 ? 7 : 0;
        row.top_p = kind == 3 || kind == 5 ? 0.7f : 1;
        row.min_p = kind == 4 ? 0.2f : 0;
        if (kind == 6) {
            row.bias_ids = bias_ids;
            row.bias_values = biases;
            row.num_bias = 2;
            row.banned_ids = banned;
            row.num_banned = 2;
        }
        if (kind == 7) {
            row.allowed_ids = allowed;
            row.num_allowed = ARRAY_SIZE(allowed);
        }
        double p[V], chi = 0;
        int counts[V], freedom = -1;
        ref_distribution(&row, x, V, p);
        draw_many(&rig, x, V, &row, N, counts);
        for (int i = 0; i < V; i++) {
            ck_assert_msg(p[i] > 0 || counts[i] == 0, "kind %d draws %d, which it cannot", kind, i);
            ck_assert_msg(p[i] * N < 30 || counts[i] > 0, "kind %d never draws %d", kind, i);
            if (p[i] * N < 5)
                continue;
            chi += (counts[i] - p[i] * N) * (counts[i] - p[i] * N) / (p[i] * N);
            freedom++;
        }
        /* mean f, deviation sqrt(2 f): five of those */
        ck_assert_msg(chi < freedom + 5 * sqrt(2.0 * freedom + 1), "kind %d: chi-square %.1f of %d",
                      kind, chi, freedom);
    }
    free(x);
    rig_close(&rig);
}
END_TEST

/* With a large vocabulary: the sets are exact, down to the last token. The
 * logits are spaced so that no sum lies within rounding of a limit. */
START_TEST(test_sample_sets_are_exact)
{
    enum { V = 20011 };
    struct rig rig;
    if (!rig_open(&rig, isa_names[_i], 2))
        return;
    float *x = malloc(V * sizeof *x), *y = malloc(V * sizeof *y);
    for (int i = 0; i < V; i++)   /* token order scrambled by a prime */
        x[(int64_t)i * 7919 % V] = -0.01f * (float)i;
    double *p = malloc(V * sizeof *p);
    for (int kind = 0; kind < 9; kind++) {
        struct sample_row row = plain_row(1, 5);
        row.top_k = (int[]){0, 0, 1, 5, 300, 20000, 300, 0, 64}[kind];
        row.top_p = (float[]){0.5f, 0.95f, 1, 1, 1, 1, 0.8f, 0.999f, 0.00001f}[kind];
        row.min_p = (float[]){0, 0, 0, 0, 0, 0, 0.1f, 0.03f, 0}[kind];
        ref_distribution(&row, x, V, p);
        int64_t kept = 0;
        double least = 1;
        int32_t last = -1, next = -1;
        for (int i = 0; i < V; i++) {
            kept += p[i] > 0;
            if (p[i] > 0 && p[i] < least) {
                least = p[i];
                last = i;
            }
        }
        for (int i = 0; i < V; i++) {
            if (p[i] == 0 && (next < 0 || x[i] > x[next]))
                next = i;
        }
        /* a seed that favours the token picks it if and only if it is in the set */
        for (int side = 0; side < 2; side++) {
            int32_t token = side == 0 ? last : next;
            if (token < 0)
                continue;
            bool drawn = false;
            for (uint64_t seed = 0; seed < 400000 && !drawn; seed++) {
                uint32_t words[4];
                philox4x32(seed, 0, (uint64_t)token / 4, words);
                if (rng_uniform_open(words[token % 4]) < 1 - 2e-5f)
                    continue;
                row.seed = seed;
                memcpy(y, x, V * sizeof *y);
                drawn = sample_one(&rig, y, V, &row).token == token;
            }
            ck_assert_msg(side == 1 || drawn || kept > 600, "kind %d cannot draw %d of %lld", kind,
                          token, (long long)kept);
            ck_assert_msg(side == 0 || !drawn, "kind %d draws %d, beyond its %lld", kind, token,
                          (long long)kept);
        }
    }
    free(x);
    free(y);
    free(p);
    rig_close(&rig);
}
END_TEST

START_TEST(test_sample_logprobs_match_reference)
{
    enum { V = 5003, R = 7, TOP = 100 };
    struct rig rig, ref;
    if (!rig_open(&rig, isa_names[_i], 2))
        return;
    rig_open(&ref, "reference", 1);
    float *x = random_floats(3, R * V, 20);
    x[17] = x[4000] = 25;           /* a tie at the top */
    for (int i = 0; i < V; i++)
        x[5 * V + i] = 1.5f;        /* all equal */
    x[6 * V + 8] = NAN;
    x[6 * V + 9] = -INFINITY;
    struct sample_row rows[R];
    int32_t targets[R], banned[] = {17, 4000};
    for (int i = 0; i < R; i++) {
        rows[i] = plain_row(i % 2 ? 0.7f : 0, 9);
        rows[i].num_logprobs = (int[]){5, 0, 20, TOP, -1, 10, 3}[i];
        rows[i].banned_ids = banned;   /* the report is of the raw logits */
        rows[i].num_banned = 2;
        targets[i] = i * 700;
    }
    struct sample_result got[R], want[R];
    int32_t *ids = calloc(2 * R * TOP, sizeof *ids), *want_ids = ids + R * TOP;
    float *lp = calloc(2 * R * TOP, sizeof *lp), *want_lp = lp + R * TOP;
    for (int op = 0; op < 2; op++) {
        struct buffer cx = rig_buffer(&rig, x, R * V), rx = rig_buffer(&ref, x, R * V);
        if (op == 0) {
            ck_assert_int_eq(rig_sample(&rig, &cx, rows, R, V, got, ids, lp, TOP), 0);
            rig_sample(&ref, &rx, rows, R, V, want, want_ids, want_lp, TOP);
        } else {
            ck_assert_int_eq(
                rig_logprobs(&rig, &cx, targets, R, V, 50, got, ids, lp, TOP), 0);
            rig_logprobs(&ref, &rx, targets, R, V, 50, want, want_ids, want_lp, TOP);
            assert_same_bits("logits stay", cx.data, x, 5 * V);
        }
        for (int i = 0; i < R; i++) {
            int num = op == 0 ? rows[i].num_logprobs : 50;
            ck_assert_int_eq(got[i].token, want[i].token);
            ck_assert_int_eq(got[i].rank, want[i].rank);
            assert_close("logprob", &got[i].logprob, &want[i].logprob, 1, TOL_LOGPROB);
            for (int j = 0; j < num; j++)
                ck_assert_msg(ids[i * TOP + j] == want_ids[i * TOP + j],
                              "row %d place %d: %d, not %d", i, j, ids[i * TOP + j],
                              want_ids[i * TOP + j]);
            if (num > 0)
                assert_close("top", lp + i * TOP, want_lp + i * TOP, num, TOL_LOGPROB);
        }
        rig.ops->buffer_free(rig.dev, &cx);
        ref.ops->buffer_free(ref.dev, &rx);
    }
    free(ids);
    free(lp);
    free(x);
    rig_close(&rig);
    rig_close(&ref);
}
END_TEST

/* NaN, infinities and empty sets: some valid token, no crash, no hang. */
START_TEST(test_sample_bad_numbers_do_no_harm)
{
    enum { V = 97 };
    struct rig rig;
    if (!rig_open(&rig, isa_names[_i], 1))
        return;
    int32_t allowed[] = {50, 40}, everything[V], ids[5], outside[] = {-1, V, 1 << 30};
    float lp[5], x[V], bias[] = {1, 1, 1};
    for (int i = 0; i < V; i++)
        everything[i] = i;
    for (int kind = 0; kind < 9; kind++) {
        for (int filter = 0; filter < 6; filter++) {
            for (int i = 0; i < V; i++)
                x[i] = kind == 0   ? NAN
                       : kind == 1 ? -INFINITY
                       : kind == 2 ? INFINITY
                       : kind == 3 ? (i == 60 ? 1.0f : NAN)
                       : kind == 4 ? (i % 2 ? 3e38f : -3e38f)
                       : kind == 5 ? (i == 7 ? INFINITY : 0)
                       : kind == 8 ? -3e38f
                                   : 0.0f;
            struct sample_row row = plain_row(filter == 0 ? 0 : kind == 6 ? 1e-30f : 0.5f, 3);
            row.top_k = filter == 2 ? 3 : 0;
            row.top_p = filter == 3 ? 0.5f : filter == 4 ? 1e-9f : 1;
            row.min_p = filter == 5 ? 1 : 0;
            row.num_logprobs = 5;
            row.prompt_ids = row.output_ids = row.bias_ids = outside;
            row.num_prompt = row.num_output = row.num_bias = 3;
            row.bias_values = bias;
            row.presence_penalty = 1;
            if (kind == 8 && filter > 0)   /* nothing is finite after the division */
                row.temperature = 0.1f;
            if (kind == 7) {
                row.banned_ids = everything;
                row.num_banned = V;
            }
            if (kind >= 7) {
                row.allowed_ids = allowed;
                row.num_allowed = 2;
            }
            struct buffer b = rig_buffer(&rig, x, V);
            struct sample_result result;
            ck_assert_int_eq(rig_sample(&rig, &b, &row, 1, V, &result, ids, lp, 5), 0);
            rig.ops->buffer_free(rig.dev, &b);
            ck_assert(result.token >= 0 && result.token < V);
            ck_assert(!isnan(result.logprob) && result.rank >= 1 && result.rank <= V);
            for (int i = 0; i < 5; i++)
                ck_assert(ids[i] >= 0 && ids[i] < V && !isnan(lp[i]));
            if (kind == 3)
                ck_assert_int_eq(result.token, 60);
            if (kind == 5)
                ck_assert_int_eq(result.token, 7);
            if (kind >= 7)
                ck_assert_int_eq(result.token, 40);
        }
    }
    rig_close(&rig);
}
END_TEST

TCase *
sample_tests(void)
{
    TCase *tc = tcase_create("sample");
    tcase_set_timeout(tc, 120);
    int num_isas = ARRAY_SIZE(isa_names);
    tcase_add_loop_test(tc, test_sample_greedy_takes_lowest_of_equals, 0, num_isas);
    tcase_add_loop_test(tc, test_sample_draws_as_reference, 0, num_isas);
    tcase_add_loop_test(tc, test_sample_penalties_each_counts_right, 0, num_isas);
    tcase_add_loop_test(tc, test_sample_frequencies_follow_distribution, 0, num_isas);
    tcase_add_loop_test(tc, test_sample_sets_are_exact, 0, num_isas);
    tcase_add_loop_test(tc, test_sample_logprobs_match_reference, 0, num_isas);
    tcase_add_loop_test(tc, test_sample_bad_numbers_do_no_harm, 0, num_isas);
    return tc;
}
