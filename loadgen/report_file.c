/* SPDX-License-Identifier: Apache-2.0 */
/* Where the result goes. */
#include "loadgen/report_private.h"
#include "util/decimal.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

static const char *
base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

static void
own_name(const struct report *r, struct buf *ret)
{
    const struct config *c = r->config;
    char date[32];
    bool has_label = c->label != NULL && c->label[0] != '\0';
    strftime(date, sizeof date, "%Y%m%d-%H%M%S", &r->date);
    buf_printf(ret, "%s-", has_label ? c->label : config_backend_name(c));
    if (c->ramp_up_strategy != RAMP_UP_NONE) {
        buf_printf(ret, "ramp-up-%s-%lldqps-%lldqps", config_ramp_up_name(c),
                   (long long)c->ramp_up_start_rps, (long long)c->ramp_up_end_rps);
    } else {
        decimal_print(c->request_rate, true, ret);
        buf_puts(ret, "qps");
    }
    if (c->max_concurrency > 0)
        buf_printf(ret, "-concurrency%lld", (long long)c->max_concurrency);
    buf_printf(ret, "-%s-%s.json", base_name(r->model), date);
}

void
report_file_name(const struct report *r, struct buf *ret)
{
    const struct config *c = r->config;
    const char *name = c->result_filename, *dir = c->result_dir;
    bool is_absolute = name != NULL && name[0] == '/';
    if (dir != NULL && dir[0] != '\0' && !is_absolute)
        buf_printf(ret, "%s%s", dir, dir[strlen(dir) - 1] == '/' ? "" : "/");
    if (name != NULL && name[0] != '\0')
        buf_puts(ret, name);
    else
        own_name(r, ret);
}

/* The directory and those above it. */
static int
make_dirs(const char *dir, struct error *err)
{
    char *path = strdup(dir);
    int e = path == NULL ? error_set(err, ERR_NOMEM, "out of memory") : 0;
    for (char *p = path; e == 0 && p != NULL; ) {
        p = strchr(p + 1, '/');
        if (p != NULL)
            *p = '\0';
        if (mkdir(path, 0777) < 0 && errno != EEXIST)
            e = error_set(err, ERR_IO, "cannot make directory '%s': %s", path, strerror(errno));
        if (p != NULL)
            *p = '/';
    }
    free(path);
    return e;
}

static int
write_file(const struct buf *text, const char *path, bool append, struct error *err)
{
    FILE *file = fopen(path, append ? "ae" : "we");
    if (file == NULL)
        return error_set(err, ERR_IO, "cannot open '%s': %s", path, strerror(errno));
    bool ok = true;
    if (append && fseek(file, 0, SEEK_END) == 0 && ftell(file) > 0)
        ok = fputc('\n', file) != EOF;
    ok = fwrite(buf_bytes(text), 1, buf_len(text), file) == buf_len(text) && ok;
    if (fclose(file) != 0 || !ok)
        return error_set(err, ERR_IO, "cannot write '%s': %s", path, strerror(errno));
    return 0;
}

int
report_save(const struct report *r, const char *path, bool append, struct error *err)
{
    struct buf text = {0};
    const char *dir = r->config->result_dir;
    int e = dir != NULL && dir[0] != '\0' ? make_dirs(dir, err) : 0;
    report_json(r, r->config->save_detailed, &text);
    if (e == 0 && text.failed)
        e = error_set(err, ERR_NOMEM, "cannot write '%s': out of memory", path);
    if (e == 0)
        e = write_file(&text, path, append, err);
    buf_release(&text);
    return e;
}
