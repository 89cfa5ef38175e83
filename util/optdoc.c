/* SPDX-License-Identifier: Apache-2.0 */
/* --help, the man page and the example file, from the rows of a table. */
#include "util/option_private.h"

#include <ctype.h>

#define COLUMNS 80
#define HELP_INDENT 28
#define FILE_INDENT 2 /* "# " */

/* ---- text ---- */

/*
 * Appends `text` wrapped to COLUMNS; each line but the first starts with
 * `indent`, and the first is taken to begin at column `column`.
 */
static void
wrap(const char *text, const char *indent, size_t column, struct buf *ret)
{
    bool first = true;
    while (*text != '\0') {
        size_t blanks = strspn(text, " \n");
        text += blanks;
        size_t len = strcspn(text, " \n");
        if (len == 0)
            break;
        if (!first && column + 1 + len > COLUMNS) {
            buf_printf(ret, "\n%s", indent);
            column = strlen(indent);
            first = true;
        }
        if (!first) {
            buf_putc(ret, ' ');
            column++;
        }
        buf_append(ret, text, len);
        column += len;
        text += len;
        first = false;
    }
    buf_putc(ret, '\n');
}

static const char *
value_name(const struct option *o)
{
    if (o->metavar != NULL)
        return o->metavar;
    switch (o->type) {
    case OPT_INT: return "N";
    case OPT_FLOAT: return "X";
    case OPT_CHOICE: return "NAME";
    case OPT_STRING: return "TEXT";
    case OPT_LIST: return "WORD...";
    default: return "";
    }
}

/* "-p, --port N"; a bool shows both of its forms when it is on by default. */
static void
print_spelling(const struct option *o, struct buf *ret)
{
    bool both = o->type == OPT_BOOL && o->fallback != NULL && strcmp(o->fallback, "true") == 0;
    if (o->letter != '\0')
        buf_printf(ret, "-%c, ", o->letter);
    buf_printf(ret, "--%s%s", both ? "[no-]" : "", o->name);
    if (o->alias != NULL)
        buf_printf(ret, ", --%s", o->alias);
    if (option_takes_value(o))
        buf_printf(ret, " %s", value_name(o));
}

/* The default as a file writes it. */
static void
print_fallback(const struct option *o, struct buf *ret)
{
    if (o->type == OPT_LIST)
        buf_puts(ret, o->fallback);
    else
        option_print_word(o->fallback, ret);
}

/* Appends one more fact: the first one starts a sentence. */
static void
add_fact(struct buf *facts, const char *word, const char *fact)
{
    size_t start = buf_len(facts);
    buf_printf(facts, "%s%s%s", start == 0 ? "" : ", ", word, fact);
    if (start == 0 && !facts->failed)
        facts->data[0] = (char)toupper((unsigned char)facts->data[0]);
}

/* "One of a, b. Default 8000, range 0..65535, in tokens." */
static void
print_facts(const struct option *o, struct buf *ret)
{
    struct buf facts = {0}, value = {0}, range = {0};
    if (o->type == OPT_IGNORED)
        buf_puts(ret, "Accepted, has no effect.");
    if (o->type == OPT_CHOICE) {
        buf_puts(ret, "One of ");
        option_print_choices(o, ret);
        buf_puts(ret, ". ");
    }
    if (o->fallback != NULL && o->type != OPT_IGNORED &&
        !(o->type == OPT_BOOL && o->command_line_only)) {
        print_fallback(o, &value);
        add_fact(&facts, "default ", buf_bytes(&value));
    }
    option_print_range(o, &range);
    if (buf_len(&range) > 0)
        add_fact(&facts, strstr(buf_bytes(&range), "..") != NULL ? "range " : "",
                 buf_bytes(&range));
    if (o->unit != NULL)
        add_fact(&facts, "in ", o->unit);
    if (buf_len(&facts) > 0)
        buf_printf(ret, "%s.", buf_bytes(&facts));
    buf_release(&facts);
    buf_release(&value);
    buf_release(&range);
}

/* What the option does, then its default, range and unit. */
static void
print_text(const struct option *o, struct buf *ret)
{
    buf_puts(ret, o->text != NULL ? o->text : "");
    if (buf_len(ret) > 0)
        buf_putc(ret, ' ');
    print_facts(o, ret);
}

