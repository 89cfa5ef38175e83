# SPDX-License-Identifier: Apache-2.0
"""What the black-box tests share: a running llmd, HTTP, SSE and metrics.

Environment:
  LLMD_BIN          the program (default ./llmd)
  LLMD_DEMO_DIR     the bundled model (default: share/demo of this tree)
  LLMD_SMOLLM2_DIR  SmolLM2-135M-Instruct (default ~/.cache/llmd/SmolLM2-135M-Instruct)
  LLMD_TEST_SLOW    factor on every time limit, for valgrind and sanitizers (default 1)
"""

import contextlib
import http.client
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
BIN = os.environ.get("LLMD_BIN", "./llmd")
DEMO = os.environ.get("LLMD_DEMO_DIR", os.path.join(TOP, "share", "demo"))
SMOLLM2 = os.environ.get("LLMD_SMOLLM2_DIR", os.path.expanduser(
    "~/.cache/llmd/SmolLM2-135M-Instruct"))
SLOW = float(os.environ.get("LLMD_TEST_SLOW", "1"))

SANITIZER = re.compile(r"(ERROR: (Address|Leak|Memory)Sanitizer|WARNING: ThreadSanitizer|"
                       r"SUMMARY: \w+Sanitizer|: runtime error: |Assertion .* failed)")


def have_binary():
    return shutil.which(BIN) is not None


def limit(seconds):
    return seconds * SLOW


def free_port():
    """A port that was free a moment ago, below the range of outgoing ones."""
    for _ in range(200):
        port = random.randrange(15000, 32000)
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError("no free port")


def wait_for(what, predicate, seconds=5, step=0.01):
    """Calls predicate until it is true and returns its value."""
    end = time.monotonic() + limit(seconds)
    while True:
        value = predicate()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError("not within %g s: %s" % (limit(seconds), what))
        time.sleep(step)


class DuplicateKey(ValueError):
    pass


def pairs(items):
    """object_pairs_hook: keeps the order, refuses a key that comes twice."""
    found = dict(items)
    if len(found) != len(items):
        raise DuplicateKey("a key comes twice: %r" % [k for k, _ in items])
    return found


def loads(data):
    return json.loads(data, object_pairs_hook=pairs)


class Answer:
    def __init__(self, status, headers, body):
        self.status = status
        self.headers = {}
        for name, value in headers:
            self.headers[name.lower()] = value
        self.body = body

    def json(self):
        try:
            return loads(self.body)
        except ValueError as error:
            raise AssertionError("not JSON (%s): %r" % (error, self.body[:500]))

    @property
    def text(self):
        return self.body.decode("utf-8")

    def __repr__(self):
        return "<%d %r>" % (self.status, self.body[:300])


def encode(body):
    if body is None or isinstance(body, bytes):
        return body
    if isinstance(body, str):
        return body.encode()
    return json.dumps(body).encode()


class Refused(AssertionError):
    """A stream was asked for, and another answer came."""

    def __init__(self, status, body, text):
        super().__init__(text)
        self.status = status
        self.body = body


