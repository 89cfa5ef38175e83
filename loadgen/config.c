/* SPDX-License-Identifier: Apache-2.0 */
/* The rows. What they cannot say is in config_settle.c. */
#include "loadgen/config.h"

#include <float.h>
#include <math.h>

#define AT(field) .offset = offsetof(struct config, field)
#define COUNT_MAX 100000000
#define TOKENS .min = 1, .max = COUNT_MAX, .unit = "tokens"

static const char *const backends[] = {"openai", "vllm", "openai-chat", NULL};
static const char *const datasets[] = {"random",   "sharegpt",    "custom", "prefix_repetition",
                                       "burstgpt", "timed_trace", NULL};
static const char *const ramp_ups[] = {"linear", "exponential", NULL};
static const char *const formats[] = {"text", "markdown", "reference", "vllm", "vllm-0.8", NULL};

/* Options of data sets that are not here. */
#define NO_DATA_SET(option, value) \
    {.name = option, .type = OPT_REFUSED, .metavar = value, .section = "Not supported", \
     .text = "its data set is not one of --dataset-name"}

static const struct option rows[] = {
    /* ---- server ---- */
    {.name = "base-url", .alias = "url", .letter = 'u', .type = OPT_STRING, AT(base_url),
     .metavar = "URL", .section = "Server",
     .text = "The server, without the endpoint; wins over --host and --port."},
    {.name = "host", .type = OPT_STRING, AT(host), .fallback = "127.0.0.1",
     .metavar = "NAME", .section = "Server", .text = "The server's name or address."},
    {.name = "port", .letter = 'p', .type = OPT_INT, AT(port), .min = 1, .max = 65535,
     .fallback = "8000", .section = "Server", .text = "The server's TCP port."},
    {.name = "backend", .type = OPT_CHOICE, AT(backend), .fallback = "openai",
     .choices = backends, .section = "Server",
     .text = "The kind of API: openai and vllm are completions, openai-chat is chat "
             "completions."},
    {.name = "endpoint", .type = OPT_STRING, AT(endpoint), .metavar = "PATH",
     .section = "Server", .text = "Where requests go. Without it, /v1/completions, or "
                                  "/v1/chat/completions for openai-chat."},
    {.name = "model", .letter = 'm', .type = OPT_STRING, AT(model), .metavar = "NAME",
     .section = "Server", .text = "The model to ask for. Without it, the first one of the "
                                  "server's GET /v1/models."},
    {.name = "served-model-name", .type = OPT_STRING, AT(served_model_name),
     .metavar = "NAME", .section = "Server",
     .text = "The name sent in requests, if it is not the model's."},
    {.name = "api-key", .type = OPT_STRING, AT(api_key), .metavar = "KEY",
     .section = "Server", .text = "Sent as a bearer token. Without it, the environment "
                                  "variable OPENAI_API_KEY if that is set."},
    {.name = "header", .letter = 'H', .type = OPT_LIST, AT(header), .metavar = "KEY=VALUE...",
     .section = "Server", .text = "Further headers of each request; they replace "
     "those that loadgen sends, but not its x-request-id."},
    {.name = "insecure", .type = OPT_BOOL, AT(insecure), .section = "Server",
     .text = "Does not check TLS certificates."},
    {.name = "request-id-prefix", .type = OPT_STRING, AT(request_id_prefix),
     .metavar = "TEXT", .section = "Server", .text = "The x-request-id header is this and the "
                                 "request's index. Without it, bench-, 8 random digits, -."},
    {.name = "timeout", .type = OPT_FLOAT, AT(timeout_s), .min = 0.001, .max = 86400,
     .fallback = "21600", .unit = "seconds", .section = "Server",
     .text = "A request that takes longer fails."},
    {.name = "ready-check-timeout-sec", .type = OPT_INT, AT(ready_check_timeout_s),
     .min = 0, .max = 86400, .fallback = "0", .unit = "seconds", .section = "Server",
     .text = "Before the run, sends one request until it succeeds or this time is over; "
             "0 skips the check."},

    /* ---- traffic ---- */
    {.name = "request-rate", .alias = "rate", .letter = 'r', .type = OPT_FLOAT,
     AT(request_rate), .min = 1e-6, .max = INFINITY, .fallback = "inf",
     .unit = "requests per second", .section = "Traffic",
     .text = "How often requests are sent on average; inf sends all at once."},
    {.name = "burstiness", .type = OPT_FLOAT, AT(burstiness), .min = 1e-6, .max = INFINITY,
     .fallback = "1", .section = "Traffic",
     .text = "The shape of the gamma distribution of the gaps: 1 is a Poisson process, less "
             "comes in bursts, more is more even, inf is constant."},
    {.name = "ramp-up-strategy", .type = OPT_CHOICE, AT(ramp_up_strategy), .choices = ramp_ups,
     .section = "Traffic", .text = "Changes the rate from --ramp-up-start-rps at the first "
                                   "request to --ramp-up-end-rps at the last one."},
    {.name = "ramp-up-start-rps", .type = OPT_INT, AT(ramp_up_start_rps), .min = 1,
     .max = COUNT_MAX, .unit = "requests per second", .section = "Traffic",
     .text = "The rate at the first request."},
    {.name = "ramp-up-end-rps", .type = OPT_INT, AT(ramp_up_end_rps), .min = 1,
     .max = COUNT_MAX, .unit = "requests per second", .section = "Traffic",
     .text = "The rate at the last request."},
    {.name = "max-concurrency", .letter = 'c', .type = OPT_INT, AT(max_concurrency),
     .min = 1, .max = COUNT_MAX, .unit = "requests", .section = "Traffic",
     .text = "Requests in flight at most; others wait for their turn. Without it, no limit."},
    {.name = "num-prompts", .letter = 'n', .type = OPT_INT, AT(num_prompts), .min = 1,
     .max = COUNT_MAX, .fallback = "1000", .section = "Traffic",
     .text = "How many requests are sent."},
    {.name = "duration", .type = OPT_FLOAT, AT(duration_s), .min = 0.001, .max = 1e7,
     .unit = "seconds", .section = "Traffic",
     .text = "Sends for this long in place of --num-prompts requests, which are then used "
             "again and again; those in flight at its end are waited for."},
    {.name = "seed", .type = OPT_INT, AT(seed), .min = 0, .max = UINT32_MAX, .fallback = "0",
     .section = "Traffic", .text = "Seeds the arrivals and the prompts, with the streams of "
                                   "numpy that vllm bench serve draws from."},
    {.name = "num-warmups", .type = OPT_INT, AT(num_warmups), .min = 0, .max = COUNT_MAX,
     .fallback = "0", .section = "Traffic",
     .text = "Copies of the first request that are sent before the run and not counted."},
    {.name = "probe-request-rate", .type = OPT_FLOAT, AT(probe_request_rate), .min = 0,
     .max = 1000, .fallback = "0", .unit = "requests per second", .section = "Traffic",
     .text = "Beside the run, and outside --max-concurrency, sends requests of one token one "
             "after another, this often at most; their latency is shown apart."},
    {.name = "threads", .type = OPT_INT, AT(threads), .min = 1, .max = 64, .section = "Traffic",
     .text = "Threads that send and read. Without it, one for every four processors, 8 at "
             "most."},
    {.name = "print-schedule", .type = OPT_BOOL, AT(print_schedule), .section = "Traffic",
     .text = "Prints the send times in seconds as a JSON list, and sends nothing."},

    /* ---- prompt ---- */
    {.name = "dataset-name", .type = OPT_CHOICE, AT(dataset_name), .fallback = "random",
     .choices = datasets, .section = "Prompts",
     .text = "random: token ids in sequence from a random start. sharegpt: a JSON file of "
             "conversations. custom: JSON lines with \"prompt\" and perhaps \"output_tokens\". "
             "prefix_repetition: random prompts that share beginnings. burstgpt: a CSV file "
             "with lengths. timed_trace: JSON lines with times, lengths and hashes of blocks."},
    {.name = "dataset-path", .type = OPT_STRING, AT(dataset_path), .metavar = "FILE",
     .section = "Prompts", .text = "The file of the data set."},
    {.name = "tokenizer", .type = OPT_STRING, AT(tokenizer), .metavar = "DIR",
     .section = "Prompts",
     .text = "A model directory with tokenizer.json, or that file: random prompts are sent as "
             "text. Without it, the model where that is such a directory, else prompts are sent "
             "as arrays of token ids."},
    {.name = "skip-tokenizer-init", .type = OPT_BOOL, AT(skip_tokenizer_init),
     .section = "Prompts", .text = "Uses no tokenizer; as in vllm bench serve, figures of "
                                   "tokens are not shown."},
    {.name = "input-len", .type = OPT_INT, AT(input_len), TOKENS, .section = "Prompts",
     .text = "Sets --random-input-len."},
    {.name = "output-len", .type = OPT_INT, AT(output_len), TOKENS, .section = "Prompts",
     .text = "Sets the output length of whichever data set is used."},
    {.name = "random-input-len", .alias = "in", .type = OPT_INT, AT(random_input_len), TOKENS,
     .fallback = "1024", .section = "Prompts",
     .text = "The length of each prompt. With a tokenizer, the special tokens that the server "
             "will put around it are part of it."},
    {.name = "random-output-len", .alias = "out", .type = OPT_INT, AT(random_output_len), TOKENS,
     .fallback = "128", .section = "Prompts", .text = "The length of each answer (max_tokens)."},
    {.name = "random-prefix-len", .type = OPT_INT, AT(random_prefix_len), .min = 0,
     .max = COUNT_MAX, .fallback = "0", .unit = "tokens", .section = "Prompts",
     .text = "Tokens, the same for all, before each prompt; not part of its length."},
    {.name = "random-range-ratio", .type = OPT_STRING, AT(random_range_ratio), .metavar = "R",
     .fallback = "0.0", .section = "Prompts",
     .text = "Draws lengths from [len * (1 - r), len * (1 + r)]; less than 1. Or "
             "{\"input\": r, \"output\": r}."},
    {.name = "random-vocab-size", .type = OPT_INT, AT(random_vocab_size), .min = 1,
     .max = 0x1p31 - 1, .unit = "tokens", .section = "Prompts",
     .text = "Token ids are drawn from [0, N). Without it, N is 1000, or the size of the "
             "tokenizer's vocabulary. Without a tokenizer, N must not exceed the vocabulary "
             "of the model, and special tokens below N are drawn too."},
    {.name = "sharegpt-output-len", .type = OPT_INT, AT(sharegpt_output_len), TOKENS,
     .section = "Prompts", .text = "The length of each answer. Without it, that of the file's."},
    {.name = "custom-output-len", .type = OPT_INT, AT(custom_output_len), .min = -1,
     .max = COUNT_MAX, .fallback = "256", .unit = "tokens", .section = "Prompts",
     .text = "The length of each answer; -1: each line's \"output_tokens\"."},
    {.name = "prefix-repetition-prefix-len", .type = OPT_INT, AT(prefix_repetition_prefix_len),
     TOKENS, .fallback = "256", .section = "Prompts", .text = "The length of each prefix."},
    {.name = "prefix-repetition-suffix-len", .type = OPT_INT, AT(prefix_repetition_suffix_len),
     TOKENS, .fallback = "256", .section = "Prompts",
     .text = "The length of what follows the prefix."},
    {.name = "prefix-repetition-num-prefixes", .type = OPT_INT,
     AT(prefix_repetition_num_prefixes), .min = 1, .max = COUNT_MAX, .fallback = "10",
     .section = "Prompts", .text = "How many prefixes there are."},
    {.name = "prefix-repetition-output-len", .type = OPT_INT, AT(prefix_repetition_output_len),
     TOKENS, .fallback = "128", .section = "Prompts", .text = "The length of each answer."},
    {.name = "timed-trace-chunk-hash-size", .type = OPT_INT, AT(timed_trace_chunk_hash_size),
     TOKENS, .fallback = "16", .section = "Prompts",
     .text = "Tokens of the block that one hash stands for."},
    {.name = "timed-trace-sec-multiplier", .type = OPT_FLOAT, AT(timed_trace_sec_multiplier),
     .min = 0, .max = 1e9, .fallback = "1", .section = "Prompts",
     .text = "A time of the trace times this is in seconds."},
    {.name = "timed-trace-label-timestamp", .type = OPT_STRING, AT(timed_trace_label_timestamp),
     .metavar = "KEY", .fallback = "timestamp", .section = "Prompts",
     .text = "The trace's key of the time."},
    {.name = "timed-trace-label-input-length", .type = OPT_STRING,
     AT(timed_trace_label_input_length), .metavar = "KEY", .fallback = "input_length",
     .section = "Prompts", .text = "The trace's key of the prompt's length."},
    {.name = "timed-trace-label-output-length", .type = OPT_STRING,
     AT(timed_trace_label_output_length), .metavar = "KEY", .fallback = "output_length",
     .section = "Prompts", .text = "The trace's key of the answer's length."},
    {.name = "timed-trace-label-hash-ids", .type = OPT_STRING, AT(timed_trace_label_hash_ids),
     .metavar = "KEY", .fallback = "hash_ids", .section = "Prompts",
     .text = "The trace's key of the list of block hashes."},
    {.name = "self-timed", .type = OPT_BOOL, AT(self_timed), .fallback = "true",
     .section = "Prompts",
     .text = "Sends a timed trace at its own times; --no-self-timed by --request-rate."},
    {.name = "no-oversample", .type = OPT_BOOL, AT(no_oversample), .section = "Prompts",
     .text = "Sends fewer requests where the file has fewer than --num-prompts, in place of "
             "some of them twice."},
    {.name = "disable-shuffle", .type = OPT_BOOL, AT(disable_shuffle), .section = "Prompts",
     .text = "Keeps the file's order."},

    /* ---- sampling ---- */
    {.name = "ignore-eos", .type = OPT_BOOL, AT(ignore_eos), .section = "Sampling",
     .text = "Asks the server to go on past an end-of-sequence token, so that every answer has "
             "its full length. Always on with random and timed_trace."},
    {.name = "temperature", .type = OPT_FLOAT, AT(temperature), .min = 0, .max = 100,
     .section = "Sampling", .text = "Sent as it is. Without it, the server decides; so for all "
                                    "of these."},
    {.name = "top-p", .type = OPT_FLOAT, AT(top_p), .min = 0, .max = 1, .section = "Sampling",
     .text = "Sent as it is."},
    {.name = "top-k", .type = OPT_FLOAT, AT(top_k), .min = -1, .max = COUNT_MAX,
     .section = "Sampling", .text = "Sent as it is."},
    {.name = "min-p", .type = OPT_FLOAT, AT(min_p), .min = 0, .max = 1, .section = "Sampling",
     .text = "Sent as it is."},
    {.name = "frequency-penalty", .type = OPT_FLOAT, AT(frequency_penalty), .min = -100,
     .max = 100, .section = "Sampling", .text = "Sent as it is."},
    {.name = "presence-penalty", .type = OPT_FLOAT, AT(presence_penalty), .min = -100,
     .max = 100, .section = "Sampling", .text = "Sent as it is."},
    {.name = "repetition-penalty", .type = OPT_FLOAT, AT(repetition_penalty), .min = 0,
     .max = 100, .section = "Sampling", .text = "Sent as it is; completions carry 1.0 without "
                                                "it."},
    {.name = "logprobs", .type = OPT_FLOAT, AT(logprobs), .min = 0, .max = COUNT_MAX,
     .section = "Sampling", .text = "Sent with completions."},
    {.name = "extra-body", .type = OPT_STRING, AT(extra_body), .metavar = "JSON",
     .section = "Sampling", .text = "An object whose members are put into each request; they "
                                    "win over all else."},

    /* ---- result ---- */
    {.name = "percentile-metrics", .type = OPT_STRING, AT(percentile_metrics),
     .fallback = "ttft,tpot,itl", .metavar = "LIST", .section = "Results",
     .text = "The metrics shown and saved, of ttft, tpot, itl, e2el, client_queue_time, "
             "e2el_including_client_queue. The last two only with --max-concurrency."},
    {.name = "metric-percentiles", .type = OPT_STRING, AT(metric_percentiles),
     .fallback = "99", .metavar = "LIST", .section = "Results",
     .text = "The percentiles of each metric, like 50,90,99.9."},
    {.name = "goodput", .type = OPT_LIST, AT(goodput), .metavar = "KEY:MS...",
     .section = "Results", .text = "Counts the requests within all of these limits, of ttft, "
                                   "tpot and e2el, in milliseconds: ttft:200 tpot:50."},
    {.name = "save-result", .type = OPT_BOOL, AT(save_result), .section = "Results",
     .text = "Writes the result as JSON."},
    {.name = "save-detailed", .type = OPT_BOOL, AT(save_detailed), .section = "Results",
     .text = "Adds the values of each request to the JSON."},
    {.name = "append-result", .type = OPT_BOOL, AT(append_result), .section = "Results",
     .text = "Writes the result at the end of the file, on a line of its own."},
    {.name = "result-dir", .type = OPT_STRING, AT(result_dir), .metavar = "DIR",
     .section = "Results", .text = "Where the JSON goes, made if need be. Without it, the "
                                   "current directory."},
    {.name = "result-filename", .letter = 'o', .type = OPT_STRING, AT(result_filename),
     .metavar = "FILE", .section = "Results",
     .text = "The name of the JSON file. Without it, backend-RATEqps-MODEL-DATE.json."},
    {.name = "label", .type = OPT_STRING, AT(label), .section = "Results",
     .text = "Stored in the JSON, and used in its name in place of the backend."},
    {.name = "metadata", .type = OPT_LIST, AT(metadata), .metavar = "KEY=VALUE...",
     .section = "Results", .text = "Stored in the JSON."},
    {.name = "report", .type = OPT_STRING, AT(report), .metavar = "FILE", .section = "Results",
     .text = "Writes a page of HTML with the timeline of the requests, throughput over time, "
             "distributions and resources; it needs no network."},
    {.name = "plot-timeline", .type = OPT_BOOL, AT(plot_timeline), .section = "Results",
     .text = "Writes that page beside the result, as NAME.timeline.html."},
    {.name = "format", .type = OPT_CHOICE, AT(format), .fallback = "text", .choices = formats,
     .section = "Results",
     .text = "How --compare, --sweep and --num-runs print: text or markdown. reference prints "
             "resources and throughput in Markdown, of this run or of the result files given as "
             "words: a column for each run, those of loadgen in one table and those of "
             "llmd-bench in another. vllm prints vLLM's table alone, without our "
             "rows; vllm-0.8 prints it with the rows of vLLM 0.8."},
    {.name = "max-fail-rate", .type = OPT_FLOAT, AT(max_fail_rate), .min = 0, .max = 1,
     .fallback = "1", .section = "Results",
     .text = "The exit status is 1 when a larger share of the requests than this failed, and "
             "when none succeeded."},
    {.name = "monitor", .type = OPT_STRING, AT(monitor), .fallback = "auto", .metavar = "HOW",
     .section = "Results",
     .text = "Where the use of CPU, memory and GPU is read: local, off, or URLs of /metrics "
             "separated by commas. auto is local where the server runs on this machine, else "
             "its own /metrics."},
    {.name = "pid", .type = OPT_INT, AT(pid), .min = 1, .max = 0x1p31 - 1, .section = "Results",
     .text = "The server's process, for its own CPU and memory. Without it, the process that "
             "listens on the port."},
    {.name = "gpu", .type = OPT_INT, AT(gpu), .min = 0, .max = 1023, .fallback = "0",
     .section = "Results", .text = "The GPU that is watched, by its number."},
    {.name = "disable-tqdm", .letter = 'q', .type = OPT_BOOL, AT(disable_tqdm),
     .section = "Results", .text = "Shows no progress bar. There is none either where "
                                   "standard error is not a terminal."},

    /* ---- several runs ---- */
    {.name = "num-runs", .type = OPT_INT, AT(num_runs), .min = 1, .max = 1000, .fallback = "1",
     .section = "Several runs",
     .text = "Runs this often, and shows the mean and the spread of each figure. Results are "
             "appended to one file."},
    {.name = "sweep", .type = OPT_STRING, AT(sweep), .metavar = "RATES",
     .section = "Several runs",
     .text = "Runs once at each of these request rates, 1,2,5,inf or FROM:TO:STEP or "
             "FROM:TO:*FACTOR, and shows a table."},
    {.name = "find-rate", .type = OPT_STRING, AT(find_rate), .metavar = "LIMITS",
     .section = "Several runs",
     .text = "Searches the highest request rate that keeps limits in milliseconds, like "
             "ttft:200@p99,tpot:50@mean."},
    {.name = "compare", .type = OPT_LIST, AT(compare), .metavar = "A.json B.json",
     .section = "Several runs",
     .text = "Compares the results in two files, each of one or of several runs, and sends "
             "nothing."},
    {.name = "max-regression", .type = OPT_FLOAT, AT(max_regression), .min = 0, .max = 100,
     .unit = "percent", .section = "Several runs",
     .text = "With --compare: the exit status is 1 if B is worse than A by more than this."},
    {.name = "self-test", .type = OPT_BOOL, AT(self_test), .section = "Several runs",
     .text = "Measures a built-in server of known latencies with 1 to 1000 streams, and shows "
             "the error of loadgen itself."},

    /* ---- general ---- */
    {.name = "help", .letter = 'h', .type = OPT_BOOL, AT(help), .section = "General",
     .command_line_only = true, .text = "Shows this text."},
    {.name = "man", .type = OPT_BOOL, AT(man), .section = "General",
     .command_line_only = true, .text = "Prints the manual page's source."},
    {.name = "version", .type = OPT_BOOL, AT(version), .section = "General",
     .command_line_only = true, .text = "Shows the version."},

    /* ---- known to vllm bench serve ---- */
    {.name = "tokenizer-mode", .type = OPT_IGNORED, .metavar = "MODE", .section = "No effect",
     .text = "There is one kind of tokenizer."},
    {.name = "trust-remote-code", .type = OPT_IGNORED, .section = "No effect",
     .text = "No code is loaded."},
    {.name = "use-beam-search", .type = OPT_IGNORED, .section = "No effect",
     .text = "Nor does it have one in vllm bench serve."},
    {.name = "skip-chat-template", .type = OPT_IGNORED, .section = "No effect",
     .text = "Prompts are sent as they are; with openai-chat the server applies its template."},
    {.name = "chat-template-kwargs", .type = OPT_IGNORED, .metavar = "JSON",
     .section = "No effect", .text = "For the server's template, give --extra-body "
                                     "'{\"chat_template_kwargs\": {...}}'."},
    {.name = "enable-multimodal-chat", .type = OPT_IGNORED, .section = "No effect",
     .text = "With openai-chat, prompts are sent as lists of parts anyway."},
    {.name = "best-of", .type = OPT_IGNORED, .metavar = "N", .section = "No effect",
     .text = "Nor does vllm bench serve still have it."},
    {.name = "no-stream", .type = OPT_IGNORED, .section = "No effect",
     .text = "It is about data sets of a hub."},
    {.name = "custom-ensure-client-side-data", .type = OPT_IGNORED, .section = "No effect",
     .text = "It is about data sets with pictures."},
    {.name = "timeline-itl-thresholds", .type = OPT_IGNORED, .metavar = "LIST",
     .section = "No effect", .text = "The report shows the whole distribution."},
    {.name = "plot-dataset-stats", .type = OPT_IGNORED, .section = "No effect",
     .text = "The report shows them."},
    {.name = "profile", .type = OPT_REFUSED, .section = "Not supported",
     .text = "start the server's profiler by hand"},
    {.name = "lora-modules", .type = OPT_REFUSED, .metavar = "NAME...",
     .section = "Not supported", .text = "there are no LoRA modules in llmd"},
    {.name = "lora-assignment", .type = OPT_REFUSED, .metavar = "HOW",
     .section = "Not supported", .text = "it goes with --lora-modules"},
    NO_DATA_SET("hf-name", "NAME"),
    NO_DATA_SET("hf-subset", "NAME"),
    NO_DATA_SET("hf-split", "NAME"),
    NO_DATA_SET("hf-output-len", "N"),
    NO_DATA_SET("random-batch-size", "N"),
    NO_DATA_SET("no-reranker", NULL),
    NO_DATA_SET("random-mm-base-items-per-request", "N"),
    NO_DATA_SET("random-mm-num-mm-items-range-ratio", "R"),
    NO_DATA_SET("random-mm-limit-mm-per-prompt", "JSON"),
    NO_DATA_SET("random-mm-bucket-config", "DICT"),
    NO_DATA_SET("spec-bench-category", "NAME"),
    NO_DATA_SET("spec-bench-output-len", "N"),
    NO_DATA_SET("speed-bench-category", "NAME"),
    NO_DATA_SET("speed-bench-dataset-subset", "NAME"),
    NO_DATA_SET("speed-bench-output-len", "N"),
    NO_DATA_SET("blazedit-min-distance", "X"),
    NO_DATA_SET("blazedit-max-distance", "X"),
    NO_DATA_SET("asr-min-audio-len-sec", "X"),
    NO_DATA_SET("asr-max-audio-len-sec", "X"),
    NO_DATA_SET("bfcl-categories", "LIST"),
};

