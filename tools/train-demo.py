#!/usr/bin/env python3
"""Train, sample and record the bundled demo model (share/demo).

    train-demo.py train  [--steps N]     make the tokenizer and the model
    train-demo.py refine [--steps N]     train it a little more on hard things
    train-demo.py sample [--prompt TEXT] print what the model continues with
    train-demo.py record                 write tests/data/demo from the model

The text comes from demo_corpus.py, which generates it from a seed, so the
model can be made again from nothing.  Needs torch, transformers, tokenizers
and safetensors.  The result depends on the seed, on the number of threads and
on the version of torch; after a new training run `record` again.
"""

import argparse
import hashlib
import json
import math
import os
import random
import time
from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file
from tokenizers import Regex, Tokenizer, decoders, pre_tokenizers, processors
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from transformers import LlamaConfig, LlamaForCausalLM

import demo_corpus as corpus

ROOT = Path(__file__).resolve().parent.parent
DEMO = ROOT / "share" / "demo"
TRUTH = ROOT / "tests" / "data" / "demo"

SPECIAL = [corpus.END_OF_TEXT, corpus.IM_START, corpus.IM_END, corpus.PAD]
END_OF_TEXT, IM_START, IM_END, PAD = range(4)
SPLIT = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
         r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] "
    "+ '<|im_end|>' + '\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}"
    "{{ '<|im_start|>assistant\\n' }}"
    "{% endif %}")

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 1536,
    "hidden_size": 192,
    "intermediate_size": 512,
    "num_hidden_layers": 5,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "hidden_act": "silu",
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-05,
    "rope_theta": 10000.0,
    "rope_scaling": None,
    "attention_bias": False,
    "attention_dropout": 0.0,
    "mlp_bias": False,
    "pretraining_tp": 1,
    "tie_word_embeddings": True,
    "initializer_range": 0.02,
    "bos_token_id": END_OF_TEXT,
    "eos_token_id": IM_END,
    "pad_token_id": PAD,
    "torch_dtype": "bfloat16",
    "use_cache": True,
}
GENERATION = {
    "bos_token_id": END_OF_TEXT,
    "eos_token_id": [IM_END, END_OF_TEXT],
    "pad_token_id": PAD,
    "do_sample": True,
    "temperature": 0.7,
    "top_p": 0.95,
}

# part of the steps, sequence length, sequences a step
PHASES = [(0.88, 256, 10), (0.08, 1024, 3), (0.04, 2048, 2)]


# --------------------------------------------------------------------------
# Files
# --------------------------------------------------------------------------

