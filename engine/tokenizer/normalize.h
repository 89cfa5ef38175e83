/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The normalizer of a tokenizer: a list of steps, each NFC or the replacement
 * of a string by another. Constant after loading; any thread, each call with
 * its own buffers. Time and memory are linear in the text, whatever it is.
 */
#ifndef ENGINE_TOKENIZER_NORMALIZE_H
#define ENGINE_TOKENIZER_NORMALIZE_H

#include "util/base.h"
#include "util/buf.h"
#include "util/error.h"

#define NORMALIZER_MAX_STEPS 16

enum normalize_kind { NORMALIZE_NFC, NORMALIZE_REPLACE };

struct normalize_step {
    enum normalize_kind kind;
    char *pattern; /* owned; not empty; REPLACE only */
    char *content; /* owned */
};

/* Zero-initialised changes nothing. */
struct normalizer {
    struct normalize_step steps[NORMALIZER_MAX_STEPS];
    int num_steps;
};

/* Two buffers that the steps write to in turn. */
struct normalize_scratch {
    struct buf out[2];
};

void normalizer_release(struct normalizer *n);
void normalize_scratch_release(struct normalize_scratch *s);

/* Adds a step; copies the strings. ERR_NOMEM; ERR_RANGE: too many steps. */
int normalizer_add(struct normalizer *n, enum normalize_kind kind, const char *pattern,
                   const char *content);

/* Normalises valid UTF-8. *ret_text is `text` itself where nothing changes,
 * else a buffer of `scratch`, valid until the next call. ERR_NOMEM. */
int normalizer_run(const struct normalizer *n, struct normalize_scratch *scratch,
                   const char *text, size_t len, const char **ret_text, size_t *ret_len);

/* Appends `text` with every `pattern` (not empty) replaced by `content`. */
void replace_all(const char *text, size_t len, const char *pattern, const char *content,
                 struct buf *ret);

#endif
