/* SPDX-License-Identifier: Apache-2.0 */
/* Prompts, their lengths and their order, against what vLLM's own data sets gave
 * (tools/record-vllm-bench.py); and files that are wrong. */
#include "loadgen/benchmark_private.h"
#include "tests/unit/main.h"

#include <check.h>
#include <jansson.h>
#include <string.h>
#include <unistd.h>

#define WORDS_MAX 32

static json_t *record; /* datasets.json */
static char demo[512]; /* a directory with a tokenizer */
static struct error error;

static void
setup(void)
{
    const char *dir = getenv("srcdir");
    char path[512];
    dir = dir != NULL ? dir : ".";
    snprintf(path, sizeof path, "%s/tests/data/loadgen/vllm_bench/datasets.json", dir);
    snprintf(demo, sizeof demo, "%s/share/demo", dir);
    record = json_load_file(path, JSON_ALLOW_NUL, NULL);
    ck_assert_ptr_nonnull(record);
}

static void
teardown(void)
{
    json_decref(record);
}

/* ---- against vLLM ---- */

#define NUM_CASES 18

static void
read_config(struct config *c, const json_t *words, const char *file)
{
    char *argv[WORDS_MAX] = {(char *)"loadgen"};
    size_t i, num_words;
    json_t *word;
    *c = (struct config){0};
    json_array_foreach(words, i, word) {
        ck_assert_uint_lt(i + 1, WORDS_MAX);
        argv[i + 1] = (char *)json_string_value(word);
    }
    ck_assert_int_eq(option_defaults(&config_table, c, &error), 0);
    ck_assert_msg(option_read_argv(&config_table, c, (int)i + 1, argv, NULL, 0, &num_words,
                                   &error) == 0, "%s", error.text);
    if (file != NULL)
        ck_assert_int_eq(option_set(&config_table, c, "dataset-path", file, &error), 0);
    ck_assert_msg(config_settle(c, &error) == 0, "%s", error.text);
}

/* A new file with this text; *ret_path is a template of mkstemp. */
static void
write_file(const char *text, char *ret_path)
{
    int fd = mkstemp(ret_path);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
}

static void
check_text(const struct prompt *p, const json_t *text)
{
    ck_assert_ptr_nonnull(p->text);
    ck_assert_uint_eq(p->text_bytes, json_string_length(text));
    ck_assert_mem_eq(p->text, json_string_value(text), p->text_bytes);
}

static bool
same_block(const json_t *a, size_t at_a, const json_t *b, size_t at_b, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (!json_equal(json_array_get(a, at_a + i), json_array_get(b, at_b + i)))
            return false;
    }
    return true;
}

/* vLLM's ids differ from run to run: which whole blocks are equal does not. */
static void
check_blocks(const struct dataset *d, const json_t *prompts, size_t size)
{
    size_t num_equal = 0, num_different = 0;
    for (size_t i = 0; i < d->len; i++) {
        const json_t *vllm_i = json_array_get(json_array_get(prompts, i), 0);
        for (size_t j = 0; j <= i; j++) {
            const json_t *vllm_j = json_array_get(json_array_get(prompts, j), 0);
            for (size_t a = 0; a + size <= d->prompts[i].len; a += size) {
                for (size_t b = 0; b + size <= d->prompts[j].len; b += size) {
                    bool equal = memcmp(d->prompts[i].ids + a, d->prompts[j].ids + b,
                                        size * sizeof(int32_t)) == 0;
                    ck_assert_int_eq(equal, same_block(vllm_i, a, vllm_j, b, size));
                    num_equal += equal;
                    num_different += !equal;
                }
            }
        }
    }
    ck_assert_uint_gt(num_equal, 5);
    ck_assert_uint_gt(num_different, 5);
}

START_TEST(test_prompts_equal_vllms)
{
    const json_t *row = json_array_get(json_object_get(record, "cases"), (size_t)_i);
    const char *file = json_string_value(json_object_get(row, "file"));
    const json_t *prompts = json_object_get(row, "prompts");
    char path[] = "/tmp/llmd-dataset-XXXXXX";
    struct config config;
    struct numpy_legacy global;
    struct dataset d;
    ck_assert_uint_eq(json_array_size(json_object_get(record, "cases")), NUM_CASES);
    if (file != NULL)
        write_file(json_string_value(json_object_get(json_object_get(record, "files"), file)),
                   path);
    read_config(&config, json_object_get(row, "options"), file != NULL ? path : NULL);
    struct dataset_args args = benchmark_dataset_args(&config, demo);
    numpy_legacy_seed(&global, (uint32_t)config.seed);
    ck_assert_msg(dataset_init(&d, &args, &global, &error) == 0, "%s", error.text);
    ck_assert_uint_eq(d.len, json_array_size(prompts));
    for (size_t i = 0; i < d.len; i++) {
        const json_t *vllm = json_array_get(prompts, i);
        if (!d.timed)
            check_text(&d.prompts[i], json_array_get(vllm, 0));
        else
            ck_assert_double_eq(d.prompts[i].at_s, json_number_value(json_array_get(vllm, 3)));
        ck_assert_uint_eq(d.prompts[i].len, (size_t)json_integer_value(json_array_get(vllm, 1)));
        ck_assert_int_eq(d.prompts[i].output_len, json_integer_value(json_array_get(vllm, 2)));
    }
    if (d.timed)
        check_blocks(&d, prompts, (size_t)config.timed_trace_chunk_hash_size);
    ck_assert_double_eq(numpy_legacy_uniform(&global),
                        json_real_value(json_object_get(row, "next_uniform")));
    dataset_release(&d);
    option_release(&config_table, &config);
    if (file != NULL)
        unlink(path);
}
END_TEST

