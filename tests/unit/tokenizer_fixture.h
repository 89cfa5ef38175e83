/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Small tokenizers for tests, written as tokenizer.json and loaded from a
 * temporary directory. Byte-level: ids 0..255 are the bytes, then the merges in
 * order. Otherwise: 0 <unk>, 1 <bos>, 2 <eos>, 3..258 <0x00>..<0xFF>, 259 "▁",
 * 260..285 a..z, then the merges.
 */
#ifndef TESTS_UNIT_TOKENIZER_FIXTURE_H
#define TESTS_UNIT_TOKENIZER_FIXTURE_H

#include "engine/tokenizer/byte_level.h"
#include "engine/tokenizer/tokenizer.h"

#include <string.h>
#include <unistd.h>

#define FIXTURE_BYTE_MERGES 256
#define FIXTURE_CHAR_A 260
#define FIXTURE_CHAR_MERGES 286

/* Members left NULL take what the family usually has. */
struct fixture {
    bool byte_level;
    const char *const *merges; /* "a b"; each makes the next id */
    size_t num_merges;
    const char *options; /* more members of the model: "\"fuse_unk\":true," */
    const char *added, *normalizer, *pre_tokenizer, *post_processor, *decoder; /* JSON */
    const char *config; /* tokenizer_config.json; NULL: no such file */
};

static void
fixture_vocab(const struct fixture *f, struct buf *json)
{
    if (f->byte_level) {
        for (int i = 0; i < 256; i++)
            buf_printf(json, "%s\"\\u%04x\":%d", i == 0 ? "" : ",",
                       (unsigned)byte_level_char((unsigned char)i), i);
    } else {
        buf_puts(json, "\"<unk>\":0,\"<bos>\":1,\"<eos>\":2");
        for (int i = 0; i < 256; i++)
            buf_printf(json, ",\"<0x%02X>\":%d", (unsigned)i, 3 + i);
        buf_puts(json, ",\"\\u2581\":259");
        for (int i = 0; i < 26; i++)
            buf_printf(json, ",\"%c\":%d", 'a' + i, FIXTURE_CHAR_A + i);
    }
    for (size_t i = 0; i < f->num_merges; i++) {
        const char *space = strchr(f->merges[i], ' ');
        buf_printf(json, ",\"%.*s%s\":%zu", (int)(space - f->merges[i]), f->merges[i], space + 1,
                   (f->byte_level ? FIXTURE_BYTE_MERGES : FIXTURE_CHAR_MERGES) + i);
    }
}

static void
fixture_json(const struct fixture *f, struct buf *json)
{
    static const char byte_level[] =
        "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":true}";
    static const char replace[] =
        "{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"\\u2581\"}";
    static const char fallback[] =
        "{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Replace\",\"pattern\":"
        "{\"String\":\"\\u2581\"},\"content\":\" \"},{\"type\":\"ByteFallback\"},"
        "{\"type\":\"Fuse\"}]}";
    bool b = f->byte_level;
    buf_printf(json, "{\"version\":\"1.0\",\"added_tokens\":%s,", f->added ? f->added : "[]");
    buf_printf(json, "\"normalizer\":%s,", f->normalizer ? f->normalizer : b ? "null" : replace);
    buf_printf(json, "\"pre_tokenizer\":%s,",
               f->pre_tokenizer ? f->pre_tokenizer : b ? byte_level : "null");
    buf_printf(json, "\"post_processor\":%s,", f->post_processor ? f->post_processor : "null");
    buf_printf(json, "\"decoder\":%s,", f->decoder ? f->decoder : b ? byte_level : fallback);
    buf_printf(json, "\"model\":{\"type\":\"BPE\",%s", f->options ? f->options : "");
    if (!b && f->options == NULL)
        buf_puts(json, "\"byte_fallback\":true,\"unk_token\":\"<unk>\",\"fuse_unk\":true,");
    buf_puts(json, "\"vocab\":{");
    fixture_vocab(f, json);
    buf_puts(json, "},\"merges\":[");
    for (size_t i = 0; i < f->num_merges; i++)
        buf_printf(json, "%s\"%s\"", i == 0 ? "" : ",", f->merges[i]);
    buf_puts(json, "]}}");
}

static bool
fixture_write(const char *dir, const char *name, const char *text, size_t len)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *file = fopen(path, "wb");
    if (file == NULL)
        return false;
    bool ok = fwrite(text, 1, len, file) == len;
    return fclose(file) == 0 && ok;
}

/* Loads from the bytes of the two files (config may be NULL). */
static int
fixture_load_bytes(const char *json, size_t len, const char *config, struct tokenizer **ret,
                   struct error *err)
{
    static const char *const names[] = {"tokenizer.json", "tokenizer_config.json"};
    char dir[] = "/tmp/llmd-tokenizer-XXXXXX", path[256];
    if (mkdtemp(dir) == NULL)
        return ERR_IO;
    int rc = ERR_IO;
    if (fixture_write(dir, names[0], json, len) &&
        (config == NULL || fixture_write(dir, names[1], config, strlen(config))))
        rc = tokenizer_load(dir, ret, err);
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        unlink(path);
    }
    rmdir(dir);
    return rc;
}

static inline int
fixture_load(const struct fixture *f, struct tokenizer **ret, struct error *err)
{
    struct buf json = {0};
    fixture_json(f, &json);
    int rc = fixture_load_bytes(buf_bytes(&json), buf_len(&json), f->config, ret, err);
    buf_release(&json);
    return rc;
}

#endif
