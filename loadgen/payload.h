/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The JSON bodies of requests: the members, in the order, in the spelling of
 * Python's json.dumps, that `vllm bench serve` sends. All of a body but its
 * prompt and its length is the same for all requests, and made once.
 */
#ifndef LOADGEN_PAYLOAD_H
#define LOADGEN_PAYLOAD_H

#include "loadgen/config.h"
#include "loadgen/dataset.h"
#include "util/buf.h"

struct payload {
    struct buf text;
    /* Where the prompt and the length go; SIZE_MAX: --extra-body has set them. */
    size_t prompt_at, output_len_at;
};

/* `model`: the name to send. An error names --extra-body. */
int payload_init(struct payload *p, const struct config *c, const char *model, struct error *err);
void payload_release(struct payload *p);
/* Appends the body; ret->failed when memory is out. */
void payload_write(const struct payload *p, const struct prompt *prompt, struct buf *ret);

#endif
