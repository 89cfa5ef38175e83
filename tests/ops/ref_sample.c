/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/ops/ref_sample.h"

#include "util/rng.h"

#include <math.h>
#include <string.h>

struct entry {
    double z;
    int32_t id;
};

static int
compare(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    if (x->z != y->z)
        return x->z > y->z ? -1 : 1;
    return x->id < y->id ? -1 : 1;
}

/* The row best first; NaN counts as -infinity. */
static struct entry *
sorted(const double *z, int64_t n)
{
    struct entry *e = malloc((size_t)n * sizeof *e);
    ASSERT(e != NULL);
    for (int64_t i = 0; i < n; i++)
        e[i] = (struct entry){.z = isnan(z[i]) ? -INFINITY : z[i], .id = (int32_t)i};
    qsort(e, (size_t)n, sizeof *e, compare);
    return e;
}

static bool
contains(const int32_t *ids, int n, int32_t id)
{
    for (int i = 0; i < n; i++) {
        if (ids[i] == id)
            return true;
    }
    return false;
}

static int
count(const int32_t *ids, int n, int32_t id)
{
    int c = 0;
    for (int i = 0; i < n; i++)
        c += ids[i] == id;
    return c;
}

/* Logits after bans, biases, penalties and temperature, in z. */
static void
process(const struct sample_row *r, const float *logits, int64_t n, double *z)
{
    for (int64_t i = 0; i < n; i++) {
        int32_t id = (int32_t)i;
        z[i] = isnan(logits[i]) ? -INFINITY : (double)logits[i];
        if ((r->num_allowed > 0 && !contains(r->allowed_ids, r->num_allowed, id)) ||
            contains(r->banned_ids, r->num_banned, id))
            z[i] = -INFINITY;
        for (int j = 0; j < r->num_bias; j++)
            z[i] += r->bias_ids[j] == id ? (double)r->bias_values[j] : 0;
        int c = count(r->output_ids, r->num_output, id);
        if (c > 0 || contains(r->prompt_ids, r->num_prompt, id))
            z[i] = z[i] > 0 ? z[i] / (double)r->repetition_penalty
                            : z[i] * (double)r->repetition_penalty;
        z[i] -= (double)r->frequency_penalty * c + (c > 0 ? (double)r->presence_penalty : 0);
        if (r->temperature > 0)
            z[i] /= (double)r->temperature;
    }
}

void
ref_distribution(const struct sample_row *r, const float *logits, int64_t n, double *p)
{
    double *z = malloc((size_t)n * sizeof *z);
    ASSERT(z != NULL);
    process(r, logits, n, z);
    struct entry *e = sorted(z, n);
    memset(p, 0, (size_t)n * sizeof *p);
    if (r->temperature == 0 || e[0].z == -INFINITY) {
        p[e[0].id] = 1;
    } else {
        int64_t kept = n;
        double total = 0, sum = 0;
        while (kept > 0 && (e[kept - 1].z == -INFINITY ||
                            (r->min_p > 0 && exp(e[kept - 1].z - e[0].z) < (double)r->min_p)))
            kept--;
        if (r->top_k > 0 && r->top_k < kept) {
            int64_t k = r->top_k;
            while (k < kept && e[k].z == e[r->top_k - 1].z)
                k++;
            kept = k;
        }
        for (int64_t i = 0; i < kept; i++)
            total += exp(e[i].z - e[0].z);
        int64_t last = 0;
        for (; last < kept; last++) {
            sum += exp(e[last].z - e[0].z);
            if (r->top_p < 1 && sum >= (double)r->top_p * total)
                break;
        }
        for (int64_t i = 0; i <= MIN(last, kept - 1); i++)
            p[e[i].id] = exp(e[i].z - e[0].z) / sum;
    }
    free(e);
    free(z);
}

static void
write_logprobs(const float *logits, int64_t n, int32_t token, int num, struct sample_result *ret,
               int32_t *top_ids, float *top_logprobs)
{
    double *x = calloc((size_t)n, sizeof *x), sum = 0;
    ASSERT(x != NULL);
    for (int64_t i = 0; i < n; i++)
        x[i] = isnan(logits[i]) ? -INFINITY : (double)logits[i];
    struct entry *e = sorted(x, n);
    for (int64_t i = 0; i < n; i++)
        sum += exp(x[i] - e[0].z);
    double norm = e[0].z + log(sum);
    ret->logprob = (float)(x[token] - norm);
    ret->rank = 0;
    for (int64_t i = 0; i < n; i++)
        ret->rank += x[i] >= x[token];
    for (int i = 0; i < num; i++) {
        top_ids[i] = i < n ? e[i].id : -1;
        top_logprobs[i] = i < n ? (float)(e[i].z - norm) : -INFINITY;
    }
    free(e);
    free(x);
}

int
ref_sample(struct device *dev, struct buffer *logits, const struct sample_row *rows, int num_rows,
           int64_t V, const struct sample_output *output)
{
    (void)dev;
    struct sample_result *ret = output->results;
    double *p = malloc((size_t)V * sizeof *p);
    ASSERT(p != NULL);
    for (int i = 0; i < num_rows; i++) {
        const struct sample_row *r = &rows[i];
        const float *x = (const float *)logits->data + i * V;
        ref_distribution(r, x, V, p);
        double best = -INFINITY;
        ret[i] = (struct sample_result){0};
        for (int64_t id = 0; id < V; id++) {
            uint32_t words[4];
            philox4x32(r->seed, r->position, (uint64_t)id / 4, words);
            double u = rng_uniform_open(words[id % 4]);
            double noise = r->temperature > 0 ? -log(-log(u)) : 0;
            if (p[id] > 0 && log(p[id]) + noise > best) {
                best = log(p[id]) + noise;
                ret[i].token = (int32_t)id;
            }
        }
        if (r->num_logprobs >= 0)
            write_logprobs(x, V, ret[i].token, r->num_logprobs, &ret[i],
                           output->top_ids + i * output->top_stride,
                           output->top_logprobs + i * output->top_stride);
    }
    free(p);
    return 0;
}

int
ref_logprobs(struct device *dev, const struct buffer *logits, const int32_t *targets,
             int num_rows, int64_t V, int num_logprobs, const struct sample_output *output)
{
    (void)dev;
    struct sample_result *ret = output->results;
    for (int i = 0; i < num_rows; i++) {
        ret[i].token = targets[i];
        write_logprobs((const float *)logits->data + i * V, V, targets[i], num_logprobs, &ret[i],
                       output->top_ids + i * output->top_stride,
                           output->top_logprobs + i * output->top_stride);
    }
    return 0;
}
