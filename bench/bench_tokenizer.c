/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Speed of loading, encoding and decoding, on made-up text of four kinds:
 *
 *     bench_tokenizer MODEL_DIR [MEGABYTES]
 */
#include "engine/tokenizer/detokenize.h"
#include "engine/tokenizer/tokenizer.h"
#include "util/utf8.h"

#include <string.h>

static uint64_t random_state = 88172645463325252u;

static uint32_t
next_random(uint32_t below)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)(random_state >> 32) % below;
}

/* Words of syllables, the short ones often, with some punctuation. */
static void
make_english(struct buf *b, size_t len)
{
    static const char *const common[] = {"the", "of", "and", "to", "in", "a", "is", "that",
                                         "for", "it", "as", "was", "with", "be", "by", "on"};
    static const char *const syllables[] = {"ing", "er", "a", "ly", "ed", "i", "es", "re",
                                            "tion", "in", "con", "ter", "ex", "al", "de", "com",
                                            "o", "di", "en", "an", "ty", "ry", "u", "ti"};
    while (b->len < len && !b->failed) {
        if (next_random(2) == 0) {
            buf_puts(b, common[next_random(ARRAY_SIZE(common))]);
        } else {
            for (uint32_t n = 1 + next_random(4); n > 0; n--)
                buf_puts(b, syllables[next_random(ARRAY_SIZE(syllables))]);
        }
        uint32_t end = next_random(40);
        buf_puts(b, end == 0 ? ".\n\n" : end < 3 ? ". " : end < 6 ? ", " : " ");
    }
}

static void
make_digits(struct buf *b, size_t len)
{
    while (b->len < len && !b->failed)
        buf_printf(b, "%u%s", next_random(1000000), next_random(2) == 0 ? " " : ",");
}

static void
make_cjk(struct buf *b, size_t len)
{
    while (b->len < len && !b->failed) {
        char utf8[UTF8_MAX_BYTES];
        /* Squared, so that some characters are common. */
        uint32_t at = next_random(5000);
        int n = utf8_encode(0x4e00 + at * at / 5000, utf8);
        buf_append(b, utf8, (size_t)n);
        if (next_random(12) == 0)
            buf_puts(b, "\xe3\x80\x82");
    }
}

static void
make_spaces(struct buf *b, size_t len)
{
    while (b->len < len && !b->failed)
        buf_putc(b, ' ');
}

static double
seconds_since(uint64_t start_ns)
{
    return (double)(mono_ns() - start_ns) * 1e-9;
}

static int
bench_text(const struct tokenizer *tok, const char *name, const struct buf *text)
{
    struct token_ids ids = {0};
    struct error err = {0};
    struct buf whole = {0}, pieces = {0};
    uint64_t start = mono_ns();
    if (tokenizer_encode(tok, buf_bytes(text), buf_len(text), false, true, 0, &ids, &err) < 0) {
        fprintf(stderr, "%s\n", err.text);
        return -1;
    }
    double encode_s = seconds_since(start);
    start = mono_ns();
    tokenizer_decode(tok, ids.ids, ids.len, false, &whole);
    double decode_s = seconds_since(start);
    struct detokenizer d;
    detokenizer_init(&d, tok, false);
    start = mono_ns();
    for (size_t i = 0; i < ids.len; i++)
        detokenizer_push(&d, ids.ids[i], &pieces);
    detokenizer_finish(&d, &pieces);
    double stream_s = seconds_since(start);
    double mb = (double)buf_len(text) / 1e6, tokens = (double)ids.len / 1e6;
    printf("%-8s %8.2f MB/s %8.2f Mtoken/s encode, %8.2f Mtoken/s decode, "
           "%8.2f Mtoken/s detokenize\n",
           name, mb / encode_s, tokens / encode_s, tokens / decode_s, tokens / stream_s);
    buf_release(&whole);
    buf_release(&pieces);
    token_ids_release(&ids);
    return 0;
}

int
main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*make)(struct buf *b, size_t len);
    } kinds[] = {{"english", make_english},
                 {"digits", make_digits},
                 {"cjk", make_cjk},
                 {"spaces", make_spaces}};
    if (argc < 2) {
        fprintf(stderr, "usage: %s MODEL_DIR [MEGABYTES]\n", argv[0]);
        return 2;
    }
    size_t len = (size_t)(argc > 2 ? atof(argv[2]) * 1e6 : 2e6);
    struct tokenizer *tok;
    struct error err = {0};
    uint64_t start = mono_ns();
    if (tokenizer_load(argv[1], &tok, &err) < 0) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    printf("load     %8.3f s, %d ids\n", seconds_since(start), (int)tokenizer_num_ids(tok));
    int rc = 0;
    for (size_t i = 0; i < ARRAY_SIZE(kinds) && rc == 0; i++) {
        struct buf text = {0};
        kinds[i].make(&text, len);
        if (text.failed)
            rc = -1;
        else
            rc = bench_text(tok, kinds[i].name, &text);
        buf_release(&text);
    }
    tokenizer_free(tok);
    return rc < 0;
}
