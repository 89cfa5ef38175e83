#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Replays recorded vLLM requests against llmd and compares the answers.

usage: replay_wire.py CASES.jsonl [--only PATTERN] [--url URL] [--verbose]

CASES.jsonl has one JSON object a line: case, method, path, headers, body
(`raw`: sent as it stands, latin-1; `shortened`: a long prompt described as
{"repeat": TEXT, "times": N} or {"repeat_id": ID, "times": N}), status,
answer_headers, answer. They were recorded from vLLM serving
SmolLM2-135M-Instruct as "smollm2" with --max-model-len 2048 --dtype float32.
This program starts llmd in the same way, unless --url names a server.

What must be equal: status; keys, their order and whether they are null; types;
greedy texts, token ids, finish_reason, stop_reason, usage; errors' type, param
and code; the sequence of SSE chunks, except that one recorded chunk may be
several of ours (the recorded server merged tokens when it was late). Log
probabilities may differ by 2e-3. Ids, times and names of the server are only
checked for their type; texts of sampled requests likewise.

wire_differences.json, beside this file, lists where llmd deliberately differs,
and what it must answer there; an entry whose answer is equal to the recorded
one is an error. Routes llmd does not have must be 404 in OpenAI's envelope.

Exit status: 0 all passed, 1 not, 2 usage, 77 no cases or no model.
"""

import argparse
import concurrent.futures
import copy
import fnmatch
import http.client
import json
import os
import re
import sys
import time
import urllib.parse

import llmd

TOLERANCE = 2e-3
# Routes of vLLM that llmd does not have (yet): 404 and nothing else.
LATER = ("/v1/chat/", "/v1/messages", "/v1/responses", "/v1/embeddings", "/rerank",
         "/v1/audio/", "/docs", "/openapi.json")


class Mismatch(Exception):
    pass


# ------------------------------------------------------------------- requests

def rebuild(value):
    if isinstance(value, dict):
        if set(value) == {"repeat", "times"}:
            return value["repeat"] * value["times"]
        if set(value) == {"repeat_id", "times"}:
            return [value["repeat_id"]] * value["times"]
        return {k: rebuild(v) for k, v in value.items()}
    if isinstance(value, list):
        return [rebuild(v) for v in value]
    return value


def body_bytes(case):
    body = case["body"]
    if body is None:
        return None
    if case.get("raw"):
        return body.encode("latin-1")
    return json.dumps(rebuild(body)).encode()


def fields_of(case):
    """The request's fields, as well as they can be read."""
    body = case["body"]
    if case.get("raw"):
        try:
            body = json.loads(body.encode("latin-1").decode("utf-8-sig"))
        except ValueError:
            body = None
    return body if isinstance(body, dict) else {}


def is_sampled(case):
    temperature = fields_of(case).get("temperature")
    return case["path"].startswith("/v1/completions") and (
        temperature is None or temperature > 0.05)


class Target:
    def __init__(self, url):
        parts = urllib.parse.urlsplit(url)
        self.host, self.port = parts.hostname, parts.port

    def send(self, method, path, headers, data):
        connection = http.client.HTTPConnection(self.host, self.port, timeout=llmd.limit(120))
        try:
            connection.putrequest(method, path, skip_accept_encoding=True)
            for name, value in headers.items():
                connection.putheader(name, value)
            if data is not None:
                connection.putheader("Content-Length", str(len(data)))
            connection.endheaders(data)
            reply = connection.getresponse()
            return llmd.Answer(reply.status, reply.getheaders(), reply.read())
        finally:
            connection.close()

    def ask(self, case):
        return self.send(case["method"], case["path"], case["headers"] or {}, body_bytes(case))


# ----------------------------------------------------------------- comparing

MASKED = re.compile(
    r"^(\.created|\.system_fingerprint|\.data\[\d+\]\.(created|root|owned_by)"
    r"|\.data\[\d+\]\.permission\[\d+\]\.(id|created)|\.version)$")
