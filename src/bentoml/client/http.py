"""HTTPClient: blocking and awaited calls on one object; Client: the same by the name that BentoML gives the factory."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Any, TypeVar

from bentoml.client.aio import AsyncHTTPClient
from bentoml.client.endpoint import Endpoint
from bentoml.client.sync import SyncHTTPClient

__all__ = ["Client", "HTTPClient"]

Self = TypeVar("Self", bound="HTTPClient")


class HTTPClient(SyncHTTPClient):
    """A `SyncHTTPClient` whose calls can be awaited as well: `await client.async_classify(value)`.

    In code that only awaits, `AsyncHTTPClient` does the same with less.
    """

    def __init__(self, *args: Any) -> None:
        self._document = args[1]
        #: Connections belong to an event loop, and a script may run one after the other.
        self._clients: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncHTTPClient] = (
            weakref.WeakKeyDictionary()
        )
        super().__init__(*args)

    async def async_call(self, name: str, /, *args: Any, **fields: Any) -> Any:
        """Call an API by its name; as `call`."""
        return await self._on_this_loop().call(name, *args, **fields)

    def async_stream(self, name: str, /, *args: Any, **fields: Any) -> AsyncIterator[Any]:
        """Call an API and get its answer piece by piece; as `stream`."""
        return self._on_this_loop().stream(name, *args, **fields)

    async def async_health(self) -> Any:
        """What `/readyz` answers; as `health`."""
        return await self._on_this_loop().health()

    def _methods(self, endpoint: Endpoint) -> dict[str, Callable[..., Any]]:
        async def async_method(*args: Any, **fields: Any) -> Any:
            return await self.async_call(endpoint.name, *args, **fields)

        return {**super()._methods(endpoint), f"async_{endpoint.name}": async_method}

    def _on_this_loop(self) -> AsyncHTTPClient:
        loop = asyncio.get_running_loop()
        client = self._clients.get(loop)
        if client is None:
            client = AsyncHTTPClient(self.server_url, self._document, self._options)
            self._clients[loop] = client
        return client

    async def __aenter__(self: Self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        client = self._clients.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.close()
        self.close()


class Client(HTTPClient):
    """What `Client.from_url` gives: an `HTTPClient`."""
