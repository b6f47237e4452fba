"""The calls that wait for one method: in order, bounded, each with its deadline; and the plan of that method."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Hashable, Iterator
from typing import Any, NamedTuple

from bentoml._context import ModelTiming
from bentoml.exceptions import ServiceUnavailable
from bentoml.runner.batching import CostModel, Policy, admit
from bentoml.types import ModelSignature

__all__ = ["Call", "MethodPlan", "MethodQueue"]


class MethodPlan(NamedTuple):
    """What is fixed about a method when the engine starts.

    Attributes:
        batching: whether calls are joined; False runs them one by one, without a deadline.
        policy: rows in a batch, patience.
        max_latency_s: a call's deadline, counted from its arrival; infinite without batching.
        max_queue_rows: rows that may wait.
    """

    name: str
    signature: ModelSignature
    batching: bool
    policy: Policy
    max_latency_s: float = math.inf
    max_queue_rows: int = 10_000


class Call:
    """One call on its way through an engine."""

    __slots__ = ("args", "deadline", "enqueued_at", "future", "key", "kwargs", "rows", "timings")

    def __init__(
        self,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        rows: int,
        key: Hashable | None,
        enqueued_at: float,
        deadline: float,
        future: asyncio.Future[Any],
        timings: list[ModelTiming] | None,
    ) -> None:
        self.args = args
        self.kwargs = kwargs
        self.rows = rows
        self.key = key
        self.enqueued_at = enqueued_at
        self.deadline = deadline
        self.future = future
        self.timings = timings


class MethodQueue:
    """The waiting calls of one method, oldest first within each key.

    Attributes:
        cost: seconds per call, fitted to what was observed.
        rows: rows that wait.
        busy_until: when the batch that runs now should be done.
    """

    __slots__ = ("_lanes", "busy_until", "cost", "plan", "rows")

    def __init__(self, plan: MethodPlan) -> None:
        self.plan = plan
        self.cost = CostModel()
        self.rows = 0
        self.busy_until = 0.0
        self._lanes: dict[Hashable, deque[Call]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._lanes.values()))

    def __bool__(self) -> bool:
        return bool(self._lanes)

    def push(self, call: Call, now: float) -> None:
        """Let a call wait its turn.

        Raises:
            ServiceUnavailable: the queue is full, or the call could not be answered by its deadline.
        """
        plan = self.plan
        if self.rows + call.rows > plan.max_queue_rows and self._lanes:
            raise ServiceUnavailable(
                f"the queue of {plan.name!r} is full: {self.rows} rows wait, {plan.max_queue_rows} may",
                retry_after_s=max(1.0, self.cost(self.rows)),
            )
        if plan.batching and self.cost.calibrated:
            late_s = admit(
                now,
                rows=call.rows,
                queued_rows=self.rows,
                busy_until=self.busy_until,
                deadline=call.deadline,
                cost=self.cost,
                policy=plan.policy,
            )
            # A lone call on an idle model is always tried: nothing is gained by refusing it.
            if late_s is not None and (self._lanes or self.busy_until > now):
                raise ServiceUnavailable(
                    f"the queue of {plan.name!r} is too long to answer within {plan.max_latency_s * 1000:g} ms",
                    retry_after_s=max(1.0, late_s),
                )
        # A call that nothing can join gets a lane of its own.
        key = call.key if call.key is not None else call
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = deque()
        lane.append(call)
        self.rows += call.rows

    def oldest_lane(self) -> deque[Call] | None:
        """The lane whose head has waited longest; calls whose caller went away are dropped on the way."""
        best: deque[Call] | None = None
        for key, lane in list(self._lanes.items()):
            while lane and lane[0].future.done():
                self.rows -= lane.popleft().rows
            if not lane:
                del self._lanes[key]
            elif best is None or lane[0].enqueued_at < best[0].enqueued_at:
                best = lane
        return best

    def take(self, lane: deque[Call], count: int) -> list[Call]:
        """Remove the `count` oldest calls of a lane; those whose caller went away are left out."""
        taken = [lane.popleft() for _ in range(count)]
        self.rows -= sum(call.rows for call in taken)
        if not lane:
            key = taken[0].key if taken[0].key is not None else taken[0]
            self._lanes.pop(key, None)
        return [call for call in taken if not call.future.done()]

    def drain(self) -> Iterator[Call]:
        """Remove every call."""
        lanes, self._lanes, self.rows = self._lanes, {}, 0
        for lane in lanes.values():
            yield from lane

    def shed(self, now: float) -> Iterator[Call]:
        """Remove every call whose deadline has passed."""
        for key, lane in list(self._lanes.items()):
            while lane and lane[0].deadline <= now:
                call = lane.popleft()
                self.rows -= call.rows
                yield call
            if not lane:
                del self._lanes[key]

    def next_deadline(self) -> float:
        """The earliest deadline of a waiting call; infinite when there is none."""
        return min((lane[0].deadline for lane in self._lanes.values() if lane), default=math.inf)
