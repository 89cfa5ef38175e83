/* SPDX-License-Identifier: Apache-2.0 */
/* The table of plans for matrix products and its file; no GPU is needed. */
#include "kernels/cuda/gemm_plan.h"
#include "tests/unit/main.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEVICE "NVIDIA H200, cuBLASLt 130200"

static char dir[] = "/tmp/llmd-gemm-plan-XXXXXX";
static char path[64];

static void
make_dir(void)
{
    strcpy(dir + strlen(dir) - 6, "XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/plans.txt", dir);
}

static void
remove_dir(void)
{
    unlink(path);
    ck_assert_int_eq(rmdir(dir), 0); /* and nothing else was left in it */
}

static size_t
read_file(char *ret, size_t most)
{
    FILE *f = fopen(path, "r");
    ck_assert_ptr_nonnull(f);
    size_t n = fread(ret, 1, most, f);
    fclose(f);
    ck_assert(n > 0 && n < most);
    return n;
}

static void
write_file(const char *data, size_t len)
{
    FILE *f = fopen(path, "w");
    ck_assert_ptr_nonnull(f);
    ck_assert_uint_eq(fwrite(data, 1, len, f), len);
    ck_assert_int_eq(fclose(f), 0);
}

/* Two shapes, three measured plans and one guess. */
static struct gemm_table
sample_table(void)
{
    struct gemm_table t = {0};
    struct gemm_entry *qkv = gemm_table_entry(&t, &(struct gemm_shape){6144, 4096, true, false});
    qkv->plans[0] = (struct gemm_plan){.kind = GEMM_KERNEL, .measured = true};
    qkv->plans[9] = (struct gemm_plan){.kind = GEMM_CUBLASLT, .measured = true,
                                       .workspace_bytes = 33554432};
    for (int i = 0; i < GEMM_ALGO_WORDS; i++)
        qkv->plans[9].algo[i] = 0xfedcba9876543210u >> i;
    qkv->plans[10] = (struct gemm_plan){.kind = GEMM_CUBLASLT};
    struct gemm_entry *head = gemm_table_entry(&t, &(struct gemm_shape){128256, 4096, false, true});
    head->plans[GEMM_NUM_BUCKETS - 1] =
        (struct gemm_plan){.kind = GEMM_CUBLASLT, .measured = true, .algo = {1}};
    return t;
}

START_TEST(test_gemm_bucket_is_the_next_one)
{
    ck_assert_int_eq(gemm_bucket(1), 0);
    for (int rows = 1; rows <= 8192; rows++) {
        int b = gemm_bucket(rows);
        ck_assert_int_ge(gemm_buckets[b], rows);
        ck_assert(b == 0 || gemm_buckets[b - 1] < rows);
    }
    ck_assert_int_eq(gemm_bucket(100000), GEMM_NUM_BUCKETS - 1);
}
END_TEST

START_TEST(test_gemm_table_entry_is_found_again)
{
    struct gemm_table t = {0};
    for (int pass = 0; pass < 2; pass++)
        for (int i = 0; i < 40; i++) {
            struct gemm_shape shape = {8 * (1 + i / 4), 64, i % 2 == 1, i / 2 % 2 == 1};
            struct gemm_entry *entry = gemm_table_entry(&t, &shape);
            ck_assert_ptr_nonnull(entry);
            ck_assert_int_eq(entry - t.entries, i);
            ck_assert_int_eq((int)entry->plans[3].workspace_bytes, pass == 0 ? 0 : i);
            entry->plans[3].workspace_bytes = (uint64_t)i;
        }
    ck_assert_int_eq(t.num_entries, 40);
    gemm_table_release(&t);
}
END_TEST

