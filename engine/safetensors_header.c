/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The header of one safetensors file, as a pure function over bytes. The file
 * may come from anywhere, so that everything is checked:
 *
 *  1. JSON of one object, no duplicate keys, UTF-8, at most 8 MiB.
 *  2. `__metadata__`, if present, maps strings to strings; every other member
 *     is {"dtype", "shape", "data_offsets"} and nothing else.
 *  3. The dtype is one the format knows; shape and offsets are integers >= 0
 *     (no 1.0, no 1e3); rank, name length and number of tensors are bounded.
 *  4. end - begin = product of the shape times the dtype's bits / 8, without
 *     overflow and without a remainder.
 *  5. In order of offsets the tensors cover the data exactly: the first begins
 *     at 0, each where the one before ends, the last ends with the file. So no
 *     byte belongs to two tensors, and none to nobody.
 */
#include "engine/safetensors.h"
#include "util/json.h"

#include <inttypes.h>
#include <string.h>

static const struct dtype_row {
    const char *name;
    int bits;
    bool supported;
    enum dtype dtype;
} dtype_rows[] = {
    {"BOOL", 8, false, 0}, {"F4", 4, false, 0}, {"F6_E2M3", 6, false, 0},
    {"F6_E3M2", 6, false, 0}, {"U8", 8, false, 0}, {"I8", 8, false, 0},
    {"F8_E5M2", 8, false, 0}, {"F8_E4M3", 8, false, 0}, {"F8_E8M0", 8, false, 0},
    {"F8_E4M3FNUZ", 8, false, 0}, {"F8_E5M2FNUZ", 8, false, 0}, {"I16", 16, false, 0},
    {"U16", 16, false, 0}, {"F16", 16, true, DTYPE_F16}, {"BF16", 16, true, DTYPE_BF16},
    {"I32", 32, false, 0}, {"U32", 32, false, 0}, {"F32", 32, true, DTYPE_F32},
    {"C64", 64, false, 0}, {"F64", 64, false, 0}, {"I64", 64, false, 0},
    {"U64", 64, false, 0},
};

void
safetensors_printable(const char *name, char *ret, size_t ret_bytes)
{
    size_t n = 0;
    for (const char *p = name; *p != '\0' && n + 5 < ret_bytes; p++) {
        unsigned char c = (unsigned char)*p;
        if (c >= 0x20 && c < 0x7F)
            ret[n++] = (char)c;
        else
            n += (size_t)snprintf(ret + n, ret_bytes - n, "\\x%02x", c);
    }
    ret[n] = '\0';
}

void
safetensors_free_tensors(struct safetensor *tensors, size_t num)
{
    for (size_t i = 0; i < num; i++)
        free(tensors[i].name);
    free(tensors);
}

static int PRINTF_LIKE(4, 5)
tensor_error(struct error *err, int code, const char *name, const char *fmt, ...)
{
    char shown[128];
    safetensors_printable(name, shown, sizeof shown);
    va_list args;
    va_start(args, fmt);
    error_vset(err, code, fmt, args);
    va_end(args);
    if (err != NULL)
        error_prefix(err, "tensor '%s'", shown);
    return code;
}

static int
read_dtype(const json_t *entry, struct safetensor *t, int *ret_bits, struct error *err)
{
    const char *name = json_string_value(json_object_get(entry, "dtype"));
    if (name == NULL)
        return tensor_error(err, ERR_CORRUPT, t->name, "dtype is missing or no string");
    for (size_t i = 0; i < ARRAY_SIZE(dtype_rows); i++) {
        const struct dtype_row *row = &dtype_rows[i];
        if (strcmp(row->name, name) != 0)
            continue;
        snprintf(t->dtype_name, sizeof t->dtype_name, "%s", row->name);
        t->dtype_supported = row->supported;
        t->dtype = row->dtype;
        *ret_bits = row->bits;
        return 0;
    }
    char shown[48];
    safetensors_printable(name, shown, sizeof shown);
    return tensor_error(err, ERR_CORRUPT, t->name, "unknown dtype '%s'", shown);
}

