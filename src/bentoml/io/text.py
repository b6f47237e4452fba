"""Text: the whole body as one string, or a stream of strings."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from typing import Any

from bentoml._context import Context
from bentoml._http import Request, Response
from bentoml.exceptions import BadInput, InternalServerError, InvalidArgument
from bentoml.io.descriptor import IODescriptor
from bentoml.io.sse import SSE

__all__ = ["Text"]


class Text(IODescriptor[Any], descriptor_id="bentoml.io.Text"):
    """UTF-8 text.

    The API function receives a `str`. It returns a `str`, or an asynchronous iterator of `str` and `SSE` (an
    `async def` with `yield`), whose items are sent as they come: a `str` as it is, an `SSE` as the text of the
    event.

    Args:
        content_type: of the response, for instance `"text/event-stream"`; the charset is added. That of a
            request is not looked at.

    Raises:
        InvalidArgument: `content_type` is no media type.
    """

    streams = True

    def __init__(self, content_type: str = "text/plain") -> None:
        essence, _, parameters = (part.strip() for part in content_type.partition(";"))
        is_media_type = re.fullmatch(r"[\w.+-]+/[\w.+-]+", essence, re.ASCII) is not None
        if not is_media_type or parameters.lower() not in ("", "charset=utf-8"):
            raise InvalidArgument(
                f"Text: {content_type!r} is no media type of UTF-8 text",
                hint='content_type="text/plain" or "text/event-stream"',
            )
        self.mime_type = essence
        self._content_type = f"{essence}; charset=utf-8".encode("ascii")

    def from_http_request(self, request: Request) -> str:
        """The body as a string; a byte order mark is kept.

        Raises:
            BadInput: the body is not UTF-8.
        """
        try:
            return request.body.decode("utf-8")
        except UnicodeDecodeError as error:
            raise BadInput(f"Text: the body is not UTF-8: {error.reason} at byte {error.start}") from None

    def to_http_response(self, value: Any, context: Context | None) -> Response:
        """The string, or the stream of strings, as the body.

        Raises:
            InternalServerError: the value is neither, or holds a lone surrogate, which UTF-8 cannot carry.
        """
        if isinstance(value, str):
            return self.respond(_encode(value), self._content_type, context)
        if hasattr(value, "__aiter__"):
            return self.respond(_encoded_stream(value), self._content_type, context)
        raise _wrong_type(value)

    def input_type(self) -> type[str]:
        """`str`."""
        return str

    def openapi_schema(self) -> dict[str, Any]:
        """A string."""
        return {"type": "string"}

    def to_spec(self) -> dict[str, Any]:
        """The content type is among the arguments only where it is not the default."""
        return {
            "id": self.descriptor_id,
            "args": {} if self.mime_type == "text/plain" else {"content_type": self.mime_type},
        }

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> Text:
        """Like that of the base, but the arguments may be absent, as in specs that BentoML wrote."""
        return super().from_spec({"args": {}, **spec})

    def _from_sample(self, sample: Any) -> str:
        if isinstance(sample, bytes):
            return self.from_http_request(Request(body=sample))
        if isinstance(sample, str):
            return sample
        raise BadInput(f"Text: the sample must be str or bytes, not {type(sample).__name__}")


async def _encoded_stream(chunks: Any) -> AsyncIterator[bytes]:
    try:
        async for chunk in chunks:
            if isinstance(chunk, SSE):
                chunk = chunk.marshal()
            elif not isinstance(chunk, str):
                raise _wrong_type(chunk)
            yield _encode(chunk)
    finally:
        # Closing the response must reach the user's generator now, not whenever the collector finds it.
        if hasattr(chunks, "aclose"):
            await chunks.aclose()


def _encode(text: str) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InternalServerError(
            f"Text: the answer cannot be sent as UTF-8: {error.reason} at character {error.start}"
        ) from None


def _wrong_type(value: Any) -> InternalServerError:
    return InternalServerError(
        f"Text: the API function returned {type(value).__name__}, not str or an asynchronous iterator of str",
        hint="return str(…), or use another output descriptor",
    )
