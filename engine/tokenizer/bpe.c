/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A short word is merged by scanning for the lowest rank, a long one through a
 * heap of (rank, position). Nothing is taken out of the heap when a symbol
 * changes: an entry is stale when its pair no longer has the entry's rank.
 */
#include "engine/tokenizer/bpe.h"
#include "engine/tokenizer/byte_level.h"
#include "util/utf8.h"

/* Up to this many symbols a scan beats the heap. */
#define SCAN_MAX_SYMBOLS 32

#define NO_RANK UINT32_MAX
#define NO_SYMBOL UINT32_MAX
#define NO_CP UINT32_MAX

static uint64_t
pair_key(int32_t left, int32_t right)
{
    return (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
}

/* Of the pair (left, right): its rank, or NO_RANK, and the merged id. */
static inline uint32_t
merge_of(const struct bpe *b, int32_t left, int32_t right, int32_t *ret_whole)
{
    const uint64_t *merge = hashmap_get(&b->merges, pair_key(left, right));
    if (merge == NULL) {
        *ret_whole = BPE_NO_ID;
        return NO_RANK;
    }
    *ret_whole = (int32_t)(uint32_t)*merge;
    return (uint32_t)(*merge >> 32);
}

/* Loading. */

void
bpe_release(struct bpe *b)
{
    hashmap_release(&b->merges);
    hashmap_release(&b->chars);
    hashmap_release(&b->joints);
}

void
bpe_scratch_release(struct bpe_scratch *s)
{
    free(s->symbols);
    free(s->heap);
    buf_release(&s->spelled);
    *s = (struct bpe_scratch){0};
}

static uint32_t
first_cp(const struct vocab *v, int32_t id)
{
    const struct vocab_entry *e = &v->entries[id];
    uint32_t cp = NO_CP;
    if (e->text_len > 0)
        utf8_next(vocab_text(v, e), &cp);
    return cp;
}

static uint32_t
last_cp(const struct vocab *v, int32_t id)
{
    const struct vocab_entry *e = &v->entries[id];
    uint32_t cp = NO_CP;
    if (e->text_len > 0)
        utf8_next(vocab_text(v, e) + utf8_prev(vocab_text(v, e), e->text_len), &cp);
    return cp;
}

int
bpe_add_merge(struct bpe *b, int32_t left, int32_t right, int32_t whole, uint32_t rank)
{
    int rc = hashmap_put(&b->merges, pair_key(left, right),
                         (uint64_t)rank << 32 | (uint32_t)whole);
    if (rc < 0 || b->byte_level)
        return rc;
    uint32_t l = last_cp(b->vocab, left), r = first_cp(b->vocab, right);
    if (l < 128 && r < 128) {
        b->ascii_joints[l][r >> 6] |= 1ull << (r & 63);
        return 0;
    }
    return hashmap_put(&b->joints, (uint64_t)l << 32 | r, 0);
}

static int
prepare_chars(struct bpe *b)
{
    const struct vocab *v = b->vocab;
    for (int32_t id = 0; id < v->num_ids; id++) {
        const struct vocab_entry *e = &v->entries[id];
        if (!(e->flags & VOCAB_MODEL) || e->text_len == 0)
            continue;
        uint32_t cp;
        if ((uint32_t)utf8_next(vocab_text(v, e), &cp) != e->text_len)
            continue;
        int rc = hashmap_put(&b->chars, cp, (uint32_t)id);
        if (rc < 0)
            return rc;
    }
    return 0;
}

int
bpe_prepare(struct bpe *b)
{
    const struct vocab *v = b->vocab;
    bool all_bytes = true;
    for (int i = 0; i < 256; i++) {
        char text[8];
        int n = utf8_encode(byte_level_char((unsigned char)i), text);
        b->byte_ids[i] = vocab_find_model(v, text, (size_t)n);
        all_bytes &= b->byte_ids[i] >= 0;
        n = snprintf(text, sizeof text, "<0x%02X>", (unsigned)i);
        b->fallback_ids[i] = vocab_find_model(v, text, (size_t)n);
    }
    for (int32_t id = 0; id < v->num_ids; id++) {
        if (v->entries[id].flags & VOCAB_MODEL)
            b->max_text_bytes = MAX(b->max_text_bytes, v->entries[id].text_len);
    }
    if (b->byte_level)
        return b->byte_fallback && !all_bytes ? ERR_UNSUPPORTED : 0;
    return prepare_chars(b);
}

/* The heap: 4 children each, the smallest (rank, position) on top. */

static int
heap_push(struct bpe_scratch *s, uint64_t entry)
{
    if (s->num_heap == s->cap_heap) {
        size_t cap = MAX(s->cap_heap * 2, 256u);
        uint64_t *heap = realloc(s->heap, cap * sizeof *heap);
        if (heap == NULL)
            return ERR_NOMEM;
        s->heap = heap;
        s->cap_heap = cap;
    }
    size_t i = s->num_heap++;
    while (i > 0) {
        size_t parent = (i - 1) / 4;
        if (s->heap[parent] <= entry)
            break;
        s->heap[i] = s->heap[parent];
        i = parent;
    }
    s->heap[i] = entry;
    return 0;
}

static uint64_t
heap_pop(struct bpe_scratch *s)
{
    uint64_t *heap = s->heap, top = heap[0], last = heap[--s->num_heap];
    size_t len = s->num_heap, i = 0;
    for (;;) {
        size_t child = i * 4 + 1, end = MIN(child + 4, len);
        if (child >= len)
            break;
        size_t least = child;
        for (size_t k = child + 1; k < end; k++) {
            if (heap[k] < heap[least])
                least = k;
        }
        if (heap[least] >= last)
            break;
        heap[i] = heap[least];
        i = least;
    }
    heap[i] = last;
    return top;
}

/* Pushes the pair of symbol `pos` and its right neighbour, if it merges. */
static int
push_pair(const struct bpe *b, struct bpe_scratch *s, uint32_t pos)
{
    const struct bpe_symbol *left = &s->symbols[pos];
    int32_t whole;
    if (left->next == NO_SYMBOL)
        return 0;
    uint32_t rank = merge_of(b, left->id, s->symbols[left->next].id, &whole);
    return rank == NO_RANK ? 0 : heap_push(s, (uint64_t)rank << 32 | pos);
}

static int
merge_by_heap(const struct bpe *b, struct bpe_scratch *s)
{
    struct bpe_symbol *symbols = s->symbols;
    int rc = 0;
    s->num_heap = 0;
    for (size_t i = 0; i < s->num_symbols; i++) {
        symbols[i].prev = i == 0 ? NO_SYMBOL : (uint32_t)i - 1;
        symbols[i].next = i + 1 == s->num_symbols ? NO_SYMBOL : (uint32_t)i + 1;
    }
    for (size_t i = 0; i < s->num_symbols && rc == 0; i++)
        rc = push_pair(b, s, (uint32_t)i);
    while (rc == 0 && s->num_heap > 0) {
        uint64_t top = heap_pop(s);
        uint32_t pos = (uint32_t)top;
        int32_t whole;
        s->num_merges++;
        if (symbols[pos].id == BPE_NO_ID || symbols[pos].next == NO_SYMBOL)
            continue;
        struct bpe_symbol *right = &symbols[symbols[pos].next];
        if (merge_of(b, symbols[pos].id, right->id, &whole) != (uint32_t)(top >> 32))
            continue;
        symbols[pos].id = whole;
        symbols[pos].next = right->next;
        right->id = BPE_NO_ID;
        if (symbols[pos].next != NO_SYMBOL)
            symbols[symbols[pos].next].prev = pos;
        if (symbols[pos].prev != NO_SYMBOL)
            rc = push_pair(b, s, symbols[pos].prev);
        if (rc == 0)
            rc = push_pair(b, s, pos);
    }
    return rc;
}

static void
merge_by_scan(const struct bpe *b, struct bpe_scratch *s)
{
    uint32_t ranks[SCAN_MAX_SYMBOLS]; /* of the pair (i, i + 1) */
    int32_t wholes[SCAN_MAX_SYMBOLS];
    int32_t ids[SCAN_MAX_SYMBOLS];
    size_t len = s->num_symbols;
    for (size_t i = 0; i < len; i++)
        ids[i] = s->symbols[i].id;
    for (size_t i = 0; i + 1 < len; i++)
        ranks[i] = merge_of(b, ids[i], ids[i + 1], &wholes[i]);
    while (len > 1) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < len; i++) {
            if (ranks[i] < ranks[best])
                best = i;
        }
        if (ranks[best] == NO_RANK)
            break;
        ids[best] = wholes[best];
        len--;
        for (size_t i = best + 1; i < len; i++) {
            ids[i] = ids[i + 1];
            ranks[i - 1] = ranks[i];
            wholes[i - 1] = wholes[i];
        }
        if (best > 0)
            ranks[best - 1] = merge_of(b, ids[best - 1], ids[best], &wholes[best - 1]);
        if (best + 1 < len)
            ranks[best] = merge_of(b, ids[best], ids[best + 1], &wholes[best]);
    }
    for (size_t i = 0; i < len; i++)
        s->symbols[i].id = ids[i];
    s->num_symbols = len;
}

