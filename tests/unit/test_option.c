/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/main.h"
#include "util/option.h"

#include <check.h>
#include <math.h>
#include <unistd.h>

struct config {
    bool chunked, color;
    int64_t port, max_model_len, offset;
    double temperature, rate;
    char *host;
    int dtype;
    struct option_list names;
};

#define AT(field) .offset = offsetof(struct config, field)

static const char *const dtypes[] = {"auto", "bfloat16", "half", NULL};

static const struct option rows[] = {
    {.name = "port", .letter = 'p', .type = OPT_INT, AT(port), .min = 0, .max = 65535,
     .fallback = "8000", .section = "Server", .text = "The TCP port."},
    {.name = "host", .type = OPT_STRING, AT(host), .fallback = "127.0.0.1",
     .metavar = "ADDRESS", .section = "Server", .text = "The address to listen on."},
    {.name = "max-model-len", .type = OPT_INT, AT(max_model_len), .min = 1, .max = 0x1p62,
     .unit = "tokens", .section = "Model", .text = "The longest prompt and answer together."},
    {.name = "offset", .type = OPT_INT, AT(offset), .section = "Model", .text = "Any number."},
    {.name = "dtype", .type = OPT_CHOICE, AT(dtype), .fallback = "auto", .choices = dtypes,
     .section = "Model", .text = "The type of the weights."},
    {.name = "temperature", .type = OPT_FLOAT, AT(temperature), .min = 0, .max = 2,
     .section = "Model", .text = "'Hot' or \\ cold. Long enough a text to be wrapped by the "
     "printers of all three papers, which is what this sentence is for."},
    {.name = "request-rate", .type = OPT_FLOAT, AT(rate), .min = 0, .max = INFINITY,
     .fallback = "inf", .alias = "rate", .section = "Model", .text = "Requests per second."},
    {.name = "enable-chunked-prefill", .type = OPT_BOOL, AT(chunked), .fallback = "true",
     .takes_bool_word = true, .alias = "cp", .section = "Model", .text = "Splits prompts."},
    {.name = "color", .type = OPT_BOOL, AT(color), .fallback = "false",
     .command_line_only = true, .section = "Server", .text = "Paints."},
    {.name = "served-model-name", .type = OPT_LIST, AT(names), .section = "Server",
     .text = "Names of the model."},
    {.name = "enforce-eager", .type = OPT_IGNORED, .section = "Model",
     .text = "There are no graphs."},
    {.name = "swap-space", .type = OPT_IGNORED, .metavar = "N", .section = "Model",
     .text = "Nothing is swapped."},
    {.name = "quantization", .type = OPT_REFUSED, .metavar = "NAME", .section = "Model",
     .text = "weights are bf16, fp16 or fp32."},
};

static const struct option_table table = {
    .options = rows,
    .num_options = ARRAY_SIZE(rows),
    .program = "prog",
    .synopsis = "prog serve DIR [options]\nprog --help",
    .summary = "a program",
    .description = "It does this.\n\nIt does that.",
};

static struct config config;
static struct error error;
static const char *words[2];
static size_t num_words;

static void
setup(void)
{
    error = (struct error){0};
    num_words = 0;
    ck_assert_int_eq(option_defaults(&table, &config, &error), 0);
}

static void
teardown(void)
{
    option_release(&table, &config);
}

#define ARGS(...) \
    read_args(sizeof((char *[]){__VA_ARGS__}) / sizeof(char *), (char *[]){__VA_ARGS__})

static int
read_args(size_t n, char **args)
{
    char *argv[16] = {"prog"};
    ck_assert_uint_lt(n, 15);
    memcpy(argv + 1, args, n * sizeof *args);
    return option_read_argv(&table, &config, (int)n + 1, argv, words, ARRAY_SIZE(words),
                            &num_words, &error);
}

static int
read_text(const char *text)
{
    return option_read_text(&table, &config, text, strlen(text), "f.conf", &error);
}

START_TEST(test_defaults_are_stored_and_unset_is_marked)
{
    ck_assert_int_eq(config.port, 8000);
    ck_assert_str_eq(config.host, "127.0.0.1");
    ck_assert_int_eq(config.max_model_len, 0);
    ck_assert_int_eq(config.dtype, 0);
    ck_assert(isnan(config.temperature) && isinf(config.rate));
    ck_assert(config.chunked && !config.color);
    ck_assert_uint_eq(config.names.len, 0);
}
END_TEST

