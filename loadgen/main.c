/* SPDX-License-Identifier: Apache-2.0 */
/* loadgen: reads options, makes prompts and schedule, runs, reports. */
#include "loadgen/client.h"
#include "loadgen/config.h"
#include "loadgen/progress.h"
#include "loadgen/report.h"
#include "util/decimal.h"

#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#ifndef PACKAGE_VERSION
#define PACKAGE_VERSION "0"
#endif

#define DEFAULT_VOCAB_SIZE 1000 /* without a tokenizer: every model has as many */

enum {
    EXIT_NOTHING_DONE = 1, /* no request succeeded, or the server is not there */
    EXIT_WRONG_OPTION = 2,
};

/* All of one run, so that it can be freed in one place. */
struct app {
    struct config config;
    struct dataset dataset;
    struct schedule schedule;
    struct client *client;
    char *model; /* owned */
    struct reply *replies; /* owned, one per prompt */
    struct metrics metrics;
};

static void
print(const struct buf *text, FILE *to)
{
    fwrite(buf_bytes(text), 1, buf_len(text), to);
    fflush(to);
}

/* Each connection is a descriptor; without a limit all prompts may be one. */
static void
raise_descriptor_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static int
take_api_key(struct config *c, struct error *err)
{
    const char *key = getenv("OPENAI_API_KEY");
    if (c->api_key != NULL || key == NULL)
        return 0;
    return option_set(&config_table, c, "api-key", key, err);
}

static int
read_options(struct config *c, int argc, char **argv, struct error *err)
{
    size_t num_words;
    int e = option_defaults(&config_table, c, err);
    if (e == 0)
        e = option_read_argv(&config_table, c, argc, argv, NULL, 0, &num_words, err);
    if (e == 0)
        e = take_api_key(c, err);
    return e == 0 ? config_check(c, err) : e;
}

/* --help and its like: prints and returns true. */
static bool
answer_about_self(const struct config *c)
{
    struct buf text = {0};
    if (c->help)
        option_help(&config_table, &text);
    else if (c->man)
        option_man_page(&config_table, 1, &text);
    else if (c->version)
        buf_puts(&text, "loadgen " PACKAGE_VERSION "\n");
    else
        return false;
    print(&text, stdout);
    buf_release(&text);
    return true;
}

static int
make_schedule(struct app *a, struct error *err)
{
    const struct config *c = &a->config;
    struct schedule_args args = {
        .num_requests = (size_t)c->num_prompts,
        .request_rate = c->request_rate,
        .burstiness = c->burstiness,
        .seed = (uint32_t)c->seed,
    };
    return schedule_init(&a->schedule, &args, err);
}

static int
make_prompts(struct app *a, struct error *err)
{
    const struct config *c = &a->config;
    struct dataset_random_args args = {
        .num_prompts = (size_t)c->num_prompts,
        .input_len = c->random_input_len,
        .output_len = c->random_output_len,
        .range_ratio = c->random_range_ratio,
        .vocab_size = c->random_vocab_size,
        .seed = (uint64_t)c->seed,
        .tokenizer_dir = c->tokenizer,
    };
    if (c->tokenizer == NULL && c->random_vocab_size == 0)
        args.vocab_size = DEFAULT_VOCAB_SIZE;
    return dataset_init_random(&a->dataset, &args, err);
}

static int
make_replies(struct app *a, struct error *err)
{
    a->replies = calloc(a->dataset.len, sizeof *a->replies);
    if (a->replies == NULL)
        return error_set(err, ERR_NOMEM, "out of memory for %zu replies", a->dataset.len);
    for (size_t i = 0; i < a->dataset.len; i++)
        reply_init(&a->replies[i], (int64_t)a->dataset.prompts[i].len,
                   a->config.save_detailed);
    return 0;
}

static void
print_schedule(const struct schedule *s)
{
    struct buf text = {0};
    for (size_t i = 0; i < s->len; i++) {
        decimal_print(s->times_s[i], true, &text);
        buf_putc(&text, '\n');
    }
    print(&text, stdout);
    buf_release(&text);
}

static int
find_model(struct app *a, struct error *err)
{
    const struct config *c = &a->config;
    if (c->model == NULL)
        return client_find_model(a->client, &a->model, err);
    a->model = strdup(c->model);
    return a->model != NULL ? 0 : error_set(err, ERR_NOMEM, "out of memory");
}

