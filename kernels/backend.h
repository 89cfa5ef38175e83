/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finds a backend by name. The CPU backend is built in; the CUDA one is a
 * module, llmd-cuda.so, found with dlopen: kernels/cuda/ of the build tree that
 * the program runs from, else $(pkglibdir). This file never logs: the caller
 * says why a backend was not taken.
 */
#ifndef KERNELS_BACKEND_H
#define KERNELS_BACKEND_H

#include "kernels/ops.h"

/* `name` is "auto", "cpu" or "cuda". "auto" prefers a device that opens; why
 * CUDA was left out is then in `err` although 0 is returned. */
int backend_find(const char *name, const struct ops **ret, struct error *err);

extern const struct ops cpu_ops;

#endif
