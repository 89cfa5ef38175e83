/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Plans of matrix products that are measured and kept in a file: found again,
 * measured again where the file is damaged, and done without where cuBLASLt or
 * the folder refuses.
 */
#include "kernels/cuda/gemm_plan.h"
#include "tests/cuda/cuda_fixture.h"
#include "tests/cuda/gemm_fixture.h"
#include "tests/unit/main.h"

#include <cublasLt.h>
#include <dlfcn.h>
#include <glob.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* cuBLASLt that can be told to refuse. */
static bool refuse_products;

cublasStatus_t
cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc, const void *alpha,
               const void *a, cublasLtMatrixLayout_t a_layout, const void *b,
               cublasLtMatrixLayout_t b_layout, const void *beta, const void *c,
               cublasLtMatrixLayout_t c_layout, void *d, cublasLtMatrixLayout_t d_layout,
               const cublasLtMatmulAlgo_t *algo, void *space, size_t space_bytes,
               cudaStream_t stream)
{
    __typeof__(&cublasLtMatmul) next;
    *(void **)&next = dlsym(RTLD_NEXT, "cublasLtMatmul");
    ck_assert(next != NULL);
    return refuse_products ? CUBLAS_STATUS_NOT_SUPPORTED
                           : next(handle, desc, alpha, a, a_layout, b, b_layout, beta, c, c_layout,
                                  d, d_layout, algo, space, space_bytes, stream);
}

static char cache[] = "/tmp/llmd-gemm-XXXXXX";

