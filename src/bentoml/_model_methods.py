"""The methods of a model: those that it has, and the Runnable class that offers those of its signatures."""

from __future__ import annotations

import difflib
import functools
import os
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import msgspec

from bentoml.exceptions import InvalidArgument
from bentoml.runner.runnable import Runnable
from bentoml.store.model import Model

__all__ = ["method_names", "model_runnable", "no_method", "rows_only"]

#: Methods that an error lists when none is spelt like the one that was asked for.
_LISTED_METHODS = 12

#: Loads the model in a worker: the native object, and for each signature what it calls.
Load = Callable[[], tuple[Any, Mapping[str, Callable[..., Any]]]]


def model_runnable(record: Model, load: Load, *, resources: tuple[str, ...], multi_threaded: bool) -> type[Runnable]:
    """The class of which a runner's workers make one instance each.

    Raises:
        InvalidArgument: the record has no signatures, or its option `partial_kwargs` has the wrong form or names a
            method that has no signature.
    """
    signatures = record.info.signatures
    if not signatures:
        raise InvalidArgument(
            f"{record} was saved without signatures, so a runner has nothing to call",
            hint='save it again with the methods to serve: signatures={"method": {"batchable": True}}',
        )
    bound = _partial_kwargs(record)

    class ModelRunnable(Runnable):
        SUPPORTED_RESOURCES: ClassVar[tuple[str, ...]] = resources
        SUPPORTS_CPU_MULTI_THREADING: ClassVar[bool] = multi_threaded

        def __init__(self) -> None:
            self.model, functions = load()
            for name, function in functions.items():
                # On the instance, so that the engine calls the model's own function with nothing in between.
                vars(self)[name] = functools.partial(function, **bound[name]) if name in bound else function

    for name, signature in signatures.items():
        ModelRunnable.add_method(_call_through(name), name, **msgspec.structs.asdict(signature))
    return ModelRunnable


def _partial_kwargs(record: Model) -> Mapping[str, Mapping[str, Any]]:
    """The option `partial_kwargs`: method → keyword arguments that every call of it gets."""
    bound = record.info.options.to_dict().get("partial_kwargs") or {}
    if not isinstance(bound, Mapping) or not all(isinstance(kwargs, Mapping) for kwargs in bound.values()):
        raise InvalidArgument(f"partial_kwargs of {record} must be {{method: {{argument: value}}}}, not {bound!r}")
    signatures = record.info.signatures
    for name in bound:
        if name not in signatures:
            raise InvalidArgument(
                f"partial_kwargs names {name!r}, which is no signature of {record}; it has {', '.join(signatures)}"
            )
    return bound


def _call_through(name: str) -> Callable[..., Any]:
    """The method on the class, for whoever calls an instance like `runnable(...)`."""

    def call(self: Runnable, *args: Any, **kwargs: Any) -> Any:
        return vars(self)[name](*args, **kwargs)

    call.__name__ = name
    return call


def no_method(native: Any, name: str) -> InvalidArgument:
    """The error of a signature that names no method of the model."""
    methods = method_names(native)
    near = difflib.get_close_matches(name, methods, n=3)
    return InvalidArgument(
        f"the signature {name!r} names no method of {type(native).__name__}",
        hint=f"did you mean {' or '.join(near)}?" if near else f"it has {', '.join(methods[:_LISTED_METHODS])}",
    )


def method_names(native: Any) -> list[str]:
    """The public methods of an object's class."""
    # Looked up on the class: a property of a model may raise, or compute for minutes.
    kind = type(native)
    return [name for name in dir(kind) if not name.startswith("_") and callable(getattr(kind, name, None))]


def rows_only(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, unless it is given a path: some libraries open the file that a text in the place of data names."""

    def call(*args: Any, **kwargs: Any) -> Any:
        data = args[0] if args else kwargs.get("data", kwargs.get("X"))
        if isinstance(data, (str, bytes, os.PathLike)):
            raise InvalidArgument(f"a model is called with rows, not with {type(data).__name__}")
        return function(*args, **kwargs)

    return call
