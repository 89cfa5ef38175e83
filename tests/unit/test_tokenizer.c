/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/tokenizer/normalize.h"
#include "engine/tokenizer/tokenizer_impl.h"
#include "tests/unit/main.h"
#include "tests/unit/tokenizer_fixture.h"

#include <check.h>
#include <utf8proc.h>

/* A byte-level id of a character, and the id of a merge. */
#define MERGE(i) (FIXTURE_BYTE_MERGES + (i))
#define CHAR(c) (FIXTURE_CHAR_A + (c) - 'a')
#define CHAR_MERGE(i) (FIXTURE_CHAR_MERGES + (i))
#define BYTE(b) (3 + (b))
#define END -99

static struct tokenizer *
load(const struct fixture *f)
{
    struct tokenizer *tok = NULL;
    struct error err = {0};
    ck_assert_msg(fixture_load(f, &tok, &err) == 0, "%s", err.text);
    return tok;
}

/* Encodes and compares with ids that END ends. */
static void
check_encode(const struct tokenizer *tok, const char *text, bool add_special,
             bool parse_special, const int32_t *expected)
{
    struct token_ids ids = {0};
    struct error err = {0};
    size_t num = 0;
    while (expected[num] != END)
        num++;
    ck_assert_msg(tokenizer_encode(tok, text, strlen(text), add_special, parse_special, 0, &ids,
                                   &err) == 0,
                  "%s", err.text);
    for (size_t i = 0; i < MIN(num, ids.len); i++)
        ck_assert_msg(ids.ids[i] == expected[i], "'%s': id %zu is %d, not %d", text, i,
                      (int)ids.ids[i], (int)expected[i]);
    ck_assert_msg(ids.len == num, "'%s': %zu ids, not %zu", text, ids.len, num);
    token_ids_release(&ids);
}

#define CHECK_ENCODE(tok, text, ...) \
    check_encode(tok, text, true, true, (const int32_t[]){__VA_ARGS__, END})

static const char *const byte_merges[] = {"h e", "l l", "he ll", "hell o", "a b", "b c"};
static const char *const char_merges[] = {"t h", "th e", "\xe2\x96\x81 the", "b c", "a b"};

/* Encoding. */

START_TEST(test_encode_byte_level_merges_lowest_rank_first)
{
    struct fixture f = {
        .byte_level = true, .merges = byte_merges, .num_merges = ARRAY_SIZE(byte_merges)};
    struct tokenizer *tok = load(&f);
    CHECK_ENCODE(tok, "hello", MERGE(3));
    CHECK_ENCODE(tok, "helo", MERGE(0), 'l', 'o');
    CHECK_ENCODE(tok, "abc", MERGE(4), 'c'); /* "a b" is the earlier merge */
    CHECK_ENCODE(tok, "lll", MERGE(1), 'l'); /* leftmost among equals */
    CHECK_ENCODE(tok, "\xc3\xa9 x", 0xc3, 0xa9, ' ', 'x');
    check_encode(tok, "", true, true, (const int32_t[]){END});
    tokenizer_free(tok);
}
END_TEST

START_TEST(test_encode_char_model_merges_and_falls_back_to_bytes)
{
    struct fixture f = {.merges = char_merges, .num_merges = ARRAY_SIZE(char_merges)};
    struct tokenizer *tok = load(&f);
    CHECK_ENCODE(tok, "the", CHAR_MERGE(1));
    CHECK_ENCODE(tok, " the the", CHAR_MERGE(2), CHAR_MERGE(2));
    CHECK_ENCODE(tok, "abc", CHAR('a'), CHAR_MERGE(3)); /* "b c" is the earlier merge */
    CHECK_ENCODE(tok, "x\xc3\xa9y", CHAR('x'), BYTE(0xc3), BYTE(0xa9), CHAR('y'));
    CHECK_ENCODE(tok, "A", BYTE('A'));
    tokenizer_free(tok);
}
END_TEST

