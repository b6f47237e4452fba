"""ConnectionPool: clients of httpx with one connection each, every one of them in the hands of one call at a time.

Threads that share one client of httpx share its pool, and that pool looks for connections which the server has closed
by asking whether an idle one can be read. Between the look at `idle` and the look at the socket another thread may
have been given the connection, sent its request and got an answer; the pool then closes it under that thread's hands.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from bentoml.client.errors import error_of_failure
from bentoml.client.options import httpx

if TYPE_CHECKING:
    import httpx as httpx_types

__all__ = ["ConnectionPool"]


class ConnectionPool:
    """Connections to one server.

    Args:
        make: makes a client that has one connection.
        size: connections at most.
        url: of the server, for messages.

    Attributes:
        is_closed: connections that are given back are closed.
    """

    def __init__(self, make: Callable[[], httpx_types.Client], *, size: int, url: str) -> None:
        self._make = make
        self._url = url
        self._room = threading.Semaphore(size)
        #: The one that was used last is used next: the others may expire.
        self._idle: list[httpx_types.Client] = []
        self.is_closed = False

    @contextlib.contextmanager
    def taken(self, timeout_s: float) -> Iterator[httpx_types.Client]:
        """A client for as long as the block lasts.

        Raises:
            DeadlineExceeded: none became free.
        """
        if not self._room.acquire(timeout=timeout_s):
            raise error_of_failure(httpx().PoolTimeout("all connections are in use"), self._url, timeout_s)
        try:
            try:
                client = self._idle.pop()
            except IndexError:
                client = self._make()
            try:
                yield client
            finally:
                self._idle.append(client)
                if self.is_closed:
                    self.close()
        finally:
            self._room.release()

    def close(self) -> None:
        """Close the connections; one that is in use, when it no longer is."""
        self.is_closed = True
        while self._idle:
            with contextlib.suppress(IndexError):  # another thread was quicker
                self._idle.pop().close()
