/* SPDX-License-Identifier: Apache-2.0 */
/* What the test_api*.c files share. */
#ifndef TESTS_SERVER_TEST_API_H
#define TESTS_SERVER_TEST_API_H

#include "tests/server/api_server.h"

#include <check.h>

void test_api_add_completions(Suite *s);
void test_api_add_life(Suite *s);

#endif