/* The shape, and the bytes it makes at `bits` per element. */
static int
read_shape(const json_t *entry, struct safetensor *t, int bits, uint64_t *ret_bytes,
           struct error *err)
{
    const json_t *shape = json_object_get(entry, "shape");
    if (!json_is_array(shape))
        return tensor_error(err, ERR_CORRUPT, t->name, "shape is missing or no list");
    size_t rank = json_array_size(shape);
    if (rank > SAFETENSORS_MAX_RANK)
        return tensor_error(err, ERR_RANGE, t->name, "shape has %zu dimensions, the limit is %d",
                            rank, SAFETENSORS_MAX_RANK);
    uint64_t total_bits = (uint64_t)bits;
    for (size_t i = 0; i < rank; i++) {
        const json_t *dim = json_array_get(shape, i);
        if (!json_is_integer(dim) || json_integer_value(dim) < 0)
            return tensor_error(err, ERR_CORRUPT, t->name, "shape has an entry that is no integer "
                                                           ">= 0");
        t->shape[i] = json_integer_value(dim);
        if (mul_overflow(total_bits, (uint64_t)t->shape[i], &total_bits))
            return tensor_error(err, ERR_CORRUPT, t->name, "shape overflows");
    }
    if (total_bits % 8 != 0)
        return tensor_error(err, ERR_CORRUPT, t->name, "shape is no whole number of bytes");
    t->rank = (int)rank;
    *ret_bytes = total_bits / 8;
    return 0;
}

static int
read_offsets(const json_t *entry, struct safetensor *t, uint64_t data_bytes, struct error *err)
{
    const json_t *offsets = json_object_get(entry, "data_offsets");
    if (!json_is_array(offsets) || json_array_size(offsets) != 2 ||
        !json_is_integer(json_array_get(offsets, 0)) ||
        !json_is_integer(json_array_get(offsets, 1)))
        return tensor_error(err, ERR_CORRUPT, t->name,
                            "data_offsets are missing or no two integers");
    int64_t begin = json_integer_value(json_array_get(offsets, 0));
    int64_t end = json_integer_value(json_array_get(offsets, 1));
    if (begin < 0 || end < begin)
        return tensor_error(err, ERR_CORRUPT, t->name,
                            "data_offsets [%" PRId64 ", %" PRId64 "] are no range", begin, end);
    if ((uint64_t)end > data_bytes)
        return tensor_error(err, ERR_CORRUPT, t->name,
                            "data_offsets [%" PRId64 ", %" PRId64 "] leave the file (%" PRIu64
                            " bytes)",
                            begin, end, data_bytes);
    t->offset = (uint64_t)begin;
    t->bytes = (uint64_t)(end - begin);
    return 0;
}

static int
read_entry(const json_t *entry, struct safetensor *t, uint64_t data_bytes, struct error *err)
{
    if (!json_is_object(entry))
        return tensor_error(err, ERR_CORRUPT, t->name, "its entry is no object");
    int bits = 0, code;
    uint64_t bytes = 0;
    if ((code = read_dtype(entry, t, &bits, err)) != 0 ||
        (code = read_shape(entry, t, bits, &bytes, err)) != 0 ||
        (code = read_offsets(entry, t, data_bytes, err)) != 0)
        return code;
    if (json_object_size(entry) != 3)
        return tensor_error(err, ERR_CORRUPT, t->name,
                            "its entry has members beyond dtype, shape and data_offsets");
    if (bytes != t->bytes)
        return tensor_error(err, ERR_CORRUPT, t->name,
                            "shape and dtype make %" PRIu64 " bytes, data_offsets %" PRIu64, bytes,
                            t->bytes);
    return 0;
}

