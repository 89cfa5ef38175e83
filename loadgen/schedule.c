/* SPDX-License-Identifier: Apache-2.0 */
#include "loadgen/schedule.h"

#include "loadgen/numpy_random.h"

#include <math.h>

/* The gap before each request, in seconds. */
static void
draw_gaps(struct schedule *s, const struct schedule_args *args)
{
    struct numpy_legacy g;
    numpy_legacy_seed(&g, args->seed);
    double scale_s = 1.0 / (args->request_rate * args->burstiness);
    for (size_t i = 0; i < s->len; i++) {
        if (isinf(args->request_rate))
            s->times_s[i] = 0;
        else if (isinf(args->burstiness))
            s->times_s[i] = 1.0 / args->request_rate;
        else
            s->times_s[i] = scale_s * numpy_legacy_gamma(&g, args->burstiness);
    }
}

int
schedule_init(struct schedule *s, const struct schedule_args *args, struct error *err)
{
    *s = (struct schedule){.len = args->num_requests};
    s->times_s = calloc(MAX(s->len, (size_t)1), sizeof *s->times_s);
    if (s->times_s == NULL)
        return error_set(err, ERR_NOMEM, "out of memory for %zu send times", s->len);
    draw_gaps(s, args);
    for (size_t i = 1; i < s->len; i++)
        s->times_s[i] += s->times_s[i - 1];
    double last_s = s->len > 0 ? s->times_s[s->len - 1] : 0;
    if (last_s == 0)
        return 0;
    double factor = (double)s->len / args->request_rate / last_s;
    for (size_t i = 0; i < s->len; i++)
        s->times_s[i] *= factor;
    return 0;
}

void
schedule_release(struct schedule *s)
{
    free(s->times_s);
    *s = (struct schedule){0};
}
