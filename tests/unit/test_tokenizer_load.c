/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files that are wrong: each is refused with a reason, none crashes.
 */
#include "tests/unit/main.h"
#include "tests/unit/tokenizer_fixture.h"

#include <check.h>

#define FUSE "\"decoder\":{\"type\":\"Fuse\"}"
#define MODEL(rest) "\"model\":{\"type\":\"BPE\"," rest "}"
#define GOOD_MODEL MODEL("\"vocab\":{\"a\":0,\"b\":1,\"ab\":2},\"merges\":[\"a b\"]")
/* A good file but for one member. */
#define WITH_MODEL(model) "{" FUSE "," model "}"
#define WITH(member) "{" FUSE "," GOOD_MODEL "," member "}"
#define WITH_DECODER(decoder) "{" GOOD_MODEL ",\"decoder\":" decoder "}"
#define WITH_ADDED(tokens) WITH("\"added_tokens\":" tokens)
#define WITH_PRE(step) WITH("\"pre_tokenizer\":" step)
#define WITH_NORMALIZER(step) WITH("\"normalizer\":" step)
#define WITH_POST(step) WITH("\"post_processor\":" step)

static const struct load_case {
    const char *json, *config;
    int code;
    const char *reason; /* part of the error's text */
} load_cases[] = {
    /* Not JSON, not the right JSON. */
    {"", NULL, ERR_CORRUPT, "line 1"},
    {"{\"model\":", NULL, ERR_CORRUPT, "line 1"},
    {"[]", NULL, ERR_CORRUPT, "not a JSON object"},
    {"{}", NULL, ERR_CORRUPT, "there is no model"},
    {"{\"a\":1,\"a\":2}", NULL, ERR_CORRUPT, "duplicate"},
    {"{\"a\":\"\xff\"}", NULL, ERR_CORRUPT, "0xff"},
    {"{\"a\":\"\\ud800\"}", NULL, ERR_CORRUPT, "line 1"},
    /* The model. */
    {"{\"model\":[]}", NULL, ERR_CORRUPT, "there is no model"},
    {"{\"model\":{}}", NULL, ERR_CORRUPT, "no type"},
    {"{\"model\":{\"type\":7}}", NULL, ERR_CORRUPT, "'type' is not a string"},
    {"{\"model\":{\"type\":\"Unigram\"}}", NULL, ERR_UNSUPPORTED, "model 'Unigram'"},
    {"{\"model\":{\"type\":\"WordPiece\"}}", NULL, ERR_UNSUPPORTED, "'WordPiece'"},
    {WITH_MODEL(MODEL("\"dropout\":0.1")), NULL, ERR_UNSUPPORTED, "'dropout'"},
    {WITH_MODEL(MODEL("\"end_of_word_suffix\":\"</w>\"")), NULL, ERR_UNSUPPORTED, "end_of_word"},
    {WITH_MODEL(MODEL("\"continuing_subword_prefix\":\"##\"")), NULL, ERR_UNSUPPORTED,
     "continuing_subword_prefix"},
    {WITH_MODEL(MODEL("\"ignore_merges\":1")), NULL, ERR_CORRUPT, "'ignore_merges'"},
    {WITH_MODEL(MODEL("\"vocab\":[]")), NULL, ERR_CORRUPT, "vocab is not an object"},
    {WITH_MODEL(MODEL("\"vocab\":{\"a\":\"0\"}")), NULL, ERR_CORRUPT, "not an integer"},
    {WITH_MODEL(MODEL("\"vocab\":{\"a\":0.5}")), NULL, ERR_CORRUPT, "not an integer"},
    {WITH_MODEL(MODEL("\"vocab\":{\"a\":-1}")), NULL, ERR_CORRUPT, "-1 of token 'a'"},
    {WITH_MODEL(MODEL("\"vocab\":{\"a\":2147483648}")), NULL, ERR_CORRUPT, "2147483648"},
    {WITH_MODEL(MODEL("\"vocab\":{\"a\":4194304}")), NULL, ERR_CORRUPT, "not in [0, 4194304)"},
    {WITH_MODEL(MODEL("\"vocab\":{\"a\":1,\"b\":1}")), NULL, ERR_CORRUPT, "1 of token 'b'"},
    {WITH_MODEL(MODEL("\"vocab\":{\"a\":1}")), NULL, ERR_CORRUPT, "merges are not a list"},
    {WITH_MODEL(MODEL("\"unk_token\":\"u\",\"vocab\":{\"a\":1},\"merges\":[]")), NULL,
     ERR_CORRUPT, "unk_token 'u'"},
    {WITH_MODEL(MODEL("\"vocab\":{\"a\":1},\"merges\":[7]")), NULL, ERR_CORRUPT, "merge 0"},
    {WITH_MODEL(MODEL("\"vocab\":{\"a\":1},\"merges\":[\"aa\"]")), NULL, ERR_CORRUPT, "merge 0"},
    {WITH_MODEL(MODEL("\"vocab\":{\"a\":1},\"merges\":[\"a a a\"]")), NULL, ERR_CORRUPT,
     "merge 0"},
    {WITH_MODEL(MODEL("\"vocab\":{\"a\":1},\"merges\":[\"a \"]")), NULL, ERR_CORRUPT, "merge 0"},
    {WITH_MODEL(MODEL("\"vocab\":{\"\":0,\"a\":1},\"merges\":[[\"\",\"a\"]]")), NULL,
     ERR_CORRUPT, "merge 0"},
    {WITH_MODEL(MODEL("\"vocab\":{\"a\":1},\"merges\":[[\"a\"]]")), NULL, ERR_CORRUPT,
     "merge 0"},
    {WITH_MODEL(MODEL("\"vocab\":{\"a\":1},\"merges\":[[\"a\",1]]")), NULL, ERR_CORRUPT,
     "merge 0"},
    {WITH_MODEL(MODEL("\"vocab\":{\"a\":1},\"merges\":[\"a b\"]")), NULL, ERR_CORRUPT,
     "needs 'b'"},
    {WITH_MODEL(MODEL("\"vocab\":{\"a\":1,\"b\":2},\"merges\":[\"a b\"]")), NULL, ERR_CORRUPT,
     "needs 'ab'"},
    /* Added tokens. */
    {WITH_ADDED("{}"), NULL, ERR_CORRUPT, "'added_tokens' is not a list"},
    {WITH_ADDED("[7]"), NULL, ERR_CORRUPT, "no integer id"},
    {WITH_ADDED("[{\"id\":\"7\"}]"), NULL, ERR_CORRUPT, "no integer id"},
    {WITH_ADDED("[{\"id\":7}]"), NULL, ERR_CORRUPT, "7 has no content"},
    {WITH_ADDED("[{\"id\":7,\"content\":7}]"), NULL, ERR_CORRUPT, "'content'"},
    {WITH_ADDED("[{\"id\":7,\"content\":\"x\",\"lstrip\":1}]"), NULL, ERR_CORRUPT, "'lstrip'"},
    {WITH_ADDED("[{\"id\":-7,\"content\":\"x\"}]"), NULL, ERR_CORRUPT, "-7 is out of range"},
    {WITH_ADDED("[{\"id\":99999999999,\"content\":\"x\"}]"), NULL, ERR_CORRUPT, "out of range"},
    {WITH_ADDED("[{\"id\":2,\"content\":\"x\"}]"), NULL, ERR_CORRUPT, "not the vocabulary's"},
    {WITH_ADDED("[{\"id\":7,\"content\":\"ab\"}]"), NULL, ERR_CORRUPT, "not the vocabulary's"},
    {WITH_ADDED("[{\"id\":2,\"content\":\"ab\"},{\"id\":2,\"content\":\"ab\"}]"), NULL,
     ERR_CORRUPT, "there twice"},
    /* Steps. */
    {WITH_NORMALIZER("[]"), NULL, ERR_CORRUPT, "not an object"},
    {WITH_NORMALIZER("{}"), NULL, ERR_CORRUPT, "has no type"},
    {WITH_NORMALIZER("{\"type\":\"Lowercase\"}"), NULL, ERR_UNSUPPORTED, "'Lowercase'"},
    {WITH_NORMALIZER("{\"type\":\"Replace\"}"), NULL, ERR_CORRUPT, "no pattern"},
    {WITH_NORMALIZER("{\"type\":\"Replace\",\"pattern\":{}}"), NULL, ERR_CORRUPT, "neither"},
    {WITH_NORMALIZER("{\"type\":\"Replace\",\"pattern\":{\"String\":\"\"}}"), NULL, ERR_CORRUPT,
     "empty"},
    {WITH_NORMALIZER("{\"type\":\"Replace\",\"pattern\":{\"String\":\"x\"}}"), NULL, ERR_CORRUPT,
     "no content"},
    {WITH_NORMALIZER("{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"x\"},\"content\":\"\"}"),
     NULL, ERR_UNSUPPORTED, "Regex"},
    {WITH_NORMALIZER("{\"type\":\"Sequence\",\"normalizers\":7}"), NULL, ERR_CORRUPT,
     "'normalizers'"},
    {WITH_NORMALIZER("{\"type\":\"Sequence\",\"normalizers\":[null]}"), NULL, ERR_CORRUPT,
     "not an object"},
    {WITH_PRE("{\"type\":\"Metaspace\"}"), NULL, ERR_UNSUPPORTED, "pre_tokenizer 'Metaspace'"},
    {WITH_PRE("{\"type\":\"Split\",\"pattern\":{\"String\":\"x\"}}"), NULL, ERR_CORRUPT,
     "no behavior"},
    {WITH_PRE("{\"type\":\"Split\",\"pattern\":{\"String\":\"x\"},\"behavior\":\"Odd\"}"), NULL,
     ERR_UNSUPPORTED, "'Odd'"},
    {WITH_PRE("{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(x\"},\"behavior\":\"Isolated\"}"),
     NULL, ERR_CORRUPT, "cannot compile the pattern '(x'"},
    {WITH_PRE("{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"ByteLevel\"},"
              "{\"type\":\"Digits\"}]}"), NULL, ERR_UNSUPPORTED, "'Digits' behind ByteLevel"},
    {WITH_POST("{\"type\":\"RobertaProcessing\"}"), NULL, ERR_UNSUPPORTED, "'Roberta"},
    {WITH_POST("{\"type\":\"TemplateProcessing\"}"), NULL, ERR_CORRUPT, "'single'"},
    {WITH_POST("{\"type\":\"TemplateProcessing\",\"single\":[]}"), NULL, ERR_UNSUPPORTED,
     "without text"},
    {WITH_POST("{\"type\":\"TemplateProcessing\",\"single\":[7]}"), NULL, ERR_CORRUPT,
     "without ids"},
    {WITH_POST("{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"a\"}}],"
               "\"special_tokens\":{\"a\":{\"ids\":[77]}}}"), NULL, ERR_CORRUPT, "unknown id"},
    {"{" GOOD_MODEL "}", NULL, ERR_UNSUPPORTED, "decoder 'null'"},
    {WITH_DECODER("{\"type\":\"WordPiece\"}"), NULL, ERR_UNSUPPORTED, "decoder 'WordPiece'"},
    {WITH_DECODER("{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Fuse\"},"
                  "{\"type\":\"Strip\"}]}"), NULL, ERR_UNSUPPORTED, "'Strip' behind Fuse"},
    {WITH_DECODER("{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"ByteFallback\"},"
                  "{\"type\":\"Replace\"}]}"), NULL, ERR_UNSUPPORTED, "behind ByteFallback"},
    /* tokenizer_config.json. */
    {WITH("\"x\":0"), "{", ERR_CORRUPT, "tokenizer_config.json"},
    {WITH("\"x\":0"), "{\"bos_token\":7}", ERR_CORRUPT, "'bos_token' is not a token"},
    {WITH("\"x\":0"), "{\"bos_token\":{}}", ERR_CORRUPT, "'bos_token' is not a token"},
    {WITH("\"x\":0"), "{\"bos_token\":\"z\"}", ERR_CORRUPT, "'z' is not in the vocabulary"},
    {WITH("\"x\":0"), "{\"add_bos_token\":true}", ERR_CORRUPT, "no such token"},
    {WITH("\"x\":0"), "{\"add_bos_token\":\"yes\"}", ERR_CORRUPT, "not a boolean"},
    {WITH("\"x\":0"), "{\"chat_template\":7}", ERR_CORRUPT, "chat_template"},
    {WITH("\"x\":0"), "{\"chat_template\":[7]}", ERR_CORRUPT, "chat template number 0"},
    {WITH("\"x\":0"), "{\"truncation_side\":\"up\"}", ERR_CORRUPT, "'up'"},
    {WITH("\"x\":0"), "{\"added_tokens_decoder\":{\"q\":{}}}", ERR_CORRUPT, "the key 'q'"},
};

