/* SPDX-License-Identifier: Apache-2.0 */
/* What one option says of another, and values with a form of their own. */
#include "loadgen/config.h"
#include "loadgen/dataset.h"
#include "util/json.h"

#include <math.h>
#include <string.h>
#include <unistd.h>

bool
config_is_chat(const struct config *c)
{
    return c->backend == BACKEND_OPENAI_CHAT;
}

static int
check_range_ratio(double r, struct error *err)
{
    if (r >= 0 && r < 1)
        return 0;
    return error_set(err, ERR_RANGE, "option '--random-range-ratio': '%g' is not within [0, 1) "
                                     "(0 gives every prompt the same length)", r);
}

/* A number, or {"input": r, "output": r}. */
static int
settle_range_ratio(struct config *c, struct error *err)
{
    const char *text = c->random_range_ratio;
    char *end;
    double input = strtod(text, &end), output = input;
    if (*end != '\0' || end == text) {
        json_t *object;
        input = output = 0;
        int e = json_parse_object(text, strlen(text), 0, "option '--random-range-ratio'",
                                  &object, err);
        if (e < 0)
            return e;
        struct json_object o = {object, "option '--random-range-ratio'"};
        e = json_get_double(&o, "input", 0, 1, &input, err);
        if (e == 0)
            e = json_get_double(&o, "output", 0, 1, &output, err);
        json_decref(object);
        if (e < 0)
            return e;
    }
    c->random_input_range = input;
    c->random_output_range = output;
    int e = check_range_ratio(input, err);
    return e == 0 ? check_range_ratio(output, err) : e;
}

static int
settle_goodput(struct config *c, struct error *err)
{
    struct goodput *g = &c->goodput_limits;
    *g = (struct goodput){NAN, NAN, NAN};
    c->has_goodput = c->goodput.len > 0;
    for (size_t i = 0; i < c->goodput.len; i++) {
        const char *item = c->goodput.items[i], *colon = strchr(item, ':');
        size_t len = colon != NULL ? (size_t)(colon - item) : 0;
        double *limit = len == 4 && memcmp(item, "ttft", 4) == 0   ? &g->ttft_ms
                        : len == 4 && memcmp(item, "tpot", 4) == 0 ? &g->tpot_ms
                        : len == 4 && memcmp(item, "e2el", 4) == 0 ? &g->e2el_ms
                                                                   : NULL;
        char *end = NULL;
        double ms = colon != NULL ? strtod(colon + 1, &end) : NAN;
        if (limit == NULL || end == colon + 1 || *end != '\0' || !(ms >= 0))
            return error_set(err, ERR_INVALID, "option '--goodput': '%.100s' is not ttft:MS, "
                                               "tpot:MS or e2el:MS", item);
        *limit = ms;
    }
    return 0;
}

static int
check_pairs(const struct option_list *list, const char *name, struct error *err)
{
    for (size_t i = 0; i < list->len; i++) {
        if (strchr(list->items[i], '=') == NULL || strpbrk(list->items[i], "\r\n") != NULL)
            return error_set(err, ERR_INVALID, "option '--%s': '%.100s' is not KEY=VALUE", name,
                             list->items[i]);
    }
    return 0;
}

static int
check_ramp_up(const struct config *c, struct error *err)
{
    bool has_ends = c->ramp_up_start_rps > 0 && c->ramp_up_end_rps > 0;
    if (c->ramp_up_strategy == RAMP_UP_NONE)
        return c->ramp_up_start_rps == 0 && c->ramp_up_end_rps == 0
                   ? 0
                   : error_set(err, ERR_INVALID, "option '--ramp-up-strategy' is missing");
    if (!isinf(c->request_rate))
        return error_set(err, ERR_INVALID, "options '--ramp-up-strategy' and '--request-rate' "
                                           "exclude each other");
    if (!has_ends || c->ramp_up_start_rps > c->ramp_up_end_rps)
        return error_set(err, ERR_INVALID, "option '--ramp-up-strategy' needs "
                         "--ramp-up-start-rps and a --ramp-up-end-rps not below it");
    return 0;
}

static int
check_dataset(const struct config *c, struct error *err)
{
    bool generated = c->dataset_name == DATASET_RANDOM ||
                     c->dataset_name == DATASET_PREFIX_REPETITION;
    if (generated && c->dataset_path != NULL)
        return error_set(err, ERR_INVALID, "option '--dataset-path': this data set has no file; "
                                           "name another one with --dataset-name");
    if (!generated && c->dataset_path == NULL)
        return error_set(err, ERR_INVALID, "option '--dataset-path' is missing: this data set "
                                           "is read from a file");
    if (c->dataset_name == DATASET_TIMED_TRACE && config_is_chat(c))
        return error_set(err, ERR_INVALID, "option '--dataset-name': timed_trace sends token "
                                           "ids, which chat completions do not take");
    return 0;
}

/* Without a rate or a cap, a run for a time would send without end at once. */
static int
check_duration(const struct config *c, struct error *err)
{
    if (!isnan(c->duration_s) && isinf(c->request_rate) && c->max_concurrency == 0 &&
        c->ramp_up_strategy == RAMP_UP_NONE && c->dataset_name != DATASET_TIMED_TRACE)
        return error_set(err, ERR_INVALID, "option '--duration' needs --request-rate or "
                                           "--max-concurrency");
    return 0;
}

