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

    @Runnable.method(batchable=True)
    def toil(self, x: Any) -> Any:
        time.sleep(0.01)  # what the model takes
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


# -- one queue for all workers ----------------------------------------------------------------------------------------


@asynchronous
async def test_a_free_worker_takes_the_oldest_call_while_the_other_is_at_work() -> None:
    async with gated(count=2) as (workers, placement):
        slow = hold(placement, "slow")
        await eventually(lambda: begun(workers, "slow"))
        found = {await placement.submit("who", (), {}) for _ in range(20)}
        assert len(found) == 1, "the worker that was at work was given more"
        end(workers, "slow")
        assert await slow not in found


@asynchronous
async def test_calls_beyond_the_room_of_the_workers_wait_here_and_can_be_withdrawn() -> None:
    async with gated(max_queue_rows=30) as (workers, placement):
        calls = [hold(placement, f"call-{index}") for index in range(30)]
        await eventually(lambda: begun(workers, "call-0"))
        assert placement._dispatcher is not None
        assert len(placement._dispatcher._queue) == 30 - 8
        refused = await outcome(_submitted(placement, "late"))
        assert isinstance(refused, ServiceUnavailable)
        assert "the queue of model.hold is full: 30 rows wait, 30 may" in str(refused)
        assert refused.retry_after_s >= 1.0
        for call in calls[1:]:
            call.cancel()
        await asyncio.wait(calls[1:])
        end(workers, "call-0")
        end(workers, "last")
        await asyncio.gather(calls[0], hold(placement, "last"))
        assert not begun(workers, "call-1"), "withdrawn while the worker had it"
        assert not begun(workers, "call-20"), "withdrawn while it waited here"


async def _submitted(placement: WorkerProcess, name: str) -> Any:
    return await placement.submit("hold", (name,), {})


@asynchronous
async def test_what_waits_beyond_its_deadline_is_refused_wherever_it_waits() -> None:
    async with gated(max_batch_size=1, max_latency_ms=300) as (workers, placement):
        slow = hold(placement, "slow")
        await eventually(lambda: begun(workers, "slow"))
        calls = [placement.submit("echo_rows", ([number],), {}) for number in range(5)]
        for found in await asyncio.gather(*calls, return_exceptions=True):
            assert isinstance(found, ServiceUnavailable)
            assert "did not get to this call within 300 ms" in str(found)
        end(workers, "slow")
        await slow


@asynchronous
async def test_a_call_that_would_have_to_wait_too_long_is_refused_on_arrival() -> None:
    async with gated(max_batch_size=1, max_latency_ms=2000) as (_, placement):
        await asyncio.gather(*[placement.submit("toil", ([number],), {}) for number in range(40)])
        admitted, refused = [], []
        for number in range(2000):  # ten times what can be answered in time
            try:
                admitted.append(asyncio.ensure_future(placement.submit("toil", ([number],), {})))
            except ServiceUnavailable as error:
                refused.append(error)
        assert admitted
        assert refused
        assert "the queue of model.toil is too long to answer within 2000 ms" in str(refused[-1])
        assert refused[-1].retry_after_s >= 1.0
        for future in admitted:
            future.cancel()
        await asyncio.wait(admitted)
        assert await placement.submit("toil", ([1],), {}) == [1], "it recovers at once"


# -- workers that die --------------------------------------------------------------------------------------------------


@asynchronous
async def test_calls_of_a_worker_that_dies_fail_at_once_and_work_again_after_its_restart() -> None:
    async with gated() as (workers, placement):
        calls = [hold(placement, f"call-{index}") for index in range(20)]
        stream = placement.stream("endless", (), {})
        await eventually(lambda: begun(workers, "call-0"))
        workers.kill(0)
        for found in await asyncio.gather(*calls, return_exceptions=True):
            assert isinstance(found, ServiceUnavailable), found
        assert not placement.is_ready
        assert "being restarted" in str(await outcome(_submitted(placement, "call")))
        assert "being restarted" in str(await outcome(anext(stream)))
        workers.restart(0)
        await eventually(lambda: placement.is_ready)
        assert await placement.submit("who", (), {}) == workers.processes[0].pid


@asynchronous
async def test_a_stream_of_a_worker_that_dies_fails_at_once() -> None:
    async with gated() as (workers, placement):
        stream = placement.stream("endless", (), {})
        assert await anext(stream) == 1
        workers.kill(0)
        assert isinstance(await outcome(anext(stream)), ServiceUnavailable)


@asynchronous
async def test_idempotent_calls_of_a_worker_that_dies_are_sent_once_more_to_another() -> None:
    async with gated(count=2) as (workers, placement):
        call = hold(placement, "call", "hold_again")
        await eventually(lambda: begun(workers, "call"))
        first = int(begun(workers, "call")[0].suffix[1:])
        workers.kill([process.pid for process in workers.processes].index(first))
        await eventually(lambda: len(begun(workers, "call")) == 2)
        end(workers, "call")
        assert await call != first


