/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Good files, and every wrong one that a checkpoint from the net could be: each
 * row builds a directory and says which error must come.
 */
#include "engine/safetensors.h"

#include <check.h>
#include <ftw.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[64];

static void
make_dir(void)
{
    snprintf(dir, sizeof dir, "/tmp/test_safetensors.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
}

static int
remove_entry(const char *path, const struct stat *sb, int type, struct FTW *ftw)
{
    (void)sb;
    (void)type;
    (void)ftw;
    return remove(path);
}

static void
remove_dir(void)
{
    nftw(dir, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

static FILE *
create(const char *name)
{
    char path[384];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "wb");
    ck_assert_ptr_nonnull(f);
    return f;
}

/* The length word, `header_len` bytes of header, and data_bytes of counting. */
static void
write_safetensors(const char *name, uint64_t length_word, const char *header, size_t header_len,
                  size_t data_bytes)
{
    FILE *f = create(name);
    for (int i = 0; i < 8; i++)
        fputc((int)(length_word >> (8 * i) & 0xFF), f);
    fwrite(header, 1, header_len, f);
    for (size_t i = 0; i < data_bytes; i++)
        fputc((int)(i & 0xFF), f);
    fclose(f);
}

static void
write_good(const char *name, const char *header, size_t data_bytes)
{
    write_safetensors(name, strlen(header), header, strlen(header), data_bytes);
}

static void
write_text(const char *name, const char *text)
{
    FILE *f = create(name);
    fputs(text, f);
    fclose(f);
}

static struct safetensors *
open_good(void)
{
    struct safetensors *st = NULL;
    struct error err = {0};
    int code = safetensors_open(dir, &st, &err);
    ck_assert_msg(code == 0, "%s", err.text);
    return st;
}

static void
check_refused(int row, int code, const char *text)
{
    struct safetensors *st = NULL;
    struct error err = {0};
    int got = safetensors_open(dir, &st, &err);
    ck_assert_msg(got == code && strstr(err.text, text) != NULL,
                  "row %d: %s: %s; expected %s: %s", row, error_name(got), err.text,
                  error_name(code), text);
    ck_assert_ptr_null(st);
    ck_assert_int_eq(err.code, code);
}

#define F32_2 "{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}"
#define TENSOR(dtype, shape, begin, end) \
    "{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":[" begin "," end "]}"

START_TEST(test_open_good_single_file)
{
    /* Odd offsets, an empty tensor, a scalar, metadata, padding at both ends. */
    write_good("model.safetensors",
               " {\"__metadata__\":{\"format\":\"pt\"},"
               "\"u\":" TENSOR("U8", "[3]", "0", "3") ","
               "\"w\":" TENSOR("BF16", "[2,3]", "3", "15") ","
               "\"empty\":" TENSOR("F16", "[0,4]", "15", "15") ","
               "\"v\":" TENSOR("F32", "[2]", "15", "23") ","
               "\"scalar\":" TENSOR("I64", "[]", "23", "31") "}   ",
               31);
    struct safetensors *st = open_good();
    struct host_tensor t;
    struct error err;
    ck_assert_uint_eq(safetensors_count(st), 5);
    ck_assert_uint_eq(safetensors_total_bytes(st), 31);
    const struct safetensor *s = safetensors_find(st, "scalar");
    ck_assert_ptr_nonnull(s);
    ck_assert_int_eq(s->rank, 0);
    ck_assert_uint_eq(s->bytes, 8);
    ck_assert(!s->dtype_supported);
    ck_assert_str_eq(s->dtype_name, "I64");
    ck_assert_ptr_null(safetensors_find(st, "x"));

    ck_assert_int_eq(safetensors_take(st, "w", 2, 3, &t, &err), 0);
    ck_assert_int_eq(t.dtype, DTYPE_BF16);
    ck_assert_int_eq(t.rows, 2);
    ck_assert_int_eq(t.cols, 3);
    for (int i = 0; i < 12; i++)
        ck_assert_int_eq(((const unsigned char *)t.data)[i], 3 + i);
    safetensors_will_need(&t);
    safetensors_done_with(&t);
    ck_assert_int_eq(((const unsigned char *)t.data)[11], 14);
    ck_assert_int_eq(safetensors_take(st, "v", 0, 2, &t, &err), 0);
    ck_assert_int_eq(t.rows, 1);
    ck_assert_int_eq(t.cols, 2);

    ck_assert_int_eq(safetensors_take(st, "w", 3, 2, &t, &err), ERR_CORRUPT);
    ck_assert_str_eq(err.text, "model.safetensors: tensor 'w' has shape [2, 3], but config.json "
                               "makes it [3, 2]");
    ck_assert_int_eq(safetensors_take(st, "w", 0, 6, &t, &err), ERR_CORRUPT);
    ck_assert_int_eq(safetensors_take(st, "u", 0, 3, &t, &err), ERR_UNSUPPORTED);
    ck_assert_str_eq(err.text, "model.safetensors: tensor 'u' is U8; supported are BF16, F16 and "
                               "F32");
    ck_assert_int_eq(safetensors_take(st, "gone", 1, 1, &t, &err), ERR_NOTFOUND);
    ck_assert_ptr_nonnull(strstr(err.text, "tensor 'gone' is missing"));

    ck_assert_uint_eq(safetensors_num_unused(st), 3);
    ck_assert_str_eq(safetensors_unused(st, 0)->name, "empty");
    ck_assert_str_eq(safetensors_unused(st, 2)->name, "u");
    ck_assert_ptr_null(safetensors_unused(st, 3));
    safetensors_ignore(st, "empty");
    safetensors_ignore(st, "gone");
    ck_assert_str_eq(safetensors_unused(st, 0)->name, "scalar");
    ck_assert_int_eq(safetensors_check_unchanged(st, &err), 0);
    safetensors_close(st);
}
END_TEST

START_TEST(test_open_no_tensors_is_fine)
{
    write_good("model.safetensors", "{}", 0);
    struct safetensors *st = open_good();
    ck_assert_uint_eq(safetensors_count(st), 0);
    ck_assert_ptr_null(safetensors_find(st, "x"));
    ck_assert_ptr_null(safetensors_unused(st, 0));
    safetensors_close(st);
    safetensors_close(NULL);
}
END_TEST

static const struct {
    const char *header;
    size_t data_bytes;
    int code;
    const char *text;
} bad_headers[] = {
    {"", 0, ERR_CORRUPT, "model.safetensors: its header: not JSON"},
    {"{", 0, ERR_CORRUPT, "not JSON"},
    {"[]", 0, ERR_CORRUPT, "an object is expected, not an array"},
    {"{\"a\xff\":" F32_2 "}", 8, ERR_CORRUPT, "unable to decode byte 0xff"},
    {"{\"a\":" F32_2 "} x", 8, ERR_CORRUPT, "not JSON"},
    {"{\"a\":" F32_2 ",\"a\":" F32_2 "}", 8, ERR_CORRUPT, "duplicate"},
    {"{\"a\\u0000b\":" F32_2 "}", 8, ERR_CORRUPT, "not JSON"},
    {"{\"__metadata__\":[]," "\"a\":" F32_2 "}", 8, ERR_CORRUPT, "__metadata__ is no object"},
    {"{\"__metadata__\":{\"a\":1},\"a\":" F32_2 "}", 8, ERR_CORRUPT, "__metadata__ has a value"},
    {"{\"a\":1}", 0, ERR_CORRUPT, "tensor 'a': its entry is no object"},
    {"{\"a\":{\"shape\":[2],\"data_offsets\":[0,8]}}", 8, ERR_CORRUPT, "dtype is missing"},
    {"{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,8]}}", 8, ERR_CORRUPT, "shape is missing"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2]}}", 8, ERR_CORRUPT, "data_offsets are missing"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8],\"strides\":[1]}}", 8,
     ERR_CORRUPT, "members beyond"},
    {"{\"a\":" TENSOR("F33", "[2]", "0", "8") "}", 8, ERR_CORRUPT, "unknown dtype 'F33'"},
    {"{\"a\":" TENSOR("f32", "[2]", "0", "8") "}", 8, ERR_CORRUPT, "unknown dtype 'f32'"},
    {"{\"a\":{\"dtype\":7,\"shape\":[2],\"data_offsets\":[0,8]}}", 8, ERR_CORRUPT, "dtype"},
    {"{\"a\":" TENSOR("F32", "2", "0", "8") "}", 8, ERR_CORRUPT, "shape is missing or no list"},
    {"{\"a\":" TENSOR("F32", "[2.0]", "0", "8") "}", 8, ERR_CORRUPT, "no integer"},
    {"{\"a\":" TENSOR("F32", "[\"2\"]", "0", "8") "}", 8, ERR_CORRUPT, "no integer"},
    {"{\"a\":" TENSOR("F32", "[-2]", "0", "8") "}", 8, ERR_CORRUPT, "no integer"},
    {"{\"a\":" TENSOR("F32", "[1,1,1,1,1,1,1,1,2]", "0", "8") "}", 8, ERR_RANGE,
     "shape has 9 dimensions, the limit is 8"},
    {"{\"a\":" TENSOR("F32", "[2,18446744073709551614]", "0", "8") "}", 8, ERR_CORRUPT,
     "too big integer"},
    {"{\"a\":" TENSOR("F32", "[2,9223372036854775807]", "0", "8") "}", 8, ERR_CORRUPT,
     "shape overflows"},
    {"{\"a\":" TENSOR("F32", "[4294967296,4294967296]", "0", "0") "}", 0, ERR_CORRUPT,
     "shape overflows"},
    {"{\"a\":" TENSOR("F32", "[3]", "0", "8") "}", 8, ERR_CORRUPT,
     "shape and dtype make 12 bytes, data_offsets 8"},
    {"{\"a\":" TENSOR("F4", "[15]", "0", "8") "}", 8, ERR_CORRUPT, "no whole number of bytes"},
    {"{\"a\":" TENSOR("F32", "[2]", "\"0\"", "8") "}", 8, ERR_CORRUPT, "no two integers"},
    {"{\"a\":" TENSOR("F32", "[2]", "0.0", "8.0") "}", 8, ERR_CORRUPT, "no two integers"},
    {"{\"a\":" TENSOR("F32", "[2]", "0", "8e0") "}", 8, ERR_CORRUPT, "no two integers"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8,8]}}", 8, ERR_CORRUPT,
     "no two integers"},
    {"{\"a\":" TENSOR("F32", "[2]", "-8", "0") "}", 8, ERR_CORRUPT, "[-8, 0] are no range"},
    {"{\"a\":" TENSOR("F32", "[2]", "8", "0") "}", 8, ERR_CORRUPT, "[8, 0] are no range"},
    {"{\"x\":" TENSOR("F32", "[2]", "0", "8") "}", 7, ERR_CORRUPT,
     "model.safetensors: tensor 'x': data_offsets [0, 8] leave the file (7 bytes)"},
    {"{\"a\":" TENSOR("F32", "[2]", "9223372036854775800", "9223372036854775807") "}", 8,
     ERR_CORRUPT, "leave the file"},
    {"{\"a\":" TENSOR("F32", "[2]", "0", "18446744073709551615") "}", 8, ERR_CORRUPT,
     "too big integer"},
    {"{\"a\":" TENSOR("F32", "[2]", "0", "8") "}", 9, ERR_CORRUPT,
     "the tensors end at 8, but the file has 9 bytes of data"},
    {"{}", 1, ERR_CORRUPT, "the tensors end at 0"},
    {"{\"a\":" F32_2 ",\"b\":" F32_2 "}", 8, ERR_CORRUPT,
     "tensor 'b': its data begins at 0, inside that of the tensor before (8)"},
    {"{\"a\":" F32_2 ",\"b\":" TENSOR("F32", "[2]", "4", "12") "}", 12, ERR_CORRUPT, "inside"},
    {"{\"a\":" F32_2 ",\"b\":" TENSOR("F32", "[2]", "12", "20") "}", 20, ERR_CORRUPT,
     "tensor 'b': its data begins at 12, after a hole behind that of the tensor before (8)"},
    {"{\"a\":" TENSOR("F32", "[2]", "4", "12") "}", 12, ERR_CORRUPT, "after a hole"},
    {"{\"a\\n\\u001b[2J\\u00e9\":1}", 0, ERR_CORRUPT, "tensor 'a\\x0a\\x1b[2J\\xc3\\xa9'"},
};

