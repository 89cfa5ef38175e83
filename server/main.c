/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The daemon's life: read options, listen, load on libuv's thread pool while
 * /health says how far it is, serve, drain on SIGTERM, end.
 *
 *   LOADING ---> SERVING ---> DRAINING ---> CLOSING ---> (loop ends)
 *      |            |             |             ^
 *      +------------+-- failure --+-------------+
 *
 * `llmd plan` prints a plan and ends.
 *
 * Exit status: 0 after a drain, 1 when something failed, 2 for a wrong option,
 * 70 when the engine died while serving (systemd starts llmd again).
 */
#include "engine/engine.h"
#include "engine/plan_report.h"
#include "engine/tokenizer/tokenizer.h"
#include "server/app.h"
#include "server/config.h"
#include "server/http.h"
#include "server/sdnotify.h"
#include "util/log.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define EXIT_USAGE 2
#define EXIT_ENGINE 70
#define TICK_MS 20
#define MAX_HEADER_BYTES (32 * 1024)
#define MAX_KEY_FILE_BYTES (1 << 20)

struct daemon {
    struct config config;
    uv_loop_t *loop;
    struct app app;
    struct http_server *http;
    struct sdnotify systemd;
    char address[300];              /* "http://127.0.0.1:8000" */

    struct engine_config engine_config;
    struct engine_progress progress;
    struct engine *engine;
    struct tokenizer *tokenizer;
    uv_work_t load;
    struct error load_error;

    uv_signal_t sigterm, sigint, sighup;
    uv_timer_t tick;
    uint64_t started_ns, drain_until_ns, status_ns, watchdog_ns;
    bool loading, draining, closing;
    int exit_code;
    struct buf keys;                /* text of --api-key-file, NUL between keys */
    const char **key_list;          /* owned; points into keys and config */
    size_t num_keys;
};

static double
seconds_since(uint64_t start_ns)
{
    return (double)(mono_ns() - start_ns) / 1e9;
}

/* ---- ending ------------------------------------------------------------- */

static void
close_all(struct daemon *d)
{
    if (d->closing)
        return;
    d->closing = true;
    if (d->http != NULL)
        http_server_stop(d->http);
    app_close(&d->app);
    uv_handle_t *handles[] = {(uv_handle_t *)&d->sigterm, (uv_handle_t *)&d->sigint,
                              (uv_handle_t *)&d->sighup, (uv_handle_t *)&d->tick};
    for (size_t i = 0; i < ARRAY_SIZE(handles); i++)
        uv_close(handles[i], NULL);
}

static void
begin_drain(struct daemon *d)
{
    d->draining = true;
    d->drain_until_ns = mono_ns() + (uint64_t)(d->config.shutdown_timeout * 1e9);
    sdnotify_send(&d->systemd, "STOPPING=1\nSTATUS=draining\nEXTEND_TIMEOUT_USEC=%llu",
                  (unsigned long long)((d->config.shutdown_timeout + 10) * 1e6));
    log_info("draining requests %lld timeout_s %.1f", (long long)d->app.num_completions,
             d->config.shutdown_timeout);
    app_drain(&d->app);
}

/* The first asks for a drain, the second for an end. */
static void
on_stop_signal(uv_signal_t *handle, int signum)
{
    struct daemon *d = handle->data;
    if (d->loading) {
        /* Nobody is being served, and a load cannot be interrupted. */
        log_info("stopping signal %d while loading", signum);
        sdnotify_send(&d->systemd, "STOPPING=1");
        _exit(0);
    }
    if (!d->draining) {
        begin_drain(d);
        return;
    }
    log_info("stopping at once signal %d requests %lld", signum,
             (long long)d->app.num_completions);
    d->drain_until_ns = 0;
    app_abort_all(&d->app);
}

static void
on_reload_signal(uv_signal_t *handle, int signum)
{
    (void)handle;
    (void)signum;
    log_info("SIGHUP has nothing to reload");
}

/* The app has told everybody; what is left is to end, soon. */
static void
end_after_failure(struct daemon *d)
{
    d->exit_code = EXIT_ENGINE;
    d->draining = true;
    d->drain_until_ns = mono_ns() + 2000000000u;
    sdnotify_send(&d->systemd, "STOPPING=1\nSTATUS=%s", d->app.failure);
}

/* ---- telling systemd ---------------------------------------------------- */

static int
loaded_percent(const struct engine_progress *p)
{
    uint64_t total = atomic_load(&p->total_bytes), done = atomic_load(&p->done_bytes);
    return total == 0 ? 0 : (int)(done * 100 / total);
}

