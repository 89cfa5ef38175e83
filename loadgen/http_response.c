/* SPDX-License-Identifier: Apache-2.0 */
#include "loadgen/http_response.h"

#include <string.h>
#include <strings.h>

#define HEADER_BYTES_MAX (256u << 10)
#define CHUNK_DIGITS_MAX 15

void
http_response_init(struct http_response *r, void (*on_body)(void *, const char *, size_t),
                   void *arg)
{
    *r = (struct http_response){.on_body = on_body, .arg = arg};
}

void
http_response_release(struct http_response *r)
{
    buf_release(&r->line);
}

/* ---- lines ---- */

/* "HTTP/1.1 200 OK" */
static const char *
take_status(struct http_response *r, const char *line, size_t len)
{
    if (len < 12 || memcmp(line, "HTTP/1.", 7) != 0 || line[8] != ' ' ||
        strspn(line + 9, "0123456789") != 3)
        return "the answer is not HTTP/1.1";
    r->keeps_alive = line[7] != '0';
    r->status = (line[9] - '0') * 100 + (line[10] - '0') * 10 + (line[11] - '0');
    r->state = RESPONSE_HEADER;
    return NULL;
}

/* Whether the header `line` has this name; *ret_value is what follows. */
static bool
is_header(const char *line, const char *name, const char **ret_value)
{
    size_t len = strlen(name);
    if (strncasecmp(line, name, len) != 0 || line[len] != ':')
        return false;
    *ret_value = line + len + 1 + strspn(line + len + 1, " \t");
    return true;
}

/* Whether a list of words separated by commas has this one. */
static bool
has_word(const char *list, const char *word)
{
    size_t len = strlen(word);
    for (;;) {
        list += strspn(list, ", \t");
        if (*list == '\0')
            return false;
        size_t n = strcspn(list, ", \t;");
        if (n == len && strncasecmp(list, word, len) == 0)
            return true;
        list += strcspn(list, ",");
    }
}

static const char *
take_length(struct http_response *r, const char *value)
{
    size_t digits = strspn(value, "0123456789");
    if (digits == 0 || digits > 18 || value[digits + strspn(value + digits, " \t")] != '\0')
        return "the answer's Content-Length is not a number";
    uint64_t length = strtoull(value, NULL, 10);
    if (r->has_length && length != r->left)
        return "the answer has two different Content-Length headers";
    r->left = length;
    r->has_length = true;
    return NULL;
}

static const char *
take_header(struct http_response *r, const char *line)
{
    const char *value;
    if (is_header(line, "Content-Length", &value))
        return take_length(r, value);
    if (is_header(line, "Transfer-Encoding", &value))
        r->is_chunked = r->is_chunked || has_word(value, "chunked");
    else if (is_header(line, "Connection", &value) && has_word(value, "close"))
        r->keeps_alive = false;
    return NULL;
}

/* After the empty line. */
static void
begin_body(struct http_response *r)
{
    if (r->status < 200) {
        r->state = RESPONSE_STATUS;
    } else if (r->status == 204 || r->status == 304) {
        r->state = RESPONSE_DONE;
    } else if (r->is_chunked) {
        r->state = RESPONSE_CHUNK_SIZE;
    } else if (r->has_length) {
        r->state = r->left > 0 ? RESPONSE_BODY : RESPONSE_DONE;
    } else {
        r->keeps_alive = false;
        r->state = RESPONSE_UNTIL_CLOSED;
    }
}

static int
hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* "1a" or "1a;extension". There is one for each token: no library call. */
static const char *
take_chunk_size(struct http_response *r, const char *line, size_t len)
{
    uint64_t size = 0;
    size_t i = 0;
    for (int digit; i < len && i < CHUNK_DIGITS_MAX && (digit = hex_digit(line[i])) >= 0; i++)
        size = size * 16 + (uint64_t)digit;
    bool is_end = i == len || line[i] == ';' || line[i] == ' ' || line[i] == '\t';
    if (i == 0 || !is_end)
        return "the answer is chunked, and a chunk's size is not a number";
    r->left = size;
    r->state = size > 0 ? RESPONSE_BODY : RESPONSE_TRAILER;
    return NULL;
}

