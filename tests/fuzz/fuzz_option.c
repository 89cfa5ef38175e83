/* SPDX-License-Identifier: Apache-2.0 */
/* The configuration file reader, and the same bytes as words of argv. */
#include "util/option.h"

#include <math.h>

struct config {
    bool flag;
    int64_t number;
    double real;
    char *text;
    int choice;
    struct option_list list;
};

#define AT(field) .offset = offsetof(struct config, field)

static const char *const choices[] = {"one", "two", NULL};

static const struct option rows[] = {
    {.name = "flag", .letter = 'f', .type = OPT_BOOL, AT(flag), .takes_bool_word = true},
    {.name = "number", .letter = 'n', .type = OPT_INT, AT(number), .min = -5, .max = 0x1p62},
    {.name = "real", .type = OPT_FLOAT, AT(real), .min = 0, .max = INFINITY, .alias = "re"},
    {.name = "text", .type = OPT_STRING, AT(text), .fallback = "x"},
    {.name = "choice", .type = OPT_CHOICE, AT(choice), .choices = choices},
    {.name = "a-list", .type = OPT_LIST, AT(list), .fallback = "a b"},
    {.name = "ignored", .type = OPT_IGNORED, .metavar = "N", .text = "Nothing."},
    {.name = "refused", .type = OPT_REFUSED, .text = "Never."},
};

static const struct option_table table = {.options = rows, .num_options = ARRAY_SIZE(rows),
                                          .allow_prefix = true};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What was read prints to a text that reads again. */
static void
read_back(const struct config *config)
{
    struct config again;
    struct buf text = {0};
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct buf value = {0};
        option_print_value(&rows[i], config, &value);
        if (buf_len(&value) > 0)
            buf_printf(&text, "%s = %s\n", rows[i].name, buf_bytes(&value));
        buf_release(&value);
    }
    ASSERT(option_defaults(&table, &again, NULL) == 0);
    /* A line break cannot be written in a file; argv can have brought one. */
    if (config->text == NULL || strchr(config->text, '\n') == NULL)
        ASSERT(option_read_text(&table, &again, buf_bytes(&text), buf_len(&text), "again",
                                NULL) == 0);
    option_release(&table, &again);
    buf_release(&text);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct config config;
    struct error err = {0};
    ASSERT(option_defaults(&table, &config, &err) == 0);
    if (option_read_text(&table, &config, (const char *)data, size, "fuzz", &err) == 0)
        read_back(&config);

    char *copy = malloc(size + 1);
    char *argv[16] = {"fuzz"};
    int argc = 1;
    const char *words[4];
    size_t num_words = 0;
    ASSERT(copy != NULL);
    memcpy(copy, data, size);
    copy[size] = '\0';
    for (char *word = strtok(copy, "\n"); word != NULL && argc < 16; word = strtok(NULL, "\n"))
        argv[argc++] = word;
    option_read_argv(&table, &config, argc, argv, words, ARRAY_SIZE(words), &num_words, &err);
    ASSERT(num_words <= ARRAY_SIZE(words));
    free(copy);
    option_release(&table, &config);
    return 0;
}
