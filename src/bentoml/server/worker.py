"""What every worker process does: hear who it is, import the service, say what it found, work until told to stop.

supervisor ── Start ──► import the service ── Described ──► supervisor ── Go ──► the worker's own part ── Ready ──►
Stop, or the supervisor is gone ──► the worker's own end ──► exit 0

One worker hears Deploy before Go: it runs the deployment hooks and answers Deployed.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import io
import logging
import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import FrameType

from bentoml import _importing, _logging, _metrics, config
from bentoml._context import Identity, identify
from bentoml._resources import resident_bytes
from bentoml.exceptions import BentoMLException
from bentoml.server.control import (
    FAILED_TO_START,
    Channel,
    Deploy,
    Deployed,
    Described,
    Failed,
    Go,
    Ready,
    RunnerFacts,
    Settled,
    Start,
    Stop,
    ToWorker,
)
from bentoml.service.loader import load
from bentoml.service.service import Service

__all__ = ["Worker", "component", "heed_the_supervisor_alone", "run_worker"]

#: How long a thread may hold the interpreter lock while another waits for it, in seconds. A model call in a thread
#: needs the lock for a moment to hand back its result; Python's 5 ms would be most of its latency.
SWITCH_INTERVAL_S = 0.0005
#: How old a sampled gauge may be, in seconds; scrapes come every 15 or so.
SAMPLE_INTERVAL_S = 1.0
#: What threads get to end in when everything else has ended, in seconds.
LAST_THREADS_S = 1.0

logger = logging.getLogger("bentoml")


class Worker:
    """A worker process; a kind of worker writes `begin` and `end`.

    Attributes:
        stopping: set when the worker shall finish what it has and end.
        succeeded: whether others will then go on accepting from its listening socket.
        settled: whether all workers of the server were ready once.
    """

    def __init__(self, service: Service, loaded: config.LoadedConfig, start: Start) -> None:
        self.service = service
        self.loaded = loaded
        self.start = start
        self.stopping = asyncio.Event()
        self.succeeded = False
        self.settled = False

    async def begin(self, go: Go) -> Callable[[], None]:
        """Load what is needed; returns what opens the door, which is called when nothing can go wrong any more."""
        raise NotImplementedError

    async def end(self) -> None:
        """Finish what is in flight and close."""
        raise NotImplementedError

    async def run(self, channel: Channel, started_s: float) -> int:
        """The life of the worker after it has described its service; its exit code."""
        await channel.open()
        go = await channel.receive()
        try:
            if isinstance(go, Deploy):
                await self._deploy()
                channel.send(Deployed())
                go = await channel.receive()
            if not isinstance(go, Go):
                return 0
            self.settled = go.settled
            open_door = await self.begin(go)
        except Exception as error:  # noqa: BLE001 - a model that cannot be loaded, a hook that fails: told, then out
            channel.send(failure(error))
            await channel.close()
            return FAILED_TO_START
        _settle()
        heed_the_supervisor_alone()
        open_door()
        channel.send(Ready(seconds=time.monotonic() - started_s))
        background: list[asyncio.Task[None]] = [
            asyncio.create_task(self._until_told(channel)),
            asyncio.create_task(_sample_gauges()),
        ]
        await self.stopping.wait()
        for task in background:
            task.cancel()
        await self.end()
        monitoring = _importing.loaded("bentoml.monitoring")
        if monitoring is not None:
            monitoring.flush()
        return 0

    async def _deploy(self) -> None:
        for hook in self.service.deployment_hooks:
            result = hook()
            if inspect.isawaitable(result):
                await result

    async def _until_told(self, channel: Channel) -> None:
        """Stop when the supervisor says so, or is gone: nobody else would ever stop this worker."""
        while (message := await channel.receive()) is not None:
            if isinstance(message, Stop):
                self.succeeded = message.succeeded
                break
            if isinstance(message, Settled):
                self.settled = True
        self.stopping.set()


def run_worker(kind: Callable[[Service, config.LoadedConfig, Start], Worker]) -> int:
    """Run the worker whose control socket has the file descriptor in `sys.argv[1]`; its exit code."""
    started_s = time.monotonic()
    # Ctrl-C reaches the whole process group; the supervisor decides what it means.
    signal.signal(signal.SIGINT, _ignore)
    # What user code prints is seen at once, also where the output is a file or a pipe.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)
    channel = Channel(socket.socket(fileno=int(sys.argv[1])), ToWorker)
    start = channel.receive_blocking()
    if start is None:
        return 0
    _logging.configure(start.name, level=start.log_level)
    loaded = config.LoadedConfig(start.config, start.origins)
    config.use(loaded)
    _metrics.use(Path(start.metrics_dir))
    try:
        service = load(start.identifier, start.working_dir, standalone_load=True)
        _logging.configure(component(service, start), level=start.log_level)
        identify(_identity(service, start))
        channel.send_blocking(describe(service, loaded))
    except Exception as error:  # noqa: BLE001 - the border of a process: the supervisor prints what went wrong
        channel.send_blocking(failure(error))
        return FAILED_TO_START

    async def live() -> int:
        return await kind(service, loaded, start).run(channel, started_s)

    code = _run(live())
    _leave(code)
    return code


def heed_the_supervisor_alone() -> None:
    """From now on this process ends when it is told to over its channel, and not by SIGTERM.

    A service manager sends SIGTERM to all processes at once. A runner worker that heeded it would end before the API
    workers whose requests need it; the supervisor, which got the signal as well, keeps the order.
    """
    signal.signal(signal.SIGTERM, _ignore)


def _ignore(number: int, frame: FrameType | None) -> None:
    """A handler and not SIG_IGN, which the processes that user code starts would inherit."""


def component(service: Service, start: Start) -> str:
    """How a worker calls itself in the log: `api_server:<service>:<index>` or `runner:<runner>:<index>`."""
    return f"runner:{start.runner}:{start.index}" if start.runner else f"api_server:{service.name}:{start.index}"


def _identity(service: Service, start: Start) -> Identity:
    worker = f"{start.runner}-{start.index}" if start.runner else str(start.index)
    version = service.tag.version if service.tag is not None else None
    return Identity(worker, service.name, version or "not available")


def describe(service: Service, loaded: config.LoadedConfig) -> Described:
    """What the plan must know of a service."""
    runners = [
        RunnerFacts(
            name=runner.name,
            runnable=runner.runnable_class.__name__,
            models=[str(model.tag) for model in runner.models],
            model_bytes=sum(model.file_size for model in runner.models),
            resources=list(runner.runnable_class.SUPPORTED_RESOURCES),
            embedded=runner.embedded,
            worker_environments=runner.worker_environments(loaded.runner(runner.name)),
        )
        for runner in service.runners
    ]
    return Described(
        service=service.name,
        apis=[api.route for api in service.apis.values()],
        runners=runners,
        resident_bytes=resident_bytes(),
        has_deployment_hooks=bool(service.deployment_hooks),
    )


def failure(error: Exception) -> Failed:
    """Why a worker cannot start, for a human."""
    known = isinstance(error, BentoMLException)
    message = str(error) if known else f"{type(error).__name__}: {error}"
    return Failed(message=message, details="".join(traceback.format_exception(error)))


def _run(life: Awaitable[int]) -> int:
    try:
        import uvloop
    except ModuleNotFoundError:
        return asyncio.run(life)  # type: ignore[arg-type]  # a coroutine
    code: int = uvloop.run(life)
    return code


def _leave(code: int) -> None:
    """End the process now if threads of user code do not end: Python would wait for them, for ever."""
    deadline_s = time.monotonic() + LAST_THREADS_S
    threads = [each for each in threading.enumerate() if each is not threading.current_thread() and not each.daemon]
    for thread in threads:
        thread.join(max(0.0, deadline_s - time.monotonic()))
    running = [thread.name for thread in threads if thread.is_alive()]
    if running:
        logger.warning("left behind: %d threads that did not end (%s)", len(running), ", ".join(running))
        logging.shutdown()
        sys.stdout.flush()
        os._exit(code)


async def _sample_gauges() -> None:
    """Refresh what is sampled, so that a scrape that another worker answers shows this one's queues as well."""
    while True:
        _metrics.DEFAULT.sample()
        await asyncio.sleep(SAMPLE_INTERVAL_S)


def _settle() -> None:
    """What was made until now lives as long as the process: the garbage collector need never look at it again.

    Without this each full collection walks over every object of every imported library, and stops all requests for
    tens of milliseconds.
    """
    gc.collect()
    gc.freeze()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