/* Merges the symbols gathered so far, appends what they make, forgets them. */
static int
flush_word(const struct bpe *b, struct bpe_scratch *s, struct token_ids *ret)
{
    int rc = 0;
    if (s->num_symbols > SCAN_MAX_SYMBOLS)
        rc = merge_by_heap(b, s);
    else if (s->num_symbols > 1)
        merge_by_scan(b, s);
    for (size_t i = 0; rc == 0 && i < s->num_symbols; i++) {
        if (s->symbols[i].id != BPE_NO_ID)
            rc = token_ids_push(ret, s->symbols[i].id);
    }
    s->num_symbols = 0;
    return rc;
}

static int
add_symbol(struct bpe_scratch *s, int32_t id)
{
    if (s->num_symbols == s->cap_symbols) {
        size_t cap = MAX(s->cap_symbols * 2, 64u);
        struct bpe_symbol *symbols = realloc(s->symbols, cap * sizeof *symbols);
        if (symbols == NULL)
            return ERR_NOMEM;
        s->symbols = symbols;
        s->cap_symbols = cap;
    }
    s->symbols[s->num_symbols++].id = id;
    return 0;
}

/* Encoding of byte-level models. */

static int
encode_bytes(const struct bpe *b, struct bpe_scratch *s, const char *piece, size_t len,
             struct token_ids *ret)
{
    int32_t unk = BPE_NO_ID;
    int rc = 0;
    for (size_t i = 0; i < len && rc == 0; i++) {
        int32_t id = b->byte_ids[(unsigned char)piece[i]];
        if (id != BPE_NO_ID) {
            if (unk != BPE_NO_ID)
                rc = add_symbol(s, unk);
            unk = BPE_NO_ID;
            if (rc == 0)
                rc = add_symbol(s, id);
        } else if (b->unk_id != BPE_NO_ID) {
            if (unk != BPE_NO_ID && !b->fuse_unk)
                rc = add_symbol(s, unk);
            unk = b->unk_id;
        }
    }
    if (rc == 0 && unk != BPE_NO_ID)
        rc = add_symbol(s, unk);
    return rc < 0 ? rc : flush_word(b, s, ret);
}

