/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rotary embedding, KV writes and attention: against the reference, and the
 * same bits for a token however its sequence was cut into steps. Every cache
 * is filled with NaN first, so that a slot read before it is written shows.
 */
#include "tests/ops/fixture.h"

#include "util/rng.h"

#include <math.h>
#include <string.h>

#define MAX_SEQS 4
#define MAX_LEN 400
#define BLOCKS_PER_SEQ CEIL_DIV(MAX_LEN, KV_BLOCK_SIZE)

struct shape {
    int num_heads, num_kv_heads, head_dim;
    float softcap;
    int window;
    enum dtype dtype;
    int num_seqs, lens[MAX_SEQS];
};

static const struct shape shapes[] = {
    {9, 3, 64, 0, 0, DTYPE_BF16, 3, {33, 7, 130}},       /* SmolLM2 */
    {9, 3, 64, 0, 0, DTYPE_F32, 3, {33, 1, 300}},
    {4, 4, 64, 0, 0, DTYPE_F32, 2, {17, 64}},            /* GQA 1 */
    {8, 1, 64, 0, 0, DTYPE_F32, 2, {70, 16}},            /* MQA */
    {8, 4, 256, 50, 37, DTYPE_BF16, 2, {150, 65}},       /* Gemma 2 9b, scaled */
    {8, 4, 128, 50, 20, DTYPE_F32, 2, {200, 3}},         /* Gemma 2 27b, scaled */
    {8, 2, 128, 0, 0, DTYPE_BF16, 2, {90, 16}},          /* Llama 8B, scaled */
    {14, 2, 64, 0, 0, DTYPE_F32, 2, {65, 31}},           /* Qwen 7B: GQA 7 */
    {10, 2, 128, 0, 0, DTYPE_BF16, 2, {50, 49}},         /* Qwen 14B, 32B: GQA 5 */
    {2, 1, 16, 0, 1, DTYPE_F32, 2, {40, 5}},             /* window 1: itself alone */
    {4, 2, 24, 0, 64, DTYPE_F32, 1, {200}},              /* head_dim not of 16 */
    {50, 1, 8, 5, 0, DTYPE_BF16, 1, {20}},               /* group beyond one tile */
};

/* How a run feeds its sequences: chunk tokens of each per step. */
struct schedule {
    int chunk;      /* 0: all at once; -1: varying, one sequence late */
    int threads;
};

static struct kv_config
kv_of(const struct shape *s)
{
    return (struct kv_config){.num_layers = 2,
                              .num_kv_heads = s->num_kv_heads,
                              .head_dim = s->head_dim,
                              .num_blocks = MAX_SEQS * BLOCKS_PER_SEQ + 3,
                              .dtype = s->dtype};
}

static struct attention_args
args_of(const struct shape *s)
{
    return (struct attention_args){.layer = 1,
                                   .num_heads = s->num_heads,
                                   .num_kv_heads = s->num_kv_heads,
                                   .head_dim = s->head_dim,
                                   .scale = 1 / sqrtf((float)s->head_dim),
                                   .softcap = s->softcap,
                                   .window = s->window};
}

static int
width_of(const struct shape *s)
{
    return (s->num_heads + 2 * s->num_kv_heads) * s->head_dim;
}

/* Writes NaN as key and value into every slot. */
static void
poison(struct rig *rig, const struct shape *s)
{
    enum { T = (MAX_SEQS * BLOCKS_PER_SEQ + 3) * KV_BLOCK_SIZE };
    _Static_assert(T <= FIXTURE_MAX_TOKENS, "one step reaches all slots");
    static int32_t ids[T], pos[T], slots[T];
    for (int t = 0; t < T; t++)
        slots[t] = t;
    struct batch batch = {.num_tokens = T, .token_ids = ids, .positions = pos,
                          .slot_mapping = slots};
    int64_t n = (int64_t)T * width_of(s);
    struct buffer qkv = rig_buffer(rig, NULL, n);
    for (int64_t i = 0; i < n; i++)
        ((float *)qkv.data)[i] = NAN;
    struct attention_args a = args_of(s);
    ck_assert_int_eq(rig_step_begin(rig, &batch), 0);
    rig->ops->rope_kv_write(rig->dev, &qkv, &a);
    rig_step_end(rig);
    rig->ops->buffer_free(rig->dev, &qkv);
}

