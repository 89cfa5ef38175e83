/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Prompts of as many tokens for the server as for us: where its tokenizer
 * counts more, a prompt is cut there, as `vllm bench serve` does.
 */
#include "loadgen/client_private.h"
#include "util/json.h"

#include <string.h>

static void
begin_body(struct buf *body, const char *model)
{
    buf_puts(body, "{\"model\": ");
    json_write_string(body, model, strlen(model));
}

/* Posts `body`; the answer's member, or NULL and why. *ret_root is the caller's. */
static const json_t *
ask_for(struct client *c, const char *path, const struct buf *body, const char *member,
        json_t **ret_root, struct buf *ret_why)
{
    struct buf answer = {0};
    struct error err = {0};
    int status;
    *ret_root = NULL;
    client_ask(c, path, body, &answer, &status, &err);
    if (status == 0)
        buf_printf(ret_why, "%s unreachable (%s)", c->base_url, err.text);
    else if (status == 404)
        buf_printf(ret_why, "%s unavailable (404 Not Found: the server has no such route, or no "
                   "model of this name)", path);
    else if (status != 200)
        buf_printf(ret_why, "%s unavailable (HTTP %d)", path, status);
    else if (json_parse_object(buf_bytes(&answer), buf_len(&answer), JSON_ALLOW_NUL, path,
                               ret_root, &err) < 0)
        buf_printf(ret_why, "%s probe failed (%s)", path, err.text);
    const json_t *value = json_object_get(*ret_root, member);
    if (*ret_root != NULL && value == NULL)
        buf_printf(ret_why, "%s probe failed (no '%s')", path, member);
    buf_release(&answer);
    return value;
}

/* The server's tokens of a prompt: an array, or NULL. */
static const json_t *
tokenize(struct client *c, const char *model, const struct prompt *p, json_t **ret_root,
         struct buf *ret_why)
{
    struct buf body = {0};
    begin_body(&body, model);
    buf_puts(&body, ", \"prompt\": ");
    json_write_string(&body, p->text, p->text_bytes);
    buf_puts(&body, ", \"add_special_tokens\": false}");
    const json_t *tokens = ask_for(c, "/tokenize", &body, "tokens", ret_root, ret_why);
    buf_release(&body);
    return tokens;
}

/* The text of the first p->len of these tokens becomes the prompt's. */
static void
cut(struct client *c, const char *model, const json_t *tokens, struct prompt *p,
    struct buf *ret_why)
{
    struct buf body = {0};
    json_t *root;
    begin_body(&body, model);
    buf_puts(&body, ", \"tokens\": [");
    for (size_t i = 0; i < p->len; i++) {
        buf_puts(&body, i > 0 ? ", " : "");
        json_write_int(&body, json_integer_value(json_array_get(tokens, i)));
    }
    buf_puts(&body, "]}");
    const json_t *text = ask_for(c, "/detokenize", &body, "prompt", &root, ret_why);
    size_t len = json_string_length(text);
    char *copy = json_is_string(text) ? malloc(len + 1) : NULL;
    if (copy != NULL) {
        memcpy(copy, json_string_value(text), len + 1);
        free(p->text);
        p->text = copy;
        p->text_bytes = len;
    }
    json_decref(root);
    buf_release(&body);
}

static void
align_one(struct client *c, const char *model, struct prompt *p)
{
    struct buf why = {0};
    json_t *root;
    const json_t *tokens = tokenize(c, model, p, &root, &why);
    if (json_array_size(tokens) > p->len)
        cut(c, model, tokens, p, &why);
    json_decref(root);
    buf_release(&why);
}

void
client_align(struct client *c, const char *model, struct dataset *d, struct buf *ret_said)
{
    struct buf why = {0};
    json_t *root;
    if (d->len == 0 || d->prompts[0].text == NULL)
        return;
    const json_t *tokens = tokenize(c, model, &d->prompts[0], &root, &why);
    if (tokens == NULL) {
        buf_printf(ret_said, "WARNING: %s, skipping alignment.\n", buf_bytes(&why));
    } else if (json_array_size(tokens) != d->prompts[0].len) {
        buf_printf(ret_said, "WARNING: tokenizer mismatch (server=%zu, expected=%zu), "
                             "re-aligning prompts.\n",
                   json_array_size(tokens), d->prompts[0].len);
        for (size_t i = 0; i < d->len && !c->interrupted; i++)
            align_one(c, model, &d->prompts[i]);
    }
    json_decref(root);
    buf_release(&why);
}
