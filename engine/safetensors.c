/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The files around the headers: which there are, reading and mapping them, and
 * the tensors of all of them by name. Beyond safetensors_header.c:
 *
 *  6. The length word is compared by subtraction, never added to.
 *  7. A shard's name in the index is a plain name in the model directory (no
 *     '/', no '..') of a regular file. Symbolic links are followed: the hub's
 *     own cache is made of them.
 *  8. Every tensor of the index is in the file that it names, and no tensor is
 *     in two files. metadata.total_size is a hint and not read.
 *  9. A file whose size or time of change differs from what fstat said at the
 *     start is refused while loading (safetensors_check_unchanged). One that
 *     shrinks between the check and the read still raises SIGBUS: do not
 *     truncate a model in use.
 */
#include "engine/safetensors.h"
#include "util/json.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define SINGLE_FILE "model.safetensors"
#define INDEX_FILE "model.safetensors.index.json"
#define INDEX_MAX_BYTES (16 << 20)

struct file {
    char *name;               /* owned, within the directory */
    int fd;                   /* owned, -1: none */
    struct stat opened;       /* as it was then */
    const unsigned char *map; /* owned, the whole file; NULL: none */
    size_t map_bytes;
    uint64_t data_offset;     /* of the data buffer */
};

struct safetensors {
    char *dir;                /* owned */
    struct file *files;       /* owned */
    size_t num_files;
    struct safetensor *tensors; /* owned, by name */
    size_t num_tensors;
    uint64_t total_bytes;
};

static void
file_release(struct file *f)
{
    if (f->map != NULL)
        munmap((void *)f->map, f->map_bytes);
    if (f->fd >= 0)
        close(f->fd);
    free(f->name);
}

void
safetensors_close(struct safetensors *st)
{
    if (st == NULL)
        return;
    for (size_t i = 0; i < st->num_files; i++)
        file_release(&st->files[i]);
    free(st->files);
    safetensors_free_tensors(st->tensors, st->num_tensors);
    free(st->dir);
    free(st);
}

static int
read_exactly(const struct file *f, void *dst, size_t len, uint64_t offset, struct error *err)
{
    size_t got = 0;
    while (got < len) {
        ssize_t n = pread(f->fd, (char *)dst + got, len - got, (off_t)(offset + got));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_set(err, ERR_IO, "cannot read it: %s", strerror(errno));
        if (n == 0)
            return error_set(err, ERR_IO, "it became shorter while it was read");
        got += (size_t)n;
    }
    return 0;
}

/* Where the header lies, checked against the file's size. */
static int
read_header_length(struct file *f, uint64_t *ret, struct error *err)
{
    uint64_t size = (uint64_t)f->opened.st_size;
    unsigned char word[8];
    if (size < sizeof word)
        return error_set(err, ERR_CORRUPT, "%" PRIu64 " bytes are too few for a header", size);
    int code = read_exactly(f, word, sizeof word, 0, err);
    if (code != 0)
        return code;
    uint64_t n = 0;
    for (int i = 7; i >= 0; i--)
        n = n << 8 | word[i];
    if (n > size - sizeof word)
        return error_set(err, ERR_CORRUPT,
                         "a header of %" PRIu64 " bytes leaves the file (%" PRIu64 " bytes)", n,
                         size);
    if (n > SAFETENSORS_MAX_HEADER_BYTES)
        return error_set(err, ERR_RANGE, "its header has %" PRIu64 " bytes, the limit is %d", n,
                         SAFETENSORS_MAX_HEADER_BYTES);
    f->data_offset = sizeof word + n;
    *ret = n;
    return 0;
}

static int
read_header(struct file *f, struct safetensor **ret, size_t *ret_num, struct error *err)
{
    uint64_t n = 0;
    int code = read_header_length(f, &n, err);
    if (code != 0)
        return code;
    char *json = malloc(n + 1);
    if (json == NULL)
        return error_set(err, ERR_NOMEM, "out of memory");
    code = read_exactly(f, json, n, sizeof(uint64_t), err);
    if (code == 0)
        code = safetensors_parse_header(json, n, (uint64_t)f->opened.st_size - f->data_offset,
                                        ret, ret_num, err);
    free(json);
    return code;
}

/* Not blocking: a FIFO must not hang the start. */
static int
open_in_dir(const struct safetensors *st, const char *name)
{
    int dir = open(st->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0)
        return -1;
    int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    int saved = errno;
    close(dir);
    errno = saved;
    return fd;
}

