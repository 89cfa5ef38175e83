/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/client_fixture.h"

#include <check.h>
#include <math.h>
#include <string.h>

struct server *server;
struct client *client;
struct config config;
struct error last_error;
struct reply replies[NUM_MAX];
struct client_outcome outcome;
const char *const texts[NUM_PROMPTS] = {"prompt-0", "prompt-1", "prompt-2"};
char good_text[1024];
struct server_answer scripted;

static struct prompt prompts[NUM_PROMPTS];

void
setup(void)
{
    static const char body[] = TOKEN TOKEN USAGE DONE;
    setenv("no_proxy", "*", 1);
    for (size_t i = 0; i < NUM_PROMPTS; i++)
        prompts[i] = (struct prompt){.text = (char *)texts[i], .text_bytes = strlen(texts[i]),
                                     .len = 2, .output_len = 2};
    snprintf(good_text, sizeof good_text, TYPE "Content-Length: %zu\r\n\r\n%s", strlen(body),
             body);
    ck_assert_int_eq(option_defaults(&config_table, &config, &last_error), 0);
}

void
teardown(void)
{
    client_free(client);
    server_stop(server);
    for (size_t i = 0; i < NUM_MAX; i++)
        reply_release(&replies[i]);
    samples_release(&outcome.probe_latencies_s);
    option_release(&config_table, &config);
}

void
set(const char *name, const char *value)
{
    ck_assert_msg(option_set(&config_table, &config, name, value, &last_error) == 0, "%s",
                  last_error.text);
}

void
set_number(const char *name, unsigned value)
{
    char text[16];
    snprintf(text, sizeof text, "%u", value);
    set(name, text);
}

void
start(server_answer_fn *answer)
{
    server = server_start(answer);
    set_number("port", server_port(server));
    set("request-id-prefix", "test-");
    ck_assert_msg(config_settle(&config, &last_error) == 0, "%s", last_error.text);
    ck_assert_msg(client_new(&config, &client, &last_error) == 0, "%s", last_error.text);
    ck_assert_int_eq(client_set_model(client, "model", &last_error), 0);
}

struct client_run
run_of(size_t num)
{
    ck_assert_uint_le(num, NUM_MAX);
    return (struct client_run){.prompts = prompts, .num_prompts = NUM_PROMPTS,
                               .num_requests = num, .replies = replies, .duration_s = NAN};
}

void
run(size_t num)
{
    struct client_run args = run_of(num);
    ck_assert_int_eq(client_run(client, &args, &outcome, &last_error), 0);
}

size_t
count_status(enum reply_status status)
{
    size_t num = 0;
    for (size_t i = 0; i < outcome.num_sent; i++)
        num += replies[i].status == status;
    return num;
}

size_t
count_lines(const char *request, const char *start)
{
    size_t num = 0;
    const char *end = strstr(request, "\r\n\r\n");
    for (const char *at = strstr(request, "\r\n"); at < end; at = strstr(at + 2, "\r\n"))
        num += strncasecmp(at + 2, start, strlen(start)) == 0;
    return num;
}

bool
has_line(const char *request, const char *line)
{
    const char *colon = strchr(line, ':');
    char name[64], whole[256];
    snprintf(name, sizeof name, "%.*s", (int)(colon + 1 - line), line);
    snprintf(whole, sizeof whole, "\r\n%s\r\n", line);
    return count_lines(request, name) == 1 && strstr(request, whole) != NULL;
}

struct server_answer
answer_well(struct server *s, const char *request)
{
    (void)s;
    (void)request;
    return (struct server_answer){.text = good_text, .keep_open = true};
}

struct server_answer
answer_as_scripted(struct server *s, const char *request)
{
    (void)s;
    (void)request;
    return scripted;
}

struct server_answer
answer_never(struct server *s, const char *request)
{
    (void)request;
    server_wait_stop(s);
    return (struct server_answer){0};
}
