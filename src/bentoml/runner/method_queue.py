"""The calls that wait for one method: in order, bounded, each with its deadline; and the plan of that method."""

from __future__ import annotations

import concurrent.futures
import contextlib
import math
from collections import deque
from collections.abc import Hashable, Iterator
from heapq import heappop, heappush, heapreplace
from typing import Any, NamedTuple, Protocol

import msgspec

from bentoml._context import ModelTiming
from bentoml.exceptions import ServiceUnavailable
from bentoml.runner.batching import CostModel, Policy, admit
from bentoml.types import ModelSignature

__all__ = ["Call", "Lane", "MethodPlan", "MethodQueue", "Outcome"]


class MethodPlan(NamedTuple):
    """What is fixed about a method when the engine starts.

    Attributes:
        batching: whether calls are joined; False runs them one by one, without a deadline.
        policy: rows in a batch, patience.
        max_latency_s: a call's deadline, counted from its arrival; infinite without batching.
        max_queue_rows: rows that may wait.
        idempotent: whether a call may be made again when nobody knows if it was made.
        takes_turns: a coroutine function that is not batched: its calls run at one time and wait for no other.
    """

    name: str
    signature: ModelSignature
    batching: bool
    policy: Policy
    max_latency_s: float = math.inf
    max_queue_rows: int = 10_000
    idempotent: bool = False
    takes_turns: bool = False


class Outcome(Protocol):
    """Where the result of a call goes: a future of either kind, or whatever acts like one."""

    def done(self) -> bool:
        """Whether there is a result already, or nobody to hear of it."""

    def set_result(self, result: Any, /) -> Any:
        """The call has returned."""

    def set_exception(self, exception: Any, /) -> Any:
        """The call has raised."""