static int
open_file(const struct safetensors *st, struct file *f, struct error *err)
{
    f->fd = open_in_dir(st, f->name);
    if (f->fd < 0)
        return error_set(err, errno == ENOENT ? ERR_NOTFOUND : ERR_IO, "cannot open it: %s",
                         strerror(errno));
    if (fstat(f->fd, &f->opened) != 0)
        return error_set(err, ERR_IO, "cannot read it: %s", strerror(errno));
    if (!S_ISREG(f->opened.st_mode))
        return error_set(err, ERR_IO, "not a regular file");
    return 0;
}

static int
map_file(struct file *f, struct error *err)
{
    f->map_bytes = (size_t)f->opened.st_size;
    void *map = mmap(NULL, f->map_bytes, PROT_READ, MAP_SHARED, f->fd, 0);
    if (map == MAP_FAILED)
        return error_set(err, ERR_IO, "cannot map it: %s", strerror(errno));
    f->map = map;
    return 0;
}

/* Adds one file's tensors to the set; on failure those added stay for the
 * caller's safetensors_close. */
static int
append_tensors(struct safetensors *st, struct safetensor *tensors, size_t num, size_t file)
{
    struct safetensor *all =
        reallocarray(st->tensors, st->num_tensors + num + 1, sizeof *st->tensors);
    if (all == NULL)
        return ERR_NOMEM;
    st->tensors = all;
    for (size_t i = 0; i < num; i++) {
        struct safetensor *t = &all[st->num_tensors + i];
        *t = tensors[i];
        t->file = (int)file;
        t->data = st->files[file].map + st->files[file].data_offset + t->offset;
        st->total_bytes += t->bytes;
    }
    st->num_tensors += num;
    return 0;
}

static int
open_one(struct safetensors *st, size_t file, struct error *err)
{
    struct file *f = &st->files[file];
    struct safetensor *tensors = NULL;
    size_t num = 0;
    int code;
    if ((code = open_file(st, f, err)) != 0 ||
        (code = read_header(f, &tensors, &num, err)) != 0) {
        error_prefix(err, "%s", f->name);
        return code;
    }
    if ((code = map_file(f, err)) == 0 &&
        (code = append_tensors(st, tensors, num, file)) == 0) {
        free(tensors); /* the names have moved */
        return 0;
    }
    safetensors_free_tensors(tensors, num);
    if (code == ERR_NOMEM)
        error_set(err, code, "out of memory");
    error_prefix(err, "%s", f->name);
    return code;
}

static int
compare_names(const void *a, const void *b)
{
    const struct safetensor *x = a, *y = b;
    return strcmp(x->name, y->name);
}

/* Opens all st->files and sorts what is in them by name. */
static int
open_all(struct safetensors *st, struct error *err)
{
    int code = 0;
    for (size_t i = 0; code == 0 && i < st->num_files; i++)
        code = open_one(st, i, err);
    if (code != 0)
        return code;
    if (st->num_tensors > 0)
        qsort(st->tensors, st->num_tensors, sizeof *st->tensors, compare_names);
    for (size_t i = 1; i < st->num_tensors; i++) {
        const struct safetensor *a = &st->tensors[i - 1], *b = &st->tensors[i];
        if (strcmp(a->name, b->name) == 0) {
            char shown[128];
            safetensors_printable(a->name, shown, sizeof shown);
            return error_set(err, ERR_CORRUPT, "tensor '%s' is both in %s and in %s", shown,
                             st->files[a->file].name, st->files[b->file].name);
        }
    }
    return 0;
}

static bool
is_plain_name(const char *name)
{
    return name[0] != '\0' && strchr(name, '/') == NULL && strcmp(name, ".") != 0 &&
           strcmp(name, "..") != 0 && strlen(name) <= 255;
}

/* The number of the shard called `name`, added when it is new; -1: no memory,
 * -2: too many. */
static int
file_number(struct safetensors *st, const char *name)
{
    for (size_t i = 0; i < st->num_files; i++)
        if (strcmp(st->files[i].name, name) == 0)
            return (int)i;
    if (st->num_files == SAFETENSORS_MAX_FILES)
        return -2;
    struct file *files = reallocarray(st->files, st->num_files + 1, sizeof *files);
    if (files == NULL)
        return -1;
    st->files = files;
    char *copy = strdup(name);
    if (copy == NULL)
        return -1;
    files[st->num_files] = (struct file){.name = copy, .fd = -1};
    return (int)st->num_files++;
}

