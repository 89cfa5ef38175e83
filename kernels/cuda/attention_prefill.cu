/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Causal attention of prompt chunks over the paged cache, on tensor cores, in
 * the manner of FlashAttention-2 (Dao, 2023): a block keeps a tile of queries
 * and walks over the keys with an online softmax.
 *
 * A block takes one prefill tile of one kv head. Its queries are packed: packed
 * row m is query head m % group of row m / group, so that every key that is
 * loaded serves all heads that share it and a group of 5 or 7 wastes at most one
 * group's rows. Each of the 4 warps owns 16 or 32 packed rows and all keys of a
 * key tile, so that a row's statistics never leave four lanes.
 *
 * Key tiles start at multiples of their size in the sequence, and a key that a
 * row does not see, or a whole tile of them, changes no bit of the row's state (a
 * factor 1, an added 0). A row's result is therefore a function of its sequence
 * and position, however the prompt was cut into chunks and tiles.
 *
 * Shared memory: queries [rows][D], later the same rows' outputs; then two stages
 * of keys [KEYS][D] and values [KEYS][D]. 16-byte chunk c of row r is at place
 * c ^ (r % 8), which makes ldmatrix and the copies free of bank conflicts.
 *
 * Pipeline: while a tile is computed the next one is under way, and the page
 * numbers of the one after that are in registers; one barrier a tile.
 *
 * Bound by the tensor cores' and shared memory's rates, not by device memory; two
 * blocks an SM hide each other's softmax and barriers. docs/cuda.md has figures.
 */
#include "kernels/cuda/attention.cuh"
#include "kernels/cuda/launch.cuh"

#define ALL_LANES 0xffffffffu

/* The cut of one head_dim: BLOCKS times 16 packed rows a warp, KEYS keys a tile. */
template <int HEAD_DIM, int BLOCKS, int KEYS, bool Q_IN_REGISTERS>
struct prefill_cut {
    static constexpr int D = HEAD_DIM, blocks = BLOCKS, keys = KEYS;
    static constexpr int warps = 4, threads = 32 * warps;
    static constexpr int warp_rows = 16 * BLOCKS, rows = warps * warp_rows;
    static constexpr int stage = 2 * KEYS * HEAD_DIM; /* elements: keys, then values */
    /* a tile's pages of keys and of values, as one warp's share */
    static constexpr int warp_pages = 2 * KEYS / CUDA_PAGE_TOKENS / warps;
    static constexpr bool q_in_registers = Q_IN_REGISTERS;
    static constexpr int q_steps = Q_IN_REGISTERS ? HEAD_DIM / 16 : 1;
    static constexpr size_t smem_bytes = sizeof(bf16_bits) * (rows * HEAD_DIM + 2 * stage);
};

using prefill_cut_64 = prefill_cut<64, 2, 64, true>;
using prefill_cut_128 = prefill_cut<128, 2, 64, false>;
using prefill_cut_256 = prefill_cut<256, 1, 32, true>;

/* What a block works on. */
struct prefill_work {
    struct prefill_tile tile;
    int kv_head;
    int num_packed;           /* packed rows in use */
    int first_key, end_key;   /* that any of its rows sees */
    const int32_t *pages;     /* of the sequence */
    uint32_t group_inverse;   /* 2^16 / group, rounded up */
};

/* A warp's packed rows: blocks of 16, of which lane l holds l / 4 and l / 4 + 8. */
template <class Cut>
struct prefill_rows {
    int first, last;                   /* positions of the warp's; last -1: none in use */
    float max[Cut::blocks][2];         /* of the scores so far */
    float sum[Cut::blocks][2];         /* of the lane's own weights */
    float o[Cut::blocks][Cut::D / 8][4];
};

template <class Cut>
using prefill_scores = float[Cut::blocks][Cut::keys / 8][4];

/* Queries as mma_bf16's a: all steps of 16 columns, or one. */
template <class Cut>
using prefill_queries = uint32_t[Cut::q_steps][Cut::blocks][4];

/* The row of a packed row; exact below 128. */
__device__ __forceinline__ int
row_of(const prefill_work &w, int packed)
{
    return (int)((uint32_t)packed * w.group_inverse >> 16);
}

/* Element of qkv or out where a packed row's head starts. */
template <int D>
__device__ __forceinline__ int64_t
head_at(const attention_params &p, const prefill_work &w, int packed, int heads_per_row)
{
    int row = row_of(w, packed), head = w.kv_head * p.group + packed - row * p.group;
    return ((int64_t)(w.tile.row + row) * heads_per_row + head) * D;
}

