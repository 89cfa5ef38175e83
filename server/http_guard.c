/* SPDX-License-Identifier: Apache-2.0 */
#include "server/http_guard.h"

#include <string.h>
#include <strings.h>

/* The `tchar` of RFC 9110. */
static bool
is_token_char(unsigned char c)
{
    if ((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z'))
        return true;
    return c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL;
}

static bool
is_token(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (!is_token_char((unsigned char)text[i]))
            return false;
    }
    return len > 0;
}

/* Visible bytes, space, tab, and the bytes above ASCII that RFC 9110 calls
 * obs-text; no other control byte. */
static bool
is_field_value(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        if ((c < 0x20 && c != '\t') || c == 0x7f)
            return false;
    }
    return true;
}

static bool
header_is(const struct http_guard_header *h, const char *name)
{
    return h->name_len == strlen(name) && strncasecmp(h->name, name, h->name_len) == 0;
}

/* Digits only and below 2^63; blanks around them are the sender's right. */
static bool
parse_content_length(const char *text, size_t len, uint64_t *ret)
{
    while (len > 0 && (text[0] == ' ' || text[0] == '\t'))
        text++, len--;
    while (len > 0 && (text[len - 1] == ' ' || text[len - 1] == '\t'))
        len--;
    if (len == 0 || len > 20)
        return false;
    uint64_t n = 0;
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        if (mul_overflow(n, 10, &n) || add_overflow(n, (uint64_t)(text[i] - '0'), &n))
            return false;
    }
    if (n > INT64_MAX)
        return false;
    *ret = n;
    return true;
}

static int
check_uri(const char *uri, const char **ret_reason)
{
    *ret_reason = "malformed request target";
    if (uri == NULL)
        return 400;
    size_t len = strnlen(uri, HTTP_GUARD_MAX_URI + 1);
    if (len > HTTP_GUARD_MAX_URI) {
        *ret_reason = "request target too long";
        return 414;
    }
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)uri[i];
        if (c <= 0x20 || c >= 0x7f || c == '#' || c == '\\')
            return 400;
        if (c == '%' && uri[i + 1] == '0' && uri[i + 2] == '0')
            return 400;
    }
    bool absolute = strncasecmp(uri, "http://", 7) == 0 || strncasecmp(uri, "https://", 8) == 0;
    if (uri[0] != '/' && strcmp(uri, "*") != 0 && !absolute)
        return 400;
    return 0;
}

int
http_guard_check(const struct http_guard_request *r, uint64_t *ret_content_length,
                 const char **ret_reason)
{
    size_t method_len = strnlen(r->method, HTTP_GUARD_MAX_METHOD + 1);
    if (method_len > HTTP_GUARD_MAX_METHOD || !is_token(r->method, method_len)) {
        *ret_reason = "malformed method";
        return 400;
    }
    int status = check_uri(r->uri, ret_reason);
    if (status != 0)
        return status;
    if (r->num_headers > HTTP_GUARD_MAX_HEADERS || r->header_bytes > r->max_header_bytes) {
        *ret_reason = "too many or too long request headers";
        return 431;
    }

    size_t num_host = 0, num_length = 0;
    bool has_encoding = false;
    uint64_t length = 0;
    for (size_t i = 0; i < r->num_headers; i++) {
        const struct http_guard_header *h = &r->headers[i];
        if (!is_token(h->name, h->name_len)) {
            *ret_reason = "malformed header name";
            return 400;
        }
        if (!is_field_value(h->value, h->value_len)) {
            *ret_reason = "control byte in a header value";
            return 400;
        }
        if (header_is(h, "Host")) {
            num_host++;
        } else if (header_is(h, "Transfer-Encoding")) {
            has_encoding = true;
        } else if (header_is(h, "Content-Length")) {
            num_length++;
            if (!parse_content_length(h->value, h->value_len, &length)) {
                *ret_reason = "malformed Content-Length";
                return 400;
            }
        }
    }
    if (num_host > 1 || (num_host == 0 && !r->http_1_0)) {
        *ret_reason = "exactly one Host header is required";
        return 400;
    }
    if (num_length > 1) {
        *ret_reason = "more than one Content-Length header";
        return 400;
    }
    if (has_encoding) {
        *ret_reason = "Transfer-Encoding is not accepted, send a Content-Length";
        return 411;
    }
    if (length > r->max_body_bytes) {
        *ret_reason = "request body too large";
        return 413;
    }
    *ret_content_length = length;
    return 0;
}

const char *
http_guard_path(const char *uri, size_t *ret_len)
{
    const char *path = uri;
    if (uri[0] != '/' && strcmp(uri, "*") != 0) {
        const char *authority = strstr(uri, "://");
        path = authority == NULL ? uri : authority + 3;
        path += strcspn(path, "/?");
    }
    *ret_len = strcspn(path, "?");
    if (*ret_len == 0) {
        *ret_len = 1;
        return "/";
    }
    return path;
}
