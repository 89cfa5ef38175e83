/* SPDX-License-Identifier: Apache-2.0 */
#include "server/logprobs.h"

#include "util/hashmap.h"
#include "util/json.h"
#include "util/utf8.h"

#define LOWEST_LOGPROB (-9999.0)

/* The four arrays, side by side while they are written. */
struct columns {
    struct buf offsets, logprobs, tokens, tops;
    struct buf text;       /* scratch: one token */
    uint64_t *seen;        /* owned: hashes of the keys of one top_logprobs object */
    size_t num_seen;
};

static void
write_logprob(float value, struct buf *b)
{
    double v = (double)value;
    json_write_double(b, v >= LOWEST_LOGPROB ? v : LOWEST_LOGPROB);
}

static void
token_text(const struct logprobs_args *a, int32_t id, struct buf *ret)
{
    buf_clear(ret);
    if (a->as_token_ids)
        buf_printf(ret, "token_id:%d", id);
    else
        tokenizer_decode_one(a->tokenizer, id, ret);
}

static int64_t
num_characters(const struct buf *text)
{
    int64_t n = 0;
    for (size_t i = 0; i < buf_len(text); i++)
        n += !utf8_is_continuation(buf_bytes(text)[i]);
    return n;
}

/* ---- top_logprobs -------------------------------------------------------- */

/* Two ids may have one text: the more likely, which comes first, stays. */
static void
write_top_entry(const struct logprobs_args *a, struct columns *c, int32_t id, float logprob)
{
    token_text(a, id, &c->text);
    uint64_t hash = hash_bytes(buf_bytes(&c->text), buf_len(&c->text));
    for (size_t i = 0; i < c->num_seen; i++) {
        if (c->seen[i] == hash)
            return;
    }
    if (c->num_seen > 0)
        buf_putc(&c->tops, ',');
    c->seen[c->num_seen++] = hash;
    json_write_string(&c->tops, buf_bytes(&c->text), buf_len(&c->text));
    buf_putc(&c->tops, ':');
    write_logprob(logprob, &c->tops);
}

static void
write_top(const struct logprobs_args *a, struct columns *c, const struct logprob_rows *rows,
          int32_t row, int32_t id)
{
    size_t base = (size_t)row * (size_t)rows->width;
    c->num_seen = 0;
    buf_putc(&c->tops, '{');
    write_top_entry(a, c, id, rows->logprob[row]);
    for (int32_t k = 0; k < MIN(a->width, rows->width); k++) {
        int32_t top = rows->top_ids[base + (size_t)k];
        if (top >= 0 && top != id)
            write_top_entry(a, c, top, rows->top_logprobs[base + (size_t)k]);
    }
    buf_putc(&c->tops, '}');
}

/* ---- one token ----------------------------------------------------------- */

/* rows NULL: the first token of a prompt, which nothing predicts. */
static void
write_row(const struct logprobs_args *a, struct columns *c, const struct logprob_rows *rows,
          int32_t row, int32_t id)
{
    if (buf_len(&c->offsets) > 0) {
        buf_putc(&c->offsets, ',');
        buf_putc(&c->logprobs, ',');
        buf_putc(&c->tokens, ',');
        buf_putc(&c->tops, ',');
    }
    token_text(a, id, &c->text);
    json_write_int(&c->offsets, *a->text_offset);
    *a->text_offset += num_characters(&c->text);
    json_write_string(&c->tokens, buf_bytes(&c->text), buf_len(&c->text));
    if (rows == NULL) {
        buf_puts(&c->logprobs, "null");
        buf_puts(&c->tops, "null");
        return;
    }
    write_logprob(rows->logprob[row], &c->logprobs);
    write_top(a, c, rows, row, id);
}

static void
join(struct columns *c, struct buf *ret)
{
    const struct {
        const char *name;
        const struct buf *column;
    } parts[] = {
        {"{\"text_offset\":[", &c->offsets},
        {"],\"token_logprobs\":[", &c->logprobs},
        {"],\"tokens\":[", &c->tokens},
        {"],\"top_logprobs\":[", &c->tops},
    };
    for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
        buf_puts(ret, parts[i].name);
        buf_append(ret, buf_bytes(parts[i].column), buf_len(parts[i].column));
        ret->failed |= parts[i].column->failed;
    }
    buf_puts(ret, "]}");
}

void
logprobs_write(const struct logprobs_args *a, struct buf *ret)
{
    const struct request *r = a->request;
    struct columns c = {0};
    c.seen = malloc(((size_t)a->width + 1) * sizeof *c.seen);
    if (c.seen == NULL) {
        ret->failed = true;
        return;
    }
    for (int32_t i = 0; a->with_prompt && i < r->num_prompt_tokens; i++)
        write_row(a, &c, i == 0 ? NULL : &r->prompt_logprobs, i, r->prompt_ids[i]);
    for (int32_t i = a->from; i < a->to; i++)
        write_row(a, &c, &r->logprobs, i, r->output_ids[i]);
    join(&c, ret);
    buf_release(&c.offsets);
    buf_release(&c.logprobs);
    buf_release(&c.tokens);
    buf_release(&c.tops);
    buf_release(&c.text);
    free(c.seen);
}

/* ---- prompt_logprobs ----------------------------------------------------- */

static void
write_prompt_entry(const struct logprobs_args *a, int32_t id, float logprob, int32_t rank,
                   struct buf *text, struct buf *ret)
{
    buf_clear(text);
    tokenizer_decode_one(a->tokenizer, id, text);
    buf_printf(ret, "\"%d\":{\"logprob\":", id);
    write_logprob(logprob, ret);
    buf_printf(ret, ",\"rank\":%d,\"decoded_token\":", rank);
    json_write_string(ret, buf_bytes(text), buf_len(text));
    buf_putc(ret, '}');
}

void
prompt_logprobs_write(const struct logprobs_args *a, struct buf *ret)
{
    const struct request *r = a->request;
    const struct logprob_rows *rows = &r->prompt_logprobs;
    struct buf text = {0};
    buf_puts(ret, "[null");
    for (int32_t i = 1; i < r->num_prompt_tokens; i++) {
        size_t base = (size_t)i * (size_t)rows->width;
        buf_puts(ret, ",{");
        write_prompt_entry(a, r->prompt_ids[i], rows->logprob[i], rows->rank[i], &text, ret);
        for (int32_t k = 0; k < MIN(a->width, rows->width); k++) {
            int32_t top = rows->top_ids[base + (size_t)k];
            if (top < 0 || top == r->prompt_ids[i])
                continue;
            buf_putc(ret, ',');
            write_prompt_entry(a, top, rows->top_logprobs[base + (size_t)k], k + 1, &text, ret);
        }
        buf_putc(ret, '}');
    }
    buf_putc(ret, ']');
    ret->failed |= text.failed;
    buf_release(&text);
}
