/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The input is a tokenizer.json, after a line "{..}" a tokenizer_config.json.
 * Loading it must succeed or fail with a reason; what loads must encode and
 * decode. Seeds: any small tokenizer.json.
 */
#include "tests/unit/tokenizer_fixture.h"
#include "util/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static const char text[] = "hello <z> the\n\n 123 e\xcc\x81 \xe6\x97\xa5 <s>";
    struct tokenizer *tok = NULL;
    struct error err = {0};
    struct buf json = {0};
    buf_append(&json, data, len);
    char *config = len > 0 ? strstr(json.data, "\n{") : NULL;
    size_t json_len = config == NULL ? len : (size_t)(config - json.data);
    int rc = fixture_load_bytes(buf_bytes(&json), json_len, config, &tok, &err);
    buf_release(&json);
    if (rc < 0) {
        ASSERT(err.code == rc && err.text[0] != '\0' && tok == NULL);
        return 0;
    }
    struct token_ids ids = {0};
    struct buf out = {0};
    if (tokenizer_encode(tok, text, sizeof text - 1, true, true, 0, &ids, NULL) == 0) {
        for (size_t i = 0; i < ids.len; i++)
            ASSERT(tokenizer_token_string(tok, ids.ids[i]) != NULL);
        tokenizer_decode(tok, ids.ids, ids.len, false, &out);
        ASSERT(utf8_valid(buf_bytes(&out), buf_len(&out)));
    }
    buf_release(&out);
    token_ids_release(&ids);
    tokenizer_free(tok);
    return 0;
}
