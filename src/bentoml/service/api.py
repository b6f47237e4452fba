"""API: one function of a service with its route and descriptors; every rule is checked when it is declared."""

from __future__ import annotations

import inspect
import keyword
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

from bentoml._context import Context
from bentoml.exceptions import InvalidArgument
from bentoml.io.descriptor import IODescriptor

__all__ = ["RESERVED_NAMES", "InferenceAPI"]

#: Routes that the server answers itself.
RESERVED_NAMES = frozenset({"index", "swagger", "docs", "metrics", "healthz", "livez", "readyz"})


class InferenceAPI:
    """One function behind one route.

    Args:
        function: takes the value that `input` makes of a request and, if it has a second parameter, a Context;
            returns what `output` takes. A coroutine function runs on the event loop, any other in a thread.
            For an input with fields (`Multipart`) it takes one parameter for each of them, by name, and may take
            one more for the Context, named `ctx` or `context` or annotated so.
        name: defaults to the function's name.
        doc: defaults to the function's docstring.
        route: defaults to the name; a leading slash may be left out.

    Raises:
        InvalidArgument: the name or the route is not allowed.
        ValueError: the function takes no parameter, or more than two; or not those that the fields ask for.
        TypeError: a parameter's annotation contradicts the descriptor or the Context.
    """

    __slots__ = (
        "context_name", "doc", "function", "input", "is_async", "is_streaming", "name", "needs_context", "output",
        "route",
    )  # fmt: skip

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        input: IODescriptor[Any],
        output: IODescriptor[Any],
        name: str | None = None,
        doc: str | None = None,
        route: str | None = None,
    ) -> None:
        inner = _unwrapped(function)
        self.name = _checked_name(name if name is not None else getattr(inner, "__name__", ""))
        self.route = _checked_route(route if route is not None else self.name)
        self.doc = doc if doc is not None else inspect.cleandoc(getattr(inner, "__doc__", None) or "")
        self.function = function
        self.input = _checked_descriptor(input, self.name, "input")
        self.output = _checked_descriptor(output, self.name, "output")
        #: The parameter for the Context among those that are passed by name; None where there is none.
        self.context_name = _context_name(function, input.fields, self.name) if input.fields is not None else None
        self.needs_context = (
            self.context_name is not None if input.fields is not None else _takes_context(function, input, self.name)
        )
        called = inner if inspect.isroutine(inner) else type(inner).__call__
        self.is_streaming = inspect.isasyncgenfunction(called)
        self.is_async = inspect.iscoroutinefunction(called)

    def __repr__(self) -> str:
        return (
            f"InferenceAPI(POST {self.route}: {type(self.input).__name__} → {type(self.output).__name__}, "
            f"{'async' if self.is_async else 'sync'})"
        )


def _unwrapped(function: Callable[..., Any]) -> Any:
    inner: Any = function
    while hasattr(inner, "func") and not inspect.isroutine(inner):
        inner = inner.func
    return inspect.unwrap(inner)


def _checked_name(name: str) -> str:
    if not name.isidentifier() or keyword.iskeyword(name):
        raise InvalidArgument(f"the API name {name!r} is not a Python identifier", hint="pass name='...' to @svc.api")
    if name in RESERVED_NAMES:
        raise InvalidArgument(
            f"the API name {name!r} is reserved for the server's own routes", hint="pass another name='...' to @svc.api"
        )
    return name


def _checked_route(route: str) -> str:
    if any(c in "?#{}" or not c.isprintable() for c in route) or route.startswith(("//", ":")):
        raise InvalidArgument(
            f"the route {route!r} must be a path without '?', '#', braces and control characters, "
            "not beginning with '//' or ':'"
        )
    bare = route.strip("/")
    if bare in RESERVED_NAMES or bare in ("", "docs.json") or bare.startswith("static_content/"):
        raise InvalidArgument(f"the route {route!r} is reserved for the server's own pages", hint="pass another route")
    return route if route.startswith("/") else f"/{route}"


