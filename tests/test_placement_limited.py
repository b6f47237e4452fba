"""Limited keeps the contract of placements, and refuses what would be one call too many."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from bentoml.config import RunnerConfig
from bentoml.exceptions import ServiceUnavailable
from bentoml.runner.placements import Placement
from bentoml.runner.placements.in_process import InProcess
from bentoml.runner.placements.limited import Limited
from bentoml.runner.runner import Runner
from bentoml.testing.placement import Probe, check_placement
from tests._engines import asynchronous


def limited(limit: int, config: RunnerConfig | None = None) -> Limited:
    return Limited(InProcess(Runner(Probe, name="probe").engine(config or RunnerConfig())), "probe", limit)


def test_it_keeps_the_contract_of_placements() -> None:
    @contextlib.asynccontextmanager
    async def make(runner: Runner, config: RunnerConfig) -> AsyncIterator[Placement]:
        yield limited(1000, config)

    check_placement(make)


@asynchronous
async def test_what_would_be_one_too_many_is_refused_until_one_has_ended() -> None:
    placement = limited(2)
    await placement.start()
    calls: list[Any] = [asyncio.ensure_future(placement.submit("double", (["a"],), {})) for _ in range(2)]
    with pytest.raises(ServiceUnavailable, match="2 calls of the runner 'probe' are in flight, no more may") as refused:
        placement.submit("double", (["a"],), {})
    assert refused.value.retry_after_s == 1.0
    assert await asyncio.gather(*calls) == [["aa"], ["aa"]]
    assert await placement.submit("double", (["b"],), {}) == ["bb"]
    await placement.close()


@asynchronous
async def test_calls_of_threads_and_open_streams_count_as_well() -> None:
    placement = limited(1)
    await placement.start()
    stream = placement.stream("count", (10,), {})
    assert await anext(stream) == 0
    with pytest.raises(ServiceUnavailable):
        await asyncio.to_thread(placement.call, "double", (["a"],), {})
    await stream.aclose()  # type: ignore[attr-defined]  # an asynchronous generator
    assert await asyncio.to_thread(placement.call, "double", (["a"],), {}) == ["aa"]
    await placement.close()


@asynchronous
async def test_calls_that_fail_or_are_withdrawn_give_their_place_back() -> None:
    placement = limited(1)
    await placement.start()
    with pytest.raises(ValueError, match="a bad row"):
        await placement.submit("double", (["bad"],), {})
    call = asyncio.ensure_future(placement.submit("slow", (1,), {}))
    call.cancel()
    await asyncio.wait([call])
    assert await placement.submit("double", (["b"],), {}) == ["bb"]
    await placement.close()