static void
tell_status(struct daemon *d, uint64_t now)
{
    if (now - d->status_ns < 1000000000u)
        return;
    d->status_ns = now;
    if (d->loading)
        sdnotify_send(&d->systemd, "STATUS=%s, %d %%", atomic_load(&d->progress.phase),
                      loaded_percent(&d->progress));
    else
        sdnotify_send(&d->systemd, "STATUS=%s %s, %lld requests",
                      d->draining ? "draining" : "serving", d->address,
                      (long long)d->app.num_completions);
}

/* Only while the loop turns (we are here) and the worker's heart beats. */
static void
feed_watchdog(struct daemon *d, uint64_t now)
{
    const char *why;
    if (d->systemd.watchdog_ns == 0 || now - d->watchdog_ns < d->systemd.watchdog_ns / 3)
        return;
    d->watchdog_ns = now;
    if (d->loading || app_engine_is_healthy(&d->app, &why))
        sdnotify_send(&d->systemd, "WATCHDOG=1");
}

static void
on_tick(uv_timer_t *handle)
{
    struct daemon *d = handle->data;
    uint64_t now = mono_ns();
    tell_status(d, now);
    feed_watchdog(d, now);
    if (d->app.state == APP_FAILED && d->exit_code == 0)
        end_after_failure(d);
    if (!d->draining)
        return;
    if (now >= d->drain_until_ns)
        app_abort_all(&d->app);
    if (app_is_idle(&d->app))
        close_all(d);
}

/* ---- loading ------------------------------------------------------------ */

/* On libuv's thread pool. */
static void
load_work(uv_work_t *work)
{
    struct daemon *d = container_of(work, struct daemon, load);
    atomic_store(&d->progress.phase, "loading the tokenizer");
    if (tokenizer_load(d->config.model, &d->tokenizer, &d->load_error) == 0)
        engine_open(&d->engine_config, &d->engine, &d->load_error);
}

static void
log_loaded(const struct daemon *d)
{
    const struct engine_info *i = engine_info(d->engine);
    if (i->device_note[0] != '\0')
        log_info("no GPU is used: %s", i->device_note);
    if (i->num_unused_tensors > 0)
        log_warn("ignored tensors %lld first '%s'", (long long)i->num_unused_tensors,
                 i->unused_tensor);
    log_info("model %s architecture %s parameters %.1fM dtype %s device \"%s\"",
             app_model_name(&d->app), i->architecture, (double)i->num_parameters / 1e6, i->dtype,
             i->device);
    log_info("memory %s", i->memory_plan);
    log_info("limits max_model_len %d max_num_seqs %d max_num_batched_tokens %d",
             i->max_model_len, i->max_num_seqs, i->max_num_batched_tokens);
}

static void
load_done(uv_work_t *work, int status)
{
    struct daemon *d = container_of(work, struct daemon, load);
    (void)status;
    d->loading = false;
    if (d->engine == NULL
        || app_set_ready(&d->app, d->engine, d->tokenizer, &d->load_error) != 0) {
        log_error("cannot serve '%s': %s", d->config.model, d->load_error.text);
        sdnotify_send(&d->systemd, "STATUS=%s", d->load_error.text);
        d->exit_code = 1;
        close_all(d);
        return;
    }
    log_loaded(d);
    log_info("ready url %s seconds %.2f", d->address, seconds_since(d->started_ns));
    sdnotify_send(&d->systemd, "READY=1\nSTATUS=serving %s", d->address);
}

/* ---- starting ----------------------------------------------------------- */

static int
read_key_file(struct daemon *d, struct error *err)
{
    const char *path = d->config.api_key_file;
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return error_set(err, ERR_IO, "option '--api-key-file': cannot open '%s': %s", path,
                         strerror(errno));
    char line[1024];
    while (fgets(line, sizeof line, f) != NULL && d->keys.len < MAX_KEY_FILE_BYTES) {
        char *start = line + strspn(line, " \t");
        start[strcspn(start, "\r\n")] = '\0';
        size_t len = strlen(start);
        while (len > 0 && (start[len - 1] == ' ' || start[len - 1] == '\t'))
            start[--len] = '\0';
        if (len > 0 && start[0] != '#')
            buf_append(&d->keys, start, len + 1);
    }
    bool failed = ferror(f) != 0;
    fclose(f);
    if (failed || d->keys.failed)
        return error_set(err, ERR_IO, "option '--api-key-file': cannot read '%s'", path);
    if (d->keys.len == 0)
        return error_set(err, ERR_INVALID, "option '--api-key-file': '%s' has no key", path);
    return 0;
}

