/* SPDX-License-Identifier: Apache-2.0 */
#include "loadgen/config.h"

#include <float.h>
#include <math.h>
#include <string.h>

#define AT(field) .offset = offsetof(struct config, field)
#define COUNT_MAX 100000000

static const char *const backends[] = {"openai", "vllm", NULL};

static const struct option rows[] = {
    /* ---- server ---- */
    {.name = "base-url", .letter = 'u', .type = OPT_STRING, AT(base_url), .metavar = "URL",
     .section = "Server",
     .text = "The server, without the endpoint; wins over --host and --port."},
    {.name = "host", .type = OPT_STRING, AT(host), .fallback = "127.0.0.1",
     .metavar = "NAME", .section = "Server", .text = "The server's name or address."},
    {.name = "port", .letter = 'p', .type = OPT_INT, AT(port), .min = 1, .max = 65535,
     .fallback = "8000", .section = "Server", .text = "The server's TCP port."},
    {.name = "endpoint", .type = OPT_STRING, AT(endpoint), .fallback = "/v1/completions",
     .metavar = "PATH", .section = "Server", .text = "Where requests go."},
    {.name = "backend", .type = OPT_CHOICE, AT(backend), .fallback = "openai",
     .choices = backends, .section = "Server",
     .text = "The kind of API; both names mean OpenAI completions."},
    {.name = "model", .letter = 'm', .type = OPT_STRING, AT(model), .metavar = "NAME",
     .section = "Server", .text = "The model to ask for. Without it, the first one of the "
                                 "server's GET /v1/models."},
    {.name = "served-model-name", .type = OPT_STRING, AT(served_model_name),
     .metavar = "NAME", .section = "Server",
     .text = "The name sent in requests, if it is not the model's."},
    {.name = "api-key", .type = OPT_STRING, AT(api_key), .metavar = "KEY",
     .section = "Server", .text = "Sent as a bearer token. Without it, the environment "
                                 "variable OPENAI_API_KEY if that is set."},
    {.name = "insecure", .type = OPT_BOOL, AT(insecure), .section = "Server",
     .text = "Does not check TLS certificates."},
    {.name = "request-id-prefix", .type = OPT_STRING, AT(request_id_prefix),
     .metavar = "TEXT", .section = "Server", .text = "The x-request-id header is this and the "
                                 "request's index. Without it, bench-, 8 random digits, -."},
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
    {.name = "max-concurrency", .letter = 'c', .type = OPT_INT, AT(max_concurrency),
     .min = 1, .max = COUNT_MAX, .unit = "requests", .section = "Traffic",
     .text = "Requests in flight at most; others wait for their turn. Without it, no limit."},
    {.name = "num-prompts", .letter = 'n', .type = OPT_INT, AT(num_prompts), .min = 1,
     .max = COUNT_MAX, .fallback = "1000", .section = "Traffic",
     .text = "How many requests are sent."},
    {.name = "seed", .type = OPT_INT, AT(seed), .min = 0, .max = UINT32_MAX, .fallback = "0",
     .section = "Traffic", .text = "Seeds the arrivals and the prompts, with the streams of "
                                   "numpy that vllm bench serve draws from."},
    {.name = "print-schedule", .type = OPT_BOOL, AT(print_schedule), .section = "Traffic",
     .text = "Prints the send times in seconds, one a line, and sends nothing."},

    /* ---- prompt ---- */
    {.name = "tokenizer", .type = OPT_STRING, AT(tokenizer), .metavar = "DIR",
     .section = "Prompts",
     .text = "A model directory with tokenizer.json: prompts are sent as text. Without it, as "
             "arrays of token ids."},
    {.name = "random-input-len", .alias = "in", .type = OPT_INT, AT(random_input_len),
     .min = 1, .max = COUNT_MAX, .fallback = "1024", .unit = "tokens", .section = "Prompts",
     .text = "The length of each prompt. With --tokenizer, the special tokens that the server "
             "will put around it are part of it."},
    {.name = "random-output-len", .alias = "out", .type = OPT_INT, AT(random_output_len),
     .min = 1, .max = COUNT_MAX, .fallback = "128", .unit = "tokens", .section = "Prompts",
     .text = "The length of each answer (max_tokens)."},
    {.name = "random-range-ratio", .type = OPT_FLOAT, AT(random_range_ratio), .min = 0,
     .max = 1, .fallback = "0", .section = "Prompts",
     .text = "Draws lengths from [len * (1 - r), len * (1 + r)]; less than 1."},
    {.name = "random-vocab-size", .type = OPT_INT, AT(random_vocab_size), .min = 1,
     .max = 0x1p31 - 1, .unit = "tokens", .section = "Prompts",
     .text = "Token ids are drawn from [0, N). Without it, N is 1000, or the size of the "
             "tokenizer's vocabulary. Without --tokenizer, N must not exceed the vocabulary "
             "of the model, and special tokens below N are drawn too."},
    {.name = "ignore-eos", .type = OPT_BOOL, AT(ignore_eos), .fallback = "true",
     .section = "Prompts", .text = "Asks the server to go on past an end-of-sequence token, "
                                   "so that every answer has its full length."},
    {.name = "temperature", .type = OPT_FLOAT, AT(temperature), .min = 0, .max = 100,
     .section = "Prompts", .text = "Sent as it is. Without it, the server decides."},

    /* ---- result ---- */
    {.name = "percentile-metrics", .type = OPT_STRING, AT(percentile_metrics),
     .fallback = "ttft,tpot,itl", .metavar = "LIST", .section = "Results",
     .text = "The metrics shown and saved, of ttft, tpot, itl, e2el, client_queue_time, "
             "e2el_including_client_queue. The last two only with --max-concurrency."},
    {.name = "metric-percentiles", .type = OPT_STRING, AT(metric_percentiles),
     .fallback = "99", .metavar = "LIST", .section = "Results",
     .text = "The percentiles of each metric, like 50,90,99.9."},
    {.name = "save-result", .type = OPT_BOOL, AT(save_result), .section = "Results",
     .text = "Writes the result as JSON."},
    {.name = "save-detailed", .type = OPT_BOOL, AT(save_detailed), .section = "Results",
     .text = "Adds the values of each request to the JSON."},
    {.name = "result-dir", .type = OPT_STRING, AT(result_dir), .metavar = "DIR",
     .section = "Results", .text = "Where the JSON goes. Without it, the current directory."},
    {.name = "result-filename", .letter = 'o', .type = OPT_STRING, AT(result_filename),
     .metavar = "FILE", .section = "Results",
     .text = "The name of the JSON file. Without it, backend-RATEqps-MODEL-DATE.json."},
    {.name = "label", .type = OPT_STRING, AT(label), .section = "Results",
     .text = "Stored in the JSON, and used in its name in place of the backend."},
    {.name = "disable-tqdm", .letter = 'q', .type = OPT_BOOL, AT(disable_tqdm),
     .section = "Results", .text = "Shows no progress bar. There is none either where "
                                   "standard error is not a terminal."},

    /* ---- general ---- */
    {.name = "help", .letter = 'h', .type = OPT_BOOL, AT(help), .section = "General",
     .command_line_only = true, .text = "Shows this text."},
    {.name = "man", .type = OPT_BOOL, AT(man), .section = "General",
     .command_line_only = true, .text = "Prints the manual page's source."},
    {.name = "version", .type = OPT_BOOL, AT(version), .section = "General",
     .command_line_only = true, .text = "Shows the version."},
};