START_TEST(test_encode_unknown_without_fallback_is_unk_or_nothing)
{
    struct fixture f = {.options = "\"unk_token\":\"<unk>\",\"fuse_unk\":true,"};
    struct tokenizer *tok = load(&f);
    CHECK_ENCODE(tok, "aXYb", CHAR('a'), 0, CHAR('b'));
    CHECK_ENCODE(tok, "XY", 0);
    tokenizer_free(tok);
    f.options = "\"unk_token\":\"<unk>\",";
    tok = load(&f);
    CHECK_ENCODE(tok, "aXYb", CHAR('a'), 0, 0, CHAR('b'));
    tokenizer_free(tok);
    f.options = "\"fuse_unk\":false,";
    tok = load(&f);
    CHECK_ENCODE(tok, "aXYb", CHAR('a'), CHAR('b'));
    tokenizer_free(tok);
}
END_TEST

START_TEST(test_encode_ignore_merges_takes_a_whole_piece)
{
    /* "abc" is a token, but merges first make "ab". */
    static const char *const merges[] = {"a b", "b c", "a bc"};
    struct fixture f = {.byte_level = true, .merges = merges, .num_merges = 3};
    struct tokenizer *tok = load(&f);
    CHECK_ENCODE(tok, "abc", MERGE(0), 'c');
    tokenizer_free(tok);
    f.options = "\"ignore_merges\":true,";
    tok = load(&f);
    CHECK_ENCODE(tok, "abc", MERGE(2));
    CHECK_ENCODE(tok, "abcd", MERGE(0), 'c', 'd');
    tokenizer_free(tok);
}
END_TEST

static const char added[] =
    "[{\"id\":300,\"content\":\"<a>\",\"special\":true},"
    "{\"id\":301,\"content\":\"<a><b>\",\"special\":false},"
    "{\"id\":302,\"content\":\"<l>\",\"lstrip\":true},"
    "{\"id\":303,\"content\":\"<r>\",\"rstrip\":true},"
    "{\"id\":304,\"content\":\"word\",\"single_word\":true},"
    "{\"id\":305,\"content\":\"\\u65e5\"}]";

START_TEST(test_encode_added_tokens_are_cut_out_first)
{
    struct fixture f = {.byte_level = true, .added = added};
    struct tokenizer *tok = load(&f);
    CHECK_ENCODE(tok, "<a>x", 300, 'x');
    CHECK_ENCODE(tok, "<a><b><a><", 301, 300, '<'); /* the longest */
    CHECK_ENCODE(tok, "x \t<l> y", 'x', 302, ' ', 'y');
    CHECK_ENCODE(tok, "x <r>\n\xe2\x80\x83y", 'x', ' ', 303, 'y');
    CHECK_ENCODE(tok, "<r> <l>", 303, 302);
    CHECK_ENCODE(tok, "word", 304);
    CHECK_ENCODE(tok, "a-word!", 'a', '-', 304, '!');
    CHECK_ENCODE(tok, "sword", 's', 'w', 'o', 'r', 'd');
    CHECK_ENCODE(tok, "word\xc3\xa9", 'w', 'o', 'r', 'd', 0xc3, 0xa9);
    CHECK_ENCODE(tok, "\xe6\x97\xa5\xe6\x97\xa5", 305, 305);
    check_encode(tok, "<a>", true, false, (const int32_t[]){'<', 'a', '>', END});
    tokenizer_free(tok);
}
END_TEST

START_TEST(test_encode_normalized_added_token_is_found_in_normalised_text)
{
    struct fixture f = {.added = "[{\"id\":300,\"content\":\"x y\",\"normalized\":true},"
                                 "{\"id\":301,\"content\":\"a b\",\"normalized\":false}]"};
    struct tokenizer *tok = load(&f);
    CHECK_ENCODE(tok, "qx yq", CHAR('q'), 300, CHAR('q'));
    CHECK_ENCODE(tok, "x\xe2\x96\x81y", 300);
    CHECK_ENCODE(tok, "a b", 301);
    CHECK_ENCODE(tok, "a\xe2\x96\x81" "b", CHAR('a'), 259, CHAR('b'));
    tokenizer_free(tok);
}
END_TEST

#define TEMPLATE(parts)                                                               \
    "{\"type\":\"TemplateProcessing\",\"single\":[" parts "],\"pair\":[],"            \
    "\"special_tokens\":{\"<bos>\":{\"id\":\"<bos>\",\"ids\":[1],\"tokens\":[]},"     \
    "\"<eos>\":{\"id\":\"<eos>\",\"ids\":[2],\"tokens\":[]}}}"
