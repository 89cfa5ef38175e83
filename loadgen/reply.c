/* SPDX-License-Identifier: Apache-2.0 */
#include "loadgen/reply.h"

#include "util/error.h"

#include <jansson.h>

#define BODY_BYTES_MAX 2048 /* kept of an answer that is no stream */

struct arrival {
    struct reply *reply;
    uint64_t now_ns;
};

void
reply_init(struct reply *r, int64_t input_len, bool keep_text)
{
    *r = (struct reply){.input_len = input_len, .keep_text = keep_text, .usage_output_len = -1};
}

void
reply_release(struct reply *r)
{
    samples_release(&r->itls_s);
    buf_release(&r->text);
    buf_release(&r->body);
    sse_release(&r->sse);
    free(r->reason);
    free(r->error);
    *r = (struct reply){0};
}

void
reply_start(struct reply *r, uint64_t now_ns)
{
    r->start_ns = now_ns;
}

static bool
has_failed(const struct reply *r)
{
    return r->failed;
}

/* The first failure stands. */
static void
fail(struct reply *r, const char *reason, const char *error)
{
    if (has_failed(r))
        return;
    r->failed = true;
    r->reason = strdup(reason);
    r->error = strdup(error);
}

/* The "message" of an error object, or its whole text. */
static void
fail_by_object(struct reply *r, const char *reason, const json_t *object)
{
    const json_t *message = json_object_get(object, "message");
    if (message == NULL)
        message = object;
    if (json_is_string(message)) {
        fail(r, reason, json_string_value(message));
        return;
    }
    char *text = json_dumps(message, JSON_COMPACT | JSON_ENCODE_ANY);
    fail(r, reason, text != NULL ? text : "");
    free(text);
}

static void
take_token_event(struct reply *r, const json_t *choices, uint64_t now_ns)
{
    if (r->first_ns == 0)
        r->first_ns = now_ns;
    else
        samples_record(&r->itls_s, (double)(now_ns - r->last_ns) * 1e-9);
    r->last_ns = now_ns;
    r->num_events++;
    if (!r->keep_text)
        return;
    const json_t *text = json_object_get(json_array_get(choices, 0), "text");
    if (json_is_string(text))
        buf_append(&r->text, json_string_value(text), json_string_length(text));
}

static void
take_usage(struct reply *r, const json_t *usage)
{
    const json_t *output = json_object_get(usage, "completion_tokens");
    const json_t *input = json_object_get(usage, "prompt_tokens");
    if (json_is_integer(output) && json_integer_value(output) >= 0)
        r->usage_output_len = json_integer_value(output);
    if (json_is_integer(input) && json_integer_value(input) >= 0)
        r->input_len = json_integer_value(input);
}

/* One message of the stream. */
static void
take_event(void *arg, const char *data, size_t len)
{
    const struct arrival *a = arg;
    struct reply *r = a->reply;
    if (has_failed(r) || len == 0 || (len == 6 && memcmp(data, "[DONE]", 6) == 0))
        return;
    json_error_t json_error;
    json_t *message = json_loadb(data, len, 0, &json_error);
    if (message == NULL) {
        fail(r, "a message of the stream is not JSON", json_error.text);
        return;
    }
    const json_t *error = json_object_get(message, "error");
    const json_t *choices = json_object_get(message, "choices");
    if (error != NULL && !json_is_null(error))
        fail_by_object(r, "error in the stream", error);
    else if (json_array_size(choices) > 0)
        take_token_event(r, choices, a->now_ns);
    take_usage(r, json_object_get(message, "usage"));
    json_decref(message);
}

static void
check_stream(struct reply *r, int result)
{
    if (result == ERR_RANGE)
        fail(r, "a message of the stream is too long", "above 16 MiB");
    else if (result < 0)
        fail(r, "out of memory", "out of memory");
}

void
reply_feed(struct reply *r, int http_status, const char *bytes, size_t len, uint64_t now_ns)
{
    if (r->num_events == 0 && buf_len(&r->body) < BODY_BYTES_MAX)
        buf_append(&r->body, bytes, MIN(len, BODY_BYTES_MAX - buf_len(&r->body)));
    if (http_status != 200 || has_failed(r))
        return;
    struct arrival a = {r, now_ns};
    check_stream(r, sse_feed(&r->sse, bytes, len, take_event, &a));
}

/* A status that is not 200, with what the server said about it. */
static void
fail_by_status(struct reply *r, int http_status)
{
    char reason[32];
    snprintf(reason, sizeof reason, "HTTP %d", http_status);
    json_t *body = json_loadb(buf_bytes(&r->body), buf_len(&r->body), 0, NULL);
    const json_t *error = json_object_get(body, "error");
    if (error != NULL)
        fail_by_object(r, reason, error);
    else if (json_is_object(body))
        fail_by_object(r, reason, body);
    else
        fail(r, reason, buf_bytes(&r->body));
    json_decref(body);
}

void
reply_finish(struct reply *r, int http_status, const char *transport_error, uint64_t now_ns)
{
    struct arrival a = {r, now_ns};
    if (transport_error != NULL)
        fail(r, r->num_events > 0 ? "connection lost during the stream" : "connection failed",
             transport_error);
    else if (http_status != 200)
        fail_by_status(r, http_status);
    else if (!has_failed(r))
        check_stream(r, sse_finish(&r->sse, take_event, &a));
    if (r->num_events == 0)
        fail(r, "no token in the answer", buf_bytes(&r->body));
    if (r->itls_s.failed || r->text.failed)
        fail(r, "out of memory", "out of memory");
    r->status = has_failed(r) ? REPLY_FAILED : REPLY_SUCCEEDED;
    bool has_usage = r->usage_output_len > 0;
    r->output_len = has_usage ? r->usage_output_len : (int64_t)r->num_events;
    if (r->status == REPLY_FAILED)
        r->output_len = 0;
    sse_release(&r->sse);
    buf_release(&r->body);
}
