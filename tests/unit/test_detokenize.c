/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/tokenizer/detokenize.h"
#include "tests/unit/main.h"
#include "tests/unit/tokenizer_fixture.h"
#include "util/utf8.h"

#include <check.h>

#define R UTF8_REPLACEMENT

static const char *const byte_merges[] = {"h e", "l l", "he ll", "hell o"};
static const char *const char_merges[] = {"t h", "th e", "\xe2\x96\x81 the"};
static const char byte_added[] =
    "[{\"id\":260,\"content\":\"<s>\",\"special\":true},"
    "{\"id\":261,\"content\":\"<think>\",\"special\":false},"
    "{\"id\":262,\"content\":\"\\u00e9\\uff5c\",\"special\":false},"
    "{\"id\":263,\"content\":\"\\u00e9a\",\"special\":false}]";
static const char char_added[] =
    "[{\"id\":1,\"content\":\"<bos>\",\"special\":true},"
    "{\"id\":300,\"content\":\"x y\",\"special\":false,\"normalized\":true}]";

static struct tokenizer *tok_bytes, *tok_chars;

static void
setup(void)
{
    struct error err = {0};
    struct fixture f = {.byte_level = true,
                        .merges = byte_merges,
                        .num_merges = ARRAY_SIZE(byte_merges),
                        .added = byte_added};
    ck_assert_msg(fixture_load(&f, &tok_bytes, &err) == 0, "%s", err.text);
    f = (struct fixture){
        .merges = char_merges, .num_merges = ARRAY_SIZE(char_merges), .added = char_added};
    ck_assert_msg(fixture_load(&f, &tok_chars, &err) == 0, "%s", err.text);
}

static void
teardown(void)
{
    tokenizer_free(tok_bytes);
    tokenizer_free(tok_chars);
}

#define MAX_IDS 12

static const struct decode_case {
    bool chars; /* of which tokenizer */
    int32_t ids[MAX_IDS]; /* ended by -1 */
    const char *expected, *expected_skip; /* the latter NULL: the same */
} decode_cases[] = {
    {false, {259, 32, 'x', -1}, "hello x", NULL},
    {false, {260, 'a', 261, -1}, "<s>a<think>", "a<think>"},
    {false, {0xe4, 0xb8, 0xad, -1}, "\xe4\xb8\xad", NULL},
    {false, {0xe4, 0xb8, -1}, R, NULL},
    {false, {0xe4, 0xb8, 'a', -1}, R "a", NULL},
    {false, {0xff, 0xfe, -1}, R R, NULL},
    {false, {0xf0, 0x9f, 0xf0, 0x9f, 0x98, 0x80, -1}, R "\xf0\x9f\x98\x80", NULL},
    /* A special token left out does not part the bytes around it. */
    {false, {0xc3, 260, 0xa9, -1}, R "<s>" R, "\xc3\xa9"},
    /* Ids without an entry give nothing. */
    {false, {0xc3, 264, 1000000, -5, 0xa9, -1}, "\xc3\xa9", NULL},
    /* A token outside the 256 characters is its own text; one inside is not. */
    {false, {262, -1}, "\xc3\xa9\xef\xbd\x9c", NULL},
    {false, {263, -1}, R "a", NULL},
    {true, {288, 265, -1}, " thef", NULL},
    {true, {3 + 0xe4, 3 + 0xb8, 3 + 0xad, 260, -1}, "\xe4\xb8\xad" "a", NULL},
    {true, {3 + 'A', -1}, "A", NULL},
    /* A run that is not valid as a whole: U+FFFD for every byte. */
    {true, {3 + 0xff, 3 + 'A', -1}, R R, NULL},
    {true, {3 + 'A', 3 + 0xe4, 3 + 0xb8, -1}, R R R, NULL},
    {true, {3 + 'A', 260, 3 + 0xe4, 260, -1}, "Aa" R "a", NULL},
    {true, {3 + 0xc3, 1, 3 + 0xa9, -1}, R "<bos>" R, "\xc3\xa9"},
    {true, {3 + 0xff, 3 + 0xe4, 3 + 0xb8, 3 + 0xad, 259, -1}, R R R R " ", NULL},
    /* Looked for as "x▁y", decoded through the same steps. */
    {true, {300, -1}, "x y", NULL},
};

static size_t
count_ids(const int32_t *ids)
{
    size_t n = 0;
    while (ids[n] != -1)
        n++;
    return n;
}

START_TEST(test_decode_each_case_equals_reference)
{
    const struct decode_case *c = &decode_cases[_i];
    const struct tokenizer *tok = c->chars ? tok_chars : tok_bytes;
    for (int skip = 0; skip < 2; skip++) {
        const char *expected = skip && c->expected_skip ? c->expected_skip : c->expected;
        struct buf whole = {0}, pieces = {0};
        struct detokenizer d;
        tokenizer_decode(tok, c->ids, count_ids(c->ids), skip, &whole);
        ck_assert_str_eq(buf_bytes(&whole), expected);
        detokenizer_init(&d, tok, skip);
        for (size_t i = 0; i < count_ids(c->ids); i++) {
            detokenizer_push(&d, c->ids[i], &pieces);
            ck_assert(utf8_valid(buf_bytes(&pieces), buf_len(&pieces)));
        }
        detokenizer_finish(&d, &pieces);
        ck_assert_str_eq(buf_bytes(&pieces), expected);
        buf_release(&whole);
        buf_release(&pieces);
    }
}
END_TEST

