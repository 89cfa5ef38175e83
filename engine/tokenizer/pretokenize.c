/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The reference matches with Oniguruma. PCRE2 with UTF and UCP agrees with it
 * but for U+180E, a space to PCRE2's \s only: \s and \S are spelled out.
 *
 * Nothing here looks back from one piece into another: each step sees the
 * piece it was given as a whole text, as the reference does.
 */
#define PCRE2_CODE_UNIT_WIDTH 8

#include "engine/tokenizer/pretokenize.h"
#include "util/utf8.h"

#include <pcre2.h>

#define SPACE_CLASS                                                                        \
    "\\x{9}-\\x{d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}" \
    "\\x{202f}\\x{205f}\\x{3000}"

/* A piece no longer than this is made of what a regex gave up on. */
#define FALLBACK_PIECE_BYTES 65536

/* Rewrites \s and \S. A \S inside a class stays: it cannot be spelled there. */
static void
spell_out_spaces(const char *pattern, struct buf *out)
{
    bool in_class = false;
    for (const char *p = pattern; *p != '\0'; p++) {
        if (p[0] == '\\' && p[1] != '\0') {
            if (p[1] == 's')
                buf_puts(out, in_class ? SPACE_CLASS : "[" SPACE_CLASS "]");
            else if (p[1] == 'S' && !in_class)
                buf_puts(out, "[^" SPACE_CLASS "]");
            else
                buf_append(out, p, 2);
            p++;
            continue;
        }
        if (*p == '[')
            in_class = true;
        else if (*p == ']')
            in_class = false;
        buf_putc(out, *p);
    }
}

static int
add_step(struct pretokenizer *p, struct pretokenize_step step)
{
    if (p->num_steps == PRETOKENIZER_MAX_STEPS)
        return ERR_RANGE;
    p->steps[p->num_steps++] = step;
    return 0;
}

int
pretokenizer_add_string(struct pretokenizer *p, const char *pattern,
                        enum split_behavior behavior, bool invert)
{
    struct pretokenize_step step = {
        .kind = PRETOKENIZE_STRING, .behavior = behavior, .invert = invert};
    step.string = strdup(pattern);
    if (step.string == NULL)
        return ERR_NOMEM;
    int rc = add_step(p, step);
    if (rc < 0)
        free(step.string);
    return rc;
}

int
pretokenizer_add_prefix_space(struct pretokenizer *p)
{
    return add_step(p, (struct pretokenize_step){.kind = PRETOKENIZE_PREFIX_SPACE});
}

int
pretokenizer_add_regex(struct pretokenizer *p, const char *pattern, enum split_behavior behavior,
                       bool invert, struct error *err)
{
    struct buf spelled = {0};
    spell_out_spaces(pattern, &spelled);
    if (p->match_context == NULL) {
        p->match_context = pcre2_match_context_create(NULL);
        /* The work on one piece is linear; a long run of spaces must not look
         * like runaway backtracking. */
        if (p->match_context != NULL)
            pcre2_set_match_limit(p->match_context, UINT32_MAX);
    }
    if (spelled.failed || p->match_context == NULL) {
        buf_release(&spelled);
        return error_set(err, ERR_NOMEM, "out of memory");
    }
    int code;
    PCRE2_SIZE offset;
    pcre2_code *regex = pcre2_compile((PCRE2_SPTR)buf_bytes(&spelled), buf_len(&spelled),
                                      PCRE2_UTF | PCRE2_UCP, &code, &offset, NULL);
    buf_release(&spelled);
    if (regex == NULL) {
        char why[160];
        pcre2_get_error_message(code, (PCRE2_UCHAR *)why, sizeof why);
        return error_set(err, ERR_CORRUPT, "cannot compile the pattern '%.200s': %s", pattern,
                         why);
    }
    pcre2_jit_compile(regex, PCRE2_JIT_COMPLETE); /* without it: slower only */
    int rc = add_step(p, (struct pretokenize_step){.kind = PRETOKENIZE_REGEX,
                                                   .behavior = behavior,
                                                   .invert = invert,
                                                   .regex = regex});
    if (rc < 0) {
        pcre2_code_free(regex);
        error_set(err, rc, "more than %d pre-tokenizer steps", PRETOKENIZER_MAX_STEPS);
    }
    return rc;
}

void
pretokenizer_release(struct pretokenizer *p)
{
    for (int i = 0; i < p->num_steps; i++) {
        free(p->steps[i].string);
        pcre2_code_free(p->steps[i].regex);
    }
    pcre2_match_context_free(p->match_context);
    *p = (struct pretokenizer){0};
}

void
pretokenize_scratch_release(struct pretokenize_scratch *s)
{
    pcre2_match_data_free(s->match_data);
    buf_release(&s->prefix);
    *s = (struct pretokenize_scratch){0};
}

/* One run of the steps from number `step` on, over `text`. */
struct run {
    const struct pretokenizer *p;
    struct pretokenize_scratch *scratch;
    const struct piece_sink *sink;
};

/* The pieces of one step while it goes along: one is held back, because what
 * follows may still be joined to it. */
struct joiner {
    const struct run *run;
    const char *text;
    int step;
    bool holding, held_match, previous_match;
    size_t begin, end; /* of the held piece */
};

static int run_from(const struct run *run, int step, const char *text, size_t len);

