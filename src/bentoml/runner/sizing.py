"""How many workers a runner gets and what each may use: the rule of BentoML 1.x, as pure functions of plain values."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, ClassVar

from bentoml._process import THREAD_VARIABLES
from bentoml.exceptions import BentoMLConfigException
from bentoml.runner.runnable import Runnable

__all__ = ["GPU", "DefaultStrategy", "Strategy", "parse_cpu", "parse_gpus", "resource_request"]

GPU = "nvidia.com/gpu"

_MILLI = re.compile(r"([0-9]+)m\Z")
_DECIMAL = re.compile(r"[0-9]+(\.[0-9]*)?\Z")


def parse_cpu(given: Any) -> float:
    """CPUs from `2`, `2.5`, `"1.5"` or `"500m"` (thousandths).

    Raises:
        BentoMLConfigException: another text, or less than none.
        TypeError: neither number nor text.
    """
    if isinstance(given, bool) or not isinstance(given, (int, float, str)):
        raise TypeError(f"resources.cpu must be a number or a text such as '500m', not {given!r}")
    if isinstance(given, str):
        milli = _MILLI.match(given)
        if milli is None and not _DECIMAL.match(given):
            raise BentoMLConfigException(f"resources.cpu: {given!r} is no number of CPUs", hint="2, 1.5 or '500m'")
        given = int(milli[1]) / 1000 if milli is not None else float(given)
    if given < 0:
        raise BentoMLConfigException(f"resources.cpu must not be negative, but is {given}")
    return float(given)


def parse_gpus(given: Any) -> list[int]:
    """GPU ids from a count (`2` is `[0, 1]`, `-1` none), its text, or a list of ids.

    Raises:
        BentoMLConfigException: another text, a negative count, or an id that is none.
        TypeError: neither number, text nor list.
    """
    if isinstance(given, str):
        if not re.fullmatch(r"-?[0-9]+", given):
            raise BentoMLConfigException(f"resources.{GPU!r}: {given!r} is no number of GPUs", hint="2 or [0, 1]")
        given = int(given)
    if isinstance(given, int) and not isinstance(given, bool):
        if given < -1:
            raise BentoMLConfigException(f"resources.{GPU!r} must not be negative, but is {given}")
        return list(range(given))
    if isinstance(given, list):
        if not all(re.fullmatch("[0-9]+", str(item)) for item in given):
            raise BentoMLConfigException(f"resources.{GPU!r}: {given} is no list of GPU ids", hint="[0, 1]")
        return [int(item) for item in given]
    raise TypeError(f"resources.{GPU!r} must be a number or a list of ids, not {given!r}")


def resource_request(
    configured: Mapping[str, Any] | str | None, *, system_cpus: float, system_gpus: int
) -> dict[str, Any]:
    """What a runner may use: `cpu` as a number and GPUs as a list of ids.

    Args:
        configured: `runners.<name>.resources`; None and `"system"` mean all that there is.

    Raises:
        BentoMLConfigException: an unknown kind, or more than the system has.
    """
    if configured is None or configured == "system":
        return {"cpu": system_cpus, GPU: list(range(system_gpus))}
    if not isinstance(configured, Mapping):
        raise BentoMLConfigException(f"resources must be `system` or a map, not {configured!r}")
    request: dict[str, Any] = {}
    for kind, given in configured.items():
        if kind == "cpu":
            request[kind] = system_cpus if given == "system" else parse_cpu(given)
            if request[kind] > system_cpus:
                raise BentoMLConfigException(f"resources.cpu is {given}, and this system has {system_cpus:g}")
        elif kind == GPU:
            request[kind] = list(range(system_gpus)) if given == "system" else parse_gpus(given)
            if len(request[kind]) > system_gpus or any(gpu >= system_gpus for gpu in request[kind]):
                raise BentoMLConfigException(f"resources.{GPU!r} is {given}, and this system has {system_gpus} GPUs")
        else:
            raise BentoMLConfigException(f"unknown kind of resource {kind!r}", hint=f"known are cpu and {GPU}")
    return request


class Strategy:
    """Decides on the workers of a runner; subclass it and pass `scheduling_strategy=` to a Runner."""

    @classmethod
    def get_worker_count(
        cls,
        runnable_class: type[Runnable],
        resource_request: Mapping[str, Any] | None,
        workers_per_resource: int | float,
    ) -> int:
        """How many workers."""
        raise NotImplementedError

    @classmethod
    def get_worker_env(
        cls,
        runnable_class: type[Runnable],
        resource_request: Mapping[str, Any] | None,
        workers_per_resource: int | float,
        worker_index: int,
    ) -> dict[str, str]:
        """Environment variables of the worker `worker_index`, counted from 0, set before anything is imported."""
        raise NotImplementedError


class DefaultStrategy(Strategy):
    """GPUs first: one worker for each, times `workers_per_resource`; then CPUs: one worker that uses all of them when
    the runnable says that one call can, else one for each CPU."""

    NO_GPU: ClassVar[dict[str, str]] = {"CUDA_VISIBLE_DEVICES": "-1"}

    @classmethod
    def get_worker_count(
        cls,
        runnable_class: type[Runnable],
        resource_request: Mapping[str, Any] | None,
        workers_per_resource: int | float,
    ) -> int:
        request = resource_request or {}
        gpus = request.get(GPU) or []
        if gpus and GPU in runnable_class.SUPPORTED_RESOURCES:
            return math.ceil(len(gpus) * workers_per_resource)
        cpus = request.get("cpu") or 0
        if cpus <= 0:
            raise ValueError(f"No known supported resource available for {runnable_class.__name__}: {dict(request)}")
        if workers_per_resource != int(workers_per_resource):
            raise ValueError("workers_per_resource must be a whole number for CPU workers")
        if runnable_class.SUPPORTS_CPU_MULTI_THREADING:
            return int(workers_per_resource)
        return math.ceil(cpus) * int(workers_per_resource)

    @classmethod
    def get_worker_env(
        cls,
        runnable_class: type[Runnable],
        resource_request: Mapping[str, Any] | None,
        workers_per_resource: int | float,
        worker_index: int,
    ) -> dict[str, str]:
        request = resource_request or {}
        gpus = request.get(GPU) or []
        if gpus and GPU in runnable_class.SUPPORTED_RESOURCES:
            return {"CUDA_VISIBLE_DEVICES": _gpus_of(gpus, workers_per_resource, worker_index)}
        threads = math.ceil(request.get("cpu") or 1) if runnable_class.SUPPORTS_CPU_MULTI_THREADING else 1
        return {**cls.NO_GPU, **dict.fromkeys(THREAD_VARIABLES, str(threads))}


def _gpus_of(gpus: list[int], workers_per_resource: int | float, worker_index: int) -> str:
    if workers_per_resource < 1:
        each = round(1 / workers_per_resource)
        return ",".join(str(gpu) for gpu in gpus[worker_index * each : (worker_index + 1) * each])
    if workers_per_resource != int(workers_per_resource):
        raise ValueError("workers_per_resource above 1 must be a whole number")
    return str(gpus[worker_index // int(workers_per_resource)])
