"""The wire format of HTTP/1.1 answers and request targets, as pure functions."""

from __future__ import annotations

import re
from email.utils import formatdate
from http import HTTPStatus
from urllib.parse import unquote_to_bytes

import msgspec

from bentoml._http import RawHeader, Response

__all__ = ["CONTINUE", "answer_head", "failed", "has_body", "json_string", "refused", "split_target", "stamp"]

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

_STATUS_LINES = {
    status.value: b"HTTP/1.1 %d %b\r\n" % (status.value, status.phrase.encode())
    for status in HTTPStatus
    if status.value >= 200
}
# Integers, because `b"#" in data` takes ten times as long as `35 in data`.
_NUL, _LF, _CR, _HASH, _PERCENT = b"\0\n\r#%"
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_ABSOLUTE_FORM = re.compile(rb"https?://[^/?#]+(.*)", re.IGNORECASE)


def stamp(now_unix_s: float) -> bytes:
    """The header fields that all answers of one second have."""
    return b"server: makunouchi\r\ndate: %b\r\n" % formatdate(now_unix_s, usegmt=True).encode()


def has_body(status: int) -> bool:
    """Whether answers of this status have a body; those that have none have no length either."""
    return status not in (204, 304)


def json_string(message: str, *, status: int, raw_headers: list[RawHeader] | None = None) -> Response:
    """An answer whose body is one JSON string."""
    body = msgspec.json.encode(message)
    return Response(body, status=status, content_type=b"application/json", raw_headers=raw_headers)


def refused(status: int, message: str) -> Response:
    """The answer to bytes that will not be served; a client that is told 503 may come again."""
    return json_string(message, status=status, raw_headers=[(b"retry-after", b"1")] if status == 503 else None)


def failed(request_id: int) -> Response:
    """The answer in place of one that cannot be sent; 0 for a request that has got no id yet."""
    return json_string(
        "", status=500, raw_headers=[(b"x-bentoml-request-id", b"%d" % request_id)] if request_id else None
    )


def answer_head(response: Response, *, fields: bytes) -> bytes:
    """Status line and header fields, up to and with the empty line.

    Args:
        fields: whole header lines that the server adds.

    Raises:
        ValueError: the status is not 200 to 599, or a field holds a line break, with which whoever chose its
            value could add fields of their own, or NUL.
    """
    status_line = _STATUS_LINES.get(response.status)
    if status_line is None:
        if not 200 <= response.status <= 599:
            raise ValueError(f"the status of an answer must be 200 to 599, not {response.status}")
        status_line = b"HTTP/1.1 %d \r\n" % response.status
    own = b"content-type: " + response.content_type + b"\r\n" if response.content_type else b""
    line_count = 1 if own else 0
    if response.raw_headers:
        own += b"".join([b"%b: %b\r\n" % field for field in response.raw_headers])
        line_count += len(response.raw_headers)
    if own.count(_LF) != line_count or own.count(_CR) != line_count or _NUL in own:
        raise ValueError(f"a header field of the answer holds a line break or NUL: {own!r}")
    return b"".join((status_line, own, fields, b"\r\n"))


def split_target(target: bytes, *, method: str) -> tuple[str, bytes]:
    """The percent-decoded path and the query string of a request target, in any of its forms but CONNECT's.

    Raises:
        ValueError: the target has another form, or its path is not UTF-8 or holds a control character.
    """
    if not target.startswith(b"/"):
        target = _without_origin(target, method)
    if _HASH in target:
        raise ValueError("a request target has no fragment")
    raw_path, _, query_string = target.partition(b"?")
    if _PERCENT in raw_path:
        raw_path = unquote_to_bytes(raw_path)
    try:
        path = raw_path.decode()
    except UnicodeDecodeError:
        raise ValueError("the path is not UTF-8") from None
    if not path.isprintable() and _CONTROL.search(path):
        raise ValueError("the path holds a control character")
    return path, query_string


def _without_origin(target: bytes, method: str) -> bytes:
    if target == b"*" and method == "OPTIONS":
        return target
    absolute = _ABSOLUTE_FORM.fullmatch(target)
    if absolute is None:
        raise ValueError("the request target is neither a path nor an http URL")
    path_and_query = absolute[1]
    return path_and_query if path_and_query.startswith(b"/") else b"/" + path_and_query
