#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Records what `vllm bench serve` sends, prints and saves, for the tests of
loadgen: it runs vLLM's own client, without its engine, and writes

    options.json   the options there are
    requests.json  bodies, headers and preamble of runs against a scripted server
    arrivals.json  send times
    reports.json   table and JSON result of made-up answers
    datasets.json  prompts and lengths

    tools/record-vllm-bench.py WHEEL [OUTPUT]

WHEEL is the folder of the unpacked wheel of vLLM 0.33.0 (the one that holds
`vllm/`), OUTPUT is tests/data/loadgen/vllm_bench by default. Of vLLM only
vllm/benchmarks and two small modules are run; the rest, and what those import
but do not use here, are empty stand-ins. Needs aiohttp, numpy, pandas, PyYAML,
regex, tqdm and transformers; torch and vLLM need not be installed.
"""
import argparse
import asyncio
import contextlib
import importlib.abc
import importlib.machinery
import io
import itertools
import json
import logging
import os
import random
import sys
import tempfile
import types
import warnings

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(HERE)
DEMO = os.path.join(TOP, "share", "demo")
sys.path.insert(0, os.path.join(TOP, "tests", "blackbox"))

import mock_openai  # noqa: E402
from mock_openai import MockServer  # noqa: E402

# ---- vLLM's client without vLLM ----

REAL = ("vllm.benchmarks", "vllm.utils.argparse_utils", "vllm.utils.import_utils")
HEAVY = ("PIL", "cv2", "datasets", "termplotlib")


class StandInType(type):
    def __getattr__(cls, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return StandInType(name, (), {})


class StandIn(types.ModuleType):
    """A module that has every name, each an empty class."""

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return StandInType(name, (), {})


class StandIns(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def __init__(self, wheel, known):
        self.wheel = wheel
        self.known = known          # module -> {name: value}

    def find_spec(self, name, path, target=None):
        root = name.split(".")[0]
        is_real = any(name == r or name.startswith(r + ".") for r in REAL)
        if (root == "vllm" and not is_real) or root in HEAVY:
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec):
        return StandIn(spec.name)

    def exec_module(self, module):
        folder = os.path.join(self.wheel, *module.__name__.split("."))
        module.__path__ = [folder]
        vars(module).update(self.known.get(module.__name__, {}))


def load_tokenizer(path, **_):
    import transformers
    return transformers.AutoTokenizer.from_pretrained(path)


def join_host_port(host, port):
    return "[%s]:%d" % (host, port) if ":" in host else "%s:%d" % (host, port)


def import_serve(wheel):
    """vllm.benchmarks.serve, and vllm.benchmarks.lib.endpoint_request_func."""
    known = {
        "vllm.logger": {"init_logger": logging.getLogger},
        "vllm.tokenizers": {"get_tokenizer": load_tokenizer},
        "vllm.utils.network_utils": {"join_host_port": join_host_port},
        "vllm.utils.gc_utils": {"freeze_gc_heap": lambda: None},
        "vllm.utils.mistral": {"is_mistral_tokenizer": lambda _: False},
    }
    sys.meta_path.insert(0, StandIns(wheel, known))
    try:
        import pybase64  # noqa: F401
    except ImportError:
        import base64
        sys.modules["pybase64"] = base64
    from vllm.benchmarks import serve
    serve.TERM_PLOTLIB_AVAILABLE = False
    return serve


def parse(serve, words):
    from vllm.utils.argparse_utils import FlexibleArgumentParser
    parser = FlexibleArgumentParser()
    serve.add_cli_args(parser)
    return parser.parse_args(words)


def run_main(serve, words):
    """Runs the client; what it printed, without the line of its arguments."""
    args = parse(serve, words)
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()), \
            warnings.catch_warnings():
        warnings.simplefilter("ignore")
        asyncio.run(serve.main_async(args))
    lines = out.getvalue().splitlines(keepends=True)
    assert lines[0].startswith("Namespace(")
    return "".join(lines[1:])


def record_options(serve):
    """Each option's name, and whether a value follows it."""
    from vllm.utils.argparse_utils import FlexibleArgumentParser
    parser = FlexibleArgumentParser()
    serve.add_cli_args(parser)
    return [[name, action.nargs != 0] for action in parser._actions
            for name in action.option_strings if name.startswith("--")]