START_TEST(test_open_bad_header_is_refused)
{
    write_good("model.safetensors", bad_headers[_i].header, bad_headers[_i].data_bytes);
    check_refused(_i, bad_headers[_i].code, bad_headers[_i].text);
}
END_TEST

START_TEST(test_open_bad_length_word_is_refused)
{
    static const char good[] = "{\"a\":" F32_2 "}";
    size_t n = sizeof good - 1;
    write_safetensors("model.safetensors", UINT64_MAX, good, n, 8);
    check_refused(0, ERR_CORRUPT, "a header of 18446744073709551615 bytes leaves the file");
    write_safetensors("model.safetensors", UINT64_MAX - 7, good, n, 8);
    check_refused(1, ERR_CORRUPT, "leaves the file");
    write_safetensors("model.safetensors", n + 9, good, n, 8);
    check_refused(2, ERR_CORRUPT, "leaves the file");
    write_safetensors("model.safetensors", n + 1, good, n, 8);
    check_refused(3, ERR_CORRUPT, "not JSON");
    write_safetensors("model.safetensors", 0, good, n, 8);
    check_refused(4, ERR_CORRUPT, "not JSON");
    write_text("model.safetensors", "short");
    check_refused(5, ERR_CORRUPT, "model.safetensors: 5 bytes are too few for a header");
    write_text("model.safetensors", "");
    check_refused(6, ERR_CORRUPT, "0 bytes are too few");
    write_text("model.safetensors",
               "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n");
    check_refused(7, ERR_CORRUPT, "leaves the file");
}
END_TEST

