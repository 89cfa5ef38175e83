/* SPDX-License-Identifier: Apache-2.0 */
#include "server/completions.h"
#include "server/logprobs.h"
#include "util/json.h"

#include <string.h>

const char *
finish_reason_name(enum finish_reason reason)
{
    switch (reason) {
    case FINISH_STOP:
        return "stop";
    case FINISH_LENGTH:
        return "length";
    case FINISH_ABORT:
        return "abort";
    case FINISH_ERROR:
        return "error";
    case FINISH_NONE:
        break;
    }
    return NULL;
}

/* ---- pieces -------------------------------------------------------------- */

static void
write_text(struct buf *b, const char *text)
{
    json_write_string(b, text, strlen(text));
}

static void
write_name_or_null(struct buf *b, const char *name)
{
    if (name == NULL)
        buf_puts(b, "null");
    else
        write_text(b, name);
}

static void
write_ids(struct buf *b, const int32_t *ids, int32_t num)
{
    buf_putc(b, '[');
    for (int32_t i = 0; i < num; i++) {
        if (i > 0)
            buf_putc(b, ',');
        json_write_int(b, ids[i]);
    }
    buf_putc(b, ']');
}

static void
write_stop_reason(const struct choice *ch, struct buf *b)
{
    if (ch->stop_index >= 0) {
        const struct stop_string *s = &ch->completion->params.stop.items[ch->stop_index];
        json_write_string(b, s->text, s->len);
    } else if (ch->stop_token_id >= 0) {
        json_write_int(b, ch->stop_token_id);
    } else {
        buf_puts(b, "null");
    }
}

/* The output's text, after the prompt's when `with_prompt`, as one string. */
static void
write_choice_text(const struct choice *ch, size_t len, bool with_prompt, struct buf *b)
{
    if (!with_prompt) {
        json_write_string(b, buf_bytes(&ch->text), len);
        return;
    }
    struct buf both = {0};
    buf_append(&both, buf_bytes(&ch->prompt->echo), buf_len(&ch->prompt->echo));
    buf_append(&both, buf_bytes(&ch->text), len);
    json_write_string(b, buf_bytes(&both), buf_len(&both));
    b->failed |= both.failed;
    buf_release(&both);
}

static void
write_logprobs(struct choice *ch, int32_t from, bool with_prompt, struct buf *b)
{
    const struct completion_params *p = &ch->completion->params;
    if (p->logprobs == PARAM_UNSET) {
        buf_puts(b, "null");
        return;
    }
    struct logprobs_args args = {
        .tokenizer = ch->completion->app->tokenizer,
        .request = ch->request,
        .width = (int32_t)p->logprobs,
        .as_token_ids = p->return_tokens_as_token_ids,
        .with_prompt = with_prompt,
        .from = from,
        .to = p->max_tokens == 0 ? from : ch->num_tokens,
        .text_offset = &ch->text_offset,
    };
    logprobs_write(&args, b);
}

static void
write_prompt_logprobs(const struct choice *ch, struct buf *b)
{
    const struct completion_params *p = &ch->completion->params;
    bool echoed = p->echo && p->logprobs != PARAM_UNSET;
    if (p->prompt_logprobs == PARAM_UNSET && !echoed) {
        buf_puts(b, "null");
        return;
    }
    struct logprobs_args args = {
        .tokenizer = ch->completion->app->tokenizer,
        .request = ch->request,
        .width = (int32_t)(p->prompt_logprobs == PARAM_UNSET ? p->logprobs : p->prompt_logprobs),
    };
    prompt_logprobs_write(&args, b);
}

static void
write_usage(const struct app *a, int64_t num_prompt, int64_t num_output, bool all_keys,
            struct buf *b)
{
    buf_printf(b, "{\"prompt_tokens\":%lld,\"total_tokens\":%lld,\"completion_tokens\":%lld",
               (long long)num_prompt, (long long)(num_prompt + num_output),
               (long long)num_output);
    if (a->config.enable_prompt_tokens_details)
        buf_puts(b, ",\"prompt_tokens_details\":{\"cached_tokens\":0}");
    else if (all_keys)
        buf_puts(b, ",\"prompt_tokens_details\":null");
    buf_puts(b, all_keys ? ",\"completion_tokens_details\":null}" : "}");
}

static int64_t
num_output_tokens(const struct completion *cm)
{
    int64_t n = 0;
    for (size_t i = 0; i < cm->num_choices; i++)
        n += cm->choices[i].num_tokens;
    return n;
}

/* ---- chunks -------------------------------------------------------------- */

/* {"id":...,"object":...,"created":...,"model":...,"choices":[ */
static void
write_head(const struct completion *cm, struct buf *b)
{
    buf_puts(b, "{\"id\":");
    write_text(b, cm->id);
    buf_printf(b, ",\"object\":\"text_completion\",\"created\":%lld,\"model\":",
               (long long)cm->created_s);
    write_text(b, app_model_name(cm->app));
    buf_puts(b, ",\"choices\":[");
}

