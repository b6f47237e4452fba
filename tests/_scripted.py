"""A server of raw bytes for the tests of clients: it answers `/docs.json` as a service does, and the rest as it is told."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple

import bentoml
from bentoml.io import JSON, NumpyNdarray, Text

svc = bentoml.Service("scripted")
svc.api(input=JSON(), output=JSON(), name="echo")(lambda value: value)
svc.api(input=Text(), output=Text(), name="text")(lambda value: value)
svc.api(input=JSON(), output=NumpyNdarray(), name="array")(lambda value: value)
DOCUMENT = svc.openapi()


class Seen(NamedTuple):
    """One request; `connection` counts from 1."""

    connection: int
    line: str
    headers: dict[str, str]
    body: bytes


class Reply(NamedTuple):
    """One answer: all of its bytes, and what becomes of the connection then: kept, cut, or left without a word."""

    raw: bytes
    then: str = "keep"


def reply(status: int = 200, body: bytes = b"", then: str = "keep", **headers: str) -> Reply:
    """A whole answer; underscores in names of headers stand for dashes."""
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    fields = {"content-type": "application/json", "content-length": str(len(body)), **given}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return Reply(f"HTTP/1.1 {status} X\r\n{head}\r\n".encode() + body, then)


class Scripted:
    """What is said next, and what was heard."""

    def __init__(self) -> None:
        self.replies: deque[Reply] = deque()
        self.document: Any = DOCUMENT
        self.seen: list[Seen] = []
        self.connections = 0
        self.port = 0
        self.closed = threading.Semaphore(0)
        self.heard = threading.Semaphore(0)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def calls(self) -> list[Seen]:
        """The requests that were not for the document."""
        return [seen for seen in self.seen if "/docs.json" not in seen.line]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        number = self.connections
        try:
            while True:
                line, *fields = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
                headers = {name.lower(): value.strip() for name, _, value in (each.partition(":") for each in fields)}
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                self.seen.append(Seen(number, line, headers, body))
                answer = self._next(line)
                writer.write(answer.raw)
                await writer.drain()
                self.heard.release()
                if answer.then == "cut":
                    break
                if answer.then == "silent":
                    await reader.read()
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            self.closed.release()

    def _next(self, line: str) -> Reply:
        if "/docs.json" in line:
            body = self.document if isinstance(self.document, bytes) else json.dumps(self.document).encode()
            return reply(200, body)
        return self.replies.popleft()


@contextlib.contextmanager
def scripted(*replies: Reply) -> Iterator[Scripted]:
    """A server that gives these answers, in order."""
    server = Scripted()
    server.replies.extend(replies)
    loop = asyncio.new_event_loop()

    async def start() -> asyncio.Server:
        return await asyncio.start_server(server.serve, "127.0.0.1", 0)

    listening = loop.run_until_complete(start())
    server.port = listening.sockets[0].getsockname()[1]
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:

        async def stop() -> None:
            listening.close()
            others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(stop(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
