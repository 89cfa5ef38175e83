/* SPDX-License-Identifier: Apache-2.0 */
/* What bench_steps measures, and what it is told. */
#ifndef BENCH_STEPS_H
#define BENCH_STEPS_H

#include "util/error.h"

struct steps_config {
    char *model, *name, *batches, *output, *cache_dir;
    int device;
    int64_t context, num_steps, max_tokens, seconds;
    double bandwidth, flops;
    bool autotune, enforce_eager, no_pdl, help;
};

extern const char *const steps_devices[]; /* what `device` is an index into */

/* Opens the device and the model, measures, prints, and appends to the file. */
int steps_run(const struct steps_config *config, struct error *err);

#endif