__device__ __forceinline__ prefill_work
find_work(const attention_params &p, int num_tiles, uint32_t group_inverse)
{
    prefill_work w;
    w.kv_head = blockIdx.x % p.num_kv_heads;
    /* a prompt's last tiles have most keys: they go first */
    w.tile = p.ints.prefill_tiles[num_tiles - 1 - blockIdx.x / p.num_kv_heads];
    w.num_packed = w.tile.num_rows * p.group;
    w.first_key = max(w.tile.position - p.window + 1, 0);
    w.end_key = w.tile.position + w.tile.num_rows;
    w.pages = p.ints.block_tables + (int64_t)w.tile.seq * p.ints.header[STEP_TABLE_STRIDE];
    w.group_inverse = group_inverse;
    return w;
}

/* Starts the copy of the queries; packed rows that are not used become zeros. */
template <class Cut>
__device__ __forceinline__ void
copy_queries(const attention_params &p, const prefill_work &w, bf16_bits *q)
{
    constexpr int chunks = Cut::D / 8;
    int chunk = threadIdx.x % chunks, heads_per_row = p.num_heads + 2 * p.num_kv_heads;
#pragma unroll 4
    for (int m = threadIdx.x / chunks; m < Cut::rows; m += Cut::threads / chunks) {
        bool used = m < w.num_packed;
        int64_t from = head_at<Cut::D>(p, w, used ? m : 0, heads_per_row) + 8 * chunk;
        cp_async_16(q + tile_index<Cut::D>(m, chunk), p.qkv + from, used);
    }
}

/* Where this warp's page of the tile at key0 starts in the sequence. */
template <class Cut>
__device__ __forceinline__ int
warp_key(int key0)
{
    return key0 + threadIdx.x / 32 * Cut::warp_pages / 2 * CUDA_PAGE_TOKENS;
}

/* The number of that page; any where no key of it is needed. */
template <class Cut>
__device__ __forceinline__ int32_t
fetch_page(const prefill_work &w, int key0)
{
    int key = warp_key<Cut>(key0);
    bool needed = key < w.end_key && key + CUDA_PAGE_TOKENS > w.first_key;
    return needed ? w.pages[key / CUDA_PAGE_TOKENS] : 0;
}

/* Starts the copy of the tile at key0 into a stage. */
template <class Cut>
__device__ __forceinline__ void
copy_keys(const attention_params &p, const prefill_work &w, int key0, int32_t page,
          bf16_bits *stage)
{
    int key = warp_key<Cut>(key0), warp = threadIdx.x / 32, lane = threadIdx.x % 32;
#pragma unroll
    for (int i = 0; i < Cut::warp_pages; i++) {
        bool values = (warp * Cut::warp_pages + i) % 2;
        const bf16_bits *from =
            page_address<Cut::D>(values ? p.v : p.k, page, p.num_kv_heads, w.kv_head);
        bf16_bits *to = stage + (values ? Cut::keys * Cut::D : 0) + (key - key0) * Cut::D;
        load_page<Cut::D>(to, from, w.first_key - key, w.end_key - key, lane);
    }
}

template <class Cut>
__device__ __forceinline__ void
init_rows(const prefill_work &w, prefill_rows<Cut> &r)
{
    int m = threadIdx.x / 32 * Cut::warp_rows, end = min(m + Cut::warp_rows, w.num_packed);
    /* the shuffles tell the compiler that these are the same in all lanes */
    r.first = __shfl_sync(ALL_LANES, w.tile.position + row_of(w, m), 0);
    r.last = __shfl_sync(ALL_LANES, m < end ? w.tile.position + row_of(w, end - 1) : -1, 0);
#pragma unroll
    for (int b = 0; b < Cut::blocks; b++) {
        r.max[b][0] = r.max[b][1] = -INFINITY;
        r.sum[b][0] = r.sum[b][1] = 0;
#pragma unroll
        for (int j = 0; j < Cut::D / 8; j++)
            r.o[b][j][0] = r.o[b][j][1] = r.o[b][j][2] = r.o[b][j][3] = 0;
    }
}

