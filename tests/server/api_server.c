/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/server/api_server.h"

#include "tests/unit/tokenizer_fixture.h"

#include <math.h>
#include <pthread.h>
#include <semaphore.h>

struct api_thread {
    pthread_t id;
    uv_loop_t loop;
    uv_async_t command;
    struct http_server *http;
    struct api_server *server;     /* borrowed */
    sem_t done;
    void (*fn)(struct app *a);
    bool stop;
    uv_timer_t wait_idle;
};

/* ---- the tokenizer ------------------------------------------------------- */

static struct tokenizer *tokenizer;

const struct tokenizer *
api_tokenizer(void)
{
    static const struct fixture f = {
        .byte_level = true,
        .added = "[{\"id\":256,\"content\":\"<|end|>\",\"special\":true},"
                 "{\"id\":257,\"content\":\"<|other_end|>\",\"special\":true},"
                 "{\"id\":258,\"content\":\"<|mark|>\",\"special\":true}]",
    };
    struct error err;
    if (tokenizer == NULL) {
        int rc = fixture_load(&f, &tokenizer, &err);
        ASSERT(rc == 0);
    }
    return tokenizer;
}

void
api_tokenizer_release(void)
{
    tokenizer_free(tokenizer);
    tokenizer = NULL;
}

/* ---- the server's thread ------------------------------------------------- */

struct app_config
api_server_config(void)
{
    static const char *const names[] = {"fake", "org/alias"};
    struct app_config c;
    app_config_default(&c);
    c.version = "1.2.3";
    c.served_model_names = names;
    c.num_served_model_names = ARRAY_SIZE(names);
    c.model_root = "/models/fake";
    c.access_log = false;
    return c;
}

struct fake_engine_config
api_server_engine_config(void)
{
    return (struct fake_engine_config){
        .max_model_len = API_MAX_LEN,
        .vocab_size = API_VOCAB,
        .max_num_seqs = 64,
        .eos_token_ids = {API_EOS, API_OTHER_EOS},
        .num_eos_token_ids = 2,
        .queue_size = 256,
        .step_us = 200,
        .default_temperature = NAN,
    };
}

/* All is aborted; the engine's last events are awaited, then everything closes. */
static void
on_wait_idle(uv_timer_t *timer)
{
    struct api_thread *t = timer->data;
    struct app *a = &t->server->app;
    if (!app_is_idle(a))
        return;
    http_server_stop(t->http);
    app_close(a);
    uv_close((uv_handle_t *)&t->wait_idle, NULL);
    uv_close((uv_handle_t *)&t->command, NULL);
}

static void
on_command(uv_async_t *command)
{
    struct api_thread *t = command->data;
    if (t->fn != NULL) {
        t->fn(&t->server->app);
        t->fn = NULL;
    }
    if (t->stop) {
        app_drain(&t->server->app);
        app_abort_all(&t->server->app);
        uv_timer_start(&t->wait_idle, on_wait_idle, 0, 2);
        t->stop = false;
    }
    sem_post(&t->done);
}

static void *
run_loop(void *arg)
{
    struct api_thread *t = arg;
    uv_run(&t->loop, UV_RUN_DEFAULT);
    int rc = uv_loop_close(&t->loop);
    ASSERT(rc == 0);
    return NULL;
}

static void
make_ready(struct app *a)
{
    struct error err;
    struct api_server *s = container_of(a, struct api_server, app);
    int rc = app_set_ready(a, s->engine, tokenizer, &err);
    ASSERT(rc == 0);
}

static void
start_http(struct api_server *s, struct api_thread *t)
{
    struct error err;
    struct http_config h = {
        .host = "127.0.0.1",
        .listen_fd = -1,
        .max_connections = 200,
        .max_body_bytes = 4 << 20,
        .max_header_bytes = 16384,
        .max_pending_bytes = 1 << 20,
        .head_timeout_ms = 10000,
        .body_timeout_ms = 10000,
        .idle_timeout_ms = 60000,
    };
    int rc = http_server_start(&t->loop, &h, &app_http_handlers, &s->app, &t->http, &err);
    if (rc < 0)
        fprintf(stderr, "%s\n", err.text);
    ASSERT(rc == 0);
    s->port = http_server_port(t->http);
    app_set_http(&s->app, t->http);
}

void
api_server_start(struct api_server *s, const struct app_config *cfg,
                 const struct fake_engine_config *engine, bool ready)
{
    struct error err;
    struct api_thread *t = calloc(1, sizeof *t);
    ASSERT(t != NULL);
    *s = (struct api_server){.thread = t};
    t->server = s;
    api_tokenizer();
    uv_loop_init(&t->loop);
    uv_async_init(&t->loop, &t->command, on_command);
    uv_timer_init(&t->loop, &t->wait_idle);
    t->command.data = t->wait_idle.data = t;
    sem_init(&t->done, 0, 0);
    int rc = app_init(&s->app, &t->loop, cfg, &err);
    ASSERT(rc == 0);
    start_http(s, t);
    struct fake_engine_config e = *engine;
    e.wake = app_wake;
    e.wake_arg = &s->app;
    fake_engine_open(&e, &s->engine);
    if (ready)
        make_ready(&s->app);
    pthread_create(&t->id, NULL, run_loop, t);
}

void
api_server_call(struct api_server *s, void (*fn)(struct app *a))
{
    s->thread->fn = fn;
    uv_async_send(&s->thread->command);
    sem_wait(&s->thread->done);
}

void
api_server_set_ready(struct api_server *s)
{
    api_server_call(s, make_ready);
}

