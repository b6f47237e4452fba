"""Counter, Gauge, Histogram, Summary for user code: safe in module scope, across threads and processes.

The classes follow prometheus_client; what they count appears on `GET /metrics`, added up over all processes
of the server. Nothing is created before the first use.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from time import perf_counter, time
from typing import Any, NoReturn, TypeVar

from bentoml import _metrics
from bentoml._importing import require
from bentoml._metrics import CONTENT_TYPE as CONTENT_TYPE_LATEST
from bentoml._metrics import DEFAULT_BUCKETS, children
from bentoml._metrics.lazy import LazyMetric as _LazyMetric
from bentoml._metrics.lazy import Scope as _Scope

__all__ = [
    "Counter",
    "Gauge",
    "Histogram",
    "Summary",
    "generate_latest",
    "make_wsgi_app",
    "text_string_to_metric_families",
]

C = TypeVar("C", bound=children.Child)

_LOCK = _metrics.DEFAULT.lock


class Counter(_LazyMetric[children.Counter]):
    """A value that only grows, for instance requests or bytes; its name ends with `_total`."""

    _kind = "counter"

    def inc(self, amount: float = 1.0) -> None:
        """Add `amount`.

        Raises:
            BentoMLException: `amount` is negative or not a number.
        """
        child = self._child or self._bound()
        with _LOCK:
            child.inc(amount)

    def count_exceptions(self, exception: type[BaseException] | tuple[type[BaseException], ...] = Exception) -> _Scope:
        """Count what is raised inside: `with c.count_exceptions():`, or as a decorator."""

        @contextmanager
        def scope() -> Iterator[None]:
            try:
                yield
            except exception:
                self.inc()
                raise

        return _Scope(scope)


class _Timed(_LazyMetric[C]):
    def _record(self, amount: float) -> None:
        raise NotImplementedError

    def time(self) -> _Scope:
        """Record the seconds spent inside: `with h.time():`, or as a decorator."""

        @contextmanager
        def scope() -> Iterator[None]:
            start = perf_counter()
            try:
                yield
            finally:
                self._record(perf_counter() - start)

        return _Scope(scope)


class Gauge(_Timed[children.Gauge]):
    """A value that goes up and down, for instance requests in progress.

    Args:
        multiprocess_mode: `sum`, `min`, `max` or `mostrecent` of all processes, or `all`: one series per
            process, told apart by the label `pid`. With `live` in front, processes that died no longer count.
    """

    _kind = "gauge"

    def __init__(
        self,
        name: str,
        documentation: str,
        labelnames: Iterable[str] = (),
        namespace: str = "",
        subsystem: str = "",
        unit: str = "",
        registry: None = None,
        multiprocess_mode: str = "all",
    ) -> None:
        super().__init__(
            name,
            documentation,
            labelnames,
            namespace,
            subsystem,
            unit,
            registry,
            multiprocess_mode=multiprocess_mode,
        )

    def inc(self, amount: float = 1.0) -> None:
        """Add `amount`."""
        child = self._child or self._bound()
        with _LOCK:
            child.inc(amount)

    def dec(self, amount: float = 1.0) -> None:
        """Subtract `amount`."""
        child = self._child or self._bound()
        with _LOCK:
            child.dec(amount)

    def set(self, value: float) -> None:
        """Replace the value."""
        child = self._child or self._bound()
        with _LOCK:
            child.set(value)

    def _record(self, amount: float) -> None:
        self.set(amount)

    def set_to_current_time(self) -> None:
        """Set the seconds since 1970."""
        self.set(time())

    def set_function(self, function: Callable[[], float]) -> None:
        """Take the value from `function()` whenever this process answers a scrape."""
        self._bound().set_function(function)

    def track_inprogress(self) -> _Scope:
        """Count up while inside: `with g.track_inprogress():`, or as a decorator."""

        @contextmanager
        def scope() -> Iterator[None]:
            self.inc()
            try:
                yield
            finally:
                self.dec()

        return _Scope(scope)


class Histogram(_Timed[children.Histogram]):
    """Counts observations in buckets, for instance durations or sizes.

    Args:
        buckets: ascending upper bounds; infinity is added where it is missing. Default: 5 ms to 10 s.
    """

    _kind = "histogram"

    def __init__(
        self,
        name: str,
        documentation: str,
        labelnames: Iterable[str] = (),
        namespace: str = "",
        subsystem: str = "",
        unit: str = "",
        registry: None = None,
        buckets: Sequence[float] = DEFAULT_BUCKETS,
    ) -> None:
        super().__init__(name, documentation, labelnames, namespace, subsystem, unit, registry, buckets=buckets)

    def observe(self, amount: float) -> None:
        """Count `amount` in its bucket and add it to the sum."""
        child = self._child or self._bound()
        with _LOCK:
            child.observe(amount)

    def _record(self, amount: float) -> None:
        self.observe(amount)


class Summary(_Timed[children.Summary]):
    """The number and the sum of observations; cheaper than a histogram, and no quantiles."""

    _kind = "summary"

    def observe(self, amount: float) -> None:
        """Add one observation."""
        child = self._child or self._bound()
        with _LOCK:
            child.observe(amount)

    def _record(self, amount: float) -> None:
        self.observe(amount)


def generate_latest() -> bytes:
    """The metrics of all processes in the Prometheus text format 0.0.4: what `GET /metrics` answers."""
    return _metrics.DEFAULT.generate_latest()


def text_string_to_metric_families(text: str | None = None) -> Iterator[Any]:
    """The metric families in a Prometheus text, by default in that of `generate_latest()`.

    Raises:
        MissingDependencyException: prometheus_client, whose parser and objects these are, is not installed.
    """
    parser = require("prometheus_client.parser", install="prometheus-client", what="text_string_to_metric_families()")
    families: Iterator[Any] = parser.text_string_to_metric_families(
        generate_latest().decode() if text is None else text
    )
    return families


def make_wsgi_app() -> Callable[[dict[str, Any], Callable[..., Any]], list[bytes]]:
    """A WSGI application that answers every request as `GET /metrics` does."""

    def metrics_app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        body = generate_latest()
        start_response("200 OK", [("Content-Type", CONTENT_TYPE_LATEST), ("Content-Length", str(len(body)))])
        return [body]

    return metrics_app


_SERVED = "GET /metrics of the server answers scrapes"
_ONE_REGISTRY = "there is one registry, shared by all processes of the server"
_NOT_SHARED = "it has no meaning over several processes"
_REFUSED = {
    **dict.fromkeys(("CollectorRegistry", "REGISTRY", "Metric", "multiprocess", "registry"), _ONE_REGISTRY),
    **dict.fromkeys(("Enum", "Info", "write_to_textfile"), _NOT_SHARED),
    **dict.fromkeys(("GCCollector", "GC_COLLECTOR", "PLATFORM_COLLECTOR", "PROCESS_COLLECTOR"), _NOT_SHARED),
    **dict.fromkeys(("PlatformCollector", "ProcessCollector"), _NOT_SHARED),
    **dict.fromkeys(("delete_from_gateway", "push_to_gateway", "pushadd_to_gateway"), _SERVED),
    **dict.fromkeys(("MetricsHandler", "instance_ip_grouping_key", "make_asgi_app"), _SERVED),
    **dict.fromkeys(("start_http_server", "start_wsgi_server"), _SERVED),
}


def __getattr__(name: str) -> NoReturn:
    if name in _REFUSED:
        raise NotImplementedError(f"bentoml.metrics has no {name!r}: {_REFUSED[name]}")
    raise AttributeError(f"module 'bentoml.metrics' has no attribute {name!r}")
