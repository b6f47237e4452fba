"""Declaration: the checked name, labels, buckets and mode of one metric; pure, nothing is counted yet."""

from __future__ import annotations

from collections.abc import Iterable
from math import inf
from typing import NamedTuple

from bentoml._metrics.files import Kind
from bentoml.exceptions import BentoMLException

__all__ = ["DEFAULT_BUCKETS", "Declaration", "declare", "exponential_buckets"]

#: Upper bounds in seconds, made for the duration of a request.
DEFAULT_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, inf)

_MAX_EXPONENTIAL_BUCKETS = 100
_MODES = tuple(live + mode for mode in ("all", "sum", "min", "max", "mostrecent") for live in ("", "live"))
_SAMPLE_SUFFIXES: dict[Kind, tuple[str, ...]] = {
    "counter": ("",),
    "gauge": ("",),
    "summary": ("", "_count", "_sum"),
    "histogram": ("", "_bucket", "_count", "_sum"),
}
#: Labels that the text format writes itself.
_RESERVED_LABELS: dict[Kind, str] = {"histogram": "le", "summary": "quantile"}


class Declaration(NamedTuple):
    """One metric as declared; two are the same where all but the documentation is equal."""

    kind: Kind
    name: str
    documentation: str
    labelnames: tuple[str, ...]
    bounds: tuple[float, ...] = ()
    mode: str = ""

    def __str__(self) -> str:
        details = [f"labels ({', '.join(self.labelnames)})"]
        if self.kind == "histogram":
            details.append(f"buckets {self.bounds}")
        if self.kind == "gauge":
            details.append(f"mode {self.mode!r}")
        return f"{self.kind} {self.name!r} with {', '.join(details)}"

    def is_same_metric(self, other: Declaration) -> bool:
        """Whether both may be declared in one registry under their name."""
        return self._replace(documentation="") == other._replace(documentation="")

    def sample_names(self) -> list[str]:
        """The names that its lines begin with, and its own."""
        return [self.name + suffix for suffix in _SAMPLE_SUFFIXES[self.kind]]


def declare(
    kind: Kind,
    name: str,
    documentation: str,
    labelnames: Iterable[str] = (),
    *,
    namespace: str = "",
    subsystem: str = "",
    unit: str = "",
    buckets: Iterable[float] = (),
    multiprocess_mode: str = "",
) -> Declaration:
    """Check a declaration; its full name is `<namespace>_<subsystem>_<name>_<unit>`, `_total` if it counts.

    Raises:
        BentoMLException: a name, the buckets or the mode break a rule of Prometheus; names which.
    """
    full_name = "_".join(part for part in (namespace, subsystem, name) if part)
    if kind == "counter":
        full_name = full_name.removesuffix("_total")
    if unit and not full_name.endswith(f"_{unit}"):
        full_name = f"{full_name}_{unit}"
    if kind == "counter":
        full_name = f"{full_name}_total"
    # An ASCII identifier is exactly what Prometheus takes for a label; a metric may also hold colons.
    if not name or not full_name.isascii() or not full_name.replace(":", "_").isidentifier():
        raise BentoMLException(
            f"{name!r} cannot be the name of a metric (in full: {full_name!r})",
            hint="use the letters a-z, A-Z, digits and underscores",
        )
    if kind == "gauge" and multiprocess_mode not in _MODES:
        raise BentoMLException(
            f"{multiprocess_mode!r} is no multiprocess_mode of the gauge {full_name!r}",
            hint=f"one of {', '.join(_MODES)}",
        )
    reserved = "pid" if multiprocess_mode.endswith("all") else _RESERVED_LABELS.get(kind, "")
    names = _checked_labelnames(full_name, labelnames, reserved)
    bounds = _checked_bounds(full_name, buckets) if kind == "histogram" else ()
    return Declaration(kind, full_name, str(documentation), names, bounds, multiprocess_mode)


def exponential_buckets(start: float, factor: float, end: float) -> tuple[float, ...]:
    """Upper bounds: `start`, `start·factor`, … below `end`, at most 100; then `end` and infinity.

    Raises:
        BentoMLException: not 0 < start <= end, or factor <= 1.
    """
    if not (0 < start <= end and factor > 1):
        raise BentoMLException(
            f"buckets from {start!r} to {end!r} by the factor {factor!r} are impossible",
            hint="0 < start <= end and factor > 1",
        )
    bounds: list[float] = []
    bound = start
    while bound < end and len(bounds) < _MAX_EXPONENTIAL_BUCKETS:
        bounds.append(bound)
        bound *= factor
    return (*bounds, end, inf)


def _checked_labelnames(metric: str, names: Iterable[str], reserved: str) -> tuple[str, ...]:
    if isinstance(names, str):
        raise BentoMLException(
            f"the labels of {metric!r} must be a list of names, not the string {names!r}", hint=f"[{names!r}]"
        )
    checked = tuple(names)
    for name in checked:
        if not (isinstance(name, str) and name.isascii() and name.isidentifier()) or name.startswith("__"):
            raise BentoMLException(
                f"{name!r} cannot be a label of {metric!r}",
                hint="use the letters a-z, A-Z, digits and underscores, not two underscores in front",
            )
        if name == reserved:
            raise BentoMLException(f"{metric!r} cannot have the label {name!r}, which is written by itself")
    if len(set(checked)) != len(checked):
        raise BentoMLException(f"{metric!r} has a label twice: {', '.join(checked)}")
    return checked


def _checked_bounds(metric: str, buckets: Iterable[float]) -> tuple[float, ...]:
    bounds = tuple(map(float, buckets))
    if bounds and bounds[-1] == inf:
        bounds = bounds[:-1]
    # Written so that NaN, which is neither below nor above anything, is refused as well.
    if not bounds or not all(low < high for low, high in zip(bounds, (*bounds[1:], inf), strict=True)):
        raise BentoMLException(
            f"the buckets of {metric!r} must be one upper bound or more in ascending order, not {bounds}",
            hint="(0.1, 0.5, 1.0)",
        )
    return bounds
