/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/engine_options.h"

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
    };
}
