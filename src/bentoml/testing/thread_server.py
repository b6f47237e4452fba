"""ThreadServer: a service of this process, served by an event loop in a thread; starts in milliseconds."""

from __future__ import annotations

import asyncio
import inspect
import math
import threading
from collections.abc import Coroutine
from typing import Any

from bentoml.config import LoadedConfig
from bentoml.server.here import ServedHere
from bentoml.server.limits import Limits
from bentoml.server.listener import Listener
from bentoml.server.sockets import bind
from bentoml.service.service import Service

__all__ = ["ThreadServer"]

#: How long requests in flight may take when the server is stopped, in seconds.
STOP_GRACE_S = 5.0


class ThreadServer:
    """A service, its runners and its hooks in this process, behind a real socket.

    Raises:
        BentoMLException: the port is taken.
        Exception: what a model that cannot be loaded or a hook raised.
    """

    def __init__(self, service: Service, loaded: LoadedConfig, *, host: str, port: int) -> None:
        self._service = service
        self._loaded = loaded
        self._loop = asyncio.new_event_loop()
        self._sock = bind(host, port)
        self.port: int = self._sock.getsockname()[1]
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"serve {service.name}", daemon=True)
        self._thread.start()
        try:
            self._run(self._start())
        except BaseException:
            self._end_thread()
            raise

    def stop(self) -> None:
        """Answer what is in flight, run the hooks for shutdown, let go of the runners."""
        try:
            self._run(self._stop())
        finally:
            self._end_thread()

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _end_thread(self) -> None:
        self._sock.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    async def _start(self) -> None:
        self._here = ServedHere(self._service, self._loaded)
        app, server = self._here.app, self._loaded.config.api_server
        timeout_s = server.traffic.timeout
        self._listener = Listener(
            self._sock,
            app.handle,
            limits=Limits(
                body_bytes=server.http.max_body_size,
                answer_timeout_s=math.inf if timeout_s is None else timeout_s,
            ),
            on_rejected=app.rejected,
            on_late=app.late,
        )
        try:
            for hook in self._service.deployment_hooks:
                result = hook()
                if inspect.isawaitable(result):
                    await result
        except BaseException:
            await self._here.close()
            raise
        await self._here.start()
        self._listener.start()

    async def _stop(self) -> None:
        if self._listener.in_flight:
            await self._listener.drain(STOP_GRACE_S)
        self._listener.close()
        await self._here.stop()
