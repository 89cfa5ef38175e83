/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernels of sample.cu, lists.cu, filter.cu and logprobs.cu against the CPU
 * backend: the same logits, parameters and seed give the same token, rank and
 * top list, whatever the numbers are.
 */
#include "kernels/backend.h"
#include "tests/cuda/cuda_fixture.h"
#include "tests/cuda/noise.h"
#include "tests/ops/ref_sample.h"
#include "tests/ops/tol.h"
#include "tests/unit/main.h"
#include "util/rng.h"

#include <float.h>
#include <math.h>
#include <string.h>

#define MAX_VOCAB 256000
#define MAX_ROWS 64
#define MAX_IDS 100   /* of one list of a random row */

static struct cuda_ctx ctx;
static struct device *cpu;

static void
setup(void)
{
    struct device_options opt = {
        .threads = 1, .max_tokens = 1, .max_seqs = 1, .vocab_size = MAX_VOCAB};
    ctx = ctx_open();
    ck_assert_int_eq(cpu_ops.device_open(&opt, &cpu, NULL), 0);
}

static void
teardown(void)
{
    cpu_ops.device_close(cpu);
    ctx_close(&ctx);
}

/* Whether the CPU backend rounds as the kernels do: only with AVX2. */
static bool
cpu_is_exact(void)
{
    struct device_info info;
    cpu_ops.device_info(cpu, &info);
    return strstr(info.name, "AVX2") != NULL;
}

/* ---- random numbers -------------------------------------------------------- */

struct dice {
    uint64_t state;
};

static uint32_t
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

#define ROLL_OF(d, ...)                                                          \
    ((const float[]){__VA_ARGS__})[roll(d, ARRAY_SIZE(((const float[]){__VA_ARGS__})))]

/* ---- a batch of rows, on the host and on the device -------------------------- */

struct rows {
    int num_rows;
    int64_t vocab;
    float *logits;               /* owned, [R, V] */
    struct sample_row row[MAX_ROWS];
    int32_t ids[MAX_ROWS][5 * MAX_IDS];   /* of random rows */
    float biases[MAX_ROWS][MAX_IDS];
    int32_t last_tokens[MAX_ROWS];        /* row i's last output id on the device is -1 - i */
};

struct results {
    struct sample_result out[MAX_ROWS];
    int32_t drawn[MAX_ROWS];
    int32_t *top_ids;            /* owned, [R, stride] */
    float *top_logprobs;
    int stride;
};

static struct rows *
rows_new(int num_rows, int64_t vocab)
{
    struct rows *b = calloc(1, sizeof *b);
    ck_assert_ptr_nonnull(b);
    b->num_rows = num_rows;
    b->vocab = vocab;
    b->logits = malloc((size_t)num_rows * (size_t)vocab * sizeof *b->logits);
    ck_assert_ptr_nonnull(b->logits);
    for (int i = 0; i < num_rows; i++) {
        b->row[i] = (struct sample_row){
            .temperature = 1, .top_p = 1, .repetition_penalty = 1, .num_logprobs = -1};
        b->last_tokens[i] = -1;
    }
    return b;
}

static void
rows_free(struct rows *b)
{
    free(b->logits);
    free(b);
}

static int
top_stride(const struct rows *b)
{
    int stride = 0;
    for (int i = 0; i < b->num_rows; i++)
        stride = MAX(stride, b->row[i].num_logprobs);
    return stride;
}

static struct results *
results_new(const struct rows *b)
{
    struct results *r = calloc(1, sizeof *r);
    ck_assert_ptr_nonnull(r);
    r->stride = top_stride(b);
    r->top_ids = calloc((size_t)b->num_rows * (size_t)r->stride + 1, sizeof *r->top_ids);
    r->top_logprobs = calloc((size_t)b->num_rows * (size_t)r->stride + 1, sizeof(float));
    ck_assert(r->top_ids != NULL && r->top_logprobs != NULL);
    return r;
}

static void
results_free(struct results *r)
{
    free(r->top_ids);
    free(r->top_logprobs);
    free(r);
}

/* What the CPU backend makes of the rows; targets: NULL: draw. */
static struct results *
run_cpu(const struct rows *b, const int32_t *targets)
{
    struct results *r = results_new(b);
    size_t bytes = (size_t)b->num_rows * (size_t)b->vocab * sizeof(float);
    struct buffer logits;
    ck_assert_int_eq(cpu_ops.buffer_alloc(cpu, bytes, &logits, NULL), 0);
    memcpy(logits.data, b->logits, bytes);
    struct sample_output output = {r->out, r->top_ids, r->top_logprobs, r->stride};
    int rc = targets == NULL
                 ? cpu_ops.sample(cpu, &logits, b->row, b->num_rows, b->vocab, &output)
                 : cpu_ops.logprobs(cpu, &logits, targets, b->num_rows, b->vocab, r->stride,
                                    &output);
    ck_assert_int_eq(rc, 0);
    cpu_ops.buffer_free(cpu, &logits);
    return r;
}

