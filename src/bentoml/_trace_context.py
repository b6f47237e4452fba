"""W3C Trace Context: the header `traceparent` as numbers and back, for server, client and tracing alike."""

from __future__ import annotations

import re
from random import getrandbits

__all__ = ["format_traceparent", "new_span_id", "new_trace_id", "parse_traceparent"]

#: Version, trace id, parent id, flags; a version above 00 may be followed by fields that we do not know.
_TRACEPARENT = re.compile(rb"(?!ff)([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.DOTALL)
_SAMPLED = 0x01


def parse_traceparent(value: bytes) -> tuple[int, int, bool] | None:
    """Trace id, span id and whether the caller samples the trace; None where the header is absent or malformed.

    W3C Trace Context, section 3.2: https://www.w3.org/TR/trace-context/#traceparent-header
    """
    match = _TRACEPARENT.fullmatch(value)
    if match is None or (match[5] is not None and match[1] == b"00"):
        return None
    trace_id, span_id = int(match[2], 16), int(match[3], 16)
    if not trace_id or not span_id:
        return None
    return trace_id, span_id, bool(int(match[4], 16) & _SAMPLED)


def format_traceparent(trace_id: int, span_id: int, sampled: bool) -> str:
    """The value of a `traceparent` header.

    Raises:
        ValueError: an id is 0, or too large: 128 bits for the trace, 64 for the span.
    """
    if not 0 < trace_id < 1 << 128 or not 0 < span_id < 1 << 64:
        raise ValueError(f"no trace context: trace id {trace_id:#x}, span id {span_id:#x}")
    return f"00-{trace_id:032x}-{span_id:016x}-{sampled:02x}"


def new_trace_id() -> int:
    """A random trace id, never 0."""
    return getrandbits(128) or 1


def new_span_id() -> int:
    """A random span id, never 0."""
    return getrandbits(64) or 1
