# SPDX-License-Identifier: Apache-2.0
"""A scripted OpenAI server for tests of clients: each request gets the answer
that a function of the test names, step by step. Standard library only.

    with MockServer(lambda request: completion(8, gap_s=0.01)) as server:
        ... server.url, server.requests ...

An answer is a Reply: a status, headers and steps. Bytes are one chunk of the
body, a number is a pause in seconds, HOLD waits until the client or the test
ends it, RESET ends the connection with a TCP reset and CLOSE without the last
chunk. The server runs in a thread of its own, on one event loop.
"""
import asyncio
import json
import socket
import struct
import threading
import time

RESET, CLOSE, HOLD = "reset", "close", "hold"


class Request:
    def __init__(self, method, path, headers, body, index):
        self.method = method
        self.path = path
        self.headers = headers      # [(name as sent, value)]
        self.body = body
        self.index = index          # among the POSTs for completions; None for others
        self.at_s = time.monotonic()

    def header(self, name):
        """All values that came under this name."""
        return [v for n, v in self.headers if n.lower() == name]

    def json(self):
        return json.loads(self.body)


class Reply:
    def __init__(self, status=200, reason=None, steps=(), headers=(), content_type=None):
        self.status = status
        self.reason = reason if reason is not None else {
            200: "OK", 404: "Not Found", 503: "Service Unavailable"}.get(status, "Status")
        self.steps = list(steps)
        self.headers = [("Content-Type", content_type or "application/json")] + list(headers)


def event(data, end="\n\n"):
    """One message of a stream."""
    text = data if isinstance(data, str) else json.dumps(data)
    return ("data: " + text + end).encode()


def stream(steps):
    return Reply(steps=steps, content_type="text/event-stream; charset=utf-8")


def usage_of(prompt_tokens, completion_tokens):
    return {"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens,
            "total_tokens": prompt_tokens + completion_tokens}


def text_chunk(text, **more):
    return dict({"choices": [{"index": 0, "text": text}]}, **more)


def delta_chunk(delta, **more):
    return dict({"choices": [{"index": 0, "delta": delta}]}, **more)


def paused(messages, ttft_s, gap_s):
    """The messages with a pause before each."""
    steps = []
    for i, message in enumerate(messages):
        wait_s = ttft_s if i == 0 else gap_s
        steps += ([wait_s] if wait_s else []) + [message]
    return steps


def completion(num_tokens, ttft_s=0, gap_s=0, prompt_tokens=5, end="\n\n", done=True, usage=True):
    """A whole answer of POST /v1/completions."""
    steps = paused([event(text_chunk("x "), end) for _ in range(num_tokens)], ttft_s, gap_s)
    if usage:
        steps.append(event({"choices": [], "usage": usage_of(prompt_tokens, num_tokens)}, end))
    return stream(steps + ([event("[DONE]", end)] if done else []))


def chat(num_tokens, ttft_s=0, gap_s=0, prompt_tokens=5):
    """A whole answer of POST /v1/chat/completions."""
    tokens = [event(delta_chunk({"content": "x "})) for _ in range(num_tokens)]
    return stream([event(delta_chunk({"role": "assistant", "content": ""}))] +
                  paused(tokens, ttft_s, gap_s) +
                  [event({"choices": [], "usage": usage_of(prompt_tokens, num_tokens)}),
                   event("[DONE]")])


def plain(value, status=200):
    """An answer that is one JSON object."""
    return Reply(status, steps=[json.dumps(value).encode()])


def whole_answer(request):
    """What a server without faults says."""
    return (chat if "chat" in request.path else completion)(request.json().get(
        "max_completion_tokens" if "chat" in request.path else "max_tokens", 1))


def tokenize_by_characters(request):
    """/tokenize and /detokenize of a model whose tokens are characters."""
    if request.path == "/tokenize":
        return plain({"tokens": [ord(c) for c in request.json()["prompt"]]})
    if request.path == "/detokenize":
        return plain({"prompt": "".join(map(chr, request.json()["tokens"]))})
    return None


def tokenize_by_words(request):
    """The same, of words; there is no way back."""
    if request.path == "/tokenize":
        return plain({"tokens": list(range(len(request.json()["prompt"].split())))})
    return None


