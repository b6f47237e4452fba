"""Pump: lets batches leave the queues of one engine, one at a time, and hands each caller its own result.

The model is called by one thread at a time: whoever holds the slot. While a batch runs in the engine's thread the next
one forms. A batch that takes less than `INLINE_BUDGET_S` runs on the event loop itself: handing it to a thread and back
would cost as much as it takes.
"""

from __future__ import annotations

import asyncio
import contextvars
import math
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from bentoml._context import ModelTiming
from bentoml._threads import post
from bentoml.exceptions import ServiceUnavailable, StateException
from bentoml.runner.alarm import Alarm
from bentoml.runner.batching import Reason, Send, Wait, decide
from bentoml.runner.execution import Failure, Ran, run_batch, run_batch_async
from bentoml.runner.method_queue import Call, MethodQueue
from bentoml.runner.observing import Reporter
from bentoml.runner.slot import Slot

__all__ = ["Pump"]

#: The longest model call that may run on the event loop, in seconds. Handing a call to a thread costs 50 to 100 us and,
#: under load, a wait for the interpreter lock; half a millisecond delays no other request noticeably.
INLINE_BUDGET_S = 0.0005
#: A call that took so many seconds on the event loop has stalled it: now and then the method is slow after all.
STALL_S = 10 * INLINE_BUDGET_S
#: After a stall of t seconds the method keeps off the event loop for this many t: stalls take 1 % of its time at most.
STALL_PENALTY = 100


