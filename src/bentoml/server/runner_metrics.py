"""What a runner's engine does, as metrics: batch sizes, waits, compute times, why batches left, what was refused."""

from __future__ import annotations

import functools
from collections.abc import Callable

from bentoml import _metrics
from bentoml._metrics.children import Counter, Histogram
from bentoml.config import LoadedConfig
from bentoml.runner.batching import Reason
from bentoml.runner.engine import Engine
from bentoml.runner.method_queue import MethodQueue
from bentoml.runner.runner import Runner
from bentoml.service.service import Service

__all__ = ["RunnerMetrics"]

#: Bounds of waits and compute times, in seconds: from a row of a small tree model to a slow network.
_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class RunnerMetrics:
    """The observer of one engine; the methods are called on its event loop.

    Args:
        worker_index: of the process, counted from 1.
    """

    def __init__(
        self,
        service: Service,
        runner: Runner,
        loaded: LoadedConfig,
        *,
        worker_index: int,
        registry: _metrics.Registry = _metrics.DEFAULT,
    ) -> None:
        version = service.tag.version if service.tag is not None else None
        place = (runner.name, worker_index, version or "not available", service.name)
        labels = ("runner_name", "worker_index", "service_version", "service_name", "method_name")
        plans = runner.plans(loaded.runner(runner.name))
        namespace = loaded.runner(runner.name).metrics.namespace
        # Of all runners together: they share the histogram, which has one set of bounds.
        every = [plan for each in service.runners for plan in each.plans(loaded.runner(each.name))]
        # And of all services that a process serves in turn, as tests do: the first one decides.
        sizes = registry.bounds_of(f"{namespace}_adaptive_batch_size") or _metrics.exponential_buckets(
            1, 2, max(plan.policy.max_batch_rows for plan in every)
        )

        def histogram(name: str, text: str, buckets: tuple[float, ...]) -> _metrics.Family[Histogram]:
            return registry.histogram(name, text, labels, namespace=namespace, buckets=buckets)

        calls = histogram("adaptive_batch_size", "Calls joined in one batch", sizes)
        rows = histogram("batch_rows", "Rows in one batch", sizes)
        queue = histogram("queue_seconds", "Wait of the oldest call of a batch, in seconds", _SECONDS)
        compute = histogram("compute_seconds", "Duration of one model call, in seconds", _SECONDS)
        self._left = registry.counter(
            "batch_total", "Batches by the reason they left", (*labels, "reason"), namespace=namespace
        )
        self._refused = registry.counter(
            "refused_total", "Calls refused, by reason", (*labels, "reason"), namespace=namespace
        )
        self._gauges = {
            name: registry.gauge(name, text, labels, namespace=namespace, multiprocess_mode="livesum")
            for name, text in _GAUGES.items()
        }
        self._place = place
        self._histograms = {
            plan.name: (
                calls.labels(*place, plan.name),
                rows.labels(*place, plan.name),
                queue.labels(*place, plan.name),
                compute.labels(*place, plan.name),
            )
            for plan in plans
        }
        self._left_by: dict[tuple[str, str], Counter] = {}

    def watch(self, engine: Engine) -> None:
        """Show the state of the engine's queues whenever somebody looks."""
        for method, queue in engine.queues.items():
            for name, sample in _samples(queue).items():
                self._gauges[name].labels(*self._place, method).set_function(sample)

    def watch_queue(self, queued_rows: Callable[[str], float]) -> None:
        """Show what waits in front of worker processes; `queued_rows`: method → rows."""
        for method in self._histograms:
            sample = functools.partial(queued_rows, method)
            self._gauges["queue_rows"].labels(*self._place, method).set_function(sample)

    def batch(self, method: str, *, calls: int, rows: int, queue_s: float, compute_s: float, reason: Reason) -> None:
        """A batch was run."""
        by_calls, by_rows, by_queue, by_compute = self._histograms[method]
        by_calls.observe(calls)
        by_rows.observe(rows)
        by_queue.observe(queue_s)
        by_compute.observe(compute_s)
        left = self._left_by.get((method, reason))
        if left is None:
            left = self._left_by[method, reason] = self._left.labels(*self._place, method, reason)
        left.inc()

    def refused(self, method: str, reason: str) -> None:
        """A call was refused."""
        self._refused.labels(*self._place, method, reason).inc()


#: What is sampled when somebody looks.
_GAUGES = {
    "queue_rows": "Rows that wait now",
    "cost_per_row_seconds": "Fitted seconds for each row of a call (a of a·rows + b)",
    "cost_per_call_seconds": "Fitted seconds for each call (b of a·rows + b)",
    "cost_error_seconds": "Seconds by which nine calls in ten stay below a·rows + b",
}


def _samples(queue: MethodQueue) -> dict[str, Callable[[], float]]:
    return {
        "queue_rows": lambda: queue.rows,
        "cost_per_row_seconds": lambda: queue.cost.per_row_s,
        "cost_per_call_seconds": lambda: queue.cost.per_call_s,
        "cost_error_seconds": lambda: queue.cost.error_s,
    }
