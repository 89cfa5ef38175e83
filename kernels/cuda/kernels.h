/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The CUDA module's kernels as its host code (C) calls them. Every function
 * only enqueues on ctx->stream, allocates nothing, waits for nothing and may be
 * captured into a graph; it returns the launch's own error. Shapes are checked
 * by the caller (ops.c). Activations, weights and the KV cache are bfloat16,
 * logits and statistics float32; every sum is accumulated in float32 in an order
 * that depends on the element's own row alone, except where said.
 *
 * Letters as in kernels/ops.h. "Rows" are those of the step's padded shape: a
 * recorded step has more rows than tokens, and what a padding row computes is
 * never read.
 */
#ifndef KERNELS_CUDA_KERNELS_H
#define KERNELS_CUDA_KERNELS_H

#include <cuda_runtime_api.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef uint16_t bf16_bits; /* a bfloat16 as host code sees it */

#define CUDA_PAGE_TOKENS 16 /* = KV_BLOCK_SIZE */

/* Where and how to enqueue. */
struct cuda_ctx {
    cudaStream_t stream;
    int num_sms;
    int pdl; /* launch with programmatic stream serialization */
};

/*
 * The integers of one step in device memory. Addresses are fixed for the life
 * of the device, so that recorded steps bake in nothing else; the contents come
 * with one copy a step. Padding rows: token 0, position 0, slot -1.
 */
enum step_header {
    STEP_TABLE_STRIDE,      /* row length of block_tables */
    STEP_NUM_DECODE_ITEMS,
    STEP_HEADER_INTS = 16,
};

/* A sequence's part of decode attention: the keys [first_key, last_key) of one
 * sequence with one query row. */
struct decode_item {
    int32_t row;            /* of qkv and out */
    int32_t seq;            /* of block_tables and seq_lens */
    int32_t split, num_splits;
    int32_t first_key, last_key;
    int32_t partial;        /* first of the sequence's num_splits slots; unused when 1 */
    int32_t counter;        /* of the sequence, for the last block of a merge */
};

/* Consecutive query rows of one sequence. */
struct prefill_tile {
    int32_t row;            /* first row of qkv and out */
    int32_t num_rows;       /* <= cuda_prefill_tile_rows() */
    int32_t seq;
    int32_t position;       /* of the first row */
};

struct step_ints {
    const int32_t *header;        /* [STEP_HEADER_INTS] */
    const int32_t *token_ids;     /* [max_tokens]; -1 - i: last_tokens[i] */
    const int32_t *positions;     /* [max_tokens] */
    const int32_t *slot_mapping;  /* [max_tokens]; -1: writes nothing */
    const int32_t *seq_lens;      /* [max_seqs] */
    const int32_t *block_tables;  /* [S, stride] */
    const struct decode_item *decode_items;
    const struct prefill_tile *prefill_tiles;
    int32_t *last_tokens;         /* [max_seqs] drawn in the step before, in order */
};

/* One layer's half of the cache: element (page, kv_head, offset, d) is at
 * ((page * num_kv_heads + kv_head) * 16 + offset) * head_dim + d. */
struct kv_layer {
    bf16_bits *k, *v;
};

struct attention_shape {
    int num_heads, num_kv_heads, head_dim;
    float scale;    /* multiplies q.k */
    float softcap;  /* 0: off */
    int window;     /* 0: off; else keys p - window < key <= p */
};

/* Keys per part of a split sequence: a function of its length alone, so that
 * sums are the same in any company; at most DECODE_MAX_SPLITS parts. */
#define DECODE_SPLIT_KEYS 256
#define DECODE_MAX_SPLITS 32
static inline int
decode_split_keys(int num_keys)
{
    int least = (num_keys + DECODE_MAX_SPLITS - 1) / DECODE_MAX_SPLITS;
    least = (least + 63) / 64 * 64;
    return least > DECODE_SPLIT_KEYS ? least : DECODE_SPLIT_KEYS;
}

/* Query rows of a prefill tile of cuda_attention_general. */
#define PREFILL_TILE_ROWS 16

/* ---- elementwise.cu, norm.cu, rope.cu ---------------------------------- */

/* out[rows, H] = table[token_ids[t]] * scale, rounded once; scale is rounded to
 * bf16 first where it is not 1 (transformers' normalizer). H % 8 == 0. */
cudaError_t cuda_embed(const struct cuda_ctx *ctx, bf16_bits *out, const bf16_bits *table,
                       const struct step_ints *ints, int rows, int hidden_size, float scale);
/* out = x / rms(x) * (w + offset); out may be x. hidden_size % 8 == 0, <= 16384. w
 * is read while the kernel ahead may run: it was written before that one. */