static int
add_shards(struct safetensors *st, json_t *weight_map, struct error *err)
{
    const char *tensor;
    json_t *value;
    json_object_foreach(weight_map, tensor, value)
    {
        const char *name = json_string_value(value);
        char shown[128];
        safetensors_printable(tensor, shown, sizeof shown);
        if (name == NULL)
            return error_set(err, ERR_CORRUPT, "%s: the file of tensor '%s' is no string",
                             INDEX_FILE, shown);
        if (!is_plain_name(name)) {
            safetensors_printable(name, shown, sizeof shown);
            return error_set(err, ERR_CORRUPT, "%s: '%s' is no name of a file in the directory",
                             INDEX_FILE, shown);
        }
        int file = file_number(st, name);
        if (file == -1)
            return error_set(err, ERR_NOMEM, "%s: out of memory", INDEX_FILE);
        if (file == -2)
            return error_set(err, ERR_RANGE, "%s: it names more than %d files", INDEX_FILE,
                             SAFETENSORS_MAX_FILES);
    }
    if (st->num_files == 0)
        return error_set(err, ERR_CORRUPT, "%s: 'weight_map' is empty", INDEX_FILE);
    return 0;
}

/* Rule 8. */
static int
check_weight_map(const struct safetensors *st, json_t *weight_map, struct error *err)
{
    const char *tensor;
    json_t *value;
    json_object_foreach(weight_map, tensor, value)
    {
        const char *name = json_string_value(value);
        const struct safetensor *t = safetensors_find(st, tensor);
        if (t == NULL || strcmp(st->files[t->file].name, name) != 0) {
            char shown[128], file[128];
            safetensors_printable(tensor, shown, sizeof shown);
            safetensors_printable(name, file, sizeof file);
            return error_set(err, ERR_CORRUPT, "%s: tensor '%s' is not in '%s'", INDEX_FILE,
                             shown, file);
        }
    }
    return 0;
}

static int
open_index(struct safetensors *st, const char *bytes, size_t len, struct error *err)
{
    json_t *top;
    int code = json_parse_object(bytes, len, JSON_REJECT_DUPLICATES, INDEX_FILE, &top, err);
    if (code != 0)
        return code;
    struct json_object o = {top, INDEX_FILE};
    const json_t *map = NULL;
    if ((code = json_need(&o, "weight_map", err)) == 0 &&
        (code = json_get_typed(&o, "weight_map", JSON_OBJECT, &map, err)) == 0 &&
        (code = add_shards(st, (json_t *)map, err)) == 0 && (code = open_all(st, err)) == 0)
        code = check_weight_map(st, (json_t *)map, err);
    json_decref(top);
    return code;
}

/* Neither file is there: what is there instead often says why. */
static int
nothing_found(const struct safetensors *st, struct error *err)
{
    static const char *const others[] = {"pytorch_model.bin", "pytorch_model.bin.index.json",
                                         "consolidated.00.pth", "consolidated.safetensors"};
    for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
        int fd = open_in_dir(st, others[i]);
        if (fd < 0)
            continue;
        close(fd);
        return error_set(err, ERR_NOTFOUND,
                         "no weights in '%s': looked for %s and %s; '%s' there is not supported",
                         st->dir, SINGLE_FILE, INDEX_FILE, others[i]);
    }
    return error_set(err, ERR_NOTFOUND, "no weights in '%s': looked for %s and %s", st->dir,
                     SINGLE_FILE, INDEX_FILE);
}

static int
open_dir(struct safetensors *st, struct error *err)
{
    int fd = open_in_dir(st, SINGLE_FILE);
    if (fd >= 0 || errno != ENOENT) {
        if (fd >= 0)
            close(fd);
        else if (errno == ENOTDIR)
            return nothing_found(st, err);
        if (file_number(st, SINGLE_FILE) < 0)
            return error_set(err, ERR_NOMEM, "%s: out of memory", SINGLE_FILE);
        return open_all(st, err);
    }
    char *bytes;
    size_t len;
    int code = json_read_file(st->dir, INDEX_FILE, INDEX_MAX_BYTES, &bytes, &len, err);
    if (code == ERR_NOTFOUND)
        return nothing_found(st, err);
    if (code != 0)
        return code;
    code = open_index(st, bytes, len, err);
    free(bytes);
    return code;
}

int
safetensors_open(const char *dir, struct safetensors **ret, struct error *err)
{
    struct safetensors *st = calloc(1, sizeof *st);
    if (st == NULL || (st->dir = strdup(dir)) == NULL) {
        free(st);
        return error_set(err, ERR_NOMEM, "cannot open '%s': out of memory", dir);
    }
    int code = open_dir(st, err);
    if (code != 0) {
        safetensors_close(st);
        return code;
    }
    *ret = st;
    return 0;
}

