/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guard over a request line and headers cut out of the input at 0xff and
 * 0xfe. What it lets pass is checked against its promises.
 *
 *   method 0xff uri (0xff name 0xfe value)*
 */
#include "server/http_guard.h"

#include <string.h>
#include <strings.h>

#define FUZZ_HEADERS 160

/* Copies to heap blocks of the exact size, so that an over-read shows. */
static char *
exact_copy(const uint8_t *bytes, size_t len, bool terminated)
{
    char *copy = malloc(len + terminated);
    ASSERT(copy != NULL || len + terminated == 0);
    if (len > 0)
        memcpy(copy, bytes, len);
    if (terminated)
        copy[len] = '\0';
    return copy;
}

static size_t
cut(const uint8_t *at, size_t len, uint8_t mark)
{
    const uint8_t *end = len == 0 ? NULL : memchr(at, mark, len);
    return end == NULL ? len : (size_t)(end - at);
}

static void
check_passed(const struct http_guard_request *r, uint64_t length)
{
    ASSERT(length <= r->max_body_bytes && r->num_headers <= HTTP_GUARD_MAX_HEADERS);
    size_t num_host = 0, num_length = 0;
    for (size_t i = 0; i < r->num_headers; i++) {
        const struct http_guard_header *h = &r->headers[i];
        ASSERT(h->name_len > 0);
        num_host += h->name_len == 4 && strncasecmp(h->name, "host", 4) == 0;
        num_length += h->name_len == 14 && strncasecmp(h->name, "content-length", 14) == 0;
        ASSERT(h->name_len != 17 || strncasecmp(h->name, "transfer-encoding", 17) != 0);
        for (size_t k = 0; k < h->value_len; k++)
            ASSERT(h->value[k] != '\0' && h->value[k] != '\r' && h->value[k] != '\n');
    }
    ASSERT(num_host <= 1 && num_length <= 1 && (num_host == 1 || r->http_1_0));
    ASSERT(num_length == 1 || length == 0);
    size_t path_len;
    const char *path = http_guard_path(r->uri, &path_len);
    ASSERT(path_len > 0 && (path[0] == '/' || strcmp(r->uri, "*") == 0));
    ASSERT(path_len == 1 || (path >= r->uri && path + path_len <= r->uri + strlen(r->uri)));
    ASSERT(memchr(path, '?', path_len) == NULL && strstr(r->uri, "%00") == NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct http_guard_header headers[FUZZ_HEADERS];
    if (size < 1)
        return 0;
    uint8_t flags = *data++;
    size--;
    char *parts[2] = {NULL, NULL};
    for (int i = 0; i < 2; i++) {
        size_t len = cut(data, size, 0xff);
        parts[i] = exact_copy(data, len, true);
        size_t used = MIN(len + 1, size);
        data += used;
        size -= used;
    }
    size_t num = 0;
    while (size > 0 && num < FUZZ_HEADERS) {
        size_t len = cut(data, size, 0xff), name_len = cut(data, len, 0xfe);
        size_t value_at = MIN(name_len + 1, len);
        headers[num++] = (struct http_guard_header){
            exact_copy(data, name_len, false), name_len,
            exact_copy(data + value_at, len - value_at, false), len - value_at};
        size_t used = MIN(len + 1, size);
        data += used;
        size -= used;
    }
    struct http_guard_request r = {
        .method = parts[0],
        .uri = flags & 1 ? NULL : parts[1],
        .http_1_0 = (flags & 2) != 0,
        .headers = headers,
        .num_headers = num,
        .header_bytes = size,
        .max_header_bytes = 4096,
        .max_body_bytes = 1 << 20,
    };
    uint64_t length = 0;
    const char *reason = NULL;
    int status = http_guard_check(&r, &length, &reason);
    if (status == 0)
        check_passed(&r, length);
    else
        ASSERT(status >= 400 && status < 500 && reason != NULL);
    for (size_t i = 0; i < num; i++) {
        free((char *)headers[i].name);
        free((char *)headers[i].value);
    }
    free(parts[0]);
    free(parts[1]);
    return 0;
}
