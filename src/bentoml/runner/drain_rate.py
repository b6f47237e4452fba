"""DrainRate: how fast the workers of a runner get through a backlog, learned from the answers as they come."""

from __future__ import annotations

__all__ = ["DrainRate"]


class DrainRate:
    """Seconds that one row takes all workers together, while calls wait for them.

    The quotient of two decaying sums, the time between answers and the rows that they answered. Time in which nothing
    waited does not count: it says how much was asked, not how fast the answers can come.

    Attributes:
        per_row_s: None until enough was seen for a prediction that may refuse work.
    """

    __slots__ = ("_rows", "_seconds", "_seen", "_since", "per_row_s")

    #: An answer weighs half after about 35 later ones, as in `batching.CostModel`.
    DECAY = 0.98
    #: Answers that make a prediction.
    CALIBRATION_ANSWERS = 8

    def __init__(self) -> None:
        self._seconds = self._rows = 0.0
        self._seen = 0
        self._since: float | None = None
        self.per_row_s: float | None = None

    def answered(self, rows: int, now: float, *, backlog: bool) -> None:
        """Take the answers of one frame into account.

        Args:
            rows: that were answered since the last call of this method.
            now: seconds of a monotonic clock.
            backlog: whether more calls wait than the workers have room for.
        """
        since, self._since = self._since, now if backlog else None
        if since is None or not rows:
            # Without rows the time counts towards the next answer.
            self._since = since if since is not None and backlog else self._since
            return
        self._seconds = self._seconds * self.DECAY + (now - since)
        self._rows = self._rows * self.DECAY + rows
        self._seen += 1
        if self._seen >= self.CALIBRATION_ANSWERS:
            self.per_row_s = self._seconds / self._rows

    def late_by_s(self, rows: int, latency_s: float) -> float:
        """By how many seconds the last of `rows` rows would miss a latency; 0 if it would not, or nobody knows."""
        if self.per_row_s is None:
            return 0.0
        return max(0.0, rows * self.per_row_s - latency_s)
