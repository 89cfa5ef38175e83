/* SPDX-License-Identifier: Apache-2.0 */
#include "util/json.h"

#include "util/decimal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <sys/stat.h>
#include <unistd.h>

/* Reading */

static const char *
type_name(json_type type)
{
    switch (type) {
    case JSON_OBJECT: return "an object";
    case JSON_ARRAY: return "an array";
    case JSON_STRING: return "a string";
    case JSON_INTEGER: return "an integer";
    case JSON_REAL: return "a number";
    case JSON_TRUE:
    case JSON_FALSE: return "a boolean";
    case JSON_NULL: return "null";
    }
    return "unknown";
}

int
json_parse_object(const char *bytes, size_t len, size_t flags, const char *path, json_t **ret,
                  struct error *err)
{
    json_error_t je;
    json_t *top = json_loadb(bytes, len, flags, &je);
    if (top == NULL) {
        if (json_error_code(&je) == json_error_out_of_memory)
            return error_set(err, ERR_NOMEM, "%s: out of memory", path);
        /* jansson quotes what it was near to, whatever bytes that may be. */
        for (char *p = je.text; *p != '\0'; p++)
            if (*p < 0x20 || *p == 0x7F)
                *p = '?';
        return error_set(err, ERR_CORRUPT, "%s: not JSON: line %d: %s", path, je.line, je.text);
    }
    if (!json_is_object(top)) {
        int code = error_set(err, ERR_CORRUPT, "%s: an object is expected, not %s", path,
                             type_name(json_typeof(top)));
        json_decref(top);
        return code;
    }
    *ret = top;
    return 0;
}

/* Reads exactly `len` bytes, or as many as there are. */
static ssize_t
read_all(int fd, char *dst, size_t len)
{
    size_t got = 0;
    while (got < len) {
        ssize_t n = read(fd, dst + got, len - got);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        if (n == 0)
            break;
        got += (size_t)n;
    }
    return (ssize_t)got;
}

static int
read_open_file(int fd, const char *dir, const char *name, size_t max_bytes, char **ret,
               size_t *ret_len, struct error *err)
{
    struct stat sb;
    if (fstat(fd, &sb) != 0 || !S_ISREG(sb.st_mode))
        return error_set(err, ERR_IO, "cannot read '%s/%s': not a regular file", dir, name);
    if ((uint64_t)sb.st_size > max_bytes)
        return error_set(err, ERR_RANGE, "cannot read '%s/%s': %lld bytes, the limit is %zu", dir,
                         name, (long long)sb.st_size, max_bytes);
    size_t size = (size_t)sb.st_size;
    char *bytes = malloc(size + 1);
    if (bytes == NULL)
        return error_set(err, ERR_NOMEM, "cannot read '%s/%s': out of memory", dir, name);
    ssize_t got = read_all(fd, bytes, size);
    if (got < 0) {
        int code = error_set(err, ERR_IO, "cannot read '%s/%s': %s", dir, name, strerror(errno));
        free(bytes);
        return code;
    }
    bytes[got] = '\0';
    *ret = bytes;
    *ret_len = (size_t)got;
    return 0;
}

