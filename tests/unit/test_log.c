/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/main.h"
#include "util/log.h"

#include <check.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

static int pipe_fds[2], saved_stderr;
static char text[1 << 16];

static void
setup(void)
{
    ck_assert_int_eq(pipe(pipe_fds), 0);
    saved_stderr = dup(STDERR_FILENO);
    dup2(pipe_fds[1], STDERR_FILENO);
    log_init(LOG_LEVEL_INFO, true);
}

static void
teardown(void)
{
    dup2(saved_stderr, STDERR_FILENO);
    close(saved_stderr);
    close(pipe_fds[0]);
}

/* All that was logged; standard error is itself again afterwards. */
static const char *
logged(void)
{
    size_t len = 0;
    ssize_t n;
    dup2(saved_stderr, STDERR_FILENO);
    close(pipe_fds[1]);
    while ((n = read(pipe_fds[0], text + len, sizeof text - 1 - len)) > 0)
        len += (size_t)n;
    text[len] = '\0';
    return text;
}

START_TEST(test_levels_below_are_silent_and_journal_gets_priorities)
{
    log_error("a %d", 1);
    log_warn("b");
    log_info("c");
    log_debug("d");
    log_init(LOG_LEVEL_TRACE, true);
    log_debug("e");
    log_trace("f");
    ck_assert_str_eq(logged(), "<3>a 1\n<4>b\n<6>c\n<7>e\n<7>f\n");
}
END_TEST

START_TEST(test_without_journal_time_and_level_lead)
{
    int year, month, day, hour, minute, second, ms;
    char level[16] = "", rest[16] = "";
    log_init(LOG_LEVEL_INFO, false);
    log_info("hello");
    int n = sscanf(logged(), "%4d-%2d-%2dT%2d:%2d:%2d.%3dZ %15s %15s", &year, &month, &day, &hour,
                   &minute, &second, &ms, level, rest);
    ck_assert_int_eq(n, 9);
    ck_assert_int_ge(year, 2024);
    ck_assert_str_eq(level, "info");
    ck_assert_str_eq(rest, "hello");
}
END_TEST

START_TEST(test_hostile_bytes_cannot_forge_a_line)
{
    log_info("name %s", "x\n<2>forged\r\t\x1b[31m\x7f\xc3\xa9\\n end");
    ck_assert_str_eq(logged(), "<6>name x\\x0a<2>forged\\x0d\\x09\\x1b[31m\\x7f\\xc3\\xa9\\\\n "
                               "end\n");
}
END_TEST

START_TEST(test_long_line_is_cut)
{
    char *message = malloc(100001);
    memset(message, '\n', 100000);
    message[100000] = '\0';
    log_info("%s", message);
    free(message);
    const char *line = logged();
    size_t len = strlen(line);
    ck_assert_uint_lt(len, 9000);
    ck_assert_str_eq(line + len - 8, "\\x0a...\n");
    ck_assert_ptr_eq(strchr(line, '\n'), line + len - 1);
}
END_TEST

START_TEST(test_limit_passes_a_window_full_and_counts_the_rest)
{
    struct log_limit limit = {0};
    unsigned suppressed = 99, passed = 0;
    for (unsigned i = 0; i < 25; i++)
        passed += log_limit_pass(&limit, 1000 + i, &suppressed);
    ck_assert_uint_eq(passed, LOG_LIMIT_LINES);
    ck_assert_uint_eq(suppressed, 0);
    ck_assert(!log_limit_pass(&limit, LOG_LIMIT_NS + 999, &suppressed));
    ck_assert(log_limit_pass(&limit, LOG_LIMIT_NS + 1000, &suppressed));
    ck_assert_uint_eq(suppressed, 25 - LOG_LIMIT_LINES + 1);
}
END_TEST

START_TEST(test_warn_is_limited_by_call_site)
{
    for (int i = 0; i < 100; i++)
        log_warn("flood");
    log_warn("other");
    size_t lines = 0;
    for (const char *p = logged(); (p = strchr(p, '\n')) != NULL; p++)
        lines++;
    ck_assert_uint_eq(lines, LOG_LIMIT_LINES + 1);
    ck_assert_ptr_nonnull(strstr(text, "<4>other\n"));
}
END_TEST

static void *
write_lines(void *arg)
{
    for (int i = 0; i < 200; i++)
        log_info("%s", (const char *)arg);
    return NULL;
}

START_TEST(test_threads_write_whole_lines)
{
    static char names[4][41];
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) {
        memset(names[i], 'a' + i, 40);
        ck_assert_int_eq(pthread_create(&threads[i], NULL, write_lines, names[i]), 0);
    }
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    const char *p = logged();
    for (; *p != '\0'; p += 44) {
        ck_assert_uint_eq(strcspn(p, "\n"), 43);
        ck_assert_uint_eq(strspn(p + 3, (char[]){p[3], '\0'}), 40);
    }
    ck_assert_int_eq(p - text, 800 * 44);
}
END_TEST

static Suite *
make_suite(void)
{
    Suite *suite = suite_create("log");
    TCase *tcase = tcase_create("log");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, test_levels_below_are_silent_and_journal_gets_priorities);
    tcase_add_test(tcase, test_without_journal_time_and_level_lead);
    tcase_add_test(tcase, test_hostile_bytes_cannot_forge_a_line);
    tcase_add_test(tcase, test_long_line_is_cut);
    tcase_add_test(tcase, test_limit_passes_a_window_full_and_counts_the_rest);
    tcase_add_test(tcase, test_warn_is_limited_by_call_site);
    tcase_add_test(tcase, test_threads_write_whole_lines);
    suite_add_tcase(suite, tcase);
    return suite;
}

TEST_MAIN(make_suite)
