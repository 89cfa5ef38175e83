/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The headers of requests. Names are the same in any case; of one that is given
 * twice the last counts. --header wins over what we would send, but not over the
 * x-request-id of a request that has one.
 */
#include "loadgen/client_private.h"

#include <string.h>

#define ID_NAME "x-request-id"

/* "KEY=VALUE", without the spaces around either. */
struct pair {
    const char *key, *value;
    size_t key_len, value_len;
};

static void
trim(const char **text, size_t *len)
{
    while (*len > 0 && **text == ' ')
        (*text)++, (*len)--;
    while (*len > 0 && (*text)[*len - 1] == ' ')
        (*len)--;
}

static struct pair
split(const char *item)
{
    const char *equals = strchr(item, '='); /* config_settle saw to it */
    struct pair p = {item, equals + 1, (size_t)(equals - item), strlen(equals + 1)};
    trim(&p.key, &p.key_len);
    trim(&p.value, &p.value_len);
    return p;
}

/* Whether one of the options from `first` on gives this header. */
static bool
is_given(const struct option_list *options, size_t first, const char *key, size_t key_len)
{
    for (size_t i = first; i < options->len; i++) {
        struct pair p = split(options->items[i]);
        if (p.key_len == key_len && strncasecmp(p.key, key, key_len) == 0)
            return true;
    }
    return false;
}

/* Whether a line of a list is of this header. */
static bool
is_named(const char *line, const char *name)
{
    size_t len = strlen(name);
    return strncasecmp(line, name, len) == 0 && line[len] == ':';
}

/* A list that grows, or has failed to. */
struct lines {
    struct curl_slist *list;
    bool failed;
};

PRINTF_LIKE(2, 3) static void
add(struct lines *lines, const char *fmt, ...)
{
    struct buf text = {0};
    va_list args;
    va_start(args, fmt);
    buf_vprintf(&text, fmt, args);
    va_end(args);
    struct curl_slist *list = text.failed ? NULL : curl_slist_append(lines->list, buf_bytes(&text));
    if (list != NULL)
        lines->list = list;
    else
        lines->failed = true;
    buf_release(&text);
}

/* NULL when memory is out. */
static struct curl_slist *
finish(struct lines *lines)
{
    if (!lines->failed)
        return lines->list;
    curl_slist_free_all(lines->list);
    return NULL;
}

struct curl_slist *
client_make_headers(const struct config *config)
{
    const struct option_list *options = &config->header;
    struct lines lines = {0};
    if (!is_given(options, 0, "Content-Type", strlen("Content-Type")))
        add(&lines, "Content-Type: application/json");
    if (config->api_key != NULL && !is_given(options, 0, "Authorization", strlen("Authorization")))
        add(&lines, "Authorization: Bearer %s", config->api_key);
    for (size_t i = 0; i < options->len; i++) {
        struct pair p = split(options->items[i]);
        if (!is_given(options, i + 1, p.key, p.key_len))
            add(&lines, "%.*s:%s%.*s", (int)p.key_len, p.key, p.value_len > 0 ? " " : "",
                (int)p.value_len, p.value);
    }
    return finish(&lines);
}

struct curl_slist *
client_headers_with_id(const struct client *c, size_t index)
{
    struct lines lines = {0};
    for (const struct curl_slist *h = c->headers; h != NULL; h = h->next) {
        if (!is_named(h->data, ID_NAME))
            add(&lines, "%s", h->data);
    }
    add(&lines, ID_NAME ": %s%zu", c->id_prefix, index);
    return finish(&lines);
}