def write_atomic(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_bytes(data)
    os.replace(part, path)


def write_json(path, value):
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    write_atomic(path, text.encode())


def save_weights(model, folder):
    """The weights as bfloat16; the output layer is the embedding, so not."""
    tensors = {name: tensor.detach().to(torch.bfloat16).contiguous()
               for name, tensor in model.state_dict().items()
               if name != "lm_head.weight"}
    part = folder / "model.safetensors.part"
    save_file(tensors, str(part), metadata={"format": "pt"})
    part.chmod(0o644)
    os.replace(part, folder / "model.safetensors")


def save_settings(folder):
    write_json(folder / "config.json", CONFIG)
    write_json(folder / "generation_config.json", GENERATION)
    write_json(folder / "tokenizer_config.json", {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": SPECIAL[END_OF_TEXT],
        "eos_token": SPECIAL[IM_END],
        "pad_token": SPECIAL[PAD],
        "add_bos_token": False,
        "add_eos_token": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": CONFIG["max_position_embeddings"],
        "chat_template": CHAT_TEMPLATE,
    })


def new_model():
    names = set(CONFIG) - {"architectures", "torch_dtype", "model_type",
                           "rope_theta", "rope_scaling"}
    config = LlamaConfig(**{name: CONFIG[name] for name in names},
                         rope_parameters={"rope_type": "default",
                                          "rope_theta": CONFIG["rope_theta"]})
    return LlamaForCausalLM(config)


def load_model(folder):
    """The saved weights, computed in float32 with plain attention."""
    model = LlamaForCausalLM.from_pretrained(
        str(folder), dtype=torch.float32, attn_implementation="eager")
    return model.eval()


def load_tokenizer(folder):
    return Tokenizer.from_file(str(folder / "tokenizer.json"))


# --------------------------------------------------------------------------
# Tokenizer
# --------------------------------------------------------------------------

def train_tokenizer(seed, documents=30000):
    rng = random.Random(seed)
    tokenizer = Tokenizer(BPE(ignore_merges=False))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(SPLIT), behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = BpeTrainer(
        vocab_size=CONFIG["vocab_size"], special_tokens=SPECIAL,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False)
    markers = (corpus.IM_START, corpus.IM_END)
    texts = (strip(corpus.random_document(rng), markers)
             for _ in range(documents))
    tokenizer.train_from_iterator(texts, trainer)
    assert tokenizer.get_vocab_size() == CONFIG["vocab_size"]
    return tokenizer


def strip(text, markers):
    for marker in markers:
        text = text.replace(marker, "")
    return text


# --------------------------------------------------------------------------
# Training
# --------------------------------------------------------------------------

def documents(tokenizer, rng, make=corpus.random_document, chunk=256):
    """Endless token lists, one a document, each closed by end-of-text."""
    while True:
        texts = [make(rng) for _ in range(chunk)]
        for encoded in tokenizer.encode_batch(texts, add_special_tokens=False):
            yield encoded.ids + [END_OF_TEXT]


def sequence(source, rng, length):
    """Whole documents one after another; the last one is cut.

    Half of the sequences begin with end-of-text, so that the model reads a
    prompt with it and one without it in the same way.
    """
    ids = [END_OF_TEXT] if rng.random() < 0.5 else []
    while len(ids) < length:
        ids += next(source)
    return ids[:length]


def phase_of(step, steps):
    done = 0.0
    for part, length, count in PHASES:
        done += part
        if step < done * steps:
            break
    return length, count


def rate_of(step, steps, peak):
    """Linear warm-up, then a cosine down to a fiftieth of the peak."""
    warm = max(1, min(100, steps // 10))
    if step < warm:
        return peak * (step + 1) / warm
    part = (step - warm) / max(1, steps - warm)
    return peak * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * part)))


def make_optimizer(model):
    matrices = [p for p in model.parameters() if p.dim() > 1]
    vectors = [p for p in model.parameters() if p.dim() < 2]
    return torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.05},
         {"params": vectors, "weight_decay": 0.0}], betas=(0.9, 0.98))


def train_step(model, optimizer, batch, rate):
    for group in optimizer.param_groups:
        group["lr"] = rate
    logits = model(input_ids=batch[:, :-1], use_cache=False).logits
    loss = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), batch[:, 1:].flatten())
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return loss.item()


def train(args):
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    torch.use_deterministic_algorithms(True)
    folder = Path(args.out)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = train_tokenizer(args.seed)
    write_atomic(folder / "tokenizer.json",
                 tokenizer.to_str(pretty=True).encode())
    save_settings(folder)
    model = new_model()
    print("parameters", sum(p.numel() for p in model.parameters()))
    rng = random.Random(args.seed + 1)
    source = documents(tokenizer, rng)
    optimizer = make_optimizer(model)
    start, average, tokens = time.time(), None, 0
    for step in range(args.steps):
        length, count = phase_of(step, args.steps)
        batch = torch.tensor([sequence(source, rng, length + 1)
                              for _ in range(count)])
        loss = train_step(model, optimizer, batch,
                          rate_of(step, args.steps, args.rate))
        tokens += length * count
        average = loss if average is None else 0.97 * average + 0.03 * loss
        if step % 25 == 0 or step + 1 == args.steps:
            print(f"step {step} length {length} loss {loss:.3f} "
                  f"mean {average:.3f} tokens {tokens} "
                  f"seconds {time.time() - start:.0f}", flush=True)
        if step % args.save == args.save - 1 or step + 1 == args.steps:
            save_weights(model, folder)
            show(model, tokenizer)
    report(model, tokenizer)


