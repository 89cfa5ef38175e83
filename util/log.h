/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One line per event on standard error: lower case, `key value` pairs. Under
 * journald a line starts with its priority, "<4>"; elsewhere with the UTC time
 * and the level. Control bytes, bytes beyond ASCII and backslashes are written
 * as \xHH and \\, so that nothing from the network can forge a line. Any
 * thread; one write per line. The level and the form are the only state.
 */
#ifndef UTIL_LOG_H
#define UTIL_LOG_H

#include "util/base.h"

#include <stdatomic.h>

enum log_level {
    LOG_LEVEL_ERROR, /* a request or the daemon failed */
    LOG_LEVEL_WARN,  /* degraded, goes on: say what is done instead */
    LOG_LEVEL_INFO,  /* life cycle: a few lines per hour */
    LOG_LEVEL_DEBUG, /* per request */
    LOG_LEVEL_TRACE, /* per step; the only level that may show prompts or outputs */
};

/* "error", ..., "trace", NULL: by level, also the choices of an option. */
extern const char *const log_level_names[];

/* Before the first line (else: info, with time). `journal`: standard error is
 * connected to the journal. */
void log_init(enum log_level level, bool journal);
bool log_enabled(enum log_level level);
void log_write(enum log_level level, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* A call site may write LOG_LIMIT_LINES lines per LOG_LIMIT_NS. */
#define LOG_LIMIT_LINES 10
#define LOG_LIMIT_NS 10000000000u

struct log_limit {
    _Atomic uint64_t window_ns;  /* when the window began */
    _Atomic unsigned lines;      /* in the window */
    _Atomic unsigned suppressed; /* since the last line that passed */
};

/* Whether a line may be written at `now_ns`; *ret_suppressed is how many were
 * dropped since the last one, and is written only when it may. */
bool log_limit_pass(struct log_limit *limit, uint64_t now_ns, unsigned *ret_suppressed);

#define log_at(level, ...)               \
    do {                                 \
        if (log_enabled(level))          \
            log_write(level, __VA_ARGS__); \
    } while (0)

#define log_error(...) log_at(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_info(...) log_at(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_at(LOG_LEVEL_DEBUG, __VA_ARGS__)
#define log_trace(...) log_at(LOG_LEVEL_TRACE, __VA_ARGS__)

/* Limited by call site: a flood of one warning leaves room for the others. */
#define log_warn(...)                                                                 \
    do {                                                                              \
        static struct log_limit log_limit_here;                                       \
        unsigned log_suppressed;                                                      \
        if (log_enabled(LOG_LEVEL_WARN) &&                                            \
            log_limit_pass(&log_limit_here, mono_ns(), &log_suppressed)) {            \
            log_write(LOG_LEVEL_WARN, __VA_ARGS__);                                   \
            if (log_suppressed > 0)                                                   \
                log_write(LOG_LEVEL_WARN, "suppressed %u lines like the last",        \
                          log_suppressed);                                            \
        }                                                                             \
    } while (0)

#endif
