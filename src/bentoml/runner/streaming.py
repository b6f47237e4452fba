"""Generator methods: iterated over item by item, or collected into a list for a caller that wants it all."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from bentoml.exceptions import InvalidArgument
from bentoml.runner.slot import Slot

__all__ = ["collected", "is_generator_function", "iterate"]


def collected(generator_function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that returns a list of what a generator function yields; a coroutine function if that is one."""
    if not inspect.isasyncgenfunction(inspect.unwrap(generator_function)):
        return lambda *args, **kwargs: list(generator_function(*args, **kwargs))

    async def collect(*args: Any, **kwargs: Any) -> list[Any]:
        return [item async for item in generator_function(*args, **kwargs)]

    return collect


def is_generator_function(function: Callable[..., Any]) -> bool:
    """Whether it is a generator function, plain or asynchronous, under whatever decorators."""
    bare = inspect.unwrap(function)
    return inspect.isgeneratorfunction(bare) or inspect.isasyncgenfunction(bare)


async def iterate(call: Callable[[], Any], slot: Slot, *, method: str) -> AsyncIterator[Any]:
    """The items of what a method returns: an iterator, plain or asynchronous; closed when the caller stops early.

    A plain iterator is stepped in a thread, holding the slot for each step.

    Raises:
        InvalidArgument: it is no iterator.
    """
    produced = call()
    if isinstance(produced, Iterator):
        produced = _stepped(produced, slot)
    elif not isinstance(produced, AsyncIterator):
        raise InvalidArgument(
            f"{method} returned a {type(produced).__name__}, which cannot be iterated over as it is made",
            hint="async_stream is for generator methods; use async_run",
        )
    try:
        async for item in produced:
            yield item
    finally:
        if hasattr(produced, "aclose"):
            await produced.aclose()


async def _stepped(produced: Iterator[Any], slot: Slot) -> AsyncIterator[Any]:
    end = object()

    def step() -> Any:
        slot.acquire()
        try:
            return next(produced, end)
        finally:
            slot.release()

    def close() -> None:
        slot.acquire()
        try:
            getattr(produced, "close", lambda: None)()
        finally:
            slot.release()

    try:
        while (item := await asyncio.to_thread(step)) is not end:
            yield item
    finally:
        # A caller that was cancelled leaves a step behind, which holds the slot: what it runs can be closed only after.
        await asyncio.shield(asyncio.to_thread(close))
