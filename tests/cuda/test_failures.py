#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The CUDA backend when the machine has no GPU for it, when memory is short, and
when the GPU fails: a sentence that says what, an error for everybody who waits, an
exit status; and the CPU instead where --device auto may choose.

usage: test_failures.py [unittest's options]

Calls fail by fault.c, other machines are made up by pretend.c. Standard library
only; see backend.py for the environment. Exit status 77 when there is no virtual
device.
"""

import concurrent.futures
import http.client
import json
import os
import shutil
import sys
import tempfile
import threading
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import backend  # noqa: E402
from backend import CudaLlmd  # noqa: E402
import llmd  # noqa: E402
from llmd import Llmd  # noqa: E402

EXIT_ENGINE = 70
BLOCKS = ("--num-gpu-blocks-override", "128")


class Case(unittest.TestCase):
    """A start that must fail: one line of the log is an error, and it says why."""

    def refused(self, *says, preload=None, options=BLOCKS, **env):
        server = CudaLlmd(*options, env=env, preload=preload, wait=False)
        try:
            self.assertEqual(server.wait(60), 1, server.log)
            log = server.log
        finally:
            server.kill()
        server.check_log()
        errors = [line for line in log.split("\n") if " error " in line]
        self.assertEqual(len(errors), 1, log)
        for text in ("cannot serve '%s': " % llmd.DEMO,) + says:
            self.assertRegex(errors[0], text)


class Start(Case):

    def test_memory_runs_out(self):
        """At the first allocation, at a weight, at what comes after them."""
        size = r"cannot allocate \d+\.\d [KM]iB of GPU memory for %s, \d+\.\d MiB are free: out of"
        for call, what in ((1, "matrix products"), (9, "sampling"), (20, "weights"), (40, "weights")):
            with self.subTest(call):
                self.refused(size % what, preload="fault.so",
                             LLMD_FAULT="cudaMalloc:%d:2:sticky" % call)
        self.refused(r"cannot allocate \d+\.\d [KM]iB of pinned memory for ", preload="fault.so",
                     LLMD_FAULT="cudaMallocHost:2:2:sticky")

    def test_gpu_is_too_small(self):
        self.refused(r"the model needs 0\.\d\d GiB", r"weights 0\.", r"reserve 0\.50",
                     r"of the GPU's 0\.59 GiB are free", VGPU_MEM="600M")
        self.refused(r"cannot allocate \d+\.\d [KM]iB of GPU memory for \w+, \d", VGPU_MEM="90M")

    def test_cache_takes_more_than_there_is(self):
        self.refused(r"the model needs \d+\.\d\d GiB \(.*kv cache \d\d\.",
                     r"of the GPU's 80\.00 GiB are free", "--num-gpu-blocks-override",
                     options=("--num-gpu-blocks-override", "5000000"))

    def test_upload_fails(self):
        self.refused("cannot load 'model.layers.", "an upload failed: an illegal memory access",
                     preload="fault.so", LLMD_FAULT="cudaMemcpyAsync:5:700:lost")

    def test_timing_fails(self):
        """The products are timed at start: a lost GPU is found there."""
        server = CudaLlmd(*BLOCKS, autotune=True, preload="fault.so", wait=False,
                          env={"LLMD_FAULT": "cudaEventSynchronize:75:700:lost",
                               "XDG_CACHE_HOME": tempfile.gettempdir() + "/llmd-none"})
        try:
            self.assertEqual(server.wait(120), 1, server.log)
            self.assertRegex(server.log, "error cannot serve .*: cannot measure products: .*"
                             "cudaErrorIllegalAddress")
        finally:
            server.kill()


# The machine, and what is said of it.
MACHINES = {
    "no-driver": "no NVIDIA driver is loaded on this machine",
    "old-driver": r"the NVIDIA driver is too old: it supports CUDA 12\.4, this module needs 13\.\d",
    "no-gpu": "no NVIDIA GPU is on this machine",
    "capability-8.0": r"GPU 0, NVIDIA A100 80GB PCIe, has compute capability 8\.0: 9\.0 or newer",
}


class Machines(Case):
    def test_device_cuda_says_what_is_missing(self):
        for machine, says in MACHINES.items():
            with self.subTest(machine):
                self.refused(says, preload="pretend.so", LLMD_PRETEND=machine)

    def test_device_auto_takes_the_cpu_and_says_why(self):
        for machine, says in MACHINES.items():
            with self.subTest(machine):
                self.on_cpu(CudaLlmd("--device", "auto", *BLOCKS, preload="pretend.so",
                                     env={"LLMD_PRETEND": machine}), says)

    def test_device_auto_takes_the_cpu_when_memory_is_short(self):
        """Found before the model is loaded, and while it is."""
        self.on_cpu(CudaLlmd("--device", "auto", *BLOCKS, env={"VGPU_MEM": "600M"}),
                    r"the model needs 0\.6\d GiB \(weights")
        self.on_cpu(CudaLlmd("--device", "auto", *BLOCKS, preload="fault.so",
                             env={"LLMD_FAULT": "cudaMalloc:45:2:sticky"}),
                    "cannot load 'model.*: cannot allocate .* [KM]iB of GPU memory for weights")

    def on_cpu(self, server, says):
        with server:
            self.assertRegex(server.log, "no GPU is used: " + says)
            self.assertRegex(server.log, 'device "cpu ')
            self.assertEqual(len(server.complete(max_tokens=2)["choices"]), 1)

    def test_device_auto_takes_the_gpu(self):
        with CudaLlmd("--device", "auto", *BLOCKS) as server:
            self.assertIn('device "cuda:0 (', server.log)
            self.assertNotIn("no GPU is used", server.log)

    def test_without_the_module(self):
        """A program that is installed alone, away from the build tree's module."""
        with tempfile.TemporaryDirectory() as folder:
            program = shutil.copy2(llmd.BIN, os.path.join(folder, "llmd"))
            argv = [program, "serve", llmd.DEMO, "--host", "127.0.0.1", "--port", "@PORT@"]
            says = r"cannot load the CUDA module: .*llmd-cuda\.so"
            server = Llmd(argv=argv + ["--device", "cuda"], wait=False)
            self.assertEqual(server.wait(60), 1)
            self.assertRegex(server.log, says)
            server.kill()
            with Llmd(argv=argv + ["--device", "auto"]) as server:
                self.assertRegex(server.log, "no GPU is used: " + says)
                server.served_name = None
                server.post("/v1/completions", {"prompt": "a", "max_tokens": 1})


class Health(threading.Thread):
    """Asks /health over and over until nobody answers; the statuses, in order,
    without repetition."""

    def __init__(self, server):
        super().__init__()
        self.server = server
        self.statuses = []

    def run(self):
        connection = self.server.connect()
        while True:
            try:
                status = self.server.get("/health", connection=connection).status
            except (OSError, http.client.HTTPException):
                break
            if self.statuses[-1:] != [status]:
                self.statuses.append(status)
        connection.close()


class Serving(unittest.TestCase):
    """The GPU fails while three clients are served and a fourth waits."""

    health = []   # statuses seen, of all tests

    def fails(self, fault, *says, mode="default", **fields):
        server = CudaLlmd("--max-num-seqs", "3", *BLOCKS, preload="fault.so", mode=mode,
                          env={"LLMD_FAULT": fault})
        try:
            self.all_are_told(server, fields)
            self.assertEqual(server.wait(20), EXIT_ENGINE)
            self.assertIn("fault: call", server.log)
            self.assertRegex(server.log, "error engine failed: device 'cuda:0 .*' failed in a "
                             "step: .*" + ".*".join(says))
        finally:
            server.kill()
        server.check_log()

    def all_are_told(self, server, fields):
        health = Health(server)
        health.start()
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            told = [pool.submit(self.stream, server, fields, n) for n in (1, 2, 1)]
            told.append(pool.submit(self.whole, server, fields))
            errors = []
            for future in told:
                try:
                    errors.append(future.result())
                except ConnectionRefusedError: # llmd had ended when this one came
                    pass
            self.assertTrue(errors)
            for error in errors:
                self.assertEqual((error["type"], error["code"]),
                                 ("InternalServerError", "engine_dead"))
                self.assertIn("the engine has failed: device 'cuda:0", error["message"])
        health.join()
        self.assertIn(health.statuses, ([200], [200, 503]))
        self.health.append(health.statuses)

    BODY = {"prompt": "Once upon a time there was a bold girl named Ivy. " * 4,
            "max_tokens": 300, "ignore_eos": True, "temperature": 0}

    def stream(self, server, fields, n):
        body = dict(self.BODY, **fields)
        if n > 1:
            body.update(n=n, temperature=1)
        try:
            with server.stream(timeout=120, **body) as stream:
                events = stream.events()
        except llmd.Refused as refused: # it came when the GPU had failed already
            self.assertEqual(refused.status, 500)
            return json.loads(refused.body)["error"]
        self.assertEqual(len([e for e in events if "error" in e]), 1)
        return events[-1]["error"]

    def whole(self, server, fields):
        answer = server.post("/v1/completions", dict(self.BODY, **fields), timeout=120)
        self.assertEqual(answer.status, 500)
        return answer.json()["error"]

    @classmethod
    def tearDownClass(cls):
        """llmd ends within 20 ms of the failure: one of many asks meets them."""
        if len(cls.health) >= 4:
            assert [200, 503] in cls.health, cls.health

    def test_kernel_launch(self):
        self.fails("cudaLaunchKernelExC:20:700:lost", "an illegal memory access")

    def test_kernel_launch_while_a_step_is_recorded(self):
        self.fails("cudaLaunchKernelExC:150:700:lost", "an illegal memory access")

    def test_kernel_launch_fails_once(self):
        self.fails("cudaLaunchKernelExC:90:9", r"invalid configuration argument")

    def test_recorded_step(self):
        self.fails("cudaGraphLaunch:4:700:lost", "cannot launch a step", "an illegal memory")

    def test_waiting_for_a_step(self):
        self.fails("cudaEventSynchronize:90:700:lost", "a step failed", "an illegal memory access")

    def test_copy_of_a_step(self):
        self.fails("cudaMemcpyAsync:120:700:lost", "cannot (copy|fetch|keep) a step",
                   mode="reverse")

    def test_matrix_product(self):
        self.fails("cublasLtMatmul:4:13:lost", "cannot multiply .*CUBLAS_STATUS_")

    def test_scores_of_a_prompt(self):
        """prompt_logprobs are waited for in the middle of a step."""
        self.fails("cudaStreamSynchronize:2:700:lost", "cannot score tokens", echo=True,
                   logprobs=1)


if __name__ == "__main__":
    backend.main()
