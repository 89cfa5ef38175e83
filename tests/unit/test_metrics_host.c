/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The machine's part of /metrics over a /proc and a GPU that are made up, and that
 * the reader of loadgen finds in it what was put in.
 */
#include "loadgen/prometheus.h"
#include "server/metrics_host.h"
#include "tests/unit/main.h"
#include "tests/unit/proc_fixture.h"

#include <math.h>

static struct proc_fixture proc;

static void
setup(void)
{
    proc_fixture_open(&proc);
    proc_fixture_write(&proc, "stat", "cpu  1000 0 500 8000 500 0 0 0\n");
    proc_fixture_write(&proc, "meminfo", "MemTotal: 4000 kB\nMemAvailable: 1000 kB\n");
}

static void
teardown(void)
{
    proc_fixture_close(&proc);
}

static struct metrics_host *
open_host(const char *proc_root, const char *nvml_library)
{
    struct metrics_host_args args = {.proc_root = proc_root, .nvml_library = nvml_library};
    struct metrics_host *h = metrics_host_new(&args);
    ck_assert_ptr_nonnull(h);
    return h;
}

static bool
has(const struct buf *page, const char *text)
{
    return memmem(buf_bytes(page), buf_len(page), text, strlen(text)) != NULL;
}

/* Pages until one has the GPU: its thread is at work from the first one on. */
static void
write_until_gpu(struct metrics_host *h, struct buf *page)
{
    do {
        usleep(1000);
        buf_clear(page);
        metrics_host_write(h, page);
    } while (!has(page, "llmd_gpu_"));
}

START_TEST(test_write_is_read_by_loadgen)
{
    struct buf page = {0};
    struct machine_reading r;
    struct metrics_host *h = open_host(proc.root, FAKE_NVML);
    double tick_s = 1.0 / (double)sysconf(_SC_CLK_TCK);
    write_until_gpu(h, &page);
    metrics_host_write_process(1700000000, &page);
    machine_reading_init(&r);
    machine_reading_add(&r, buf_bytes(&page), buf_len(&page));
    ck_assert_double_eq_tol(r.cpu_total_s, 10000 * tick_s, 1e-9);
    ck_assert_double_eq_tol(r.cpu_busy_total_s, 1500 * tick_s, 1e-9);
    ck_assert(r.memory_total_bytes == 4000.0 * 1024);
    ck_assert(r.memory_available_bytes == 1000.0 * 1024);
    ck_assert(r.gpu_memory_total == 80.0 * (1 << 30));
    ck_assert(r.gpu_memory_used == 20.0 * (1 << 30));
    ck_assert(r.gpu_utilization == 0.75);
    ck_assert(r.gpu_power_w == 250.5);
    ck_assert(r.gpu_energy_total_j == 5000000001.25);
    ck_assert(r.process_cpu_total_s > 0);
    ck_assert(r.process_rss_bytes > 0);
    buf_release(&page);
    metrics_host_free(h);
}
END_TEST

START_TEST(test_write_has_help_type_and_label)
{
    struct buf page = {0};
    struct metrics_host *h = open_host(proc.root, FAKE_NVML);
    write_until_gpu(h, &page);
    ck_assert(has(&page, "# TYPE llmd_host_cpu_seconds_total counter\n"
                         "llmd_host_cpu_seconds_total "));
    ck_assert(has(&page, "# TYPE llmd_host_memory_total_bytes gauge\n"
                         "llmd_host_memory_total_bytes 4096000\n"));
    ck_assert(has(&page, "\n# HELP llmd_gpu_utilization_ratio "));
    ck_assert(has(&page, "\nllmd_gpu_utilization_ratio{gpu=\"0\"} 0.75\n"));
    buf_release(&page);
    metrics_host_free(h);
}
END_TEST

START_TEST(test_write_leaves_out_what_is_unknown)
{
    struct buf page = {0};
    struct metrics_host *h = open_host("/nonexistent", "/nonexistent");
    metrics_host_write(h, &page);
    ck_assert_uint_eq(buf_len(&page), 0);
    metrics_host_free(h); /* its thread has looked for the library by now */
    h = open_host(proc.root, "/nonexistent");
    metrics_host_write(h, &page);
    ck_assert(has(&page, "\nllmd_host_memory_available_bytes 1024000\n"));
    ck_assert(!has(&page, "llmd_gpu_"));
    buf_release(&page);
    metrics_host_free(h);
    metrics_host_free(open_host(proc.root, FAKE_NVML)); /* never asked */
    metrics_host_free(NULL);
}
END_TEST

START_TEST(test_write_process_has_prometheus_clients_names)
{
    static const char *const wanted[] = {
        "# TYPE process_virtual_memory_bytes gauge\n",
        "# TYPE process_resident_memory_bytes gauge\n",
        "\nprocess_start_time_seconds 1700000000\n",
        "# TYPE process_cpu_seconds_total counter\n",
        "# TYPE process_open_fds gauge\n",
        "# TYPE process_max_fds gauge\n",
    };
    struct buf page = {0};
    metrics_host_write_process(1700000000, &page);
    for (size_t i = 0; i < ARRAY_SIZE(wanted); i++)
        ck_assert_msg(has(&page, wanted[i]), "missing: %s", wanted[i]);
    buf_release(&page);
}
END_TEST

static Suite *
make_suite(void)
{
    Suite *s = suite_create("metrics_host");
    TCase *t = tcase_create("all");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, test_write_is_read_by_loadgen);
    tcase_add_test(t, test_write_has_help_type_and_label);
    tcase_add_test(t, test_write_leaves_out_what_is_unknown);
    tcase_add_test(t, test_write_process_has_prometheus_clients_names);
    suite_add_tcase(s, t);
    return s;
}

TEST_MAIN(make_suite)
