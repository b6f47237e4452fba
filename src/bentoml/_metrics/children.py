"""Counter, Gauge, Histogram, Summary: one series each, bound to its cells; an update is load, add, store.

Each has one writer: updates from several threads need the registry's lock around them (`bentoml.metrics`
takes it), the server's own series are written by its event loop alone and need none.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from time import time
from typing import TypeAlias

from bentoml._metrics.files import Cells
from bentoml.exceptions import BentoMLException

__all__ = ["Child", "Counter", "Gauge", "Histogram", "RecentGauge", "Summary"]


class Counter:
    """A value that only grows."""

    __slots__ = ("cells",)

    def __init__(self, cells: Cells) -> None:
        self.cells = cells

    def inc(self, amount: float = 1.0) -> None:
        """Add `amount`.

        Raises:
            BentoMLException: `amount` is negative or not a number.
        """
        if not amount >= 0.0:
            raise BentoMLException(f"a counter only grows: it cannot be incremented by {amount!r}", hint="use a Gauge")
        self.cells[0] += amount


class Gauge:
    """A value that goes up and down."""

    __slots__ = ("cells", "function")

    def __init__(self, cells: Cells) -> None:
        self.cells = cells
        self.function: Callable[[], float] | None = None

    def inc(self, amount: float = 1.0) -> None:
        """Add `amount`."""
        self.cells[0] += amount

    def dec(self, amount: float = 1.0) -> None:
        """Subtract `amount`."""
        self.cells[0] -= amount

    def set(self, value: float) -> None:
        """Replace the value."""
        self.cells[0] = value

    def set_function(self, function: Callable[[], float]) -> None:
        """Take the value from `function()` at each `Registry.sample()`, which every scrape begins with."""
        self.function = function


class RecentGauge(Gauge):
    """A gauge of the modes `mostrecent` and `livemostrecent`: the value that any process set last counts."""

    __slots__ = ()

    def inc(self, amount: float = 1.0) -> None:
        """Refused: a sum of one process's steps and another's value means nothing."""
        raise BentoMLException(
            "a gauge of the mode 'mostrecent' can only be set",
            hint="use set(), or the mode 'sum' to count up and down",
        )

    dec = inc

    def set(self, value: float) -> None:
        """Replace the value and note the time."""
        self.cells[0] = value
        self.cells[1] = time()


class Histogram:
    """Counts per bucket, and the sum of what was observed.

    The number of observations is not kept but added up from the buckets: a scrape between two stores still
    finds that the last bucket equals the count.
    """

    __slots__ = ("bounds", "cells")

    def __init__(self, cells: Cells, bounds: tuple[float, ...]) -> None:
        self.cells = cells
        self.bounds = bounds

    def observe(self, amount: float) -> None:
        """Count `amount` in the first bucket whose upper bound is not below it; NaN is above every bound."""
        cells = self.cells
        cells[bisect_left(self.bounds, amount) if amount == amount else -2] += 1.0
        cells[-1] += amount


class Summary:
    """The number and the sum of what was observed."""

    __slots__ = ("cells",)

    def __init__(self, cells: Cells) -> None:
        self.cells = cells

    def observe(self, amount: float) -> None:
        """Add one observation."""
        self.cells[0] += 1.0
        self.cells[1] += amount


Child: TypeAlias = Counter | Gauge | Histogram | Summary
