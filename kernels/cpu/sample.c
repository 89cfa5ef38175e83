/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sampling and log-probabilities: rows are independent tasks. What may be
 * drawn is a cut, a least value and greatest id, found without sorting: a
 * survey of the row's mass and count at a few distances from its maximum tells
 * how far down candidates are needed, and only those are looked at closely.
 * Then one pass draws by the Gumbel-max trick.
 */
#include "kernels/cpu/cpu.h"

#include <float.h>
#include <math.h>

/* Colder than this is greedy, as in vLLM: the division would overflow. */
#define MIN_TEMPERATURE 1e-5f

struct sample_job {
    struct device *dev;
    float *logits;               /* [R, V]; only read by `logprobs` */
    const struct sample_row *rows;
    const int32_t *targets;
    int64_t vocab_size;
    int num_logprobs;            /* of `logprobs` */
    struct sample_output output;
};

int
cpu_sample_init(struct device *dev)
{
    size_t V = (size_t)dev->options.vocab_size;
    for (int i = 0; i < pool_num_threads(dev->pool); i++) {
        struct thread_scratch *s = &dev->scratch[i];
        s->seen = calloc(V, sizeof *s->seen);
        s->candidates = malloc(V * sizeof *s->candidates);
        s->logits = malloc(V * sizeof *s->logits);
        if (s->seen == NULL || s->candidates == NULL || s->logits == NULL)
            return ERR_NOMEM;
    }
    return 0;
}

void
cpu_sample_release(struct device *dev)
{
    for (int i = 0; i < pool_num_threads(dev->pool); i++) {
        free(dev->scratch[i].seen);
        free(dev->scratch[i].candidates);
        free(dev->scratch[i].logits);
    }
}

/* NaN is -infinity and +infinity the greatest float, as in the kernels. */
static float
clean(float x)
{
    return x == x ? MIN(x, FLT_MAX) : -INFINITY;
}

/* log(sum(exp(x))) in two parts, which stay exact for large x. */
struct norm {
    float max;
    double log_sum;
};

static struct norm
row_norm(const struct cpu_kernels *k, const float *x, int64_t n)
{
    struct norm norm = {.max = k->row_max(x, n)};
    if (norm.max > -INFINITY)
        norm.log_sum = log(k->row_sum_exp(x, n, norm.max));
    return norm;
}

static float
logprob_of(const struct norm *norm, float x)
{
    if (norm->max == -INFINITY)
        return -INFINITY;
    return (float)((double)clean(x) - (double)norm->max - norm->log_sum);
}

/* The best `count` of the row, sorted; fewer if the rest is -infinity. The
 * list may grow to twice its length before the worse half goes. */
static int64_t
best_of_row(const struct cpu_kernels *k, const float *x, int64_t n, int64_t count,
            struct candidate *list)
{
    int32_t ids[64];
    int64_t room = MIN(n, 2 * count + (int64_t)ARRAY_SIZE(ids)), length = 0, next = 0;
    float floor = -INFINITY;
    while (next < n) {
        int found = k->row_above(x, next, n, floor, ids, ARRAY_SIZE(ids), &next);
        for (int i = 0; i < found; i++) {
            if (length == room) {
                select_count(list, length, count);
                length = count;
            }
            list[length++] = (struct candidate){.z = clean(x[ids[i]]), .id = ids[i]};
        }
        if (length > count && length + (int64_t)ARRAY_SIZE(ids) > room) {
            select_count(list, length, count);
            length = count;
            floor = INFINITY;
            for (int64_t i = 0; i < count; i++)
                floor = MIN(floor, list[i].z);
        }
    }
    select_count(list, length, MIN(count, length));
    length = MIN(count, length);
    select_sort(list, length);
    return length;
}

/* Fills row `row` of the top lists; what is left over goes to the tokens of
 * probability 0, by id. */