START_TEST(test_argv_all_spellings_are_read)
{
    ck_assert_int_eq(ARGS("--max-model-len", "2048"), 0);
    ck_assert_int_eq(config.max_model_len, 2048);
    ck_assert_int_eq(ARGS("--max_model_len=25.6k", "--host", "-x", "-p", "1"), 0);
    ck_assert_int_eq(config.max_model_len, 25600);
    ck_assert_str_eq(config.host, "-x");
    ck_assert_int_eq(config.port, 1);
    ck_assert_int_eq(ARGS("-p22", "--rate=3", "--host="), 0);
    ck_assert_int_eq(config.port, 22);
    ck_assert_double_eq(config.rate, 3);
    ck_assert_str_eq(config.host, "");
    ck_assert_int_eq(ARGS("--dtype", "half", "--temperature", "0.5", "--offset", "-7"), 0);
    ck_assert_int_eq(config.dtype, 2);
    ck_assert_double_eq(config.temperature, 0.5);
    ck_assert_int_eq(config.offset, -7);
}
END_TEST

START_TEST(test_argv_bool_forms_are_read)
{
    ck_assert_int_eq(ARGS("--no-enable-chunked-prefill"), 0);
    ck_assert(!config.chunked);
    ck_assert_int_eq(ARGS("--enable_chunked_prefill"), 0);
    ck_assert(config.chunked);
    ck_assert_int_eq(ARGS("--enable-chunked-prefill", "False", "serve"), 0);
    ck_assert(!config.chunked);
    ck_assert_uint_eq(num_words, 1);
    ck_assert_int_eq(ARGS("-cp", "--color=on"), 0);
    ck_assert(config.chunked && config.color);
    ck_assert_int_eq(ARGS("--color", "true"), 0); /* not takes_bool_word: a word */
    ck_assert_str_eq(words[0], "true");
    ck_assert_int_eq(ARGS("--no-color=true"), ERR_INVALID);
}
END_TEST

START_TEST(test_argv_words_are_returned)
{
    ck_assert_int_eq(ARGS("serve", "--port", "1", "-"), 0);
    ck_assert_uint_eq(num_words, 2);
    ck_assert_str_eq(words[0], "serve");
    ck_assert_str_eq(words[1], "-");
    ck_assert_int_eq(ARGS("--", "--port"), 0);
    ck_assert_str_eq(words[0], "--port");
    ck_assert_int_eq(ARGS("a", "b", "c"), ERR_INVALID);
    ck_assert_str_eq(error.text, "unexpected word 'c'");
}
END_TEST

START_TEST(test_argv_lists_take_words_and_repeat)
{
    ck_assert_int_eq(read_text("served-model-name = old"), 0);
    ck_assert_int_eq(ARGS("--served-model-name", "A", "B", "--port", "1",
                          "--served_model_name=C D"), 0);
    ck_assert_uint_eq(config.names.len, 3);
    ck_assert_str_eq(config.names.items[0], "A");
    ck_assert_str_eq(config.names.items[1], "B");
    ck_assert_str_eq(config.names.items[2], "C D");
    ck_assert_int_eq(ARGS("--served-model-name", "--port", "1"), ERR_INVALID);
    ck_assert_str_eq(error.text, "option '--served-model-name': a value is missing");
}
END_TEST

START_TEST(test_argv_ignored_and_refused)
{
    ck_assert_int_eq(ARGS("--enforce-eager", "--no-enforce-eager", "--swap-space", "4", "w"), 0);
    ck_assert_uint_eq(num_words, 1);
    ck_assert_int_eq(ARGS("--quantization", "awq"), ERR_UNSUPPORTED);
    ck_assert_str_eq(error.text, "option '--quantization' is not supported: weights are bf16, "
                                 "fp16 or fp32");
}
END_TEST

START_TEST(test_argv_errors_name_option_value_and_range)
{
    ck_assert_int_eq(ARGS("--port", "70000"), ERR_RANGE);
    ck_assert_str_eq(error.text, "option '--port': '70000' is out of range 0..65535");
    ck_assert_int_eq(ARGS("--port", "x"), ERR_INVALID);
    ck_assert_str_eq(error.text,
                     "option '--port': 'x' is not a whole number in the range 0..65535");
    ck_assert_int_eq(ARGS("--max-model-len=0"), ERR_RANGE);
    ck_assert_str_eq(error.text, "option '--max-model-len': '0' is out of range: at least 1");
    ck_assert_int_eq(ARGS("--temperature", "inf"), ERR_RANGE);
    ck_assert_int_eq(ARGS("--temperature", "nan"), ERR_INVALID);
    ck_assert_int_eq(ARGS("--dtype", "int4"), ERR_INVALID);
    ck_assert_str_eq(error.text, "option '--dtype': 'int4' is none of auto, bfloat16, half");
    ck_assert_int_eq(ARGS("--port"), ERR_INVALID);
    ck_assert_int_eq(ARGS("--host", "--port", "1"), ERR_INVALID);
    ck_assert_str_eq(error.text, "option '--host': a value is missing");
}
END_TEST

