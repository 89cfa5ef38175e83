# SPDX-License-Identifier: Apache-2.0
#
# LLMD_CUDA: the toolkit for the CUDA module, and the virtual CUDA device that
# its tests run on. Nothing is fetched here; tools/get-cuda is for that.
#
# Sets CUDA_DIR, NVCC, NVCCFLAGS, CUDA_CFLAGS, CUDA_LIBS, NVTX_CFLAGS, VGPU_DIR,
# the conditionals CUDA and VGPU, and for the summary llmd_cuda and llmd_vgpu.
AC_DEFUN([LLMD_CUDA], [
AC_ARG_WITH([cuda],
  [AS_HELP_STRING([--with-cuda@<:@=DIR@:>@],
    [build the CUDA module, with the toolkit in DIR (default: if a toolkit is found)])],
  [], [with_cuda=auto])
AC_ARG_WITH([vgpu],
  [AS_HELP_STRING([--with-vgpu=DIR],
    [the sources of a virtual CUDA device, for tests (default: ../shared/vgpu beside the sources)])],
  [], [with_vgpu=auto])
AC_ARG_ENABLE([nvtx],
  [AS_HELP_STRING([--enable-nvtx], [NVTX ranges in the CUDA module, for profilers])])
AC_ARG_VAR([NVCC], [CUDA compiler])
AC_ARG_VAR([NVCCFLAGS], [CUDA compiler flags])
AC_ARG_VAR([CUDA_CFLAGS], [C compiler flags for the headers of CUDA and cuBLAS])
AC_ARG_VAR([CUDA_LIBS], [linker flags for libcudart and libcublasLt])
: ${NVCCFLAGS="-O3 -lineinfo"}

CUDA_DIR= llmd_cuda_why=
AS_CASE([$with_cuda],
  [no], [llmd_cuda_why="--without-cuda was given"],
  [auto], [AS_IF([test -n "$llmd_sanitize"],
    [llmd_cuda_why="it is not built with sanitizers"],
    [_LLMD_CUDA_FIND])],
  [yes], [_LLMD_CUDA_FIND],
  [_LLMD_CUDA_TRY([$with_cuda])])
AS_IF([test -n "$CUDA_DIR"], [_LLMD_CUDA_CHECK])
AS_IF([test -n "$CUDA_DIR" && test "x$enable_nvtx" = xyes], [_LLMD_NVTX])
AS_IF([test -z "$CUDA_DIR"],
  [AS_CASE([$with_cuda],
    [no|auto], [llmd_cuda="left out: $llmd_cuda_why"],
    [AC_MSG_ERROR([the CUDA module cannot be built: $llmd_cuda_why])])],
  [llmd_cuda="with $CUDA_DIR"])
AC_SUBST([CUDA_DIR])
AM_CONDITIONAL([CUDA], [test -n "$CUDA_DIR"])
_LLMD_VGPU
])

# Where a toolkit may be: the first that is whole is taken; else the first lack
# found is told.
AC_DEFUN([_LLMD_CUDA_FIND], [
llmd_nvcc=${NVCC-nvcc}
llmd_nvcc_top=`$llmd_nvcc --dryrun -c -x cu /dev/null -o /dev/null 2>&1 | $SED -n 's/^#\\$ TOP=//p'`
for llmd_dir in "$CUDA_HOME" "$llmd_nvcc_top" /usr/local/cuda "${XDG_CACHE_HOME:-$HOME/.cache}/llmd/cuda"
do
  AS_IF([test -z "$CUDA_DIR" && test -n "$llmd_dir" && test -d "$llmd_dir"],
    [llmd_dir=`cd "$llmd_dir" && pwd`
     _LLMD_CUDA_TRY([$llmd_dir])])
done
AS_IF([test -z "$CUDA_DIR"],
  [llmd_cuda_why="${llmd_cuda_why:-no CUDA toolkit was found} (tools/get-cuda fetches it)"])
])

# Is $1 a toolkit with cuBLAS?
AC_DEFUN([_LLMD_CUDA_TRY], [
llmd_lib=$1/lib64
AS_IF([test -d "$llmd_lib"], [], [llmd_lib=$1/lib])
llmd_lack=
for llmd_file in "$llmd_lib/libcublasLt.so" "$1/include/cublasLt.h" "$llmd_lib/libcudart.so" \
                 "$1/include/cuda_runtime.h" "$1/bin/nvcc"
do
  AS_IF([test -f "$llmd_file"], [], [llmd_lack=$llmd_file])
done
AS_IF([test -z "$llmd_lack"],
  [CUDA_DIR=`cd "$1" && pwd`
   llmd_lib=$CUDA_DIR/`basename "$llmd_lib"`],
  [: ${llmd_cuda_why:="there is no '$llmd_lack'"}])
])

