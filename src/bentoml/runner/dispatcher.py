"""Dispatcher: the one queue of an API worker for all workers of a runner; a worker with room takes the oldest call.

submit ──► queue ──► pump, once a turn of the event loop ──► the link with the least in hand, if it has room
             ▲                                                    │
             └──────────── idempotent calls of a worker that died ┘
"""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from bentoml._context import model_timings
from bentoml.exceptions import ServiceUnavailable
from bentoml.runner.alarm import Alarm
from bentoml.runner.drain_rate import DrainRate
from bentoml.runner.joining import count_rows
from bentoml.runner.link import Link, PendingCall
from bentoml.runner.method_queue import MethodPlan
from bentoml.runner.observing import Observer, Reporter
from bentoml.runner.turns import SWEEP_INTERVAL_S, overdue

__all__ = ["Dispatcher"]

#: What one worker may have in hand for one API worker: two batches of the largest size, one that it runs and one that
#: forms meanwhile. More would wait behind it while another worker is free; less, and it would wait for us.
ROOM = 1 << 40
#: Calls that are not batched in place of two batches: as many as cover the way there and back, some 200 us, for a
#: method that takes 30 us; a slow one is seldom asked by more callers than that at one time.
CALLS_IN_HAND = 8


class _Method:
    """A method's plan, what one row takes of a worker's room, and its account."""

    __slots__ = ("plan", "row_share", "rows")

    def __init__(self, plan: MethodPlan) -> None:
        self.plan = plan
        self.row_share = ROOM // (2 * plan.policy.max_batch_rows if plan.batching else CALLS_IN_HAND)
        if plan.takes_turns:
            # Any number of them run at one time. They still tell who has more to do.
            self.row_share = 1
        #: Rows that wait, here or there. Which of those in hand are being run is known only there, so all count.
        self.rows = 0


