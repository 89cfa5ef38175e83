/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a request must look like before anything else sees it. A pure function
 * over the request line and the headers, stricter than libmicrohttpd: it
 * refuses whatever two HTTP parsers in a row could read differently, which is
 * what request smuggling is made of. No state, any thread.
 */
#ifndef SERVER_HTTP_GUARD_H
#define SERVER_HTTP_GUARD_H

#include "util/base.h"

#define HTTP_GUARD_MAX_HEADERS 128
#define HTTP_GUARD_MAX_METHOD 23
#define HTTP_GUARD_MAX_URI 8192

/* Not NUL-terminated as far as this module is concerned; `value` may be NULL
 * when value_len is 0. */
struct http_guard_header {
    const char *name;
    size_t name_len;
    const char *value;
    size_t value_len;
};

struct http_guard_request {
    const char *method;
    const char *uri;                          /* as sent; NULL: there was none */
    bool http_1_0;
    const struct http_guard_header *headers;  /* borrowed */
    size_t num_headers;                       /* may be above HTTP_GUARD_MAX_HEADERS: refused */
    size_t header_bytes;                      /* request line and headers as sent */
    size_t max_header_bytes;
    size_t max_body_bytes;
};

/*
 * Returns 0, or the status to refuse the request with; the connection must
 * then be closed. ret_reason: static text for the client. ret_content_length:
 * 0 when there is no body.
 *   400  URI, header names, control bytes, Host, Content-Length
 *   411  any Transfer-Encoding
 *   413  Content-Length above max_body_bytes
 *   414  URI above HTTP_GUARD_MAX_URI
 *   431  too many or too long headers
 */
int http_guard_check(const struct http_guard_request *r, uint64_t *ret_content_length,
                     const char **ret_reason);

/*
 * The path inside a URI that passed the guard: skips the "http://host" of an
 * absolute-form target. *ret_len excludes the query; "/" when it is empty.
 */
const char *http_guard_path(const char *uri, size_t *ret_len);

#endif