SAMPLED = re.compile(
    r"^\.choices\[\d+\]\.(text|finish_reason|stop_reason|token_ids|logprobs\..*)$"
    r"|^\.usage\.(completion_tokens|total_tokens)$")
NUMBERS = re.compile(r"(\.token_logprobs\[\d+\]|\.logprob)$")
RANK = re.compile(r"\.rank$")


def kind(value):
    if value is None:
        return "null"
    return {bool: "bool", int: "integer", float: "number", str: "string", list: "array",
            dict: "object"}[type(value)]


def show(value, length=160):
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= length else text[:length] + "..."


class Comparison:
    """Collects the differences between a recorded JSON value and ours."""

    def __init__(self, sampled, fixed_id):
        self.sampled = sampled
        self.fixed_id = fixed_id
        self.problems = []

    def add(self, path, text):
        self.problems.append("%s: %s" % (path or "the answer", text))

    def values(self, want, got, path=""):
        if path == ".id":
            return self.ids(want, got)
        if MASKED.match(path) or (self.sampled and SAMPLED.match(path)):
            if kind(want) != kind(got) and not (self.sampled and path.endswith("_reason")):
                self.add(path, "is %s, not %s" % (kind(got), kind(want)))
            return None
        if re.search(r"\.top_logprobs\[\d+\]$", path) and want is not None:
            return self.top(want, got, path)
        if re.search(r"\.prompt_logprobs\[\d+\]$", path) and want is not None:
            return self.prompt_row(want, got, path)
        if NUMBERS.search(path) and want is not None:
            return self.number(want, got, path)
        if RANK.search(path):
            return self.rank(want, got, path)
        if kind(want) != kind(got):
            return self.add(path, "is %s %s, recorded %s %s" % (
                kind(got), show(got), kind(want), show(want)))
        if isinstance(want, dict):
            return self.objects(want, got, path)
        if isinstance(want, list):
            if len(want) != len(got):
                self.add(path, "has %d items, recorded %d: %s / %s" % (
                    len(got), len(want), show(got), show(want)))
            for i, (a, b) in enumerate(zip(want, got)):
                self.values(a, b, "%s[%d]" % (path, i))
            return None
        if want != got:
            self.add(path, "is %s\n%srecorded %s" % (show(got), " " * 8, show(want)))
        return None

    def ids(self, want, got):
        if not isinstance(got, str):
            self.add(".id", "is %s" % kind(got))
        elif self.fixed_id and want != got:
            self.add(".id", "is %s, recorded %s" % (got, want))
        elif want.split("-")[0] != got.split("-")[0]:
            self.add(".id", "is %s, recorded %s" % (got, want))

    def objects(self, want, got, path):
        if list(want) != list(got):
            missing = [k for k in want if k not in got]
            extra = [k for k in got if k not in want]
            if missing or extra:
                self.add(path, "keys missing: %s, extra: %s" % (missing, extra))
            else:
                self.add(path, "keys in the order %s, recorded %s" % (list(got), list(want)))
        for key in want:
            if key in got:
                self.values(want[key], got[key], "%s.%s" % (path, key))

    def number(self, want, got, path):
        if not isinstance(got, float) or isinstance(want, bool):
            return self.add(path, "is %s, recorded %s" % (show(got), show(want)))
        if abs(want - got) > TOLERANCE:
            return self.add(path, "is %.6f, recorded %.6f" % (got, want))
        return None

    def rank(self, want, got, path):
        if type(want) is not type(got) or abs(want - got) > (0 if want <= 20 else want * 0.01):
            self.add(path, "is %s, recorded %s" % (show(got), show(want)))

    def top(self, want, got, path):
        """{token: logprob}: same tokens in the same order, near ties apart."""
        if not isinstance(got, dict):
            return self.add(path, "is %s, recorded %s" % (show(got), show(want)))
        return self.ranked(list(want.items()), list(got.items()), path)

    def prompt_row(self, want, got, path):
        if not isinstance(got, dict):
            return self.add(path, "is %s, recorded %s" % (show(got), show(want)))
        for key in want:
            if key in got:
                self.values(want[key], got[key], "%s.%s" % (path, key))
        return self.ranked([(k, v["logprob"]) for k, v in want.items()],
                           [(k, v.get("logprob")) for k, v in got.items()], path)

    def ranked(self, want, got, path):
        if len(want) != len(got):
            return self.add(path, "is %s, recorded %s" % (show(dict(got)), show(dict(want))))
        for (token, value), (our_token, ours) in zip(want, got):
            if not isinstance(ours, float) or abs(value - ours) > TOLERANCE:
                return self.add(path, "%r is %s, recorded %r %.6f" % (
                    our_token, ours, token, value))
            if token != our_token and abs(dict(got).get(token, value) - ours) > TOLERANCE:
                return self.add(path, "%r where %r was recorded" % (our_token, token))
        return None