class Dispatcher:
    """Hands the calls of one process to the workers of one runner; lives on the event loop that it is made on.

    Args:
        name: the runner's name, for messages.
        paths: of the workers' sockets.
        plans: the methods that may be called.
        timeout_s: a call that takes longer fails, to within a second.
        observer: told of each call that is refused here.
    """

    def __init__(
        self,
        name: str,
        paths: Sequence[str],
        plans: Sequence[MethodPlan],
        *,
        timeout_s: float,
        observer: Observer | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = name
        self._methods = {plan.name: _Method(plan) for plan in plans}
        self._timeout_s = timeout_s
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._reporter = Reporter(observer, self._loop)
        self._context = contextvars.copy_context()
        self._alarm = Alarm(self._pump, loop=self._loop, clock=clock, context=self._context)
        self._queue: deque[PendingCall] = deque()
        self._scheduled = False
        self._closed = False
        self._drain_rate = DrainRate()
        self._ended_rows = 0
        self._links = [
            Link(name, path, on_ended=self._ended, on_ready=self._found, on_answers=self._answered, on_lost=self._lost)
            for path in paths
        ]
        #: Those that can be reached now, in the order of `paths`.
        self._ready: list[Link] = []
        self._sweeper = self._loop.call_later(SWEEP_INTERVAL_S, self._sweep, context=self._context)

    async def connect(self) -> None:
        """Reach all workers; returns when they have loaded their models."""
        await asyncio.gather(*[link.connect() for link in self._links])

    @property
    def is_ready(self) -> bool:
        """Whether a call made now would reach a loaded model."""
        return bool(self._ready)

    # -- in -----------------------------------------------------------------------------------------------------------

    def submit(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> PendingCall:
        """Queue a call; cancelling what is returned withdraws it.

        Raises:
            ServiceUnavailable: refused now.
            InvalidArgument: an argument has no rows along the method's axis.
        """
        method = self._methods[name]
        plan = method.plan
        rows = (count_rows(args, kwargs, plan.signature.batch_dim[0]) or 1) if plan.batching else 1
        refusal = self._refusal(method, rows)
        if refusal is not None:
            self._reporter.refused(name, "queue")
            raise refusal
        call = PendingCall(loop=self._loop)
        now = self._clock()
        call.method, call.args, call.kwargs, call.rows = name, args, kwargs, rows
        call.share = rows * method.row_share
        call.enqueued_at, call.deadline = now, now + plan.max_latency_s
        call.timings = model_timings.get()
        call.link, call.sent_as, call.was_sent_again = None, -1, False
        call.on_cancel = self._withdraw
        method.rows += rows
        self._queue.append(call)
        if not self._scheduled:
            self._wake()
        return call

    def _refusal(self, method: _Method, rows: int) -> ServiceUnavailable | None:
        if not self._ready:
            return self._nobody()
        plan, rate = method.plan, self._drain_rate
        if method.rows and method.rows + rows > plan.max_queue_rows:
            return ServiceUnavailable(
                f"the queue of {self._name}.{plan.name} is full: {method.rows} rows wait, {plan.max_queue_rows} may",
                retry_after_s=max(1.0, rate.late_by_s(method.rows, 0.0)),
            )
        # Whoever need not wait for room is judged by the worker, which knows what its batches take.
        if not (self._queue and plan.batching):
            return None
        late_s = rate.late_by_s(sum([each.rows for each in self._methods.values()]) + rows, plan.max_latency_s)
        if not late_s:
            return None
        return ServiceUnavailable(
            f"the queue of {self._name}.{plan.name} is too long to answer within {plan.max_latency_s * 1000:g} ms",
            retry_after_s=max(1.0, late_s),
        )

    def queued_rows(self, name: str) -> int:
        """Rows of a method that wait here."""
        return sum(call.rows for call in self._queue if call.method == name and not call.done())

    def least_loaded(self) -> Link:
        """The worker with the least to do; the first of several, so that under light load calls meet and are joined.

        Raises:
            ServiceUnavailable: there is none at this moment.
        """
        if not self._ready:
            raise self._nobody()
        return min(self._ready, key=_load)

    def _nobody(self) -> ServiceUnavailable:
        if self._closed:
            return ServiceUnavailable(f"the runner {self._name!r} is shutting down")
        return ServiceUnavailable(f"the worker of the runner {self._name!r} is being restarted", retry_after_s=1.0)

    def _found(self) -> None:
        self._ready = [link for link in self._links if link.is_ready]
        self._wake()

    # -- through ------------------------------------------------------------------------------------------------------

    def _wake(self) -> None:
        if not self._scheduled and self._queue:
            self._scheduled = True
            self._loop.call_soon(self._pump, context=self._context)

    def _pump(self) -> None:
        """Hand over what there is room for, oldest first."""
        self._scheduled = False
        self._hand_over(self._ready, self._clock())
        for link in self._ready:
            link.flush()

    def _hand_over(self, ready: list[Link], now: float) -> None:
        queue = self._queue
        while queue:
            call = queue[0]
            if call.done():
                queue.popleft()
                continue
            if call.deadline <= now:
                self._fail(queue.popleft(), self._late(call))
                continue
            roomy = [link for link in ready if not link.in_hand or link.in_hand + call.share <= ROOM]
            if not roomy:
                self._alarm.set(call.deadline)
                return
            queue.popleft()
            link = roomy[0] if len(roomy) == 1 else min(roomy, key=_load)
            try:
                link.take(call, now)
            except Exception as error:  # noqa: BLE001 - pickling runs the arguments' own code: their caller gets what went wrong
                self._fail(call, error)

    def _late(self, call: PendingCall) -> ServiceUnavailable:
        self._reporter.refused(call.method, "deadline")
        latency_s = self._methods[call.method].plan.max_latency_s
        return ServiceUnavailable(
            f"{self._name}.{call.method} did not get to this call within {latency_s * 1000:g} ms", retry_after_s=1.0
        )

    # -- out ----------------------------------------------------------------------------------------------------------

    def _ended(self, call: PendingCall) -> None:
        self._methods[call.method].rows -= call.rows
        self._ended_rows += call.rows

    def _answered(self) -> None:
        """A frame of answers has come."""
        rows, self._ended_rows = self._ended_rows, 0
        self._drain_rate.answered(rows, self._clock(), backlog=bool(self._queue))
        self._wake()

    def _fail(self, call: PendingCall, error: Exception) -> None:
        """Of a call that is in no hand and in no queue any more."""
        self._ended(call)
        if not call.done():
            call.set_exception(error)

    def _withdraw(self, call: PendingCall) -> None:
        """Its caller went away; if it waits here, it leaves the queue when it is next looked at."""
        self._ended(call)
        if call.link is not None:
            call.link.withdraw(call)

    def _lost(self, error: ServiceUnavailable, calls: list[PendingCall]) -> None:
        """A worker has ended, with these calls in hand."""
        self._ready = [link for link in self._links if link.is_ready]
        again: list[PendingCall] = []
        for call in calls:
            if self._methods[call.method].plan.idempotent and not call.was_sent_again:
                call.link, call.was_sent_again = None, True
                again.append(call)
            else:
                self._fail(call, error)
        if not self._ready:
            # Who waited has found nobody, like who asks now; the others were promised another try.
            waiting, self._queue = self._queue, deque()
            for call in waiting:
                if self._methods[call.method].plan.idempotent:
                    again.append(call)
                elif not call.done():
                    self._fail(call, self._nobody())
        self._queue.extendleft(reversed(again))
        self._wake()

    def _sweep(self) -> None:
        """Fail what has taken too long, and forget whose caller went away."""
        self._sweeper = self._loop.call_later(SWEEP_INTERVAL_S, self._sweep, context=self._context)
        now = self._clock()
        since = now - self._timeout_s
        for call in self._overdue(since):
            self._withdraw(call)
            call.set_exception(overdue(self._name, self._timeout_s))
        for call in self._queue:
            if not call.done() and call.deadline <= now:
                self._fail(call, self._late(call))
        self._queue = deque([call for call in self._queue if not call.done()])

    def _overdue(self, since: float) -> Iterator[PendingCall]:
        waiting = [call for call in self._queue if call.enqueued_at <= since and not call.done()]
        yield from waiting
        for link in self._links:
            yield from link.overdue(since)

    def close(self) -> None:
        """End all connections; whoever still waits is told that the server is shutting down."""
        self._closed, self._ready = True, []
        self._sweeper.cancel()
        self._alarm.cancel()
        calls = [call for link in self._links for call in link.close()]
        waiting, self._queue = self._queue, deque()
        for call in [*calls, *waiting]:
            if not call.done():
                self._fail(call, self._nobody())


def _load(link: Link) -> int:
    return link.load
