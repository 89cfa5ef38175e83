/* SPDX-License-Identifier: Apache-2.0 */
#include "server/completions.h"

#include <string.h>

void
choice_init(struct choice *ch, struct completion *cm, int32_t index)
{
    *ch = (struct choice){
        .completion = cm,
        .prompt = &cm->prompts.items[index / cm->params.n],
        .index = index,
        .stop_index = -1,
        .stop_token_id = -1,
    };
    detokenizer_init(&ch->detokenizer, cm->app->tokenizer, cm->params.skip_special_tokens);
}

int
choice_make_request(struct choice *ch)
{
    struct completion *cm = ch->completion;
    struct app *a = cm->app;
    int64_t len = (int64_t)ch->prompt->ids.len;
    int64_t max = params_max_tokens(&cm->params, &a->limits, &a->defaults, len);
    struct sampling_params sampling;
    int rc = params_sampling(&cm->params, &a->limits, max, ch->index % cm->params.n, &sampling);
    if (rc < 0)
        return rc;
    rc = request_new(ch->prompt->ids.ids, (int32_t)len, &sampling, &ch->request);
    if (rc < 0) {
        params_release_sampling(&sampling);
        return rc;
    }
    ch->request->user = ch;
    return stop_matcher_init(&ch->stop, &cm->params.stop);
}

void
choice_release(struct choice *ch)
{
    ASSERT(!ch->inside);
    request_free(ch->request);
    stop_matcher_release(&ch->stop);
    buf_release(&ch->text);
}

void
choice_cancel(struct choice *ch)
{
    if (ch->inside)
        engine_cancel(ch->completion->app->engine, ch->request);
}

/* ---- tokens to text ------------------------------------------------------ */

/* The prompt of `ch` does not wait any longer. */
static void
leave_queue(struct choice *ch)
{
    struct completion *cm = ch->completion;
    if (ch->first_seen)
        return;
    ch->first_seen = true;
    int64_t tokens = MIN((int64_t)ch->prompt->ids.len, cm->num_queued_tokens);
    cm->num_queued_tokens -= tokens;
    cm->app->num_queued_tokens -= tokens;
}

/* Everything that can be known about the end is; `ch` is told to its client. */
static void
end_choice(struct choice *ch, enum finish_reason reason)
{
    struct completion *cm = ch->completion;
    ch->ended = true;
    ch->reason = reason;
    cm->num_open--;
    choice_cancel(ch);
    if (cm->params.stream) {
        completion_write_chunk(cm, ch, buf_len(&ch->text), cm->num_open == 0);
        if (!completion_write(cm))
            return;
    }
    if (cm->num_open == 0)
        completion_answer(cm);
}

/* Cuts the unsent text to `len` bytes. */
static void
cut_text(struct buf *text, size_t len)
{
    text->len = text->start + len;
    if (text->data != NULL)
        text->data[text->len] = '\0';
}

/* Takes the next token of the request; true when a stop string ends here. */
static bool
take_token(struct choice *ch, bool with_text)
{
    const struct completion_params *p = &ch->completion->params;
    int32_t token = ch->request->output_ids[ch->num_tokens++];
    if (!with_text || p->max_tokens == 0)
        return false;
    size_t before = buf_len(&ch->text);
    detokenizer_push(&ch->detokenizer, token, &ch->text);
    struct stop_match match = stop_matcher_push(&ch->stop, buf_bytes(&ch->text) + before,
                                                buf_len(&ch->text) - before,
                                                ch->num_tokens > p->min_tokens);
    if (match.index < 0)
        return false;
    ch->stop_index = match.index;
    size_t end = before + match.end;
    size_t len = p->stop.items[match.index].len;
    cut_text(&ch->text, p->include_stop_str_in_output ? end : end - len);
    return true;
}

/* Bytes of the text that no stop string can take back. */
static size_t
safe_length(const struct choice *ch)
{
    if (ch->completion->params.include_stop_str_in_output)
        return buf_len(&ch->text);
    return buf_len(&ch->text) - stop_matcher_held(&ch->stop);
}

static void
take_and_show(struct choice *ch)
{
    struct completion *cm = ch->completion;
    if (take_token(ch, true)) {
        end_choice(ch, FINISH_STOP);
        return;
    }
    if (!cm->params.stream)
        return;
    completion_write_chunk(cm, ch, safe_length(ch), false);
    completion_write(cm);
}

/* ---- events -------------------------------------------------------------- */

