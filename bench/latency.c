/* SPDX-License-Identifier: Apache-2.0 */
/* A batch of prompts from start to end, again and again. */
#include "bench/commands.h"
#include "bench/report.h"
#include "util/json.h"
#include "util/samples.h"

#include <string.h>
#include <unistd.h>

/* vLLM draws ids below this: every model has as many. */
#define VOCAB_SIZE 10000

static const int percentages[] = {10, 25, 50, 75, 90, 99};

/* ---- prompts ---- */

static int
make_prompts(const struct bench_config *c, const struct offline *o, struct dataset *ret,
             struct error *err)
{
    struct numpy_legacy global;
    int64_t vocab_size = offline_info(o)->vocab_size;
    /* Random prefixes without a suffix are what vLLM draws here. */
    struct dataset_args args = {
        .name = DATASET_PREFIX_REPETITION,
        .num_prompts = (size_t)c->batch_size,
        .vocab_size = MIN(vocab_size, VOCAB_SIZE),
        .prefix_repetition_prefix_len = c->random_input_len,
        .prefix_repetition_num_prefixes = c->batch_size,
        .prefix_repetition_output_len = c->random_output_len,
    };
    numpy_legacy_seed(&global, (uint32_t)c->engine.seed);
    return dataset_init(ret, &args, &global, err);
}

/* ---- batches ---- */

/* Runs `num` batches; the time of each into `ret`, the last one's result too. */
static int
run_batches(const struct bench_config *c, struct offline *o, const struct dataset *d, int64_t num,
            struct samples *ret, struct offline_result *ret_last, struct error *err)
{
    bool bar = !c->disable_tqdm && isatty(STDERR_FILENO);
    for (int64_t i = 0; i < num; i++) {
        struct offline_result result;
        int e = offline_run(o, d->prompts, d->len, c->n, false, &result, err);
        if (e < 0)
            return e;
        if (result.interrupted)
            return error_set(err, ERR_CANCELLED, "interrupted: these are the figures until then");
        samples_record(ret, result.elapsed_s);
        *ret_last = result;
        if (bar)
            fprintf(stderr, "\r%lld/%lld batches, the last one in %.3f s \033[K",
                    (long long)i + 1, (long long)num, result.elapsed_s);
    }
    if (bar && num > 0)
        fputc('\n', stderr);
    return 0;
}

/* ---- the result ---- */

static void
write_json(const struct bench_config *c, struct samples *latencies_s, struct buf *b)
{
    buf_puts(b, "{\n    \"model_id\": ");
    json_write_string(b, c->model, strlen(c->model));
    buf_puts(b, ",\n    \"avg_latency\": ");
    json_write_double(b, samples_mean(latencies_s));
    buf_puts(b, ",\n    \"latencies\": [");
    for (size_t i = 0; i < latencies_s->len; i++) {
        buf_puts(b, i > 0 ? ", " : "");
        json_write_double(b, latencies_s->values[i]);
    }
    buf_puts(b, "],\n    \"percentiles\": {");
    for (size_t i = 0; i < ARRAY_SIZE(percentages); i++) {
        buf_printf(b, "%s\"%d\": ", i > 0 ? ", " : "", percentages[i]);
        json_write_double(b, samples_percentile(latencies_s, percentages[i]));
    }
    buf_puts(b, "},\n    ");
}

static void
write_lines(struct samples *latencies_s, struct buf *b)
{
    buf_puts(b, "Avg latency: ");
    json_write_double(b, samples_mean(latencies_s));
    buf_puts(b, " seconds\n");
    for (size_t i = 0; i < ARRAY_SIZE(percentages); i++) {
        buf_printf(b, "%d%% percentile latency: ", percentages[i]);
        json_write_double(b, samples_percentile(latencies_s, percentages[i]));
        buf_puts(b, " seconds\n");
    }
}

static int
report(const struct bench_config *c, struct report *r, struct samples *latencies_s,
       const struct offline_result *last, struct error *err)
{
    struct buf text = {0}, json = {0};
    size_t num = (size_t)(c->batch_size * c->n);
    struct roofline_sequence *sequences = reallocarray(NULL, num, sizeof *sequences);
    struct report_work work = {sequences, sequences != NULL ? num : 0,
                               samples_mean(latencies_s), last->output_tokens};
    for (size_t i = 0; i < work.num; i++)
        sequences[i] = (struct roofline_sequence){c->random_input_len, c->random_output_len};
    report_set_work(r, &work);
    write_lines(latencies_s, &text);
    report_write_rows(r, &work, &text);
    fwrite(buf_bytes(&text), 1, buf_len(&text), stdout);
    fflush(stdout);
    write_json(c, latencies_s, &json);
    report_write_json(r, &work, &json);
    buf_puts(&json, "\n}");
    int e = text.failed || json.failed ? error_set(err, ERR_NOMEM, "out of memory")
                                       : report_save(c, &json, err);
    free(sequences);
    buf_release(&text);
    buf_release(&json);
    return e;
}

static int
measure(const struct bench_config *c, struct offline *o, const struct dataset *d,
        struct report *r, struct error *err)
{
    struct samples warm_s = {0}, latencies_s = {0};
    struct offline_result last = {0};
    puts("Warming up...");
    fflush(stdout);
    int e = run_batches(c, o, d, c->num_iters_warmup, &warm_s, &last, err);
    uint64_t start_ns = mono_ns();
    if (e == 0) {
        r->resources = report_watch(c);
        e = run_batches(c, o, d, c->num_iters, &latencies_s, &last, err);
    }
    if (r->resources != NULL)
        resources_stop(r->resources, start_ns, mono_ns(),
                       last.output_tokens * (int64_t)latencies_s.len);
    if ((e == 0 || e == ERR_CANCELLED) && latencies_s.len > 0) {
        struct error why;
        int printed = report(c, r, &latencies_s, &last, &why);
        if (e == 0 && printed < 0)
            e = error_set(err, printed, "%s", why.text);
    }
    samples_release(&warm_s);
    samples_release(&latencies_s);
    return e;
}

int
command_latency(const struct bench_config *c, struct offline *o, struct error *err)
{
    struct dataset d = {0};
    struct report r = {0};
    int e = make_prompts(c, o, &d, err);
    if (e == 0)
        e = report_init(&r, c, offline_info(o), err);
    if (e == 0)
        e = measure(c, o, &d, &r, err);
    resources_free(r.resources);
    dataset_release(&d);
    return e;
}