const struct option_table config_table = {
    .options = rows,
    .num_options = ARRAY_SIZE(rows),
    .program = "loadgen",
    .synopsis = "loadgen [options]\nloadgen --compare A.json B.json\n"
                "loadgen --format reference RESULT.json...\nloadgen --self-test",
    .summary = "benchmark client for OpenAI-compatible inference servers",
    .description =
        "Sends prompts to an OpenAI-compatible server at a given rate, reads the answers as "
        "streams, and reports throughput and latencies with the definitions, the arrival times, "
        "the prompts and the table of vllm bench serve.\n\n"
        "For example: loadgen --rate 10 -n 300 --in 100 --out 600\n\n"
        "Ctrl-C ends the run and reports what was measured so far; a second one ends the "
        "program. The exit status is 0 if a request succeeded and no more failed than "
        "--max-fail-rate allows, 1 if not or if the server could not be reached, 2 for a wrong "
        "option.\n\n"
        "DEFINITIONS. A token event is a message of the stream with a choice in it, even if "
        "its text is empty; of chat completions, one whose delta has content, reasoning or a "
        "tool call. A request starts just before it is handed to the connection, which includes "
        "connecting. A token event is stamped with the time at which this machine's kernel "
        "received it, where the kernel says so, else when it was read.\n\n"
        "TTFT (time to first token): from the start to the first token event. E2EL (end-to-end "
        "latency): from the start to the last token event; the usage message and [DONE] do not "
        "count. ITL (inter-token latency): the gaps between token events, of all requests in "
        "one pool. TPOT (time per output token): (E2EL - TTFT) / (output tokens - 1), one value "
        "for each request of more than one token. Output tokens are what the server's usage "
        "says, without it the tokens of the text, without a tokenizer the token events. Input "
        "tokens are what usage says, else what the data set counted. Client Queue Time: from "
        "the intended time to the start, mostly the wait for --max-concurrency.\n\n"
        "All of these are over successful requests. A request fails by a status other than 200, "
        "a broken connection, an error object inside the stream (which vllm bench serve counts "
        "as success once there was a token), or an answer without a token. Percentiles are "
        "interpolated linearly; std is the population's.\n\n"
        "Successful requests, Failed requests, Cancelled requests: those that ended well, that "
        "did not, and that Ctrl-C cut off or kept from being sent. Maximum request concurrency, "
        "Request rate configured: the options. Benchmark duration: from just before the first "
        "request's time to the end of the last one. Total input tokens, Total generated tokens: "
        "of successful requests. Request throughput: successes / duration. Output token "
        "throughput, Total token throughput: generated tokens, and generated and input tokens, / "
        "duration. Request goodput: successes within all --goodput limits, the limits included, / "
        "duration; a request of one token has a TPOT of 0 there. Peak output token throughput: "
        "the most token events in one second, seconds counted from the first start. Peak "
        "concurrent requests: the most requests that touch one of those seconds, which can exceed "
        "the true number in flight at once. E2EL incl. Client Queue: E2EL + Client Queue Time. "
        "Probe requests completed, Probe requests failed, probe E2EL: of --probe-request-rate.\n\n"
        "Below vLLM's rows come ours. Schedule slip: how much later than intended requests "
        "started, but for the wait for --max-concurrency. CLIENT LIMITED: a finite rate was "
        "missed by more than 5 ms in 1 of 100 requests, or a thread of loadgen was busy more "
        "than 90 % of the time; the figures then describe loadgen. TTFT from intended time: "
        "counted from the time that the schedule asks for, so that waiting in the client is "
        "not left out. Client CPU: processor time of loadgen's threads / duration.\n\n"
        "The rest is of the server's machine, read ten times a second, and is the mean from the "
        "first start to the last token; the JSON has the 95th percentile, the maximum and, with "
        "--save-detailed, all values too. CPU usage: of all processors, 100 % is all of them; it "
        "includes loadgen's where both share a machine. RAM usage: memory that is not available, "
        "of all. GPU memory usage: used of all, what a server reserves included. GPU "
        "utilization: the share of time in which at least one kernel ran, as the driver counts "
        "it. GPU power: of the board. Server CPU: of the server's process, 100 % is one "
        "processor. Energy per output token: of the GPU, by its counter, or else mean power x "
        "time, / generated tokens. n/a: not known here.\n\n"
        "OF SEVERAL RUNS. After a mean stands half the width of its 95 % confidence interval. "
        "--compare calls B better or worse than A where Welch's test gives such a difference less "
        "than 5 % by chance, else the same, and - where one of them is a single run. "
        "--find-rate doubles the rate until a limit is broken, then halves the interval; a rate "
        "counts as broken when two runs of it broke a limit. --self-test shows, for the client "
        "alone, errors in ms against what its own server did: of TTFT, of the single gaps "
        "between tokens, and what of them lies between loadgen's stamp and the arrival of the "
        "request (sending), and between the sending of a token and its stamp (receiving).",
    .allow_prefix = true,
};

const char *
config_backend_name(const struct config *c)
{
    return backends[c->backend];
}

const char *
config_ramp_up_name(const struct config *c)
{
    return ramp_ups[c->ramp_up_strategy];
}
