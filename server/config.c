/* SPDX-License-Identifier: Apache-2.0 */
#include "server/config.h"

#include "engine/plan_report.h"

#include <string.h>

static const char *const generation_configs[] = {"auto", "vllm", NULL};
static const char *const log_levels[] = {"error", "warning", "info", "debug", "trace", NULL};

#define AT(field) offsetof(struct config, field)
#define ENGINE_AT(field) (AT(engine) + offsetof(struct engine_options, field))

#define SEC_MODEL "Model"
#define SEC_ENGINE "Engine"
#define SEC_SERVER "Server"
#define SEC_ANSWERS "Answers"
#define SEC_LOG "Log"
#define SEC_PLAN "llmd plan"
#define SEC_GENERAL "General"
#define SEC_VLLM "vLLM options without effect here"
#define SEC_NOT "vLLM options that llmd does not have"

static const struct option options[] = {
    /* Model */
    {.name = "model", .letter = 'm', .type = OPT_STRING, .offset = AT(model), .metavar = "DIR",
     .section = SEC_MODEL,
     .text = "The model: a Hugging Face directory with config.json, safetensors weights and "
             "tokenizer.json."},
    {.name = "served-model-name", .type = OPT_LIST, .offset = AT(served_model_name),
     .metavar = "NAME...", .section = SEC_MODEL,
     .text = "The names clients may give as \"model\"; answers and metrics use the first. "
             "Default: the model option as it was written."},
    {.name = "generation-config", .type = OPT_CHOICE, .offset = AT(generation_config),
     .fallback = "auto", .choices = generation_configs, .section = SEC_MODEL,
     .text = "Where sampling values that a request leaves out come from: auto takes the model's "
             "generation_config.json, vllm takes neutral ones."},
    {.name = "max-logprobs", .type = OPT_INT, .offset = AT(max_logprobs), .min = 0, .max = 1000,
     .fallback = "20", .section = SEC_MODEL,
     .text = "Most log-probabilities per token that a request may ask for."},

#include "engine/engine_options.inc"

    /* Engine */
    {.name = "max-num-queued-reqs", .type = OPT_INT, .offset = AT(max_num_queued_reqs), .min = 1,
     .max = 65536, .fallback = "4096", .unit = "sequences", .section = SEC_ENGINE,
     .text = "Most sequences waiting and running (n = 3 counts three). More are answered 503 "
             "with Retry-After."},
    {.name = "max-num-queued-tokens", .type = OPT_INT, .offset = AT(max_num_queued_tokens),
     .min = 0, .max = 1e12, .fallback = "0", .unit = "tokens", .section = SEC_ENGINE,
     .text = "Most prompt tokens accepted and not finished yet. 0: no limit."},

    /* Server */
    {.name = "host", .type = OPT_STRING, .offset = AT(host), .fallback = "127.0.0.1",
     .metavar = "ADDRESS", .section = SEC_SERVER,
     .text = "Address to listen on; 0.0.0.0 or :: for all interfaces."},
    {.name = "port", .type = OPT_INT, .offset = AT(port), .min = 0, .max = 65535,
     .fallback = "8000", .section = SEC_SERVER,
     .text = "TCP port. 0: any free one, which the log names."},
    {.name = "uds", .type = OPT_STRING, .offset = AT(uds), .metavar = "PATH",
     .section = SEC_SERVER, .text = "Listen on this Unix socket instead of a TCP port."},
    {.name = "api-key", .type = OPT_LIST, .offset = AT(api_key), .metavar = "KEY...",
     .section = SEC_SERVER,
     .text = "Demand one of these as \"Authorization: Bearer KEY\" on all routes but /health, "
             "/ping, /version and /metrics. Visible in the process list: prefer --api-key-file."},
    {.name = "api-key-file", .type = OPT_STRING, .offset = AT(api_key_file), .metavar = "FILE",
     .section = SEC_SERVER, .text = "Read keys from this file, one a line, # for comments."},
    {.name = "guard-metrics", .type = OPT_BOOL, .offset = AT(guard_metrics), .fallback = "false",
     .section = SEC_SERVER, .text = "Demand the API key on /metrics too."},
    {.name = "allowed-origins", .type = OPT_LIST, .offset = AT(allowed_origins), .fallback = "*",
     .metavar = "ORIGIN...", .section = SEC_SERVER,
     .text = "Origins that browsers may call from (CORS)."},
    {.name = "shutdown-timeout", .type = OPT_FLOAT, .offset = AT(shutdown_timeout), .min = 0,
     .max = 86400, .fallback = "30", .unit = "seconds", .section = SEC_SERVER,
     .text = "After SIGTERM, running requests may finish for so long; a second SIGTERM ends at "
             "once."},
    {.name = "request-timeout", .type = OPT_FLOAT, .offset = AT(request_timeout), .min = 0,
     .max = 86400, .fallback = "0", .unit = "seconds", .section = SEC_SERVER,
     .text = "Longest life of a request, waiting included. 0: no limit."},
    {.name = "sse-keep-alive-interval", .type = OPT_FLOAT,
     .offset = AT(sse_keep_alive_interval), .min = 0, .max = 3600, .fallback = "15",
     .unit = "seconds", .section = SEC_SERVER,
     .text = "A stream without news gets a comment line this often. 0: never."},
    {.name = "max-connections", .type = OPT_INT, .offset = AT(max_connections), .min = 1,
     .max = 65536, .fallback = "4096", .section = SEC_SERVER,
     .text = "Most open connections; more are answered 503."},
    {.name = "max-body-bytes", .type = OPT_INT, .offset = AT(max_body_bytes), .min = 1024,
     .max = 1073741824, .fallback = "16M", .unit = "bytes", .section = SEC_SERVER,
     .text = "Largest request body; larger ones are answered 413."},
    {.name = "max-pending-bytes", .type = OPT_INT, .offset = AT(max_pending_bytes), .min = 4096,
     .max = 1073741824, .fallback = "1M", .unit = "bytes", .section = SEC_SERVER,
     .text = "A stream whose client reads so slowly that this much is unsent is dropped."},
    {.name = "max-prompts", .type = OPT_INT, .offset = AT(max_prompts), .min = 1, .max = 65536,
     .fallback = "400", .section = SEC_SERVER, .text = "Most prompts in one request."},
    {.name = "max-n", .type = OPT_INT, .offset = AT(max_n), .min = 1, .max = 16384,
     .fallback = "128", .section = SEC_SERVER,
     .text = "Largest \"n\": choices for one prompt."},
    {.name = "head-timeout", .type = OPT_FLOAT, .offset = AT(head_timeout), .min = 0.1,
     .max = 3600, .fallback = "10", .unit = "seconds", .section = SEC_SERVER,
     .text = "A connection must have sent its headers within this time."},
    {.name = "body-timeout", .type = OPT_FLOAT, .offset = AT(body_timeout), .min = 0.1,
     .max = 3600, .fallback = "30", .unit = "seconds", .section = SEC_SERVER,
     .text = "A request must have sent its body within this time."},
    {.name = "idle-timeout", .type = OPT_FLOAT, .offset = AT(idle_timeout), .min = 1, .max = 3600,
     .fallback = "60", .unit = "seconds", .section = SEC_SERVER,
     .text = "A connection without requests, or one that takes nothing of what is sent, is "
             "closed after this time."},

    /* Answers */
    {.name = "enable-prompt-tokens-details", .type = OPT_BOOL,
     .offset = AT(enable_prompt_tokens_details), .fallback = "false", .section = SEC_ANSWERS,
     .text = "Put prompt_tokens_details into usage."},
    {.name = "enable-force-include-usage", .type = OPT_BOOL,
     .offset = AT(enable_force_include_usage), .fallback = "false", .section = SEC_ANSWERS,
     .text = "Put usage into every stream, asked for or not."},
    {.name = "return-tokens-as-token-ids", .type = OPT_BOOL,
     .offset = AT(return_tokens_as_token_ids), .fallback = "false", .section = SEC_ANSWERS,
     .text = "Spell tokens in logprobs as token_id:N unless a request says otherwise."},

    /* Log */
    {.name = "log-level", .type = OPT_CHOICE, .offset = AT(log_level), .fallback = "info",
     .choices = log_levels, .section = SEC_LOG, .alias = "uvicorn-log-level",
     .text = "Least level that is logged. Prompts and outputs never are."},
    {.name = "access-log", .type = OPT_BOOL, .offset = AT(access_log), .fallback = "true",
     .section = SEC_LOG, .text = "Log one line for each request."},

    /* llmd plan */
    {.name = "gpu", .type = OPT_CHOICE, .offset = AT(gpu), .fallback = "all",
     .choices = plan_gpus, .section = SEC_PLAN, .command_line_only = true,
     .text = "The GPU to plan for."},
    {.name = "context", .type = OPT_INT, .offset = AT(context), .min = 1, .max = 2147483647.0,
     .fallback = "400", .unit = "tokens", .section = SEC_PLAN, .command_line_only = true,
     .text = "Mean length of the sequences in a decode step."},
    {.name = "json", .type = OPT_BOOL, .offset = AT(json), .fallback = "false",
     .section = SEC_PLAN, .command_line_only = true, .text = "Print the plan as JSON."},

    /* General */
    {.name = "config", .letter = 'c', .type = OPT_STRING, .offset = AT(config), .metavar = "FILE",
     .section = SEC_GENERAL, .command_line_only = true,
     .text = "Read options from this file first; the command line wins."},
    {.name = "check-config", .type = OPT_BOOL, .offset = AT(check_config), .fallback = "false",
     .section = SEC_GENERAL, .command_line_only = true,
     .text = "Check the options and end."},
    {.name = "man", .type = OPT_BOOL, .offset = AT(man), .fallback = "false",
     .section = SEC_GENERAL, .command_line_only = true,
     .text = "Print the manual page's source and end."},
    {.name = "print-config", .type = OPT_BOOL, .offset = AT(print_config), .fallback = "false",
     .section = SEC_GENERAL, .command_line_only = true,
     .text = "Print an example configuration file and end."},
    {.name = "version", .letter = 'V', .type = OPT_BOOL, .offset = AT(version),
     .fallback = "false", .section = SEC_GENERAL, .command_line_only = true,
     .text = "Print the version and end."},
    {.name = "help", .letter = 'h', .type = OPT_BOOL, .offset = AT(help), .fallback = "false",
     .section = SEC_GENERAL, .command_line_only = true, .text = "Print this text and end."},

    /* vLLM's, accepted */
    {.name = "disable-log-requests", .type = OPT_IGNORED, .section = SEC_VLLM,
     .text = "Requests' contents are never logged."},
    {.name = "enable-chunked-prefill", .type = OPT_IGNORED, .section = SEC_VLLM,
     .text = "Prefill is always chunked."},
    {.name = "block-size", .type = OPT_IGNORED, .metavar = "TOKENS", .section = SEC_VLLM,
     .text = "A block is always 16 tokens."},
    {.name = "trust-remote-code", .type = OPT_IGNORED, .section = SEC_VLLM,
     .text = "A model directory's code is never run."},
    {.name = "disable-log-stats", .type = OPT_IGNORED, .section = SEC_VLLM,
     .text = "Statistics are served at /metrics and not logged."},

    /* vLLM's, refused by name */
    {.name = "quantization", .type = OPT_REFUSED, .metavar = "METHOD", .section = SEC_NOT,
     .text = "llmd serves 16-bit and float32 checkpoints only."},
    {.name = "tensor-parallel-size", .type = OPT_REFUSED, .metavar = "N", .section = SEC_NOT,
     .alias = "tp", .text = "llmd uses one device."},
    {.name = "pipeline-parallel-size", .type = OPT_REFUSED, .metavar = "N", .section = SEC_NOT,
     .text = "llmd uses one device."},
    {.name = "data-parallel-size", .type = OPT_REFUSED, .metavar = "N", .section = SEC_NOT,
     .text = "llmd uses one device; run one llmd for each behind a balancer."},
    {.name = "enable-lora", .type = OPT_REFUSED, .section = SEC_NOT,
     .text = "llmd has no adapters."},
    {.name = "speculative-config", .type = OPT_REFUSED, .metavar = "JSON", .section = SEC_NOT,
     .text = "llmd has no speculative decoding."},
    {.name = "tokenizer", .type = OPT_REFUSED, .metavar = "DIR", .section = SEC_NOT,
     .text = "the tokenizer is the model directory's own."},
    {.name = "kv-cache-dtype", .type = OPT_REFUSED, .metavar = "TYPE", .section = SEC_NOT,
     .text = "the KV cache has the type of --dtype."},
    {.name = "ssl-keyfile", .type = OPT_REFUSED, .metavar = "FILE", .section = SEC_NOT,
     .text = "put a TLS proxy in front, see docs/design.md."},
    {.name = "ssl-certfile", .type = OPT_REFUSED, .metavar = "FILE", .section = SEC_NOT,
     .text = "put a TLS proxy in front, see docs/design.md."},
};