cudaError_t cuda_rmsnorm(const struct cuda_ctx *ctx, bf16_bits *out, const bf16_bits *x,
                         const float *w, int rows, int hidden_size, float eps, float offset);
/* residual += x (rounded to bf16; the norm takes the rounded sum);
 * out = rmsnorm(residual); out may be x. */
cudaError_t cuda_add_rmsnorm(const struct cuda_ctx *ctx, bf16_bits *out, bf16_bits *residual,
                             const bf16_bits *x, const float *w, int rows, int hidden_size,
                             float eps, float offset);
/* Rotates q in place, writes rotated k and v to the cache and leaves those of qkv
 * as they are; a row with slot -1 is not touched. rope: [positions, D/2] pairs
 * (cos, sin). head_dim % 16 == 0, <= 256. */
cudaError_t cuda_rope_kv_write(const struct cuda_ctx *ctx, bf16_bits *qkv,
                               const struct kv_layer *kv, const float *rope,
                               const struct step_ints *ints, int rows,
                               const struct attention_shape *shape);
/* out[rows, I] = act(gate) * up; gelu: tanh form. I % 8 == 0. */
cudaError_t cuda_act_mul(const struct cuda_ctx *ctx, bf16_bits *out, const bf16_bits *gate_up,
                         int rows, int64_t intermediate_size, int gelu_tanh);
/* out[num_rows, H] = x[row_ids[i]]; row_ids in device memory. H % 8 == 0. */
cudaError_t cuda_gather_rows(const struct cuda_ctx *ctx, bf16_bits *out, const bf16_bits *x,
                             const int32_t *row_ids, int num_rows, int hidden_size);
/* logits = cap * tanh(logits / cap), n floats. */
cudaError_t cuda_softcap(const struct cuda_ctx *ctx, float *logits, int64_t n, float cap);
/* n elements, uniform in +-scale: element i is made of 16 bits of rng_mix64(seed +
 * i / 4), the CPU backend's values (kernels/cpu/weights.c, random_value; rounded to
 * bf16 there as here). dst is bf16, or f32 (f32 != 0). */
cudaError_t cuda_random(const struct cuda_ctx *ctx, void *dst, int64_t n, float scale,
                        uint64_t seed, int f32);
/* Copies blocks of the cache, all layers, keys and values: pairs[i] = {from, to},
 * device memory, at most 65535; a block that one pair writes is in no other. cache as
 * in kv_init: [L][2][num_blocks][K][16][D]. */
cudaError_t cuda_copy_blocks(const struct cuda_ctx *ctx, bf16_bits *cache, const int32_t *pairs,
                             int num_pairs, int num_layers, int64_t num_blocks,
                             int64_t block_elements);

/* ---- gemm_skinny.cu, gemm_any.cu ----------------------------------------- */

/* Most rows for which cuda_gemm_skinny reads the weights once. */
#define SKINNY_MAX_ROWS 32
/*
 * out[M, N] = x[M, K] . w[N, K]^T (+ bias[N], bf16, may be NULL); out bf16, or
 * f32 (out_f32). N % 8 == 0, K % 8 == 0, N <= 2^20, M any; x and w 16-byte
 * aligned. More than SKINNY_MAX_ROWS rows are done in groups of so many, of which
 * each reads w (from L2). An element's accumulation order depends on K alone: it
 * is the same for any M.
 */
cudaError_t cuda_gemm_skinny(const struct cuda_ctx *ctx, void *out, const bf16_bits *x,
                             const bf16_bits *w, const bf16_bits *bias, int M, int N, int K,
                             int out_f32);
/* The same with 16, 32 or 64 rows of w a block (row_tiles 1, 2 or 4), 0: a rule's
 * choice. A matter of speed alone: the bits are the same. */
cudaError_t cuda_gemm_skinny_tiles(const struct cuda_ctx *ctx, void *out, const bf16_bits *x,
                                   const bf16_bits *w, const bf16_bits *bias, int M, int N,
                                   int K, int out_f32, int row_tiles);
/* The same product with the same bits, by tiles that share both operands where M
 * and N are large enough for them. Slower than cuBLASLt there: for the option
 * `deterministic`. */
cudaError_t cuda_gemm_any(const struct cuda_ctx *ctx, void *out, const bf16_bits *x,
                          const bf16_bits *w, const bf16_bits *bias, int M, int N, int K,
                          int out_f32);

/* ---- attention_*.cu ----------------------------------------------------- */

/* Geometries of the tensor-core paths; others take the general one. */
int cuda_attention_is_fast(const struct attention_shape *shape);
/* Bytes of one slot of `partials` (one decode item with num_splits > 1). */
size_t cuda_attention_partial_bytes(const struct attention_shape *shape);
/*
 * The rows of ints->decode_items: q from qkv [rows, (Q+2K)*D], keys and values
 * from the cache. Persistent: the grid is the same for any number of items,
 * which is read from the header, so that it can be recorded. A split sequence's
 * parts meet in `partials`; the block that ends last merges them in order.
 * counters: [max_seqs * num_kv_heads], zero before and after.
 */
