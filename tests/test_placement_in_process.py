"""InProcess keeps the contract of placements; and its own ways before it is started."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator

import pytest

from bentoml.config import RunnerConfig
from bentoml.exceptions import StateException
from bentoml.runner.placements import Placement
from bentoml.runner.placements.in_process import InProcess
from bentoml.runner.runner import Runner
from bentoml.testing.placement import Probe, check_placement
from tests._engines import asynchronous


def in_process() -> InProcess:
    return InProcess(Runner(Probe, name="probe").engine(RunnerConfig()))


def test_it_keeps_the_contract_of_placements() -> None:
    @contextlib.asynccontextmanager
    async def make(runner: Runner, config: RunnerConfig) -> AsyncIterator[Placement]:
        yield InProcess(runner.engine(config))

    check_placement(make)


def test_the_contract_is_broken_by_a_placement_that_mixes_answers_up() -> None:
    class Mixed(InProcess):
        async def submit(self, method, args, kwargs):  # type: ignore[no-untyped-def, override]
            answer = await super().submit(method, args, kwargs)
            return answer[::-1] if method == "double" else answer

    @contextlib.asynccontextmanager
    async def make(runner: Runner, config: RunnerConfig) -> AsyncIterator[Placement]:
        yield Mixed(runner.engine(config))

    with pytest.raises(AssertionError):
        check_placement(make)


@asynchronous
async def test_before_it_is_started_calls_run_one_by_one() -> None:
    placement = in_process()
    assert not placement.is_ready
    placement.load()
    assert placement.is_ready
    calls = (placement.submit("sizes", ([number],), {}) for number in range(5))
    assert await asyncio.gather(*calls) == [[1]] * 5
    assert await placement.submit("coroutine", (1,), {}) == 1
    assert placement.call("double", (["a"],), {}) == ["aa"]


@asynchronous
async def test_before_it_is_started_coroutines_run_on_the_callers_event_loop() -> None:
    placement = in_process()
    placement.load()
    here = threading.get_ident()
    threads: list[int] = []

    async def where() -> None:
        threads.append(threading.get_ident())

    placement.engine._functions["coroutine"] = where
    await placement.submit("coroutine", (), {})
    assert threads == [here]


@asynchronous
async def test_a_call_withdrawn_by_another_event_loop_leaves_the_queue() -> None:
    placement = in_process()
    await placement.start()
    placement.engine.pump.hold()

    def elsewhere() -> bool:
        async def withdrawn() -> bool:
            call = placement.submit("double", (["a"],), {})
            assert isinstance(call, asyncio.Future)
            call.cancel()
            await asyncio.wait([call])
            return call.cancelled()

        return asyncio.run(withdrawn())

    assert await asyncio.to_thread(elsewhere)
    placement.engine.pump.release()
    assert await placement.submit("sizes", (["b"],), {}) == [1]
    assert placement.engine.queues["double"].oldest_lane() is None
    await placement.close()


@asynchronous
async def test_it_can_be_started_again_and_says_so_while_it_is_not() -> None:
    placement = in_process()
    for _ in range(2):
        await placement.start()
        assert placement.is_ready
        assert await placement.submit("echo", (1,), {}) == ((1,), {})
        await placement.close()
        with pytest.raises(StateException, match="the runner 'probe' is closed"):
            await placement.submit("echo", (1,), {})
        with pytest.raises(StateException, match="the runner 'probe' is closed"):
            placement.call("echo", (1,), {})
        await placement.close()
