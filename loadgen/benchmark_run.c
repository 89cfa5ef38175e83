/* SPDX-License-Identifier: Apache-2.0 */
/* One run: sends, waits, prints, saves. */
#include "loadgen/benchmark_private.h"
#include "loadgen/progress.h"
#include "loadgen/report.h"
#include "loadgen/report_html.h"
#include "loadgen/resources.h"

#include <math.h>
#include <string.h>
#include <unistd.h>

/* All that belongs to one run, and is freed after it. */
struct run {
    struct benchmark *benchmark;
    struct schedule_args schedule_args;
    struct schedule schedule;
    struct reply *replies; /* owned, one per request */
    struct client_outcome outcome;
    struct resources *resources;
    struct buf resource_rows, resource_json;
    struct progress progress;
};

static void
print(struct buf *text, FILE *to)
{
    fwrite(buf_bytes(text), 1, buf_len(text), to);
    fflush(to);
    buf_clear(text);
}

/* ---- before ---- */

static int
make_schedule(struct run *run, struct error *err)
{
    struct benchmark *b = run->benchmark;
    struct numpy_legacy global = b->global;
    benchmark_schedule_args(b->config, b->dataset.len, &run->schedule_args);
    if (b->dataset.timed && b->config->self_timed)
        return schedule_init_timed(&run->schedule, &b->dataset, err);
    return schedule_init(&run->schedule, &run->schedule_args, &global, err);
}

static int
make_replies(struct run *run, struct error *err)
{
    run->replies = calloc(run->schedule.len, sizeof *run->replies);
    if (run->replies == NULL)
        return error_set(err, ERR_NOMEM, "out of memory for %zu replies", run->schedule.len);
    return 0;
}

static void
start_resources(struct run *run)
{
    const struct config *c = run->benchmark->config;
    struct buf url = {0};
    struct error err = {0};
    config_url(c, &url);
    struct resources_args args = {
        .monitor = c->monitor,
        .base_url = buf_bytes(&url),
        .pid = (pid_t)c->pid,
        .gpu_index = (unsigned)c->gpu,
        .insecure = c->insecure,
    };
    if (resources_start(&args, &run->resources, &err) < 0)
        fprintf(stderr, "loadgen: resources are not shown: %s\n", err.text);
    buf_release(&url);
}

/* ---- the run ---- */

static void
on_progress(void *arg, const struct client_progress *p)
{
    struct run *run = arg;
    progress_draw(&run->progress, p);
}

static int
send_all(struct run *run, struct error *err)
{
    struct benchmark *b = run->benchmark;
    const struct config *c = b->config;
    bool bar = !c->disable_tqdm && isatty(STDERR_FILENO);
    struct client_run args = {
        .prompts = b->dataset.prompts,
        .num_prompts = b->dataset.len,
        .num_requests = run->schedule.len,
        .schedule = &run->schedule,
        .replies = run->replies,
        .anonymous = b->dataset.anonymous,
        .duration_s = c->duration_s,
        .probe_request_rate = c->probe_request_rate,
        .on_progress = bar ? on_progress : NULL,
        .arg = run,
    };
    struct buf preamble = {0};
    report_preamble(c, &preamble);
    print(&preamble, stdout);
    buf_release(&preamble);
    start_resources(run);
    int e = client_run(b->client, &args, &run->outcome, err);
    if (bar)
        progress_end();
    return e;
}

/* ---- after ---- */

/* The tokens of an answer whose server did not say how many. */
static int64_t
count_tokens(struct benchmark *b, const struct reply *r)
{
    struct token_ids ids = {0};
    int64_t num = (int64_t)r->num_events;
    if (b->config->skip_tokenizer_init)
        return 1; /* as vLLM counts then */
    if (b->tokenizer == NULL && b->tokenizer_dir != NULL &&
        tokenizer_load(b->tokenizer_dir, &b->tokenizer, NULL) < 0)
        return num;
    if (b->tokenizer != NULL && tokenizer_encode(b->tokenizer, buf_bytes(&r->text),
                                                 buf_len(&r->text), false, true, 0, &ids,
                                                 NULL) == 0)
        num = (int64_t)ids.len;
    token_ids_release(&ids);
    return num;
}

static void
count_all_tokens(struct run *run)
{
    for (size_t i = 0; i < run->outcome.num_sent; i++) {
        struct reply *r = &run->replies[i];
        if (r->status == REPLY_SUCCEEDED && r->usage_output_len <= 0)
            r->output_len = count_tokens(run->benchmark, r);
    }
}

static void
stop_resources(struct run *run, const struct metrics *m)
{
    const struct config *c = run->benchmark->config;
    bool detailed = c->save_detailed || c->report != NULL || c->plot_timeline;
    if (run->resources == NULL)
        return;
    resources_stop(run->resources, m->first_start_ns, m->last_token_ns, m->output_tokens);
    resources_write_rows(run->resources, &run->resource_rows);
    resources_write_json(run->resources, detailed, &run->resource_json);
}

