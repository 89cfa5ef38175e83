/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/roofline.h"

#include <math.h>

void
roofline_model_init(struct roofline_model *r, const struct model_config *c, enum dtype dtype)
{
    double h = (double)c->hidden_size, q = (double)c->num_heads * c->head_dim;
    double kv = (double)c->num_kv_heads * c->head_dim;
    double layer = h * (q + 2 * kv) + q * h + 3 * h * (double)c->intermediate_size;
    double head = h * (double)c->vocab_size;
    double layers = c->num_layers;
    int64_t gathered = c->tie_word_embeddings ? 0 : c->vocab_size * c->hidden_size;
    *r = (struct roofline_model){
        .weight_bytes = (double)(model_config_num_parameters(c) - gathered) *
                        (double)dtype_bytes(dtype),
        .flops_per_token = 2 * layers * layer,
        .head_flops = 2 * head,
        .kv_bytes_per_token = 2 * layers * kv * (double)dtype_bytes(dtype),
        .attention_flops_per_key = 4 * q * layers,
    };
}

/* What the sequences of a step need besides reading the weights. */
struct step {
    double flops;            /* with the weights */
    double kv_bytes, attention_flops;
};

static double
step_s(const struct step *s, const struct roofline_model *r,
       const struct roofline_limits *limits)
{
    double bytes_per_s = limits->read_bytes_per_s, flops_per_s = limits->flops_per_s;
    return MAX(r->weight_bytes / bytes_per_s, s->flops / flops_per_s) +
           MAX(s->kv_bytes / bytes_per_s, s->attention_flops / flops_per_s);
}

double
roofline_decode_s(const struct roofline_model *r, const struct roofline_limits *limits,
                  int64_t num_seqs, int64_t context, bool *ret_compute_bound)
{
    double n = (double)num_seqs, keys = n * (double)context;
    const struct step step = {
        .flops = n * (r->flops_per_token + r->head_flops),
        .kv_bytes = keys * r->kv_bytes_per_token,
        .attention_flops = keys * r->attention_flops_per_key,
    };
    if (ret_compute_bound != NULL)
        *ret_compute_bound = step.flops / limits->flops_per_s >
                             r->weight_bytes / limits->read_bytes_per_s;
    return step_s(&step, r, limits);
}

/* ---- many steps ---- */

/* One that runs, or was preempted. */
struct running {
    int64_t context; /* tokens in its cache */
    int64_t known;   /* tokens of the prompt and those drawn so far */
    int64_t left;    /* tokens still to be drawn */
    int64_t planned; /* tokens computed in this step */
};

struct simulation {
    const struct roofline_model *model;
    int64_t max_seqs, max_tokens;
    struct running *running; /* the oldest first */
    int64_t num_running;
    struct running *preempted; /* a stack, the oldest on top */
    int64_t num_preempted;
    int64_t free_blocks;
    int64_t tokens_left; /* that this step may still compute */
    struct step step;
};

static int64_t
blocks_for(int64_t num_tokens)
{
    return CEIL_DIV(num_tokens, KV_BLOCK_SIZE);
}

/* Blocks that `n` more tokens of `q` take. */
static int64_t
blocks_more(const struct running *q, int64_t n)
{
    return blocks_for(q->context + n) - blocks_for(q->context);
}

static void
preempt_youngest(struct simulation *s)
{
    struct running *q = &s->running[--s->num_running];
    s->free_blocks += blocks_for(q->context);
    q->context = 0;
    s->preempted[s->num_preempted++] = *q;
}

/* The oldest first; a prompt under way is the youngest, for it left nothing of the
 * last step to others. */
static void
plan_running(struct simulation *s)
{
    for (int64_t i = 0; i < s->num_running; i++) {
        struct running *q = &s->running[i];
        int64_t n = MIN(q->known - q->context, s->tokens_left);
        if (n == 0)
            return;
        while (i < s->num_running && blocks_more(q, n) > s->free_blocks)
            preempt_youngest(s);
        if (i == s->num_running)
            return; /* it was the youngest itself */
        s->free_blocks -= blocks_more(q, n);
        s->tokens_left -= n;
        q->planned = n;
    }
}

