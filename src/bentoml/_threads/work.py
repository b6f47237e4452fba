"""Work: one call of a plain function on its way to a thread and back."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from typing import Any

from bentoml._threads.lane import Lane

__all__ = ["Work"]


class Work:
    """A function, its arguments and the context that it is called in, so that context variables reach it.

    Attributes:
        future: of the event loop that asked for it.
        lane: None: it takes no turns.
        number: of works that wait the lowest has waited longest.
        is_over: whether the event loop has heard of its end.
    """

    __slots__ = ("_arguments", "_context", "_error", "_function", "_value", "future", "is_over", "lane", "number")

    def __init__(
        self,
        function: Callable[..., Any],
        arguments: tuple[Any, ...],
        lane: Lane | None,
        future: asyncio.Future[Any],
        number: int,
    ) -> None:
        self._function = function
        self._arguments = arguments
        self._context = contextvars.copy_context()
        self._value: Any = None
        self._error: BaseException | None = None
        self.future = future
        self.lane = lane
        self.number = number
        self.is_over = False

    def perform(self) -> None:
        """Call the function, in the thread that this is for."""
        try:
            self._value = self._context.run(self._function, *self._arguments)
        except BaseException as error:  # noqa: BLE001 - user code: whatever it raises belongs to who asked for it
            if isinstance(error, StopIteration):
                # No future takes one; in a coroutine it becomes the same.
                self._error = RuntimeError("the function raised StopIteration")
                self._error.__cause__ = error
            else:
                self._error = error
            # The traceback of the error holds this frame, and would hold with it what holds the error.
            del self

    def drop(self) -> None:
        """Say that it will never be performed, on the event loop."""
        self.is_over = True
        self.future.cancel()

    def deliver(self) -> None:
        """Hand over what came of it, on the event loop."""
        self.is_over = True
        error, self._error = self._error, None
        if self.future.done():
            return
        if error is None:
            self.future.set_result(self._value)
        else:
            self.future.set_exception(error)
