"""Engines with small real models, for the tests of the runner half."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import math
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any, ParamSpec

from bentoml.config import Batching, RunnerConfig
from bentoml.runner.batching import Reason
from bentoml.runner.engine import Engine
from bentoml.runner.runnable import Runnable
from bentoml.runner.runner import Runner

__all__ = ["Gate", "Watcher", "asynchronous", "eventually", "inline", "make_engine", "serving", "threaded"]

P = ParamSpec("P")

#: A test that takes so many seconds hangs.
HANG_S = 30.0


def asynchronous(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run a coroutine function as a test; one that hangs fails."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        async def limited() -> None:
            await asyncio.wait_for(test(*args, **kwargs), HANG_S)

        asyncio.run(limited())

    return run


async def eventually(condition: Callable[[], object]) -> None:
    """Let the event loop turn until something holds."""
    while not condition():
        await asyncio.sleep(0.001)


class Gate:
    """Where a model waits until the test opens it; tells how many are there."""

    def __init__(self) -> None:
        self._open = threading.Event()
        self.waiting = 0

    def pass_through(self) -> None:
        self.waiting += 1
        assert self._open.wait(HANG_S), "nobody opened the gate"

    def open(self) -> None:
        self._open.set()


class Watcher:
    """An observer that remembers."""

    def __init__(self) -> None:
        self.batches: list[tuple[str, int, int, Reason]] = []
        self.refusals: list[tuple[str, str]] = []
        self.waits_s: list[float] = []

    def batch(self, method: str, *, calls: int, rows: int, queue_s: float, compute_s: float, reason: Reason) -> None:
        self.batches.append((method, calls, rows, reason))
        self.waits_s.append(queue_s)
        assert compute_s >= 0.0

    def refused(self, method: str, reason: str) -> None:
        self.refusals.append((method, reason))


def make_engine(
    runnable: type[Runnable],
    *,
    observer: Any = None,
    clock: Callable[[], float] = time.monotonic,
    **batching: Any,
) -> Engine:
    """A loaded engine called `model`; `batching`: limits of the configuration."""
    runner = Runner(runnable, name="model")
    plans = runner.plans(RunnerConfig(batching=Batching(**batching)))
    engine = Engine(runner.name, runner.make_runnable, plans, observer=observer, clock=clock)
    engine.load()
    return engine


@contextlib.asynccontextmanager
async def serving(engine: Engine) -> AsyncIterator[Engine]:
    """The engine on this event loop."""
    engine.start()
    try:
        yield engine
    finally:
        await engine.close()


def inline(engine: Engine) -> None:
    """Make the engine believe that all its methods are fast enough for the event loop."""
    for queue in engine.queues.values():
        for _ in range(200):
            queue.cost.observe(1000, 1e-6)
            queue.cost.observe(1, 1e-6)


def threaded(engine: Engine) -> None:
    """Keep the engine's methods off the event loop."""
    for queue in engine.queues.values():
        queue.inline_after = math.inf


async def outcome(awaitable: Awaitable[Any]) -> Any:
    """What it returns, or the error that it raises."""
    try:
        return await awaitable
    except Exception as error:  # noqa: BLE001 - for the test to look at
        return error
