/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/config.h"

#include <string.h>

#define AT(field) offsetof(struct bench_config, field)
#define ENGINE_AT(field) (AT(engine) + offsetof(struct engine_options, field))
#define COUNT_MAX 100000000
#define TOKENS .min = 1, .max = COUNT_MAX, .unit = "tokens"

#define DEFAULT_INPUT_LEN 100
#define DEFAULT_OUTPUT_LEN 600
#define DEFAULT_LATENCY_INPUT_LEN 32
#define DEFAULT_LATENCY_OUTPUT_LEN 128

static const char *const datasets[] = {"random",   "sharegpt", "custom", "prefix_repetition",
                                       "burstgpt", NULL};

static const char *const backends[] = {"vllm", NULL};

#define NO_EFFECT(option, value, why) \
    {.name = option, .type = OPT_IGNORED, .metavar = value, .section = "No effect", .text = why}
#define NOT_HERE(option, value, why) \
    {.name = option, .type = OPT_REFUSED, .metavar = value, .section = "Not supported", .text = why}

static const struct option rows[] = {
    {.name = "model", .letter = 'm', .type = OPT_STRING, .offset = AT(model), .metavar = "DIR",
     .section = "Model",
     .text = "The model: a Hugging Face directory with config.json, safetensors weights and "
             "tokenizer.json. With --load-format dummy config.json is enough."},
#include "engine/engine_options.inc"

    {.name = "num-prompts", .letter = 'n', .type = OPT_INT, .offset = AT(num_prompts), .min = 1,
     .max = COUNT_MAX, .fallback = "300", .section = "Throughput",
     .text = "How many prompts are processed."},
    {.name = "dataset-name", .type = OPT_CHOICE, .offset = AT(dataset_name),
     .fallback = "random", .choices = datasets, .section = "Throughput",
     .text = "Where prompts come from, as loadgen has it."},
    {.name = "dataset-path", .type = OPT_STRING, .offset = AT(dataset_path), .metavar = "FILE",
     .section = "Throughput", .text = "The file of the data set."},
    {.name = "input-len", .type = OPT_INT, .offset = AT(input_len), .min = 0, .max = COUNT_MAX,
     .fallback = "0", .unit = "tokens", .section = "Throughput",
     .text = "The length of each prompt. 0: 100, or 32 for latency."},
    {.name = "output-len", .type = OPT_INT, .offset = AT(output_len), .min = 0,
     .max = COUNT_MAX, .fallback = "0", .unit = "tokens", .section = "Throughput",
     .text = "The length of each output, of any data set. 0: 600, or 128 for latency, or the "
             "data set's own."},
    {.name = "random-input-len", .type = OPT_INT, .offset = AT(random_input_len), .min = 0,
     .max = COUNT_MAX, .fallback = "0", .unit = "tokens", .section = "Throughput",
     .text = "The same as --input-len, and wins over it."},
    {.name = "random-output-len", .type = OPT_INT, .offset = AT(random_output_len), .min = 0,
     .max = COUNT_MAX, .fallback = "0", .unit = "tokens", .section = "Throughput",
     .text = "The same as --output-len for random prompts, and wins over it."},
    {.name = "random-prefix-len", .alias = "prefix-len", .type = OPT_INT,
     .offset = AT(random_prefix_len), .min = 0, .max = COUNT_MAX, .fallback = "0",
     .unit = "tokens", .section = "Throughput",
     .text = "Tokens, the same for all, before each prompt; not part of its length."},
    {.name = "random-range-ratio", .type = OPT_FLOAT, .offset = AT(random_range_ratio), .min = 0,
     .max = 0.999999, .fallback = "0", .section = "Throughput",
     .text = "Draws lengths from [len * (1 - r), len * (1 + r)]."},
    {.name = "prefix-repetition-prefix-len", .type = OPT_INT,
     .offset = AT(prefix_repetition_prefix_len), TOKENS, .fallback = "256",
     .section = "Throughput", .text = "The length of each prefix."},
    {.name = "prefix-repetition-suffix-len", .type = OPT_INT,
     .offset = AT(prefix_repetition_suffix_len), TOKENS, .fallback = "256",
     .section = "Throughput", .text = "The length of what follows the prefix."},
    {.name = "prefix-repetition-num-prefixes", .type = OPT_INT,
     .offset = AT(prefix_repetition_num_prefixes), .min = 1, .max = COUNT_MAX, .fallback = "10",
     .section = "Throughput", .text = "How many prefixes there are."},
    {.name = "prefix-repetition-output-len", .type = OPT_INT,
     .offset = AT(prefix_repetition_output_len), TOKENS, .fallback = "128",
     .section = "Throughput", .text = "The length of each output."},
    {.name = "custom-output-len", .type = OPT_INT, .offset = AT(custom_output_len), .min = -1,
     .max = COUNT_MAX, .fallback = "-1", .unit = "tokens", .section = "Throughput",
     .text = "The length of each output of a custom data set; -1: each line's "
             "\"output_tokens\"."},
    {.name = "no-oversample", .type = OPT_BOOL, .offset = AT(no_oversample),
     .section = "Throughput", .text = "Processes fewer prompts where the file has fewer than "
                                      "--num-prompts, in place of some of them twice."},
    {.name = "backend", .type = OPT_CHOICE, .offset = AT(backend), .fallback = "vllm",
     .choices = backends, .section = "Throughput",
     .text = "As vllm bench throughput has it; this is its way of counting."},
    {.name = "n", .type = OPT_INT, .offset = AT(n), .min = 1, .max = 1024, .fallback = "1",
     .section = "Throughput", .text = "Outputs for each prompt."},
    {.name = "num-warmups", .type = OPT_INT, .offset = AT(num_warmups), .min = 0,
     .max = COUNT_MAX, .fallback = "0", .section = "Throughput",
     .text = "Prompts, others than those measured, that are processed before."},
    {.name = "prequeue-requests", .type = OPT_BOOL, .offset = AT(prequeue_requests),
     .section = "Throughput",
     .text = "Makes all requests before the engine gets the first one, so that its first step "
             "has them all. The time counts from before."},
    {.name = "disable-detokenize", .type = OPT_BOOL, .offset = AT(disable_detokenize),
     .section = "Throughput", .text = "Leaves the text of the outputs out of the time."},

    {.name = "batch-size", .type = OPT_INT, .offset = AT(batch_size), .min = 1,
     .max = 65536, .fallback = "8", .section = "Latency", .text = "Prompts at once."},
    {.name = "num-iters-warmup", .type = OPT_INT, .offset = AT(num_iters_warmup), .min = 0,
     .max = COUNT_MAX, .fallback = "10", .section = "Latency",
     .text = "Batches that are processed before."},
    {.name = "num-iters", .type = OPT_INT, .offset = AT(num_iters), .min = 1,
     .max = COUNT_MAX, .fallback = "30", .section = "Latency", .text = "Batches measured."},

    {.name = "output-json", .letter = 'o', .type = OPT_STRING, .offset = AT(output_json),
     .metavar = "FILE", .section = "Results", .text = "Writes the result as JSON."},
    {.name = "roofline", .type = OPT_BOOL, .offset = AT(roofline), .section = "Results",
     .text = "Measures this machine's read bandwidth and FMA peak, and shows the least time "
             "that they leave for the work done. For the CPU."},
    {.name = "gpu", .type = OPT_INT, .offset = AT(gpu), .min = 0, .max = 1023, .fallback = "0",
     .section = "Results", .text = "The GPU that is watched, by its number."},
    {.name = "disable-tqdm", .letter = 'q', .type = OPT_BOOL, .offset = AT(disable_tqdm),
     .section = "Results", .text = "Shows no progress bar. There is none either where standard "
                                   "error is not a terminal."},

    {.name = "help", .letter = 'h', .type = OPT_BOOL, .offset = AT(help), .section = "General",
     .command_line_only = true, .text = "Shows this text."},
    {.name = "man", .type = OPT_BOOL, .offset = AT(man), .section = "General",
     .command_line_only = true, .text = "Prints the manual page's source."},
    {.name = "version", .type = OPT_BOOL, .offset = AT(version), .section = "General",
     .command_line_only = true, .text = "Shows the version."},

    /* ---- known to vllm bench ---- */
    NO_EFFECT("async-engine", NULL, "The engine is asynchronous as it is."),
    NO_EFFECT("disable-frontend-multiprocessing", NULL, "There is one process."),
    NO_EFFECT("enable-multimodal-chat", NULL, "There are no such models."),
    NO_EFFECT("disable-log-stats", NULL, "Nothing is logged."),
    NO_EFFECT("enable-chunked-prefill", NULL, "Prefill is always chunked."),
    NO_EFFECT("block-size", "TOKENS", "A block is always 16 tokens."),
    NO_EFFECT("trust-remote-code", NULL, "A model directory's code is never run."),
    NO_EFFECT("tokenizer-mode", "MODE", "There is one kind of tokenizer."),
    NOT_HERE("profile", NULL, "start a profiler by hand"),
    NOT_HERE("use-beam-search", NULL, "llmd has no beam search"),
    NOT_HERE("tokenizer", "DIR", "the tokenizer is the model directory's own"),
    NOT_HERE("quantization", "METHOD", "llmd runs 16-bit and float32 checkpoints only"),
    NOT_HERE("kv-cache-dtype", "TYPE", "the KV cache has the type of --dtype"),
    NOT_HERE("tensor-parallel-size", "N", "llmd uses one device"),
    NOT_HERE("pipeline-parallel-size", "N", "llmd uses one device"),
    NOT_HERE("data-parallel-size", "N", "llmd uses one device"),
    NOT_HERE("speculative-config", "JSON", "llmd has no speculative decoding"),
    NOT_HERE("enable-lora", NULL, "llmd has no adapters"),
    NOT_HERE("lora-path", "DIR", "llmd has no adapters"),
    NOT_HERE("lora-assignment", "HOW", "llmd has no adapters"),
    NOT_HERE("hf-max-batch-size", "N", "it belongs to another --backend"),
    NOT_HERE("hf-enable-torch-compile", NULL, "it belongs to another --backend"),
    NOT_HERE("hf-name", "NAME", "its data set is not one of --dataset-name"),
    NOT_HERE("hf-subset", "NAME", "its data set is not one of --dataset-name"),
    NOT_HERE("hf-split", "NAME", "its data set is not one of --dataset-name"),
    NOT_HERE("random-batch-size", "N", "its data set is not one of --dataset-name"),
    NOT_HERE("no-reranker", NULL, "its data set is not one of --dataset-name"),
    NOT_HERE("random-mm-base-items-per-request", "N", "its data set is not one of --dataset-name"),
    NOT_HERE("random-mm-num-mm-items-range-ratio", "R",
             "its data set is not one of --dataset-name"),
    NOT_HERE("random-mm-limit-mm-per-prompt", "JSON", "its data set is not one of --dataset-name"),
    NOT_HERE("random-mm-bucket-config", "DICT", "its data set is not one of --dataset-name"),
    NOT_HERE("asr-min-audio-len-sec", "X", "its data set is not one of --dataset-name"),
    NOT_HERE("asr-max-audio-len-sec", "X", "its data set is not one of --dataset-name"),
};

