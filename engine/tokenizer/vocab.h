/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of tokens: id to spelling and to the bytes it stands for, and
 * spelling to id. Built while loading, constant afterwards.
 */
#ifndef ENGINE_TOKENIZER_VOCAB_H
#define ENGINE_TOKENIZER_VOCAB_H

#include "util/base.h"
#include "util/error.h"

/* A vocabulary has no ids at or above this: a corrupt file must not make the
 * table huge. */
#define VOCAB_MAX_IDS (1 << 22)

enum {
    VOCAB_MODEL = 1,   /* of the model's own vocabulary */
    VOCAB_ADDED = 2,   /* an added token */
    VOCAB_SPECIAL = 4, /* an added token left out by skip_special */
    VOCAB_BYTE = 8,    /* stands for one byte, by byte fallback */
    VOCAB_NORMALIZED = 16, /* an added token looked for in normalised text */
};

struct vocab_entry {
    uint32_t text, text_len;   /* spelling: offset into the arena */
    uint32_t bytes, bytes_len; /* what it stands for, likewise */
    uint32_t flags;            /* 0: the id has no entry */
};

/* Zero-initialised is empty. */
struct vocab {
    struct vocab_entry *entries; /* owned; indexed by id */
    int32_t num_ids;             /* one past the highest id with an entry */
    int32_t cap_ids;
    char *arena; /* owned; NUL-terminated strings */
    size_t arena_len, arena_cap;
    uint32_t *index; /* owned; open addressing: id + 1, or 0 */
    size_t index_cap, num_entries;
};

void vocab_release(struct vocab *v);

/* Adds a token. ERR_RANGE: id negative or too large; ERR_INVALID: the id or
 * the spelling is there already; ERR_NOMEM. */
int vocab_add(struct vocab *v, int64_t id, const char *text, size_t len, uint32_t flags);

/* Sets what a token stands for; until then it is its spelling. ERR_NOMEM. */
int vocab_set_bytes(struct vocab *v, int32_t id, const char *bytes, size_t len);

/* The id of a spelling, or -1. */
int32_t vocab_find(const struct vocab *v, const char *text, size_t len);

/* The same among the model's own tokens only. */
static inline int32_t
vocab_find_model(const struct vocab *v, const char *text, size_t len)
{
    int32_t id = vocab_find(v, text, len);
    return id >= 0 && (v->entries[id].flags & VOCAB_MODEL) ? id : -1;
}

/* The entry of an id, or NULL. */
static inline const struct vocab_entry *
vocab_get(const struct vocab *v, int32_t id)
{
    if (id < 0 || id >= v->num_ids || v->entries[id].flags == 0)
        return NULL;
    return &v->entries[id];
}

static inline const char *
vocab_text(const struct vocab *v, const struct vocab_entry *e)
{
    return v->arena + e->text;
}

static inline const char *
vocab_bytes(const struct vocab *v, const struct vocab_entry *e)
{
    return v->arena + e->bytes;
}

#endif
