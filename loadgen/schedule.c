/* SPDX-License-Identifier: Apache-2.0 */
#include "loadgen/schedule.h"

#include "loadgen/numpy_random.h"

#include <math.h>

double
schedule_rate(const struct schedule_args *args, size_t index)
{
    double start = args->ramp_up_start_per_s, end = args->ramp_up_end_per_s;
    double progress = (double)index / (double)MAX(args->num_requests - 1, (size_t)1);
    switch (args->ramp_up) {
    case RAMP_UP_LINEAR: return start + (end - start) * progress;
    case RAMP_UP_EXPONENTIAL: return start * pow(end / start, progress);
    case RAMP_UP_NONE: break;
    }
    return args->request_rate;
}

/* The gap before a request, in seconds. */
static double
draw_gap(const struct schedule_args *args, size_t index, struct numpy_legacy *global)
{
    double rate = schedule_rate(args, index);
    if (isinf(rate))
        return 0;
    if (isinf(args->burstiness))
        return 1.0 / rate;
    return 1.0 / (rate * args->burstiness) * numpy_legacy_gamma(global, args->burstiness);
}

static int
alloc_times(struct schedule *s, size_t len, struct error *err)
{
    *s = (struct schedule){.len = len};
    s->times_s = calloc(MAX(len, (size_t)1), sizeof *s->times_s);
    if (s->times_s == NULL)
        return error_set(err, ERR_NOMEM, "out of memory for %zu send times", len);
    return 0;
}

int
schedule_init(struct schedule *s, const struct schedule_args *args, struct numpy_legacy *global,
              struct error *err)
{
    int e = alloc_times(s, args->num_requests, err);
    if (e < 0)
        return e;
    for (size_t i = 0; i < s->len; i++)
        s->times_s[i] = draw_gap(args, i, global);
    for (size_t i = 1; i < s->len; i++)
        s->times_s[i] += s->times_s[i - 1];
    double last_s = s->len > 0 ? s->times_s[s->len - 1] : 0;
    if (args->ramp_up != RAMP_UP_NONE || last_s == 0)
        return 0;
    double factor = (double)s->len / args->request_rate / last_s;
    for (size_t i = 0; i < s->len; i++)
        s->times_s[i] *= factor;
    return 0;
}

int
schedule_init_timed(struct schedule *s, const struct dataset *d, struct error *err)
{
    int e = alloc_times(s, d->len, err);
    if (e < 0)
        return e;
    /* Requests leave in the order of the file: none before its predecessor. */
    for (size_t i = 0; i < s->len; i++)
        s->times_s[i] = MAX(d->prompts[i].at_s, i > 0 ? s->times_s[i - 1] : 0);
    return 0;
}

void
schedule_release(struct schedule *s)
{
    free(s->times_s);
    *s = (struct schedule){0};
}