@asynchronous
async def test_idempotent_calls_wait_for_the_restart_and_fail_when_that_worker_dies_as_well() -> None:
    async with gated() as (workers, placement):
        calls = [hold(placement, f"call-{index}", "hold_again") for index in range(10)]
        await eventually(lambda: begun(workers, "call-0"))
        workers.kill(0)
        workers.restart(0)
        await eventually(lambda: len(begun(workers, "call-0")) == 2)
        workers.kill(0)
        found = await asyncio.gather(*calls[:8], return_exceptions=True)
        assert all(isinstance(each, ServiceUnavailable) for each in found), found
        workers.restart(0)
        for index in range(8, 10):
            end(workers, f"call-{index}")
        assert set(await asyncio.gather(*calls[8:])) == {workers.processes[0].pid}, "these were sent only once"


# -- limits and ends ---------------------------------------------------------------------------------------------------


@asynchronous
async def test_a_call_that_takes_too_long_fails_with_504_wherever_it_is() -> None:
    async with gated(timeout_s=0.2) as (workers, placement):
        calls = [hold(placement, f"call-{index}") for index in range(12)]
        calls.append(asyncio.ensure_future(placement.submit("forever", (), {})))
        for found in await asyncio.gather(*calls, return_exceptions=True):
            assert isinstance(found, DeadlineExceeded)
            assert "a call of 'model' took longer than 0.2 s" in str(found)
        end(workers, "call-0")
        await placement.submit("who", (), {})
        assert not begun(workers, "call-1"), "they were not withdrawn"


@asynchronous
async def test_closing_fails_whoever_waits_at_once() -> None:
    async with gated() as (_, placement):
        calls = [hold(placement, f"call-{index}") for index in range(12)]
        stream = placement.stream("endless", (), {})
        assert await anext(stream) == 1
        await placement.close()
        for found in await asyncio.gather(*calls, return_exceptions=True):
            assert isinstance(found, ServiceUnavailable)
            assert "is shutting down" in str(found)
        assert "is shutting down" in str(await outcome(anext(stream)))
        assert "is shutting down" in str(await outcome(_submitted(placement, "late")))


@asynchronous
async def test_blocking_the_event_loop_is_refused() -> None:
    placement = WorkerProcess("model", [], [])
    with pytest.raises(StateException, match="is not running"):
        placement.call("who", (), {})
    async with gated() as (_, placement):
        with pytest.raises(StateException, match=r"In an async function use `await model\.who\.async_run"):
            placement.call("who", (), {})


# -- values ------------------------------------------------------------------------------------------------------------


@asynchronous
async def test_values_come_back_exactly_as_they_went() -> None:
    frame = pandas.DataFrame(
        {
            "a": [1.5, None, 3.0],
            "b": pandas.Categorical(["x", "y", "x"], categories=["y", "x"], ordered=True),
            "c": pandas.date_range("2024-01-01", periods=3, tz="Europe/Berlin"),
            "d": pandas.array([1, None, 3], dtype="Int64"),
            "e": [{"k": 1}, "text", b"bytes"],
        },
        index=pandas.Index([3, 5, 7], name="key"),
    )
    async with gated() as (_, placement):
        pandas.testing.assert_frame_equal(await placement.submit("echo", (frame,), {}), frame)
        large = pandas.DataFrame(numpy.arange(600_000.0).reshape(-1, 6), columns=list("abcdef"))
        pandas.testing.assert_frame_equal(await placement.submit("echo_rows", (large,), {}), large)
        for value in (
            numpy.arange(6).reshape(2, 3).T,
            numpy.array(["2024-01-01"], "M8[D]"),
            numpy.float32(0.1),
            numpy.zeros((0, 3)),
            numpy.array(2.5),
            "\ud800 half a pair",
            {"nested": [(1, {"x": b"y"}), None]},
            {1: "a key that is no text"},
            2**80,
        ):
            found = await placement.submit("echo", (value,), {})
            assert type(found) is type(value)
            numpy.testing.assert_equal(found, value)
        deep: list[Any] = []
        for _ in range(200):
            deep = [deep]
        assert await placement.submit("echo", (deep,), {}) == deep


@asynchronous
async def test_arrays_can_be_written_to_on_both_sides() -> None:
    async with gated() as (_, placement):
        sent = numpy.zeros(3)
        found = await placement.submit("write", (sent,), {})
        found[1] = 8
        assert found.tolist() == [7, 8, 0]
        assert sent.tolist() == [0, 0, 0]


@asynchronous
async def test_what_cannot_be_pickled_fails_its_own_call_only() -> None:
    async with gated() as (_, placement):
        found = await asyncio.gather(
            placement.submit("echo", (lambda: None,), {}), placement.submit("echo", (1,), {}), return_exceptions=True
        )
        assert "pickle" in str(found[0])
        assert found[1] == 1
