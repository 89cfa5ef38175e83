/* SPDX-License-Identifier: Apache-2.0 */
#include "util/utf8.h"

int
utf8_decode(const char *text, size_t len, uint32_t *ret_cp)
{
    const unsigned char *p = (const unsigned char *)text;
    unsigned char lead = p[0];
    if (lead < 0x80) {
        *ret_cp = lead;
        return 1;
    }
    if (lead < 0xc2 || lead > 0xf4)
        return -1;
    int size = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    /* What the second byte may be: no overlong forms, no surrogates, nothing
     * above U+10FFFF. */
    unsigned char low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
    unsigned char high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
    uint32_t cp = lead & (0x7f >> size);
    for (int i = 1; i < size; i++) {
        if ((size_t)i == len)
            return 0;
        if (p[i] < low || p[i] > high)
            return -i;
        cp = cp << 6 | (p[i] & 0x3f);
        low = 0x80;
        high = 0xbf;
    }
    *ret_cp = cp;
    return size;
}

size_t
utf8_cut(const char *text, size_t len, size_t max_bytes)
{
    if (len <= max_bytes)
        return len;
    while (max_bytes > 0 && utf8_is_continuation(text[max_bytes]))
        max_bytes--;
    return max_bytes;
}

bool
utf8_valid(const char *text, size_t len)
{
    size_t i = 0;
    while (i < len) {
        uint64_t word;
        if (len - i >= sizeof word) {
            memcpy(&word, text + i, sizeof word);
            if ((word & 0x8080808080808080u) == 0) {
                i += sizeof word;
                continue;
            }
        }
        uint32_t cp;
        int n = utf8_decode(text + i, len - i, &cp);
        if (n <= 0)
            return false;
        i += (size_t)n;
    }
    return true;
}

int
utf8_encode(uint32_t cp, char ret[UTF8_MAX_BYTES])
{
    if (cp < 0x80) {
        ret[0] = (char)cp;
        return 1;
    }
    if (cp < 0x800) {
        ret[0] = (char)(0xc0 | cp >> 6);
        ret[1] = (char)(0x80 | (cp & 0x3f));
        return 2;
    }
    if (cp < 0x10000) {
        ret[0] = (char)(0xe0 | cp >> 12);
        ret[1] = (char)(0x80 | (cp >> 6 & 0x3f));
        ret[2] = (char)(0x80 | (cp & 0x3f));
        return 3;
    }
    ret[0] = (char)(0xf0 | cp >> 18);
    ret[1] = (char)(0x80 | (cp >> 12 & 0x3f));
    ret[2] = (char)(0x80 | (cp >> 6 & 0x3f));
    ret[3] = (char)(0x80 | (cp & 0x3f));
    return 4;
}

void
utf8_append_lossy(struct buf *out, const char *bytes, size_t len)
{
    size_t begin = 0, i = 0;
    while (i < len) {
        uint32_t cp;
        int n = utf8_decode(bytes + i, len - i, &cp);
        if (n > 0) {
            i += (size_t)n;
            continue;
        }
        buf_append(out, bytes + begin, i - begin);
        buf_puts(out, UTF8_REPLACEMENT);
        i += n == 0 ? len - i : (size_t)-n;
        begin = i;
    }
    buf_append(out, bytes + begin, len - begin);
}