/* ---- sections ---- */

static const char *
section_of(const struct option *o)
{
    return o->section != NULL ? o->section : "Options";
}

/* The first row of the table in a section that no row before it is in. */
static bool
opens_section(const struct option_table *t, size_t i)
{
    for (size_t j = 0; j < i; j++) {
        if (strcmp(section_of(&t->options[j]), section_of(&t->options[i])) == 0)
            return false;
    }
    return true;
}

typedef bool shown_fn(const struct option *o);
typedef void print_fn(const struct option *o, struct buf *ret);
typedef void head_fn(const char *section, struct buf *ret);

/* Calls `head` for each section with a shown row, `print` for each such row. */
static void
each_section(const struct option_table *t, shown_fn *shown, head_fn *head, print_fn *print,
             struct buf *ret)
{
    for (size_t i = 0; i < t->num_options; i++) {
        if (!opens_section(t, i))
            continue;
        const char *section = section_of(&t->options[i]);
        bool headed = false;
        for (size_t j = i; j < t->num_options; j++) {
            const struct option *o = &t->options[j];
            if (strcmp(section_of(o), section) != 0 || !shown(o))
                continue;
            if (!headed)
                head(section, ret);
            headed = true;
            print(o, ret);
        }
    }
}

static bool
is_offered(const struct option *o)
{
    return o->type != OPT_REFUSED;
}

static bool
is_refused(const struct option *o)
{
    return o->type == OPT_REFUSED;
}

static bool
is_in_file(const struct option *o)
{
    return o->type != OPT_REFUSED && o->type != OPT_IGNORED && !o->command_line_only;
}

/* ---- --help ---- */

static void
help_head(const char *section, struct buf *ret)
{
    buf_printf(ret, "\n%s:\n", section);
}

static void
help_row(const struct option *o, struct buf *ret)
{
    struct buf line = {0}, text = {0};
    char indent[HELP_INDENT + 1];
    memset(indent, ' ', HELP_INDENT);
    indent[HELP_INDENT] = '\0';
    buf_puts(&line, o->letter != '\0' ? "  " : "      ");
    print_spelling(o, &line);
    print_text(o, &text);
    if (buf_len(&line) + 2 > HELP_INDENT)
        buf_printf(&line, "\n%s", indent);
    else
        buf_append(&line, indent, HELP_INDENT - buf_len(&line));
    buf_append(ret, buf_bytes(&line), buf_len(&line));
    wrap(buf_bytes(&text), indent, HELP_INDENT, ret);
    buf_release(&line);
    buf_release(&text);
}

/* Calls wrap for each paragraph of `text`, with `between` before each but the
 * first. */
static void
print_paragraphs(const char *text, const char *indent, const char *between, struct buf *ret)
{
    while (*text != '\0') {
        const char *blank = strstr(text, "\n\n");
        size_t len = blank != NULL ? (size_t)(blank - text) : strlen(text);
        struct buf paragraph = {0};
        buf_append(&paragraph, text, len);
        wrap(buf_bytes(&paragraph), indent, 0, ret);
        buf_release(&paragraph);
        text += len;
        text += strspn(text, "\n");
        if (*text != '\0')
            buf_puts(ret, between);
    }
}

void
option_help(const struct option_table *t, struct buf *ret)
{
    buf_puts(ret, "usage: ");
    for (const char *p = t->synopsis; *p != '\0'; p++) {
        buf_putc(ret, *p);
        if (*p == '\n' && p[1] != '\0')
            buf_puts(ret, "       ");
    }
    buf_puts(ret, "\n\n");
    print_paragraphs(t->description, "", "\n", ret);
    each_section(t, is_offered, help_head, help_row, ret);
}

/* ---- man page ---- */

/* Appends text with the characters that troff would read as something else. */
static void
man_text(const char *text, struct buf *ret)
{
    bool line_start = true;
    for (; *text != '\0'; text++) {
        if (line_start && (*text == '.' || *text == '\''))
            buf_puts(ret, "\\&");
        line_start = *text == '\n';
        switch (*text) {
        case '\\': buf_puts(ret, "\\e"); break;
        case '-': buf_puts(ret, "\\-"); break;
        case '\'': buf_puts(ret, "\\(aq"); break;
        case '`': buf_puts(ret, "\\(ga"); break;
        case '^': buf_puts(ret, "\\(ha"); break;
        case '~': buf_puts(ret, "\\(ti"); break;
        case '"': buf_puts(ret, "\\(dq"); break;
        default: buf_putc(ret, *text);
        }
    }
}

