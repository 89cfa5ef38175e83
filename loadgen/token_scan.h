/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A fast look at a message of a stream. Nearly all of them bring one token and
 * nothing else; for those a JSON tree is not built, which would be most of the
 * client's work. Any thread; no state.
 */
#ifndef LOADGEN_TOKEN_SCAN_H
#define LOADGEN_TOKEN_SCAN_H

#include "loadgen/reply.h"

/*
 * Whether the message is well-formed, its first choice has a text (of chat: a
 * delta with content that is not empty), and it has no error, usage or metrics.
 * Then *ret_text is the text between its quotes, escapes and all, borrowed from
 * `data`. False says nothing: parse the message.
 */
bool token_scan(const char *data, size_t len, enum reply_api api, const char **ret_text,
                size_t *ret_len);

#endif
