/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/cuda/sample_rows.h"

#include "kernels/backend.h"
#include "tests/cuda/cuda_fixture.h"
#include "tests/ops/tol.h"

#include <math.h>
#include <string.h>

struct cuda_ctx ctx;
struct device *cpu;

void
setup(void)
{
    struct device_options opt = {
        .threads = 1, .max_tokens = 1, .max_seqs = 1, .vocab_size = MAX_VOCAB};
    ctx = ctx_open();
    ck_assert_int_eq(cpu_ops.device_open(&opt, &cpu, NULL), 0);
}

void
teardown(void)
{
    cpu_ops.device_close(cpu);
    ctx_close(&ctx);
}

bool
cpu_is_exact(void)
{
    struct device_info info;
    cpu_ops.device_info(cpu, &info);
    return strstr(info.name, "AVX2") != NULL;
}

struct rows *
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

void
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

void
results_free(struct results *r)
{
    free(r->top_ids);
    free(r->top_logprobs);
    free(r);
}

struct results *
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

struct device_rows
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

void
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

struct results *
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

struct results *
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

void
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

void
compare(const char *what, const struct rows *b, const int32_t *targets)
{
    struct results *want = run_cpu(b, targets), *got = run_cuda(b, targets);
    assert_same_results(what, b, got, want, targets == NULL);
    results_free(want);
    results_free(got);
}