# ---- requests ----

ODD_PROMPTS = ["caf\u00e9 \u00fc\u00df", "\u4f60\u597d\uff0c\u4e16\u754c",
               "\U0001f600 \U0001f468\u200d\U0001f469",
               "tab\tline\nreturn\rquote\"back\\slash/",
               "\u0000\u0001\b\f\u001f\u007f\u0080\u2028\u2029\ufeff",
               " leading and trailing ", "<|im_start|>user", "\ud7ff\ue000\uffff\U0010ffff"]

BASE = ["--model", "m", "--tokenizer", "DEMO", "--request-id-prefix", "id-", "--num-prompts", "3",
        "--max-concurrency", "1", "--disable-tqdm"]
RANDOM = BASE + ["--random-input-len", "12", "--random-output-len", "5"]
CUSTOM = BASE + ["--dataset-name", "custom", "--dataset-path", "FILE", "--skip-chat-template"]
CHAT = ["--backend", "openai-chat", "--endpoint", "/v1/chat/completions"]
EXTRA = ('{"stop": ["\\u00e9", "\\n"], "nested": {"a": [1, 2.50, 1e3, null, true, {}], "b": []}, '
         '"big": 9223372036854775807}')


def sampling(*names):
    values = {"temperature": "0", "top-p": "0.95", "top-k": "40", "min-p": "0.05",
              "frequency-penalty": "0.25", "presence-penalty": "1.5", "repetition-penalty": "1.1"}
    return [word for name in names for word in ("--" + name, values[name])]


ALL_SAMPLING = sampling("repetition-penalty", "presence-penalty", "frequency-penalty", "min-p",
                        "top-k", "top-p", "temperature")

