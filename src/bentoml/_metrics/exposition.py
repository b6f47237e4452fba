"""Merging the values of all processes, and the Prometheus text format 0.0.4.

processes ── merge by name and labels ──> families ── render, ordered by name and labels ──> text
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import accumulate
from math import inf, isfinite, isnan
from operator import add
from typing import TypeAlias

from bentoml._metrics.files import Process, Series

__all__ = ["CONTENT_TYPE", "Exposition"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Labels: TypeAlias = tuple[tuple[str, str], ...]


class Exposition:
    """Renders scrapes; keeps the text before each value, which is most of the work and never changes."""

    def __init__(self) -> None:
        self._heads: dict[tuple[str, Labels], list[str]] = {}
        self._firsts: dict[str, Series] = {}
        self._reported: set[str] = set()

    def render(self, processes: Iterable[Process]) -> bytes:
        """The text of one scrape."""
        lines: list[str] = []
        families = self._merge(processes)
        for name in sorted(families):
            first, merged = self._firsts[name], families[name]
            lines.append(f"# HELP {name} {_escape_help(first.documentation)}\n# TYPE {name} {first.kind}\n")
            for labels in sorted(merged):
                heads = self._heads.get((name, labels))
                if heads is None:
                    heads = self._heads[name, labels] = _heads(first, labels)
                samples = _samples(first, merged[labels])
                lines += [f"{head}{_number(value)}\n" for head, value in zip(heads, samples, strict=True)]
        return "".join(lines).encode()

    def _merge(self, processes: Iterable[Process]) -> dict[str, dict[Labels, list[float]]]:
        families: dict[str, dict[Labels, list[float]]] = {}
        for process in processes:
            is_dead = process.is_dead
            for series, cells in list(process.series):
                if is_dead and series.mode.startswith("live"):
                    continue
                # The first ever seen, not of this scrape: who is right must not change in between.
                if _conflicts(self._firsts.setdefault(series.name, series), series):
                    self._report(series, process.pid)
                    continue
                labels = series.labels
                if series.mode.endswith("all"):
                    labels = tuple(sorted((*labels, ("pid", str(process.pid)))))
                values: list[float] = cells.tolist()  # type: ignore[assignment]  # the stub forgets the format
                merged = families.setdefault(series.name, {})
                known = merged.get(labels)
                merged[labels] = values if known is None else _combine(series.mode, known, values)
        return families

    def _report(self, series: Series, pid: int) -> None:
        if series.name in self._reported:
            return
        self._reported.add(series.name)
        from logging import getLogger

        getLogger(__name__).error(
            "The metric %r of process %d is left out: another process gives it another type, mode or buckets",
            series.name,
            pid,
        )


def _conflicts(first: Series, second: Series) -> bool:
    """Whether two series of one name cannot be one family."""
    return (first.kind, first.mode, first.bounds) != (second.kind, second.mode, second.bounds)


def _combine(mode: str, known: list[float], new: list[float]) -> list[float]:
    match mode.removeprefix("live"):
        case "min":
            return min(known, new)
        case "max":
            return max(known, new)
        case "mostrecent":
            return max(known, new, key=lambda value_and_time: value_and_time[1])
        case "all":  # the id of a dead process was given to another one
            return new
        case _:
            return list(map(add, known, new))


def _samples(series: Series, values: list[float]) -> list[float]:
    if series.kind == "histogram":
        cumulative = list(accumulate(values[:-1]))
        return [*cumulative, cumulative[-1], values[-1]]
    return values if series.kind == "summary" else values[:1]


def _heads(series: Series, labels: Labels) -> list[str]:
    name = series.name
    if series.kind == "histogram":
        bounds = [_number(bound) for bound in (*series.bounds, inf)]
        buckets = [_head(f"{name}_bucket", tuple(sorted((*labels, ("le", bound))))) for bound in bounds]
        return [*buckets, _head(f"{name}_count", labels), _head(f"{name}_sum", labels)]
    if series.kind == "summary":
        return [_head(f"{name}_count", labels), _head(f"{name}_sum", labels)]
    return [_head(name, labels)]


def _head(name: str, labels: Labels) -> str:
    if not labels:
        return f"{name} "
    pairs = ",".join(f'{key}="{_escape_value(value)}"' for key, value in labels)
    return f"{name}{{{pairs}}} "


def _number(value: float) -> str:
    if isfinite(value):
        return repr(value)
    return "NaN" if isnan(value) else "+Inf" if value > 0 else "-Inf"


def _escape_help(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n")


def _escape_value(text: str) -> str:
    return _escape_help(text).replace('"', r"\"")
