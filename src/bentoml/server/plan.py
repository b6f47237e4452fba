"""plan(): which processes a service runs in, and where each of its runners lives; a pure function of what is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from bentoml._process import THREAD_VARIABLES, ProcessSpec
from bentoml.config import RunnerConfig
from bentoml.server.control import RunnerFacts

__all__ = ["PlacementChoice", "api_worker_specs", "choose_placement"]

#: The largest model that `auto` copies into each API worker, in bytes on disk. Copies of a tabular model cost less than
#: the hop to another process; a quarter of a gigabyte in each worker does not.
IN_PROCESS_LIMIT_BYTES = 256 * 1024 * 1024


class PlacementChoice(NamedTuple):
    """Where a runner lives, and why; printed at start."""

    placement: Literal["in_process", "worker_process"]
    reason: str


def choose_placement(facts: RunnerFacts, config: RunnerConfig, *, api_workers: int) -> PlacementChoice:
    """The placement of one runner.

    The rule of `auto`, first match: embedded → in process; asks for a GPU → worker process; its model files, once for
    each API worker, exceed `IN_PROCESS_LIMIT_BYTES` → worker process; else in process.
    """
    if facts.embedded:
        return PlacementChoice("in_process", "embedded=True")
    if config.placement != "auto":
        return PlacementChoice(config.placement, f"runners.{facts.name}.placement")
    asked = config.resources if isinstance(config.resources, Mapping) else {}
    if asked.get("nvidia.com/gpu") and "nvidia.com/gpu" in facts.resources:
        return PlacementChoice("worker_process", "auto: it runs on a GPU")
    copies = facts.model_bytes * api_workers
    if copies > IN_PROCESS_LIMIT_BYTES:
        return PlacementChoice("worker_process", f"auto: {api_workers} copies would take {copies / 2**20:.0f} MiB")
    return PlacementChoice("in_process", "auto: a small CPU model")


def api_worker_specs(
    *, workers: int, cpus: int, development: bool, environment: Mapping[str, str], service: str
) -> Sequence[ProcessSpec]:
    """The API workers, with the threads that the libraries in each may start.

    The CPUs are shared out among the workers; a variable that the user has set stays as it is.
    """
    threads = 1 if development else max(1, cpus // workers)
    variables = {name: str(threads) for name in THREAD_VARIABLES if name not in environment}
    return [
        ProcessSpec(kind="api_server", name=f"api_server:{service}:{index}", index=index, environment=variables)
        for index in range(1, workers + 1)
    ]