/* The name that requests carry. */
static const char *
sent_model(const struct app *a)
{
    return a->config.served_model_name != NULL ? a->config.served_model_name : a->model;
}

static int
check_ready(struct app *a, struct error *err)
{
    int64_t timeout_s = a->config.ready_check_timeout_s;
    if (timeout_s == 0) {
        puts("Skipping endpoint ready check.");
        return 0;
    }
    printf("Waiting for endpoint to become up in %lld seconds\n", (long long)timeout_s);
    fflush(stdout);
    int e = client_check_ready(a->client, sent_model(a), &a->dataset.prompts[0], err);
    if (e == 0)
        puts("Initial test run completed.");
    return e;
}

static void
on_progress(void *arg, size_t num_done, double elapsed_s)
{
    const struct app *a = arg;
    progress_draw(num_done, a->dataset.len, elapsed_s);
}

static int
run(struct app *a, double *ret_duration_s, struct error *err)
{
    bool bar = !a->config.disable_tqdm && isatty(STDERR_FILENO);
    struct client_run args = {
        .model = sent_model(a),
        .dataset = &a->dataset,
        .schedule = &a->schedule,
        .replies = a->replies,
        .on_progress = bar ? on_progress : NULL,
        .arg = a,
    };
    struct buf preamble = {0};
    report_preamble(&a->config, &preamble);
    print(&preamble, stdout);
    buf_release(&preamble);
    int e = client_run(a->client, &args, ret_duration_s, err);
    if (bar)
        progress_end();
    return e;
}

static int
report(struct app *a, double duration_s, struct error *err)
{
    struct report r = {
        .config = &a->config,
        .model = a->model,
        .metrics = &a->metrics,
        .replies = a->replies,
        .num_replies = a->dataset.len,
    };
    struct buf text = {0}, path = {0};
    time_t now = time(NULL);
    int e = 0;
    localtime_r(&now, &r.date);
    metrics_init(&a->metrics, a->replies, a->dataset.len, duration_s);
    report_failures(&r, &text);
    print(&text, stderr);
    buf_clear(&text);
    report_table(&r, &text);
    print(&text, stdout);
    if (a->config.save_result) {
        report_file_name(&r, &path);
        e = report_save(&r, buf_bytes(&path), err);
    }
    if (e == 0 && (a->metrics.failed || text.failed))
        e = error_set(err, ERR_NOMEM, "out of memory: figures are missing");
    buf_release(&text);
    buf_release(&path);
    return e;
}

static int
benchmark(struct app *a, struct error *err)
{
    double duration_s;
    int e = make_prompts(a, err);
    if (e == 0)
        e = make_replies(a, err);
    if (e == 0)
        e = client_new(&a->config, &a->client, err);
    if (e == 0)
        e = find_model(a, err);
    if (e == 0)
        e = check_ready(a, err);
    if (e == 0)
        e = run(a, &duration_s, err);
    return e == 0 ? report(a, duration_s, err) : e;
}

static void
release(struct app *a)
{
    client_free(a->client);
    for (size_t i = 0; a->replies != NULL && i < a->dataset.len; i++)
        reply_release(&a->replies[i]);
    free(a->replies);
    metrics_release(&a->metrics);
    dataset_release(&a->dataset);
    schedule_release(&a->schedule);
    free(a->model);
    option_release(&config_table, &a->config);
}

int
main(int argc, char **argv)
{
    struct app a = {0};
    struct error err = {0};
    int status = EXIT_SUCCESS;
    int e = read_options(&a.config, argc, argv, &err);
    if (e < 0) {
        fprintf(stderr, "loadgen: %s\n", err.text);
        status = EXIT_WRONG_OPTION;
        goto out;
    }
    if (answer_about_self(&a.config))
        goto out;
    signal(SIGPIPE, SIG_IGN);
    raise_descriptor_limit();
    e = make_schedule(&a, &err);
    if (e == 0 && a.config.print_schedule) {
        print_schedule(&a.schedule);
        goto out;
    }
    if (e == 0)
        e = benchmark(&a, &err);
    if (e < 0)
        fprintf(stderr, "loadgen: %s\n", err.text);
    if (e < 0 || a.metrics.num_succeeded == 0)
        status = EXIT_NOTHING_DONE;
out:
    release(&a);
    return status;
}
