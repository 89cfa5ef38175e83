/* SPDX-License-Identifier: Apache-2.0 */
#include "loadgen/prometheus.h"
#include "tests/unit/main.h"

#include <math.h>
#include <string.h>

/* The page ends where its bytes end: nothing may be read behind them. */
static void
add_page(struct machine_reading *r, const char *page)
{
    size_t len = strlen(page);
    char *exact = malloc(MAX(len, (size_t)1));
    ck_assert_ptr_nonnull(exact);
    memcpy(exact, page, len);
    machine_reading_add(r, exact, len);
    free(exact);
}

static struct machine_reading
read_page(const char *page)
{
    struct machine_reading r;
    machine_reading_init(&r);
    add_page(&r, page);
    return r;
}

static void
check_unknown(const struct machine_reading *r)
{
    const double *values = (const double *)r;
    for (size_t i = 0; i < sizeof *r / sizeof *values; i++)
        ck_assert_msg(isnan(values[i]), "value %zu is %g", i, values[i]);
}

START_TEST(test_add_reads_llmds_names)
{
    struct machine_reading r = read_page(
        "# HELP llmd_host_cpu_seconds_total Time of all processors.\n"
        "# TYPE llmd_host_cpu_seconds_total counter\n"
        "llmd_host_cpu_seconds_total 100.5\n"
        "llmd_host_cpu_busy_seconds_total 25.25\n"
        "\n"
        "llmd_host_memory_total_bytes 1.6e+10\r\n"
        "llmd_host_memory_available_bytes\t4E9 1700000000000\n"
        "llmd_gpu_memory_total_bytes{gpu=\"0\"} 85899345920\n"
        "llmd_gpu_memory_used_bytes{gpu=\"0\"}   21474836480\n"
        "llmd_gpu_utilization_ratio{gpu=\"0\"} .75\n"
        "llmd_gpu_power_watts{gpu=\"0\"} +250\n"
        "llmd_gpu_energy_joules_total{gpu=\"0\"} 5000000001.25\n"
        "process_cpu_seconds_total 15.05\n"
        "process_resident_memory_bytes 9.15116032e+08\n");
    ck_assert(r.cpu_total_s == 100.5);
    ck_assert(r.cpu_busy_total_s == 25.25);
    ck_assert(r.memory_total_bytes == 16e9);
    ck_assert(r.memory_available_bytes == 4e9);
    ck_assert(r.gpu_memory_total == 85899345920);
    ck_assert(r.gpu_memory_used == 21474836480);
    ck_assert(r.gpu_utilization == 0.75);
    ck_assert(r.gpu_power_w == 250);
    ck_assert(r.gpu_energy_total_j == 5000000001.25);
    ck_assert(r.process_cpu_total_s == 15.05);
    ck_assert(r.process_rss_bytes == 915116032);
}
END_TEST

START_TEST(test_add_sums_node_exporters_processors)
{
    struct machine_reading r = read_page(
        "node_cpu_guest_seconds_total{cpu=\"0\",mode=\"user\"} 1000\n"
        "node_cpu_seconds_total{cpu=\"0\",mode=\"idle\"} 50\n"
        "node_cpu_seconds_total{cpu=\"0\",mode=\"iowait\"} 5\n"
        "node_cpu_seconds_total{cpu=\"0\",mode=\"user\"} 20\n"
        "node_cpu_seconds_total{cpu=\"1\",mode=\"idle\"} 60\n"
        "node_cpu_seconds_total{cpu=\"1\",mode=\"system\"} 10.5\n"
        "node_memory_MemTotal_bytes 8e9\n"
        "node_memory_MemAvailable_bytes 2e9\n");
    ck_assert(r.cpu_total_s == 145.5);
    ck_assert(r.cpu_busy_total_s == 30.5);
    ck_assert(r.memory_total_bytes == 8e9);
    ck_assert(r.memory_available_bytes == 2e9);
}
END_TEST

