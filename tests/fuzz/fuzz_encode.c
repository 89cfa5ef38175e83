/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Text through small tokenizers of both families and back: ids must have
 * entries, the incremental text must equal the whole one, and byte-level ids
 * must give the text back. The first byte chooses tokenizer and flags.
 */
#include "engine/tokenizer/detokenize.h"
#include "tests/unit/tokenizer_fixture.h"
#include "util/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static const char *const merges[] = {"a a", "a b", "aa a", "h e", "he a", "t h", "th e"};
static const char added[] = "[{\"id\":300,\"content\":\"<a>\",\"special\":true},"
                            "{\"id\":301,\"content\":\"<a><b>\",\"special\":false},"
                            "{\"id\":302,\"content\":\"\\n\\n\"},"
                            "{\"id\":303,\"content\":\"b c\",\"normalized\":true}]";
static const char stripping[] = "[{\"id\":300,\"content\":\"<a>\",\"lstrip\":true},"
                                "{\"id\":301,\"content\":\"bb\",\"single_word\":true},"
                                "{\"id\":302,\"content\":\"  \",\"rstrip\":true}]";
static const char llama3[] =
    "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":"
    "\"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}{1,3}|"
    " ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+\"},"
    "\"behavior\":\"Isolated\"},{\"type\":\"ByteLevel\",\"add_prefix_space\":false,"
    "\"use_regex\":false}]}";

static struct tokenizer *toks[4];

static void
load_all(void)
{
    struct error err = {0};
    struct fixture f[4] = {{.byte_level = true, .added = added, .pre_tokenizer = llama3},
                           {.added = added},
                           {.added = stripping},
                           {.byte_level = true, .normalizer = "{\"type\":\"NFC\"}"}};
    for (int i = 0; i < 4; i++) {
        f[i].merges = merges;
        f[i].num_merges = ARRAY_SIZE(merges);
        ASSERT(fixture_load(&f[i], &toks[i], &err) == 0);
    }
}

static void
check_detokenizer(const struct tokenizer *tok, const struct token_ids *ids, const struct buf *out)
{
    struct detokenizer d;
    struct buf pieces = {0};
    detokenizer_init(&d, tok, false);
    for (size_t i = 0; i < ids->len; i++)
        detokenizer_push(&d, ids->ids[i], &pieces);
    detokenizer_finish(&d, &pieces);
    ASSERT(buf_len(&pieces) == buf_len(out));
    ASSERT(memcmp(buf_bytes(&pieces), buf_bytes(out), buf_len(out)) == 0);
    buf_release(&pieces);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    if (toks[0] == NULL)
        load_all();
    if (len == 0)
        return 0;
    int which = data[0] & 3;
    const struct tokenizer *tok = toks[which];
    struct buf text = {0}, out = {0};
    struct token_ids ids = {0};
    utf8_append_lossy(&text, (const char *)data + 1, len - 1);
    ASSERT(tokenizer_encode(tok, buf_bytes(&text), buf_len(&text), data[0] & 4, data[0] & 8, 0,
                            &ids, NULL) == 0);
    for (size_t i = 0; i < ids.len; i++)
        ASSERT(tokenizer_token_string(tok, ids.ids[i]) != NULL);
    tokenizer_decode(tok, ids.ids, ids.len, false, &out);
    ASSERT(utf8_valid(buf_bytes(&out), buf_len(&out)));
    if (which == 0) {
        ASSERT(buf_len(&out) == buf_len(&text));
        ASSERT(memcmp(buf_bytes(&out), buf_bytes(&text), buf_len(&text)) == 0);
    }
    check_detokenizer(tok, &ids, &out);
    token_ids_release(&ids);
    buf_release(&text);
    buf_release(&out);
    return 0;
}
