#!/usr/bin/env python3
"""Record what llmd is judged by: Hugging Face's own numbers.

usage: record-truth.py tiny [--out DIR] [NAME ...]
       record-truth.py smollm2 --model DIR [--out DIR]

Needs pinned versions of torch, transformers and tokenizers:

    python3 -m venv venv
    venv/bin/pip install -r tools/requirements-truth.txt
    venv/bin/python tools/record-truth.py tiny
    venv/bin/python tools/record-truth.py smollm2 --model "$(tools/get-smollm2)"

The files are kept in the repository; run this only to change them.

`tiny` writes tests/data/tiny/NAME: a checkpoint with random weights in the
shape of each of the six models llmd is made for (config.json has the real
file's keys, in the real file's style), and truth.json:

    prompts[].ids              prompt token ids (5, 40 and 130 of them)
    prompts[].tokens           64 greedy tokens; end-of-text stops nothing
    prompts[].margins          top-1 minus top-2 logit where each was chosen
    prompts[].logits_first     all logits after the last prompt token (these
                               choose tokens[0])
    prompts[].logits_last      all logits that choose tokens[63]
    prompts[].logits_bf16      logits_first, with bfloat16 arithmetic
    prompts[].bf16_max_diff    largest |logits_bf16 - logits_first|

All but the last two are float32 arithmetic on the weights as stored, eager
attention.  A file config-new.json or config-old.json beside config.json says
the same in the other style of keys (transformers 5, transformers 4).

`smollm2` writes tests/data/smollm2/truth.json (12 prompts, 48 greedy tokens
each in float32, see the keys there) and tests/data/smollm2/tokenizer.jsonl,
one text a line:

    ids                        add_special_tokens=False
    raw_post_processor_adds    how many ids the file's post-processor adds
    decoded                    null when equal to the text
    decoded_skip_special       null when equal to what was decoded
"""

import argparse
import hashlib
import json
import os
import random
import sys

import numpy as np
import torch

HERE = os.path.dirname(os.path.abspath(__file__))
DATA = os.path.join(os.path.dirname(HERE), "tests", "data")
STEPS = 64


def digits(value):
    """A float32 as a JSON number of seven digits."""
    return float("%.7g" % value)


def numbers(tensor):
    return [digits(v) for v in tensor.float().tolist()]


def dump(path, value, indent=None):
    with open(path, "w") as out:
        json.dump(value, out, indent=indent,
                  separators=None if indent else (",", ":"))
        out.write("\n")


# ------------------------------------------------------------- tiny: configs

