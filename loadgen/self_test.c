/* SPDX-License-Identifier: Apache-2.0 */
#include "loadgen/self_test.h"
#include "loadgen/client.h"
#include "loadgen/mock.h"

#include <math.h>
#include <string.h>

#define PROMPT_TOKENS 16
#define MAX_TTFT_ERROR_MS 5.0
#define MAX_ITL_ERROR_MS 1.0

static const size_t default_counts[] = {1, 10, 100, 500, 1000};

const struct self_test_args self_test_default = {
    .stream_counts = default_counts,
    .num_counts = ARRAY_SIZE(default_counts),
    .ttft_ns = 50000000,
    .itl_ns = 10000000,
    .num_tokens = 100,
};

/* What one count of streams gave, in milliseconds. */
struct errors {
    struct samples ttft_ms, itl_ms; /* what loadgen saw less what was, as it is and absolute */
    struct samples send_ms;         /* from the start that loadgen notes to the arrival */
    struct samples receive_ms;      /* from a token's sending to the stamp that loadgen gives it */
    double client_cpu_s, server_cpu_s, wall_s;
    size_t num_failed;
};

static double
difference_ms(uint64_t later_ns, uint64_t earlier_ns)
{
    return ((double)later_ns - (double)earlier_ns) / 1e6;
}

/* The client's view of a request against the server's. */
static void
compare(struct errors *e, const struct mock *m, const struct reply *r, size_t i)
{
    uint64_t seen_ns = r->first_ns;
    if (r->status != REPLY_SUCCEEDED) {
        e->num_failed++;
        return;
    }
    uint64_t first_ns = mock_token_ns(m, i, 0), arrival_ns = mock_arrival_ns(m, i);
    double true_ttft_ms = difference_ms(first_ns, arrival_ns);
    samples_record(&e->ttft_ms, difference_ms(r->first_ns, r->start_ns) - true_ttft_ms);
    samples_record(&e->send_ms, difference_ms(arrival_ns, r->start_ns));
    samples_record(&e->receive_ms, difference_ms(r->first_ns, first_ns));
    for (size_t k = 1; k <= r->itls_s.len; k++) {
        double gap_ms = r->itls_s.values[k - 1] * 1000;
        uint64_t sent_ns = mock_token_ns(m, i, k);
        samples_record(&e->itl_ms,
                       fabs(gap_ms - difference_ms(sent_ns, mock_token_ns(m, i, k - 1))));
        seen_ns += (uint64_t)llround(gap_ms * 1e6);
        samples_record(&e->receive_ms, difference_ms(seen_ns, sent_ns));
    }
}

static int
set_options(struct config *c, const struct self_test_args *args, uint16_t port,
            struct error *err)
{
    char text[32];
    int e = option_defaults(&config_table, c, err);
    if (e < 0)
        return e;
    snprintf(text, sizeof text, "%u", port);
    e = option_set(&config_table, c, "port", text, err);
    c->threads = args->threads;
    return e == 0 ? config_settle(c, err) : e;
}

/* One run of `num` streams, all due at once. */
static int
measure(const struct self_test_args *args, size_t num, struct errors *ret, struct error *err)
{
    struct mock_args mock_args = {.ttft_ns = args->ttft_ns, .itl_ns = args->itl_ns,
                                  .num_tokens = args->num_tokens, .max_requests = num};
    int32_t ids[PROMPT_TOKENS] = {0};
    struct prompt prompt = {.ids = ids, .len = PROMPT_TOKENS,
                            .output_len = (int64_t)args->num_tokens};
    struct client_run run = {.prompts = &prompt, .num_prompts = 1, .num_requests = num,
                             .duration_s = NAN};
    struct client_outcome outcome = {0};
    struct config config = {0};
    struct mock *mock = NULL;
    struct client *client = NULL;
    run.replies = calloc(num, sizeof *run.replies);
    int e = run.replies == NULL ? error_set(err, ERR_NOMEM, "out of memory")
                                : mock_new(&mock_args, &mock, err);
    if (e == 0)
        e = set_options(&config, args, mock_port(mock), err);
    if (e == 0)
        e = client_new(&config, &client, err);
    if (e == 0)
        e = client_set_model(client, "mock", err);
    if (e == 0)
        e = client_run(client, &run, &outcome, err);
    if (e == 0 && outcome.interrupted)
        e = error_set(err, ERR_CANCELLED, "interrupted");
    for (size_t i = 0; i < num && e == 0; i++)
        compare(ret, mock, &run.replies[i], i);
    ret->client_cpu_s = outcome.cpu_s;
    ret->server_cpu_s = mock != NULL ? mock_cpu_s(mock) : 0;
    ret->wall_s = outcome.duration_s;
    client_free(client);
    mock_free(mock);
    for (size_t i = 0; run.replies != NULL && i < num; i++)
        reply_release(&run.replies[i]);
    free(run.replies);
    option_release(&config_table, &config);
    return e;
}

static void
errors_release(struct errors *e)
{
    samples_release(&e->ttft_ms);
    samples_release(&e->itl_ms);
    samples_release(&e->send_ms);
    samples_release(&e->receive_ms);
}

static void
print_pair(struct buf *ret, struct samples *s)
{
    buf_printf(ret, "  %7.2f / %-7.2f", samples_median(s), samples_percentile(s, 99));
}

static void
print_row(struct buf *ret, size_t num, struct errors *e)
{
    buf_printf(ret, "%-8zu", num);
    print_pair(ret, &e->ttft_ms);
    print_pair(ret, &e->itl_ms);
    print_pair(ret, &e->send_ms);
    print_pair(ret, &e->receive_ms);
    buf_printf(ret, "  %5.2f  %6.2f  %5.2f\n", e->client_cpu_s, e->server_cpu_s, e->wall_s);
}

int
self_test(const struct self_test_args *args, struct buf *ret_table, bool *ret_good,
          struct error *err)
{
    *ret_good = true;
    buf_printf(ret_table, "loadgen against a server of TTFT %.0f ms, ITL %.0f ms, %zu tokens; all "
               "streams start at once.\nErrors in ms, median / p99: what loadgen says less what "
               "was. s: seconds of processors\nby loadgen, by the server, and of time.\n\n"
               "%-8s  %-17s  %-17s  %-17s  %-17s  %5s  %6s  %5s\n",
               (double)args->ttft_ns / 1e6, (double)args->itl_ns / 1e6, args->num_tokens,
               "streams", "TTFT", "|ITL|", "of it sending", "and receiving", "own s", "server",
               "all");
    for (size_t i = 0; i < args->num_counts; i++) {
        struct errors errors = {0};
        int e = measure(args, args->stream_counts[i], &errors, err);
        if (e == 0) {
            print_row(ret_table, args->stream_counts[i], &errors);
            *ret_good = *ret_good && errors.num_failed == 0 &&
                        samples_percentile(&errors.ttft_ms, 99) < MAX_TTFT_ERROR_MS &&
                        samples_percentile(&errors.itl_ms, 99) < MAX_ITL_ERROR_MS;
            if (errors.num_failed > 0)
                buf_printf(ret_table, "%zu of them failed\n", errors.num_failed);
        }
        errors_release(&errors);
        if (e < 0)
            return e;
    }
    buf_printf(ret_table, "\n%s: the goal is a p99 below %.0f ms for TTFT and %.0f ms for ITL\n",
               *ret_good ? "good" : "NOT GOOD", MAX_TTFT_ERROR_MS, MAX_ITL_ERROR_MS);
    return 0;
}
