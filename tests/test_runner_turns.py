"""Turns, and the time-out of calls in this process, wherever they are when it is over."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from bentoml.exceptions import DeadlineExceeded
from bentoml.runner.placements.in_process import InProcess
from bentoml.runner.runnable import Runnable
from tests._engines import Gate, asynchronous, eventually, make_engine

gate = Gate()


class Slow(Runnable):
    @Runnable.method
    def hold(self) -> None:
        gate.pass_through()

    @Runnable.method
    async def forever(self, reached: list[Any]) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            reached.append("ended")

    @Runnable.method
    async def cancelled(self) -> None:
        raise asyncio.CancelledError


@asynchronous
async def test_a_call_that_takes_too_long_fails_with_504_wherever_it_is() -> None:
    placement = InProcess(make_engine(Slow), timeout_s=0.1)
    await placement.start()
    ended: list[Any] = []
    calls = [
        asyncio.ensure_future(placement.submit("hold", (), {})),
        asyncio.ensure_future(placement.submit("hold", (), {})),
        asyncio.ensure_future(placement.submit("forever", (ended,), {})),
        asyncio.ensure_future(asyncio.to_thread(placement.engine.submit_from_thread("hold", (), {}).result)),
    ]
    for found in await asyncio.gather(*calls, return_exceptions=True):
        assert isinstance(found, DeadlineExceeded), found
        assert "a call of 'model' took longer than 0.1 s" in str(found)
    assert ended == ["ended"]
    assert gate.waiting == 1, "the calls behind it were not withdrawn"
    gate.open()
    await placement.close()
    assert gate.waiting == 1


@asynchronous
async def test_a_coroutine_that_cancels_itself_or_is_withdrawn_is_not_called_late() -> None:
    placement = InProcess(make_engine(Slow), timeout_s=100.0)
    await placement.start()
    with pytest.raises(asyncio.CancelledError):
        await placement.submit("cancelled", (), {})
    ended: list[Any] = []
    call = asyncio.ensure_future(placement.submit("forever", (ended,), {}))
    await asyncio.sleep(0)
    call.cancel()
    await eventually(call.done)
    assert call.cancelled()
    await placement.close()
