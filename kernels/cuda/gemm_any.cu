/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The skinny kernel's product, bit for bit, for many rows: tiles of 128 rows of w
 * and 64 or 128 tokens, for the option `deterministic`.
 *
 * Eight warps, 4 by 2, each own 32 rows and half of the tokens. The skinny kernel
 * gives each of an element's four partial sums to a warp of its own; here a warp
 * makes them one after the other, walking K four times over every fourth slice,
 * and adds them up in shared memory. Layout and order: gemm_tile.cuh.
 *
 * Shared memory is the tile's sums, [token][row] as they will be stored, each of
 * them one lane's business until then, and a ring of four stages. A stage is one
 * slice of the tile as lines, w then x: 32 KB for 128 tokens. One block an SM, 96
 * KB in flight where L2 needs some 20. Per slice and SM 2^20 products for 32 KB
 * from L2: bound by the tensor cores, at the rate that mma.sync reaches.
 */
#include "kernels/cuda/gemm_tile.cuh"

namespace {

using namespace gemm;

constexpr int ROWS = 128;
constexpr int WARPS = 8;
constexpr int WARP_ROWS = 32;
constexpr int STAGES = 4;
constexpr int PITCH = ROWS + 4; /* floats of a token's sums: a warp's hit 32 banks */

/* TT token tiles a warp. */
template <int TT>
struct Tile {
    static constexpr int tokens = 2 * TT * 8;
    static constexpr int stage_bytes = (ROWS + tokens) / 8 * 2 * LINE;
    static constexpr int ring_bytes = STAGES * stage_bytes;
    static constexpr int bytes = ring_bytes + tokens * PITCH * (int)sizeof(float);
};

/* The order of slices: 0, 4, 8.. 1, 5, 9.. */
struct Walk {
    int slice, part, num_slices;

    __device__ __forceinline__ bool
    ends_part() const
    {
        return slice + PARTS >= num_slices;
    }

    __device__ __forceinline__ void
    step()
    {
        slice = ends_part() ? ++part : slice + PARTS;
    }
};

/* A thread's share of an operand: of every 32nd row one piece of 16 bytes. */
struct Share {
    const bf16_bits *first; /* the piece in slice 0 */
    int rows_left, k_left;  /* from it to the ends */

    __device__ __forceinline__
    Share(const bf16_bits *operand, int first_row, int num_rows, int K)
    {
        int line = threadIdx.x / 32, lane = threadIdx.x % 32;
        int row = first_row + line / 2 * 8 + lane / 4, k = line % 2 * 32 + lane % 4 * 8;
        first = operand + (size_t)row * K + k;
        rows_left = num_rows - row;
        k_left = K - k;
    }