/* The rows in device memory. */
struct device_rows {
    struct sample_args args;
    size_t logits_bytes;
};

static int
put_ids(int32_t *ids, int *num_ids, const int32_t *list, int n)
{
    int at = *num_ids;
    if (n > 0)
        memcpy(ids + at, list, (size_t)n * sizeof *ids);
    *num_ids += n;
    return at;
}

static int32_t
table_size(const struct sample_row *r)
{
    bool penalties = r->repetition_penalty != 1 || r->presence_penalty != 0 ||
                     r->frequency_penalty != 0;
    int n = r->num_banned + r->num_bias + (penalties ? r->num_prompt + r->num_output : 0);
    int32_t size = n > 0 ? 1 : 0;
    while (size < 2 * n)
        size *= 2;
    return size;
}

static int
flags_of(const struct sample_row *r)
{
    int flags = 0;
    if (r->num_allowed > 0 || table_size(r) > 0)
        flags |= SAMPLE_LISTS;
    if (r->top_k > 0 || r->top_p < 1 || r->min_p > 0)
        flags |= SAMPLE_FILTERS;
    if (r->num_logprobs >= 0)
        flags |= SAMPLE_LOGPROBS;
    return r->num_logprobs > 0 ? flags | SAMPLE_TOP : flags;
}

/* One row's parameters; its lists are appended to ids and values. */
static struct sample_params
params_of(const struct rows *b, int row, int32_t *ids, float *values, int *num_ids,
          int *num_slots)
{
    const struct sample_row *r = &b->row[row];
    struct sample_params p = {
        .seed = r->seed,
        .position = r->position,
        .temperature = r->temperature,
        .top_p = r->top_p,
        .min_p = r->min_p,
        .repetition_penalty = r->repetition_penalty,
        .presence_penalty = r->presence_penalty,
        .frequency_penalty = r->frequency_penalty,
        .top_k = r->top_k,
        .num_logprobs = r->num_logprobs,
        .num_prompt = r->num_prompt,
        .num_output = r->num_output,
        .num_bias = r->num_bias,
        .num_banned = r->num_banned,
        .num_allowed = r->num_allowed,
        .table = *num_slots,
        .table_size = table_size(r),
    };
    *num_slots += p.table_size;
    p.prompt = put_ids(ids, num_ids, r->prompt_ids, r->num_prompt);
    p.output = put_ids(ids, num_ids, r->output_ids, r->num_output);
    if (r->num_output > 0 && b->last_tokens[row] >= 0)
        ids[p.output + r->num_output - 1] = -1 - row;
    p.banned = put_ids(ids, num_ids, r->banned_ids, r->num_banned);
    p.allowed = put_ids(ids, num_ids, r->allowed_ids, r->num_allowed);
    p.bias = put_ids(ids, num_ids, r->bias_ids, r->num_bias);
    if (r->num_bias > 0)
        memcpy(values + p.bias, r->bias_values, (size_t)r->num_bias * sizeof *values);
    return p;
}

static struct device_rows
device_rows_open(const struct rows *b, const int32_t *targets)
{
    size_t most = 1;
    for (int i = 0; i < b->num_rows; i++)
        most += (size_t)(b->row[i].num_prompt + b->row[i].num_output + b->row[i].num_bias +
                         b->row[i].num_banned + b->row[i].num_allowed);
    int32_t *ids = calloc(most, sizeof *ids);
    float *values = calloc(most, sizeof *values);
    struct sample_params params[MAX_ROWS];
    int flags = 0, num_ids = 0, num_slots = 0, stride = top_stride(b);
    for (int i = 0; i < b->num_rows; i++) {
        params[i] = params_of(b, i, ids, values, &num_ids, &num_slots);
        params[i].target = targets != NULL ? targets[i] : -1;
        flags |= flags_of(&b->row[i]);
    }
    size_t R = (size_t)b->num_rows, bytes = R * (size_t)b->vocab * sizeof(float);
    size_t workspace = cuda_sample_workspace(b->num_rows, b->vocab, (size_t)num_slots, stride);
    struct device_rows d = {
        .logits_bytes = bytes,
        .args = {
            .logits = device_copy(b->logits, bytes),
            .num_rows = b->num_rows,
            .vocab_size = b->vocab,
            .params = device_copy(params, R * sizeof *params),
            .ids = device_copy(ids, (size_t)num_ids * sizeof *ids),
            .values = device_copy(values, (size_t)num_ids * sizeof *values),
            .last_tokens = device_copy(b->last_tokens, R * sizeof *b->last_tokens),
            .drawn = device_new(R * sizeof(int32_t)),
            .out = device_new(R * sizeof(struct sample_out)),
            .top_ids = device_new(R * (size_t)stride * sizeof(int32_t)),
            .top_logprobs = device_new(R * (size_t)stride * sizeof(float)),
            .top_stride = stride,
            .workspace = device_new(workspace),
            .workspace_bytes = workspace,
            .flags = flags,
        },
    };
    free(ids);
    free(values);
    return d;
}