/* Adds what was planned for `q` to the step. False when that ended it. */
static bool
compute(struct simulation *s, struct running *q)
{
    const struct roofline_model *r = s->model;
    double n = (double)q->planned, before = (double)q->context;
    if (q->planned == 0)
        return true;
    q->context += q->planned;
    q->planned = 0;
    s->step.flops += n * r->flops_per_token;
    s->step.kv_bytes += (before + n) * r->kv_bytes_per_token;
    s->step.attention_flops += (n * before + n * (n + 1) / 2) * r->attention_flops_per_key;
    if (q->context < q->known)
        return true;
    s->step.flops += r->head_flops;
    q->known++;
    if (--q->left > 0)
        return true;
    s->free_blocks += blocks_for(q->context);
    return false;
}

static void
compute_running(struct simulation *s)
{
    int64_t kept = 0;
    for (int64_t i = 0; i < s->num_running; i++) {
        if (compute(s, &s->running[i]))
            s->running[kept++] = s->running[i];
    }
    s->num_running = kept;
}

/* Starts `q` if there is room: as the scheduler, with a block to spare for each
 * that runs. */
static bool
admit(struct simulation *s, struct running q)
{
    bool fits = blocks_for(q.known) + s->num_running <= s->free_blocks;
    if (s->num_running >= s->max_seqs || s->tokens_left == 0 || (s->num_running > 0 && !fits))
        return false;
    q.planned = MIN(q.known, s->tokens_left);
    s->tokens_left -= q.planned;
    s->free_blocks -= blocks_for(q.planned);
    if (compute(s, &q))
        s->running[s->num_running++] = q;
    return true;
}

/* One step, which takes up to `num` of the sequences that wait. Returns how many. */
static size_t
run_step(struct simulation *s, const struct roofline_sequence *sequences, size_t num)
{
    size_t taken = 0;
    int64_t num_preempted = s->num_preempted;
    s->step = (struct step){0};
    s->tokens_left = s->max_tokens;
    plan_running(s);
    bool full = s->num_preempted > num_preempted;
    compute_running(s);
    while (!full && s->num_preempted > 0 && admit(s, s->preempted[s->num_preempted - 1]))
        s->num_preempted--;
    if (full || s->num_preempted > 0)
        return 0;
    while (taken < num && admit(s, (struct running){.known = sequences[taken].input_len,
                                                    .left = sequences[taken].output_len}))
        taken++;
    return taken;
}

static int64_t
or_no_limit(int64_t limit)
{
    return limit > 0 ? limit : INT64_MAX / 2;
}

double
roofline_s(const struct roofline_model *r, const struct roofline_limits *limits,
           const struct roofline_batching *batching, const struct roofline_sequence *sequences,
           size_t num)
{
    struct simulation s = {
        .model = r,
        .max_seqs = MIN(or_no_limit(batching->max_seqs), (int64_t)num),
        .max_tokens = or_no_limit(batching->max_batched_tokens),
        .free_blocks = or_no_limit(batching->num_blocks),
    };
    for (size_t i = 0; i < num; i++)
        ASSERT(blocks_for(sequences[i].input_len + sequences[i].output_len - 1) <= s.free_blocks);
    struct running *memory = calloc(2 * num + 1, sizeof *memory);
    if (memory == NULL)
        return NAN;
    s.running = memory;
    s.preempted = memory + num;
    double total_s = 0;
    for (size_t next = 0; next < num || s.num_running > 0 || s.num_preempted > 0;) {
        next += run_step(&s, sequences + next, num - next);
        total_s += step_s(&s.step, r, limits);
    }
    free(memory);
    return total_s;
}
