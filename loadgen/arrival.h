/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When bytes came to this machine: the kernel's stamp, which does not depend on
 * how busy the program is that reads them. Linux, TCP. Any thread.
 */
#ifndef LOADGEN_ARRIVAL_H
#define LOADGEN_ARRIVAL_H

#include "util/base.h"

#include <sys/types.h>

/* Has the kernel stamp what a socket receives from now on. */
void arrival_watch(int socket);

/*
 * As recv without waiting; `flags` may be MSG_PEEK. *ret_ns: when the last of
 * these bytes came, in CLOCK_MONOTONIC; now, where there is no stamp.
 */
ssize_t arrival_receive(int socket, void *bytes, size_t len, int flags, uint64_t *ret_ns);

#endif