static void
write_top(const struct sample_job *job, int row, int count, const float *x,
          const struct norm *norm, struct candidate *list)
{
    ASSERT(count <= job->output.top_stride);
    int32_t *ids = job->output.top_ids + (size_t)row * job->output.top_stride;
    float *logprobs = job->output.top_logprobs + (size_t)row * job->output.top_stride;
    int wanted = (int)MIN(count, job->vocab_size);
    int n = (int)best_of_row(job->dev->kernels, x, job->vocab_size, wanted, list);
    for (int i = 0; i < n; i++) {
        ids[i] = list[i].id;
        logprobs[i] = logprob_of(norm, list[i].z);
    }
    for (int32_t id = 0; n < wanted && id < job->vocab_size; id++) {
        if (clean(x[id]) == -INFINITY) {
            ids[n] = id;
            logprobs[n++] = -INFINITY;
        }
    }
    for (; n < count; n++) {
        ids[n] = -1;
        logprobs[n] = -INFINITY;
    }
}

/* logprob and rank of `token` and the top list, from raw logits. */
static void
write_logprobs(const struct sample_job *job, int row, int32_t token, int num_logprobs,
               const float *x, int thread)
{
    const struct cpu_kernels *k = job->dev->kernels;
    struct norm norm = row_norm(k, x, job->vocab_size);
    job->output.results[row].logprob = logprob_of(&norm, x[token]);
    job->output.results[row].rank = (int32_t)k->row_count_ge(x, job->vocab_size, clean(x[token]));
    if (num_logprobs > 0)
        write_top(job, row, num_logprobs, x, &norm, job->dev->scratch[thread].candidates);
}

static bool
has_penalties(const struct sample_row *r)
{
    return r->repetition_penalty != 1.0f || r->presence_penalty != 0.0f ||
           r->frequency_penalty != 0.0f;
}

/* `seen` counts a token's occurrences: prompt in bit 0, output above. */
static void
penalize(const struct sample_row *r, float *z, int32_t id, uint32_t *seen)
{
    uint32_t word = seen[id];
    if (word == 0)
        return;   /* done already */
    seen[id] = 0;
    uint32_t count = word >> 1;
    z[id] = z[id] > 0 ? z[id] / r->repetition_penalty : z[id] * r->repetition_penalty;
    z[id] -= r->frequency_penalty * (float)count;
    z[id] -= r->presence_penalty * (count > 0 ? 1.0f : 0.0f);
}

static void
apply_penalties(const struct sample_row *r, float *z, int64_t n, uint32_t *seen)
{
    for (int i = 0; i < r->num_output; i++) {
        if (r->output_ids[i] >= 0 && r->output_ids[i] < n)
            seen[r->output_ids[i]] += 2;
    }
    for (int i = 0; i < r->num_prompt; i++) {
        if (r->prompt_ids[i] >= 0 && r->prompt_ids[i] < n)
            seen[r->prompt_ids[i]] |= 1;
    }
    for (int i = 0; i < r->num_output; i++) {
        if (r->output_ids[i] >= 0 && r->output_ids[i] < n)
            penalize(r, z, r->output_ids[i], seen);
    }
    for (int i = 0; i < r->num_prompt; i++) {
        if (r->prompt_ids[i] >= 0 && r->prompt_ids[i] < n)
            penalize(r, z, r->prompt_ids[i], seen);
    }
}

/* Bans, biases and penalties, on a copy where the raw logits are needed later.
 * Ids out of range are passed over. Returns the row to draw from. */
