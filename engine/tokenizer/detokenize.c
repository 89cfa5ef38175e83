/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Byte-level models: at most three bytes are pending, the beginning of one
 * character. Byte fallback: the pending bytes are a run of byte tokens that is
 * valid so far, but perhaps for an incomplete last character; `run_broken`
 * says that the run is invalid and that every byte of it is U+FFFD.
 */
#include "engine/tokenizer/detokenize.h"
#include "engine/tokenizer/tokenizer_impl.h"
#include "util/utf8.h"

void
detokenizer_init(struct detokenizer *d, const struct tokenizer *tok, bool skip_special)
{
    *d = (struct detokenizer){.tok = tok, .skip_special = skip_special};
}

/* Appends the whole characters of `bytes`; returns how many bytes are left,
 * the beginning of a character. */
static size_t
append_whole(struct buf *out, const char *bytes, size_t len)
{
    uint32_t cp;
    size_t i = len, back = 0;
    /* The last character begins at most three bytes before the end. */
    while (i > 0 && back < 3) {
        i--;
        back++;
        if (!utf8_is_continuation(bytes[i])) {
            if (utf8_decode(bytes + i, back, &cp) != 0)
                back = 0;
            utf8_append_lossy(out, bytes, len - back);
            return back;
        }
    }
    utf8_append_lossy(out, bytes, len);
    return 0;
}

static void
push_bytes(struct detokenizer *d, const char *bytes, size_t len, struct buf *out)
{
    char joined[2 * UTF8_MAX_BYTES];
    /* Complete the pending character with the bytes that can belong to it. */
    if (d->num_pending > 0 && len > 0) {
        size_t n = d->num_pending, taken = 0;
        memcpy(joined, d->pending, n);
        while (taken < len && n < UTF8_MAX_BYTES && utf8_is_continuation(bytes[taken]))
            joined[n++] = bytes[taken++];
        uint32_t cp;
        if (taken == len && utf8_decode(joined, n, &cp) == 0) {
            memcpy(d->pending, joined, n);
            d->num_pending = (unsigned char)n;
            return;
        }
        utf8_append_lossy(out, joined, n);
        d->num_pending = 0;
        bytes += taken;
        len -= taken;
    }
    size_t left = append_whole(out, bytes, len);
    if (left > 0) {
        memcpy(d->pending, bytes + len - left, left);
        d->num_pending = (unsigned char)left;
    }
}

/* The run of byte tokens has ended. */
static void
finish_run(struct detokenizer *d, struct buf *out)
{
    if (utf8_valid(d->pending, d->num_pending)) {
        buf_append(out, d->pending, d->num_pending);
    } else {
        for (int i = 0; i < d->num_pending; i++)
            buf_puts(out, UTF8_REPLACEMENT);
    }
    d->num_pending = 0;
    d->run_broken = false;
}

/* Where the run's last character begins, and whether the run is invalid
 * whatever follows. */
static bool
run_is_broken(const struct detokenizer *d, size_t *ret_last)
{
    size_t i = 0;
    while (i < d->num_pending) {
        uint32_t cp;
        int n = utf8_decode(d->pending + i, d->num_pending - i, &cp);
        if (n < 0)
            return true;
        if (n == 0)
            break;
        i += (size_t)n;
    }
    *ret_last = i;
    return false;
}

static void
push_byte_token(struct detokenizer *d, char byte, struct buf *out)
{
    if (d->run_broken) {
        buf_puts(out, UTF8_REPLACEMENT);
        return;
    }
    size_t last;
    d->pending[d->num_pending++] = byte;
    if (run_is_broken(d, &last)) {
        for (int i = 0; i < d->num_pending; i++)
            buf_puts(out, UTF8_REPLACEMENT);
        d->num_pending = 0;
        d->run_broken = true;
    } else if (d->num_pending == DETOKENIZER_MAX_HELD) {
        buf_append(out, d->pending, last);
        memmove(d->pending, d->pending + last, d->num_pending - last);
        d->num_pending -= (unsigned char)last;
    }
}

void
detokenizer_push(struct detokenizer *d, int32_t id, struct buf *out)
{
    const struct vocab_entry *e = tokenizer_decoded_entry(d->tok, id, d->skip_special);
    if (e == NULL)
        return;
    const char *bytes = vocab_bytes(&d->tok->vocab, e);
    if (d->tok->decoder == DECODER_BYTE_LEVEL) {
        push_bytes(d, bytes, e->bytes_len, out);
    } else if (e->flags & VOCAB_BYTE) {
        push_byte_token(d, bytes[0], out);
    } else {
        finish_run(d, out);
        buf_append(out, bytes, e->bytes_len);
    }
}

void
detokenizer_finish(struct detokenizer *d, struct buf *out)
{
    if (d->tok->decoder == DECODER_BYTE_LEVEL)
        utf8_append_lossy(out, d->pending, d->num_pending);
    else
        finish_run(d, out);
    d->num_pending = 0;
}