const struct option_table bench_config_table = {
    .options = rows,
    .num_options = ARRAY_SIZE(rows),
    .program = "llmd-bench",
    .synopsis = "llmd-bench [throughput] --model DIR [options]\n"
                "llmd-bench latency --model DIR [options]",
    .summary = "offline benchmark of llmd's engine",
    .description =
        "Runs llmd's engine without a server. throughput gives it all prompts at once and "
        "counts tokens per second; latency measures how long a batch takes. Both sample at "
        "temperature 1 and go on past the end of text, and print the lines of vllm bench "
        "throughput and vllm bench latency.\n\n"
        "The time of throughput is from the first prompt given to the engine to the last "
        "token: tokenizing the prompts is in it, and the outputs' text, unless "
        "--disable-detokenize. Below vLLM's lines stand the use of the machine, and with "
        "--roofline the floor: for each step the greater of the time to read the weights and "
        "the time to multiply by them, and the same of the contexts' keys and values, at the "
        "bandwidth and the FMA peak measured just before. As many sequences "
        "run at once as --max-num-seqs allows.\n\n"
        "Ctrl-C ends the run and reports what was done so far; the exit status is then 1.",
    .allow_prefix = true,
};

/* "throughput" or "latency" and nothing else may stand among the options. */
static int
take_words(struct bench_config *c, const char *const *words, size_t num_words, struct error *err)
{
    c->command = BENCH_THROUGHPUT;
    if (num_words > 0 && strcmp(words[0], "latency") == 0)
        c->command = BENCH_LATENCY;
    else if (num_words > 0 && strcmp(words[0], "throughput") != 0)
        return error_set(err, ERR_INVALID, "unknown command '%s': use throughput or latency",
                         words[0]);
    return 0;
}

