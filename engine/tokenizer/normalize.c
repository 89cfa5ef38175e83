/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NFC works on stretches of the text: what surely is in NFC is copied, the
 * rest is decomposed, put in canonical order and composed. The ordering is our
 * own because utf8proc's is quadratic in the length of a run of marks.
 */
#include "engine/tokenizer/normalize.h"
#include "util/utf8.h"

#include <utf8proc.h>

/*
 * Characters that NFC leaves alone and that never combine with what is before
 * them: text may be cut in front of one, and text of nothing else is in NFC.
 * Not complete: only what is common.
 */
static const struct {
    uint32_t first, last;
} inert_ranges[] = {
    {0x0000, 0x02ff}, {0x0388, 0x0482},   {0x048a, 0x0590},   {0x05d0, 0x05ea},
    {0x0620, 0x064a}, {0x0660, 0x066f},   {0x1e00, 0x1e99},   {0x2010, 0x206f},
    {0x20a0, 0x20c0}, {0x2190, 0x2328},   {0x232b, 0x2adb},   {0x3000, 0x3029},
    {0x3041, 0x3096}, {0x30a0, 0x30ff},   {0x3400, 0x4dbf},   {0x4e00, 0x9fff},
    {0xac00, 0xd7a3}, {0xe000, 0xf8ff},   {0xff01, 0xffdc},   {0x1f300, 0x1faff},
    {0x20000, 0x2a6df},
};

static bool
is_inert(uint32_t cp)
{
    if (cp < 0x300)
        return true;
    size_t low = 0, high = ARRAY_SIZE(inert_ranges);
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (cp > inert_ranges[mid].last)
            low = mid + 1;
        else
            high = mid;
    }
    return low < ARRAY_SIZE(inert_ranges) && cp >= inert_ranges[low].first;
}

static int
combining_class(int32_t cp)
{
    return utf8proc_get_property(cp)->combining_class;
}

/* Stable sort of a run of marks by class. Counting keeps a run of any length
 * linear. */
static int
sort_marks(int32_t *cps, size_t len)
{
    if (len <= 32) {
        for (size_t i = 1; i < len; i++) {
            int32_t cp = cps[i];
            int class = combining_class(cp);
            size_t k = i;
            for (; k > 0 && combining_class(cps[k - 1]) > class; k--)
                cps[k] = cps[k - 1];
            cps[k] = cp;
        }
        return 0;
    }
    int32_t *sorted = malloc(len * sizeof *sorted);
    if (sorted == NULL)
        return ERR_NOMEM;
    size_t start[257] = {0};
    for (size_t i = 0; i < len; i++)
        start[combining_class(cps[i]) + 1]++;
    for (int c = 0; c < 256; c++)
        start[c + 1] += start[c];
    for (size_t i = 0; i < len; i++)
        sorted[start[combining_class(cps[i])]++] = cps[i];
    memcpy(cps, sorted, len * sizeof *sorted);
    free(sorted);
    return 0;
}

static int
order_canonically(int32_t *cps, size_t len)
{
    for (size_t i = 0; i < len;) {
        if (combining_class(cps[i]) == 0) {
            i++;
            continue;
        }
        size_t end = i + 1;
        while (end < len && combining_class(cps[end]) != 0)
            end++;
        int rc = sort_marks(cps + i, end - i);
        if (rc < 0)
            return rc;
        i = end;
    }
    return 0;
}

/* Appends the NFC of a stretch that begins with a starter or a text. */
static int
compose_stretch(const char *text, size_t len, struct buf *out)
{
    /* A character decomposes to at most 4, from at least 2 bytes. */
    size_t cap = len * 2 + 8, num = 0;
    int32_t *cps = malloc(cap * sizeof *cps);
    if (cps == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < len;) {
        uint32_t cp;
        int boundclass = UTF8PROC_BOUNDCLASS_START;
        i += (size_t)utf8_next(text + i, &cp);
        utf8proc_ssize_t n = utf8proc_decompose_char(
            (int32_t)cp, cps + num, (utf8proc_ssize_t)(cap - num),
            UTF8PROC_STABLE | UTF8PROC_COMPOSE, &boundclass);
        ASSERT(n >= 0 && num + (size_t)n <= cap);
        num += (size_t)n;
    }
    int rc = order_canonically(cps, num);
    if (rc == 0) {
        utf8proc_ssize_t n = utf8proc_normalize_utf32(cps, (utf8proc_ssize_t)num,
                                                      UTF8PROC_STABLE | UTF8PROC_COMPOSE);
        for (utf8proc_ssize_t i = 0; i < n; i++) {
            char utf8[UTF8_MAX_BYTES];
            buf_append(out, utf8, (size_t)utf8_encode((uint32_t)cps[i], utf8));
        }
    }
    free(cps);
    return rc;
}