static int
check_metadata(json_t *metadata, struct error *err)
{
    if (!json_is_object(metadata))
        return error_set(err, ERR_CORRUPT, "__metadata__ is no object");
    const char *key;
    json_t *value;
    json_object_foreach(metadata, key, value)
    {
        if (!json_is_string(value))
            return error_set(err, ERR_CORRUPT, "__metadata__ has a value that is no string");
    }
    return 0;
}

static int
compare_offsets(const void *a, const void *b)
{
    const struct safetensor *x = a, *y = b;
    if (x->offset != y->offset)
        return x->offset < y->offset ? -1 : 1;
    if (x->bytes != y->bytes)
        return x->bytes < y->bytes ? -1 : 1;
    return strcmp(x->name, y->name);
}

/* Rule 5. */
static int
check_cover(const struct safetensor *tensors, size_t num, uint64_t data_bytes, struct error *err)
{
    uint64_t at = 0;
    for (size_t i = 0; i < num; i++) {
        const struct safetensor *t = &tensors[i];
        if (t->offset != at)
            return tensor_error(err, ERR_CORRUPT, t->name,
                                "its data begins at %" PRIu64 ", %s that of the tensor before "
                                "(%" PRIu64 ")",
                                t->offset, t->offset < at ? "inside" : "after a hole behind", at);
        at += t->bytes;
    }
    if (at != data_bytes)
        return error_set(err, ERR_CORRUPT,
                         "the tensors end at %" PRIu64 ", but the file has %" PRIu64
                         " bytes of data",
                         at, data_bytes);
    return 0;
}

static int
read_entries(json_t *top, uint64_t data_bytes, struct safetensor *tensors, size_t *ret_num,
             struct error *err)
{
    const char *key;
    json_t *value;
    json_object_foreach(top, key, value)
    {
        int code;
        if (strcmp(key, "__metadata__") == 0) {
            if ((code = check_metadata(value, err)) != 0)
                return code;
            continue;
        }
        if (strlen(key) > SAFETENSORS_MAX_NAME_BYTES)
            return tensor_error(err, ERR_RANGE, key, "its name has %zu bytes, the limit is %d",
                                strlen(key), SAFETENSORS_MAX_NAME_BYTES);
        struct safetensor *t = &tensors[*ret_num];
        t->name = strdup(key);
        if (t->name == NULL)
            return error_set(err, ERR_NOMEM, "out of memory");
        ++*ret_num;
        if ((code = read_entry(value, t, data_bytes, err)) != 0)
            return code;
    }
    qsort(tensors, *ret_num, sizeof *tensors, compare_offsets);
    return check_cover(tensors, *ret_num, data_bytes, err);
}

int
safetensors_parse_header(const char *json, size_t len, uint64_t data_bytes,
                         struct safetensor **ret_tensors, size_t *ret_num, struct error *err)
{
    if (len > SAFETENSORS_MAX_HEADER_BYTES)
        return error_set(err, ERR_RANGE, "its header has %zu bytes, the limit is %d", len,
                         SAFETENSORS_MAX_HEADER_BYTES);
    json_t *top;
    int code = json_parse_object(json, len, JSON_REJECT_DUPLICATES, "its header", &top, err);
    if (code != 0)
        return code;
    size_t num = json_object_size(top);
    if (num > SAFETENSORS_MAX_TENSORS) {
        json_decref(top);
        return error_set(err, ERR_RANGE, "it has %zu tensors, the limit is %d", num,
                         SAFETENSORS_MAX_TENSORS);
    }
    struct safetensor *tensors = calloc(num + 1, sizeof *tensors);
    if (tensors == NULL) {
        json_decref(top);
        return error_set(err, ERR_NOMEM, "out of memory");
    }
    size_t num_read = 0;
    code = read_entries(top, data_bytes, tensors, &num_read, err);
    json_decref(top);
    if (code != 0) {
        safetensors_free_tensors(tensors, num_read);
        return code;
    }
    *ret_tensors = tensors;
    *ret_num = num_read;
    return 0;
}
