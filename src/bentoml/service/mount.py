"""Mount and Middleware: what a service takes in beside its own APIs; the rules are checked when it is declared."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

from bentoml.exceptions import InvalidArgument
from bentoml.service.api import RESERVED_NAMES

__all__ = ["Middleware", "Mount", "checked_middleware", "checked_mount"]


class Mount(NamedTuple):
    """An application that answers below a path."""

    app: Any
    path: str
    name: str
    interface: Literal["asgi", "wsgi"]

    def __str__(self) -> str:
        return f"the {self.interface.upper()} application {self.name} mounted at {self.path}"


class Middleware(NamedTuple):
    """`cls(app, **options)` makes an ASGI application around another one."""

    cls: Callable[..., Any]
    options: Mapping[str, Any]

    @property
    def name(self) -> str:
        """What messages call it."""
        return _name_of(self.cls)


def checked_mount(app: Any, path: str, name: str | None, interface: Literal["asgi", "wsgi"]) -> Mount:
    """The mount.

    Raises:
        InvalidArgument: the application is none, or the path is not one or belongs to the server.
    """
    if inspect.isclass(app) or not callable(app):
        raise InvalidArgument(
            f"an {interface.upper()} application is a function or another object that can be called, not {app!r}",
            hint=f"{app.__name__}()" if inspect.isclass(app) else f"svc.mount_{interface}_app(app, path=…)",
        )
    bare = path.strip("/")
    if any(c in "?#{}%" or not c.isprintable() for c in path) or "//" in path:
        raise InvalidArgument(
            f"the path {path!r} of a mount must be without '?', '#', '%', braces, control characters and empty parts"
        )
    if bare in RESERVED_NAMES or bare == "docs.json" or f"{bare}/".startswith("static_content/"):
        raise InvalidArgument(f"the path {path!r} is reserved for the server's own pages", hint="mount at another path")
    return Mount(app, f"/{bare}", name or _name_of(app), interface)


def checked_middleware(cls: Any, options: Mapping[str, Any]) -> Middleware:
    """The middleware.

    Raises:
        InvalidArgument: it cannot be called.
    """
    if not callable(cls):
        raise InvalidArgument(
            f"an ASGI middleware is a class, or a function, that takes an application; {cls!r} is neither"
        )
    return Middleware(cls, dict(options))


def _name_of(called: Any) -> str:
    return str(getattr(called, "__name__", type(called).__name__))
