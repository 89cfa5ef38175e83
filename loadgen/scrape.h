/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Watches another machine while something is measured: a thread of its own asks
 * pages of /metrics once a second. Samples are those of util/monitor.h.
 */
#ifndef LOADGEN_SCRAPE_H
#define LOADGEN_SCRAPE_H

#include "util/error.h"
#include "util/monitor.h"

struct scrape;

/* `urls`: one or more, separated by commas. */
int scrape_start(const char *urls, bool insecure, struct scrape **ret, struct error *err);
/* Takes a last sample and ends the thread; the samples, borrowed. */
const struct monitor_series *scrape_stop(struct scrape *s);
/* NULL is allowed; stops it first. */
void scrape_free(struct scrape *s);

#endif