START_TEST(test_argv_unknown_suggests_the_nearest)
{
    ck_assert_int_eq(ARGS("--max-modle-len", "1"), ERR_NOTFOUND);
    ck_assert_str_eq(error.text,
                     "unknown option '--max-modle-len'; did you mean '--max-model-len'?");
    ck_assert_int_eq(ARGS("--no-enable-chunked-perfill"), ERR_NOTFOUND);
    ck_assert_str_eq(error.text, "unknown option '--no-enable-chunked-perfill'; did you mean "
                                 "'--no-enable-chunked-prefill'?");
    ck_assert_int_eq(ARGS("--served"), ERR_NOTFOUND);
    ck_assert_str_eq(error.text,
                     "unknown option '--served'; did you mean '--served-model-name'?");
    ck_assert_int_eq(ARGS("--xyzzy=1"), ERR_NOTFOUND);
    ck_assert_str_eq(error.text, "unknown option '--xyzzy'");
    ck_assert_int_eq(ARGS("-Z"), ERR_NOTFOUND);
    ck_assert_str_eq(error.text, "unknown option '-Z'");
}
END_TEST

START_TEST(test_argv_prefix_is_read_where_allowed)
{
    struct option_table t = table;
    char *argv[] = {"prog", "--max-m", "9", "--p=3"};
    t.allow_prefix = true;
    ck_assert_int_eq(option_read_argv(&t, &config, 4, argv, words, 2, &num_words, &error), 0);
    ck_assert_int_eq(config.max_model_len, 9);
    ck_assert_int_eq(config.port, 3);
    argv[1] = "--en"; /* enable-..., enforce-... */
    ck_assert_int_eq(option_read_argv(&t, &config, 2, argv, words, 2, &num_words, &error),
                     ERR_NOTFOUND);
}
END_TEST

static const struct {
    const char *text;
    int ret;
    int64_t value;
} sizes[] = {
    {"0", 0, 0},
    {"-0", 0, 0},
    {"+5", 0, 5},
    {"25.6k", 0, 25600},
    {"1.5K", 0, 1536},
    {"2m", 0, 2000000},
    {"2M", 0, 2097152},
    {"1g", 0, 1000000000},
    {".5G", 0, 536870912},
    {"1.T", 0, 1099511627776},
    {"-3k", 0, -3000},
    {"1.50", ERR_INVALID, 0},
    {"1.0", 0, 1},
    {"0.3K", ERR_INVALID, 0},
    {"", ERR_INVALID, 0},
    {".", ERR_INVALID, 0},
    {"k", ERR_INVALID, 0},
    {"1kk", ERR_INVALID, 0},
    {"1 k", ERR_INVALID, 0},
    {" 1", ERR_INVALID, 0},
    {"1.2.3k", ERR_INVALID, 0},
    {"0x10", ERR_INVALID, 0},
    {"9223372036854775807", 0, INT64_MAX},
    {"9223372036854775808", ERR_RANGE, 0},
    {"99999999999999999999999", ERR_RANGE, 0},
    {"8000000T", 0, 8796093022208000000},
    {"9000000T", ERR_RANGE, 0},
};

START_TEST(test_int_suffixes_come_out_whole)
{
    int r = option_set(&table, &config, "offset", sizes[_i].text, &error);
    ck_assert_int_eq(r, sizes[_i].ret);
    if (r == 0)
        ck_assert_int_eq(config.offset, sizes[_i].value);
}
END_TEST

