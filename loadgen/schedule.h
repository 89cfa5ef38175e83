/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When each request is sent, drawn before the run as `vllm bench serve` draws
 * it: gamma-distributed gaps, summed, then, unless the rate is ramped up,
 * scaled so that the last request leaves at exactly count / rate.
 */
#ifndef LOADGEN_SCHEDULE_H
#define LOADGEN_SCHEDULE_H

#include "loadgen/config.h"
#include "loadgen/dataset.h"
#include "util/base.h"
#include "util/error.h"

struct schedule {
    double *times_s; /* owned; after the start of the run, ascending */
    size_t len;
};

struct schedule_args {
    size_t num_requests;
    double request_rate; /* per second; INFINITY: all at once */
    double burstiness;   /* shape of the gaps: 1 Poisson, INFINITY constant */
    enum ramp_up ramp_up;
    double ramp_up_start_per_s, ramp_up_end_per_s;
};

/* Draws from `global`, which is left where vLLM leaves numpy's. */
int schedule_init(struct schedule *s, const struct schedule_args *args,
                  struct numpy_legacy *global, struct error *err);
/* A timed data set's own times, in ascending order or not. */
int schedule_init_timed(struct schedule *s, const struct dataset *d, struct error *err);
void schedule_release(struct schedule *s);
/* The rate in force at a request, per second. */
double schedule_rate(const struct schedule_args *args, size_t index);

#endif
