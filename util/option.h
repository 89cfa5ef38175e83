/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One table of options yields the command line, the configuration file,
 * --help, the man page and the example configuration, so that none can drift
 * from another.
 *
 * Spelling: --max-model-len 2048, --max-model-len=2048, --max_model_len; a
 * bool is --name or --no-name; sizes take k (1000), K (1024), m, M, g, G, and
 * a decimal point ("25.6k"). A file has `name = value` lines, # comments and
 * [sections] that are only for the reader. Later wins: defaults, file, command
 * line. One thread, at start.
 */
#ifndef UTIL_OPTION_H
#define UTIL_OPTION_H

#include "util/base.h"
#include "util/buf.h"
#include "util/error.h"

enum option_type {
    OPT_BOOL,    /* bool; false when unset */
    OPT_INT,     /* int64_t within [min, max]; k, K, ... suffixes; 0 when unset */
    OPT_FLOAT,   /* double within [min, max]; NAN when unset; "inf" if max is INFINITY */
    OPT_STRING,  /* char *, owned, NULL when unset */
    OPT_CHOICE,  /* int: index into choices, a NULL-terminated list; -1 when unset */
    OPT_LIST,    /* struct option_list: repeated, or several words after the option */
    OPT_IGNORED, /* accepted for compatibility; `text` says why it does nothing */
    OPT_REFUSED, /* known elsewhere, not here: an error that says `text` */
};

struct option_list {
    char **items; /* owned, each owned */
    size_t len;
};

struct option {
    const char *name;        /* "max-model-len" */
    char letter;             /* 'h' or 0 */
    enum option_type type;
    size_t offset;           /* of the field in the config struct */
    double min, max;         /* OPT_INT, OPT_FLOAT; inclusive; equal: no limit */
    const char *fallback;    /* default, as it would be written; NULL: unset */
    const char *const *choices;
    const char *unit;        /* "tokens", "seconds", "bytes"; or NULL */
    const char *metavar;     /* "DIR" in --help; NULL: from the type. OPT_IGNORED and
                              * OPT_REFUSED take a value exactly when it is not NULL */
    const char *section;     /* heading in --help, the man page and the file */
    const char *text;        /* one or more sentences: what it does */
    bool command_line_only;  /* not in the file (--config, --help) */
    bool takes_bool_word;    /* OPT_BOOL that also reads "--name true" */
    const char *alias;       /* a second name ("rate", or "tp" for -tp); or NULL */
};

struct option_table {
    const struct option *options;
    size_t num_options;
    const char *program;     /* "llmd" */
    const char *synopsis;    /* "llmd serve DIR [options]" (lines split by \n) */
    const char *summary;     /* man page NAME line: "OpenAI-compatible ..." */
    const char *description; /* paragraphs split by blank lines */
    bool allow_prefix;       /* on the command line, --num-prom means --num-prompts */
};

/* Fills the struct at `config` with the defaults. */
int option_defaults(const struct option_table *t, void *config, struct error *err);
/*
 * Reads a file; an error names file, line, key, value and range. A value may
 * stand in double quotes (\" and \\ inside); # starts a comment at the start
 * of a line or after a blank. A list that the file names replaces the default,
 * one that the command line names replaces the file's; within one of the two,
 * repetitions add up.
 */
int option_read_file(const struct option_table *t, void *config, const char *path,
                     struct error *err);
/* The same for a text in memory; `name` is what errors call it. */
int option_read_text(const struct option_table *t, void *config, const char *text, size_t len,
                     const char *name, struct error *err);
/*
 * Reads argv[1..]. Words that are no option are stored in `ret_words` (at most
 * max_words, borrowed from argv), their number in *ret_num_words. "--" ends
 * the options. A value that starts with "--" needs the form --name=VALUE. An
 * unknown option suggests the nearest: "unknown option '--max-modle-len'; did
 * you mean '--max-model-len'?". Fields set before an error keep their values.
 */
int option_read_argv(const struct option_table *t, void *config, int argc, char **argv,
                     const char **ret_words, size_t max_words, size_t *ret_num_words,
                     struct error *err);
/* Sets one option from its written form, as the two above do. */
int option_set(const struct option_table *t, void *config, const char *name, const char *value,
               struct error *err);
/* Frees strings and lists; the config must have had option_defaults. */
void option_release(const struct option_table *t, void *config);
/* The value now in `config`, as it would be written in a file (quoted where it
 * must be); nothing when unset. */
void option_print_value(const struct option *o, const void *config, struct buf *ret);

/* The three papers, from the same rows. */
void option_help(const struct option_table *t, struct buf *ret);
void option_man_page(const struct option_table *t, int man_section, struct buf *ret);
void option_example_file(const struct option_table *t, struct buf *ret);

#endif
