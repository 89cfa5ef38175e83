/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The routes that tell about the server: /v1/models, /v1/models/{id}, /health,
 * /ping, /version, /load, /metrics.
 */
#ifndef SERVER_MODELS_H
#define SERVER_MODELS_H

#include "server/call.h"

void models_handle_list(struct call *c);
/* The id may hold slashes, plain or as %2F. */
void models_handle_one(struct call *c);
/* 200 and nothing when completions would be taken, else 503 and why. */
void models_handle_health(struct call *c);
void models_handle_version(struct call *c);
/* How many completions are under way. */
void models_handle_load(struct call *c);
void models_handle_metrics(struct call *c);

#endif
