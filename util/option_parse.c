/* SPDX-License-Identifier: Apache-2.0 */
/* Reads the command line and the configuration file into a config struct. */
#include "util/option_private.h"

#include <errno.h>

#define FILE_BYTES_MAX (1 << 20)

/* ---- values as a file writes them ---- */

struct cursor {
    const char *at, *end;
};

static bool
is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

static void
skip_blanks(struct cursor *c)
{
    while (c->at < c->end && is_blank(*c->at))
        c->at++;
}

/* At the end of the value: nothing, or a comment, follows. */
static bool
at_value_end(struct cursor *c)
{
    skip_blanks(c);
    return c->at == c->end || *c->at == '#';
}

/* Appends a quoted word to `ret`, without its quotes. */
static int
read_quoted(struct cursor *c, struct buf *ret, struct error *err)
{
    for (c->at++; c->at < c->end; c->at++) {
        if (*c->at == '"') {
            c->at++;
            if (c->at < c->end && !is_blank(*c->at))
                return error_set(err, ERR_INVALID, "text follows a closing quote");
            return 0;
        }
        if (*c->at == '\\' && c->at + 1 < c->end)
            c->at++;
        buf_putc(ret, *c->at);
    }
    return error_set(err, ERR_INVALID, "a closing quote is missing");
}

/* Appends one word to `ret`: quoted, or up to a blank. */
static int
read_word(struct cursor *c, struct buf *ret, struct error *err)
{
    if (*c->at == '"')
        return read_quoted(c, ret, err);
    while (c->at < c->end && !is_blank(*c->at))
        buf_putc(ret, *c->at++);
    return 0;
}

/* Appends a value that is not a list: one quoted word, or the whole text. */
static int
read_scalar(struct cursor *c, struct buf *ret, struct error *err)
{
    if (*c->at == '"') {
        int r = read_quoted(c, ret, err);
        if (r == 0 && !at_value_end(c))
            return error_set(err, ERR_INVALID, "text follows a closing quote");
        return r;
    }
    const char *start = c->at;
    while (c->at < c->end && !(*c->at == '#' && is_blank(c->at[-1])))
        c->at++;
    size_t len = (size_t)(c->at - start);
    while (len > 0 && is_blank(start[len - 1]))
        len--;
    buf_append(ret, start, len);
    return 0;
}

/* Stores what `word` holds, and empties it. */
static int
store_word(const struct option_match *m, void *config, struct buf *word, bool append,
           enum option_source source, struct error *err)
{
    buf_puts(word, "");
    if (word->failed)
        return error_set(err, ERR_NOMEM, "out of memory");
    int r = option_store(m, config, buf_bytes(word), append, source, err);
    buf_clear(word);
    return r;
}

int
option_store_text(const struct option_match *m, void *config, const char *text, size_t len,
                  bool append, enum option_source source, struct error *err)
{
    struct cursor c = {text, text + len};
    struct buf word = {0};
    int r = 0;
    if (m->option->type == OPT_REFUSED)
        return option_store(m, config, NULL, false, source, err);
    if (m->option->type == OPT_LIST) {
        if (!append)
            option_list_clear(option_field(m->option, config));
        while (r == 0 && !at_value_end(&c)) {
            r = read_word(&c, &word, err);
            if (r == 0)
                r = store_word(m, config, &word, true, source, err);
        }
    } else if (at_value_end(&c)) {
        r = error_set(err, ERR_INVALID, "option '%s': a value is missing", m->option->name);
    } else {
        r = read_scalar(&c, &word, err);
        if (r == 0)
            r = store_word(m, config, &word, false, source, err);
    }
    buf_release(&word);
    return r;
}

/* ---- what both readers need ---- */

/* One pass over one source; `seen` marks the rows that it has named. */
struct reader {
    const struct option_table *table;
    void *config;
    bool *seen; /* owned, one per row */
    struct error *err;
};

