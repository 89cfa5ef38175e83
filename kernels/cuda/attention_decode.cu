/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Decode attention over the paged cache, on tensor cores. A block takes one kv
 * head of one decode item: the head's G <= 16 query heads are the 16 rows of the
 * products, so that each key and value is read once for all of them.
 *
 * The W warps share nothing while they read: warp w takes the pages w, w + W, ...
 * of the item. Pages arrive by cp.async in the warp's own ring of N slots, keys
 * and values in turn; a step is
 *
 *     wait for the oldest copy; __syncwarp; start the copy N - 1 steps ahead into
 *     the slot just left; use the oldest: scores and softmax, or values
 *
 * so N - 1 slots are under way per warp at any time and no block barrier stands in
 * the loop. At the item's end the warps' sums meet in the rings' memory and are
 * added in the order of the warps. Parts of a split sequence go to `partials`,
 * unnormalised; the block that counts the last part in adds them in the order of
 * the splits, so the result knows nothing of who came last.
 *
 * Shared memory of a block: queries [16][D], rings [W][N][16][D] (later, in each
 * ring, sums [16][D + 8] of float: neighbouring rows 8 banks apart), statistics
 * [W][16] of float2.
 *
 *     D    W  N  shared memory  under way a block  blocks an SM  under way an SM
 *     64   8  4  67.0 KB        48 KB              2              96 KB
 *     128  8  3  101.0 KB       64 KB              2             128 KB
 *     256  4  3  104.5 KB       64 KB              2             128 KB
 *
 * One block alone keeps as many bytes under way as the latency of HBM asks for
 * (some 40 KB an SM): that serves small batches. The second works while the
 * first is between two items: item, block table and first page are three
 * dependent reads, then come the merges. The grid is persistent: as many blocks
 * as are resident.
 */
#include "kernels/cuda/attention.cuh"
#include "kernels/cuda/launch.cuh"

template <int D>
struct decode_layout {
    static constexpr int blocks_per_sm = 2;
    static constexpr int warps = D == 256 ? 4 : 8;
    static constexpr int threads = warps * 32;
    static constexpr int num_slots = D == 64 ? 4 : 3;
    static constexpr int slot = CUDA_PAGE_TOKENS * D; /* elements */
    static constexpr int ring = num_slots * slot;
    static constexpr int sum_stride = D + 8;          /* floats */
    static constexpr size_t ring_offset = 16 * D * sizeof(bf16_bits);
    static constexpr size_t stats_offset =
        ring_offset + warps * ring * sizeof(bf16_bits);
    static constexpr size_t bytes = stats_offset + warps * 16 * sizeof(float2);

    static_assert(16 * sum_stride * sizeof(float) <= ring * sizeof(bf16_bits),
                  "a warp's sums fit its ring");
    static_assert(DECODE_MAX_SPLITS * 16 * sizeof(float2) <=
                      warps * ring * sizeof(bf16_bits),
                  "the statistics of all parts fit the rings");
};

/* The keys that a block attends to, of one sequence and one kv head. */
struct key_span {
    const int32_t *table; /* the sequence's pages */
    int first, last;      /* keys [first, last) */
    int kv_head;
};

/* A warp's pages in turn, each as keys and then as values, through its ring. */
template <int D>
struct page_stream {
    static constexpr int warps = decode_layout<D>::warps, num_slots = decode_layout<D>::num_slots;
    const struct attention_params &p;
    const struct key_span &span;
    bf16_bits *ring;
    int lane;
    int first_page, num_pages; /* of the table: first_page, first_page + warps, ... */
    int page_ids;              /* lane i: of the warp's page i (mod 32) */
    int num_started, fill, use;

    __device__ __forceinline__
    page_stream(const struct attention_params &p, const struct key_span &span, bf16_bits *ring,
                int warp, int lane)
        : p(p), span(span), ring(ring), lane(lane), page_ids(0), num_started(0), fill(0), use(0)
    {
        first_page = span.first / CUDA_PAGE_TOKENS + warp;
        int end = span.first < span.last ? (span.last + CUDA_PAGE_TOKENS - 1) / CUDA_PAGE_TOKENS
                                         : 0;
        num_pages = first_page < end ? (end - first_page + warps - 1) / warps : 0;
    }