/* 16 columns of the queries of all blocks. */
template <class Cut>
__device__ __forceinline__ void
load_queries(uint32_t (&q)[Cut::blocks][4], const bf16_bits *tile, int step)
{
    int lane = threadIdx.x % 32, x = lane / 16 ^ lane % 8;
    const bf16_bits *row = tile + (threadIdx.x / 32 * Cut::warp_rows + lane % 16) * Cut::D;
#pragma unroll
    for (int b = 0; b < Cut::blocks; b++)
        ldmatrix_x4(q[b], row + 16 * b * Cut::D + step_index(step, x));
}

/* s = q . k^T */
template <class Cut>
__device__ __forceinline__ void
multiply_keys(prefill_scores<Cut> &s, prefill_queries<Cut> &q, const bf16_bits *q_tile,
              const bf16_bits *k)
{
    int lane = threadIdx.x % 32, x = lane / 8 % 2 ^ lane % 8;
    const bf16_bits *row = k + (lane % 8 + lane / 16 * 8) * Cut::D;
#pragma unroll
    for (int b = 0; b < Cut::blocks; b++) {
#pragma unroll
        for (int j = 0; j < Cut::keys / 8; j++)
            s[b][j][0] = s[b][j][1] = s[b][j][2] = s[b][j][3] = 0;
    }
#pragma unroll
    for (int step = 0; step < Cut::D / 16; step++) {
        int at = step % Cut::q_steps;
        if (!Cut::q_in_registers)
            load_queries<Cut>(q[at], q_tile, step);
#pragma unroll
        for (int n = 0; n < Cut::keys / 16; n++) {
            uint32_t f[4]; /* keys 0-7, then 8-15: 16 columns each */
            ldmatrix_x4(f, row + 16 * n * Cut::D + step_index(step, x));
#pragma unroll
            for (int b = 0; b < Cut::blocks; b++) {
                mma_bf16(s[b][2 * n], q[at][b], f[0], f[1]);
                mma_bf16(s[b][2 * n + 1], q[at][b], f[2], f[3]);
            }
        }
    }
}

/* The soft cap in units of itself: s = tanh(...), as capped_logit has it. */
template <class Cut>
__device__ __forceinline__ void
cap_scores(prefill_scores<Cut> &s, float factor)
{
#pragma unroll
    for (int b = 0; b < Cut::blocks; b++) {
#pragma unroll
        for (int j = 0; j < Cut::keys / 8; j++) {
#pragma unroll
            for (int i = 0; i < 4; i++)
                s[b][j][i] = capped_logit(s[b][j][i], factor, 1);
        }
    }
}

/* Keys at key0 and on that a row does not see get -inf. */
template <class Cut>
__device__ __forceinline__ void
mask_scores(const attention_params &p, const prefill_work &w, int key0, prefill_scores<Cut> &s)
{
    int lane = threadIdx.x % 32;
#pragma unroll
    for (int b = 0; b < Cut::blocks; b++) {
#pragma unroll
        for (int h = 0; h < 2; h++) {
            int m = threadIdx.x / 32 * Cut::warp_rows + 16 * b + 8 * h + lane / 4;
            int position = min(w.tile.position + row_of(w, m), w.end_key - 1);
            int back = position - key0 - lane % 4 * 2; /* from the row to its first column */
#pragma unroll
            for (int j = 0; j < Cut::keys / 8; j++) {
#pragma unroll
                for (int i = 0; i < 2; i++) {
                    /* negative, a key that comes later, is large without its sign */
                    if ((uint32_t)(back - 8 * j - i) >= (uint32_t)p.window)
                        s[b][j][2 * h + i] = -INFINITY;
                }
            }
        }
    }
}

/* Raises the rows' maxima and scales to them what was summed before. An exponent
 * of 2 is score * scale - ret_offset. */