const struct option_table config_table = {
    .options = options,
    .num_options = ARRAY_SIZE(options),
    .program = "llmd",
    .synopsis = "llmd serve DIR [options]\nllmd --model DIR [options]\nllmd --config FILE\n"
                "llmd plan DIR [options]",
    .summary = "OpenAI-compatible inference server",
    .description =
        "llmd serves a language model over HTTP with the API of OpenAI's completions: continuous "
        "batching over a paged KV cache, streaming by server-sent events, metrics for "
        "Prometheus.\n\n"
        "It answers while it loads (/health says 503 and how far it is), and serves until "
        "SIGTERM, after which running requests may finish within --shutdown-timeout.\n\n"
        "llmd plan takes the same options and serves nothing: from config.json alone it tells "
        "how the memory of an H100 or H200 would be shared out, how many sequences find room, "
        "and the floor, the least time that the GPU's bandwidth and arithmetic leave for a "
        "decode step and for 300 prompts of 100 tokens and 600 more. It needs no GPU. The exit "
        "status is 1 when the model fits none of the GPUs asked for.",
};

/* "serve DIR" or "plan DIR" and nothing else may stand among the options. */
static int
take_words(struct config *c, const char *const *words, size_t num_words, struct error *err)
{
    size_t i = 0;
    c->plan = num_words > 0 && strcmp(words[0], "plan") == 0;
    if (c->plan || (num_words > 0 && strcmp(words[0], "serve") == 0))
        i++;
    if (i < num_words) {
        if (c->model != NULL && strcmp(c->model, words[i]) != 0 && c->config == NULL)
            return error_set(err, ERR_INVALID, "two models given: '%s' and '%s'", c->model,
                             words[i]);
        int rc = option_set(&config_table, c, "model", words[i++], err);
        if (rc < 0)
            return rc;
    }
    if (i < num_words)
        return error_set(err, ERR_INVALID, "unexpected argument '%s'", words[i]);
    return 0;
}