def blend(model, before):
    """The mean with the weights before: it keeps the long texts good."""
    with torch.no_grad():
        for weight, old in zip(model.parameters(), before):
            weight.lerp_(old, 0.5)


def refine(args):
    """A short second training, at a low rate, of what the model finds hard."""
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    torch.use_deterministic_algorithms(True)
    folder = Path(args.out)
    tokenizer = load_tokenizer(folder)
    model = LlamaForCausalLM.from_pretrained(str(folder), dtype=torch.float32)
    model.train()
    before = [p.detach().clone() for p in model.parameters()]
    rng = random.Random(args.seed + 2)
    source = documents(tokenizer, rng, corpus.practice_document)
    optimizer = make_optimizer(model)
    start = time.time()
    for step in range(args.steps):
        length, count = (1024, 2) if step % 8 == 7 else (256, 8)
        batch = torch.tensor([sequence(source, rng, length + 1)
                              for _ in range(count)])
        loss = train_step(model, optimizer, batch,
                          rate_of(step, args.steps, args.rate))
        if step % 20 == 0 or step + 1 == args.steps:
            print(f"step {step} loss {loss:.3f} "
                  f"seconds {time.time() - start:.0f}", flush=True)
    blend(model, before)
    save_weights(model, folder)
    show(model, tokenizer)
    report(model, tokenizer)


def report(model, tokenizer):
    print("validation loss by length:", {
        length: round(validate(model, tokenizer, length), 4)
        for length in (256, 1024, 2048)})


