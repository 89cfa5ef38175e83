/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finds the first stop string in a text that arrives in pieces, in time linear
 * in the text. One Knuth-Morris-Pratt automaton per string: its state is how
 * many bytes of the string end the text so far, so the longest state is also
 * exactly what must be held back. Loop thread; does not copy the text.
 *
 * "First" is the match that ends first; of those that end at the same byte, the
 * string that stands first in the list. So the answer does not depend on how
 * the text was cut into pieces.
 */
#ifndef SERVER_STOP_STRINGS_H
#define SERVER_STOP_STRINGS_H

#include "util/base.h"

#define STOP_STRING_MAX_BYTES 1024

struct stop_string {
    char *text;         /* owned, not NUL-terminated */
    size_t len;         /* 1..STOP_STRING_MAX_BYTES */
    uint16_t *fallback; /* owned [len]: longest border of the first i + 1 bytes */
};

/* The strings of one client request. Zero-initialised is the empty list. */
struct stop_strings {
    struct stop_string *items; /* owned */
    size_t len;
};

/* Appends a copy. ERR_NOMEM; ERR_INVALID: empty or too long. */
int stop_strings_add(struct stop_strings *s, const char *text, size_t len);
void stop_strings_release(struct stop_strings *s);

/* The state of one text. */
struct stop_matcher {
    const struct stop_strings *strings; /* borrowed */
    uint16_t *state;                    /* owned [strings->len], NULL when there are none */
};

/* What a piece brought. */
struct stop_match {
    int index;          /* which string, or -1 */
    size_t end;         /* with a match: bytes of this piece up to its end */
};

int stop_matcher_init(struct stop_matcher *m, const struct stop_strings *strings);
void stop_matcher_release(struct stop_matcher *m);
/*
 * Goes on with `len` bytes. With `armed` false a match that ends in this piece
 * does not count (min_tokens), but one that begins in it may end in a later one.
 */
struct stop_match stop_matcher_push(struct stop_matcher *m, const char *text, size_t len,
                                    bool armed);
/* Bytes at the end of the text that may yet become a stop string. */
size_t stop_matcher_held(const struct stop_matcher *m);

#endif
