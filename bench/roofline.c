/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/roofline.h"

void
roofline_model_init(struct roofline_model *r, const struct model_config *c, enum dtype dtype)
{
    double h = (double)c->hidden_size, q = (double)c->num_heads * c->head_dim;
    double kv = (double)c->num_kv_heads * c->head_dim;
    double layer = h * (q + 2 * kv) + q * h + 3 * h * (double)c->intermediate_size;
    double head = h * (double)c->vocab_size;
    double layers = c->num_layers;
    *r = (struct roofline_model){
        .weight_bytes = (layers * layer + head) * (double)dtype_bytes(dtype),
        .flops_per_token = 2 * layers * layer,
        .head_flops = 2 * head,
        .kv_bytes_per_token = 2 * layers * kv * (double)dtype_bytes(dtype),
        .attention_flops_per_key = 4 * q * layers,
    };
}

/* One that runs. */
struct running {
    int64_t context, left; /* tokens in its cache, and still to come */
};

/* What the sequences of a step need besides the weights. */
struct step {
    double flops, kv_bytes;
};

static void
add_prompt(struct step *s, const struct roofline_model *r, const struct roofline_sequence *q)
{
    double n = (double)q->input_len;
    s->flops += n * r->flops_per_token + r->head_flops +
                n * (n + 1) / 2 * r->attention_flops_per_key;
    s->kv_bytes += n * r->kv_bytes_per_token;
}

static void
add_token(struct step *s, const struct roofline_model *r, struct running *q)
{
    q->context++;
    s->flops += r->flops_per_token + r->head_flops +
                (double)q->context * r->attention_flops_per_key;
    s->kv_bytes += (double)q->context * r->kv_bytes_per_token;
}

static double
step_s(const struct step *s, const struct roofline_model *r, const struct machine_limits *limits)
{
    return MAX(r->weight_bytes / limits->read_bytes_per_s, s->flops / limits->flops_per_s) +
           s->kv_bytes / limits->read_bytes_per_s;
}

double
roofline_s(const struct roofline_model *r, const struct machine_limits *limits,
           const struct roofline_sequence *sequences, size_t num, size_t max_seqs)
{
    double total_s = 0;
    size_t num_running = 0, next = 0;
    struct running *running = calloc(MAX(max_seqs, (size_t)1), sizeof *running);
    while (running != NULL && (next < num || num_running > 0)) {
        struct step step = {0};
        size_t kept = 0;
        for (size_t i = 0; i < num_running; i++) {
            add_token(&step, r, &running[i]);
            if (--running[i].left > 0)
                running[kept++] = running[i];
        }
        num_running = kept;
        /* A prompt gives its first token at once. */
        for (; num_running < max_seqs && next < num; next++) {
            const struct roofline_sequence *q = &sequences[next];
            add_prompt(&step, r, q);
            if (q->output_len > 1)
                running[num_running++] = (struct running){q->input_len, q->output_len - 1};
        }
        total_s += step_s(&step, r, limits);
    }
    free(running);
    return total_s;
}
