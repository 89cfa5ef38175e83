/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/plan_report.h"

#include "engine/gpu_specs.h"
#include "engine/memory_plan.h"
#include "util/json.h"

#include <math.h>

/* The workload that llmd is measured with. */
#define NUM_PROMPTS 300
#define INPUT_LEN 100
#define OUTPUT_LEN 600
#define WORKLOAD_LEN (INPUT_LEN + OUTPUT_LEN)

#define LABEL_COLUMNS 28
#define COLUMNS 17

const char *const plan_gpus[] = {"all", "h100-pcie", "h100-sxm", "h200", NULL};

static const int64_t batches[] = {1, 8, 32, 64, 128, 256, 300};

/* One GPU's part of the report. */
struct column {
    const struct gpu_spec *gpu;
    struct memory_plan memory;
    struct error refusal;  /* code 0: it fits */
    double workload_s;     /* NAN: cannot be run there */
};

struct report {
    const struct plan_request *request;
    struct model_config model;
    struct roofline_model costs;
    struct column columns[NUM_GPU_SPECS];
    size_t num_columns;
};

struct floor {
    double s;
    bool compute_bound;
    bool is_held; /* the cache and --max-num-seqs allow it */
};

static struct floor
floor_of(const struct report *r, const struct column *c, int64_t batch)
{
    const struct memory_plan *m = &c->memory;
    struct floor f;
    f.s = roofline_decode_s(&r->costs, &c->gpu->limits, batch, r->request->context,
                            &f.compute_bound);
    f.is_held = batch <= m->max_num_seqs && batch <= memory_plan_num_seqs(m, r->request->context);
    return f;
}

/* ---- making ---- */

static double
workload_s(const struct report *r, const struct column *c)
{
    static const struct roofline_sequence one = {INPUT_LEN, OUTPUT_LEN};
    struct roofline_sequence sequences[NUM_PROMPTS];
    const struct memory_plan *m = &c->memory;
    const struct roofline_batching batching = {
        .max_seqs = m->max_num_seqs,
        .max_batched_tokens = m->max_num_batched_tokens,
        .num_blocks = m->num_blocks,
    };
    if (memory_plan_num_seqs(m, WORKLOAD_LEN) == 0 || m->max_model_len < WORKLOAD_LEN)
        return NAN;
    for (size_t i = 0; i < NUM_PROMPTS; i++)
        sequences[i] = one;
    return roofline_s(&r->costs, &c->gpu->limits, &batching, sequences, NUM_PROMPTS);
}

static int
add_column(struct report *r, const struct engine_config *cfg, const struct gpu_spec *gpu,
           struct error *err)
{
    struct column *c = &r->columns[r->num_columns];
    struct memory_plan_args args;
    memory_plan_args_init(&args, cfg, &r->model);
    args.gpu = true;
    args.memory_total = gpu->memory_total;
    args.memory_free = gpu->memory_total - MEMORY_PLAN_GPU_RESERVE; /* llmd's own context */
    args.reserve_bytes = MEMORY_PLAN_GPU_RESERVE;
    int rc = memory_plan_make(&args, &c->memory, err);
    if (rc < 0)
        return rc;
    memory_plan_check(&c->memory, &c->refusal);
    c->gpu = gpu;
    c->workload_s = workload_s(r, c);
    r->num_columns++;
    return 0;
}

static int
make_report(struct report *r, const struct plan_request *request, struct error *err)
{
    struct engine_config cfg;
    *r = (struct report){.request = request};
    engine_options_apply(request->options, &cfg);
    int rc = model_config_read(request->dir, &r->model, err);
    if (rc < 0)
        return rc;
    roofline_model_init(&r->costs, &r->model,
                        cfg.dtype == MODEL_DTYPE_FLOAT32 ? DTYPE_F32 : DTYPE_BF16);
    for (size_t i = 0; i < NUM_GPU_SPECS && rc == 0; i++) {
        if (request->gpu == 0 || request->gpu == (int)i + 1)
            rc = add_column(r, &cfg, &gpu_specs[i], err);
    }
    return rc;
}

/* ---- for people ---- */

static void
write_label(struct buf *b, const char *label)
{
    buf_printf(b, "%-*s", LABEL_COLUMNS, label);
}

static void
write_head(struct buf *b, const struct report *r, const char *title)
{
    buf_putc(b, '\n');
    write_label(b, title);
    for (size_t i = 0; i < r->num_columns; i++)
        buf_printf(b, "%*s", COLUMNS, r->columns[i].gpu->name);
    buf_putc(b, '\n');
}

static void
write_gib(struct buf *b, const struct report *r, const char *label, size_t field)
{
    write_label(b, label);
    for (size_t i = 0; i < r->num_columns; i++) {
        const char *memory = (const char *)&r->columns[i].memory;
        buf_printf(b, "%*.2f", COLUMNS, (double)*(const size_t *)(memory + field) / 1073741824.0);
    }
    buf_putc(b, '\n');
}

typedef int64_t count_fn(const struct memory_plan *m);

