/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cutting text into the pieces that the model encodes one by one: a list of
 * splits, each a regular expression (PCRE2, compiled to machine code) or a
 * plain string with the "behavior" of Hugging Face, and perhaps a space put in
 * front. The mapping of bytes to characters that ByteLevel also does is the
 * model's business (bpe.h). Constant after loading; any thread, each call with
 * its own scratch.
 */
#ifndef ENGINE_TOKENIZER_PRETOKENIZE_H
#define ENGINE_TOKENIZER_PRETOKENIZE_H

#include "util/base.h"
#include "util/buf.h"
#include "util/error.h"

#define PRETOKENIZER_MAX_STEPS 16

/* ByteLevel's own pattern, from GPT-2. */
#define PRETOKENIZE_GPT2_PATTERN \
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

/* What becomes of a match, and of the text between matches. */
enum split_behavior {
    SPLIT_REMOVED,
    SPLIT_ISOLATED,
    SPLIT_MERGED_WITH_PREVIOUS,
    SPLIT_MERGED_WITH_NEXT,
    SPLIT_CONTIGUOUS,
};

enum pretokenize_kind { PRETOKENIZE_STRING, PRETOKENIZE_REGEX, PRETOKENIZE_PREFIX_SPACE };

struct pretokenize_step {
    enum pretokenize_kind kind;
    enum split_behavior behavior;
    bool invert;          /* the text between matches counts as the matches */
    char *string;         /* owned; STRING: not empty */
    void *regex;          /* owned; a pcre2_code */
};

/* Zero-initialised leaves the text whole. */
struct pretokenizer {
    struct pretokenize_step steps[PRETOKENIZER_MAX_STEPS];
    int num_steps;
    void *match_context; /* owned; a pcre2_match_context */
};

/* Zero-initialised is ready. */
struct pretokenize_scratch {
    void *match_data;  /* owned; a pcre2_match_data */
    struct buf prefix; /* text with a space put in front */
};

/* Takes one piece, not empty; a negative result ends the run. */
struct piece_sink {
    int (*take)(void *ctx, const char *piece, size_t len);
    void *ctx;
};

void pretokenizer_release(struct pretokenizer *p);
void pretokenize_scratch_release(struct pretokenize_scratch *s);

/* Each adds a step. ERR_RANGE: too many. ERR_NOMEM. */
int pretokenizer_add_string(struct pretokenizer *p, const char *pattern,
                            enum split_behavior behavior, bool invert);
int pretokenizer_add_prefix_space(struct pretokenizer *p);
/* ERR_CORRUPT: not a regular expression; `err` says why. */
int pretokenizer_add_regex(struct pretokenizer *p, const char *pattern,
                           enum split_behavior behavior, bool invert, struct error *err);

/* Cuts valid UTF-8 and hands the pieces on, in order. ERR_NOMEM, or what the
 * sink returned. */
int pretokenizer_run(const struct pretokenizer *p, struct pretokenize_scratch *scratch,
                     const char *text, size_t len, const struct piece_sink *sink);

#endif