static void
count_token(struct choice *ch, uint64_t now_ns)
{
    struct completion *cm = ch->completion;
    struct metrics *m = &cm->app->metrics;
    if (!ch->first_seen) {
        uint64_t ttft_ns = now_ns > cm->arrival_ns ? now_ns - cm->arrival_ns : 0;
        hist_record(&m->ttft_s, (double)ttft_ns / 1e9);
        if (cm->call != NULL && cm->call->ttft_ns == 0)
            cm->call->ttft_ns = ttft_ns;
    } else {
        hist_record(&m->itl_s, (double)(now_ns - ch->last_token_ns) / 1e9);
    }
    ch->last_token_ns = now_ns;
    leave_queue(ch);
}

void
choice_on_token(struct choice *ch, const struct engine_event *event, uint64_t now_ns)
{
    if (ch->ended)
        return;
    count_token(ch, now_ns);
    ASSERT(event->output_index == ch->num_tokens);
    /* The last one is held until FINISHED, which follows at once: text and
     * finish_reason go out in one chunk, a stop token's text not at all. */
    if (event->finish_reason != FINISH_NONE)
        ch->held = true;
    else
        take_and_show(ch);
}

static void
fail(struct choice *ch, enum finish_reason reason)
{
    struct app *a = ch->completion->app;
    struct error why = {0};
    struct api_error err;
    if (reason == FINISH_ERROR) {
        engine_failed(a->engine, &why);
        api_error_set(&err, API_ERROR_ENGINE_DEAD, NULL, "the engine has failed%s%s",
                      why.text[0] == '\0' ? "" : ": ", why.text);
    } else {
        api_error_set(&err, API_ERROR_DRAINING, NULL, "the server is shutting down");
        err.retry_after_s = 5;
    }
    ch->reason = reason;
    completion_fail(ch->completion, &err);
}

/* The engine has ended `ch`, and the client does not know yet. */
static void
finish(struct choice *ch, enum finish_reason reason)
{
    const struct completion_params *p = &ch->completion->params;
    const struct request *r = ch->request;
    if (reason != FINISH_STOP && reason != FINISH_LENGTH) {
        fail(ch, reason);
        return;
    }
    bool with_text = reason == FINISH_LENGTH || p->include_stop_str_in_output;
    if (ch->held && take_token(ch, with_text)) {
        end_choice(ch, FINISH_STOP);
        return;
    }
    if (p->max_tokens == 0) {
        reason = FINISH_LENGTH;
    } else {
        detokenizer_finish(&ch->detokenizer, &ch->text);
        ch->stop_token_id = reason == FINISH_STOP ? r->stop_token_id : -1;
    }
    end_choice(ch, reason);
}

static enum metrics_reason
metrics_reason_of(const struct choice *ch)
{
    switch (ch->reason) {
    case FINISH_STOP:
        return METRICS_STOP;
    case FINISH_LENGTH:
        return METRICS_LENGTH;
    case FINISH_ERROR:
        return METRICS_ERROR;
    case FINISH_NONE: /* nobody waited for it any more */
    case FINISH_ABORT:
        break;
    }
    return METRICS_ABORT;
}

static void
count_finished(const struct choice *ch)
{
    const struct completion *cm = ch->completion;
    const struct request *r = ch->request;
    struct metrics_request m = {
        .reason = metrics_reason_of(ch),
        .num_prompt_tokens = r->num_prompt_tokens,
        .num_output_tokens = ch->num_tokens,
        .max_tokens = r->sampling.max_tokens,
        .n = cm->params.n,
        .num_preemptions = r->num_preemptions,
        .arrival_ns = cm->arrival_ns,
        .submitted_ns = r->submitted_ns,
        .scheduled_ns = r->scheduled_ns,
        .first_token_ns = r->first_token_ns,
        .finished_ns = r->finished_ns,
    };
    metrics_count_request(&cm->app->metrics, &m);
}

void
choice_on_finished(struct choice *ch, const struct engine_event *event)
{
    struct completion *cm = ch->completion;
    const struct request *r = ch->request;
    ASSERT(ch->inside);
    ch->inside = false;
    cm->num_inside--;
    cm->app->num_inside--;
    leave_queue(ch);
    if (cm->call != NULL && r->scheduled_ns > r->submitted_ns)
        cm->call->queue_ns = MAX(cm->call->queue_ns, r->scheduled_ns - r->submitted_ns);
    if (!ch->ended)
        finish(ch, (enum finish_reason)event->finish_reason);
    count_finished(ch);
}