const struct option_table config_table = {
    .options = rows,
    .num_options = ARRAY_SIZE(rows),
    .program = "loadgen",
    .synopsis = "loadgen [options]",
    .summary = "benchmark client for OpenAI-compatible inference servers",
    .description =
        "Sends random prompts to an OpenAI-compatible server at a given rate, reads the "
        "answers as streams, and reports throughput, time to first token (TTFT), time per "
        "output token (TPOT), inter-token latency (ITL) and end-to-end latency (E2EL) with "
        "the definitions, the arrival times and the table of vllm bench serve.\n\n"
        "For example: loadgen --rate 10 -n 300 --in 100 --out 600\n\n"
        "Ctrl-C ends the run and reports what was measured so far; a second one ends the "
        "program. The exit status is 0 if a request succeeded, 1 if none did or the server "
        "could not be reached, 2 for a wrong option.",
    .allow_prefix = true,
};

int
config_check(const struct config *c, struct error *err)
{
    double percents[CONFIG_PERCENTILES_MAX];
    size_t num;
    if (c->random_range_ratio >= 1)
        return error_set(err, ERR_RANGE, "option '--random-range-ratio': '1' is not less than "
                                         "1 (0 gives every prompt the same length)");
    if (c->endpoint[0] != '/')
        return error_set(err, ERR_INVALID, "option '--endpoint': '%.100s' does not start with "
                                           "'/'", c->endpoint);
    return config_percentiles(c, percents, &num, err);
}

void
config_url(const struct config *c, struct buf *ret)
{
    if (c->base_url == NULL) {
        bool bare_v6 = strchr(c->host, ':') != NULL && c->host[0] != '[';
        buf_printf(ret, "http://%s%s%s:%lld", bare_v6 ? "[" : "", c->host, bare_v6 ? "]" : "",
                   (long long)c->port);
        return;
    }
    size_t len = strlen(c->base_url);
    while (len > 0 && c->base_url[len - 1] == '/')
        len--;
    buf_append(ret, c->base_url, len);
}

const char *
config_backend_name(const struct config *c)
{
    return backends[c->backend];
}

int
config_percentiles(const struct config *c, double ret_percents[CONFIG_PERCENTILES_MAX],
                   size_t *ret_num, struct error *err)
{
    const char *p = c->metric_percentiles;
    size_t num = 0;
    for (;;) {
        char *end;
        double v = strtod(p, &end);
        if (end == p || (*end != ',' && *end != '\0') || !(v >= 0 && v <= 100))
            return error_set(err, ERR_INVALID, "option '--metric-percentiles': '%.100s' is not "
                             "a list of numbers in the range 0..100", c->metric_percentiles);
        if (num == CONFIG_PERCENTILES_MAX)
            return error_set(err, ERR_RANGE, "option '--metric-percentiles': more than %d",
                             CONFIG_PERCENTILES_MAX);
        ret_percents[num++] = v;
        if (*end == '\0')
            break;
        p = end + 1;
    }
    *ret_num = num;
    return 0;
}
