#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The CUDA backend as shipped, through HTTP, on the virtual CUDA device: what
clients get is what the CPU backend gives them, with steps that are recorded,
prompts in chunks, preemption, clients that leave, and in company.

usage: test_http.py [unittest's options]

The GPU computes in bfloat16, the CPU in float32. Greedy tokens are judged by the
CPU: given the tokens before, each must be the CPU's best or within NEAR_TIE of it.

Standard library only; see backend.py for the environment. Exit status 77 when
there is no virtual device.
"""

import concurrent.futures
import os
import random
import signal
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import backend  # noqa: E402
from backend import CudaLlmd, cpu_llmd  # noqa: E402
import llmd  # noqa: E402
import made_models  # noqa: E402

# Of log-probabilities of the bundled model: five layers of activations rounded to
# bfloat16 (2^-9 of a number) move a logit of 10 by some hundredths.
NEAR_TIE = 0.15
LOGPROB_TOLERANCE = 0.15
# Greedy tokens that may be near ties, of all.
MAX_TIES = 0.05

STORY = ("Once upon a time there was a bold girl named Ivy. Ivy lived in the windmill in the "
         "village of Tarrow. Ivy was not afraid of spiders, but she was afraid of the dark night. ")
PROMPTS = ["Once upon a time", "The baker looked at the old clock and", STORY,
           "In the garden there was a", STORY * 3 + "One day", "Ivy said:"]


def in_company(calls):
    """Results of functions that run at the same time."""
    with concurrent.futures.ThreadPoolExecutor(len(calls)) as pool:
        return [f.result() for f in [pool.submit(c) for c in calls]]


def complete(server, prompt, **fields):
    """One choice; greedy unless told otherwise; its prompt's ids with it."""
    fields = dict({"temperature": 0, "max_tokens": 12, "return_token_ids": True}, **fields)
    return server.complete(prompt, timeout=300, **fields)["choices"][0]


def streamed(server, prompt, **fields):
    """The same from a stream, put together."""
    fields = dict({"temperature": 0, "max_tokens": 12, "return_token_ids": True}, **fields)
    found = {"text": "", "token_ids": [], "prompt_token_ids": None, "finish_reason": None}
    with server.stream(prompt, timeout=300, **fields) as stream:
        for event in stream.events():
            choice = event["choices"][0]
            found["text"] += choice["text"]
            found["token_ids"] += choice["token_ids"] or []
            found["prompt_token_ids"] = found["prompt_token_ids"] or choice["prompt_token_ids"]
            found["finish_reason"] = choice["finish_reason"] or found["finish_reason"]
    return found


class Judge:
    """A server on the CPU and what it says of the GPU's answers."""

    def __init__(self, *options, **kwargs):
        self.server = cpu_llmd(*options, **kwargs)
        self.tokens = self.ties = 0

    def scores(self, prompt, output, width):
        """For each token of the output the CPU's {id: log-probability} there, of the
        token and of the `width` best, given all before it."""
        ids = prompt + output
        answer = self.server.complete(ids, max_tokens=0, echo=True, prompt_logprobs=width,
                                      temperature=0)
        rows = answer["choices"][0]["prompt_logprobs"][len(prompt):]
        assert len(rows) == len(output), (len(rows), len(output))
        return [{int(i): score["logprob"] for i, score in row.items()} for row in rows]

    def greedy(self, choice, presence=0, frequency=0):
        """Asserts that the choice's tokens are the CPU's best, but for near ties."""
        prompt, output = choice["prompt_token_ids"], choice["token_ids"]
        assert output, choice
        penalized = presence or frequency
        for at, row in enumerate(self.scores(prompt, output, 20 if penalized else 1)):
            counts = {i: output[:at].count(i) for i in row} if penalized else {}
            edited = {i: score - frequency * counts.get(i, 0) - presence * (counts.get(i, 0) > 0)
                      for i, score in row.items()}
            best = max(edited, key=edited.get)
            gap = edited[best] - edited[output[at]]
            assert gap <= NEAR_TIE, "token %d of %r is %d, %.3f below the CPU's %d" % (
                at, choice, output[at], gap, best)
            self.tokens += 1
            if best != output[at] and gap > 0:
                self.ties += 1
                print("near tie: %d for %d, %.3f below" % (output[at], best, gap))

    def close(self):
        """Asserts that ties were rare."""
        self.server.stop()
        assert self.ties <= max(2, MAX_TIES * self.tokens), "%d near ties of %d tokens" % (
            self.ties, self.tokens)


class Case(unittest.TestCase):
    """A server on the device, MODE and OPTIONS of the class, and a judge."""

    MODE = "default"
    OPTIONS = ("--num-gpu-blocks-override", "128", "--max-num-batched-tokens", "64")
    PRELOAD = None
    ENV = {}

    @classmethod
    def setUpClass(cls):
        cls.judge = Judge("--num-gpu-blocks-override", "256")
        cls.addClassCleanup(cls.judge.server.kill)
        cls.server = CudaLlmd(*cls.OPTIONS, mode=cls.MODE, preload=cls.PRELOAD, env=cls.ENV)
        cls.addClassCleanup(cls.server.kill)

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()
        cls.judge.close()

    def tearDown(self):
        self.server.wait_idle(30)

    def same_text(self, choice):
        """The choice's text is what the tokenizer makes of its tokens."""
        want = self.judge.server.post("/detokenize", {"tokens": choice["token_ids"]}).json()
        self.assertEqual(choice["text"], want["prompt"])


# ------------------------------------------------------- what clients are given

class Answers(Case):
    def test_greedy_streams_in_company(self):
        """Prompts of up to 130 tokens come in chunks of 64 while others decode."""
        found = in_company([lambda p=p: streamed(self.server, p, ignore_eos=True,
                                                  skip_special_tokens=False) for p in PROMPTS])
        self.assertGreater(len(found[4]["prompt_token_ids"]), 2 * 64)
        for choice in found:
            self.assertEqual((len(choice["token_ids"]), choice["finish_reason"]), (12, "length"))
            self.same_text(choice)
            self.judge.greedy(choice)

    def test_batch_of_prompts_more_than_run_at_once(self):
        """Eleven prompts, eight at a time; also the recorded sizes 8, 4, 2, 1."""
        prompts = [(PROMPTS[0] + " " + word) for word in
                   "there a the in he she Ivy old bold girl baker".split()]
        answer = self.server.complete(prompts, temperature=0, max_tokens=5, timeout=300,
                                      return_token_ids=True)
        self.assertEqual([c["index"] for c in answer["choices"]], list(range(11)))
        for choice in answer["choices"]:
            self.judge.greedy(choice)

    def test_logprobs(self):
        choice = complete(self.server, STORY, logprobs=3, max_tokens=8)
        self.judge.greedy(choice)
        rows = self.judge.scores(choice["prompt_token_ids"], choice["token_ids"], 3)
        for at, row in enumerate(rows):
            own = choice["logprobs"]["token_logprobs"][at]
            self.assertAlmostEqual(own, row[choice["token_ids"][at]], delta=LOGPROB_TOLERANCE)
            top = sorted(choice["logprobs"]["top_logprobs"][at].values(), reverse=True)
            self.assertEqual(len(top), 3)
            self.assertAlmostEqual(top[0], max(row.values()), delta=LOGPROB_TOLERANCE)

    def test_echo_and_prompt_logprobs(self):
        """A prompt of three chunks: scores of all its tokens, and as on the CPU."""
        fields = {"echo": True, "logprobs": 1, "prompt_logprobs": 2, "max_tokens": 1,
                  "temperature": 0, "return_token_ids": True}
        one, two = (s.complete(STORY * 3, timeout=300, **fields)["choices"][0]
                    for s in (self.server, self.judge.server))
        count = len(one["prompt_token_ids"])
        self.assertGreater(count, 2 * 64)
        self.assertTrue(one["text"].startswith(STORY * 3))
        self.assertEqual(one["logprobs"]["tokens"][:count], two["logprobs"]["tokens"][:count])
        self.assertEqual(len(one["prompt_logprobs"]), count)
        pairs = list(zip(one["logprobs"]["token_logprobs"], two["logprobs"]["token_logprobs"]))
        self.assertEqual(pairs[0], (None, None))
        for at in range(1, count):
            self.close(*pairs[at])
            mine, cpus = one["prompt_logprobs"][at], two["prompt_logprobs"][at]
            for i in set(mine) & set(cpus):
                self.close(mine[i]["logprob"], cpus[i]["logprob"])

    def close(self, a, b):
        """Log-probabilities agree; the unlikelier, the less exactly."""
        self.assertAlmostEqual(a, b, delta=LOGPROB_TOLERANCE + 0.02 * abs(b))

    def test_filters_that_leave_one_token_are_greedy(self):
        fields = ({"top_k": 1}, {"top_p": 1e-6}, {"min_p": 1.0}, {"temperature": 0.01})
        found = in_company([lambda f=f: complete(
            self.server, PROMPTS[1], **dict({"temperature": 1, "seed": 3, "max_tokens": 6}, **f))
            for f in fields])
        for choice in found:
            self.judge.greedy(choice)

    def test_penalties(self):
        for fields in ({"frequency_penalty": 2.0, "presence_penalty": -0.5},
                       {"presence_penalty": 2.0}):
            choice = complete(self.server, STORY, max_tokens=12, **fields)
            self.judge.greedy(choice, presence=fields["presence_penalty"],
                              frequency=fields.get("frequency_penalty", 0))

    def test_bias_and_lists(self):
        ids = complete(self.server, PROMPTS[0], max_tokens=3)["token_ids"]
        banned = complete(self.server, PROMPTS[0], max_tokens=3,
                          logit_bias={str(i): -100 for i in ids})
        self.assertFalse(set(ids) & set(banned["token_ids"]))
        forced = complete(self.server, PROMPTS[0], max_tokens=3, logit_bias={"1000": 100})
        self.assertEqual(forced["token_ids"], [1000] * 3)
        allowed = complete(self.server, PROMPTS[0], max_tokens=6, temperature=2, seed=1,
                           allowed_token_ids=[300, 301, 302])
        self.assertLessEqual(set(allowed["token_ids"]), {300, 301, 302})
        self.assertGreater(len(set(allowed["token_ids"])), 1)
        stopped = complete(self.server, PROMPTS[0], max_tokens=6, stop_token_ids=[ids[1]])
        self.assertEqual((stopped["finish_reason"], stopped["stop_reason"]), ("stop", ids[1]))
        least = complete(self.server, PROMPTS[0], max_tokens=6, stop_token_ids=[ids[1]],
                         min_tokens=4)
        self.assertGreaterEqual(len(least["token_ids"]), 4)
        self.assertNotIn(ids[1], least["token_ids"][:4])

    def test_drawn_tokens_are_the_cpus(self):
        """The same seed and almost the same logits: nearly all tokens, up to the first
        that differs, are the same."""
        fields = [dict({"temperature": 1, "max_tokens": 8}, **f) for f in (
            {"seed": 1}, {"seed": 2, "top_k": 5}, {"seed": 3, "top_p": 0.7},
            {"seed": 4, "min_p": 0.1}, {"seed": 5, "repetition_penalty": 1.3},
            {"seed": 6, "top_k": 40, "top_p": 0.9, "presence_penalty": 0.5},
            {"seed": 7, "temperature": 1.5}, {"seed": 8, "frequency_penalty": 1})]
        prompts = [PROMPTS[i % 4] for i in range(len(fields))]
        one, two = (in_company([lambda p=p, f=f, s=s: complete(s, p, **f)
                                for p, f in zip(prompts, fields)])
                    for s in (self.server, self.judge.server))
        pairs = [(a["token_ids"], b["token_ids"]) for a, b in zip(one, two)]
        different = [p for p in pairs if p[0] != p[1]]
        self.assertLessEqual(len(different), 1, different)

    def test_choices_draw_with_seeds_one_apart(self):
        fields = {"temperature": 1, "max_tokens": 8, "return_token_ids": True, "timeout": 300}
        many = self.server.complete(PROMPTS[3], n=3, seed=40, **fields)
        self.assertEqual([c["index"] for c in many["choices"]], [0, 1, 2])
        self.assertEqual(many["usage"]["completion_tokens"], 24)
        alone = [self.judge.server.complete(PROMPTS[3], seed=40 + i, **fields)["choices"][0]
                 for i in range(3)]
        same = sum(a["token_ids"] == b["token_ids"] for a, b in zip(many["choices"], alone))
        self.assertGreaterEqual(same, 2, (many, alone))
        self.assertEqual(len({tuple(c["token_ids"]) for c in many["choices"]}), 3)

    def test_client_that_leaves_gives_its_blocks_back(self):
        free = self.server.metric("llmd:kv_blocks_free")
        stream = self.server.stream(STORY * 3, max_tokens=300, temperature=0, ignore_eos=True,
                                    timeout=300)
        events = iter(stream)
        for _ in range(3):
            next(events)
        self.assertLess(self.server.metric("llmd:kv_blocks_free"), free)
        stream.close()
        steps = self.server.metric("llmd:engine_steps_total")
        llmd.wait_for("blocks to come back",
                      lambda: self.server.metric("llmd:kv_blocks_free") == free, 30)
        # one step is under way, another behind it, a third may have begun
        self.assertLessEqual(self.server.metric("llmd:engine_steps_total") - steps, 4)


class Subset(Case):
    """A few of them in other orders of warps, blocks, streams and copies."""

    def test_company_chunks_and_a_client_that_leaves(self):
        leaving = self.server.stream(STORY, max_tokens=200, temperature=0, ignore_eos=True,
                                     timeout=300)
        calls = [lambda p=p: streamed(self.server, p, max_tokens=6) for p in PROMPTS[2:5]]
        calls += [lambda: complete(self.server, PROMPTS[0], max_tokens=6, logprobs=3)]
        calls += [lambda: complete(self.server, PROMPTS[1], max_tokens=6, frequency_penalty=1.0)]
        drawn = {"temperature": 1, "seed": 6, "top_k": 40, "top_p": 0.9, "min_p": 0.01,
                 "repetition_penalty": 1.1, "max_tokens": 4}
        calls += [lambda: complete(self.server, PROMPTS[3], **drawn)]

        def leave():
            next(iter(leaving))
            leaving.close()
        found = in_company(calls + [leave])
        for choice in found[:4]:
            self.judge.greedy(choice)
        self.judge.greedy(found[4], frequency=1.0)
        want = complete(self.judge.server, PROMPTS[3], **drawn)
        self.assertEqual(found[5]["token_ids"], want["token_ids"])


class Reverse(Subset):
    MODE = "reverse"


class Random(Subset):
    MODE = "random1"


class Garbage(Subset):
    """Memory never written holds NaNs; and kernels are launched one after the other."""

    MODE = "garbage"
    OPTIONS = Case.OPTIONS + ("--no-pdl",)


del Subset  # its subclasses are the tests


# ------------------------------------------------------------------ recorded models

class Recorded(unittest.TestCase):
    """Checkpoints in the shape of the six models and what transformers made of them,
    in float32: three prompts at a time, the longest in chunks."""

    STEPS = 16
    OPTIONS = ("--num-gpu-blocks-override", "64", "--max-num-batched-tokens", "64")
    compared = possible = 0

    def model(self, name):
        with tempfile.TemporaryDirectory() as folder:
            path, truth = backend.recorded_model(name, folder)
            with CudaLlmd(*self.OPTIONS, model=path) as server:
                found = in_company([lambda p=p: complete(
                    server, p["ids"], max_tokens=self.STEPS, ignore_eos=True)
                    for p in truth["prompts"]])
        for prompt, choice in zip(truth["prompts"], found):
            self.compare(name, prompt, choice["token_ids"])

    def compare(self, name, prompt, tokens):
        """The same tokens, up to where bfloat16 may choose another one."""
        self.assertEqual(len(tokens), self.STEPS)
        Recorded.possible += self.STEPS
        for at, (mine, recorded) in enumerate(zip(tokens, prompt["tokens"])):
            if mine != recorded:
                print("%s %s: token %d is %d for %d, margin %.3f" % (
                    name, prompt["name"], at, mine, recorded, prompt["margins"][at]))
                self.assertLessEqual(prompt["margins"][at], prompt["bf16_max_diff"])
                return
            Recorded.compared += 1

    @classmethod
    def tearDownClass(cls):
        assert cls.compared >= 0.7 * cls.possible, (cls.compared, cls.possible)

    def test_llama_8b(self):
        self.model("llama-8b")

    def test_gemma_2_9b(self):
        self.model("gemma-2-9b")

    def test_gemma_2_27b(self):
        self.model("gemma-2-27b")

    def test_qwen_7b(self):
        self.model("qwen-7b")

    def test_qwen_14b(self):
        self.model("qwen-14b")

    def test_qwen_32b(self):
        self.model("qwen-32b")


class Made(unittest.TestCase):
    """Models with random weights and real heads, so that the tensor-core kernels of
    attention serve: contexts that are split, windows, soft caps."""

    OPTIONS = ("--num-gpu-blocks-override", "64", "--max-num-batched-tokens", "128")

    def model(self, kind):
        with tempfile.TemporaryDirectory() as folder:
            made_models.make(kind, folder, backend.TOKENIZER)
            judge = Judge(model=folder)
            self.addCleanup(judge.server.kill)
            with CudaLlmd(*self.OPTIONS, model=folder) as server:
                self.scores(server, judge.server)
                draw = random.Random(2)
                prompts = [[draw.randrange(1, 512) for _ in range(n)] for n in (5, 60, 300)]
                for choice in in_company([lambda p=p: complete(
                        server, p, max_tokens=10, ignore_eos=True) for p in prompts]):
                    judge.greedy(choice)
            judge.close()

    def scores(self, *servers):
        """Of all tokens of a prompt that comes in chunks."""
        draw = random.Random(1)
        prompt = [draw.randrange(1, 512) for _ in range(290)]
        one, two = (complete(s, prompt, max_tokens=1, prompt_logprobs=0)["prompt_logprobs"]
                    for s in servers)
        off = [abs(a[str(i)]["logprob"] - b[str(i)]["logprob"])
               for i, a, b in list(zip(prompt, one, two))[1:]]
        self.assertEqual(len(off), 289)
        print("log-probabilities differ by %.3f at most, %.4f on average" % (
            max(off), sum(off) / len(off)))
        self.assertLess(max(off), 2 * LOGPROB_TOLERANCE)
        self.assertLess(sum(off) / len(off), LOGPROB_TOLERANCE / 3)

    def test_llama(self):
        self.model("llama")

    def test_qwen(self):
        self.model("qwen")

    def test_gemma(self):
        self.model("gemma")

    def test_lists_that_fill_a_steps_memory(self):
        """Eight rows that allow all of 131072 words have 8 MiB of lists in a step."""
        with tempfile.TemporaryDirectory() as folder:
            made_models.make("wordy", folder, backend.TOKENIZER)
            with CudaLlmd(*self.OPTIONS, model=folder) as server:
                asked = {"n": 8, "temperature": 1, "seed": 5, "max_tokens": 6, "timeout": 300,
                         "return_token_ids": True}
                all_words = list(range(131072))
                free, listed = (server.complete([7, 8], **asked, **lists)["choices"]
                                for lists in ({}, {"allowed_token_ids": all_words}))
        self.assertEqual([c["token_ids"] for c in free], [c["token_ids"] for c in listed])


# ------------------------------------------------------------- options and limits

class Preemption(Case):
    """Six requests that need 30 blocks in a cache of 17."""

    OPTIONS = ("--num-gpu-blocks-override", "17", "--max-num-batched-tokens", "64",
               "--max-model-len", "256")

    def test_tokens_are_the_cpus(self):
        found = in_company([lambda p=p: streamed(self.server, p, max_tokens=36, ignore_eos=True)
                            for p in [STORY[:60 + 10 * i] for i in range(6)]])
        self.assertGreater(self.server.metric("vllm:num_preemptions_total"), 0)
        for choice in found:
            self.assertEqual(len(choice["token_ids"]), 36)
            self.judge.greedy(choice)


class Eager(Case):
    """--enforce-eager: the tokens of recorded steps, to the last bit of their
    log-probabilities, and no graph is launched: the first one would fail."""

    OPTIONS = Case.OPTIONS + ("--enforce-eager",)
    PRELOAD = "fault.so"
    ENV = {"LLMD_FAULT": "cudaGraphLaunch:1:719:lost"}

    def test_same_as_recorded(self):
        with CudaLlmd(*Case.OPTIONS) as recorded:
            one, two = (in_company([lambda p=p, s=s: complete(s, p, logprobs=2, max_tokens=8)
                                    for p in PROMPTS[:3]]) for s in (self.server, recorded))
        for a, b in zip(one, two):
            self.assertEqual(a["token_ids"], b["token_ids"])
            self.judge.greedy(a)


class Deterministic(Case):
    """--deterministic: the same request, the same bytes, alone and in company, with
    preemption and with a prompt in other chunks."""

    OPTIONS = ("--num-gpu-blocks-override", "17", "--max-num-batched-tokens", "48",
               "--max-model-len", "256", "--deterministic")
    REQUESTS = [
        (STORY * 2, {"temperature": 0, "logprobs": 3}),
        (STORY[:100], {"temperature": 1, "seed": 1, "logprobs": 2}),
        (STORY[:70], {"temperature": 1, "seed": 2, "top_p": 0.9, "frequency_penalty": 0.5,
                      "logprobs": 1}),
        (STORY[:140], {"temperature": 1.3, "seed": 3, "top_k": 50, "logprobs": 2}),
    ]

    def ask(self, request):
        prompt, fields = request
        choice = complete(self.server, prompt, max_tokens=28, ignore_eos=True, **fields)
        return {k: choice[k] for k in ("text", "token_ids", "logprobs", "finish_reason")}

    def test_same_bytes_in_any_company(self):
        alone = [self.ask(r) for r in self.REQUESTS]
        self.assertEqual(self.server.metric("vllm:num_preemptions_total"), 0)
        others = [lambda: complete(self.server, STORY[5:50], max_tokens=50, ignore_eos=True)] * 3
        for _ in range(10): # who comes first decides whether somebody is preempted
            company = in_company(others + [lambda r=r: self.ask(r) for r in self.REQUESTS])
            for one, two in zip(alone, company[3:]):
                self.assertEqual(one, two)
            if self.server.metric("vllm:num_preemptions_total") > 0:
                return
        self.fail("nobody was preempted")


class Tuned(unittest.TestCase):
    """Products that are timed at start give the same tokens; a second start takes the
    file of the first."""

    def test_timed_once(self):
        judge = Judge()
        self.addCleanup(judge.server.kill)
        with tempfile.TemporaryDirectory() as cache:
            for start in range(2):
                with CudaLlmd(*Case.OPTIONS, "--cache-dir", cache, autotune=True) as server:
                    judge.greedy(complete(server, STORY, max_tokens=4))
                names = os.listdir(cache)
                self.assertEqual(len(names), 1, names)
                path = os.path.join(cache, names[0])
                if start == 0:
                    written = os.stat(path).st_mtime_ns
                self.assertEqual(os.stat(path).st_mtime_ns, written)
        judge.close()


class Ending(unittest.TestCase):
    """SIGTERM while steps are under way."""

    def running(self):
        server = CudaLlmd(*Case.OPTIONS)
        self.addCleanup(server.kill)
        stream = server.stream(STORY, max_tokens=30, temperature=0, ignore_eos=True, timeout=120)
        self.addCleanup(stream.close)
        events = iter(stream)
        next(events)
        server.signal(signal.SIGTERM)
        return server, events

    def test_stream_is_finished_first(self):
        server, events = self.running()
        self.assertEqual(list(events)[-1]["choices"][0]["finish_reason"], "length")
        server.wait(60) # a signal more, as stop() sends it, would end it at once
        server.stop()

    def test_second_signal_ends_it(self):
        server, events = self.running()
        llmd.wait_for("draining", lambda: " draining " in server.log)
        server.signal(signal.SIGTERM)
        self.assertIn("error", list(events)[-1])
        server.stop()


if __name__ == "__main__":
    backend.main()