/* The same, wrapped, with a paragraph macro between paragraphs. */
static void
man_paragraphs(const char *text, struct buf *ret)
{
    struct buf wrapped = {0};
    print_paragraphs(text, "", "\n", &wrapped);
    const char *p = buf_bytes(&wrapped);
    while (*p != '\0') {
        const char *blank = strstr(p, "\n\n");
        size_t len = blank != NULL ? (size_t)(blank - p) + 1 : strlen(p);
        struct buf part = {0};
        buf_append(&part, p, len);
        man_text(buf_bytes(&part), ret);
        buf_release(&part);
        p += len;
        if (*p == '\n') {
            buf_puts(ret, ".PP\n");
            p++;
        }
    }
    buf_release(&wrapped);
}

static void
man_head(const char *section, struct buf *ret)
{
    buf_puts(ret, ".SS ");
    man_text(section, ret);
    buf_putc(ret, '\n');
}

static void
man_row(const struct option *o, struct buf *ret)
{
    struct buf spelling = {0}, text = {0};
    print_spelling(o, &spelling);
    print_text(o, &text);
    buf_puts(ret, ".TP\n.B ");
    man_text(buf_bytes(&spelling), ret);
    buf_putc(ret, '\n');
    man_paragraphs(buf_bytes(&text), ret);
    buf_release(&spelling);
    buf_release(&text);
}

static void
no_head(const char *section, struct buf *ret)
{
    (void)section;
    (void)ret;
}

void
option_man_page(const struct option_table *t, int man_section, struct buf *ret)
{
    bool any_refused = false;
    buf_puts(ret, ".\\\" Generated from the option table; do not edit.\n.TH ");
    for (const char *p = t->program; *p != '\0'; p++)
        buf_putc(ret, (char)toupper((unsigned char)*p));
    buf_printf(ret, " %d \"\" %s\n.SH NAME\n%s \\- ", man_section, t->program, t->program);
    man_text(t->summary, ret);
    buf_puts(ret, "\n.SH SYNOPSIS\n.nf\n");
    man_text(t->synopsis, ret);
    buf_puts(ret, "\n.fi\n.SH DESCRIPTION\n");
    man_paragraphs(t->description, ret);
    buf_puts(ret, ".SH OPTIONS\n");
    man_paragraphs("Numbers take the suffixes k, m, g (powers of 1000) and K, M, G (powers "
                   "of 1024), and a decimal point where the result is whole. In names, - and "
                   "_ are the same. Without an argument an option can also be written "
                   "--no-name.", ret);
    each_section(t, is_offered, man_head, man_row, ret);
    for (size_t i = 0; i < t->num_options; i++)
        any_refused = any_refused || is_refused(&t->options[i]);
    if (any_refused) {
        buf_puts(ret, ".SH NOT SUPPORTED\nThese options of similar programs are refused.\n");
        each_section(t, is_refused, no_head, man_row, ret);
    }
}

/* ---- example file ---- */

static void
file_head(const char *section, struct buf *ret)
{
    buf_printf(ret, "\n[%s]\n", section);
}

static void
file_row(const struct option *o, struct buf *ret)
{
    struct buf text = {0};
    print_text(o, &text);
    buf_puts(ret, "\n# ");
    wrap(buf_bytes(&text), "# ", FILE_INDENT, ret);
    buf_printf(ret, "#%s =", o->name);
    if (o->fallback != NULL) {
        buf_putc(ret, ' ');
        print_fallback(o, ret);
    }
    buf_putc(ret, '\n');
    buf_release(&text);
}

void
option_example_file(const struct option_table *t, struct buf *ret)
{
    buf_puts(ret, "# ");
    struct buf text = {0};
    buf_printf(&text, "Configuration of %s: every option with its default, if it has one. "
                      "Remove the # before a name to change it. The command line wins over "
                      "this file; headings in brackets are for the reader only.", t->program);
    wrap(buf_bytes(&text), "# ", FILE_INDENT, ret);
    buf_release(&text);
    each_section(t, is_in_file, file_head, file_row, ret);
}