# -------------------------------------------------------------------- streams

def sse(text):
    """The events of an SSE text: parsed, or "[DONE]"."""
    if not text.endswith("\n\n"):
        raise Mismatch("the stream does not end with a blank line: %r" % text[-80:])
    events = []
    for block in text[:-2].split("\n\n"):
        if block.startswith(":"):
            continue
        if not block.startswith("data: ") or "\n" in block:
            raise Mismatch("not an SSE event: %r" % block[:200])
        events.append(block[6:] if block == "data: [DONE]" else llmd.loads(block[6:]))
    return events


def index_of(event):
    if isinstance(event, str) or not event.get("choices"):
        return None
    return event["choices"][0]["index"]


def merge(first, second):
    """One chunk with what two chunks of a choice say."""
    merged = copy.deepcopy(first)
    a, b = merged["choices"][0], second["choices"][0]
    a["text"] += b["text"]
    for key in ("token_ids",):
        if a.get(key) is not None and b.get(key) is not None:
            a[key] += b[key]
    if a.get("logprobs") is not None and b.get("logprobs") is not None:
        for key in a["logprobs"]:
            a["logprobs"][key] += b["logprobs"].get(key, [])
    for key in ("finish_reason", "stop_reason"):
        a[key] = b.get(key)
    for key in ("usage", "system_fingerprint"):
        if key in second:
            merged[key] = second[key]
    return merged


def fold(want, got):
    """Our chunks of one choice, merged so that they fit the recorded ones."""
    folded, at, target, text = [], 0, "", ""
    for number, chunk in enumerate(want):
        target += chunk["choices"][0]["text"]
        if at == len(got):
            raise Mismatch("choice %s: only %d chunks, recorded %d" % (
                index_of(chunk), len(got), len(want)))
        merged = got[at]
        text += got[at]["choices"][0]["text"]
        at += 1
        last = number == len(want) - 1
        while at < len(got) and (len(text) < len(target) or last):
            merged = merge(merged, got[at])
            text += got[at]["choices"][0]["text"]
            at += 1
        folded.append(merged)
        if text != target:
            return folded + got[at:]
    return folded


def compare_stream(comparison, want_text, got):
    if comparison.sampled:
        return compare_sampled_stream(comparison, sse(want_text), sse(got.text))
    want, ours = sse(want_text), sse(got.text)
    for shape in (want, ours):
        if shape[-1] != "[DONE]":
            raise Mismatch("the stream does not end with [DONE]")
    indexes = sorted({index_of(e) for e in want} - {None})
    if indexes != sorted({index_of(e) for e in ours} - {None}):
        raise Mismatch("chunks for other choices than %s" % indexes)
    for index in indexes:
        recorded = [e for e in want if index_of(e) == index]
        chunks = fold(recorded, [e for e in ours if index_of(e) == index])
        if len(chunks) != len(recorded):
            comparison.add("choice %d" % index, "%d chunks, recorded %d" % (
                len(chunks), len(recorded)))
        for number, (a, b) in enumerate(zip(recorded, chunks)):
            before = len(comparison.problems)
            comparison.values(a, b)
            comparison.problems[before:] = [
                "chunk %d of choice %d: %s" % (number, index, p)
                for p in comparison.problems[before:]]
    # what is no choice's: the usage chunk and [DONE], in this order at the end
    rest = [e for e in want if index_of(e) is None]
    our_rest = [e for e in ours if index_of(e) is None]
    if len(rest) != len(our_rest) or ours[-len(rest):] != our_rest:
        raise Mismatch("the stream ends with %s, recorded %s" % (
            show(our_rest), show(rest)))
    for a, b in zip(rest, our_rest):
        comparison.values(a, b)
    if len({e["id"] for e in ours if isinstance(e, dict)}) != 1:
        comparison.add(".id", "not the same in all chunks")
    return None


