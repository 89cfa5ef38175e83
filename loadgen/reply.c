/* SPDX-License-Identifier: Apache-2.0 */
#include "loadgen/reply.h"
#include "loadgen/http.h"

#include "loadgen/token_scan.h"
#include "util/error.h"

#include <jansson.h>
#include <math.h>
#include <string.h>

#define BODY_BYTES_MAX 2048 /* kept of an answer that is no stream */

struct arrival {
    struct reply *reply;
    uint64_t now_ns;
};

void
reply_init(struct reply *r, enum reply_api api, int64_t input_len)
{
    *r = (struct reply){.api = api, .input_len = input_len, .usage_output_len = -1,
                        .server_queue_s = NAN, .server_ttft_s = NAN};
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

/* The first failure stands. Without particulars the reason does for them. */
static void
fail(struct reply *r, const char *reason, const char *error)
{
    if (r->failed)
        return;
    r->failed = true;
    r->reason = strdup(reason);
    r->error = strdup(error[0] != '\0' ? error : reason);
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

/* The text that a choice brings. */
static const json_t *
choice_text(const struct reply *r, const json_t *choice)
{
    return r->api == REPLY_CHAT ? json_object_get(json_object_get(choice, "delta"), "content")
                                : json_object_get(choice, "text");
}

static bool
has_member(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return json_string_length(value) > 0 || json_array_size(value) > 0 ||
           json_object_size(value) > 0;
}

/* The opening chunk of a chat has a role and no content, the last one neither.
 * A token may have no text, like a special one. */
static bool
is_token_event(const struct reply *r, const json_t *choices)
{
    const json_t *choice = json_array_get(choices, 0);
    if (choice == NULL || r->api == REPLY_COMPLETION)
        return choice != NULL;
    const json_t *delta = json_object_get(choice, "delta");
    return has_member(delta, "content") || has_member(delta, "reasoning") ||
           has_member(delta, "tool_calls") || has_member(delta, "function_call") ||
           (json_is_string(json_object_get(delta, "content")) &&
            json_object_get(delta, "role") == NULL);
}

static void
take_token_event(struct reply *r, uint64_t now_ns)
{
    if (r->first_ns == 0)
        r->first_ns = now_ns;
    else
        samples_record(&r->itls_s, (double)(now_ns - r->last_ns) / 1e9);
    r->last_ns = now_ns;
    r->num_events++;
}

static void
take_text(struct reply *r, const json_t *text)
{
    if (json_is_string(text))
        buf_append(&r->text, json_string_value(text), json_string_length(text));
}

/* Text as it stands in JSON. */
static void
take_escaped_text(struct reply *r, const char *text, size_t len)
{
    if (memchr(text, '\\', len) == NULL) {
        buf_append(&r->text, text, len);
        return;
    }
    json_t *value = json_loadb(text - 1, len + 2, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    take_text(r, value);
    json_decref(value);
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

static double
seconds_of(const json_t *ms)
{
    return json_is_number(ms) ? json_number_value(ms) / 1000.0 : NAN;
}

/* What the server itself measured; vLLM sends it with the usage. */
static void
take_metrics(struct reply *r, const json_t *metrics)
{
    if (!json_is_object(metrics))
        return;
    r->server_queue_s = seconds_of(json_object_get(metrics, "queue_time_ms"));
    r->server_ttft_s = seconds_of(json_object_get(metrics, "time_to_first_token_ms"));
}

/* A message that may have anything in it. */
static void
take_message(struct reply *r, const char *data, size_t len, uint64_t now_ns)
{
    json_error_t json_error;
    json_t *message = json_loadb(data, len, JSON_ALLOW_NUL, &json_error);
    if (message == NULL) {
        fail(r, "a message of the stream is not JSON", json_error.text);
        return;
    }
    const json_t *error = json_object_get(message, "error");
    const json_t *choices = json_object_get(message, "choices");
    if (error != NULL && !json_is_null(error))
        fail_by_object(r, "error in the stream", error);
    else if (is_token_event(r, choices)) {
        take_token_event(r, now_ns);
        take_text(r, choice_text(r, json_array_get(choices, 0)));
    }
    take_usage(r, json_object_get(message, "usage"));
    take_metrics(r, json_object_get(message, "metrics"));
    json_decref(message);
}

/* One message of the stream. */
static void
take_event(void *arg, const char *data, size_t len)
{
    const struct arrival *a = arg;
    struct reply *r = a->reply;
    const char *text;
    size_t text_len;
    if (r->failed || len == 0 || (len == 6 && memcmp(data, "[DONE]", 6) == 0))
        return;
    if (token_scan(data, len, r->api, &text, &text_len)) {
        take_token_event(r, a->now_ns);
        take_escaped_text(r, text, text_len);
    } else {
        take_message(r, data, len, a->now_ns);
    }
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
    if (http_status != 200 || r->failed)
        return;
    /* No arrival before the one that was seen before it. */
    struct arrival a = {r, MAX(now_ns, MAX(r->start_ns, r->last_ns))};
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

static const char *
transport_reason(const struct reply *r, const char *error)
{
    if (strcmp(error, HTTP_TIMED_OUT) == 0)
        return error;
    return r->num_events > 0 ? "connection lost during the stream" : "connection failed";
}

void
reply_finish(struct reply *r, int http_status, const char *transport_error, uint64_t now_ns)
{
    struct arrival a = {r, now_ns};
    if (transport_error != NULL)
        fail(r, transport_reason(r, transport_error), transport_error);
    else if (http_status != 200)
        fail_by_status(r, http_status);
    else if (!r->failed)
        check_stream(r, sse_finish(&r->sse, take_event, &a));
    if (r->num_events == 0)
        fail(r, "no token in the answer", buf_bytes(&r->body));
    if (r->itls_s.failed || r->text.failed)
        fail(r, "out of memory", "out of memory");
    r->end_ns = now_ns;
    r->status = r->failed ? REPLY_FAILED : REPLY_SUCCEEDED;
    bool has_usage = r->usage_output_len > 0;
    r->output_len = has_usage ? r->usage_output_len : (int64_t)r->num_events;
    if (r->status == REPLY_FAILED)
        r->output_len = 0;
    sse_release(&r->sse);
    buf_release(&r->body);
}

void
reply_cancel(struct reply *r, uint64_t now_ns)
{
    fail(r, "cancelled", "");
    r->end_ns = now_ns;
    r->status = REPLY_CANCELLED;
    sse_release(&r->sse);
    buf_release(&r->body);
}
