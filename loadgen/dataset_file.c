/* SPDX-License-Identifier: Apache-2.0 */
/* Files of lines: JSON lines, CSV. */
#include "loadgen/dataset_private.h"

#include <string.h>

#define FILE_BYTES_MAX ((size_t)4 << 30)

int
dataset_file_open(struct dataset_file *f, const char *path, struct error *err)
{
    *f = (struct dataset_file){.path = path};
    return json_read_file(path[0] == '/' ? "/" : ".", path, FILE_BYTES_MAX, &f->bytes, &f->len,
                          err);
}

void
dataset_file_close(struct dataset_file *f)
{
    free(f->bytes);
    *f = (struct dataset_file){0};
}

static bool
is_blank(const char *line, size_t len)
{
    return strspn(line, " \t\r\n") >= len;
}

const char *
dataset_file_line(struct dataset_file *f, size_t *ret_len)
{
    while (f->next < f->len) {
        const char *line = f->bytes + f->next;
        const char *end = memchr(line, '\n', f->len - f->next);
        size_t len = end != NULL ? (size_t)(end - line) : f->len - f->next;
        f->next += len + 1;
        f->line++;
        if (is_blank(line, len))
            continue;
        *ret_len = len - (line[len - 1] == '\r');
        return line;
    }
    return NULL;
}

int
dataset_file_object(struct dataset_file *f, json_t **ret, struct error *err)
{
    char where[256];
    size_t len;
    const char *line = dataset_file_line(f, &len);
    *ret = NULL;
    if (line == NULL)
        return 0;
    snprintf(where, sizeof where, "%.200s:%zu", f->path, f->line);
    return json_parse_object(line, len, JSON_ALLOW_NUL, where, ret, err);
}
