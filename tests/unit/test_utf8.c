/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/main.h"
#include "util/utf8.h"

#include <check.h>

static const struct {
    const char *bytes;
    int expected; /* of utf8_decode */
    uint32_t cp;
} decode_cases[] = {
    {"a", 1, 'a'},
    {"\x7f", 1, 0x7f},
    {"\xc2\x80", 2, 0x80},
    {"\xdf\xbf", 2, 0x7ff},
    {"\xe0\xa0\x80", 3, 0x800},
    {"\xed\x9f\xbf", 3, 0xd7ff},
    {"\xee\x80\x80", 3, 0xe000},
    {"\xef\xbf\xbf", 3, 0xffff},
    {"\xf0\x90\x80\x80", 4, 0x10000},
    {"\xf4\x8f\xbf\xbf", 4, 0x10ffff},
    {"\x80", -1, 0},
    {"\xbf", -1, 0},
    {"\xc0\x80", -1, 0}, /* overlong */
    {"\xc1\xbf", -1, 0},
    {"\xe0\x9f\xbf", -1, 0},
    {"\xf0\x8f\xbf\xbf", -1, 0},
    {"\xed\xa0\x80", -1, 0}, /* surrogate */
    {"\xf4\x90\x80\x80", -1, 0}, /* above U+10FFFF */
    {"\xf5\x80\x80\x80", -1, 0},
    {"\xff", -1, 0},
    {"\xc3(", -1, 0},
    {"\xe4\xb8(", -2, 0},
    {"\xf0\x9f\x98(", -3, 0},
    {"\xf0\x9f(", -2, 0},
    {"\xc3", 0, 0}, /* may go on */
    {"\xe4\xb8", 0, 0},
    {"\xf0\x9f\x98", 0, 0},
};

START_TEST(test_decode_each_form_gives_length)
{
    uint32_t cp = 0;
    const char *bytes = decode_cases[_i].bytes;
    int n = utf8_decode(bytes, strlen(bytes), &cp);
    ck_assert_int_eq(n, decode_cases[_i].expected);
    ck_assert(utf8_valid(bytes, strlen(bytes)) == (n > 0));
    if (n <= 0)
        return;
    ck_assert_uint_eq(cp, decode_cases[_i].cp);
    ck_assert_int_eq(utf8_next(bytes, &cp), n);
    ck_assert_uint_eq(cp, decode_cases[_i].cp);
}
END_TEST

START_TEST(test_encode_every_scalar_comes_back)
{
    for (uint32_t cp = 0; cp <= 0x10ffff; cp++) {
        char utf8[UTF8_MAX_BYTES];
        uint32_t back = 0;
        if (cp >= 0xd800 && cp < 0xe000)
            continue;
        int n = utf8_encode(cp, utf8);
        /* No ck_assert in so long a loop: each writes to a pipe. */
        if (utf8_decode(utf8, (size_t)n, &back) != n || back != cp ||
            utf8_prev(utf8, (size_t)n) != 0)
            ck_abort_msg("U+%04X comes back as U+%04X", (unsigned)cp, (unsigned)back);
    }
}
END_TEST

/* As Rust's String::from_utf8_lossy has them. */
static const struct {
    const char *bytes, *expected;
} lossy_cases[] = {
    {"", ""},
    {"plain", "plain"},
    {"\xe4\xb8\xad\xe6\x96\x87", "\xe4\xb8\xad\xe6\x96\x87"},
    {"a\xff" "b", "a" UTF8_REPLACEMENT "b"},
    {"\xf0\x9f\x98", UTF8_REPLACEMENT},
    {"\xf0\x9f\x98" "a", UTF8_REPLACEMENT "a"},
    {"\xf0\x9f\xf0\x9f", UTF8_REPLACEMENT UTF8_REPLACEMENT},
    {"\xed\xa0\x80", UTF8_REPLACEMENT UTF8_REPLACEMENT UTF8_REPLACEMENT},
    {"\xc0\x80", UTF8_REPLACEMENT UTF8_REPLACEMENT},
    {"Hello \xf0\x90\x80World", "Hello " UTF8_REPLACEMENT "World"},
    {"\xe4\xb8\xad\xb8", "\xe4\xb8\xad" UTF8_REPLACEMENT},
};

START_TEST(test_append_lossy_replaces_maximal_subparts)
{
    struct buf out = {0};
    utf8_append_lossy(&out, lossy_cases[_i].bytes, strlen(lossy_cases[_i].bytes));
    ck_assert_str_eq(buf_bytes(&out), lossy_cases[_i].expected);
    buf_release(&out);
}
END_TEST

START_TEST(test_valid_bad_byte_anywhere_is_found)
{
    char text[40];
    for (size_t i = 0; i < sizeof text; i++) {
        memset(text, 'x', sizeof text);
        ck_assert(utf8_valid(text, sizeof text));
        text[i] = '\x80';
        ck_assert(!utf8_valid(text, sizeof text));
    }
}
END_TEST

START_TEST(test_cut_keeps_characters_whole)
{
    const char *text = "a\xe4\xb8\xad" "b";
    static const size_t expected[] = {0, 1, 1, 1, 4, 5, 5};
    for (size_t max = 0; max < ARRAY_SIZE(expected); max++)
        ck_assert_uint_eq(utf8_cut(text, 5, max), expected[max]);
}
END_TEST

static Suite *
make_suite(void)
{
    Suite *suite = suite_create("utf8");
    TCase *tc = tcase_create("utf8");
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, test_decode_each_form_gives_length, 0, ARRAY_SIZE(decode_cases));
    tcase_add_test(tc, test_encode_every_scalar_comes_back);
    tcase_add_loop_test(tc, test_append_lossy_replaces_maximal_subparts, 0,
                        ARRAY_SIZE(lossy_cases));
    tcase_add_test(tc, test_valid_bad_byte_anywhere_is_found);
    tcase_add_test(tc, test_cut_keeps_characters_whole);
    suite_add_tcase(suite, tc);
    return suite;
}

TEST_MAIN(make_suite)
