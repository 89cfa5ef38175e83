/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/engine_options.h"

#include "util/buf.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

enum { FORMAT_AUTO, FORMAT_SAFETENSORS, FORMAT_DUMMY };

const char *const engine_dtypes[] = {"auto", "bfloat16", "float16", "float32", NULL};
const char *const engine_load_formats[] = {"auto", "safetensors", "dummy", NULL};
const char *const engine_devices[] = {"auto", "cpu", "cuda", NULL};
const char *const engine_isas[] = {"auto", "avx2", "generic", NULL};

int
engine_options_check(const struct engine_options *o, struct error *err)
{
    if (o->max_num_batched_tokens > 0 && o->max_num_batched_tokens < o->max_num_seqs)
        return error_set(err, ERR_RANGE,
                         "option '--max-num-batched-tokens': %lld is less than '--max-num-seqs' "
                         "%lld",
                         (long long)o->max_num_batched_tokens, (long long)o->max_num_seqs);
    return 0;
}

/* Makes the folder and those above it. */
static bool
make_folders(char *path)
{
    for (char *slash = path + 1; (slash = strchr(slash, '/')) != NULL; slash++) {
        *slash = '\0';
        bool made = mkdir(path, 0755) == 0 || errno == EEXIST;
        *slash = '/';
        if (!made)
            return false;
    }
    return mkdir(path, 0755) == 0 || errno == EEXIST;
}

int
engine_options_find_cache(struct engine_options *o, const struct cache_environment *env,
                          struct error *err)
{
    struct buf path = {0};
    if (o->cache_dir != NULL)
        buf_puts(&path, o->cache_dir);
    else if (env->cache_directory != NULL)
        buf_puts(&path, env->cache_directory);
    else if (env->xdg_cache_home != NULL)
        buf_printf(&path, "%s/llmd", env->xdg_cache_home);
    else if (env->home != NULL)
        buf_printf(&path, "%s/.cache/llmd", env->home);
    char *found = buf_take(&path, NULL);
    if (found == NULL)
        return error_set(err, ERR_NOMEM, "out of memory");
    if (found[0] == '\0' || !make_folders(found)) {
        free(found);
        found = NULL;
    }
    free(o->cache_dir);
    o->cache_dir = found;
    return 0;
}

void
engine_options_apply(const struct engine_options *o, struct engine_config *ret)
{
    *ret = (struct engine_config){
        .device = engine_devices[o->device],
        .load_format = o->load_format == FORMAT_DUMMY ? LOAD_DUMMY : LOAD_AUTO,
        .dtype = (enum model_dtype)o->dtype,
        .max_model_len = o->max_model_len,
        .max_num_seqs = o->max_num_seqs,
        .max_num_batched_tokens = o->max_num_batched_tokens,
        .gpu_memory_utilization = o->gpu_memory_utilization,
        .num_gpu_blocks_override = o->num_gpu_blocks_override,
        .kv_cache_memory_bytes = o->kv_cache_memory_bytes,
        .threads = (int)o->threads,
        .isa = engine_isas[o->isa],
        .seed = (uint64_t)o->seed,
        .enforce_eager = o->enforce_eager,
        .no_pdl = !o->pdl,
        .deterministic = o->deterministic,
        .autotune = o->autotune,
        .cache_dir = o->cache_dir,
    };
}
