/* SPDX-License-Identifier: Apache-2.0 */
/*
 * UTF-8: reading code points, checking, and replacing what is not valid by
 * U+FFFD, one for each maximal subpart (as the Unicode standard recommends,
 * and as Rust's from_utf8_lossy does). No state, any thread.
 */
#ifndef UTIL_UTF8_H
#define UTIL_UTF8_H

#include "util/base.h"
#include "util/buf.h"

#define UTF8_REPLACEMENT "\xef\xbf\xbd" /* U+FFFD */
#define UTF8_MAX_BYTES 4

/*
 * Reads the character at the start of `text` (len > 0). Returns
 *   n > 0: a valid character of n bytes, *ret_cp holds its code point;
 *   n < 0: -n bytes that can begin no character (a maximal subpart);
 *   0: a character that may go on where the text ends.
 */
int utf8_decode(const char *text, size_t len, uint32_t *ret_cp);

/* The same for text known to be valid: never 0 or less. */
static inline int
utf8_next(const char *text, uint32_t *ret_cp)
{
    const unsigned char *p = (const unsigned char *)text;
    if (p[0] < 0x80) {
        *ret_cp = p[0];
        return 1;
    }
    if (p[0] < 0xe0) {
        *ret_cp = (uint32_t)(p[0] & 0x1f) << 6 | (p[1] & 0x3f);
        return 2;
    }
    if (p[0] < 0xf0) {
        *ret_cp = (uint32_t)(p[0] & 0x0f) << 12 | (uint32_t)(p[1] & 0x3f) << 6 | (p[2] & 0x3f);
        return 3;
    }
    *ret_cp = (uint32_t)(p[0] & 0x07) << 18 | (uint32_t)(p[1] & 0x3f) << 12 |
              (uint32_t)(p[2] & 0x3f) << 6 | (p[3] & 0x3f);
    return 4;
}

/* True for a byte that goes on a character. */
static inline bool
utf8_is_continuation(char c)
{
    return ((unsigned char)c & 0xc0) == 0x80;
}

/* The start of the character that ends before `pos` (pos > 0, valid text). */
static inline size_t
utf8_prev(const char *text, size_t pos)
{
    do
        pos--;
    while (pos > 0 && utf8_is_continuation(text[pos]));
    return pos;
}

/* The longest prefix of at most `max_bytes` of valid text that cuts no
 * character. */
size_t utf8_cut(const char *text, size_t len, size_t max_bytes);

bool utf8_valid(const char *text, size_t len);

/* Writes a code point (a scalar value), returns the number of bytes. */
int utf8_encode(uint32_t cp, char ret[UTF8_MAX_BYTES]);

/* Appends bytes, U+FFFD for what is not valid. */
void utf8_append_lossy(struct buf *out, const char *bytes, size_t len);

#endif