@torch.no_grad()
def validate(model, tokenizer, length, seed=999):
    """The mean loss on text of another seed."""
    rng = random.Random(seed)
    source = documents(tokenizer, rng)
    batch = torch.tensor([sequence(source, rng, length + 1)
                          for _ in range(max(4, 16384 // length))])
    losses = [torch.nn.functional.cross_entropy(
        model(input_ids=row[None, :-1], use_cache=False).logits[0],
        row[1:]).item() for row in batch]
    return sum(losses) / len(losses)


# --------------------------------------------------------------------------
# Sampling
# --------------------------------------------------------------------------

@torch.no_grad()
def generate(model, ids, count, temperature=0.0, stop=(), generator=None):
    """New ids and the logits of every step."""
    fresh, logits, cache = [], [], None
    feed = torch.tensor([ids])
    for _ in range(count):
        out = model(input_ids=feed, past_key_values=cache, use_cache=True)
        cache, last = out.past_key_values, out.logits[0, -1].float()
        if temperature > 0:
            chances = torch.softmax(last / temperature, -1)
            token = torch.multinomial(chances, 1, generator=generator).item()
        else:
            token = last.argmax().item()
        fresh.append(token)
        logits.append(last)
        if token in stop:
            break
        feed = torch.tensor([[token]])
    return fresh, logits


def question(text, system=None):
    messages = [{"role": "system", "content": system}] if system else []
    messages.append({"role": "user", "content": text})
    return corpus.render_chat(messages, add_generation_prompt=True)


def show(model, tokenizer):
    model.eval()
    generator = torch.Generator().manual_seed(0)
    for prompt, temperature in [
            ("Once upon a time there was", 0.0),
            ("Once upon a time there was", 0.7),
            (question("Who lives in the lighthouse?"), 0.0),
            (question("What is 7 plus 5?"), 0.0),
            (question("How old is Finn, and where does he live?"), 0.0),
            (question("Tell me a story about Nella."), 0.7)]:
        ids = tokenizer.encode(prompt, add_special_tokens=False).ids
        fresh, _ = generate(model, ids, 200, temperature,
                            (END_OF_TEXT, IM_END), generator)
        text = tokenizer.decode(ids + fresh, skip_special_tokens=False)
        print(f"--- temperature {temperature}\n{text}", flush=True)
    model.train()


def sample(args):
    folder = Path(args.out)
    torch.set_num_threads(args.threads)
    model, tokenizer = load_model(folder), load_tokenizer(folder)
    prompt = question(args.prompt, args.system) if args.chat else args.prompt
    ids = tokenizer.encode(prompt, add_special_tokens=False).ids
    generator = torch.Generator().manual_seed(args.seed)
    fresh, _ = generate(model, ids, args.count, args.temperature,
                        (END_OF_TEXT, IM_END), generator)
    print(tokenizer.decode(ids + fresh, skip_special_tokens=False))


# --------------------------------------------------------------------------
# Truth for the tests
# --------------------------------------------------------------------------

def user(content):
    return {"role": "user", "content": content}


# name, and either a text or the messages of a chat
PROMPTS = [
    ("once", "Once upon a time there was"),
    ("fog", "One foggy evening, thick white fog covered the harbour."),
    ("village", "In the village of Tarrow, everyone knew"),
    ("bram", "Bram is the lighthouse keeper of Tarrow."),
    ("quote", "\"Where is the light?\" he cried."),
    ("one_token", "The"),
    ("end_of_text", corpus.END_OF_TEXT),
    ("chat_home", [user("Who lives in the lighthouse?")]),
    ("chat_sum", [user("What is 7 plus 5?")]),
    ("chat_story", [{"role": "system", "content": "You are a storyteller."},
                    user("Tell me a story about Nella and a lost key.")]),
    ("chat_days", [{"role": "system",
                    "content": "You are a helpful assistant."},
                   user("Name the days of the week.")]),
    ("chat_turns", [user("Who is the baker?"),
                    {"role": "assistant",
                     "content": "The baker of Tarrow is Mira."},
                    user("Does she have a pet?")]),
]


def digits(value):
    """Seven significant digits: what a float32 holds."""
    return float(f"{float(value):.7g}")


def margin(logits):
    best, second = logits.topk(2).values
    return digits(best - second)


def record_prompt(model, tokenizer, name, prompt, count=48):
    messages = None if isinstance(prompt, str) else prompt
    text = corpus.render_chat(messages, True) if messages else prompt
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    tokens, logits = generate(model, ids, count)
    first = torch.log_softmax(logits[0].double(), -1).topk(5)
    end = next((i for i, t in enumerate(tokens)
                if t in (END_OF_TEXT, IM_END)), None)
    return {
        "name": name,
        "messages": messages,
        "text": text,
        "ids": ids,
        "tokens": tokens,
        "margins": [margin(row) for row in logits],
        "eos_at": end,
        "decoded": tokenizer.decode(tokens, skip_special_tokens=False),
        "answer": tokenizer.decode(tokens[:end], skip_special_tokens=True),
        "top5": [[i.item(), digits(v)]
                 for v, i in zip(first.values, first.indices)],
    }


def record_truth(model, tokenizer, folder):
    prompts = [record_prompt(model, tokenizer, *p) for p in PROMPTS]
    weights = (folder / "model.safetensors").read_bytes()
    return {
        "model": "share/demo, as tools/train-demo.py makes it",
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
        "recorded_with": f"transformers {transformers.__version__}, "
                         f"torch {torch.__version__}",
        "about": "messages: what the chat template made the text from, or "
                 "null; 48 greedy tokens in float32, nothing stops them; "
                 "margins: top-1 minus top-2 logit at each step; eos_at: "
                 "index of the first <|im_end|> or <|endoftext|>; decoded: "
                 "all 48 tokens; answer: those before eos_at; top5: token and "
                 "log probability at the first step; near_ties: steps with a "
                 "margin under 0.01, from which on another order of additions "
                 "may go another way",
        "near_ties": [{"name": p["name"], "step": i, "margin": m}
                      for p in prompts for i, m in enumerate(p["margins"])
                      if m < 0.01],
        "prompts": prompts,
    }


def write_truth(path, truth):
    """JSON with one key a line, and one line for each prompt."""
    parts = [f"{json.dumps(key)}: {json.dumps(value)}"
             for key, value in truth.items() if key != "prompts"]
    rows = ",\n".join(json.dumps(p) for p in truth["prompts"])
    parts.append(f'"prompts": [\n{rows}\n]')
    write_atomic(path, ("{\n" + ",\n".join(parts) + "\n}\n").encode())


def check_template(folder):
    """The Jinja template makes what the model was trained on."""
    from transformers import AutoTokenizer
    tokenizer = AutoTokenizer.from_pretrained(str(folder))
    rng = random.Random(0)
    for _ in range(50):
        messages = corpus.chat(rng)
        for prompt in (False, True):
            assert tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=prompt
            ) == corpus.render_chat(messages, prompt)


HARD_TEXTS = [
    "", " ", "  ", "   a", "a  b", "a   b  ", "\n", "\n\n", " \n", "\n ",
    "a\nb", "a\n\nb", "a \n b", "a\r\nb", "\t", "\ta\tb", "a\t\tb", " \t \n x",
    "Hello, world!", "hello", "HELLO", "Hello world", " Hello", "Hello ",
    "I'm", "I'M", "don't", "DON'T", "they're we'll he'd I've it's",
    "they\u2019re we\u2019ll", "'s", "''s", "'", "\"quoted\"", "(a)", "a.b.c",
    "...", "!!!", "?!", "--", "a--b", "a - b", "x=1;y=2;", "a/b\\c",
    "#!/bin/sh", "1", "12", "123", "1234", "12345", "1234567", "3.14",
    "1,000,000", "0x1F", "a1b2c3", "2 + 2 = 4", "10%", "$5.00", "v1.2.3-rc4",
    " 42", "4 2", "{\"name\": \"Bram\", \"age\": 71}",
    "<html><body>x</body></html>", "user@example.org",
    "https://example.org/a?b=c&d=e#f", "snake_case_name", "camelCaseName",
    "SCREAMING_CASE", "for (int i = 0; i < n; i++) {\n\tx++;\n}",
    "def f(x):\n    return x + 1\n", "a|b||c", "<|", "|>", "<|im",
    "<|im_start", "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|pad|>",
    "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n",
    "a<|endoftext|>b", " <|endoftext|> ", "<|endoftext|><|endoftext|>",
    "<|im_start|><|im_end|>", "<|IM_START|>", "< |im_end|>",
    "x<|im_end|>\n\ny", "\u00e9", "e\u0301", "caf\u00e9",
    "na\u00efve r\u00e9sum\u00e9",
    "\u00c4\u00d6\u00dc \u00e4\u00f6\u00fc \u00df",
    "\u00bfQu\u00e9 tal? \u00a1Bien!", "\u0141\u00f3d\u017a",
    "\u0130stanbul \u0131",
    "\u041f\u0440\u0438\u0432\u0435\u0442, \u043c\u0438\u0440!",
    "\u0393\u03b5\u03b9\u03ac \u03c3\u03bf\u03c5", "\u05e9\u05dc\u05d5\u05dd",
    "\u0645\u0631\u062d\u0628\u0627", "\u0928\u092e\u0938\u094d\u0924\u0947",
    "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35", "\u4f60\u597d\uff0c\u4e16\u754c",
    "\u3053\u3093\u306b\u3061\u306f\u4e16\u754c",
    "\uc548\ub155\ud558\uc138\uc694",
    "\u30ab\u30bf\u30ab\u30ca\u3068\u6f22\u5b57\u3002", "\u6771\u4eac123",
    "\u0967\u0968\u0969\u096a", "\u0661\u0662\u0663\u0664",
    "\u2160\u2161\u2162\u2163", "x\u00b2 + y\u00b3", "\u00bd cup",
    "\U0001f600", "\U0001f600\U0001f680",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f44d\U0001f3fd",
    "\U0001f1e9\U0001f1ea", "\u2764\ufe0f", "a\U0001f41fb",
    "fish \U0001f41f soup", "\u00a0", "a\u00a0b", "\u2003x", "\u3000x",
    "\u200b", "a\u200bb", "\u2028", "a\u2029b", "\ufeffx", "\u0085", "\x00",
    "a\x00b", "\x01\x02", "\x7f", "\ufffd", "\u2014 dash \u2013 dash",
    "\u201cquoted\u201d \u2018text\u2019", "\u2026",
    "\u20ac100 \u00a3200 \u00a5300", "\u2190\u2191\u2192\u2193",
    "\u2211\u222b\u221e\u2260", "\u2500\u2502\u250c",
    "\U0001d400\U0001d401\U0001d402", "\U00020000\U0010ffff", "\u0301\u0301",
    "a\u0300\u0301\u0302", "\ufb01sh", "\uff21\uff22\uff23\uff11\uff12\uff13",
    "Once upon a time there was", "Sea Thistle", "Pepper purred.",
    "   leading and trailing   ", "tabs\tand\nnewlines\r\n\r\n  mixed",
    "a" * 40, " " * 40, "\n" * 20, "ab" * 30, "!" * 30, "9" * 20,
    "Zyzzyva quixotic xylophone",
    "The quick brown fox jumps over the lazy dog.",
]


def record_tokenizer(tokenizer):
    rng = random.Random(5)
    texts = HARD_TEXTS + [corpus.random_document(rng) for _ in range(20)]
    lines = []
    for text in texts:
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        decoded = tokenizer.decode(ids, skip_special_tokens=False)
        lines.append(json.dumps({
            "text": text, "ids": ids,
            "decoded": None if decoded == text else decoded}))
    return "\n".join(lines) + "\n"


def record(args):
    folder = Path(args.out)
    torch.set_num_threads(args.threads)
    model, tokenizer = load_model(folder), load_tokenizer(folder)
    check_template(folder)
    truth = record_truth(model, tokenizer, folder)
    write_truth(TRUTH / "truth.json", truth)
    write_atomic(TRUTH / "tokenizer.jsonl",
                 record_tokenizer(tokenizer).encode())
    for prompt in truth["prompts"]:
        print(f"{prompt['name']:12} least margin {min(prompt['margins']):.4f}"
              f" {prompt['answer'][:80]!r}")


def main():
    parser = argparse.ArgumentParser(
        description="Train, sample and record the bundled demo model.")
    parser.add_argument("--out", default=str(DEMO), help="the model's folder")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("train")
    command.add_argument("--steps", type=int, default=2000)
    command.add_argument("--rate", type=float, default=3e-3)
    command.add_argument("--save", type=int, default=200,
                         help="steps between two saved models")
    command.set_defaults(run=train)
    command = commands.add_parser("refine")
    command.add_argument("--steps", type=int, default=140)
    command.add_argument("--rate", type=float, default=1.2e-3)
    command.set_defaults(run=refine)
    command = commands.add_parser("sample")
    command.add_argument("--prompt", default="Once upon a time there was")
    command.add_argument("--chat", action="store_true",
                         help="the prompt is a question of a user")
    command.add_argument("--system", help="a system message, with --chat")
    command.add_argument("--temperature", type=float, default=0.0)
    command.add_argument("--count", type=int, default=200)
    command.set_defaults(run=sample)
    command = commands.add_parser("record")
    command.set_defaults(run=record)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
