"""SyncHTTPClient: calls that block until the answer is there."""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import inspect
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from bentoml.client.base import BaseClient, Health, Outgoing, document_of
from bentoml.client.endpoint import Endpoint
from bentoml.client.errors import error_of_answer, translated
from bentoml.client.options import Options, Timeouts, base_url, httpx
from bentoml.client.pool import ConnectionPool
from bentoml.client.readiness import pause_before_look, server_at, why_not_ready
from bentoml.client.retrying import Attempts

if TYPE_CHECKING:
    import httpx as httpx_types

__all__ = ["SyncHTTPClient"]

Self = TypeVar("Self", bound="SyncHTTPClient")


class SyncHTTPClient(BaseClient):
    """A client of one server, with a method for each of its APIs; made by `from_url`. Threads may share it.

    A method has the name of its API: `client.classify(value)`, and for a form `client.classify(image=…, note=…)`; with
    `stream_` in front it gives the answer in pieces. Where the client has an attribute of that name, `call` still
    reaches the API. Values are those that the API function takes and returns; dataclasses and pydantic models come
    back as plain dicts. A `pathlib.Path` is sent as the file that it names. Arrays and tables travel in a binary form
    where the server knows one. If OpenTelemetry is in use, calls carry its trace context.

    As a context manager it closes its connections at the end of the block.

    Attributes:
        server_url: without a slash at its end.
    """

    def __init__(self, server_url: str, document: Any, options: Options, pool: ConnectionPool) -> None:
        super().__init__(server_url, document, options)
        self._pool = pool

    @classmethod
    def from_url(
        cls: type[Self],
        server_url: str,
        *,
        kind: Literal["auto", "http"] = "auto",
        timeout: float | Timeouts = 300.0,
        max_retries: int = 3,
        max_connections: int = 100,
        api_key: str | None = None,
        headers: Mapping[str, str] | None = None,
        verify: bool | str | ssl.SSLContext = True,
        uds: str | None = None,
    ) -> Self:
        """A client of the server at a URL, whose OpenAPI document is read now.

        Args:
            server_url: `http://` is added where no scheme is named.
            kind: HTTP is the only one there is.
            timeout: seconds for a whole call with its retries, or `Timeouts`.
            max_retries: how often a call is sent again after a 503, not before the server's `Retry-After`, or when no
                connection could be made. What the server may have begun is not sent again.
            max_connections: of the pool; further calls wait for one.
            api_key: sent as `Authorization: Bearer`.
            headers: sent with every request.
            verify: of TLS: whether to check the server's certificate, a file of authorities, or a context.
            uds: path of a unix socket to connect to; the URL then only names the host.

        Raises:
            MissingDependencyException: httpx is not installed.
            InvalidArgument: the URL is none, a time-out is not above 0, or another `kind`.
            ServiceUnavailable: the server cannot be reached, or refuses.
            BentoMLException: what answers is no service: the message begins with `Malformed`.
        """
        url = base_url(server_url, kind)
        options = Options.of(
            timeout=timeout, api_key=api_key, headers=headers, max_retries=max_retries,
            max_connections=max_connections, verify=verify, uds=uds,
        )  # fmt: skip
        options = options.with_context(url)
        pool = ConnectionPool(
            lambda: httpx().Client(**options.arguments(url, "HTTPTransport", max_connections=1)),
            size=max_connections,
            url=url,
        )
        try:
            document = document_of(_exchanged(pool, Outgoing("GET", f"{url}/docs.json", repeatable=True), options)[1])
            return cls(url, document, options, pool)
        except BaseException:
            pool.close()
            raise

    @staticmethod
    def wait_until_server_ready(
        host: str = "localhost",
        port: int = 3000,
        timeout: float = 30,
        check_interval: float = 1,
        *,
        url: str | None = None,
        **options: Any,
    ) -> None:
        """Wait until a server answers `/readyz` with 200.

        Args:
            timeout: seconds after which it gives up.
            check_interval: seconds between two looks.
            url: instead of host and port.
            options: `api_key`, `headers`, `verify` and `uds`, as of `from_url`.

        Raises:
            TimeoutError: it has not become ready; it is a DeadlineExceeded too.
        """
        target = server_at(host, port, url)
        settings = Options.of(timeout=timeout, **options)
        deadline_s = time.monotonic() + timeout
        with httpx().Client(**settings.arguments(target, "HTTPTransport", max_connections=1)) as http:
            while True:
                remaining_s = deadline_s - time.monotonic()
                try:
                    reason = why_not_ready(http.get(f"{target}/readyz", timeout=max(0.001, remaining_s)))
                except httpx().HTTPError as error:
                    reason = str(error) or type(error).__name__
                if reason is None:
                    return
                time.sleep(pause_before_look(target, deadline_s, timeout, check_interval, reason))

    # -- calls --------------------------------------------------------------------------------------------------------

    def call(self, name: str, /, *args: Any, **fields: Any) -> Any:
        """Call an API by its name.

        Args:
            args: the one value that it takes.
            fields: instead, the fields of a form by name.

        Raises:
            NotFound: the service has no such API.
            InvalidArgument: the value is not one that the API takes.
            BentoMLException: what the server answered: `BadInput` for a 400, `ServiceUnavailable` for a 503, and so on.
        """
        endpoint, value = self._prepared(name, args, fields)
        headers, body = _exchanged(self._pool, self._request(endpoint, value), self._options)
        result = endpoint.decode(body, headers)
        return asyncio.run(_awaited(result)) if inspect.isawaitable(result) else result

    def stream(self, name: str, /, *args: Any, **fields: Any) -> Iterator[Any]:
        """Call an API and get its answer piece by piece as it comes: `str` where it is text, else `bytes`.

        The call is made when the first piece is asked for. Raises as `call`, and RemoteException where the stream is
        cut off.
        """
        endpoint, value = self._prepared(name, args, fields)
        with _opened(self._pool, self._request(endpoint, value), self._options) as answer:
            decoder = codecs.getincrementaldecoder("utf-8")("replace") if endpoint.is_text else None
            with translated(self.server_url, self._options.timeouts.total_s):
                for chunk in answer.iter_bytes():
                    piece = chunk if decoder is None else decoder.decode(chunk)
                    if piece:
                        yield piece

    def health(self) -> Health:
        """What `/readyz` answers.

        Raises:
            ServiceUnavailable: the server cannot be reached.
        """
        request = Outgoing("GET", f"{self.server_url}/readyz", repeatable=True)
        with _opened(self._pool, request, self._options, as_it_is=True) as answer:
            return Health(answer.status_code, answer.read().decode(errors="replace").strip())

    def _methods(self, endpoint: Endpoint) -> dict[str, Callable[..., Any]]:
        def method(*args: Any, **fields: Any) -> Any:
            return self.call(endpoint.name, *args, **fields)

        def stream_method(*args: Any, **fields: Any) -> Iterator[Any]:
            return self.stream(endpoint.name, *args, **fields)

        return {endpoint.name: method, f"stream_{endpoint.name}": stream_method}

    def close(self) -> None:
        """Close its connections."""
        self._pool.close()

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def _exchanged(pool: ConnectionPool, request: Outgoing, options: Options) -> tuple[Any, bytes]:
    """Header fields and body of an answer that is a success."""
    attempts = Attempts(options, request.url, repeatable=request.repeatable)
    with (
        _opened(pool, request, options, attempts=attempts) as answer,
        translated(request.url, options.timeouts.total_s),
    ):
        pieces = []
        for piece in answer.iter_bytes():
            pieces.append(piece)
            attempts.check()
        return answer.headers.raw, b"".join(pieces)