/* Sequence s owns every third block and so on: no two pages are neighbours. */
static int32_t
block_of(int seq, int index)
{
    return (int32_t)(index * MAX_SEQS + (MAX_SEQS - 1 - seq) + 2);
}

struct step {
    struct batch batch;
    int32_t ids[FIXTURE_MAX_TOKENS], positions[FIXTURE_MAX_TOKENS], slots[FIXTURE_MAX_TOKENS];
    int32_t cu[MAX_SEQS + 1], lens[MAX_SEQS], tables[MAX_SEQS * BLOCKS_PER_SEQ];
    int seqs[MAX_SEQS];
};

/* Appends tokens [begin, end) of a sequence to a step. */
static void
add_seq(struct step *st, const struct shape *s, int seq, int begin, int end)
{
    struct batch *b = &st->batch;
    int i = b->num_seqs++;
    st->seqs[i] = seq;
    for (int p = begin; p < end; p++) {
        st->positions[b->num_tokens] = p;
        st->slots[b->num_tokens++] =
            block_of(seq, p / KV_BLOCK_SIZE) * KV_BLOCK_SIZE + p % KV_BLOCK_SIZE;
    }
    st->cu[i + 1] = b->num_tokens;
    st->lens[i] = end;
    for (int k = 0; k < BLOCKS_PER_SEQ; k++) {
        /* blocks that nobody may read any more, or not yet, are invalid */
        bool dead = k * KV_BLOCK_SIZE >= end ||
                    (s->window > 0 && (k + 1) * KV_BLOCK_SIZE <= begin - s->window + 1);
        st->tables[i * BLOCKS_PER_SEQ + k] = dead ? -1 : block_of(seq, k);
    }
}

static void
run_step(struct rig *rig, const struct shape *s, struct step *st, float *const *inputs,
         float *const *outputs)
{
    struct batch *b = &st->batch;
    int width = width_of(s), out_width = s->num_heads * s->head_dim;
    b->max_blocks_per_seq = BLOCKS_PER_SEQ;
    b->token_ids = st->ids;
    b->positions = st->positions;
    b->slot_mapping = st->slots;
    b->cu_seqlens_q = st->cu;
    b->seq_lens = st->lens;
    b->block_tables = st->tables;
    struct buffer qkv = rig_buffer(rig, NULL, (int64_t)b->num_tokens * width);
    struct buffer out = rig_buffer(rig, NULL, (int64_t)b->num_tokens * out_width);
    for (int i = 0; i < b->num_seqs; i++) {
        int first = st->positions[st->cu[i]];
        memcpy((float *)qkv.data + (size_t)st->cu[i] * width, inputs[st->seqs[i]] + first * width,
               (size_t)(st->cu[i + 1] - st->cu[i]) * width * sizeof(float));
    }
    struct attention_args a = args_of(s);
    ck_assert_int_eq(rig_step_begin(rig, b), 0);
    rig->ops->rope_kv_write(rig->dev, &qkv, &a);
    rig->ops->attention(rig->dev, &out, &qkv, &a);
    ck_assert_int_eq(rig_step_end(rig), 0);
    for (int i = 0; i < b->num_seqs; i++) {
        int first = st->positions[st->cu[i]];
        memcpy(outputs[st->seqs[i]] + first * out_width,
               (float *)out.data + (size_t)st->cu[i] * out_width,
               (size_t)(st->cu[i + 1] - st->cu[i]) * out_width * sizeof(float));
    }
    rig->ops->buffer_free(rig->dev, &qkv);
    rig->ops->buffer_free(rig->dev, &out);
}