# The toolkit's parts work with the compilers at hand. The module remembers where
# it found the libraries; the loader looks in LD_LIBRARY_PATH before.
AC_DEFUN([_LLMD_CUDA_CHECK], [
: ${NVCC=$CUDA_DIR/bin/nvcc}
: ${CUDA_CFLAGS="-isystem $CUDA_DIR/include"}
: ${CUDA_LIBS="-L$llmd_lib -lcudart -lcublasLt -Wl,--enable-new-dtags,-rpath,$llmd_lib"}
AC_CACHE_CHECK([whether the CUDA libraries link], [llmd_cv_cuda_links], [
  llmd_saved_cflags=$CFLAGS llmd_saved_libs=$LIBS
  CFLAGS="$CFLAGS $CUDA_CFLAGS" LIBS="$CUDA_LIBS $LIBS"
  AC_LINK_IFELSE([AC_LANG_PROGRAM([[#include <cublasLt.h>
#include <cuda_runtime_api.h>]], [[return cudaGetLastError() + (int) cublasLtGetVersion();]])],
    [llmd_cv_cuda_links=yes], [llmd_cv_cuda_links=no])
  CFLAGS=$llmd_saved_cflags LIBS=$llmd_saved_libs])
AC_CACHE_CHECK([whether $NVCC compiles for sm_90], [llmd_cv_nvcc_works], [
  cat >conftest.cu <<'_EOF'
#include <cuda_bf16.h>
__global__ void twice(__nv_bfloat16 *x) { x[[threadIdx.x]] = __hadd(x[[threadIdx.x]], x[[threadIdx.x]]); }
extern "C" void run(__nv_bfloat16 *x) { twice<<<1, 32>>>(x); }
_EOF
  AS_IF([AC_TRY_COMMAND([$NVCC $NVCCFLAGS -std=c++17 -gencode arch=compute_90,code=sm_90 -c conftest.cu -o conftest.cuo >&AS_MESSAGE_LOG_FD 2>&1])],
    [llmd_cv_nvcc_works=yes], [llmd_cv_nvcc_works=no])
  rm -f conftest.cu conftest.cuo])
AS_IF([test "$llmd_cv_cuda_links" = no],
  [llmd_cuda_why="programs do not link with '$CUDA_DIR' (see config.log)" CUDA_DIR=])
AS_IF([test -n "$CUDA_DIR" && test "$llmd_cv_nvcc_works" = no],
  [llmd_cuda_why="'$NVCC' does not compile for sm_90 (see config.log)" CUDA_DIR=])
])

AC_DEFUN([_LLMD_NVTX], [
AS_IF([test -f "$CUDA_DIR/include/nvtx3/nvToolsExt.h"],
  [NVTX_CFLAGS=-DLLMD_NVTX],
  [AC_MSG_ERROR([--enable-nvtx: '$CUDA_DIR' has no nvtx3/nvToolsExt.h (tools/get-cuda fetches it)])])
AC_SUBST([NVTX_CFLAGS])
])

AC_DEFUN([_LLMD_VGPU], [
VGPU_DIR= llmd_vgpu=
AS_CASE([$with_vgpu],
  [auto], [VGPU_DIR=$srcdir/../shared/vgpu],
  [yes], [AC_MSG_ERROR([--with-vgpu needs a folder])],
  [no], [llmd_vgpu="none: --without-vgpu was given"],
  [VGPU_DIR=$with_vgpu])
AS_IF([test -n "$VGPU_DIR"], [
  AS_IF([test -x "$VGPU_DIR/vgpu-run" && test -f "$VGPU_DIR/Makefile"],
    [VGPU_DIR=`cd "$VGPU_DIR" && pwd`],
    [AS_IF([test "x$with_vgpu" != xauto], [AC_MSG_ERROR(['$VGPU_DIR' has no vgpu-run])])
     VGPU_DIR= llmd_vgpu="none: no ../shared/vgpu beside the sources, and no --with-vgpu=DIR"])])
AS_IF([test -n "$VGPU_DIR" && test -z "$CUDA_DIR"],
  [VGPU_DIR= llmd_vgpu="none: it is for the CUDA module"])
AS_IF([test -n "$VGPU_DIR" && test ! -e "$llmd_lib/libcudart.so.13"],
  [VGPU_DIR= llmd_vgpu="none: it needs CUDA 13"])
AS_IF([test -n "$VGPU_DIR"], [AC_CHECK_HEADER([zstd.h], [],
  [VGPU_DIR= llmd_vgpu="none: it needs zstd.h (Debian: libzstd-dev)"])])
AS_IF([test -n "$VGPU_DIR"], [llmd_vgpu=$VGPU_DIR])
AC_SUBST([VGPU_DIR])
AM_CONDITIONAL([VGPU], [test -n "$VGPU_DIR"])
])