/* Encoding of character models. */

static bool
can_join(const struct bpe *b, uint32_t last, uint32_t first)
{
    if (last < 128 && first < 128)
        return b->ascii_joints[last][first >> 6] >> (first & 63) & 1;
    return hashmap_get(&b->joints, (uint64_t)last << 32 | first) != NULL;
}

/* Adds a symbol whose spelling begins with `first` and ends with `last`. */
static int
add_spelled(const struct bpe *b, struct bpe_scratch *s, int32_t id, uint32_t first,
            uint32_t last, struct token_ids *ret)
{
    if (s->num_symbols > 0 && !can_join(b, s->last_cp, first)) {
        int rc = flush_word(b, s, ret);
        if (rc < 0)
            return rc;
    }
    s->last_cp = last;
    return add_symbol(s, id);
}

static int
add_unk(const struct bpe *b, struct bpe_scratch *s, struct token_ids *ret)
{
    return add_spelled(b, s, b->unk_id, first_cp(b->vocab, b->unk_id),
                       last_cp(b->vocab, b->unk_id), ret);
}

/* Adds the bytes of an unknown character; false if some byte has no token. */
static bool
add_fallback(const struct bpe *b, struct bpe_scratch *s, const char *bytes, int len,
             struct token_ids *ret, int *ret_rc)
{
    for (int i = 0; i < len; i++) {
        if (b->fallback_ids[(unsigned char)bytes[i]] == BPE_NO_ID)
            return false;
    }
    for (int i = 0; i < len && *ret_rc == 0; i++)
        *ret_rc = add_spelled(b, s, b->fallback_ids[(unsigned char)bytes[i]], '<', '>', ret);
    return true;
}

