/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/steps.h"

#include "bench/rows.h"
#include "engine/gpu_specs.h"
#include "engine/model.h"
#include "kernels/backend.h"
#include "util/rng.h"
#include "util/samples.h"

#include <math.h>
#include <string.h>

#define MAX_BATCHES 16
#define MAX_IN_FLIGHT 2
#define WARM_STEPS 4 /* in which a size is recorded */
#define MEMORY_SPARE ((size_t)1 << 30) /* graphs, and what allocation loses */

const char *const steps_devices[] = {"auto", "cpu", "cuda", NULL};

struct bench {
    const struct steps_config *config;
    const char *name;              /* of the model */
    int batches[MAX_BATCHES];      /* ascending */
    int num_batches, num_seqs;     /* num_seqs: of the largest that fits */
    struct model_config model_config;
    struct roofline_model costs;
    struct roofline_limits datasheet, measured; /* 0: not known */
    const struct ops *ops;
    struct device *dev;
    struct device_info info;
    struct model *model;
    int max_len, blocks_per_seq;   /* tokens of the longest sequence; its blocks */
    struct rows rows;
    uint64_t start_ns;

    /* The arrays of a batch, for the largest. */
    int32_t *token_ids, *positions, *slots, *cu_seqlens, *lens, *tables;
    int32_t *row_ids;
    struct sample_row *sample_rows;
    struct sample_result *results[MAX_IN_FLIGHT];
};

/* Tokens of sequence i around the mean; the second and third lie on both sides
 * of it, and so on. */
static int
spread(const struct bench *b, int i)
{
    int width = MAX(1, (int)b->config->context / 4);
    int off = (i + 1) / 2 * 29 % width;
    return i % 2 == 0 ? -off : off;
}

/* Tokens of sequence i before the first step. */
static int
prompt_len(const struct bench *b, int i)
{
    int before = WARM_STEPS + (int)b->config->num_steps / 2;
    return MAX(1, (int)b->config->context + spread(b, i) - before);
}

static int
read_batches(struct bench *b, struct error *err)
{
    const char *at = b->config->batches;
    for (;;) {
        char *end;
        long n = strtol(at, &end, 10);
        int before = b->num_batches > 0 ? b->batches[b->num_batches - 1] : 0;
        if (end == at || n <= before || n > 8192 || b->num_batches == MAX_BATCHES)
            return error_set(err, ERR_INVALID, "option '--batches': '%s' is no list of at most %d "
                                               "ascending numbers up to 8192",
                             b->config->batches, MAX_BATCHES);
        b->batches[b->num_batches++] = (int)n;
        if (*end == '\0')
            return 0;
        at = end + (*end == ',');
    }
}

static int
alloc_batch(struct bench *b, struct error *err)
{
    size_t T = (size_t)MAX((int)b->config->max_tokens, b->num_seqs), S = (size_t)b->num_seqs;
    int32_t *ints = calloc(3 * T + S + 1 + S + S * (size_t)b->blocks_per_seq + S, sizeof *ints);
    b->sample_rows = calloc(S, sizeof *b->sample_rows);
    for (int i = 0; i < MAX_IN_FLIGHT; i++)
        b->results[i] = calloc(S, sizeof *b->results[i]);
    b->token_ids = ints;
    if (ints == NULL || b->sample_rows == NULL || b->results[0] == NULL || b->results[1] == NULL)
        return error_set(err, ERR_NOMEM, "out of memory");
    b->positions = ints + T;
    b->slots = b->positions + T;
    b->cu_seqlens = b->slots + T;
    b->lens = b->cu_seqlens + S + 1;
    b->tables = b->lens + S;
    b->row_ids = b->tables + S * (size_t)b->blocks_per_seq;
    return 0;
}

/* ---- opening ---- */

/* The datasheet of a GPU by the name that its driver gives it. */
static struct roofline_limits
datasheet_of(const char *device)
{
    const char *name = strstr(device, "H200") != NULL          ? "h200"
                       : strstr(device, "H100 PCIe") != NULL   ? "h100-pcie"
                       : strstr(device, "H100 80GB HBM3") != NULL ? "h100-sxm"
                                                               : "";
    for (int i = 0; i < NUM_GPU_SPECS; i++) {
        if (strcmp(gpu_specs[i].name, name) == 0)
            return gpu_specs[i].limits;
    }
    return (struct roofline_limits){0, 0};
}

