/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/main.h"
#include "tests/unit/proc_fixture.h"
#include "util/procfs.h"

#include <arpa/inet.h>
#include <math.h>
#include <netinet/in.h>
#include <sys/socket.h>

static struct proc_fixture proc;

static void
setup(void)
{
    proc_fixture_open(&proc);
}

static void
teardown(void)
{
    proc_fixture_close(&proc);
}

static double
tick_s(void)
{
    return 1.0 / (double)sysconf(_SC_CLK_TCK);
}

/* ---- the machine ---- */

START_TEST(test_read_host_sums_the_first_line)
{
    struct procfs_host h;
    proc_fixture_write(&proc, "stat",
                       "cpu  1000 20 300 5000 700 11 22 33 444 55\n"
                       "cpu0 1 1 1 1 1 1 1 1 1 1\nbtime 1700000000\n");
    proc_fixture_write(&proc, "meminfo",
                       "MemTotal:       16331224 kB\nMemFree:          212340 kB\n"
                       "MemAvailable:    9876543 kB\nHugePages_Total:       0\n");
    procfs_read_host(proc.root, &h);
    /* The last two, of guests, are inside of user and nice. */
    ck_assert_double_eq_tol(h.cpu_total_s, 7086 * tick_s(), 1e-9);
    ck_assert_double_eq_tol(h.cpu_busy_s, 1386 * tick_s(), 1e-9);
    ck_assert(h.memory_total_bytes == 16331224.0 * 1024);
    ck_assert(h.memory_available_bytes == 9876543.0 * 1024);
}
END_TEST

START_TEST(test_read_host_of_an_old_kernel_has_four_times)
{
    struct procfs_host h;
    proc_fixture_write(&proc, "stat", "cpu  10 20 30 40\n");
    proc_fixture_write(&proc, "meminfo", "MemTotal: 8 kB\n");
    procfs_read_host(proc.root, &h);
    ck_assert_double_eq_tol(h.cpu_total_s, 100 * tick_s(), 1e-9);
    ck_assert_double_eq_tol(h.cpu_busy_s, 60 * tick_s(), 1e-9);
    ck_assert(h.memory_total_bytes == 8192);
    ck_assert(isnan(h.memory_available_bytes));
}
END_TEST

START_TEST(test_read_host_without_sense_is_unknown)
{
    static const char *const stats[] = {"", "cpu", "cpu one two three four\n", "intr 1 2 3 4\n"};
    struct procfs_host h;
    for (size_t i = 0; i < ARRAY_SIZE(stats); i++) {
        proc_fixture_write(&proc, "stat", stats[i]);
        proc_fixture_write(&proc, "meminfo", "MemTotal: much\nMemAvailable:\n");
        procfs_read_host(proc.root, &h);
        ck_assert_msg(isnan(h.cpu_busy_s) && isnan(h.cpu_total_s), "%s", stats[i]);
        ck_assert(isnan(h.memory_total_bytes) && isnan(h.memory_available_bytes));
    }
    procfs_read_host("/nonexistent", &h);
    ck_assert(isnan(h.cpu_total_s) && isnan(h.memory_total_bytes));
}
END_TEST

/* ---- a process ---- */

START_TEST(test_read_process_counts_fields_after_the_name)
{
    struct procfs_process p;
    proc_fixture_mkdir(&proc, "42");
    proc_fixture_write(&proc, "42/stat",
                       "42 (a) b (c 9) S 1 42 42 0 -1 4194304 11 12 13 14 100 20 3 4 20 0 7 0 "
                       "123456 987654321 250 18446744073709551615 1 1 0\n");
    procfs_read_process(proc.root, 42, &p);
    ck_assert_double_eq_tol(p.cpu_s, 127 * tick_s(), 1e-9);
    ck_assert(p.rss_bytes == 250.0 * (double)sysconf(_SC_PAGESIZE));
}
END_TEST

START_TEST(test_read_process_without_sense_is_unknown)
{
    static const char *const stats[] = {"", "42 (name", "42 (name) S 1 42\n", ")"};
    struct procfs_process p;
    proc_fixture_mkdir(&proc, "42");
    for (size_t i = 0; i < ARRAY_SIZE(stats); i++) {
        proc_fixture_write(&proc, "42/stat", stats[i]);
        procfs_read_process(proc.root, 42, &p);
        ck_assert_msg(isnan(p.cpu_s) && isnan(p.rss_bytes), "%s", stats[i]);
    }
    procfs_read_process(proc.root, 43, &p);
    ck_assert(isnan(p.cpu_s) && isnan(p.rss_bytes));
}
END_TEST

#define TCP_HEAD "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt\n"
#define QUEUES " 00000000:00000000 00:00000000 00000000  1000        0 "
#define ANY_6 "00000000000000000000000000000000"

START_TEST(test_find_listener_follows_the_inode)
{
    /* 8000 is 1F40: first a connection of its own (01), then who listens (0A). */
    proc_fixture_mkdir(&proc, "net");
    proc_fixture_write(&proc, "net/tcp",
                       TCP_HEAD "   0: 0100007F:1F40 0100007F:9C40 01" QUEUES "111 1 0\n"
                                "   1: 00000000:1F40 00000000:0000 0A" QUEUES "222 1 0\n");
    proc_fixture_write(&proc, "net/tcp6",
                       TCP_HEAD "   0: " ANY_6 ":0050 " ANY_6 ":0000 0A" QUEUES "333 1 0\n"
                                "   1: " ANY_6 ":0051 " ANY_6 ":0000 0A" QUEUES "444 1 0\n");
    proc_fixture_mkdir(&proc, "7");
    proc_fixture_mkdir(&proc, "7/fd");
    proc_fixture_link(&proc, "7/fd/3", "socket:[111]");
    proc_fixture_link(&proc, "7/fd/4", "socket:[2222]");
    proc_fixture_mkdir(&proc, "8");
    proc_fixture_mkdir(&proc, "8/fd");
    proc_fixture_link(&proc, "8/fd/0", "/dev/null");
    proc_fixture_link(&proc, "8/fd/5", "socket:[222]");
    proc_fixture_link(&proc, "8/fd/6", "socket:[444]");
    ck_assert_int_eq(procfs_find_listener(proc.root, 8000), 8);
    ck_assert_int_eq(procfs_find_listener(proc.root, 81), 8);
    ck_assert_int_eq(procfs_find_listener(proc.root, 80), 0); /* nobody has 333 */
    ck_assert_int_eq(procfs_find_listener(proc.root, 8001), 0);
}
END_TEST

START_TEST(test_find_listener_finds_this_process)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&at, len), 0);
    ck_assert_int_eq(listen(fd, 1), 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&at, &len), 0);
    ck_assert_int_eq(procfs_find_listener("/proc", ntohs(at.sin_port)), getpid());
    close(fd);
}
END_TEST

static Suite *
make_suite(void)
{
    Suite *s = suite_create("procfs");
    TCase *t = tcase_create("all");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, test_read_host_sums_the_first_line);
    tcase_add_test(t, test_read_host_of_an_old_kernel_has_four_times);
    tcase_add_test(t, test_read_host_without_sense_is_unknown);
    tcase_add_test(t, test_read_process_counts_fields_after_the_name);
    tcase_add_test(t, test_read_process_without_sense_is_unknown);
    tcase_add_test(t, test_find_listener_follows_the_inode);
    tcase_add_test(t, test_find_listener_finds_this_process);
    suite_add_tcase(s, t);
    return s;
}

TEST_MAIN(make_suite)
