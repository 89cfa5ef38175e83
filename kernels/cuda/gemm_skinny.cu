/* SPDX-License-Identifier: Apache-2.0 */
/*
 * out[M, N] = x[M, K] . w[N, K]^T for few rows of x: a stream of weights.
 *
 * One token wastes tensor-core work, which is idle anyway, and no memory: layout
 * and order of sums are those of gemm_tile.cuh. A block owns RT * 16 rows of w and
 * MT * 8 tokens; its warp q sums the slices j with j % 4 == q, and the four sums
 * meet in shared memory at the end. RT and MT do not enter an element's sum.
 *
 * What a lane needs of a row no other lane needs. So
 * - w goes through a ring in shared memory, STAGES slices deep, as [warp][stage]
 *   [row / 8][half] lines: a lane copies (cp.async) what it will read itself, and
 *   the main loop has no barrier, only the lane's own wait;
 * - x, which comes from L2, goes straight to registers one slice ahead. It is
 *   loaded past L1 (ld.global.cg): with overlapped launches a line in L1 may be
 *   older than the kernel that wrote x.
 *
 * Weights are constants: a block fills its ring before pdl_wait(). A ring is 64
 * KB (RT 1; three blocks an SM) or 96 KB (RT 2, 4; two blocks); registers allow
 * the same number of blocks. So 64 to 192 KB are in flight per SM where HBM needs
 * about 40 (4.8 TB/s at 1 us over 132 SMs): enough is left when a block has just
 * begun, or an SM has one block only. At most 193 registers, no spills.
 */
#include "kernels/cuda/gemm_tile.cuh"

namespace {

using namespace gemm;

constexpr int WARPS = PARTS;

template <int RT>
struct Ring {
    static constexpr int stages = RT == 1 ? 8 : RT == 2 ? 6 : 3;
    static constexpr int blocks_per_sm = RT == 1 ? 3 : 2;
    static constexpr int stage_bytes = RT * 4 * LINE;
    static constexpr int warp_bytes = stages * stage_bytes;
    static constexpr int bytes = WARPS * warp_bytes;
};

/* The rows g and g + 8 of RT row tiles of w, as one lane sees them. */
template <int RT>
struct WeightStream {
    const bf16_bits *base;  /* row g of the first tile, k = 8t */
    const bf16_bits *legal; /* any readable address */
    char *ring;             /* this lane's column of this warp's ring */
    size_t row_step;        /* elements between rows g and g + 8 */
    int rows_left, k_left;  /* from this lane's first row and k to the ends */

