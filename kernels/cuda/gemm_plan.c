/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file is text: two lines that say whose it is, a line for each plan, and a
 * last line with their number and a hash of all that stands before it.
 */
#include "kernels/cuda/gemm_plan.h"

#include "util/buf.h"
#include "util/hashmap.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

/* To be raised when the format changes, or the module's own kernels: what was
 * measured against the old ones means nothing. */
#define FILE_FIRST_LINE "llmd gemm plans 1"
#define FILE_MOST_BYTES ((size_t)4 << 20)

const int gemm_buckets[GEMM_NUM_BUCKETS] = {
    1,   2,   4,   8,   16,  24,  32,  48,  64,  96,   128,  160,
    192, 224, 256, 288, 320, 384, 448, 512, 1024, 2048, 4096, 8192,
};

int
gemm_bucket(int num_rows)
{
    int b = 0;
    while (b < GEMM_NUM_BUCKETS - 1 && gemm_buckets[b] < num_rows)
        b++;
    return b;
}

void
gemm_table_release(struct gemm_table *table)
{
    free(table->entries);
    *table = (struct gemm_table){0};
}

struct gemm_entry *
gemm_table_entry(struct gemm_table *table, const struct gemm_shape *shape)
{
    for (int i = 0; i < table->num_entries; i++) {
        const struct gemm_shape *s = &table->entries[i].shape;
        if (s->N == shape->N && s->K == shape->K && s->bias == shape->bias &&
            s->out_f32 == shape->out_f32)
            return &table->entries[i];
    }
    if (table->num_entries == table->capacity) {
        int capacity = MAX(8, 2 * table->capacity);
        struct gemm_entry *entries =
            realloc(table->entries, (size_t)capacity * sizeof *entries);
        if (entries == NULL)
            return NULL;
        table->entries = entries;
        table->capacity = capacity;
    }
    struct gemm_entry *entry = &table->entries[table->num_entries++];
    *entry = (struct gemm_entry){.shape = *shape};
    return entry;
}

static void
write_plan(struct buf *text, const struct gemm_shape *shape, int bucket,
           const struct gemm_plan *plan)
{
    buf_printf(text, "plan %d %d %d %d %d %s %" PRIu64, shape->N, shape->K, shape->bias,
               shape->out_f32, gemm_buckets[bucket],
               plan->kind == GEMM_KERNEL ? "kernel" : "cublaslt", plan->workspace_bytes);
    for (int i = 0; i < GEMM_ALGO_WORDS; i++)
        buf_printf(text, " %016" PRIx64, plan->algo[i]);
    buf_putc(text, '\n');
}

/* A line of write_plan. */
static int
read_plan(struct gemm_table *table, const char *line)
{
    struct gemm_shape shape;
    struct gemm_plan plan = {.measured = true};
    int bias, out_f32, rows, at = 0;
    char kind[16];
    if (sscanf(line, "plan %d %d %d %d %d %15s %" SCNu64 "%n", &shape.N, &shape.K, &bias, &out_f32,
               &rows, kind, &plan.workspace_bytes, &at) != 7)
        return ERR_CORRUPT;
    for (int i = 0; i < GEMM_ALGO_WORDS; i++) {
        int len = 0;
        if (sscanf(line + at, " %16" SCNx64 "%n", &plan.algo[i], &len) != 1)
            return ERR_CORRUPT;
        at += len;
    }
    plan.kind = strcmp(kind, "kernel") == 0 ? GEMM_KERNEL
        : strcmp(kind, "cublaslt") == 0     ? GEMM_CUBLASLT
                                            : GEMM_NONE;
    int bucket = gemm_bucket(rows);
    if (plan.kind == GEMM_NONE || gemm_buckets[bucket] != rows || shape.N <= 0 || shape.K <= 0 ||
        line[at] != '\n')
        return ERR_CORRUPT;
    shape.bias = bias != 0;
    shape.out_f32 = out_f32 != 0;
    struct gemm_entry *entry = gemm_table_entry(table, &shape);
    if (entry == NULL)
        return ERR_NOMEM;
    entry->plans[bucket] = plan;
    return 0;
}

static void
write_end(struct buf *text, int num_plans, const char *before, size_t len)
{
    buf_printf(text, "end %d %016" PRIx64 "\n", num_plans, hash_bytes(before, len));
}

/* Where the plans of a whole file begin and end, and how many lines they are;
 * nothing is read from a file before this has found it sound. */