cudaError_t cuda_attention_decode(const struct cuda_ctx *ctx, bf16_bits *out,
                                  const bf16_bits *qkv, const struct kv_layer *kv,
                                  const struct step_ints *ints,
                                  const struct attention_shape *shape, void *partials,
                                  uint32_t *counters);
/* Most query rows of a prefill tile: what a block of cuda_attention_prefill takes
 * of one kv head's queries; for other geometries PREFILL_TILE_ROWS. Any cut into
 * tiles gives the same results; the highest tiles are the fastest. */
int cuda_prefill_tile_rows(const struct attention_shape *shape);
/* The rows of ints->prefill_tiles[0, num_tiles), causal, over the paged cache
 * (which holds this step's keys and values already). Only geometries that
 * cuda_attention_is_fast; num_tiles > 0. */
cudaError_t cuda_attention_prefill(const struct cuda_ctx *ctx, bf16_bits *out,
                                   const bf16_bits *qkv, const struct kv_layer *kv,
                                   const struct step_ints *ints, int num_tiles,
                                   const struct attention_shape *shape);
/* Either kind of row for any geometry: head_dim % 8 == 0 and <= 256. Decode:
 * persistent over decode_items, which must not be split; prefill: num_tiles > 0. */
cudaError_t cuda_attention_general(const struct cuda_ctx *ctx, bf16_bits *out,
                                   const bf16_bits *qkv, const struct kv_layer *kv,
                                   const struct step_ints *ints, int num_tiles,
                                   const struct attention_shape *shape);

/* ---- sample.cu, logprobs.cu --------------------------------------------- */

/* A row of sampling parameters, in device memory: struct sample_row with its
 * lists as ranges of one array of ids. */
struct sample_params {
    uint64_t seed, position;
    float temperature, top_p, min_p;
    float repetition_penalty, presence_penalty, frequency_penalty;
    int32_t top_k;
    int32_t num_logprobs;   /* -1: none */
    int32_t prompt, num_prompt;   /* offset into ids, count */
    int32_t output, num_output;   /* the last id may be -1 - i: last_tokens[i] of the step before */
    int32_t bias, num_bias;       /* values at the same offset of `values` */
    int32_t banned, num_banned;
    int32_t allowed, num_allowed; /* 0: all */
    int32_t table, table_size;    /* a hash table of the ids whose logits change: its first
                                     slot among those of all rows; a power of two, at least
                                     twice as many as there are banned and biased ids and,
                                     with penalties, prompt and output; 0 without any */
    int32_t target;         /* logprobs: the token to score; sample: unused */
};

/* What comes back per row: struct sample_result. */
struct sample_out {
    int32_t token;
    float logprob;
    int32_t rank;
};

struct sample_args {
    float *logits;                /* [R, V]; destroyed by cuda_sample */
    int num_rows;
    int64_t vocab_size;
    const struct sample_params *params; /* [R] device */
    const int32_t *ids;           /* device */
    const float *values;          /* device */
    const int32_t *last_tokens;   /* [max_seqs] device: what ids -1 - i mean */
    int32_t *drawn;               /* [R] device: the drawn tokens, for the next step */
    struct sample_out *out;       /* [R] device */
    int32_t *top_ids;             /* [R, top_stride] device */
    float *top_logprobs;
    int top_stride;
    void *workspace;              /* device, cuda_sample_workspace bytes */
    size_t workspace_bytes;
    int flags;                    /* SAMPLE_*: what any row needs; the rest is not launched */
};

enum {
    SAMPLE_LISTS = 1,     /* allowed, banned, bias or penalties */
    SAMPLE_FILTERS = 2,   /* top_k, top_p or min_p */
    SAMPLE_LOGPROBS = 4,  /* num_logprobs >= 0 */
    SAMPLE_TOP = 8,       /* num_logprobs > 0 */
};

/* Bytes for num_rows rows, num_hash_slots slots of all tables together and the
 * widest top list. */
size_t cuda_sample_workspace(int num_rows, int64_t vocab_size, size_t num_hash_slots,
                             int max_top);
/* ops->sample: the order of steps and every tie as kernels/ops.h says; the noise
 * and its logarithms have the CPU backend's bits. */
cudaError_t cuda_sample(const struct cuda_ctx *ctx, const struct sample_args *args);
/* ops->logprobs: params[i].target and params[i].num_logprobs; logits are only read. */
cudaError_t cuda_logprobs(const struct cuda_ctx *ctx, const struct sample_args *args);

#ifdef __cplusplus
}
#endif

#endif