class Call(msgspec.Struct, eq=False):
    """One call on its way through an engine; a struct, as it is made for every request.

    Attributes:
        key: calls with equal keys may share a batch; None: this one runs alone.
        future: of the engine's event loop, or one that a thread waits for.
        timings: where the caller wants its durations noted.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    rows: int
    key: Hashable | None
    enqueued_at: float
    deadline: float
    future: Outcome
    timings: list[ModelTiming] | None

    @property
    def weight(self) -> int:
        """Rows in the account of the queue: an empty call takes a place as well, or any number of them could wait."""
        return self.rows or 1

    def answer(self, value: Any) -> None:
        """Hand the caller its result, unless it went away."""
        if not self.future.done():
            try:  # noqa: SIM105 - for every call: `suppress` would take longer than all the rest
                self.future.set_result(value)
            except concurrent.futures.InvalidStateError:
                pass  # withdrawn at this very moment, by another thread

    def fail(self, error: Exception) -> None:
        """Raise an error in the caller, unless it went away."""
        if not self.future.done():
            with contextlib.suppress(concurrent.futures.InvalidStateError):
                self.future.set_exception(error)


class Lane(deque[Call]):
    """The waiting calls with one key, oldest first."""

    __slots__ = ("key",)

    def __init__(self, key: Hashable | None) -> None:
        super().__init__()
        self.key = key


class MethodQueue:
    """The waiting calls of one method, oldest first within each key.

    Attributes:
        cost: seconds per call, fitted to what was observed.
        rows: rows that wait.
        inline_after: until then the method is kept off the event loop.
    """

    __slots__ = (
        "_at_once_rows",
        "_by_age",
        "_lanes",
        "_serial",
        "_spare_sweeps",
        "cost",
        "inline_after",
        "plan",
        "rows",
    )

    def __init__(self, plan: MethodPlan) -> None:
        self.plan = plan
        self.cost = CostModel()
        self.rows = 0
        self.inline_after = -math.inf
        self._lanes: dict[Hashable | None, Lane] = {}
        #: A heap of (arrival of the oldest call, number of the lane, lane). The arrival may be that of a call which has
        #: left since: it is looked at when the lane comes to the top.
        self._by_age: list[tuple[float, int, Lane]] = []
        self._serial = 0
        self._spare_sweeps = 0
        self._at_once_rows = min(plan.policy.max_batch_rows, plan.max_queue_rows)

    def __len__(self) -> int:
        return sum(map(len, self._lanes.values()))

    def __bool__(self) -> bool:
        return self.rows > 0

    def push(self, call: Call, free_at: float) -> None:
        """Let a call wait its turn.

        Args:
            free_at: when the model can begin with this method's calls; no later than now if nothing is in the way.

        Raises:
            ServiceUnavailable: the queue is full, or the call could not be answered by its deadline.
        """
        key = call.key
        lane = self._lanes.get(key)
        # Whatever leaves in the next batch is taken: nothing is gained by refusing it.
        leaves_at_once = free_at <= call.enqueued_at and (
            not self.rows or (key is not None and len(self._lanes) == 1 and self.rows + call.rows <= self._at_once_rows)
        )
        if not leaves_at_once:
            refusal = self._refusal(call, free_at)
            if refusal is not None and self._sweep():
                refusal = self._refusal(call, free_at)
            if refusal is not None:
                raise refusal
        if lane is None:
            lane = self._lanes[key] = Lane(key)
            self._serial += 1
            heappush(self._by_age, (call.enqueued_at, self._serial, lane))
        lane.append(call)
        self.rows += call.rows or 1

    def _refusal(self, call: Call, free_at: float) -> ServiceUnavailable | None:
        plan = self.plan
        if self.rows and self.rows + call.weight > plan.max_queue_rows:
            return ServiceUnavailable(
                f"the queue of {plan.name!r} is full: {self.rows} rows wait, {plan.max_queue_rows} may",
                retry_after_s=max(1.0, self.backlog_s()),
            )
        if not (plan.batching and self.cost.calibrated):
            return None
        late_s = admit(
            max(free_at, call.enqueued_at),
            rows=self.rows + call.weight,
            lanes=self._lane_count() + (call.key is None or call.key not in self._lanes),
            deadline=call.deadline,
            cost=self.cost,
            policy=plan.policy,
        )
        if late_s is None:
            return None
        return ServiceUnavailable(
            f"the queue of {plan.name!r} is too long to answer within {plan.max_latency_s * 1000:g} ms",
            retry_after_s=max(1.0, late_s),
        )

    def _lane_count(self) -> int:
        """Groups of calls that cannot share a batch: one for each key, and one for each call that runs alone."""
        loners = self._lanes.get(None)
        return len(self._lanes) + (len(loners) - 1 if loners else 0)

    def backlog_s(self) -> float:
        """Seconds that the waiting calls will take."""
        if not self.rows:
            return 0.0
        return self.cost(self.rows, max(self._lane_count(), -(-self.rows // self.plan.policy.max_batch_rows)))

    def _sweep(self) -> bool:
        """Drop calls whose caller went away while they waited; whether there were any.

        After looking at n calls it spares the next n refusals the search, or a flood of them would cost more than the
        work does.
        """
        self._spare_sweeps -= 1
        if self._spare_sweeps > 0:
            return False
        self._spare_sweeps = len(self)
        before = self.rows
        for lane in self._lanes.values():
            waiting = [call for call in lane if not call.future.done()]
            lane.clear()
            lane.extend(waiting)
        self.rows = sum(call.weight for lane in self._lanes.values() for call in lane)
        return self.rows < before

    def oldest_lane(self) -> Lane | None:
        """The lane whose oldest call has waited longest; calls whose caller went away are dropped on the way."""
        by_age = self._by_age
        while by_age:
            since, serial, lane = by_age[0]
            while lane and lane[0].future.done():
                self.rows -= lane.popleft().weight
            if not lane:
                heappop(by_age)
                del self._lanes[lane.key]
            elif lane[0].enqueued_at > since:
                heapreplace(by_age, (lane[0].enqueued_at, serial, lane))
            else:
                return lane
        return None

    def lanes(self) -> list[Lane]:
        """The lanes from which a batch may leave, by age: where calls are never held back, that is the oldest one."""
        oldest = self.oldest_lane()
        if oldest is None:
            return []
        if len(self._lanes) == 1 or self.plan.policy.patience_s <= 0:
            return [oldest]
        return sorted(filter(None, self._lanes.values()), key=lambda lane: lane[0].enqueued_at)

    def take(self, lane: Lane, count: int) -> list[Call]:
        """Remove the `count` oldest calls of a lane; those whose caller went away are left out."""
        taken = [lane.popleft() for _ in range(count)]
        self.rows -= sum([call.rows or 1 for call in taken])
        return [call for call in taken if not call.future.done()]

    def calls(self) -> list[Call]:
        """All that wait."""
        return [call for lane in self._lanes.values() for call in lane]

    def drain(self) -> list[Call]:
        """Remove every call."""
        calls = self.calls()
        self._lanes, self._by_age, self.rows = {}, [], 0
        return calls

    def shed(self, now: float) -> Iterator[Call]:
        """Remove the calls whose deadline has passed."""
        while (lane := self.oldest_lane()) is not None and lane[0].deadline <= now:
            call = lane.popleft()
            self.rows -= call.weight
            yield call

    def next_deadline(self) -> float:
        """The earliest deadline of a waiting call; infinite when there is none."""
        lane = self.oldest_lane() if self.rows else None
        return math.inf if lane is None else lane[0].deadline
