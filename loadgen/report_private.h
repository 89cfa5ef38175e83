/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the report share. */
#ifndef LOADGEN_REPORT_PRIVATE_H
#define LOADGEN_REPORT_PRIVATE_H

#include "loadgen/report.h"

struct metric_name {
    const char *key;   /* "ttft": of --percentile-metrics and of the JSON */
    const char *label; /* "TTFT" */
    const char *title;
};

/* By enum metric; those after METRIC_E2EL_QUEUE have none. */
#define NUM_NAMED_METRICS (METRIC_E2EL_QUEUE + 1)
extern const struct metric_name report_metric_names[NUM_NAMED_METRICS];

/* Whether the metric was asked for and can be had. */
bool report_shows(const struct config *c, enum metric metric);

/* A title in the middle of a line of `fill`; an odd rest goes right. */
void report_title(struct buf *ret, const char *title, char fill);
void report_count(struct buf *ret, const char *label, int64_t value);
void report_figure(struct buf *ret, const char *label, double value);

/* Text of a server on one line that moves no cursor. */
void report_plain(struct buf *ret, const char *text, size_t max_bytes);

/* One kind of failure. */
struct failure {
    const char *reason;          /* borrowed from the example */
    const struct reply *example; /* the first one */
    size_t count;
};
/* The kinds, by their first request; *ret is the caller's to free. Returns how
 * many, 0 also when memory is out. */
size_t report_failures(const struct report *r, struct failure **ret);

/* The "loadgen" object of the JSON. */
void report_own_json(const struct report *r, struct buf *ret);

#endif
