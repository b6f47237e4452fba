"""WorkerProcess keeps the contract of placements, with real worker processes; and what is its own: queue, deaths."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import numpy
import pandas
import pytest

from bentoml.config import RunnerConfig
from bentoml.exceptions import DeadlineExceeded, ServiceUnavailable, StateException
from bentoml.runner.placements import Placement
from bentoml.runner.placements.worker_process import WorkerProcess
from bentoml.runner.runnable import Runnable
from bentoml.runner.runner import Runner
from bentoml.testing.placement import check_placement
from tests._engines import asynchronous, eventually, outcome
from tests._runner_workers import Workers, workers_of


class Gated(Runnable):
    """Its calls last until a file with their name appears in its folder; each leaves a file when it begins."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    def _wait(self, name: str) -> int:
        (self.folder / f"{name}.begun.{os.getpid()}").touch()
        while not (self.folder / f"{name}.end").exists():
            time.sleep(0.001)
        return os.getpid()

    @Runnable.method
    def hold(self, name: str) -> int:
        return self._wait(name)

    @Runnable.method(idempotent=True)
    def hold_again(self, name: str) -> int:
        return self._wait(name)

    @Runnable.method
    async def forever(self) -> None:
        await asyncio.Event().wait()

    @Runnable.method
    def who(self) -> int:
        return os.getpid()

    @Runnable.method(batchable=True)
    def echo_rows(self, x: Any) -> Any:
        return x

    @Runnable.method
    def echo(self, value: Any) -> Any:
        return value

    @Runnable.method
    def write(self, array: Any) -> Any:
        array[0] = 7
        return array

    @Runnable.method
    def endless(self) -> Iterator[int]:
        yield 1
        self._wait("endless")


def begun(workers: Workers, name: str) -> list[Path]:
    return list(workers.folder.glob(f"{name}.begun.*"))


def end(workers: Workers, name: str) -> None:
    (workers.folder / f"{name}.end").touch()


@contextlib.asynccontextmanager
async def gated(
    *, count: int = 1, timeout_s: float = 900.0, **batching: Any
) -> AsyncIterator[tuple[Workers, WorkerProcess]]:
    async with workers_of(Gated, count=count, **batching) as workers:
        placement = workers.placement(timeout_s=timeout_s)
        await placement.start()
        try:
            yield workers, placement
        finally:
            await placement.close()


def hold(placement: WorkerProcess, name: str, method: str = "hold") -> asyncio.Future[Any]:
    return asyncio.ensure_future(placement.submit(method, (name,), {}))


def test_it_keeps_the_contract_of_placements() -> None:
    @contextlib.asynccontextmanager
    async def make(runner: Runner, config: RunnerConfig) -> AsyncIterator[Placement]:
        async with workers_of(runner.runnable_class, config=config) as workers:
            yield workers.placement()

    check_placement(make)