    /* First key of the warp's page i. */
    __device__ __forceinline__ int
    first_key(int i) const
    {
        return (first_page + i * warps) * CUDA_PAGE_TOKENS;
    }

    /* Starts the next copy, or nothing at the end: a group all the same. */
    __device__ __forceinline__ void
    start()
    {
        int i = num_started / 2;
        if (i < num_pages) {
            if (num_started % 64 == 0 && i + lane < num_pages)
                page_ids = span.table[first_page + (i + lane) * warps];
            int page = __shfl_sync(0xffffffffu, page_ids, i % 32);
            int key = first_key(i);
            load_page<D>(ring + fill * decode_layout<D>::slot,
                         page_address<D>(num_started % 2 ? p.v : p.k, page, p.num_kv_heads,
                                         span.kv_head),
                         span.first - key, span.last - key, lane);
        }
        cp_async_commit();
        num_started++;
        fill = fill == num_slots - 1 ? 0 : fill + 1;
    }

    /* The oldest copy that was not yet taken; the one taken before is given up. */
    __device__ __forceinline__ const bf16_bits *
    take()
    {
        cp_async_wait<num_slots - 2>();
        __syncwarp();
        start();
        const bf16_bits *page = ring + use * decode_layout<D>::slot;
        use = use == num_slots - 1 ? 0 : use + 1;
        return page;
    }
};

/* One warp's share of the item: o and state over its pages. */
template <int D>
__device__ __forceinline__ void
attend(float (&o)[D / 8][4], struct softmax_state &state, const bf16_bits *queries,
       struct page_stream<D> &pages, int lane)
{
#pragma unroll
    for (int d = 0; d < D / 8; d++)
        o[d][0] = o[d][1] = o[d][2] = o[d][3] = 0;
    state.max[0] = state.max[1] = -INFINITY;
    state.sum[0] = state.sum[1] = 0;

    for (int i = 0; i < pages.num_pages; i++) {
        float s[2][4];
        attention_scores<D>(s, queries, pages.take(), lane);
        attention_logits(s, pages.p.factor, pages.p.cap);
        int key = pages.first_key(i);
        if (key < pages.span.first || key + CUDA_PAGE_TOKENS > pages.span.last) {
            int first[2] = {pages.span.first, pages.span.first};
            int last[2] = {pages.span.last, pages.span.last};
            attention_mask(s, key, first, last, lane);
        }
        softmax_update<D>(s, state, o);
        attention_values<D>(o, s, pages.take(), lane);
    }
}

/* Leaves the warp's sums (over its own ring) and statistics to the block. */
template <int D>
__device__ __forceinline__ void
leave_sums(float *sums, float2 *stats, const float (&o)[D / 8][4],
           const struct softmax_state &state, int group, int lane)
{
    int g = lane / 4, t = lane % 4;
    __syncwarp(); /* the ring's last page has been read by all lanes */
#pragma unroll
    for (int r = 0; r < 2; r++) {
        float sum = row_sum(state.sum[r]);
        int row = g + 8 * r;
        if (row >= group)
            continue;
        if (t == 0)
            stats[row] = make_float2(state.max[r], sum);
#pragma unroll
        for (int d = 0; d < D / 8; d++)
            *(float2 *)(sums + row * decode_layout<D>::sum_stride + d * 8 + 2 * t) =
                make_float2(o[d][2 * r], o[d][2 * r + 1]);
    }
}

/* Sums of parts relative to their common maximum, four columns of one row. */
struct merged {
    float max, sum;
    float4 o;
};

/* part(i) gives float4 of sums, stats[i * stride] their maximum and sum. */
template <typename Part>
__device__ __forceinline__ struct merged
merge(const float2 *stats, int stride, int num_parts, Part part)
{
    struct merged m = {-INFINITY, 0, {0, 0, 0, 0}};
    for (int i = 0; i < num_parts; i++)
        m.max = fmaxf(m.max, stats[i * stride].x);
    float base = m.max == -INFINITY ? 0 : m.max;
#pragma unroll 4
    for (int i = 0; i < num_parts; i++) {
        float4 o = part(i);
        float weight = exp2_fast(stats[i * stride].x - base);
        m.sum += weight * stats[i * stride].y;
        m.o.x += weight * o.x;
        m.o.y += weight * o.y;
        m.o.z += weight * o.z;
        m.o.w += weight * o.w;
    }
    return m;
}

