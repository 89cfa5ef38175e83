/* SPDX-License-Identifier: Apache-2.0 */
#include "util/json.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void
check_written(struct buf *b, const char *expected)
{
    ck_assert(!b->failed);
    ck_assert_str_eq(buf_bytes(b), expected);
    buf_release(b);
}

START_TEST(test_write_string_escapes)
{
    static const struct {
        const char *text;
        size_t len;
        const char *expected;
    } rows[] = {
        {"", 0, "\"\""},
        {"plain text /", 12, "\"plain text /\""},
        {"\"\\\b\f\n\r\t", 7, "\"\\\"\\\\\\b\\f\\n\\r\\t\""},
        {"a\0b\x1f\x7f", 5, "\"a\\u0000b\\u001f\\u007f\""},
        {"\xc3\xa9", 2, "\"\\u00e9\""},
        {"\xe2\x96\x81x", 4, "\"\\u2581x\""},
        {"\xf0\x9f\x98\x80", 4, "\"\\ud83d\\ude00\""},
        {"\xf4\x8f\xbf\xbf", 4, "\"\\udbff\\udfff\""},
        /* Not UTF-8: one U+FFFD for each maximal part. */
        {"\xff\xfe", 2, "\"\\ufffd\\ufffd\""},
        {"\xe2\x96", 2, "\"\\ufffd\""},
        {"\xe2\x96y", 3, "\"\\ufffdy\""},
        {"\xf0\x9f\x98\"", 4, "\"\\ufffd\\\"\""},
        {"\xc0\xaf", 2, "\"\\ufffd\\ufffd\""},
        {"\xed\xa0\x80", 3, "\"\\ufffd\\ufffd\\ufffd\""},
        {"\xf4\x90\x80\x80", 4, "\"\\ufffd\\ufffd\\ufffd\\ufffd\""},
        {"\x80", 1, "\"\\ufffd\""},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct buf b = {0};
        json_write_string(&b, rows[i].text, rows[i].len);
        check_written(&b, rows[i].expected);
    }
}
END_TEST

START_TEST(test_write_string_reads_back)
{
    /* Every character, in strings of one. */
    for (uint32_t c = 1; c <= 0x10FFFF; c += c < 0x3000 ? 1 : 97) {
        if (c >= 0xD800 && c <= 0xDFFF)
            continue;
        json_t *s = NULL;
        char text[8];
        struct buf b = {0};
        int n = 0;
        if (c < 0x80) {
            text[n++] = (char)c;
        } else if (c < 0x800) {
            text[n++] = (char)(0xC0 | c >> 6);
            text[n++] = (char)(0x80 | (c & 63));
        } else if (c < 0x10000) {
            text[n++] = (char)(0xE0 | c >> 12);
            text[n++] = (char)(0x80 | (c >> 6 & 63));
            text[n++] = (char)(0x80 | (c & 63));
        } else {
            text[n++] = (char)(0xF0 | c >> 18);
            text[n++] = (char)(0x80 | (c >> 12 & 63));
            text[n++] = (char)(0x80 | (c >> 6 & 63));
            text[n++] = (char)(0x80 | (c & 63));
        }
        json_write_string(&b, text, (size_t)n);
        s = json_loadb(buf_bytes(&b), buf_len(&b), JSON_DECODE_ANY, NULL);
        ck_assert_msg(s != NULL, "U+%04X is written %s", c, buf_bytes(&b));
        ck_assert_uint_eq(json_string_length(s), (size_t)n);
        ck_assert_mem_eq(json_string_value(s), text, (size_t)n);
        for (size_t i = 0; i < buf_len(&b); i++)
            ck_assert((unsigned char)buf_bytes(&b)[i] < 0x80);
        json_decref(s);
        buf_release(&b);
    }
}
END_TEST

START_TEST(test_write_integers)
{
    struct buf b = {0};
    json_write_int(&b, INT64_MIN);
    buf_putc(&b, ' ');
    json_write_int(&b, 0);
    buf_putc(&b, ' ');
    json_write_uint(&b, UINT64_MAX);
    check_written(&b, "-9223372036854775808 0 18446744073709551615");
}
END_TEST

