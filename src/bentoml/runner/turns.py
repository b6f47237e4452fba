"""Turns: the calls of coroutine methods that are not batched; they take turns by themselves and need no queue."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from bentoml.exceptions import DeadlineExceeded, ServiceUnavailable, StateException
from bentoml.runner.method_queue import MethodPlan

__all__ = ["SWEEP_INTERVAL_S", "Turns", "overdue", "run_to_completion"]

#: How often calls that have taken too long are looked for, in seconds: no call has a timer of its own.
SWEEP_INTERVAL_S = 1.0


def overdue(owner: str, timeout_s: float) -> DeadlineExceeded:
    """The error of a call that has taken too long; `owner`: the runner, or its method."""
    return DeadlineExceeded(
        f"a call of {owner!r} took longer than {timeout_s:g} s",
        hint="raise runners.traffic.timeout, or make the model faster",
    )


def run_to_completion(
    function: Callable[..., Coroutine[Any, Any, Any]], name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """Call a coroutine function in a thread that has no event loop.

    Raises:
        StateException: it has one.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(function(*args, **kwargs))
    raise StateException(
        f"{name}.run() would block the event loop for ever: the method is asynchronous. "
        f"Use `await {name}.async_run(...)`"
    )


class Turns:
    """The running coroutines of one engine, as tasks of the event loop that they were begun on."""

    def __init__(self, name: str, clock: Callable[[], float]) -> None:
        self._name = name
        self._clock = clock
        #: When each was begun.
        self._tasks: dict[asyncio.Task[Any], float] = {}
        self._overdue: dict[asyncio.Task[Any], DeadlineExceeded] = {}
        #: Told of each call that is refused.
        self.on_refused: Callable[[str], None] = lambda method: None

    def begin(self, plan: MethodPlan, coroutine: Coroutine[Any, Any, Any], waited_s: float) -> asyncio.Task[Any]:
        """Let a call run.

        Raises:
            ServiceUnavailable: too many are running.
        """
        if len(self._tasks) >= plan.max_queue_rows:
            coroutine.close()
            self.on_refused(plan.name)
            raise ServiceUnavailable(f"{len(self._tasks)} calls of {self._name!r} are running, no more may")
        task = asyncio.get_running_loop().create_task(self._run(coroutine))
        self._tasks[task] = self._clock() - waited_s
        task.add_done_callback(self._forget)
        return task

    async def _run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        try:
            return await coroutine
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task in self._overdue:
                raise self._overdue[task] from None
            raise

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._tasks.pop(task, None)
        self._overdue.pop(task, None)

    def fail_overdue(self, since: float, timeout_s: float) -> None:
        """Cancel the calls that were made before, and let their callers know why."""
        for task, begun_at in list(self._tasks.items()):
            if begun_at <= since and task not in self._overdue:
                self._overdue[task] = overdue(self._name, timeout_s)
                task.cancel()

    async def ended(self) -> None:
        """Until none is running."""
        if self._tasks:
            await asyncio.wait(self._tasks)
