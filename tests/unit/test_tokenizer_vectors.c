/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Real tokenizers against what Hugging Face's `tokenizers` and others recorded
 * for them: ids, text, and text through the incremental detokenizer. The
 * recordings of the large models are not part of the source tree: set
 * LLMD_SHARED_MODELS. What is not there is reported and skipped.
 */
#include "engine/tokenizer/detokenize.h"
#include "engine/tokenizer/tokenizer.h"
#include "tests/unit/main.h"

#include <check.h>
#include <jansson.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

static const char *
env_or(const char *name, const char *otherwise)
{
    const char *value = getenv(name);
    return value != NULL && value[0] != '\0' ? value : otherwise;
}

/* A path below the source directory. */
static const char *
in_source(const char *relative, char path[PATH_MAX])
{
    snprintf(path, PATH_MAX, "%s/%s", env_or("srcdir", "."), relative);
    return path;
}

static const char *
shared_path(const char *relative, char path[PATH_MAX])
{
    char root[PATH_MAX];
    const char *dir = env_or("LLMD_SHARED_MODELS", in_source("../shared/models", root));
    ck_assert_int_lt(snprintf(path, PATH_MAX, "%s/%s", dir, relative), PATH_MAX);
    return path;
}

/* Comparing. */

struct counts {
    int compared, detokenized;
};

static void
check_decoding(const struct tokenizer *tok, const char *name, const struct token_ids *ids,
               bool skip_special, const char *expected, size_t expected_len, struct counts *counts)
{
    struct buf whole = {0}, pieces = {0};
    struct detokenizer d;
    tokenizer_decode(tok, ids->ids, ids->len, skip_special, &whole);
    ck_assert_msg(buf_len(&whole) == expected_len &&
                      memcmp(buf_bytes(&whole), expected, expected_len) == 0,
                  "%s: decoded '%s' instead of '%s'", name, buf_bytes(&whole), expected);
    detokenizer_init(&d, tok, skip_special);
    for (size_t i = 0; i < ids->len; i++)
        detokenizer_push(&d, ids->ids[i], &pieces);
    detokenizer_finish(&d, &pieces);
    ck_assert_msg(buf_len(&pieces) == expected_len &&
                      memcmp(buf_bytes(&pieces), expected, expected_len) == 0,
                  "%s: detokenized '%s' instead of '%s'", name, buf_bytes(&pieces), expected);
    counts->detokenized++;
    buf_release(&whole);
    buf_release(&pieces);
}

static void
encode(const struct tokenizer *tok, const char *text, size_t len, bool add_special,
       struct token_ids *ret)
{
    struct error err = {0};
    int rc = tokenizer_encode(tok, text, len, add_special, true, 0, ret, &err);
    ck_assert_msg(rc == 0, "%s", err.text);
}

static void
check_ids(const char *name, const struct token_ids *ids, const json_t *expected,
          struct counts *counts)
{
    ck_assert_msg(ids->len == json_array_size(expected), "%s: %zu ids instead of %zu", name,
                  ids->len, json_array_size(expected));
    for (size_t i = 0; i < ids->len; i++)
        ck_assert_msg(ids->ids[i] == json_integer_value(json_array_get(expected, i)),
                      "%s: id %zu is %d", name, i, (int)ids->ids[i]);
    counts->compared++;
}

/* One line of our own recordings. */
static void
check_own_line(const struct tokenizer *tok, const json_t *line, struct counts *counts)
{
    const json_t *text = json_object_get(line, "text");
    const json_t *decoded = json_object_get(line, "decoded");
    const json_t *skipped = json_object_get(line, "decoded_skip_special");
    const char *name = json_string_value(json_object_get(line, "name"));
    struct token_ids ids = {0};
    name = name != NULL ? name : json_string_value(text);
    decoded = json_is_string(decoded) ? decoded : text;
    encode(tok, json_string_value(text), json_string_length(text), false, &ids);
    check_ids(name, &ids, json_object_get(line, "ids"), counts);
    check_decoding(tok, name, &ids, false, json_string_value(decoded),
                   json_string_length(decoded), counts);
    if (skipped != NULL) {
        skipped = json_is_string(skipped) ? skipped : decoded;
        check_decoding(tok, name, &ids, true, json_string_value(skipped),
                       json_string_length(skipped), counts);
    }
    token_ids_release(&ids);
}

