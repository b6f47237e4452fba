"""Pump: lets batches leave the queues of one engine, one at a time, and hands each caller its own result.

The model is called by one thread at a time: whoever holds the slot. While a batch runs in the engine's thread the next
one forms. A batch that takes less than `INLINE_BUDGET_S` runs on the event loop itself: handing it to a thread and back
would cost as much as it takes.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from bentoml._context import ModelTiming
from bentoml.exceptions import ServiceUnavailable, StateException
from bentoml.runner.batching import Reason, Send, Wait, decide
from bentoml.runner.execution import Outcome, run_batch, run_batch_async
from bentoml.runner.method_queue import Call, MethodQueue

__all__ = ["Observer", "Pump", "Slot"]

#: The longest model call that may run on the event loop, in seconds. Handing a call to a thread costs 50 to 100 us and,
#: under load, a wait for the interpreter lock; half a millisecond delays no other request noticeably.
INLINE_BUDGET_S = 0.0005


class Observer(Protocol):
    """Who is told about batches; called on the event loop."""

    def batch(self, method: str, *, calls: int, rows: int, queue_s: float, compute_s: float, reason: Reason) -> None:
        """A batch was run; `queue_s` is the wait of its oldest call."""

    def refused(self, method: str, reason: str) -> None:
        """A call was refused (`queue`) or its deadline passed while it waited (`deadline`)."""


class Slot:
    """The right to call the model: a lock that tells a pump when it becomes free.

    `with slot:` blocks the thread; the pump uses `try_acquire`, which asks for a wake-up when it fails.
    """

    __slots__ = ("_lock", "_starved", "on_free")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._starved = False
        #: Called from the thread that frees the slot, when the pump has found it taken.
        self.on_free: Callable[[], object] | None = None

    def try_acquire(self) -> bool:
        """Take the slot if it is free; else `on_free` will be called."""
        # Before the attempt: a slot that is freed in between then either is ours or sees the wish.
        self._starved = True
        if self._lock.acquire(blocking=False):
            self._starved = False
            return True
        return False

    def release(self) -> None:
        """Give the slot back without a wake-up; for the pump itself."""
        self._lock.release()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()
        if self._starved and self.on_free is not None:
            self.on_free()


class Pump:
    """Moves calls from the queues of one engine to its model and results back to the callers; lives on one event loop.

    Args:
        functions: method → the bound function of the model.
        coroutines: the methods that are coroutine functions.
    """

    def __init__(
        self,
        name: str,
        queues: Sequence[MethodQueue],
        functions: Mapping[str, Callable[..., Any]],
        coroutines: set[str],
        *,
        slot: Slot,
        loop: asyncio.AbstractEventLoop,
        observer: Observer | None,
        clock: Callable[[], float],
    ) -> None:
        self.loop = loop
        self._name = name
        self._queues = queues
        self._functions = functions
        self._coroutines = coroutines
        self._observer = observer
        self._clock = clock
        self._slot = slot
        slot.on_free = lambda: loop.call_soon_threadsafe(self.wake)
        self._executor = ThreadPoolExecutor(1, thread_name_prefix=f"model-{name}")
        self._scheduled = False
        self._held = False
        self._closed = False
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def wake(self) -> None:
        """Look at the queues after this turn of the event loop, so that every request of the turn is in the batch."""
        if not self._scheduled and not self._held and not self._closed:
            self._scheduled = True
            self.loop.call_soon(self._pump)

    def hold(self) -> None:
        """Let calls queue up and none leave, until `release`; for tests and for swapping the model."""
        self._held = True

    def release(self) -> None:
        """Let the queued calls leave."""
        self._held = False
        self.wake()

    async def close(self) -> None:
        """Fail what waits, let the running batch end, give up the thread."""
        self._closed = True
        for queue in self._queues:
            for call in queue.drain():
                self._fail(call, ServiceUnavailable(f"the runner {self._name!r} is shutting down"))
        for task in self._tasks:
            task.cancel()
        if self._timer is not None:
            self._timer.cancel()
        self._slot.on_free = None
        await self.loop.run_in_executor(None, self._executor.shutdown)

    def _next_queue(self) -> MethodQueue | None:
        """The method whose oldest call has waited longest."""
        best: MethodQueue | None = None
        best_since = math.inf
        for queue in self._queues:
            if queue:
                lane = queue.oldest_lane()
                if lane is not None and lane[0].enqueued_at < best_since:
                    best, best_since = queue, lane[0].enqueued_at
        return best

    def _pump(self) -> None:
        """Let one batch leave if the slot is free; whatever ends a batch pumps again."""
        self._scheduled = False
        if self._held:
            return
        while (queue := self._next_queue()) is not None:
            if not self._slot.try_acquire():
                self._arm_timer(queue.next_deadline())
                return
            lane = queue.oldest_lane()
            now = self._clock()
            if lane is None:
                self._slot.release()
                continue
            decision = decide(now, lane, queue.cost, queue.plan.policy)
            if isinstance(decision, Send):
                calls = queue.take(lane, decision.size)
                if calls:
                    self._dispatch(queue, calls, decision.reason, now)
                    return
                self._slot.release()
            elif isinstance(decision, Wait):
                self._slot.release()
                self._arm_timer(decision.until)
                return
            else:
                self._slot.release()
                self._shed(queue, now)

    def _dispatch(self, queue: MethodQueue, calls: list[Call], reason: Reason, now: float) -> None:
        """Run a batch; the slot is held and is freed when it is done."""
        plan = queue.plan
        function = self._functions[plan.name]
        rows = sum(call.rows for call in calls)
        if plan.name in self._coroutines:
            task = self.loop.create_task(self._run_async(queue, calls, rows, reason, now))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            return
        if rows <= plan.policy.max_batch_rows and queue.cost.undisturbed(rows) <= INLINE_BUDGET_S:
            started = time.perf_counter()
            outcomes = run_batch(plan, function, calls, clock=self._clock)
            self._done(queue, calls, outcomes, rows, reason, now, time.perf_counter() - started)
            return
        queue.busy_until = now + queue.cost(rows)

        def in_thread() -> tuple[list[Outcome], float]:
            started = time.perf_counter()
            return run_batch(plan, function, calls, clock=self._clock), time.perf_counter() - started

        def finished(future: asyncio.Future[tuple[list[Outcome], float]]) -> None:
            if future.cancelled():
                outcomes: list[Outcome] = [Outcome(None, StateException("the model call was cancelled"))] * len(calls)
                seconds = 0.0
            else:
                outcomes, seconds = future.result()
            self._done(queue, calls, outcomes, rows, reason, now, seconds)

        self.loop.run_in_executor(self._executor, in_thread).add_done_callback(finished)

    async def _run_async(self, queue: MethodQueue, calls: list[Call], rows: int, reason: Reason, now: float) -> None:
        started = time.perf_counter()
        outcomes = await run_batch_async(queue.plan, self._functions[queue.plan.name], calls, clock=self._clock)
        self._done(queue, calls, outcomes, rows, reason, now, time.perf_counter() - started)

    def _done(
        self,
        queue: MethodQueue,
        calls: list[Call],
        outcomes: list[Outcome],
        rows: int,
        reason: Reason,
        sealed_at: float,
        compute_s: float,
    ) -> None:
        self._slot.release()
        queue.busy_until = 0.0
        method = queue.plan.name
        if all(outcome.error is None for outcome in outcomes):
            queue.cost.observe(rows, compute_s)
        if self._observer is not None:
            self._observer.batch(
                method,
                calls=len(calls),
                rows=rows,
                queue_s=sealed_at - calls[0].enqueued_at,
                compute_s=compute_s,
                reason=reason,
            )
        for call, outcome in zip(calls, outcomes, strict=True):
            if call.timings is not None:
                waited_s = sealed_at - call.enqueued_at
                call.timings.append(ModelTiming(self._name, method, waited_s, compute_s, rows))
            if call.future.done():
                continue
            if outcome.error is None:
                call.future.set_result(outcome.value)
            else:
                self._fail(call, outcome.error)
        if any(self._queues):
            self.wake()

    def _fail(self, call: Call, error: BaseException) -> None:
        if not call.future.done():
            call.future.set_exception(error)

    def _shed(self, queue: MethodQueue, now: float) -> None:
        for call in queue.shed(now):
            if not call.future.done():
                if self._observer is not None:
                    self._observer.refused(queue.plan.name, "deadline")
                self._fail(
                    call,
                    ServiceUnavailable(
                        f"{self._name}.{queue.plan.name} did not get to this call "
                        f"within {queue.plan.max_latency_s * 1000:g} ms",
                        retry_after_s=max(1.0, queue.cost(queue.rows)),
                    ),
                )

    def _arm_timer(self, when: float) -> None:
        if self._timer is not None or when == math.inf:
            return
        self._timer = self.loop.call_later(max(0.0, when - self._clock()), self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        now = self._clock()
        for queue in self._queues:
            self._shed(queue, now)
        self._pump()
