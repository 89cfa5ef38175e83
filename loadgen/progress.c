/* SPDX-License-Identifier: Apache-2.0 */
#include "loadgen/progress.h"

#define BAR_COLUMNS 24
#define WINDOW_S 1.0

static void
print_time(char *text, size_t text_bytes, double s)
{
    unsigned long total = s > 0 ? (unsigned long)s : 0;
    if (total >= 3600)
        snprintf(text, text_bytes, "%lu:%02lu:%02lu", total / 3600, total / 60 % 60, total % 60);
    else
        snprintf(text, text_bytes, "%02lu:%02lu", total / 60, total % 60);
}

/* The rates of the last second or so. */
static void
update_rates(struct progress *p, const struct client_progress *now)
{
    double s = now->elapsed_s - p->then_s;
    if (s < WINDOW_S && now->num_done != now->num_total)
        return;
    if (s > 0) {
        p->requests_per_s = (double)(now->num_done - p->num_done_then) / s;
        p->tokens_per_s = (double)(now->num_tokens - p->num_tokens_then) / s;
    }
    p->then_s = now->elapsed_s;
    p->num_done_then = now->num_done;
    p->num_tokens_then = now->num_tokens;
}

static void
print_bar(const struct client_progress *now)
{
    char bar[BAR_COLUMNS + 1];
    size_t full = now->num_done * BAR_COLUMNS / now->num_total;
    for (size_t i = 0; i < BAR_COLUMNS; i++)
        bar[i] = i < full ? '#' : '.';
    bar[BAR_COLUMNS] = '\0';
    fprintf(stderr, "%3zu%% |%s| %zu/%zu", now->num_done * 100 / now->num_total, bar,
            now->num_done, now->num_total);
}

void
progress_draw(struct progress *p, const struct client_progress *now)
{
    char elapsed[32];
    update_rates(p, now);
    print_time(elapsed, sizeof elapsed, now->elapsed_s);
    fputc('\r', stderr);
    if (now->num_total > 0)
        print_bar(now);
    else
        fprintf(stderr, "%zu done", now->num_done);
    fprintf(stderr, " %s, %zu running, %zu waiting, %.1f req/s, %.0f tok/s \033[K", elapsed,
            now->num_running, now->num_waiting, p->requests_per_s, p->tokens_per_s);
    fflush(stderr);
}

void
progress_end(void)
{
    fputc('\n', stderr);
}
