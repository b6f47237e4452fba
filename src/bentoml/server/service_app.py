"""ServiceApp: a whole service as an ASGI application, for another ASGI server or a test client."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, MutableMapping
from typing import Any

from bentoml._http import Request, Response
from bentoml.config import LoadedConfig, current
from bentoml.server.asgi import Receive, Send
from bentoml.server.asgi_app import HandlerApp
from bentoml.server.here import ServedHere
from bentoml.service.service import Service

__all__ = ["ServiceApp"]


class ServiceApp:
    """Answers as `bentoml serve` does, with all runners in this process and without an access log of its own.

    What belongs to connections is the business of the server around it: keep-alive, slow clients, TLS.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._running: _Running | None = None
        self._starting: asyncio.Lock | None = None

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """One connection in the sense of ASGI: a request, or the life of the server."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        else:
            running = self._running if self._running is not None else await self._started()
            await running.app(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            await self._started()
        except Exception as error:  # the border of a process: its server says what went wrong
            await send({"type": "lifespan.startup.failed", "message": f"{type(error).__name__}: {error}"})
            raise
        await send({"type": "lifespan.startup.complete"})
        await receive()
        running, self._running = self._running, None
        try:
            if running is not None:
                await running.stop()
        except Exception as error:  # as above
            await send({"type": "lifespan.shutdown.failed", "message": f"{type(error).__name__}: {error}"})
            raise
        await send({"type": "lifespan.shutdown.complete"})

    async def _started(self) -> _Running:
        self._starting = self._starting or asyncio.Lock()
        async with self._starting:
            if self._running is None:
                running = _Running(self._service, current())
                await running.start()
                self._running = running
        return self._running


class _Running:
    """A service that is up in this process, as an ASGI application."""

    def __init__(self, service: Service, loaded: LoadedConfig) -> None:
        self._here = ServedHere(service, loaded)
        self._timeout_s = loaded.config.api_server.traffic.timeout
        self._late: set[asyncio.Future[Response]] = set()
        self.app = HandlerApp(self._handle, body_bytes=loaded.config.api_server.http.max_body_size)
        self.start, self.stop = self._here.start, self._here.stop

    def _handle(self, request: Request) -> Response | Awaitable[Response]:
        answer = self._here.app(request)
        return answer if isinstance(answer, Response) or self._timeout_s is None else self._in_time(request, answer)

    async def _in_time(self, request: Request, answer: Awaitable[Response]) -> Response:
        """What the listener of our own server does: 504 and no more patience."""
        work = asyncio.ensure_future(answer)
        try:
            await asyncio.wait([work], timeout=self._timeout_s)
        except asyncio.CancelledError:
            work.cancel()
            await asyncio.wait([work])
            raise
        if work.done():
            return work.result()
        self._late.add(work)
        work.add_done_callback(self._late.discard)
        work.cancel()
        return self._here.app.late(request)
