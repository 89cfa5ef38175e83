/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/cuda/sample_dice.h"

#include "util/rng.h"

#include <float.h>
#include <math.h>

uint32_t
roll(struct dice *d, uint32_t sides)
{
    d->state = rng_mix64(d->state);
    return (uint32_t)((d->state >> 32) * sides >> 32);
}

static float
roll_uniform(struct dice *d)
{
    return rng_uniform_open(roll(d, UINT32_MAX));
}

float
roll_logit(struct dice *d, enum logit_kind kind, float scale)
{
    /* four uniforms: near enough to a normal number of deviation 1 */
    float x = 0;
    for (int i = 0; i < 4; i++)
        x += roll_uniform(d) - 0.5f;
    x *= 1.7f * scale;
    switch (kind) {
    case PEAKED:
        return x - 2 * logf(roll_uniform(d));
    case COARSE:
        return roundf(x * 4) / 4;
    case EQUAL:
        return scale;
    case HUGE_VALUES:
        return roll(d, 2) ? x * 1e38f : x * 1e30f;
    case SPRINKLED:
        return roll(d, 5) > 0 ? x : ROLL_OF(d, NAN, -INFINITY, INFINITY, -0.0f, 0, FLT_MAX,
                                            -FLT_MAX, 1e-40f);
    case NOTHING:
        return ROLL_OF(d, NAN, -INFINITY);
    default:
        return x;
    }
}

/* Ids of the row, with doubles, and some of no token. */
static int
roll_ids(struct dice *d, int32_t *ids, int64_t n, bool outside)
{
    int num = (int)roll(d, roll(d, 3) == 0 ? MAX_IDS : 6);
    for (int i = 0; i < num; i++) {
        ids[i] = (int32_t)roll(d, (uint32_t)MIN(n, roll(d, 2) ? n : 40));
        if (outside && roll(d, 20) == 0)
            ids[i] = roll(d, 2) ? (int32_t)n + (int32_t)roll(d, 3) : -1 - (int32_t)roll(d, 3);
    }
    return num;
}

static void
roll_lists(struct dice *d, struct rows *b, int i)
{
    struct sample_row *r = &b->row[i];
    int32_t *ids = b->ids[i];
    if (roll(d, 2) == 0) {
        r->repetition_penalty = ROLL_OF(d, 1, 1.3f, 0.8f, 2);
        r->presence_penalty = ROLL_OF(d, 0, 0.5f, -1);
        r->frequency_penalty = ROLL_OF(d, 0, 0.3f, -0.2f);
        r->prompt_ids = ids;
        r->num_prompt = roll_ids(d, ids, b->vocab, true);
        r->output_ids = ids + MAX_IDS;
        r->num_output = roll_ids(d, ids + MAX_IDS, b->vocab, true);
        int32_t *last = &ids[MAX_IDS + r->num_output - 1];
        if (r->num_output > 0 && (*last < 0 || roll(d, 2) == 0))
            b->last_tokens[i] = *last = abs(*last);   /* the device is told -1 - i */
    }
    if (roll(d, 3) == 0) {
        r->banned_ids = ids + 2 * MAX_IDS;
        r->num_banned = roll_ids(d, ids + 2 * MAX_IDS, b->vocab, true);
    }
    if (roll(d, 3) == 0) {
        r->bias_ids = ids + 3 * MAX_IDS;
        r->bias_values = b->biases[i];
        r->num_bias = roll_ids(d, ids + 3 * MAX_IDS, b->vocab, true);
        for (int j = 0; j < r->num_bias; j++)
            b->biases[i][j] = ROLL_OF(d, 0.1f, -1.7f, 100, -100, 3.3f);
    }
    if (roll(d, 4) == 0) {
        r->allowed_ids = ids + 4 * MAX_IDS;
        r->num_allowed = roll_ids(d, ids + 4 * MAX_IDS, b->vocab, true);
    }
}

static void
roll_filters(struct dice *d, struct sample_row *r, int64_t n)
{
    int kind = (int)roll(d, 5);
    if (kind == 0 || kind == 3)
        r->top_k = (int32_t)MIN(ROLL_OF(d, 1, 2, 5, 20, 50, 300, (float)(n - 1), (float)n,
                                        (float)n * 0.7f, (float)n + 7), 1e6f);
    if (kind == 1 || kind == 3)
        r->top_p = ROLL_OF(d, 0.9f, 0.5f, 0.1f, 1e-6f, 0.999f, 0.95f, 1);
    if (kind == 2 || roll(d, 8) == 0)
        r->min_p = ROLL_OF(d, 0.05f, 0.5f, 1, 1e-3f, 1e-30f, 0);
}

void
roll_row(struct dice *d, struct rows *b, int i, bool lists, int max_top)
{
    struct sample_row *r = &b->row[i];
    enum logit_kind kind = roll(d, 2) ? SPREAD : (enum logit_kind)roll(d, NUM_LOGIT_KINDS);
    float scale = ROLL_OF(d, 0.01f, 0.5f, 1, 3, 6);
    for (int64_t j = 0; j < b->vocab; j++)
        b->logits[i * b->vocab + j] = roll_logit(d, kind, scale);
    r->temperature = ROLL_OF(d, 0, 1e-6f, 1e-5f, 0.1f, 0.7f, 0.7f, 1, 1, 1, 1.5f, 5, 1e10f);
    r->seed = rng_mix64(d->state);
    r->position = roll(d, 2) ? roll(d, 100000) : rng_mix64(d->state + 1);
    roll_filters(d, r, b->vocab);
    if (lists)
        roll_lists(d, b, i);
    if (max_top >= 0 && roll(d, 2) == 0)
        r->num_logprobs = (int)ROLL_OF(d, 0, 1, 5, (float)max_top);
}
