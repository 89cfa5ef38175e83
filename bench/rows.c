/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/rows.h"

#include "util/json.h"

#include <errno.h>
#include <string.h>

int
rows_open(struct rows *r, const char *path, struct error *err)
{
    *r = (struct rows){0};
    if (path == NULL)
        return 0;
    r->file = fopen(path, "ae");
    return r->file != NULL
               ? 0
               : error_set(err, ERR_IO, "cannot write '%s': %s", path, strerror(errno));
}

int
rows_close(struct rows *r, struct error *err)
{
    bool failed = r->line.failed || (r->file != NULL && ferror(r->file));
    if (r->file != NULL && fclose(r->file) != 0)
        failed = true;
    buf_release(&r->line);
    *r = (struct rows){0};
    return failed ? error_set(err, ERR_IO, "cannot write the results: %s", strerror(errno)) : 0;
}

static void
write_key(struct rows *r, const char *key)
{
    buf_puts(&r->line, buf_len(&r->line) > 1 ? ", " : "");
    json_write_string(&r->line, key, strlen(key));
    buf_puts(&r->line, ": ");
}

void
rows_begin(struct rows *r, const char *kind)
{
    buf_release(&r->line);
    buf_putc(&r->line, '{');
    rows_text(r, "kind", kind);
}

void
rows_text(struct rows *r, const char *key, const char *value)
{
    write_key(r, key);
    json_write_string(&r->line, value, strlen(value));
}

void
rows_int(struct rows *r, const char *key, int64_t value)
{
    write_key(r, key);
    json_write_int(&r->line, value);
}

void
rows_number(struct rows *r, const char *key, double value)
{
    write_key(r, key);
    json_write_double(&r->line, value);
}

void
rows_end(struct rows *r)
{
    buf_puts(&r->line, "}\n");
    if (r->file == NULL || r->line.failed)
        return;
    fwrite(buf_bytes(&r->line), 1, buf_len(&r->line), r->file);
    fflush(r->file);
}
