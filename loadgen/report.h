/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a run prints and saves: the lines, the table and the JSON object of
 * `vllm bench serve`, then what only we say.
 */
#ifndef LOADGEN_REPORT_H
#define LOADGEN_REPORT_H

#include "loadgen/config.h"
#include "loadgen/metrics.h"
#include "loadgen/schedule.h"
#include "util/buf.h"

#include <time.h>

struct report {
    const struct config *config;  /* borrowed, as all here */
    const char *model;            /* model_id */
    const char *tokenizer;        /* tokenizer_id; NULL: none */
    struct metrics *metrics;      /* percentiles sort it */
    struct client_outcome *outcome;
    const struct reply *replies;
    size_t num_replies;
    const struct schedule_args *schedule; /* of a ramp-up */
    const struct buf *resource_rows; /* lines of the table; NULL: none */
    const struct buf *resource_json; /* an object; NULL: none */
    struct tm date;               /* local, of the end of the run */
    int64_t realtime_ns;          /* CLOCK_REALTIME at 0 of CLOCK_MONOTONIC */
};

/* The lines before a run: rate, burstiness, concurrency. */
void report_preamble(const struct config *c, struct buf *ret);
/* The first failures, as vLLM lists them before the table. */
void report_errors(const struct report *r, struct buf *ret);
/* In the words of --format. */
void report_table(const struct report *r, struct buf *ret);
/* Our own rows: the client itself, latencies from the intended time, resources. */
void report_own_table(const struct report *r, struct buf *ret);
/* Whether loadgen was the limit, and each reason of failure with its number and
 * one example. Often nothing. */
void report_warnings(const struct report *r, struct buf *ret);

/* One line of JSON, without a line end. `detailed`: with the values of each
 * request. */
void report_json(const struct report *r, bool detailed, struct buf *ret);

/* The file's name by --result-dir and --result-filename, or vLLM's. */
void report_file_name(const struct report *r, struct buf *ret);
/* Makes --result-dir, and writes report_json there; `append`: after what the
 * file holds, on a line of its own. */
int report_save(const struct report *r, const char *path, bool append, struct error *err);

#endif
