/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Up to four stop strings and a text, cut at random: the match is the one that
 * ends first, then the first in the list; what is held back begins a string.
 * First byte: how many strings; then length and bytes of each; then the text.
 */
#include "server/stop_strings.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static size_t
read_strings(const uint8_t *data, size_t len, struct stop_strings *ret)
{
    size_t at = 1;
    for (int i = 0; i < data[0] % 4 + 1 && at < len; i++) {
        size_t n = MIN((size_t)data[at] % 8, len - at - 1);
        at++;
        stop_strings_add(ret, (const char *)data + at, n);
        at += n;
    }
    return at;
}

/* The first string that ends text[0, end), or -1. */
static int
ends_here(const struct stop_strings *s, const char *text, size_t end)
{
    for (size_t k = 0; k < s->len; k++) {
        const struct stop_string *p = &s->items[k];
        if (p->len <= end && memcmp(text + end - p->len, p->text, p->len) == 0)
            return (int)k;
    }
    return -1;
}

static size_t
longest_beginning(const struct stop_strings *s, const char *text, size_t len)
{
    size_t held = 0;
    for (size_t k = 0; k < s->len; k++) {
        for (size_t n = 1; n < s->items[k].len && n <= len; n++) {
            if (memcmp(text + len - n, s->items[k].text, n) == 0)
                held = MAX(held, n);
        }
    }
    return held;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct stop_strings s = {0};
    struct stop_matcher m;
    if (len == 0)
        return 0;
    size_t start = read_strings(data, len, &s);
    const char *text = (const char *)data + start;
    len -= start;
    if (stop_matcher_init(&m, &s) == 0) {
        for (size_t at = 0; at < len;) {
            size_t piece = MIN((size_t)(text[at] & 3) + 1, len - at);
            struct stop_match match = stop_matcher_push(&m, text + at, piece, true);
            for (size_t end = at + 1; end < at + (match.index < 0 ? piece + 1 : match.end); end++)
                ASSERT(ends_here(&s, text, end) < 0);
            if (match.index >= 0) {
                ASSERT(ends_here(&s, text, at + match.end) == match.index);
                break;
            }
            at += piece;
            ASSERT(stop_matcher_held(&m) == longest_beginning(&s, text, at));
        }
    }
    stop_matcher_release(&m);
    stop_strings_release(&s);
    return 0;
}