#define BOS "{\"SpecialToken\":{\"id\":\"<bos>\",\"type_id\":0}}"
#define EOS "{\"SpecialToken\":{\"id\":\"<eos>\",\"type_id\":0}}"
#define TEXT "{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}"
#define CONFIG(rest) "{\"bos_token\":\"<bos>\",\"eos_token\":{\"content\":\"<eos>\"}" rest "}"

static const struct {
    const char *post_processor, *config;
    bool bos, eos;
} special_cases[] = {
    {NULL, NULL, false, false},
    {TEMPLATE(BOS "," TEXT), NULL, true, false},
    {TEMPLATE(TEXT "," EOS), NULL, false, true},
    {"{\"type\":\"Sequence\",\"processors\":[" TEMPLATE(BOS "," TEXT) ","
     TEMPLATE(TEXT "," EOS) "]}", NULL, true, true},
    {TEMPLATE(BOS "," TEXT), CONFIG(""), true, false},
    {TEMPLATE(BOS "," TEXT), CONFIG(",\"add_bos_token\":true"), true, false},
    {TEMPLATE(BOS "," TEXT), CONFIG(",\"add_bos_token\":null"), true, false},
    {TEMPLATE(BOS "," TEXT), CONFIG(",\"add_bos_token\":false"), false, false},
    {NULL, CONFIG(",\"add_bos_token\":true,\"add_eos_token\":false"), true, false},
    {NULL, CONFIG(",\"add_eos_token\":true"), false, true},
    {TEMPLATE(BOS "," TEXT "," EOS), CONFIG(",\"add_eos_token\":false"), true, false},
};

START_TEST(test_encode_add_special_follows_processor_then_config)
{
    struct fixture f = {.post_processor = special_cases[_i].post_processor,
                        .config = special_cases[_i].config};
    struct tokenizer *tok = load(&f);
    int32_t expected[4];
    int n = 0;
    if (special_cases[_i].bos)
        expected[n++] = 1;
    expected[n++] = CHAR('x');
    if (special_cases[_i].eos)
        expected[n++] = 2;
    expected[n] = END;
    check_encode(tok, "x", true, true, expected);
    check_encode(tok, "x", false, true, (const int32_t[]){CHAR('x'), END});
    tokenizer_free(tok);
}
END_TEST

START_TEST(test_encode_limits_and_bad_text_are_errors)
{
    struct fixture f = {.byte_level = true, .added = added};
    struct tokenizer *tok = load(&f);
    struct token_ids ids = {0};
    struct error err = {0};
    ck_assert_int_eq(tokenizer_encode(tok, "ab", 2, true, true, 2, &ids, &err), 0);
    ck_assert_uint_eq(ids.len, 2);
    ck_assert_int_eq(tokenizer_encode(tok, "abc", 3, true, true, 2, &ids, &err), ERR_RANGE);
    ck_assert_int_eq(tokenizer_encode(tok, "<a><a><a>", 9, true, true, 2, &ids, &err), ERR_RANGE);
    ck_assert_int_eq(tokenizer_encode(tok, "\xc3", 1, true, true, 0, &ids, &err), ERR_INVALID);
    ck_assert_int_eq(tokenizer_encode(tok, "\xed\xa0\x80", 3, true, true, 0, &ids, NULL),
                     ERR_INVALID);
    ck_assert_uint_eq(ids.len, 2);
    ck_assert_int_eq(tokenizer_encode(tok, "a\0b", 3, true, true, 0, &ids, &err), 0);
    ck_assert_uint_eq(ids.len, 5);
    ck_assert_int_eq(ids.ids[3], 0);
    token_ids_release(&ids);
    tokenizer_free(tok);
}
END_TEST

/* Pre-tokenizing: pieces separated by '|'. */

static int
join_piece(void *ctx, const char *piece, size_t len)
{
    struct buf *b = ctx;
    if (b->len > 0)
        buf_putc(b, '|');
    buf_append(b, piece, len);
    return 0;
}

static void
check_pieces(const struct pretokenizer *p, const char *text, const char *expected)
{
    struct pretokenize_scratch scratch = {0};
    struct buf pieces = {0};
    const struct piece_sink sink = {join_piece, &pieces};
    ck_assert_int_eq(pretokenizer_run(p, &scratch, text, strlen(text), &sink), 0);
    ck_assert_str_eq(buf_bytes(&pieces), expected);
    pretokenize_scratch_release(&scratch);
    buf_release(&pieces);
}