static void
write_count(struct buf *b, const struct report *r, const char *label, count_fn *count)
{
    write_label(b, label);
    for (size_t i = 0; i < r->num_columns; i++)
        buf_printf(b, "%*lld", COLUMNS, (long long)count(&r->columns[i].memory));
    buf_putc(b, '\n');
}

static int64_t
num_workload_seqs(const struct memory_plan *m)
{
    return memory_plan_num_seqs(m, WORKLOAD_LEN);
}

static int64_t
max_model_len(const struct memory_plan *m)
{
    return m->max_model_len;
}

static int64_t
max_num_seqs(const struct memory_plan *m)
{
    return m->max_num_seqs;
}

static int64_t
max_num_batched_tokens(const struct memory_plan *m)
{
    return m->max_num_batched_tokens;
}

#define FIELD(name) offsetof(struct memory_plan, name)

static void
write_memory(struct buf *b, const struct report *r)
{
    const struct memory_plan *any = &r->columns[0].memory;
    char usable[64], seqs[64];
    snprintf(seqs, sizeof seqs, "sequences of %d tokens", WORKLOAD_LEN);
    snprintf(usable, sizeof usable, "of these %.2f may be used", any->gpu_memory_utilization);
    write_head(b, r, "Memory (GiB)");
    write_gib(b, r, "the GPU has", FIELD(memory_total));
    write_gib(b, r, any->kv_given ? "of these are free" : usable, FIELD(usable_bytes));
    write_gib(b, r, "weights", FIELD(weight_bytes));
    write_gib(b, r, "activations", FIELD(activation_bytes));
    write_gib(b, r, "logits", FIELD(logit_bytes));
    write_gib(b, r, "workspace", FIELD(workspace_bytes));
    write_gib(b, r, "reserve", FIELD(reserve_bytes));
    write_gib(b, r, "KV cache", FIELD(kv_cache_bytes));
    write_head(b, r, "Room");
    write_count(b, r, "tokens in the KV cache", memory_plan_num_tokens);
    write_count(b, r, seqs, num_workload_seqs);
    write_count(b, r, "max-model-len", max_model_len);
    write_count(b, r, "max-num-seqs", max_num_seqs);
    write_count(b, r, "max-num-batched-tokens", max_num_batched_tokens);
}

static void
write_steps(struct buf *b, const struct report *r)
{
    buf_printf(b, "\nFloor of a decode step, contexts of %lld tokens (ms, tok/s)\n",
               (long long)r->request->context);
    for (size_t i = 0; i < ARRAY_SIZE(batches); i++) {
        char label[64];
        snprintf(label, sizeof label, "batch %lld", (long long)batches[i]);
        write_label(b, label);
        for (size_t j = 0; j < r->num_columns; j++) {
            struct floor f = floor_of(r, &r->columns[j], batches[i]);
            char cell[64];
            snprintf(cell, sizeof cell, "%s%s%.*f %6.0f", f.is_held ? "" : "+",
                     f.compute_bound ? "*" : "", f.s < 1e-4 ? 4 : 2, 1e3 * f.s,
                     (double)batches[i] / f.s);
            buf_printf(b, "%*s", COLUMNS, cell);
        }
        buf_putc(b, '\n');
    }
    buf_puts(b, "* bound by arithmetic   + more than the KV cache or max-num-seqs holds\n");
}

static void
write_workload(struct buf *b, const struct report *r)
{
    buf_printf(b, "\nFloor of %d prompts of %d tokens and %d more each\n", NUM_PROMPTS, INPUT_LEN,
               OUTPUT_LEN);
    for (int row = 0; row < 2; row++) {
        write_label(b, row == 0 ? "seconds" : "output tok/s");
        for (size_t i = 0; i < r->num_columns; i++) {
            double s = r->columns[i].workload_s;
            if (isnan(s))
                buf_printf(b, "%*s", COLUMNS, "-");
            else if (row == 0)
                buf_printf(b, "%*.2f", COLUMNS, s);
            else
                buf_printf(b, "%*.0f", COLUMNS, NUM_PROMPTS * OUTPUT_LEN / s);
        }
        buf_putc(b, '\n');
    }
}

static void
write_text(struct buf *b, const struct report *r)
{
    buf_printf(b, "%s: %s, %.1fM parameters\n", r->request->dir, r->model.architecture,
               (double)model_config_num_parameters(&r->model) / 1e6);
    write_memory(b, r);
    write_steps(b, r);
    write_workload(b, r);
    for (size_t i = 0; i < r->num_columns; i++) {
        const struct column *c = &r->columns[i];
        if (c->refusal.code != 0)
            buf_printf(b, "\n%s will not serve this: %s\n", c->gpu->name, c->refusal.text);
    }
}

/* ---- for machines ---- */

static void
json_key(struct buf *b, const char *key)
{
    const char *bytes = buf_bytes(b);
    size_t len = buf_len(b);
    bool first = len == 0 || bytes[len - 1] == '{';
    buf_printf(b, "%s\"%s\": ", first ? "" : ", ", key);
}