static int
encode_chars(const struct bpe *b, struct bpe_scratch *s, const char *piece, size_t len,
             struct token_ids *ret)
{
    bool unk = false; /* an unknown stretch is waiting to be added */
    int rc = 0;
    for (size_t i = 0; i < len && rc == 0;) {
        uint32_t cp;
        int n = utf8_next(piece + i, &cp);
        const uint64_t *id = hashmap_get(&b->chars, cp);
        if (id != NULL) {
            if (unk)
                rc = add_unk(b, s, ret);
            unk = false;
            if (rc == 0)
                rc = add_spelled(b, s, (int32_t)*id, cp, cp, ret);
        } else if (b->byte_fallback && add_fallback(b, s, piece + i, n, ret, &rc)) {
            /* As in the reference, a waiting unknown stays behind these. */
        } else if (b->unk_id != BPE_NO_ID) {
            if (unk && !b->fuse_unk)
                rc = add_unk(b, s, ret);
            unk = true;
        }
        i += (size_t)n;
    }
    if (rc == 0 && unk)
        rc = add_unk(b, s, ret);
    return rc < 0 ? rc : flush_word(b, s, ret);
}

/* The token that a whole piece spells, or BPE_NO_ID. */
static int32_t
whole_piece(const struct bpe *b, struct bpe_scratch *s, const char *piece, size_t len)
{
    if (len > b->max_text_bytes)
        return BPE_NO_ID;
    if (!b->byte_level)
        return vocab_find_model(b->vocab, piece, len);
    buf_clear(&s->spelled);
    byte_level_spell(piece, len, &s->spelled);
    return s->spelled.failed ? BPE_NO_ID
                             : vocab_find_model(b->vocab, buf_bytes(&s->spelled),
                                                buf_len(&s->spelled));
}

int
bpe_encode(const struct bpe *b, struct bpe_scratch *s, const char *piece, size_t len,
           struct token_ids *ret)
{
    if (len >= NO_SYMBOL)
        return ERR_RANGE;
    if (b->ignore_merges) {
        int32_t id = whole_piece(b, s, piece, len);
        if (id != BPE_NO_ID)
            return token_ids_push(ret, id);
    }
    s->num_symbols = 0;
    return b->byte_level ? encode_bytes(b, s, piece, len, ret)
                         : encode_chars(b, s, piece, len, ret);
}