/* Keys of the options and of the file, in one list. */
static int
collect_keys(struct daemon *d, struct error *err)
{
    if (d->config.api_key_file != NULL) {
        int rc = read_key_file(d, err);
        if (rc < 0)
            return rc;
    }
    size_t most = d->config.api_key.len + d->keys.len;
    d->key_list = calloc(most + 1, sizeof *d->key_list);
    if (d->key_list == NULL)
        return error_set(err, ERR_NOMEM, "out of memory");
    for (size_t i = 0; i < d->config.api_key.len; i++)
        d->key_list[d->num_keys++] = d->config.api_key.items[i];
    for (size_t at = 0; at < d->keys.len; at += strlen(d->keys.data + at) + 1)
        d->key_list[d->num_keys++] = d->keys.data + at;
    return 0;
}

static int
init_app(struct daemon *d, struct error *err)
{
    const struct config *c = &d->config;
    struct app_config a;
    app_config_default(&a);
    a.version = PACKAGE_VERSION;
    a.served_model_names = (const char *const *)c->served_model_name.items;
    a.num_served_model_names = c->served_model_name.len;
    if (a.num_served_model_names == 0) {
        a.served_model_names = (const char *const *)&c->model;
        a.num_served_model_names = 1;
    }
    a.model_root = c->model;
    a.api_keys = d->key_list;
    a.num_api_keys = d->num_keys;
    a.guard_metrics = c->guard_metrics;
    a.allowed_origins = (const char *const *)c->allowed_origins.items;
    a.num_allowed_origins = c->allowed_origins.len;
    a.max_logprobs = c->max_logprobs;
    a.max_prompts = c->max_prompts;
    a.max_n = c->max_n;
    a.max_num_queued_reqs = c->max_num_queued_reqs;
    a.max_num_queued_tokens = c->max_num_queued_tokens;
    a.generation_config_vllm = c->generation_config == CONFIG_GENERATION_VLLM;
    a.request_timeout_ms = (int64_t)(c->request_timeout * 1e3);
    a.sse_keep_alive_ms = (int64_t)(c->sse_keep_alive_interval * 1e3);
    a.enable_prompt_tokens_details = c->enable_prompt_tokens_details;
    a.force_include_usage = c->enable_force_include_usage;
    a.return_tokens_as_token_ids = c->return_tokens_as_token_ids;
    a.access_log = c->access_log;
    return app_init(&d->app, d->loop, &a, err);
}

static int
listen_http(struct daemon *d, int inherited_fd, struct error *err)
{
    const struct config *c = &d->config;
    struct http_config h = {
        .host = c->host,
        .port = (int)c->port,
        .uds = c->uds,
        .listen_fd = inherited_fd,
        .max_connections = (int)c->max_connections,
        .max_body_bytes = (size_t)c->max_body_bytes,
        .max_header_bytes = MAX_HEADER_BYTES,
        .max_pending_bytes = (size_t)c->max_pending_bytes,
        .head_timeout_ms = (int)(c->head_timeout * 1e3),
        .body_timeout_ms = (int)(c->body_timeout * 1e3),
        .idle_timeout_ms = (int)(c->idle_timeout * 1e3),
    };
    int rc = http_server_start(d->loop, &h, &app_http_handlers, &d->app, &d->http, err);
    if (rc < 0)
        return rc;
    app_set_http(&d->app, d->http);
    if (c->uds != NULL)
        snprintf(d->address, sizeof d->address, "unix:%s", c->uds);
    else
        snprintf(d->address, sizeof d->address,
                 strchr(c->host, ':') != NULL ? "http://[%s]:%d" : "http://%s:%d", c->host,
                 http_server_port(d->http));
    return 0;
}

static void
plan_engine(struct daemon *d)
{
    const struct config *c = &d->config;
    engine_options_apply(&c->engine, &d->engine_config);
    d->engine_config.model_dir = c->model;
    d->engine_config.queue_size = c->max_num_queued_reqs;
    d->engine_config.max_logprobs = c->max_logprobs;
    d->engine_config.progress = &d->progress;
    d->engine_config.wake = app_wake;
    d->engine_config.wake_arg = &d->app;
    atomic_store(&d->progress.phase, "starting");
    app_set_progress(&d->app, &d->progress);
}

/* As many files as connections, and some. */
static void
raise_file_limit(int64_t connections)
{
    struct rlimit r;
    rlim_t want = (rlim_t)connections + 256;
    if (getrlimit(RLIMIT_NOFILE, &r) != 0 || r.rlim_cur >= want)
        return;
    r.rlim_cur = MIN(want, r.rlim_max);
    setrlimit(RLIMIT_NOFILE, &r);
    if (r.rlim_cur < want)
        log_warn("open files are limited to %llu, below max-connections %lld",
                 (unsigned long long)r.rlim_cur, (long long)connections);
}

