"""Runner: the handle in user code through which a model is called, wherever it was placed."""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bentoml._process import THREAD_VARIABLES
from bentoml._resources import cpu_count, gpu_count, whole_cpus
from bentoml.config import RunnerConfig, current
from bentoml.exceptions import InvalidArgument, StateException
from bentoml.runner.batching import Policy
from bentoml.runner.engine import Engine
from bentoml.runner.method_queue import MethodPlan
from bentoml.runner.observing import Observer
from bentoml.runner.placements import Placement
from bentoml.runner.placements.in_process import InProcess
from bentoml.runner.runnable import Runnable, RunnableMethod
from bentoml.runner.sizing import DefaultStrategy, resource_request
from bentoml.tag import validate_part

if TYPE_CHECKING:
    from bentoml.store.model import Model

__all__ = ["Runner", "RunnerMethod"]

logger = logging.getLogger("bentoml")

#: The limits of a method and the types of number that they take.
_LIMITS: dict[str, Any] = {"max_batch_size": int, "max_latency_ms": (int, float)}


class RunnerMethod:
    """One method of a runner: `run` blocks, `async_run` is awaited, `async_stream` is iterated over."""

    __slots__ = ("_runner", "name", "runnable_method")

    def __init__(self, runner: Runner, runnable_method: RunnableMethod) -> None:
        self._runner = runner
        self.name = runnable_method.name
        self.runnable_method = runnable_method

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """Call the method and wait for its result; in plain functions and threads.

        Raises:
            StateException: the runner is not initialised.
            ServiceUnavailable: the model has more work than it can do in time.
        """
        return self._runner.placement.call(self.name, args, kwargs)

    async def async_run(self, *args: Any, **kwargs: Any) -> Any:
        """Call the method from an `async` function; other requests go on meanwhile.

        Raises:
            StateException: the runner is not initialised.
            ServiceUnavailable: the model has more work than it can do in time.
        """
        return await self._runner.placement.submit(self.name, args, kwargs)

    def async_stream(self, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        """Iterate over what a generator method yields."""
        return self._runner.placement.stream(self.name, args, kwargs)

    def __repr__(self) -> str:
        return f"RunnerMethod({self._runner.name}.{self.name})"


class Runner:
    """A model as a service sees it.

    Args:
        runnable_class: what each worker makes one instance of.
        runnable_init_params: keyword arguments of that class.
        name: defaults to the class's name in lower case.
        models: the models that it loads; a bento carries them along.
        max_batch_size: rows in one call at most, for every method.
        max_latency_ms: milliseconds that a batched call may take, waiting included.
        method_configs: the two limits for single methods: `{"predict": {"max_batch_size": 32}}`.
        embedded: place it inside each API worker, whatever the configuration says.
        scheduling_strategy: decides on workers and their environment; defaults to the built-in rule.

    Raises:
        ValueError: the name cannot be one; the class offers no method, or one with the name of a member of Runner.
        InvalidArgument: `method_configs` names an unknown method or limit.
    """

    def __init__(
        self,
        runnable_class: type[Runnable],
        *,
        runnable_init_params: Mapping[str, Any] | None = None,
        name: str | None = None,
        scheduling_strategy: Any = None,
        models: Sequence[Model] | None = None,
        max_batch_size: int | None = None,
        max_latency_ms: float | None = None,
        method_configs: Mapping[str, Mapping[str, Any]] | None = None,
        embedded: bool = False,
    ) -> None:
        if not (isinstance(runnable_class, type) and issubclass(runnable_class, Runnable)):
            raise InvalidArgument(f"a Runner takes a subclass of bentoml.Runnable, not {runnable_class!r}")
        self.name = validate_part(name if name is not None else runnable_class.__name__, "name of a runner")
        self.runnable_class = runnable_class
        self.runnable_init_params = dict(runnable_init_params or {})
        self.models = list(models or [])
        self.embedded = embedded
        self.scheduling_strategy = scheduling_strategy
        self._limits = _checked_limits(self.name, {"max_batch_size": max_batch_size, "max_latency_ms": max_latency_ms})
        self._placement: Placement | None = None

        offered = runnable_class.bentoml_runnable_methods__
        if not offered:
            raise ValueError(
                f"{runnable_class.__name__} offers no method: mark at least one with @bentoml.Runnable.method"
            )
        unknown = set(method_configs or {}) - set(offered)
        if unknown:
            raise InvalidArgument(
                f"method_configs of the runner {self.name!r} names {sorted(unknown)[0]!r}; "
                f"its methods are {', '.join(offered)}"
            )
        self._method_limits = {
            method: _checked_limits(f"{self.name}.{method}", limits)
            for method, limits in (method_configs or {}).items()
        }
        self.runner_methods = [RunnerMethod(self, method) for method in offered.values()]
        for handle in self.runner_methods:
            if handle.name == "__call__":
                continue
            if hasattr(type(self), handle.name) or handle.name in vars(self):
                raise ValueError(
                    f"{runnable_class.__name__} offers a method {handle.name!r}, and every Runner has something of "
                    "that name itself; give the method another"
                )
            setattr(self, handle.name, handle)
        only = self.runner_methods[0] if len(self.runner_methods) == 1 else None
        main = next((handle for handle in self.runner_methods if handle.name == "__call__"), only)
        if main is not None:
            self.run = main.run
            self.async_run = main.async_run
            self.async_stream = main.async_stream

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> RunnerMethod: ...

    # -- what a server needs ------------------------------------------------------------------------------------------

    def plans(self, config: RunnerConfig) -> list[MethodPlan]:
        """Its methods with their limits: of `method_configs`, else of the constructor, else of the configuration."""
        batching = config.batching
        plans = []
        for handle in self.runner_methods:
            limits = {**self._limits, **self._method_limits.get(handle.name, {})}
            rows = limits.get("max_batch_size", batching.max_batch_size)
            latency_ms = limits.get("max_latency_ms", batching.max_latency_ms)
            joins = batching.enabled and handle.runnable_method.signature.batchable
            plans.append(
                MethodPlan(
                    name=handle.name,
                    signature=handle.runnable_method.signature,
                    batching=joins,
                    policy=Policy(rows if joins else 1, batching.patience_ms / 1000 if joins else 0.0),
                    max_latency_s=latency_ms / 1000 if joins else math.inf,
                    max_queue_rows=batching.max_queue_rows,
                    idempotent=handle.runnable_method.idempotent,
                    takes_turns=handle.runnable_method.is_coroutine and not joins,
                )
            )
        return plans

    def worker_environments(self, config: RunnerConfig) -> list[dict[str, str]]:
        """The variables of each worker process that its strategy asks for, should it get processes of its own."""
        strategy = self.scheduling_strategy or DefaultStrategy
        request = resource_request(config.resources, system_cpus=cpu_count(), system_gpus=gpu_count())
        each = config.workers_per_resource
        count = strategy.get_worker_count(self.runnable_class, request, each)
        found = [strategy.get_worker_env(self.runnable_class, request, each, index) for index in range(count)]
        if config.resources is None:
            # Nobody said how many threads a call may use, and the API workers need CPUs as well: threads that wait for
            # one another on a busy machine take many times longer than one thread alone.
            limit = max(1, whole_cpus() // 2)
            found = [{name: _at_most(value, limit, name) for name, value in env.items()} for env in found]
        return found

    @property
    def scheduled_worker_count(self) -> int:
        """How many worker processes it gets where it is placed in processes of its own."""
        return len(self.worker_environments(current().runner(self.name)))

    @property
    def scheduled_worker_env_map(self) -> dict[int, dict[str, str]]:
        """The variables of each of those processes, by the number of the process, from 0."""
        return dict(enumerate(self.worker_environments(current().runner(self.name))))

    def engine(self, config: RunnerConfig, observer: Observer | None = None) -> Engine:
        """A new engine for it; its model is not loaded yet."""
        return Engine(self.name, self.make_runnable, self.plans(config), observer=observer)

    def make_runnable(self) -> Runnable:
        """A new instance of its class."""
        return self.runnable_class(**self.runnable_init_params)

    def attach(self, placement: Placement | None) -> None:
        """Send its calls through `placement`; None: nowhere."""
        self._placement = placement

    @property
    def placement(self) -> Placement:
        """Where its calls go.

        Raises:
            StateException: nowhere yet.
        """
        if self._placement is None:
            raise StateException(
                f"the runner {self.name!r} is not initialised: `bentoml serve` does that for a service's runners; "
                f"in a script or a notebook call `{self.name}.init_local()` first"
            )
        return self._placement

    # -- notebooks and tests ------------------------------------------------------------------------------------------

    def init_local(self, quiet: bool = False) -> None:
        """Load the model into this process, for notebooks and tests; calls run one by one and are not batched.

        Args:
            quiet: do not warn.

        Raises:
            StateException: it is initialised already.
        """
        if self._placement is not None:
            raise StateException(f"the runner {self.name!r} is initialised already; call destroy() first")
        if not quiet:
            logger.warning("init_local() is for development and tests: %s runs in this process, unbatched", self.name)
        local = InProcess(self.engine(current().runner(self.name)))
        local.load()
        self._placement = local

    def destroy(self) -> None:
        """Forget the placement; calling a method then raises until the runner is initialised again."""
        self._placement = None

    def __repr__(self) -> str:
        methods = ", ".join(handle.name for handle in self.runner_methods)
        return f"Runner(name={self.name!r}, methods=[{methods}])"


def _at_most(value: str, limit: int, name: str) -> str:
    return str(min(int(value), limit)) if name in THREAD_VARIABLES else value


def _checked_limits(owner: str, limits: Mapping[str, Any]) -> dict[str, Any]:
    for key, value in limits.items():
        if key not in _LIMITS:
            raise InvalidArgument(f"{owner}: {key!r} is no limit of a method; limits are {', '.join(_LIMITS)}")
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, _LIMITS[key]) or not value > 0:
            raise InvalidArgument(f"{owner}: {key} must be a positive number, not {value!r}")
    return {key: value for key, value in limits.items() if value is not None}