static const struct {
    enum split_behavior behavior;
    bool invert;
    const char *expected;
} behavior_cases[] = {
    {SPLIT_REMOVED, false, "the|final|countdown"},
    {SPLIT_ISOLATED, false, "the|-|final|-|-|countdown"},
    {SPLIT_MERGED_WITH_PREVIOUS, false, "the-|final-|-|countdown"},
    {SPLIT_MERGED_WITH_NEXT, false, "the|-final|-|-countdown"},
    {SPLIT_CONTIGUOUS, false, "the|-|final|--|countdown"},
    {SPLIT_REMOVED, true, "-|-|-"},
    {SPLIT_MERGED_WITH_PREVIOUS, true, "the|-final|-|-countdown"},
};

START_TEST(test_pretokenize_each_behavior_splits_as_documented)
{
    for (int regex = 0; regex < 2; regex++) {
        struct pretokenizer p = {0};
        int rc = regex ? pretokenizer_add_regex(&p, "-", behavior_cases[_i].behavior,
                                                behavior_cases[_i].invert, NULL)
                       : pretokenizer_add_string(&p, "-", behavior_cases[_i].behavior,
                                                 behavior_cases[_i].invert);
        ck_assert_int_eq(rc, 0);
        check_pieces(&p, "the-final--countdown", behavior_cases[_i].expected);
        check_pieces(&p, "", "");
        pretokenizer_release(&p);
    }
}
END_TEST

START_TEST(test_pretokenize_gpt2_pattern_splits_words_and_spaces)
{
    struct pretokenizer p = {0};
    ck_assert_int_eq(
        pretokenizer_add_regex(&p, PRETOKENIZE_GPT2_PATTERN, SPLIT_ISOLATED, false, NULL), 0);
    check_pieces(&p, "I'll pay  $100 now\n\n ok", "I|'ll| pay| | $|100| now|\n\n| ok");
    check_pieces(&p, "a \xe3\x80\x80 ", "a| \xe3\x80\x80 ");
    /* U+180E is no space. */
    check_pieces(&p, "a\xe1\xa0\x8e\xe1\xa0\x8e" "b", "a|\xe1\xa0\x8e\xe1\xa0\x8e|b");
    pretokenizer_release(&p);
}
END_TEST

START_TEST(test_pretokenize_steps_see_the_pieces_of_earlier_steps)
{
    struct pretokenizer p = {0};
    ck_assert_int_eq(pretokenizer_add_regex(&p, "\\p{N}", SPLIT_ISOLATED, false, NULL), 0);
    ck_assert_int_eq(pretokenizer_add_prefix_space(&p), 0);
    ck_assert_int_eq(
        pretokenizer_add_regex(&p, PRETOKENIZE_GPT2_PATTERN, SPLIT_ISOLATED, false, NULL), 0);
    check_pieces(&p, "ab12 c", " ab| 1| 2| c");
    pretokenizer_release(&p);
    /* An empty match parts the text and is no piece. */
    ck_assert_int_eq(pretokenizer_add_regex(&p, "x*", SPLIT_ISOLATED, false, NULL), 0);
    check_pieces(&p, "axxb", "a|xx|b");
    pretokenizer_release(&p);
}
END_TEST

/* Normalizing. */

