/* SPDX-License-Identifier: Apache-2.0 */
/* FAKE_NVML and FAKE_NVML_OLD are libraries made of tests/unit/fake_nvml.c. */
#include "tests/unit/main.h"
#include "util/nvml.h"

#include <dlfcn.h>
#include <math.h>

static void
check_unknown(const struct nvml_reading *r)
{
    ck_assert(isnan(r->memory_used_bytes));
    ck_assert(isnan(r->memory_total_bytes));
    ck_assert(isnan(r->utilization));
    ck_assert(isnan(r->power_w));
    ck_assert(isnan(r->energy_j));
}

START_TEST(test_read_gives_base_units)
{
    struct nvml_reading r;
    struct nvml *n = nvml_open(FAKE_NVML, 0);
    ck_assert_ptr_nonnull(n);
    nvml_read(n, &r);
    ck_assert(r.memory_used_bytes == 20.0 * (1 << 30));
    ck_assert(r.memory_total_bytes == 80.0 * (1 << 30));
    ck_assert(r.utilization == 0.75);
    ck_assert(r.power_w == 250.5);
    ck_assert(r.energy_j == 5000000001.25); /* more than 32 bits of mJ */
    nvml_close(n);
}
END_TEST

START_TEST(test_read_of_refusing_gpu_is_unknown)
{
    struct nvml_reading r;
    struct nvml *n = nvml_open(FAKE_NVML, 1);
    ck_assert_ptr_nonnull(n);
    nvml_read(n, &r);
    check_unknown(&r);
    nvml_close(n);
}
END_TEST

START_TEST(test_read_with_missing_functions_gives_the_rest)
{
    struct nvml_reading r;
    struct nvml *n = nvml_open(FAKE_NVML_OLD, 0);
    ck_assert_ptr_nonnull(n);
    nvml_read(n, &r);
    ck_assert(r.memory_used_bytes == 20.0 * (1 << 30));
    ck_assert(r.utilization == 0.75);
    ck_assert(isnan(r.power_w));
    ck_assert(isnan(r.energy_j));
    nvml_close(n);
}
END_TEST

START_TEST(test_open_without_library_gpu_or_init_is_null)
{
    struct nvml_reading r;
    ck_assert_ptr_null(nvml_open("/nonexistent/libnvidia-ml.so.1", 0));
    ck_assert_ptr_null(nvml_open("libm.so.6", 0)); /* a library, but another */
    ck_assert_ptr_null(nvml_open(FAKE_NVML, 2));
    nvml_read(NULL, &r);
    check_unknown(&r);
    nvml_close(NULL);
}
END_TEST

/* The fake answers only while it is initialised: two users, and one leaves. */
START_TEST(test_close_shuts_down_once)
{
    struct nvml_reading r;
    struct nvml *first = nvml_open(FAKE_NVML, 0), *second = nvml_open(FAKE_NVML, 0);
    ck_assert_ptr_nonnull(first);
    ck_assert_ptr_nonnull(second);
    nvml_close(first);
    nvml_read(second, &r);
    ck_assert(r.power_w == 250.5);
    nvml_close(second);
    ck_assert_ptr_null(dlopen(FAKE_NVML, RTLD_NOW | RTLD_NOLOAD)); /* nothing held */
}
END_TEST

static Suite *
make_suite(void)
{
    Suite *s = suite_create("nvml");
    TCase *t = tcase_create("all");
    tcase_add_test(t, test_read_gives_base_units);
    tcase_add_test(t, test_read_of_refusing_gpu_is_unknown);
    tcase_add_test(t, test_read_with_missing_functions_gives_the_rest);
    tcase_add_test(t, test_open_without_library_gpu_or_init_is_null);
    tcase_add_test(t, test_close_shuts_down_once);
    suite_add_tcase(s, t);
    return s;
}

TEST_MAIN(make_suite)
