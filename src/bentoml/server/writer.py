"""ResponseWriter: answers in, bytes out on a transport, no faster than the client reads them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from typing import Final

from bentoml._http import Response
from bentoml.server import http1

__all__ = ["ResponseWriter"]

#: Up to here head and body are copied into one buffer: cheaper than a second entry in the transport's queue.
_JOIN_BYTES: Final = 64 * 1024


class ResponseWriter:
    """The outgoing half of one connection.

    Both ways of writing take `fields`, whole header lines that the answer does not know of, and `head_only`
    for an answer to HEAD. They raise ValueError, before anything is written, if the head is not allowed (see
    `http1.answer_head`).

    Attributes:
        blocked: the client does not read, so that nothing more should be written.
    """

    __slots__ = ("_resumed", "_transport", "blocked")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._resumed: asyncio.Future[None] | None = None
        self.blocked = False

    def resume(self) -> None:
        """The client reads again."""
        self.blocked = False
        if self._resumed is not None and not self._resumed.done():
            self._resumed.set_result(None)

    def send(self, response: Response, *, fields: bytes, head_only: bool) -> None:
        """Write an answer whose body is bytes."""
        body = response.body
        assert isinstance(body, bytes)
        if http1.has_body(response.status):
            fields += b"content-length: %d\r\n" % len(body)
        else:
            head_only = True
        head = http1.answer_head(response, fields=fields)
        if head_only:
            self._transport.write(head)
        elif len(body) <= _JOIN_BYTES:
            self._transport.write(head + body)
        else:
            self._transport.write(head)
            self._transport.write(body)

    def end(self) -> None:
        """Say that nothing more will follow."""
        # Closing while the client is still sending would be a reset, which destroys the answer.
        if self._transport.can_write_eof():
            with contextlib.suppress(OSError):  # the client is gone, as the connection will be told
                self._transport.write_eof()
        else:  # TLS
            self._transport.close()

    def stream(
        self,
        response: Response,
        chunks: AsyncIterator[bytes],
        *,
        fields: bytes,
        head_only: bool,
        chunked: bool,
    ) -> Coroutine[None, None, None]:
        """Write the head now; what is returned writes the body, and raises whatever `chunks` raises.

        Chunks that have a `length` go out under this content-length. Without one and without the chunked coding only
        the close of the connection tells where the body ends.
        """
        length: int | None = getattr(chunks, "length", None)
        if not http1.has_body(response.status):
            head_only = True
        elif length is not None:
            fields, chunked = fields + b"content-length: %d\r\n" % length, False
        elif chunked:
            fields += b"transfer-encoding: chunked\r\n"
        self._transport.write(http1.answer_head(response, fields=fields))
        return self._write_chunks(chunks, length, head_only=head_only, chunked=chunked)

    async def _write_chunks(
        self, chunks: AsyncIterator[bytes], length: int | None, *, head_only: bool, chunked: bool
    ) -> None:
        size_bytes = 0
        try:
            if head_only:
                return
            async for chunk in chunks:
                if not chunk:  # would mean the end
                    continue
                size_bytes += len(chunk)
                if length is not None and size_bytes > length:
                    break
                self._transport.write(b"%x\r\n%b\r\n" % (len(chunk), chunk) if chunked else chunk)
                if self.blocked:
                    self._resumed = asyncio.get_running_loop().create_future()
                    await self._resumed
                else:  # chunks that are made without waiting must not keep the loop from everyone else
                    await asyncio.sleep(0)
            if length not in (None, size_bytes):
                raise ValueError(f"the body should have {length} bytes, it has {size_bytes} or more")
            if chunked:
                self._transport.write(b"0\r\n\r\n")
        finally:
            close = getattr(chunks, "aclose", None)
            if close is not None:
                await close()
