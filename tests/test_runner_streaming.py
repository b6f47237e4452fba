"""Streams: items as they are made, one step at a time, and generators that are always closed."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from bentoml.exceptions import InvalidArgument, StateException
from bentoml.runner.runnable import Runnable
from bentoml.runner.streaming import is_generator_function
from tests._engines import Gate, asynchronous, eventually, make_engine, serving


class Counter(Runnable):
    """Counts up; remembers how its generators ended."""

    def __init__(self) -> None:
        self.ended: list[str] = []
        self.gate = Gate()

    @Runnable.method
    def count(self, stop: int, fail_at: int = -1) -> Iterator[int]:
        try:
            for number in range(stop):
                if number == fail_at:
                    raise ValueError(f"at {number}")
                yield number
            self.ended.append("exhausted")
        except GeneratorExit:
            self.ended.append("closed")
            raise

    @Runnable.method
    async def acount(self, stop: int, fail_at: int = -1) -> AsyncIterator[int]:
        try:
            for number in range(stop):
                await asyncio.sleep(0)
                if number == fail_at:
                    raise ValueError(f"at {number}")
                yield number
            self.ended.append("exhausted")
        except GeneratorExit:
            self.ended.append("closed")
            raise

    @Runnable.method
    def gated(self) -> Iterator[int]:
        try:
            yield 1
            self.gate.pass_through()
            yield 2
        finally:
            self.ended.append("closed")

    @Runnable.method
    def iterator(self) -> Any:
        return iter([1, 2])

    @Runnable.method
    def plain(self, x: Any = 1) -> Any:
        return x


async def items(stream: AsyncIterator[Any]) -> list[Any]:
    return [item async for item in stream]


@pytest.mark.parametrize("method", ["count", "acount"])
@asynchronous
async def test_the_items_of_a_generator_come_one_by_one(method: str) -> None:
    async with serving(make_engine(Counter)) as engine:
        assert await items(engine.stream(method, (3,), {})) == [0, 1, 2]
        assert await items(engine.stream(method, (), {"stop": 0})) == []
        assert engine._instance.ended == ["exhausted"] * 2  # type: ignore[union-attr]


@pytest.mark.parametrize("method", ["count", "acount"])
@asynchronous
async def test_a_caller_that_stops_early_closes_the_generator(method: str) -> None:
    async with serving(make_engine(Counter)) as engine:
        stream = engine.stream(method, (10,), {})
        assert [await anext(stream), await anext(stream)] == [0, 1]
        await stream.aclose()  # type: ignore[attr-defined]
        assert engine._instance.ended == ["closed"]  # type: ignore[union-attr]


@pytest.mark.parametrize("method", ["count", "acount"])
@asynchronous
async def test_an_error_comes_after_the_items_before_it(method: str) -> None:
    async with serving(make_engine(Counter)) as engine:
        stream = engine.stream(method, (5,), {"fail_at": 2})
        assert [await anext(stream), await anext(stream)] == [0, 1]
        with pytest.raises(ValueError, match="at 2"):
            await anext(stream)


@asynchronous
async def test_a_caller_that_is_cancelled_within_a_step_closes_the_generator_after_it() -> None:
    async with serving(make_engine(Counter)) as engine:
        counter: Any = engine._instance
        consumer = asyncio.create_task(items(engine.stream("gated", (), {})))
        await eventually(lambda: counter.gate.waiting)
        consumer.cancel()
        await asyncio.sleep(0.005)
        assert counter.ended == []
        counter.gate.open()
        with pytest.raises(asyncio.CancelledError):
            await consumer
        assert counter.ended == ["closed"]
        assert engine.call("plain", (3,), {}) == 3


@asynchronous
async def test_streams_and_calls_share_the_model() -> None:
    async with serving(make_engine(Counter)) as engine:
        streams = [items(engine.stream("count", (30,), {})) for _ in range(5)]
        calls = [engine.submit("plain", (number,), {}) for number in range(30)]
        found = await asyncio.gather(*streams)
        assert found == [list(range(30))] * 5
        assert await asyncio.gather(*calls) == list(range(30))


@asynchronous
async def test_any_iterator_can_be_streamed_and_nothing_else() -> None:
    async with serving(make_engine(Counter)) as engine:
        assert await items(engine.stream("iterator", (), {})) == [1, 2]
        with pytest.raises(InvalidArgument) as caught:
            await items(engine.stream("plain", (), {}))
        assert str(caught.value) == (
            "model.plain returned a int, which cannot be iterated over as it is made "
            "(hint: async_stream is for generator methods; use async_run)"
        )


@pytest.mark.parametrize("method", ["count", "acount"])
@asynchronous
async def test_a_generator_that_is_run_and_not_streamed_gives_a_list(method: str) -> None:
    engine = make_engine(Counter)
    assert await asyncio.to_thread(engine.call, method, (3,), {}) == [0, 1, 2]
    async with serving(engine):
        assert await engine.submit(method, (3,), {}) == [0, 1, 2]
        assert await asyncio.to_thread(engine.call, method, (3,), {}) == [0, 1, 2]


@asynchronous
async def test_streams_work_before_the_engine_is_started_and_not_once_it_is_closed() -> None:
    engine = make_engine(Counter)
    assert await items(engine.stream("count", (2,), {})) == [0, 1]
    assert await items(engine.stream("acount", (2,), {})) == [0, 1]
    engine.start()
    await engine.close()
    with pytest.raises(StateException, match="the runner 'model' is closed"):
        await items(engine.stream("count", (2,), {}))


@asynchronous
async def test_a_plain_generator_does_not_run_on_the_event_loop() -> None:
    class Where(Runnable):
        @Runnable.method
        def threads(self) -> Iterator[int]:
            yield threading.get_ident()

    async with serving(make_engine(Where)) as engine:
        assert await items(engine.stream("threads", (), {})) != [threading.get_ident()]


def test_generator_functions_are_known_under_their_decorators() -> None:
    @functools.wraps(Counter.count.func)  # type: ignore[attr-defined]
    def wrapped(*args: Any) -> Any:
        return Counter.count.func(*args)  # type: ignore[attr-defined]

    assert is_generator_function(wrapped)
    assert is_generator_function(Counter().acount)
    assert not is_generator_function(Counter().plain)
    engine = make_engine(Counter)
    assert [engine.is_streaming(method) for method in ("count", "acount", "plain")] == [True, True, False]