void
completion_write_head(struct completion *cm)
{
    buf_puts(&cm->chunk_head, "data: ");
    write_head(cm, &cm->chunk_head);
}

static void
write_fingerprint(const struct completion *cm, struct buf *b)
{
    buf_puts(b, ",\"system_fingerprint\":");
    write_text(b, cm->app->fingerprint);
}

void
completion_write_chunk(struct completion *cm, struct choice *ch, size_t text_len, bool last)
{
    const struct completion_params *p = &cm->params;
    struct buf *b = &cm->out;
    bool first = !ch->started;
    int32_t num_new = p->max_tokens == 0 ? 0 : ch->num_tokens - ch->num_shown;
    buf_clear(b);
    buf_append(b, buf_bytes(&cm->chunk_head), buf_len(&cm->chunk_head));
    buf_printf(b, "{\"index\":%d,\"text\":", ch->index);
    write_choice_text(ch, text_len, first && p->echo, b);
    buf_puts(b, ",\"logprobs\":");
    write_logprobs(ch, ch->num_shown, first && p->echo, b);
    buf_puts(b, ",\"finish_reason\":");
    write_name_or_null(b, finish_reason_name(ch->reason));
    buf_puts(b, ",\"stop_reason\":");
    write_stop_reason(ch, b);
    buf_puts(b, ",\"prompt_token_ids\":");
    if (first && (p->return_token_ids || p->echo))
        write_ids(b, ch->request->prompt_ids, ch->request->num_prompt_tokens);
    else
        buf_puts(b, "null");
    buf_puts(b, ",\"token_ids\":");
    if (p->return_token_ids)
        write_ids(b, ch->request->output_ids + ch->num_shown, num_new);
    else
        buf_puts(b, "null");
    buf_puts(b, "}]");
    if (p->continuous_usage_stats) {
        buf_puts(b, ",\"usage\":");
        write_usage(cm->app, ch->request->num_prompt_tokens, ch->num_tokens, false, b);
    }
    if (last && !p->include_usage)
        write_fingerprint(cm, b);
    buf_puts(b, "}\n\n");
    b->failed |= ch->text.failed;
    buf_consume(&ch->text, text_len);
    ch->num_shown = ch->num_tokens;
    ch->started = true;
    cm->app->metrics.sse_events++;
}

void
completion_write_usage_chunk(struct completion *cm)
{
    struct buf *b = &cm->out;
    buf_append(b, buf_bytes(&cm->chunk_head), buf_len(&cm->chunk_head));
    buf_puts(b, "],\"usage\":");
    write_usage(cm->app, cm->num_prompt_tokens, num_output_tokens(cm), false, b);
    write_fingerprint(cm, b);
    buf_puts(b, "}\n\n");
}

/* ---- the whole answer ---------------------------------------------------- */

static void
write_choice(struct completion *cm, struct choice *ch, struct buf *b)
{
    const struct completion_params *p = &cm->params;
    buf_printf(b, "{\"index\":%d,\"text\":", ch->index);
    write_choice_text(ch, buf_len(&ch->text), p->echo, b);
    buf_puts(b, ",\"logprobs\":");
    write_logprobs(ch, 0, p->echo, b);
    buf_puts(b, ",\"finish_reason\":");
    write_name_or_null(b, finish_reason_name(ch->reason));
    buf_puts(b, ",\"stop_reason\":");
    write_stop_reason(ch, b);
    buf_puts(b, ",\"token_ids\":");
    if (p->return_token_ids)
        write_ids(b, ch->request->output_ids, p->max_tokens == 0 ? 0 : ch->num_tokens);
    else
        buf_puts(b, "null");
    buf_puts(b, ",\"prompt_logprobs\":");
    write_prompt_logprobs(ch, b);
    buf_puts(b, ",\"prompt_token_ids\":");
    if (p->return_token_ids)
        write_ids(b, ch->request->prompt_ids, ch->request->num_prompt_tokens);
    else
        buf_puts(b, "null");
    buf_puts(b, ",\"routed_experts\":null}");
}

void
completion_write_answer(struct completion *cm, struct buf *ret)
{
    write_head(cm, ret);
    for (size_t i = 0; i < cm->num_choices; i++) {
        if (i > 0)
            buf_putc(ret, ',');
        write_choice(cm, &cm->choices[i], ret);
        ret->failed |= cm->choices[i].text.failed;
    }
    buf_puts(ret, "],\"service_tier\":null");
    write_fingerprint(cm, ret);
    buf_puts(ret, ",\"usage\":");
    write_usage(cm->app, cm->num_prompt_tokens, num_output_tokens(cm), true, ret);
    buf_puts(ret, ",\"kv_transfer_params\":null,\"ec_transfer_params\":null,\"metrics\":null}");
}