class MockServer:
    """`answer(request)` gives the Reply of each POST for completions. Of other
    requests GET /v1/models is known, and what `other(request)` answers; the
    rest is 404."""

    def __init__(self, answer=whole_answer, other=lambda request: None, tls=None):
        self.answer = answer
        self.other = other
        self.tls = tls              # an ssl.SSLContext: HTTPS
        self.models = [{"id": "mock", "root": "org/mock"}]
        self.requests = []          # all, in the order in which they came
        self.num_open = 0           # answers under way
        self.max_open = 0
        self.loop = None
        self.server = None
        self.connections = set()    # tasks
        self.num_connections = 0    # ever
        self.num_posts = 0
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.started = threading.Event()
        self.stopping = threading.Lock()

    # ---- life ----

    def __enter__(self):
        self.thread.start()
        self.started.wait(10)
        return self

    def __exit__(self, *_):
        self.stop()

    def _run(self):
        self.loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self.loop)
        self.server = self.loop.run_until_complete(
            asyncio.start_server(self._connection, "127.0.0.1", 0, backlog=1024, ssl=self.tls))
        self.port = self.server.sockets[0].getsockname()[1]
        self.url = "%s://127.0.0.1:%d" % ("https" if self.tls else "http", self.port)
        self.started.set()
        self.loop.run_forever()
        self.loop.run_until_complete(asyncio.sleep(0))
        self.loop.close()

    async def _abort(self):
        self.server.close()
        for task in list(self.connections):
            task.cancel()
        await asyncio.gather(*self.connections, return_exceptions=True)

    def stop(self):
        """The server dies: no listener, all connections reset. Any thread, any
        number of times."""
        with self.stopping:
            if self.thread.is_alive():
                asyncio.run_coroutine_threadsafe(self._abort(), self.loop).result(10)
                self.loop.call_soon_threadsafe(self.loop.stop)
                self.thread.join(10)

    @property
    def posts(self):
        return [r for r in self.requests if r.index is not None]

    # ---- one connection ----

    async def _connection(self, reader, writer):
        self.connections.add(asyncio.current_task())
        self.num_connections += 1
        try:
            while True:
                request = await self._read(reader)
                if request is None or not await self._write(request, writer):
                    break
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        except asyncio.CancelledError:
            reset(writer)
        finally:
            self.connections.discard(asyncio.current_task())
            writer.close()

    async def _read(self, reader):
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return None
        first, *lines = head.decode("latin-1").split("\r\n")[:-2]
        method, path, _ = first.split(" ", 2)
        headers = [tuple(part.strip() for part in line.split(":", 1)) for line in lines]
        length = [int(v) for n, v in headers if n.lower() == "content-length"]
        body = await reader.readexactly(length[0]) if length else b""
        is_post = method == "POST" and path.endswith("completions")
        request = Request(method, path, headers, body, self.num_posts if is_post else None)
        self.num_posts += is_post
        self.requests.append(request)
        return request

    def _reply_to(self, request):
        if request.index is not None:
            return self.answer(request)
        if request.method == "GET" and request.path == "/v1/models":
            return plain({"object": "list", "data": self.models})
        return self.other(request) or plain({"error": {"message": "no such path"}}, 404)

    async def _write(self, request, writer):
        """True if the connection goes on."""
        reply = self._reply_to(request)
        self.num_open += 1
        self.max_open = max(self.max_open, self.num_open)
        try:
            if not await self._write_steps(reply, writer):
                return False
        finally:
            self.num_open -= 1  # before the client can know
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        return True

    async def _write_steps(self, reply, writer):
        """All but the last chunk; False if there is to be none."""
        head = ["HTTP/1.1 %d %s" % (reply.status, reply.reason)]
        head += ["%s: %s" % pair for pair in reply.headers] + ["Transfer-Encoding: chunked"]
        writer.write(("\r\n".join(head) + "\r\n\r\n").encode())
        for step in reply.steps:
            if isinstance(step, bytes):
                writer.write(b"%x\r\n%s\r\n" % (len(step), step))
                await writer.drain()
                await asyncio.sleep(0)
            elif step == RESET:
                await writer.drain()
                await asyncio.sleep(0.05)   # or what was sent is lost with it
                reset(writer)
                return False
            elif step == CLOSE:
                return False
            elif step == HOLD:
                await asyncio.sleep(3600)
            else:
                await asyncio.sleep(step)
        return True


def reset(writer):
    sock = writer.get_extra_info("socket")
    if sock is not None and sock.fileno() >= 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