@contextlib.contextmanager
def _opened(
    pool: ConnectionPool,
    request: Outgoing,
    options: Options,
    *,
    attempts: Attempts | None = None,
    as_it_is: bool = False,
) -> Iterator[httpx_types.Response]:
    """An answer whose body has not been read yet: a success, unless it is wanted as it is."""
    attempts = attempts or Attempts(options, request.url, repeatable=request.repeatable)
    while True:
        limits = attempts.limits()
        with pool.taken(limits["timeout"]["pool"]) as http:
            prepared = http.build_request(
                request.method, request.url, content=request.body, headers=request.headers, extensions=limits
            )
            try:
                answer = http.send(prepared, stream=True)
            except httpx().HTTPError as error:
                pause_s = attempts.pause_after_failure(error)
            else:
                try:
                    again_s = None if as_it_is else attempts.pause_after_answer(answer.status_code, answer.headers)
                    if again_s is None:
                        if not as_it_is and not answer.is_success:
                            with translated(request.url, options.timeouts.total_s):
                                answer.read()
                            raise error_of_answer(answer.status_code, answer.headers, answer.content, time.time())
                        yield answer
                        return
                    pause_s = again_s
                    with contextlib.suppress(httpx().HTTPError):
                        answer.read()  # to its end, so that the connection can be used again
                finally:
                    answer.close()
        time.sleep(pause_s)


async def _awaited(value: Any) -> Any:
    return await value