static const char *
take_line(struct http_response *r, const char *line, size_t len)
{
    switch (r->state) {
    case RESPONSE_STATUS:
        return take_status(r, line, len);
    case RESPONSE_HEADER:
        if (len > 0)
            return take_header(r, line);
        begin_body(r);
        return NULL;
    case RESPONSE_CHUNK_SIZE:
        return take_chunk_size(r, line, len);
    case RESPONSE_CHUNK_END:
        r->state = RESPONSE_CHUNK_SIZE;
        return len == 0 ? NULL : "the answer is chunked, and a chunk is longer than its size";
    default: /* RESPONSE_TRAILER */
        if (len == 0)
            r->state = RESPONSE_DONE;
        return NULL;
    }
}

/* ---- bytes ---- */

static size_t
without_line_end(const char *line, size_t len)
{
    len -= len > 0 && line[len - 1] == '\n';
    len -= len > 0 && line[len - 1] == '\r';
    return len;
}

/* A line that came in parts, or whose reader wants it to end with NUL. */
static const char *
take_kept_line(struct http_response *r)
{
    char *line = r->line.data; /* nothing of it is consumed: its first byte */
    size_t len = without_line_end(line, buf_len(&r->line));
    line[len] = '\0';
    const char *wrong = take_line(r, line, len);
    buf_clear(&r->line);
    return wrong;
}

/* Reads to the end of the line, or keeps what there is of it. */
static const char *
feed_line(struct http_response *r, const char *bytes, size_t len, size_t *ret_used)
{
    const char *end = memchr(bytes, '\n', len);
    size_t used = end != NULL ? (size_t)(end - bytes) + 1 : len;
    bool is_head = r->state <= RESPONSE_HEADER;
    *ret_used = used;
    if (end != NULL && !is_head && buf_len(&r->line) == 0)
        return take_line(r, bytes, without_line_end(bytes, used));
    buf_append(&r->line, bytes, used);
    r->num_header_bytes += is_head ? used : 0;
    if (r->line.failed)
        return "out of memory";
    if (r->num_header_bytes > HEADER_BYTES_MAX || buf_len(&r->line) > HEADER_BYTES_MAX)
        return "the answer's headers are too long";
    return end != NULL ? take_kept_line(r) : NULL;
}

static size_t
feed_body(struct http_response *r, const char *bytes, size_t len)
{
    size_t n = r->state == RESPONSE_BODY ? (size_t)MIN((uint64_t)len, r->left) : len;
    r->on_body(r->arg, bytes, n);
    if (r->state == RESPONSE_BODY && (r->left -= n) == 0)
        r->state = r->is_chunked ? RESPONSE_CHUNK_END : RESPONSE_DONE;
    return n;
}

const char *
http_response_feed(struct http_response *r, const char *bytes, size_t len)
{
    r->has_begun = r->has_begun || len > 0;
    while (len > 0) {
        size_t used;
        const char *wrong = NULL;
        if (r->state == RESPONSE_DONE) {
            r->keeps_alive = false; /* who knows what the rest is */
            return NULL;
        }
        if (r->state == RESPONSE_BODY || r->state == RESPONSE_UNTIL_CLOSED)
            used = feed_body(r, bytes, len);
        else
            wrong = feed_line(r, bytes, len, &used);
        if (wrong != NULL)
            return wrong;
        bytes += used;
        len -= used;
    }
    return NULL;
}

const char *
http_response_end(struct http_response *r)
{
    if (r->state == RESPONSE_UNTIL_CLOSED)
        r->state = RESPONSE_DONE;
    if (r->state == RESPONSE_DONE)
        return NULL;
    return r->has_begun ? "the server closed the connection before its answer was whole"
                        : "the server closed the connection without an answer";
}
