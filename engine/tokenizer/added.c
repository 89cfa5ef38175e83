/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/tokenizer/added.h"
#include "util/utf8.h"

#include <utf8proc.h>

void
added_release(struct added *a)
{
    free(a->tokens);
    free(a->nodes);
    *a = (struct added){0};
}

static int
new_node(struct added *a, unsigned char byte, uint32_t *ret)
{
    if (a->num_nodes == a->cap_nodes) {
        size_t cap = MAX(a->cap_nodes * 2, 256u);
        if (cap > UINT32_MAX / 2)
            return ERR_NOMEM;
        struct added_node *nodes = realloc(a->nodes, cap * sizeof *nodes);
        if (nodes == NULL)
            return ERR_NOMEM;
        a->nodes = nodes;
        a->cap_nodes = cap;
    }
    a->nodes[a->num_nodes] = (struct added_node){.token = -1, .byte = byte};
    *ret = (uint32_t)a->num_nodes++;
    return 0;
}

static uint32_t
find_child(const struct added *a, uint32_t node, unsigned char byte)
{
    uint32_t child = a->nodes[node].child;
    while (child != 0 && a->nodes[child].byte != byte)
        child = a->nodes[child].sibling;
    return child;
}

int
added_put(struct added *a, const char *text, size_t len, struct added_token token)
{
    uint32_t node = 0, child;
    int rc;
    if (a->num_nodes == 0 && (rc = new_node(a, 0, &node)) < 0)
        return rc;
    for (size_t i = 0; i < len; i++) {
        unsigned char byte = (unsigned char)text[i];
        child = find_child(a, node, byte);
        if (child == 0) {
            if ((rc = new_node(a, byte, &child)) < 0)
                return rc;
            a->nodes[child].sibling = a->nodes[node].child;
            a->nodes[node].child = child;
            if (node == 0)
                a->first[byte] = child;
        }
        node = child;
    }
    if (a->nodes[node].token >= 0)
        return ERR_INVALID;
    if (a->num_tokens == a->cap_tokens) {
        size_t cap = MAX(a->cap_tokens * 2, 64u);
        struct added_token *tokens = realloc(a->tokens, cap * sizeof *tokens);
        if (tokens == NULL)
            return ERR_NOMEM;
        a->tokens = tokens;
        a->cap_tokens = cap;
    }
    a->nodes[node].token = (int32_t)a->num_tokens;
    a->tokens[a->num_tokens++] = token;
    return 0;
}

/* The longest token at the start of `text`, or NULL. */
static const struct added_token *
longest_at(const struct added *a, const char *text, size_t len, size_t *ret_len)
{
    int32_t best = -1;
    uint32_t node = a->first[(unsigned char)text[0]];
    for (size_t i = 1; node != 0; i++) {
        if (a->nodes[node].token >= 0) {
            best = a->nodes[node].token;
            *ret_len = i;
        }
        node = i < len ? find_child(a, node, (unsigned char)text[i]) : 0;
    }
    return best < 0 ? NULL : &a->tokens[best];
}

/* A regular expression's \w: letters, marks, digits, connectors, joiners. */
static bool
is_word(uint32_t cp)
{
    switch (utf8proc_category((int32_t)cp)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
        return true;
    default:
        break;
    }
    /* Joiners, and symbols that Unicode calls alphabetic. */
    return cp == 0x200c || cp == 0x200d || (cp >= 0x24b6 && cp <= 0x24e9) ||
           (cp >= 0x1f130 && cp <= 0x1f149) || (cp >= 0x1f150 && cp <= 0x1f169) ||
           (cp >= 0x1f170 && cp <= 0x1f189);
}

static bool
is_space(uint32_t cp)
{
    return (cp >= 0x9 && cp <= 0xd) || cp == 0x20 || cp == 0x85 || cp == 0xa0 || cp == 0x1680 ||
           (cp >= 0x2000 && cp <= 0x200a) || cp == 0x2028 || cp == 0x2029 || cp == 0x202f ||
           cp == 0x205f || cp == 0x3000;
}

static bool
is_word_before(const char *text, size_t pos)
{
    uint32_t cp;
    if (pos == 0)
        return false;
    utf8_next(text + utf8_prev(text, pos), &cp);
    return is_word(cp);
}

static bool
is_word_at(const char *text, size_t len, size_t pos)
{
    uint32_t cp;
    if (pos == len)
        return false;
    utf8_next(text + pos, &cp);
    return is_word(cp);
}

/* Where the white space before `pos` begins, but not before `limit`. */
static size_t
skip_space_back(const char *text, size_t pos, size_t limit)
{
    while (pos > limit) {
        uint32_t cp;
        size_t prev = utf8_prev(text, pos);
        utf8_next(text + prev, &cp);
        if (!is_space(cp))
            break;
        pos = prev;
    }
    return MAX(pos, limit);
}

static size_t
skip_space(const char *text, size_t len, size_t pos)
{
    while (pos < len) {
        uint32_t cp;
        int n = utf8_next(text + pos, &cp);
        if (!is_space(cp))
            break;
        pos += (size_t)n;
    }
    return pos;
}

int
added_cut(const struct added *a, const char *text, size_t len, const struct added_sink *sink)
{
    size_t done = 0; /* what the sink has */
    int rc = 0;
    for (size_t pos = 0; a->num_tokens > 0 && pos < len && rc == 0;) {
        size_t match_len = 0;
        const struct added_token *token = longest_at(a, text + pos, len - pos, &match_len);
        if (token == NULL) {
            pos++;
            continue;
        }
        size_t begin = pos, end = pos + match_len;
        pos = end;
        if (token->single_word && (is_word_before(text, begin) || is_word_at(text, len, end)))
            continue;
        if (token->lstrip)
            begin = skip_space_back(text, begin, done);
        if (token->rstrip)
            pos = end = skip_space(text, len, end);
        if (done < begin)
            rc = sink->take(sink->ctx, -1, text + done, begin - done);
        if (rc == 0)
            rc = sink->take(sink->ctx, token->id, text + begin, end - begin);
        done = end;
    }
    if (rc == 0 && done < len)
        rc = sink->take(sink->ctx, -1, text + done, len - done);
    return rc;
}