START_TEST(test_open_huge_header_is_refused)
{
    size_t n = SAFETENSORS_MAX_HEADER_BYTES + 1;
    char *spaces = malloc(n);
    ck_assert_ptr_nonnull(spaces);
    memset(spaces, ' ', n);
    memcpy(spaces, "{}", 2);
    write_safetensors("model.safetensors", n, spaces, n, 0);
    check_refused(0, ERR_RANGE, "its header has 8388609 bytes, the limit is 8388608");
    write_safetensors("model.safetensors", n - 1, spaces, n - 1, 0);
    safetensors_close(open_good());
    /* Deep nesting ends in an error, not on the stack. */
    memset(spaces, '[', n - 1);
    write_safetensors("model.safetensors", n - 1, spaces, n - 1, 0);
    check_refused(1, ERR_CORRUPT, "maximum parsing depth");
    free(spaces);
}
END_TEST

/* 10^5 tensors that all claim the same bytes: refused before any is read. */
START_TEST(test_open_overlap_bomb_is_refused)
{
    size_t cap = 7 << 20, n = 1;
    char *header = malloc(cap);
    ck_assert_ptr_nonnull(header);
    header[0] = '{';
    for (int i = 0; i < 100000; i++)
        n += (size_t)snprintf(header + n, cap - n, "%s\"%d\":" TENSOR("U8", "[8]", "0", "8"),
                              i == 0 ? "" : ",", i);
    header[n++] = '}';
    write_safetensors("model.safetensors", n, header, n, 8);
    check_refused(0, ERR_CORRUPT, "inside that of the tensor before");
    free(header);
}
END_TEST