# name: (words, environment, lines of FILE)
REQUEST_CASES = {
    "completions": (RANDOM, {}, None),
    "vllm": (RANDOM + ["--backend", "vllm"], {}, None),
    "chat": (RANDOM + CHAT, {}, None),
    "custom": (CUSTOM + ["--custom-output-len", "7"], {}, ODD_PROMPTS),
    "custom_chat": (CUSTOM + CHAT + ["--custom-output-len", "7", "--num-prompts", "8"], {},
                    ODD_PROMPTS),
    "custom_odd": (CUSTOM + ["--custom-output-len", "7", "--num-prompts", "8",
                             "--disable-shuffle"], {}, ODD_PROMPTS),
    "custom_own_lengths": (CUSTOM + ["--custom-output-len", "-1"], {},
                           [("a b c", 3), ("d e", 11), ("f", 2), ("g", 9)]),
    "custom_oversampled": (CUSTOM + ["--num-prompts", "7", "--seed", "3"], {}, ["one", "two"]),
    "custom_not_oversampled": (CUSTOM + ["--num-prompts", "7", "--no-oversample"], {},
                               ["one", "two"]),
    "ignore_eos": (CUSTOM + ["--ignore-eos"], {}, ["p"]),
    "temperature": (RANDOM + ["--temperature", "0"], {}, None),
    "temperature_fraction": (RANDOM + ["--temperature", "0.7"], {}, None),
    "sampling": (RANDOM + ALL_SAMPLING, {}, None),
    "sampling_chat": (RANDOM + CHAT + ALL_SAMPLING, {}, None),
    "repetition_penalty": (RANDOM + sampling("repetition-penalty"), {}, None),
    "logprobs": (RANDOM + ["--logprobs", "3"], {}, None),
    "logprobs_chat": (RANDOM + CHAT + ["--logprobs", "3"], {}, None),
    "extra_body": (RANDOM + ["--extra-body", EXTRA], {}, None),
    "extra_body_wins": (RANDOM + sampling("top-p", "temperature") + [
        "--extra-body", '{"temperature": 0.5, "max_tokens": 3, "ignore_eos": false, "new": 1}'],
        {}, None),
    "extra_body_chat": (RANDOM + CHAT + [
        "--extra-body", '{"chat_template_kwargs": {"enable_thinking": false}, "top_k": 3}'], {},
        None),
    "header": (RANDOM + ["--header", "X-One=1", "x-two = a=b "], {}, None),
    "header_wins": (RANDOM + ["--header", "Authorization=Basic eA==", "x-request-id=mine"],
                    {"OPENAI_API_KEY": "secret"}, None),
    "api_key": (RANDOM, {"OPENAI_API_KEY": "secret"}, None),
    "api_key_chat": (RANDOM + CHAT, {"OPENAI_API_KEY": "secret"}, None),
    "served_model_name": (RANDOM + ["--served-model-name", "n\u00e4me"], {}, None),
    "model_of_server": (RANDOM[2:] + ["--header", "x-a=b"], {"OPENAI_API_KEY": "secret"}, None),
    "warmups": (RANDOM + ["--num-warmups", "2"], {}, None),
    "ready_check": (RANDOM + ["--ready-check-timeout-sec", "9"], {}, None),
    "range": (RANDOM + ["--random-range-ratio", "0.5", "--num-prompts", "6"], {}, None),
    "range_object": (RANDOM + ["--random-range-ratio", '{"input": 0.25, "output": 0.9}',
                               "--num-prompts", "6", "--seed", "5"], {}, None),
    "prefix": (RANDOM + ["--random-prefix-len", "9"], {}, None),
    "prefix_range": (RANDOM + ["--random-prefix-len", "20", "--random-range-ratio", "0.3",
                               "--seed", "7"], {}, None),
    "lengths": (BASE + ["--input-len", "30", "--output-len", "2", "--num-prompts", "20"], {}, None),
    "prefix_repetition": (BASE + ["--dataset-name", "prefix_repetition", "--num-prompts", "8",
                                  "--prefix-repetition-prefix-len", "9",
                                  "--prefix-repetition-suffix-len", "6",
                                  "--prefix-repetition-num-prefixes", "3",
                                  "--prefix-repetition-output-len", "4"], {}, None),
    "rate": (RANDOM + ["--request-rate", "200", "--burstiness", "0.5"], {}, None),
    "ramp_up": (RANDOM + ["--ramp-up-strategy", "linear", "--ramp-up-start-rps", "100",
                          "--ramp-up-end-rps", "200"], {}, None),
}

# Those whose server has a tokenizer, another one than the client.
TOKENIZE_CASES = {
    "align_longer": (RANDOM, "tokenize_by_characters"),
    "align_shorter": (RANDOM, "tokenize_by_words"),
    "align_prefix_repetition": (REQUEST_CASES["prefix_repetition"][0], "tokenize_by_characters"),
}

TABLE = "============ Serving Benchmark Result ============"
LAST_LINES_BEFORE_TABLE = "tip: "


def write_dataset(folder, items):
    path = os.path.join(folder, "prompts.jsonl")
    with open(path, "w", encoding="utf-8") as file:
        for item in items:
            text, tokens = item if isinstance(item, tuple) else (item, None)
            line = {"prompt": text} if tokens is None else {"prompt": text, "output_tokens": tokens}
            file.write(json.dumps(line) + "\n")
    return path


def fill(words, folder, items):
    path = write_dataset(folder, items) if items else None
    return [{"DEMO": DEMO, "FILE": path}.get(word, word) for word in words]


def preamble_of(text):
    """The lines before the run, without those that need a server of vLLM's."""
    lines = text[:text.index(TABLE)].splitlines()
    return [line for line in lines if not line.startswith(LAST_LINES_BEFORE_TABLE)
            and "skipping alignment" not in line]


# Those of the transport, of which every client has its own.
OWN_HEADERS = {"host", "user-agent", "accept-encoding", "content-length", "connection"}


def record_request(request):
    return {"path": request.path, "body": request.body.decode("ascii"),
            "headers": sorted([n.lower(), v] for n, v in request.headers
                              if n.lower() not in OWN_HEADERS)}


