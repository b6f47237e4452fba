"""make_plan(): which processes a service runs in and where its runners live; pure functions of what is known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from bentoml._process import THREAD_VARIABLES, ProcessSpec
from bentoml.config import RunnerConfig
from bentoml.server.control import Described, RunnerFacts

__all__ = ["Choice", "Plan", "api_worker_specs", "choose_placement", "make_plan"]

#: The largest model that `auto` copies into each API worker, in bytes on disk, all copies together. Copies of a tabular
#: model cost less than the hop to another process; a quarter of a gigabyte does not.
IN_PROCESS_LIMIT_BYTES = 256 * 1024 * 1024


class Choice(NamedTuple):
    """Where a runner lives, and why."""

    placement: Literal["in_process", "worker_process"]
    reason: str


class Plan(NamedTuple):
    """The processes of a server besides its API workers.

    Attributes:
        choices: runner name → where it lives.
        runner_specs: the runner workers.
    """

    choices: dict[str, Choice]
    runner_specs: list[ProcessSpec]

    def lines(self, description: Described, api_specs: Sequence[ProcessSpec]) -> Iterator[str]:
        """The plan for a human, one line for each kind of process."""
        count = len(api_specs)
        routes = ", ".join(description.apis) or "no API"
        yield (
            f"{count} API worker{'s' if count > 1 else ''} with {_threads(api_specs[0])}{self._memory(description)}"
            f" for {routes}"
        )
        for facts in description.runners:
            choice = self.choices[facts.name]
            what = ", ".join(facts.models) or facts.runnable
            specs = [spec for spec in self.runner_specs if spec.runner == facts.name]
            size = f", {facts.model_bytes / 2**20:.1f} MiB on disk" if facts.model_bytes else ""
            where = (
                f"in {len(specs)} worker process{'es' if len(specs) > 1 else ''} with {_threads(specs[0])}"
                if specs
                else "in each API worker"
            )
            yield f"runner {facts.name} ({what}{size}): {where} ({choice.reason})"

    def _memory(self, description: Described) -> str:
        """What one API worker will take: as measured after import, and the models that it loads itself."""
        if not description.resident_bytes:
            return ""
        own = [facts for facts in description.runners if self.choices[facts.name].placement == "in_process"]
        expected = description.resident_bytes + sum(facts.model_bytes for facts in own)
        return f", about {expected / 2**20:.0f} MiB each"


def _threads(spec: ProcessSpec) -> str:
    count = spec.environment.get(THREAD_VARIABLES[0], "your own number of")
    return f"{count} thread{'' if count == '1' else 's'}{' each' if spec.kind == 'api_server' else ''}"


def choose_placement(facts: RunnerFacts, config: RunnerConfig, *, api_workers: int) -> Choice:
    """The placement of one runner.

    The rule of `auto`, first match: embedded → in process; asks for a GPU → worker process; its model files, once for
    each API worker, exceed `IN_PROCESS_LIMIT_BYTES` → worker process; else in process.
    """
    if facts.embedded:
        return Choice("in_process", "embedded=True")
    if config.placement != "auto":
        return Choice(config.placement, f"runners.{facts.name}.placement")
    asked = config.resources if isinstance(config.resources, Mapping) else {}
    if asked.get("nvidia.com/gpu") and "nvidia.com/gpu" in facts.resources:
        return Choice("worker_process", "auto: it runs on a GPU")
    copies = facts.model_bytes * api_workers
    if copies > IN_PROCESS_LIMIT_BYTES:
        return Choice("worker_process", f"auto: {api_workers} copies would take {copies / 2**20:.0f} MiB")
    return Choice("in_process", "auto: a small CPU model")


def make_plan(
    runners: Sequence[RunnerFacts], configs: Mapping[str, RunnerConfig], *, api_workers: int, development: bool
) -> Plan:
    """Where each runner lives, and the worker processes that this takes; in development all live in the API worker."""
    choices = {
        facts.name: Choice("in_process", "development")
        if development
        else choose_placement(facts, configs[facts.name], api_workers=api_workers)
        for facts in runners
    }
    specs = [
        ProcessSpec(
            kind="runner",
            name=f"runner:{facts.name}:{index}",
            index=index,
            environment=environment,
            runner=facts.name,
        )
        for facts in runners
        if choices[facts.name].placement == "worker_process"
        for index, environment in enumerate(facts.worker_environments, 1)
    ]
    return Plan(choices, specs)


def api_worker_specs(
    *, workers: int, cpus: int, development: bool, environment: Mapping[str, str]
) -> list[ProcessSpec]:
    """The API workers, with the threads that the libraries in each may start.

    Half of the CPUs are shared out among the workers; a variable that the user has set stays as it is. The other half
    is left to HTTP, and to whoever sends the requests: the threads of one call wait for each other, and on a machine
    without a CPU to spare they take several times as long as one thread alone.
    """
    threads = 1 if development else max(1, cpus // 2 // workers)
    variables = {name: str(threads) for name in THREAD_VARIABLES if name not in environment}
    return [
        ProcessSpec(kind="api_server", name=f"api_server:{index}", index=index, environment=variables)
        for index in range(1, workers + 1)
    ]