static void
device_rows_close(struct device_rows *d)
{
    device_free(d->args.logits);
    device_free(d->args.params);
    device_free(d->args.ids);
    device_free(d->args.values);
    device_free(d->args.last_tokens);
    device_free(d->args.drawn);
    device_free(d->args.out);
    device_free(d->args.top_ids);
    device_free(d->args.top_logprobs);
    device_free(d->args.workspace);
}

static struct results *
read_results(const struct rows *b, const struct device_rows *d, bool drawn)
{
    struct results *r = results_new(b);
    struct sample_out out[MAX_ROWS];
    size_t R = (size_t)b->num_rows;
    device_read(out, d->args.out, R * sizeof *out);
    if (drawn)
        device_read(r->drawn, d->args.drawn, R * sizeof *r->drawn);
    for (int i = 0; i < b->num_rows; i++) {
        size_t at = (size_t)i * (size_t)r->stride, n = (size_t)MAX(b->row[i].num_logprobs, 0);
        r->out[i] = (struct sample_result){out[i].token, out[i].logprob, out[i].rank};
        if (n == 0)
            continue;
        device_read(r->top_ids + at, d->args.top_ids + at, n * sizeof *r->top_ids);
        device_read(r->top_logprobs + at, d->args.top_logprobs + at, n * sizeof(float));
    }
    return r;
}

static struct results *
run_cuda(const struct rows *b, const int32_t *targets)
{
    struct device_rows d = device_rows_open(b, targets);
    CUDA_OK(targets == NULL ? cuda_sample(&ctx, &d.args) : cuda_logprobs(&ctx, &d.args));
    struct results *r = read_results(b, &d, targets == NULL);
    device_rows_close(&d);
    return r;
}

static bool
is_close(float got, float want)
{
    double off = fabs((double)got - (double)want);
    return got == want || off <= TOL_LOGPROB.abs + TOL_LOGPROB.rel * fabs((double)want);
}

static void
assert_same_results(const char *what, const struct rows *b, const struct results *got,
                    const struct results *want, bool drawn)
{
    for (int i = 0; i < b->num_rows; i++) {
        const struct sample_row *p = &b->row[i];
        const struct sample_result *g = &got->out[i], *w = &want->out[i];
        if (g->token == w->token && (!drawn || got->drawn[i] == w->token) && g->rank == w->rank &&
            is_close(g->logprob, w->logprob)) {
            for (int j = 0; j < p->num_logprobs; j++) {
                int at = i * got->stride + j;
                if (got->top_ids[at] != want->top_ids[at] ||
                    !is_close(got->top_logprobs[at], want->top_logprobs[at]))
                    ck_abort_msg("%s, row %d, place %d: token %d of %.9g, not %d of %.9g", what, i,
                                 j, got->top_ids[at], (double)got->top_logprobs[at],
                                 want->top_ids[at], (double)want->top_logprobs[at]);
            }
            continue;
        }
        ck_abort_msg("%s, row %d of %lld (temperature %g, top_k %d, top_p %g, min_p %g, "
                     "seed %llu): token %d (%d), rank %d, logprob %.9g, not %d, %d, %.9g",
                     what, i, (long long)b->vocab, (double)p->temperature, p->top_k,
                     (double)p->top_p, (double)p->min_p, (unsigned long long)p->seed, g->token,
                     got->drawn[i], g->rank, (double)g->logprob, w->token, w->rank,
                     (double)w->logprob);
    }
}

static void
compare(const char *what, const struct rows *b, const int32_t *targets)
{
    struct results *want = run_cpu(b, targets), *got = run_cuda(b, targets);
    assert_same_results(what, b, got, want, targets == NULL);
    results_free(want);
    results_free(got);
}

/* ---- random rows -------------------------------------------------------------- */

enum logit_kind {
    SPREAD, PEAKED, COARSE, EQUAL, HUGE_VALUES, SPRINKLED, NOTHING, NUM_LOGIT_KINDS
};

static float
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

static void
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

/* ---- tests ---------------------------------------------------------------------- */

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
