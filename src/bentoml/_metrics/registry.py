"""Registry: declares metrics, hands out their children, answers scrapes for all processes."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from threading import Lock, RLock
from typing import Any, Generic, TypeVar

from bentoml._metrics.children import Child, Counter, Gauge, Histogram, RecentGauge, Summary
from bentoml._metrics.declaration import DEFAULT_BUCKETS, Declaration, declare
from bentoml._metrics.exposition import Exposition
from bentoml._metrics.files import Directory, OwnValues, Process, Series
from bentoml.exceptions import BentoMLConfigException, BentoMLException

__all__ = ["DEFAULT", "Family", "Registry"]

C = TypeVar("C", bound=Child)


class Family(Generic[C]):
    """All series of one metric: a child per combination of label values, made once."""

    def __init__(self, registry: Registry, declaration: Declaration) -> None:
        self.declaration = declaration
        self._registry = registry
        self._labelnames = frozenset(declaration.labelnames)
        self._children: dict[tuple[str, ...], C] = {}

    def labels(self, *values: object, **named: object) -> C:
        """The child with these label values, given in the declared order or by name; keep it where it is hot.

        Raises:
            BentoMLException: labels are missing or unknown.
        """
        names = self.declaration.labelnames
        if named and not values and named.keys() == self._labelnames:
            values = tuple([named[name] for name in names])
        elif named or len(values) != len(names):
            given = ", ".join([*map(repr, values), *named]) or "none"
            wanted = ", ".join(names) or "none"
            raise BentoMLException(
                f"the labels of {self.declaration.name!r} are: {wanted}; given were: {given}",
                hint=f".labels({', '.join(f'{name}=…' for name in names)})",
            )
        key = tuple(map(str, values))
        child = self._children.get(key)
        if child is None:
            with self._registry.lock:
                child = self._children.get(key)
                if child is None:
                    child = self._children[key] = self._registry.make_child(self.declaration, key)
        return child


class Registry:
    """The metrics of this process and, where it has a directory, the scrapes of all processes that share it.

    Args:
        directory: where the processes of one server meet, new for each run. None keeps all in this process.

    Attributes:
        lock: must be held around updates of children that several threads update.

    Raises:
        BentoMLConfigException: the directory cannot be written.
    """

    def __init__(self, directory: Path | None = None) -> None:
        # Re-entrant: a finalizer or a signal handler may count while its thread is counting.
        self.lock = RLock()
        self.directory: Path | None = None
        self._families: dict[str, Family[Any]] = {}
        self._owners: dict[str, Declaration] = {}
        self._children: list[tuple[Series, Child]] = []
        self._follows_forks = False
        self._open(None)
        if directory is not None:
            self.use(directory)

    def counter(
        self, name: str, documentation: str, labelnames: Iterable[str] = (), *, namespace: str = ""
    ) -> Family[Counter]:
        """Declare a counter; `_total` is appended to its name where it is missing."""
        return self.add(declare("counter", name, documentation, labelnames, namespace=namespace))

    def gauge(
        self,
        name: str,
        documentation: str,
        labelnames: Iterable[str] = (),
        *,
        namespace: str = "",
        multiprocess_mode: str = "all",
    ) -> Family[Gauge]:
        """Declare a gauge.

        Args:
            multiprocess_mode: `sum`, `min`, `max` or `mostrecent` of all processes, or `all`: one series per
                process, told apart by the label `pid`. With `live` in front, the dead no longer count.
        """
        declaration = declare(
            "gauge", name, documentation, labelnames, namespace=namespace, multiprocess_mode=multiprocess_mode
        )
        return self.add(declaration)

    def histogram(
        self,
        name: str,
        documentation: str,
        labelnames: Iterable[str] = (),
        *,
        namespace: str = "",
        buckets: Iterable[float] = DEFAULT_BUCKETS,
    ) -> Family[Histogram]:
        """Declare a histogram; `buckets` are ascending upper bounds, infinity may be left out."""
        return self.add(declare("histogram", name, documentation, labelnames, namespace=namespace, buckets=buckets))

    def summary(
        self, name: str, documentation: str, labelnames: Iterable[str] = (), *, namespace: str = ""
    ) -> Family[Summary]:
        """Declare a summary."""
        return self.add(declare("summary", name, documentation, labelnames, namespace=namespace))

    def add(self, declaration: Declaration) -> Family[Any]:
        """The family of a declaration; the same one for the same declaration.

        Raises:
            BentoMLException: the name, or that of one of its samples, belongs to another metric.
        """
        with self.lock:
            known = self._families.get(declaration.name)
            if known and known.declaration.is_same_metric(declaration):
                return known
            for sample in declaration.sample_names():
                if owner := self._owners.get(sample):
                    raise BentoMLException(
                        f"the {declaration} cannot be declared: {sample!r} belongs to the {owner}",
                        hint="give one of them another name, or declare both alike",
                    )
            self._owners.update(dict.fromkeys(declaration.sample_names(), declaration))
            family = self._families[declaration.name] = Family[Any](self, declaration)
            return family

    def bounds_of(self, name: str) -> tuple[float, ...]:
        """The upper bounds of a histogram by its full name; none if there is no such histogram."""
        with self.lock:
            known = self._families.get(name)
        return known.declaration.bounds if known else ()

    def make_child(self, declaration: Declaration, values: tuple[str, ...]) -> Any:
        """A new child for `Family.labels`, which keeps it; call it with the lock held."""
        kind, name, documentation, labelnames, bounds, mode = declaration
        # The text is UTF-8, which lone surrogates have no place in.
        clean = (value.encode("utf-8", "replace").decode() for value in values)
        labels = tuple(sorted(zip(labelnames, clean, strict=True)))
        series = Series(name, kind, documentation.encode("utf-8", "replace").decode(), labels, bounds, mode)
        cells = self._own.add(series)
        child: Child
        match kind:
            case "counter":
                child = Counter(cells)
            case "gauge":
                child = RecentGauge(cells) if mode.endswith("mostrecent") else Gauge(cells)
            case "histogram":
                child = Histogram(cells, bounds)
            case "summary":
                child = Summary(cells)
        self._children.append((series, child))
        return child

    def use(self, directory: Path) -> None:
        """Share all values through `directory` from now on, those counted so far included.

        A process that is forked off counts from zero into files of its own.

        Raises:
            BentoMLConfigException: the directory cannot be written.
        """
        if self.directory == directory:
            return
        with self.lock:
            self._open(directory)
            self._rebind(keep_values=True)
        if not self._follows_forks and hasattr(os, "register_at_fork"):
            self._follows_forks = True
            # Nobody else may hold the lock at that moment: it would stay locked in the new process for ever.
            os.register_at_fork(
                before=self.lock.acquire, after_in_parent=self.lock.release, after_in_child=self._after_fork
            )

    def sample(self) -> None:
        """Set the gauges that have a function; processes that answer no scrapes call this now and then."""
        for series, child in list(self._children):
            if isinstance(child, Gauge) and child.function is not None:
                try:
                    child.set(float(child.function()))
                except Exception:  # a hook's border: one failing gauge must not cost the scrape
                    from logging import getLogger

                    getLogger(__name__).exception("The function of the gauge %r failed; its value stays", series.name)

    def generate_latest(self) -> bytes:
        """The values of all processes in the Prometheus text format 0.0.4, ordered by name and labels."""
        self.sample()
        with self._scraping:
            others: list[Process] = self._shared.processes() if self._shared else []
            return self._exposition.render([*others, self._own])

    def _open(self, directory: Path | None) -> None:
        self._own = OwnValues(directory)
        self._shared = Directory(directory) if directory else None
        self._exposition = Exposition()
        self._scraping = Lock()
        self.directory = directory

    def _rebind(self, *, keep_values: bool) -> None:
        for series, child in self._children:
            cells = self._own.add(series)
            if keep_values:
                cells[:] = child.cells
            child.cells = cells

    def _after_fork(self) -> None:
        try:
            self._open(self.directory)
        except BentoMLConfigException:  # the new process can still count for itself
            self._open(None)
        self._rebind(keep_values=False)
        self.lock.release()


#: The registry of this process. What a module declares at import is counted here, before and after `use`.
DEFAULT = Registry()