static uint32_t
next_random(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

/* Random ids, bytes of characters among them; runs stay below the bound. */
START_TEST(test_push_random_ids_equals_decode)
{
    uint32_t state = (uint32_t)_i + 1;
    const struct tokenizer *tok = _i % 2 ? tok_chars : tok_bytes;
    int base = _i % 2 ? 3 : 0;
    for (int round = 0; round < 2000; round++) {
        int32_t ids[40];
        size_t len = 0, run = 0;
        while (len + 4 < ARRAY_SIZE(ids)) {
            uint32_t kind = next_random(&state) % 8;
            if (kind < 4 && run < DETOKENIZER_MAX_HELD - 4) {
                char utf8[UTF8_MAX_BYTES];
                int n = utf8_encode(0x80u << next_random(&state) % 11, utf8);
                if (kind == 0)
                    n -= n > 1;
                for (int i = 0; i < n; i++)
                    ids[len++] = base + (unsigned char)utf8[i];
                run += (size_t)n;
            } else {
                ids[len++] = (int32_t)(next_random(&state) % 310);
                run = 0;
            }
        }
        bool skip = next_random(&state) % 2;
        struct buf whole = {0}, pieces = {0};
        struct detokenizer d;
        tokenizer_decode(tok, ids, len, skip, &whole);
        detokenizer_init(&d, tok, skip);
        for (size_t i = 0; i < len; i++)
            detokenizer_push(&d, ids[i], &pieces);
        detokenizer_finish(&d, &pieces);
        ck_assert_uint_eq(buf_len(&whole), buf_len(&pieces));
        ck_assert_mem_eq(buf_bytes(&whole), buf_bytes(&pieces), buf_len(&whole));
        buf_release(&whole);
        buf_release(&pieces);
    }
}
END_TEST

START_TEST(test_push_byte_level_holds_only_an_incomplete_character)
{
    struct detokenizer d;
    struct buf out = {0};
    detokenizer_init(&d, tok_bytes, false);
    detokenizer_push(&d, 'a', &out);
    ck_assert_uint_eq(buf_len(&out), 1);
    detokenizer_push(&d, 0xf0, &out);
    detokenizer_push(&d, 0x9f, &out);
    detokenizer_push(&d, 0x98, &out);
    ck_assert_uint_eq(buf_len(&out), 1);
    detokenizer_push(&d, 0x80, &out);
    ck_assert_str_eq(buf_bytes(&out), "a\xf0\x9f\x98\x80");
    buf_release(&out);
}
END_TEST

START_TEST(test_push_long_valid_run_is_given_out_in_bounded_memory)
{
    struct detokenizer d;
    struct buf out = {0}, whole = {0};
    int32_t ids[3000];
    for (size_t i = 0; i < ARRAY_SIZE(ids); i++)
        ids[i] = 3 + (unsigned char)"\xe4\xb8\xad"[i % 3];
    detokenizer_init(&d, tok_chars, false);
    for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
        detokenizer_push(&d, ids[i], &out);
        ck_assert(i + 1 - buf_len(&out) <= DETOKENIZER_MAX_HELD);
    }
    detokenizer_finish(&d, &out);
    tokenizer_decode(tok_chars, ids, ARRAY_SIZE(ids), false, &whole);
    ck_assert_str_eq(buf_bytes(&out), buf_bytes(&whole));
    buf_release(&out);
    buf_release(&whole);
}
END_TEST

START_TEST(test_decode_one_half_character_is_replacement)
{
    struct buf out = {0};
    tokenizer_decode_one(tok_bytes, 0xe4, &out);
    tokenizer_decode_one(tok_bytes, 260, &out);
    tokenizer_decode_one(tok_bytes, 999, &out);
    ck_assert_str_eq(buf_bytes(&out), R "<s>");
    buf_release(&out);
}
END_TEST

static Suite *
make_suite(void)
{
    Suite *suite = suite_create("detokenize");
    TCase *tc = tcase_create("detokenize");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, test_decode_each_case_equals_reference, 0, ARRAY_SIZE(decode_cases));
    tcase_add_loop_test(tc, test_push_random_ids_equals_decode, 0, 6);
    tcase_add_test(tc, test_push_byte_level_holds_only_an_incomplete_character);
    tcase_add_test(tc, test_push_long_valid_run_is_given_out_in_bounded_memory);
    tcase_add_test(tc, test_decode_one_half_character_is_replacement);
    suite_add_tcase(suite, tc);
    return suite;
}

TEST_MAIN(make_suite)