template <class Cut>
__device__ __forceinline__ void
raise_maxima(prefill_rows<Cut> &r, const prefill_scores<Cut> &s, float scale,
             float (&ret_offset)[Cut::blocks][2])
{
    float factor[Cut::blocks][2];
    bool raised = false;
#pragma unroll
    for (int b = 0; b < Cut::blocks; b++) {
#pragma unroll
        for (int h = 0; h < 2; h++) {
            float max = r.max[b][h];
#pragma unroll
            for (int j = 0; j < Cut::keys / 8; j++)
                max = fmaxf(max, fmaxf(s[b][j][2 * h], s[b][j][2 * h + 1]));
            max = fmaxf(max, __shfl_xor_sync(ALL_LANES, max, 1));
            max = fmaxf(max, __shfl_xor_sync(ALL_LANES, max, 2));
            bool higher = max > r.max[b][h];
            factor[b][h] = higher ? exp2_fast((r.max[b][h] - max) * scale) : 1;
            /* 0 where the row has seen no key yet: its exponents stay -inf */
            ret_offset[b][h] = max == -INFINITY ? 0 : max * scale;
            raised |= higher;
            r.max[b][h] = max;
        }
    }
    if (!__any_sync(ALL_LANES, raised))
        return; /* all factors are 1 */
#pragma unroll
    for (int b = 0; b < Cut::blocks; b++) {
#pragma unroll
        for (int h = 0; h < 2; h++) {
            r.sum[b][h] *= factor[b][h];
#pragma unroll
            for (int j = 0; j < Cut::D / 8; j++) {
                r.o[b][j][2 * h] *= factor[b][h];
                r.o[b][j][2 * h + 1] *= factor[b][h];
            }
        }
    }
}

/* Scores become weights, and o += weights . v: sixteen keys at a time, so that the
 * exponentials of the next run beside the products of the last. What may be fused
 * is written so, lest the assembler choose. */
template <class Cut>
__device__ __forceinline__ void
multiply_values(prefill_rows<Cut> &r, const prefill_scores<Cut> &s, float scale,
                const float (&offset)[Cut::blocks][2], const bf16_bits *v)
{
    int lane = threadIdx.x % 32, x = lane / 16 ^ lane % 8;
    const bf16_bits *row = v + lane % 16 * Cut::D;
#pragma unroll
    for (int n = 0; n < Cut::keys / 16; n++) {
        uint32_t weights[Cut::blocks][4];
#pragma unroll
        for (int b = 0; b < Cut::blocks; b++) {
#pragma unroll
            for (int i = 0; i < 4; i++) { /* mma_bf16's a: rows g, g+8; then columns + 8 */
                int h = i % 2, j = 2 * n + i / 2;
                float e = exp2_fast(__fmaf_rn(s[b][j][2 * h], scale, -offset[b][h]));
                float f = exp2_fast(__fmaf_rn(s[b][j][2 * h + 1], scale, -offset[b][h]));
                r.sum[b][h] += e + f;
                weights[b][i] = bf16_pair(e, f);
            }
        }
#pragma unroll
        for (int d = 0; d < Cut::D / 16; d++) {
            uint32_t f[4]; /* columns 0-7, then 8-15: 16 keys each */
            ldmatrix_x4_trans(f, row + 16 * n * Cut::D + step_index(d, x));
#pragma unroll
            for (int b = 0; b < Cut::blocks; b++) {
                mma_bf16(r.o[b][2 * d], weights[b], f[0], f[1]);
                mma_bf16(r.o[b][2 * d + 1], weights[b], f[2], f[3]);
            }
        }
    }
}

/* Divides by the sums and writes the warp's rows, by way of the shared memory of
 * its own queries so that 16 bytes a lane go out. */
template <class Cut>
__device__ __forceinline__ void
write_rows(const attention_params &p, const prefill_work &w, const prefill_rows<Cut> &r,
           bf16_bits *tile)
{
    constexpr int D = Cut::D, chunks = D / 8;
    int m0 = threadIdx.x / 32 * Cut::warp_rows, lane = threadIdx.x % 32;
    __syncwarp();
#pragma unroll
    for (int b = 0; b < Cut::blocks; b++) {
#pragma unroll
        for (int h = 0; h < 2; h++) {
            int m = m0 + 16 * b + 8 * h + lane / 4;
            float inverse = 1 / row_sum(r.sum[b][h]);
#pragma unroll
            for (int j = 0; j < D / 8; j++) {
                uint32_t pair = bf16_pair(r.o[b][j][2 * h] * inverse,
                                          r.o[b][j][2 * h + 1] * inverse);
                *(uint32_t *)(tile + tile_index<D>(m, j) + lane % 4 * 2) = pair;
            }
        }
    }
    __syncwarp();
    int end = min(m0 + Cut::warp_rows, w.num_packed), chunk = lane % chunks;
    for (int m = m0 + lane / chunks; m < end; m += 32 / chunks) {
        int64_t to = head_at<D>(p, w, m, p.num_heads) + 8 * chunk;
        *(uint4 *)(p.out + to) = *(const uint4 *)(tile + tile_index<D>(m, chunk));
    }
}

