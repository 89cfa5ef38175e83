/* SPDX-License-Identifier: Apache-2.0 */
/*
 * POST /tokenize and /detokenize: text to token ids and back, in vLLM's shape.
 * Long texts are tokenised on the thread pool.
 */
#ifndef SERVER_TOKENIZE_API_H
#define SERVER_TOKENIZE_API_H

#include "server/call.h"

void tokenize_handle(struct call *c);
void detokenize_handle(struct call *c);

#endif