START_TEST(test_add_reads_dcgms_units)
{
    struct machine_reading r = read_page(
        "DCGM_FI_DEV_FB_FREE{gpu=\"0\",modelName=\"NVIDIA {H100}\"} 60000\n"
        "DCGM_FI_DEV_FB_USED{gpu=\"0\",modelName=\"NVIDIA {H100}\"} 20000\n"
        "DCGM_FI_DEV_GPU_UTIL{gpu=\"0\"} 50\n"
        "DCGM_FI_DEV_POWER_USAGE{gpu=\"0\"} 300.5\n"
        "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION{gpu=\"0\"} 4000\n");
    ck_assert(r.gpu_memory_used == 20000);
    ck_assert(r.gpu_memory_total == 80000);
    ck_assert(r.gpu_utilization == 0.5);
    ck_assert(r.gpu_power_w == 300.5);
    ck_assert(r.gpu_energy_total_j == 4);
}
END_TEST

START_TEST(test_add_looks_past_what_labels_hold)
{
    struct machine_reading r = read_page(
        "llmd_gpu_power_watts{a=\"}\",b=\"\\\"} 1\",c=\"\\\\\",d=\"x 2\"} 3\n"
        "llmd_gpu_utilization_ratio{a=\"never closed} 1\n"
        "llmd_gpu_memory_used_bytes{a=\"ends in \\\n");
    ck_assert(r.gpu_power_w == 3);
    ck_assert(isnan(r.gpu_utilization));
    ck_assert(isnan(r.gpu_memory_used));
}
END_TEST

START_TEST(test_add_reads_what_is_no_number)
{
    struct machine_reading r = read_page("llmd_gpu_power_watts NaN\n"
                                         "llmd_host_memory_total_bytes +Inf\n"
                                         "llmd_host_memory_available_bytes -Inf\n");
    ck_assert(isnan(r.gpu_power_w));
    ck_assert(isinf(r.memory_total_bytes) && r.memory_total_bytes > 0);
    ck_assert(isinf(r.memory_available_bytes) && r.memory_available_bytes < 0);
}
END_TEST

START_TEST(test_add_passes_over_garbage)
{
    static const char *const pages[] = {
        "",
        "\n\n",
        "<html>not found</html>\n",
        "#llmd_gpu_power_watts 1\n",
        "llmd_gpu_power_watts\n",
        "llmd_gpu_power_watts \n",
        "llmd_gpu_power_watts \n1\n",
        "llmd_gpu_power_watts \v\n1\n",
        "llmd_gpu_power_watts one\n",
        "llmd_gpu_power_watts 1x\n",
        "llmd_gpu_power_watts{\n",
        "llmd_gpu_power_watts{}\n",
        "llmd_gpu_power_watts 12", /* cut off: perhaps it was 123 */
        "llmd_gpu_power_watts_x 1\n",
        "llmd_gpu_power_watt 1\n",
        "{gpu=\"0\"} 1\n",
        " 1\n",
    };
    for (size_t i = 0; i < ARRAY_SIZE(pages); i++) {
        struct machine_reading r = read_page(pages[i]);
        check_unknown(&r);
    }
}
END_TEST

START_TEST(test_add_of_a_second_page_keeps_the_first)
{
    struct machine_reading r = read_page("llmd_host_cpu_seconds_total 10\n");
    add_page(&r, "llmd_gpu_power_watts 5\n");
    add_page(&r, "nothing 1\n");
    ck_assert(r.cpu_total_s == 10);
    ck_assert(r.gpu_power_w == 5);
    ck_assert(isnan(r.gpu_memory_total));
}
END_TEST

static Suite *
make_suite(void)
{
    Suite *s = suite_create("loadgen_prometheus");
    TCase *t = tcase_create("all");
    tcase_add_test(t, test_add_reads_llmds_names);
    tcase_add_test(t, test_add_sums_node_exporters_processors);
    tcase_add_test(t, test_add_reads_dcgms_units);
    tcase_add_test(t, test_add_looks_past_what_labels_hold);
    tcase_add_test(t, test_add_reads_what_is_no_number);
    tcase_add_test(t, test_add_passes_over_garbage);
    tcase_add_test(t, test_add_of_a_second_page_keeps_the_first);
    suite_add_tcase(s, t);
    return s;
}

TEST_MAIN(make_suite)