static int
check(const struct config *c, struct error *err)
{
    if (c->help || c->version || c->man || c->print_config)
        return 0;
    if (c->model == NULL || c->model[0] == '\0')
        return error_set(err, ERR_INVALID,
                         "no model given: use 'llmd %s DIR' or option '--model DIR'",
                         c->plan ? "plan" : "serve");
    if (!c->plan && (c->json || c->gpu != 0))
        return error_set(err, ERR_INVALID, "option '--%s' is for 'llmd plan DIR'",
                         c->json ? "json" : "gpu");
    return engine_options_check(&c->engine, err);
}

/* The command line is read twice: first for --config, then over the file. */
int
config_read(struct config *c, int argc, char **argv, struct error *err)
{
    const char *words[3];
    size_t num_words;
    *c = (struct config){0};
    int rc = option_defaults(&config_table, c, err);
    if (rc == 0)
        rc = option_read_argv(&config_table, c, argc, argv, words, ARRAY_SIZE(words), &num_words,
                              err);
    if (rc == 0 && c->config != NULL && !c->help && !c->version) {
        char *path = c->config;
        c->config = NULL;
        option_release(&config_table, c);
        *c = (struct config){0};
        rc = option_defaults(&config_table, c, err);
        if (rc == 0)
            rc = option_read_file(&config_table, c, path, err);
        free(path);
        if (rc == 0)
            rc = option_read_argv(&config_table, c, argc, argv, words, ARRAY_SIZE(words),
                                  &num_words, err);
    }
    if (rc == 0)
        rc = take_words(c, words, num_words, err);
    return rc == 0 ? check(c, err) : rc;
}

void
config_release(struct config *c)
{
    option_release(&config_table, c);
}
