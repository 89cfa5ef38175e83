#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""llmd-bench over the bundled model: the printed lines, the JSON, and that they
agree with each other and with what was asked for.

usage: test_llmd_bench.py [unittest's options]

Environment: LLMD_BENCH_BIN, the program (default ./bench/llmd-bench). Standard
library only. Exit status 77 when there is no binary.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BIN = os.environ.get("LLMD_BENCH_BIN", "./bench/llmd-bench")
DEMO = os.path.join(TOP, "share", "demo")
NUMBER = r"(\d+(?:\.\d+)?(?:e-?\d+)?)"
THROUGHPUT = re.compile("^Throughput: %s requests/s, %s total tokens/s, %s output tokens/s\n"
                        "Total num prompt tokens:  (\\d+)\nTotal num output tokens:  (\\d+)\n"
                        % (NUMBER, NUMBER, NUMBER), re.M)
PERCENTAGES = ["10", "25", "50", "75", "90", "99"]
THROUGHPUT_KEYS = ["model_id", "elapsed_time", "num_requests", "total_num_tokens",
                   "requests_per_second", "tokens_per_second", "llmd_bench"]
LATENCY_KEYS = ["model_id", "avg_latency", "latencies", "percentiles", "llmd_bench"]

# Those of `vllm bench throughput` 0.33.0 and `vllm bench latency` that are no engine
# arguments, and engine arguments that people give.
OPTIONS_OF_VLLM = [[name, "1"] for name in (
    "--asr-max-audio-len-sec", "--asr-min-audio-len-sec", "--custom-output-len",
    "--dataset-path", "--hf-max-batch-size", "--hf-name", "--hf-split", "--hf-subset",
    "--input-len", "--lora-assignment", "--lora-path", "--n", "--num-prompts", "--num-warmups",
    "--output-json", "--output-len", "--prefix-len", "--prefix-repetition-num-prefixes",
    "--prefix-repetition-output-len", "--prefix-repetition-prefix-len",
    "--prefix-repetition-suffix-len", "--random-batch-size", "--random-input-len",
    "--random-mm-base-items-per-request", "--random-mm-bucket-config",
    "--random-mm-limit-mm-per-prompt", "--random-mm-num-mm-items-range-ratio",
    "--random-output-len", "--random-prefix-len", "--model", "--max-model-len", "--seed",
    "--max-num-seqs", "--max-num-batched-tokens", "--gpu-memory-utilization", "--block-size",
    "--tensor-parallel-size", "--pipeline-parallel-size", "--data-parallel-size", "--tokenizer",
    "--tokenizer-mode", "--quantization", "--kv-cache-dtype", "--speculative-config")]
OPTIONS_OF_VLLM += [[name] for name in (
    "--async-engine", "--disable-detokenize", "--disable-log-stats", "--enable-multimodal-chat",
    "--disable-frontend-multiprocessing", "--hf-enable-torch-compile", "--no-oversample",
    "--no-reranker", "--prequeue-requests", "--profile", "--enforce-eager",
    "--enable-chunked-prefill", "--trust-remote-code", "--enable-lora")]
OPTIONS_OF_VLLM += [["--backend", "vllm"], ["--dataset-name", "random"],
                    ["--random-range-ratio", "0.5"], ["--dtype", "auto"],
                    ["--load-format", "dummy"]]
OPTIONS_OF_VLLM += [["latency", name, "1"] for name in (
    "--batch-size", "--num-iters", "--num-iters-warmup", "--n")]
OPTIONS_OF_VLLM += [["latency", "--use-beam-search"]]


def bench(*words, model=DEMO, status=0):
    """Runs it; what it printed, what it said, and its JSON."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "out.json")
        run = subprocess.run([BIN, *words, "--model", model, "--output-json", path],
                             capture_output=True, text=True, timeout=300)
        if run.returncode != status:
            raise AssertionError("status %d:\n%s%s" % (run.returncode, run.stdout, run.stderr))
        saved = None
        if os.path.exists(path):
            with open(path, encoding="utf-8") as file:
                saved = json.load(file)
        return run.stdout, run.stderr, saved


class Throughput(unittest.TestCase):
    def check(self, out, saved, num, prompt_tokens, output_tokens):
        lines = THROUGHPUT.search(out)
        self.assertTrue(lines, out)
        self.assertEqual(list(saved), THROUGHPUT_KEYS)
        self.assertEqual(saved["num_requests"], num)
        self.assertEqual(int(lines[5]), output_tokens)
        low, high = prompt_tokens
        self.assertTrue(low <= int(lines[4]) <= high, lines[4])
        self.assertEqual(saved["total_num_tokens"], int(lines[4]) + int(lines[5]))
        seconds = saved["elapsed_time"]
        self.assertAlmostEqual(saved["requests_per_second"], num / seconds)
        self.assertAlmostEqual(saved["tokens_per_second"], saved["total_num_tokens"] / seconds)
        self.assertAlmostEqual(saved["llmd_bench"]["output_throughput"], output_tokens / seconds)
        self.assertEqual(lines[1], "%.2f" % saved["requests_per_second"])
        self.assertEqual(lines[2], "%.2f" % saved["tokens_per_second"])
        self.assertEqual(lines[3], "%.2f" % saved["llmd_bench"]["output_throughput"])

    def test_random(self):
        out, _, saved = bench("throughput", "--num-prompts", "12", "--input-len", "30",
                              "--output-len", "7")
        # Random text does not always have the length that was aimed at.
        self.check(out, saved, 12, (12 * 28, 12 * 34), 12 * 7)
        self.assertEqual(saved["model_id"], DEMO)
        self.assertGreaterEqual(saved["llmd_bench"]["resources"]["cpu_percent"]["mean"], 0)
        self.assertRegex(out, r"(?m)^CPU usage \(%\): +\d")

    def test_names_of_vllm(self):
        out, _, saved = bench("--num-prompts", "3", "--random-input-len", "20",
                              "--random-output-len", "5", "--input-len", "9", "--output-len", "9",
                              "--disable-detokenize", "--num-warmups", "2")
        self.check(out, saved, 3, (3 * 18, 3 * 23), 3 * 5)
        self.assertTrue(out.startswith("Warming up with 2 requests...\n"), out)

    def test_prequeued(self):
        out, _, saved = bench("--num-prompts", "20", "--input-len", "20", "--output-len", "5",
                              "--prequeue-requests", "--backend", "vllm", "--n", "2")
        self.check(out, saved, 20, (20 * 18, 20 * 23), 2 * 20 * 5)

    def test_several_outputs(self):
        out, _, saved = bench("--num-prompts", "3", "--input-len", "20", "--output-len", "5",
                              "--n", "4")
        self.check(out, saved, 3, (3 * 18, 3 * 23), 3 * 4 * 5)

    def test_file(self):
        with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
            for i in range(5):
                file.write(json.dumps({"prompt": "word " * (i + 1), "output_tokens": i + 1}) + "\n")
            file.flush()
            out, _, saved = bench("--dataset-name", "custom", "--dataset-path", file.name,
                                  "--num-prompts", "5")
        self.check(out, saved, 5, (15, 60), 15)

    def test_file_with_fewer_prompts(self):
        with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
            file.write(2 * (json.dumps({"prompt": "some words", "output_tokens": 9}) + "\n"))
            file.flush()
            words = ["--dataset-name", "custom", "--dataset-path", file.name, "--num-prompts", "7",
                     "--custom-output-len", "4"]
            out, _, saved = bench(*words)
            self.check(out, saved, 7, (14, 63), 7 * 4)
            out, _, saved = bench(*words, "--no-oversample")
            self.check(out, saved, 2, (4, 18), 2 * 4)

    def test_few_at_once(self):
        out, _, saved = bench("--num-prompts", "9", "--input-len", "20", "--output-len", "5",
                              "--max-num-seqs", "2")
        self.check(out, saved, 9, (9 * 18, 9 * 23), 45)
        self.assertEqual(saved["llmd_bench"]["max_num_seqs"], 2)

    def test_floor(self):
        out, _, saved = bench("--num-prompts", "30", "--input-len", "50", "--output-len", "50",
                              "--roofline")
        own = saved["llmd_bench"]
        self.assertAlmostEqual(own["reached_percent"],
                               100 * own["floor_s"] / saved["elapsed_time"])
        self.assertAlmostEqual(own["floor_output_throughput"], 1500 / own["floor_s"], delta=0.01)
        self.assertTrue(0 < own["reached_percent"] < 110, own)
        self.assertIn("%.2f" % own["reached_percent"], out)

    def test_random_weights_need_config_alone(self):
        with tempfile.TemporaryDirectory() as folder:
            shutil.copy(os.path.join(DEMO, "config.json"), folder)
            out, _, saved = bench("--load-format", "dummy", "--num-prompts", "4", "--input-len",
                                  "16", "--output-len", "3", model=folder)
        self.check(out, saved, 4, (64, 64), 12)

    def test_interrupt(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "out.json")
            run = subprocess.Popen([BIN, "--model", DEMO, "--num-prompts", "4000", "-o", path],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            while run.stderr.readline() == "":    # the memory plan: the model is loaded
                time.sleep(0.01)
            time.sleep(1.5)
            run.send_signal(signal.SIGINT)
            out, err = run.communicate(timeout=60)
            with open(path, encoding="utf-8") as file:
                saved = json.load(file)
        self.assertEqual(run.returncode, 1)
        self.assertIn("interrupted", err)
        self.assertTrue(THROUGHPUT.search(out), out)
        self.assertLess(saved["num_requests"], 4000)


class Latency(unittest.TestCase):
    def test_lines_and_json(self):
        out, _, saved = bench("latency", "--batch-size", "3", "--input-len", "20",
                              "--output-len", "6", "--num-iters", "5", "--num-iters-warmup", "1")
        self.assertEqual(list(saved), LATENCY_KEYS)
        self.assertEqual(len(saved["latencies"]), 5)
        self.assertEqual(list(saved["percentiles"]), PERCENTAGES)
        self.assertAlmostEqual(saved["avg_latency"], sum(saved["latencies"]) / 5)
        self.assertEqual(saved["percentiles"]["50"], sorted(saved["latencies"])[2])
        lines = out.splitlines()
        self.assertEqual(lines[0], "Warming up...")
        self.assertEqual(lines[1], "Avg latency: %r seconds" % saved["avg_latency"])
        self.assertEqual(lines[2:8], ["%s%% percentile latency: %r seconds"
                                      % (p, saved["percentiles"][p]) for p in PERCENTAGES])
        self.assertAlmostEqual(saved["llmd_bench"]["output_throughput"],
                               18 / saved["avg_latency"], places=3)


class Refused(unittest.TestCase):
    def check(self, words, said, status=1, model=DEMO):
        out, err, saved = bench(*words, model=model, status=status)
        self.assertIn(said, err)
        self.assertEqual(out, "")
        self.assertIsNone(saved)

    def test_options(self):
        for words, said in (
                (["serve"], "'serve'"), (["--num-prompts", "0"], "num-prompts"),
                (["--dataset-name", "custom"], "--dataset-path"),
                (["--dataset-path", "x"], "--dataset-path"),
                (["--max-num-seqs", "9", "--max-num-batched-tokens", "8"],
                 "--max-num-batched-tokens"), (["--nonsense"], "--nonsense")):
            with self.subTest(words):
                self.check(words, said, status=2)

    def test_options_of_vllm_are_known(self):
        for words in OPTIONS_OF_VLLM:
            with self.subTest(words):
                run = subprocess.run([BIN, *words, "--version"], capture_output=True, text=True,
                                     timeout=60)
                if run.returncode != 0:
                    self.assertRegex(run.stderr, "^llmd-bench: option '%s' is not supported: ."
                                     % words[-2 if words[-1] == "1" else -1])

    def test_no_option_is_there_twice(self):
        text = subprocess.run([BIN, "--help"], capture_output=True, text=True, timeout=60).stdout
        names = re.findall(r"^ {2,6}(?:-\w, )?--(?:\[no-\])?([a-z-]+)", text, re.M)
        self.assertGreater(len(names), 40)
        self.assertEqual(sorted(names), sorted(set(names)))

    def test_too_long(self):
        self.check(["--input-len", "2000", "--output-len", "100"], "--max-model-len")
        self.check(["--max-model-len", "50"], "--max-model-len")

    def test_model(self):
        self.check([], "/nonexistent", model="/nonexistent")
        self.check(["--dataset-name", "custom", "--dataset-path", "/nonexistent"], "/nonexistent")


if __name__ == "__main__":
    if not os.access(BIN, os.X_OK):
        print("no llmd-bench at %s" % BIN)
        sys.exit(77)
    unittest.main()