def compare_sampled_stream(comparison, want, ours):
    if ours[-1] != "[DONE]":
        raise Mismatch("the stream does not end with [DONE]")
    comparison.values(want[0], ours[0])


# --------------------------------------------------------------------- a case

def names_param(message, param):
    """Whether the text says which field it is about."""
    name = re.sub(r"^body\.?", "", param or "").split(".")[0]
    if not name or name.isdigit():
        return True
    spoken = {"input_tokens": "tokens"}.get(name, name)
    return spoken in message


def compare_error(comparison, want, got):
    ours = got.json()
    if list(ours) != ["error"]:
        raise Mismatch("not OpenAI's error envelope: %s" % show(ours))
    comparison.objects({k: None for k in want["error"]}, {k: None for k in ours["error"]},
                       ".error")
    for key in ("type", "param", "code"):
        comparison.values(want["error"][key], ours["error"].get(key), ".error.%s" % key)
    check_message(comparison, ours)


def check_message(comparison, ours):
    message = ours["error"].get("message")
    if not isinstance(message, str) or not message:
        comparison.add(".error.message", "is %s" % show(message))
    elif not names_param(message, ours["error"].get("param")):
        comparison.add(".error.message", "does not name %s: %r" % (
            ours["error"].get("param"), message))


def compare_recorded(case, got):
    """Differences between the recorded answer and ours."""
    fixed_id = "request_id" in fields_of(case) or any(
        h.lower() == "x-request-id" for h in case["headers"] or {})
    comparison = Comparison(is_sampled(case), fixed_id)
    if got.status != case["status"]:
        return ["status %d, recorded %d; body %r" % (got.status, case["status"],
                                                     got.body[:300])]
    try:
        compare_headers(comparison, case.get("answer_headers") or {}, got.headers)
        compare_bodies(comparison, case, got)
    except (Mismatch, AssertionError, ValueError, KeyError, IndexError, TypeError,
            AttributeError) as error:
        comparison.add("", "%s: %s" % (type(error).__name__, error)
                       if not isinstance(error, Mismatch) else str(error))
    return comparison.problems


def compare_headers(comparison, want, got):
    for name in ("content-type", "location"):
        if name in want and got.get(name, "").split(";")[0] != want[name].split(";")[0]:
            comparison.add("header " + name, "is %r, recorded %r" % (got.get(name), want[name]))
    # the methods recorded, and perhaps HEAD and OPTIONS
    allow = {m.strip() for m in got.get("allow", "").split(",")} - {"HEAD", "OPTIONS"}
    if "allow" in want and allow != {m.strip() for m in want["allow"].split(",")}:
        comparison.add("header allow", "is %r, recorded %r" % (got.get("allow"), want["allow"]))


def compare_bodies(comparison, case, got):
    answer = case["answer"]
    if answer.startswith("data: "):
        return compare_stream(comparison, answer, got)
    if answer == "":
        if got.body != b"":
            comparison.add("", "has a body: %r" % got.body[:200])
        return None
    try:
        want = json.loads(answer)
    except ValueError:
        return comparison.values(answer, got.text)
    if isinstance(want, dict) and isinstance(want.get("error"), dict):
        return compare_error(comparison, want, got)
    return comparison.values(want, got.json())