def _checked_descriptor(descriptor: Any, name: str, side: str) -> IODescriptor[Any]:
    if not isinstance(descriptor, IODescriptor):
        raise InvalidArgument(
            f"the {side} of the API {name!r} must be a descriptor of bentoml.io, not {descriptor!r}",
            hint=f"{side}=JSON()" if not isinstance(descriptor, type) else f"{side}={descriptor.__name__}()",
        )
    return descriptor


def _takes_context(function: Callable[..., Any], descriptor: IODescriptor[Any], name: str) -> bool:
    parameters = [
        parameter
        for parameter in inspect.signature(function).parameters.values()
        if parameter.kind not in (parameter.VAR_KEYWORD, parameter.KEYWORD_ONLY)
    ]
    if not 1 <= len(parameters) <= 2:
        raise ValueError(
            f"the API function {name!r} must take one parameter for its input and may take a second for the Context; "
            f"it takes {len(parameters)}"
        )
    annotation = parameters[0].annotation
    if not _compatible(annotation, descriptor.input_type()):
        raise TypeError(
            f"the API function {name!r} expects {annotation!r}, and {type(descriptor).__name__} "
            f"gives it {descriptor.input_type()!r}"
        )
    if len(parameters) == 1:
        return False
    second = parameters[1].annotation
    if isinstance(second, type) and second is not inspect.Parameter.empty and not issubclass(second, Context):
        raise TypeError(f"the second parameter of the API function {name!r} must be a bentoml.Context, not {second!r}")
    return True


def _context_name(function: Callable[..., Any], fields: Mapping[str, IODescriptor[Any]], name: str) -> str | None:
    """The parameter that takes the Context beside the fields; all others must be the fields, and the reverse."""
    parameters = inspect.signature(function).parameters
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    named = [
        parameter
        for parameter in parameters.values()
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    ]
    further = [parameter for parameter in named if parameter.name not in fields]
    contexts = [each for each in further if _is_context(each)]
    missing = [] if takes_any else sorted(set(fields) - {parameter.name for parameter in named})
    unknown = [each.name for each in further if each not in contexts and each.default is each.empty]
    if missing or unknown or len(contexts) > 1:
        raise ValueError(
            f"the API function {name!r} must take the fields of its input as parameters: {', '.join(fields)}; "
            + "; ".join(
                text
                for text in (
                    f"it does not take {', '.join(missing)}" if missing else "",
                    f"no field is called {', '.join(unknown)}" if unknown else "",
                    "it takes two contexts" if len(contexts) > 1 else "",
                )
                if text
            )
        )
    for parameter in named:
        if parameter.name in fields and not _compatible(parameter.annotation, fields[parameter.name].input_type()):
            raise TypeError(
                f"the API function {name!r} expects {parameter.annotation!r} for {parameter.name!r}, and "
                f"{type(fields[parameter.name]).__name__} gives it {fields[parameter.name].input_type()!r}"
            )
    return contexts[0].name if contexts else None


def _is_context(parameter: inspect.Parameter) -> bool:
    annotation = parameter.annotation
    if isinstance(annotation, type) and annotation is not parameter.empty:
        return issubclass(annotation, Context)
    if isinstance(annotation, str) and annotation.rpartition(".")[2] == "Context":
        return True
    return parameter.name in ("ctx", "context")


def _compatible(annotation: Any, given: Any) -> bool:
    """Whether two types may meet: one derives from the other, or a member of a union does. What is no class may."""
    if annotation is inspect.Parameter.empty or annotation is Any or given is Any:
        return True
    for side, other in ((annotation, given), (given, annotation)):
        if typing.get_origin(side) in (typing.Union, types.UnionType):
            return any(_compatible(member, other) for member in typing.get_args(side))
    annotation = typing.get_origin(annotation) or annotation
    given = typing.get_origin(given) or given
    if not (isinstance(annotation, type) and isinstance(given, type)):
        return True
    return issubclass(annotation, given) or issubclass(given, annotation)
