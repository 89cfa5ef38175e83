/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One linear look at a JSON text before it is parsed: nesting, containers and
 * values are counted, so that a small body cannot become a large heap (4 MB of
 * "{}," would take 315 MB in jansson). It does not judge the syntax.
 */
#ifndef SERVER_JSON_SCAN_H
#define SERVER_JSON_SCAN_H

#include "util/base.h"

struct json_scan_limits {
    size_t max_depth, max_containers, max_values;
};

/* NULL when within the limits, else what is wrong: "nests too deeply". */
const char *json_scan(const char *text, size_t len, const struct json_scan_limits *limits);

#endif
