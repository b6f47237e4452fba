"""in_process(): a runner's engine inside the process that answers requests, observed if metrics are on."""

from __future__ import annotations

from bentoml.config import LoadedConfig
from bentoml.runner.placements import Placement
from bentoml.runner.placements.in_process import InProcess
from bentoml.runner.placements.limited import Limited
from bentoml.runner.runner import Runner
from bentoml.server.runner_metrics import RunnerMetrics
from bentoml.service.service import Service

__all__ = ["in_process", "limited"]


def in_process(runner: Runner, service: Service, loaded: LoadedConfig, *, worker_index: int) -> Placement:
    """A new engine for the runner in this process; its model is loaded when the placement is started."""
    settings = loaded.runner(runner.name)
    timeout_s = settings.traffic.timeout
    if not settings.metrics.enabled:
        return InProcess(runner.engine(settings), timeout_s=timeout_s)
    observer = RunnerMetrics(service, runner, loaded, worker_index=worker_index)
    engine = runner.engine(settings, observer)
    observer.watch(engine)
    return InProcess(engine, timeout_s=timeout_s)


def limited(placement: Placement, runner: Runner, loaded: LoadedConfig) -> Placement:
    """The placement within the calls that the runner may have in flight, if the configuration limits them."""
    limit = loaded.runner(runner.name).traffic.max_concurrency
    return placement if limit is None else Limited(placement, runner.name, limit)