    /* Starts the copy of the slice at k into a stage; zeros beyond the ends. */
    __device__ __forceinline__ void
    copy(int stage, int k) const
    {
        char *dst = ring + stage * Ring<RT>::stage_bytes;
#pragma unroll
        for (int i = 0; i < 2 * RT; i++) {
            bool row = i * 8 < rows_left;
            const bf16_bits *src = base + i * row_step + k;
            bool low = row && k < k_left, high = row && k + 32 < k_left;
            cp_async_16(dst + (2 * i) * LINE, low ? src : legal, low);
            cp_async_16(dst + (2 * i + 1) * LINE, high ? src + 32 : legal, high);
        }
    }
};

/* MT token tiles' elements of the slice at k; zeros beyond the ends. */
template <int MT>
__device__ __forceinline__ void
load_tokens(Elements (&x)[MT], const bf16_bits *base, size_t token_step, int tokens_left, int k,
            int k_left)
{
#pragma unroll
    for (int j = 0; j < MT; j++) {
        const bf16_bits *src = base + j * token_step + k;
        bool token = j * 8 < tokens_left;
        x[j].low = load_l2(src, token && k < k_left);
        x[j].high = load_l2(src + 32, token && k + 32 < k_left);
    }
}

/* sums[i][j] += row tile i (in the stage at `ring`) . token tile j, one slice. */
template <int RT, int MT>
__device__ __forceinline__ void
multiply_slice(float (&sums)[RT][MT][4], const char *ring, const Elements (&x)[MT])
{
#pragma unroll
    for (int i = 0; i < RT; i++) {
        Elements upper = load_lines(ring + i * 4 * LINE);
        Elements lower = load_lines(ring + i * 4 * LINE + 2 * LINE);
#pragma unroll
        for (int j = 0; j < MT; j++)
            multiply(sums[i][j], upper, lower, x[j]);
    }
}

/*
 * The four warps' sums meet in shared memory as [warp][token][row], rows padded
 * by 4 so that a warp's stores (8 rows x 4 pairs of tokens) hit 32 banks.
 */
template <int RT, int MT>
__device__ __forceinline__ void
add_and_store(const float (&sums)[RT][MT][4], float *meeting, const Product &p, int first_row,
              int first_token)
{
    constexpr int pitch = RT * 16 + 4, warp_floats = MT * 8 * pitch;
    int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
    float *mine = meeting + threadIdx.x / 32 * warp_floats + 2 * t * pitch + g;
#pragma unroll
    for (int i = 0; i < RT; i++)
#pragma unroll
        for (int j = 0; j < MT; j++)
#pragma unroll
            for (int e = 0; e < 4; e++)
                mine[(j * 8 + e % 2) * pitch + i * 16 + e / 2 * 8] = sums[i][j][e];
    __syncthreads();

    for (int i = threadIdx.x; i < MT * 8 * RT * 8; i += WARPS * 32) {
        int token = i / (RT * 8), row = i % (RT * 8) * 2;
        int m = first_token + token, n = first_row + row;
        if (m >= p.M || n >= p.N)
            continue;
        const float *part = meeting + token * pitch + row;
        float2 sum = *reinterpret_cast<const float2 *>(part);
#pragma unroll
        for (int w = 1; w < WARPS; w++) {
            float2 more = *reinterpret_cast<const float2 *>(part + w * warp_floats);
            sum.x += more.x;
            sum.y += more.y;
        }
        store_pair(p, m, n, sum);
    }
}

/* Grid: (token tiles, row tiles): blocks that share weights run together. */
template <int RT, int MT>
__global__ void __launch_bounds__(WARPS * 32, Ring<RT>::blocks_per_sm)
gemm_skinny(const Product p)
{
    using R = Ring<RT>;
    extern __shared__ __align__(16) char smem[];
    static_assert(WARPS * MT * 8 * (RT * 16 + 4) * 4 <= R::bytes, "sums fit into the ring");
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
    int first_token = blockIdx.x * MT * 8, first_row = blockIdx.y * RT * 16;

    WeightStream<RT> w;
    w.legal = p.w;
    w.base = p.w + (size_t)(first_row + g) * p.K + 8 * t;
    w.ring = smem + warp * R::warp_bytes + lane * 16;
    w.row_step = (size_t)p.K * 8;
    w.rows_left = p.N - first_row - g;
    w.k_left = p.K - 8 * t;
    int k_copied = warp * SLICE;
    for (int s = 0; s < R::stages; s++, k_copied += WARPS * SLICE) {
        if (k_copied < p.K)
            w.copy(s, k_copied);
        cp_async_commit();
    }

    pdl_wait();
    const bf16_bits *x = p.x + (size_t)(first_token + g) * p.K + 8 * t;
    int tokens_left = p.M - first_token - g;
    Elements tokens[MT], next[MT];
    load_tokens<MT>(next, x, w.row_step, tokens_left, warp * SLICE, w.k_left);
    pdl_launch_dependents();

    float sums[RT][MT][4] = {};
    int stage = 0;
#pragma unroll 2
    for (int k = warp * SLICE; k < p.K; k += WARPS * SLICE, k_copied += WARPS * SLICE) {
#pragma unroll
        for (int j = 0; j < MT; j++)
            tokens[j] = next[j];
        load_tokens<MT>(next, x, w.row_step, tokens_left, k + WARPS * SLICE, w.k_left);
        __syncwarp(); /* else ptxas moves these loads down to their use, a round later */
        cp_async_wait<R::stages - 1>();
        multiply_slice<RT, MT>(sums, w.ring + stage * R::stage_bytes, tokens);
        /* after the products: the stage is in registers by then */
        if (k_copied < p.K)
            w.copy(stage, k_copied);
        cp_async_commit();
        stage = stage + 1 == R::stages ? 0 : stage + 1;
    }
    __syncthreads(); /* all rings are read; no copy is under way */
    add_and_store<RT, MT>(sums, reinterpret_cast<float *>(smem), p, first_row, first_token);
}

template <int RT, int MT>
cudaError_t
run(const struct cuda_ctx *ctx, const Product &p)
{
    cudaError_t e = allow_smem(gemm_skinny<RT, MT>, Ring<RT>::bytes);
    if (e != cudaSuccess)
        return e;
    dim3 grid((p.M + MT * 8 - 1) / (MT * 8), (p.N + RT * 16 - 1) / (RT * 16));
    return launch(ctx, gemm_skinny<RT, MT>, grid, dim3(WARPS * 32), Ring<RT>::bytes, p);
}

/*
 * Row tiles of a block: the number with which the fullest SM reads the least,
 * weights and x together. Every block reads all of x (from L2), so that many
 * tiles are best for L2, which gives little more than HBM does; few are best for
 * an even load. N 4096, for instance, is 256 tiles of 16 rows or 128 of 32 on
 * 132 SMs, 32 rows at most either way, and takes 32; N 6144 is 3 tiles of 16 or 2
 * of 32 and takes 16 with one token, but 64 with 32 tokens.
 */
int
choose_row_tiles(int M, int N, int num_sms)
{
    int best = 1, least = 0;
    for (int tiles = 1; tiles <= 4; tiles *= 2) {
        int blocks = (N + tiles * 16 - 1) / (tiles * 16);
        int rows = (blocks + num_sms - 1) / num_sms * (tiles * 16 + M);
        if (tiles == 1 || rows < least) {
            best = tiles;
            least = rows;
        }
    }
    return best;
}

template <int MT>
cudaError_t
run_rows(const struct cuda_ctx *ctx, const Product &p, int row_tiles)
{
    switch (row_tiles != 0 ? row_tiles : choose_row_tiles(p.M, p.N, ctx->num_sms)) {
    case 1:
        return run<1, MT>(ctx, p);
    case 2:
        return run<2, MT>(ctx, p);
    default:
        return run<4, MT>(ctx, p);
    }
}

} // namespace

extern "C" cudaError_t
cuda_gemm_skinny_tiles(const struct cuda_ctx *ctx, void *out, const bf16_bits *x,
                       const bf16_bits *w, const bf16_bits *bias, int M, int N, int K,
                       int out_f32, int row_tiles)
{
    Product p = {out, x, w, bias, M, N, K, out_f32};
    if (M <= 8)
        return run_rows<1>(ctx, p, row_tiles);
    if (M <= 16)
        return run_rows<2>(ctx, p, row_tiles);
    if (M <= 24)
        return run_rows<3>(ctx, p, row_tiles);
    return run_rows<4>(ctx, p, M <= SKINNY_MAX_ROWS ? row_tiles : 4);
}

extern "C" cudaError_t
cuda_gemm_skinny(const struct cuda_ctx *ctx, void *out, const bf16_bits *x, const bf16_bits *w,
                 const bf16_bits *bias, int M, int N, int K, int out_f32)
{
    return cuda_gemm_skinny_tiles(ctx, out, x, w, bias, M, N, K, out_f32, 0);
}