bool
api_server_wait_inside(struct api_server *s, int64_t n)
{
    for (int i = 0; i < 3000; i++) {
        if (fake_engine_num_inside(s->engine) == n)
            return true;
        usleep(1000);
    }
    return false;
}

void
api_server_stop(struct api_server *s)
{
    fake_engine_pause(s->engine, false);
    s->thread->stop = true;
    uv_async_send(&s->thread->command);
    sem_wait(&s->thread->done);
    pthread_join(s->thread->id, NULL);
    engine_close(s->engine);
    app_release(&s->app);
    sem_destroy(&s->thread->done);
    free(s->thread);
}

/* ---- client -------------------------------------------------------------- */

struct api_reply
api_request(int port, const char *method, const char *path, const char *headers,
            const char *body)
{
    struct api_reply reply = {0};
    struct buf text = {0};
    struct raw r;
    buf_printf(&text, "%s %s HTTP/1.1\r\nHost: test\r\nConnection: close\r\n%s", method, path,
               headers);
    if (body != NULL)
        buf_printf(&text, "Content-Length: %zu\r\n", strlen(body));
    buf_printf(&text, "\r\n%s", body == NULL ? "" : body);
    raw_open(&r, port);
    raw_send(&r, text.data, text.len);
    reply.status = raw_read(&r, 15000, strcmp(method, "HEAD") == 0, &reply.raw);
    raw_close(&r);
    buf_release(&text);
    if (reply.raw.body.len > 0)
        reply.json = json_loadb(reply.raw.body.data, reply.raw.body.len, JSON_ALLOW_NUL, NULL);
    return reply;
}

struct api_reply
api_post(int port, const char *path, const char *body)
{
    return api_request(port, "POST", path, "Content-Type: application/json\r\n", body);
}

struct api_reply
api_get(int port, const char *path)
{
    return api_request(port, "GET", path, "", NULL);
}

void
api_reply_release(struct api_reply *r)
{
    raw_reply_release(&r->raw);
    json_decref(r->json);
}

const char *
api_header(const struct api_reply *r, const char *name)
{
    static char value[512];
    char wanted[80];
    value[0] = '\0';
    snprintf(wanted, sizeof wanted, "\r\n%s: ", name);
    const char *at = r->raw.head.data == NULL ? NULL : strcasestr(r->raw.head.data, wanted);
    if (at != NULL)
        snprintf(value, sizeof value, "%.*s", (int)strcspn(at + strlen(wanted), "\r"),
                 at + strlen(wanted));
    return value;
}

const json_t *
api_at(const json_t *v, const char *path)
{
    while (v != NULL && *path != '\0') {
        char key[64];
        size_t len = strcspn(path, ".");
        snprintf(key, sizeof key, "%.*s", (int)len, path);
        v = json_is_array(v) ? json_array_get(v, (size_t)atoi(key)) : json_object_get(v, key);
        path += len + (path[len] == '.');
    }
    return v;
}

const char *
api_text(const struct api_reply *r, const char *path)
{
    const char *text = json_string_value(api_at(r->json, path));
    return text == NULL ? "(none)" : text;
}

int64_t
api_int(const struct api_reply *r, const char *path)
{
    const json_t *v = api_at(r->json, path);
    return json_is_integer(v) ? json_integer_value(v) : INT64_MIN;
}

/* ---- streams ------------------------------------------------------------- */

static void
add_event(struct api_events *e, const char *line, size_t len)
{
    if (len > 0 && line[0] == ':') {
        e->num_comments++;
        return;
    }
    if (len < 6 || memcmp(line, "data: ", 6) != 0 || memchr(line, '\n', len) != NULL) {
        e->well_formed = false;
        return;
    }
    e->items = realloc(e->items, (e->len + 1) * sizeof *e->items);
    e->json = realloc(e->json, (e->len + 1) * sizeof *e->json);
    ASSERT(e->items != NULL && e->json != NULL);
    e->items[e->len] = strndup(line + 6, len - 6);
    e->json[e->len] = json_loads(e->items[e->len], 0, NULL);
    e->done = strcmp(e->items[e->len], "[DONE]") == 0;
    e->well_formed = e->well_formed && (e->done || e->json[e->len] != NULL);
    e->len++;
}

struct api_events
api_events_parse(const char *body, size_t len)
{
    struct api_events e = {.well_formed = true};
    const char *p = body, *end = body + len;
    while (p < end) {
        const char *stop = memmem(p, (size_t)(end - p), "\n\n", 2);
        if (stop == NULL) {
            e.well_formed = false;
            break;
        }
        add_event(&e, p, (size_t)(stop - p));
        p = stop + 2;
    }
    return e;
}

void
api_events_release(struct api_events *e)
{
    for (size_t i = 0; i < e->len; i++) {
        free(e->items[i]);
        json_decref(e->json[i]);
    }
    free(e->items);
    free(e->json);
}

struct api_events
api_stream(int port, const char *body)
{
    struct api_reply r = api_post(port, "/v1/completions", body);
    struct api_events e = {0};
    if (r.status == 200 && r.raw.complete)
        e = api_events_parse(r.raw.body.data, r.raw.body.len);
    api_reply_release(&r);
    return e;
}

char *
api_events_text(const struct api_events *e, int64_t choice)
{
    struct buf b = {0};
    for (size_t i = 0; i < e->len; i++) {
        const json_t *c = api_at(e->json[i], "choices.0");
        if (c != NULL && json_integer_value(json_object_get(c, "index")) == choice)
            buf_puts(&b, json_string_value(json_object_get(c, "text")));
    }
    return b.data == NULL ? strdup("") : buf_take(&b, NULL);
}