__device__ __forceinline__ void
store_normalised(bf16_bits *out, const struct merged &m)
{
    float scale = m.sum == 0 ? 0 : 1 / m.sum;
    *(uint2 *)out = make_uint2(bf16_pair(m.o.x * scale, m.o.y * scale),
                               bf16_pair(m.o.z * scale, m.o.w * scale));
}

/* A row of a slot of `partials`: D sums, maximum, sum, two unused. */
template <int D>
__device__ __forceinline__ float *
partial_row(float *partials, const struct attention_params &p, int slot, int head)
{
    return partials + ((int64_t)slot * p.num_heads + head) * (D + 4);
}

/* The warps' sums to the output, or to the item's slot. */
template <int D>
__device__ __forceinline__ void
merge_warps(const struct attention_params &p, float *partials, const struct decode_item &item,
            const float *sums, const float2 *stats, int kv_head)
{
    constexpr int warp_stride = decode_layout<D>::ring * sizeof(bf16_bits) / sizeof(float);
    for (int i = threadIdx.x; i < p.group * (D / 4); i += decode_layout<D>::threads) {
        int row = i / (D / 4), column = i % (D / 4) * 4, head = kv_head * p.group + row;
        const float *first = sums + row * decode_layout<D>::sum_stride + column;
        struct merged m = merge(stats + row, 16, decode_layout<D>::warps, [=](int warp) {
            return *(const float4 *)(first + warp * warp_stride);
        });
        if (item.num_splits == 1) {
            store_normalised(p.out + ((int64_t)item.row * p.num_heads + head) * D + column, m);
        } else {
            float *to = partial_row<D>(partials, p, item.partial + item.split, head);
            *(float4 *)(to + column) = m.o;
            if (column == 0)
                *(float2 *)(to + D) = make_float2(m.max, m.sum);
        }
    }
}

/* True in the block that counts in the last part; what all of them wrote is then
 * visible to its threads. The counter is zero again for the next launch. */
__device__ __forceinline__ bool
count_part_in(uint32_t *counter, int num_splits)
{
    __shared__ bool last;
    __syncthreads();
    if (threadIdx.x == 0) {
        __threadfence(); /* after the block's sums, which the barrier put before it */
        last = atomicAdd(counter, 1) == (uint32_t)num_splits - 1;
        __threadfence(); /* before any part is read */
        if (last)
            *counter = 0;
    }
    __syncthreads();
    return last;
}

/* All parts of a sequence to the output. Other blocks wrote them: past L1. */
template <int D>
__device__ __forceinline__ void
merge_parts(const struct attention_params &p, float *partials, const struct decode_item &item,
            float2 *stats, int kv_head)
{
    for (int i = threadIdx.x; i < item.num_splits * 16; i += decode_layout<D>::threads)
        if (i % 16 < p.group)
            stats[i] = __ldcg((const float2 *)(partial_row<D>(partials, p, item.partial + i / 16,
                                                              kv_head * p.group + i % 16) +
                                               D));
    __syncthreads();
    for (int i = threadIdx.x; i < p.group * (D / 4); i += decode_layout<D>::threads) {
        int row = i / (D / 4), column = i % (D / 4) * 4, head = kv_head * p.group + row;
        const float *first = partial_row<D>(partials, p, item.partial, head) + column;
        int64_t part_stride = (int64_t)p.num_heads * (D + 4);
        struct merged m = merge(stats + row, 16, item.num_splits, [=](int split) {
            return __ldcg((const float4 *)(first + split * part_stride));
        });
        store_normalised(p.out + ((int64_t)item.row * p.num_heads + head) * D + column, m);
    }
}