static int
reader_init(struct reader *r, const struct option_table *t, void *config, struct error *err)
{
    *r = (struct reader){.table = t, .config = config, .err = err};
    r->seen = calloc(t->num_options + 1, sizeof *r->seen);
    return r->seen != NULL ? 0 : error_set(err, ERR_NOMEM, "out of memory");
}

/* Whether the row was named before; marks it. */
static bool
reader_mark(struct reader *r, const struct option *o)
{
    bool *seen = &r->seen[o - r->table->options];
    bool before = *seen;
    *seen = true;
    return before;
}

/* ---- file ---- */

static int
read_line(struct reader *r, struct cursor line)
{
    if (at_value_end(&line) || *line.at == '[')
        return 0;
    const char *name = line.at;
    while (line.at < line.end && *line.at != '=' && !is_blank(*line.at))
        line.at++;
    size_t len = (size_t)(line.at - name);
    skip_blanks(&line);
    if (len == 0 || line.at == line.end || *line.at != '=')
        return error_set(r->err, ERR_INVALID, "expected 'name = value'");
    line.at++;
    struct option_match m;
    if (!option_find(r->table, name, len, &m) || m.negated)
        return option_unknown(r->table, name, len, OPTION_FILE, r->err);
    if (m.option->command_line_only)
        return error_set(r->err, ERR_INVALID, "option '%s' is for the command line only",
                         m.option->name);
    bool append = reader_mark(r, m.option);
    return option_store_text(&m, r->config, line.at, (size_t)(line.end - line.at), append,
                             OPTION_FILE, r->err);
}

static int
read_lines(struct reader *r, struct cursor text, const char *name)
{
    for (size_t number = 1; text.at < text.end; number++) {
        const char *newline = memchr(text.at, '\n', (size_t)(text.end - text.at));
        const char *end = newline != NULL ? newline : text.end;
        int e = read_line(r, (struct cursor){text.at, end});
        if (e < 0) {
            error_prefix(r->err, "%s:%zu", name, number);
            return e;
        }
        text.at = newline != NULL ? newline + 1 : text.end;
    }
    return 0;
}

int
option_read_text(const struct option_table *t, void *config, const char *text, size_t len,
                 const char *name, struct error *err)
{
    struct reader r;
    if (len > 0 && memchr(text, '\0', len) != NULL)
        return error_set(err, ERR_INVALID, "%s: the file holds a NUL byte", name);
    int e = reader_init(&r, t, config, err);
    if (e == 0)
        e = read_lines(&r, (struct cursor){text, text + len}, name);
    free(r.seen);
    return e;
}

static int
read_all(FILE *file, struct buf *ret, const char *path, struct error *err)
{
    char part[4096];
    size_t n;
    while ((n = fread(part, 1, sizeof part, file)) > 0) {
        buf_append(ret, part, n);
        if (buf_len(ret) > FILE_BYTES_MAX)
            return error_set(err, ERR_RANGE, "'%s' is larger than %d bytes", path,
                             FILE_BYTES_MAX);
    }
    if (ferror(file))
        return error_set(err, ERR_IO, "cannot read '%s': %s", path, strerror(errno));
    return ret->failed ? error_set(err, ERR_NOMEM, "out of memory") : 0;
}

int
option_read_file(const struct option_table *t, void *config, const char *path, struct error *err)
{
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return error_set(err, errno == ENOENT ? ERR_NOTFOUND : ERR_IO, "cannot open '%s': %s",
                         path, strerror(errno));
    struct buf text = {0};
    int r = read_all(file, &text, path, err);
    fclose(file);
    if (r == 0)
        r = option_read_text(t, config, buf_bytes(&text), buf_len(&text), path, err);
    buf_release(&text);
    return r;
}

/* ---- command line ---- */

struct args {
    struct reader reader;
    int argc, next;
    char **argv;        /* borrowed */
    const char **words; /* borrowed from the caller */
    size_t num_words, max_words;
};

/* "-x" and "--x", but neither "-" nor "-0.5". */
static bool
looks_like_option(const char *word)
{
    return word[0] == '-' && word[1] != '\0' && strchr("0123456789.", word[1]) == NULL;
}

