/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/backend.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#ifndef LLMD_MODULEDIR
#define LLMD_MODULEDIR "/usr/lib/llmd"
#endif

/* Where a build tree has the module, below its top; programs are in the top or
 * at most two folders below it. */
#define BUILT_MODULE "kernels/cuda/llmd-cuda.so"
#define PROGRAM_DEPTH 2

/* The module of the build tree that the program runs from, else the installed
 * one, so that a tree is not tested with a module of another version. */
static void
module_path(char ret[PATH_MAX])
{
    char dir[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", dir, sizeof dir - 1);
    dir[n > 0 ? n : 0] = '\0';
    for (int up = 0; up <= PROGRAM_DEPTH; up++) {
        char *slash = strrchr(dir, '/');
        if (slash == NULL)
            break;
        *slash = '\0';
        if (snprintf(ret, PATH_MAX, "%s/%s", dir, BUILT_MODULE) < PATH_MAX &&
            access(ret, F_OK) == 0)
            return;
    }
    snprintf(ret, PATH_MAX, "%s/llmd-cuda.so", LLMD_MODULEDIR);
}

/* The module stays loaded for the life of the process: its table is used
 * until exit, and the CUDA runtime does not survive dlclose. */
static int
find_cuda(const struct ops **ret_ops, struct error *err)
{
    char path[PATH_MAX];
    module_path(path);
    void *module = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (module == NULL) {
        const char *why = dlerror();
        return error_set(err, ERR_NOTFOUND, "cannot load the CUDA module: %s",
                         why != NULL ? why : path);
    }
    const struct ops *ops = dlsym(module, "llmd_cuda_ops");
    if (ops == NULL) {
        dlclose(module);
        return error_set(err, ERR_INVALID, "'%s' is no llmd backend: no symbol 'llmd_cuda_ops'",
                         path);
    }
    if (ops->abi != OPS_ABI) {
        int abi = ops->abi;
        dlclose(module);
        return error_set(err, ERR_UNSUPPORTED,
                         "'%s' was built for another version of llmd: it has interface %d, "
                         "this program needs %d",
                         path, abi, OPS_ABI);
    }
    *ret_ops = ops;
    return 0;
}

/* Whether a device opens with the smallest options there are. */
static int
probe(const struct ops *ops, struct error *err)
{
    struct device_options opt = {.max_tokens = 1, .max_seqs = 1, .vocab_size = 1};
    struct device *dev;
    int rc = ops->device_open(&opt, &dev, err);
    if (rc == 0)
        ops->device_close(dev);
    return rc;
}

int
backend_find(const char *name, const struct ops **ret_ops, struct error *err)
{
    if (strcmp(name, "cpu") == 0) {
        *ret_ops = &cpu_ops;
        return 0;
    }
    if (strcmp(name, "cuda") == 0)
        return find_cuda(ret_ops, err);
    if (strcmp(name, "auto") != 0)
        return error_set(err, ERR_INVALID, "unknown device '%s': use auto, cpu or cuda", name);

    const struct ops *ops;
    if (find_cuda(&ops, err) != 0 || probe(ops, err) != 0)
        ops = &cpu_ops;
    *ret_ops = ops;
    return 0;
}
