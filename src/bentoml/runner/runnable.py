"""Runnable: the class of which a runner's workers hold one instance each, and the marks on its methods."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, ClassVar, Generic, TypeVar, overload

from bentoml.exceptions import BentoMLException
from bentoml.types import ModelSignature

__all__ = ["Runnable", "RunnableMethod"]


class RunnableMethod:
    """A method that a runner offers: the function and its signature. Calling it on an instance calls the function."""

    __slots__ = ("func", "idempotent", "is_coroutine", "name", "signature", "streaming")

    def __init__(self, func: Callable[..., Any], signature: ModelSignature, *, idempotent: bool = False) -> None:
        self.func = func
        self.signature = signature
        self.idempotent = idempotent
        self.name = getattr(func, "__name__", "")
        bare = inspect.unwrap(func)
        self.is_coroutine = inspect.iscoroutinefunction(bare) or inspect.isasyncgenfunction(bare)
        self.streaming = inspect.isgeneratorfunction(func) or inspect.isasyncgenfunction(func)

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name
        # Each class has a table of its own, so that a subclass never adds to its parent's.
        if "bentoml_runnable_methods__" not in vars(owner):
            owner.bentoml_runnable_methods__ = dict(getattr(owner, "bentoml_runnable_methods__", {}))  # type: ignore[attr-defined]  # declared on Runnable
        owner.bentoml_runnable_methods__[name] = self  # type: ignore[attr-defined]  # declared on Runnable

    def __get__(self, instance: object | None, owner: type) -> Any:
        return self if instance is None else self.func.__get__(instance, owner)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.func(*args, **kwargs)


_Function = TypeVar("_Function", bound=Callable[..., Any])


class _ClassOnly(Generic[_Function]):
    """Something that stands on the class and must not be reached through an instance."""

    def __init__(self, func: _Function, name: str, *, bind: bool) -> None:
        self._func, self._name, self._bind = func, name, bind
        self.__doc__ = func.__doc__

    def __get__(self, instance: object | None, owner: type) -> _Function:
        if instance is not None:
            raise BentoMLException(f"{owner.__name__}.{self._name} belongs to the class, not to its instances")
        bound: _Function = functools.partial(self._func, owner) if self._bind else self._func  # type: ignore[assignment]  # without its first parameter
        return bound


@overload
def _method(func: Callable[..., Any], /) -> RunnableMethod: ...
@overload
def _method(
    *,
    batchable: bool = False,
    batch_dim: int | tuple[int, int] = 0,
    input_spec: Any = None,
    output_spec: Any = None,
    idempotent: bool = False,
) -> Callable[[Callable[..., Any]], RunnableMethod]: ...
def _method(
    func: Callable[..., Any] | None = None,
    /,
    *,
    batchable: bool = False,
    batch_dim: int | tuple[int, int] = 0,
    input_spec: Any = None,
    output_spec: Any = None,
    idempotent: bool = False,
) -> Any:
    """Offer a method to the runner; use it bare or with arguments.

    Args:
        batchable: whether the arguments of several requests may be joined along `batch_dim` into one call.
        batch_dim: the axis of inputs and outputs, or a pair (inputs, outputs).
        input_spec: reserved.
        output_spec: reserved.
        idempotent: whether a call may be made twice: where the worker process that had it dies, it is sent once more,
            to another worker or to the restarted one. Otherwise its caller gets a ServiceUnavailable (503) at once, as
            nobody knows whether the call took effect.
    """
    if func is not None:
        return RunnableMethod(func, ModelSignature())
    spec = {
        "batchable": batchable,
        "batch_dim": batch_dim,
        "input_spec": input_spec,
        "output_spec": output_spec,
    }
    return lambda wrapped: RunnableMethod(wrapped, ModelSignature.of(wrapped.__name__, spec), idempotent=idempotent)


def _add_method(
    cls: type[Runnable],
    method: Callable[..., Any],
    name: str,
    *,
    batchable: bool = False,
    batch_dim: int | tuple[int, int] = 0,
    input_spec: Any = None,
    output_spec: Any = None,
    idempotent: bool = False,
) -> None:
    """Offer a function as the method `name`; its first parameter is the instance.

    Args:
        batchable, batch_dim, input_spec, output_spec, idempotent: as for `Runnable.method`.
    """
    spec = {
        "batchable": batchable,
        "batch_dim": batch_dim,
        "input_spec": input_spec,
        "output_spec": output_spec,
    }
    offered = RunnableMethod(method, ModelSignature.of(name, spec), idempotent=idempotent)
    setattr(cls, name, offered)
    offered.__set_name__(cls, name)


class Runnable:
    """Base of everything that a runner can run: heavy state is made in `__init__`, once per worker.

    Class attributes:
        SUPPORTED_RESOURCES: of `"cpu"`, `"nvidia.com/gpu"`; what an instance can make use of.
        SUPPORTS_CPU_MULTI_THREADING: whether one call uses several cores, so that one worker is enough for all of them.
    """

    SUPPORTED_RESOURCES: ClassVar[tuple[str, ...]] = ("cpu",)
    SUPPORTS_CPU_MULTI_THREADING: ClassVar[bool] = False
    bentoml_runnable_methods__: ClassVar[dict[str, RunnableMethod]] = {}

    method = _ClassOnly(_method, "method", bind=False)
    add_method = _ClassOnly[Callable[..., None]](_add_method, "add_method", bind=True)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("SUPPORTED_RESOURCES", "SUPPORTS_CPU_MULTI_THREADING"):
            raise BentoMLException(
                f"{name} is read from the class {type(self).__name__} before any instance exists; set it there"
            )
        super().__setattr__(name, value)
