"""Listener: accepts on a socket that processes may share, sweeps its connections and drains them."""

from __future__ import annotations

import asyncio
import errno
import logging
import math
import socket
import ssl as tls
import time
from collections.abc import Callable
from typing import Final

from bentoml._http import Request, Response
from bentoml.server import http1, sockets
from bentoml.server.connection import Connection
from bentoml.server.limits import Limits
from bentoml.server.shared import Handler, Rejected, Shared

__all__ = ["Listener"]

#: How long accepting rests when the process has no file descriptor left; a connection may end meanwhile.
_EXHAUSTED_PAUSE_S: Final = 0.25
#: A server at its limit would otherwise say so with every client.
_COMPLAINT_INTERVAL_S: Final = 60.0
#: Time for handshakes that are under way when new ones are refused: many round trips within a data centre.
_HANDSHAKE_S: Final = 0.05
#: How long idle connections stay open when draining, for a request that is on the wire.
_IDLE_GRACE_S: Final = 0.5

logger = logging.getLogger(__name__)


class Listener:
    """Serves HTTP/1.1 on a listening socket.

    Args:
        sock: bound and listening, TCP or unix; owned by the listener from now on.
        handler: answers a request; see `Handler`.
        limits: what one client may ask for.
        on_rejected: makes the answers that are given without asking the handler; see `Rejected`.
        on_late: makes the answer to a request whose handler has not answered in `limits.answer_timeout_s`.
        ssl: makes it HTTPS.
    """

    def __init__(
        self,
        sock: socket.socket,
        handler: Handler,
        *,
        limits: Limits | None = None,
        on_rejected: Rejected = lambda status, message, fields: http1.refused(status, message),
        on_late: Callable[[Request], Response] = lambda request: http1.refused(504, "the answer took too long"),
        ssl: tls.SSLContext | None = None,
    ) -> None:
        self._sock = sock
        self._handler = handler
        self._limits = limits if limits is not None else Limits()
        self._on_rejected = on_rejected
        self._on_late = on_late
        self._ssl = ssl
        self._connections: set[Connection] = set()
        self._arriving: dict[Connection, asyncio.Task[None]] = {}  # being set up; for TLS, shaking hands
        self._accepting = False
        self._complained_s = -math.inf
        self._sweeper: asyncio.TimerHandle | None = None
        self._emptied = asyncio.Event()

    def start(self) -> None:
        """Begin to accept, on the running loop."""
        self._loop = asyncio.get_running_loop()
        self._shared = Shared(
            self._handler,
            limits=self._limits,
            loop=self._loop,
            scheme="http" if self._ssl is None else "https",
            on_rejected=self._on_rejected,
            on_late=self._on_late,
            on_opened=self._on_opened,
            on_closed=self._on_closed,
        )
        self._sock.setblocking(False)
        self._sweep()
        self._resume_accepting()

    @property
    def open_connections(self) -> int:
        """Connections that are open now, accepted ones whose set-up is under way included."""
        return len(self._connections) + len(self._arriving)

    @property
    def in_flight(self) -> int:
        """Connections that are owed an answer."""
        return sum(connection.owes_answer() for connection in self._connections)

    async def drain(self, grace_s: float, *, shared: bool = False) -> int:
        """Answer whoever has connected, then close; nobody new is let in.

        Idle connections stay open for half a second, for a request that is on the wire; every answer now says
        `connection: close`.

        Args:
            grace_s: after this time handlers are cancelled and clients cut off.
            shared: other processes go on accepting from the same socket, and who waits there is left to them.
                Otherwise whoever holds it without accepting from it must have closed it before.

        Returns:
            How many requests were cut off.
        """
        deadline_s = self._loop.time() + grace_s
        self._shared.draining = True
        if not shared:
            if sockets.refuse_new_connections(self._sock):
                await asyncio.sleep(min(_HANDSHAKE_S, grace_s))
            while self._accept():
                pass
        self._stop_accepting()
        self._sock.close()
        await self._until_empty(min(self._loop.time() + _IDLE_GRACE_S, deadline_s))
        # A loop that was busy may not have read what arrived meanwhile; it does before it comes back here.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        for connection in list(self._connections):
            connection.close_if_idle()
        await self._until_empty(deadline_s)
        cut = self.in_flight
        self.close()
        return cut

    def close(self) -> None:
        """Stop at once: the socket is closed, handlers are cancelled, clients are cut off."""
        self._stop_accepting()
        self._sock.close()
        if self._sweeper is not None:
            self._sweeper.cancel()
        for task in list(self._arriving.values()):
            task.cancel()
        for connection in list(self._connections):
            connection.abort()

    # ---

    def _accept(self) -> bool:
        # One each time the loop comes round: where processes share the socket, clients that come in a burst
        # are spread instead of all landing in one process, and a busy process gets fewer.
        try:
            client, _ = self._sock.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return False
        except OSError as error:
            self._on_accept_failed(error)
            return False
        connection = Connection(self._shared)
        self._arriving[connection] = self._loop.create_task(self._adopt(client, connection))
        if self.open_connections >= self._limits.connections and not self._shared.draining:
            self._rest("%d connections are open, the most that are allowed", self.open_connections)
        return True

    async def _adopt(self, client: socket.socket, connection: Connection) -> None:
        handshake_s = None if self._ssl is None else self._limits.header_timeout_s
        try:
            await self._loop.connect_accepted_socket(
                lambda: connection, client, ssl=self._ssl, ssl_handshake_timeout=handshake_s
            )
        except OSError as error:  # the client is gone, or it speaks no TLS
            logger.debug("a connection could not be set up: %s", error)
            client.close()
        except asyncio.CancelledError:
            client.close()
            raise
        finally:
            if self._arriving.pop(connection, None) is not None:
                self._on_fewer()

    def _on_opened(self, connection: asyncio.Protocol) -> None:
        assert isinstance(connection, Connection)
        self._connections.add(connection)
        self._arriving.pop(connection, None)

    def _on_closed(self, connection: asyncio.Protocol) -> None:
        assert isinstance(connection, Connection)
        self._connections.discard(connection)
        self._on_fewer()

    def _on_fewer(self) -> None:
        if self.open_connections == 0:
            self._emptied.set()
        elif self._shared.crowded and self.open_connections < self._limits.connections:
            self._resume_accepting()

    def _on_accept_failed(self, error: OSError) -> None:
        if error.errno not in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
            raise error
        # The client stays in the kernel's queue, and the loop would call us again at once, and again.
        self._rest("cannot accept connections: %s (hint: raise the limit with `ulimit -n`)", error.strerror)
        self._loop.call_later(_EXHAUSTED_PAUSE_S, self._resume_accepting)

    def _rest(self, reason: str, *args: object) -> None:
        """Accept nobody until connections are closed."""
        self._stop_accepting()
        self._shared.crowded = True
        now_s = self._loop.time()
        if now_s - self._complained_s > _COMPLAINT_INTERVAL_S:
            self._complained_s = now_s
            logger.warning(f"{reason}; new clients must wait", *args)

    def _resume_accepting(self) -> None:
        if self._sock.fileno() != -1 and not self._accepting:
            self._accepting = True
            self._shared.crowded = False
            self._loop.add_reader(self._sock, self._accept)

    def _stop_accepting(self) -> None:
        if self._accepting:
            self._accepting = False
            self._loop.remove_reader(self._sock)

    def _sweep(self) -> None:
        shared = self._shared
        shared.now_s = self._loop.time()
        shared.stamp = http1.stamp(time.time())
        self._sweeper = self._loop.call_later(self._limits.sweep_interval_s, self._sweep)
        for connection in list(self._connections):
            connection.check()

    async def _until_empty(self, deadline_s: float) -> None:
        self._emptied.clear()
        if self.open_connections == 0:
            return
        try:
            await asyncio.wait_for(self._emptied.wait(), max(0.0, deadline_s - self._loop.time()))
        except asyncio.TimeoutError:
            return
