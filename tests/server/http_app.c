/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/server/http_app.h"

#include "util/buf.h"

#include <pthread.h>

#define TICK_MS 2

struct http_app_loop {
    struct http_app *app;
    struct http_config cfg;
    struct http_server *server;
    uv_loop_t loop;
    uv_async_t stop;
    uv_timer_t tick;
    struct list jobs;  /* of struct job */
    pthread_t thread;
    uv_sem_t started;
};

/* What an answer still has to do. */
struct job {
    struct list node;
    struct http_exchange *x;
    enum { JOB_DELAY, JOB_HOLD, JOB_STREAM, JOB_FLOOD, JOB_CUT } kind;
    uint64_t next_ms, every_ms;
    int at, num;
    int size;
};

/* On the loop: by a signal from http_app_stop, or from the handler of /bye. */
static void
on_stop(uv_async_t *a)
{
    struct http_app_loop *l = a->data;
    uv_close((uv_handle_t *)&l->tick, NULL);
    uv_close((uv_handle_t *)&l->stop, NULL);
    http_server_stop(l->server);
}

static long
query_number(const struct http_exchange *x, const char *name, long otherwise)
{
    char key[32];
    snprintf(key, sizeof key, "%s=", name);
    const char *found = strstr(http_query(x), key);
    return found == NULL ? otherwise : atol(found + strlen(key));
}

static bool
path_is(const struct http_exchange *x, const char *path)
{
    return strcmp(http_path(x), path) == 0;
}

static bool
on_headers(void *cls, struct http_exchange *x)
{
    static const char *const known[] = {"/now",    "/echo",  "/target", "/delay", "/hold", "/big",
                                        "/stream", "/flood", "/cut",    "/quiet", "/bye"};
    (void)cls;
    if (path_is(x, "/deny")) {
        http_add_header(x, "WWW-Authenticate", "Bearer");
        http_reply(x, 401, "text/plain", "no\n", 3);
        return false;
    }
    for (size_t i = 0; i < ARRAY_SIZE(known); i++) {
        if (path_is(x, known[i]))
            return true;
    }
    http_reply(x, 404, "text/plain", "nothing here\n", 13);
    return false;
}

static struct job *
job_new(struct http_app_loop *l, struct http_exchange *x, int kind)
{
    struct job *j = calloc(1, sizeof *j);
    ASSERT(j != NULL);
    j->x = x;
    j->kind = kind;
    j->num = (int)query_number(x, "n", 1000000);
    j->size = (int)query_number(x, "size", 16);
    j->every_ms = (uint64_t)query_number(x, "ms", 0);
    j->next_ms = uv_now(&l->loop) + j->every_ms;
    http_set_user(x, j);
    list_append(&l->jobs, &j->node);
    return j;
}

static void
on_request(void *cls, struct http_exchange *x)
{
    struct http_app_loop *l = cls;
    atomic_fetch_add(&l->app->num_requests, 1);
    size_t len;
    const char *body = http_body(x, &len);
    ASSERT(body[len] == '\0');
    if (path_is(x, "/echo")) {
        http_reply(x, 200, "application/octet-stream", body, len);
    } else if (path_is(x, "/target")) {
        char text[512];
        int n = snprintf(text, sizeof text, "%s %s?%s", http_method(x), http_path(x),
                         http_query(x));
        http_reply(x, 200, "text/plain", text, MIN((size_t)n, sizeof text - 1));
    } else if (path_is(x, "/delay")) {
        job_new(l, x, JOB_DELAY);
    } else if (path_is(x, "/hold")) {
        job_new(l, x, JOB_HOLD);
    } else if (path_is(x, "/big")) {
        size_t size = (size_t)query_number(x, "size", 1000);
        char *text = malloc(size);
        ASSERT(text != NULL);
        memset(text, 'b', size);
        http_reply(x, 200, "text/plain", text, size);
        free(text);
    } else if (path_is(x, "/stream") || path_is(x, "/flood") || path_is(x, "/cut")) {
        job_new(l, x, path_is(x, "/stream") ? JOB_STREAM
                      : path_is(x, "/flood") ? JOB_FLOOD
                                             : JOB_CUT);
        http_add_header(x, "Cache-Control", "no-cache");
        http_stream_start(x, 200, "text/event-stream");
    } else {
        http_reply(x, 200, "text/plain", "hello\n", 6);
        if (path_is(x, "/quiet"))
            http_server_quiesce(l->server);
        if (path_is(x, "/bye"))
            on_stop(&l->stop);
    }
}

static void
on_close(void *cls, struct http_exchange *x, enum http_end how)
{
    struct http_app_loop *l = cls;
    struct job *j = http_user(x);
    atomic_fetch_add(&l->app->num_ended[how], 1);
    if (j != NULL) {
        list_remove(&j->node);
        free(j);
    }
}

static void
on_refused(void *cls, const char *peer, int status, const char *reason)
{
    struct http_app_loop *l = cls;
    ASSERT(peer[0] != '\0' && reason[0] != '\0');
    atomic_store(&l->app->refused_status, status);
    atomic_fetch_add(&l->app->num_refused, 1);
}

