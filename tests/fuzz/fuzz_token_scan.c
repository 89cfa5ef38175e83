/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The fast look at a message against the parser: where both know the message,
 * they find the same text, and the fast one overlooks no error and no usage.
 */
#include "loadgen/token_scan.h"

#include <jansson.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    enum reply_api api = data[0] % 2 != 0 ? REPLY_CHAT : REPLY_COMPLETION;
    const char *message = (const char *)data + 1, *text;
    size_t len;
    if (!token_scan(message, size - 1, api, &text, &len))
        return 0;
    ASSERT(text >= message && text + len <= message + size - 1);
    json_t *root = json_loadb(message, size - 1, JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, NULL);
    if (root == NULL)
        return 0;
    const json_t *choice = json_array_get(json_object_get(root, "choices"), 0);
    const json_t *found = api == REPLY_CHAT
                              ? json_object_get(json_object_get(choice, "delta"), "content")
                              : json_object_get(choice, "text");
    json_t *scanned = json_loadb(text - 1, len + 2, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    ASSERT(json_equal(found, scanned));
    const char *const quiet[] = {"error", "usage", "metrics"};
    for (size_t i = 0; i < ARRAY_SIZE(quiet); i++) {
        const json_t *member = json_object_get(root, quiet[i]);
        ASSERT(member == NULL || json_is_null(member));
    }
    json_decref(scanned);
    json_decref(root);
    return 0;
}