def compare_expected(expect, case, got, cases):
    """Differences between ours and what the table of differences demands."""
    if "as" in expect:
        other = cases[expect["as"]]
        return compare_recorded(dict(case, status=other["status"], answer=other["answer"],
                                     answer_headers=other["answer_headers"]), got)
    problems = []
    if got.status != expect["status"]:
        problems.append("status %d, demanded %d; body %r" % (
            got.status, expect["status"], got.body[:300]))
        return problems
    for name, value in expect.get("headers", {}).items():
        if got.headers.get(name) != value:
            problems.append("header %s is %r, demanded %r" % (name, got.headers.get(name), value))
    if "empty" in expect and (got.body == b"") != expect["empty"]:
        problems.append("body %r" % got.body[:200])
    if "error" in expect:
        error = got.json().get("error")
        if not isinstance(error, dict):
            return problems + ["not OpenAI's error envelope: %r" % got.body[:200]]
        if list(error) != ["message", "type", "param", "code"]:
            problems.append("keys of the error: %s" % list(error))
        for key, value in expect["error"].items():
            if error.get(key) != value:
                problems.append("error.%s is %s, demanded %s" % (
                    key, show(error.get(key)), show(value)))
        comparison = Comparison(False, False)
        check_message(comparison, got.json())
        problems += comparison.problems
    if "body" in expect:
        ours = got.json()
        for path, value in expect["body"].items():
            have = ours
            for step in path.split("."):
                have = have[int(step)] if isinstance(have, list) else have.get(step)
            if have != value:
                problems.append("%s is %s, demanded %s" % (path, show(have), show(value)))
    return problems


def near_tie(target, case):
    """Where a greedy text differs: text and gap if the two best tokens were
    closer than the tolerance there, else None."""
    body = rebuild(fields_of(case))
    try:
        want = json.loads(case["answer"])["choices"]
    except (ValueError, KeyError, TypeError):
        want = None
    if want is None and case["answer"].startswith("data: "):
        chunks = [e for e in sse(case["answer"]) if isinstance(e, dict) and e["choices"]]
        want = [{"text": "".join(c["choices"][0]["text"] for c in chunks)}]
    if not want or len(want) != 1 or is_sampled(case):
        return None
    body.update(stream=False, logprobs=5)
    body.pop("stream_options", None)
    got = target.send("POST", "/v1/completions", {"Content-Type": "application/json"},
                      json.dumps(body).encode())
    if got.status != 200:
        return None
    choice = got.json()["choices"][0]
    text, recorded = choice["text"], want[0]["text"]
    at = next((i for i, (a, b) in enumerate(zip(text, recorded)) if a != b), None)
    if at is None:
        return None
    offsets = choice["logprobs"]["text_offset"]
    token = max(i for i, offset in enumerate(offsets) if offset <= at)
    top = sorted(choice["logprobs"]["top_logprobs"][token].values(), reverse=True)
    gap = top[0] - top[1]
    if gap > TOLERANCE:
        return None
    return "after %r, gap %.5f" % (text[max(0, at - 30):at], gap)


class Replay:
    def __init__(self, target, cases, differences):
        self.target = target
        self.cases = {c["case"]: c for c in cases}
        self.differences = differences

    def run(self, case):
        """(verdict, lines): passed, failed, skipped or tie."""
        got = self.target.ask(case)
        if case["path"].startswith(LATER):
            return self.later(case, got)
        problems = compare_recorded(case, got)
        entry = self.differences.get(case["case"])
        if entry is not None:
            if not problems:
                return "failed", ["stale entry in wire_differences.json: the answer is equal "
                                  "to the recorded one"]
            problems = compare_expected(entry["expect"], case, got, self.cases)
        if not problems:
            return "passed", []
        if got.status == case["status"] == 200 and entry is None:
            tie = near_tie(self.target, case)
            if tie is not None:
                return "tie", [tie]
        return "failed", problems

    def later(self, case, got):
        problems = compare_expected(
            {"status": 404, "error": {"type": "NotFoundError", "param": None}}, case, got, {})
        if problems:
            return "failed", ["a route that llmd does not have must be 404 in OpenAI's envelope "
                              "(if it has it now: take it from LATER)"] + problems
        return "skipped", []


