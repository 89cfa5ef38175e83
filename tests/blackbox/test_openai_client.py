#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The official Python client of OpenAI against llmd.

usage: test_openai_client.py [unittest's options]

Needs requirements.txt. Serves the bundled model; LLMD_CLIENT_MODEL names
another directory. Exit status 77 when the client or the binary is missing.
"""

import asyncio
import os
import sys
import threading
import time
import unittest

try:
    import openai
except ImportError:
    openai = None

import llmd
from llmd import Llmd

MODEL = os.environ.get("LLMD_CLIENT_MODEL", llmd.DEMO)
PROMPT = "Once upon a time there was"


def client_of(server, **fields):
    fields.setdefault("api_key", "none")
    fields.setdefault("max_retries", 0)
    return openai.OpenAI(base_url="http://127.0.0.1:%d/v1" % server.port,
                         timeout=llmd.limit(60), **fields)


class Client(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Llmd("--max-model-len", "2048", model=MODEL)
        cls.client = client_of(cls.server)

    @classmethod
    def tearDownClass(cls):
        cls.client.close()
        cls.server.wait_idle()
        cls.server.stop()

    def create(self, **fields):
        fields.setdefault("prompt", PROMPT)
        return self.client.completions.create(model="m", **fields)

    def test_models_list(self):
        models = list(self.client.models.list())
        self.assertEqual([m.id for m in models], ["m"])
        self.assertEqual(models[0].object, "model")
        self.assertIsInstance(models[0].created, int)

    def test_models_retrieve(self):
        self.assertEqual(self.client.models.retrieve("m").id, "m")
        with self.assertRaises(openai.NotFoundError):
            self.client.models.retrieve("org/other")

    def test_plain(self):
        found = self.create(max_tokens=12, temperature=0)
        self.assertEqual(found.object, "text_completion")
        self.assertEqual(found.model, "m")
        self.assertTrue(found.id.startswith("cmpl-"))
        self.assertLess(abs(found.created - time.time()), 100)
        self.assertIn(found.choices[0].finish_reason, ("length", "stop"))
        self.assertEqual(found.usage.total_tokens,
                         found.usage.prompt_tokens + found.usage.completion_tokens)
        self.assertTrue(found.system_fingerprint)

    def test_request_id_header(self):
        raw = self.client.completions.with_raw_response.create(
            model="m", prompt="a", max_tokens=1)
        self.assertTrue(raw.headers.get("x-request-id"))
        found = raw.parse()
        self.assertTrue(found._request_id)

    def test_stream_equals_plain(self):
        fields = {"max_tokens": 30, "temperature": 0}
        plain = self.create(**fields).choices[0]
        chunks = list(self.create(stream=True, **fields))
        self.assertEqual("".join(c.choices[0].text for c in chunks), plain.text)
        self.assertEqual(chunks[-1].choices[0].finish_reason, plain.finish_reason)
        self.assertTrue(all(c.choices[0].finish_reason is None for c in chunks[:-1]))
        self.assertTrue(all(c.usage is None for c in chunks))

    def test_stream_usage(self):
        chunks = list(self.create(max_tokens=7, stream=True, extra_body={"ignore_eos": True},
                                  stream_options={"include_usage": True}))
        self.assertEqual(chunks[-1].choices, [])
        self.assertEqual(chunks[-1].usage.completion_tokens, 7)
        self.assertEqual(len(chunks), 8)

    def test_logprobs(self):
        logprobs = self.create(max_tokens=5, temperature=0, logprobs=3).choices[0].logprobs
        for values in (logprobs.tokens, logprobs.token_logprobs, logprobs.top_logprobs,
                       logprobs.text_offset):
            self.assertEqual(len(values), len(logprobs.tokens))
        for token, value, top in zip(logprobs.tokens, logprobs.token_logprobs,
                                     logprobs.top_logprobs):
            self.assertEqual(top[token], value)
            self.assertEqual(max(top.values()), value)
            self.assertIn(len(top), (2, 3))

    def test_echo(self):
        found = self.create(max_tokens=3, echo=True, logprobs=1).choices[0]
        self.assertTrue(found.text.startswith(PROMPT))
        self.assertIsNone(found.logprobs.token_logprobs[0])

    def test_several_choices(self):
        found = self.create(max_tokens=8, n=4, temperature=1, seed=1, prompt=["a", "b"])
        self.assertEqual([c.index for c in found.choices], list(range(8)))

    def test_stop(self):
        text = self.create(max_tokens=40, temperature=0).choices[0].text
        stop = text[6:9]
        found = self.create(max_tokens=40, temperature=0, stop=[stop]).choices[0]
        self.assertEqual(found.text, text[:text.index(stop)])
        self.assertEqual(found.finish_reason, "stop")
        self.assertEqual(found.model_extra["stop_reason"], stop)

    def test_prompt_of_token_ids(self):
        found = self.create(max_tokens=4, temperature=0, extra_body={"return_token_ids": True})
        ids = found.choices[0].model_extra["prompt_token_ids"]
        again = self.create(prompt=ids, max_tokens=4, temperature=0)
        self.assertEqual(again.choices[0].text, found.choices[0].text)

    def test_extras_of_vllm(self):
        extra = {"top_k": 5, "min_p": 0.05, "repetition_penalty": 1.1, "ignore_eos": True,
                 "min_tokens": 2, "stop_token_ids": [5], "skip_special_tokens": False,
                 "return_token_ids": True, "truncate_prompt_tokens": 3}
        found = self.create(max_tokens=6, temperature=0.8, seed=2, extra_body=extra)
        self.assertEqual(found.usage.prompt_tokens, 3)
        self.assertEqual(len(found.choices[0].model_extra["token_ids"]),
                         found.usage.completion_tokens)

    def test_every_argument_of_openai(self):
        found = self.create(max_tokens=4, temperature=0.5, top_p=0.9, n=1, logit_bias={"5": -100},
                            presence_penalty=0.1, frequency_penalty=0.1, seed=1, user="me",
                            best_of=1, echo=False, stop=None, suffix=None, stream=False)
        self.assertLessEqual(found.usage.completion_tokens, 4)

    def running(self):
        return self.server.gauges()[0]

    def test_break_cancels(self):
        stream = self.create(max_tokens=1900, stream=True, n=4, extra_body={"ignore_eos": True})
        for number, _ in enumerate(stream):
            if number == 3:
                llmd.wait_for("4 running", lambda: self.running() == 4, 2)
                break
        stream.close()
        start = time.monotonic()
        llmd.wait_for("no request runs", lambda: self.running() == 0, 1)
        self.assertLess(time.monotonic() - start, llmd.limit(0.5))

    def test_bad_request(self):
        for fields, param in (({"temperature": 3}, "temperature"), ({"max_tokens": -1},
                              "max_tokens"), ({"n": 100000}, "n"), ({"top_p": 0}, "top_p"),
                              ({"logprobs": 1000}, "logprobs"), ({"prompt": ""}, "prompt")):
            with self.assertRaises(openai.BadRequestError) as caught:
                self.create(**fields)
            self.assertEqual(caught.exception.param, param)
            self.assertEqual(caught.exception.status_code, 400)
            self.assertTrue(caught.exception.request_id)

    def test_context_length(self):
        with self.assertRaises(openai.BadRequestError) as caught:
            self.create(prompt="Once upon a time " * 5000)
        self.assertIn("maximum context length is 2048 tokens", str(caught.exception))

    def test_not_found(self):
        with self.assertRaises(openai.NotFoundError) as caught:
            self.client.completions.create(model="gpt-4", prompt="a")
        self.assertEqual(caught.exception.param, "model")
        with self.assertRaises(openai.NotFoundError):
            self.client.embeddings.create(model="m", input="a")

    def test_async_streams(self):
        asyncio.run(self.many_streams())

    async def many_streams(self):
        async with openai.AsyncOpenAI(base_url="http://127.0.0.1:%d/v1" % self.server.port,
                                      api_key="none", max_retries=0) as client:
            texts = await asyncio.gather(*[self.one_stream(client, i) for i in range(32)])
        for i, text in enumerate(texts):
            self.assertEqual(text, self.create(
                max_tokens=20 + i, temperature=1, seed=i,
                extra_body={"ignore_eos": True}).choices[0].text, "stream %d" % i)

    async def one_stream(self, client, i):
        stream = await client.completions.create(
            model="m", prompt=PROMPT, max_tokens=20 + i, temperature=1, seed=i, stream=True,
            extra_body={"ignore_eos": True})
        text, chunks = "", 0
        async for chunk in stream:
            text += chunk.choices[0].text
            chunks += 1
        self.assertEqual(chunks, 20 + i)
        return text


class Keys(unittest.TestCase):
    def test_authentication_error(self):
        with Llmd("--api-key", "right", model=MODEL) as server:
            with client_of(server, api_key="wrong") as client:
                for call in (client.models.list, lambda: client.completions.create(
                        model="m", prompt="a")):
                    with self.assertRaises(openai.AuthenticationError) as caught:
                        call()
                    self.assertEqual(caught.exception.code, "invalid_api_key")
            with client_of(server, api_key="right") as client:
                self.assertEqual(len(client.models.list().data), 1)


class Retries(unittest.TestCase):
    def test_full_queue_is_retried(self):
        """503 with Retry-After: the client comes back by itself and is served."""
        with Llmd("--max-num-queued-reqs", "1", "--max-num-seqs", "1", model=MODEL) as server:
            stream = server.stream(PROMPT, max_tokens=1900, ignore_eos=True)
            next(iter(stream))
            with client_of(server) as client:
                with self.assertRaises(openai.InternalServerError) as caught:
                    client.completions.create(model="m", prompt="a", max_tokens=1)
            self.assertEqual(caught.exception.status_code, 503)
            self.assertEqual(caught.exception.code, "queue_full")
            wait = float(caught.exception.response.headers["retry-after"])
            self.assertTrue(0 < wait <= 120, wait)
            leaver = threading.Timer(0.2, stream.close)
            leaver.start()
            with client_of(server, max_retries=2) as client:
                found = client.completions.create(model="m", prompt="a", max_tokens=1)
            self.assertEqual(len(found.choices), 1)
            leaver.join()


if __name__ == "__main__":
    if openai is None:
        print("test_openai_client: no openai package (pip install -r requirements.txt)")
        sys.exit(77)
    if not llmd.have_binary():
        print("test_openai_client: no program %s (set LLMD_BIN)" % llmd.BIN)
        sys.exit(77)
    unittest.main()
