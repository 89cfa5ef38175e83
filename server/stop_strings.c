/* SPDX-License-Identifier: Apache-2.0 */
#include "server/stop_strings.h"

#include "util/error.h"

#include <string.h>

static void
fill_fallback(struct stop_string *s)
{
    s->fallback[0] = 0;
    uint16_t k = 0;
    for (size_t i = 1; i < s->len; i++) {
        while (k > 0 && s->text[i] != s->text[k])
            k = s->fallback[k - 1];
        if (s->text[i] == s->text[k])
            k++;
        s->fallback[i] = k;
    }
}

int
stop_strings_add(struct stop_strings *s, const char *text, size_t len)
{
    if (len == 0 || len > STOP_STRING_MAX_BYTES)
        return ERR_INVALID;
    struct stop_string *items = realloc(s->items, (s->len + 1) * sizeof *items);
    if (items == NULL)
        return ERR_NOMEM;
    s->items = items;
    struct stop_string *item = &items[s->len];
    item->len = len;
    item->text = malloc(len);
    item->fallback = malloc(len * sizeof *item->fallback);
    if (item->text == NULL || item->fallback == NULL) {
        free(item->text);
        free(item->fallback);
        return ERR_NOMEM;
    }
    memcpy(item->text, text, len);
    fill_fallback(item);
    s->len++;
    return 0;
}

void
stop_strings_release(struct stop_strings *s)
{
    for (size_t i = 0; i < s->len; i++) {
        free(s->items[i].text);
        free(s->items[i].fallback);
    }
    free(s->items);
    *s = (struct stop_strings){0};
}

int
stop_matcher_init(struct stop_matcher *m, const struct stop_strings *strings)
{
    *m = (struct stop_matcher){.strings = strings};
    if (strings->len == 0)
        return 0;
    m->state = calloc(strings->len, sizeof *m->state);
    return m->state == NULL ? ERR_NOMEM : 0;
}

void
stop_matcher_release(struct stop_matcher *m)
{
    free(m->state);
    *m = (struct stop_matcher){0};
}

/* The state after one more byte; s->len: the string ends here. */
static inline size_t
next_state(const struct stop_string *s, size_t state, char c)
{
    if (state == s->len) /* was a whole match that did not count */
        state = s->fallback[state - 1];
    while (state > 0 && s->text[state] != c)
        state = s->fallback[state - 1];
    return s->text[state] == c ? state + 1 : 0;
}

struct stop_match
stop_matcher_push(struct stop_matcher *m, const char *text, size_t len, bool armed)
{
    const struct stop_match none = {.index = -1};
    if (m->state == NULL)
        return none;
    for (size_t i = 0; i < len; i++) {
        int found = -1;
        for (size_t k = 0; k < m->strings->len; k++) {
            const struct stop_string *s = &m->strings->items[k];
            size_t state = next_state(s, m->state[k], text[i]);
            m->state[k] = (uint16_t)state;
            if (state == s->len && found < 0)
                found = (int)k;
        }
        if (found >= 0 && armed)
            return (struct stop_match){.index = found, .end = i + 1};
    }
    return none;
}

size_t
stop_matcher_held(const struct stop_matcher *m)
{
    size_t held = 0;
    for (size_t k = 0; m->state != NULL && k < m->strings->len; k++) {
        const struct stop_string *s = &m->strings->items[k];
        size_t state = m->state[k] == s->len ? s->fallback[s->len - 1] : m->state[k];
        held = MAX(held, state);
    }
    return held;
}