def read_cases(path):
    with open(path, encoding="utf-8") as f:
        return [json.loads(line) for line in f if line.strip()]


def read_differences():
    path = os.path.join(llmd.HERE, "wire_differences.json")
    with open(path, encoding="utf-8") as f:
        table = llmd.loads(f.read())
    for name, entry in table["cases"].items():
        if entry["reason"] in table["reasons"]:
            entry["reason"] = table["reasons"][entry["reason"]]
    return table["cases"]


def report(results, verbose):
    for name, (verdict, lines) in results.items():
        if verdict == "failed":
            print("FAILED %s" % name)
            for line in lines[:12]:
                print("    " + line)
            if len(lines) > 12:
                print("    and %d more" % (len(lines) - 12))
        elif verdict == "tie":
            print("NEAR TIE %s: %s" % (name, lines[0]))
        elif verbose:
            print("%s %s" % (verdict, name))


def replay(target, cases, differences, workers):
    job = Replay(target, cases, differences)
    results = {}

    def one(case):
        try:
            return job.run(case)
        except (OSError, http.client.HTTPException) as error:
            return "failed", ["no answer: %s: %s" % (type(error).__name__, error)]
    # what shows the server's state (/load) is asked while nothing else runs
    quiet = [c for c in cases if c["method"] != "POST"]
    busy = sorted((c for c in cases if c["method"] == "POST"), key=lambda c: -work(c))
    for case in quiet:
        results[case["case"]] = one(case)
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        for case, result in zip(busy, pool.map(one, busy)):
            results[case["case"]] = result
    return {c["case"]: results[c["case"]] for c in cases}


def work(case):
    """Rough length of a case, so that long ones start first."""
    fields = fields_of(case)
    tokens = fields.get("max_tokens")
    return (len(body_bytes(case) or b"") / 20 if case["status"] == 200 else 0) + (
        tokens if isinstance(tokens, int) and case["status"] == 200 else 0)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="?", metavar="CASES.jsonl")
    parser.add_argument("--only", metavar="PATTERN", default="*", help="cases by name")
    parser.add_argument("--url", help="a running server instead of a new one")
    parser.add_argument("--workers", type=int, default=8, help="requests at once")
    parser.add_argument("--verbose", action="store_true")
    args = parser.parse_args()
    if args.cases is None or not os.path.exists(args.cases):
        print("replay_wire: no recorded cases: %s" % (args.cases or "give CASES.jsonl"))
        return 77
    all_cases = read_cases(args.cases)
    cases = [c for c in all_cases if fnmatch.fnmatch(c["case"], args.only)]
    differences = read_differences()
    unknown = sorted(set(differences) - {c["case"] for c in all_cases})
    server = None
    if args.url is None:
        if not os.path.isdir(llmd.SMOLLM2):
            print("replay_wire: no model in %s (tools/get-smollm2 makes it)" % llmd.SMOLLM2)
            return 77
        server = llmd.Llmd("--max-model-len", "2048", "--dtype", "float32",
                           model=llmd.SMOLLM2, served_name="smollm2", seconds=120)
    start = time.monotonic()
    target = Target(args.url or "http://127.0.0.1:%d" % server.port)
    try:
        results = replay(target, cases, differences, args.workers)
    finally:
        trouble = None
        if server is not None:
            try:
                server.stop()
            except AssertionError as error:
                trouble = str(error)
    report(results, args.verbose)
    for name in unknown:
        print("FAILED wire_differences.json names a case that was not recorded: %s" % name)
    if trouble:
        print("FAILED the server: %s" % trouble)
    count = {v: sum(1 for r, _ in results.values() if r == v)
             for v in ("passed", "failed", "skipped", "tie")}
    failed = count["failed"] + len(unknown) + (trouble is not None)
    print("%d passed, %d failed, %d skipped (routes llmd does not have), %d near ties, "
          "%d deliberate differences, %.0f s" % (
              count["passed"], failed, count["skipped"], count["tie"],
              sum(1 for c in cases if c["case"] in differences), time.monotonic() - start))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
