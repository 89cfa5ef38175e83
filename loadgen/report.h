/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a run prints and saves: the table and the JSON object of
 * `vllm bench serve`, and our own summary of failures.
 */
#ifndef LOADGEN_REPORT_H
#define LOADGEN_REPORT_H

#include "loadgen/config.h"
#include "loadgen/metrics.h"
#include "util/buf.h"

struct report {
    const struct config *config;  /* borrowed, as all here */
    const char *model;
    struct metrics *metrics;      /* percentiles sort it */
    const struct reply *replies;
    size_t num_replies;
    struct tm date;               /* local, of the end of the run */
};

/* The lines before a run: rate, burstiness, concurrency. */
void report_preamble(const struct config *c, struct buf *ret);
void report_table(const struct report *r, struct buf *ret);
/* Each reason with its number and one example; nothing without failures. */
void report_failures(const struct report *r, struct buf *ret);
/* One line of JSON, without a line end. */
void report_json(const struct report *r, struct buf *ret);
/* The file's name by --result-dir and --result-filename, or vLLM's. */
void report_file_name(const struct report *r, struct buf *ret);
/* Writes report_json there. */
int report_save(const struct report *r, const char *path, struct error *err);

#endif
