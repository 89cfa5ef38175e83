/* SPDX-License-Identifier: Apache-2.0 */
/* What both commands add to vLLM's lines and JSON: tokens, the machine, the floor. */
#ifndef BENCH_REPORT_H
#define BENCH_REPORT_H

#include "bench/offline.h"
#include "engine/roofline.h"
#include "loadgen/resources.h"
#include "util/buf.h"

/* The work of one measured run; without sequences it has no floor. */
struct report_work {
    const struct roofline_sequence *sequences;
    size_t num;
    double elapsed_s;
    int64_t output_tokens;
};

struct report {
    const struct bench_config *config;
    const struct engine_info *info;
    struct resources *resources; /* stopped; NULL: none */
    struct roofline_limits limits; /* 0: not asked for */
    struct roofline_model model;
    double floor_s;               /* NAN: not asked for */
    double output_tokens_per_s;
};

/* With --roofline: reads config.json and measures the machine, which takes some
 * seconds. To be called before the engine works. */
int report_init(struct report *r, const struct bench_config *c, const struct engine_info *info,
                struct error *err);
/* Computes the floor of this work. */
void report_set_work(struct report *r, const struct report_work *work);
/* Rows for the terminal. */
void report_write_rows(const struct report *r, const struct report_work *work, struct buf *ret);
/* The member "llmd_bench": {...}, at the end of vLLM's object. */
void report_write_json(const struct report *r, const struct report_work *work, struct buf *ret);
/* Writes `json` to --output-json, if that is given. */
int report_save(const struct bench_config *c, const struct buf *json, struct error *err);

/* Resources of this process and machine; NULL, with a word on stderr, if they
 * cannot be watched. */
struct resources *report_watch(const struct bench_config *c);

#endif
