/* SPDX-License-Identifier: Apache-2.0 */
/* The HTML report: hostile texts stay texts, and the file is whole or absent. */
#include "loadgen/report_html.h"
#include "tests/unit/main.h"

#include <check.h>
#include <dirent.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SCRIPT "<script type=\"application/json\" id=\"result\">"

static struct buf json;
static struct buf page;
static struct error error;
static char dir[64];
static char path[128];

static void
setup(void)
{
    strcpy(dir, "/tmp/report-html-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/report.html", dir);
    json = (struct buf){0};
    page = (struct buf){0};
    error = (struct error){0};
}

static void
teardown(void)
{
    unlink(path);
    ck_assert_int_eq(rmdir(dir), 0); /* nothing else was left behind */
    buf_release(&json);
    buf_release(&page);
}

static size_t
count(const char *text, const char *word)
{
    size_t n = 0;
    for (const char *at = strstr(text, word); at != NULL; at = strstr(at + 1, word))
        n++;
    return n;
}

/* The text of the script element that holds the result, to be freed. */
static char *
embedded(void)
{
    const char *from = strstr(buf_bytes(&page), SCRIPT);
    ck_assert_ptr_nonnull(from);
    from += strlen(SCRIPT);
    const char *to = strstr(from, "</script>");
    ck_assert_ptr_nonnull(to);
    return strndup(from, (size_t)(to - from));
}

static void
read_file(struct buf *ret)
{
    char bytes[4096];
    FILE *file = fopen(path, "re");
    ck_assert_ptr_nonnull(file);
    for (size_t n; (n = fread(bytes, 1, sizeof bytes, file)) > 0;)
        buf_append(ret, bytes, n);
    fclose(file);
}

START_TEST(test_template_has_the_placeholder_once)
{
    buf_append(&page, report_html_template, report_html_template_bytes);
    ck_assert_uint_eq(strlen(buf_bytes(&page)), report_html_template_bytes);
    ck_assert_uint_eq(count(buf_bytes(&page), REPORT_HTML_PLACEHOLDER), 1);
    ck_assert_uint_eq(count(buf_bytes(&page), SCRIPT REPORT_HTML_PLACEHOLDER "</script>"), 1);
}
END_TEST

START_TEST(test_template_loads_nothing_and_writes_no_markup)
{
    static const char *const forbidden[] = {
        "innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function",
        "<link rel=\"stylesheet", "src=", "@import", "url(", "fetch(", "XMLHttpRequest", "https:",
    };
    buf_append(&page, report_html_template, report_html_template_bytes);
    for (size_t i = 0; i < ARRAY_SIZE(forbidden); i++)
        ck_assert_msg(count(buf_bytes(&page), forbidden[i]) == 0, "%s", forbidden[i]);
    ck_assert_uint_eq(count(buf_bytes(&page), "default-src 'none'"), 1);
}
END_TEST

START_TEST(test_report_html_equals_template_around_the_result)
{
    static const char text[] = "{\"a\": [1, 2.5, \"x\"]}";
    buf_puts(&json, text);
    report_html(&json, &page);
    char *found = embedded();
    ck_assert_str_eq(found, text);
    free(found);
    ck_assert_uint_eq(buf_len(&page), report_html_template_bytes -
                                          strlen(REPORT_HTML_PLACEHOLDER) + strlen(text));
    ck_assert_uint_eq(count(buf_bytes(&page), REPORT_HTML_PLACEHOLDER), 0);
}
END_TEST

static const char *const hostile[] = {
    "</script><script>alert(1)</script>",
    "</SCRIPT >",
    "<!--<script>",
    "-->",
    "<",
    ("a\xe2\x80\xa8" "b\xe2\x80\xa9"),
    "\xe2\x80\xa7 \xe2\x82\xac",
    REPORT_HTML_PLACEHOLDER,
    "\\u003c \\ \" \n &lt; &amp;",
};

START_TEST(test_report_html_hostile_text_stays_text)
{
    json_t *object = json_object();
    json_object_set_new(object, "error", json_string(hostile[_i]));
    char *text = json_dumps(object, 0);
    buf_puts(&json, text);
    report_html(&json, &page);
    char *found = embedded();
    ck_assert_ptr_null(strchr(found, '<'));
    ck_assert_ptr_null(strstr(found, "\xe2\x80\xa8"));
    ck_assert_ptr_null(strstr(found, "\xe2\x80\xa9"));
    json_t *back = json_loads(found, 0, NULL);
    ck_assert_ptr_nonnull(back);
    ck_assert_int_eq(json_equal(back, object), 1);
    json_decref(back);
    json_decref(object);
    free(found);
    free(text);
}
END_TEST