static void
job_stream(struct job *j)
{
    char event[4096];
    memset(event, 'e', sizeof event);
    int n = snprintf(event, sizeof event, "data: %06d ", j->at);
    event[n] = 'e';
    size_t size = MIN((size_t)j->size + 16, sizeof event);
    memcpy(event + size - 2, "\n\n", 2);
    j->at++;
    if (http_stream_write(j->x, event, size) && j->at == j->num)
        http_stream_end(j->x);
}

static void
job_flood(struct job *j)
{
    char *text = malloc((size_t)j->size);
    ASSERT(text != NULL);
    memset(text, 'f', (size_t)j->size);
    http_stream_write(j->x, text, (size_t)j->size);
    free(text);
}

static void
job_step(struct job *j, uint64_t now_ms)
{
    if (now_ms < j->next_ms)
        return;
    j->next_ms = now_ms + j->every_ms;
    switch (j->kind) {
    case JOB_HOLD: break;
    case JOB_DELAY:
        j->next_ms = UINT64_MAX;
        http_reply(j->x, 200, "text/plain", "late\n", 5);
        break;
    case JOB_STREAM:
        if (j->at < j->num)
            job_stream(j);
        break;
    case JOB_FLOOD: job_flood(j); break;
    case JOB_CUT:
        if (j->at < 2)
            job_stream(j);
        else
            http_abort(j->x);
        break;
    }
}

static void
on_tick(uv_timer_t *t)
{
    struct http_app_loop *l = t->data;
    list_for_each_safe(i, next, &l->jobs)
        job_step(container_of(i, struct job, node), uv_now(&l->loop));
    http_server_flush(l->server);
    atomic_store(&l->app->num_active, http_server_active(l->server));
    atomic_store(&l->app->num_connections, http_server_connections(l->server));
}

static void *
run(void *cls)
{
    static const struct http_handlers handlers = {on_headers, on_request, on_close, on_refused};
    struct http_app_loop *l = cls;
    struct error err = {0};
    uv_loop_init(&l->loop);
    uv_async_init(&l->loop, &l->stop, on_stop);
    uv_timer_init(&l->loop, &l->tick);
    l->stop.data = l->tick.data = l;
    list_init(&l->jobs);
    if (http_server_start(&l->loop, &l->cfg, &handlers, l, &l->server, &err) != 0) {
        fprintf(stderr, "%s\n", err.text);
        abort();
    }
    l->app->port = http_server_port(l->server);
    uv_timer_start(&l->tick, on_tick, TICK_MS, TICK_MS);
    uv_sem_post(&l->started);
    uv_run(&l->loop, UV_RUN_DEFAULT);
    ASSERT(uv_loop_close(&l->loop) == 0);
    ASSERT(list_empty(&l->jobs));
    return NULL;
}

struct http_config
http_app_config(void)
{
    return (struct http_config){
        .host = "127.0.0.1",
        .listen_fd = -1,
        .max_connections = 1000,
        .max_body_bytes = 4 << 20,
        .max_header_bytes = 16384,
        .max_pending_bytes = 1 << 20,
        .head_timeout_ms = 5000,
        .body_timeout_ms = 5000,
        .idle_timeout_ms = 5000,
    };
}

void
http_app_start(struct http_app *app, const struct http_config *cfg)
{
    *app = (struct http_app){0};
    struct http_app_loop *l = calloc(1, sizeof *l);
    ASSERT(l != NULL);
    l->app = app;
    l->cfg = *cfg;
    app->loop = l;
    uv_sem_init(&l->started, 0);
    ASSERT(pthread_create(&l->thread, NULL, run, l) == 0);
    uv_sem_wait(&l->started);
}

void
http_app_stop(struct http_app *app)
{
    uv_async_send(&app->loop->stop);
    http_app_join(app);
}

void
http_app_join(struct http_app *app)
{
    struct http_app_loop *l = app->loop;
    pthread_join(l->thread, NULL);
    uv_sem_destroy(&l->started);
    int ended = 0;
    for (size_t i = 0; i < ARRAY_SIZE(app->num_ended); i++)
        ended += atomic_load(&app->num_ended[i]);
    ASSERT(ended == atomic_load(&app->num_requests));
    free(l);
}

uint64_t
http_app_cpu_ns(struct http_app *app)
{
    clockid_t clock;
    struct timespec ts;
    ASSERT(pthread_getcpuclockid(app->loop->thread, &clock) == 0);
    clock_gettime(clock, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

bool
http_app_reaches(atomic_int *counter, int want, int timeout_ms)
{
    for (int i = 0; i < timeout_ms && atomic_load(counter) < want; i++)
        usleep(1000);
    return atomic_load(counter) >= want;
}

int
http_app_settles(atomic_int *counter, int want)
{
    for (int i = 0; i < 2000 && atomic_load(counter) != want; i++)
        usleep(1000);
    return atomic_load(counter);
}