static void
open_cache(void)
{
    open_device();
    strcpy(cache + strlen(cache) - 6, "XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(cache));
}

/* The one file of the cache, or "". */
static void
cache_file(char *ret, size_t bytes)
{
    char pattern[64];
    glob_t found;
    snprintf(pattern, sizeof pattern, "%s/*", cache);
    int e = glob(pattern, 0, NULL, &found);
    snprintf(ret, bytes, "%s", e == 0 ? found.gl_pathv[0] : "");
    ck_assert(e == GLOB_NOMATCH || found.gl_pathc == 1);
    globfree(&found);
}

static void
close_cache(void)
{
    char path[256];
    cache_file(path, sizeof path);
    unlink(path);
    ck_assert_int_eq(rmdir(cache), 0);
    close_device();
}

/* Measures [up to 40 rows, 200] . [48, 200]^T with three layers' weights. */
static void
tune(struct gemm_plans *plans)
{
    struct product p;
    struct error err;
    product_init(&p, 40, 48 * 3, 200, true, false, FRACTIONS);
    const bf16_bits *layers[] = {p.args.w, p.args.w + 48 * 200, p.args.w + 2 * 48 * 200};
    struct gemm_tuned_product product = {.weights = layers, .num_weights = 3, .N = 48, .K = 200,
                                         .bias = p.args.bias, .max_rows = 40};
    struct gemm_tuning tuning = {&product, 1, p.args.x, p.args.out};
    ck_assert_msg(gemm_plans_tune(plans, &ctx, &tuning, &err) == 0, "%s", err.text);
    product_release(&p);
}

static ino_t
inode_of(const char *path)
{
    struct stat info;
    ck_assert_int_eq(stat(path, &info), 0);
    return info.st_ino;
}

/* The table in the cache's file: one shape, all buckets up to 48 measured. */
static void
load_cache(const char *path, struct gemm_table *ret, char *ret_device, size_t bytes)
{
    FILE *f = fopen(path, "r");
    ck_assert_ptr_nonnull(f);
    ck_assert_ptr_nonnull(fgets(ret_device, (int)bytes, f));
    ck_assert_ptr_nonnull(fgets(ret_device, (int)bytes, f));
    fclose(f);
    ret_device[strcspn(ret_device, "\n")] = '\0';
    *ret = (struct gemm_table){0};
    ck_assert_int_eq(gemm_table_load(ret, path, ret_device, NULL), 0);
    ck_assert_int_eq(ret->num_entries, 1);
    for (int b = 0; b < GEMM_NUM_BUCKETS; b++)
        ck_assert(ret->entries[0].plans[b].measured == (b <= gemm_bucket(40)));
}

START_TEST(test_tune_keeps_plans_between_runs)
{
    char path[256], device[256];
    struct gemm_table table;
    struct gemm_plans *plans = new_plans(cache, false);
    tune(plans);
    check_run(plans, 40, 48, 200, true, false);
    gemm_plans_free(plans);
    cache_file(path, sizeof path);
    load_cache(path, &table, device, sizeof device);
    gemm_table_release(&table);
    ino_t first = inode_of(path);

    plans = new_plans(cache, false);
    tune(plans); /* finds all measured: the file stays */
    ck_assert_uint_eq(inode_of(path), first);
    for (int M = 1; M <= 48; M += 9)
        check_run(plans, M, 48, 200, true, false);
    gemm_plans_free(plans);
}
END_TEST

START_TEST(test_tune_damaged_file_is_measured_again)
{
    char path[256], device[256];
    struct gemm_table table;
    struct gemm_plans *plans = new_plans(cache, false);
    tune(plans);
    gemm_plans_free(plans);
    cache_file(path, sizeof path);
    ck_assert_int_eq(truncate(path, 100), 0);
    plans = new_plans(cache, false);
    check_run(plans, 40, 48, 200, true, false);
    tune(plans);
    gemm_plans_free(plans);
    load_cache(path, &table, device, sizeof device);
    gemm_table_release(&table);
}
END_TEST

/* Sound files whose plans cannot be carried out: an algorithm that cuBLASLt does
 * not take, and one that needs more workspace than there is. */
START_TEST(test_run_plan_that_fails_is_replaced)
{
    char path[256], device[256];
    struct gemm_table table;
    struct gemm_plans *plans = new_plans(cache, false);
    tune(plans);
    gemm_plans_free(plans);
    cache_file(path, sizeof path);
    load_cache(path, &table, device, sizeof device);
    for (int b = 0; b <= gemm_bucket(40); b++)
        table.entries[0].plans[b] = (struct gemm_plan){
            .kind = GEMM_CUBLASLT, .measured = true, .algo = {0xbad},
            .workspace_bytes = b % 2 == 0 ? 0 : GEMM_WORKSPACE_BYTES + 1};
    ck_assert_int_eq(gemm_table_save(&table, path, device, NULL), 0);
    gemm_table_release(&table);
    plans = new_plans(cache, false);
    for (int M = 1; M <= 40; M += 13)
        check_run(plans, M, 48, 200, true, false);
    gemm_plans_free(plans);
}
END_TEST

/* What cuBLASLt refuses is no candidate, and no failure until it is needed. */
START_TEST(test_tune_and_run_when_cublaslt_refuses)
{
    struct gemm_plans *plans = new_plans(NULL, false);
    struct product p;
    struct error err;
    refuse_products = true;
    tune(plans);
    for (int M = 1; M <= 32; M += 31)
        check_run(plans, M, 48, 200, true, false);
    product_init(&p, 40, 48, 200, true, false, SMALL_INTEGERS);
    ck_assert_int_eq(gemm_run(plans, &ctx, &p.args, &err), ERR_DEVICE);
    ck_assert_str_eq(err.text,
                     "cannot multiply [40, 200] by [200, 48]: CUBLAS_STATUS_NOT_SUPPORTED");
    refuse_products = false;
    ck_assert_int_eq(gemm_run(plans, &ctx, &p.args, NULL), 0);
    assert_exact("after a refusal", &p);
    product_release(&p);
    gemm_plans_free(plans);
}
END_TEST

START_TEST(test_tune_without_a_place_for_the_file_goes_on)
{
    struct gemm_plans *plans = new_plans("/nonexistent", false);
    tune(plans);
    check_run(plans, 33, 48, 200, true, false);
    gemm_plans_free(plans);
}
END_TEST

static Suite *
make_suite(void)
{
    Suite *suite = suite_create("cuda gemm tune");
    TCase *files = tcase_create("files");
    tcase_set_timeout(files, 600);
    tcase_add_checked_fixture(files, open_cache, close_cache);
    tcase_add_test(files, test_tune_keeps_plans_between_runs);
    tcase_add_test(files, test_tune_damaged_file_is_measured_again);
    tcase_add_test(files, test_run_plan_that_fails_is_replaced);
    tcase_add_test(files, test_tune_and_run_when_cublaslt_refuses);
    tcase_add_test(files, test_tune_without_a_place_for_the_file_goes_on);
    suite_add_tcase(suite, files);
    return suite;
}

TEST_MAIN(make_suite)
