/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `llmd plan`: what a model needs of the GPUs that llmd is written for, and the
 * least time that they leave for it, from config.json alone. Any machine, any
 * thread.
 */
#ifndef ENGINE_PLAN_REPORT_H
#define ENGINE_PLAN_REPORT_H

#include "engine/engine_options.h"
#include "util/buf.h"

struct plan_request {
    const char *dir;                      /* the model's, with config.json */
    const struct engine_options *options; /* as for serving; not the device */
    int gpu;                              /* index into plan_gpus */
    int64_t context;                      /* mean, of the sequences of a decode step */
    bool json;                            /* for machines */
};

extern const char *const plan_gpus[]; /* "all", and those of gpu_specs; ends with NULL */

/*
 * Appends the report. *ret_fits: the model fits one of the GPUs asked for; why it
 * does not fit another is part of the report. Errors are those of config.json,
 * and of options that contradict each other or the model.
 */
int plan_report(const struct plan_request *r, struct buf *ret, bool *ret_fits,
                struct error *err);

#endif