template <int D>
__global__ void
__launch_bounds__(decode_layout<D>::threads, decode_layout<D>::blocks_per_sm)
decode_kernel(const __grid_constant__ struct attention_params p, float *partials,
              uint32_t *counters)
{
    extern __shared__ __align__(128) uint8_t smem[];
    bf16_bits *queries = (bf16_bits *)smem;
    bf16_bits *rings = (bf16_bits *)(smem + decode_layout<D>::ring_offset);
    float2 *stats = (float2 *)(smem + decode_layout<D>::stats_offset);
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    bf16_bits *ring = rings + warp * decode_layout<D>::ring;

    pdl_wait();
    pdl_launch_dependents();
    const int num_work = p.ints.header[STEP_NUM_DECODE_ITEMS] * p.num_kv_heads;
    for (int work = blockIdx.x; work < num_work; work += gridDim.x) {
        const struct decode_item &item = p.ints.decode_items[work / p.num_kv_heads];
        const int kv_head = work % p.num_kv_heads;
        const int length = p.ints.seq_lens[item.seq];
        const struct key_span span = {
            p.ints.block_tables + (int64_t)item.seq * p.ints.header[STEP_TABLE_STRIDE],
            max(item.first_key, length - p.window), min(item.last_key, length), kv_head};
        const int width = (p.num_heads + 2 * p.num_kv_heads) * D;

        if (warp == 0) /* the group's queries are like a page; rows past them are zeros */
            load_page<D>(queries, p.qkv + (int64_t)item.row * width + kv_head * p.group * D, 0,
                         p.group, lane);
        cp_async_commit();
        struct page_stream<D> pages(p, span, ring, warp, lane);
#pragma unroll
        for (int i = 0; i < decode_layout<D>::num_slots - 1; i++)
            pages.start();
        cp_async_wait<decode_layout<D>::num_slots - 1>();
        __syncthreads(); /* the queries are whole */

        float o[D / 8][4];
        struct softmax_state state;
        attend<D>(o, state, queries, pages, lane);
        leave_sums<D>((float *)ring, stats + warp * 16, o, state, p.group, lane);
        __syncthreads(); /* all sums are there */
        merge_warps<D>(p, partials, item, (const float *)rings, stats, kv_head);
        if (item.num_splits > 1 &&
            count_part_in(&counters[item.counter * p.num_kv_heads + kv_head], item.num_splits))
            merge_parts<D>(p, partials, item, (float2 *)rings, kv_head);
        __syncthreads(); /* the next item may overwrite shared memory */
    }
}

template <int D>
static cudaError_t
launch_decode(const struct cuda_ctx *ctx, const struct attention_params &p, void *partials,
              uint32_t *counters)
{
    cudaError_t e = allow_smem(decode_kernel<D>, decode_layout<D>::bytes);
    if (e != cudaSuccess)
        return e;
    return launch(ctx, decode_kernel<D>, dim3(ctx->num_sms * decode_layout<D>::blocks_per_sm),
                  dim3(decode_layout<D>::threads), decode_layout<D>::bytes, p, (float *)partials,
                  counters);
}

int
cuda_attention_is_fast(const struct attention_shape *shape)
{
    int d = shape->head_dim;
    return (d == 64 || d == 128 || d == 256) && shape->num_heads <= 16 * shape->num_kv_heads;
}

size_t
cuda_attention_partial_bytes(const struct attention_shape *shape)
{
    return (size_t)shape->num_heads * (shape->head_dim + 4) * sizeof(float);
}

cudaError_t
cuda_attention_decode(const struct cuda_ctx *ctx, bf16_bits *out, const bf16_bits *qkv,
                      const struct kv_layer *kv, const struct step_ints *ints,
                      const struct attention_shape *shape, void *partials, uint32_t *counters)
{
    struct attention_params p = attention_params_of(out, qkv, kv, ints, shape);
    switch (shape->head_dim) {
    case 64: return launch_decode<64>(ctx, p, partials, counters);
    case 128: return launch_decode<128>(ctx, p, partials, counters);
    case 256: return launch_decode<256>(ctx, p, partials, counters);
    default: return cudaErrorInvalidValue;
    }
}
