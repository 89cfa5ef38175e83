# SPDX-License-Identifier: Apache-2.0
"""Small checkpoints with random weights and the heads of real models: head sizes 64,
128 and 256, and groups of query heads that have tensor-core kernels of their own. A
layer's outputs are of the size of its inputs, and the logits far apart.
"""

import array
import json
import os
import random
import struct

COMMON = {"intermediate_size": 128, "num_hidden_layers": 2, "vocab_size": 512,
          "max_position_embeddings": 1024, "rope_theta": 10000.0, "rms_norm_eps": 1e-6,
          "tie_word_embeddings": False, "torch_dtype": "bfloat16", "eos_token_id": 0,
          "bos_token_id": 0}
SHAPES = {
    # four query heads for a key's, of 128: Llama 8B's
    "llama": {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
              "hidden_size": 128, "num_attention_heads": 8, "num_key_value_heads": 2,
              "head_dim": 128},
    # seven, with a bias: Qwen 7B's, half as wide
    "qwen": {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_act": "silu",
             "hidden_size": 448, "num_attention_heads": 7, "num_key_value_heads": 1},
    # two of 256, soft caps, and a window in every other layer: Gemma 2 9B's
    "gemma": {"architectures": ["Gemma2ForCausalLM"], "model_type": "gemma2",
              "hidden_activation": "gelu_pytorch_tanh", "hidden_size": 128,
              "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 256,
              "query_pre_attn_scalar": 256, "sliding_window": 48,
              "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0,
              "tie_word_embeddings": True},
    # as many words as real models have, and hardly anything else
    "wordy": {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
              "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1,
              "num_attention_heads": 1, "num_key_value_heads": 1, "head_dim": 16,
              "vocab_size": 131072, "tie_word_embeddings": True},
}


def layer_shapes(config):
    """{name: shape} of one layer's tensors."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    width = config.get("head_dim", hidden // heads)
    found = {"input_layernorm": [hidden], "post_attention_layernorm": [hidden],
             "self_attn.q_proj": [heads * width, hidden],
             "self_attn.k_proj": [kv_heads * width, hidden],
             "self_attn.v_proj": [kv_heads * width, hidden],
             "self_attn.o_proj": [hidden, heads * width],
             "mlp.gate_proj": [inner, hidden], "mlp.up_proj": [inner, hidden],
             "mlp.down_proj": [hidden, inner]}
    if config["model_type"] == "gemma2":
        found.update(pre_feedforward_layernorm=[hidden], post_feedforward_layernorm=[hidden])
    found = {name + ".weight": shape for name, shape in found.items()}
    if config["model_type"] == "qwen2":
        for name in ("q_proj", "k_proj", "v_proj"):
            found["self_attn.%s.bias" % name] = found["self_attn.%s.weight" % name][:1]
    return found


def tensor_shapes(config):
    found = {"model.embed_tokens.weight": [config["vocab_size"], config["hidden_size"]],
             "model.norm.weight": [config["hidden_size"]]}
    if not config["tie_word_embeddings"]:
        found["lm_head.weight"] = found["model.embed_tokens.weight"]
    for layer in range(config["num_hidden_layers"]):
        for name, shape in layer_shapes(config).items():
            found["model.layers.%d.%s" % (layer, name)] = shape
    return found


def bf16(values):
    """The upper halves of float32s."""
    data = array.array("f", values).tobytes()
    halves = bytearray(len(data) // 2)
    halves[0::2], halves[1::2] = data[2::4], data[3::4]
    return bytes(halves)


def values_of(name, shape, gemma, draw):
    """Norms are 1, as transformers stores it; of a matrix a row's outputs have the
    variance of its inputs; the head's logits have four times that."""
    if len(shape) == 1:
        count, spread, middle = shape[0], 0.1, 0.0 if gemma or name.endswith("bias") else 1.0
    else:
        count, middle = shape[0] * shape[1], 0.0
        spread = 1.0 if "embed" in name else shape[1] ** -0.5 * (4 if "lm_head" in name else 1)
    return [draw.gauss(middle, spread) for _ in range(count)]


def make(kind, folder, files=()):
    """Writes the model to folder, with links to `files` (of a tokenizer)."""
    config = dict(COMMON, **SHAPES[kind])
    with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as file:
        json.dump(config, file)
    draw, header, parts, at = random.Random(1), {}, [], 0
    for name, shape in tensor_shapes(config).items():
        parts.append(bf16(values_of(name, shape, kind == "gemma", draw)))
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [at, at + len(parts[-1])]}
        at += len(parts[-1])
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(os.path.join(folder, "model.safetensors"), "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + b"".join(parts))
    for path in files:
        os.symlink(path, os.path.join(folder, os.path.basename(path)))