    /* `num_pieces` pieces of a slice to dst and every WARPS lines on; zeros beyond
     * the ends, for which `legal` is any readable address. */
    template <int num_pieces>
    __device__ __forceinline__ void
    copy(char *dst, int k, int K, const bf16_bits *legal) const
    {
#pragma unroll
        for (int i = 0; i < num_pieces; i++) {
            bool valid = i * 32 < rows_left && k < k_left;
            cp_async_16(dst + i * WARPS * LINE, valid ? first + (size_t)i * 32 * K + k : legal,
                        valid);
        }
    }
};

template <int TT>
__device__ __forceinline__ void
multiply_slice(float (&sums)[2][TT][4], const char *rows, const char *tokens)
{
    Elements upper[2], lower[2];
#pragma unroll
    for (int i = 0; i < 2; i++) {
        upper[i] = load_lines(rows + i * 4 * LINE);
        lower[i] = load_lines(rows + i * 4 * LINE + 2 * LINE);
    }
#pragma unroll
    for (int j = 0; j < TT; j++) {
        Elements x = load_lines(tokens + j * 2 * LINE);
        multiply(sums[0][j], upper[0], lower[0], x);
        multiply(sums[1][j], upper[1], lower[1], x);
    }
}

/* Moves a partial sum to the lane's elements of the tile; the first one begins
 * them. */
template <int TT>
__device__ __forceinline__ void
add_part(float *lane_sums, float (&part)[2][TT][4], bool first)
{
#pragma unroll
    for (int i = 0; i < 2; i++)
#pragma unroll
        for (int j = 0; j < TT; j++)
#pragma unroll
            for (int e = 0; e < 4; e++) {
                float *sum = lane_sums + (j * 8 + e % 2) * PITCH + i * 16 + e / 2 * 8;
                *sum = first ? part[i][j][e] : *sum + part[i][j][e];
                part[i][j][e] = 0;
            }
}

template <int TT>
__device__ __forceinline__ void
store_tile(const float *tile, const Product &p, int first_row, int first_token)
{
    for (int i = threadIdx.x; i < Tile<TT>::tokens * ROWS / 2; i += WARPS * 32) {
        int token = i / (ROWS / 2), row = i % (ROWS / 2) * 2;
        if (first_token + token < p.M && first_row + row < p.N)
            store_pair(p, first_token + token, first_row + row,
                       *reinterpret_cast<const float2 *>(tile + token * PITCH + row));
    }
}

/* Grid: (token tiles, row tiles): blocks that share weights run together. */
template <int TT>
__global__ void __launch_bounds__(WARPS * 32, 1)
gemm_any(const Product p)
{
    using T = Tile<TT>;
    extern __shared__ __align__(16) char smem[];
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    int first_token = blockIdx.x * T::tokens, first_row = blockIdx.y * ROWS;
    int num_slices = (p.K + SLICE - 1) / SLICE;
    const char *rows = smem + warp % 4 * (WARP_ROWS / 8 * 2) * LINE + lane * 16;
    const char *tokens = smem + (ROWS / 8 * 2 + warp / 4 * TT * 2) * LINE + lane * 16;

    pdl_wait();
    pdl_launch_dependents();
    const Share w(p.w, first_row, p.N, p.K), x(p.x, first_token, p.M, p.K);
    auto copy = [&](int stage, int slice) {
        char *dst = smem + stage * T::stage_bytes + threadIdx.x * 16;
        w.copy<ROWS / 32>(dst, slice * SLICE, p.K, p.w);
        x.copy<T::tokens / 32>(dst + ROWS / 8 * 2 * LINE, slice * SLICE, p.K, p.x);
    };
    Walk copied = {0, 0, num_slices}, walk = copied;
    for (int s = 0; s < STAGES - 1; s++, copied.step()) {
        if (s < num_slices)
            copy(s, copied.slice);
        cp_async_commit();
    }
    float *tile = reinterpret_cast<float *>(smem + T::ring_bytes);
    float *sums = tile + (warp / 4 * TT * 8 + lane % 4 * 2) * PITCH + warp % 4 * WARP_ROWS +
        lane / 4;
    float part[2][TT][4] = {};
    for (int i = 0; i < num_slices; i++, walk.step(), copied.step()) {
        cp_async_wait<STAGES - 2>();
        __syncthreads(); /* the slice is there for all, and the one before it is read */
        if (i + STAGES - 1 < num_slices)
            copy((i + STAGES - 1) % STAGES, copied.slice);
        cp_async_commit();
        int stage = i % STAGES * T::stage_bytes;
        multiply_slice<TT>(part, rows + stage, tokens + stage);
        if (walk.ends_part())
            add_part<TT>(sums, part, walk.part == 0);
    }
    __syncthreads();
    store_tile<TT>(tile, p, first_row, first_token);
}

template <int TT>
cudaError_t
run(const struct cuda_ctx *ctx, const Product &p)
{
    using T = Tile<TT>;
    cudaError_t e = allow_smem(gemm_any<TT>, T::bytes);
    if (e != cudaSuccess)
        return e;
    dim3 grid((p.M + T::tokens - 1) / T::tokens, (p.N + ROWS - 1) / ROWS);
    return launch(ctx, gemm_any<TT>, grid, dim3(WARPS * 32), T::bytes, p);
}

/*
 * Whether tiles are faster than the skinny kernel over groups of 32 rows. That
 * one's blocks of 64 x 32 read 12 KB a slice from L2, all SMs together some 3 KB a
 * cycle: a block costs the device 4 cycles a slice. A wave of tiles costs about
 * 800 cycles a slice for 128 tokens, at mma.sync's rate, 400 for 64.
 */
bool
tiles_pay(int M, int N, int num_sms)
{
    int tokens = M <= 64 ? 64 : 128;
    int64_t tiles = (int64_t)((M + tokens - 1) / tokens) * ((N + ROWS - 1) / ROWS);
    int64_t blocks = (int64_t)((M + 31) / 32) * ((N + 63) / 64);
    int64_t waves = (tiles + num_sms - 1) / num_sms;
    return waves * (tokens == 64 ? 400 : 800) <= blocks * 4;
}

} // namespace

extern "C" cudaError_t
cuda_gemm_any(const struct cuda_ctx *ctx, void *out, const bf16_bits *x, const bf16_bits *w,
              const bf16_bits *bias, int M, int N, int K, int out_f32)
{
    Product p = {out, x, w, bias, M, N, K, out_f32};
    if (M <= SKINNY_MAX_ROWS || !tiles_pay(M, N, ctx->num_sms))
        return cuda_gemm_skinny(ctx, out, x, w, bias, M, N, K, out_f32);
    return M <= 64 ? run<4>(ctx, p) : run<8>(ctx, p);
}