class _Batch(NamedTuple):
    """Calls that left together."""

    queue: MethodQueue
    calls: list[Call]
    rows: int
    reason: Reason
    sealed_at: float


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
        reporter: Reporter,
        clock: Callable[[], float],
    ) -> None:
        self.loop = loop
        #: Whether the model runs on the event loop itself: nothing there may wait for the slot meanwhile.
        self.runs_on_loop = False
        self._name = name
        self._queues = queues
        self._functions = functions
        self._coroutines = coroutines
        self._reporter = reporter
        self._clock = clock
        self._slot = slot
        slot.on_free = lambda: loop.call_soon_threadsafe(self.wake)
        self._executor = ThreadPoolExecutor(1, thread_name_prefix=f"model-{name}")
        # Batches belong to no request: in the context of one of them they would see its variables.
        self._context = contextvars.copy_context()
        self._scheduled = False
        self._held = False
        self._closed = False
        #: The calls that the model is at work on.
        self.running: Sequence[Call] = ()
        self._busy_until = -math.inf
        self._alarm = Alarm(self._on_alarm, loop=loop, clock=clock, context=self._context)
        self._tasks: set[asyncio.Task[None]] = set()

    # -- in ------------------------------------------------------------------------------------------------------------

    def push(self, queue: MethodQueue, call: Call) -> None:
        """Let a call wait its turn.

        Raises:
            ServiceUnavailable: refused.
        """
        try:
            if self._closed:
                raise ServiceUnavailable(f"the runner {self._name!r} is shutting down")
            queue.push(call, self._busy_until if len(self._queues) == 1 else self._free_at(queue))
        except ServiceUnavailable:
            self._reporter.refused(queue.plan.name, "queue")
            raise
        if not self._scheduled:
            self.wake()

    def push_from_thread(self, queue: MethodQueue, call: Call) -> None:
        """`push` for another thread; a refusal becomes the outcome of the call."""

        def push() -> None:
            try:
                self.push(queue, call)
            except ServiceUnavailable as error:
                call.fail(error)

        try:
            post(self.loop, push)
        except RuntimeError:
            call.fail(StateException(f"the event loop that served the runner {self._name!r} has ended"))

    def _free_at(self, queue: MethodQueue) -> float:
        """When the model can begin with the calls of one method of several."""
        backlog_s = sum([other.backlog_s() for other in self._queues if other is not queue and other.rows])
        return max(self._clock(), self._busy_until) + backlog_s if backlog_s else self._busy_until

    def wake(self) -> None:
        """Look at the queues after this turn of the event loop, so that every request of the turn is in the batch."""
        if not self._scheduled and not self._closed:
            self._scheduled = True
            self.loop.call_soon(self._pump, context=self._context)

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
                call.fail(ServiceUnavailable(f"the runner {self._name!r} is shutting down"))
        self._alarm.cancel()
        self._slot.on_free = None
        self._slot.stand_down()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self.loop.run_in_executor(None, self._executor.shutdown)

    # -- through -------------------------------------------------------------------------------------------------------

    def _pump(self) -> None:
        """Let one batch leave if the slot is free; whatever ends a batch pumps again."""
        self._scheduled = False
        if self._closed or not any(self._queues):
            self._slot.stand_down()
        elif self._held:
            self._slot.stand_down()
            self._alarm.set(self._next_deadline())
        elif self.running or not self._slot.try_acquire():
            self._alarm.set(self._next_deadline())
        else:
            now = self._clock()
            sealed = self._seal(now)
            if sealed is None:
                self._slot.give_back()
            else:
                self._dispatch(*sealed, now)

    def _seal(self, now: float) -> tuple[MethodQueue, list[Call], Reason] | None:
        """Take the batch that leaves next: of the oldest call that need not wait for others to join it."""
        lanes = [(queue, lane) for queue in self._queues if queue.rows for lane in queue.lanes()]
        if len(lanes) > 1:
            lanes.sort(key=lambda found: found[1][0].enqueued_at)
        for queue, lane in lanes:
            if not lane:
                continue
            decision = decide(now, lane, queue.cost, queue.plan.policy)
            if isinstance(decision, Send):
                calls = queue.take(lane, decision.size)
                if calls:
                    return queue, calls, decision.reason
                self.wake()
            elif isinstance(decision, Wait):
                self._alarm.set(decision.until)
            else:
                self._shed(queue, now)
                self.wake()
        return None

    def _dispatch(self, queue: MethodQueue, calls: list[Call], reason: Reason, now: float) -> None:
        """Run a batch; the slot is held, and is given back when it is done."""
        plan = queue.plan
        rows = sum([call.rows for call in calls])
        batch = _Batch(queue, calls, rows, reason, now)
        self.running = calls
        if plan.name in self._coroutines:
            self.runs_on_loop = True
            self._busy_until = now + queue.cost(rows)
            task = self.loop.create_task(self._run_async(batch))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            return
        function = self._functions[plan.name]
        if (
            now >= queue.inline_after
            and rows <= plan.policy.max_batch_rows
            and queue.cost.undisturbed(rows) <= INLINE_BUDGET_S
        ):
            self.runs_on_loop = True
            started = time.perf_counter()
            ran = run_batch(plan, function, calls, clock=self._clock, bisect=False)
            seconds = time.perf_counter() - started
            self.runs_on_loop = False
            if seconds > STALL_S:
                queue.inline_after = now + STALL_PENALTY * seconds
            if ran.clean or len(calls) == 1:
                self._slot.give_back()
                self._done(batch, ran, started, seconds)
                return
            # It failed, and finding out why takes several calls: those are made in the thread.
        self._busy_until = now + queue.cost(rows)

        def in_thread() -> None:
            started = time.perf_counter()
            ran = run_batch(plan, function, calls, clock=self._clock)
            seconds = time.perf_counter() - started
            # Here and not on the event loop, which may itself be waiting for the slot.
            self._slot.give_back()
            self.loop.call_soon_threadsafe(self._done, batch, ran, started, seconds, context=self._context)

        try:
            self._executor.submit(in_thread)
        except RuntimeError as error:
            # The machine has no thread to give.
            self._slot.give_back()
            self._done(batch, Ran([Failure(error)] * len(calls), False), now, 0.0)

    async def _run_async(self, batch: _Batch) -> None:
        plan = batch.queue.plan
        started = time.perf_counter()
        try:
            ran = await run_batch_async(plan, self._functions[plan.name], batch.calls, clock=self._clock)
        except (asyncio.CancelledError, GeneratorExit):
            # By the model itself, or as the event loop ends.
            error = ServiceUnavailable(f"the call of {self._name}.{plan.name} was cancelled")
            ran = Ran([Failure(error)] * len(batch.calls), False)
        self.runs_on_loop = False
        self._slot.give_back()
        self._done(batch, ran, started, time.perf_counter() - started)

    # -- out -----------------------------------------------------------------------------------------------------------

    def _done(self, batch: _Batch, ran: Ran, started_at: float, compute_s: float) -> None:
        self.running = ()
        self._busy_until = -math.inf
        queue, calls, rows, method = batch.queue, batch.calls, batch.rows, batch.queue.plan.name
        for call, outcome in zip(calls, ran.outcomes, strict=True):
            if call.timings is not None:
                waited_s = batch.sealed_at - call.enqueued_at
                timing = ModelTiming(self._name, method, waited_s, compute_s, rows, batch.sealed_at, started_at)
                call.timings.append(timing)
            if type(outcome) is Failure:
                call.fail(outcome.error)
            else:
                call.answer(outcome)
        if ran.clean:
            queue.cost.observe(rows, compute_s)
        waited_s = batch.sealed_at - calls[0].enqueued_at
        self._reporter.batch(method, len(calls), rows, waited_s, compute_s, batch.reason)
        if any(self._queues):
            self.wake()

    def _shed(self, queue: MethodQueue, now: float) -> None:
        for call in queue.shed(now):
            self._reporter.refused(queue.plan.name, "deadline")
            late = ServiceUnavailable(
                f"{self._name}.{queue.plan.name} did not get to this call "
                f"within {queue.plan.max_latency_s * 1000:g} ms",
                retry_after_s=max(1.0, queue.backlog_s()),
            )
            call.fail(late)

    # -- later ---------------------------------------------------------------------------------------------------------

    def _next_deadline(self) -> float:
        return min([queue.next_deadline() for queue in self._queues])

    def _on_alarm(self) -> None:
        now = self._clock()
        for queue in self._queues:
            self._shed(queue, now)
        self._pump()
