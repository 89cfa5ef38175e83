/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/tokenizer/vocab.h"
#include "util/hashmap.h"

void
vocab_release(struct vocab *v)
{
    free(v->entries);
    free(v->arena);
    free(v->index);
    *v = (struct vocab){0};
}

static int
grow_entries(struct vocab *v, int32_t need)
{
    int32_t cap = MAX(v->cap_ids, 1024);
    while (cap < need)
        cap *= 2;
    struct vocab_entry *entries = realloc(v->entries, (size_t)cap * sizeof *entries);
    if (entries == NULL)
        return ERR_NOMEM;
    memset(entries + v->cap_ids, 0, (size_t)(cap - v->cap_ids) * sizeof *entries);
    v->entries = entries;
    v->cap_ids = cap;
    return 0;
}

static int
arena_put(struct vocab *v, const char *text, size_t len, uint32_t *ret_offset)
{
    size_t need = v->arena_len + len + 1;
    if (need > UINT32_MAX)
        return ERR_NOMEM;
    if (need > v->arena_cap) {
        size_t cap = MAX(v->arena_cap, 4096u);
        while (cap < need)
            cap *= 2;
        char *arena = realloc(v->arena, cap);
        if (arena == NULL)
            return ERR_NOMEM;
        v->arena = arena;
        v->arena_cap = cap;
    }
    *ret_offset = (uint32_t)v->arena_len;
    if (len > 0)
        memcpy(v->arena + v->arena_len, text, len);
    v->arena[need - 1] = '\0';
    v->arena_len = need;
    return 0;
}

static void
index_insert(struct vocab *v, int32_t id)
{
    const struct vocab_entry *e = &v->entries[id];
    size_t mask = v->index_cap - 1;
    size_t i = (size_t)hash_bytes(v->arena + e->text, e->text_len) & mask;
    while (v->index[i] != 0)
        i = (i + 1) & mask;
    v->index[i] = (uint32_t)id + 1;
}

static int
grow_index(struct vocab *v)
{
    size_t cap = v->index_cap == 0 ? 4096 : v->index_cap * 2;
    uint32_t *index = calloc(cap, sizeof *index);
    if (index == NULL)
        return ERR_NOMEM;
    free(v->index);
    v->index = index;
    v->index_cap = cap;
    for (int32_t id = 0; id < v->num_ids; id++) {
        if (v->entries[id].flags != 0)
            index_insert(v, id);
    }
    return 0;
}

int
vocab_add(struct vocab *v, int64_t id, const char *text, size_t len, uint32_t flags)
{
    int rc;
    if (id < 0 || id >= VOCAB_MAX_IDS)
        return ERR_RANGE;
    if (vocab_get(v, (int32_t)id) != NULL || vocab_find(v, text, len) >= 0)
        return ERR_INVALID;
    if (id >= v->cap_ids && (rc = grow_entries(v, (int32_t)id + 1)) < 0)
        return rc;
    if ((v->num_entries + 1) * 2 > v->index_cap && (rc = grow_index(v)) < 0)
        return rc;
    uint32_t offset;
    if ((rc = arena_put(v, text, len, &offset)) < 0)
        return rc;
    v->entries[id] = (struct vocab_entry){
        .text = offset,
        .text_len = (uint32_t)len,
        .bytes = offset,
        .bytes_len = (uint32_t)len,
        .flags = flags,
    };
    v->num_ids = MAX(v->num_ids, (int32_t)id + 1);
    v->num_entries++;
    index_insert(v, (int32_t)id);
    return 0;
}

int
vocab_set_bytes(struct vocab *v, int32_t id, const char *bytes, size_t len)
{
    struct vocab_entry *e = &v->entries[id];
    if (len == e->text_len && memcmp(v->arena + e->text, bytes, len) == 0) {
        e->bytes = e->text;
        e->bytes_len = e->text_len;
        return 0;
    }
    uint32_t offset;
    int rc = arena_put(v, bytes, len, &offset);
    if (rc < 0)
        return rc;
    e->bytes = offset;
    e->bytes_len = (uint32_t)len;
    return 0;
}

int32_t
vocab_find(const struct vocab *v, const char *text, size_t len)
{
    if (v->index == NULL)
        return -1;
    size_t mask = v->index_cap - 1;
    for (size_t i = (size_t)hash_bytes(text, len) & mask; v->index[i] != 0; i = (i + 1) & mask) {
        const struct vocab_entry *e = &v->entries[v->index[i] - 1];
        if (e->text_len == len && memcmp(v->arena + e->text, text, len) == 0)
            return (int32_t)(v->index[i] - 1);
    }
    return -1;
}
