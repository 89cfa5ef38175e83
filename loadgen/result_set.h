/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Saved results, of one run or of several with the same settings: a file holds
 * one object after another, as --append-result and --num-runs write them. Those
 * of vLLM's own clients are read too.
 */
#ifndef LOADGEN_RESULT_SET_H
#define LOADGEN_RESULT_SET_H

#include "util/base.h"
#include "util/buf.h"
#include "util/error.h"

#include <jansson.h>

struct result_set {
    const char *name; /* borrowed */
    json_t **runs;    /* owned, each a reference */
    size_t len;
};

/* At least one run. The error names the file, and which object is wrong. */
int result_set_read(struct result_set *s, const char *path, struct error *err);
/* Adds a run; takes the reference, also when memory is out. */
int result_set_add(struct result_set *s, json_t *run);
void result_set_release(struct result_set *s);
/* A number of each run into `ret`[s->len]; false unless all have it. */
bool result_set_values(const struct result_set *s, const char *key, double *ret);

#endif
