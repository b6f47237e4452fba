"""Count, duration and number in progress of requests, under the names of BentoML 1.x."""

from __future__ import annotations

from bentoml import _metrics
from bentoml._metrics.children import Counter, Gauge, Histogram
from bentoml.config.tree import ServerMetrics
from bentoml.service.service import Service

__all__ = ["RequestMetrics", "duration_buckets"]

_LABELS = ("endpoint", "service_name", "service_version", "http_response_code")


class RequestMetrics:
    """The request metrics of one worker.

    The label `endpoint` is the route and not the path as sent: strangers must not be able to add series.
    """

    def __init__(self, service: Service, config: ServerMetrics, registry: _metrics.Registry = _metrics.DEFAULT) -> None:
        version = service.tag.version if service.tag is not None else None
        self._service = (service.name, version or "not available")
        self._total = registry.counter(
            "request_total", "Total number of HTTP requests", _LABELS, namespace=config.namespace
        )
        self._duration = registry.histogram(
            "request_duration_seconds",
            "Duration of HTTP requests in seconds",
            _LABELS,
            namespace=config.namespace,
            buckets=duration_buckets(config),
        )
        self._in_progress = registry.gauge(
            "request_in_progress",
            "Number of HTTP requests in progress now",
            _LABELS[:-1],
            namespace=config.namespace,
            multiprocess_mode="livesum",
        )
        self._children: dict[tuple[str, int], tuple[Counter, Histogram]] = {}

    def in_progress(self, route: str) -> Gauge:
        """The gauge of one route."""
        return self._in_progress.labels(route, *self._service)

    def observed(self, route: str, status: int, elapsed_s: float) -> None:
        """Count one answered request."""
        children = self._children.get((route, status))
        if children is None:
            labels = (route, *self._service, status)
            children = (self._total.labels(*labels), self._duration.labels(*labels))
            self._children[route, status] = children
        children[0].inc()
        children[1].observe(elapsed_s)


def duration_buckets(config: ServerMetrics) -> tuple[float, ...]:
    """The bounds that the configuration asks for: its list, else its exponential series, else the default."""
    duration = config.duration
    if duration.buckets:
        return tuple(duration.buckets)
    if duration.min and duration.max and duration.factor:
        return _metrics.exponential_buckets(duration.min, duration.factor, duration.max)
    return _metrics.DEFAULT_BUCKETS