/* One of transformers.js' expectations. */
static void
check_js_line(const struct tokenizer *tok, const char *family, const json_t *line,
              struct counts *counts)
{
    const json_t *text = json_object_get(line, "text");
    struct token_ids ids = {0};
    if (strcmp(json_string_value(json_object_get(line, "family")), family) != 0)
        return;
    encode(tok, json_string_value(text), json_string_length(text),
           json_is_true(json_object_get(line, "bos_in_ids")), &ids);
    check_ids(json_string_value(json_object_get(line, "case")), &ids,
              json_object_get(line, "ids"), counts);
    token_ids_release(&ids);
}

/* Each line of a file; family NULL: our own recordings. */
static bool
check_lines(const struct tokenizer *tok, const char *path, const char *family,
            struct counts *counts)
{
    FILE *file = fopen(path, "r");
    char *line = NULL;
    size_t cap = 0;
    ssize_t len;
    if (file == NULL)
        return false;
    while ((len = getline(&line, &cap, file)) > 0) {
        json_error_t why;
        json_t *object = json_loadb(line, (size_t)len, JSON_ALLOW_NUL, &why);
        ck_assert_msg(object != NULL, "%s: %s", path, why.text);
        if (family == NULL)
            check_own_line(tok, object, counts);
        else
            check_js_line(tok, family, object, counts);
        json_decref(object);
    }
    free(line);
    fclose(file);
    return true;
}

/* llama.cpp's pairs of texts and lines of ids. */
static bool
check_llama_cpp(const struct tokenizer *tok, const char *base, struct counts *counts)
{
    static const char separator[] = "\n__ggml_vocab_test__\n";
    char relative[PATH_MAX], path[PATH_MAX], texts[8192], line[8192];
    snprintf(relative, sizeof relative, "vectors/llama.cpp/%s.inp", base);
    FILE *file = fopen(shared_path(relative, path), "r");
    if (file == NULL)
        return false;
    size_t len = fread(texts, 1, sizeof texts - 1, file);
    texts[len] = '\0';
    fclose(file);
    snprintf(relative, sizeof relative, "vectors/llama.cpp/%s.out", base);
    if ((file = fopen(shared_path(relative, path), "r")) == NULL)
        return false;
    for (char *text = texts; text != NULL && fgets(line, sizeof line, file) != NULL;) {
        struct token_ids ids = {0};
        char *end = strstr(text, separator), *at = line;
        size_t text_len = end == NULL ? strlen(text) : (size_t)(end - text);
        encode(tok, text, text_len, false, &ids);
        for (size_t i = 0; i < ids.len; i++)
            ck_assert_msg(strtol(at, &at, 10) == ids.ids[i], "'%.*s': id %zu is %d",
                          (int)text_len, text, i, (int)ids.ids[i]);
        ck_assert_uint_eq(strspn(at, " \n"), strlen(at));
        counts->compared++;
        check_decoding(tok, base, &ids, false, text, text_len, counts);
        token_ids_release(&ids);
        text = end == NULL ? NULL : end + strlen(separator);
    }
    fclose(file);
    return true;
}

static bool
check_swift(const struct tokenizer *tok, const char *name, struct counts *counts)
{
    char relative[PATH_MAX], path[PATH_MAX];
    snprintf(relative, sizeof relative, "vectors/swift-transformers/%s", name);
    json_t *object = json_load_file(shared_path(relative, path), 0, NULL);
    if (object == NULL)
        return false;
    const json_t *text = json_object_get(object, "text");
    struct token_ids ids = {0};
    encode(tok, json_string_value(text), json_string_length(text), true, &ids);
    check_ids(name, &ids, json_object_get(object, "token_ids"), counts);
    check_decoding(tok, name, &ids, true, json_string_value(text), json_string_length(text),
                   counts);
    token_ids_release(&ids);
    json_decref(object);
    return true;
}

/* The large models. */

static const struct model {
    const char *dir, *own, *js_family, *llama_cpp, *swift;
    bool bos; /* Python's tokenizer puts BOS first */
} models[] = {
    {"gemma-2-9b-it", "vectors/gemma-2.jsonl", "gemma", NULL, "gemma_encoded.json", true},
    {"DeepSeek-R1-Distill-Llama-8B", "vectors/deepseek-r1-distill-llama.jsonl", "llama",
     "ggml-vocab-llama-bpe.gguf", "llama_3.2_encoded.json", true},
    {"DeepSeek-R1-Distill-Qwen-7B", "vectors/deepseek-r1-distill-qwen.jsonl", "qwen",
     "ggml-vocab-deepseek-r1-qwen.gguf", NULL, true},
};

