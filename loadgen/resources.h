/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the server's machine did during a run: processors, memory, GPU. Read
 * from this machine where the server runs on it, else from pages of /metrics.
 */
#ifndef LOADGEN_RESOURCES_H
#define LOADGEN_RESOURCES_H

#include "util/base.h"
#include "util/buf.h"
#include "util/error.h"

#include <sys/types.h>

struct resources;

struct resources_args {
    const char *monitor;  /* "auto", "local", "off", or URLs of /metrics */
    const char *base_url; /* of the server */
    pid_t pid;            /* the server's; 0: who listens on the URL's port */
    unsigned gpu_index;
    bool insecure;
};

/* *ret stays NULL for "off". Blocks for a look-up and a first page. */
int resources_start(const struct resources_args *args, struct resources **ret, struct error *err);
/* Ends it; figures are over [from_ns, to_ns], 0 and 0: all. */
void resources_stop(struct resources *r, uint64_t from_ns, uint64_t to_ns,
                    int64_t output_tokens);
/* NULL is allowed. */
void resources_free(struct resources *r);

/* After resources_stop: lines in the form of the result table, "n/a" for what is
 * not known; and an object of JSON, with the series where `detailed`. */
void resources_write_rows(const struct resources *r, struct buf *ret);
void resources_write_json(const struct resources *r, bool detailed, struct buf *ret);

#endif
