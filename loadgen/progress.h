/* SPDX-License-Identifier: Apache-2.0 */
/* A progress bar on standard error, if that is a terminal. */
#ifndef LOADGEN_PROGRESS_H
#define LOADGEN_PROGRESS_H

#include "util/base.h"

/* Draws `num_done` of `num_total` after `elapsed_s` over the last one. */
void progress_draw(size_t num_done, size_t num_total, double elapsed_s);
/* Goes to the next line. */
void progress_end(void);

#endif