GEMMA_2_9B = {
    "architectures": ["Gemma2ForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "attn_logit_softcapping": 50.0,
    "bos_token_id": 2,
    "cache_implementation": "hybrid",
    "eos_token_id": 1,
    "final_logit_softcapping": 30.0,
    "head_dim": 32,
    "hidden_act": "gelu_pytorch_tanh",
    "hidden_activation": "gelu_pytorch_tanh",
    "hidden_size": 64,
    "initializer_range": 0.02,
    "intermediate_size": 128,
    "max_position_embeddings": 512,
    "model_type": "gemma2",
    "num_attention_heads": 4,
    "num_hidden_layers": 3,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
    "query_pre_attn_scalar": 32,
    "rms_norm_eps": 1e-06,
    "rope_theta": 10000.0,
    "sliding_window": 24,
    "sliding_window_size": 24,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.42.0.dev0",
    "use_cache": True,
    "vocab_size": 384,
}

# As in the real file: q narrower than the hidden state, and a query scale
# of hidden_size / heads where head_dim is something else.
GEMMA_2_27B = dict(GEMMA_2_9B, **{
    "head_dim": 16,
    "hidden_size": 80,
    "intermediate_size": 160,
    "query_pre_attn_scalar": 20,
    "_attn_implementation": "eager",
})

LLAMA_8B = {
    "architectures": ["LlamaForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "bos_token_id": 320,
    "eos_token_id": 321,
    "hidden_act": "silu",
    "hidden_size": 128,
    "initializer_range": 0.02,
    "intermediate_size": 64,
    "max_position_embeddings": 512,
    "mlp_bias": False,
    "model_type": "llama",
    "num_attention_heads": 8,
    "num_hidden_layers": 3,
    "num_key_value_heads": 2,
    "pretraining_tp": 1,
    "rms_norm_eps": 1e-05,
    "rope_scaling": {
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
        "rope_type": "llama3",
    },
    "rope_theta": 500000.0,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.43.0.dev0",
    "use_cache": True,
    "vocab_size": 384,
}

QWEN_14B = {
    "architectures": ["Qwen2ForCausalLM"],
    "attention_dropout": 0.0,
    "bos_token_id": 320,
    "eos_token_id": 320,
    "hidden_act": "silu",
    "hidden_size": 80,
    "initializer_range": 0.02,
    "intermediate_size": 96,
    "max_position_embeddings": 512,
    "max_window_layers": 3,
    "model_type": "qwen2",
    "num_attention_heads": 5,
    "num_hidden_layers": 3,
    "num_key_value_heads": 1,
    "rms_norm_eps": 1e-05,
    "rope_theta": 1000000.0,
    "sliding_window": 512,
    "tie_word_embeddings": False,
    "torch_dtype": "float16",
    "transformers_version": "4.43.1",
    "use_cache": True,
    "use_sliding_window": False,
    "vocab_size": 384,
}

QWEN_32B = dict(QWEN_14B, intermediate_size=128, torch_dtype="bfloat16")

# The window is shorter than the prompts, and must be ignored.
QWEN_7B = {
    "architectures": ["Qwen2ForCausalLM"],
    "attention_dropout": 0.0,
    "bos_token_id": 320,
    "eos_token_id": 320,
    "hidden_act": "silu",
    "hidden_size": 112,
    "initializer_range": 0.02,
    "intermediate_size": 64,
    "max_position_embeddings": 512,
    "max_window_layers": 3,
    "model_type": "qwen2",
    "num_attention_heads": 7,
    "num_hidden_layers": 3,
    "num_key_value_heads": 1,
    "rms_norm_eps": 1e-06,
    "rope_theta": 10000,
    "sliding_window": 24,
    "tie_word_embeddings": False,
    "torch_dtype": "float32",
    "transformers_version": "4.44.0",
    "use_cache": True,
    "use_mrope": False,
    "use_sliding_window": False,
    "vocab_size": 384,
}


def new_style(config):
    """A transformers 4 config in the keys that transformers 5 writes."""
    new = dict(config)
    new["dtype"] = new.pop("torch_dtype")
    rope = {"rope_theta": new.pop("rope_theta"), "rope_type": "default"}
    rope.update(new.pop("rope_scaling", {}))
    new["rope_parameters"] = rope
    new["transformers_version"] = "5.23.0"
    if new["model_type"] == "qwen2":
        new["layer_types"] = ["full_attention"] * new["num_hidden_layers"]
        new["pad_token_id"] = None
        new["sliding_window"] = None
    if new["model_type"] == "llama":
        new["head_dim"] = new["hidden_size"] // new["num_attention_heads"]
        new["pad_token_id"] = None
    return dict(sorted(new.items()))


# name -> (seed, {config file: config}, shards).  Of 16 to 20 seeds tried, each
# has the largest, or nearly the largest, least margin between two tokens.
TINY = {
    "gemma-2-9b": (6, {"config.json": GEMMA_2_9B}, 1),
    "gemma-2-27b": (15, {"config.json": GEMMA_2_27B}, 1),
    "llama-8b": (19, {"config.json": LLAMA_8B,
                     "config-new.json": new_style(LLAMA_8B)}, 1),
    "qwen-7b": (11, {"config.json": new_style(QWEN_7B),
                    "config-old.json": QWEN_7B}, 1),
    "qwen-14b": (9, {"config.json": QWEN_14B}, 1),
    "qwen-32b": (20, {"config.json": QWEN_32B}, 2),
}


# ------------------------------------------------------------- tiny: weights

def tiny_weights(config, rng):
    """Random weights that make a model worth comparing: every part of a layer
    moves the result, logits have a standard deviation of about 4, attention
    prefers some keys, and greedy text does not repeat at once."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    heads = config["num_attention_heads"]
    head = config.get("head_dim", hidden // heads)
    kv = config["num_key_value_heads"] * head
    q = heads * head
    vocab = config["vocab_size"]
    gemma = config["model_type"] == "gemma2"
    tensors = {}

    def normal(name, shape, std, mean=0.0):
        values = rng.standard_normal(shape) * std + mean
        tensors[name] = torch.from_numpy(values.astype(np.float32))

    # Gemma's embedding is its output too, and multiplies by sqrt(hidden) on
    # the way in: rows of length 3 give logits of standard deviation 3 or so.
    normal("model.embed_tokens.weight", (vocab, hidden),
           3 / hidden ** 0.5 if gemma else 1.0)
    sharp = 1.5 if gemma else 1.3  # of q and k: std of the attention scores
    for i in range(config["num_hidden_layers"]):
        at = "model.layers.%d." % i
        own = 0.0 if gemma else 1.0
        normal(at + "input_layernorm.weight", hidden, 0.2, own)
        for name, rows, std in (("q", q, sharp), ("k", kv, sharp),
                                ("v", kv, 1.0)):
            normal(at + "self_attn.%s_proj.weight" % name, (rows, hidden),
                   std / hidden ** 0.5)
            if config["model_type"] == "qwen2":
                normal(at + "self_attn.%s_proj.bias" % name, rows, 0.5)
        normal(at + "self_attn.o_proj.weight", (hidden, q), 1.5 / q ** 0.5)
        normal(at + "mlp.gate_proj.weight", (inner, hidden),
               1.5 / hidden ** 0.5)
        normal(at + "mlp.up_proj.weight", (inner, hidden), 1 / hidden ** 0.5)
        normal(at + "mlp.down_proj.weight", (hidden, inner),
               1.5 / inner ** 0.5)
        if gemma:
            # These set how much a layer adds beside the token's own row,
            # which would else win every time, as the embedding is tied.
            normal(at + "post_attention_layernorm.weight", hidden, 0.5, 3.5)
            normal(at + "pre_feedforward_layernorm.weight", hidden, 0.2)
            normal(at + "post_feedforward_layernorm.weight", hidden, 0.5, 3.5)
        else:
            normal(at + "post_attention_layernorm.weight", hidden, 0.2, 1.0)
    if gemma:
        normal("model.norm.weight", hidden, 1.0, -0.3)
    else:
        normal("model.norm.weight", hidden, 0.2, 1.0)
        normal("lm_head.weight", (vocab, hidden), 4 / hidden ** 0.5)
    return tensors


def save_weights(folder, tensors, shards):
    from safetensors.torch import save_file
    if shards == 1:
        save_file(tensors, os.path.join(folder, "model.safetensors"),
                  metadata={"format": "pt"})
        return
    names = list(tensors)
    size = sum(t.numel() * t.element_size() for t in tensors.values())
    index = {"metadata": {"total_size": size}, "weight_map": {}}
    each = -(-len(names) // shards)
    for n in range(shards):
        # six digits for the number of files, as in the real directories
        file = "model-%05d-of-%06d.safetensors" % (n + 1, shards)
        part = {k: tensors[k] for k in names[n * each:(n + 1) * each]}
        save_file(part, os.path.join(folder, file), metadata={"format": "pt"})
        index["weight_map"].update({k: file for k in part})
    index["weight_map"] = dict(sorted(index["weight_map"].items()))
    dump(os.path.join(folder, "model.safetensors.index.json"), index, 2)


# --------------------------------------------------------------- running them

def load(folder, dtype):
    from transformers import AutoModelForCausalLM
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=dtype, attn_implementation="eager")
    return model.eval()


@torch.no_grad()
def greedy(model, ids, steps):
    """Greedy tokens, whatever they are, and the logits that chose each."""
    past, feed = None, torch.tensor([ids])
    tokens, logits = [], []
    for _ in range(steps):
        out = model(feed, past_key_values=past, use_cache=True)
        past = out.past_key_values
        logits.append(out.logits[0, -1].float())
        tokens.append(int(logits[-1].argmax()))
        feed = torch.tensor([[tokens[-1]]])
    # The same again in one pass without a cache must agree.
    whole = model(torch.tensor([ids + tokens[:-1]]), use_cache=False)
    whole = whole.logits[0, len(ids) - 1:].float()
    off = (whole - torch.stack(logits)).abs().max().item()
    if off > 1e-3:
        raise SystemExit("cached and whole runs differ by %g" % off)
    return tokens, logits


def margin(logits):
    first, second = logits.topk(2).values.tolist()
    return digits(first - second)


def tiny(name, out):
    import transformers
    seed, configs, shards = TINY[name]
    folder = os.path.join(out, name)
    os.makedirs(folder, exist_ok=True)
    for file, config in configs.items():
        dump(os.path.join(folder, file), config, 2)
    config = configs["config.json"]
    dtype = getattr(torch, config.get("dtype", config.get("torch_dtype")))
    rng = np.random.default_rng(seed)
    weights = tiny_weights(config, rng)
    save_weights(folder, {k: v.to(dtype) for k, v in weights.items()}, shards)

    full = load(folder, torch.float32)
    half = load(folder, torch.bfloat16)
    prompts = []
    for length in (5, 40, 130):
        ids = [int(i) for i in rng.integers(3, config["vocab_size"], length)]
        tokens, logits = greedy(full, ids, STEPS)
        with torch.no_grad():
            rough = half(torch.tensor([ids])).logits[0, -1].float()
        diff = (rough - logits[0]).abs().max().item()
        prompts.append({
            "name": "len%d" % length,
            "ids": ids,
            "tokens": tokens,
            "margins": [margin(v) for v in logits],
            "bf16_max_diff": digits(diff),
            "logits_first": numbers(logits[0]),
            "logits_last": numbers(logits[-1]),
            "logits_bf16": numbers(rough),
        })
    dump(os.path.join(folder, "truth.json"), {
        "model": name,
        "recorded_with": "transformers %s, torch %s"
                         % (transformers.__version__, torch.__version__),
        "steps": STEPS,
        "prompts": prompts,
    })
    for p in prompts:
        print("%-12s %-7s logits std %.2f  bf16 diff %.3f  margins min %.4f "
              "median %.2f  distinct tokens %d"
              % (name, p["name"], np.std(p["logits_first"]),
                 p["bf16_max_diff"], min(p["margins"]),
                 np.median(p["margins"]), len(set(p["tokens"]))))


# -------------------------------------------------------------------- smollm2

LONG = """The harbour master kept two books. In the first she wrote what the
rules asked of her: the name of each ship, the hour it came in, what it
carried, and who paid for the berth. In the second she wrote what she saw. A
grey cat that crossed from one deck to another without touching the quay. A
cook who sang only when it rained. Three brothers who sailed the same boat and
had not spoken to each other for eleven years, and who nevertheless tied every
knot together, six hands on one rope, as if they were a single man. When the
inspector came from the capital he asked for the books, and she gave him the
first. He read it standing, turned the pages with one finger, and found no
fault. Then he saw the other one, which lay open on the window sill with a
stone on it to keep the wind from reading. He asked what it was. She said that
it was the weather. He read a page, and then he sat down and read another. The
tide went out, the lamps were lit along the pier, and the ferry left without
him. At last he closed the book, put the stone back on it with great care, and
asked her whether the brothers had ever spoken again. She said that this was
the one thing she could not write down, because it had not happened yet, but
that he was welcome to stay and see. So the inspector took a room above the
chandler's shop, wrote a letter to the capital, and waited. In the letter he
said that"""

CODE = """#include <stdio.h>

/* Print the first n Fibonacci numbers. */
static void fibonacci(int n)
{
\tunsigned long a = 0, b = 1;

\tfor (int i = 0; i < n; i++) {
"""

TABLE = """| planet | moons |
|---|---|
| Earth | 1 |
| Mars | 2 |
|"""


def smollm2_prompts(template):
    """(name, messages or None, text) of the twelve prompts."""
    def chat(name, *messages):
        messages = [{"role": role, "content": content}
                    for role, content in messages]
        return name, messages, template(messages)

    return [
        ("one_token", None, "Hello"),
        ("capital", None, "The capital of France is"),
        ("prose", None, "It was late in the autumn when the letter came, "
         "and nobody in the house"),
        ("long", None, LONG.replace("\n", " ")),
        ("code_c", None, CODE),
        ("code_python", None, "def is_prime(n):\n    \"\"\"Return True if n "
         "is a prime number.\"\"\"\n"),
        ("digits", None, "1, 2, 4, 8, 16, 32, 64, 128, 256, "),
        ("unicode", None, "Le café de l'été 😀🎉 — 東京の天気は"),
        ("table", None, TABLE),
        chat("chat_capital", ("user", "What is the capital of France?")),
        chat("chat_system",
             ("system", "You answer in one short sentence."),
             ("user", "Why is the sky blue?")),
        chat("chat_turns",
             ("user", "Name a colour."), ("assistant", "Green."),
             ("user", "Name an animal of that colour, and say where it "
              "lives.")),
    ]


def smollm2_truth(folder, tokenizer, template):
    import transformers
    model = load(folder, torch.float32)
    prompts, ties = [], []
    for name, messages, text in smollm2_prompts(template):
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        tokens, logits = greedy(model, ids, 48)
        margins = [margin(v) for v in logits]
        best = torch.log_softmax(logits[0].double(), -1).topk(5)
        end = tokens.index(2) if 2 in tokens else None
        prompts.append({
            "name": name,
            "messages": messages,
            "text": text,
            "ids": ids,
            "tokens": tokens,
            "margins": margins,
            "eos_at": end,
            "decoded": tokenizer.decode(tokens, skip_special_tokens=False),
            "answer": tokenizer.decode(tokens[:end],
                                       skip_special_tokens=True),
            "top5": [[int(i), digits(v)] for v, i in zip(best.values,
                                                         best.indices)],
        })
        ties += [{"name": name, "step": i, "margin": m}
                 for i, m in enumerate(margins) if m < 0.01]
        print("%-14s %3d ids, least margin %.4f: %r"
              % (name, len(ids), min(margins), prompts[-1]["answer"][:60]))
    return {
        "model": "SmolLM2-135M-Instruct, as tools/get-smollm2 makes it",
        "weights_sha256": sha256(os.path.join(folder, "model.safetensors")),
        "recorded_with": "transformers %s, torch %s"
                         % (transformers.__version__, torch.__version__),
        "about": "messages: what the chat template made the text from, or "
                 "null; 48 greedy tokens in float32, end-of-text stops nothing; "
                 "margins: top-1 minus top-2 logit at each step; eos_at: "
                 "index of the first <|im_end|>; decoded: all 48 tokens; "
                 "answer: those before eos_at, special tokens left out; "
                 "top5: token and log probability at the first step; "
                 "near_ties: steps with a margin under 0.01, from which on "
                 "another order of additions may go another way",
        "near_ties": ties,
        "prompts": prompts,
    }


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as f:
        for block in iter(lambda: f.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def smollm2(folder, out):
    from tokenizers import Tokenizer
    from transformers import AutoTokenizer
    tokenizer = Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
    chat = AutoTokenizer.from_pretrained(folder)

    def template(messages):
        return chat.apply_chat_template(messages, tokenize=False,
                                        add_generation_prompt=True)

    os.makedirs(out, exist_ok=True)
    texts = tokenizer_texts(template)
    with open(os.path.join(out, "tokenizer.jsonl"), "w") as lines:
        for name, text in texts:
            ids = tokenizer.encode(text, add_special_tokens=False).ids
            more = tokenizer.encode(text, add_special_tokens=True).ids
            if chat(text, add_special_tokens=False).input_ids != ids:
                raise SystemExit("transformers disagrees on %s" % name)
            whole = tokenizer.decode(ids, skip_special_tokens=False)
            short = tokenizer.decode(ids, skip_special_tokens=True)
            lines.write(json.dumps({
                "name": name,
                "text": text,
                "ids": ids,
                "raw_post_processor_adds": len(more) - len(ids),
                "decoded": None if whole == text else whole,
                "decoded_skip_special": None if short == whole else short,
            }, separators=(",", ":")) + "\n")
    print("%d texts" % len(texts))
    dump(os.path.join(out, "truth.json"),
         smollm2_truth(folder, tokenizer, template))


# ------------------------------------------------------------ tokenizer texts

TEXTS = {
    "empty": [""],
    "space": [" ", "  ", "   ", "    ", "     ", " " * 8, " " * 16, " " * 17,
              " " * 100, "a ", " a", "  a", "   a", "a  ", "a  b", "a   b",
              "  a  b  ", "word " * 5, " leading and trailing "],
    "newline": ["\n", "\n\n", "\n\n\n", "\n\n\n\n\n", "\r", "\r\n",
                "\r\n\r\n", "\n\r", "a\nb", "a\n\nb", "a\r\nb", "a \nb",
                "a\n b", "a \n b", " \n", "\n ", "  \n  \n  ", "a\n\n\n  b",
                "line one\nline two\r\nline three\rline four\n",
                "\x0b", "\x0c", "a\x0cb", "\x85", "a\x85b", "a\u2028b\u2029c"],
    "tab": ["\t", "\t\t", "\t\t\t\t", "a\tb", " \t", "\t ", " \t \t ",
            "\tif (x)\n\t\ty = 1;\n", "a\t\n\tb"],
    "digit": ["0", "7", "12", "123", "1234", "12345678901234567890", "3.14159",
              "1,000,000", "-42", "+1 (555) 010-9999", "1e-05", "0x1F600",
              "2026-11-22T08:30:00Z", "10.0.0.1:8080", " 12 34  56",
              "a1b2c3", "v1.2.3-rc4", "½ ¼ ¾", "x² + y³ = z⁴", "٠١٢٣٤٥٦٧٨٩",
              "०१२३४५६७८९", "一二三四五", "Ⅳ ⅷ Ⅻ", "①②③", "１２３", "𝟘𝟙𝟚",
              "1st 2nd 3rd 4th", "50%", "$9.99", "€12", "1/2", "६ apples"],
    "contraction": ["don't", "I'm", "we're", "they've", "she'll", "he'd",
                    "it's", "DON'T", "I'M", "WE'RE", "THEY'VE", "SHE'LL",
                    "HE'D", "IT'S", "Don'T", "y'all'd've", "rock 'n' roll",
                    "'tis", "'s", " 's", "'S", "''s", "'ll'll", "'re're",
                    "it’s", "l'été", "o'clock", "'", "''", "'''", "a'b",
                    "the cats' toys", "'twas the 's of 'em"],
    "punct": ["!", "!!!", "...", "…", "?!", "--", "—", "\"quoted\"",
              "(a) [b] {c} <d>", "a,b;c:d", "#hashtag @name",
              "a@example.org", "https://example.org/a/b?c=d&e=f#g",
              "C:\\dir\\file.txt", "~/.config", "a_b__c___d", "snake_case",
              "camelCase", "PascalCase", "SCREAMING_CASE", "kebab-case",
              "=== ---- ****", "<<<>>>", "|-|-|", "`code`", "```\n```",
              "§ ¶ † ‡ ©®™", "«guillemets»", "„deutsch“", "¿Qué? ¡No!"],
    "latin": ["naïve café résumé", "Ångström", "straße STRASSE",
              "Łódź Gdańsk", "İstanbul ıI", "ﬁ ﬂ ligatures",
              "e\u0301 a\u0300 o\u0308", "Z\u0351\u0342a\u0300lgo",
              "Đặng Nguyễn việc", "þorn ðæ", "ſ long s"],
    "script": ["Привет, мир!", "Ελληνικά γράμματα", "שלום עולם",
               "مرحبا بالعالم", "السَّلَامُ عَلَيْكُمْ", "नमस्ते दुनिया",
               "क्षत्रिय श्री", "বাংলা ভাষা", "தமிழ் மொழி", "ภาษาไทย",
               "ភាសាខ្មែរ", "မြန်မာ", "ქართული", "Հայերեն", "አማርኛ",
               "ᠮᠣᠩᠭᠣᠯ", "བོད་ཡིག", "ᏣᎳᎩ", "𐌲𐌿𐍄", "𒀀𒀁"],
    "cjk": ["你好，世界！", "東京都は日本の首都です。", "カタカナ と ひらがな",
            "ﾊﾝｶｸ", "안녕하세요 세계", "한\u1100\u1161", "全角　空白", "𠀀𠮷",
            "中文English混合123文字"],
    "emoji": ["😀", "😀😃😄", "👍🏽", "👩‍💻", "👨‍👩‍👧‍👦", "🏳️‍🌈", "🇫🇷🇯🇵", "❤️", "☺︎",
              "1️⃣2️⃣", "a😀b", " 😀 ", "🫠🫶", "😀\n😀"],
    "strange": ["\u00a0", "a\u00a0b", " \u00a0 ", "\u180e", "a\u180eb",
                " \u180e ", "\u200b", "a\u200bb", "\u200d", "\ufeff",
                "\ufeffa", "\u2003a\u2009b", "\u3000", "\u1680", "\u202f",
                "\u2060", "\u00ad", "\x01", "\x02\x03", "\x04", "a\x04b",
                "\x06", "\x07\x08", "\x0e\x0f\x10", "\x13", "\x14", "\x16",
                "\x1d", "a\x1db\x1ec\x1f", "\x1b[31mred\x1b[0m", "\x7f",
                "\ufffd", "\ufffe", "\uffff", "\ue000", "\U0001f000",
                "\U00020000", "\U00031350", "\U00040000", "a\U00050000b",
                "\U00080000 x", "\U000e0001", "\U000f0000", "\U0010ffff"],
    "code": ["int main(void)\n{\n\treturn 0;\n}\n",
             "for (i = 0; i < n; i++)\n    a[i] += b[i] * c;\n",
             "def f(x):\n    return x if x else None\n\n\nprint(f(3))\n",
             "{\"a\": [1, 2.5, null, true], \"b\": {\"c\": \"d\"}}",
             "SELECT * FROM t WHERE a='b' AND c<>4;",
             "<p class=\"x\">a &amp; b</p>", "$ ls -la | grep '^d'",
             "x = y->z ? &w : **v;", "#define MAX(a, b) ((a) > (b) ? (a) : (b))",
             "λ x → x ∘ f", "∀x ∈ ℝ: x² ≥ 0", "\\frac{a}{b} \\leq \\sum_i",
             "/* comment */ // other\n", "0b1010 0o17 0xff 1_000", "a+=b--c"],
    "special": ["<|im_start|>", "<|im_end|>", "<|endoftext|>", "<repo_name>",
                "<file_sep>", "<empty_output>", "<|im_start|>user\nHi<|im_end|>\n",
                "a<|im_end|>b", "a <|im_end|> b", "<|im_start|><|im_start|>",
                "<|im_start|", "|im_start|>", "<|IM_START|>", "< |im_end|>",
                "<|im_end|><|im_end|>\n\n", "<|im_<|im_end|>start|>",
                "<reponame><repo_name>", "<filename>a.c<gh_stars>12",
                "<issue_start><issue_comment><issue_closed>",
                "<jupyter_start><jupyter_text><jupyter_code><jupyter_output>"
                "<jupyter_script>", "1<|im_end|>2", "\n<|im_end|>\n",
                "  <|im_end|>  ", "<|system|>", "<s></s><unk><bos>"],
    "word": ["a", "I", "the", "The", "THE", " the", "Hello", " Hello",
             "Hello world", "Hello, world!", "antidisestablishmentarianism",
             "Pneumonoultramicroscopicsilicovolcanoconiosis",
             "Donaudampfschifffahrtsgesellschaftskapitän",
             "The capital of France is", "Once upon a time"],
    "long": ["a" * 40, "a" * 300, "ab" * 200, "xyz" * 111, "=" * 80, "-" * 257,
             "?!" * 70, "é" * 90, "中" * 70, "9" * 120, "\n" * 70, "\t" * 70,
             "qwertyuiop" * 30, "the" * 100, "aB" * 64],
}


def fuzz_texts(count):
    """Reproducible soups of the pieces that tokenizers get wrong."""
    pieces = ["a", "the", " the", "ing", "Hello", "'s", "'ll", "'S", " ", "  ",
              "   ", "\n", "\r\n", "\t", "1", "12", "007", ".", "...", "-",
              "//", "_", "();", "{", "}", "=", "<", "|", ">", "\"", "'", "é",
              "e\u0301", "ß", "中", "文字", "か", "한", "ا", "क्ष", "ก", "😀",
              "👩‍👧", "🇫🇷", "\u00a0", "\u200d", "\u180e", "\u3000", "½", "٣",
              "<|im_end|>", "<|im_start|>", "\x04", "\x1d", "\U00050000"]
    rng = random.Random(20)
    for n in range(count):
        size = rng.randint(2, 24)
        yield "fuzz#%d" % n, "".join(rng.choice(pieces) for _ in range(size))


def tokenizer_texts(template):
    """(name, text) of every text whose ids are recorded."""
    result = []
    for kind, texts in TEXTS.items():
        result += [("%s#%d" % (kind, i), t) for i, t in enumerate(texts)]
    result += [("prompt#" + name, text)
               for name, _, text in smollm2_prompts(template)]
    result += fuzz_texts(80)
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    jobs = parser.add_subparsers(dest="job", required=True)
    job = jobs.add_parser("tiny")
    job.add_argument("names", nargs="*", metavar="NAME")
    job.add_argument("--out", default=os.path.join(DATA, "tiny"))
    job = jobs.add_parser("smollm2")
    job.add_argument("--model", required=True)
    job.add_argument("--out", default=os.path.join(DATA, "smollm2"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.job == "smollm2":
        smollm2(args.model, args.out)
        return
    for name in args.names or TINY:
        if name not in TINY:
            parser.error("unknown model %s; there are: %s"
                         % (name, " ".join(TINY)))
        tiny(name, args.out)


if __name__ == "__main__":
    sys.exit(main())
