"""Mounts and middlewares of a service: other applications beside its APIs, and applications around all of it."""

from __future__ import annotations

from collections.abc import Iterable

from bentoml._threads import Threads
from bentoml.exceptions import BentoMLException
from bentoml.server.asgi import AsgiApp, AsgiHandler
from bentoml.server.asgi_app import HandlerApp
from bentoml.server.endpoint import EndpointHandler
from bentoml.server.shared import Handler
from bentoml.server.wsgi import WsgiHandler
from bentoml.service.mount import Middleware, Mount

__all__ = ["Middlewares", "mount_handler", "mount_of"]


class Middlewares:
    """The layer of the user's ASGI middlewares; the first that was declared is the outermost.

    Raises:
        BentoMLException: a middleware cannot be made of its options.
    """

    def __init__(self, middlewares: Iterable[Middleware], *, body_bytes: int) -> None:
        self._middlewares = list(middlewares)
        self._body_bytes = body_bytes

    def __call__(self, inner: Handler) -> AsgiHandler:
        """The handler with the middlewares around it."""
        app: AsgiApp = HandlerApp(inner, body_bytes=self._body_bytes)
        for middleware in reversed(self._middlewares):
            try:
                app = middleware.cls(app, **middleware.options)
            except Exception as error:  # the border to foreign code: says which one it was
                raise BentoMLException(
                    f"the middleware {middleware.name} cannot be made: {type(error).__name__}: {error}",
                    hint=f"svc.add_asgi_middleware(cls, **options) calls {middleware.name}(app, **options)",
                ) from error
        return AsgiHandler(app, name="the middlewares of the service")


def mount_handler(mount: Mount, threads: Threads) -> AsgiHandler | WsgiHandler:
    """What answers the requests below the path of a mount."""
    root_path = mount.path.rstrip("/")
    if mount.interface == "wsgi":
        return WsgiHandler(mount.app, name=str(mount), root_path=root_path, threads=threads)
    return AsgiHandler(mount.app, name=str(mount), root_path=root_path)


def mount_of(path: str, mounts: Iterable[tuple[str, EndpointHandler]]) -> tuple[str, EndpointHandler] | None:
    """The first of the mounts, longest path first, that has `path` below it."""
    for mounted in mounts:
        prefix = mounted[0].rstrip("/")
        if path.startswith(prefix) and path[len(prefix) : len(prefix) + 1] in ("/", "") and path[:1] == "/":
            return mounted
    return None
