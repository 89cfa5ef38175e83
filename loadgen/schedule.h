/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When each request is sent, drawn before the run as `vllm bench serve` draws
 * it: gamma-distributed gaps, summed, then scaled so that the last request
 * leaves at exactly count / rate.
 */
#ifndef LOADGEN_SCHEDULE_H
#define LOADGEN_SCHEDULE_H

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
    uint32_t seed;
};

int schedule_init(struct schedule *s, const struct schedule_args *args, struct error *err);
void schedule_release(struct schedule *s);

#endif
