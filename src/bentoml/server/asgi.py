"""AsgiHandler: an ASGI application as a handler.

    Request ──▶ AsgiHandler: scope, receive, send ──▶ an application, or a middleware around
                                                      HandlerApp (asgi_app.py): Request ──▶ handler ──▶ Response

Only HTTP: the server does not speak WebSocket.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from bentoml._http import RawHeader, Request, Response
from bentoml.exceptions import InternalServerError
from bentoml.server.chunks import Chunks, ClientGone
from bentoml.server.http1 import has_body
from bentoml.server.lifespan import Lifespan

__all__ = ["ORIGIN", "AsgiApp", "AsgiHandler", "Receive", "Send", "authority", "split_headers"]

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
#: An application as https://asgi.readthedocs.io describes it, version 3.
AsgiApp = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

#: What tasks behind answers that are out may take to end when the server does, in seconds.
BACKGROUND_GRACE_S = 5.0
#: The key of the scope under which a request travels through middlewares.
ORIGIN = "bentoml.request"
#: Written by the server, which alone knows how it frames the body.
_FRAMING = frozenset({b"connection", b"content-length", b"keep-alive", b"transfer-encoding", b"upgrade"})

logger = logging.getLogger("bentoml")


class AsgiHandler:
    """Answers requests with an ASGI application.

    Args:
        app: the application.
        name: what messages call it.
        root_path: the part of the path that is not the application's own, `""` where there is none. As the
            specification has it, `path` stays whole.
    """

    def __init__(self, app: AsgiApp, *, name: str, root_path: str = "") -> None:
        self._app = app
        self._name = name
        self._root_path = root_path
        self._running: set[asyncio.Task[None]] = set()
        self.lifespan = Lifespan(app, name)

    async def __call__(self, request: Request) -> Response:
        """The answer, as soon as it is known whether it is whole or a stream.

        A client that goes away is news for the application, `http.disconnect`, and no cancellation: it may be in
        the middle of what must not be left half done. Until it ends the request counts as being in flight.

        Raises:
            Exception: what the application raised.
            InternalServerError: it ended without an answer, or broke the protocol.
        """
        loop = asyncio.get_running_loop()
        exchange = _Exchange(request, loop, self._name)
        running = loop.create_task(self._run(request, exchange))
        self._running.add(running)
        running.add_done_callback(self._running.discard)
        try:
            return await exchange.answer
        except asyncio.CancelledError:
            exchange.leave()
            try:
                await asyncio.wait([running])
            except asyncio.CancelledError:
                running.cancel()  # the loop itself ends
            raise

    async def _run(self, request: Request, exchange: _Exchange) -> None:
        try:
            await self._app(self._scope(request), exchange.receive, exchange.send)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the border of an application: its caller gets it
            exchange.ended(error)
        except asyncio.CancelledError:
            exchange.ended(InternalServerError(f"{self._name} cancelled the request"))
            raise
        else:
            exchange.ended(None)

    def _scope(self, request: Request) -> dict[str, Any]:
        host, _, port = request.client.rpartition(":")
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": request.method,
            "scheme": request.scheme,
            "path": request.path,
            "raw_path": request.raw_path,
            "query_string": request.query_string,
            "root_path": self._root_path,
            "headers": list(request.raw_headers),
            "client": (host.strip("[]"), int(port)) if port.isdigit() else None,
            "server": authority(request),
            "state": self.lifespan.state.copy(),
            "extensions": {},
            ORIGIN: request,
        }

    async def close(self) -> None:
        """Wait for what applications still do behind answers that are out, for a moment."""
        if not self._running:
            return
        _, unfinished = await asyncio.wait(self._running, timeout=BACKGROUND_GRACE_S)
        for task in unfinished:
            task.cancel()
        if unfinished:
            logger.warning("%s: %d tasks were cancelled, as they did not end", self._name, len(unfinished))


class _Exchange:
    """One request to an application: what it is told, and the answer that its messages make."""

    __slots__ = ("_chunks", "_given", "_left", "_name", "_over", "_request", "_start", "answer")

    def __init__(self, request: Request, loop: asyncio.AbstractEventLoop, name: str) -> None:
        self._request = request
        self._name = name
        self._given = self._left = False
        self._over = asyncio.Event()  # the answer is whole, or nobody waits for it
        self._start: tuple[int, list[RawHeader], bytes, int | None] | None = None
        self._chunks: Chunks | None = None
        self.answer: asyncio.Future[Response] = loop.create_future()

    async def receive(self) -> Message:
        if not self._given:
            self._given = True
            return {"type": "http.request", "body": self._request.body, "more_body": False}
        await self._over.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        kind = message["type"]
        if kind == "http.response.start" and self._start is None:
            status = int(message["status"])
            self._start = (status, *split_headers(status, message.get("headers", ()), self._name))
        elif kind == "http.response.body" and self._start is not None:
            await self._take(bytes(message.get("body", b"")), more=bool(message.get("more_body", False)))
        else:
            raise InternalServerError(f"{self._name} sent the ASGI message {kind!r}, which is not expected here")

    async def _take(self, body: bytes, *, more: bool) -> None:
        if self._left:
            raise ClientGone("the client is gone")
        if not self.answer.done():
            self._begin(body, more=more)
        elif body and self._chunks is None:
            # The last message of a whole answer may be an empty one.
            raise InternalServerError(f"{self._name} sent more than its answer's content-length")
        if self._chunks is not None and self._request.method != "HEAD":
            if body:
                await self._chunks.put(body)
            if not more:
                self._chunks.end()
        if not more:
            self._over.set()

    def _begin(self, body: bytes, *, more: bool) -> None:
        assert self._start is not None
        status, headers, content_type, length = self._start
        head_only = self._request.method == "HEAD"
        if not (head_only or more or length in (None, len(body))) and has_body(status):
            raise InternalServerError(f"{self._name} announced {length} bytes and sent {len(body)}")
        content: bytes | Chunks = body
        if head_only or (more and len(body) != length):
            content = self._chunks = Chunks(length, self._close)
            if head_only:
                content.end()
        self.answer.set_result(Response(content, status=status, content_type=content_type, raw_headers=headers))

    def _close(self) -> None:
        """The stream will not be read any further; it may have been read to its end."""
        self._left = not self._over.is_set()
        self._over.set()

    def leave(self) -> None:
        """Nobody waits for the answer any more."""
        if self._chunks is not None:
            self._chunks.close()
        self._left = True
        self._over.set()

    def ended(self, error: BaseException | None) -> None:
        """The application has returned, or raised."""
        if self._left:
            logger.debug("%s ended without its client: %s", self._name, error)
        elif not self.answer.done():
            self.answer.set_exception(error or InternalServerError(f"{self._name} ended without an answer"))
        elif self._chunks is not None and not self._over.is_set():
            self._chunks.end(error or InternalServerError(f"{self._name} ended in the middle of its answer"))
        elif error is not None:
            logger.error("%s failed behind its answer on %s", self._name, self._request.path, exc_info=error)
        self._over.set()


def split_headers(
    status: int, raw: Iterable[tuple[bytes, bytes]], name: str
) -> tuple[list[RawHeader], bytes, int | None]:
    """Header fields without those that frame the message, the content type (`b""`: none), and the length announced.

    Raises:
        InternalServerError: the application `name` gave a field or a status that cannot be sent.
    """
    if not 200 <= status <= 599:
        raise InternalServerError(f"{name} answered with the status {status}; 200 to 599 can be sent")
    kept: list[RawHeader] = []
    content_type, length = b"", None
    for key, value in raw:
        key, value = bytes(key).lower(), bytes(value)
        if any([c in key or c in value for c in b"\r\n\0"]):
            raise InternalServerError(f"{name} answered with the header {key!r}, which holds a line break or NUL")
        if key == b"content-length":
            length = int(value) if value.isdigit() and len(value) < 19 else None
        elif key == b"content-type" and not content_type:
            content_type = value
        elif key not in _FRAMING:
            kept.append((key, value))
    return kept, content_type, length


def authority(request: Request) -> tuple[str, int]:
    """Host and port that the client says it wanted to reach; behind a proxy nobody else knows."""
    host = request.header(b"host").decode("latin-1")
    found = re.fullmatch(r"(\[[^\]]*\]|[^:]*)(?::(\d{1,5}))?", host)
    name, port = (found[1], found[2]) if found else ("", None)
    return name.strip("[]") or "localhost", int(port or (443 if request.scheme == "https" else 80))
