/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When bytes came to this machine: the kernel's stamp, which does not depend on
 * how busy the program is that reads them. Linux, TCP. Any thread.
 */
#ifndef LOADGEN_ARRIVAL_H
#define LOADGEN_ARRIVAL_H

#include "util/base.h"

/* Has the kernel stamp what a socket receives from now on. */
void arrival_watch(int socket);

/*
 * When the first unread byte of a socket came, in CLOCK_MONOTONIC; now, where
 * there is no stamp. Bytes that came one after another and lie unread together
 * have one stamp, the last.
 */
uint64_t arrival_ns(int socket);

#endif
