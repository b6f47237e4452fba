"""Alarm: the earliest of the times it was set to counts."""

from __future__ import annotations

import asyncio
import contextvars
import math
from typing import Any

import pytest

from bentoml.runner.alarm import Alarm


class Loop:
    """The one method of an event loop that an alarm uses."""

    def __init__(self) -> None:
        self.timers: list[Any] = []

    def call_later(self, delay_s: float, callback: Any, *, context: contextvars.Context) -> Any:
        timer = type("Timer", (), {"delay_s": delay_s, "callback": callback, "alive": True})()
        timer.cancel = lambda: setattr(timer, "alive", False)
        self.timers.append(timer)
        return timer

    @property
    def delays_s(self) -> list[float]:
        return [timer.delay_s for timer in self.timers if timer.alive]


@pytest.fixture
def loop() -> Loop:
    return Loop()


@pytest.fixture
def rung() -> list[int]:
    return []


@pytest.fixture
def alarm(loop: Any, rung: list[int]) -> Alarm:
    return Alarm(lambda: rung.append(1), loop=loop, clock=lambda: 100.0, context=contextvars.copy_context())


def test_the_earliest_time_counts(alarm: Alarm, loop: Loop) -> None:
    for when in (160.0, 101.0, 130.0):
        alarm.set(when)
    assert loop.delays_s == [1.0]


def test_it_can_be_set_again_once_it_has_rung_or_was_cancelled(alarm: Alarm, loop: Loop, rung: list[int]) -> None:
    alarm.set(101.0)
    loop.timers[0].callback()
    assert rung == [1]
    alarm.set(160.0)
    alarm.cancel()
    alarm.set(170.0)
    assert [timer.delay_s for timer in loop.timers if timer.alive][1:] == [70.0]


@pytest.mark.parametrize(("when", "delay_s"), [(100.0021, 0.003), (100.0, 0.0), (90.0, 0.0), (100.5, 0.5)])
def test_a_delay_is_never_negative_and_never_rounded_down(
    alarm: Alarm, loop: Loop, when: float, delay_s: float
) -> None:
    alarm.set(when)
    assert loop.delays_s == [pytest.approx(delay_s)]


def test_an_infinite_time_never_comes(alarm: Alarm, loop: Loop) -> None:
    alarm.set(math.inf)
    assert loop.timers == []


def test_it_rings_on_a_real_event_loop_in_its_own_context() -> None:
    user: contextvars.ContextVar[str] = contextvars.ContextVar("user", default="nobody")

    async def main() -> str:
        loop = asyncio.get_running_loop()
        rung: asyncio.Future[str] = loop.create_future()
        context = contextvars.copy_context()
        alarm = Alarm(lambda: rung.set_result(user.get()), loop=loop, clock=loop.time, context=context)
        user.set("ann")
        alarm.set(loop.time() + 0.002)
        return await rung

    assert asyncio.run(main()) == "nobody"
