/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/main.h"
#include "tests/unit/proc_fixture.h"
#include "util/monitor.h"

#include <math.h>

/* Of process 7: its processor time in ticks; 3 pages. */
#define PROCESS_STAT(ticks) "7 (llmd) S 1 7 7 0 -1 0 0 0 0 0 " #ticks " 0 0 0 20 0 1 0 5 9 3 0\n"

static struct proc_fixture proc;

static void
setup(void)
{
    proc_fixture_open(&proc);
    proc_fixture_write(&proc, "stat", "cpu  100 0 0 900 0 0 0 0\n");
    proc_fixture_write(&proc, "meminfo", "MemTotal: 4000 kB\nMemAvailable: 1000 kB\n");
    proc_fixture_mkdir(&proc, "7");
    proc_fixture_write(&proc, "7/stat", PROCESS_STAT(50));
}

static void
teardown(void)
{
    proc_fixture_close(&proc);
}

static struct monitor *
start(pid_t pid, const char *nvml_library)
{
    struct monitor_args args = {.pid = pid, .proc_root = proc.root, .nvml_library = nvml_library};
    struct monitor *m = NULL;
    ck_assert_int_eq(monitor_start(&args, &m, NULL), 0);
    return m;
}

START_TEST(test_percent_of_nothing_is_unknown)
{
    ck_assert(monitor_percent(1, 4) == 25);
    ck_assert(monitor_percent(0, 4) == 0);
    ck_assert(isnan(monitor_percent(0, 0)));
    ck_assert(isnan(monitor_percent(1, -1)));
    ck_assert(isnan(monitor_percent(NAN, 4)));
    ck_assert(isnan(monitor_percent(1, NAN)));
}
END_TEST

START_TEST(test_series_add_keeps_what_is_there)
{
    struct monitor_series s = {0};
    for (uint64_t i = 0; i < 1000; i++)
        monitor_series_add(&s)->time_ns = i;
    ck_assert_uint_eq(s.len, 1000);
    for (uint64_t i = 0; i < 1000; i++)
        ck_assert_uint_eq(s.samples[i].time_ns, i);
    monitor_series_release(&s);
    ck_assert_ptr_null(s.samples);
    ck_assert_uint_eq(s.len, 0);
}
END_TEST

/* Even a run that is shorter than the period has the sample of its end. */
START_TEST(test_stop_takes_a_last_sample)
{
    struct monitor *m = start(7, FAKE_NVML);
    const struct monitor_series *s = monitor_stop(m);
    ck_assert_uint_ge(s->len, 1);
    const struct monitor_sample *last = &s->samples[s->len - 1];
    ck_assert(last->time_ns > 0 && last->time_ns <= mono_ns());
    ck_assert(last->values[MONITOR_RAM_PERCENT] == 75);
    ck_assert(last->values[MONITOR_GPU_MEMORY_PERCENT] == 25);
    ck_assert(last->values[MONITOR_GPU_UTIL_PERCENT] == 75);
    ck_assert(last->values[MONITOR_GPU_POWER_W] == 250.5);
    ck_assert(last->values[MONITOR_PROCESS_RSS_BYTES] == 3.0 * (double)sysconf(_SC_PAGESIZE));
    ck_assert(last->energy_j == 5000000001.25);
    size_t len = s->len;
    ck_assert_ptr_eq(monitor_stop(m), s); /* stopped already */
    ck_assert_uint_eq(s->len, len);
    monitor_free(m);
}
END_TEST

/* The counters move once: 30 busy of 40 ticks, 40 ticks of the process, each in
 * whichever sample sees it; in all others none has passed. */
START_TEST(test_cpu_is_what_counters_moved_by)
{
    int num_moved = 0;
    double process_percent = 0;
    struct monitor *m = start(7, "/nonexistent");
    proc_fixture_write(&proc, "stat", "cpu  130 0 0 905 5 0 0 0\n");
    proc_fixture_write(&proc, "7/stat", PROCESS_STAT(90));
    const struct monitor_series *s = monitor_stop(m);
    for (size_t i = 0; i < s->len; i++) {
        const double *v = s->samples[i].values;
        process_percent = MAX(process_percent, v[MONITOR_PROCESS_CPU_PERCENT]);
        if (isnan(v[MONITOR_CPU_PERCENT]))
            continue;
        ck_assert_double_eq_tol(v[MONITOR_CPU_PERCENT], 75, 1e-9);
        num_moved++;
    }
    ck_assert_int_eq(num_moved, 1);
    ck_assert(process_percent > 0);
    monitor_free(m);
}
END_TEST

START_TEST(test_what_cannot_be_read_is_unknown)
{
    struct monitor_args args = {.proc_root = "/nonexistent", .nvml_library = "/nonexistent"};
    struct monitor *m = NULL;
    ck_assert_int_eq(monitor_start(&args, &m, NULL), 0);
    const struct monitor_series *s = monitor_stop(m);
    ck_assert_uint_ge(s->len, 1);
    for (size_t v = 0; v < NUM_MONITOR_VALUES; v++)
        ck_assert_msg(isnan(s->samples[0].values[v]), "value %zu", v);
    ck_assert(isnan(s->samples[0].energy_j));
    monitor_free(m);
    monitor_free(NULL);
}
END_TEST

static Suite *
make_suite(void)
{
    Suite *s = suite_create("monitor");
    TCase *t = tcase_create("all");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, test_percent_of_nothing_is_unknown);
    tcase_add_test(t, test_series_add_keeps_what_is_there);
    tcase_add_test(t, test_stop_takes_a_last_sample);
    tcase_add_test(t, test_cpu_is_what_counters_moved_by);
    tcase_add_test(t, test_what_cannot_be_read_is_unknown);
    suite_add_tcase(s, t);
    return s;
}

TEST_MAIN(make_suite)