START_TEST(test_load_bad_file_is_refused_with_its_reason)
{
    const struct load_case *c = &load_cases[_i];
    struct tokenizer *tok = NULL;
    struct error err = {0};
    int rc = fixture_load_bytes(c->json, strlen(c->json), c->config, &tok, &err);
    ck_assert_msg(rc == c->code, "%d: '%s' for %s", rc, err.text, c->json);
    ck_assert_int_eq(err.code, c->code);
    ck_assert_msg(strstr(err.text, c->reason) != NULL, "'%s' lacks '%s'", err.text, c->reason);
    ck_assert_msg(strstr(err.text, "/tokenizer") != NULL, "'%s' names no file", err.text);
    ck_assert_ptr_null(tok);
    ck_assert_int_eq(fixture_load_bytes(c->json, strlen(c->json), c->config, &tok, NULL), rc);
}
END_TEST

START_TEST(test_load_missing_directory_is_notfound)
{
    struct tokenizer *tok = NULL;
    struct error err = {0};
    ck_assert_int_eq(tokenizer_load("/nonexistent/model", &tok, &err), ERR_NOTFOUND);
    ck_assert_str_eq(err.text,
                     "cannot open '/nonexistent/model/tokenizer.json': no such file");
}
END_TEST

START_TEST(test_load_deep_sequences_are_refused)
{
    struct buf json = {0};
    struct tokenizer *tok = NULL;
    struct error err = {0};
    buf_puts(&json, "{" FUSE "," GOOD_MODEL ",\"normalizer\":");
    for (int i = 0; i < 500; i++)
        buf_puts(&json, "{\"type\":\"Sequence\",\"normalizers\":[");
    for (int i = 0; i < 500; i++)
        buf_puts(&json, "]}");
    buf_puts(&json, "}");
    ck_assert_int_eq(fixture_load_bytes(json.data, json.len, NULL, &tok, &err), ERR_CORRUPT);
    ck_assert_ptr_nonnull(strstr(err.text, "nested"));
    buf_release(&json);
}
END_TEST

