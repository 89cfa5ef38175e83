/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finding added tokens (special or not) in text: the leftmost, and of those
 * the longest, over all of them, through a trie. The search is O(text x longest
 * added token) at worst and skips to possible first bytes. Constant after
 * loading, any thread.
 */
#ifndef ENGINE_TOKENIZER_ADDED_H
#define ENGINE_TOKENIZER_ADDED_H

#include "util/base.h"
#include "util/error.h"

struct added_token {
    int32_t id;
    bool single_word; /* not inside a word */
    bool lstrip;      /* takes the white space before it along */
    bool rstrip;      /* and behind it */
};

struct added_node {
    uint32_t child;   /* first child, or 0 */
    uint32_t sibling; /* next child of the same parent, or 0 */
    int32_t token;    /* index of the token that ends here, or -1 */
    unsigned char byte;
};

/* Zero-initialised holds no token. */
struct added {
    struct added_token *tokens; /* owned */
    struct added_node *nodes;   /* owned; 0 is the root */
    size_t num_tokens, cap_tokens, num_nodes, cap_nodes;
    uint32_t first[256]; /* the root's child by byte, or 0 */
};

void added_release(struct added *a);

/* Adds a token spelled `text` (not empty). ERR_NOMEM; ERR_INVALID: there. */
int added_put(struct added *a, const char *text, size_t len, struct added_token token);

/* Takes a stretch of text, with id -1 where it is no added token; a negative
 * result ends the cutting. */
struct added_sink {
    int (*take)(void *ctx, int32_t id, const char *text, size_t len);
    void *ctx;
};

/* Cuts valid UTF-8 into added tokens and the text between. Returns what the
 * sink returned. */
int added_cut(const struct added *a, const char *text, size_t len, const struct added_sink *sink);

#endif