START_TEST(test_file_values_are_read)
{
    const char *text = "# comment\n\n[Server]\r\n port = 81 # why\r\n"
                       "host=a b#c  \n\tmax_model_len\t=\t2K\n"
                       "served-model-name = A \"B # \\\"C\\\\\" # D\nserved-model-name = E\n"
                       "enable-chunked-prefill = off\nenforce-eager = 1\ndtype = half";
    ck_assert_int_eq(read_text(text), 0);
    ck_assert_int_eq(config.port, 81);
    ck_assert_str_eq(config.host, "a b#c");
    ck_assert_int_eq(config.max_model_len, 2048);
    ck_assert_uint_eq(config.names.len, 3);
    ck_assert_str_eq(config.names.items[1], "B # \"C\\");
    ck_assert_str_eq(config.names.items[2], "E");
    ck_assert(!config.chunked);
    ck_assert_int_eq(config.dtype, 2);
    ck_assert_int_eq(read_text("host = \" x # \" # y\n"), 0);
    ck_assert_str_eq(config.host, " x # ");
    ck_assert_int_eq(read_text("host = \"\"\nserved-model-name ="), 0);
    ck_assert_str_eq(config.host, "");
    ck_assert_uint_eq(config.names.len, 0);
}
END_TEST

static const struct {
    const char *text, *error;
} bad_files[] = {
    {"\nport = 70000", "f.conf:2: option 'port': '70000' is out of range 0..65535"},
    {"prot = 1", "f.conf:1: unknown option 'prot'; did you mean 'port'?"},
    {"port 1", "f.conf:1: expected 'name = value'"},
    {"= 1", "f.conf:1: expected 'name = value'"},
    {"port =", "f.conf:1: option 'port': a value is missing"},
    {"color = true", "f.conf:1: option 'color' is for the command line only"},
    {"host = \"a", "f.conf:1: a closing quote is missing"},
    {"host = \"a\" b", "f.conf:1: text follows a closing quote"},
    {"no-enable-chunked-prefill = true", NULL},
    {"quantization = awq",
     "f.conf:1: option 'quantization' is not supported: weights are bf16, fp16 or fp32"},
};

START_TEST(test_file_errors_name_line_key_and_value)
{
    ck_assert_int_lt(read_text(bad_files[_i].text), 0);
    if (bad_files[_i].error != NULL)
        ck_assert_str_eq(error.text, bad_files[_i].error);
}
END_TEST

START_TEST(test_read_file_missing_and_present)
{
    ck_assert_int_eq(option_read_file(&table, &config, "/nonexistent/x", &error), ERR_NOTFOUND);
    ck_assert_str_eq(error.text, "cannot open '/nonexistent/x': No such file or directory");
    ck_assert_int_lt(option_read_file(&table, &config, "/", &error), 0);
    char path[] = "test_option.XXXXXX";
    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, "port = 5\n", 9), 9);
    close(fd);
    int r = option_read_file(&table, &config, path, &error);
    unlink(path);
    ck_assert_int_eq(r, 0);
    ck_assert_int_eq(config.port, 5);
    ck_assert_int_eq(option_read_text(&table, &config, "a\0b", 3, "f", &error), ERR_INVALID);
}
END_TEST

/* What is printed reads back as the same. */
START_TEST(test_print_value_reads_back)
{
    static const char *const given[][2] = {
        {"port", "1"}, {"host", "a \"b\" #\\"}, {"temperature", "0.1"}, {"request-rate", "inf"},
        {"dtype", "half"}, {"served-model-name", "A \"B C\""}, {"enable-chunked-prefill", "no"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(given); i++)
        ck_assert_int_eq(option_set(&table, &config, given[i][0], given[i][1], &error), 0);
    struct buf file = {0};
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct buf value = {0};
        option_print_value(&rows[i], &config, &value);
        if (buf_len(&value) > 0 && !rows[i].command_line_only)
            buf_printf(&file, "%s = %s\n", rows[i].name, buf_bytes(&value));
        buf_release(&value);
    }
    option_release(&table, &config);
    setup();
    ck_assert_int_eq(read_text(buf_bytes(&file)), 0);
    buf_release(&file);
    ck_assert_str_eq(config.host, "a \"b\" #\\");
    ck_assert_double_eq(config.temperature, 0.1);
    ck_assert_uint_eq(config.names.len, 2);
    ck_assert_str_eq(config.names.items[1], "B C");
    ck_assert(!config.chunked && config.dtype == 2 && isinf(config.rate));
}
END_TEST

static void
check_columns(const char *text)
{
    while (*text != '\0') {
        size_t len = strcspn(text, "\n");
        ck_assert_msg(len <= 80, "too wide: %.*s", (int)len, text);
        ck_assert_msg(len == 0 || text[len - 1] != ' ', "blank at end: %.*s", (int)len, text);
        text += len + (text[len] == '\n');
    }
}

