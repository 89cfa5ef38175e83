/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a measuring program found, for other programs: a file with one JSON object
 * a line. A line is written whole, so that a program which is stopped leaves all
 * that it had measured.
 */
#ifndef BENCH_ROWS_H
#define BENCH_ROWS_H

#include "util/buf.h"
#include "util/error.h"

#include <stdio.h>

struct rows {
    FILE *file;      /* owned; NULL: rows are dropped */
    struct buf line; /* owned */
};

/* path NULL: no file. ERR_IO. */
int rows_open(struct rows *r, const char *path, struct error *err);
/* ERR_IO when any line could not be written. */
int rows_close(struct rows *r, struct error *err);

/* A line: its member "kind" first, then what the next calls add, up to rows_end. */
void rows_begin(struct rows *r, const char *kind);
void rows_text(struct rows *r, const char *key, const char *value);
void rows_int(struct rows *r, const char *key, int64_t value);
/* NaN becomes null: not known. */
void rows_number(struct rows *r, const char *key, double value);
void rows_end(struct rows *r);

#endif