/* The words after a list option. */
static int
read_list_words(struct args *a, const struct option_match *m, bool append)
{
    int first = a->next;
    while (a->next < a->argc && !looks_like_option(a->argv[a->next])) {
        int r = option_store(m, a->reader.config, a->argv[a->next], append || a->next > first,
                             OPTION_ARGV, a->reader.err);
        if (r < 0)
            return r;
        a->next++;
    }
    if (a->next == first)
        return option_store(m, a->reader.config, NULL, append, OPTION_ARGV, a->reader.err);
    return 0;
}

/* `value` is what stood after '=', or NULL. */
static int
read_match(struct args *a, const struct option_match *m, const char *value)
{
    const struct option *o = m->option;
    bool unused, append = reader_mark(&a->reader, o);
    if (o->type == OPT_LIST && value == NULL)
        return read_list_words(a, m, append);
    const char *next = a->next < a->argc ? a->argv[a->next] : NULL;
    if (value == NULL && next != NULL) {
        bool takes = option_takes_value(o) && strncmp(next, "--", 2) != 0;
        bool takes_bool = o->type == OPT_BOOL && o->takes_bool_word && !m->negated &&
                          option_parse_bool(next, &unused) == 0;
        if (takes || takes_bool) {
            value = next;
            a->next++;
        }
    }
    return option_store(m, a->reader.config, value, append, OPTION_ARGV, a->reader.err);
}

static int
read_long(struct args *a, const char *word)
{
    const char *equals = strchr(word, '=');
    size_t len = equals != NULL ? (size_t)(equals - word) : strlen(word);
    const struct option_table *t = a->reader.table;
    struct option_match m;
    if (!option_find(t, word, len, &m) &&
        !(t->allow_prefix && option_find_prefix(t, word, len, &m)))
        return option_unknown(t, word, len, OPTION_ARGV, a->reader.err);
    return read_match(a, &m, equals != NULL ? equals + 1 : NULL);
}

/* "-p 80", "-p80", and an alias of several letters: "-tp 2". */
static int
read_short(struct args *a, const char *word)
{
    const struct option_table *t = a->reader.table;
    struct option_match m;
    if (word[1] != '\0' && option_find(t, word, strcspn(word, "="), &m))
        return read_long(a, word);
    for (size_t i = 0; i < t->num_options; i++) {
        const struct option *o = &t->options[i];
        if (o->letter == '\0' || o->letter != word[0])
            continue;
        m = (struct option_match){.option = o};
        if (word[1] == '\0')
            return read_match(a, &m, NULL);
        if (option_takes_value(o))
            return read_match(a, &m, word + 1);
    }
    return error_set(a->reader.err, ERR_NOTFOUND, "unknown option '-%.100s'", word);
}

static int
read_plain_word(struct args *a, const char *word)
{
    if (a->num_words == a->max_words)
        return error_set(a->reader.err, ERR_INVALID, "unexpected word '%.100s'", word);
    a->words[a->num_words++] = word;
    return 0;
}

static int
read_args(struct args *a)
{
    bool only_words = false;
    int r = 0;
    while (r == 0 && a->next < a->argc) {
        const char *word = a->argv[a->next++];
        if (only_words || word[0] != '-' || word[1] == '\0')
            r = read_plain_word(a, word);
        else if (strcmp(word, "--") == 0)
            only_words = true;
        else if (word[1] == '-')
            r = read_long(a, word + 2);
        else
            r = read_short(a, word + 1);
    }
    return r;
}

int
option_read_argv(const struct option_table *t, void *config, int argc, char **argv,
                 const char **ret_words, size_t max_words, size_t *ret_num_words,
                 struct error *err)
{
    struct args a = {.argc = argc, .next = 1, .argv = argv, .words = ret_words,
                     .max_words = max_words};
    int r = reader_init(&a.reader, t, config, err);
    if (r == 0)
        r = read_args(&a);
    if (r == 0)
        *ret_num_words = a.num_words;
    free(a.reader.seen);
    return r;
}