/* ---- without a tokenizer ---- */

/* Seed 0: the first draws of numpy.random.default_rng(0).integers(0, v). */
static const struct {
    int64_t vocab_size;
    int32_t offsets[6];
} offset_cases[] = {
    {256000, {217759, 163062, 130850, 69065, 78804, 10489}},
    {128000, {108879, 81531, 65425, 34532, 39402, 5244}},
    {151643, {128991, 96590, 77510, 40911, 46680, 6213}},
};

START_TEST(test_random_ids_count_up_from_numpys_offsets)
{
    struct numpy_legacy global = {0};
    struct dataset d;
    struct dataset_args args = {.name = DATASET_RANDOM, .num_prompts = 300,
                                .random_input_len = 100, .random_output_len = 600,
                                .vocab_size = offset_cases[_i].vocab_size};
    ck_assert_int_eq(dataset_init(&d, &args, &global, NULL), 0);
    ck_assert_uint_eq(d.len, 300);
    for (size_t i = 0; i < 6; i++) {
        const struct prompt *p = &d.prompts[i];
        ck_assert_uint_eq(p->len, 100);
        ck_assert_int_eq(p->output_len, 600);
        for (size_t j = 0; j < p->len; j++)
            ck_assert_int_eq(p->ids[j], (offset_cases[_i].offsets[i] + (int64_t)(i + j)) %
                                            args.vocab_size);
    }
    dataset_release(&d);
}
END_TEST

START_TEST(test_random_lengths_come_before_offsets)
{
    static const size_t in[] = {134, 113, 100, 76, 80};
    static const int64_t out[] = {368, 305, 361, 519, 365};
    static const int32_t offsets[] = {149849, 229581, 163203, 149329, 125072};
    struct numpy_legacy global = {0};
    struct dataset d;
    struct dataset_args args = {.name = DATASET_RANDOM, .num_prompts = 300,
                                .random_input_len = 99, .random_output_len = 600,
                                .random_input_range = 0.5, .random_output_range = 0.5,
                                .vocab_size = 256000};
    ck_assert_int_eq(dataset_init(&d, &args, &global, NULL), 0);
    for (size_t i = 0; i < 5; i++) {
        ck_assert_uint_eq(d.prompts[i].len, in[i]);
        ck_assert_int_eq(d.prompts[i].output_len, out[i]);
        ck_assert_int_eq(d.prompts[i].ids[0], offsets[i] + (int32_t)i);
    }
    dataset_release(&d);
}
END_TEST

/* prefix_repetition: the ids of vLLM's draws, which no tokenizer has corrected. */
START_TEST(test_prefixes_repeat)
{
    struct numpy_legacy global;
    struct dataset d;
    struct dataset_args args = {.name = DATASET_PREFIX_REPETITION, .num_prompts = 11,
                                .vocab_size = 500, .prefix_repetition_num_prefixes = 3,
                                .prefix_repetition_prefix_len = 4,
                                .prefix_repetition_suffix_len = 2,
                                .prefix_repetition_output_len = 7};
    numpy_legacy_seed(&global, 0);
    ck_assert_int_eq(dataset_init(&d, &args, &global, &error), 0);
    ck_assert_uint_eq(d.len, 9); /* 3 of each prefix; the remainder is left out */
    ck_assert(d.anonymous);
    for (size_t i = 0; i < d.len; i++) {
        ck_assert_uint_eq(d.prompts[i].len, 6);
        ck_assert_int_eq(d.prompts[i].output_len, 7);
        ck_assert_mem_eq(d.prompts[i].ids, d.prompts[i / 3 * 3].ids, 4 * sizeof(int32_t));
    }
    ck_assert_mem_ne(d.prompts[0].ids, d.prompts[3].ids, 4 * sizeof(int32_t));
    dataset_release(&d);
}
END_TEST

/* ---- what is wrong ---- */

