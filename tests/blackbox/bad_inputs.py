#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Everything a client can get wrong, and what llmd must answer.

usage: bad_inputs.py [GROUP...] [--verbose]

Tables of requests with the status expected, the field an error must name, and
one second of time each. After each group /health and a good request must work,
and at the end nothing may run, wait or hold KV blocks. A 5xx is never right.
"""

import argparse
import concurrent.futures
import json
import math
import re
import sys
import time

import llmd

CONTEXT = 2048
VOCAB = 1536
MAX_LOGPROBS = 20
MAX_N = 128
ANY = object()   # whatever field the error names

GOOD = {"model": "m", "prompt": "Once upon a time", "max_tokens": 2, "temperature": 0}


class Case:
    """One POST to /v1/completions. `body` is a dict (put over GOOD), bytes (sent
    as they stand) or a str (JSON text)."""

    def __init__(self, name, body, status, param=None, headers=None, path="/v1/completions",
                 seconds=1.0):
        self.name, self.status, self.param = name, status, param
        self.headers, self.path, self.seconds = headers or {}, path, seconds
        if isinstance(body, dict):
            merged = dict(GOOD, **body) if path == "/v1/completions" else body
            body = json.dumps(merged).encode()
        self.body = body.encode() if isinstance(body, str) else body


def good_with(field, raw):
    """GOOD as JSON text with one field's value spelled as given."""
    fields = {k: json.dumps(v) for k, v in GOOD.items()}
    fields[field] = raw
    if field == "n":
        fields["temperature"] = "1"
    if field == "min_tokens":
        fields["max_tokens"] = "8"
    return "{%s}" % ",".join('"%s":%s' % item for item in fields.items())


# --------------------------------------------------------------------- groups

