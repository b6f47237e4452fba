"""An API worker process: imports the service, loads or reaches its models, takes requests until it is told to stop.

supervisor ── Start ──► import the service ── Described ──► supervisor ── Go ──► start runners, hooks, listener
                                                                          ◄── Ready ──
SIGTERM, or the supervisor is gone ──► drain: finish what is in flight ──► hooks ──► exit 0
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bentoml import _logging, _metrics, config
from bentoml._context import Context
from bentoml._http import Request
from bentoml.exceptions import BentoMLException
from bentoml.runner.placements import Placement
from bentoml.runner.placements.in_process import InProcess
from bentoml.server.access_log import AccessLogWriter
from bentoml.server.app import App
from bentoml.server.control import FAILED_TO_START, Channel, Described, Failed, Go, Ready, RunnerFacts, Start
from bentoml.server.limits import Limits
from bentoml.server.listener import Listener
from bentoml.server.runner_metrics import RunnerMetrics
from bentoml.service.loader import load
from bentoml.service.service import Service

__all__ = ["main"]

#: How long a thread may hold the interpreter lock while another waits for it, in seconds. A model call in a thread
#: needs the lock for a moment to hand back its result; Python's 5 ms would be most of its latency.
SWITCH_INTERVAL_S = 0.0005
#: How old a sampled gauge may be, in seconds; scrapes come every 15 or so.
SAMPLE_INTERVAL_S = 1.0


def main() -> int:
    """Run the worker whose control socket has the file descriptor in `sys.argv[1]`."""
    started_s = time.monotonic()
    # Ctrl-C reaches the whole process group; the supervisor decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    channel = Channel(socket.socket(fileno=int(sys.argv[1])), Start | Go)
    start = channel.receive_blocking()
    if start is None:
        return 0
    _logging.configure(start.name, level=start.log_level)
    loaded = config.LoadedConfig(start.config, start.origins)
    config.use(loaded)
    _metrics.use(Path(start.metrics_dir))
    try:
        service = load(start.identifier, start.working_dir, standalone_load=True)
        channel.send_blocking(describe(service))
        return _run(_Worker(service, loaded, start, channel, started_s).run())
    except Exception as error:  # noqa: BLE001 - the border of a process: the supervisor prints what went wrong
        channel.send_blocking(failure(error))
        return FAILED_TO_START


def describe(service: Service) -> Described:
    """What the plan must know of a service."""
    runners = [
        RunnerFacts(
            name=runner.name,
            runnable=runner.runnable_class.__name__,
            models=[str(model.tag) for model in runner.models],
            model_bytes=sum(model.file_size for model in runner.models),
            resources=list(runner.runnable_class.SUPPORTED_RESOURCES),
            multi_threading=runner.runnable_class.SUPPORTS_CPU_MULTI_THREADING,
            embedded=runner.embedded,
        )
        for runner in service.runners
    ]
    return Described(service=service.name, apis=[api.route for api in service.apis.values()], runners=runners)


def failure(error: Exception) -> Failed:
    """Why a worker cannot start, for a human."""
    known = isinstance(error, BentoMLException)
    message = str(error) if known else f"{type(error).__name__}: {error}"
    return Failed(message=message, details="".join(traceback.format_exception(error)))


def _run(coroutine: Any) -> int:
    try:
        import uvloop
    except ModuleNotFoundError:
        return int(asyncio.run(coroutine))
    return int(uvloop.run(coroutine))


class _Worker:
    def __init__(
        self, service: Service, loaded: config.LoadedConfig, start: Start, channel: Channel, started_s: float
    ) -> None:
        self.service = service
        self.loaded = loaded
        self.start = start
        self.channel = channel
        self.started_s = started_s
        self.placements: list[Placement] = []
        self.stopping = asyncio.Event()

    async def run(self) -> int:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self.stopping.set)
        await self.channel.open()
        go = await self.channel.receive()
        if go is None:
            return 0
        try:
            await self._place_runners(go)
            app = self._app()
            await _run_hooks(self.service.startup_hooks, app)
            listener = self._listener(app)
        except Exception as error:  # noqa: BLE001 - a model that cannot be loaded, a hook that fails: told, then out
            self.channel.send(failure(error))
            await self.channel.close()
            return FAILED_TO_START
        _settle_memory()
        listener.start()
        self.channel.send(Ready(seconds=time.monotonic() - self.started_s))
        background = [asyncio.create_task(self._until_orphaned()), asyncio.create_task(_sample_gauges())]
        await self.stopping.wait()
        for task in background:
            task.cancel()
        await listener.drain(self.loaded.config.api_server.shutdown_grace)
        await _run_hooks(self.service.shutdown_hooks, app)
        for placement in self.placements:
            await placement.close()
        app.close()
        return 0

    async def _until_orphaned(self) -> None:
        """Stop when the supervisor is gone: nobody would ever stop this worker."""
        while await self.channel.receive() is not None:
            pass
        self.stopping.set()

    async def _place_runners(self, go: Go) -> None:
        for runner in self.service.runners:
            settings = self.loaded.runner(runner.name)
            observer = RunnerMetrics(self.service, runner, settings, worker_index=self.start.index)
            placement = InProcess(runner.engine(settings, observer if settings.metrics.enabled else None))
            await placement.start()
            observer.watch(placement.engine)
            runner.attach(placement)
            self.placements.append(placement)

    def _app(self) -> App:
        server = self.loaded.config.api_server
        access = server.logging.access
        return App(
            self.service,
            self.loaded.config,
            is_ready=self._why_not_ready,
            access_log=AccessLogWriter(access, self.start.name) if access.enabled else None,
        )

    def _why_not_ready(self) -> str | None:
        if self.stopping.is_set():
            return "The server is shutting down."
        if self.loaded.config.api_server.runner_probe.enabled and not all(p.is_ready for p in self.placements):
            return "Runners are not ready."
        return None

    def _listener(self, app: App) -> Listener:
        server = self.loaded.config.api_server
        limits = Limits(
            body_bytes=server.http.max_body_size,
            keep_alive_s=server.traffic.keep_alive,
            connections=server.traffic.max_connections,
        )
        return Listener(socket.socket(fileno=self.start.listen_fd), app, limits=limits, on_rejected=app.rejected)


async def _run_hooks(hooks: list[Callable[..., Any]], app: App) -> None:
    for hook in hooks:
        context = Context(Request(), app.state)
        result = hook(context) if inspect.signature(hook).parameters else hook()
        if inspect.isawaitable(result):
            await result


async def _sample_gauges() -> None:
    """Refresh what is sampled, so that a scrape that another worker answers shows this one's queues as well."""
    while True:
        _metrics.DEFAULT.sample()
        await asyncio.sleep(SAMPLE_INTERVAL_S)


def _settle_memory() -> None:
    """What was made until now lives as long as the process: the garbage collector need never look at it again.

    Without this each full collection walks over every object of every imported library, and stops all requests for
    tens of milliseconds.
    """
    gc.collect()
    gc.freeze()
    sys.setswitchinterval(SWITCH_INTERVAL_S)


if __name__ == "__main__":
    sys.exit(main())