START_TEST(test_help_names_default_range_and_unit)
{
    struct buf b = {0};
    option_help(&table, &b);
    const char *text = buf_bytes(&b);
    check_columns(text);
    ck_assert_ptr_nonnull(strstr(text, "usage: prog serve DIR [options]\n       prog --help\n"));
    ck_assert_ptr_nonnull(strstr(text, "\nServer:\n  -p, --port N              The TCP port. "
                                       "Default 8000, range 0..65535.\n"));
    ck_assert_ptr_nonnull(strstr(text, "together. At least 1,\n"));
    ck_assert_ptr_nonnull(strstr(text, "  in tokens.\n"));
    ck_assert_ptr_nonnull(strstr(text, "--[no-]enable-chunked-prefill, --cp\n"));
    ck_assert_ptr_nonnull(strstr(text, "Accepted, has no effect."));
    ck_assert_ptr_null(strstr(text, "quantization"));
    buf_release(&b);
}
END_TEST

START_TEST(test_man_page_escapes_what_troff_reads)
{
    struct buf b = {0};
    option_man_page(&table, 8, &b);
    const char *text = buf_bytes(&b);
    ck_assert_ptr_nonnull(strstr(text, "\n.TH PROG 8 \"\" prog\n"));
    ck_assert_ptr_nonnull(strstr(text, "\n.B \\-p, \\-\\-port N\n"));
    ck_assert_ptr_nonnull(strstr(text, "\\&\\(aqHot\\(aq or \\e cold."));
    ck_assert_ptr_nonnull(strstr(text, "It does this.\n.PP\nIt does that.\n"));
    ck_assert_ptr_nonnull(strstr(text, ".SH NOT SUPPORTED\n"));
    buf_release(&b);
}
END_TEST

/* The example file with its values uncommented is the defaults. */
START_TEST(test_example_file_reads_as_the_defaults)
{
    struct buf b = {0}, open = {0};
    option_example_file(&table, &b);
    const char *text = buf_bytes(&b);
    check_columns(text);
    ck_assert_ptr_nonnull(strstr(text, "# The TCP port. Default 8000, range 0..65535.\n"
                                       "#port = 8000\n"));
    ck_assert_ptr_null(strstr(text, "color"));
    ck_assert_int_eq(read_text(text), 0);
    for (const char *line = text; *line != '\0';) {
        size_t len = strcspn(line, "\n");
        if (line[0] == '#' && line[1] != ' ' && line[len - 1] != '=')
            buf_append(&open, line + 1, len);
        line += len + 1;
    }
    config.port = 1;
    ck_assert_int_eq(read_text(buf_bytes(&open)), 0);
    ck_assert_int_eq(config.port, 8000);
    ck_assert(isinf(config.rate));
    buf_release(&b);
    buf_release(&open);
}
END_TEST

static Suite *
make_suite(void)
{
    Suite *suite = suite_create("option");
    TCase *tcase = tcase_create("option");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, test_defaults_are_stored_and_unset_is_marked);
    tcase_add_test(tcase, test_argv_all_spellings_are_read);
    tcase_add_test(tcase, test_argv_bool_forms_are_read);
    tcase_add_test(tcase, test_argv_words_are_returned);
    tcase_add_test(tcase, test_argv_lists_take_words_and_repeat);
    tcase_add_test(tcase, test_argv_ignored_and_refused);
    tcase_add_test(tcase, test_argv_errors_name_option_value_and_range);
    tcase_add_test(tcase, test_argv_unknown_suggests_the_nearest);
    tcase_add_test(tcase, test_argv_prefix_is_read_where_allowed);
    tcase_add_loop_test(tcase, test_int_suffixes_come_out_whole, 0, ARRAY_SIZE(sizes));
    tcase_add_test(tcase, test_file_values_are_read);
    tcase_add_loop_test(tcase, test_file_errors_name_line_key_and_value, 0,
                        ARRAY_SIZE(bad_files));
    tcase_add_test(tcase, test_read_file_missing_and_present);
    tcase_add_test(tcase, test_print_value_reads_back);
    tcase_add_test(tcase, test_help_names_default_range_and_unit);
    tcase_add_test(tcase, test_man_page_escapes_what_troff_reads);
    tcase_add_test(tcase, test_example_file_reads_as_the_defaults);
    suite_add_tcase(suite, tcase);
    return suite;
}

TEST_MAIN(make_suite)