def json_cases():
    deep = b'{"x":' + b"[" * 33 + b"]" * 33 + b"}"
    good = json.dumps(GOOD)
    inside = good[:-1]
    yield Case("depth 33", deep, 400)
    yield Case("depth 2049", b"[" * 2049 + b"]" * 2049, 400)
    yield Case("depth 1000000", b"[" * 1000000, 400)
    yield Case("depth 20 in an unknown field", inside + ',"x":' + "[" * 20 + "]" * 20 + "}", 200)
    yield Case("4 MB of objects", b'{"x":[' + b"{}," * ((4 << 20) // 3) + b"{}]}", 400)
    yield Case("4 MB of zeros", b'{"x":[' + b"0," * (2 << 20) + b"0]}", 400)
    yield Case("1000000 keys", b"{" + b",".join(b'"k%d":1' % i for i in range(1000000)) + b"}",
               400, seconds=3)
    yield Case("keys twice, the last counts", inside + ',"max_tokens":3}', 200)
    yield Case("unknown fields", inside + ',"foo":{"bar":[1,null]},"\\u00e9":1}', 200)
    yield Case("NUL in the prompt", {"prompt": "a\0b"}, 200)
    yield Case("NUL in a key", inside + ',"a\\u0000b":1}', 400)
    yield Case("lone high surrogate", inside + ',"prompt":"a\\ud800b"}', 400)
    yield Case("lone low surrogate", inside + ',"prompt":"a\\udc00"}', 400)
    yield Case("reversed surrogates", inside + ',"prompt":"\\udc00\\ud800"}', 400)
    for name, junk in (("stray continuation", b"\x80"), ("overlong", b"\xc0\xaf"),
                       ("surrogate", b"\xed\xa0\x80"), ("too high", b"\xf4\x90\x80\x80"),
                       ("cut short", b"\xe6\x97"), ("0xff", b"\xff")):
        yield Case("bad UTF-8: " + name, b'{"model":"m","prompt":"a' + junk + b'"}', 400)
    yield Case("BOM", b"\xef\xbb\xbf" + good.encode(), 200)
    yield Case("UTF-16", good.encode("utf-16"), 400)
    for name, text in (("trailing bytes", good + "x"), ("two objects", good + good),
                       ("empty", ""), ("blank", " \n"), ("cut short", good[:-4]),
                       ("number", "5"), ("string", '"a"'), ("null", "null"), ("array", "[]"),
                       ("comment", good[:-1] + "/* */}"), ("single quotes", "{'prompt':'a'}"),
                       ("NaN", inside + ',"x":NaN}'), ("comma at the end", inside + ",}"),
                       ("bare control byte", '{"prompt":"a\nb"}'), ("form", "prompt=a&n=1")):
        yield Case(name, text, 400)
    yield Case("trailing blanks", good + " \r\n\t ", 200)
    for field in FIELDS_AND_WRONG:
        for wrong in FIELDS_AND_WRONG[field]:
            yield Case("%s is %s" % (field, json.dumps(wrong)), {field: wrong}, 400, field)
    for field in list(FIELDS_AND_WRONG) + ["n", "best_of", "user"]:
        if field != "prompt":
            yield Case("%s is null" % field, {field: None}, 200)


# values of a wrong type; those that vLLM converts ("5", true, 1.0) are not wrong
FIELDS_AND_WRONG = {
    "model": (5, [], {}, True),
    "prompt": (5, {}, True, 1.5),
    "max_tokens": ("x", [], {}, ""),
    "temperature": ("x", [], {}, ""),
    "top_p": ("x", [], {}),
    "top_k": ("x", [], {}),
    "min_p": ("x", [], {}),
    "stream": ("maybe", 2, [], {}),
    "echo": ("maybe", 2, [], {}),
    "ignore_eos": ("maybe", 2, [], {}),
    "logprobs": ("x", [], {}),
    "prompt_logprobs": ("x", [], {}),
    "stop": (5, [5], [None], {}, True),
    "stop_token_ids": (5, "x", ["x"], {}, [[1]]),
    "allowed_token_ids": (5, "x", ["x"], {}),
    "logit_bias": (5, "x", [1], True),
    "seed": ("x", [], {}),
    "presence_penalty": ("x", [], {}),
    "frequency_penalty": ("x", [], {}),
    "repetition_penalty": ("x", [], {}),
    "min_tokens": ("x", [], {}),
    "stream_options": (5, "x", [], True),
    "truncate_prompt_tokens": ("x", [], {}),
    "skip_special_tokens": ("maybe", [], {}),
    "return_token_ids": ("maybe", [], {}),
    "request_id": (5, [], {}),
}

# name: (is integer, lowest, highest, lowest itself is out)
NUMBERS = {
    "max_tokens": (True, 1, CONTEXT, False),
    "min_tokens": (True, 0, 8, False),
    "n": (True, 1, MAX_N, False),
    "logprobs": (True, 0, MAX_LOGPROBS, False),
    "prompt_logprobs": (True, 0, MAX_LOGPROBS, False),
    "top_k": (True, -1, (1 << 63) - 1, False),
    "seed": (True, -(1 << 63), (1 << 63) - 1, False),
    "temperature": (False, 0, 2, False),
    "top_p": (False, 0, 1, True),
    "min_p": (False, 0, 1, False),
    "repetition_penalty": (False, 0, 1e6, True),
    "presence_penalty": (False, -2, 2, False),
    "frequency_penalty": (False, -2, 2, False),
}

SPELLINGS = ("NaN", "Infinity", "-Infinity", "1e400", "-1e400", "-0", "-0.0", "-1", "0", "1",
             "1e-400", "1e308", "-1e308", "2147483648", "4294967297", "9007199254740993",
             "9223372036854775807", "9223372036854775808", "-9223372036854775808",
             "-9223372036854775809", "1e23", "1.5", "0.5", "true", "false", "\"1\"", "\"1.5\"",
             "\"nan\"", "\"inf\"", "\"\"", "\"0x1\"", "\"1 \\u0000\"", "01", "+1", ".5", "1.")


def number_cases():
    for field, (whole, low, high, open_low) in NUMBERS.items():
        for spelling in SPELLINGS:
            yield number_case(field, spelling, whole, low, high, open_low)


def number_case(field, spelling, whole, low, high, open_low):
    name = "%s: %s" % (field, spelling)
    text = good_with(field, spelling)
    try:
        value = json.loads(spelling, parse_constant=lambda c: math.nan)
    except ValueError:
        return Case(name, text, 400, ANY)
    if isinstance(value, str):
        try:
            value = float(value) if not whole else int(value)
        except ValueError:
            return Case(name, text, 400, field)
    if isinstance(value, float) and not math.isfinite(value):
        return Case(name, text, 400, ANY)
    beyond = isinstance(value, int) and not -(1 << 63) <= value < 1 << 63
    if whole and isinstance(value, float) and value != math.floor(value):
        return Case(name, text, 400, field)
    inside = low <= value <= high and not (open_low and value == low)
    return Case(name, text, 200 if inside else 400,
                None if inside else ANY if beyond else field)


def sampling_cases():
    many = {str(i): 1 for i in range(1025)}
    for name, value in (("1025 entries", many), ("key x", {"x": 1}), ("key -1", {"-1": 1}),
                        ("key beyond the vocabulary", {str(VOCAB): 1}), ("key 1.5", {"1.5": 1}),
                        ("key of 20 digits", {"9" * 20: 1}), ("empty key", {"": 1}),
                        ("value x", {"1": "x"}), ("value []", {"1": []}),
                        ("value null", {"1": None})):
        yield Case("logit_bias: " + name, {"logit_bias": value}, 400, "logit_bias")
    yield Case("logit_bias: 1e400", '{"prompt":"a","logit_bias":{"1":1e400}}', 400, ANY)
    yield Case("logit_bias: 300 entries", {"logit_bias": {str(i): 1 for i in range(300)}}, 200)
    yield Case("logit_bias: value 1000 is clamped", {"logit_bias": {"5": 1000}}, 200)
    yield Case("logit_bias: {}", {"logit_bias": {}}, 200)
    for name, value in (("empty string", ""), ("empty string in a list", ["a", ""]),
                        ("10000 bytes", "a" * 10000), ("1000 strings", ["a"] * 1000)):
        yield Case("stop: " + name, {"stop": value}, 400, "stop")
    yield Case("stop: []", {"stop": []}, 200)
    yield Case("stop: 4 strings", {"stop": ["a", "bb", "\u00e9", "\U0001f600"]}, 200)
    yield Case("stop: NUL", {"stop": "\0"}, 200)
    for field in ("stop_token_ids", "allowed_token_ids"):
        for value in ([-1], [VOCAB], [1 << 31], [1 << 40], [1.5], [5, "x"]):
            yield Case("%s: %s" % (field, value), {field: value}, 400, field)
        yield Case("%s: 2^63" % field, '{"prompt":"a","%s":[9223372036854775808]}' % field,
                   400, ANY)
    yield Case("allowed_token_ids: []", {"allowed_token_ids": []}, 400, "allowed_token_ids")
    yield Case("stop_token_ids: 100000", {"stop_token_ids": [5] * 100000}, 400, "stop_token_ids")
    yield Case("stop_token_ids: []", {"stop_token_ids": []}, 200)
    yield Case("min_tokens above max_tokens", {"min_tokens": 3}, 400, "min_tokens")
    yield Case("min_tokens without max_tokens", {"max_tokens": None, "min_tokens": 17}, 400,
               "min_tokens")
    yield Case("n above 1 at temperature 0", {"n": 2}, 400, "n")
    yield Case("n 129", {"n": 129, "temperature": 1}, 400, "n")
    yield Case("n 1000000", {"n": 1000000, "temperature": 1}, 400, "n")
    yield Case("logprobs 21", {"logprobs": 21}, 400, "logprobs")
    yield Case("logprobs -2", {"logprobs": -2}, 400, "logprobs")
    yield Case("prompt_logprobs 21", {"prompt_logprobs": 21}, 400, "prompt_logprobs")
    yield Case("prompt_logprobs and stream", {"prompt_logprobs": 1, "stream": True}, 400,
               "prompt_logprobs")
    yield Case("stream_options without stream", {"stream_options": {"include_usage": True}}, 400,
               "stream_options")
    yield Case("include_usage maybe", {"stream": True, "stream_options": {
        "include_usage": "maybe"}}, 400, "stream_options.include_usage")
    yield Case("stream_options {}", {"stream": True, "stream_options": {}}, 200)
    yield Case("max_tokens 0", {"max_tokens": 0}, 400, "max_tokens")
    yield Case("max_tokens 0 with echo", {"max_tokens": 0, "echo": True}, 200)
    yield Case("top_k -2", {"top_k": -2}, 400, "top_k")
    yield Case("top_k beyond the vocabulary", {"top_k": 1000000, "temperature": 1}, 200)
    yield Case("truncate_prompt_tokens -2", {"truncate_prompt_tokens": -2}, 400,
               "truncate_prompt_tokens")
    yield Case("truncate_prompt_tokens beyond the context", {
        "truncate_prompt_tokens": CONTEXT + 1}, 400, "truncate_prompt_tokens")
    yield Case("suffix", {"suffix": "!"}, 400, "suffix")
    yield Case("prompt_embeds", {"prompt_embeds": "AAAA"}, 400, "prompt_embeds")
    yield Case("best_of is ignored", {"best_of": 2}, 200)
    yield Case("response_format text", {"response_format": {"type": "text"}}, 200)
    yield Case("response_format {}", {"response_format": {}}, 400, "response_format")
    yield Case("request_id of 129", {"request_id": "a" * 129}, 400, "request_id")
    yield Case("request_id with a line end", {"request_id": "a\nb"}, 400, "request_id")
    for name, status in (("other", 404), ("../../etc/passwd", 404), ("m\0", (400, 404)),
                         ("a" * 300, (400, 404)), ("<script>\"\u20ac", 404)):
        yield Case("model %r" % name[:20], {"model": name}, status, "model")
    yield Case("model ''", {"model": ""}, 200)
    yield Case("all penalties at their ends", {
        "presence_penalty": 2, "frequency_penalty": -2, "repetition_penalty": 0.01,
        "temperature": 2, "top_p": 1e-300, "min_p": 1, "top_k": 1, "max_tokens": 30}, 200)
    yield Case("temperature of the smallest double", {"temperature": 5e-324}, 200)


def prompt_cases():
    for name, value in (("''", ""), ("[]", []), ("[[]]", [[]]), ("['']", [""]), ("null", None)):
        yield Case("prompt " + name, {"prompt": value}, 400, "prompt")
    yield Case("prompt missing", '{"model":"m","max_tokens":1}', 400, "prompt")
    for value in (["a", 5], [5, "a"], [[1], "a"], [[1], 1], [1, [1]], [[[1]]], [1.5], ["a", None],
                  [True], [{}], [["a"]], [-1], [VOCAB], [1 << 31], [1 << 40], [[1], [-1]]):
        yield Case("prompt %s" % json.dumps(value), {"prompt": value}, 400, "prompt")
    yield Case("prompt [2^63]", '{"prompt":[9223372036854775808]}', 400, ANY)
    yield Case("100000 prompts", {"prompt": ["a"] * 100000}, 400, "prompt")
    yield Case("401 prompts of ids", {"prompt": [[1]] * 401}, 400, "prompt")
    yield Case("exactly the context", {"prompt": [5] * CONTEXT, "max_tokens": 1}, 400, ANY)
    yield Case("one less", {"prompt": [5] * (CONTEXT - 1), "max_tokens": 1}, 200, seconds=5)
    yield Case("a million ids", {"prompt": [5] * 500000}, 400, ANY)
    yield Case("the last id", {"prompt": [VOCAB - 1]}, 200)
    long = 1 << 20
    for name, text in (("one character", "a" * long), ("spaces", " " * long),
                       ("newlines", "\n" * long), ("words", "the sea " * (long // 8)),
                       ("control bytes", "\x01" * long), ("emoji", "\U0001f600" * (long // 4)),
                       ("combining marks", "e" + "\u0301" * (long // 2)),
                       ("digits", "7" * long), ("special tokens", "<|im_end|>" * (long // 10)),
                       ("almost a special token", "<|im_end" * (long // 8))):
        yield Case("1 MB of " + name, {"prompt": text}, 400, "input_tokens", seconds=3)
    for name, text in (("one character", "a" * 20000), ("spaces", " " * 20000),
                       ("quadratic merges", "ab" * 10000)):
        yield Case("20000 of %s, cut to 8 tokens" % name,
                   {"prompt": text, "truncate_prompt_tokens": 8}, 200, seconds=3)
    for text in ("\0", "\u2028", "<|im_start|>system\n", "\ufeff", "\ufffd", "\U0010ffff", " "):
        yield Case("prompt %r" % text, {"prompt": text}, 200)


def route_cases():
    yield Case("tokenize: missing", {"model": "m"}, 400, path="/tokenize", param=ANY)
    yield Case("tokenize: number", {"prompt": 5}, 400, path="/tokenize", param="prompt")
    yield Case("tokenize: 1 MB", {"prompt": "the sea " * (1 << 17)}, 200, path="/tokenize",
               seconds=5)
    yield Case("tokenize: other model", {"model": "x", "prompt": "a"}, 404, path="/tokenize",
               param="model")
    yield Case("detokenize: negative", {"tokens": [-1]}, 400, path="/detokenize", param="tokens")
    yield Case("detokenize: text", {"tokens": "a"}, 400, path="/detokenize", param="tokens")
    yield Case("detokenize: 2^63", '{"tokens":[9223372036854775808]}', 400, path="/detokenize",
               param=ANY)
    yield Case("detokenize: not JSON", "{", 400, path="/detokenize", param=ANY)
    yield Case("text/plain", {}, 400, headers={"Content-Type": "text/plain"})
    yield Case("a form", {}, 400, headers={"Content-Type": "application/x-www-form-urlencoded"})
    yield Case("application/jsonx", {}, 400, headers={"Content-Type": "application/jsonx"})
    yield Case("with charset", {}, 200, headers={"Content-Type": "application/json;charset=utf-8"})
    yield Case("in capitals", {}, 200, headers={"Content-Type": "Application/JSON"})
    yield Case("gzip that is none", b"\x1f\x8b\x08\0\0", 400, param=ANY,
               headers={"Content-Encoding": "gzip"})
    for path in ("/", "/v1", "/v1/completionsx", "/v1/chat/completions", "/admin", "/v1/../health",
                 "/%2e%2e/etc/passwd", "//v1/completions"):
        yield Case("POST " + path, {}, 404, path=path, param=ANY)


# --------------------------------------------------------- groups of raw bytes

def http_cases():
    """(name, bytes, statuses); None: closed without an answer."""
    host = b"Host: a\r\n"

    def get(extra=b"", target=b"/health", method=b"GET", version=b"HTTP/1.1", end=b"\r\n"):
        return method + b" " + target + b" " + version + b"\r\n" + host + extra + end

    def post(length_lines, body=b'{"prompt":"a"}'):
        return (b"POST /v1/completions HTTP/1.1\r\n" + host +
                b"Content-Type: application/json\r\n" + length_lines + b"\r\n" + body)
    yield "no Host", b"GET /health HTTP/1.1\r\n\r\n", (400,)
    yield "two Hosts", get(b"Host: b\r\n"), (400,)
    for value in (b"-1", b"+7", b"7, 7", b"99999999999999999999999", b"", b"0x7", b"1 4", b"a"):
        yield "Content-Length %r" % value, post(b"Content-Length: " + value + b"\r\n"), (400, 413)
    yield "Content-Length twice", post(b"Content-Length: 14\r\nContent-Length: 15\r\n"), (400,)
    yield "Content-Length and chunked", post(
        b"Content-Length: 14\r\nTransfer-Encoding: chunked\r\n"), (400, 411)
    for value in (b"chunked", b"gzip", b"identity", b"chunked, gzip", b"\x0bchunked", b"xchunked"):
        yield "Transfer-Encoding %r" % value, post(
            b"Transfer-Encoding: " + value + b"\r\n", b"0\r\n\r\n"), (400, 411, 501)
    yield "blank before the colon", post(b"Transfer-Encoding : chunked\r\n"), (400, 411)
    yield "header of 40 KB", get(b"X: " + b"a" * 40000 + b"\r\n"), (431, 413, None)
    yield "2000 headers", get(b"".join(b"X%d: a\r\n" % i for i in range(2000))), (431, 413, None)
    yield "URL of 40 KB", get(target=b"/" + b"a" * 40000), (414, 431, None)
    # libmicrohttpd 0.9.75 ends the value at the NUL, and joins the lines of a folded
    # header, before its user sees them
    yield "NUL in a header", get(b"X: a\0b\r\n"), (200, 400, None)
    yield "folded header", get(b"X: a\r\n b\r\n"), (200, 400)
    yield "bare CR in a header", get(b"X: a\rb\r\n"), (400, None)
    yield "blank in a header name", get(b"X y: a\r\n"), (400,)
    yield "no colon", get(b"Xyz\r\n"), (400, None)
    yield "method of junk", get(method=b"G<T"), (400, 405, None)
    yield "long method", get(method=b"A" * 1000), (400, 405, 414, 431, None)
    yield "unknown method", get(method=b"BREW"), (405, 501)
    yield "CONNECT", get(method=b"CONNECT", target=b"a:80"), (400, 404, 405, 501)
    yield "TRACE", get(method=b"TRACE"), (405, 501)
    yield "%00 in the path", get(target=b"/health%00x"), (400,)
    yield "byte above ASCII in the path", get(target=b"/h\xe9"), (400,)
    yield "no slash", get(target=b"health"), (400, 404)
    yield "absolute form", get(target=b"http://a/health"), (200, 400)
    yield "HTTP/1.2", get(version=b"HTTP/1.2"), (200, 400, 505, None)
    yield "HTTP/9.9", get(version=b"HTTP/9.9"), (400, 505, None)
    yield "HTTP/0.9", b"GET /health\r\n\r\n", (200, 400, 505, None)
    yield "HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", (400, 404, 405, 505, None)
    yield "TLS hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 64, (400, None)
    yield "zeros", b"\0" * 1000, (400, None)
    yield "line ends alone", b"\r\n" * 50, (400, None)
    yield "8 KB without a line end", b"A" * 8192, (400, 414, 431, None)


class Runner:
    def __init__(self, server, verbose):
        self.server, self.verbose = server, verbose
        self.passed, self.failures = 0, []
        self.twice = 0

    def verdict(self, group, name, problem):
        if problem is None:
            self.passed += 1
            if self.verbose:
                print("passed %s: %s" % (group, name))
        else:
            self.failures.append("%s: %s: %s" % (group, name, problem))

    def check(self, case):
        headers = dict(case.headers)
        headers.setdefault("Content-Type", "application/json")
        start = time.monotonic()
        try:
            answer = self.server.post(case.path, case.body, headers=headers, timeout=20)
        except (OSError, ValueError) as error:
            return "no answer: %s: %s" % (type(error).__name__, error)
        except Exception as error:  # http.client's own
            return "no HTTP answer: %s: %s" % (type(error).__name__, error)
        seconds = time.monotonic() - start
        allowed = case.status if isinstance(case.status, tuple) else (case.status,)
        if answer.status not in allowed:
            return "status %d, not %s: %r" % (answer.status, case.status, answer.body[:200])
        if seconds > llmd.limit(case.seconds) * 4:
            return "took %.1f s" % seconds
        return self.check_error(case, answer) if answer.status >= 400 else None

    def check_error(self, case, answer):
        try:
            error = answer.json()["error"]
        except (AssertionError, KeyError, TypeError):
            return "not OpenAI's error envelope: %r" % answer.body[:200]
        if list(error) != ["message", "type", "param", "code"]:
            return "keys of the error: %s" % list(error)
        if not isinstance(error["message"], str) or not error["message"]:
            return "no message"
        if isinstance(error["code"], int) and error["code"] != answer.status:
            return "code %s with status %d" % (error["code"], answer.status)
        if case.param in (None, ANY):
            return None
        named = re.sub(r"^body\.", "", error["param"] or "")
        if named != case.param and not named.startswith(case.param + "."):
            return "param is %r, not %r (%s)" % (error["param"], case.param, error["message"])
        if case.param.split(".")[0] not in error["message"] and case.param != "input_tokens":
            return "the message does not name %s: %r" % (case.param, error["message"])
        return None

    def check_raw(self, data, statuses):
        found = self.server.raw(data, timeout=5, half_close=False)
        if not found:
            return None if None in statuses else "closed without an answer"
        match = re.match(rb"HTTP/1\.[01] (\d{3}) ", found)
        if not match:
            return "not an HTTP answer: %r" % found[:100]
        if int(match.group(1)) not in statuses:
            return "status %s, not %s" % (match.group(1).decode(), statuses)
        answers = re.findall(rb"HTTP/1\.[01] (\d{3}) ", found)
        if len(answers) == 1:
            return None
        # libmicrohttpd 0.9.75 refuses a malformed Content-Length twice, and closes
        if b"Content-Length: " in data and answers[1:] == answers[:1]:
            self.twice += 1
            return None
        return "%d answers to one request" % len(answers)

    def still_well(self, group):
        try:
            health = self.server.get("/health").status
            good = self.server.complete(**{k: v for k, v in GOOD.items() if k != "model"})
            ok = health == 200 and good["usage"]["completion_tokens"] == 2
            self.verdict(group, "the server afterwards", None if ok else repr(good))
        except (AssertionError, OSError) as error:
            self.verdict(group, "the server afterwards", str(error))

    def group(self, name, cases):
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            if name == "http":
                cases = list(cases)
                results = pool.map(lambda c: self.check_raw(close_after(c[1]), c[2]), cases)
                for (what, _, _), problem in zip(cases, results):
                    self.verdict(name, what, problem)
            else:
                # tables are made lazily: some bodies are large
                window = []
                for case in cases:
                    window.append((case.name, pool.submit(self.check, case)))
                    if len(window) > 16:
                        what, future = window.pop(0)
                        self.verdict(name, what, future.result())
                for what, future in window:
                    self.verdict(name, what, future.result())
        self.still_well(name)


def close_after(data):
    """Asks for the connection to be closed where that is possible."""
    return data.replace(b"Host: a\r\n", b"Host: a\r\nConnection: close\r\n", 1)


GROUPS = {"json": json_cases, "numbers": number_cases, "sampling": sampling_cases,
          "prompt": prompt_cases, "routes": route_cases, "http": http_cases}


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=", ".join(GROUPS))
    parser.add_argument("--verbose", action="store_true")
    args = parser.parse_args()
    unknown = set(args.groups) - set(GROUPS)
    if unknown:
        parser.error("no group %s" % ", ".join(unknown))
    if not llmd.have_binary():
        print("bad_inputs: no program %s (set LLMD_BIN)" % llmd.BIN)
        return 77
    server = llmd.Llmd("--max-logprobs", MAX_LOGPROBS, "--head-timeout", "2", "--body-timeout",
                       "5", "--num-gpu-blocks-override", "2048")
    runner = Runner(server, args.verbose)
    start = time.monotonic()
    try:
        for name in args.groups or GROUPS:
            before = runner.passed + len(runner.failures)
            runner.group(name, GROUPS[name]())
            print("%s: %d cases" % (name, runner.passed + len(runner.failures) - before))
        server.wait_idle()
        server.stop()
    except AssertionError as error:
        runner.failures.append(str(error))
        server.kill()
    for failure in runner.failures:
        print("FAILED " + failure)
    if runner.twice:
        print("known hazard: a malformed Content-Length is refused twice before the "
              "connection closes: %d cases" % runner.twice)
    print("%d passed, %d failed, %.0f s" % (runner.passed, len(runner.failures),
                                            time.monotonic() - start))
    return 1 if runner.failures else 0


if __name__ == "__main__":
    sys.exit(main())