static int
open_device(struct bench *b, struct error *err)
{
    const struct steps_config *c = b->config;
    struct device_options opt = {
        .max_tokens = MAX((int)c->max_tokens, b->batches[b->num_batches - 1]),
        .max_seqs = b->batches[b->num_batches - 1],
        .vocab_size = (int)b->model_config.vocab_size,
        .max_model_len = b->max_len,
        .enforce_eager = c->enforce_eager,
        .no_pdl = c->no_pdl,
        .cache_dir = c->cache_dir,
    };
    struct error note = {0};
    int rc = backend_find(steps_devices[c->device], &b->ops, &note);
    if (rc < 0)
        return error_set(err, rc, "%s", note.text);
    if (note.code != 0)
        fprintf(stderr, "bench_steps: the CPU computes: %s\n", note.text);
    rc = b->ops->device_open(&opt, &b->dev, err);
    if (rc < 0)
        return rc;
    b->ops->device_info(b->dev, &b->info);
    b->datasheet = b->info.is_gpu ? datasheet_of(b->info.name) : b->datasheet;
    b->measured = (struct roofline_limits){c->bandwidth, c->flops};
    return 0;
}

static struct kv_config
kv_shape(const struct bench *b)
{
    const struct model_config *mc = &b->model_config;
    return (struct kv_config){
        .num_layers = mc->num_layers,
        .num_kv_heads = mc->num_kv_heads,
        .head_dim = mc->head_dim,
        .num_blocks = b->num_seqs * b->blocks_per_seq,
        .dtype = DTYPE_BF16,
        .num_heads = mc->num_heads,
        .window = mc->sliding_window,
    };
}

static void
skip(struct bench *b, int batch, const char *why)
{
    printf("%-12s batch %3d: left out: %s\n", b->name, batch, why);
    fflush(stdout);
    rows_begin(&b->rows, "left_out");
    rows_text(&b->rows, "model", b->name);
    rows_int(&b->rows, "batch", batch);
    rows_text(&b->rows, "why", why);
    rows_end(&b->rows);
}

/* How many sequences there is memory for; 0: not even for the weights. */
static int
seqs_that_fit(const struct bench *b)
{
    const struct steps_config *c = b->config;
    struct kv_config shape = kv_shape(b);
    struct model_scratch s;
    int most = b->batches[b->num_batches - 1];
    size_t tokens = (size_t)MAX((int)c->max_tokens, most);
    model_config_scratch(&b->model_config, b->info.act_dtype, tokens, (size_t)most, &s);
    size_t fixed = model_config_weight_bytes(&b->model_config, DTYPE_BF16) + s.residual + s.hidden +
                   s.wide + s.mid + s.rows + s.logits + (b->info.is_gpu ? MEMORY_SPARE : 0);
    size_t each = b->ops->kv_block_bytes(&shape) * (size_t)b->blocks_per_seq;
    if (fixed >= b->info.memory_free)
        return 0;
    return (int)MIN((b->info.memory_free - fixed) / each, (size_t)most);
}

/* Leaves out the batches that do not fit. */
static void
fit_batches(struct bench *b)
{
    int fit = seqs_that_fit(b), kept = 0;
    char why[160];
    snprintf(why, sizeof why,
             fit > 0 ? "%.1f GB are free, enough for %d sequences of %d tokens"
                     : "%.1f GB are free, not enough for the weights",
             (double)b->info.memory_free / 1e9, fit, b->max_len);
    for (int i = 0; i < b->num_batches; i++) {
        if (b->batches[i] <= fit)
            kept++;
        else
            skip(b, b->batches[i], why);
    }
    b->num_batches = kept;
    b->num_seqs = kept > 0 ? b->batches[kept - 1] : 0;
}

static int
load(struct bench *b, struct error *err)
{
    const struct model_load_args args = {
        .dir = b->config->model,
        .config = &b->model_config,
        .load_format = LOAD_DUMMY,
        .ops = b->ops,
        .dev = b->dev,
        .dtype = DTYPE_BF16,
        .max_tokens = MAX((int)b->config->max_tokens, b->num_seqs),
        .max_logit_rows = MIN(b->num_seqs, b->info.max_logit_rows),
        .max_model_len = b->max_len,
    };
    struct kv_config shape = kv_shape(b);
    int rc = model_load(&args, &b->model, err);
    if (rc == 0)
        rc = b->ops->kv_init(b->dev, &shape, err);
    uint64_t start_ns = mono_ns();
    if (rc == 0 && b->config->autotune)
        rc = model_tune(b->model, err);
    if (rc == 0 && b->config->autotune) {
        rows_begin(&b->rows, "tuned");
        rows_text(&b->rows, "model", b->name);
        rows_number(&b->rows, "seconds", (double)(mono_ns() - start_ns) / 1e9);
        rows_end(&b->rows);
    }
    return rc;
}