static void
json_int(struct buf *b, const char *key, int64_t value)
{
    json_key(b, key);
    json_write_int(b, value);
}

static void
json_double(struct buf *b, const char *key, double value)
{
    json_key(b, key);
    json_write_double(b, value);
}

static void
json_bool(struct buf *b, const char *key, bool value)
{
    json_key(b, key);
    buf_puts(b, value ? "true" : "false");
}

static void
json_text(struct buf *b, const char *key, const char *value)
{
    json_key(b, key);
    json_write_string(b, value, strlen(value));
}

static void
json_memory(struct buf *b, const struct memory_plan *m)
{
    json_key(b, "memory");
    buf_putc(b, '{');
    json_int(b, "total_bytes", (int64_t)m->memory_total);
    json_double(b, "gpu_memory_utilization", m->gpu_memory_utilization);
    json_int(b, "usable_bytes", (int64_t)m->usable_bytes);
    json_int(b, "weight_bytes", (int64_t)m->weight_bytes);
    json_int(b, "activation_bytes", (int64_t)m->activation_bytes);
    json_int(b, "logit_bytes", (int64_t)m->logit_bytes);
    json_int(b, "workspace_bytes", (int64_t)m->workspace_bytes);
    json_int(b, "reserve_bytes", (int64_t)m->reserve_bytes);
    json_int(b, "kv_cache_bytes", (int64_t)m->kv_cache_bytes);
    json_int(b, "kv_cache_tokens", memory_plan_num_tokens(m));
    json_int(b, "num_blocks", m->num_blocks);
    json_int(b, "block_size", KV_BLOCK_SIZE);
    json_int(b, "num_workload_seqs", num_workload_seqs(m));
    json_int(b, "max_model_len", m->max_model_len);
    json_int(b, "max_num_seqs", m->max_num_seqs);
    json_int(b, "max_num_batched_tokens", m->max_num_batched_tokens);
    buf_putc(b, '}');
}

static void
json_steps(struct buf *b, const struct report *r, const struct column *c)
{
    json_key(b, "decode_floor");
    for (size_t i = 0; i < ARRAY_SIZE(batches); i++) {
        struct floor f = floor_of(r, c, batches[i]);
        buf_puts(b, i == 0 ? "[{" : ", {");
        json_int(b, "batch", batches[i]);
        json_double(b, "s", f.s);
        json_double(b, "tokens_per_s", (double)batches[i] / f.s);
        json_bool(b, "compute_bound", f.compute_bound);
        json_bool(b, "fits", f.is_held);
        buf_putc(b, '}');
    }
    buf_putc(b, ']');
}

static void
json_column(struct buf *b, const struct report *r, const struct column *c)
{
    buf_putc(b, '{');
    json_text(b, "name", c->gpu->name);
    json_text(b, "title", c->gpu->title);
    json_double(b, "read_bytes_per_s", c->gpu->limits.read_bytes_per_s);
    json_double(b, "flops_per_s", c->gpu->limits.flops_per_s);
    json_bool(b, "fits", c->refusal.code == 0);
    json_key(b, "refusal");
    if (c->refusal.code == 0)
        buf_puts(b, "null");
    else
        json_write_string(b, c->refusal.text, strlen(c->refusal.text));
    json_memory(b, &c->memory);
    json_steps(b, r, c);
    json_key(b, "workload_floor");
    buf_putc(b, '{');
    json_double(b, "s", c->workload_s); /* null where it cannot be run */
    json_double(b, "output_tokens_per_s", NUM_PROMPTS * OUTPUT_LEN / c->workload_s);
    buf_puts(b, "}}");
}

static void
write_json(struct buf *b, const struct report *r)
{
    buf_putc(b, '{');
    json_text(b, "model", r->request->dir);
    json_text(b, "architecture", r->model.architecture);
    json_int(b, "num_parameters", model_config_num_parameters(&r->model));
    json_int(b, "context", r->request->context);
    json_key(b, "workload");
    buf_printf(b, "{\"num_prompts\": %d, \"input_len\": %d, \"output_len\": %d}", NUM_PROMPTS,
               INPUT_LEN, OUTPUT_LEN);
    json_key(b, "gpus");
    for (size_t i = 0; i < r->num_columns; i++) {
        buf_puts(b, i == 0 ? "[" : ", ");
        json_column(b, r, &r->columns[i]);
    }
    buf_puts(b, "]}\n");
}

int
plan_report(const struct plan_request *request, struct buf *ret, bool *ret_fits,
            struct error *err)
{
    struct report r;
    bool fits = false;
    int rc = make_report(&r, request, err);
    if (rc < 0)
        return rc;
    if (request->json)
        write_json(ret, &r);
    else
        write_text(ret, &r);
    if (ret->failed)
        return error_set(err, ERR_NOMEM, "out of memory for the plan");
    for (size_t i = 0; i < r.num_columns; i++)
        fits = fits || r.columns[i].refusal.code == 0;
    *ret_fits = fits;
    return 0;
}
