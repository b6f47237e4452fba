"""When a batch leaves and what it holds: pure decisions over times and row counts, without clock, thread or socket.

    submit ──► admit ──► queue ──► decide ──► Send(size, reason)   an executor is free: the oldest rows leave together
                 │                   ├──────► Wait(until)           patience is configured and still pays
                 ▼                   └──────► Shed(size)           their deadline has passed, nobody waits any more
              refused

The policy is work-conserving: `decide` is asked only while an executor is free, and without patience it never waits.
Times are seconds of one monotonic clock.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from itertools import islice
from typing import Literal, NamedTuple, Protocol

__all__ = ["Cost", "CostModel", "Policy", "Reason", "Send", "Shed", "Wait", "Waiting", "admit", "decide"]

#: Why a batch left: nothing else was queued; it was full; its oldest call could wait no longer; patience ran out.
Reason = Literal["idle", "full", "deadline", "patience"]


class Waiting(Protocol):
    """What the decision needs to know of a queued call."""

    rows: int
    enqueued_at: float
    deadline: float


class Policy(NamedTuple):
    """The limits of one method: rows in a batch at most, and seconds that a batch may be held back for more rows."""

    max_batch_rows: int
    patience_s: float = 0.0


class Send(NamedTuple):
    """Let the `size` oldest calls leave as one batch."""

    size: int
    reason: Reason


class Wait(NamedTuple):
    """Decide again when a call arrives, or at `until`."""

    until: float


class Shed(NamedTuple):
    """The `size` oldest calls are past their deadline: fail them and decide again."""

    size: int


class Cost(Protocol):
    """Predicts how long one call of the method takes."""

    def __call__(self, rows: int) -> float:
        """Seconds for a batch of `rows` rows."""


def decide(now: float, queue: Sequence[Waiting], cost: Cost, policy: Policy) -> Send | Wait | Shed:
    """What to do with a non-empty queue of compatible calls, oldest first, while an executor is free."""
    expired = 0
    while expired < len(queue) and queue[expired].deadline <= now:
        expired += 1
    if expired:
        return Shed(expired)
    # The oldest call always goes, even alone above the limit; whoever runs it splits it.
    count, rows = 1, queue[0].rows
    for entry in islice(queue, 1, None):
        if rows + entry.rows > policy.max_batch_rows:
            return Send(count, "full")
        count += 1
        rows += entry.rows
    if rows >= policy.max_batch_rows:
        return Send(count, "full")
    if policy.patience_s <= 0:
        return Send(count, "idle")
    oldest = queue[0]
    out_of_patience = oldest.enqueued_at + policy.patience_s
    last_chance = oldest.deadline - cost(rows + 1)
    if now < min(out_of_patience, last_chance):
        return Wait(min(out_of_patience, last_chance))
    return Send(count, "patience" if out_of_patience <= last_chance else "deadline")


def admit(
    now: float, *, rows: int, queued_rows: int, busy_until: float, deadline: float, cost: Cost, policy: Policy
) -> float | None:
    """Whether a call of `rows` rows can be answered by its deadline behind what is queued.

    Returns:
        None to admit it; else the seconds after which the queue will have room for it (for `Retry-After`).
    """
    if deadline == math.inf:
        return None
    full_batches, rest = divmod(queued_rows + rows, policy.max_batch_rows)
    predicted = max(now, busy_until) + full_batches * cost(policy.max_batch_rows) + (cost(rest) if rest else 0.0)
    return None if predicted <= deadline else predicted - deadline


class CostModel:
    """Seconds of a call as `a·rows + b`, fitted to the real calls, newer ones counting more; plus how far it errs.

    The fit is a least-squares line over exponentially weighted sums (weight `DECAY` per call). Until two different
    batch sizes were seen the line is flat through their mean.

    Attributes:
        per_row_s: the slope a.
        per_call_s: the intercept b.
        error_s: the quantile `QUANTILE` of (observed - fitted), by stochastic approximation (Robbins, Monro 1951).
    """

    __slots__ = ("_n", "_ratios", "_seen", "_sr", "_srr", "_srt", "_st", "error_s", "per_call_s", "per_row_s")

    #: A call weighs half after about 35 later ones: it follows a change of load within a second, and not every outlier.
    DECAY = 0.98
    #: The prediction should be exceeded by one call in ten.
    QUANTILE = 0.9
    #: A process's first calls build caches and page in code; they say nothing about the next ones.
    WARM_UP_CALLS = 2
    #: Calls over which the fastest one is taken to be undisturbed by other threads.
    RECENT_CALLS = 16

    def __init__(self) -> None:
        self._seen = 0
        self._n = self._sr = self._srr = self._st = self._srt = 0.0
        self._ratios: deque[float] = deque(maxlen=self.RECENT_CALLS)
        self.per_row_s = self.per_call_s = self.error_s = 0.0

    @property
    def calibrated(self) -> bool:
        """Whether enough calls were seen for a prediction that may refuse work."""
        return self._seen > self.WARM_UP_CALLS + 3

    def observe(self, rows: int, seconds: float) -> None:
        """Take one call into account."""
        self._seen += 1
        if self._seen <= self.WARM_UP_CALLS:
            return
        fitted = self.per_row_s * rows + self.per_call_s
        if self._seen > self.WARM_UP_CALLS + 1:
            step = max(abs(seconds - fitted), 1e-6) * 0.05
            above = seconds > fitted + self.error_s
            self.error_s = max(0.0, self.error_s + step * (self.QUANTILE if above else self.QUANTILE - 1))
        d = self.DECAY
        self._n = self._n * d + 1
        self._sr = self._sr * d + rows
        self._srr = self._srr * d + rows * rows
        self._st = self._st * d + seconds
        self._srt = self._srt * d + rows * seconds
        self._fit()
        fitted = self.per_row_s * rows + self.per_call_s
        self._ratios.append(seconds / fitted if fitted > 0 else 1.0)

    def _fit(self) -> None:
        mean_rows, mean_time = self._sr / self._n, self._st / self._n
        variance = self._srr / self._n - mean_rows * mean_rows
        if variance > 1e-9 * max(1.0, mean_rows * mean_rows):
            slope = (self._srt / self._n - mean_rows * mean_time) / variance
            # Neither part of a duration is negative; a line that says so is noise.
            slope = min(max(slope, 0.0), mean_time / mean_rows if mean_rows else 0.0)
        else:
            slope = 0.0
        self.per_row_s, self.per_call_s = slope, max(0.0, mean_time - slope * mean_rows)

    def __call__(self, rows: int) -> float:
        """Seconds for `rows` rows that nine calls in ten will not exceed; 0 before anything was seen."""
        return self.per_row_s * rows + self.per_call_s + self.error_s

    def undisturbed(self, rows: int) -> float:
        """Seconds for `rows` rows when no other thread gets in the way: the fit scaled to the best recent call."""
        if not self.calibrated:
            return math.inf
        return (self.per_row_s * rows + self.per_call_s) * min(self._ratios)