static int
open_all(struct bench *b, struct error *err)
{
    int longest = 0, rc;
    if ((rc = read_batches(b, err)) < 0 ||
        (rc = model_config_read(b->config->model, &b->model_config, err)) < 0)
        return rc;
    for (int i = 0; i < b->batches[b->num_batches - 1]; i++)
        longest = MAX(longest, prompt_len(b, i));
    b->max_len = longest + WARM_STEPS + (int)b->config->num_steps;
    b->blocks_per_seq = CEIL_DIV(b->max_len, KV_BLOCK_SIZE);
    if (longest > b->config->max_tokens)
        return error_set(err, ERR_RANGE, "option '--max-tokens': prompts have up to %d", longest);
    if (b->max_len > b->model_config.max_position_embeddings)
        return error_set(err, ERR_RANGE, "option '--context': the model has %lld positions",
                         (long long)b->model_config.max_position_embeddings);
    roofline_model_init(&b->costs, &b->model_config, DTYPE_BF16);
    if ((rc = open_device(b, err)) < 0)
        return rc;
    fit_batches(b);
    if (b->num_batches == 0)
        return 0;
    rc = alloc_batch(b, err);
    return rc < 0 ? rc : load(b, err);
}

static void
close_all(struct bench *b)
{
    model_free(b->model);
    if (b->dev != NULL)
        b->ops->device_close(b->dev);
    free(b->token_ids);
    free(b->sample_rows);
    for (int i = 0; i < MAX_IN_FLIGHT; i++)
        free(b->results[i]);
}

/* ---- steps ---- */

static int
device_error(const struct bench *b, int rc, struct error *err)
{
    const char *why = b->ops->failure(b->dev);
    return rc == 0 ? 0
                   : error_set(err, rc, "a step failed: %s", why != NULL ? why : error_name(rc));
}

/* Adds the tokens [first, last) of sequence i to the batch being built. Its blocks
 * lie among those of the others, as a server's do. */
static void
add_tokens(struct bench *b, struct batch *batch, int i, int first, int last)
{
    int s = batch->num_seqs++;
    int32_t *table = b->tables + (size_t)s * (size_t)b->blocks_per_seq;
    for (int k = 0; k < b->blocks_per_seq; k++)
        table[k] = k * b->num_seqs + i;
    for (int p = first; p < last; p++) {
        int t = batch->num_tokens++;
        uint64_t word = rng_mix64(((uint64_t)i << 32) + (uint64_t)p);
        b->token_ids[t] = (int32_t)(word % (uint64_t)b->model_config.vocab_size);
        b->positions[t] = p;
        b->slots[t] = table[p / KV_BLOCK_SIZE] * KV_BLOCK_SIZE + p % KV_BLOCK_SIZE;
    }
    b->lens[s] = last;
    b->cu_seqlens[s + 1] = batch->num_tokens;
}

static struct batch
empty_batch(const struct bench *b)
{
    b->cu_seqlens[0] = 0;
    return (struct batch){
        .max_blocks_per_seq = b->blocks_per_seq,
        .token_ids = b->token_ids,
        .positions = b->positions,
        .slot_mapping = b->slots,
        .cu_seqlens_q = b->cu_seqlens,
        .seq_lens = b->lens,
        .block_tables = b->tables,
    };
}

/* Begins a step and ends it, with the draw of a token for each sequence when
 * `results` is not NULL. */
static int
launch(struct bench *b, const struct batch *batch, struct sample_result *results,
       struct error *err)
{
    struct step_shape shape;
    int rc = b->ops->step_begin(b->dev, batch, &shape);
    if (rc < 0)
        return device_error(b, rc, err);
    if (!shape.recorded)
        model_forward(b->model, shape.num_rows);
    rc = b->ops->forward_end(b->dev);
    int most = MIN(b->num_seqs, b->info.max_logit_rows);
    for (int i = 0; results != NULL && i < batch->num_seqs && rc == 0; i += most) {
        int n = MIN(most, batch->num_seqs - i);
        struct sample_output output = {.results = results + i};
        struct buffer *logits = model_logits(b->model, b->row_ids + i, n);
        rc = b->ops->sample(b->dev, logits, b->sample_rows + i, n, b->model_config.vocab_size,
                            &output);
    }
    int end = b->ops->step_end(b->dev);
    return device_error(b, rc < 0 ? rc : end, err);
}

/* ---- prefill ---- */