START_TEST(test_open_long_name_is_refused)
{
    char header[SAFETENSORS_MAX_NAME_BYTES + 100], name[SAFETENSORS_MAX_NAME_BYTES + 2];
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    snprintf(header, sizeof header, "{\"%s\":" F32_2 "}", name);
    write_good("model.safetensors", header, 8);
    check_refused(0, ERR_RANGE, "its name has 513 bytes, the limit is 512");
    name[sizeof name - 2] = '\0';
    snprintf(header, sizeof header, "{\"%s\":" F32_2 "}", name);
    write_good("model.safetensors", header, 8);
    safetensors_close(open_good());
}
END_TEST

START_TEST(test_open_nothing_there_says_what_was_looked_for)
{
    check_refused(0, ERR_NOTFOUND,
                  "looked for model.safetensors and model.safetensors.index.json");
    write_text("pytorch_model.bin", "");
    check_refused(1, ERR_NOTFOUND, "'pytorch_model.bin' there is not supported");
    strcat(dir, "/gone");
    check_refused(2, ERR_NOTFOUND, "looked for model.safetensors");
    *strrchr(dir, '/') = '\0';
    char path[128];
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    ck_assert_int_eq(mkdir(path, 0700), 0);
    check_refused(3, ERR_IO, "model.safetensors: not a regular file");
    rmdir(path);
    ck_assert_int_eq(mkfifo(path, 0600), 0);
    check_refused(4, ERR_IO, "model.safetensors: not a regular file");
}
END_TEST

