"""AsyncHTTPClient: calls that are awaited."""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import inspect
import ssl
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from bentoml.client.base import BaseClient, Health, Outgoing, document_of
from bentoml.client.endpoint import Endpoint
from bentoml.client.errors import error_of_answer, translated
from bentoml.client.options import Options, Timeouts, base_url, httpx
from bentoml.client.readiness import pause_before_look, server_at, why_not_ready
from bentoml.client.retrying import Attempts

if TYPE_CHECKING:
    import httpx as httpx_types

__all__ = ["AsyncHTTPClient"]

Self = TypeVar("Self", bound="AsyncHTTPClient")
Opened = TypeVar("Opened", bound="AsyncHTTPClient")


class AsyncHTTPClient(BaseClient):
    """Like `SyncHTTPClient`, but its calls are awaited; it belongs to the event loop on which it was made.

    Args, values and errors are the same. A call that is cancelled closes its connection; others are not touched.

    Attributes:
        server_url: without a slash at its end.
    """

    def __init__(
        self, server_url: str, document: Any, options: Options, http: httpx_types.AsyncClient | None = None
    ) -> None:
        super().__init__(server_url, document, options)
        self._http = http or _pool(server_url, options)

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
    ) -> _Opening[Self]:
        """A client, to be awaited or entered: `async with AsyncHTTPClient.from_url(url) as client:`.

        Arguments and errors are those of `SyncHTTPClient.from_url`.
        """
        url = base_url(server_url, kind)
        options = Options.of(
            timeout=timeout, api_key=api_key, headers=headers, max_retries=max_retries,
            max_connections=max_connections, verify=verify, uds=uds,
        )  # fmt: skip

        async def connect() -> Self:
            http = _pool(url, options)
            try:
                _, body = await _exchanged(http, Outgoing("GET", f"{url}/docs.json", repeatable=True), options)
                return cls(url, document_of(body), options, http)
            except BaseException:
                await http.aclose()
                raise

        return _Opening(connect)

    @staticmethod
    async def wait_until_server_ready(
        host: str = "localhost",
        port: int = 3000,
        timeout: float = 30,
        check_interval: float = 1,
        *,
        url: str | None = None,
        **options: Any,
    ) -> None:
        """Wait until a server answers `/readyz` with 200; arguments and errors are those of `SyncHTTPClient`."""
        target = server_at(host, port, url)
        settings = Options.of(timeout=timeout, **options)
        deadline_s = time.monotonic() + timeout
        async with httpx().AsyncClient(**settings.arguments(target, "AsyncHTTPTransport", max_connections=1)) as http:
            while True:
                remaining_s = deadline_s - time.monotonic()
                try:
                    reason = why_not_ready(await http.get(f"{target}/readyz", timeout=max(0.001, remaining_s)))
                except httpx().HTTPError as error:
                    reason = str(error) or type(error).__name__
                if reason is None:
                    return
                await asyncio.sleep(pause_before_look(target, deadline_s, timeout, check_interval, reason))

    # -- calls --------------------------------------------------------------------------------------------------------

    async def call(self, name: str, /, *args: Any, **fields: Any) -> Any:
        """Call an API by its name; as `SyncHTTPClient.call`."""
        endpoint, value = self._prepared(name, args, fields)
        request = await _in_thread(endpoint.is_slow_to_encode(value), self._request, endpoint, value)
        headers, body = await _exchanged(self._http, request, self._options)
        result = await _in_thread(endpoint.output.offloads, endpoint.decode, body, headers)
        return await result if inspect.isawaitable(result) else result

    async def stream(self, name: str, /, *args: Any, **fields: Any) -> AsyncIterator[Any]:
        """Call an API and get its answer piece by piece; as `SyncHTTPClient.stream`."""
        endpoint, value = self._prepared(name, args, fields)
        async with _opened(self._http, self._request(endpoint, value), self._options) as answer:
            decoder = codecs.getincrementaldecoder("utf-8")("replace") if endpoint.is_text else None
            with translated(self.server_url, self._options.timeouts.total_s):
                async for chunk in answer.aiter_bytes():
                    piece = chunk if decoder is None else decoder.decode(chunk)
                    if piece:
                        yield piece

    async def health(self) -> Health:
        """What `/readyz` answers; as `SyncHTTPClient.health`."""
        request = Outgoing("GET", f"{self.server_url}/readyz", repeatable=True)
        async with _opened(self._http, request, self._options, as_it_is=True) as answer:
            return Health(answer.status_code, (await answer.aread()).decode(errors="replace").strip())

    def _methods(self, endpoint: Endpoint) -> dict[str, Callable[..., Any]]:
        async def method(*args: Any, **fields: Any) -> Any:
            return await self.call(endpoint.name, *args, **fields)

        def stream_method(*args: Any, **fields: Any) -> AsyncIterator[Any]:
            return self.stream(endpoint.name, *args, **fields)

        return {endpoint.name: method, f"stream_{endpoint.name}": stream_method}

    async def close(self) -> None:
        """Close its connections."""
        await self._http.aclose()

    async def __aenter__(self: Self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()


class _Opening(Generic[Opened]):
    """A client that connects when it is awaited or entered."""

    def __init__(self, connect: Callable[[], Coroutine[Any, Any, Opened]]) -> None:
        self._connect = connect
        self._client: Opened | None = None

    def __await__(self) -> Generator[Any, None, Opened]:
        return self._connect().__await__()

    async def __aenter__(self) -> Opened:
        self._client = await self._connect()
        return self._client

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        if self._client is not None:
            await self._client.close()


def _pool(url: str, options: Options) -> httpx_types.AsyncClient:
    pool: httpx_types.AsyncClient = httpx().AsyncClient(
        **options.arguments(url, "AsyncHTTPTransport", max_connections=options.max_connections)
    )
    return pool


async def _exchanged(http: httpx_types.AsyncClient, request: Outgoing, options: Options) -> tuple[Any, bytes]:
    """Header fields and body of an answer that is a success."""
    attempts = Attempts(options, request.url, repeatable=request.repeatable)
    async with _opened(http, request, options, attempts=attempts) as answer:
        with translated(request.url, options.timeouts.total_s):
            pieces = []
            async for piece in answer.aiter_bytes():
                pieces.append(piece)
                attempts.check()
            return answer.headers.raw, b"".join(pieces)


@contextlib.asynccontextmanager
async def _opened(
    http: httpx_types.AsyncClient,
    request: Outgoing,
    options: Options,
    *,
    attempts: Attempts | None = None,
    as_it_is: bool = False,
) -> AsyncIterator[httpx_types.Response]:
    """An answer whose body has not been read yet: a success, unless it is wanted as it is."""
    attempts = attempts or Attempts(options, request.url, repeatable=request.repeatable)
    while True:
        prepared = http.build_request(
            request.method, request.url, content=request.body, headers=request.headers, extensions=attempts.limits()
        )
        try:
            answer = await http.send(prepared, stream=True)
        except httpx().HTTPError as error:
            await asyncio.sleep(attempts.pause_after_failure(error))
            continue
        try:
            pause_s = None if as_it_is else attempts.pause_after_answer(answer.status_code, answer.headers)
            if pause_s is None:
                if not as_it_is and not answer.is_success:
                    with translated(request.url, options.timeouts.total_s):
                        await answer.aread()
                    raise error_of_answer(answer.status_code, answer.headers, answer.content, time.time())
                yield answer
                return
            with contextlib.suppress(httpx().HTTPError):
                await answer.aread()  # to its end, so that the connection can be used again
        finally:
            await answer.aclose()
        await asyncio.sleep(pause_s)


async def _in_thread(slow: bool, function: Callable[..., Any], *args: Any) -> Any:
    """Call the function; in a thread where it may keep the event loop from its other work."""
    return await asyncio.to_thread(function, *args) if slow else function(*args)