static int
find_lines(const struct buf *text, const char *device, size_t *ret_start, size_t *ret_end)
{
    const char *all = buf_bytes(text);
    size_t len = buf_len(text), end = len == 0 ? 0 : len - 1;
    while (end > 0 && all[end - 1] != '\n')
        end--;
    struct buf head = {0}, tail = {0};
    buf_printf(&head, "%s\n%s\n", FILE_FIRST_LINE, device);
    int num_lines = 0;
    for (size_t i = buf_len(&head); i < end; i++)
        num_lines += all[i] == '\n';
    write_end(&tail, num_lines, all, end);
    bool sound = !head.failed && !tail.failed && end >= buf_len(&head) &&
        memcmp(all, buf_bytes(&head), buf_len(&head)) == 0 && len - end == buf_len(&tail) &&
        memcmp(all + end, buf_bytes(&tail), len - end) == 0;
    *ret_start = buf_len(&head);
    *ret_end = end;
    buf_release(&head);
    buf_release(&tail);
    return sound ? 0 : ERR_CORRUPT;
}

static int
read_lines(struct gemm_table *table, const struct buf *text, const char *device)
{
    size_t at, end;
    int e = find_lines(text, device, &at, &end);
    while (e == 0 && at < end) {
        const char *line = buf_bytes(text) + at;
        e = read_plan(table, line);
        at += (size_t)((const char *)memchr(line, '\n', end - at) - line) + 1;
    }
    return e;
}

static int
read_file(struct buf *text, const char *path, struct error *err)
{
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return error_set(err, errno == ENOENT ? ERR_NOTFOUND : ERR_IO, "cannot open '%s': %s", path,
                         strerror(errno));
    char chunk[4096];
    size_t n;
    while ((n = fread(chunk, 1, sizeof chunk, file)) > 0 && buf_len(text) <= FILE_MOST_BYTES)
        buf_append(text, chunk, n);
    bool failed = ferror(file);
    fclose(file);
    if (failed)
        return error_set(err, ERR_IO, "cannot read '%s'", path);
    if (buf_len(text) > FILE_MOST_BYTES)
        return error_set(err, ERR_CORRUPT, "'%s' is longer than %zu bytes", path, FILE_MOST_BYTES);
    return text->failed ? error_set(err, ERR_NOMEM, "cannot read '%s': out of memory", path) : 0;
}

int
gemm_table_load(struct gemm_table *table, const char *path, const char *device, struct error *err)
{
    struct buf text = {0};
    struct gemm_table loaded = {0};
    int e = read_file(&text, path, err);
    if (e == 0) {
        e = read_lines(&loaded, &text, device);
        if (e < 0)
            error_set(err, e, "cannot use '%s': %s", path, error_name(e));
    }
    buf_release(&text);
    if (e < 0) {
        gemm_table_release(&loaded);
        return e;
    }
    gemm_table_release(table);
    *table = loaded;
    return 0;
}

/* The whole text in a new file. */
static int
write_new(const struct buf *text, const char *path, struct error *err)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0)
        return error_set(err, ERR_IO, "cannot create '%s': %s", path, strerror(errno));
    size_t done = 0;
    ssize_t n = 0;
    while (done < buf_len(text) && n >= 0) {
        n = write(fd, buf_bytes(text) + done, buf_len(text) - done);
        if (n > 0)
            done += (size_t)n;
        else if (n < 0 && errno == EINTR)
            n = 0;
    }
    int e = n < 0 ? error_set(err, ERR_IO, "cannot write '%s': %s", path, strerror(errno)) : 0;
    if (close(fd) < 0 && e == 0)
        e = error_set(err, ERR_IO, "cannot write '%s': %s", path, strerror(errno));
    if (e < 0)
        unlink(path);
    return e;
}

int
gemm_table_save(const struct gemm_table *table, const char *path, const char *device,
                struct error *err)
{
    struct buf text = {0}, temporary = {0};
    int num_plans = 0;
    buf_printf(&text, "%s\n%s\n", FILE_FIRST_LINE, device);
    for (int i = 0; i < table->num_entries; i++)
        for (int b = 0; b < GEMM_NUM_BUCKETS; b++) {
            const struct gemm_entry *entry = &table->entries[i];
            if (entry->plans[b].kind == GEMM_NONE || !entry->plans[b].measured)
                continue;
            write_plan(&text, &entry->shape, b, &entry->plans[b]);
            num_plans++;
        }
    write_end(&text, num_plans, buf_bytes(&text), buf_len(&text));
    buf_printf(&temporary, "%s.%ld", path, (long)getpid());
    int e = text.failed || temporary.failed
        ? error_set(err, ERR_NOMEM, "cannot write '%s': out of memory", path)
        : write_new(&text, buf_bytes(&temporary), err);
    if (e == 0 && rename(buf_bytes(&temporary), path) < 0) {
        e = error_set(err, ERR_IO, "cannot write '%s': %s", path, strerror(errno));
        unlink(buf_bytes(&temporary));
    }
    buf_release(&text);
    buf_release(&temporary);
    return e;
}