/* Cut in the middle of U+2028: no byte beyond the end is read. */
START_TEST(test_report_html_cut_character_is_kept)
{
    buf_append(&json, "\"\xe2\x80", 3);
    report_html(&json, &page);
    char *found = embedded();
    ck_assert_str_eq(found, "\"\xe2\x80");
    free(found);
}
END_TEST

START_TEST(test_save_writes_the_page)
{
    struct buf saved = {0};
    buf_puts(&json, "{\"model_id\": \"<m>\"}");
    ck_assert_int_eq(report_html_save(&json, path, &error), 0);
    report_html(&json, &page);
    read_file(&saved);
    ck_assert_str_eq(buf_bytes(&saved), buf_bytes(&page));
    buf_release(&saved);
}
END_TEST

START_TEST(test_save_replaces_the_file_and_obeys_the_umask)
{
    struct stat before, after;
    umask(027);
    buf_puts(&json, "{}");
    ck_assert_int_eq(report_html_save(&json, path, &error), 0);
    ck_assert_int_eq(stat(path, &before), 0);
    FILE *reader = fopen(path, "re"); /* who has the old file open keeps it whole */
    ck_assert_ptr_nonnull(reader);
    ck_assert_int_eq(report_html_save(&json, path, &error), 0);
    ck_assert_int_eq(stat(path, &after), 0);
    ck_assert_uint_ne(before.st_ino, after.st_ino);
    ck_assert_uint_eq(after.st_mode & 0777, 0640);
    ck_assert_int_eq(fseek(reader, 0, SEEK_END), 0);
    ck_assert_int_eq(ftell(reader), before.st_size);
    fclose(reader);
}
END_TEST

START_TEST(test_save_through_a_link_keeps_the_link)
{
    char link[128];
    struct stat info;
    snprintf(link, sizeof link, "%s/latest.html", dir);
    buf_puts(&json, "{}");
    ck_assert_int_eq(report_html_save(&json, path, &error), 0);
    ck_assert_int_eq(symlink("report.html", link), 0);
    buf_puts(&json, "  ");
    ck_assert_int_eq(report_html_save(&json, link, &error), 0);
    ck_assert_int_eq(lstat(link, &info), 0);
    ck_assert(S_ISLNK(info.st_mode));
    ck_assert_int_eq(stat(path, &info), 0);
    ck_assert_int_eq(info.st_size, (off_t)(report_html_template_bytes -
                                           strlen(REPORT_HTML_PLACEHOLDER) + 4));
    unlink(link);
}
END_TEST

START_TEST(test_save_without_directory_fails)
{
    buf_puts(&json, "{}");
    ck_assert_int_eq(report_html_save(&json, "/nowhere/at/all.html", &error), ERR_IO);
    ck_assert_ptr_nonnull(strstr(error.text, "/nowhere/at/all.html"));
    ck_assert_ptr_nonnull(strstr(error.text, "No such file"));
}
END_TEST

START_TEST(test_save_onto_what_is_no_file_fails)
{
    buf_puts(&json, "{}");
    ck_assert_int_eq(report_html_save(&json, dir, &error), ERR_UNSUPPORTED);
    ck_assert_int_eq(report_html_save(&json, "/dev/null", NULL), ERR_UNSUPPORTED);
}
END_TEST

START_TEST(test_save_incomplete_result_fails_and_keeps_the_old_file)
{
    struct buf saved = {0};
    buf_puts(&json, "{\"old\": 1}");
    ck_assert_int_eq(report_html_save(&json, path, &error), 0);
    json.failed = true;
    ck_assert_int_eq(report_html_save(&json, path, &error), ERR_NOMEM);
    read_file(&saved);
    ck_assert_ptr_nonnull(strstr(buf_bytes(&saved), "{\"old\": 1}"));
    buf_release(&saved);
}
END_TEST

static Suite *
make_suite(void)
{
    Suite *suite = suite_create("loadgen_report_html");
    TCase *tcase = tcase_create("all");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, test_template_has_the_placeholder_once);
    tcase_add_test(tcase, test_template_loads_nothing_and_writes_no_markup);
    tcase_add_test(tcase, test_report_html_equals_template_around_the_result);
    tcase_add_loop_test(tcase, test_report_html_hostile_text_stays_text, 0, ARRAY_SIZE(hostile));
    tcase_add_test(tcase, test_report_html_cut_character_is_kept);
    tcase_add_test(tcase, test_save_writes_the_page);
    tcase_add_test(tcase, test_save_replaces_the_file_and_obeys_the_umask);
    tcase_add_test(tcase, test_save_through_a_link_keeps_the_link);
    tcase_add_test(tcase, test_save_without_directory_fails);
    tcase_add_test(tcase, test_save_onto_what_is_no_file_fails);
    tcase_add_test(tcase, test_save_incomplete_result_fails_and_keeps_the_old_file);
    suite_add_tcase(suite, tcase);
    return suite;
}

TEST_MAIN(make_suite)
