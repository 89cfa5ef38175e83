/* SPDX-License-Identifier: Apache-2.0 */
#include "loadgen/payload.h"

#include "util/json.h"

#include <math.h>
#include <string.h>

static void
write_prompt(const struct prompt *prompt, struct buf *ret)
{
    if (prompt->text != NULL) {
        json_write_string(ret, prompt->text, prompt->text_bytes);
        return;
    }
    buf_putc(ret, '[');
    for (size_t i = 0; i < prompt->len; i++) {
        if (i > 0)
            buf_puts(ret, ", ");
        json_write_int(ret, prompt->ids[i]);
    }
    buf_putc(ret, ']');
}

void
payload_completion(const struct config *c, const char *model, const struct prompt *prompt,
                   struct buf *ret)
{
    buf_puts(ret, "{\"model\": ");
    json_write_string(ret, model, strlen(model));
    buf_puts(ret, ", \"prompt\": ");
    write_prompt(prompt, ret);
    buf_puts(ret, ", \"repetition_penalty\": 1.0, \"max_tokens\": ");
    json_write_int(ret, prompt->output_len);
    buf_puts(ret, ", \"logprobs\": null, \"stream\": true, "
                  "\"stream_options\": {\"include_usage\": true}");
    if (c->ignore_eos)
        buf_puts(ret, ", \"ignore_eos\": true");
    if (!isnan(c->temperature)) {
        buf_puts(ret, ", \"temperature\": ");
        json_write_double(ret, c->temperature);
    }
    buf_putc(ret, '}');
}
