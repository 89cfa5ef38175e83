/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the engine's event ring to the choices: woken by the worker, drains what
 * is there in the order it was made, then hands all that was written to the
 * kernel at once.
 */
#ifndef SERVER_BRIDGE_H
#define SERVER_BRIDGE_H

#include "util/base.h"

#include <uv.h>

/* The callback of app.wake. */
void bridge_on_wake(uv_async_t *wake);

#endif