START_TEST(test_gemm_table_file_gives_back_what_was_measured)
{
    struct gemm_table t = sample_table(), back = {0};
    ck_assert_int_eq(gemm_table_save(&t, path, DEVICE, NULL), 0);
    gemm_table_entry(&back, &(struct gemm_shape){8, 8, false, false});
    ck_assert_int_eq(gemm_table_load(&back, path, DEVICE, NULL), 0);
    ck_assert_int_eq(back.num_entries, 2);
    t.entries[0].plans[10] = (struct gemm_plan){0}; /* the guess is not kept */
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(back.entries[i].shape.N, t.entries[i].shape.N);
        ck_assert_int_eq(back.entries[i].shape.K, t.entries[i].shape.K);
        ck_assert(back.entries[i].shape.bias == t.entries[i].shape.bias);
        ck_assert(back.entries[i].shape.out_f32 == t.entries[i].shape.out_f32);
        for (int b = 0; b < GEMM_NUM_BUCKETS; b++) {
            const struct gemm_plan *got = &back.entries[i].plans[b];
            const struct gemm_plan *want = &t.entries[i].plans[b];
            ck_assert_int_eq(got->kind, want->kind);
            ck_assert(got->measured == want->measured);
            ck_assert_uint_eq(got->workspace_bytes, want->workspace_bytes);
            ck_assert_mem_eq(got->algo, want->algo, sizeof got->algo);
        }
    }
    gemm_table_release(&t);
    gemm_table_release(&back);
}
END_TEST

/* Loading fails with `code` and the table keeps its one entry. */
static void
assert_refused(const char *device, int code)
{
    struct gemm_table t = {0};
    struct error err;
    gemm_table_entry(&t, &(struct gemm_shape){8, 16, false, false});
    ck_assert_int_eq(gemm_table_load(&t, path, device, &err), code);
    ck_assert(strstr(err.text, path) != NULL && t.num_entries == 1 && t.entries[0].shape.K == 16);
    gemm_table_release(&t);
}

START_TEST(test_gemm_table_file_damaged_is_refused)
{
    struct gemm_table t = sample_table();
    char whole[4096], damaged[4097];
    assert_refused(DEVICE, ERR_NOTFOUND);
    ck_assert_int_eq(gemm_table_save(&t, path, DEVICE, NULL), 0);
    gemm_table_release(&t);
    size_t len = read_file(whole, sizeof whole);
    assert_refused("NVIDIA H100, cuBLASLt 130200", ERR_CORRUPT);
    for (size_t cut = 0; cut < len; cut++) {
        write_file(whole, cut);
        assert_refused(DEVICE, ERR_CORRUPT);
    }
    for (size_t i = 0; i < len; i++) {
        memcpy(damaged, whole, len);
        damaged[i] = (char)(damaged[i] ^ 1 << i % 8);
        write_file(damaged, len);
        assert_refused(DEVICE, ERR_CORRUPT);
    }
    memcpy(damaged, whole, len);
    damaged[len] = '\n';
    write_file(damaged, len + 1);
    assert_refused(DEVICE, ERR_CORRUPT);
}
END_TEST

START_TEST(test_gemm_table_save_replaces_the_file_whole)
{
    struct gemm_table t = sample_table(), empty = {0};
    struct error err;
    write_file("damaged", 7);
    ck_assert_int_eq(gemm_table_save(&t, path, DEVICE, NULL), 0);
    ck_assert_int_eq(gemm_table_load(&t, path, DEVICE, NULL), 0);
    ck_assert_int_eq(gemm_table_save(&empty, path, DEVICE, NULL), 0);
    ck_assert_int_eq(gemm_table_load(&t, path, DEVICE, NULL), 0);
    ck_assert_int_eq(t.num_entries, 0);
    gemm_table_release(&t);
    ck_assert_int_eq(gemm_table_save(&empty, "/nonexistent/plans.txt", DEVICE, &err), ERR_IO);
    ck_assert_ptr_nonnull(strstr(err.text, "/nonexistent/plans.txt"));
}
END_TEST

static Suite *
gemm_plan_suite(void)
{
    Suite *suite = suite_create("gemm_plan");
    TCase *table = tcase_create("table");
    tcase_add_test(table, test_gemm_bucket_is_the_next_one);
    tcase_add_test(table, test_gemm_table_entry_is_found_again);
    suite_add_tcase(suite, table);
    TCase *file = tcase_create("file");
    tcase_set_timeout(file, 60);
    tcase_add_checked_fixture(file, make_dir, remove_dir);
    tcase_add_test(file, test_gemm_table_file_gives_back_what_was_measured);
    tcase_add_test(file, test_gemm_table_file_damaged_is_refused);
    tcase_add_test(file, test_gemm_table_save_replaces_the_file_whole);
    suite_add_tcase(suite, file);
    return suite;
}

TEST_MAIN(gemm_plan_suite)