static void
settle_lengths(struct bench_config *c)
{
    bool latency = c->command == BENCH_LATENCY;
    if (c->random_input_len == 0)
        c->random_input_len = c->input_len;
    if (c->random_input_len == 0)
        c->random_input_len = latency ? DEFAULT_LATENCY_INPUT_LEN : DEFAULT_INPUT_LEN;
    if (c->random_output_len == 0)
        c->random_output_len = c->output_len;
    if (c->random_output_len == 0)
        c->random_output_len = latency ? DEFAULT_LATENCY_OUTPUT_LEN : DEFAULT_OUTPUT_LEN;
    if (c->output_len > 0)
        c->prefix_repetition_output_len = c->output_len;
}

static int
check(const struct bench_config *c, struct error *err)
{
    bool generated = c->dataset_name == DATASET_RANDOM ||
                     c->dataset_name == DATASET_PREFIX_REPETITION;
    if (c->model == NULL || c->model[0] == '\0')
        return error_set(err, ERR_INVALID, "no model given: use option '--model DIR'");
    if (generated && c->dataset_path != NULL)
        return error_set(err, ERR_INVALID, "option '--dataset-path': this data set has no file; "
                                           "name another one with --dataset-name");
    if (!generated && c->dataset_path == NULL)
        return error_set(err, ERR_INVALID, "option '--dataset-path' is missing: this data set "
                                           "is read from a file");
    return engine_options_check(&c->engine, err);
}

int
bench_config_read(struct bench_config *c, int argc, char **argv, struct error *err)
{
    const char *words[1];
    size_t num_words;
    *c = (struct bench_config){0};
    int e = option_defaults(&bench_config_table, c, err);
    if (e == 0)
        e = option_read_argv(&bench_config_table, c, argc, argv, words, ARRAY_SIZE(words),
                             &num_words, err);
    if (e == 0)
        e = take_words(c, words, num_words, err);
    if (e < 0 || c->help || c->man || c->version)
        return e;
    settle_lengths(c);
    return check(c, err);
}

void
bench_config_release(struct bench_config *c)
{
    option_release(&bench_config_table, c);
}
