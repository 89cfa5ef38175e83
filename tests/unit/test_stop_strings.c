/* SPDX-License-Identifier: Apache-2.0 */
#include "server/stop_strings.h"
#include "tests/unit/main.h"
#include "util/error.h"

#include <check.h>
#include <string.h>

static struct stop_strings
strings_of(const char *const *texts, size_t num)
{
    struct stop_strings s = {0};
    for (size_t i = 0; i < num; i++)
        ck_assert_int_eq(stop_strings_add(&s, texts[i], strlen(texts[i])), 0);
    return s;
}

/* What the definition says: the match that ends first, then list order. */
static bool
find_plainly(const struct stop_strings *s, const char *text, size_t len, int *ret_index,
             size_t *ret_end)
{
    for (size_t end = 1; end <= len; end++) {
        for (size_t k = 0; k < s->len; k++) {
            const struct stop_string *p = &s->items[k];
            if (p->len <= end && memcmp(text + end - p->len, p->text, p->len) == 0) {
                *ret_index = (int)k;
                *ret_end = end;
                return true;
            }
        }
    }
    return false;
}

/* The longest end of the text that begins a stop string without being one. */
static size_t
held_plainly(const struct stop_strings *s, const char *text, size_t len)
{
    size_t held = 0;
    for (size_t k = 0; k < s->len; k++) {
        for (size_t n = 1; n < s->items[k].len && n <= len; n++) {
            if (memcmp(text + len - n, s->items[k].text, n) == 0)
                held = MAX(held, n);
        }
    }
    return held;
}

START_TEST(test_add_refuses_empty_and_long)
{
    struct stop_strings s = {0};
    char text[STOP_STRING_MAX_BYTES + 1];
    memset(text, 'x', sizeof text);
    ck_assert_int_eq(stop_strings_add(&s, "", 0), ERR_INVALID);
    ck_assert_int_eq(stop_strings_add(&s, text, sizeof text), ERR_INVALID);
    ck_assert_int_eq(stop_strings_add(&s, text, sizeof text - 1), 0);
    ck_assert_uint_eq(s.len, 1);
    stop_strings_release(&s);
}
END_TEST

START_TEST(test_push_without_strings_finds_nothing)
{
    struct stop_strings s = {0};
    struct stop_matcher m;
    ck_assert_int_eq(stop_matcher_init(&m, &s), 0);
    ck_assert_int_eq(stop_matcher_push(&m, "abc", 3, true).index, -1);
    ck_assert_uint_eq(stop_matcher_held(&m), 0);
    stop_matcher_release(&m);
}
END_TEST

START_TEST(test_push_across_pieces_finds_the_match)
{
    static const char *const texts[] = {"\n\n", "END."};
    struct stop_strings s = strings_of(texts, 2);
    struct stop_matcher m;
    stop_matcher_init(&m, &s);
    ck_assert_int_eq(stop_matcher_push(&m, "a\nEN", 4, true).index, -1);
    ck_assert_uint_eq(stop_matcher_held(&m), 2);
    ck_assert_int_eq(stop_matcher_push(&m, "", 0, true).index, -1);
    struct stop_match match = stop_matcher_push(&m, "D.x", 3, true);
    ck_assert_int_eq(match.index, 1);
    ck_assert_uint_eq(match.end, 2);
    stop_matcher_release(&m);
    stop_strings_release(&s);
}
END_TEST

START_TEST(test_push_disarmed_ignores_but_remembers)
{
    static const char *const texts[] = {"aba"};
    struct stop_strings s = strings_of(texts, 1);
    struct stop_matcher m;
    stop_matcher_init(&m, &s);
    ck_assert_int_eq(stop_matcher_push(&m, "aba", 3, false).index, -1);
    ck_assert_uint_eq(stop_matcher_held(&m), 1);
    struct stop_match match = stop_matcher_push(&m, "ba", 2, true);
    ck_assert_int_eq(match.index, 0);
    ck_assert_uint_eq(match.end, 2);
    stop_matcher_release(&m);
    stop_strings_release(&s);
}
END_TEST

static uint32_t
next_random(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 16;
}

/* Small alphabets make borders; every cut gives the same answer. */
START_TEST(test_push_agrees_with_the_definition)
{
    uint32_t seed = 7;
    for (int round = 0; round < 20000; round++) {
        struct stop_strings s = {0};
        size_t num = 1 + next_random(&seed) % 4;
        for (size_t k = 0; k < num; k++) {
            char p[6];
            size_t len = 1 + next_random(&seed) % 6;
            for (size_t i = 0; i < len; i++)
                p[i] = (char)('a' + next_random(&seed) % 2);
            stop_strings_add(&s, p, len);
        }
        char text[24];
        size_t len = next_random(&seed) % sizeof text;
        for (size_t i = 0; i < len; i++)
            text[i] = (char)('a' + next_random(&seed) % 3);
        struct stop_matcher m;
        stop_matcher_init(&m, &s);
        int index = -1, wanted_index = -1;
        size_t end = 0, wanted_end = 0, at = 0;
        while (at < len && index < 0) {
            size_t piece = 1 + next_random(&seed) % 5;
            piece = MIN(piece, len - at);
            struct stop_match match = stop_matcher_push(&m, text + at, piece, true);
            index = match.index;
            end = at + match.end;
            at += piece;
            if (index < 0)
                ck_assert_uint_eq(stop_matcher_held(&m), held_plainly(&s, text, at));
        }
        bool found = find_plainly(&s, text, len, &wanted_index, &wanted_end);
        ck_assert_int_eq(index, wanted_index);
        if (found)
            ck_assert_uint_eq(end, wanted_end);
        stop_matcher_release(&m);
        stop_strings_release(&s);
    }
}
END_TEST

static Suite *
make_suite(void)
{
    Suite *s = suite_create("stop_strings");
    TCase *t = tcase_create("all");
    tcase_add_test(t, test_add_refuses_empty_and_long);
    tcase_add_test(t, test_push_without_strings_finds_nothing);
    tcase_add_test(t, test_push_across_pieces_finds_the_match);
    tcase_add_test(t, test_push_disarmed_ignores_but_remembers);
    tcase_add_test(t, test_push_agrees_with_the_definition);
    suite_add_tcase(s, t);
    return s;
}

TEST_MAIN(make_suite)
