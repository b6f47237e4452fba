"""What the tests of the HTTP server share: a listener on a loop in a thread, and a client of raw bytes."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any, NamedTuple

import pytest
from hypothesis import strategies as st

from bentoml._http import RawHeader, Request, Response
from bentoml.server import http1, sockets
from bentoml.server.limits import Limits
from bentoml.server.listener import Listener
from bentoml.server.shared import Handler

LOOPS = ["asyncio", "uvloop"]
#: Long enough for a loaded machine; only a test that fails ever waits so long.
PATIENCE_S = 20.0

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
LAST_GET = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def post(body: bytes, path: bytes = b"/") -> bytes:
    return b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (path, len(body), body)


#: Pieces of which hypothesis builds what clients might send.
FRAGMENTS = st.one_of(
    st.binary(max_size=40),
    st.sampled_from(
        [
            b"GET / HTTP/1.1\r\n", b"POST /a?b HTTP/1.1\r\n", b"HEAD / HTTP/1.0\r\n", b"Host: x\r\n", b"\r\n",
            b"Content-Length: 5\r\n", b"hello", b"Transfer-Encoding: chunked\r\n", b"5\r\nhello\r\n",
            b"0\r\n\r\n", b"Connection: close\r\n", b"Connection: Upgrade\r\n", b"Upgrade: h2c\r\n",
            b"Expect: 100-continue\r\n", GET, post(b"x"),
        ]
    ),
)  # fmt: skip


def echo(request: Request) -> Response:
    return Response(request.body, content_type=b"application/json")


async def echo_later(request: Request) -> Response:
    await asyncio.sleep(0)
    return echo(request)


async def numbers(count: int) -> AsyncIterator[bytes]:
    for number in range(count):
        yield b"%d," % number
        yield b""
        await asyncio.sleep(0)


def new_loop(kind: str) -> asyncio.AbstractEventLoop:
    if kind == "uvloop":
        return pytest.importorskip("uvloop").new_event_loop()
    return asyncio.new_event_loop()


class Served:
    """A running listener; `rejected` is what its hook was told, `errors` what reached the loop's border."""

    def __init__(self, loop: asyncio.AbstractEventLoop, sock: socket.socket) -> None:
        self.loop = loop
        self.address = sock.getsockname()
        self.family = sock.family
        self.rejected: list[int] = []
        self.errors: list[dict[str, Any]] = []
        self.listener: Listener

    def note_rejected(self, status: int, message: str, fields: list[RawHeader]) -> Response:
        self.rejected.append(status)
        return http1.refused(status, message)

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(PATIENCE_S)

    def call(self, function: Callable[[], Any]) -> Any:
        async def on_loop() -> Any:
            return function()

        return self.run(on_loop())

    def connect(self) -> Client:
        sock = socket.socket(self.family, socket.SOCK_STREAM)
        sock.settimeout(PATIENCE_S)
        sock.connect(self.address)
        if self.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return Client(sock)

    def ask(self, request: bytes) -> Answer:
        with self.connect() as client:
            client.send(request)
            return client.read()


@contextlib.contextmanager
def serve(
    handler: Handler, *, loop: str, sock: socket.socket | None = None, ssl: Any = None, **limits: Any
) -> Iterator[Served]:
    sock = sock or sockets.bind("127.0.0.1", 0)
    event_loop = new_loop(loop)
    served = Served(event_loop, sock)
    event_loop.set_exception_handler(lambda _, context: served.errors.append(context))
    thread = threading.Thread(target=event_loop.run_forever)
    thread.start()

    async def start() -> None:
        served.listener = Listener(sock, handler, limits=Limits(**limits), on_rejected=served.note_rejected, ssl=ssl)
        served.listener.start()

    async def stop() -> None:
        served.listener.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*tasks, return_exceptions=True)

    try:
        served.run(start())
        yield served
        served.run(stop())
    finally:
        event_loop.call_soon_threadsafe(event_loop.stop)
        thread.join()
        event_loop.close()
    assert served.errors == [], served.errors


class Answer(NamedTuple):
    status: int
    headers: dict[bytes, bytes]
    body: bytes
    version: bytes


class Client:
    """One socket; `read` takes one answer from it and fails on anything that is not HTTP/1.1."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.file = sock.makefile("rb")

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.file.close()
        self.sock.close()

    def reset(self) -> None:
        """Close in the rudest way there is."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.close()

    def send(self, *parts: bytes) -> None:
        for part in parts:
            self.sock.sendall(part)

    def read(self, method: str = "POST") -> Answer:
        version, status, _ = self.file.readline().split(b" ", 2)
        headers: dict[bytes, bytes] = {}
        while (line := self.file.readline()) != b"\r\n":
            assert line.endswith(b"\r\n"), line
            name, _, value = line[:-2].partition(b": ")
            assert name not in headers
            headers[name] = value
        code = int(status)
        if method == "HEAD" or code in (100, 204, 304):
            body = b""
        elif headers.get(b"transfer-encoding") == b"chunked":
            body = b"".join(self.chunks())
        elif b"content-length" in headers:
            body = self.file.read(int(headers[b"content-length"]))
            assert len(body) == int(headers[b"content-length"])
        else:
            assert headers[b"connection"] == b"close"
            body = self.file.read()
        return Answer(code, headers, body, version)

    def chunks(self) -> Iterator[bytes]:
        while size := int(self.file.readline(), 16):
            yield self.file.read(size)
            assert self.file.read(2) == b"\r\n"
        assert self.file.readline() == b"\r\n"

    def is_closed(self) -> bool:
        """Wait for the other side's close; False if bytes come instead."""
        try:
            return self.file.read(1) == b""
        except ConnectionResetError:
            return True