/* Each prefix is no JSON; each changed byte is something or other. */
START_TEST(test_load_damaged_file_never_crashes)
{
    static const char *const merges[] = {"a b", "ab c"};
    struct fixture f = {.merges = merges,
                        .num_merges = 2,
                        .added = "[{\"id\":400,\"content\":\"<z>\",\"special\":true}]"};
    struct buf json = {0};
    fixture_json(&f, &json);
    for (size_t i = 0; i < json.len; i += 29) {
        struct tokenizer *tok = NULL;
        ck_assert_int_eq(fixture_load_bytes(json.data, i, NULL, &tok, NULL), ERR_CORRUPT);
        char old = json.data[i];
        json.data[i] = "7\"{[x"[i % 4];
        if (fixture_load_bytes(json.data, json.len, NULL, &tok, NULL) == 0)
            tokenizer_free(tok);
        json.data[i] = old;
    }
    buf_release(&json);
}
END_TEST

static Suite *
make_suite(void)
{
    Suite *suite = suite_create("tokenizer_load");
    TCase *tc = tcase_create("tokenizer_load");
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, test_load_bad_file_is_refused_with_its_reason, 0,
                        ARRAY_SIZE(load_cases));
    tcase_add_test(tc, test_load_missing_directory_is_notfound);
    tcase_add_test(tc, test_load_deep_sequences_are_refused);
    tcase_add_test(tc, test_load_damaged_file_never_crashes);
    suite_add_tcase(suite, tc);
    return suite;
}

TEST_MAIN(make_suite)
