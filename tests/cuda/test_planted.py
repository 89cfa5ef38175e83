#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Mistakes planted in the CUDA module are found by the virtual CUDA device.

A proof that finds nothing is worth what it would have found. Each mistake of the
table below is made in a copy of one source file, which is compiled and linked
with the build's other objects; then llmd-bench runs a small model with it, and
must end with the device's status and a finding that says what is wrong. Stale
data breaks no rule of the device: of that the CPU must say that tokens are wrong.
Without a mistake the same runs pass first.

usage: test_planted.py [NAME...]     in the build folder; make check-planted

Environment, besides that of backend.py (make gives it):
  LLMD_BENCH     the program
  PLANT_NVCC     compiles a kernel: up to the names of files
  PLANT_CC       compiles a host file
  PLANT_LINK     links the module: `PLANT_LINK OUTPUT OBJECTS PLANT_LIBS`
  PLANT_OBJECTS  all of the module's objects
  PLANT_LIBS
Exit status 77 when there is no virtual device.
"""

import concurrent.futures
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import backend  # noqa: E402

TOP = os.path.dirname(os.path.dirname(backend.HERE))
FOUND = 77   # the device's exit status after a finding
# Requests at once, whose tokens the CPU judges; and what integers of another step or
# sequence show there, by what comes first: two rows written to one place, an address
# out of bounds, wrong tokens, or no tokens.
ANSWERS = "Answers.test_greedy_streams_in_company"
STALE = (r"race between blocks: global write|out-of-bounds global|below the CPU's"
         r"|token id \d+ is not in")

# name: file, text that is there once, what is put in its place, the finding, and
# what shows it: a test of test_http.py, else bench().
MISTAKES = {
    "barrier left out": (
        "norm.cu",
        "        partial[threadIdx.x / 32] = x;\n    __syncthreads();\n",
        "        partial[threadIdx.x / 32] = x;\n",
        "shared memory race: read .* with no barrier in between"),
    "barrier left out of a loop": (
        "attention_prefill.cu",
        "        cp_async_wait<0>();\n        __syncthreads();\n    }\n",
        "        cp_async_wait<0>();\n    }\n",
        "shared memory"),
    "wait for one copy too few": (
        "attention_prefill.cu",
        "    init_rows<Cut>(w, r);\n    cp_async_wait<0>();\n",
        "    init_rows<Cut>(w, r);\n    cp_async_wait<1>();\n",
        "an asynchronous copy into it .* has not been waited for"),
    "wait for one copy too few in a ring": (
        "gemm_skinny.cu",
        "cp_async_wait<R::stages - 1>()",
        "cp_async_wait<R::stages>()",
        "an asynchronous copy into it .* has not been waited for"),
    "pages of another size": (
        "rope.cu",
        "(int64_t)page * a.num_kv_heads",
        "(int64_t)page * a.num_heads",
        "out-of-bounds global write"),
    "padding rows are written": (
        "rope.cu",
        "    if (slot < 0)\n        return;\n",
        "",
        "out-of-bounds global write"),
    "no wait for the kernel ahead": (
        "elementwise.cu",
        "    pdl_launch_dependents();\n    pdl_wait();\n    if (i >= num_vectors)",
        "    pdl_launch_dependents();\n    if (i >= num_vectors)",
        "before griddepcontrol.wait: the kernel ahead, which may still run"),
    "page of the entry before": (
        "step_block.c",
        "tables[i] = MAX(b->block_tables[i], 0);",
        "tables[i] = MAX(b->block_tables[i == 0 ? 0 : i - 1], 0);",
        STALE, ANSWERS),
    "pinned block of a step under way": (
        "step.c",
        "&dev->slots[(dev->first_slot + dev->num_slots) % MAX_STEPS]",
        "&dev->slots[0]",
        STALE, ANSWERS),
    "pinned address baked into a recorded step": (
        "step.c",
        "    int rc = copy_block(dev, batch);\n"
        "    if (rc == 0 && dev->recording != NULL)\n"
        "        rc = see_again(dev, dev->recording);\n",
        "    int rc = 0;\n"
        "    if (dev->recording != NULL)\n"
        "        rc = see_again(dev, dev->recording);\n"
        "    if (rc == 0)\n"
        "        rc = copy_block(dev, batch);\n",
        STALE, ANSWERS),
}

CONFIG = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
          "hidden_size": 512, "intermediate_size": 512, "num_hidden_layers": 2,
          "num_attention_heads": 8, "num_key_value_heads": 2, "head_dim": 64,
          "vocab_size": 1024, "max_position_embeddings": 512, "rms_norm_eps": 1e-5,
          "rope_theta": 10000.0, "tie_word_embeddings": False, "torch_dtype": "bfloat16"}


def words(name):
    return shlex.split(os.environ[name])


def compile_patched(folder, mistake):
    """The module with the mistake, in folder, beside the program."""
    name, old, new = mistake[:3]
    source = os.path.join(TOP, "kernels", "cuda", name)
    with open(source, encoding="utf-8") as file:
        text = file.read()
    if text.count(old) != 1:
        raise AssertionError("%s holds this text %d times, not once: %r; change the table" % (
            source, text.count(old), old))
    patched = os.path.join(folder, name)
    with open(patched, "w", encoding="utf-8") as file:
        file.write(text.replace(old, new))
    made = patched + ".o"
    subprocess.run(words("PLANT_NVCC" if name.endswith(".cu") else "PLANT_CC")
                   + ["-c", patched, "-o", made], check=True, stderr=subprocess.STDOUT,
                   stdout=subprocess.PIPE)
    stem = name.split(".")[0]
    of_source = re.compile(r"kernels/cuda/([^/]*-)?%s\.(o|cuo)$" % stem)
    objects = words("PLANT_OBJECTS")
    others = [o for o in objects if not of_source.match(o)]
    assert len(others) == len(objects) - 1, (name, objects)
    link(folder, [made] + others)


def link(folder, objects):
    target = os.path.join(folder, "kernels", "cuda")
    os.makedirs(target)
    subprocess.run(words("PLANT_LINK") + [os.path.join(target, "llmd-cuda.so")] + objects
                   + words("PLANT_LIBS"), check=True)


def bench(folder):
    """Runs the model with the module in folder: status, output, report. Prompts come
    in chunks; then three sequences decode in steps that are recorded for four."""
    program = shutil.copy2(os.environ["LLMD_BENCH"], os.path.join(folder, "llmd-bench"))
    with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as file:
        json.dump(CONFIG, file)
    report = os.path.join(folder, "report")
    command = [os.path.join(backend.VGPU_DIR, "vgpu-run"), program, "throughput", "--model",
               folder, "--load-format", "dummy", "--device", "cuda", "--no-autotune",
               "--max-model-len", "256", "--max-num-seqs", "4", "--num-gpu-blocks-override", "48",
               "--max-num-batched-tokens", "64", "--dataset-name", "random", "--num-prompts", "3",
               "--random-input-len", "100", "--random-output-len", "10",
               "--random-range-ratio", "0.2"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=300,
                          stderr=subprocess.STDOUT, check=False,
                          env=dict(os.environ, **backend.environment(report=report)))
    lines = []
    if os.path.exists(report):
        with open(report, encoding="utf-8") as file:
            lines = file.read().split("\n")
    return done.returncode, done.stdout.decode("utf-8", "replace"), lines


def answers(folder, test):
    """The same of a test of the answers that a program with that module gives."""
    program = shutil.copy2(backend.llmd.BIN, os.path.join(folder, "llmd"))
    done = subprocess.run([sys.executable, os.path.join(backend.HERE, "test_http.py"), test],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=300,
                          stderr=subprocess.STDOUT, check=False,
                          env=dict(os.environ, LLMD_BIN=program))
    return done.returncode, done.stdout.decode("utf-8", "replace")


def plant(name):
    """None, or why the mistake was not found."""
    start = time.monotonic()
    _, _, _, finding, *test = MISTAKES[name]
    with tempfile.TemporaryDirectory(prefix="llmd-planted-") as folder:
        compile_patched(folder, MISTAKES[name])
        if test:
            status, output = answers(folder, test[0])
            said = re.findall(r"^ERROR: (?!test|tearDown).*|below the CPU's|token id \d+ is not in",
                              output, re.MULTILINE)
        else:
            status, output, lines = bench(folder)
            said = [line for line in lines if line.startswith("ERROR: ")]
    found = said and re.search(finding, said[0]) and status == (1 if test else FOUND)
    print("%-42s %5.1f s  %s" % (name, time.monotonic() - start,
                                 said[0][:100] if said else "NOT FOUND"), flush=True)
    return None if found else "%s: status %d, wanted '%s'\n%s\n%s" % (
        name, status, finding, output[-3000:], "\n".join(said))


def main():
    reason = backend.why_not()
    if reason is not None:
        print(reason)
        sys.exit(77)
    names = sys.argv[1:] or list(MISTAKES)
    with tempfile.TemporaryDirectory(prefix="llmd-planted-") as folder:
        link(folder, words("PLANT_OBJECTS"))
        status, output, lines = bench(folder)
        assert status == 0, output[-5000:]
        backend.check_report(lines)
        status, output = answers(folder, ANSWERS)
        assert status == 0, output[-5000:]
    print("no mistake: nothing found")
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        missed = [m for m in pool.map(plant, names) if m is not None]
    for text in missed:
        print("\nMISSED " + text)
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
