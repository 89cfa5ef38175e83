/* SPDX-License-Identifier: Apache-2.0 */
/* An answer in two parts must be taken as it is in one. */
#include "loadgen/http_response.h"

#include <string.h>

static void
append(void *arg, const char *bytes, size_t len)
{
    buf_append(arg, bytes, len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct http_response whole, parts;
    struct buf body = {0}, parts_body = {0};
    if (len == 0)
        return 0;
    const char *bytes = (const char *)data + 1;
    size_t cut = data[0] % len;
    len--;
    cut = MIN(cut, len);
    http_response_init(&whole, append, &body);
    http_response_init(&parts, append, &parts_body);
    const char *wrong = http_response_feed(&whole, bytes, len);
    const char *parts_wrong = http_response_feed(&parts, bytes, cut);
    if (parts_wrong == NULL)
        parts_wrong = http_response_feed(&parts, bytes + cut, len - cut);
    ASSERT((wrong == NULL) == (parts_wrong == NULL));
    ASSERT(wrong != NULL || (whole.state == parts.state && whole.status == parts.status));
    ASSERT(buf_len(&body) == buf_len(&parts_body) &&
           memcmp(buf_bytes(&body), buf_bytes(&parts_body), buf_len(&body)) == 0);
    ASSERT(buf_len(&body) <= len);
    http_response_release(&whole);
    http_response_release(&parts);
    buf_release(&body);
    buf_release(&parts_body);
    return 0;
}
