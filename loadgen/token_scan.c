/* SPDX-License-Identifier: Apache-2.0 */
#include "loadgen/token_scan.h"

#include <string.h>

#define DEPTH_MAX 16 /* deeper ones are for the parser */

/* Where the scan is. Each function moves it past what its name says, and
 * returns false where that is not there. */
struct scan {
    const char *at, *end;
};

struct span {
    const char *at;
    size_t len;
};

static void
skip_space(struct scan *s)
{
    while (s->at < s->end && (*s->at == ' ' || *s->at == '\n' || *s->at == '\r' || *s->at == '\t'))
        s->at++;
}

static bool
skip_char(struct scan *s, char c)
{
    skip_space(s);
    if (s->at == s->end || *s->at != c)
        return false;
    s->at++;
    return true;
}

/* `ret` is what stands between the quotes. */
static bool
scan_string(struct scan *s, struct span *ret)
{
    if (!skip_char(s, '"'))
        return false;
    ret->at = s->at;
    while (s->at < s->end && *s->at != '"') {
        if ((unsigned char)*s->at < 0x20)
            return false;
        s->at += *s->at == '\\' ? 2 : 1;
    }
    if (s->at >= s->end)
        return false;
    ret->len = (size_t)(s->at - ret->at);
    s->at++;
    return true;
}

static bool
is(const struct span *s, const char *word)
{
    return s->len == strlen(word) && memcmp(s->at, word, s->len) == 0;
}

static bool
is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* A number, true, false or null. */
static bool
scan_plain(struct scan *s, struct span *ret)
{
    ret->at = s->at;
    while (s->at < s->end && (memchr("+-.E", *s->at, 4) != NULL || is_digit(*s->at) ||
                              (*s->at >= 'a' && *s->at <= 'z')))
        s->at++;
    ret->len = (size_t)(s->at - ret->at);
    bool is_number = ret->len > 0 && (ret->at[0] == '-' || is_digit(ret->at[0]));
    return is_number || is(ret, "true") || is(ret, "false") || is(ret, "null");
}

static bool skip_value(struct scan *s, int depth);

/* What is left of an array after its first bracket, or of an object. */
static bool
skip_rest(struct scan *s, char close, int depth)
{
    struct span key;
    if (skip_char(s, close))
        return true;
    do {
        if (close == '}' && !(scan_string(s, &key) && skip_char(s, ':')))
            return false;
        if (!skip_value(s, depth - 1))
            return false;
    } while (skip_char(s, ','));
    return skip_char(s, close);
}

static bool
skip_value(struct scan *s, int depth)
{
    struct span ignored;
    skip_space(s);
    if (s->at == s->end || depth == 0)
        return false;
    switch (*s->at) {
    case '"': return scan_string(s, &ignored);
    case '{': s->at++; return skip_rest(s, '}', depth);
    case '[': s->at++; return skip_rest(s, ']', depth);
    default: return scan_plain(s, &ignored);
    }
}

/* Finds a string member of the object ahead, and passes the object. */
static bool
scan_member(struct scan *s, const char *name, struct span *ret)
{
    struct span key;
    bool found = false;
    if (!skip_char(s, '{') || skip_char(s, '}'))
        return false;
    do {
        if (!scan_string(s, &key) || !skip_char(s, ':'))
            return false;
        bool wanted = is(&key, name);
        if (wanted ? !scan_string(s, ret) : !skip_value(s, DEPTH_MAX))
            return false;
        found = found || wanted;
    } while (skip_char(s, ','));
    return skip_char(s, '}') && found;
}

/* The same for the first choice of chat: the content of its delta. */
static bool
scan_delta(struct scan *s, struct span *ret)
{
    struct span key;
    bool found = false;
    if (!skip_char(s, '{') || skip_char(s, '}'))
        return false;
    do {
        if (!scan_string(s, &key) || !skip_char(s, ':'))
            return false;
        bool wanted = is(&key, "delta");
        if (wanted ? !scan_member(s, "content", ret) : !skip_value(s, DEPTH_MAX))
            return false;
        found = found || wanted;
    } while (skip_char(s, ','));
    return skip_char(s, '}') && found && ret->len > 0;
}

static bool
scan_choices(struct scan *s, enum reply_api api, struct span *ret)
{
    if (!skip_char(s, '['))
        return false;
    if (!(api == REPLY_CHAT ? scan_delta(s, ret) : scan_member(s, "text", ret)))
        return false;
    return skip_char(s, ']'); /* a second choice is for the parser */
}

/* A member that must not say anything here. */
static bool
skip_null(struct scan *s)
{
    struct span value;
    skip_space(s);
    return scan_plain(s, &value) && is(&value, "null");
}

bool
token_scan(const char *data, size_t len, enum reply_api api, const char **ret_text,
           size_t *ret_len)
{
    struct scan s = {data, data + len};
    struct span key, text = {0};
    bool found = false;
    if (!skip_char(&s, '{') || skip_char(&s, '}'))
        return false;
    do {
        if (!scan_string(&s, &key) || !skip_char(&s, ':'))
            return false;
        bool ok;
        if (is(&key, "choices"))
            ok = found = !found && scan_choices(&s, api, &text);
        else if (is(&key, "usage") || is(&key, "error") || is(&key, "metrics"))
            ok = skip_null(&s);
        else
            ok = skip_value(&s, DEPTH_MAX);
        if (!ok)
            return false;
    } while (skip_char(&s, ','));
    if (!skip_char(&s, '}') || !found)
        return false;
    skip_space(&s);
    *ret_text = text.at;
    *ret_len = text.len;
    return s.at == s.end;
}
