/* SPDX-License-Identifier: Apache-2.0 */
/* The main() of a suite: TEST_MAIN(suite_function). */
#ifndef TESTS_UNIT_MAIN_H
#define TESTS_UNIT_MAIN_H

#include <check.h>
#include <stdlib.h>

#define TEST_MAIN(make_suite)                                  \
    int main(void)                                             \
    {                                                          \
        SRunner *runner = srunner_create(make_suite());        \
        srunner_run_all(runner, CK_ENV);                       \
        int failed = srunner_ntests_failed(runner);            \
        srunner_free(runner);                                  \
        return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;      \
    }

#endif
