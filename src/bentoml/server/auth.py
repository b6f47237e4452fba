"""API keys: who asks for anything but a probe must carry one, or be let in by a function of the user's.

What a request may carry, and what it opens:

    Authorization: Bearer <key>, or X-API-Key: <key>      everything
    Authorization: Basic with the key as password         GET and HEAD, for a browser that opens a page

A browser cannot be told to send a Bearer key when it opens a page, but it can ask its user for a password. It then
sends that password along by itself, also with a form that a page of another site submits; hence not for POST, with
which APIs are called.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import importlib
import inspect
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any

from bentoml._context import RequestContext
from bentoml._http import Request, Response
from bentoml.config.http import Auth
from bentoml.exceptions import BentoMLConfigException
from bentoml.server.errors import error_response
from bentoml.server.http1 import json_string
from bentoml.server.shared import Handler
from bentoml.service.openapi import PROBES

__all__ = ["KEY_HEADERS", "ApiKeys", "Refused", "auth_layer"]

#: The header fields that carry keys, as a page of another site would ask for them.
KEY_HEADERS = ("authorization", "x-api-key")
#: Finishes and notes an answer that the layer gives itself; with the request's id.
Refused = Callable[[Request, Response, int], Response]
#: Answers whether a request may pass; awaitable where the function of the user is.
_Check = Callable[[Request], Any]

_EXPECTED = "expected `Authorization: Bearer <key>` or `X-API-Key: <key>`"


class ApiKeys:
    """The keys, kept as digests: whatever is presented is compared with all of them in the same time.

    Args:
        keys: at least one; none is empty.
    """

    def __init__(self, keys: Iterable[str]) -> None:
        self._digests = [_digest(key.encode()) for key in keys]

    def permit(self, request: Request) -> bool:
        """Whether the request carries one of the keys."""
        return any([self._is_known(key) for key in _presented(request)])

    def _is_known(self, key: bytes) -> bool:
        digest = _digest(key)
        # A list, not a generator, which would stop at the key that fits and so tell how far down it stands.
        return any([hmac.compare_digest(digest, known) for known in self._digests])


def auth_layer(config: Auth, *, new_id: Callable[[], int], refused: Refused) -> Callable[[Handler], Handler]:
    """The layer that lets nobody pass but to the probes whom `config` does not permit.

    Raises:
        BentoMLConfigException: `config.callable` cannot be imported, or called.
    """
    if config.api_keys is not None:
        check: _Check = ApiKeys(config.api_keys).permit
        is_async = False
    else:
        assert config.callable is not None
        check, is_async = _own_check(config.callable)
    has_keys = config.api_keys is not None

    def refuse(request: Request, error: Exception | None = None) -> Response:
        request_id = new_id()
        if error is not None:
            response = error_response(error, request, request_id)
        else:
            response = json_string(f"this server asks for an API key: {_EXPECTED}", status=401)
        if response.status == 401:
            response.raw_headers.append((b"www-authenticate", b"Bearer"))
            if has_keys and _is_page(request):
                # A line of its own: Chromium takes a line for one challenge, and does not ask for what comes second.
                response.raw_headers.append((b"www-authenticate", b'Basic realm="API key as password"'))
        return refused(request, response, request_id)

    def around(inner: Handler) -> Handler:
        def handle(request: Request) -> Response | Awaitable[Response]:
            if request.path in PROBES:
                return inner(request)
            try:
                permitted = check(request)
            except Exception as error:  # noqa: BLE001 - the border of the user's function; whatever it is, nobody passes
                return refuse(request, error)
            return inner(request) if permitted else refuse(request)

        async def handle_async(request: Request) -> Response:
            if request.path not in PROBES:
                try:
                    permitted = await check(request)
                except Exception as error:  # noqa: BLE001 - as above
                    return refuse(request, error)
                if not permitted:
                    return refuse(request)
            answer = inner(request)
            return answer if isinstance(answer, Response) else await answer

        return handle_async if is_async else handle

    return around


def _presented(request: Request) -> Iterator[bytes]:
    """Every key that the request carries."""
    for name, value in request.raw_headers:
        if name == b"x-api-key":
            yield value
        elif name == b"authorization":
            scheme, _, credentials = value.partition(b" ")
            if scheme.lower() == b"bearer":
                yield credentials.strip()
            elif scheme.lower() == b"basic" and request.method in ("GET", "HEAD"):
                yield _password(credentials)


def _password(credentials: bytes) -> bytes:
    try:
        return base64.b64decode(credentials, validate=True).partition(b":")[2]
    except binascii.Error:
        return b""


def _is_page(request: Request) -> bool:
    """Whether a browser wants to show a page: only then may it ask for a password, and not when a script wants data."""
    return request.method == "GET" and b"text/html" in request.header(b"accept")


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


def _own_check(name: str) -> tuple[_Check, bool]:
    """The function of the user as one of a request, and whether its result must be awaited."""
    function = _imported(name)

    def verdict(result: object) -> bool:
        # A text or a user object might be meant as a refusal as well as a pass.
        if result is None or isinstance(result, bool):
            return bool(result)
        raise TypeError(f"`{name}` must return True, False or None, not {type(result).__name__}")

    is_async = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)
    if is_async:

        async def check_async(request: Request) -> bool:
            return verdict(await function(RequestContext(request)))

        return check_async, True
    return lambda request: verdict(function(RequestContext(request))), False


def _imported(name: str) -> Callable[[RequestContext], Any]:
    module_name, _, path = name.partition(":")
    found: Any
    try:
        found = importlib.import_module(module_name)
        for attribute in path.split("."):
            found = getattr(found, attribute)
    except (ImportError, AttributeError) as error:
        raise BentoMLConfigException(
            f"`api_server.auth.callable`: {name} cannot be imported: {error}",
            hint="the module must be importable from the working directory of the service",
        ) from error
    if not callable(found):
        raise BentoMLConfigException(
            f"`api_server.auth.callable`: {name} is no function but of type {type(found).__name__}"
        )
    return found  # type: ignore[no-any-return]  # whether it takes one argument shows with the first request
