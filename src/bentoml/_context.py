"""Context: what an API function may see of its request and change of its response."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from http.cookies import SimpleCookie
from typing import Any, NamedTuple

from bentoml._http import Headers, QueryParams, Request
from bentoml._trace_context import format_traceparent, new_span_id, new_trace_id, parse_traceparent

__all__ = [
    "Context",
    "Cookie",
    "Identity",
    "ModelTiming",
    "current_request_id",
    "identify",
    "identity",
    "model_timings",
    "trace_of",
]


class ModelTiming(NamedTuple):
    """How one model call of a request spent its time, in seconds; `rows` is the size of the batch that it was in.

    Attributes:
        sealed_at: when its batch left the queue; as `started_at` on the monotonic clock, which the processes of one
            machine share.
        started_at: when the model began with it.
    """

    runner: str
    method: str
    queue_s: float
    compute_s: float
    rows: int
    sealed_at: float
    started_at: float


#: Where the model calls of the current request note their timings; None (the default): nobody asked.
model_timings: ContextVar[list[ModelTiming] | None] = ContextVar("model_timings", default=None)

#: The id of the current request, as it is answered in `x-bentoml-request-id`; what it does is done under this id.
current_request_id: ContextVar[int | None] = ContextVar("current_request_id", default=None)


class Identity(NamedTuple):
    """Who this process is to those who read what it wrote.

    Attributes:
        worker: its index among the API workers, from 1; in a runner worker behind the runner's name; `0` elsewhere.
        bento_name, bento_version: of what is served.
    """

    worker: str = "0"
    bento_name: str = ""
    bento_version: str = ""


_identity = Identity()


def identity() -> Identity:
    """What `identify` was told."""
    return _identity


def identify(told: Identity) -> None:
    """Say who this process is; a worker does so once."""
    global _identity
    _identity = told


def trace_of(request: Request) -> tuple[int, bool]:
    """The trace of a request, that of its `traceparent` or a new one; and whether the caller samples it."""
    trace = request.trace
    if trace is None:
        sent = request.header(b"traceparent")
        parent = parse_traceparent(sent) if sent else None
        trace = request.trace = (parent[0], parent[2]) if parent is not None else (new_trace_id(), False)
    return trace


@dataclass(frozen=True)
class Cookie:
    """One cookie that the response will set.

    Attributes:
        max_age: seconds until the browser forgets it.
        expires: seconds from now, or an HTTP date.
        samesite: `"strict"`, `"lax"`, `"none"`, or None to leave the attribute out.
    """

    key: str
    value: str
    max_age: int | None = None
    expires: int | str | None = None
    path: str | None = "/"
    domain: str | None = None
    secure: bool = False
    httponly: bool = False
    samesite: str | None = "lax"

    def header_value(self) -> str:
        """The value of the `Set-Cookie` header.

        Raises:
            ValueError: `samesite` is none of strict, lax, none.
        """
        cookie: SimpleCookie = SimpleCookie()
        cookie[self.key] = self.value
        morsel = cookie[self.key]
        given = (("max-age", self.max_age), ("expires", self.expires), ("path", self.path), ("domain", self.domain))
        for name, value in given:
            if value is not None:
                morsel[name] = value
        if self.samesite is not None:
            if self.samesite.lower() not in ("strict", "lax", "none"):
                raise ValueError(f"samesite must be 'strict', 'lax' or 'none', not {self.samesite!r}")
            morsel["samesite"] = self.samesite
        if self.secure:
            morsel["secure"] = True
        if self.httponly:
            morsel["httponly"] = True
        return morsel.OutputString()


class RequestContext:
    """The request half of a context: read only."""

    __slots__ = ("_request",)

    def __init__(self, request: Request) -> None:
        self._request = request

    @property
    def headers(self) -> Headers:
        """Case-insensitive multimap of the request's header fields."""
        return self._request.headers

    metadata = headers

    @property
    def query_params(self) -> QueryParams:
        """The decoded query string."""
        return self._request.query_params

    @property
    def method(self) -> str:
        """`"POST"` for every API route."""
        return self._request.method

    @property
    def path(self) -> str:
        """The path as routed, percent-decoded."""
        return self._request.path

    @property
    def request_id(self) -> int:
        """The number that the answer carries as `X-BentoML-Request-ID`; in the log it is the span."""
        request = self._request
        request.request_id = request.request_id or new_span_id()
        return request.request_id

    @property
    def trace_id(self) -> str:
        """The trace that the request belongs to, as 32 hexadecimal digits: the caller's, else a new one."""
        return f"{trace_of(self._request)[0]:032x}"

    @property
    def traceparent(self) -> str:
        """What to send as the header `traceparent` to another service, so that its part is found in the same trace."""
        trace_id, sampled = trace_of(self._request)
        return format_traceparent(trace_id, self.request_id, sampled)


class ResponseContext:
    """The response half of a context: what the function sets here is sent with its answer."""

    __slots__ = ("cookies", "headers", "status_code")

    def __init__(self) -> None:
        self.headers = Headers()
        self.status_code = 200
        self.cookies: list[Cookie] = []

    @property
    def metadata(self) -> Headers:
        """The same as `headers`."""
        return self.headers

    def set_cookie(
        self,
        key: str,
        value: str,
        max_age: int | None = None,
        expires: int | str | None = None,
        path: str | None = "/",
        **attributes: Any,
    ) -> None:
        """Set a cookie with the response.

        Args:
            max_age: seconds until the browser forgets it.
            expires: seconds from now, or an HTTP date.
            attributes: further fields of `Cookie`: domain, secure, httponly, samesite.

        Raises:
            TypeError: an attribute that a cookie does not have.
        """
        self.cookies.append(Cookie(key, value, max_age, expires, path, **attributes))


class Context:
    """The second argument of an API function that asks for it.

    Attributes:
        request: headers, query parameters, method and path of the request.
        response: headers, status code and cookies of the answer; the status is 200 unless the function sets it.
        state: one dictionary per process, filled by `on_startup` hooks.
    """

    __slots__ = ("request", "response", "state")

    def __init__(self, request: Request, state: dict[str, Any] | None = None) -> None:
        self.request = RequestContext(request)
        self.response = ResponseContext()
        self.state = state if state is not None else {}
