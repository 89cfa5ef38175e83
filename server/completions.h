/* SPDX-License-Identifier: Apache-2.0 */
/*
 * POST /v1/completions: from a body to engine requests, from their events to
 * one JSON answer or a stream of chunks. Loop thread, except the reading of
 * large bodies.
 *
 * A completion is one client request. It has prompts x n choices; choice
 * index = prompt * n + i; each has one engine request. States:
 *
 *   READING ----> RUNNING ----> ANSWERED
 *      |             |             ^
 *      +-------------+-------------+   error, or the client is gone
 *
 *   READING   the body is being parsed and tokenised (maybe on the thread pool)
 *   RUNNING   the engine works, the client waits or reads chunks
 *   ANSWERED  the last byte is written, or nobody is there to read it. Engine
 *             requests that remain have been cancelled.
 *
 * It is freed when it is ANSWERED, its exchange has closed, the thread pool has
 * given it back, and all its engine requests have come back.
 *
 *   completions.c       reading, admission, submission, the end
 *   choice.c            one choice: tokens to text, stop, finish
 *   completion_text.c   the JSON
 */
#ifndef SERVER_COMPLETIONS_H
#define SERVER_COMPLETIONS_H

#include "engine/tokenizer/detokenize.h"
#include "server/call.h"
#include "server/prompts.h"

enum completion_state { COMPLETION_READING, COMPLETION_RUNNING, COMPLETION_ANSWERED };

struct completion;

struct choice {
    struct completion *completion;  /* borrowed */
    const struct prompt *prompt;    /* borrowed from the completion */
    struct request *request;        /* ours while !inside */
    int32_t index;
    bool inside;                    /* the engine has the request */
    bool ended;                     /* finish_reason is final; later tokens are dropped */
    bool held;                      /* the last token waits to learn whether it is the end */
    bool started;                   /* a chunk has gone out */
    bool first_seen;                /* the first token has come */

    struct detokenizer detokenizer;
    struct stop_matcher stop;
    struct buf text;                /* output not sent yet; all of it without stream */
    int32_t num_tokens;             /* taken from the engine; usage counts these */
    int32_t num_shown;              /* of those, in chunks already */
    int64_t text_offset;            /* characters of the tokens shown, for logprobs */
    uint64_t last_token_ns;

    enum finish_reason reason;      /* FINISH_NONE until ended */
    int stop_index;                 /* the stop string that ended it, or -1 */
    int32_t stop_token_id;          /* the stop token that ended it, or -1 */
};

struct completion {
    struct app *app;                /* borrowed */
    struct call *call;              /* borrowed; NULL once the exchange has closed */
    struct list link;               /* in app->completions */
    enum completion_state state;
    bool in_list;
    bool reading;                   /* the thread pool has it */
    int busy;                       /* held by callers up the stack: do not free */
    uv_work_t work;
    char *body;                     /* owned copy while the pool reads it */
    size_t body_len;
    struct api_error error;         /* of reading */

    struct completion_params params;
    struct prompts prompts;
    struct choice *choices;         /* owned */
    size_t num_choices, num_open, num_inside;
    int64_t num_prompt_tokens;      /* of all prompts, each once */
    int64_t num_queued_tokens;      /* prompt tokens counted in app->num_queued_tokens */
    int64_t created_s;
    uint64_t arrival_ns, last_write_ns;
    char id[REQUEST_ID_MAX_BYTES + 8]; /* "cmpl-..." */
    struct buf chunk_head;          /* what every chunk begins with */
    struct buf out;                 /* scratch */
};

/* The route. */
void completions_handle(struct call *c);

/* ---- for bridge.c and app.c ---------------------------------------------- */

/* An event of the engine; request->user is the choice. `now_ns` is when this
 * batch of events was taken. */
void choice_on_token(struct choice *ch, const struct engine_event *event, uint64_t now_ns);
void choice_on_finished(struct choice *ch, const struct engine_event *event);
/* Answers with an error (an event in a stream) and cancels what is left. */
void completion_fail(struct completion *cm, const struct api_error *err);
/* Once in a while: the deadline, and a comment where nothing was written. */
void completion_tick(struct completion *cm, uint64_t now_ns);

/* ---- between completions.c and choice.c ---------------------------------- */

/* Keeps `cm` alive over calls that may close its exchange. */
void completion_hold(struct completion *cm);
void completion_drop(struct completion *cm);
/* All choices have ended. */
void completion_answer(struct completion *cm);
/* Writes `out` to the stream; false when the client is not there any more. */
bool completion_write(struct completion *cm);
void choice_init(struct choice *ch, struct completion *cm, int32_t index);
int choice_make_request(struct choice *ch);
void choice_release(struct choice *ch);
/* Tells the engine to stop, if it has the request. */
void choice_cancel(struct choice *ch);

/* ---- completion_text.c --------------------------------------------------- */

void completion_write_head(struct completion *cm);
/* One event for what `ch` has not shown yet, text up to `text_len` bytes;
 * `last`: the last event with a choice of this stream. */
void completion_write_chunk(struct completion *cm, struct choice *ch, size_t text_len, bool last);
void completion_write_usage_chunk(struct completion *cm);
void completion_write_answer(struct completion *cm, struct buf *ret);
const char *finish_reason_name(enum finish_reason reason);

#endif
