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
from collections.abc import Hashable, Sequence
from typing import Literal, NamedTuple, Protocol

__all__ = ["Cost", "CostModel", "Policy", "Reason", "Send", "Shed", "Wait", "Waiting", "admit", "decide"]

#: Why a batch left: nothing else was queued; it was full; its oldest call could wait no longer; patience ran out.
Reason = Literal["idle", "full", "deadline", "patience"]


class Waiting(Protocol):
    """What the decision needs to know of a queued call; one whose key is None runs alone."""

    rows: int
    key: Hashable | None
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
    """Predicts how long the method takes."""

    def __call__(self, rows: int, calls: int = 1) -> float:
        """Seconds for `rows` rows in `calls` calls."""


def decide(now: float, queue: Sequence[Waiting], cost: Cost, policy: Policy) -> Send | Wait | Shed:
    """What to do with a non-empty queue of compatible calls, oldest first, while an executor is free."""
    expired = 0
    while expired < len(queue) and queue[expired].deadline <= now:
        expired += 1
    if expired:
        return Shed(expired)
    oldest = queue[0]
    if oldest.key is None:
        return Send(1, "full")
    count = rows = 0
    for call in queue:
        # The oldest call always goes, even alone above the limit; whoever runs it splits it.
        if count and rows + call.rows > policy.max_batch_rows:
            return Send(count, "full")
        count += 1
        rows += call.rows
    if rows >= policy.max_batch_rows:
        return Send(count, "full")
    if policy.patience_s <= 0:
        return Send(count, "idle")
    out_of_patience = oldest.enqueued_at + policy.patience_s
    last_chance = oldest.deadline - cost(rows + 1)
    if now < min(out_of_patience, last_chance):
        return Wait(min(out_of_patience, last_chance))
    return Send(count, "patience" if out_of_patience <= last_chance else "deadline")


def admit(free_at: float, *, rows: int, lanes: int, deadline: float, cost: Cost, policy: Policy) -> float | None:
    """Whether a call can be answered by its deadline behind what is queued.

    The durations of the batches ahead are added up as expected, and the margin of error counts once: a call that may
    still be in time is not refused.

    Args:
        free_at: when an executor becomes free.
        rows: queued rows, the call's own included.
        lanes: groups of calls that cannot share a batch.

    Returns:
        None to admit it; else the seconds after which the queue will have room for it (for `Retry-After`).
    """
    batches = max(lanes, -(-rows // policy.max_batch_rows))
    predicted = free_at + cost(rows, batches)
    return None if predicted <= deadline else predicted - deadline


class CostModel:
    """Seconds of a call as `a·rows + b`, fitted to the real calls, newer ones counting more; plus how far it errs.

    The fit is a least-squares line over moments whose weights fall by `DECAY` with each call; outliers are Winsorized
    (Huber 1964). Until two different batch sizes were seen the line is flat through the mean.

    Attributes:
        per_row_s: the slope a.
        per_call_s: the intercept b.
        error_s: the quantile `QUANTILE` of (observed - fitted), by stochastic approximation (Robbins, Monro 1951).
        calibrated: whether enough calls were seen for a prediction that may refuse work.
    """

    __slots__ = (
        "_best_ratio",
        "_covariance",
        "_largest",
        "_mean_rows",
        "_mean_s",
        "_seen",
        "_spread_s",
        "_variance",
        "_weight",
        "calibrated",
        "error_s",
        "per_call_s",
        "per_row_s",
    )

    #: A call weighs half after about 35 later ones: it follows a change of load within a second.
    DECAY = 0.98
    #: The prediction should be exceeded by one call in ten.
    QUANTILE = 0.9
    #: What one call moves the spread and the quantile by: both look back over some twenty calls.
    STEP = 0.1
    #: An excess of so many spreads is an outlier and counts as just that many. One that comes again widens the spread,
    #: so that a lasting change is followed within some twenty calls.
    OUTLIER_SPREADS = 8.0
    #: A process's first calls build caches and page in code; they say nothing about the next ones.
    WARM_UP_CALLS = 2
    #: Calls after the warm-up that make a prediction.
    CALIBRATION_CALLS = 4
    #: Calls after which the fastest one, taken to be undisturbed by other threads, is largely forgotten.
    RECENT_CALLS = 64

    def __init__(self) -> None:
        self._seen = 0
        self._largest = 0
        self._weight = self._mean_rows = self._mean_s = self._variance = self._covariance = 0.0
        self._spread_s = 0.0
        self._best_ratio = 1.0
        self.calibrated = False
        self.per_row_s = self.per_call_s = self.error_s = 0.0

    def observe(self, rows: int, seconds: float) -> None:
        """Take one call into account."""
        self._seen += 1
        if self._seen <= self.WARM_UP_CALLS:
            return
        fitted = self.per_row_s * rows + self.per_call_s
        if rows <= self._largest:
            excess = self._winsorized(seconds - fitted, fitted)
        else:
            # More rows than ever are no outlier: the line is only a guess there.
            excess = seconds - fitted
            self._largest = rows
        self._fit(rows, fitted + excess)
        if fitted > 1e-9:  # no call is faster; a quotient of less would not be finite
            ratio = seconds / fitted
            best = self._best_ratio
            self._best_ratio = ratio if ratio < best else best + (ratio - best) / self.RECENT_CALLS
        self.calibrated = self._seen >= self.WARM_UP_CALLS + self.CALIBRATION_CALLS

    def _winsorized(self, excess: float, fitted: float) -> float:
        """How far a call exceeds the line, less what makes it an outlier; learns how far the line errs."""
        spread = self._spread_s
        # The floor lets a method that always took the same time change at all.
        excess = min(excess, max(self.OUTLIER_SPREADS * spread, fitted / 4, 1e-5))
        self._spread_s = spread = spread + self.STEP * (abs(excess) - spread)
        towards = self.QUANTILE if excess > self.error_s else self.QUANTILE - 1
        self.error_s = max(0.0, self.error_s + self.STEP * spread * towards)
        return excess

    def _fit(self, rows: int, seconds: float) -> None:
        # Weighted means and moments, updated in place (West 1979).
        self._weight = weight = self._weight * self.DECAY + 1
        gain = 1 / weight
        off_rows, off_s = rows - self._mean_rows, seconds - self._mean_s
        self._mean_rows = mean_rows = self._mean_rows + gain * off_rows
        self._mean_s = mean_s = self._mean_s + gain * off_s
        self._variance = variance = (1 - gain) * (self._variance + gain * off_rows * off_rows)
        self._covariance = (1 - gain) * (self._covariance + gain * off_rows * off_s)
        slope = 0.0
        if variance > 1e-9 * mean_rows * mean_rows:
            # Neither part of a duration is negative; a line that says so is noise.
            slope = min(max(self._covariance / variance, 0.0), mean_s / mean_rows)
        self.per_row_s, self.per_call_s = slope, max(0.0, mean_s - slope * mean_rows)

    def __call__(self, rows: int, calls: int = 1) -> float:
        """Seconds for `rows` rows in `calls` calls; of single calls nine in ten stay below; 0 before any was seen."""
        return self.per_row_s * rows + self.per_call_s * calls + self.error_s

    def undisturbed(self, rows: int) -> float:
        """Seconds for `rows` rows when no other thread gets in the way: the fit scaled to the best recent call.

        For more rows than were ever seen, the most that a straight line allows: their share of the largest call.
        """
        if not self.calibrated:
            return math.inf
        if rows <= self._largest:
            return (self.per_row_s * rows + self.per_call_s) * self._best_ratio
        return self.undisturbed(self._largest) * rows / max(1, self._largest)
