/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/backend.h"

#include <dlfcn.h>
#include <string.h>

#ifndef LLMD_MODULEDIR
#define LLMD_MODULEDIR "/usr/lib/llmd"
#endif

#define CUDA_MODULE LLMD_MODULEDIR "/llmd-cuda.so"

/* The module stays loaded for the life of the process: its table is used
 * until exit, and the CUDA runtime does not survive dlclose. */
static int
find_cuda(const struct ops **ret_ops, struct error *err)
{
    void *module = dlopen(CUDA_MODULE, RTLD_NOW | RTLD_LOCAL);
    if (module == NULL) {
        const char *why = dlerror();
        return error_set(err, ERR_NOTFOUND, "cannot load the CUDA module: %s",
                         why != NULL ? why : CUDA_MODULE);
    }
    const struct ops *ops = dlsym(module, "llmd_cuda_ops");
    if (ops == NULL) {
        dlclose(module);
        return error_set(err, ERR_INVALID, "'%s' is no llmd backend: no symbol 'llmd_cuda_ops'",
                         CUDA_MODULE);
    }
    if (ops->abi != OPS_ABI) {
        int abi = ops->abi;
        dlclose(module);
        return error_set(err, ERR_UNSUPPORTED,
                         "'%s' was built for another version of llmd: it has interface %d, "
                         "this program needs %d",
                         CUDA_MODULE, abi, OPS_ABI);
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
