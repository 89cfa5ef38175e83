/* SPDX-License-Identifier: Apache-2.0 */
/* The bodies of requests, with the fields that `vllm bench serve` sends. */
#ifndef LOADGEN_PAYLOAD_H
#define LOADGEN_PAYLOAD_H

#include "loadgen/config.h"
#include "loadgen/dataset.h"
#include "util/buf.h"

/* Appends the JSON of a completion request for `prompt` from `model`. */
void payload_completion(const struct config *c, const char *model, const struct prompt *prompt,
                        struct buf *ret);

#endif