static int
normalize_nfc(const char *text, size_t len, struct buf *out)
{
    size_t done = 0, i = 0, last_inert = 0;
    while (i < len) {
        uint32_t cp;
        int n = utf8_next(text + i, &cp);
        if (is_inert(cp)) {
            last_inert = i;
            i += (size_t)n;
            continue;
        }
        /* The stretch: from the character before to the next inert one. */
        size_t end = i + (size_t)n;
        while (end < len && (n = utf8_next(text + end, &cp), !is_inert(cp)))
            end += (size_t)n;
        buf_append(out, text + done, last_inert - done);
        int rc = compose_stretch(text + last_inert, end - last_inert, out);
        if (rc < 0)
            return rc;
        done = last_inert = i = end;
    }
    buf_append(out, text + done, len - done);
    return 0;
}

static bool
surely_nfc(const char *text, size_t len)
{
    for (size_t i = 0; i < len;) {
        uint32_t cp;
        i += (size_t)utf8_next(text + i, &cp);
        if (!is_inert(cp))
            return false;
    }
    return true;
}

void
replace_all(const char *text, size_t len, const char *pattern, const char *content,
            struct buf *ret)
{
    size_t pattern_len = strlen(pattern), content_len = strlen(content);
    const char *end = text + len, *hit;
    while ((hit = memmem(text, (size_t)(end - text), pattern, pattern_len)) != NULL) {
        buf_append(ret, text, (size_t)(hit - text));
        buf_append(ret, content, content_len);
        text = hit + pattern_len;
    }
    buf_append(ret, text, (size_t)(end - text));
}

static bool
step_changes(const struct normalize_step *step, const char *text, size_t len)
{
    if (step->kind == NORMALIZE_NFC)
        return !surely_nfc(text, len);
    return memmem(text, len, step->pattern, strlen(step->pattern)) != NULL;
}

int
normalizer_run(const struct normalizer *n, struct normalize_scratch *scratch, const char *text,
               size_t len, const char **ret_text, size_t *ret_len)
{
    int turn = 0;
    for (int i = 0; i < n->num_steps; i++) {
        const struct normalize_step *step = &n->steps[i];
        if (!step_changes(step, text, len))
            continue;
        struct buf *out = &scratch->out[turn];
        turn = !turn;
        buf_clear(out);
        int rc = 0;
        if (step->kind == NORMALIZE_NFC)
            rc = normalize_nfc(text, len, out);
        else
            replace_all(text, len, step->pattern, step->content, out);
        if (rc < 0 || out->failed)
            return ERR_NOMEM;
        text = buf_bytes(out);
        len = buf_len(out);
    }
    *ret_text = text;
    *ret_len = len;
    return 0;
}

int
normalizer_add(struct normalizer *n, enum normalize_kind kind, const char *pattern,
               const char *content)
{
    if (n->num_steps == NORMALIZER_MAX_STEPS)
        return ERR_RANGE;
    struct normalize_step step = {.kind = kind};
    if (kind == NORMALIZE_REPLACE) {
        step.pattern = strdup(pattern);
        step.content = strdup(content);
        if (step.pattern == NULL || step.content == NULL) {
            free(step.pattern);
            free(step.content);
            return ERR_NOMEM;
        }
    }
    n->steps[n->num_steps++] = step;
    return 0;
}

void
normalizer_release(struct normalizer *n)
{
    for (int i = 0; i < n->num_steps; i++) {
        free(n->steps[i].pattern);
        free(n->steps[i].content);
    }
    *n = (struct normalizer){0};
}

void
normalize_scratch_release(struct normalize_scratch *s)
{
    buf_release(&s->out[0]);
    buf_release(&s->out[1]);
}
