/* SPDX-License-Identifier: Apache-2.0 */
/* The report as one HTML file: loadgen/report.html with a JSON result in it. */
#ifndef LOADGEN_REPORT_HTML_H
#define LOADGEN_REPORT_HTML_H

#include "util/buf.h"
#include "util/error.h"

/* Stands once in the template, where the result goes. */
#define REPORT_HTML_PLACEHOLDER "@LOADGEN_RESULT@"

/* loadgen/report.html, built into the program; not NUL-terminated. */
extern const unsigned char report_html_template[];
extern const size_t report_html_template_bytes;

/* Appends the page. `json` is one object of JSON text in UTF-8, as report_json
 * writes it with all details; it may hold any text of a server. */
void report_html(const struct buf *json, struct buf *ret);
/* Writes the page to `path`, which holds the old file or the whole new one, never
 * a part. Only for regular files: a device or pipe is ERR_UNSUPPORTED. */
int report_html_save(const struct buf *json, const char *path, struct error *err);

#endif