static float *
process_row(const struct sample_row *r, float *x, int64_t n, struct thread_scratch *s)
{
    float *z = x;
    if (r->num_allowed > 0) {
        z = s->logits;
        for (int64_t i = 0; i < n; i++)
            z[i] = -INFINITY;
        for (int i = 0; i < r->num_allowed; i++) {
            if (r->allowed_ids[i] >= 0 && r->allowed_ids[i] < n)
                z[r->allowed_ids[i]] = x[r->allowed_ids[i]];
        }
    } else if (r->num_logprobs >= 0) {
        z = s->logits;
        memcpy(z, x, (size_t)n * sizeof *z);
    }
    for (int i = 0; i < r->num_banned; i++) {
        if (r->banned_ids[i] >= 0 && r->banned_ids[i] < n)
            z[r->banned_ids[i]] = -INFINITY;
    }
    for (int i = 0; i < r->num_bias; i++) {
        if (r->bias_ids[i] >= 0 && r->bias_ids[i] < n)
            z[r->bias_ids[i]] += r->bias_values[i];
    }
    if (has_penalties(r))
        apply_penalties(r, z, n, s->seen);
    return z;
}

/* What is drawn when nothing can be: the lowest id allowed. */
static int32_t
fallback_token(const struct sample_row *r, int64_t n)
{
    int32_t lowest = -1;
    for (int i = 0; i < r->num_allowed; i++) {
        int32_t id = r->allowed_ids[i];
        if (id >= 0 && id < n && (lowest < 0 || id < lowest))
            lowest = id;
    }
    return MAX(lowest, 0);
}

/* All z >= floor, with their mass relative to max. */
static int64_t
collect(const struct cpu_kernels *k, const float *z, int64_t n, float floor, float max,
        struct candidate *list)
{
    int32_t ids[256];
    int64_t length = 0, next = 0;
    float below = nextafterf(floor, -INFINITY);
    while (next < n) {
        int found = k->row_above(z, next, n, below, ids, ARRAY_SIZE(ids), &next);
        for (int i = 0; i < found; i++) {
            float value = z[ids[i]];
            list[length++] = (struct candidate){
                .z = value, .mass = expf(value - max), .id = ids[i]};
        }
    }
    return length;
}

/* Keeps the top_k best and all that equal the last of them, as vLLM does. */
static int64_t
keep_top_k(struct candidate *list, int64_t length, int64_t top_k)
{
    if (top_k >= length)
        return length;
    select_count(list, length, top_k);
    float last = INFINITY;
    for (int64_t i = 0; i < top_k; i++)
        last = MIN(last, list[i].z);
    int64_t kept = top_k;
    for (int64_t i = top_k; i < length; i++) {
        if (list[i].z == last)
            list[kept++] = list[i];
    }
    return kept;
}

/* The least value that top-k and top-p can need. */
static float
survey_floor(const struct survey *survey, const struct sample_row *r, int64_t top_k, float max)
{
    for (int i = 0; i < SURVEY_LEVELS; i++) {
        bool enough = top_k > 0 ? survey->count[i] >= top_k
                                : survey->mass[i] >= (double)r->top_p * survey->mass[SURVEY_LEVELS];
        if (enough)
            return max - survey_levels[i];
    }
    return -FLT_MAX;
}

/* What of z (already divided by the temperature) may be drawn. */
static struct cut
find_cut(const struct cpu_kernels *k, const struct sample_row *r, const float *z, int64_t n,
         float max, struct candidate *list)
{
    float floor = r->min_p > 0 ? max + logf(r->min_p) : -FLT_MAX;
    int64_t top_k = r->top_k > 0 && r->top_k < n ? r->top_k : 0;
    bool top_p = r->top_p < 1.0f;
    if (top_k == 0 && !top_p)
        return (struct cut){.z_min = floor, .id_max = INT32_MAX};

    struct survey survey;
    k->row_survey(z, n, max, &survey);
    if (top_k > 0 || r->min_p <= 0)
        floor = MAX(floor, survey_floor(&survey, r, top_k, max));
    int64_t length = collect(k, z, n, floor, max, list);
    double total = survey.mass[SURVEY_LEVELS];
    if (top_k > 0)
        length = keep_top_k(list, length, top_k);
    if (top_k > 0 || r->min_p > 0) {
        total = 0;
        for (int64_t i = 0; i < length; i++)
            total += (double)list[i].mass;
    }
    int64_t last = length - 1;
    if (top_p) {
        last = select_mass(list, length, (double)r->top_p * total);
        return (struct cut){.z_min = list[last].z, .id_max = list[last].id};
    }
    for (int64_t i = 0; i < length; i++)
        floor = i == 0 ? list[i].z : MIN(floor, list[i].z);
    return (struct cut){.z_min = floor, .id_max = INT32_MAX};
}

