#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""llmd as a service: command line, loading, signals, systemd, HTTP, overload,
metrics, and the promise that company does not change an answer.

usage: test_service.py [unittest's options]

Standard library only; see llmd.py for the environment. Exit status 77 when
there is no binary.
"""

import concurrent.futures
import http.client
import json
import os
import random
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import unittest

import llmd
from llmd import Llmd

CC = os.environ.get("CC", "cc").split()[0]

LONG = {"max_tokens": 1900, "ignore_eos": True, "temperature": 0}


def copy_model(folder, **without):
    """The demo model in folder; returns the path."""
    target = os.path.join(folder, "model")
    shutil.copytree(llmd.DEMO, target)
    return target


def big_dummy_model(folder):
    """Some 250 M parameters that are only described: slow to fill in."""
    target = copy_model(folder)
    os.unlink(os.path.join(target, "model.safetensors"))
    path = os.path.join(target, "config.json")
    with open(path) as f:
        config = json.load(f)
    config.update(hidden_size=1024, intermediate_size=4096, num_hidden_layers=15,
                  num_attention_heads=16, num_key_value_heads=16, head_dim=64)
    with open(path, "w") as f:
        json.dump(config, f)
    return target


# --------------------------------------------------------------- command line

class CommandLine(unittest.TestCase):
    def refused(self, *arguments, says):
        status, _, err = llmd.run(*arguments)
        self.assertNotEqual(status, 0, arguments)
        self.assertGreater(status, 0, "ended by a signal: %s" % err[-500:])
        for text in says:
            self.assertIn(text, err, "%r does not say %r" % (err, text))
        self.assertLess(len(err), 2000, err)
        return err

    def test_help(self):
        status, out, err = llmd.run("--help")
        self.assertEqual((status, err), (0, ""))
        for option in ("--model", "--port", "--max-model-len", "--max-num-seqs", "--api-key",
                       "--shutdown-timeout", "--max-num-queued-reqs", "--threads"):
            self.assertIn(option, out)

    def test_version(self):
        status, out, err = llmd.run("--version")
        self.assertEqual((status, err), (0, ""))
        self.assertRegex(out, r"^llmd \d+\.\d+(\.\d+)?")

    def test_value_out_of_range_names_option_value_and_range(self):
        self.refused("--model", llmd.DEMO, "--port", "70000", says=["port", "70000", "65535"])
        self.refused("--model", llmd.DEMO, "--max-num-queued-reqs", "0",
                     says=["max-num-queued-reqs", "0", "1"])

    def test_value_that_is_no_number(self):
        self.refused("--model", llmd.DEMO, "--max-num-seqs", "many",
                     says=["max-num-seqs", "many"])

    def test_choice_names_the_choices(self):
        self.refused("--model", llmd.DEMO, "--dtype", "int3",
                     says=["dtype", "int3", "bfloat16", "float32"])

    def test_unknown_option_suggests(self):
        self.refused("--model", llmd.DEMO, "--max-modle-len", "9",
                     says=["--max-modle-len", "--max-model-len"])

    def test_option_without_value(self):
        self.refused("--model", llmd.DEMO, "--port", says=["port"])

    def test_option_of_vllm_that_llmd_has_not(self):
        self.refused("--model", llmd.DEMO, "--kv-cache-dtype", "fp8", says=["kv-cache-dtype"])

    def test_options_of_vllm_that_do_nothing_here(self):
        status, _, err = llmd.run("--model", llmd.DEMO, "--enforce-eager",
                                  "--disable-log-requests", "--enable-chunked-prefill",
                                  "--check-config")
        self.assertEqual(status, 0, err)

    def test_option_of_plan(self):
        self.refused("serve", llmd.DEMO, "--gpu", "h200", says=["--gpu", "llmd plan"])
        self.refused("--model", llmd.DEMO, "--json", says=["--json", "llmd plan"])

    def test_share_of_a_gpu(self):
        for share in ("0", "1.01", "much"):
            self.refused("--model", llmd.DEMO, "--gpu-memory-utilization", share,
                         says=["gpu-memory-utilization"])

    def test_no_model(self):
        self.refused(says=["model"])

    def test_model_folder_is_missing(self):
        self.refused("--model", "/nonexistent/model", "--port", str(llmd.free_port()),
                     says=["/nonexistent/model"])

    def test_underscores_equals_and_suffixes(self):
        status, _, err = llmd.run("--model=" + llmd.DEMO, "--max_model_len=1k",
                                  "--max-num-seqs", "1K", "--check-config")
        self.assertEqual(status, 0, err)

    def test_port_is_busy(self):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            s.listen(1)
            port = s.getsockname()[1]
            self.refused("--model", llmd.DEMO, "--host", "127.0.0.1", "--port", port,
                         says=[str(port), "in use"])

    def test_max_model_len_beyond_the_model(self):
        self.refused("--model", llmd.DEMO, "--port", str(llmd.free_port()),
                     "--max-model-len", "100000", says=["100000", "2048"])

    def test_cache_too_small_is_refused_with_numbers(self):
        self.refused("--model", llmd.DEMO, "--port", str(llmd.free_port()),
                     "--num-gpu-blocks-override", "3", says=["3", "max-model-len"])

    def test_serve_is_model(self):
        port = llmd.free_port()
        argv = [llmd.BIN, "serve", llmd.DEMO, "--port", str(port)]
        with Llmd(argv=argv, port=port) as server:
            self.assertEqual(server.get("/v1/models").json()["data"][0]["id"], llmd.DEMO)

    def test_port_zero_is_named_in_the_log(self):
        argv = [llmd.BIN, "serve", llmd.DEMO, "--host", "127.0.0.1", "--port", "0"]
        server = Llmd(argv=argv, wait=False)
        try:
            found = llmd.wait_for("a port in the log", lambda: re.search(
                r"127\.0\.0\.1:(\d{2,5})", server.log), 20)
            server.port = int(found.group(1))
            server.wait_ready()
            server.stop()
        finally:
            server.kill()

    def test_config_file(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "llmd.conf")
            port = llmd.free_port()
            with open(path, "w") as f:
                f.write("# a comment\n[Server]\nport = %d\nmodel = %s\n"
                        "served-model-name = one two\n" % (port, llmd.DEMO))
            with Llmd(argv=[llmd.BIN, "--config", path], port=port) as server:
                ids = [m["id"] for m in server.get("/v1/models").json()["data"]]
                self.assertEqual(ids, ["one", "two"])
            with open(path, "a") as f:
                f.write("max-num-seqs = lots\n")
            self.refused("--config", path, says=[path, "6", "max-num-seqs", "lots"])

    def test_unix_socket(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "s")
            server = Llmd(argv=[llmd.BIN, "serve", llmd.DEMO, "--uds", path], wait=False)
            try:
                def answer():
                    with socket.socket(socket.AF_UNIX) as s:
                        try:
                            s.connect(path)
                        except OSError:
                            return None
                        s.sendall(b"GET /health HTTP/1.0\r\n\r\n")
                        return b" 200 " in s.recv(100)[:13]
                llmd.wait_for("200 on the socket", answer, 20)
                server.stop()
            finally:
                server.kill()


class Plan(unittest.TestCase):
    """llmd plan, on a machine without a GPU, of a directory with config.json alone."""

    LLAMA_8B = {"architectures": ["LlamaForCausalLM"], "hidden_act": "silu", "hidden_size": 4096,
                "intermediate_size": 14336, "max_position_embeddings": 131072,
                "model_type": "llama", "num_attention_heads": 32, "num_hidden_layers": 32,
                "num_key_value_heads": 8, "rms_norm_eps": 1e-05, "rope_theta": 500000.0,
                "tie_word_embeddings": False, "torch_dtype": "bfloat16", "vocab_size": 128256}

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.model = folder.name
        with open(os.path.join(self.model, "config.json"), "w", encoding="utf-8") as file:
            json.dump(self.LLAMA_8B, file)

    def plan(self, *arguments, status=0):
        got, out, err = llmd.run("plan", self.model, *arguments)
        self.assertEqual(got, status, err)
        return out

    def test_all_gpus(self):
        out = self.plan()
        self.assertRegex(out, r"Memory \(GiB\) +h100-pcie +h100-sxm +h200\n")
        self.assertRegex(out, r"\nweights +14.96 +14.96 +14.96\n")
        self.assertRegex(out, r"\nbatch 64 +9.18 +6970 +5.48 +11674 +3.83 +16727\n")
        self.assertLessEqual(max(len(line) for line in out.split("\n")), 80)

    def test_one_gpu_as_json(self):
        plan = json.loads(self.plan("--gpu", "h200", "--json", "--max-model-len", "4096",
                                    "--gpu-memory-utilization", "0.5", "--context=1000"))
        self.assertEqual([gpu["name"] for gpu in plan["gpus"]], ["h200"])
        memory = plan["gpus"][0]["memory"]
        self.assertEqual(memory["usable_bytes"], memory["total_bytes"] // 2)
        self.assertEqual(memory["weight_bytes"], 2 * 8030261248)
        self.assertEqual(memory["kv_cache_bytes"], 131072 * memory["kv_cache_tokens"])
        self.assertEqual(plan["context"], 1000)
        steps = {step["batch"]: step for step in plan["gpus"][0]["decode_floor"]}
        self.assertAlmostEqual(steps[1]["s"], (memory["weight_bytes"] - 2 * 4096 * 128256
                                               + 1000 * 131072) / 4.8e12)

    def test_options_of_the_service(self):
        with tempfile.NamedTemporaryFile("w", suffix=".conf") as file:
            file.write("model = %s\nmax-num-seqs = 77\ndtype = float32\n" % self.model)
            file.flush()
            status, out, err = llmd.run("plan", "--config", file.name, "--gpu", "h100-sxm")
        self.assertEqual(status, 0, err)
        self.assertRegex(out, r"\nmax-num-seqs +77\n")
        self.assertRegex(out, r"\nweights +29.92\n")

    def test_no_gpu_is_large_enough(self):
        out = self.plan("--gpu-memory-utilization", "0.1", status=1)
        self.assertEqual(out.count("will not serve this: the model needs"), 3, out)

    def test_errors(self):
        for arguments, says in (
                (("plan",), "llmd plan DIR"),
                (("plan", "/nonexistent"), "/nonexistent/config.json"),
                (("plan", self.model, "more"), "'more'"),
                (("plan", self.model, "--gpu", "a100"), "h100-pcie"),
                (("plan", self.model, "--max-model-len", "200000"), "131072")):
            status, out, err = llmd.run(*arguments)
            self.assertGreater(status, 0)
            self.assertEqual(out, "")
            self.assertIn(says, err)


class BrokenModels(unittest.TestCase):
    """A model directory that cannot be served ends the program with one clear
    error, and never with a signal."""

    def refused(self, change, *says):
        with tempfile.TemporaryDirectory() as folder:
            model = copy_model(folder)
            change(model)
            status, _, err = llmd.run("--model", model, "--port", llmd.free_port(),
                                      "--host", "127.0.0.1")
            self.assertGreater(status, 0, err[-1500:])
            for text in says:
                self.assertIn(text, err)

    @staticmethod
    def write(model, name, data):
        with open(os.path.join(model, name), "wb") as f:
            f.write(data)

    @staticmethod
    def patch(model, name, **fields):
        path = os.path.join(model, name)
        with open(path) as f:
            value = json.load(f)
        value.update(fields)
        with open(path, "w") as f:
            json.dump(value, f)

    def test_missing_files(self):
        for name in ("config.json", "model.safetensors", "tokenizer.json"):
            with self.subTest(name):
                self.refused(lambda m, n=name: os.unlink(os.path.join(m, n)),
                             "tokenizer.json" if name.startswith("t") else
                             "config.json" if name.startswith("c") else "safetensors")

    def test_bad_json(self):
        for name in ("config.json", "tokenizer.json"):
            for data in (b"", b"{", b"[]", b"\xff\xfe", b"{}"):
                with self.subTest((name, data)):
                    self.refused(lambda m, n=name, d=data: self.write(m, n, d), name)

    def test_weights_cut_short(self):
        def cut(share):
            def change(model):
                path = os.path.join(model, "model.safetensors")
                os.truncate(path, int(os.path.getsize(path) * share))
            return change
        for share in (0, 0.000001, 0.0001, 0.5, 0.999):
            with self.subTest(share):
                self.refused(cut(share), "model.safetensors")

    def test_weights_header(self):
        for size, header in ((1 << 60, b"{}"), ((1 << 64) - 1, b"{}"), (2, b"{}"), (1, b"{"),
                             (4, b'{"a"'), (8, b"\xff" * 8)):
            with self.subTest((size, header)):
                self.refused(lambda m, s=size, h=header: self.write(
                    m, "model.safetensors", struct.pack("<Q", s) + h),
                    "is missing" if (size, header) == (2, b"{}") else "model.safetensors")

    def test_config_values(self):
        for fields, says in (
                ({"architectures": ["BertModel"]}, "BertModel"),
                ({"num_attention_heads": 0}, "num_attention_heads"),
                ({"num_hidden_layers": 1 << 31}, "num_hidden_layers"),
                ({"num_hidden_layers": -1}, "num_hidden_layers"),
                ({"num_hidden_layers": 6}, "layers.5"),
                ({"hidden_size": 193}, ""),
                ({"vocab_size": 1 << 40}, "vocab_size"),
                ({"vocab_size": 2000}, ""),
                ({"num_key_value_heads": 4}, ""),
                ({"rms_norm_eps": "x"}, "rms_norm_eps")):
            with self.subTest(fields):
                self.refused(lambda m, f=fields: self.patch(m, "config.json", **f), says)


# -------------------------------------------------------------------- loading

class Loading(unittest.TestCase):
    def test_health_is_503_with_progress_then_200(self):
        with tempfile.TemporaryDirectory() as folder:
            model = big_dummy_model(folder)
            server = Llmd("--load-format", "dummy", "--num-gpu-blocks-override", "256",
                          model=model, wait=False)
            try:
                self.watch(server)
                server.stop()
            finally:
                server.kill()

    def watch(self, server):
        seen = {}

        def ready():
            self.assertIsNone(server.process.poll(), server.log[-2000:])
            try:
                answer = server.get("/health", timeout=5)
            except OSError:
                return False
            if answer.status not in seen:
                seen[answer.status] = answer
                if answer.status == 503:
                    self.while_loading(server, answer)
            return answer.status == 200
        llmd.wait_for("200 from /health", ready, 60, step=0.002)
        self.assertEqual(list(seen), [503, 200], "the server must answer while it loads")
        self.assertEqual(server.complete(max_tokens=1)["usage"]["completion_tokens"], 1)

    def while_loading(self, server, answer):
        self.assertRegex(answer.text.lower(), "load|start")
        answer.json()
        try:
            refused = server.post("/v1/completions", {"prompt": "a"})
            models = server.get("/metrics")
        except OSError as error:
            self.fail("no answer while loading: %s" % error)
        if refused.status != 200:  # it may have become ready in between
            self.assertEqual(refused.status, 503)
            self.assertRegex(refused.headers.get("retry-after", ""), r"^\d+$")
            self.assertEqual(refused.json()["error"]["code"], "model_loading")
        self.assertIn(models.status, (200, 503))


# -------------------------------------------------------------------- signals

class Signals(unittest.TestCase):
    def setUp(self):
        self.server = Llmd("--num-gpu-blocks-override", "2048", "--threads", "1",
                           *self.options.get(self._testMethodName, ()))
        self.addCleanup(self.server.kill)

    options = {"test_sigterm_lets_a_stream_finish": ("--shutdown-timeout", llmd.limit(30)),
               "test_deadline_ends_streams_with_an_error": ("--shutdown-timeout", "0.5"),
               "test_timeout_zero_ends_at_once": ("--shutdown-timeout", "0")}

    def long_stream(self, **fields):
        stream = self.server.stream(**dict(LONG, **fields))
        self.addCleanup(stream.close)
        events = iter(stream)
        next(events)
        return stream, events

    def ends_with_error(self, stream, events):
        found = list(events)
        self.assertTrue(stream.done, "no [DONE]: %r" % stream.raw[-300:])
        error = found[-1].get("error")
        self.assertIsNotNone(error, found[-1])
        self.assertEqual(list(error), ["message", "type", "param", "code"])
        return error

    def test_idle_server_ends_at_once(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            with Llmd() as server:
                start = time.monotonic()
                server.signal(number)
                self.assertEqual(server.wait(5), 0)
                self.assertLess(time.monotonic() - start, llmd.limit(2))

    def test_sigterm_lets_a_stream_finish(self):
        kept = self.server.connect()
        self.addCleanup(kept.close)
        self.assertEqual(self.server.get("/health", connection=kept).status, 200)
        other = self.server.connect()
        self.addCleanup(other.close)
        self.assertEqual(self.server.get("/health", connection=other).status, 200)
        stream, events = self.long_stream(n=8, temperature=1, seed=1)
        self.server.signal(signal.SIGTERM)
        llmd.wait_for("/health not 200", lambda: self.health() != 200, 2)
        # a request on a connection that is open
        answer = self.server.post("/v1/completions", {"prompt": "a"}, connection=kept)
        self.assertEqual(answer.status, 503, answer)
        self.assertRegex(answer.headers.get("retry-after", ""), r"^\d+$")
        self.assertEqual(answer.headers.get("connection", "").lower(), "close")
        self.assertEqual(answer.json()["error"]["code"], "shutting_down")
        answer = self.server.get("/health", connection=other)
        self.assertEqual(answer.status, 503)
        # a request on a new one: refused either way
        self.assertIn(self.try_new(), (503, None))
        found = list(events)
        self.assertTrue(stream.done)
        ends = [e["choices"][0]["finish_reason"] for e in found if e["choices"]]
        self.assertEqual(sum(e == "length" for e in ends), 8)
        self.assertEqual(self.server.wait(10), 0)
        self.server.check_log()
        with self.assertRaises(OSError):
            self.server.get("/health")

    def health(self):
        try:
            return self.server.get("/health", timeout=2).status
        except (OSError, http.client.HTTPException):
            return None

    def try_new(self):
        try:
            return self.server.post("/v1/completions", {"prompt": "a"}, timeout=5).status
        except (OSError, http.client.HTTPException):
            return None

    def test_second_sigterm_ends_at_once_with_an_error_event(self):
        stream, events = self.long_stream(n=32, temperature=1)
        self.server.signal(signal.SIGTERM)
        time.sleep(0.1)
        self.assertIsNone(self.server.process.poll(), "did not drain")
        start = time.monotonic()
        self.server.signal(signal.SIGTERM)
        self.ends_with_error(stream, events)
        self.assertEqual(self.server.wait(5), 0)
        self.assertLess(time.monotonic() - start, llmd.limit(2))
        self.server.check_log()

    def test_deadline_ends_streams_with_an_error(self):
        stream, events = self.long_stream(n=64, temperature=1)
        start = time.monotonic()
        self.server.signal(signal.SIGTERM)
        self.ends_with_error(stream, events)
        self.assertEqual(self.server.wait(5), 0)
        self.assertTrue(0.4 < time.monotonic() - start < llmd.limit(3))
        self.server.check_log()

    def test_timeout_zero_ends_at_once(self):
        stream, events = self.long_stream(n=32, temperature=1)
        self.server.signal(signal.SIGTERM)
        self.ends_with_error(stream, events)
        self.assertEqual(self.server.wait(3), 0)
        self.server.check_log()

    def test_sigpipe_and_sighup_do_not_end_it(self):
        self.server.signal(signal.SIGPIPE)
        self.server.signal(signal.SIGHUP)
        time.sleep(0.1)
        self.server.complete(max_tokens=1)
        self.server.stop()


# -------------------------------------------------------------------- systemd

class Notify(unittest.TestCase):
    def test_messages(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "notify")
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
                s.bind(path)
                s.settimeout(llmd.limit(10))
                self.messages(s, Llmd(env={"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "400000"}))

    def messages(self, s, server):
        found = []

        def read_until(text):
            while not any(text in m for m in found):
                found.append(s.recv(4096).decode())
        try:
            read_until("READY=1")
            self.assertTrue(any("STATUS=" in m for m in found), found)
            first = len(found)
            read_until("WATCHDOG=1")
            self.assertEqual(server.get("/health").status, 200)
            del found[first:]
            server.signal(signal.SIGTERM)
            read_until("STOPPING=1")
            self.assertEqual(server.wait(5), 0)
            server.check_log()
        finally:
            server.kill()
        self.assertFalse(any("READY=1" in m for m in found[first:]))

    def test_abstract_socket(self):
        name = "llmd-test-%d" % os.getpid()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
            s.bind("\0" + name)
            s.settimeout(llmd.limit(10))
            with Llmd(env={"NOTIFY_SOCKET": "@" + name}):
                while "READY=1" not in s.recv(4096).decode():
                    pass

    def test_inherited_socket(self):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            s.listen(16)
            port = s.getsockname()[1]
            script = 'exec 3<&%d; LISTEN_FDS=1 LISTEN_PID=$$ exec "$@"' % s.fileno()
            argv = ["/bin/sh", "-c", script, "sh", llmd.BIN, "serve", llmd.DEMO,
                    "--port", str(llmd.free_port())]
            with Llmd(argv=argv, port=port, pass_fds=(s.fileno(),)) as server:
                self.assertEqual(server.get("/health").status, 200)


# ----------------------------------------------------------------------- HTTP

class Http(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Llmd("--num-gpu-blocks-override", "1024", served_name="org/demo")

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()

    def test_keep_alive(self):
        connection = self.server.connect()
        self.addCleanup(connection.close)
        for _ in range(3):
            self.assertEqual(self.server.get("/health", connection=connection).status, 200)
            before = connection.sock.getsockname()
            answer = self.server.post("/v1/completions", {"prompt": "a", "max_tokens": 1},
                                      connection=connection)
            self.assertEqual(answer.status, 200)
            self.assertEqual(connection.sock.getsockname(), before)
            self.assertEqual(self.server.get("/nope", connection=connection).status, 404)
            self.assertEqual(connection.sock.getsockname(), before)

    def test_keep_alive_after_a_stream(self):
        connection = self.server.connect()
        self.addCleanup(connection.close)
        for _ in range(2):
            body = {"prompt": "a", "max_tokens": 3, "stream": True}
            answer = self.server.post("/v1/completions", body, connection=connection)
            self.assertEqual(answer.status, 200)
            self.assertTrue(answer.body.endswith(b"data: [DONE]\n\n"))
            address = connection.sock.getsockname()
        self.assertEqual(connection.sock.getsockname(), address)

    def test_pipelined_requests_are_answered_in_order(self):
        body = json.dumps({"prompt": "a", "max_tokens": 2}).encode()
        post = (b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
                b"Content-Length: %d\r\n\r\n" % len(body)) + body
        get = b"GET /v1/models HTTP/1.1\r\nHost: a\r\n\r\n"
        last = b"GET /version HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        found = self.server.raw(post + get + post + last)
        objects = re.findall(rb'"object":"(text_completion|list)"|("version":)', found)
        self.assertEqual([a or b for a, b in objects],
                         [b"text_completion", b"list", b"text_completion", b'"version":'])

    def test_stream_headers(self):
        with self.server.stream(max_tokens=2) as stream:
            self.assertTrue(stream.headers["content-type"].startswith("text/event-stream"))
            self.assertIn("no-cache", stream.headers.get("cache-control", ""))
            self.assertEqual(stream.headers.get("x-accel-buffering"), "no")
            self.assertEqual(stream.headers.get("transfer-encoding"), "chunked")
            stream.events()

    def test_stream_is_ascii_and_one_event_a_chunk(self):
        body = json.dumps({"prompt": "caf\u00e9 \u65e5\u672c", "max_tokens": 8, "echo": True,
                           "stream": True}).encode()
        found = self.server.raw(
            b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
            b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        data = found.split(b"\r\n\r\n", 1)[1]
        self.assertTrue(all(b < 128 for b in data), data)
        while data:
            size, data = data.split(b"\r\n", 1)
            chunk, data = data[:int(size, 16)], data[int(size, 16) + 2:]
            if chunk:
                self.assertTrue(chunk.startswith(b"data: ") and chunk.endswith(b"\n\n"), chunk)

    def test_stream_for_http_1_0_ends_by_close(self):
        body = b'{"prompt":"a","max_tokens":3,"stream":true}'
        found = self.server.raw(b"POST /v1/completions HTTP/1.0\r\n"
                                b"Content-Type: application/json\r\n"
                                b"Content-Length: %d\r\n\r\n" % len(body) + body)
        self.assertNotIn(b"chunked", found.split(b"\r\n\r\n")[0].lower())
        self.assertTrue(found.endswith(b"data: [DONE]\n\n"), found[-200:])

    def test_expect_continue(self):
        body = b'{"prompt":"a","max_tokens":1}'
        with self.server.socket() as s:
            s.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n"
                      b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body))
            self.assertTrue(s.recv(1000).startswith(b"HTTP/1.1 100"))
            s.sendall(body)
            self.assertTrue(s.recv(10000).startswith(b"HTTP/1.1 200"))

    def test_head(self):
        for path in ("/health", "/v1/models", "/version"):
            found = self.server.raw(b"HEAD %s HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
                                    % path.encode())
            self.assertTrue(found.startswith(b"HTTP/1.1 200"), found)
            self.assertTrue(found.endswith(b"\r\n\r\n"), found)

    def test_cors(self):
        answer = self.server.request("OPTIONS", "/v1/completions", headers={
            "Origin": "http://a.example", "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization,content-type"})
        self.assertIn(answer.status, (200, 204))
        self.assertIn(answer.headers.get("access-control-allow-origin"),
                      ("*", "http://a.example"))
        self.assertIn("POST", answer.headers.get("access-control-allow-methods", ""))
        answer = self.server.get("/v1/models", headers={"Origin": "http://a.example"})
        self.assertIn(answer.headers.get("access-control-allow-origin"),
                      ("*", "http://a.example"))

    def test_request_id(self):
        answer = self.server.post("/v1/completions", {"prompt": "a", "max_tokens": 1},
                                  headers={"X-Request-Id": "abc-1"})
        self.assertEqual(answer.headers.get("x-request-id"), "abc-1")
        self.assertEqual(answer.json()["id"], "cmpl-abc-1")
        for given in ("a" * 129, "a b", "caf\u00e9"):
            answer = self.server.post("/v1/completions", {"prompt": "a", "max_tokens": 1},
                                      headers={"X-Request-Id": given.encode("latin-1")})
            self.assertNotIn(given, answer.text)
        one = self.server.get("/v1/models").headers.get("x-request-id")
        two = self.server.get("/v1/models").headers.get("x-request-id")
        self.assertTrue(one and two and one != two, (one, two))

    def test_models(self):
        models = self.server.get("/v1/models").json()
        self.assertEqual([m["id"] for m in models["data"]], ["org/demo"])
        for path in ("/v1/models/org/demo", "/v1/models/org%2Fdemo"):
            answer = self.server.get(path)
            self.assertEqual(answer.status, 200, answer)
            self.assertEqual(answer.json()["id"], "org/demo")
            self.assertEqual(answer.json()["max_model_len"], 2048)
        answer = self.server.get("/v1/models/other")
        self.assertEqual(answer.status, 404)
        self.assertEqual(answer.json()["error"]["type"], "NotFoundError")

    def test_body_too_large_is_413_before_it_is_read(self):
        with self.server.socket() as s:
            s.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: a\r\n"
                      b"Content-Type: application/json\r\nContent-Length: 99999999999\r\n\r\n")
            self.assertTrue(s.recv(1000).startswith(b"HTTP/1.1 413"))

    def test_chunked_request_is_411(self):
        found = self.server.raw(b"POST /v1/completions HTTP/1.1\r\nHost: a\r\n"
                                b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
        self.assertTrue(found.startswith(b"HTTP/1.1 411"), found)

    def test_tokenize_round_trip(self):
        text = "Once upon a time, caf\u00e9 \U0001f600 <|im_end|>\n"
        ids = self.server.post("/tokenize", {"prompt": text}).json()
        self.assertEqual(ids["count"], len(ids["tokens"]))
        back = self.server.post("/detokenize", {"tokens": ids["tokens"]}).json()
        self.assertEqual(back["prompt"], text)

    def test_many_connections(self):
        sockets = [self.server.socket() for _ in range(300)]
        try:
            for s in sockets:
                s.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
            for s in sockets:
                self.assertTrue(s.recv(100).startswith(b"HTTP/1.1 200"))
        finally:
            for s in sockets:
                s.close()


class ApiKey(unittest.TestCase):
    def test_key(self):
        with Llmd("--api-key", "one", "two") as server:
            for path in ("/health", "/ping", "/version", "/metrics"):
                self.assertEqual(server.get(path).status, 200, path)
            for key in (None, "", "on", "onee", "three", "one two"):
                headers = {} if key is None else {"Authorization": "Bearer " + key}
                for method, path in (("POST", "/v1/completions"), ("GET", "/v1/models"),
                                     ("POST", "/tokenize")):
                    answer = server.request(method, path, {} if method == "POST" else None,
                                            headers=headers)
                    self.assertEqual(answer.status, 401, (path, key))
                    self.assertEqual(answer.headers.get("www-authenticate"), "Bearer")
                    self.assertEqual(answer.json()["error"]["code"], "invalid_api_key")
            for key in ("one", "two"):
                answer = server.get("/v1/models", headers={"Authorization": "Bearer " + key})
                self.assertEqual(answer.status, 200)
            self.assertEqual(server.request("OPTIONS", "/v1/models").status // 100, 2)
            for secret in ("Bearer", "three"):
                self.assertNotIn(secret, server.log)

    def test_key_file(self):
        with tempfile.NamedTemporaryFile("w") as f:
            f.write("# keys\nabc\n\n  def  \n")
            f.flush()
            with Llmd("--api-key-file", f.name) as server:
                for key, status in (("abc", 200), ("def", 200), ("# keys", 401), ("", 401)):
                    answer = server.get("/v1/models", headers={"Authorization": "Bearer " + key})
                    self.assertEqual(answer.status, status, key)

    def test_empty_bearer_without_keys(self):
        with Llmd() as server:
            answer = server.get("/v1/models", headers={"Authorization": "Bearer "})
            self.assertEqual(answer.status, 200)


# ------------------------------------------------------------------- overload

class Overload(unittest.TestCase):
    def test_full_queue_is_503_with_retry_after(self):
        with Llmd("--max-num-seqs", "1", "--max-num-queued-reqs", "3", "--threads", "1") as server:
            streams = [server.stream(**LONG) for _ in range(3)]
            answer = server.post("/v1/completions", {"prompt": "a", "max_tokens": 1})
            self.assertEqual(answer.status, 503, answer)
            self.assertRegex(answer.headers.get("retry-after", ""), r"^[1-9]\d*$")
            self.assertEqual(answer.json()["error"]["code"], "queue_full")
            self.assertEqual(server.get("/health").status, 200)
            for stream in streams:
                stream.close()
            server.wait_idle()
            self.assertEqual(server.complete(max_tokens=1)["usage"]["completion_tokens"], 1)
            # n counts, and a request that never fits does not block others
            answer = server.post("/v1/completions", {"prompt": "a", "max_tokens": 1, "n": 4,
                                                     "temperature": 1})
            self.assertIn(answer.status, (400, 503))
            self.assertEqual(server.complete(max_tokens=1, n=3, temperature=1)["usage"]
                             ["completion_tokens"], 3)

    def test_queued_requests_are_all_served(self):
        with Llmd("--max-num-seqs", "2") as server:
            with concurrent.futures.ThreadPoolExecutor(32) as pool:
                found = list(pool.map(lambda i: server.complete(
                    "Once upon a time %d" % i, max_tokens=5, ignore_eos=True), range(64)))
            self.assertEqual([f["usage"]["completion_tokens"] for f in found], [5] * 64)
            server.wait_idle()

    def test_client_that_leaves_frees_its_blocks(self):
        with Llmd("--threads", "1") as server:
            aborted = server.metric("vllm:request_success_total", finished_reason="abort")
            made = server.metric("vllm:generation_tokens_total")
            self.leave_stream(server)
            self.leave_plain(server)
            self.assertGreater(
                server.metric("vllm:request_success_total", finished_reason="abort"), aborted)
            self.assertLess(server.metric("vllm:generation_tokens_total") - made,
                            2 * 8 * LONG["max_tokens"], "nothing was cut short")

    def leave_stream(self, server):
        with server.stream(n=8, **dict(LONG, temperature=1)) as stream:
            next(iter(stream))
            llmd.wait_for("8 running", lambda: server.gauges()[0] == 8, 2, step=0.001)
        server.wait_idle(0.5)

    def leave_plain(self, server):
        body = json.dumps(dict(LONG, prompt="a", n=8, temperature=1)).encode()
        with server.socket() as s:
            s.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: a\r\n"
                      b"Content-Type: application/json\r\n"
                      b"Content-Length: %d\r\n\r\n" % len(body) + body)
            llmd.wait_for("8 running", lambda: server.gauges()[0] == 8, 2, step=0.001)
        server.wait_idle(0.5)

    def test_stop_string_just_before_the_last_token(self):
        """The end by length is on its way while the loop finds the stop string
        and cancels: the request must come back once, not twice."""
        with Llmd() as server:
            text = server.complete(max_tokens=1, temperature=0)["choices"][0]["text"]
            prompts = ["Once upon a time"] * 64

            def once(_):
                found = server.complete(prompts, max_tokens=2, temperature=0, stop=[text],
                                        ignore_eos=True, timeout=15)
                return {(c["text"], c["finish_reason"]) for c in found["choices"]}
            with concurrent.futures.ThreadPoolExecutor(8) as pool:
                for found in pool.map(once, range(32)):
                    self.assertEqual(found, {("", "stop")})
            server.wait_idle()

    def test_slow_reader_is_dropped_and_others_go_on(self):
        with Llmd("--max-pending-bytes", "64K", "--threads", "1") as server:
            body = json.dumps(dict(LONG, prompt="a", n=16, temperature=1, stream=True,
                                   logprobs=5)).encode()
            with socket.socket() as s:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                s.connect(("127.0.0.1", server.port))
                s.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: a\r\n"
                          b"Content-Type: application/json\r\n"
                          b"Content-Length: %d\r\n\r\n" % len(body) + body)
                llmd.wait_for("16 running", lambda: server.gauges()[0] == 16, 5, step=0.001)
                self.assertEqual(server.complete(max_tokens=4, ignore_eos=True)["usage"]
                                 ["completion_tokens"], 4)
                server.wait_idle(10)
                self.assertGreater(server.metric("vllm:request_success_total",
                                                 finished_reason="abort"), 0)


# -------------------------------------------------------------------- metrics

class Metrics(unittest.TestCase):
    # what promtool says about names that are vLLM's
    INHERITED = ("should not contain ':'",
                 'vllm:iteration_tokens_total non-counter metrics should not have "_total"')

    @classmethod
    def setUpClass(cls):
        cls.server = Llmd()

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()

    @unittest.skipUnless(shutil.which("promtool"), "promtool is not installed")
    def test_promtool(self):
        self.server.complete(max_tokens=3)
        text = self.server.get("/metrics").body
        done = subprocess.run(["promtool", "check", "metrics"], input=text,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        said = [line for line in done.stdout.decode().splitlines()
                if not any(i in line for i in self.INHERITED)]
        self.assertEqual(said, [])
        self.assertIn(done.returncode, (0, 3))

    def test_names_that_dashboards_and_routers_read(self):
        answer = self.server.get("/metrics")
        self.assertTrue(answer.headers["content-type"].startswith("text/plain; version=0.0.4"))
        samples = llmd.parse_metrics(answer.text)
        for name in ("vllm:num_requests_running", "vllm:num_requests_waiting",
                     "vllm:kv_cache_usage_perc", "vllm:num_preemptions_total",
                     "vllm:prompt_tokens_total", "vllm:generation_tokens_total",
                     "vllm:request_success_total", "vllm:iteration_tokens_total_bucket",
                     "vllm:time_to_first_token_seconds_bucket",
                     "vllm:inter_token_latency_seconds_count",
                     "vllm:e2e_request_latency_seconds_sum",
                     "vllm:request_queue_time_seconds_bucket",
                     "vllm:request_prompt_tokens_bucket",
                     "vllm:request_generation_tokens_bucket"):
            self.assertIn(name, samples)
            for labels, _ in samples[name]:
                self.assertEqual(labels.get("model_name"), "m", name)
                self.assertEqual(labels.get("engine"), "0", name)
        (info, value), = samples["vllm:cache_config_info"]
        self.assertEqual(value, 1)
        self.assertEqual(int(info["block_size"]), 16)
        self.assertGreater(int(info["num_gpu_blocks"]), 0)

    def test_machine_is_what_the_kernel_says(self):
        before = self.server.metrics()
        for name in ("llmd_host_cpu_busy_seconds_total", "llmd_host_cpu_seconds_total",
                     "llmd_host_memory_total_bytes", "llmd_host_memory_available_bytes",
                     "process_cpu_seconds_total", "process_resident_memory_bytes",
                     "process_virtual_memory_bytes", "process_start_time_seconds",
                     "process_open_fds", "process_max_fds"):
            (labels, value), = before[name]
            self.assertEqual(labels, {}, name)
            self.assertGreater(value, 0, name)
        with open("/proc/meminfo", encoding="ascii") as f:
            total_kib = int(re.search(r"MemTotal: +(\d+) kB", f.read()).group(1))
        self.assertEqual(before["llmd_host_memory_total_bytes"][0][1], total_kib * 1024)
        available = before["llmd_host_memory_available_bytes"][0][1]
        self.assertLess(available, total_kib * 1024)
        counters = ("llmd_host_cpu_busy_seconds_total", "llmd_host_cpu_seconds_total",
                    "process_cpu_seconds_total")
        after = before
        while not all(after[c][0][1] > before[c][0][1] for c in counters):
            self.server.complete(max_tokens=20, ignore_eos=True)
            after = self.server.metrics()
        self.assertLessEqual(after[counters[0]][0][1], after[counters[1]][0][1])

    @unittest.skipUnless(shutil.which(CC), "no compiler for a driver's library")
    def test_gpu_is_what_the_driver_says(self):
        source = os.path.join(llmd.TOP, "tests", "unit", "fake_nvml.c")
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run([CC, "-shared", "-fPIC", source, "-o",
                            os.path.join(folder, "libnvidia-ml.so.1")], check=True)
            with Llmd(env={"LD_LIBRARY_PATH": folder}) as server:
                # a thread reads it, from the first page on
                llmd.wait_for("a GPU", lambda: "llmd_gpu_power_watts" in server.metrics(), 10)
                samples = server.metrics()
        for name, value in (("llmd_gpu_memory_total_bytes", 80 << 30),
                            ("llmd_gpu_memory_used_bytes", 20 << 30),
                            ("llmd_gpu_utilization_ratio", 0.75),
                            ("llmd_gpu_power_watts", 250.5),
                            ("llmd_gpu_energy_joules_total", 5000000001.25)):
            self.assertEqual(samples[name], [({"gpu": "0"}, value)], name)

    def test_histograms_are_cumulative(self):
        self.server.complete(max_tokens=5, ignore_eos=True)
        samples = self.server.metrics()
        families = [n[:-7] for n in samples if n.endswith("_bucket")]
        self.assertGreater(len(families), 5)
        for family in families:
            values = [(float(labels["le"].replace("+Inf", "inf")), value)
                      for labels, value in samples[family + "_bucket"]
                      if all(labels.get(k) == v for k, v in samples[family + "_bucket"][0][0]
                             .items() if k != "le")]
            self.assertEqual(values, sorted(values), family)
            self.assertEqual(values[-1][0], float("inf"), family)
            counts = [v for _, v in values]
            self.assertEqual(counts, sorted(counts), family)
            self.assertEqual(counts[-1], samples[family + "_count"][0][1], family)

    def test_counters_add_up(self):
        names = ("vllm:prompt_tokens_total", "vllm:generation_tokens_total",
                 "vllm:e2e_request_latency_seconds_count",
                 "vllm:time_to_first_token_seconds_count")
        self.server.wait_idle()
        before = [self.server.metric(n) for n in names]
        length = self.server.metric("vllm:request_success_total", finished_reason="length")
        answers = [self.server.complete(p, max_tokens=4, ignore_eos=True)
                   for p in ("Once", "upon a time", "there was")]
        self.server.wait_idle()
        delta = [self.server.metric(n) - b for n, b in zip(names, before)]
        self.assertEqual(delta[0], sum(a["usage"]["prompt_tokens"] for a in answers))
        self.assertEqual(delta[1:], [12, 3, 3])
        self.assertEqual(self.server.metric("vllm:request_success_total",
                                            finished_reason="length") - length, 3)

    def test_load(self):
        self.assertEqual(self.server.get("/load").json(), {"server_load": 0})


# -------------------------------------------------- bodies that clients really send

class Contracts(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Llmd("--num-gpu-blocks-override", "1024")

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()

    def ids(self, text):
        return self.server.post("/tokenize", {"prompt": text}).json()["tokens"]

    def scored(self, prompts, **fields):
        body = {"model": "m", "prompt": prompts, "temperature": 0, "max_tokens": 1,
                "logprobs": 1, "seed": 1234, "echo": True}
        body.update(fields)
        answer = self.server.post("/v1/completions", body,
                                  headers={"Authorization": "Bearer "})
        self.assertEqual(answer.status, 200, answer)
        choices = sorted(answer.json()["choices"], key=lambda c: c["index"])
        self.assertEqual([c["index"] for c in choices], list(range(len(prompts))))
        for ids, choice in zip(prompts, choices):
            self.check_scores(ids, choice["logprobs"])
        return choices

    def check_scores(self, ids, logprobs):
        self.assertEqual(set(logprobs), {"text_offset", "token_logprobs", "tokens",
                                         "top_logprobs"})
        for values in logprobs.values():
            self.assertEqual(len(values), len(ids) + 1)
        self.assertIsNone(logprobs["token_logprobs"][0])
        self.assertIsNone(logprobs["top_logprobs"][0])
        self.assertEqual(logprobs["text_offset"], sorted(logprobs["text_offset"]))
        for value, token, top in list(zip(logprobs["token_logprobs"], logprobs["tokens"],
                                          logprobs["top_logprobs"]))[1:]:
            self.assertIsInstance(value, float)
            self.assertLessEqual(value, 0)
            self.assertIn(token, top)
            self.assertEqual(top[token], value)      # bit-equal: greedy test of lm-eval
            self.assertGreaterEqual(max(top.values()), value)

    def test_lm_eval_scoring(self):
        texts = ["Once upon a time there was a boat.", "The sea", "Nella lost her key " * 20, "a"]
        choices = self.scored([self.ids(t) for t in texts])
        for text, choice in zip(texts, choices):
            self.assertTrue(choice["text"].startswith(text))
        # greedy continuation: its tokens must be the top ones
        first = self.server.complete(texts[0], max_tokens=6, temperature=0, ignore_eos=True,
                                     return_token_ids=True)["choices"][0]
        ids = self.ids(texts[0])
        scored = self.scored([ids + first["token_ids"]])[0]["logprobs"]
        for value, top in list(zip(scored["token_logprobs"],
                                   scored["top_logprobs"]))[len(ids):-1]:
            self.assertEqual(value, max(top.values()))

    def test_lm_eval_scoring_when_the_next_token_is_eos(self):
        choices = self.scored([self.ids("Once upon")], logit_bias={"2": 100})
        self.assertEqual(choices[0]["finish_reason"], "stop")
        self.assertEqual(choices[0]["text"], "Once upon")

    def test_lm_eval_generation(self):
        text = self.server.complete("Once upon a time", max_tokens=64, temperature=0,
                                    stop=[".", "\n\n", "<|im_end|>"], seed=1234)
        choice = text["choices"][0]
        self.assertNotIn(".", choice["text"])

    def test_guidellm(self):
        self.assertEqual(self.server.get("/health").status, 200)
        with self.server.stream(max_tokens=9, stop=None, ignore_eos=True, stream_options={
                "include_usage": True, "continuous_usage_stats": True}) as stream:
            events = stream.events()
        self.assertEqual(stream.raw.splitlines()[-2], b"data: [DONE]")
        counts = [e["usage"]["completion_tokens"] for e in events]
        self.assertEqual(counts, sorted(counts))
        self.assertEqual(counts[-1], 9)
        self.assertEqual(events[-1]["choices"], [])

    def test_vllm_bench(self):
        """Its reader: every network read decodes alone, chunks with choices are
        tokens, the one without is usage."""
        body = json.dumps({"model": "m", "prompt": "Once upon a time",
                           "repetition_penalty": 1.0, "max_tokens": 12, "logprobs": None,
                           "stream": True, "stream_options": {"include_usage": True},
                           "ignore_eos": True}).encode()
        connection = self.server.connect()
        self.addCleanup(connection.close)
        connection.request("POST", "/v1/completions", body, {
            "Content-Type": "application/json", "x-request-id": "bench-0"})
        reply = connection.getresponse()
        self.assertEqual(reply.status, 200)
        text, tokens, usage = "", 0, None
        while True:
            piece = reply.read1(65536)
            if not piece:
                break
            text += piece.decode("utf-8")
        for event in text.split("\n\n"):
            if not event or event == "data: [DONE]":
                continue
            data = json.loads(event[len("data: "):])
            if data.get("choices"):
                tokens += 1
            elif data.get("usage"):
                usage = data["usage"]
        self.assertEqual((tokens, usage["completion_tokens"]), (12, 12))

    def test_null_is_absent(self):
        nulls = {name: None for name in (
            "best_of echo frequency_penalty presence_penalty logit_bias logprobs max_tokens n "
            "seed stop stream stream_options suffix temperature top_p user top_k min_p "
            "repetition_penalty stop_token_ids include_stop_str_in_output ignore_eos min_tokens "
            "skip_special_tokens truncate_prompt_tokens allowed_token_ids prompt_logprobs "
            "add_special_tokens response_format priority request_id return_token_ids").split()}
        found = self.server.complete("Once upon", **nulls)
        self.assertLessEqual(found["usage"]["completion_tokens"], 16)

    def test_stop_string_over_tokens(self):
        whole = self.server.complete(max_tokens=40, temperature=0, ignore_eos=True)
        text = whole["choices"][0]["text"]
        for at in (3, 8, 13):
            stop = text[at:at + 9]
            expected = text[:text.index(stop)]
            body = dict(max_tokens=40, temperature=0, ignore_eos=True, stop=[stop, "\x00never"])
            choice = self.server.complete(**body)["choices"][0]
            self.assertEqual((choice["text"], choice["finish_reason"], choice["stop_reason"]),
                             (expected, "stop", stop))
            with self.server.stream(**body) as stream:
                events = stream.events()
            joined = "".join(e["choices"][0]["text"] for e in events)
            self.assertEqual(joined, expected)
            self.assertEqual(events[-1]["choices"][0]["stop_reason"], stop)
            choice = self.server.complete(include_stop_str_in_output=True, **body)["choices"][0]
            self.assertEqual(choice["text"], expected + stop)

    def test_several_prompts_and_choices(self):
        found = self.server.complete(["Once", "The sea"], n=3, max_tokens=4, temperature=1,
                                     seed=5, ignore_eos=True)
        self.assertEqual([c["index"] for c in found["choices"]], list(range(6)))
        self.assertEqual(found["usage"]["completion_tokens"], 24)
        self.assertEqual(found["usage"]["prompt_tokens"],
                         len(self.ids("Once")) + len(self.ids("The sea")))
        with self.server.stream(["Once", "The sea"], n=3, max_tokens=4, temperature=1, seed=5,
                                ignore_eos=True) as stream:
            texts = {}
            for event in stream.events():
                choice = event["choices"][0]
                texts[choice["index"]] = texts.get(choice["index"], "") + choice["text"]
        self.assertEqual(texts, {c["index"]: c["text"] for c in found["choices"]})

    def test_stream_equals_plain(self):
        for fields in ({"temperature": 0}, {"temperature": 1, "seed": 3}, {"echo": True,
                       "logprobs": 2, "temperature": 0}, {"logprobs": 0, "seed": 9}):
            fields = dict(fields, max_tokens=24, return_token_ids=False)
            plain = self.server.complete(**fields)["choices"][0]
            with self.server.stream(**fields) as stream:
                chunks = [e["choices"][0] for e in stream.events()]
            self.assertEqual("".join(c["text"] for c in chunks), plain["text"])
            self.assertEqual(chunks[-1]["finish_reason"], plain["finish_reason"])
            if "logprobs" in fields:
                for key in ("tokens", "token_logprobs", "top_logprobs", "text_offset"):
                    joined = [v for c in chunks for v in c["logprobs"][key]]
                    self.assertEqual(joined, plain["logprobs"][key], key)


# ---------------------------------------------------------------- determinism

class Determinism(unittest.TestCase):
    """Same request, same seed, same bytes: alone, in company, in small chunks,
    with preemptions, on any number of threads."""

    PROBES = [
        {"prompt": "Once upon a time there was", "temperature": 1.0, "seed": 7, "top_p": 0.95,
         "max_tokens": 60, "logprobs": 2},
        {"prompt": "Nella walked along the harbour and " * 12, "temperature": 0,
         "max_tokens": 60, "logprobs": 1},
        {"prompt": "The sea", "temperature": 0.8, "seed": 11, "top_k": 20, "n": 3,
         "repetition_penalty": 1.2, "max_tokens": 40, "echo": True, "logprobs": 1},
    ]

    def probe(self, server, i):
        found = server.complete(**dict(self.PROBES[i], ignore_eos=True))
        return json.dumps(found["choices"])

    def company(self, server, results):
        """The probes among requests of all lengths, 64 at once."""
        rnd = random.Random(1)

        def other(i):
            if i % 21 == 10:
                results.append((i // 21, self.probe(server, i // 21)))
                return
            server.complete("Once upon a time " * rnd.randrange(1, 30), temperature=1, seed=i,
                            ignore_eos=True, max_tokens=rnd.randrange(10, 100))
        with concurrent.futures.ThreadPoolExecutor(64) as pool:
            list(pool.map(other, range(63)))

    def run_on(self, *options):
        with Llmd("--max-model-len", "512", *options) as server:
            results = [(i, self.probe(server, i)) for i in range(3)]
            self.company(server, results)
            server.wait_idle()
            preemptions = server.metric("vllm:num_preemptions_total")
        self.assertEqual(len(results), 6)
        return results, preemptions

    def test_same_bytes(self):
        configurations = {
            "one thread": ("--threads", "1"),
            "two threads": ("--threads", "2"),
            "small chunks": ("--max-num-batched-tokens", "48", "--max-num-seqs", "32"),
            "preemptions": ("--num-gpu-blocks-override", "40"),
            "preemptions and small chunks": (
                "--num-gpu-blocks-override", "36", "--max-num-batched-tokens", "64",
                "--max-num-seqs", "64", "--threads", "2"),
        }
        expected = {}
        for name, options in configurations.items():
            results, preemptions = self.run_on(*options)
            if "preemptions" in name:
                self.assertGreater(preemptions, 0, "nothing was preempted: the test is void")
            for i, answer in results:
                expected.setdefault(i, answer)
                self.assertEqual(answer, expected[i], "probe %d with %s" % (i, name))
        self.assertEqual(len(expected), 3)

    def test_other_seed_other_text(self):
        with Llmd() as server:
            texts = {server.complete(temperature=1, seed=s, max_tokens=30,
                                     ignore_eos=True)["choices"][0]["text"] for s in range(5)}
            self.assertEqual(len(texts), 5)
            choices = server.complete(temperature=1, seed=1, max_tokens=30, n=5,
                                      ignore_eos=True)["choices"]
            self.assertEqual(len({c["text"] for c in choices}), 5)


if __name__ == "__main__":
    if not llmd.have_binary():
        print("test_service: no program %s (set LLMD_BIN)" % llmd.BIN)
        sys.exit(77)
    unittest.main()
