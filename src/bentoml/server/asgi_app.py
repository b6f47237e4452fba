"""HandlerApp: a handler of ours as an ASGI application, inside of middlewares or under another server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, MutableMapping
from typing import Any

from bentoml._http import RawHeader, Request, Response
from bentoml.server import sockets
from bentoml.server.asgi import ORIGIN, Receive, Send
from bentoml.server.http1 import has_body, refused
from bentoml.server.shared import Handler

__all__ = ["HandlerApp", "origin_of"]


class _Forwarded(Request):
    """A request as middlewares left it; `origin` is the one that the connection knows."""

    __slots__ = ("origin",)
    origin: Request


def origin_of(request: Request) -> Request:
    """The request as its connection knows it, whatever middlewares made of it."""
    return request.origin if isinstance(request, _Forwarded) else request


class HandlerApp:
    """A handler as an ASGI application, which answers HTTP and acknowledges `lifespan`.

    Args:
        body_bytes: a larger body is answered with 413, before it is read whole.
    """

    def __init__(self, handler: Handler, *, body_bytes: int) -> None:
        self._handler = handler
        self._body_bytes = body_bytes

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one connection in the sense of ASGI: a request, or the life of the server."""
        kind = scope["type"]
        if kind == "http":
            await self._answer(scope, receive, send)
        elif kind == "lifespan":
            while (await receive())["type"] != "lifespan.shutdown":
                await send({"type": "lifespan.startup.complete"})
            await send({"type": "lifespan.shutdown.complete"})
        elif kind == "websocket":
            await receive()
            await send({"type": "websocket.close"})

    async def _answer(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        body = await self._body(scope, receive)
        if body is None:
            return
        head_only = scope["method"] == "HEAD"
        response = body if isinstance(body, Response) else self._handler(_request(scope, body))
        if isinstance(response, Response):
            await _send(response, send, head_only=head_only)
            return
        work = asyncio.ensure_future(_respond(response, send, head_only=head_only))
        gone = asyncio.ensure_future(_until_gone(receive))
        try:
            await asyncio.wait([work, gone], return_when=asyncio.FIRST_COMPLETED)
        finally:
            gone.cancel()
            gone.add_done_callback(_ignore)
            if not work.done():
                work.cancel()
                await asyncio.wait([work])  # what runs in a thread cannot be stopped, only waited for
        if not work.cancelled():
            work.result()

    async def _body(self, scope: MutableMapping[str, Any], receive: Receive) -> bytes | Response | None:
        """The body, the answer to one that is too large, or None where the client went away."""
        too_large = refused(413, f"the body is larger than {self._body_bytes} bytes")
        announced = next((value for name, value in scope["headers"] if name == b"content-length"), b"")
        if announced.isdigit() and (len(announced) > 19 or int(announced) > self._body_bytes):
            return too_large
        parts, size_bytes, more = [], 0, True
        while more:
            message = await receive()
            if message["type"] != "http.request":
                return None
            part = message.get("body", b"")
            size_bytes += len(part)
            if size_bytes > self._body_bytes:
                return too_large
            parts.append(part)
            more = message.get("more_body", False)
        return parts[0] if len(parts) == 1 else b"".join(parts)


def _request(scope: MutableMapping[str, Any], body: bytes) -> Request:
    root_path, path = scope.get("root_path", ""), scope["path"]
    if root_path and f"{path}/".startswith(f"{root_path}/"):
        path = path[len(root_path) :] or "/"
    request = _Forwarded(
        method=scope["method"],
        path=path,
        query_string=scope.get("query_string", b""),
        raw_headers=[(bytes(name), bytes(value)) for name, value in scope["headers"]],
        body=body,
        client=sockets.printed(scope.get("client")),
        scheme=scope.get("scheme", "http"),
        target=scope.get("raw_path") or b"",
    )
    request.origin = scope.get(ORIGIN, request)
    return request


async def _respond(answer: Awaitable[Response], send: Send, *, head_only: bool) -> None:
    await _send(await answer, send, head_only=head_only)


def _ignore(done: asyncio.Future[None]) -> None:
    if not done.cancelled():
        done.exception()  # nobody else will look at it, which asyncio would complain about


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _send(response: Response, send: Send, *, head_only: bool) -> None:
    content = response.body
    headers: list[RawHeader] = list(response.raw_headers)
    if response.content_type:
        headers.append((b"content-type", response.content_type))
    length = len(content) if isinstance(content, bytes) else getattr(content, "length", None)
    head_only = head_only or not has_body(response.status)
    if length is not None and has_body(response.status):
        headers.append((b"content-length", b"%d" % length))
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    if isinstance(content, bytes):
        await send({"type": "http.response.body", "body": b"" if head_only else content})
        return
    try:
        if not head_only:
            async for chunk in content:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body"})
    finally:
        await _close(content)


async def _close(chunks: AsyncIterator[bytes]) -> None:
    close = getattr(chunks, "aclose", None)
    if close is not None:
        await close()
