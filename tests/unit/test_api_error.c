/* SPDX-License-Identifier: Apache-2.0 */
#include "server/api_error.h"
#include "server/auth.h"
#include "server/json_scan.h"
#include "tests/unit/main.h"

#include <check.h>
#include <string.h>

START_TEST(test_write_has_all_four_keys)
{
    struct api_error e;
    struct buf b = {0};
    ck_assert_int_eq(api_error_set(&e, API_ERROR_BAD_VALUE, "n", "n is \"%d\"", 5), -1);
    api_error_write(&e, &b);
    ck_assert_str_eq(b.data, "{\"error\":{\"message\":\"n is \\\"5\\\"\","
                             "\"type\":\"BadRequestError\",\"param\":\"n\",\"code\":400}}");
    buf_clear(&b);
    api_error_set(&e, API_ERROR_UNKNOWN_URL, NULL, "x");
    api_error_write(&e, &b);
    ck_assert_str_eq(b.data, "{\"error\":{\"message\":\"x\",\"type\":\"NotFoundError\","
                             "\"param\":null,\"code\":\"unknown_url\"}}");
    ck_assert_int_eq(api_error_status(e.kind), 404);
    buf_release(&b);
}
END_TEST

START_TEST(test_set_of_bad_body_has_vllms_param)
{
    struct api_error e;
    api_error_set(&e, API_ERROR_BAD_BODY, NULL, "x");
    ck_assert_str_eq(e.param, "body");
    api_error_set(&e, API_ERROR_BAD_BODY, "prompt.0", "x");
    ck_assert_str_eq(e.param, "body.prompt.0");
}
END_TEST

START_TEST(test_set_cuts_long_text_at_a_character)
{
    struct api_error e;
    char text[2000];
    for (size_t i = 0; i + 2 < sizeof text; i += 2)
        memcpy(text + i, "\xc3\xa9", 2);
    text[sizeof text - 2] = '\0';
    api_error_set(&e, API_ERROR_BAD_VALUE, NULL, "x%s", text);
    size_t len = strlen(e.message);
    ck_assert_uint_le(len, sizeof e.message - 1);
    ck_assert_uint_eq(len % 2, 1);
}
END_TEST

START_TEST(test_sha256_vectors)
{
    static const struct {
        const char *text;
        unsigned char first[4];
    } cases[] = {
        {"", {0xe3, 0xb0, 0xc4, 0x42}},
        {"abc", {0xba, 0x78, 0x16, 0xbf}},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", {0x24, 0x8d, 0x6a, 0x61}},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        unsigned char digest[SHA256_BYTES];
        sha256(cases[i].text, strlen(cases[i].text), digest);
        ck_assert_mem_eq(digest, cases[i].first, 4);
    }
}
END_TEST

START_TEST(test_auth_needs_the_whole_key)
{
    static const char *const keys[] = {"alpha", "beta"};
    struct auth a;
    ck_assert_int_eq(auth_init(&a, keys, 2), 0);
    ck_assert(auth_allows(&a, "Bearer alpha") && auth_allows(&a, "bearer  beta"));
    ck_assert(!auth_allows(&a, NULL) && !auth_allows(&a, "") && !auth_allows(&a, "Bearer "));
    ck_assert(!auth_allows(&a, "Bearer alph") && !auth_allows(&a, "Bearer alphaa"));
    ck_assert(!auth_allows(&a, "alpha"));
    auth_release(&a);
    ck_assert_int_eq(auth_init(&a, NULL, 0), 0);
    ck_assert(auth_allows(&a, NULL));
}
END_TEST

START_TEST(test_json_scan_counts_outside_strings)
{
    static const struct json_scan_limits l = {.max_depth = 2, .max_containers = 3, .max_values = 3};
    static const struct {
        const char *text;
        bool good;
    } cases[] = {
        {"{\"a\":[1,2,3,4]}", true},
        {"{\"a\":[1,2,3,4,5]}", false},
        {"{\"a\":[[1]]}", false},
        {"[{},[]]", true},
        {"[{},[],{}]", false},
        {"\"[[[[,,,,,\\\"[[[[\"", true},
        {"\"\\", true},
        {"]]]]", true},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        ck_assert_msg((json_scan(cases[i].text, strlen(cases[i].text), &l) == NULL)
                          == cases[i].good, "%s", cases[i].text);
}
END_TEST

static Suite *
make_suite(void)
{
    Suite *s = suite_create("api_error");
    TCase *t = tcase_create("all");
    tcase_add_test(t, test_write_has_all_four_keys);
    tcase_add_test(t, test_set_of_bad_body_has_vllms_param);
    tcase_add_test(t, test_set_cuts_long_text_at_a_character);
    tcase_add_test(t, test_sha256_vectors);
    tcase_add_test(t, test_auth_needs_the_whole_key);
    tcase_add_test(t, test_json_scan_counts_outside_strings);
    suite_add_tcase(s, t);
    return s;
}

TEST_MAIN(make_suite)