START_TEST(test_write_double_as_python)
{
    static const struct {
        double value;
        const char *expected;
    } rows[] = {
        {0.0, "0.0"}, {-0.0, "-0.0"}, {1, "1.0"}, {-1, "-1.0"}, {0.1, "0.1"},
        {100, "100.0"}, {123456789, "123456789.0"}, {1e15, "1000000000000000.0"},
        {9999999999999998, "9999999999999998.0"}, {1e16, "1e+16"}, {1.5e16, "1.5e+16"},
        {1e22, "1e+22"}, {1e100, "1e+100"}, {0.0001, "0.0001"}, {0.00012, "0.00012"},
        {1e-5, "1e-05"}, {1.25e-7, "1.25e-07"}, {1.0 / 3, "0.3333333333333333"},
        {2.0 / 3, "0.6666666666666666"}, {0.1 + 0.2, "0.30000000000000004"},
        {5e-324, "5e-324"}, {2.2250738585072014e-308, "2.2250738585072014e-308"},
        {1.7976931348623157e308, "1.7976931348623157e+308"},
        {0x1p-44, "5.684341886080802e-14"}, /* nearest 16 digits would miss */
        {9007199254740993.0, "9007199254740992.0"}, {5e22, "5e+22"},
        {(double)0.1f, "0.10000000149011612"}, {(double)-1.1920928955078125e-07f,
                                                 "-1.1920928955078125e-07"},
        {(double)-9.536743e-07f, "-9.5367431640625e-07"},
        {(double)-0.00012874164f, "-0.00012874163803644478"}, {NAN, "null"}, {INFINITY, "null"},
        {-INFINITY, "null"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct buf b = {0};
        json_write_double(&b, rows[i].value);
        check_written(&b, rows[i].expected);
    }
}
END_TEST

START_TEST(test_write_double_round_trips)
{
    uint64_t x = 88172645463325252u;
    for (int i = 0; i < 20000; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        double d;
        memcpy(&d, &x, sizeof d);
        if (!isfinite(d))
            continue;
        struct buf b = {0};
        json_write_double(&b, d);
        ck_assert(strtod(buf_bytes(&b), NULL) == d);
        ck_assert(strpbrk(buf_bytes(&b), ".e") != NULL);
        ck_assert_uint_le(buf_len(&b), 24);
        json_t *v = json_loadb(buf_bytes(&b), buf_len(&b), JSON_DECODE_ANY, NULL);
        ck_assert_msg(json_is_real(v), "%s", buf_bytes(&b));
        json_decref(v);
        buf_release(&b);
    }
}
END_TEST

static json_t *
parse(const char *text)
{
    json_t *top;
    struct error err;
    ck_assert_int_eq(json_parse_object(text, strlen(text), 0, "x.json", &top, &err), 0);
    return top;
}

START_TEST(test_get_reads_and_keeps_defaults)
{
    json_t *top = parse("{\"i\": 7, \"d\": 0.5, \"n\": null, \"b\": true, \"s\": \"t\","
                        "\"l\": [1]}");
    struct json_object o = {top, "x.json"};
    struct error err;
    int64_t i = 1;
    double d = 1;
    bool b = false;
    const char *s = "u";
    const json_t *l = top;
    ck_assert_int_eq(json_get_int(&o, "i", 0, 7, &i, &err), 0);
    ck_assert_int_eq(i, 7);
    ck_assert_int_eq(json_get_double(&o, "i", 0, 7, &d, &err), 0);
    ck_assert_double_eq(d, 7);
    ck_assert_int_eq(json_get_double(&o, "d", 0, 1, &d, &err), 0);
    ck_assert_double_eq(d, 0.5);
    ck_assert_int_eq(json_get_bool(&o, "b", &b, &err), 0);
    ck_assert(b);
    ck_assert_int_eq(json_get_string(&o, "s", &s, &err), 0);
    ck_assert_str_eq(s, "t");
    ck_assert_int_eq(json_get_typed(&o, "l", JSON_ARRAY, &l, &err), 0);
    ck_assert_uint_eq(json_array_size(l), 1);
    ck_assert_int_eq(json_get_int(&o, "n", 0, 1, &i, &err), 0);
    ck_assert_int_eq(json_get_int(&o, "absent", 0, 1, &i, &err), 0);
    ck_assert_int_eq(i, 7);
    ck_assert_int_eq(json_get_typed(&o, "n", JSON_ARRAY, &l, &err), 0);
    ck_assert_ptr_null(l);
    ck_assert(json_is_null_member(&o, "n") && !json_is_null_member(&o, "absent"));
    json_decref(top);
}
END_TEST

START_TEST(test_get_errors_name_path_key_and_range)
{
    json_t *top = parse("{\"i\": 7, \"d\": 1.5, \"n\": null}");
    struct json_object o = {top, "x.json: sub"};
    struct error err;
    int64_t i = 1;
    double d = 1;
    bool b;
    const char *s;
    ck_assert_int_eq(json_get_int(&o, "i", 8, 9, &i, &err), ERR_RANGE);
    ck_assert_str_eq(err.text, "x.json: sub: 'i' is 7, not within [8, 9]");
    ck_assert_int_eq(json_get_int(&o, "d", 0, 9, &i, &err), ERR_CORRUPT);
    ck_assert_str_eq(err.text, "x.json: sub: 'd' must be an integer, not a number");
    ck_assert_int_eq(i, 1);
    ck_assert_int_eq(json_get_double(&o, "d", 0, 1, &d, &err), ERR_RANGE);
    ck_assert_str_eq(err.text, "x.json: sub: 'd' is 1.5, not within [0, 1]");
    ck_assert_int_eq(json_get_bool(&o, "i", &b, &err), ERR_CORRUPT);
    ck_assert_int_eq(json_get_string(&o, "i", &s, &err), ERR_CORRUPT);
    ck_assert_str_eq(err.text, "x.json: sub: 'i' must be a string, not an integer");
    ck_assert_int_eq(json_need(&o, "n", &err), ERR_CORRUPT);
    ck_assert_str_eq(err.text, "x.json: sub: 'n' is missing");
    ck_assert_int_eq(json_need(&o, "i", &err), 0);
    json_decref(top);
}
END_TEST

START_TEST(test_parse_rejects_what_is_no_object)
{
    static const char *const rows[] = {"", "[]", "1", "{", "{\"a\":1}x", "{\"a\":NaN}", "{'a':1}"};
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        json_t *top;
        struct error err;
        ck_assert_int_eq(json_parse_object(rows[i], strlen(rows[i]), 0, "x.json", &top, &err),
                         ERR_CORRUPT);
        ck_assert_int_eq(strncmp(err.text, "x.json: ", 8), 0);
    }
}
END_TEST