static double
floor_s(double flops, double bytes, const struct roofline_limits *l)
{
    return l->flops_per_s > 0 && l->read_bytes_per_s > 0
               ? MAX(flops / l->flops_per_s, bytes / l->read_bytes_per_s)
               : NAN;
}

static void
report_prefill(struct bench *b, int64_t tokens, int steps, double s)
{
    /* the weights for each token; attention is not counted, it is little here */
    double flops = (double)tokens * b->costs.flops_per_token;
    double bytes = steps * b->costs.weight_bytes;
    double sheet = floor_s(flops, bytes, &b->datasheet);
    double floor = floor_s(flops, bytes, &b->measured);
    printf("%-12s prefill  : %9.3f ms for %lld tokens, %.0f tok/s, floor %.3f ms, %.0f %%\n",
           b->name, s * 1e3, (long long)tokens, (double)tokens / s, floor * 1e3,
           100 * floor / s);
    fflush(stdout);
    rows_begin(&b->rows, "prefill");
    rows_text(&b->rows, "model", b->name);
    rows_int(&b->rows, "tokens", tokens);
    rows_int(&b->rows, "steps", steps);
    rows_number(&b->rows, "ms", s * 1e3);
    rows_number(&b->rows, "tokens_per_s", (double)tokens / s);
    rows_number(&b->rows, "datasheet_floor_ms", sheet * 1e3);
    rows_number(&b->rows, "floor_ms", floor * 1e3);
    rows_number(&b->rows, "fraction", floor / s);
    rows_end(&b->rows);
}

/* The prompts of all sequences, as many as go into each step; the first step is
 * not in the time. */
static int
prefill(struct bench *b, struct error *err)
{
    int64_t tokens = 0;
    int steps = 0;
    uint64_t start_ns = mono_ns();
    for (int i = 0; i < b->num_seqs;) {
        struct batch batch = empty_batch(b);
        do {
            add_tokens(b, &batch, i, 0, prompt_len(b, i));
            i++;
        } while (i < b->num_seqs && batch.num_tokens + prompt_len(b, i) <= b->config->max_tokens);
        int rc = launch(b, &batch, NULL, err);
        if (rc == 0)
            rc = device_error(b, b->ops->step_wait(b->dev), err);
        if (rc < 0)
            return rc;
        if (steps++ == 0)
            start_ns = mono_ns();
        else
            tokens += batch.num_tokens;
    }
    if (steps > 1)
        report_prefill(b, tokens, steps - 1, (double)(mono_ns() - start_ns) / 1e9);
    return 0;
}

/* ---- decode ---- */

/* Step number `step` of a batch of n: a token for each sequence, drawn in the step
 * before except in the first. */
static struct batch
decode_batch(struct bench *b, int n, int step)
{
    struct batch batch = empty_batch(b);
    for (int i = 0; i < n; i++) {
        int position = prompt_len(b, i) + step;
        add_tokens(b, &batch, i, position, position + 1);
        if (step > 0)
            b->token_ids[i] = -1 - i;
        b->row_ids[i] = i;
        b->sample_rows[i] = (struct sample_row){
            .temperature = 1,
            .top_p = 1,
            .repetition_penalty = 1,
            .seed = (uint64_t)i,
            .position = (uint64_t)step,
            .num_logprobs = -1,
        };
    }
    return batch;
}

static int64_t
mean_context(const struct bench *b, int n)
{
    int64_t sum = 0;
    for (int i = 0; i < n; i++)
        sum += prompt_len(b, i) + WARM_STEPS + b->config->num_steps / 2;
    return (sum + n / 2) / n;
}

/* The times between the ends of consecutive steps, of those after the warm ones. */
static int
time_steps(struct bench *b, int n, struct samples *ret_s, struct error *err)
{
    int total = WARM_STEPS + (int)b->config->num_steps;
    int depth = MIN(b->info.max_steps_in_flight, MAX_IN_FLIGHT), ended = 0, rc = 0;
    uint64_t last_ns = 0;
    for (int step = 0; ended < total && rc == 0;) {
        if (step < total && step - ended < depth) {
            struct batch batch = decode_batch(b, n, step);
            rc = launch(b, &batch, b->results[step % MAX_IN_FLIGHT], err);
            step++;
            continue;
        }
        rc = device_error(b, b->ops->step_wait(b->dev), err);
        uint64_t now_ns = mono_ns();
        if (ended++ >= WARM_STEPS)
            samples_record(ret_s, (double)(now_ns - last_ns) / 1e9);
        last_ns = now_ns;
    }
    return rc;
}

