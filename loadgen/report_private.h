/* SPDX-License-Identifier: Apache-2.0 */
/* What report.c (text) and report_json.c share. */
#ifndef LOADGEN_REPORT_PRIVATE_H
#define LOADGEN_REPORT_PRIVATE_H

#include "loadgen/report.h"

struct metric_name {
    const char *key;   /* "ttft": of --percentile-metrics and of the JSON */
    const char *label; /* "TTFT" */
    const char *title;
};

/* By enum metric. */
extern const struct metric_name report_metric_names[NUM_METRICS];

/* Whether the metric was asked for and can be had. */
bool report_shows(const struct config *c, enum metric metric);

#endif
