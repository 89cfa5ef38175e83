/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libFuzzer target: config.json and generation_config.json, divided by the
 * first zero byte. Whatever is accepted must be safe to size a model with.
 */
#include "engine/model.h"

#include <math.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    const char *config = (const char *)bytes, *generation = NULL;
    size_t config_len = len, generation_len = 0;
    const uint8_t *zero = len == 0 ? NULL : memchr(bytes, 0, len);
    if (zero != NULL) {
        config_len = (size_t)(zero - bytes);
        generation = (const char *)zero + 1;
        generation_len = len - config_len - 1;
    }
    struct model_config c;
    struct error err = {0};
    int code = model_config_parse(config, config_len, generation, generation_len, &c, &err);
    if (code != 0) {
        ASSERT(err.code == code && err.text[0] != '\0');
        return 0;
    }
    ASSERT(c.num_layers > 0 && c.num_heads > 0 && c.num_kv_heads > 0);
    ASSERT(c.num_heads % c.num_kv_heads == 0);
    ASSERT(c.head_dim >= 2 && c.head_dim <= 512 && c.head_dim % 2 == 0);
    ASSERT(c.hidden_size > 0 && c.intermediate_size > 0 && c.vocab_size > 0);
    ASSERT(c.num_eos_token_ids <= MODEL_MAX_EOS && c.bos_token_id < c.vocab_size);
    ASSERT(isfinite(c.attn_scale) && c.attn_scale > 0 && c.rms_norm_eps > 0);
    ASSERT(c.sliding_window >= 0);
    int64_t parameters = model_config_num_parameters(&c);
    ASSERT(parameters > 0 && parameters < INT64_MAX / 8);
    float inv_freq[256];
    model_config_inv_freq(&c, inv_freq);
    for (int i = 0; i < c.head_dim / 2; i++)
        ASSERT(isfinite(inv_freq[i]) && inv_freq[i] >= 0);
    return 0;
}
