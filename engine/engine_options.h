/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a user can tell the engine, with vLLM's names. llmd and llmd-bench have
 * these among their own options: the rows are in engine_options.inc.
 */
#ifndef ENGINE_ENGINE_OPTIONS_H
#define ENGINE_ENGINE_OPTIONS_H

#include "engine/engine.h"
#include "util/option.h"

struct engine_options {
    int dtype;       /* index into engine_dtypes: enum model_dtype */
    int load_format; /* index into engine_load_formats */
    int64_t max_model_len;
    int64_t seed;
    int device;      /* index into engine_devices */
    int64_t threads;
    int isa;         /* index into engine_isas */
    int64_t max_num_seqs;
    int64_t max_num_batched_tokens;
    double gpu_memory_utilization;
    int64_t num_gpu_blocks_override;
    int64_t kv_cache_memory_bytes;
    bool enforce_eager;
    bool pdl;
    bool deterministic;
    bool autotune;
    char *cache_dir; /* owned, NULL: unset */
};

extern const char *const engine_dtypes[];
extern const char *const engine_load_formats[];
extern const char *const engine_devices[];
extern const char *const engine_isas[];

/* What the rows alone cannot say. */
int engine_options_check(const struct engine_options *o, struct error *err);
/* Where the environment says that a cache may be: $CACHE_DIRECTORY (systemd),
 * $XDG_CACHE_HOME, $HOME; each may be NULL. */
struct cache_environment {
    const char *cache_directory, *xdg_cache_home, *home;
};

/* Sets cache_dir, unless the user has, and makes the folder; where it cannot be
 * made there is no cache. ERR_NOMEM. */
int engine_options_find_cache(struct engine_options *o, const struct cache_environment *env,
                              struct error *err);
/* Sets the fields of `ret` that have an option, and zeroes all others. */
void engine_options_apply(const struct engine_options *o, struct engine_config *ret);

#endif
