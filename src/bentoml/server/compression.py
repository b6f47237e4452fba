"""gzip: answers of text and JSON, compressed for clients that accept it."""

from __future__ import annotations

import asyncio
import functools
import re
import zlib
from collections.abc import Callable

from bentoml._http import Request, Response
from bentoml.config.http import Gzip
from bentoml.server.shared import Handler

__all__ = ["accepts_gzip", "gzip_layer", "is_compressible"]

#: Larger bodies are compressed in a thread: they would keep the event loop from everyone else for up to a millisecond.
OFFLOAD_BYTES = 16 * 1024
#: Header and checksum of gzip around the compressed data, for `zlib.compressobj`.
_GZIP_WINDOW = 31
#: What is text. Images, archives and Parquet are compressed already; event streams must not wait for more.
_COMPRESSIBLE = re.compile(
    rb"(?!text/event-stream)(text/.*|application/(json|x-ndjson|javascript|xml|yaml|openmetrics-text|.+\+json|.+\+xml)"
    rb"|image/svg\+xml)"
)
_WITHOUT_BODY = frozenset((204, 206, 304))
_QUALITY = re.compile(r"q\s*=\s*(0(?:\.\d{0,3})?|1(?:\.0{0,3})?)", re.IGNORECASE)


@functools.lru_cache(maxsize=64)  # there are about as many values as kinds of clients
def accepts_gzip(accept_encoding: bytes) -> bool:
    """Whether a client that sends this `Accept-Encoding` would rather have gzip than the body as it is.

    RFC 9110, section 12.5.3.
    """
    qualities: dict[str, float] = {}
    for part in accept_encoding.decode("latin-1").lower().split(","):
        name, *parameters = (piece.strip() for piece in part.split(";"))
        quality = 1.0
        for parameter in parameters:
            match = _QUALITY.fullmatch(parameter)
            quality = float(match[1]) if match else 0.0
        qualities[name] = quality
    anything = qualities.get("*", 0.0)
    gzip = qualities.get("gzip", qualities.get("x-gzip", anything))
    return gzip > 0 and gzip >= qualities.get("identity", 0.0)


@functools.lru_cache(maxsize=64)
def is_compressible(content_type: bytes) -> bool:
    """Whether bodies of this type get much smaller."""
    return _COMPRESSIBLE.fullmatch(content_type.partition(b";")[0].strip().lower()) is not None


def gzip_layer(config: Gzip) -> Callable[[Handler], Handler]:
    """The layer that compresses what is worth it."""
    min_bytes, level = config.min_bytes, config.level

    def around(inner: Handler) -> Handler:
        async def handle(request: Request) -> Response:
            answer = inner(request)
            response = answer if isinstance(answer, Response) else await answer
            body = response.body
            # A stream is sent as it comes: gzip would hold its parts back.
            if not isinstance(body, bytes) or len(body) < min_bytes or not is_compressible(response.content_type):
                return response
            fields = response.raw_headers
            if response.status in _WITHOUT_BODY or any(name == b"content-encoding" for name, _ in fields):
                return response
            fields.append((b"vary", b"accept-encoding"))
            if not accepts_gzip(request.header(b"accept-encoding")):
                return response
            offloaded = len(body) > OFFLOAD_BYTES
            smaller = await asyncio.to_thread(_compressed, body, level) if offloaded else _compressed(body, level)
            if len(smaller) < len(body):
                response.body = smaller
                fields.append((b"content-encoding", b"gzip"))
                # The bytes differ from those that a strong tag stands for.
                fields[:] = [
                    (name, b"W/" + value) if name == b"etag" and not value.startswith(b"W/") else (name, value)
                    for name, value in fields
                ]
            return response

        return handle

    return around


def _compressed(body: bytes, level: int) -> bytes:
    compressor = zlib.compressobj(level, zlib.DEFLATED, _GZIP_WINDOW)
    return compressor.compress(body) + compressor.flush()
