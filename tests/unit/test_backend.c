/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the CUDA module is looked for, and what is said of one that is no use. The
 * place depends on where the program is, so each case lays out a tree with a copy
 * of this program and a module, and runs the copy: `test_backend find` prints the
 * name of the backend found, or the error.
 */
#include "kernels/backend.h"

#include <check.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char tree[] = "/tmp/llmd-backend.XXXXXX";

static int
find(void)
{
    const struct ops *ops;
    struct error err = {0};
    puts(backend_find("cuda", &ops, &err) == 0 ? ops->name : err.text);
    return 0;
}

/* Runs a shell command; ret: the first line that it prints. */
static void PRINTF_LIKE(2, 3)
shell(char ret[1024], const char *fmt, ...)
{
    char command[3 * PATH_MAX], line[1024] = "";
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(command, sizeof command, fmt, args);
    va_end(args);
    ck_assert_int_lt(n, (int)sizeof command);
    FILE *out = popen(command, "r");
    ck_assert_ptr_nonnull(out);
    if (fgets(line, sizeof line, out) != NULL)
        line[strcspn(line, "\n")] = '\0';
    ck_assert_msg(pclose(out) == 0, "'%s' failed", command);
    if (ret != NULL)
        memcpy(ret, line, sizeof line);
}

static void
setup(void)
{
    char program[PATH_MAX];
    strcpy(strrchr(tree, '.') + 1, "XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(tree));
    ssize_t n = readlink("/proc/self/exe", program, sizeof program - 1);
    ck_assert_int_gt(n, 0);
    program[n] = '\0';
    shell(NULL, "cd %s && mkdir -p kernels/cuda a/b/c && for d in . a a/b a/b/c; do "
                "cp '%s' $d/program || exit 1; done", tree, program);
}

static void
teardown(void)
{
    shell(NULL, "rm -rf %s", tree);
}

static void
put_module(const char *module)
{
    shell(NULL, "cp '%s' %s/kernels/cuda/llmd-cuda.so", module, tree);
}

START_TEST(test_backend_find_build_tree_has_its_module_first)
{
    const char *const folders[] = {".", "a", "a/b"};
    put_module(FAKE_BACKEND);
    for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++) {
        char said[1024];
        shell(said, "%s/%s/program find", tree, folders[i]);
        ck_assert_str_eq(said, "fake");
    }
}
END_TEST

START_TEST(test_backend_find_deeper_program_looks_where_modules_are_installed)
{
    char said[1024];
    put_module(FAKE_BACKEND);
    shell(said, "%s/a/b/c/program find", tree);
    ck_assert_str_ne(said, "fake");
    shell(NULL, "rm %s/kernels/cuda/llmd-cuda.so", tree);
    if (access(LLMD_MODULEDIR "/llmd-cuda.so", F_OK) != 0) {
        shell(said, "%s/program find", tree);
        ck_assert_msg(strstr(said, LLMD_MODULEDIR "/llmd-cuda.so") != NULL, "%s", said);
    }
}
END_TEST

START_TEST(test_backend_find_module_of_another_interface_is_refused)
{
    char said[1024], want[128];
    put_module(FAKE_BACKEND_OLD);
    shell(said, "%s/program find", tree);
    snprintf(want, sizeof want, "it has interface %d, this program needs %d", OPS_ABI + 1, OPS_ABI);
    ck_assert_msg(strstr(said, want) != NULL, "%s", said);
    ck_assert_msg(strstr(said, tree) != NULL, "%s", said);
}
END_TEST

START_TEST(test_backend_find_library_without_table_is_refused)
{
    char said[1024];
    put_module(FAKE_BACKEND_EMPTY);
    shell(said, "%s/program find", tree);
    ck_assert_msg(strstr(said, "no symbol 'llmd_cuda_ops'") != NULL, "%s", said);
}
END_TEST

START_TEST(test_backend_find_file_that_is_no_library_is_told)
{
    char said[1024];
    shell(NULL, "echo text >%s/kernels/cuda/llmd-cuda.so", tree);
    shell(said, "%s/program find", tree);
    ck_assert_msg(strncmp(said, "cannot load the CUDA module: ", 29) == 0, "%s", said);
    ck_assert_msg(strstr(said, tree) != NULL, "%s", said);
}
END_TEST

int
main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "find") == 0)
        return find();
    Suite *suite = suite_create("backend");
    TCase *tc = tcase_create("find");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, test_backend_find_build_tree_has_its_module_first);
    tcase_add_test(tc, test_backend_find_deeper_program_looks_where_modules_are_installed);
    tcase_add_test(tc, test_backend_find_module_of_another_interface_is_refused);
    tcase_add_test(tc, test_backend_find_library_without_table_is_refused);
    tcase_add_test(tc, test_backend_find_file_that_is_no_library_is_told);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