def record_case(serve, name, words, env=None, items=None, other=None):
    more = {"other": getattr(mock_openai, other)} if other else {}
    os.environ.pop("OPENAI_API_KEY", None)
    os.environ.update(env or {})
    with MockServer(**more) as server, tempfile.TemporaryDirectory() as folder:
        printed = run_main(serve, fill(words, folder, items) + ["--base-url", server.url])
        case = {"name": name, "options": words, "env": env or {}, "preamble": preamble_of(printed),
                "requests": [record_request(r) for r in server.posts]}
        if other:
            case["other"] = other
            case["other_requests"] = sorted(
                [r.path, r.body.decode("ascii")] for r in server.requests if "token" in r.path)
    if items:
        case["file"] = [[i, None] if isinstance(i, str) else list(i) for i in items]
    os.environ.pop("OPENAI_API_KEY", None)
    print("requests: %s: %d" % (name, len(case["requests"])), file=sys.stderr)
    return case


def record_requests(serve):
    return ([record_case(serve, name, *row) for name, row in REQUEST_CASES.items()] +
            [record_case(serve, name, words, other=other)
             for name, (words, other) in TOKENIZE_CASES.items()])


# ---- arrivals ----

def ramp(strategy, start, end):
    return ["--ramp-up-strategy", strategy, "--ramp-up-start-rps", str(start),
            "--ramp-up-end-rps", str(end)]


ARRIVAL_CASES = [["--request-rate", "10", "--num-prompts", "300"],
                 ["--request-rate", "100", "--num-prompts", "300", "--seed", "1"],
                 ["--num-prompts", "5"]]
ARRIVAL_CASES += [["--request-rate", "7.3", "--burstiness", b, "--num-prompts", "30",
                   "--seed", s] for b, s in itertools.product(
                       ("0.25", "0.5", "1", "1.5", "2.5", "8", "inf"), ("0", "42"))]
ARRIVAL_CASES += [["--request-rate", "0.5", "--num-prompts", "1"],
                  ["--request-rate", "1000000", "--num-prompts", "20"],
                  ["--request-rate", "3", "--num-prompts", "20", "--seed", "4294967295"]]
ARRIVAL_CASES += [ramp(*r) + ["--num-prompts", n, "--burstiness", b]
                  for r in (("linear", 1, 20), ("exponential", 1, 20), ("linear", 5, 5))
                  for n, b in (("30", "1"), ("1", "1"), ("10", "inf"), ("20", "0.5"))]


class FrozenTime:
    """The module `time` of a clock that stands still."""

    @staticmethod
    def time():
        return 0.0


async def send_times(serve, args):
    """The offsets that get_request sleeps to."""
    import numpy as np
    times, slept = [], [0.0]

    async def sleep(seconds):
        slept[0] = seconds

    np.random.seed(args.seed)
    real_time, real_sleep = serve.time, asyncio.sleep
    serve.time, asyncio.sleep = FrozenTime, sleep
    try:
        async for _ in serve.get_request(list(range(args.num_prompts)), args.request_rate,
                                         args.burstiness, args.ramp_up_strategy,
                                         args.ramp_up_start_rps, args.ramp_up_end_rps):
            times.append(float(slept[0]))
    finally:
        serve.time, asyncio.sleep = real_time, real_sleep
    return times


def record_arrivals(serve):
    return [{"options": words, "times_s": asyncio.run(send_times(serve, parse(serve, words)))}
            for words in ARRIVAL_CASES]


# ---- reports ----

TICK_NS = 1953125      # 2^-9 s: seconds of such times add and subtract without rounding
ORIGIN_TICKS = 1000 * 512


ERRORS = ["Service Unavailable", "Not Found",
          "Traceback (most recent call last):\n  File \"x\", line 1\nValueError: \u00e9\n"]