size_t
safetensors_count(const struct safetensors *st)
{
    return st->num_tensors;
}

size_t
safetensors_total_bytes(const struct safetensors *st)
{
    return (size_t)st->total_bytes;
}

static struct safetensor *
find(const struct safetensors *st, const char *name)
{
    struct safetensor key = {.name = (char *)name};
    if (st->num_tensors == 0)
        return NULL;
    return bsearch(&key, st->tensors, st->num_tensors, sizeof key, compare_names);
}

const struct safetensor *
safetensors_find(const struct safetensors *st, const char *name)
{
    return find(st, name);
}

/* "[4096, 128]" */
static void
shape_text(int rank, const int64_t *shape, char *ret, size_t ret_bytes)
{
    size_t n = (size_t)snprintf(ret, ret_bytes, "[");
    for (int i = 0; i < rank && n < ret_bytes; i++)
        n += (size_t)snprintf(ret + n, ret_bytes - n, "%s%" PRId64, i > 0 ? ", " : "", shape[i]);
    if (n < ret_bytes)
        snprintf(ret + n, ret_bytes - n, "]");
}

int
safetensors_take(struct safetensors *st, const char *name, int64_t rows, int64_t cols,
                 struct host_tensor *ret, struct error *err)
{
    struct safetensor *t = find(st, name);
    if (t == NULL)
        return error_set(err, ERR_NOTFOUND, "tensor '%s' is missing in '%s'", name, st->dir);
    int64_t expected[2] = {rows == 0 ? cols : rows, cols};
    int rank = rows == 0 ? 1 : 2;
    const char *file = st->files[t->file].name;
    if (t->rank != rank || memcmp(t->shape, expected, (size_t)rank * sizeof *expected) != 0) {
        char has[200], wants[64];
        shape_text(t->rank, t->shape, has, sizeof has);
        shape_text(rank, expected, wants, sizeof wants);
        return error_set(err, ERR_CORRUPT,
                         "%s: tensor '%s' has shape %s, but config.json makes it %s", file, name,
                         has, wants);
    }
    if (!t->dtype_supported)
        return error_set(err, ERR_UNSUPPORTED,
                         "%s: tensor '%s' is %s; supported are BF16, F16 and F32", file, name,
                         t->dtype_name);
    t->used = true;
    *ret = (struct host_tensor){.data = t->data, .dtype = t->dtype, .rows = rank == 1 ? 1 : rows,
                                .cols = cols};
    return 0;
}

void
safetensors_ignore(struct safetensors *st, const char *name)
{
    struct safetensor *t = find(st, name);
    if (t != NULL)
        t->used = true;
}

size_t
safetensors_num_unused(const struct safetensors *st)
{
    size_t n = 0;
    for (size_t i = 0; i < st->num_tensors; i++)
        n += !st->tensors[i].used;
    return n;
}

const struct safetensor *
safetensors_unused(const struct safetensors *st, size_t i)
{
    for (size_t k = 0; k < st->num_tensors; k++)
        if (!st->tensors[k].used && i-- == 0)
            return &st->tensors[k];
    return NULL;
}

int
safetensors_check_unchanged(const struct safetensors *st, struct error *err)
{
    for (size_t i = 0; i < st->num_files; i++) {
        const struct file *f = &st->files[i];
        struct stat now;
        if (fstat(f->fd, &now) != 0)
            return error_set(err, ERR_IO, "%s: %s", f->name, strerror(errno));
        if (now.st_size != f->opened.st_size ||
            now.st_mtim.tv_sec != f->opened.st_mtim.tv_sec ||
            now.st_mtim.tv_nsec != f->opened.st_mtim.tv_nsec)
            return error_set(err, ERR_IO, "%s: it changed while it was being loaded", f->name);
    }
    return 0;
}

/* madvise wants whole pages: all that the tensor touches, or for DONTNEED only
 * those that nothing else lies on (which may be none). */
static void
advise(const struct host_tensor *t, bool inside, int advice)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t begin = (uintptr_t)t->data;
    uintptr_t end = begin + (size_t)(t->rows * t->cols) * dtype_bytes(t->dtype);
    begin = inside ? ROUND_UP(begin, page) : begin / page * page;
    end = inside ? end / page * page : ROUND_UP(end, page);
    if (begin < end)
        madvise((void *)begin, end - begin, advice);
}

void
safetensors_will_need(const struct host_tensor *t)
{
    advise(t, false, MADV_WILLNEED);
}

void
safetensors_done_with(const struct host_tensor *t)
{
    advise(t, true, MADV_DONTNEED);
}
