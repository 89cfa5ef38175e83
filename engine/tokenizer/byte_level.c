/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/tokenizer/byte_level.h"
#include "util/utf8.h"

/* Bytes that are printable in Latin-1 spell themselves; the other 68, in
 * order, are 256 and up. */
static bool
is_printable(uint32_t cp)
{
    return (cp >= 33 && cp <= 126) || (cp >= 161 && cp <= 172) || (cp >= 174 && cp <= 255);
}

uint32_t
byte_level_char(unsigned char byte)
{
    if (is_printable(byte))
        return byte;
    if (byte <= 32)
        return 256u + byte;
    return byte == 173 ? 323u : 289u + (byte - 127u);
}

int
byte_level_byte(uint32_t cp)
{
    if (cp < 256)
        return is_printable(cp) ? (int)cp : -1;
    if (cp <= 288)
        return (int)cp - 256;
    if (cp <= 322)
        return (int)cp - 289 + 127;
    return cp == 323 ? 173 : -1;
}

void
byte_level_spell(const char *bytes, size_t len, struct buf *ret)
{
    for (size_t i = 0; i < len; i++) {
        char utf8[UTF8_MAX_BYTES];
        int n = utf8_encode(byte_level_char((unsigned char)bytes[i]), utf8);
        buf_append(ret, utf8, (size_t)n);
    }
}

void
byte_level_unspell(const char *text, size_t len, struct buf *ret)
{
    size_t before = ret->len;
    for (size_t i = 0; i < len;) {
        uint32_t cp;
        i += (size_t)utf8_next(text + i, &cp);
        int byte = byte_level_byte(cp);
        if (byte < 0) {
            ret->len = before;
            buf_append(ret, text, len);
            return;
        }
        buf_putc(ret, (char)byte);
    }
}