#define DRAW_ALIGN 32

static int32_t
draw_token(const struct cpu_kernels *k, const struct sample_row *r, float *z, int64_t n,
           struct candidate *list)
{
    float max = k->row_max(z, n);
    if (max == -INFINITY)
        return fallback_token(r, n);
    if (!(r->temperature >= MIN_TEMPERATURE))
        return k->row_find(z, n, max);
    k->row_divide(z, n, r->temperature);
    max = k->row_max(z, n);
    if (max == -INFINITY)
        return fallback_token(r, n);   /* the division left nothing finite */
    struct cut cut = find_cut(k, r, z, n, max, list);
    /* the likeliest first: groups far below what it draws are passed over */
    int64_t begin = k->row_find(z, n, max) / DRAW_ALIGN * DRAW_ALIGN;
    struct draw best = {.value = -INFINITY, .id = -1};
    best = k->row_draw(z, begin, MIN(n, begin + DRAW_ALIGN), cut, r->seed, r->position, best);
    best = k->row_draw(z, 0, n, cut, r->seed, r->position, best);
    return best.id >= 0 ? best.id : k->row_find(z, n, max);
}

static void
sample_task(void *arg, int row, int thread)
{
    const struct sample_job *job = arg;
    const struct sample_row *r = &job->rows[row];
    struct thread_scratch *scratch = &job->dev->scratch[thread];
    float *x = job->logits + (size_t)row * job->vocab_size;
    float *z = process_row(r, x, job->vocab_size, scratch);
    int32_t token = draw_token(job->dev->kernels, r, z, job->vocab_size, scratch->candidates);
    job->output.results[row] = (struct sample_result){.token = token};
    if (r->num_logprobs >= 0)
        write_logprobs(job, row, token, r->num_logprobs, x, thread);
}

int
cpu_sample(struct device *dev, struct buffer *logits, const struct sample_row *rows,
           int num_rows, int64_t vocab_size, const struct sample_output *ret)
{
    if (vocab_size <= 0 || vocab_size > dev->options.vocab_size)
        return ERR_INVALID;
    ASSERT((size_t)num_rows * vocab_size * sizeof(float) <= logits->bytes);
    struct sample_job job = {
        .dev = dev,
        .logits = logits->data,
        .rows = rows,
        .vocab_size = vocab_size,
        .output = *ret,
    };
    pool_run(dev->pool, num_rows, sample_task, &job);
    return 0;
}

static void
logprobs_task(void *arg, int row, int thread)
{
    const struct sample_job *job = arg;
    int32_t token = job->targets[row];
    job->output.results[row] = (struct sample_result){.token = token};
    write_logprobs(job, row, token, job->num_logprobs,
                   job->logits + (size_t)row * job->vocab_size, thread);
}

int
cpu_logprobs(struct device *dev, const struct buffer *logits, const int32_t *targets,
             int num_rows, int64_t vocab_size, int num_logprobs,
             const struct sample_output *ret)
{
    if (vocab_size <= 0 || vocab_size > dev->options.vocab_size)
        return ERR_INVALID;
    ASSERT((size_t)num_rows * vocab_size * sizeof(float) <= logits->bytes);
    for (int i = 0; i < num_rows; i++) {
        if (targets[i] < 0 || targets[i] >= vocab_size)
            return ERR_INVALID;
    }
    struct sample_job job = {
        .dev = dev,
        .logits = logits->data,
        .targets = targets,
        .vocab_size = vocab_size,
        .num_logprobs = num_logprobs,
        .output = *ret,
    };
    pool_run(dev->pool, num_rows, logprobs_task, &job);
    return 0;
}
