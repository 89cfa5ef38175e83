#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Many clients of all kinds against one llmd, and an account of every request.

usage: soak.py [--seconds 60] [--streams 64] [--seed N] [-- OPTIONS OF LLMD]

Each client draws, again and again: prompt and output length, stream or not,
one or several choices, a stop string, echo, logprobs, whether and when it
leaves. At the end: accepted = finished + left by us, usage equals the chunks
received, the server's counters equal the clients' ledger, no KV block in use,
file descriptors and memory as at the start, no report of a sanitizer.
"""

import argparse
import collections
import http.client
import json
import random
import sys
import threading
import time

import llmd

WORDS = ("Once upon a time there was a boat in the harbour and Nella said that the sea "
         "would not give back the key .").split(" ")
BLOCKS = 160  # small enough for preemptions with 64 clients


class Ledger:
    def __init__(self):
        self.lock = threading.Lock()
        self.count = collections.Counter()
        self.problems = []

    def add(self, **counts):
        with self.lock:
            self.count.update(counts)

    def problem(self, text):
        with self.lock:
            self.problems.append(text)


def draw(rnd):
    """A request body, and how many chunks to read before leaving (None: all)."""
    body = {"model": "m",
            "prompt": " ".join(rnd.choice(WORDS) for _ in range(
                rnd.choice((1, 5, 20, 80, 300)))),
            "max_tokens": rnd.choice((1, 4, 16, 60, 150)),
            "temperature": rnd.choice((0, 0.7, 1.0)),
            "ignore_eos": rnd.random() < 0.7}
    if body["temperature"] > 0:
        body["n"] = rnd.choice((1, 1, 1, 2, 5))
        body["seed"] = rnd.randrange(1 << 40)
    if rnd.random() < 0.3:
        body["stop"] = rnd.sample([".", "the", "Nella said", "\n\n", "harbour"], 2)
    if rnd.random() < 0.2:
        body["logprobs"] = rnd.randrange(4)
    if rnd.random() < 0.1:
        body["echo"] = True
    if rnd.random() < 0.1:
        body["prompt"] = [body["prompt"], "The sea", "a"]
    leave = None
    if rnd.random() < 0.6:
        body["stream"] = True
        body["stream_options"] = {"include_usage": True}
    if rnd.random() < 0.15:
        leave = rnd.randrange(1, 10) if body.get("stream") else rnd.random() * 0.05
    return body, leave


class Soaker(threading.Thread):
    def __init__(self, server, ledger, seed, end):
        super().__init__()
        self.server, self.ledger, self.end = server, ledger, end
        self.rnd = random.Random(seed)

    def run(self):
        while time.monotonic() < self.end and len(self.ledger.problems) < 10:
            body, leave = draw(self.rnd)
            try:
                if body.get("stream"):
                    self.streaming(body, leave)
                else:
                    self.plain(body, leave)
            except (AssertionError, OSError, ValueError, KeyError, IndexError, TypeError,
                    http.client.HTTPException) as error:
                self.ledger.problem("%s: %s for %s" % (
                    type(error).__name__, error, json.dumps(body)[:300]))

    def choices(self, body):
        prompts = len(body["prompt"]) if isinstance(body["prompt"], list) else 1
        return prompts * body.get("n", 1)

    def plain(self, body, leave):
        connection = self.server.connect(120)
        try:
            connection.request("POST", "/v1/completions", json.dumps(body).encode(),
                               {"Content-Type": "application/json"})
            self.ledger.add(sent=1)
            if leave is not None:
                time.sleep(leave)
                self.ledger.add(left=1)
                return
            reply = connection.getresponse()
            answer = json.loads(reply.read())
            assert reply.status == 200, answer
            assert len(answer["choices"]) == self.choices(body), answer
            self.check_choices(body, answer["choices"])
            usage = answer["usage"]
            if "logprobs" in body and not body.get("echo"):
                made = sum(len(c["logprobs"]["tokens"]) for c in answer["choices"])
                assert made == usage["completion_tokens"], (made, usage)
            self.finished(body, usage)
        finally:
            connection.close()

    def check_choices(self, body, choices):
        for choice in choices:
            assert choice["finish_reason"] in ("stop", "length"), choice
            if not body.get("echo"):
                for stop in body.get("stop", ()):
                    assert stop not in choice["text"], (stop, choice)

    def finished(self, body, usage):
        assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
        n = self.choices(body)
        assert n <= usage["completion_tokens"] <= n * body["max_tokens"], usage
        if body["ignore_eos"] and "stop" not in body:
            assert usage["completion_tokens"] == n * body["max_tokens"], usage
        self.ledger.add(finished=1, tokens=usage["completion_tokens"],
                        prompt_tokens=usage["prompt_tokens"])

    def streaming(self, body, leave):
        fields = {k: v for k, v in body.items() if k not in ("model", "prompt", "stream")}
        # sent is counted first: the server may answer before this thread runs again
        self.ledger.add(sent=1)
        with self.server.stream(body["prompt"], timeout=120, **fields) as stream:
            texts = collections.defaultdict(str)
            ends, chunks, usage = {}, 0, None
            for event in stream:
                assert "error" not in event, event
                if not event["choices"]:
                    usage = event["usage"]
                    continue
                (choice,) = event["choices"]
                index = choice["index"]
                assert index not in ends, "a chunk after the end of choice %d" % index
                texts[index] += choice["text"]
                chunks += 1
                if choice["finish_reason"] is not None:
                    ends[index] = choice["finish_reason"]
                if leave is not None and chunks >= leave:
                    self.ledger.add(left=1)
                    return
            assert stream.done, "no [DONE]"
            assert len(ends) == self.choices(body), ends
            assert chunks <= usage["completion_tokens"], (chunks, usage)
            self.check_choices(body, [{"text": texts[i], "finish_reason": ends[i]}
                                      for i in ends])
            self.finished(body, usage)


def check_end(server, ledger, before):
    """What must be as at the start, and what the counters say."""
    server.wait_idle(10)
    count = ledger.count
    if count["sent"] != count["finished"] + count["left"] + len(ledger.problems):
        ledger.problem("sent %(sent)d, finished %(finished)d, left %(left)d" % count)
    ended = sum(v for _, v in server.metrics()["vllm:request_success_total"])
    if ended < count["finished"]:
        ledger.problem("the server counts %d ends, the clients %d" % (ended, count["finished"]))
    llmd.wait_for("file descriptors back at %d" % before["fds"],
                  lambda: server.fds() <= before["fds"] + 2, 5)
    load = server.get("/load").json()["server_load"]
    if load != 0:
        ledger.problem("/load says %r" % load)
    server.complete(max_tokens=2)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--streams", type=int, default=64, help="clients at once")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rss-mb", type=float, default=None,
                        help="growth of memory allowed between a quarter of the time and the "
                             "end (default: 32, and 256 under a sanitizer)")
    parser.add_argument("options", nargs="*", help="for llmd, after --")
    args = parser.parse_args()
    if not llmd.have_binary():
        print("soak: no program %s (set LLMD_BIN)" % llmd.BIN)
        return 77
    server = llmd.Llmd("--num-gpu-blocks-override", BLOCKS, "--max-model-len", "1024",
                       *args.options)
    ledger = Ledger()
    trouble = []
    start = time.monotonic()
    try:
        server.complete(max_tokens=2)
        before = {"fds": server.fds()}
        threads = [Soaker(server, ledger, args.seed * 1000 + i, start + args.seconds)
                   for i in range(args.streams)]
        for thread in threads:
            thread.start()
        time.sleep(args.seconds / 4)
        before["rss"] = server.rss()
        for thread in threads:
            thread.join()
        check_end(server, ledger, before)
        rss = server.rss()
        sanitized = "libasan" in open("/proc/%d/maps" % server.pid).read()
        allowed = args.rss_mb or (256 if sanitized else 32)
        if rss - before["rss"] > allowed * 1e6:
            ledger.problem("memory grew from %.0f to %.0f MB" % (before["rss"] / 1e6, rss / 1e6))
        preemptions = server.metric("vllm:num_preemptions_total")
        server.stop()
    except (AssertionError, OSError, http.client.HTTPException) as error:
        gone = server.process.poll()
        server.kill()
        trouble.append("%s%s\nthe end of its log:\n%s" % (
            error, "" if gone is None else "; llmd ended with status %d" % gone,
            server.log[-2500:]))
        preemptions, rss = -1, 0
    seconds = time.monotonic() - start
    count = ledger.count
    for text in ledger.problems + trouble:
        print("PROBLEM " + text)
    print("%.0f s, %d clients: %d requests sent, %d finished, %d left early; %d tokens "
          "(%.0f a second), %d preemptions, %.0f MB" % (
              seconds, args.streams, count["sent"], count["finished"], count["left"],
              count["tokens"], count["tokens"] / seconds, preemptions, rss / 1e6))
    failed = len(ledger.problems) + len(trouble)
    print("%d passed, %d failed" % (count["finished"], failed))
    return 1 if failed or not count["finished"] else 0


if __name__ == "__main__":
    sys.exit(main())
