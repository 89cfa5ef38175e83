/* SPDX-License-Identifier: Apache-2.0 */
/* config.json of the six models that llmd is measured with: what shapes, memory
 * and speed follow from. */
#ifndef TESTS_UNIT_MODEL_CONFIGS_H
#define TESTS_UNIT_MODEL_CONFIGS_H

#include "engine/model.h"

#include <check.h>
#include <string.h>

#define LLAMA_8B                                                                              \
    "{\"architectures\": [\"LlamaForCausalLM\"], \"attention_bias\": false,"                  \
    "\"bos_token_id\": 128000, \"eos_token_id\": 128001, \"hidden_act\": \"silu\","           \
    "\"hidden_size\": 4096, \"intermediate_size\": 14336, \"max_position_embeddings\": 131072,"\
    "\"mlp_bias\": false, \"model_type\": \"llama\", \"num_attention_heads\": 32,"            \
    "\"num_hidden_layers\": 32, \"num_key_value_heads\": 8, \"rms_norm_eps\": 1e-05,"         \
    "\"rope_scaling\": {\"factor\": 8.0, \"low_freq_factor\": 1.0, \"high_freq_factor\": 4.0,"\
    "\"original_max_position_embeddings\": 8192, \"rope_type\": \"llama3\"},"                 \
    "\"rope_theta\": 500000.0, \"tie_word_embeddings\": false, \"torch_dtype\": \"bfloat16\","\
    "\"vocab_size\": 128256}"

#define QWEN2(hidden, inter, layers, heads, kv, eps, theta, window)                           \
    "{\"architectures\": [\"Qwen2ForCausalLM\"], \"bos_token_id\": 151643,"                   \
    "\"eos_token_id\": 151643, \"hidden_act\": \"silu\", \"hidden_size\": " hidden ","        \
    "\"intermediate_size\": " inter ", \"max_position_embeddings\": 131072,"                  \
    "\"max_window_layers\": " layers ", \"model_type\": \"qwen2\","                           \
    "\"num_attention_heads\": " heads ", \"num_hidden_layers\": " layers ","                  \
    "\"num_key_value_heads\": " kv ", \"rms_norm_eps\": " eps ", \"rope_theta\": " theta ","  \
    "\"sliding_window\": " window ", \"tie_word_embeddings\": false,"                         \
    "\"torch_dtype\": \"bfloat16\", \"use_mrope\": false, \"use_sliding_window\": false,"     \
    "\"vocab_size\": 152064}"

#define GEMMA2(hidden, inter, layers, heads, kv, dim, scalar)                                 \
    "{\"architectures\": [\"Gemma2ForCausalLM\"], \"attention_bias\": false,"                 \
    "\"attn_logit_softcapping\": 50.0, \"bos_token_id\": 2, \"eos_token_id\": 1,"             \
    "\"final_logit_softcapping\": 30.0, \"head_dim\": " dim ","                               \
    "\"hidden_act\": \"gelu_pytorch_tanh\", \"hidden_activation\": \"gelu_pytorch_tanh\","    \
    "\"hidden_size\": " hidden ", \"intermediate_size\": " inter ","                          \
    "\"max_position_embeddings\": 8192, \"model_type\": \"gemma2\","                          \
    "\"num_attention_heads\": " heads ", \"num_hidden_layers\": " layers ","                  \
    "\"num_key_value_heads\": " kv ", \"pad_token_id\": 0,"                                   \
    "\"query_pre_attn_scalar\": " scalar ", \"rms_norm_eps\": 1e-06,"                         \
    "\"rope_theta\": 10000.0, \"sliding_window\": 4096, \"torch_dtype\": \"bfloat16\","       \
    "\"vocab_size\": 256000}"

#define GEMMA_9B GEMMA2("3584", "14336", "42", "16", "8", "256", "256")
#define GEMMA_27B GEMMA2("4608", "36864", "46", "32", "16", "128", "144")
#define QWEN_7B QWEN2("3584", "18944", "28", "28", "4", "1e-06", "10000", "4096")
#define QWEN_14B QWEN2("5120", "13824", "48", "40", "8", "1e-05", "1000000.0", "131072")
#define QWEN_32B QWEN2("5120", "27648", "64", "40", "8", "1e-05", "1000000.0", "131072")

#define NUM_MODEL_CONFIGS 6

static const struct {
    const char *name, *json;
} model_configs[NUM_MODEL_CONFIGS] = {
    {"gemma-9b", GEMMA_9B}, {"gemma-27b", GEMMA_27B}, {"Llama-8B", LLAMA_8B},
    {"Qwen-7B", QWEN_7B},   {"Qwen-14B", QWEN_14B},   {"Qwen-32B", QWEN_32B},
};

static inline struct model_config
model_config_number(size_t i)
{
    struct model_config c;
    struct error err = {0};
    int code = model_config_parse(model_configs[i].json, strlen(model_configs[i].json), NULL, 0,
                                  &c, &err);
    ck_assert_msg(code == 0, "%s: %s", model_configs[i].name, err.text);
    return c;
}

#endif
