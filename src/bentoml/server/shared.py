"""Shared: what the connections of one listener have in common; Handler: what they ask for answers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from bentoml._http import RawHeader, Request, Response
from bentoml.server.limits import Limits

__all__ = ["Handler", "Rejected", "Shared"]

#: Answers a request whose body has been read: at once, or with something to await.
Handler = Callable[[Request], Response | Awaitable[Response]]
#: Makes the answer to bytes that will not be served, of its status, what was wrong, and the header fields that came.
Rejected = Callable[[int, str, list[RawHeader]], Response]


class Shared:
    """What all connections of one listener share.

    Attributes:
        now_s: the loop's clock as of the last sweep.
        stamp: the header fields of this second, see `http1.stamp`.
        draining: each answer is the last one of its connection.
        crowded: no further connection can be accepted, so that idle ones must go.
        bodies_bytes: what has arrived of all incomplete bodies.
    """

    __slots__ = (
        "bodies_bytes", "crowded", "draining", "handler", "limits", "loop", "now_s", "on_closed", "on_late",
        "on_opened", "on_rejected", "scheme", "stamp",
    )  # fmt: skip

    def __init__(
        self,
        handler: Handler,
        *,
        limits: Limits,
        loop: asyncio.AbstractEventLoop,
        scheme: str,
        on_rejected: Rejected,
        on_late: Callable[[Request], Response],
        on_opened: Callable[[asyncio.Protocol], object],
        on_closed: Callable[[asyncio.Protocol], object],
    ) -> None:
        self.handler = handler
        self.limits = limits
        self.loop = loop
        self.scheme = scheme
        self.on_rejected = on_rejected
        self.on_late = on_late
        self.on_opened = on_opened
        self.on_closed = on_closed
        self.now_s = loop.time()
        self.stamp = b""
        self.draining = self.crowded = False
        self.bodies_bytes = 0

    def fields(self, *, keep_alive: bool, http11: bool) -> bytes:
        """The header lines that the server adds to an answer to a request of HTTP/1.1 or 1.0."""
        if not keep_alive:
            return self.stamp + b"connection: close\r\n"
        return self.stamp if http11 else self.stamp + b"connection: keep-alive\r\n"