def make_reply(rng, due_ticks, spec):
    """One answer, in numbers that both programs read as the same doubles. With
    `round_ms` latencies are multiples of it, some of them a limit of --goodput."""
    start_ticks = due_ticks + rng.randrange(spec.get("queue_ticks", 3) + 1)
    tokens = rng.choice(spec.get("tokens", [1, 2, 5, 17]))
    unit_ns = spec.get("round_ms", 0.001) * 1e6
    ttft_ns = int(rng.randrange(1_000_000, 400_000_000) // unit_ns * unit_ns + unit_ns)
    itls = [rng.uniform(0.0001, 0.08) for _ in range(tokens - 1)]
    latency_ns = ttft_ns + int(sum(itls) * 1e9 // unit_ns * unit_ns)
    failed = rng.random() < spec.get("failures", 0)
    if failed and rng.random() < 0.5:
        ttft_ns, itls = 0, []
    return {"failed": failed, "due_ns": due_ticks * TICK_NS, "start_ns": start_ticks * TICK_NS,
            "ttft_ns": ttft_ns, "latency_ns": latency_ns, "itls": itls,
            "input_len": rng.randrange(1, 3000),
            "output_len": tokens if rng.random() < 0.8 else 3 * tokens,
            "text": rng.choice(["", "x " * 3, "\u00e9\n\"\\\U0001f600"]),
            "error": rng.choice(ERRORS) if failed else ""}


def make_replies(spec):
    rng = random.Random(spec["seed"])
    ticks, replies = ORIGIN_TICKS, []
    for _ in range(spec["num"]):
        ticks += rng.randrange(spec.get("gap_ticks", 200))
        replies.append(make_reply(rng, ticks, spec))
    return replies


ALL = "ttft,tpot,itl,e2el,client_queue_time,e2el_including_client_queue"


def report_case(name, words=(), **spec):
    spec = dict({"seed": len(name), "num": 12}, **spec)
    return {"name": name, "words": list(words), "spec": spec}


REPORT_CASES = [
    report_case("default"),
    report_case("detailed", ["--save-detailed"], num=5),
    report_case("all_metrics", ["--percentile-metrics", ALL, "--metric-percentiles",
                                "1,25,50,75,90,95,99,99.9", "--max-concurrency", "4",
                                "--request-rate", "12.5"], num=40, queue_ticks=100),
    report_case("queue_at_infinite_rate", ["--percentile-metrics", ALL, "--max-concurrency", "3"],
                queue_ticks=50),
    report_case("queue_without_cap", ["--percentile-metrics", ALL, "--request-rate", "3"]),
    report_case("odd_order", ["--percentile-metrics", "e2el,unknown,itl,itl",
                              "--metric-percentiles", "99.99,0,100,50.0,50"]),
    report_case("even_burstiness", ["--request-rate", "1e3", "--burstiness", "2.5"]),
    report_case("goodput", ["--goodput", "ttft:200", "tpot:30", "e2el:900"], num=30),
    report_case("goodput_is_inclusive", ["--goodput", "ttft:300"], num=30, round_ms=100),
    report_case("goodput_of_whole_request", ["--goodput", "e2el:800"], num=60, round_ms=100),
    report_case("goodput_of_one_metric", ["--goodput", "tpot:30", "--save-detailed"], num=6),
    report_case("goodput_of_none", ["--goodput", "ttft:0"]),
    report_case("ramp_up_linear", ["--ramp-up-strategy", "linear", "--ramp-up-start-rps", "2",
                                   "--ramp-up-end-rps", "9"]),
    report_case("ramp_up_exponential", ["--ramp-up-strategy", "exponential", "--ramp-up-start-rps",
                                        "1", "--ramp-up-end-rps", "30", "--burstiness", "0.5",
                                        "--max-concurrency", "7", "--percentile-metrics", ALL]),
    report_case("failures", ["--save-detailed"], num=9, failures=0.4),
    report_case("many_failures", ["--request-rate", "5"], num=30, failures=0.7),
    report_case("no_success", ["--save-detailed", "--percentile-metrics", ALL, "--goodput",
                               "e2el:100", "--max-concurrency", "2"], num=4, failures=1),
    report_case("one_request", ["--save-detailed"], num=1, tokens=[33]),
    report_case("one_token_each", ["--save-detailed", "--percentile-metrics", "tpot,itl"], num=4,
                tokens=[1]),
    report_case("skip_tokenizer", ["--skip-tokenizer-init", "--percentile-metrics", ALL,
                                   "--max-concurrency", "5", "--request-rate", "2"]),
    report_case("metadata", ["--metadata", "gpu=H100", " note = a=b c ", "label=mine",
                             "duration=long", "--label", "L"], num=2),
    report_case("label", ["--label", "run \u00e9", "--backend", "vllm", "--result-dir", "DIR/a/b",
                          "--max-concurrency", "2"], num=2),
    report_case("file_name", ["--result-filename", "x.json", "--result-dir", "DIR"], num=2),
    report_case("many_tokens", ["--percentile-metrics", "itl,tpot", "--metric-percentiles",
                                "50,99,99.9"], num=24, tokens=[40, 64, 3], gap_ticks=600),
]


class ScriptedClock:
    """The module `time` whose perf_counter gives the next of a list."""

    def __init__(self, values):
        self.values = iter(values)

    def perf_counter(self):
        return next(self.values)

    @staticmethod
    def time():
        return 0.0


class FixedDate:
    @staticmethod
    def now():
        import datetime
        return datetime.datetime(2026, 1, 2, 3, 4, 5, 678901)


def output_of(serve, reply):
    from vllm.benchmarks.lib.endpoint_request_func import RequestFuncOutput
    failed = reply["failed"]
    return RequestFuncOutput(
        generated_text="" if failed else reply["text"], success=not failed,
        latency=0.0 if failed else reply["latency_ns"] / 1e9, ttft=reply["ttft_ns"] / 1e9,
        output_tokens=0 if failed else reply["output_len"], itl=list(reply["itls"]),
        prompt_len=reply["input_len"], error=reply["error"], start_time=reply["start_ns"] / 1e9)


async def no_sleep(_):
    return None


async def no_metrics(*_):
    return None


@contextlib.contextmanager
def patched(target, **values):
    before = {name: getattr(target, name) for name in values}
    for name, value in values.items():
        setattr(target, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(target, name, value)


def run_report(serve, words, replies, duration_ns):
    """main_async with made-up answers: what is printed."""
    from vllm.benchmarks.datasets import SampleRequest
    start = replies[0]["due_ns"] / 1e9
    clock = ScriptedClock([start] + [r["due_ns"] / 1e9 for r in replies] +
                          [start + duration_ns / 1e9])
    samples = [SampleRequest(prompt=str(i), prompt_len=1, expected_output_len=1)
               for i in range(len(replies))]

    async def request_func(request_func_input, session, pbar=None):
        return output_of(serve, replies[int(request_func_input.prompt)])

    funcs = {name: request_func for name in serve.ASYNC_REQUEST_FUNCS}
    with patched(serve, time=clock, datetime=FixedDate, ASYNC_REQUEST_FUNCS=funcs,
                 get_samples=lambda *_: samples, fetch_spec_decode_metrics=no_metrics,
                 fetch_diffusion_metrics=no_metrics), patched(asyncio, sleep=no_sleep):
        return run_main(serve, words)


def record_report(serve, case, folder):
    replies = make_replies(case["spec"])
    duration_ns = replies[-1]["start_ns"] + (777 - ORIGIN_TICKS) * TICK_NS
    words = case["words"] + ["--dataset-name", "custom", "--model", "org/model", "--tokenizer",
                             DEMO, "--num-prompts", str(len(replies)), "--save-result"]
    if "--result-dir" not in words:
        words += ["--result-dir", "DIR"]
    words = [w.replace("DIR", folder) for w in words]
    printed = run_report(serve, words, replies, duration_ns)
    [path] = [os.path.join(d, f) for d, _, files in os.walk(folder) for f in files]
    with open(path, encoding="utf-8") as file:
        saved = json.load(file)
    if saved["tokenizer_id"]:
        saved["tokenizer_id"] = "share/demo"
    return {"name": case["name"], "options": case["words"], "duration_ns": duration_ns,
            "replies": replies, "printed": printed, "file": os.path.relpath(path, folder),
            "json": saved}


def record_append(serve):
    """Two runs into one file."""
    replies = make_replies({"seed": 1, "num": 1})
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "all.json")
        words = ["--dataset-name", "custom", "--model", "m", "--tokenizer", DEMO, "--num-prompts",
                 "1", "--append-result", "--result-filename", path]
        for _ in range(2):
            run_report(serve, words, replies, TICK_NS * 512)
        with open(path, encoding="utf-8") as file:
            return file.read().replace(DEMO, "share/demo")


def record_reports(serve):
    cases = []
    for case in REPORT_CASES:
        with tempfile.TemporaryDirectory() as folder:
            cases.append(record_report(serve, case, folder))
    return {"date": "20260102-030405", "cases": cases, "appended": record_append(serve)}


# ---- data sets ----

def turns(*texts):
    return [{"from": "human", "value": t} for t in texts]


def conversations():
    """Of all lengths, some of them too short, too long, or of one turn."""
    rng = random.Random(5)
    words = "the a river stone walked over under quickly and seven houses 42 \u00e9t\u00e9".split()

    def text(count):
        return " ".join(rng.choice(words) for _ in range(count))

    entries = [{"id": str(i), "conversations": turns(text(rng.randrange(1, 60)),
                                                     text(rng.randrange(1, 90)))}
               for i in range(40)]
    entries += [{"conversations": turns(text(n), text(m))}
                for n, m in ((1, 1), (1, 40), (40, 1), (1500, 9), (700, 900), (30, 1500))]
    entries += [{"conversations": turns("only one")}, {"id": "none"},
                {"conversations": turns("a b c d e", "f g h i j", "k", "l")}]
    return json.dumps(entries)


def burst_rows(count):
    rng = random.Random(6)
    lines = ["Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type"]
    for i in range(count):
        model = rng.choice(["GPT-4", "GPT-4", "ChatGPT"])
        sent, got = rng.randrange(1, 90), rng.choice([0, rng.randrange(1, 300)])
        lines.append("%d,%s,%d,%d,%d,Conversation log" % (i, model, sent, got, sent + got))
    return "\n".join(lines) + "\n"


def trace_lines():
    rng = random.Random(7)
    hashes, lines = [], []
    for i in range(14):
        hashes = hashes[:rng.randrange(len(hashes) + 1)] + [rng.randrange(9) for _ in range(3)]
        size = rng.randrange(1, 16 * len(hashes) + 9)
        lines.append(json.dumps({"timestamp": 250 * i, "input_length": size,
                                 "output_length": rng.randrange(1, 40), "hash_ids": hashes}))
    return "\n".join(lines) + "\n"


def prompt_lines(count):
    return "".join(json.dumps({"prompt": "prompt number %d \u4f60" % i, "output_tokens": i + 1}) +
                   "\n" for i in range(count))


SHAREGPT = ["--dataset-name", "sharegpt"]
BURST = ["--dataset-name", "burstgpt"]
LINES = ["--dataset-name", "custom", "--skip-chat-template"]
PREFIXES = ["--dataset-name", "prefix_repetition", "--prefix-repetition-prefix-len", "11",
            "--prefix-repetition-suffix-len", "5"]
SIZES = ["--random-input-len", "20", "--random-output-len", "9"]

DATASET_FILES = {"sharegpt.json": conversations, "prompts.jsonl": lambda: prompt_lines(9),
                 "many.csv": lambda: burst_rows(200), "few.csv": lambda: burst_rows(30),
                 "trace.jsonl": trace_lines}

# (words, name of a file)
DATASET_CASES = [
    (SIZES + ["--num-prompts", "12"], None),
    (SIZES + ["--num-prompts", "12", "--seed", "42", "--random-range-ratio", "0.6"], None),
    (SIZES + ["--num-prompts", "9", "--random-prefix-len", "7"], None),
    (SIZES + ["--num-prompts", "9", "--random-prefix-len", "40", "--seed", "4294967295",
              "--random-range-ratio", '{"input": 0.9, "output": 0.1}'], None),
    (SHAREGPT + ["--num-prompts", "10"], "sharegpt.json"),
    (SHAREGPT + ["--num-prompts", "10", "--seed", "9"], "sharegpt.json"),
    (SHAREGPT + ["--num-prompts", "60"], "sharegpt.json"),
    (SHAREGPT + ["--num-prompts", "60", "--no-oversample"], "sharegpt.json"),
    (SHAREGPT + ["--num-prompts", "60", "--disable-shuffle", "--sharegpt-output-len", "3"],
     "sharegpt.json"),
    (LINES + ["--num-prompts", "5"], "prompts.jsonl"),
    (LINES + ["--num-prompts", "23", "--seed", "77", "--custom-output-len", "-1"],
     "prompts.jsonl"),
    (LINES + ["--num-prompts", "9", "--disable-shuffle", "--custom-output-len", "31"],
     "prompts.jsonl"),
    (PREFIXES + ["--num-prompts", "20", "--prefix-repetition-num-prefixes", "3"], None),
    (PREFIXES + ["--num-prompts", "4", "--prefix-repetition-num-prefixes", "4", "--seed", "8",
                 "--disable-shuffle"], None),
    (BURST + ["--num-prompts", "20"], "many.csv"),
    (BURST + ["--num-prompts", "20", "--seed", "3"], "few.csv"),
    (["--dataset-name", "timed_trace", "--num-prompts", "14", "--timed-trace-sec-multiplier",
      "0.001"], "trace.jsonl"),
    (["--dataset-name", "timed_trace", "--num-prompts", "6", "--timed-trace-chunk-hash-size",
      "5"], "trace.jsonl"),
]


def record_dataset(serve, words, file):
    """What get_samples gives, and the next number of numpy's global generator."""
    import numpy as np
    case = {"options": words, "file": file}
    with tempfile.TemporaryDirectory() as folder:
        more = []
        if file:
            path = os.path.join(folder, file)
            with open(path, "w", encoding="utf-8") as out:
                out.write(DATASET_FILES[file]())
            more = ["--dataset-path", path]
        args = parse(serve, ["--model", "m"] + words + more)
        random.seed(args.seed)
        np.random.seed(args.seed)
        with contextlib.redirect_stdout(io.StringIO()):
            samples = serve.get_samples(args, load_tokenizer(DEMO))
    case["prompts"] = [[s.prompt, s.prompt_len, s.expected_output_len, s.timestamp]
                       for s in samples]
    case["next_uniform"] = float(np.random.random_sample())
    return case


def record_datasets(serve):
    return {"files": {name: make() for name, make in DATASET_FILES.items()},
            "cases": [record_dataset(serve, words, file) for words, file in DATASET_CASES]}


def save(folder, name, record):
    path = os.path.join(folder, name)
    with open(path, "w", encoding="utf-8") as file:
        items = record if isinstance(record, list) else record.pop("cases")
        head = "[" if isinstance(record, list) else json.dumps(record)[:-1] + ', "cases": ['
        lines = ",\n".join(json.dumps(item, separators=(",", ":")) for item in items)
        file.write(head + "\n" + lines + "\n]" + ("" if isinstance(record, list) else "}") + "\n")
    print("%s: %d bytes" % (path, os.path.getsize(path)), file=sys.stderr)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("wheel")
    parser.add_argument("output", nargs="?", default=os.path.join(
        TOP, "tests", "data", "loadgen", "vllm_bench"))
    args = parser.parse_args()
    logging.disable(logging.CRITICAL)
    serve = import_serve(args.wheel)
    os.makedirs(args.output, exist_ok=True)
    save(args.output, "options.json", record_options(serve))
    save(args.output, "arrivals.json", record_arrivals(serve))
    save(args.output, "datasets.json", record_datasets(serve))
    save(args.output, "reports.json", record_reports(serve))
    save(args.output, "requests.json", record_requests(serve))


if __name__ == "__main__":
    main()