START_TEST(test_open_good_shards)
{
    write_good("model-00001-of-000002.safetensors", "{\"a\":" F32_2 "}", 8);
    write_good("model-00002-of-000002.safetensors",
               "{\"b\":" F32_2 ",\"extra\":" TENSOR("U8", "[1]", "8", "9") "}", 9);
    write_text("model.safetensors.index.json",
               "{\"metadata\":{\"total_size\":\"16 or so\"},\"weight_map\":{"
               "\"b\":\"model-00002-of-000002.safetensors\","
               "\"a\":\"model-00001-of-000002.safetensors\"}}");
    struct safetensors *st = open_good();
    struct host_tensor t;
    struct error err;
    ck_assert_uint_eq(safetensors_count(st), 3);
    ck_assert_uint_eq(safetensors_total_bytes(st), 17);
    ck_assert_int_eq(safetensors_take(st, "a", 0, 2, &t, &err), 0);
    ck_assert_int_eq(safetensors_take(st, "b", 0, 2, &t, &err), 0);
    ck_assert_str_eq(safetensors_unused(st, 0)->name, "extra");
    safetensors_close(st);
}
END_TEST

/* model.safetensors goes before the index, as in transformers. */
START_TEST(test_open_single_file_goes_first)
{
    write_text("model.safetensors.index.json", "{");
    write_good("model.safetensors", "{\"a\":" F32_2 "}", 8);
    safetensors_close(open_good());
}
END_TEST

