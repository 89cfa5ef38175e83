/* SPDX-License-Identifier: Apache-2.0 */
/* All prompts at once: requests and tokens per second. */
#include "bench/commands.h"
#include "bench/report.h"
#include "util/json.h"

#include <string.h>
#include <unistd.h>

/* ---- prompts ---- */

static int
make_prompts(const struct bench_config *c, const struct offline *o, size_t num, uint64_t seed,
             struct dataset *ret, struct error *err)
{
    struct numpy_legacy global;
    bool has_text = offline_tokenizer(o) != NULL;
    struct dataset_args args = {
        .name = (enum dataset_name)c->dataset_name,
        .path = c->dataset_path,
        .num_prompts = num,
        .seed = seed,
        .tokenizer_dir = has_text ? c->model : NULL,
        .vocab_size = has_text ? 0 : offline_info(o)->vocab_size,
        .oversample = !c->no_oversample,
        .shuffle = true,
        .random_input_len = c->random_input_len,
        .random_output_len = c->random_output_len,
        .random_input_range = c->random_range_ratio,
        .random_output_range = c->random_range_ratio,
        .random_prefix_len = c->random_prefix_len,
        .sharegpt_output_len = c->output_len,
        .custom_output_len = c->output_len > 0 ? c->output_len : c->custom_output_len,
        .prefix_repetition_prefix_len = c->prefix_repetition_prefix_len,
        .prefix_repetition_suffix_len = c->prefix_repetition_suffix_len,
        .prefix_repetition_num_prefixes = c->prefix_repetition_num_prefixes,
        .prefix_repetition_output_len = c->prefix_repetition_output_len,
    };
    numpy_legacy_seed(&global, (uint32_t)seed);
    int e = dataset_init(ret, &args, &global, err);
    if (e == 0 && ret->len == 0)
        e = error_set(err, ERR_INVALID, "option '--dataset-path': '%.150s' has no prompt that can "
                                        "be used", c->dataset_path);
    return e;
}

static int
warm_up(const struct bench_config *c, struct offline *o, struct error *err)
{
    struct dataset d;
    struct offline_result result = {0};
    if (c->num_warmups == 0)
        return 0;
    int e = make_prompts(c, o, (size_t)c->num_warmups, (uint64_t)c->engine.seed + 1, &d, err);
    if (e < 0)
        return e;
    printf("Warming up with %zu requests...\n", d.len);
    fflush(stdout);
    e = offline_run(o, d.prompts, d.len, c->n, false, &result, err);
    if (e == 0 && result.interrupted)
        e = error_set(err, ERR_CANCELLED, "interrupted");
    dataset_release(&d);
    return e;
}

/* ---- the result ---- */

static struct roofline_sequence *
list_sequences(const struct dataset *d, int64_t n)
{
    struct roofline_sequence *list = reallocarray(NULL, d->len * (size_t)n, sizeof *list);
    for (size_t i = 0; list != NULL && i < d->len * (size_t)n; i++) {
        const struct prompt *p = &d->prompts[i / (size_t)n];
        list[i] = (struct roofline_sequence){MAX((int64_t)p->len, 1), p->output_len};
    }
    return list;
}

static void
write_json(const struct bench_config *c, const struct offline_result *r, struct buf *b)
{
    double total = (double)(r->prompt_tokens + r->output_tokens);
    buf_puts(b, "{\n    \"model_id\": ");
    json_write_string(b, c->model, strlen(c->model));
    buf_puts(b, ",\n    \"elapsed_time\": ");
    json_write_double(b, r->elapsed_s);
    buf_printf(b, ",\n    \"num_requests\": %zu,\n    \"total_num_tokens\": %lld,\n    "
                  "\"requests_per_second\": ",
               r->num_finished, (long long)(r->prompt_tokens + r->output_tokens));
    json_write_double(b, (double)r->num_finished / r->elapsed_s);
    buf_puts(b, ",\n    \"tokens_per_second\": ");
    json_write_double(b, total / r->elapsed_s);
    buf_puts(b, ",\n    ");
}

static int
report(const struct bench_config *c, struct report *r, const struct offline_result *result,
       const struct report_work *work, struct error *err)
{
    struct buf rows = {0}, json = {0};
    double total = (double)(result->prompt_tokens + result->output_tokens);
    printf("Throughput: %.2f requests/s, %.2f total tokens/s, %.2f output tokens/s\n"
           "Total num prompt tokens:  %lld\nTotal num output tokens:  %lld\n",
           (double)result->num_finished / result->elapsed_s, total / result->elapsed_s,
           (double)result->output_tokens / result->elapsed_s, (long long)result->prompt_tokens,
           (long long)result->output_tokens);
    report_set_work(r, work);
    report_write_rows(r, work, &rows);
    fwrite(buf_bytes(&rows), 1, buf_len(&rows), stdout);
    fflush(stdout);
    write_json(c, result, &json);
    report_write_json(r, work, &json);
    buf_puts(&json, "\n}");
    int e = rows.failed || json.failed ? error_set(err, ERR_NOMEM, "out of memory")
                                       : report_save(c, &json, err);
    buf_release(&rows);
    buf_release(&json);
    return e;
}

static int
measure(const struct bench_config *c, struct offline *o, const struct dataset *d,
        struct report *r, struct error *err)
{
    struct offline_result result;
    bool bar = !c->disable_tqdm && isatty(STDERR_FILENO);
    r->resources = report_watch(c);
    int e = offline_run(o, d->prompts, d->len, c->n, bar, &result, err);
    if (r->resources != NULL)
        resources_stop(r->resources, result.start_ns, result.end_ns, result.output_tokens);
    if (e < 0)
        return e;
    struct roofline_sequence *sequences = list_sequences(d, c->n);
    struct report_work work = {
        .sequences = sequences,
        .num = sequences != NULL ? d->len * (size_t)c->n : 0,
        .elapsed_s = result.elapsed_s,
        .output_tokens = result.output_tokens,
    };
    if (result.interrupted) /* a floor of the whole would not be this run's */
        work.num = 0;
    e = report(c, r, &result, &work, err);
    free(sequences);
    if (e == 0 && result.interrupted)
        e = error_set(err, ERR_CANCELLED, "interrupted: these are the figures until then");
    return e;
}

int
command_throughput(const struct bench_config *c, struct offline *o, struct error *err)
{
    struct dataset d = {0};
    struct report r = {0};
    int e = make_prompts(c, o, (size_t)c->num_prompts, (uint64_t)c->engine.seed, &d, err);
    if (e == 0)
        e = report_init(&r, c, offline_info(o), err);
    if (e == 0)
        e = warm_up(c, o, err);
    if (e == 0)
        e = measure(c, o, &d, &r, err);
    resources_free(r.resources);
    dataset_release(&d);
    return e;
}
