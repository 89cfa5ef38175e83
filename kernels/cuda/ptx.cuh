/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The instructions that the kernels are made of and CUDA C++ does not spell:
 * asynchronous copies, matrix loads, tensor-core products, programmatic
 * dependent launch. Names and operand orders are those of the PTX ISA.
 */
#ifndef KERNELS_CUDA_PTX_CUH
#define KERNELS_CUDA_PTX_CUH

#include <cuda_bf16.h>
#include <stdint.h>

__device__ __forceinline__ uint32_t
smem_address(const void *p)
{
    return (uint32_t)__cvta_generic_to_shared(p);
}

/* 16 bytes from global to shared memory, past L1; zeros when !valid (src must
 * still be a legal address). */
__device__ __forceinline__ void
cp_async_16(void *dst, const void *src, bool valid = true)
{
    int bytes = valid ? 16 : 0;
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(smem_address(dst)),
                 "l"(src), "r"(bytes)
                 : "memory");
}

__device__ __forceinline__ void
cp_async_commit()
{
    asm volatile("cp.async.commit_group;" ::: "memory");
}

/* Until at most `pending` of this thread's newest groups are under way. */
template <int pending>
__device__ __forceinline__ void
cp_async_wait()
{
    asm volatile("cp.async.wait_group %0;" ::"n"(pending) : "memory");
}

/* Four 8x8 matrices of 16-bit elements; lane i gives the row address of row
 * i % 8 of matrix i / 8. */
__device__ __forceinline__ void
ldmatrix_x4(uint32_t (&r)[4], const void *row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(smem_address(row))
                 : "memory");
}

__device__ __forceinline__ void
ldmatrix_x4_trans(uint32_t (&r)[4], const void *row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(smem_address(row))
                 : "memory");
}

/*
 * d[16x8] += a[16x16] . b[16x8], bf16 in, f32 sums. With g = lane / 4, t = lane % 4:
 * a: {rows g, columns 2t,2t+1}, {g+8, 2t..}, {g, 2t+8..}, {g+8, 2t+8..};
 * b: {rows 2t,2t+1, column g}, {rows 2t+8.., column g}; d: {g, 2t}, {g, 2t+1},
 * {g+8, 2t}, {g+8, 2t+1}.
 */
__device__ __forceinline__ void
mma_bf16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1)
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, "
                 "{%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/* What the kernel ahead in the stream wrote may be touched after this. Every
 * kernel calls it, in every thread, before it touches anything but weights. */
__device__ __forceinline__ void
pdl_wait()
{
    asm volatile("griddepcontrol.wait;" ::: "memory");
}

/* The kernel behind may start its prologue. */
__device__ __forceinline__ void
pdl_launch_dependents()
{
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
}

/* Two bf16 in a word: the low half is the first element. */
__device__ __forceinline__ float
bf16_low(uint32_t pair)
{
    return __uint_as_float(pair << 16);
}

__device__ __forceinline__ float
bf16_high(uint32_t pair)
{
    return __uint_as_float(pair & 0xffff0000u);
}

/* Rounds to nearest even. */
__device__ __forceinline__ uint32_t
bf16_pair(float low, float high)
{
    __nv_bfloat162 p = __floats2bfloat162_rn(low, high);
    return *reinterpret_cast<uint32_t *>(&p);
}

/* 2^x, with the hardware's error of 2 ulp. */
__device__ __forceinline__ float
exp2_fast(float x)
{
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

__device__ __forceinline__ float
warp_sum(float x)
{
    for (int offset = 16; offset > 0; offset /= 2)
        x += __shfl_xor_sync(0xffffffffu, x, offset);
    return x;
}

__device__ __forceinline__ float
warp_max(float x)
{
    for (int offset = 16; offset > 0; offset /= 2)
        x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, offset));
    return x;
}

/* The same pointer, its making hidden from the compiler, which would otherwise
 * merge constant distances into the low bits that it knows to be zero and compute
 * every address anew where an immediate offset does. */
template <typename T>
__device__ __forceinline__ T *
opaque(T *p)
{
    asm("" : "+l"(p));
    return p;
}

/* 16 bytes from L2, past L1; zeros when !valid (p is then not touched). */
__device__ __forceinline__ uint4
load_l2(const void *p, bool valid)
{
    uint4 v;
    asm volatile("{\n\t"
                 ".reg .pred valid;\n\t"
                 "setp.ne.u32 valid, %5, 0;\n\t"
                 "mov.u32 %0, 0;\n\t"
                 "mov.u32 %1, 0;\n\t"
                 "mov.u32 %2, 0;\n\t"
                 "mov.u32 %3, 0;\n\t"
                 "@valid ld.global.cg.v4.u32 {%0,%1,%2,%3}, [%4];\n\t"
                 "}"
                 : "=&r"(v.x), "=&r"(v.y), "=&r"(v.z), "=&r"(v.w)
                 : "l"(p), "r"((uint32_t)valid)
                 : "memory");
    return v;
}

#endif
