"""ObservedStream: an answer that is made while it is sent, watched to its end; a failure is logged and told."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from bentoml._http import Request, Response
from bentoml.server.errors import stream_error
from bentoml.server.http1 import has_body
from bentoml.server.shared import StreamCut

__all__ = ["CLIENT_CLOSED", "ObservedStream", "close"]

#: What the metrics show for a client that went away before the end of its answer; no such status is ever sent.
CLIENT_CLOSED = 499


class ObservedStream(AsyncIterator[bytes]):
    """The chunks of an answer.

    When they fail, server-sent events end with an event named `error`. Any other stream is cut, since without its
    regular end a client can tell it from a whole one; and that is all it can be told.

    Attributes:
        length: bytes of the whole body, None where they are not known.

    Args:
        ended: called once, with the status under which the request is to be counted: that of its answer, of the error
            that ended it, or `CLIENT_CLOSED`.
        failed: called with what the chunks raised.
    """

    def __init__(
        self,
        response: Response,
        request: Request,
        request_id: int,
        *,
        ended: Callable[[int], object],
        failed: Callable[[BaseException], object] | None = None,
    ) -> None:
        assert not isinstance(response.body, bytes)
        self._chunks = response.body
        self.length: int | None = getattr(response.body, "length", None)
        self._response = response
        self._request = request
        self._request_id = request_id
        self._ended: Callable[[int], object] | None = ended
        self._failed = failed
        self._last = b""

    async def __anext__(self) -> bytes:
        if self._ended is None:
            raise StopAsyncIteration
        try:
            self._last = chunk = await anext(self._chunks)
        except StopAsyncIteration:
            self._end(self._response.status)
            raise
        except (Exception, SystemExit) as error:  # the border of a request, as in the app
            status, event = stream_error(error, self._request, self._request_id)
            if self._failed is not None:
                self._failed(error)
            self._end(status)
            if self.length is not None or not self._response.content_type.startswith(b"text/event-stream"):
                raise StreamCut from error
            # An event that was begun must not swallow this one.
            return event if self._last.endswith((b"\n\n", b"\r\r", b"\r\n\r\n")) or not self._last else b"\n\n" + event
        return chunk

    async def aclose(self) -> None:
        """Close the chunks; the server does so once they are sent and also when they cannot be."""
        self._end(CLIENT_CLOSED if has_body(self._response.status) else self._response.status)
        try:
            await close(self._chunks)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the border of a request
            stream_error(error, self._request, self._request_id)

    def _end(self, status: int) -> None:
        ended, self._ended = self._ended, None
        if ended is not None:
            ended(status)


async def close(chunks: AsyncIterator[bytes]) -> None:
    """Close an iterator if it is one that can be."""
    aclose = getattr(chunks, "aclose", None)
    if aclose is not None:
        await aclose()
