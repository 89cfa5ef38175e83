/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loading a tokenizer; only for the files that do it. What they read is not
 * trusted: every function returns 0, or a negative code and has said in l->err
 * which file is at fault and why.
 */
#ifndef ENGINE_TOKENIZER_READER_H
#define ENGINE_TOKENIZER_READER_H

#include "engine/tokenizer/tokenizer_impl.h"

#include <jansson.h>
#include <limits.h>

struct reader {
    struct tokenizer *tok; /* being built */
    char path[PATH_MAX]; /* of the file being read */
    const char *model_dir;
    struct error *err;
    struct normalizer decoder_replaces; /* the decoder's Replace steps */
    bool has_byte_fallback, has_fuse;   /* its other steps */
};

/* Errors, with the file's name in front. */
int reader_fail(struct reader *l, int code, const char *fmt, ...) PRINTF_LIKE(3, 4);
int reader_no_memory(struct reader *l);
/* "<what> '<type>' is not supported". */
int reader_unsupported(struct reader *l, const char *what, const char *type);
/* How many bytes of a token to show in an error. */
int reader_shown(const char *text);

/* A member that may be missing or null: *ret is kept then. */
int reader_get_bool(struct reader *l, const json_t *object, const char *key, bool *ret);
int reader_get_string(struct reader *l, const json_t *object, const char *key, const char **ret);

/* Members of tokenizer.json, each a step or a Sequence of steps; `depth` is 0. */
typedef int reader_step(struct reader *l, const json_t *step, int depth);
int reader_normalizer(struct reader *l, const json_t *step, int depth);
int reader_pretokenizer(struct reader *l, const json_t *step, int depth);
int reader_post_processor(struct reader *l, const json_t *step, int depth);
int reader_decoder(struct reader *l, const json_t *step, int depth);

/* Works out what each token stands for, when all else is loaded. */
int reader_decode_tokens(struct reader *l);

#endif