/* One action besides a single run. */
static int
check_actions(const struct config *c, struct error *err)
{
    int num = (c->num_runs > 1) + (c->sweep != NULL) + (c->find_rate != NULL) +
              (c->compare.len > 0) + c->self_test;
    if (num > 1)
        return error_set(err, ERR_INVALID, "options '--num-runs', '--sweep', '--find-rate', "
                                           "'--compare' and '--self-test' exclude each other");
    if ((c->sweep != NULL || c->find_rate != NULL) &&
        (c->ramp_up_strategy != RAMP_UP_NONE || c->dataset_name == DATASET_TIMED_TRACE))
        return error_set(err, ERR_INVALID, "options '--sweep' and '--find-rate' set the rate: "
                                           "they go with neither a ramp-up nor a timed trace");
    if (c->num_files > 0 && (c->format != FORMAT_REFERENCE || num > 0))
        return error_set(err, ERR_INVALID, "'%.100s': files of results go with --format "
                                           "reference alone, or after --compare", c->files[0]);
    if (c->compare.len != 0 && c->compare.len != 2)
        return error_set(err, ERR_INVALID, "option '--compare' takes two files, not %zu",
                         c->compare.len);
    return 0;
}

static int
check_base_url(const struct config *c, struct error *err)
{
    const char *host = c->base_url != NULL ? strstr(c->base_url, "://") : NULL;
    if (host != NULL && memchr(host + 3, '@', strcspn(host + 3, "/?#")) != NULL)
        return error_set(err, ERR_INVALID, "option '--base-url': a user in the URL is not "
                                           "supported; give --header Authorization=...");
    return 0;
}

/* As in vllm bench serve, an empty list is the default one. */
static int
settle_metrics(struct config *c, struct error *err)
{
    if (c->percentile_metrics[0] != '\0')
        return 0;
    return option_set(&config_table, c, "percentile-metrics", "ttft,tpot,itl", err);
}

static int
settle_endpoint(struct config *c, struct error *err)
{
    if (c->endpoint == NULL)
        c->endpoint = strdup(config_is_chat(c) ? "/v1/chat/completions" : "/v1/completions");
    if (c->endpoint == NULL)
        return error_set(err, ERR_NOMEM, "out of memory");
    if (c->endpoint[0] != '/')
        return error_set(err, ERR_INVALID, "option '--endpoint': '%.100s' does not start with "
                                           "'/'", c->endpoint);
    return 0;
}

/* Of the file its directory, and there must be one. */
static int
settle_tokenizer(struct config *c, struct error *err)
{
    static const char file[] = "/tokenizer.json";
    if (c->tokenizer == NULL || c->skip_tokenizer_init)
        return 0;
    struct buf path = {0};
    size_t len = strlen(c->tokenizer);
    buf_puts(&path, c->tokenizer);
    if (len >= strlen(file) && strcmp(c->tokenizer + len - strlen(file), file) == 0)
        c->tokenizer[len - strlen(file)] = '\0';
    else
        buf_puts(&path, file);
    int e = path.failed ? error_set(err, ERR_NOMEM, "out of memory") : 0;
    if (e == 0 && access(buf_bytes(&path), R_OK) != 0)
        e = error_set(err, ERR_NOTFOUND, "option '--tokenizer': there is no '%.200s' (a directory "
                                         "of this machine; nothing is fetched)", buf_bytes(&path));
    buf_release(&path);
    return e;
}

static void
settle_lengths(struct config *c)
{
    if (c->input_len > 0)
        c->random_input_len = c->input_len;
    if (c->output_len > 0) {
        c->random_output_len = c->sharegpt_output_len = c->output_len;
        c->custom_output_len = c->prefix_repetition_output_len = c->output_len;
    }
    if (c->dataset_name == DATASET_RANDOM || c->dataset_name == DATASET_TIMED_TRACE)
        c->ignore_eos = true;
}

int
config_settle(struct config *c, struct error *err)
{
    double percents[CONFIG_PERCENTILES_MAX];
    size_t num;
    int e = settle_range_ratio(c, err);
    if (e == 0)
        e = settle_goodput(c, err);
    if (e == 0)
        e = check_base_url(c, err);
    if (e == 0)
        e = settle_metrics(c, err);
    if (e == 0)
        e = settle_endpoint(c, err);
    if (e == 0)
        e = settle_tokenizer(c, err);
    if (e == 0)
        e = check_pairs(&c->header, "header", err);
    if (e == 0)
        e = check_pairs(&c->metadata, "metadata", err);
    if (e == 0)
        e = check_ramp_up(c, err);
    if (e == 0)
        e = check_dataset(c, err);
    if (e == 0)
        e = check_duration(c, err);
    if (e == 0)
        e = check_actions(c, err);
    if (e == 0)
        e = config_percentiles(c, percents, &num, err);
    settle_lengths(c);
    return e;
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

int
config_percentiles(const struct config *c, double ret_percents[CONFIG_PERCENTILES_MAX],
                   size_t *ret_num, struct error *err)
{
    const char *p = c->metric_percentiles;
    size_t num = 0;
    for (;;) {
        char *end;
        double v = strtod(p, &end);
        end += strspn(end, " ");
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