/* The page's path: --report, or the result's with .timeline.html. */
static void
page_path(const struct config *c, const struct buf *result_path, struct buf *ret)
{
    if (c->report != NULL) {
        buf_puts(ret, c->report);
        return;
    }
    const char *path = buf_bytes(result_path), *dot = strrchr(path, '.');
    bool has_suffix = dot != NULL && strchr(dot, '/') == NULL;
    buf_append(ret, path, has_suffix ? (size_t)(dot - path) : strlen(path));
    buf_puts(ret, ".timeline.html");
}

static int
save_page(const struct report *r, const struct buf *result_path, struct error *err)
{
    struct buf json = {0}, path = {0};
    page_path(r->config, result_path, &path);
    report_json(r, true, &json);
    int e = json.failed || path.failed ? error_set(err, ERR_NOMEM, "out of memory")
                                       : report_html_save(&json, buf_bytes(&path), err);
    buf_release(&json);
    buf_release(&path);
    return e;
}

/* Later runs of the same name are written after the first. */
static int
save(struct benchmark *b, const struct report *r, struct error *err)
{
    const struct config *c = b->config;
    struct buf path = {0};
    int e = 0;
    report_file_name(r, &path);
    bool again = c->num_runs > 1 && b->num_runs > 0;
    bool same = again || (b->num_runs > 0 && strcmp(buf_bytes(&b->path), buf_bytes(&path)) == 0);
    if (again)
        buf_release(&path);
    else {
        buf_release(&b->path);
        b->path = path;
    }
    if (c->save_result || c->append_result)
        e = report_save(r, buf_bytes(&b->path), c->append_result || same, err);
    if (e == 0 && (c->report != NULL || c->plot_timeline))
        e = save_page(r, &b->path, err);
    return e;
}

static int64_t
realtime_at_zero_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec - (int64_t)mono_ns();
}

static int
report(struct run *run, struct metrics *m, struct buf *ret_json, struct error *err)
{
    struct benchmark *b = run->benchmark;
    const struct config *c = b->config;
    struct report r = {
        .config = c,
        .model = b->model,
        .tokenizer = b->tokenizer_dir,
        .metrics = m,
        .outcome = &run->outcome,
        .replies = run->replies,
        .num_replies = run->outcome.num_sent,
        .schedule = &run->schedule_args,
        .resource_rows = run->resources != NULL ? &run->resource_rows : NULL,
        .resource_json = run->resources != NULL ? &run->resource_json : NULL,
        .realtime_ns = realtime_at_zero_ns(),
    };
    struct buf text = {0};
    time_t now = time(NULL);
    localtime_r(&now, &r.date);
    report_errors(&r, &text);
    report_table(&r, &text);
    bool ours = c->format != FORMAT_VLLM && c->format != FORMAT_VLLM_0_8;
    if (ours)
        report_own_table(&r, &text);
    bool failed = m->failed || text.failed;
    print(&text, stdout);
    report_warnings(&r, &text);
    print(&text, ours ? stdout : stderr);
    buf_release(&text);
    if (ret_json != NULL)
        report_json(&r, false, ret_json);
    int e = save(b, &r, err);
    if (e == 0 && failed)
        e = error_set(err, ERR_NOMEM, "out of memory: figures are missing");
    return e;
}

static void
run_release(struct run *run)
{
    resources_free(run->resources);
    buf_release(&run->resource_rows);
    buf_release(&run->resource_json);
    samples_release(&run->outcome.probe_latencies_s);
    for (size_t i = 0; i < run->outcome.num_sent; i++)
        reply_release(&run->replies[i]);
    free(run->replies);
    schedule_release(&run->schedule);
}

int
benchmark_run(struct benchmark *b, struct metrics *ret_metrics, struct buf *ret_json,
              struct error *err)
{
    struct run run = {.benchmark = b};
    *ret_metrics = (struct metrics){0};
    int e = make_schedule(&run, err);
    if (e == 0)
        e = make_replies(&run, err);
    if (e == 0)
        e = send_all(&run, err);
    if (e == 0) {
        struct metrics_args args = {run.replies, run.outcome.num_sent, &run.outcome, b->config};
        count_all_tokens(&run);
        metrics_init(ret_metrics, &args);
        stop_resources(&run, ret_metrics);
        e = report(&run, ret_metrics, ret_json, err);
        b->num_runs++;
    }
    if (e == 0 && run.outcome.interrupted)
        e = error_set(err, ERR_CANCELLED, "interrupted: these are the figures until then");
    run_release(&run);
    return e;
}
