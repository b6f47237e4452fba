"""ThreadServer: a service of this process, served by an event loop in a thread; starts in milliseconds."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from bentoml._context import Context
from bentoml._http import Request
from bentoml.config import LoadedConfig
from bentoml.runner.placements import Placement
from bentoml.runner.placements.in_process import InProcess
from bentoml.runner.placements.limited import Limited
from bentoml.runner.runner import Runner
from bentoml.server.app import App
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
        BentoMLException: the port is taken, or a runner of the service is in use already.
        Exception: what a model that cannot be loaded or a hook raised.
    """

    def __init__(self, service: Service, loaded: LoadedConfig, *, host: str, port: int) -> None:
        self._service = service
        self._loaded = loaded
        self._placements: list[Placement] = []
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
        self._app = App(self._service, self._loaded.config, is_ready=self._why_not_ready, access_log=None)
        server = self._loaded.config.api_server
        limits = {} if server.traffic.timeout is None else {"answer_timeout_s": server.traffic.timeout}
        self._listener = Listener(
            self._sock,
            self._app.handle,
            limits=Limits(body_bytes=server.http.max_body_size, **limits),
            on_rejected=self._app.rejected,
            on_late=self._app.late,
        )
        try:
            for hook in self._service.deployment_hooks:
                await _settled(hook())
            for runner in self._service.runners:
                self._placements.append(await self._placed(runner))
            await _run_hooks(self._service.startup_hooks, self._app)
        except BaseException:
            await self._close()
            raise
        self._listener.start()

    async def _placed(self, runner: Runner) -> Placement:
        settings = self._loaded.runner(runner.name)
        placement: Placement = InProcess(runner.engine(settings), timeout_s=settings.traffic.timeout)
        if settings.traffic.max_concurrency is not None:
            placement = Limited(placement, runner.name, settings.traffic.max_concurrency)
        await placement.start()
        runner.attach(placement)
        return placement

    async def _stop(self) -> None:
        if self._listener.in_flight:
            await self._listener.drain(STOP_GRACE_S)
        self._listener.close()
        try:
            await _run_hooks(self._service.shutdown_hooks, self._app)
        finally:
            await self._close()

    async def _close(self) -> None:
        for runner in self._service.runners:
            runner.attach(None)
        for placement in self._placements:
            await placement.close()
        self._app.close()

    def _why_not_ready(self) -> str | None:
        return None if all(placement.is_ready for placement in self._placements) else "Runners are not ready."


async def _run_hooks(hooks: Iterable[Callable[..., Any]], app: App) -> None:
    for hook in hooks:
        await _settled(hook(Context(Request(), app.state)) if inspect.signature(hook).parameters else hook())


async def _settled(result: Any) -> None:
    if inspect.isawaitable(result):
        await result