class Stream:
    """One SSE answer. Iterating gives the payload of each event (text);
    comments are skipped. Strict: anything that is not `data: X` and a blank
    line is an AssertionError."""

    def __init__(self, connection, reply):
        self.connection = connection
        self.reply = reply
        self.status = reply.status
        self.headers = {k.lower(): v for k, v in reply.getheaders()}
        self.raw = b""          # the last few thousand bytes received
        self.done = False

    def lines(self):
        rest = b""
        while True:
            # read1 gives a chunk at a time; a body cut short is an IncompleteRead
            piece = self.reply.read1(65536)
            if not piece:
                if rest:
                    yield rest
                return
            self.raw = (self.raw + piece)[-4096:]
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                yield line + b"\n"

    def payloads(self):
        """Every payload up to the end of the body, [DONE] included."""
        pending = None
        for line in self.lines():
            assert line.endswith(b"\n") and not line.endswith(b"\r\n"), \
                "a line must end in a single LF: %r" % line
            line = line[:-1]
            if line.startswith(b":"):
                continue
            if line == b"":
                if pending is not None:
                    yield pending
                    pending = None
                continue
            assert line.startswith(b"data: "), "not a data line: %r" % line
            assert pending is None, "two data lines in one event"
            pending = line[6:].decode("utf-8")
        assert pending is None, "the last event has no blank line"

    def __iter__(self):
        for payload in self.payloads():
            assert not self.done, "an event after [DONE]: %r" % payload
            if payload == "[DONE]":
                self.done = True
            else:
                yield loads(payload)

    def events(self):
        """All events; asserts that [DONE] came."""
        found = list(self)
        assert self.done, "the stream ended without [DONE]: %r" % self.raw[-300:]
        return found

    def close(self):
        """Leaves at once, as a client that breaks out of its loop."""
        with contextlib.suppress(OSError):
            if self.connection.sock is not None:
                self.connection.sock.shutdown(socket.SHUT_RDWR)
        self.reply.close()
        self.connection.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Llmd:
    """A running server.

    Llmd("--max-num-seqs", "4") starts it with the demo model and waits until
    it is ready. stop() ends it and fails when the exit status is not 0 or a
    sanitizer had something to say; as a context manager it stops at the end.
    prefix: words before the command, of a program that becomes it (exec).
    """

    def __init__(self, *options, model=DEMO, wait=True, env=None, port=None, seconds=60,
                 served_name="m", argv=None, pass_fds=(), prefix=()):
        self.options = [str(o) for o in options]
        self.model = model
        self.env = env
        self.seconds = seconds
        self.served_name = served_name
        self.argv = argv
        self.pass_fds = pass_fds
        self.prefix = list(prefix)
        self.fixed_port = port
        self.process = None
        self.last_log = ""
        self.start()
        if wait:
            self.wait_ready()

    # ------------------------------------------------------------- life

    def command(self):
        if self.argv is not None:
            return [a.replace("@PORT@", str(self.port)) for a in self.argv]
        command = [BIN, "--model", self.model, "--host", "127.0.0.1", "--port", str(self.port)]
        if self.served_name:
            command += ["--served-model-name", self.served_name]
        return command + self.options

    def start(self):
        self.port = self.fixed_port or free_port()
        self.folder = tempfile.TemporaryDirectory(prefix="llmd-test-")
        self.stderr_path = os.path.join(self.folder.name, "stderr")
        environment = dict(os.environ)
        environment.setdefault("ASAN_OPTIONS", "exitcode=99")
        environment.setdefault("TSAN_OPTIONS", "exitcode=99")
        environment.setdefault("UBSAN_OPTIONS", "print_stacktrace=1")
        for name in ("NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "WATCHDOG_USEC"):
            environment.pop(name, None)
        environment.update(self.env or {})
        with open(self.stderr_path, "wb") as out:
            self.process = subprocess.Popen(
                self.prefix + self.command(), stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                env=environment, pass_fds=self.pass_fds)
        self.started = time.monotonic()

    @property
    def log(self):
        if not os.path.exists(self.stderr_path):
            return self.last_log
        with open(self.stderr_path, "rb") as f:
            return f.read().decode("utf-8", "replace")

    @property
    def pid(self):
        return self.process.pid

    def wait_ready(self):
        end = time.monotonic() + limit(self.seconds)
        while True:
            if self.process.poll() is not None:
                raise AssertionError("%s exited with %d before it was ready:\n%s" % (
                    self.command()[0], self.process.returncode, self.log[-3000:]))
            try:
                if self.get("/health", timeout=5).status == 200:
                    return
            except (OSError, http.client.HTTPException):
                pass
            if time.monotonic() > end:
                self.kill()
                raise AssertionError("not ready after %g s:\n%s" % (
                    limit(self.seconds), self.log[-3000:]))
            time.sleep(0.01)

    def signal(self, number):
        os.kill(self.process.pid, number)

    def wait(self, seconds=30):
        """The exit status; kills and fails when it takes longer."""
        try:
            return self.process.wait(limit(seconds))
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError("still running after %g s:\n%s" % (
                limit(seconds), self.log[-3000:])) from None

    def kill(self):
        """Ends it in any case; harmless when it has ended."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        if os.path.exists(self.stderr_path):
            with open(self.stderr_path, "rb") as f:
                self.last_log = f.read().decode("utf-8", "replace")
        self.folder.cleanup()

    def check_log(self):
        log = self.log
        found = SANITIZER.search(log)
        if found:
            raise AssertionError("a sanitizer or an assertion reported:\n%s" %
                                 log[max(0, found.start() - 200):found.start() + 6000])

    def stop(self, seconds=30):
        status = self.process.poll()
        if status is None:
            self.signal(signal.SIGTERM)
            status = self.wait(seconds)
        self.kill()
        self.check_log()
        if status != 0:
            raise AssertionError("exit status %d:\n%s" % (status, self.log[-3000:]))

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if kind is None:
            self.stop()
        else:
            self.kill()
            self.check_log()

    # ------------------------------------------------------------- HTTP

    def connect(self, timeout=30):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=limit(timeout))

    def request(self, method, path, body=None, headers=None, timeout=30, connection=None):
        """One request and its whole answer."""
        own = connection is None
        if own:
            connection = self.connect(timeout)
        try:
            data = encode(body)
            fields = {}
            if data is not None:
                fields["Content-Type"] = "application/json"
            fields.update(headers or {})
            connection.request(method, path, data, fields)
            reply = connection.getresponse()
            return Answer(reply.status, reply.getheaders(), reply.read())
        finally:
            if own:
                connection.close()

    def get(self, path, **kwargs):
        return self.request("GET", path, **kwargs)

    def post(self, path, body, **kwargs):
        return self.request("POST", path, body, **kwargs)

    def complete(self, prompt="Once upon a time", **fields):
        """POST /v1/completions that must succeed; the parsed answer."""
        body = {"model": self.served_name, "prompt": prompt}
        timeout = fields.pop("timeout", 60)
        body.update(fields)
        answer = self.post("/v1/completions", body, timeout=timeout)
        if answer.status != 200:
            raise AssertionError("%r answered %r" % (body, answer))
        return answer.json()

    def stream(self, prompt="Once upon a time", headers=None, timeout=60, path="/v1/completions",
               **fields):
        body = {"model": self.served_name, "prompt": prompt, "stream": True}
        body.update(fields)
        connection = self.connect(timeout)
        send = {"Content-Type": "application/json"}
        send.update(headers or {})
        connection.request("POST", path, encode(body), send)
        reply = connection.getresponse()
        if reply.status != 200:
            text = reply.read()
            connection.close()
            raise Refused(reply.status, text, "%r answered %d %r" % (body, reply.status, text[:500]))
        return Stream(connection, reply)

    def socket(self, timeout=10):
        return socket.create_connection(("127.0.0.1", self.port), timeout=limit(timeout))

    def raw(self, data, timeout=10, half_close=False):
        """Sends bytes and returns all that comes back until the server closes
        or nothing more arrives."""
        with self.socket(timeout) as s:
            s.sendall(data)
            if half_close:
                s.shutdown(socket.SHUT_WR)
            found = b""
            try:
                while True:
                    piece = s.recv(65536)
                    if not piece:
                        return found
                    found += piece
            except (TimeoutError, ConnectionResetError):
                return found

    # ---------------------------------------------------------- metrics

    def metrics(self):
        answer = self.get("/metrics")
        assert answer.status == 200, answer
        return parse_metrics(answer.text)

    def metric(self, name, **labels):
        """Sum of the samples of that name with these labels."""
        found = [value for have, value in self.metrics().get(name, [])
                 if all(have.get(k) == v for k, v in labels.items())]
        assert found, "no metric %s %r" % (name, labels or "")
        return sum(found)

    def gauges(self):
        """(running, waiting, share of KV blocks in use)"""
        samples = self.metrics()
        return tuple(sum(v for _, v in samples[name]) for name in (
            "vllm:num_requests_running", "vllm:num_requests_waiting",
            "vllm:kv_cache_usage_perc"))

    def wait_idle(self, seconds=5):
        """Until nothing runs, waits or holds KV blocks, and no answer is owed."""
        last = [None]

        def idle():
            last[0] = self.gauges() + (self.get("/load").json()["server_load"],)
            return last[0] == (0, 0, 0, 0)
        try:
            wait_for("idle", idle, seconds)
        except AssertionError:
            raise AssertionError("not idle after %g s: running, waiting, KV use, load = %r" % (
                limit(seconds), last[0])) from None

    def rss(self):
        """Resident bytes."""
        with open("/proc/%d/statm" % self.pid) as f:
            return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def fds(self):
        return len(os.listdir("/proc/%d/fd" % self.pid))


SAMPLE = re.compile(r"^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)(?: \d+)?$")
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"(?:,|$)')


def parse_metrics(text):
    """{name: [(labels, value)]} of the Prometheus text format."""
    found = {}
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        match = SAMPLE.match(line)
        assert match, "not a metrics line: %r" % line
        name, labels, value = match.groups()
        found.setdefault(name, []).append((dict(LABEL.findall(labels or "")), float(value)))
    return found


def run(*arguments, seconds=20, env=None):
    """Runs the program to its end: (status, stdout, stderr)."""
    environment = dict(os.environ)
    environment.setdefault("ASAN_OPTIONS", "exitcode=99")
    environment.update(env or {})
    done = subprocess.run([BIN] + [str(a) for a in arguments], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment,
                          timeout=limit(seconds))
    err = done.stderr.decode("utf-8", "replace")
    found = SANITIZER.search(err)
    if found:
        raise AssertionError("a sanitizer reported:\n%s" % err[-6000:])
    return done.returncode, done.stdout.decode("utf-8", "replace"), err