static const struct {
    const char *index;
    int code;
    const char *text;
} bad_indices[] = {
    {"{", ERR_CORRUPT, "model.safetensors.index.json: not JSON"},
    {"{}", ERR_CORRUPT, "'weight_map' is missing"},
    {"{\"weight_map\":[]}", ERR_CORRUPT, "'weight_map' must be an object"},
    {"{\"weight_map\":{}}", ERR_CORRUPT, "'weight_map' is empty"},
    {"{\"weight_map\":{\"a\":1}}", ERR_CORRUPT, "the file of tensor 'a' is no string"},
    {"{\"weight_map\":{\"a\":\"one\",\"a\":\"two\"}}", ERR_CORRUPT, "duplicate"},
    {"{\"weight_map\":{\"a\":\"../../etc/passwd\"}}", ERR_CORRUPT,
     "'../../etc/passwd' is no name of a file in the directory"},
    {"{\"weight_map\":{\"a\":\"/etc/passwd\"}}", ERR_CORRUPT, "'/etc/passwd' is no name"},
    {"{\"weight_map\":{\"a\":\"sub/one\"}}", ERR_CORRUPT, "'sub/one' is no name"},
    {"{\"weight_map\":{\"a\":\"..\"}}", ERR_CORRUPT, "'..' is no name"},
    {"{\"weight_map\":{\"a\":\".\"}}", ERR_CORRUPT, "'.' is no name"},
    {"{\"weight_map\":{\"a\":\"\"}}", ERR_CORRUPT, "'' is no name"},
    {"{\"weight_map\":{\"a\":\"gone\"}}", ERR_NOTFOUND, "gone: cannot open it: No such file"},
    {"{\"weight_map\":{\"a\":\"sub\"}}", ERR_IO, "sub: not a regular file"},
    {"{\"weight_map\":{\"a\":\"two\"}}", ERR_CORRUPT, "tensor 'a' is not in 'two'"},
    {"{\"weight_map\":{\"a\":\"two\",\"b\":\"one\"}}", ERR_CORRUPT, "is not in"},
    {"{\"weight_map\":{\"c\":\"one\"}}", ERR_CORRUPT, "tensor 'c' is not in 'one'"},
    {"{\"weight_map\":{\"a\":\"one\",\"x\":\"three\"}}", ERR_CORRUPT,
     "tensor 'a' is both in one and in three"},
    {"{\"weight_map\":{\"a\":\"bad\"}}", ERR_CORRUPT, "bad: its header: not JSON"},
};

START_TEST(test_open_bad_index_is_refused)
{
    char path[128];
    snprintf(path, sizeof path, "%s/sub", dir);
    ck_assert_int_eq(mkdir(path, 0700), 0);
    write_good("one", "{\"a\":" F32_2 "}", 8);
    write_good("two", "{\"b\":" F32_2 "}", 8);
    write_good("three", "{\"a\":" F32_2 ",\"x\":" TENSOR("U8", "[1]", "8", "9") "}", 9);
    write_good("bad", "{", 0);
    write_text("model.safetensors.index.json", bad_indices[_i].index);
    check_refused(_i, bad_indices[_i].code, bad_indices[_i].text);
}
END_TEST

START_TEST(test_check_unchanged_sees_growth_and_replacement)
{
    struct error err;
    write_good("model.safetensors", "{\"a\":" F32_2 "}", 8);
    struct safetensors *st = open_good();
    ck_assert_int_eq(safetensors_check_unchanged(st, &err), 0);
    char path[128];
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    FILE *f = fopen(path, "ab");
    ck_assert_ptr_nonnull(f);
    fputc(0, f);
    fclose(f);
    ck_assert_int_eq(safetensors_check_unchanged(st, &err), ERR_IO);
    ck_assert_str_eq(err.text, "model.safetensors: it changed while it was being loaded");
    safetensors_close(st);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("safetensors");
    TCase *tc = tcase_create("safetensors");
    tcase_set_timeout(tc, 30);
    tcase_add_checked_fixture(tc, make_dir, remove_dir);
    tcase_add_test(tc, test_open_good_single_file);
    tcase_add_test(tc, test_open_no_tensors_is_fine);
    tcase_add_loop_test(tc, test_open_bad_header_is_refused, 0, (int)ARRAY_SIZE(bad_headers));
    tcase_add_test(tc, test_open_bad_length_word_is_refused);
    tcase_add_test(tc, test_open_huge_header_is_refused);
    tcase_add_test(tc, test_open_overlap_bomb_is_refused);
    tcase_add_test(tc, test_open_long_name_is_refused);
    tcase_add_test(tc, test_open_nothing_there_says_what_was_looked_for);
    tcase_add_test(tc, test_open_good_shards);
    tcase_add_test(tc, test_open_single_file_goes_first);
    tcase_add_loop_test(tc, test_open_bad_index_is_refused, 0, (int)ARRAY_SIZE(bad_indices));
    tcase_add_test(tc, test_check_unchanged_sees_growth_and_replacement);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