START_TEST(test_read_file)
{
    char dir[] = "/tmp/test_json.XXXXXX", path[64];
    struct error err;
    char *bytes;
    size_t len;
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/a.json", dir);
    ck_assert_int_eq(json_read_file(dir, "a.json", 100, &bytes, &len, &err), ERR_NOTFOUND);
    FILE *f = fopen(path, "w");
    ck_assert_ptr_nonnull(f);
    fputs("{\"a\": 1}", f);
    fclose(f);
    ck_assert_int_eq(json_read_file(dir, "a.json", 7, &bytes, &len, &err), ERR_RANGE);
    ck_assert_int_eq(json_read_file(dir, "a.json", 8, &bytes, &len, &err), 0);
    ck_assert_uint_eq(len, 8);
    ck_assert_str_eq(bytes, "{\"a\": 1}");
    free(bytes);
    ck_assert_int_eq(json_read_file("/", "tmp", 100, &bytes, &len, &err), ERR_IO);
    unlink(path);
    rmdir(dir);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("json");
    TCase *tc = tcase_create("json");
    tcase_add_test(tc, test_write_string_escapes);
    tcase_add_test(tc, test_write_string_reads_back);
    tcase_add_test(tc, test_write_integers);
    tcase_add_test(tc, test_write_double_as_python);
    tcase_add_test(tc, test_write_double_round_trips);
    tcase_add_test(tc, test_get_reads_and_keeps_defaults);
    tcase_add_test(tc, test_get_errors_name_path_key_and_range);
    tcase_add_test(tc, test_parse_rejects_what_is_no_object);
    tcase_add_test(tc, test_read_file);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