/* Attention's output for every token of every sequence, by a schedule. */
static bool
run_schedule(const char *isa, const struct shape *s, struct schedule how, float *const *inputs,
             float *const *outputs)
{
    struct rig rig;
    if (!rig_open(&rig, isa, how.threads))
        return false;
    struct kv_config kv = kv_of(s);
    ck_assert_int_eq(rig.ops->kv_init(rig.dev, &kv, NULL), 0);
    float inv_freq[128];
    for (int i = 0; i < s->head_dim / 2; i++)
        inv_freq[i] = powf(10000, -2.0f * (float)i / (float)s->head_dim);
    struct rope_config rope = {s->head_dim, MAX_LEN, inv_freq, 1.0f};
    ck_assert_int_eq(rig.ops->rope_init(rig.dev, &rope, NULL), 0);
    if (strcmp(isa, "reference") != 0)
        poison(&rig, s);
    int done[MAX_SEQS] = {0};
    for (int round = 0;; round++) {
        struct step *st = calloc(1, sizeof *st);
        for (int seq = s->num_seqs - 1; seq >= 0; seq--) {
            int chunk = how.chunk > 0    ? how.chunk
                        : how.chunk == 0 ? MAX_LEN
                                         : 1 + (int)(rng_mix64((uint64_t)(round * 7 + seq)) % 29);
            if (how.chunk < 0 && seq == 0 && round < 3)
                continue;
            int end = MIN(s->lens[seq], done[seq] + chunk);
            if (end > done[seq])
                add_seq(st, s, seq, done[seq], end);
            done[seq] = end;
        }
        bool any = st->batch.num_seqs > 0;
        if (any)
            run_step(&rig, s, st, inputs, outputs);
        free(st);
        if (!any && round >= 3)
            break;
    }
    rig_close(&rig);
    return true;
}

struct arrays {
    float *in[MAX_SEQS], *want[MAX_SEQS], *got[MAX_SEQS];
};

static void
arrays_init(struct arrays *a, const struct shape *s)
{
    for (int i = 0; i < s->num_seqs; i++) {
        a->in[i] = random_floats(100 + (uint64_t)i, (int64_t)s->lens[i] * width_of(s), 2.0f);
        size_t n = (size_t)s->lens[i] * s->num_heads * s->head_dim;
        a->want[i] = calloc(n, sizeof(float));
        a->got[i] = calloc(n, sizeof(float));
    }
}

static void
arrays_release(struct arrays *a, const struct shape *s)
{
    for (int i = 0; i < s->num_seqs; i++) {
        free(a->in[i]);
        free(a->want[i]);
        free(a->got[i]);
    }
}

START_TEST(test_attention_matches_reference)
{
    const char *isa = isa_names[_i / (int)ARRAY_SIZE(shapes)];
    const struct shape *s = &shapes[_i % (int)ARRAY_SIZE(shapes)];
    struct arrays a;
    arrays_init(&a, s);
    run_schedule("reference", s, (struct schedule){0, 1}, a.in, a.want);
    if (run_schedule(isa, s, (struct schedule){0, 2}, a.in, a.got)) {
        struct tol tol = s->dtype == DTYPE_F32 ? TOL_ATTENTION_F32 : TOL_ATTENTION_BF16;
        for (int i = 0; i < s->num_seqs; i++)
            assert_close("attention", a.got[i], a.want[i],
                         (int64_t)s->lens[i] * s->num_heads * s->head_dim, tol);
    }
    arrays_release(&a, s);
}
END_TEST

START_TEST(test_attention_any_schedule_gives_same_bits)
{
    static const struct schedule hows[] = {{1, 1}, {1, 2}, {-1, 2}, {-1, 3}, {13, 1}, {64, 3}};
    const char *isa = isa_names[_i / (int)ARRAY_SIZE(shapes)];
    const struct shape *s = &shapes[_i % (int)ARRAY_SIZE(shapes)];
    struct arrays a;
    arrays_init(&a, s);
    if (run_schedule(isa, s, (struct schedule){0, 1}, a.in, a.want)) {
        for (size_t h = 0; h < ARRAY_SIZE(hows); h++) {
            run_schedule(isa, s, hows[h], a.in, a.got);
            for (int i = 0; i < s->num_seqs; i++)
                assert_same_bits("attention", a.got[i], a.want[i],
                                 (int64_t)s->lens[i] * s->num_heads * s->head_dim);
        }
    }
    arrays_release(&a, s);
}
END_TEST