template <class Cut, bool SOFTCAP>
__global__ void
__launch_bounds__(Cut::threads, 2)
attention_prefill(const attention_params p, int num_tiles, uint32_t group_inverse)
{
    extern __shared__ __align__(128) bf16_bits smem[];
    bf16_bits *q_tile = smem, *stages = smem + Cut::rows * Cut::D;
    constexpr int keys = Cut::keys;

    pdl_wait();
    prefill_work w = find_work(p, num_tiles, group_inverse);
    int key0 = w.first_key / keys * keys;
    copy_queries<Cut>(p, w, q_tile);
    copy_keys<Cut>(p, w, key0, fetch_page<Cut>(w, key0), stages);
    cp_async_commit();
    int32_t next_page = fetch_page<Cut>(w, key0 + keys);
    pdl_launch_dependents();

    prefill_rows<Cut> r;
    init_rows<Cut>(w, r);
    cp_async_wait<0>();
    __syncthreads();
    prefill_queries<Cut> q;
    if (Cut::q_in_registers) {
#pragma unroll
        for (int step = 0; step < Cut::q_steps; step++)
            load_queries<Cut>(q[step], q_tile, step);
    }

    /* a score times this is a logit of base 2 */
    float scale = SOFTCAP ? p.cap : p.factor;
    for (int at = 0; key0 < w.end_key; key0 += keys, at ^= 1) {
        if (key0 + keys < w.end_key) {
            copy_keys<Cut>(p, w, key0 + keys, next_page, stages + (at ^ 1) * Cut::stage);
            cp_async_commit();
            next_page = fetch_page<Cut>(w, key0 + 2 * keys);
        }
        const bf16_bits *stage = stages + at * Cut::stage;
        if (key0 <= r.last && key0 + keys > r.first - p.window + 1) {
            prefill_scores<Cut> s;
            float offset[Cut::blocks][2];
            multiply_keys<Cut>(s, q, q_tile, stage);
            if (SOFTCAP)
                cap_scores<Cut>(s, p.factor);
            if (key0 + keys - 1 > r.first || key0 <= r.last - p.window)
                mask_scores<Cut>(p, w, key0, s);
            raise_maxima<Cut>(r, s, scale, offset);
            multiply_values<Cut>(r, s, scale, offset, stage + keys * Cut::D);
        }
        cp_async_wait<0>();
        __syncthreads();
    }
    /* found again: cheaper than registers held all the way */
    write_rows<Cut>(p, find_work(p, num_tiles, group_inverse), r, q_tile);
}

template <class Cut>
static cudaError_t
launch_prefill(const struct cuda_ctx *ctx, const struct attention_params &p, int num_tiles,
               bool softcap)
{
    auto kernel = softcap ? attention_prefill<Cut, true> : attention_prefill<Cut, false>;
    cudaError_t error = allow_smem(kernel, Cut::smem_bytes);
    if (error != cudaSuccess)
        return error;
    dim3 grid((unsigned)num_tiles * (unsigned)p.num_kv_heads);
    unsigned group = (unsigned)p.group;
    return launch(ctx, kernel, grid, dim3(Cut::threads), Cut::smem_bytes, p, num_tiles,
                  (65536 + group - 1) / group);
}

int
cuda_prefill_tile_rows(const struct attention_shape *shape)
{
    if (!cuda_attention_is_fast(shape))
        return PREFILL_TILE_ROWS;
    int packed = shape->head_dim == 64    ? prefill_cut_64::rows
                 : shape->head_dim == 128 ? prefill_cut_128::rows
                                          : prefill_cut_256::rows;
    return packed / (shape->num_heads / shape->num_kv_heads);
}

cudaError_t
cuda_attention_prefill(const struct cuda_ctx *ctx, bf16_bits *out, const bf16_bits *qkv,
                       const struct kv_layer *kv, const struct step_ints *ints, int num_tiles,
                       const struct attention_shape *shape)
{
    if (!cuda_attention_is_fast(shape))
        return cudaErrorInvalidValue;
    struct attention_params p = attention_params_of(out, qkv, kv, ints, shape);
    bool softcap = shape->softcap > 0;
    switch (shape->head_dim) {
    case 64:
        return launch_prefill<prefill_cut_64>(ctx, p, num_tiles, softcap);
    case 128:
        return launch_prefill<prefill_cut_128>(ctx, p, num_tiles, softcap);
    default:
        return launch_prefill<prefill_cut_256>(ctx, p, num_tiles, softcap);
    }
}