static int
joiner_flush(struct joiner *j)
{
    if (!j->holding)
        return 0;
    j->holding = false;
    if (j->begin == j->end)
        return 0;
    return run_from(j->run, j->step + 1, j->text + j->begin, j->end - j->begin);
}

/* Adds the next stretch [begin, end) of the text. */
static int
joiner_add(struct joiner *j, size_t begin, size_t end, bool is_match)
{
    const struct pretokenize_step *step = &j->run->p->steps[j->step];
    is_match ^= step->invert;
    bool join = false;
    switch (step->behavior) {
    case SPLIT_REMOVED:
        if (is_match)
            return 0;
        break;
    case SPLIT_ISOLATED:
        break;
    case SPLIT_CONTIGUOUS:
        join = is_match == j->previous_match;
        break;
    case SPLIT_MERGED_WITH_PREVIOUS:
        join = is_match && !j->previous_match;
        break;
    case SPLIT_MERGED_WITH_NEXT:
        join = !is_match && j->held_match;
        break;
    }
    j->previous_match = is_match;
    if (join && j->holding) {
        j->end = end;
        j->held_match = false;
        return 0;
    }
    int rc = joiner_flush(j);
    j->holding = true;
    j->held_match = is_match;
    j->begin = begin;
    j->end = end;
    return rc;
}

/* The next match at or after `from`; 0: none, 1: one, -1: the regex gave up. */
static int
find_match(const struct run *run, const struct pretokenize_step *step, const char *text,
           size_t len, size_t from, size_t *ret_begin, size_t *ret_end)
{
    if (step->kind == PRETOKENIZE_STRING) {
        const char *hit = memmem(text + from, len - from, step->string, strlen(step->string));
        if (hit == NULL)
            return 0;
        *ret_begin = (size_t)(hit - text);
        *ret_end = *ret_begin + strlen(step->string);
        return 1;
    }
    /* Without PCRE2_NO_UTF_CHECK each call would check the whole rest. */
    int rc = pcre2_match(step->regex, (PCRE2_SPTR)text, len, from, PCRE2_NO_UTF_CHECK,
                         run->scratch->match_data, run->p->match_context);
    if (rc == PCRE2_ERROR_NOMATCH)
        return 0;
    if (rc < 0)
        return -1;
    const PCRE2_SIZE *ovector = pcre2_get_ovector_pointer(run->scratch->match_data);
    *ret_begin = ovector[0];
    *ret_end = ovector[1];
    return *ret_end < *ret_begin || *ret_begin < from ? -1 : 1; /* \K in a lookahead */
}

static int
run_split(const struct run *run, int step_index, const char *text, size_t len)
{
    const struct pretokenize_step *step = &run->p->steps[step_index];
    struct joiner j = {.run = run, .text = text, .step = step_index};
    size_t done = 0, from = 0;
    int rc = 0;
    while (rc == 0 && from <= len) {
        size_t begin, end;
        int found = find_match(run, step, text, len, from, &begin, &end);
        if (found == 0)
            break;
        if (found < 0) {
            /* A resource limit: go on behind a bounded piece. */
            begin = from;
            end = from + utf8_cut(text + from, len - from, FALLBACK_PIECE_BYTES);
        }
        if (begin == end) {
            /* An empty match; it counts unless it ends the one before. */
            if (begin != done || begin == 0) {
                if (begin > done)
                    rc = joiner_add(&j, done, begin, false);
                if (rc == 0)
                    rc = joiner_add(&j, begin, begin, true);
                done = begin;
            }
            if (begin == len)
                break;
            uint32_t cp;
            from = begin + (size_t)utf8_next(text + begin, &cp);
            continue;
        }
        if (begin > done)
            rc = joiner_add(&j, done, begin, false);
        if (rc == 0)
            rc = joiner_add(&j, begin, end, true);
        done = from = end;
    }
    if (rc == 0 && done < len)
        rc = joiner_add(&j, done, len, false);
    return rc < 0 ? rc : joiner_flush(&j);
}

static int
run_prefix_space(const struct run *run, int step, const char *text, size_t len)
{
    if (text[0] == ' ')
        return run_from(run, step + 1, text, len);
    /* Moved out, so that a second step of this kind gets its own. */
    struct buf spaced = run->scratch->prefix;
    run->scratch->prefix = (struct buf){0};
    buf_clear(&spaced);
    buf_putc(&spaced, ' ');
    buf_append(&spaced, text, len);
    int rc = spaced.failed ? ERR_NOMEM
                           : run_from(run, step + 1, buf_bytes(&spaced), buf_len(&spaced));
    buf_release(&run->scratch->prefix);
    run->scratch->prefix = spaced;
    return rc;
}

static int
run_from(const struct run *run, int step, const char *text, size_t len)
{
    if (step == run->p->num_steps)
        return run->sink->take(run->sink->ctx, text, len);
    if (run->p->steps[step].kind == PRETOKENIZE_PREFIX_SPACE)
        return run_prefix_space(run, step, text, len);
    return run_split(run, step, text, len);
}

int
pretokenizer_run(const struct pretokenizer *p, struct pretokenize_scratch *scratch,
                 const char *text, size_t len, const struct piece_sink *sink)
{
    if (len == 0)
        return 0;
    if (scratch->match_data == NULL) {
        scratch->match_data = pcre2_match_data_create(1, NULL);
        if (scratch->match_data == NULL)
            return ERR_NOMEM;
    }
    const struct run run = {.p = p, .scratch = scratch, .sink = sink};
    return run_from(&run, 0, text, len);
}

