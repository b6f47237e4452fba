"""Engine: one live instance of a Runnable; the same object in an API worker, in a runner worker and in an actor.

submit (event loop) ─► MethodQueue ─┐
                                    ├─► Pump ─► inline, or in the engine's thread ─► futures
submit (event loop) ─► MethodQueue ─┘     ▲
call (any thread) ─────── runs here ──── slot: the model is called by one thread at a time
"""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from bentoml._context import model_timings
from bentoml.exceptions import BentoMLException, ServiceUnavailable, StateException
from bentoml.runner.joining import measure
from bentoml.runner.method_queue import Call, MethodPlan, MethodQueue
from bentoml.runner.pump import Observer, Pump, Slot
from bentoml.runner.runnable import Runnable

__all__ = ["Engine"]


class Engine:
    """One instance of a Runnable and the queues of its methods.

    Args:
        name: the runner's name, for messages.
        make: makes the instance; called once, by `load`.
        plans: the methods that may be called.
        observer: told about every batch.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        name: str,
        make: Callable[[], Runnable],
        plans: Sequence[MethodPlan],
        *,
        observer: Observer | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.queues = {plan.name: MethodQueue(plan) for plan in plans}
        self._make = make
        self._observer = observer
        self._clock = clock
        self._functions: dict[str, Callable[..., Any]] = {}
        self._coroutines: set[str] = set()
        self._slot = Slot()
        self._pump: Pump | None = None
        self._loop_thread = 0
        self._tasks: set[asyncio.Task[Any]] = set()

    def load(self) -> None:
        """Make the instance; takes as long as loading the model does.

        Raises:
            BentoMLException: the instance lacks a method that was planned.
        """
        instance = self._make()
        functions = {}
        for method in self.queues:
            function = getattr(instance, method, None)
            if not callable(function):
                raise BentoMLException(f"the runner {self.name!r} has no method {method!r}")
            functions[method] = function
            if inspect.iscoroutinefunction(inspect.unwrap(function)):
                self._coroutines.add(method)
        self._functions = functions

    @property
    def is_loaded(self) -> bool:
        """Whether `load` has succeeded."""
        return bool(self._functions)

    def start(self) -> None:
        """Serve `submit` on the running event loop."""
        self._loop_thread = threading.get_ident()
        self._pump = Pump(
            self.name,
            list(self.queues.values()),
            self._functions,
            self._coroutines,
            slot=self._slot,
            loop=asyncio.get_running_loop(),
            observer=self._observer,
            clock=self._clock,
        )

    async def close(self) -> None:
        """Fail what waits, let the running batch end, give up the thread."""
        pump, self._pump = self._pump, None
        for task in self._tasks:
            task.cancel()
        if pump is not None:
            await pump.close()

    @property
    def pump(self) -> Pump:
        """What lets batches leave.

        Raises:
            StateException: the engine is not started.
        """
        if self._pump is None:
            raise StateException(f"the runner {self.name!r} is not running")
        return self._pump

    def call(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call the method and wait for its result; from any thread.

        A batchable method joins the others' calls when the event loop serves it and the caller is another thread.
        """
        pump = self._pump
        asynchronous = method in self._coroutines
        if (
            pump is not None
            and (asynchronous or self.queues[method].plan.batching)
            and threading.get_ident() != self._loop_thread
        ):
            return asyncio.run_coroutine_threadsafe(self.submitted(method, args, kwargs), pump.loop).result()
        if asynchronous:
            return self._run_coroutine(method, args, kwargs)
        function = self._function(method)
        with self._slot:
            return function(*args, **kwargs)

    async def submitted(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """`submit` as a coroutine, for other threads to hand to the event loop."""
        return await self.submit(method, args, kwargs)

    def _run_coroutine(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run(self._function(method)(*args, **kwargs))
        raise StateException(
            f"{self.name}.{method}.run() would block the event loop for ever: the method is asynchronous. "
            f"Use `await {self.name}.{method}.async_run(...)`"
        )

    def submit(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> asyncio.Future[Any]:
        """Queue a call on the event loop that `start` was called on; cancelling the future withdraws it.

        Raises:
            ServiceUnavailable: refused on arrival.
            InvalidArgument: the arguments have different numbers of rows.
        """
        pump = self.pump
        queue = self.queues[method]
        plan = queue.plan
        if not plan.batching and method in self._coroutines:
            task = pump.loop.create_task(self._function(method)(*args, **kwargs))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            return task
        rows, key = measure(args, kwargs, plan.signature.batch_dim[0]) if plan.batching else (1, None)
        now = self._clock()
        call = Call(
            args,
            kwargs,
            rows=rows,
            # An empty call has no neighbour to learn a result's shape from; it runs alone.
            key=key if rows else None,
            enqueued_at=now,
            deadline=now + plan.max_latency_s,
            future=pump.loop.create_future(),
            timings=model_timings.get(),
        )
        try:
            queue.push(call, now)
        except ServiceUnavailable:
            if self._observer is not None:
                self._observer.refused(method, "queue")
            raise
        pump.wake()
        return call.future

    async def stream(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> AsyncIterator[Any]:
        """Iterate over a generator method; a plain generator is stepped in a thread, holding the slot for each step.

        Not the engine's own thread: a batch that waits for it holds the slot, and the two would wait for each other.
        """
        produced = self._function(method)(*args, **kwargs)
        if hasattr(produced, "__anext__"):
            async for item in produced:
                yield item
            return
        end = object()

        def step() -> Any:
            with self._slot:
                return next(produced, end)

        try:
            while (item := await asyncio.to_thread(step)) is not end:
                yield item
        finally:
            produced.close()

    def is_streaming(self, method: str) -> bool:
        """Whether the method yields its results."""
        function = inspect.unwrap(self._function(method))
        return inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)

    def _function(self, method: str) -> Callable[..., Any]:
        try:
            return self._functions[method]
        except KeyError:
            raise StateException(f"the model of the runner {self.name!r} is not loaded") from None
