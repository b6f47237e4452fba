"""Connection: one client's socket. Requests are handled one after the other and answered in their order.

    data_received → reader.feed → _begin: handler(request) → a Response            → writer.send
                                                           → an awaitable → a task → writer.send or .stream

No task is made for a request whose handler answers at once, and no timer for any: about once a second a sweep
calls `check` of all connections, which compares the time spent in the present phase with the limits.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine
from typing import Any, cast

from bentoml._http import Request, Response
from bentoml.server import http1, sockets
from bentoml.server.limits import Phase
from bentoml.server.reader import PIECE_BYTES, Received, Refusal, RequestReader
from bentoml.server.shared import Shared
from bentoml.server.writer import ResponseWriter

__all__ = ["Connection"]

#: What a response raises whose status or header fields cannot be sent.
_BAD_HEAD = (TypeError, ValueError)
_NO_REQUEST = Request()

logger = logging.getLogger(__name__)


class Connection(asyncio.Protocol):
    """The protocol of one accepted socket; a listener makes and sweeps it."""

    __slots__ = (
        "_answering", "_ended", "_held", "_http11", "_keep_alive", "_phase", "_reader", "_reading_paused",
        "_refusal", "_request", "_reserved_bytes", "_result", "_shared", "_since_s", "_streaming", "_task",
        "_transport", "_unsent_bytes", "_writer",
    )  # fmt: skip

    _reader: RequestReader
    _transport: asyncio.Transport
    _writer: ResponseWriter

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._held: bytes | memoryview = b""  # not yet fed to the reader: an answer is owed first
        self._refusal: Refusal | None = None  # to be sent when all before it is answered
        self._result: Any = None  # what the handler returned, until the task begins to await it
        self._request = _NO_REQUEST  # the one that is being answered
        self._task: asyncio.Task[None] | None = None
        self._answering = self._streaming = self._ended = self._reading_paused = self._keep_alive = self._http11 = False
        self._reserved_bytes = self._unsent_bytes = 0
        self._phase = Phase.IDLE  # the reader's, as of `_since_s`
        self._since_s = shared.now_s

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A cast, not a check: uvloop's transports are of no class of asyncio.
        self._transport = cast(asyncio.Transport, transport)
        client = sockets.printed(transport.get_extra_info("peername"))
        self._reader = RequestReader(self._shared.limits, client=client, scheme=self._shared.scheme)
        self._writer = ResponseWriter(self._transport)
        self._shared.on_opened(self)

    def data_received(self, data: bytes) -> None:
        if self._ended or self._reader.closed:
            return  # but read on: unread bytes would make the close a reset, and EOF would not be seen
        if self._answering or self._writer.blocked or self._held:
            self._held = bytes(self._held) + data
            self._reading_paused = True
            self._transport.pause_reading()
            return
        self._held = data if len(data) <= PIECE_BYTES else memoryview(data)
        self._advance()

    def eof_received(self) -> None:
        self._cancel()  # the transport sends what was written, then closes

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel()
        self._reader.close()
        self._shared.bodies_bytes -= self._reserved_bytes
        self._shared.on_closed(self)

    def pause_writing(self) -> None:
        self._writer.blocked = True

    def resume_writing(self) -> None:
        self._writer.resume()
        self._advance()

    # What the listener calls.

    def owes_answer(self) -> bool:
        """Whether at least a part of a request has arrived that is not answered yet."""
        if self._ended:
            return False
        reader = self._reader
        return bool(self._answering or self._held or reader.requests or reader.phase is not Phase.IDLE)

    def check(self) -> None:
        """Refuse or close if the present phase has lasted too long."""
        shared = self._shared
        unsent_bytes = self._transport.get_write_buffer_size()
        if unsent_bytes != self._unsent_bytes:  # the client reads
            self._unsent_bytes, self._since_s = unsent_bytes, shared.now_s
        phase = self._present_phase()
        room_wanted = phase is Phase.IDLE and shared.crowded
        allowed_s = shared.limits.seconds_allowed(phase, self._reader.body_bytes)
        if shared.now_s - self._since_s <= allowed_s and not room_wanted:
            return
        if phase is Phase.IDLE:
            self._close()
        elif phase is Phase.HEAD or phase is Phase.BODY:
            self._refuse(Refusal(408, "the request took too long to arrive"))
            self._advance()
        elif phase is Phase.ANSWERING:
            self._answer_late()
        else:
            self.abort()

    def close_if_idle(self) -> None:
        """Close unless an answer is owed or under way."""
        if not self._ended and not self.owes_answer():
            self._close()

    def abort(self) -> None:
        """Drop the client and cancel its handler."""
        unfinished = self._answering or self._transport.get_write_buffer_size()
        if unfinished and not self._transport.is_closing():
            # After a plain close half an answer could pass for a whole one.
            sockets.reset_on_close(self._transport.get_extra_info("socket"))
        self._cancel()
        self._transport.abort()

    # ---

    def _present_phase(self) -> Phase:
        if self._unsent_bytes:
            return Phase.SENDING
        if self._ended:
            return Phase.LINGERING
        if self._answering:
            return Phase.STREAMING if self._streaming else Phase.ANSWERING
        return self._reader.phase

    def _close(self) -> None:
        self._ended = True
        self._transport.close()

    def _cancel(self) -> None:
        self._ended = True
        if self._task is not None:
            self._task.cancel()
            self._task = None  # never again: it may have to wait for a thread that it cannot stop
        if isinstance(self._result, Coroutine):  # would complain that nobody awaited it
            self._result.close()
            self._result = None

    def _advance(self) -> None:
        """Do all that can be done before the handler, the client or the network has to act."""
        reader = self._reader
        while not (self._answering or self._writer.blocked or self._ended):
            if reader.requests:
                self._begin(reader.requests.popleft())
            elif self._refusal is not None:
                self._send_refusal(self._refusal)
            elif self._held:
                piece, self._held = self._held[:PIECE_BYTES], self._held[PIECE_BYTES:]
                self._feed(piece)
            else:
                if self._reading_paused:
                    self._reading_paused = False
                    self._transport.resume_reading()
                if reader.continue_wanted:
                    reader.continue_wanted = False
                    self._transport.write(http1.CONTINUE)
                return

    def _feed(self, piece: bytes | memoryview) -> None:
        reader = self._reader
        try:
            reader.feed(piece)
        except Refusal as refusal:
            self._refuse(refusal)
        if reader.phase is not self._phase:
            self._phase = reader.phase
            self._since_s = self._shared.now_s
        if self._phase is Phase.BODY or self._reserved_bytes:
            self._reserve(reader.body_bytes if self._phase is Phase.BODY else 0)

    def _reserve(self, body_bytes: int) -> None:
        shared = self._shared
        shared.bodies_bytes += body_bytes - self._reserved_bytes
        self._reserved_bytes = body_bytes
        if shared.bodies_bytes > shared.limits.bodies_bytes:
            self._refuse(Refusal(503, "the server is receiving too many large bodies at once"))

    def _refuse(self, refusal: Refusal) -> None:
        self._reader.closed = True
        self._held = b""
        if self._refusal is None:
            self._refusal = refusal

    def _send_refusal(self, refusal: Refusal) -> None:
        self._keep_alive, self._http11 = False, True
        self._send(self._shared.on_rejected(refusal.status, refusal.message, self._reader.fields))

    def _begin(self, received: Received) -> None:
        self._request, self._keep_alive, self._http11 = received
        try:
            result = self._shared.handler(self._request)
        except Exception:  # noqa: BLE001  # the border of a request
            result = self._failed()
        if isinstance(result, Response) and isinstance(result.body, bytes):
            self._send(result)
            return
        self._answering, self._result, self._since_s = True, result, self._shared.now_s
        self._task = self._shared.loop.create_task(self._run())

    async def _run(self) -> None:
        result, self._result = self._result, None
        try:
            response = result if isinstance(result, Response) else await result
            if not isinstance(response, Response):
                raise TypeError(f"a handler must answer with a Response, not {type(response).__name__}")
        except asyncio.CancelledError:
            if self._ended:
                raise
            response = self._failed()  # cancelled by its own hand, and the client waits nevertheless
        except Exception:  # noqa: BLE001  # the border of a request
            response = self._failed()
        if isinstance(response.body, bytes):
            self._send(response)
        elif not self._ended:
            self._streaming = True
            await self._stream(response, response.body)
        self._answering, self._streaming, self._task = False, False, None
        self._advance()

    def _answer_late(self) -> None:
        """Answer in place of the handler, and close: a handler that withstands its cancellation has no one to tell."""
        self._answering = self._keep_alive = False
        self._send(self._shared.on_late(self._request))
        self._cancel()

    def _failed(self) -> Response:
        logger.exception("the handler of %s %s failed", self._request.method, self._request.path)
        return http1.failed(self._request.request_id)

    def _send(self, response: Response) -> None:
        if self._ended:
            return
        try:
            self._writer.send(response, fields=self._fields(), head_only=self._request.method == "HEAD")
        except _BAD_HEAD:
            self._send(self._failed())
        else:
            self._answered()

    async def _stream(self, response: Response, chunks: AsyncIterator[bytes]) -> None:
        self._keep_alive = self._keep_alive and self._http11
        head_only, chunked = self._request.method == "HEAD", self._http11
        fields = self._fields()
        try:
            body = self._writer.stream(response, chunks, fields=fields, head_only=head_only, chunked=chunked)
        except _BAD_HEAD:
            self._send(self._failed())
            return
        try:
            await body
        except asyncio.CancelledError:
            self.abort()
            raise
        except Exception:  # the border of a request; its answer has begun, so that a cut must tell the client
            logger.exception("the answer to %s %s broke off", self._request.method, self._request.path)
            self.abort()
        else:
            self._answered()

    def _fields(self) -> bytes:
        if self._shared.draining and not (self._reader.requests or self._held):
            self._keep_alive = False
        return self._shared.fields(keep_alive=self._keep_alive, http11=self._http11)

    def _answered(self) -> None:
        self._since_s = self._shared.now_s
        self._request = _NO_REQUEST  # its body may be large, and the connection may idle for long
        if self._keep_alive or self._ended:
            return
        self._ended = True
        self._held = b""
        self._reader.requests.clear()
        if self._reading_paused:
            self._transport.resume_reading()
        self._writer.end()
