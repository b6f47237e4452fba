"""CORS: which pages of other sites may read answers, by the rules of the Fetch standard.

    preflight (OPTIONS with Access-Control-Request-Method) ──▶ 200 or 400, here
    anything else ──▶ the handler inside ──▶ its answer, with the fields that let the page read it

Source: https://fetch.spec.whatwg.org/#http-cors-protocol
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable

from bentoml._http import Request, Response
from bentoml.config.http import Cors, listed
from bentoml.server.shared import Handler

__all__ = ["CorsPolicy", "cors_layer"]

#: What a page may send without asking; with these values a browser asks nevertheless.
_SAFE_HEADERS = ("accept", "accept-language", "content-language", "content-type")
_USUAL_METHODS = ("GET", "HEAD", "POST")
_ALL_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_MAX_AGE_S = 600
_OWN_FIELDS = frozenset(
    (b"access-control-allow-origin", b"access-control-allow-credentials", b"access-control-expose-headers")
)
_VARY = (b"vary", b"origin")


class CorsPolicy:
    """What the configuration permits, brought into the form in which requests ask for it.

    Args:
        key_headers: header fields that carry API keys, lower case; a page may send them unless the configuration lists
            header fields itself.

    Attributes:
        varies: each origin gets an answer of its own, and a cache must keep them apart; else `*` is for everybody.
    """

    def __init__(self, config: Cors, *, key_headers: tuple[str, ...] = ()) -> None:
        origins = listed(config.access_control_allow_origins)
        self._all_origins = "*" in origins
        self._origins = frozenset(origin.encode() for origin in origins)
        pattern = config.access_control_allow_origin_regex
        self._pattern = re.compile(pattern.encode()) if pattern else None
        self._credentials = bool(config.access_control_allow_credentials)
        self.varies = not self._all_origins or self._credentials
        methods = listed(config.access_control_allow_methods) or _USUAL_METHODS
        self._methods = frozenset(_ALL_METHODS if "*" in methods else (method.upper() for method in methods))
        headers = listed(config.access_control_allow_headers) or key_headers
        self._all_headers = "*" in headers
        self._headers = frozenset(_SAFE_HEADERS) | {header.lower() for header in headers}
        max_age = config.access_control_max_age
        self._max_age_s = _MAX_AGE_S if max_age is None else max_age
        self._expose = ", ".join(listed(config.access_control_expose_headers)).encode()

    def permits(self, origin: bytes) -> bool:
        """Whether pages of this origin may read answers."""
        return (
            self._all_origins
            or origin in self._origins
            or (self._pattern is not None and self._pattern.fullmatch(origin) is not None)
        )

    def preflight(self, request: Request) -> Response:
        """The answer to a browser that asks whether it may send a request."""
        wanted_method = request.header(b"access-control-request-method").decode("latin-1")
        wanted_headers = listed(request.header(b"access-control-request-headers").decode("latin-1").lower())
        origin = request.header(b"origin")
        refused = [
            what
            for what, is_permitted in (
                ("origin", self.permits(origin)),
                ("method", wanted_method in self._methods),
                ("headers", self._all_headers or self._headers.issuperset(wanted_headers)),
            )
            if not is_permitted
        ]
        if refused:
            vary = [_VARY] if self.varies else []
            return Response(f"Disallowed CORS {', '.join(refused)}".encode(), status=400, raw_headers=vary)
        # `*` would mean a header of that name to a browser that sends credentials.
        headers = wanted_headers if self._all_headers else sorted(self._headers)
        response = Response(b"OK")
        self.permit(origin, response)
        response.raw_headers += [
            (b"access-control-allow-methods", ", ".join(sorted(self._methods)).encode()),
            (b"access-control-allow-headers", ", ".join(headers).encode("latin-1")),
            (b"access-control-max-age", b"%d" % self._max_age_s),
        ]
        return response

    def permit(self, origin: bytes, response: Response) -> None:
        """Add to an answer what lets a page of this origin read it, if it may."""
        fields = response.raw_headers
        if self.varies:
            fields.append(_VARY)
        if not origin or not self.permits(origin):
            return
        # The configuration has the last word over what a function or a mounted app has set: two values are none.
        fields[:] = [field for field in fields if field[0] not in _OWN_FIELDS]
        fields.append((b"access-control-allow-origin", origin if self.varies else b"*"))
        if self._credentials:
            fields.append((b"access-control-allow-credentials", b"true"))
        if self._expose:
            fields.append((b"access-control-expose-headers", self._expose))


def cors_layer(policy: CorsPolicy) -> Callable[[Handler], Handler]:
    """The layer that answers preflights and lets pages read all other answers."""

    def around(inner: Handler) -> Handler:
        async def permitted(request: Request, origin: bytes) -> Response:
            answer = inner(request)
            response = answer if isinstance(answer, Response) else await answer
            policy.permit(origin, response)
            return response

        def handle(request: Request) -> Response | Awaitable[Response]:
            origin = request.header(b"origin")
            if origin and request.method == "OPTIONS" and request.header(b"access-control-request-method"):
                return policy.preflight(request)
            if not origin and not policy.varies:
                return inner(request)
            return permitted(request, origin)

        return handle

    return around