static void
start_handles(struct daemon *d)
{
    uv_signal_t *stops[] = {&d->sigterm, &d->sigint};
    const int numbers[] = {SIGTERM, SIGINT};
    for (size_t i = 0; i < ARRAY_SIZE(stops); i++) {
        uv_signal_init(d->loop, stops[i]);
        stops[i]->data = d;
        uv_signal_start(stops[i], on_stop_signal, numbers[i]);
    }
    uv_signal_init(d->loop, &d->sighup);
    uv_signal_start(&d->sighup, on_reload_signal, SIGHUP);
    uv_timer_init(d->loop, &d->tick);
    d->tick.data = d;
    uv_timer_start(&d->tick, on_tick, TICK_MS, TICK_MS);
}

static int
serve(struct daemon *d, int inherited_fd, struct error *err)
{
    int rc = collect_keys(d, err);
    if (rc == 0)
        rc = init_app(d, err);
    if (rc < 0)
        return rc;
    raise_file_limit(d->config.max_connections);
    rc = listen_http(d, inherited_fd, err);
    if (rc == 0) {
        plan_engine(d);
        start_handles(d);
        log_info("loading model '%s' url %s", d->config.model, d->address);
        d->loading = true;
        uv_queue_work(d->loop, &d->load, load_work, load_done);
    } else {
        app_close(&d->app);
    }
    uv_run(d->loop, UV_RUN_DEFAULT);
    engine_close(d->engine);
    tokenizer_free(d->tokenizer);
    app_release(&d->app);
    return rc;
}

/* Whether standard error is what systemd connected to the journal: the
 * variable holds its device and inode. */
static bool
stderr_is_journal(const char *journal_stream)
{
    unsigned long long dev, ino;
    struct stat st;
    return journal_stream != NULL && sscanf(journal_stream, "%llu:%llu", &dev, &ino) == 2
           && fstat(STDERR_FILENO, &st) == 0 && st.st_dev == dev && st.st_ino == ino;
}

static int
run(struct daemon *d)
{
    struct error err = {0};
    sdnotify_init(&d->systemd, getenv("NOTIFY_SOCKET"), getenv("WATCHDOG_USEC"));
    int fd = sdnotify_listen_fd(getenv("LISTEN_PID"), getenv("LISTEN_FDS"));
    d->loop = uv_default_loop();
    d->started_ns = mono_ns();
    if (serve(d, fd, &err) != 0) {
        log_error("%s", err.text);
        d->exit_code = 1;
    }
    uv_loop_close(d->loop);
    sdnotify_release(&d->systemd);
    free(d->key_list);
    buf_release(&d->keys);
    log_info("stopped status %d", d->exit_code);
    return d->exit_code;
}

/* llmd plan */
static int
plan(const struct config *c)
{
    struct buf text = {0};
    struct error err = {0};
    bool fits = false;
    const struct plan_request request = {
        .dir = c->model,
        .options = &c->engine,
        .gpu = c->gpu,
        .context = c->context,
        .json = c->json,
    };
    if (plan_report(&request, &text, &fits, &err) < 0)
        fprintf(stderr, "llmd: %s\n", err.text);
    else
        fputs(buf_bytes(&text), stdout);
    buf_release(&text);
    return fits ? 0 : 1;
}

/* --help, --version and their like: true when there was one. */
static bool
print_papers(const struct config *c)
{
    struct buf text = {0};
    if (c->help)
        option_help(&config_table, &text);
    else if (c->version)
        buf_puts(&text, "llmd " PACKAGE_VERSION "\n");
    else if (c->man)
        option_man_page(&config_table, 8, &text);
    else if (c->print_config)
        option_example_file(&config_table, &text);
    bool any = buf_len(&text) > 0;
    fputs(buf_bytes(&text), stdout);
    buf_release(&text);
    return any;
}

int
main(int argc, char **argv)
{
    static struct daemon d;
    const struct cache_environment cache = {getenv("CACHE_DIRECTORY"), getenv("XDG_CACHE_HOME"),
                                            getenv("HOME")};
    struct error err = {0};
    int code = 0;
    signal(SIGPIPE, SIG_IGN);
    if (config_read(&d.config, argc, argv, &err) != 0) {
        fprintf(stderr, "llmd: %s\ntry 'llmd --help'\n", err.text);
        code = EXIT_USAGE;
    } else if (!print_papers(&d.config)) {
        log_init((enum log_level)d.config.log_level, stderr_is_journal(getenv("JOURNAL_STREAM")));
        if (d.config.check_config)
            puts("the configuration is good");
        else if (d.config.plan)
            code = plan(&d.config);
        else if (engine_options_find_cache(&d.config.engine, &cache, &err) == 0)
            code = run(&d);
        else {
            log_error("%s", err.text);
            code = EXIT_FAILURE;
        }
    }
    config_release(&d.config);
    return code;
}