static const struct {
    enum dataset_name name;
    const char *text, *said;
} bad_files[] = {
    {DATASET_SHAREGPT, "{}", "not an array"},
    {DATASET_SHAREGPT, "[", ":1: "},
    {DATASET_SHAREGPT, "[{\"conversations\": [{\"value\": 1}, {\"value\": \"x\"}]}]",
     "'value' is not a string"},
    {DATASET_CUSTOM, "{\"prompt\": \"a\"}\n\n{\"text\": \"b\"}\n", ":3: 'prompt' is missing"},
    {DATASET_CUSTOM, "{\"prompt\": 5}\n", ":1: 'prompt'"},
    {DATASET_CUSTOM, "{\"prompt\": \"a\"}\n[1]\n", ":2"},
    {DATASET_CUSTOM, "{\"prompt\": \"a\"}\n", "output_tokens"},
    {DATASET_CUSTOM, "{\"prompt\": \"a\", \"output_tokens\": -3}\n", "output_tokens"},
    {DATASET_BURSTGPT, "", "first line"},
    {DATASET_BURSTGPT, "a,b,c\n", "first line"},
    {DATASET_BURSTGPT, "Timestamp,Model,Request tokens,Response tokens\n1,GPT-3,4,5\n",
     "no row"},
    {DATASET_BURSTGPT, "Timestamp,Model,Request tokens,Response tokens\n1,GPT-4,x,5\n",
     ":2: column 3"},
    {DATASET_BURSTGPT, "Timestamp,Model,Request tokens,Response tokens\n1,GPT-4,4\n",
     ":2: column 4"},
    {DATASET_BURSTGPT, "Timestamp,Model,Request tokens,Response tokens\n1,GPT-4,nan,7\n",
     ":2: column 3"},
    {DATASET_TIMED_TRACE, "{\"timestamp\": 1, \"input_length\": 3, \"output_length\": 3}\n",
     ":1: 'hash_ids'"},
    {DATASET_TIMED_TRACE, "{\"timestamp\": 1, \"input_length\": 0, \"output_length\": 3, "
                          "\"hash_ids\": [1]}\n", "input_length"},
    {DATASET_TIMED_TRACE, "{\"timestamp\": \"x\", \"input_length\": 1, \"output_length\": 3, "
                          "\"hash_ids\": [1]}\n", "timestamp"},
    {DATASET_TIMED_TRACE, "nonsense\n", ":1"},
};

START_TEST(test_wrong_file_is_told)
{
    char path[] = "/tmp/llmd-dataset-XXXXXX";
    struct numpy_legacy global;
    struct dataset d;
    struct dataset_args args = {.name = bad_files[_i].name, .path = path, .num_prompts = 3,
                                .tokenizer_dir = demo, .custom_output_len = -1,
                                .timed_trace_chunk_size = 16,
                                .timed_trace_timestamp_multiplier = 1,
                                .timed_trace_timestamp_field = "timestamp",
                                .timed_trace_input_length_field = "input_length",
                                .timed_trace_output_length_field = "output_length",
                                .timed_trace_hash_ids_field = "hash_ids"};
    write_file(bad_files[_i].text, path);
    numpy_legacy_seed(&global, 0);
    ck_assert_int_lt(dataset_init(&d, &args, &global, &error), 0);
    ck_assert_msg(strstr(error.text, bad_files[_i].said) != NULL, "%s", error.text);
    ck_assert_ptr_null(d.prompts);
    unlink(path);
    ck_assert_int_lt(dataset_init(&d, &args, &global, &error), 0);
    ck_assert_msg(strstr(error.text, "no such file") != NULL ||
                  strstr(error.text, "No such file") != NULL, "%s", error.text);
}
END_TEST

START_TEST(test_wrong_lengths_are_told)
{
    struct numpy_legacy global = {0};
    struct dataset d;
    struct dataset_args args = {.name = DATASET_RANDOM, .num_prompts = 3, .vocab_size = 100,
                                .random_input_len = 1, .random_input_range = 0.5,
                                .random_output_len = 1};
    ck_assert_int_lt(dataset_init(&d, &args, &global, &error), 0);
    ck_assert_msg(strstr(error.text, "--random-input-len") != NULL, "%s", error.text);
    args = (struct dataset_args){.name = DATASET_PREFIX_REPETITION, .num_prompts = 3,
                                 .vocab_size = 100, .prefix_repetition_num_prefixes = 4};
    ck_assert_int_lt(dataset_init(&d, &args, &global, &error), 0);
    ck_assert_msg(strstr(error.text, "--num-prompts") != NULL, "%s", error.text);
}
END_TEST

static Suite *
make_suite(void)
{
    Suite *suite = suite_create("loadgen_dataset");
    TCase *tcase = tcase_create("loadgen_dataset");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, test_prompts_equal_vllms, 0, NUM_CASES);
    tcase_add_loop_test(tcase, test_random_ids_count_up_from_numpys_offsets, 0,
                        ARRAY_SIZE(offset_cases));
    tcase_add_test(tcase, test_random_lengths_come_before_offsets);
    tcase_add_test(tcase, test_prefixes_repeat);
    tcase_add_loop_test(tcase, test_wrong_file_is_told, 0, ARRAY_SIZE(bad_files));
    tcase_add_test(tcase, test_wrong_lengths_are_told);
    suite_add_tcase(suite, tcase);
    return suite;
}

TEST_MAIN(make_suite)
