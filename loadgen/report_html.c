/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Puts the result into the page and the page into a file. All drawing is done
 * by the page itself, in loadgen/report.html.
 */
#include "loadgen/report_html.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/*
 * In a script element only '<' can end or change the element ("</script",
 * "<!--"), and JSON has it nowhere but within strings, where \u003c means the
 * same. U+2028 and U+2029 end a line for JavaScript, though not for JSON: they
 * are escaped too, so that the text stays one line for every reader.
 */
static void
append_escaped(struct buf *b, const char *text, size_t len)
{
    size_t done = 0;
    for (size_t i = 0; i < len; i++) {
        const char *escape = NULL;
        size_t width = 1;
        if (text[i] == '<') {
            escape = "\\u003c";
        } else if (len - i >= 3 && memcmp(text + i, "\xe2\x80", 2) == 0 &&
                   (text[i + 2] == '\xa8' || text[i + 2] == '\xa9')) {
            escape = text[i + 2] == '\xa8' ? "\\u2028" : "\\u2029";
            width = 3;
        }
        if (escape == NULL)
            continue;
        buf_append(b, text + done, i - done);
        buf_puts(b, escape);
        i += width - 1;
        done = i + 1;
    }
    buf_append(b, text + done, len - done);
}

void
report_html(const struct buf *json, struct buf *ret)
{
    const char *page = (const char *)report_html_template;
    const char *end = page + report_html_template_bytes;
    const char *hole = memmem(page, report_html_template_bytes, REPORT_HTML_PLACEHOLDER,
                              strlen(REPORT_HTML_PLACEHOLDER));
    ASSERT(hole != NULL);
    buf_append(ret, page, (size_t)(hole - page));
    append_escaped(ret, buf_bytes(json), buf_len(json));
    hole += strlen(REPORT_HTML_PLACEHOLDER);
    buf_append(ret, hole, (size_t)(end - hole));
}

static int
write_new(const struct buf *page, const char *path, struct error *err)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    FILE *file = fd < 0 ? NULL : fdopen(fd, "w");
    if (file == NULL) {
        int e = error_set(err, ERR_IO, "cannot create '%s': %s", path, strerror(errno));
        if (fd >= 0) {
            close(fd);
            unlink(path);
        }
        return e;
    }
    bool ok = fwrite(buf_bytes(page), 1, buf_len(page), file) == buf_len(page);
    if (fclose(file) == 0 && ok)
        return 0;
    error_set(err, ERR_IO, "cannot write '%s': %s", path, strerror(errno));
    unlink(path);
    return ERR_IO;
}

/* A temporary file in the same directory takes the place of `path`. */
static int
replace(const struct buf *page, const char *path, struct error *err)
{
    struct buf temporary = {0};
    buf_printf(&temporary, "%s.%ld.tmp", path, (long)getpid());
    int e = temporary.failed ? error_set(err, ERR_NOMEM, "cannot write '%s': out of memory", path)
                             : write_new(page, buf_bytes(&temporary), err);
    if (e == 0 && rename(buf_bytes(&temporary), path) < 0) {
        e = error_set(err, ERR_IO, "cannot write '%s': %s", path, strerror(errno));
        unlink(buf_bytes(&temporary));
    }
    buf_release(&temporary);
    return e;
}

int
report_html_save(const struct buf *json, const char *path, struct error *err)
{
    struct stat info;
    if (stat(path, &info) == 0 && !S_ISREG(info.st_mode))
        return error_set(err, ERR_UNSUPPORTED, "cannot write '%s': not a regular file", path);
    struct buf page = {0};
    report_html(json, &page);
    /* a link stays a link: what it leads to is replaced */
    char *target = realpath(path, NULL);
    int e = json->failed || page.failed
        ? error_set(err, ERR_NOMEM, "cannot write '%s': out of memory", path)
        : replace(&page, target != NULL ? target : path, err);
    free(target);
    buf_release(&page);
    return e;
}
