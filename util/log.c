/* SPDX-License-Identifier: Apache-2.0 */
#include "util/log.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#define TEXT_BYTES 2048                   /* of one message, before escapes */
#define LINE_BYTES (4 * TEXT_BYTES + 64)  /* each byte can become \xHH */

const char *const log_level_names[] = {"error", "warn", "info", "debug", "trace", NULL};

static _Atomic int log_level = LOG_LEVEL_INFO;
static _Atomic bool log_journal;

void
log_init(enum log_level level, bool journal)
{
    atomic_store_explicit(&log_level, (int)level, memory_order_relaxed);
    atomic_store_explicit(&log_journal, journal, memory_order_relaxed);
}

bool
log_enabled(enum log_level level)
{
    return (int)level <= atomic_load_explicit(&log_level, memory_order_relaxed);
}

bool
log_limit_pass(struct log_limit *limit, uint64_t now_ns, unsigned *ret_suppressed)
{
    uint64_t window = atomic_load_explicit(&limit->window_ns, memory_order_relaxed);
    bool first = window == 0;
    /* Whoever moves the window empties it; two threads may then let a line
     * more through, which does no harm. */
    if ((first || now_ns - window >= LOG_LIMIT_NS) &&
        atomic_compare_exchange_strong(&limit->window_ns, &window, now_ns))
        atomic_store(&limit->lines, 0);
    if (atomic_fetch_add(&limit->lines, 1) >= LOG_LIMIT_LINES) {
        atomic_fetch_add(&limit->suppressed, 1);
        return false;
    }
    *ret_suppressed = atomic_exchange(&limit->suppressed, 0);
    return true;
}

/* The start of a line; returns its length. */
static size_t
print_prefix(enum log_level level, char *line)
{
    static const int priorities[] = {3, 4, 6, 7, 7};
    if (atomic_load_explicit(&log_journal, memory_order_relaxed))
        return (size_t)sprintf(line, "<%d>", priorities[level]);
    struct timespec now;
    struct tm utc;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    size_t len = strftime(line, 32, "%Y-%m-%dT%H:%M:%S", &utc);
    return len + (size_t)sprintf(line + len, ".%03ldZ %s ", now.tv_nsec / 1000000,
                                 log_level_names[level]);
}

static size_t
print_escaped(const char *text, char *line)
{
    static const char hex[] = "0123456789abcdef";
    char *p = line;
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '\\') {
            *p++ = '\\';
            *p++ = '\\';
        } else if (c >= 0x20 && c < 0x7f) {
            *p++ = (char)c;
        } else {
            *p++ = '\\';
            *p++ = 'x';
            *p++ = hex[c >> 4];
            *p++ = hex[c & 15];
        }
    }
    return (size_t)(p - line);
}

void
log_write(enum log_level level, const char *fmt, ...)
{
    int saved_errno = errno;
    char text[TEXT_BYTES], line[LINE_BYTES];
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (n < 0)
        strcpy(text, "a line could not be formatted");
    else if ((size_t)n >= sizeof text)
        memcpy(text + sizeof text - 4, "...", 4);
    size_t len = print_prefix(level, line);
    len += print_escaped(text, line + len);
    line[len++] = '\n';
    /* A log that cannot be written to must not stop the daemon. */
    while (write(STDERR_FILENO, line, len) < 0 && errno == EINTR)
        ;
    errno = saved_errno;
}
