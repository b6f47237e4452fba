"""Engine: one live instance of a Runnable; the same object in an API worker, in a runner worker and in an actor.

submit (event loop) ─► MethodQueue ─┐
                                    ├─► Pump ─► inline, or in the engine's thread ─► futures
submit (event loop) ─► MethodQueue ─┘     ▲
call (any thread) ─────── runs here ──── slot: the model is called by one thread at a time
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import inspect
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any, TypeAlias

from bentoml._context import ModelTiming, model_timings
from bentoml._threads import Pending, has_company, wait_for
from bentoml.exceptions import BentoMLException, StateException
from bentoml.runner import streaming
from bentoml.runner.execution import Failure, deliverable, run_batch
from bentoml.runner.joining import measure
from bentoml.runner.method_queue import Call, MethodPlan, MethodQueue, Outcome
from bentoml.runner.observing import Observer, Reporter
from bentoml.runner.pump import Pump
from bentoml.runner.runnable import Runnable
from bentoml.runner.slot import Slot
from bentoml.runner.turns import Turns, overdue, run_to_completion

__all__ = ["Engine"]

_Args: TypeAlias = tuple[Any, ...]
_Kwargs: TypeAlias = dict[str, Any]


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
        self._instance: Runnable | None = None
        #: What runs for a call: the methods of the instance; of a generator function, what makes a list of it.
        self._functions: dict[str, Callable[..., Any]] = {}
        self._generators: set[str] = set()
        self._coroutines: set[str] = set()
        self._slot = Slot()
        self._pump: Pump | None = None
        self._reporter: Reporter | None = None
        self._loop_thread = 0
        self._tasks = Turns(name, clock)
        self._closed = False

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
            if streaming.is_generator_function(function):
                self._generators.add(method)
                functions[method] = streaming.collected(function)
            if inspect.iscoroutinefunction(inspect.unwrap(functions[method])):
                self._coroutines.add(method)
        self._instance = instance
        self._functions = functions

    @property
    def is_loaded(self) -> bool:
        """Whether `load` has succeeded."""
        return bool(self._functions)

    def is_streaming(self, method: str) -> bool:
        """Whether the method is a generator function, plain or asynchronous."""
        return method in self._generators

    def is_asynchronous(self, method: str) -> bool:
        """Whether the method runs on an event loop: a coroutine function or an asynchronous generator."""
        return method in self._coroutines

    def takes_turns(self, method: str) -> bool:
        """Whether its calls run at one time: a coroutine function that is not batched."""
        return method in self._coroutines and not self.queues[method].plan.batching

    # -- serving -------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Serve `submit` on the running event loop."""
        loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._reporter = reporter = Reporter(self._observer, loop)
        self._tasks.on_refused = lambda method: reporter.refused(method, "queue")
        self._pump = Pump(
            self.name,
            list(self.queues.values()),
            self._functions,
            self._coroutines,
            slot=self._slot,
            loop=loop,
            reporter=self._reporter,
            clock=self._clock,
        )
        self._closed = False

    async def close(self) -> None:
        """Fail what waits, let what runs end, give up the thread."""
        pump, self._pump, self._closed = self._pump, None, True
        if pump is not None:
            await pump.close()
        await self._tasks.ended()

    @property
    def pump(self) -> Pump:
        """What lets batches leave.

        Raises:
            StateException: the engine is not started.
        """
        if self._pump is None:
            raise StateException(f"the runner {self.name!r} is not running")
        return self._pump

    def submit(self, method: str, args: _Args, kwargs: _Kwargs, *, waited_s: float = 0.0) -> asyncio.Future[Any]:
        """Queue a call on the event loop that `start` was called on; cancelling the future withdraws it.

        Args:
            waited_s: seconds that it has waited elsewhere, which count against its deadline.

        Raises:
            StateException: the engine is not started.
            ServiceUnavailable: refused on arrival.
            InvalidArgument: the arguments have different numbers of rows.
        """
        pump = self._pump or self.pump
        queue = self.queues[method]
        if self.takes_turns(method):
            return self._tasks.begin(queue.plan, self.run_coroutine(method, args, kwargs), waited_s)
        future: asyncio.Future[Any] = pump.loop.create_future()
        pump.push(queue, self._call(queue, args, kwargs, future, waited_s))
        return future

    def enqueue(self, method: str, args: _Args, kwargs: _Kwargs, outcome: Outcome, waited_s: float) -> None:
        """`submit` with an outcome of the caller's own, for methods whose calls do not take turns."""
        self.pump.push(self.queues[method], self._call(self.queues[method], args, kwargs, outcome, waited_s))

    def fail_overdue(self, timeout_s: float) -> None:
        """Fail the calls that were made longer ago; the model ends what it is at work on all the same."""
        since = self._clock() - timeout_s
        calls = [call for queue in self.queues.values() for call in queue.calls()]
        for call in [*calls, *(self._pump.running if self._pump is not None else ())]:
            if call.enqueued_at <= since:
                call.fail(overdue(self.name, timeout_s))
        self._tasks.fail_overdue(since, timeout_s)

    def _call(self, queue: MethodQueue, args: _Args, kwargs: _Kwargs, future: Outcome, waited_s: float = 0.0) -> Call:
        plan = queue.plan
        rows, key = measure(args, kwargs, plan.signature.batch_dim[0]) if plan.batching else (1, None)
        now = self._clock() - waited_s
        return Call(args, kwargs, rows, key, now, now + plan.max_latency_s, future, model_timings.get())

    def run_coroutine(self, method: str, args: _Args, kwargs: _Kwargs) -> Coroutine[Any, Any, Any]:
        """A coroutine that calls a coroutine method, for any event loop."""
        return self._awaited(self._function(method), method, args, kwargs)

    async def _awaited(self, function: Callable[..., Any], method: str, args: _Args, kwargs: _Kwargs) -> Any:
        started = time.perf_counter()
        try:
            return await function(*args, **kwargs)
        except (Exception, asyncio.CancelledError, GeneratorExit):
            raise
        except BaseException as error:
            raise deliverable(error, method) from error
        finally:
            self._ran_alone(method, 1, 0.0, started, time.perf_counter() - started)

    def stream(self, method: str, args: _Args, kwargs: _Kwargs) -> AsyncIterator[Any]:
        """Iterate over what a generator method yields.

        Raises:
            InvalidArgument: as it is iterated over; the method is none.
        """
        self._function(method)
        made = functools.partial(getattr(self._instance, method), *args, **kwargs)
        return streaming.iterate(made, self._slot, method=f"{self.name}.{method}")

    # -- from other threads --------------------------------------------------------------------------------------------

    def submit_from_thread(self, method: str, args: _Args, kwargs: _Kwargs) -> concurrent.futures.Future[Any]:
        """`submit` for other threads than that of the event loop; a refusal is raised by the future."""
        pump = self.pump
        queue = self.queues[method]
        if self.takes_turns(method):
            return asyncio.run_coroutine_threadsafe(self._submitted(method, args, kwargs), pump.loop)
        future: concurrent.futures.Future[Any] = concurrent.futures.Future()
        pump.push_from_thread(queue, self._call(queue, args, kwargs, future))
        return future

    async def _submitted(self, method: str, args: _Args, kwargs: _Kwargs) -> Any:
        return await self.submit(method, args, kwargs)

    def call(self, method: str, args: _Args, kwargs: _Kwargs) -> Any:
        """Call the method and wait for its result; from any thread.

        A batchable method joins the others' calls when the event loop serves it and the caller is another thread.

        Raises:
            StateException: it would wait for itself, or the engine is closed.
        """
        pump = self._pump
        queue = self.queues[method]
        plan = queue.plan
        on_loop = pump is not None and threading.get_ident() == self._loop_thread
        if method in self._coroutines:
            if pump is None or on_loop:
                return run_to_completion(self._function(method), f"{self.name}.{method}", args, kwargs)
            return wait_for(self.submit_from_thread(method, args, kwargs))
        function = self._function(method)
        if plan.batching:
            if pump is not None and not on_loop:
                return self._call_joined(pump, queue, args, kwargs)
            measure(args, kwargs, plan.signature.batch_dim[0])
        if on_loop and pump is not None and pump.runs_on_loop:
            raise StateException(
                f"{self.name}.{method}.run() would block the event loop for ever: the model is at work on it. "
                f"Use `await {self.name}.{method}.async_run(...)`"
            )
        asked = time.perf_counter()
        self._slot.acquire(past_gate=on_loop)
        started = time.perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            ended = time.perf_counter()
            self._slot.release()
            self._ran_alone(method, 1, started - asked, started, ended - started)

    def _call_joined(self, pump: Pump, queue: MethodQueue, args: _Args, kwargs: _Kwargs) -> Any:
        plan = queue.plan
        pending = Pending()
        call = self._call(queue, args, kwargs, pending)
        idle = plan.policy.patience_s <= 0 and not any(self.queues.values()) and not has_company()
        if not (idle and self._slot.acquire_now()):
            pump.push_from_thread(queue, call)
            return pending.result()
        # Nothing waits and the model is free: the way over the event loop would take longer than most models do.
        started = time.perf_counter()
        try:
            (outcome,) = run_batch(plan, self._function(plan.name), [call], clock=self._clock).outcomes
        finally:
            ended = time.perf_counter()
            self._slot.release()
            self._ran_alone(plan.name, call.rows, 0.0, started, ended - started)
        if type(outcome) is Failure:
            raise outcome.error
        return outcome

    def _ran_alone(self, method: str, rows: int, queue_s: float, started_at: float, compute_s: float) -> None:
        timings = model_timings.get()
        if timings is not None:
            timings.append(ModelTiming(self.name, method, queue_s, compute_s, rows, started_at, started_at))
        if self._reporter is not None:
            self._reporter.alone(method, rows, queue_s, compute_s)

    def _function(self, method: str) -> Callable[..., Any]:
        if self._closed:
            raise StateException(f"the runner {self.name!r} is closed")
        try:
            return self._functions[method]
        except KeyError:
            raise StateException(f"the model of the runner {self.name!r} is not loaded") from None