/* q and k leave rope_kv_write rotated in place, v untouched. */
START_TEST(test_rope_matches_reference)
{
    enum { T = 3, Q = 3, K = 1, D = 64, W = (Q + 2 * K) * D };
    int32_t ids[T] = {0}, pos[T] = {0, 1, 399}, slots[T] = {0, 1, 2}, cu[] = {0, T}, len[] = {T};
    int32_t table[] = {0};
    struct batch b = {T, 1, 1, ids, pos, slots, cu, len, table};
    struct attention_args a = {.num_heads = Q, .num_kv_heads = K, .head_dim = D, .scale = 1};
    struct kv_config kv = {1, K, D, 1, DTYPE_BF16, 0, 0};
    float inv_freq[D / 2], *x = random_floats(9, T * W, 1);
    for (int i = 0; i < D / 2; i++)
        inv_freq[i] = powf(500000, -2.0f * (float)i / D);
    struct rope_config rope = {D, 400, inv_freq, 1.25f};
    struct rig rigs[2];
    struct buffer qkv[2];
    rig_open(&rigs[0], "reference", 1);
    rig_open(&rigs[1], "auto", 2);
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(rigs[i].ops->kv_init(rigs[i].dev, &kv, NULL), 0);
        ck_assert_int_eq(rigs[i].ops->rope_init(rigs[i].dev, &rope, NULL), 0);
        qkv[i] = rig_buffer(&rigs[i], x, T * W);
        ck_assert_int_eq(rig_step_begin(&rigs[i], &b), 0);
        rigs[i].ops->rope_kv_write(rigs[i].dev, &qkv[i], &a);
    }
    assert_close("rope", qkv[1].data, qkv[0].data, T * W, (struct tol){4e-7, 2e-7});
    for (int t = 0; t < T; t++)
        assert_same_bits("v", (float *)qkv[1].data + t * W + (Q + K) * D, x + t * W + (Q + K) * D,
                         D);
    for (int i = 0; i < 2; i++) {
        rigs[i].ops->buffer_free(rigs[i].dev, &qkv[i]);
        rig_close(&rigs[i]);
    }
    free(x);
}
END_TEST

START_TEST(test_kv_init_bad_config_is_refused)
{
    struct rig rig;
    struct error err = {0};
    rig_open(&rig, "auto", 1);
    struct kv_config odd = {1, 1, 12, 1, DTYPE_BF16, 0, 0};
    struct kv_config huge = {1000000, 1000000, 256, 1 << 30, DTYPE_F32, 0, 0};
    ck_assert_int_eq(rig.ops->kv_init(rig.dev, &odd, &err), ERR_UNSUPPORTED);
    ck_assert_int_lt(rig.ops->kv_init(rig.dev, &huge, &err), 0);
    struct kv_config smol = {30, 3, 64, 10, DTYPE_BF16, 0, 0};
    ck_assert_uint_eq(rig.ops->kv_block_bytes(&smol), 30 * 2 * 16 * 3 * 64 * 2);
    rig_close(&rig);
}
END_TEST

TCase *
attention_tests(void)
{
    TCase *tc = tcase_create("attention");
    tcase_set_timeout(tc, 120);
    int num_cases = (int)(ARRAY_SIZE(isa_names) * ARRAY_SIZE(shapes));
    tcase_add_loop_test(tc, test_attention_matches_reference, 0, num_cases);
    tcase_add_loop_test(tc, test_attention_any_schedule_gives_same_bits, 0, num_cases);
    tcase_add_test(tc, test_rope_matches_reference);
    tcase_add_test(tc, test_kv_init_bad_config_is_refused);
    return tc;
}
