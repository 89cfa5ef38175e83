/* SPDX-License-Identifier: Apache-2.0 */
#include "loadgen/progress.h"

#define BAR_COLUMNS 30

static void
print_time(char *text, size_t text_bytes, double s)
{
    unsigned long total = s > 0 ? (unsigned long)s : 0;
    if (total >= 3600)
        snprintf(text, text_bytes, "%lu:%02lu:%02lu", total / 3600, total / 60 % 60, total % 60);
    else
        snprintf(text, text_bytes, "%02lu:%02lu", total / 60, total % 60);
}

void
progress_draw(size_t num_done, size_t num_total, double elapsed_s)
{
    char bar[BAR_COLUMNS + 1], elapsed[32], left[32] = "?";
    size_t full = num_done * BAR_COLUMNS / num_total;
    for (size_t i = 0; i < BAR_COLUMNS; i++)
        bar[i] = i < full ? '#' : '.';
    bar[BAR_COLUMNS] = '\0';
    double per_s = elapsed_s > 0 ? (double)num_done / elapsed_s : 0;
    print_time(elapsed, sizeof elapsed, elapsed_s);
    if (per_s > 0)
        print_time(left, sizeof left, (double)(num_total - num_done) / per_s);
    fprintf(stderr, "\r%3zu%% |%s| %zu/%zu [%s<%s, %.2f requests/s] ",
            num_done * 100 / num_total, bar, num_done, num_total, elapsed, left, per_s);
    fflush(stderr);
}

void
progress_end(void)
{
    fputc('\n', stderr);
}
