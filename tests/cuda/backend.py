# SPDX-License-Identifier: Apache-2.0
"""What the tests of the whole CUDA backend share: llmd on the virtual CUDA
device, in its modes, with libraries in front of it; and a server of the same
model on the CPU to compare with.

Environment, besides that of tests/blackbox/llmd.py:
  VGPU_DIR       the device's sources (with vgpu-run)
  VGPU_BUILD     where it is built
  LLMD_PRELOADS  the folder with fault.so and pretend.so
"""

import json
import os
import re
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "blackbox"))

import llmd  # noqa: E402  (its folder is known only now)
from llmd import Llmd  # noqa: E402

VGPU_DIR = os.environ.get("VGPU_DIR", "")
VGPU_BUILD = os.environ.get("VGPU_BUILD", "")
PRELOADS = os.environ.get("LLMD_PRELOADS", "tests/cuda")

# As tests/cuda/run-modes has them.
MODES = {
    "default": {},
    "reverse": {"VGPU_SCHED": "reverse", "VGPU_CPASYNC": "early", "VGPU_STREAMS": "fifo"},
    "random1": {"VGPU_SCHED": "random:1", "VGPU_STREAMS": "random:1"},
    "garbage": {"VGPU_UNINIT": "0"},
}

# Small, so that a step on the virtual device takes a tenth of a second.
OPTIONS = ("--max-model-len", "512", "--max-num-seqs", "8", "--no-access-log")


def why_not():
    """The sentence why these tests cannot run here, or None."""
    if not llmd.have_binary():
        return "no llmd: set LLMD_BIN"
    if not os.access(os.path.join(VGPU_DIR, "vgpu-run"), os.X_OK):
        return "no virtual CUDA device: configure --with-vgpu=DIR"
    if not os.path.exists(os.path.join(VGPU_BUILD, "lib", "libcudart.so.13")):
        return "the virtual CUDA device is not built: make vgpu"
    module = os.path.join(os.path.dirname(os.path.abspath(llmd.BIN)),
                          "kernels", "cuda", "llmd-cuda.so")
    if not os.path.exists(module):
        return "no CUDA module: %s" % module
    return None


def main():
    """unittest.main, or exit status 77 and a sentence."""
    reason = why_not()
    if reason is not None:
        print(reason)
        sys.exit(77)
    unittest.main()


def expected_notes():
    """Patterns of what the device may note."""
    with open(os.path.join(HERE, "notes.txt"), encoding="utf-8") as file:
        lines = [line.rstrip("\n") for line in file]
    return [re.compile(line.split(" -- ")[0]) for line in lines
            if line and not line.startswith("#")]


def check_report(lines):
    """Fails on findings, limits of the device, and notes that are not explained."""
    bad = [line for line in lines if re.match("(ERROR|UNSUPPORTED): ", line)]
    notes = [line for line in lines if line.startswith("note: ")]
    bad += [line for line in notes if not any(p.search(line) for p in expected_notes())]
    if bad:
        raise AssertionError("the device reported:\n" + "\n".join(lines[:60]))


def environment(mode="default", report=None, preload=None, **more):
    """Of a program on the device; preload: the library in front of it."""
    found = {"VGPU_BUILD": VGPU_BUILD, "VGPU_REPORT": report or "/dev/null"}
    found.update(MODES[mode])
    if preload is not None:
        found["LD_PRELOAD"] = os.path.abspath(os.path.join(PRELOADS, preload))
    found.update(more)
    return found


class CudaLlmd(Llmd):
    """A server on the device. Stopping it asserts besides that the device found
    no broken rule and noted nothing unexplained."""

    def __init__(self, *options, mode="default", env=None, preload=None, autotune=False, **kwargs):
        self.reports = tempfile.TemporaryDirectory(prefix="llmd-vgpu-")
        self.report_path = os.path.join(self.reports.name, "report")
        self.report = []   # once it has ended: what the device found and noted
        options = ("--device", "cuda") + OPTIONS + (
            () if autotune else ("--no-autotune",)) + options
        kwargs.setdefault("seconds", 120)
        super().__init__(*options, env=environment(mode, self.report_path, preload, **(env or {})),
                         prefix=[os.path.join(VGPU_DIR, "vgpu-run")], **kwargs)

    def kill(self):
        super().kill()
        if os.path.exists(self.report_path):
            with open(self.report_path, encoding="utf-8", errors="replace") as file:
                self.report = file.read().split("\n")
        self.reports.cleanup()

    def check_log(self):
        super().check_log()
        check_report(self.report)


# Prompts of other models are token ids: any tokenizer will do.
TOKENIZER = [os.path.join(llmd.DEMO, name) for name in ("tokenizer.json", "tokenizer_config.json")]


def recorded_model(name, folder):
    """A model of tests/data/tiny, which has no tokenizer, with the bundled one's; the
    path, and what was recorded of it."""
    source = os.path.join(llmd.TOP, "tests", "data", "tiny", name)
    target = os.path.join(folder, name)
    os.mkdir(target)
    for file in [os.path.join(source, name) for name in os.listdir(source)] + TOKENIZER:
        os.symlink(file, os.path.join(target, os.path.basename(file)))
    with open(os.path.join(source, "truth.json"), encoding="utf-8") as file:
        return target, json.load(file)


def cpu_llmd(*options, **kwargs):
    return Llmd("--device", "cpu", *(OPTIONS + options), **kwargs)