static void
shell(const char *command)
{
    ck_assert_msg(system(command) == 0, "failed: %s", command);
}

/* The tokenizers are stored packed: loads from an unpacked copy. */
static struct tokenizer *
load_packed(const char *dir)
{
    char temporary[] = "/tmp/llmd-vectors-XXXXXX", command[3 * PATH_MAX];
    struct tokenizer *tok = NULL;
    struct error err = {0};
    ck_assert_ptr_nonnull(mkdtemp(temporary));
    snprintf(command, sizeof command,
             "gzip -dc '%s/tokenizer.json.gz' >%s/tokenizer.json && "
             "cp '%s/tokenizer_config.json' %s/",
             dir, temporary, dir, temporary);
    shell(command);
    int rc = tokenizer_load(temporary, &tok, &err);
    snprintf(command, sizeof command, "rm -r %s", temporary);
    shell(command);
    ck_assert_msg(rc == 0, "%s", err.text);
    return tok;
}

START_TEST(test_encode_recorded_texts_of_large_models_equal)
{
    const struct model *m = &models[_i];
    char path[PATH_MAX];
    struct counts counts = {0};
    if (access(shared_path(m->dir, path), R_OK) != 0) {
        printf("SKIP %s: no '%s'\n", m->dir, path);
        return;
    }
    struct tokenizer *tok = load_packed(path);
    struct token_ids ids = {0};
    encode(tok, "", 0, true, &ids);
    ck_assert_uint_eq(ids.len, m->bos);
    ck_assert_int_eq(ids.ids[0], tokenizer_bos_id(tok));
    token_ids_release(&ids);
    ck_assert_ptr_nonnull(tokenizer_chat_template(tok));
    if (!check_lines(tok, shared_path(m->own, path), NULL, &counts))
        printf("SKIP '%s'\n", path);
    if (!check_lines(tok, shared_path("vectors/transformers.js/expected.jsonl", path),
                     m->js_family, &counts))
        printf("SKIP '%s'\n", path);
    if (m->llama_cpp != NULL && !check_llama_cpp(tok, m->llama_cpp, &counts))
        printf("SKIP '%s'\n", m->llama_cpp);
    if (m->swift != NULL && !check_swift(tok, m->swift, &counts))
        printf("SKIP '%s'\n", m->swift);
    printf("%s: %d texts, %d decodings equal\n", m->dir, counts.compared, counts.detokenized);
    tokenizer_free(tok);
}
END_TEST

/* The models of the source tree and of tools/get-smollm2. */

static void
check_model_dir(const char *dir, const char *recorded)
{
    char path[PATH_MAX];
    struct counts counts = {0};
    struct tokenizer *tok;
    struct error err = {0};
    int rc = tokenizer_load(dir, &tok, &err);
    if (rc == ERR_NOTFOUND) {
        printf("SKIP %s\n", err.text);
        return;
    }
    ck_assert_msg(rc == 0, "%s", err.text);
    if (!check_lines(tok, in_source(recorded, path), NULL, &counts))
        printf("SKIP '%s'\n", path);
    printf("%s: %d texts, %d decodings equal\n", dir, counts.compared, counts.detokenized);
    tokenizer_free(tok);
}

START_TEST(test_encode_recorded_texts_of_demo_equal)
{
    char dir[PATH_MAX];
    check_model_dir(in_source("share/demo", dir), "tests/data/demo/tokenizer.jsonl");
}
END_TEST

START_TEST(test_encode_recorded_texts_of_smollm2_equal)
{
    char dir[PATH_MAX];
    snprintf(dir, sizeof dir, "%s/.cache/llmd/SmolLM2-135M-Instruct", env_or("HOME", "."));
    check_model_dir(env_or("LLMD_SMOLLM2_DIR", dir), "tests/data/smollm2/tokenizer.jsonl");
}
END_TEST

static Suite *
make_suite(void)
{
    Suite *suite = suite_create("tokenizer_vectors");
    TCase *tc = tcase_create("tokenizer_vectors");
    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, test_encode_recorded_texts_of_large_models_equal, 0,
                        ARRAY_SIZE(models));
    tcase_add_test(tc, test_encode_recorded_texts_of_demo_equal);
    tcase_add_test(tc, test_encode_recorded_texts_of_smollm2_equal);
    suite_add_tcase(suite, tc);
    return suite;
}

TEST_MAIN(make_suite)