int
json_read_file(const char *dir, const char *name, size_t max_bytes, char **ret, size_t *ret_len,
               struct error *err)
{
    struct buf path = {0};
    buf_printf(&path, "%s/%s", dir, name);
    if (path.failed) {
        buf_release(&path);
        return error_set(err, ERR_NOMEM, "cannot open '%s': out of memory", name);
    }
    /* Not blocking: a FIFO in the directory must not hang the start. */
    int fd = open(buf_bytes(&path), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    int code;
    if (fd < 0) {
        code = error_set(err, errno == ENOENT || errno == ENOTDIR ? ERR_NOTFOUND : ERR_IO,
                         "cannot open '%s': %s", buf_bytes(&path), strerror(errno));
    } else {
        code = read_open_file(fd, dir, name, max_bytes, ret, ret_len, err);
        close(fd);
    }
    buf_release(&path);
    return code;
}

/* The member, or NULL when absent or null. */
static const json_t *
member(const struct json_object *o, const char *key)
{
    const json_t *v = json_object_get(o->value, key);
    return json_is_null(v) ? NULL : v;
}

static int
wrong_type(const struct json_object *o, const char *key, const char *expected, const json_t *v,
           struct error *err)
{
    return error_set(err, ERR_CORRUPT, "%s: '%s' must be %s, not %s", o->path, key, expected,
                     type_name(json_typeof(v)));
}

int
json_get_int(const struct json_object *o, const char *key, int64_t min, int64_t max, int64_t *io,
             struct error *err)
{
    const json_t *v = member(o, key);
    if (v == NULL)
        return 0;
    if (!json_is_integer(v))
        return wrong_type(o, key, "an integer", v, err);
    int64_t value = json_integer_value(v);
    if (value < min || value > max)
        return error_set(err, ERR_RANGE,
                         "%s: '%s' is %" PRId64 ", not within [%" PRId64 ", %" PRId64 "]", o->path,
                         key, value, min, max);
    *io = value;
    return 0;
}

int
json_get_double(const struct json_object *o, const char *key, double min, double max, double *io,
                struct error *err)
{
    const json_t *v = member(o, key);
    if (v == NULL)
        return 0;
    if (!json_is_number(v))
        return wrong_type(o, key, "a number", v, err);
    double value = json_number_value(v);
    if (!(value >= min && value <= max))
        return error_set(err, ERR_RANGE, "%s: '%s' is %g, not within [%g, %g]", o->path, key,
                         value, min, max);
    *io = value;
    return 0;
}

int
json_get_bool(const struct json_object *o, const char *key, bool *io, struct error *err)
{
    const json_t *v = member(o, key);
    if (v == NULL)
        return 0;
    if (!json_is_boolean(v))
        return wrong_type(o, key, "a boolean", v, err);
    *io = json_is_true(v);
    return 0;
}

int
json_get_string(const struct json_object *o, const char *key, const char **io, struct error *err)
{
    const json_t *v = member(o, key);
    if (v == NULL)
        return 0;
    if (!json_is_string(v))
        return wrong_type(o, key, "a string", v, err);
    *io = json_string_value(v);
    return 0;
}

int
json_get_typed(const struct json_object *o, const char *key, json_type type, const json_t **ret,
               struct error *err)
{
    const json_t *v = member(o, key);
    if (v != NULL && json_typeof(v) != type)
        return wrong_type(o, key, type_name(type), v, err);
    *ret = v;
    return 0;
}

int
json_need(const struct json_object *o, const char *key, struct error *err)
{
    if (member(o, key) == NULL)
        return error_set(err, ERR_CORRUPT, "%s: '%s' is missing", o->path, key);
    return 0;
}

bool
json_is_null_member(const struct json_object *o, const char *key)
{
    return json_is_null(json_object_get(o->value, key));
}

/* Writing */

/*
 * Decodes one character at s[0..len), len > 0: *ret_used bytes; U+FFFD for the
 * maximal part that begins like UTF-8 but is not.
 */
static uint32_t
next_char(const unsigned char *s, size_t len, size_t *ret_used)
{
    static const uint32_t replacement = 0xFFFD;
    unsigned char lead = s[0];
    *ret_used = 1;
    if (lead < 0x80)
        return lead;
    /* The first continuation byte's range excludes overlong forms, surrogates
     * and what lies above U+10FFFF. */
    unsigned char lo = 0x80, hi = 0xBF;
    int more;
    uint32_t c;
    if (lead >= 0xC2 && lead <= 0xDF) {
        more = 1;
        c = lead & 0x1F;
    } else if (lead >= 0xE0 && lead <= 0xEF) {
        more = 2;
        c = lead & 0x0F;
        if (lead == 0xE0)
            lo = 0xA0;
        if (lead == 0xED)
            hi = 0x9F;
    } else if (lead >= 0xF0 && lead <= 0xF4) {
        more = 3;
        c = lead & 0x07;
        if (lead == 0xF0)
            lo = 0x90;
        if (lead == 0xF4)
            hi = 0x8F;
    } else {
        return replacement;
    }
    for (int i = 1; i <= more; i++) {
        if ((size_t)i >= len || s[i] < lo || s[i] > hi)
            return replacement;
        c = c << 6 | (s[i] & 0x3F);
        *ret_used = (size_t)i + 1;
        lo = 0x80;
        hi = 0xBF;
    }
    return c;
}

static void
write_u16(struct buf *b, uint32_t unit)
{
    static const char hex[] = "0123456789abcdef";
    char text[6] = {'\\', 'u', hex[unit >> 12 & 15], hex[unit >> 8 & 15], hex[unit >> 4 & 15],
                    hex[unit & 15]};
    buf_append(b, text, sizeof text);
}

/* The letter after the backslash, or 0 when there is no short form. */
static char
short_escape(unsigned char c)
{
    switch (c) {
    case '"': return '"';
    case '\\': return '\\';
    case '\b': return 'b';
    case '\f': return 'f';
    case '\n': return 'n';
    case '\r': return 'r';
    case '\t': return 't';
    default: return 0;
    }
}

static bool
is_plain(unsigned char c)
{
    return c >= 0x20 && c < 0x7F && c != '"' && c != '\\';
}

void
json_write_string(struct buf *b, const char *text, size_t len)
{
    const unsigned char *s = (const unsigned char *)text;
    buf_putc(b, '"');
    size_t i = 0;
    while (i < len) {
        size_t run = i;
        while (run < len && is_plain(s[run]))
            run++;
        if (run > i) {
            buf_append(b, s + i, run - i);
            i = run;
            continue;
        }
        size_t used;
        uint32_t c = next_char(s + i, len - i, &used);
        i += used;
        char letter = c < 0x80 ? short_escape((unsigned char)c) : 0;
        if (letter != 0) {
            buf_putc(b, '\\');
            buf_putc(b, letter);
        } else if (c < 0x10000) {
            write_u16(b, c);
        } else {
            write_u16(b, 0xD800 + ((c - 0x10000) >> 10));
            write_u16(b, 0xDC00 + ((c - 0x10000) & 0x3FF));
        }
    }
    buf_putc(b, '"');
}

void
json_write_int(struct buf *b, int64_t value)
{
    buf_printf(b, "%" PRId64, value);
}

void
json_write_uint(struct buf *b, uint64_t value)
{
    buf_printf(b, "%" PRIu64, value);
}

void
json_write_double(struct buf *b, double value)
{
    if (isfinite(value))
        decimal_print(value, true, b);
    else
        buf_puts(b, "null");
}
