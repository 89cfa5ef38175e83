#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""loadgen against a scripted server: what it sends, byte for byte as `vllm bench
serve` does (tests/data/loadgen/vllm_bench, by tools/record-vllm-bench.py), when
it sends it, what it makes of answers of every kind, and what it leaves behind.

usage: test_loadgen.py [unittest's options]

Environment: LOADGEN_BIN, the program (default ./loadgen/loadgen), and those of
llmd.py. Standard library only. Exit status 77 when there is no binary.
"""

import json
import os
import re
import shutil
import signal
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import unittest

import llmd
import mock_openai
from mock_openai import (CLOSE, HOLD, RESET, MockServer, Reply, completion, delta_chunk, event,
                         plain, stream, text_chunk, usage_of, whole_answer)

BIN = os.environ.get("LOADGEN_BIN", "./loadgen/loadgen")
RECORD = os.path.join(llmd.TOP, "tests", "data", "loadgen", "vllm_bench")
TABLE = "============ Serving Benchmark Result ============"

# Each client has its own of these.
OWN_HEADERS = {"host", "user-agent", "accept-encoding", "content-length", "connection"}

SMALL = ("--model", "m", "--in", "8", "--out", "4", "--disable-tqdm")


def recorded(name):
    with open(os.path.join(RECORD, name), encoding="utf-8") as file:
        return json.load(file)


class Result:
    def __init__(self, status, out, err):
        self.status, self.out, self.err = status, out, err

    def rows(self):
        """The rows of the table: label -> text of the value."""
        table = self.out[self.out.index(TABLE):]
        pairs = [line.rsplit(":", 1) for line in table.splitlines() if ":" in line]
        return {label: value.strip() for label, value in pairs}


def environment(more):
    env = {k: v for k, v in os.environ.items() if k != "OPENAI_API_KEY"
           and not k.lower().endswith("_proxy")}
    env.update(more or {})
    return env


def run(*words, env=None, seconds=30):
    done = subprocess.run([BIN, *words], env=environment(env), stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          timeout=llmd.limit(seconds), check=False)
    if llmd.SANITIZER.search(done.stderr):
        raise AssertionError(done.stderr[-4000:])
    return Result(done.returncode, done.stdout, done.stderr)


class LoadgenCase(unittest.TestCase):
    maxDiff = 2000

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.path = os.path.join(self.folder, "result.json")

    def saved(self):
        with open(self.path, encoding="utf-8") as file:
            return llmd.loads(file.read())

    def bench(self, answer, *words, num=3, status=0, **more):
        """Runs over a server that answers like this: the result, what was saved,
        and the server."""
        with MockServer(answer) as server:
            result = run(*SMALL, "--base-url", server.url, "--num-prompts", str(num),
                         "--save-result", "--save-detailed", "--result-filename", self.path,
                         *words, **more)
        self.assertEqual(result.status, status, result.err)
        return result, self.saved(), server

    def write_prompts(self, items):
        path = os.path.join(self.folder, "prompts.jsonl")
        with open(path, "w", encoding="utf-8") as file:
            for text, tokens in items:
                line = {"prompt": text}
                if tokens is not None:
                    line["output_tokens"] = tokens
                file.write(json.dumps(line) + "\n")
        return path


# ---------------------------------------------------------------- what is sent

def preamble(lines):
    """What is compared of the lines before the run."""
    return [line for line in lines if "skipping alignment" not in line]


def said(result):
    """What was printed before the run was over."""
    lines = result.out[:result.out.index(TABLE)].splitlines()
    return [line for line in lines if not line.startswith("tip: ")]


class SameAsVllm(LoadgenCase):
    def run_case(self, case):
        path = self.write_prompts(case["file"]) if "file" in case else None
        words = [{"DEMO": llmd.DEMO, "FILE": path}.get(w, w) for w in case["options"]]
        more = {"other": getattr(mock_openai, case["other"])} if "other" in case else {}
        with MockServer(**more) as server:
            result = run(*words, "--base-url", server.url, env=case["env"])
        self.assertEqual(result.status, 0, result.err)
        return result, server

    def check_request(self, ours, vllms):
        self.assertEqual(ours.path, vllms["path"])
        self.assertEqual(ours.body.decode("utf-8", "backslashreplace"), vllms["body"])
        headers = sorted([n.lower(), v] for n, v in ours.headers if n.lower() not in OWN_HEADERS)
        self.assertEqual(headers, vllms["headers"])

    def test_requests_and_preamble(self):
        cases = recorded("requests.json")
        self.assertGreater(len(cases), 30)
        for case in cases:
            with self.subTest(case["name"]):
                result, server = self.run_case(case)
                for ours, vllms in zip(server.posts, case["requests"]):
                    self.check_request(ours, vllms)
                self.assertEqual(len(server.posts), len(case["requests"]))
                self.assertEqual(preamble(said(result)), preamble(case["preamble"]))
                if "other" in case:
                    others = sorted([r.path, r.body.decode("ascii")] for r in server.requests
                                    if "token" in r.path)
                    self.assertEqual(others, case["other_requests"])

    def test_schedule(self):
        cases = recorded("arrivals.json")
        self.assertGreater(len(cases), 20)
        for case in cases:
            with self.subTest(" ".join(case["options"])):
                result = run("--print-schedule", *case["options"])
                self.assertEqual(result.status, 0, result.err)
                self.assertEqual(json.loads(result.out), case["times_s"])

    def test_chosen_request_id_prefix(self):
        with MockServer() as server:
            run(*SMALL, "--base-url", server.url, "-n", "2", "-c", "1")
            ids = [r.header("x-request-id") for r in server.posts]
        self.assertRegex(ids[0][0], r"^bench-[0-9a-f]{8}-0$")
        self.assertEqual(ids[1], [ids[0][0][:-1] + "1"])

    def test_negative_number_as_a_word(self):
        _, _, server = self.bench(whole_answer, "--presence-penalty", "-0.5", num=1)
        self.assertEqual(server.posts[0].json()["presence_penalty"], -0.5)

    def test_endpoint_follows_the_backend(self):
        path = self.write_prompts([("a", None)])
        _, _, server = self.bench(whole_answer, "--backend", "openai-chat", "--dataset-name",
                                  "custom", "--dataset-path", path, num=1)
        self.assertEqual(server.posts[0].path, "/v1/chat/completions")

    def test_tokenizer_by_its_file(self):
        sent = []
        for path in (llmd.DEMO, llmd.DEMO + "/", os.path.join(llmd.DEMO, "tokenizer.json")):
            _, _, server = self.bench(whole_answer, "--tokenizer", path, num=1)
            sent.append(server.posts[0].json()["prompt"])
        self.assertEqual(sent, sent[:1] * 3)
        self.assertIsInstance(sent[0], str)

    def test_options_of_vllm_are_known(self):
        """Those that are not accepted are refused by name, with a reason."""
        options = recorded("options.json")
        self.assertGreater(len(options), 90)
        for name, has_value in options:
            with self.subTest(name):
                words = [name, "1"] if has_value else [name]
                result = run("--print-schedule", "-n", "1", *words)
                self.assertNotIn("unknown option", result.err)
                if "not supported" in result.err:
                    self.assertRegex(result.err, "^loadgen: option '%s' is not supported: ." % name)
                    self.assertEqual((result.status, result.out), (2, ""))

    def test_prefixes_and_underscores_of_options(self):
        _, _, server = self.bench(whole_answer, "--max_conc", "1", "--random_output", "9", num=1)
        self.assertEqual(server.posts[0].json()["max_tokens"], 9)


class Refused(LoadgenCase):
    def test_options(self):
        wrong = [
            (["--max-concurrency", "0"], "max-concurrency"),
            (["--header", "no-equals"], "header"),
            (["--metadata", "no-equals"], "metadata"),
            (["--header", "a=b\r\nc: d"], "header"),
            (["--goodput", "itl:5"], "goodput"),
            (["--goodput", "ttft:-5"], "goodput"),
            (["--goodput", "ttft"], "goodput"),
            (["--random-range-ratio", "1"], "random-range-ratio"),
            (["--extra-body", "[1]"], "extra-body"),
            (["--extra-body", "{"], "extra-body"),
            (["--metric-percentiles", "50;99"], "metric-percentiles"),
            (["--max-fail-rate", "1.5"], "max-fail-rate"),
            (["--ramp-up-strategy", "linear"], "ramp-up"),
            (["--ramp-up-strategy", "linear", "--ramp-up-start-rps", "5",
              "--ramp-up-end-rps", "2"], "ramp-up"),
            (["--ramp-up-strategy", "linear", "--ramp-up-start-rps", "1", "--ramp-up-end-rps",
              "2", "--request-rate", "3"], "request-rate"),
            (["--ramp-up-strategy", "exponential", "--ramp-up-start-rps", "0",
              "--ramp-up-end-rps", "2"], "ramp-up"),
            (["--dataset-name", "random", "--dataset-path", "x"], "dataset"),
            (["--dataset-name", "custom", "--dataset-path", "/nonexistent.jsonl"], "nonexistent"),
            (["--backend", "nothing"], "backend"),
            (["--tokenizer", "org/model"], "--tokenizer"),
            (["--no-such-option"], "no-such-option"),
        ]
        with MockServer() as server:
            for words, says in wrong:
                with self.subTest(words):
                    result = run(*SMALL, "--base-url", server.url, "-n", "1", *words)
                    self.assertGreater(result.status, 0)
                    self.assertIn(says, result.err)
                    self.assertNotIn(TABLE, result.out)
            self.assertEqual(server.posts, [])


# ---------------------------------------------------------------- when it is sent

class Timing(LoadgenCase):
    def test_rate(self):
        """300 requests at 100 a second: the last one leaves after 3 s."""
        [case] = [c for c in recorded("arrivals.json") if "100" in c["options"]]
        _, saved, server = self.bench(whole_answer, *case["options"], num=300)
        self.assertGreaterEqual(saved["duration"], 3.0)
        self.assertLess(saved["duration"], 3.0 + llmd.limit(2))
        arrivals = sorted(r.at_s for r in server.posts)
        for times in (saved["start_times"], arrivals):
            # Since when the clock runs, nobody says; but it must be the same for all. A machine
            # that is busy delays some, and an error in the times would grow with them.
            offsets = [at - due for at, due in zip(times, case["times_s"])]
            early, late = (statistics.median(part) for part in (offsets[:100], offsets[-100:]))
            self.assertLess(abs(late - early), llmd.limit(0.05))
            low, median, high = statistics.quantiles(offsets, n=4)
            self.assertLess(high - low, llmd.limit(0.03))
            self.assertGreater(min(offsets), median - llmd.limit(0.05))

    def test_ramp_up_changes_are_saved(self):
        [case] = [c for c in recorded("reports.json")["cases"] if c["name"] == "ramp_up_linear"]
        _, saved, _ = self.bench(whole_answer, *case["options"], num=12)
        self.assertEqual([e["rps"] for e in saved["rps_change_events"]],
                         [e["rps"] for e in case["json"]["rps_change_events"]])
        stamps = [e["timestamp"] for e in saved["rps_change_events"]]
        self.assertEqual(stamps, sorted(stamps))
        for stamp in stamps:
            self.assertRegex(stamp, r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}$")
        keys = list(saved)
        self.assertLess(keys.index("rtfx"), keys.index("rps_change_events"))
        self.assertLess(keys.index("rps_change_events"), keys.index("mean_ttft_ms"))

    def test_max_concurrency(self):
        _, saved, server = self.bench(lambda r: completion(2, gap_s=0.02), "-c", "3", num=20)
        self.assertEqual(server.max_open, 3)
        self.assertLessEqual(server.num_connections, 4, "connections are not used again")
        self.assertGreater(max(saved["queue_times"]), 0.05)

    def test_order_with_one_at_a_time(self):
        _, _, server = self.bench(whole_answer, "-c", "1", "--request-id-prefix", "i", num=40)
        self.assertEqual([r.header("x-request-id")[0] for r in server.posts],
                         ["i%d" % i for i in range(40)])

    def test_all_at_once_overlap(self):
        _, saved, server = self.bench(lambda r: completion(2, ttft_s=0.5), num=50)
        self.assertEqual(server.max_open, 50)
        self.assertEqual(saved["completed"], 50)

    def test_duration(self):
        _, saved, server = self.bench(lambda r: completion(2, ttft_s=0.3), "--duration", "1",
                                      "--rate", "50", num=500)
        first = server.posts[0].at_s
        self.assertLess(server.posts[-1].at_s - first, 1 + llmd.limit(1))
        self.assertTrue(20 < len(server.posts) < 90, len(server.posts))
        self.assertEqual(saved["completed"], len(server.posts))

    def test_latencies(self):
        """Of a server that takes 50 ms to the first token and 10 ms to each next."""
        _, saved, _ = self.bench(lambda r: completion(11, ttft_s=0.05, gap_s=0.01),
                                 "--percentile-metrics", "ttft,tpot,itl,e2el", num=3)
        slack = llmd.limit(0.2)
        for ttft, latency in zip(saved["ttfts"], saved["latencies"]):
            self.assertTrue(0.05 <= ttft < 0.05 + slack, ttft)
            self.assertTrue(0.149 <= latency < 0.15 + 2 * slack, latency)
        self.assertEqual([len(i) for i in saved["itls"]], [10, 10, 10])
        self.assertGreaterEqual(saved["mean_itl_ms"], 9.5)
        self.assertEqual(saved["output_lens"], [11, 11, 11])

    def test_chat_role_chunk_is_no_token(self):
        def answer(_):
            return stream([event(delta_chunk({"role": "assistant", "content": ""})), 0.1,
                           event(delta_chunk({"content": "a"})),
                           event(delta_chunk({"content": ""})),
                           event({"choices": [{"index": 0, "delta": {},
                                               "finish_reason": "stop"}]}), 0.2,
                           event({"choices": [], "usage": usage_of(3, 2)}), event("[DONE]")])
        path = self.write_prompts([("a", None)])
        _, saved, _ = self.bench(answer, "--backend", "openai-chat", "--dataset-name", "custom",
                                 "--dataset-path", path, num=1)
        self.assertGreaterEqual(saved["ttfts"][0], 0.1)
        self.assertEqual(len(saved["itls"][0]), 1)
        self.assertLess(saved["latencies"][0], 0.1 + llmd.limit(0.1))


# ---------------------------------------------------------------- what comes back

def second_fails(bad):
    """Of three answers the second is this one."""
    return lambda request: bad if request.index == 1 else completion(4)


TOKEN = event(text_chunk("x "))

# name: the answer, what the error says (None: anything)
FAILURES = {
    "503 with an error object": (
        plain({"error": {"message": "too much to do", "code": 503}}, 503), "too much to do"),
    "503 with FastAPI's detail": (plain({"detail": "busy"}, 503), "busy"),
    "404": (plain({"error": {"message": "no model named m"}}, 404), "no model named m"),
    "500 with a page": (Reply(500, "Oops", [b"<html>oh</html>"], content_type="text/html"), "oh"),
    "500 without a body": (Reply(500, "Oops"), None),
    "reset before the answer": (stream([RESET]), None),
    "reset in the stream": (stream([TOKEN, TOKEN, RESET]), None),
    "end in the middle of the stream": (stream([TOKEN, CLOSE]), None),
    "error object in the stream": (
        stream([TOKEN, event({"error": {"message": "engine died"}}), event("[DONE]")]),
        "engine died"),
    "error object as the only message": (
        stream([event({"error": "out of memory"}), event("[DONE]")]), "out of memory"),
    "200 without a stream": (plain({"choices": [{"text": "whole"}], "usage": usage_of(1, 1)}),
                             None),
    "empty stream": (stream([event("[DONE]")]), None),
    "empty body": (stream([]), None),
    "usage only": (stream([event({"choices": [], "usage": usage_of(1, 1)}), event("[DONE]")]),
                   None),
    "not JSON": (stream([TOKEN, event("{nonsense")]), None),
}


class Failures(LoadgenCase):
    def test_one_of_three(self):
        for name, (bad, says) in FAILURES.items():
            with self.subTest(name):
                result, saved, _ = self.bench(second_fails(bad), "-c", "1")
                self.assertEqual((saved["completed"], saved["failed"]), (2, 1))
                self.assertEqual([e != "" for e in saved["errors"]], [False, True, False])
                if says:
                    self.assertIn(says, saved["errors"][1])
                    self.assertIn(says, result.out + result.err)
                self.assertEqual(saved["latencies"][1], 0.0)
                self.assertEqual(saved["output_lens"], [4, 0, 4])
                self.assertEqual(result.rows()["Failed requests"], "1")
                [failure] = saved["loadgen"]["failures"]
                self.assertEqual((failure["count"], failure["request"]), (1, 1))
                self.assertTrue(failure["reason"])

    def test_what_came_before_the_failure_is_kept(self):
        _, saved, _ = self.bench(second_fails(stream([0.05, TOKEN, 0.02, TOKEN, RESET])), "-c", "1")
        self.assertGreaterEqual(saved["ttfts"][1], 0.05)
        self.assertEqual(len(saved["itls"][1]), 1)

    def test_same_reasons_are_counted_together(self):
        def answer(request):
            return plain({"error": {"message": "no. %d" % request.index}},
                         503 if request.index % 3 else 404)
        result, saved, _ = self.bench(answer, "-c", "1", num=9, status=1)
        counts = sorted(f["count"] for f in saved["loadgen"]["failures"])
        self.assertEqual(counts, [3, 6])
        self.assertIn("503", result.out + result.err)

    def test_nobody_listens(self):
        url = "http://127.0.0.1:%d" % llmd.free_port()
        result = run(*SMALL, "--base-url", url, "-n", "3", "--save-result", "--save-detailed",
                     "--result-filename", self.path)
        self.assertEqual(result.status, 1)
        self.assertIn(TABLE, result.out)
        saved = self.saved()
        self.assertEqual((saved["completed"], saved["failed"]), (0, 3))
        self.assertEqual((saved["mean_ttft_ms"], saved["max_concurrent_requests"]), (0.0, 0))

    def test_no_server_and_no_model(self):
        result = run("--base-url", "http://127.0.0.1:%d" % llmd.free_port(), "-n", "1")
        self.assertGreater(result.status, 0)
        self.assertNotIn(TABLE, result.out)

    def test_no_such_host(self):
        result = run(*SMALL, "--base-url", "http://host.invalid", "-n", "1")
        self.assertEqual(result.status, 1)

    def test_ready_check_waits_for_the_server(self):
        def answer(request):
            return plain({"detail": "loading"}, 503) if request.index == 0 else completion(4)
        result, saved, server = self.bench(answer, "--ready-check-timeout-sec", "2", num=1)
        self.assertIn("Initial test run completed.\n", result.out)
        self.assertEqual((saved["completed"], len(server.posts)), (1, 3))

    def test_ready_check_gives_up(self):
        with MockServer(lambda _: plain({"detail": "never"}, 503)) as server:
            start = time.monotonic()
            result = run(*SMALL, "--base-url", server.url, "-n", "1",
                         "--ready-check-timeout-sec", "1")
        self.assertEqual(result.status, 1)
        self.assertIn("never", result.err)
        self.assertNotIn(TABLE, result.out)
        self.assertLess(time.monotonic() - start, llmd.limit(4))

    def test_failed_warm_ups_do_not_count(self):
        def answer(request):
            return plain({}, 503) if request.index < 4 else completion(4)
        _, saved, server = self.bench(answer, "--num-warmups", "4", num=2)
        self.assertEqual((saved["completed"], saved["failed"]), (2, 0))
        self.assertEqual(len(server.posts), 6)

    def test_server_dies_half_way(self):
        def answer(request):
            if request.index == 10:
                threading.Thread(target=server.stop).start()
                return stream([TOKEN, HOLD])
            return completion(4)
        server = MockServer(answer)
        with server:
            result = run(*SMALL, "--base-url", server.url, "-n", "30", "-c", "2",
                         "--save-result", "--save-detailed", "--result-filename", self.path)
        self.assertEqual(result.status, 0, result.err)
        saved = self.saved()
        self.assertEqual(saved["completed"] + saved["failed"], 30)
        self.assertGreaterEqual(saved["completed"], 9)
        self.assertGreaterEqual(saved["failed"], 18)
        self.assertEqual(len(saved["errors"]), 30)


class Oddities(LoadgenCase):
    """Answers that are strange and yet good."""

    def check(self, answer, output_len=4, num_gaps=3, words=()):
        _, saved, _ = self.bench(lambda _: answer, *words, num=2)
        self.assertEqual((saved["completed"], saved["failed"]), (2, 0), saved["errors"])
        self.assertEqual(saved["output_lens"], [output_len] * 2)
        self.assertEqual([len(i) for i in saved["itls"]], [num_gaps] * 2)
        return saved

    def test_no_done(self):
        self.check(completion(4, done=False))

    def test_no_usage(self):
        self.check(completion(4, usage=False))

    def test_cr_lf(self):
        self.check(completion(4, end="\r\n\r\n"))

    def test_all_in_one_read(self):
        whole = completion(4, end="\r\n\r\n")
        self.check(stream([b"".join(whole.steps)]))

    def test_byte_by_byte(self):
        whole = b"".join(completion(4).steps)
        self.check(stream([whole[i:i + 1] for i in range(len(whole))]))

    def test_usage_beside_choices(self):
        chunks = [event(text_chunk("x ", usage=usage_of(77, n))) for n in (1, 2, 3, 4)]
        saved = self.check(stream(chunks + [event("[DONE]")]))
        self.assertEqual(saved["input_lens"], [77, 77])

    def test_usage_counts_more_than_messages(self):
        self.check(stream([TOKEN, TOKEN, event({"choices": [], "usage": usage_of(9, 12)})]),
                   output_len=12, num_gaps=1)

    def test_null_usage(self):
        self.check(stream([event(text_chunk("x", usage=None))] * 4 + [event("[DONE]")]))

    def test_comments_and_events(self):
        comment = b": ping\n\n"
        self.check(stream([comment, TOKEN, comment, b"event: x\n" + TOKEN, TOKEN, comment, TOKEN,
                           event({"choices": [], "usage": usage_of(9, 4)}), event("[DONE]")]))

    def test_empty_text_is_a_token(self):
        self.check(stream([event(text_chunk(""))] * 4 +
                          [event({"choices": [], "usage": usage_of(9, 4)}), event("[DONE]")]))

    def test_large_message(self):
        saved = self.check(stream([event(text_chunk("x" * 300000))] * 4 + [event("[DONE]")]))
        self.assertEqual(len(saved["generated_texts"][0]), 1200000)

    def test_text_is_kept(self):
        text = "\u00e9\u4f60\U0001f600\n\"\\\u2028"
        saved = self.check(stream([event(json.dumps(text_chunk(text), ensure_ascii=False))] +
                                  [TOKEN] * 3 + [event("[DONE]")]))
        self.assertEqual(saved["generated_texts"], [text + "x " * 3] * 2)

    def test_server_metrics(self):
        last = {"choices": [], "usage": usage_of(9, 4),
                "metrics": {"queue_time_ms": 12.5, "time_to_first_token_ms": 40}}
        saved = self.check(stream([TOKEN] * 4 + [event(last), event("[DONE]")]))
        self.assertEqual(saved["server_queue_times"], [0.0125] * 2)
        self.assertEqual(saved["server_ttfts"], [0.04] * 2)

    def test_connection_is_closed_after_each_answer(self):
        def answer(_):
            reply = completion(4)
            reply.headers.append(("Connection", "close"))
            return reply
        _, saved, _ = self.bench(answer, "-c", "1", num=5)
        self.assertEqual(saved["completed"], 5)


# ---------------------------------------------------------------- what is left

class Endings(LoadgenCase):
    def test_max_fail_rate(self):
        for num_failed, words, status in (
                (0, [], 0), (19, [], 0), (20, [], 1),
                (1, ["--max-fail-rate", "0.05"], 0), (2, ["--max-fail-rate", "0.05"], 1),
                (0, ["--max-fail-rate", "0"], 0), (1, ["--max-fail-rate", "0"], 1)):
            with self.subTest((num_failed, words)):
                _, saved, _ = self.bench(
                    lambda r, n=num_failed: plain({}, 503) if r.index < n else completion(2),
                    "-c", "1", *words, num=20, status=status)
                self.assertEqual(saved["failed"], num_failed)

    def interrupt(self, number):
        def answer(request):
            return completion(4) if request.index < 5 else stream([TOKEN, TOKEN, HOLD])
        with MockServer(answer) as server:
            process = subprocess.Popen(
                [BIN, *SMALL, "--base-url", server.url, "-n", "50", "-c", "8", "--save-result",
                 "--save-detailed", "--result-filename", self.path], env=environment(None),
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            try:
                llmd.wait_for("13 requests", lambda: len(server.posts) == 13, 10)
                time.sleep(llmd.limit(0.2))
                process.send_signal(number)
                out, err = process.communicate(timeout=llmd.limit(10))
            finally:
                process.kill()
                process.wait()
        self.assertGreaterEqual(process.returncode, 0, "the handler did not take it")
        result = Result(process.returncode, out, err)
        self.assertEqual(result.rows()["Successful requests"], "5")
        saved = self.saved()
        self.assertEqual((saved["completed"], saved["failed"]), (5, 0))
        self.assertGreaterEqual(saved["loadgen"]["cancelled"], 8)
        self.assertGreater(saved["mean_ttft_ms"], 0)

    def test_interrupt(self):
        self.interrupt(signal.SIGINT)

    def test_terminate(self):
        self.interrupt(signal.SIGTERM)

    def test_append(self):
        for _ in range(2):
            with MockServer() as server:
                result = run(*SMALL, "--base-url", server.url, "-n", "2", "--append-result",
                             "--result-filename", self.path)
            self.assertEqual(result.status, 0, result.err)
        with open(self.path, encoding="utf-8") as file:
            text = file.read()
        self.assertFalse(text.endswith("\n"))
        self.assertEqual(text.count("\n"), 1)
        for line in text.split("\n"):
            self.assertEqual(llmd.loads(line)["completed"], 2)

    def test_result_folder_is_made(self):
        folder = os.path.join(self.folder, "a", "b")
        with MockServer() as server:
            result = run(*SMALL, "--base-url", server.url, "-n", "1", "--save-result",
                         "--result-dir", folder)
        self.assertEqual(result.status, 0, result.err)
        [name] = os.listdir(folder)
        self.assertRegex(name, r"^openai-infqps-m-\d{8}-\d{6}\.json$")

    def test_result_that_cannot_be_written(self):
        with MockServer() as server:
            result = run(*SMALL, "--base-url", server.url, "-n", "1", "--save-result",
                         "--result-filename", "/dev/null/x.json")
        self.assertGreater(result.status, 0)
        self.assertIn(TABLE, result.out)
        self.assertIn("/dev/null/x.json", result.err)

    def test_without_saving_no_file(self):
        before = os.getcwd()
        binary = os.path.abspath(BIN)
        with MockServer() as server:
            done = subprocess.run([binary, *SMALL, "--base-url", server.url, "-n", "1"],
                                  cwd=self.folder, env=environment(None), capture_output=True,
                                  timeout=llmd.limit(30), check=False)
        self.assertEqual((done.returncode, os.listdir(self.folder)), (0, []))
        self.assertEqual(os.getcwd(), before)

    def test_plain_result_has_no_lists_of_tokens(self):
        with MockServer() as server:
            run(*SMALL, "--base-url", server.url, "-n", "2", "--save-result",
                "--result-filename", self.path)
        saved = self.saved()
        for key in ("input_lens", "output_lens", "ttfts", "itls", "start_times",
                    "generated_texts", "errors", "server_queue_times", "server_ttfts"):
            self.assertNotIn(key, saved)
        for key in ("latencies", "queue_times"):
            self.assertEqual(len(saved[key]), 2)

    def test_model_of_the_server(self):
        with MockServer() as server:
            result = run("--in", "8", "--out", "4", "-q", "--base-url", server.url, "-n", "1",
                         "--save-result", "--result-filename", self.path)
            sent = server.posts[0].json()["model"]
        self.assertEqual(result.status, 0, result.err)
        self.assertEqual((sent, self.saved()["model_id"]), ("mock", "org/mock"))

    def test_goodput(self):
        def answer(request):
            return completion(4, ttft_s=0.4 if request.index == 0 else 0)
        result, saved, _ = self.bench(answer, "-c", "1", "--goodput", "ttft:300", "e2el:10000",
                                      num=4)
        self.assertAlmostEqual(saved["request_goodput"] * saved["duration"], 3)
        self.assertEqual(result.rows()["Request goodput (req/s)"],
                         "%.2f" % saved["request_goodput"])

    def test_probes(self):
        result, saved, server = self.bench(lambda r: completion(2, ttft_s=0.2), "-c", "1",
                                           "--probe-request-rate", "20", num=4)
        self.assertIn("Probe request rate: 20.0 req/s\n", result.out)
        probes = [r for r in server.posts if r.json()["prompt"] == "Hi"]
        self.assertGreaterEqual(len(probes), 2)
        self.assertEqual(probes[0].json()["max_tokens"], 1)
        self.assertEqual(probes[0].header("x-request-id"), [])
        # The one under way when the run ends is waited for.
        self.assertEqual(saved["probe_completed"], len(probes))
        self.assertEqual(saved["completed"], 4)
        self.assertIn("------------------Probe Requests------------------", result.out)


@unittest.skipUnless(shutil.which("openssl"), "no openssl to make a certificate")
class Https(LoadgenCase):
    def context(self):
        files = [os.path.join(self.folder, name) for name in ("cert.pem", "key.pem")]
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
                        "-subj", "/CN=localhost", "-out", files[0], "-keyout", files[1]],
                       check=True, stderr=subprocess.DEVNULL)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*files)
        return context

    def run_over_tls(self, *words):
        with MockServer(lambda r: completion(9, ttft_s=0.05, gap_s=0.01),
                        tls=self.context()) as server:
            return run(*SMALL, "--base-url", server.url, "-n", "20", "-c", "5", "--save-result",
                       "--save-detailed", "--result-filename", self.path, *words)

    def test_answers(self):
        result = self.run_over_tls("--insecure")
        self.assertEqual(result.status, 0, result.err)
        saved = self.saved()
        self.assertEqual(saved["completed"], 20, saved["errors"])
        for ttft, itls in zip(saved["ttfts"], saved["itls"]):
            self.assertGreaterEqual(ttft, 0.05)
            self.assertEqual(len(itls), 8)
            self.assertGreaterEqual(sum(itls), 0.079)

    def test_certificate_is_checked(self):
        result = self.run_over_tls()
        self.assertEqual(result.status, 1)
        self.assertIn("certificate", result.out)
        self.assertEqual(self.saved()["completed"], 0)


class Formats(LoadgenCase):
    def test_table_of_vllm_alone(self):
        """What we have to say besides goes elsewhere."""
        for name in ("vllm", "vllm-0.8"):
            with self.subTest(name):
                result, _, _ = self.bench(second_fails(plain({}, 503)), "-c", "1", "--format",
                                          name)
                self.assertTrue(result.out.endswith("\n" + 50 * "=" + "\n"), result.out)
                self.assertNotIn("Client and Server", result.out)
                self.assertIn("1 failed: HTTP 503", result.err)


class Manual(LoadgenCase):
    def test_figures_are_defined(self):
        """Whatever is printed, the manual says what it is."""
        metrics = "ttft,tpot,itl,e2el,client_queue_time,e2el_including_client_queue"
        result, _, _ = self.bench(
            lambda r: completion(3, ttft_s=0.1), "-c", "2", "--rate", "50", "--goodput", "ttft:900",
            "--percentile-metrics", metrics, "--probe-request-rate", "20", num=6)
        manual = " ".join(run("--help").out.split())
        names = {re.sub(r"^(Mean|Median|P99|Max) | \(.*\)$", "", row) for row in result.rows()}
        self.assertGreater(len(names), 30)
        for name in names:
            with self.subTest(name):
                self.assertRegex(manual, r"(?i)\b%s( \([^)]*\))?[,:]" % re.escape(name))


class Long(LoadgenCase):
    @unittest.skipUnless(os.environ.get("LLMD_FULL"), "takes 30 s (set LLMD_FULL)")
    def test_300_requests_at_10_a_second(self):
        wanted = 30 - recorded("arrivals.json")[0]["times_s"][0]
        for _ in range(3):  # another program may have delayed the first or the last one
            _, saved, _ = self.bench(whole_answer, "--rate", "10", num=300, seconds=60)
            lasted = saved["start_times"][-1] - saved["start_times"][0]
            if abs(lasted - wanted) < 0.001:
                return
        self.assertAlmostEqual(lasted, wanted, delta=0.001)


if __name__ == "__main__":
    if shutil.which(BIN) is None:
        print("test_loadgen: no program %s (set LOADGEN_BIN)" % BIN)
        sys.exit(77)
    unittest.main()
