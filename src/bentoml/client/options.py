"""How a client talks to its server: time-outs, retries, credentials; and the arguments of httpx that follow from it."""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

from bentoml._importing import require
from bentoml.exceptions import InvalidArgument

__all__ = ["Options", "Timeouts", "base_url", "httpx"]

#: Idle connections are closed by the client after this many seconds, before most servers and balancers do.
KEEP_ALIVE_S = 30.0


@dataclass(frozen=True, kw_only=True)
class Timeouts:
    """How long a call may take, in seconds. None: no limit of its own beside `total_s`.

    Attributes:
        total_s: the whole call with all its retries and pauses, up to the last byte of the answer; for a stream, up to
            its first byte. It is checked whenever bytes arrive.
        connect_s: until the connection stands, the TLS handshake included.
        read_s: without a byte of the answer.
        pool_s: until a connection of the pool is free.

    Raises:
        InvalidArgument: one of them is not above 0.
    """

    total_s: float = 300.0
    connect_s: float | None = 10.0
    read_s: float | None = None
    pool_s: float | None = None

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value is not None and not value > 0:
                raise InvalidArgument(f"the time-out {name} must be above 0 seconds, not {value!r}")

    def within(self, remaining_s: float) -> dict[str, float]:
        """The limits of one attempt, as httpx names them."""
        limits = {"connect": self.connect_s, "read": self.read_s, "write": None, "pool": self.pool_s}
        return {name: remaining_s if each is None else min(each, remaining_s) for name, each in limits.items()}


@dataclass(frozen=True, kw_only=True)
class Options:
    """What `from_url` takes; see there."""

    timeouts: Timeouts
    max_retries: int = 3
    max_connections: int = 100
    headers: Mapping[str, str] = field(default_factory=dict)
    verify: bool | str | ssl.SSLContext = True
    uds: str | None = None

    @classmethod
    def of(
        cls,
        *,
        timeout: float | Timeouts,
        api_key: str | None = None,
        headers: Mapping[str, str] | None = None,
        **others: Any,
    ) -> Options:
        """From the arguments as users give them.

        Raises:
            InvalidArgument: a time-out is not above 0.
        """
        given = dict(headers or {})
        if api_key is not None:
            given["authorization"] = f"Bearer {api_key}"
        timeouts = timeout if isinstance(timeout, Timeouts) else Timeouts(total_s=timeout)
        return cls(timeouts=timeouts, headers=given, **others)

    def with_context(self, url: str) -> Options:
        """A copy that reads the certificates now, once for all connections to this URL."""
        return replace(self, verify=_context(self.verify)) if url.startswith("https:") else self

    def arguments(self, url: str, transport: str, *, max_connections: int) -> dict[str, Any]:
        """Those of `httpx.Client` or `httpx.AsyncClient`; `transport` names the class that opens unix sockets."""
        library = httpx()
        limits = library.Limits(
            max_connections=max_connections,
            max_keepalive_connections=max_connections,
            keepalive_expiry=KEEP_ALIVE_S,
        )
        # Reading the certificates of the system takes longer than many calls; where there is no TLS nobody needs them.
        verify = _context(self.verify) if url.startswith("https:") else False
        arguments = {"headers": self.headers, "verify": verify, "limits": limits}
        if self.uds is not None:
            arguments["transport"] = getattr(library, transport)(uds=self.uds, verify=verify, limits=limits)
        return arguments


def httpx() -> ModuleType:
    """The library.

    Raises:
        MissingDependencyException: it is not installed.
    """
    return require("httpx", install="'makunouchi[client]'", what="bentoml.client")


def base_url(url: str, kind: str = "auto") -> str:
    """The URL of a server without a slash at its end; `http://` is added where no scheme is named.

    Raises:
        InvalidArgument: it is not the URL of an HTTP server, or another kind of server is asked for.
    """
    if kind not in ("auto", "http"):
        raise InvalidArgument(f"there is no client of kind {kind!r}", hint="kind='http'")
    given = url if re.match(r"\w+://", url) else f"http://{url}"
    try:
        parts = urlsplit(given)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:  # a port that is no number, half an IPv6 address
        valid = False
    if not valid or parts.query or parts.fragment:
        raise InvalidArgument(f"{url!r} is not the URL of an HTTP server", hint="for instance http://localhost:3000")
    return given.rstrip("/")


def _context(verify: bool | str | ssl.SSLContext) -> ssl.SSLContext:
    if isinstance(verify, str):
        return ssl.create_default_context(cafile=verify)
    context: ssl.SSLContext = verify if isinstance(verify, ssl.SSLContext) else httpx().create_ssl_context(verify)
    return context
