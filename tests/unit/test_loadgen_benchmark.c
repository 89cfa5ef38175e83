/* SPDX-License-Identifier: Apache-2.0 */
/* A whole benchmark, from options to the file of results. With AddressSanitizer
 * this also sees what is not freed. */
#include "loadgen/benchmark.h"
#include "tests/unit/loadgen_server.h"
#include "tests/unit/main.h"

#include <check.h>
#include <jansson.h>
#include <unistd.h>

#define ANSWER                                                                  \
    "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"                               \
    "data: {\"choices\": [{\"index\": 0, \"text\": \" a\"}]}\n\ndata: [DONE]\n\n"
#define ODD_ONE "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"

static struct server *server;
static struct config config;
static struct error error;
static char dir[] = "/tmp/loadgen-test-XXXXXX", path[64];

static void
set(const char *name, const char *value)
{
    ck_assert_msg(option_set(&config_table, &config, name, value, &error) == 0, "%s", error.text);
}

/* The second request fails, without a text. */
static struct server_answer
answer(struct server *s, const char *request)
{
    (void)s;
    bool is_odd = strstr(request, "x-request-id: test-1\r\n") != NULL;
    return (struct server_answer){.text = is_odd ? ODD_ONE : ANSWER};
}

static void
setup(void)
{
    char port[16];
    setenv("no_proxy", "*", 1);
    server = server_start(answer);
    snprintf(port, sizeof port, "%u", server_port(server));
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/result.json", dir);
    ck_assert_int_eq(option_defaults(&config_table, &config, &error), 0);
    set("port", port);
    set("model", "m");
    set("num-prompts", "3");
    set("random-input-len", "4");
    set("request-id-prefix", "test-");
    set("save-result", "true");
    set("save-detailed", "true");
    set("result-filename", path);
    ck_assert_msg(config_settle(&config, &error) == 0, "%s", error.text);
}

static void
teardown(void)
{
    option_release(&config_table, &config);
    server_stop(server);
    unlink(path);
    rmdir(dir);
}

START_TEST(test_benchmark_saves_each_reply)
{
    static const char *const errors[] = {"", "HTTP 500", ""};
    struct benchmark *b;
    struct metrics metrics;
    ck_assert_msg(benchmark_new(&config, &b, &error) == 0, "%s", error.text);
    ck_assert_msg(benchmark_run(b, &metrics, NULL, &error) == 0, "%s", error.text);
    ck_assert_uint_eq(metrics.num_succeeded, 2);
    ck_assert_uint_eq(metrics.num_failed, 1);
    metrics_release(&metrics);
    benchmark_free(b);

    json_t *saved = json_load_file(path, 0, NULL);
    ck_assert_ptr_nonnull(saved);
    ck_assert_int_eq(json_integer_value(json_object_get(saved, "completed")), 2);
    for (size_t i = 0; i < ARRAY_SIZE(errors); i++)
        ck_assert_str_eq(json_string_value(json_array_get(json_object_get(saved, "errors"), i)),
                         errors[i]);
    json_decref(saved);
}
END_TEST

static Suite *
make_suite(void)
{
    Suite *suite = suite_create("loadgen_benchmark");
    TCase *tcase = tcase_create("loadgen_benchmark");
    tcase_set_timeout(tcase, 60);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, test_benchmark_saves_each_reply);
    suite_add_tcase(suite, tcase);
    return suite;
}

TEST_MAIN(make_suite)