static uint32_t
next_random(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

static void
check_nfc(const struct normalizer *n, const char *text, size_t len)
{
    struct normalize_scratch scratch = {0};
    const char *got;
    size_t got_len;
    utf8proc_uint8_t *expected;
    utf8proc_ssize_t expected_len =
        utf8proc_map((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)len, &expected,
                     UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    ck_assert_int_eq(normalizer_run(n, &scratch, text, len, &got, &got_len), 0);
    ck_assert_int_eq(expected_len, (utf8proc_ssize_t)got_len);
    ck_assert_mem_eq(expected, got, got_len);
    free(expected);
    normalize_scratch_release(&scratch);
}

START_TEST(test_normalize_nfc_equals_the_whole_text_composed)
{
    /* Starters, marks of several classes, Hangul, singletons. */
    static const uint32_t cps[] = {'a',    'e',    ' ',    0xe9,   0x300,  0x301,  0x316,
                                   0x327,  0x345,  0x3b1,  0x1100, 0x1161, 0x11a8, 0xac00,
                                   0x212b, 0x304b, 0x3099, 0x9be,  0x9c7,  0x4e2d, 0x1f600,
                                   0x5d0,  0x5b0,  0x340,  0x2126, 0xf900, 0x1e69, 0x2adc};
    struct normalizer n = {0};
    uint32_t state = 7;
    ck_assert_int_eq(normalizer_add(&n, NORMALIZE_NFC, NULL, NULL), 0);
    for (int round = 0; round < 20000; round++) {
        struct buf text = {0};
        for (uint32_t i = 1 + next_random(&state) % 12; i > 0; i--) {
            char utf8[4];
            buf_append(&text, utf8, (size_t)utf8proc_encode_char(
                                        (int32_t)cps[next_random(&state) % ARRAY_SIZE(cps)],
                                        (utf8proc_uint8_t *)utf8));
        }
        check_nfc(&n, text.data, text.len);
        buf_release(&text);
    }
    struct buf marks = {0};
    for (int i = 0; i < 100; i++)
        buf_puts(&marks, i % 2 ? "\xcc\x81" : "\xcc\x96");
    check_nfc(&n, marks.data, marks.len);
    buf_release(&marks);
    normalizer_release(&n);
}
END_TEST

START_TEST(test_normalize_steps_follow_each_other)
{
    struct fixture f = {
        .normalizer = "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFC\"},"
                      "{\"type\":\"Replace\",\"pattern\":{\"String\":\"\\u00e9\"},"
                      "\"content\":\"xx\"},{\"type\":\"Replace\",\"pattern\":"
                      "{\"String\":\"xx\"},\"content\":\"y\"}]}"};
    struct tokenizer *tok = load(&f);
    CHECK_ENCODE(tok, "ae\xcc\x81xxb", CHAR('a'), CHAR('y'), CHAR('y'), CHAR('b'));
    tokenizer_free(tok);
}
END_TEST

/* Merging. */

/* By the definition, in quadratic time. */
static size_t
merge_naively(const struct bpe *b, int32_t *ids, size_t len)
{
    for (;;) {
        uint64_t best = UINT64_MAX;
        size_t at = 0;
        for (size_t i = 0; i + 1 < len; i++) {
            const uint64_t *merge =
                hashmap_get(&b->merges, (uint64_t)(uint32_t)ids[i] << 32 | (uint32_t)ids[i + 1]);
            if (merge != NULL && *merge >> 32 < best >> 32) {
                best = *merge;
                at = i;
            }
        }
        if (best == UINT64_MAX)
            return len;
        ids[at] = (int32_t)(uint32_t)best;
        memmove(ids + at + 1, ids + at + 2, (len - at - 2) * sizeof *ids);
        len--;
    }
}

static const char *const dense_merges[] = {"a a",  "b a",   "a b",   "aa a",  "ab ab",
                                           "aa b", "ba ba", "abab a", "b b",  "aaa aaa"};

START_TEST(test_encode_random_words_equal_the_definition)
{
    uint32_t state = 5;
    for (int byte_level = 0; byte_level < 2; byte_level++) {
        struct fixture f = {.byte_level = byte_level,
                            .merges = dense_merges,
                            .num_merges = ARRAY_SIZE(dense_merges)};
        struct tokenizer *tok = load(&f);
        for (int round = 0; round < 3000; round++) {
            char text[200];
            int32_t expected[201];
            size_t len = 1 + next_random(&state) % sizeof text;
            for (size_t i = 0; i < len; i++) {
                text[i] = "aaaabbbc"[next_random(&state) % 8];
                expected[i] = byte_level ? text[i] : CHAR(text[i]);
            }
            size_t num = merge_naively(&tok->bpe, expected, len);
            struct token_ids ids = {0};
            ck_assert_int_eq(tokenizer_encode(tok, text, len, false, true, 0, &ids, NULL), 0);
            ck_assert_uint_eq(ids.len, num);
            ck_assert_mem_eq(ids.ids, expected, num * sizeof *expected);
            token_ids_release(&ids);
        }
        tokenizer_free(tok);
    }
}
END_TEST

START_TEST(test_bpe_long_word_takes_linearly_many_merges)
{
    const size_t len = 1 << 20;
    char *text = malloc(len);
    for (int byte_level = 0; byte_level < 2; byte_level++) {
        struct fixture f = {.byte_level = byte_level,
                            .merges = dense_merges,
                            .num_merges = ARRAY_SIZE(dense_merges)};
        struct tokenizer *tok = load(&f);
        uint32_t state = 5;
        for (int kind = 0; kind < 3; kind++) {
            struct bpe_scratch scratch = {0};
            struct token_ids ids = {0};
            for (size_t i = 0; i < len; i++)
                text[i] = kind == 0 ? 'a' : kind == 1 ? "ab"[i % 2] : "ab"[next_random(&state) % 2];
            ck_assert_int_eq(bpe_encode(&tok->bpe, &scratch, text, len, &ids), 0);
            ck_assert_uint_lt(scratch.num_merges, 3 * len);
            bpe_scratch_release(&scratch);
            token_ids_release(&ids);
        }
        tokenizer_free(tok);
    }
    free(text);
}
END_TEST

static const char *const worst_texts[] = {" ",      "a",       "\n",       "0",
                                          "<a><b",  "<l> ",    " \n",      "a\xcc\x81\xcc\x96",
                                          "\xcc\x81\xcc\x96", "'", "ab ", "\xe4\xb8\xad", "word"};

/* 1 MB of each; what is quadratic runs into the time-out of the test case. */
START_TEST(test_encode_worst_texts_end)
{
    static const char nfc[] = "{\"type\":\"NFC\"}";
    struct buf text = {0};
    while (text.len < 1 << 20)
        buf_puts(&text, worst_texts[_i]);
    for (int byte_level = 0; byte_level < 2; byte_level++) {
        struct fixture f = {.byte_level = byte_level,
                            .merges = dense_merges,
                            .num_merges = ARRAY_SIZE(dense_merges),
                            .added = added,
                            .normalizer = byte_level ? nfc : NULL};
        struct tokenizer *tok = load(&f);
        struct token_ids ids = {0};
        ck_assert_int_eq(tokenizer_encode(tok, text.data, text.len, true, true, 0, &ids, NULL), 0);
        token_ids_release(&ids);
        tokenizer_free(tok);
    }
    buf_release(&text);
}
END_TEST

/* Questions about tokens. */

START_TEST(test_token_questions_are_answered)
{
    struct fixture f = {.byte_level = true, .added = added, .config = "{}"};
    struct tokenizer *tok = load(&f);
    size_t len = 0;
    ck_assert_int_eq(tokenizer_num_ids(tok), 306);
    ck_assert_str_eq(tokenizer_token_string(tok, ' '), "\xc4\xa0");
    ck_assert_mem_eq(tokenizer_token_bytes(tok, 0xe4, &len), "\xe4", 1);
    ck_assert_uint_eq(len, 1);
    ck_assert_str_eq(tokenizer_token_bytes(tok, 300, &len), "<a>");
    ck_assert_ptr_null(tokenizer_token_bytes(tok, 299, &len));
    ck_assert_ptr_null(tokenizer_token_bytes(tok, -1, &len));
    ck_assert_ptr_null(tokenizer_token_string(tok, 306));
    ck_assert_int_eq(tokenizer_token_id(tok, "<a><b>"), 301);
    ck_assert_int_eq(tokenizer_token_id(tok, "none"), -1);
    ck_assert(tokenizer_is_special(tok, 300));
    ck_assert(!tokenizer_is_special(tok, 301));
    ck_assert(!tokenizer_is_special(tok, 299));
    ck_assert_int_eq(tokenizer_bos_id(tok), -1);
    ck_assert_ptr_null(tokenizer_bos_text(tok));
    ck_assert_ptr_null(tokenizer_chat_template(tok));
    ck_assert(tokenizer_truncates_left(tok));
    ck_assert_uint_eq(tokenizer_max_token_bytes(tok), 6);
    tokenizer_free(tok);
}
END_TEST

static const struct {
    const char *config, *chat_template;
    bool left;
} config_cases[] = {
    {CONFIG(",\"model_max_length\":1000000000000000019884624838656"), NULL, true},
    {CONFIG(",\"chat_template\":\"one\",\"truncation_side\":\"right\""), "one", false},
    {CONFIG(",\"chat_template\":[{\"name\":\"tool\",\"template\":\"t\"},"
            "{\"name\":\"default\",\"template\":\"d\"}]"), "d", true},
    {CONFIG(",\"chat_template\":[{\"name\":\"rag\",\"template\":\"r\"}]"), "r", true},
    {CONFIG(",\"chat_template\":null,\"truncation_side\":\"left\""), NULL, true},
};

START_TEST(test_load_config_members_are_read)
{
    struct fixture f = {.config = config_cases[_i].config};
    struct tokenizer *tok = load(&f);
    ck_assert_int_eq(tokenizer_bos_id(tok), 1);
    ck_assert_int_eq(tokenizer_eos_id(tok), 2);
    ck_assert_str_eq(tokenizer_eos_text(tok), "<eos>");
    ck_assert_pstr_eq(tokenizer_chat_template(tok), config_cases[_i].chat_template);
    ck_assert(tokenizer_truncates_left(tok) == config_cases[_i].left);
    tokenizer_free(tok);
}
END_TEST

START_TEST(test_load_added_tokens_decoder_is_used_only_without_added_tokens)
{
    struct fixture f = {.config = "{\"added_tokens_decoder\":{\"400\":{\"content\":\"<z>\","
                                  "\"special\":true}}}"};
    struct tokenizer *tok = load(&f);
    CHECK_ENCODE(tok, "<z>", 400);
    ck_assert(tokenizer_is_special(tok, 400));
    tokenizer_free(tok);
    f.added = added;
    tok = load(&f);
    ck_assert_int_eq(tokenizer_token_id(tok, "<z>"), -1);
    tokenizer_free(tok);
}
END_TEST

START_TEST(test_load_merges_as_pairs_equal_strings)
{
    static const char json[] =
        "{\"pre_tokenizer\":null,\"decoder\":{\"type\":\"Fuse\"},\"model\":{\"type\":\"BPE\","
        "\"vocab\":{\"a\":5,\"b\":1,\"ab\":9,\" \":2,\"a \":3},"
        "\"merges\":[[\"a\",\"b\"],[\"a\",\" \"]]}}";
    struct tokenizer *tok = NULL;
    struct error err = {0};
    ck_assert_msg(fixture_load_bytes(json, strlen(json), NULL, &tok, &err) == 0, "%s", err.text);
    CHECK_ENCODE(tok, "aba b", 9, 3, 1);
    tokenizer_free(tok);
}
END_TEST

static Suite *
make_suite(void)
{
    Suite *suite = suite_create("tokenizer");
    TCase *tc = tcase_create("tokenizer");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, test_encode_byte_level_merges_lowest_rank_first);
    tcase_add_test(tc, test_encode_char_model_merges_and_falls_back_to_bytes);
    tcase_add_test(tc, test_encode_unknown_without_fallback_is_unk_or_nothing);
    tcase_add_test(tc, test_encode_ignore_merges_takes_a_whole_piece);
    tcase_add_test(tc, test_encode_added_tokens_are_cut_out_first);
    tcase_add_test(tc, test_encode_normalized_added_token_is_found_in_normalised_text);
    tcase_add_loop_test(tc, test_encode_add_special_follows_processor_then_config, 0,
                        ARRAY_SIZE(special_cases));
    tcase_add_test(tc, test_encode_limits_and_bad_text_are_errors);
    tcase_add_loop_test(tc, test_pretokenize_each_behavior_splits_as_documented, 0,
                        ARRAY_SIZE(behavior_cases));
    tcase_add_test(tc, test_pretokenize_gpt2_pattern_splits_words_and_spaces);
    tcase_add_test(tc, test_pretokenize_steps_see_the_pieces_of_earlier_steps);
    tcase_add_test(tc, test_normalize_nfc_equals_the_whole_text_composed);
    tcase_add_test(tc, test_normalize_steps_follow_each_other);
    tcase_add_test(tc, test_encode_random_words_equal_the_definition);
    tcase_add_test(tc, test_bpe_long_word_takes_linearly_many_merges);
    tcase_add_loop_test(tc, test_encode_worst_texts_end, 0, ARRAY_SIZE(worst_texts));
    tcase_add_test(tc, test_token_questions_are_answered);
    tcase_add_loop_test(tc, test_load_config_members_are_read, 0, ARRAY_SIZE(config_cases));
    tcase_add_test(tc, test_load_added_tokens_decoder_is_used_only_without_added_tokens);
    tcase_add_test(tc, test_load_merges_as_pairs_equal_strings);
    suite_add_tcase(suite, tc);
    return suite;
}

TEST_MAIN(make_suite)