static int
check_results(const struct bench *b, int n, struct error *err)
{
    for (int i = 0; i < n; i++) {
        int32_t token = b->results[0][i].token;
        if (token < 0 || token >= b->model_config.vocab_size)
            return error_set(err, ERR_CORRUPT, "sequence %d drew token %d", i, (int)token);
    }
    return 0;
}

static double
decode_floor_s(const struct bench *b, const struct roofline_limits *l, int n)
{
    return l->flops_per_s > 0 && l->read_bytes_per_s > 0
               ? roofline_decode_s(&b->costs, l, n, mean_context(b, n), NULL)
               : NAN;
}

static void
report_decode(struct bench *b, int n, struct samples *s)
{
    double median = samples_percentile(s, 50), mean = samples_mean(s);
    double floor = decode_floor_s(b, &b->measured, n);
    double sheet = decode_floor_s(b, &b->datasheet, n);
    printf("%-12s batch %3d: %9.3f ms, %8.0f tok/s, floor %9.3f ms, %3.0f %%\n", b->name, n,
           median * 1e3, n / median, floor * 1e3, 100 * floor / median);
    fflush(stdout);
    rows_begin(&b->rows, "decode");
    rows_text(&b->rows, "model", b->name);
    rows_int(&b->rows, "batch", n);
    rows_int(&b->rows, "context", mean_context(b, n));
    rows_int(&b->rows, "steps", (int64_t)s->len);
    rows_number(&b->rows, "min_ms", samples_percentile(s, 0) * 1e3);
    rows_number(&b->rows, "median_ms", median * 1e3);
    rows_number(&b->rows, "mean_ms", mean * 1e3);
    rows_number(&b->rows, "tokens_per_s", n / median);
    rows_number(&b->rows, "datasheet_floor_ms", sheet * 1e3);
    rows_number(&b->rows, "floor_ms", floor * 1e3);
    rows_number(&b->rows, "fraction", floor / median);
    rows_end(&b->rows);
}

static int
decode(struct bench *b, int n, struct error *err)
{
    struct samples s = {0};
    int rc = time_steps(b, n, &s, err);
    if (rc == 0)
        rc = check_results(b, n, err);
    if (rc == 0)
        report_decode(b, n, &s);
    samples_release(&s);
    return rc;
}

static bool
out_of_time(const struct bench *b)
{
    return b->config->seconds > 0 &&
           (double)(mono_ns() - b->start_ns) / 1e9 > (double)b->config->seconds;
}

/* The floor of the reference's offline test: 300 prompts of 100 tokens at once, 600
 * more for each. */
static void
report_workload(struct bench *b)
{
    struct roofline_sequence sequences[300];
    const struct roofline_batching batching = {.max_batched_tokens = b->config->max_tokens};
    const struct roofline_limits *limits[] = {&b->datasheet, &b->measured};
    double floors[2] = {NAN, NAN};
    for (size_t i = 0; i < ARRAY_SIZE(sequences); i++)
        sequences[i] = (struct roofline_sequence){100, 600};
    for (int i = 0; i < 2; i++) {
        if (limits[i]->read_bytes_per_s > 0 && limits[i]->flops_per_s > 0)
            floors[i] = roofline_s(&b->costs, limits[i], &batching, sequences,
                                   ARRAY_SIZE(sequences));
    }
    rows_begin(&b->rows, "offline_floor");
    rows_text(&b->rows, "model", b->name);
    rows_number(&b->rows, "datasheet_floor_s", floors[0]);
    rows_number(&b->rows, "floor_s", floors[1]);
    rows_end(&b->rows);
}

static int
run(struct bench *b, struct error *err)
{
    int rc = open_all(b, err);
    if (rc == 0)
        report_workload(b);
    if (rc < 0 || b->num_batches == 0)
        return rc;
    rc = prefill(b, err);
    for (int i = 0; i < b->num_batches && rc == 0; i++) {
        if (out_of_time(b))
            skip(b, b->batches[i], "the time was up");
        else
            rc = decode(b, b->batches[i], err);
    }
    return rc;
}

int
steps_run(const struct steps_config *config, struct error *err)
{
    struct bench b = {
        .config = config,
        .name = config->name != NULL ? config->name : config->model,
        .start_ns = mono_ns(),
    };
    struct error close_err;
    int rc = rows_open(&b.rows, config->output, err);
    if (rc < 0)
        return rc;
    rc = run(&b, err);
    close_all(&b);
    if (rows_close(&b.rows, &close_err) < 0 && rc == 0)
        rc = error_set(err, ERR_IO, "%s", close_err.text);
    return rc;
}
