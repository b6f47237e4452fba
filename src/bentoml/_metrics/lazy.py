"""LazyMetric: declared at import, its series made at the first use; Scope: what its decorators return."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from functools import wraps
from types import TracebackType
from typing import Any, Generic, TypeVar

from bentoml._metrics.children import Child
from bentoml._metrics.declaration import declare
from bentoml._metrics.files import Kind
from bentoml._metrics.registry import DEFAULT, Family
from bentoml.exceptions import BentoMLException

__all__ = ["LazyMetric", "Scope"]

C = TypeVar("C", bound=Child)
Self = TypeVar("Self", bound="LazyMetric[Any]")
F = TypeVar("F", bound=Callable[..., Any])


class Scope:
    """A context manager that also decorates functions, plain and `async`; every call enters afresh."""

    def __init__(self, make: Callable[[], AbstractContextManager[None]]) -> None:
        self._make = make

    def __enter__(self) -> None:
        self._entered = self._make()
        self._entered.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._entered.__exit__(kind, error, traceback)

    def __call__(self, function: F) -> F:
        from inspect import iscoroutinefunction

        wrapper: Any
        if iscoroutinefunction(function):

            @wraps(function)
            async def wrapper(*args: Any, **kwargs: Any) -> Any:
                with self._make():
                    return await function(*args, **kwargs)
        else:

            @wraps(function)
            def wrapper(*args: Any, **kwargs: Any) -> Any:
                with self._make():
                    return function(*args, **kwargs)

        return wrapper  # type: ignore[no-any-return]  # the wrapper has the signature of what it wraps


class LazyMetric(Generic[C]):
    """A declared metric, or one of its series (`labels`); every update is safe across threads.

    Args:
        name: without the prefixes; letters, digits and underscores.
        documentation: the help text on `/metrics`.
        labelnames: give each update its values with `.labels(…)`; keep the number of distinct values small.
        namespace, subsystem, unit: the full name is `<namespace>_<subsystem>_<name>_<unit>`.
        registry: refused; there is one registry per server.

    Raises:
        ValueError: `registry` is given.
        BentoMLException: a name, label, bucket or mode breaks a rule of Prometheus. At the first use: another
            metric has that name, or an update lacks its labels.
    """

    _kind: Kind

    def __init__(
        self,
        name: str,
        documentation: str,
        labelnames: Iterable[str] = (),
        namespace: str = "",
        subsystem: str = "",
        unit: str = "",
        registry: None = None,
        **options: Any,
    ) -> None:
        if registry is not None:
            raise ValueError(f"the metric {name!r} cannot have a registry of its own: there is one for all processes")
        self._declaration = declare(
            self._kind,
            name,
            documentation,
            labelnames,
            namespace=namespace,
            subsystem=subsystem,
            unit=unit,
            **options,
        )
        self._proxy: Family[C] | None = None
        self._child: C | None = None

    def __repr__(self) -> str:
        return f"<{self._declaration}>"

    def labels(self: Self, *values: object, **named: object) -> Self:
        """The series with these label values, in the declared order or by name; cheaper to use when kept.

        Raises:
            BentoMLException: labels are missing or unknown.
        """
        series = object.__new__(type(self))
        series._declaration = self._declaration
        series._proxy = self._family()
        series._child = series._proxy.labels(*values, **named)
        return series

    def _family(self) -> Family[C]:
        if self._proxy is None:
            self._proxy = DEFAULT.add(self._declaration)
        return self._proxy

    def _bound(self) -> C:
        """The child to update: of `labels`, or the only one."""
        if self._child is None:
            if names := self._declaration.labelnames:
                raise BentoMLException(
                    f"this use of {self._declaration.name!r} lacks its labels ({', '.join(names)})",
                    hint=f".labels({', '.join(f'{name}=…' for name in names)}) comes first",
                )
            self._child = self._family().labels()
        return self._child
