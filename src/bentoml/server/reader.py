"""RequestReader: bytes in, whole requests out; it knows HTTP/1.1 and the limits, neither sockets nor time.

llhttp (httptools) splits the bytes and refuses most of what is malformed. Left to do here: hold requests to
the limits, and refuse what llhttp lets pass although two servers in a row could read it differently.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Final, NoReturn

import httptools

from bentoml._http import RawHeader, Request
from bentoml.server.http1 import split_target
from bentoml.server.limits import Limits, Phase

__all__ = ["PIECE_BYTES", "Received", "Refusal", "RequestReader"]

#: At most so much is fed at once, so that a client that writes thousands of requests without waiting is
#: answered in between; nearly every request fits.
PIECE_BYTES: Final = 16 * 1024

#: A request, whether the connection may serve another after it, and whether it is HTTP/1.1 rather than 1.0.
Received = tuple[Request, bool, bool]

_FRAMING = frozenset({b"content-length", b"expect", b"host", b"transfer-encoding"})
#: A length of more digits is too large whatever they are; `int` would refuse thousands of them with an error.
_MAX_LENGTH_DIGITS = 19
# Global names cost half of attributes of an enum class, and these stand on every request's way.
_IDLE, _HEAD, _BODY = Phase.IDLE, Phase.HEAD, Phase.BODY


class Refusal(Exception):
    """The bytes are no request that will be served; the connection must close after the answer.

    Attributes:
        status: of the answer.
        message: what was wrong, for the client.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class RequestReader:
    """The incoming half of one connection.

    Attributes:
        requests: those that are complete, oldest first; the owner takes them out.
        phase: IDLE, HEAD or BODY: what of the next request is missing.
        closed: there will be no further request; whatever arrives is ignored.
        continue_wanted: the client waits for `100 Continue` before it sends the body.
    """

    __slots__ = (
        "_body", "_client", "_fields", "_headers", "_http11", "_limits", "_method", "_parser", "_path",
        "_query_string", "_refusal", "_scheme", "_stray_bytes", "_target", "_upgrade", "closed",
        "continue_wanted", "phase", "requests",
    )  # fmt: skip

    def __init__(self, limits: Limits, *, client: str, scheme: str) -> None:
        self._limits = limits
        self._client = client
        self._scheme = scheme
        self._parser: Any = httptools.HttpRequestParser(self)
        self._refusal: Refusal | None = None
        self._headers: list[RawHeader] = []
        self._fields: list[RawHeader] = []
        self.requests: deque[Received] = deque()
        self._body: bytes | bytearray = b""
        self.phase = _IDLE
        self.closed = False
        self.continue_wanted = False

    def feed(self, data: bytes | memoryview) -> None:
        """Take the next bytes of the stream, at most `PIECE_BYTES`; `requests` grows by what they complete.

        Raises:
            Refusal: they cannot be served, and nothing may be fed after them.
        """
        body_bytes_before = len(self._body)
        while True:
            try:
                self._parser.feed_data(data)
                break
            except httptools.HttpParserUpgrade as upgrade:
                data = self._without_upgrade(bytes(data[upgrade.args[0] :]))
            except httptools.HttpParserError as error:
                if self._refusal is not None:
                    raise self._refusal from None
                if isinstance(error, httptools.HttpParserCallbackError):
                    raise
                if self.closed:
                    return  # llhttp complains of bytes behind the last request
                self._refuse(400, f"malformed request: {error}")
        if self.phase is not _IDLE and len(self._body) == body_bytes_before:
            self._count_stray(len(data))

    @property
    def body_bytes(self) -> int:
        """How much of the next request's body has arrived."""
        return len(self._body)

    @property
    def fields(self) -> list[RawHeader]:
        """The header fields of the request that is arriving, as far as they have come."""
        return self._fields or self._headers

    def close(self) -> None:
        """Let go of the parser, which refers back to this object."""
        self.closed = True
        self._parser = None

    # What llhttp calls, in this order. A refusal that is raised here comes out of `feed`.

    def on_message_begin(self) -> None:
        self.phase = _HEAD
        self._stray_bytes = 0
        self._target = self._body = b""
        self._fields = []

    def on_url(self, part: bytes) -> None:
        self._target += part

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields.append((name.lower(), value.rstrip(b" \t")))

    def on_headers_complete(self) -> None:
        parser = self._parser
        version = parser.get_http_version()
        self._http11 = version == "1.1"
        if not self._http11 and version != "1.0":
            self._refuse(505, "only HTTP/1.1 and HTTP/1.0 are spoken here")
        self._method = parser.get_method().decode()
        # What follows the body are trailers. They go to a list that nobody reads, as they could forge a field
        # that was checked before the body.
        self._headers, self._fields = self._fields, []
        self._check_size()
        self._check_framing()
        self._upgrade = parser.should_upgrade()
        if self._upgrade:
            if self._method == "CONNECT":
                self._refuse(501, "this server is no proxy")
            return
        try:
            self._path, self._query_string = split_target(self._target, method=self._method)
        except ValueError as error:
            self._refuse(400, f"malformed request: {error}")
        self.phase = _BODY

    def on_body(self, part: bytes) -> None:
        if len(self._body) + len(part) > self._limits.body_bytes:
            self._refuse_body()
        if not self._body:
            self._body = part
            return
        if isinstance(self._body, bytes):  # a list of parts could take forty times what the client sent
            self._body = bytearray(self._body)
        self._body += part

    def on_message_complete(self) -> None:
        if self._upgrade:
            return
        keep_alive = self._parser.should_keep_alive()
        request = Request(
            method=self._method,
            path=self._path,
            query_string=self._query_string,
            raw_headers=self._headers,
            body=bytes(self._body),
            client=self._client,
            scheme=self._scheme,
        )
        self.requests.append((request, keep_alive, self._http11))
        self.phase = _IDLE
        self.closed = not keep_alive
        self.continue_wanted = False
        self._body = b""

    # ---

    def _check_framing(self) -> None:
        host_count = 0
        for name, value in self._headers:
            if name not in _FRAMING:
                continue
            if name == b"host":
                host_count += 1
            elif name == b"content-length":
                if len(value) > _MAX_LENGTH_DIGITS or int(value) > self._limits.body_bytes:
                    self._refuse_body()
            elif name == b"expect":
                self.continue_wanted = self._http11 and value.lower() == b"100-continue"
            elif not self._http11:
                self._refuse(400, "malformed request: HTTP/1.0 has no Transfer-Encoding")
            elif value.lower() != b"chunked":
                self._refuse(501, "the only transfer coding understood is 'chunked'")
        if host_count > 1 or (host_count == 0 and self._http11):
            self._refuse(400, f"malformed request: one Host field was expected, {host_count} were sent")

    def _without_upgrade(self, rest: bytes) -> bytes:
        # llhttp ends a request that asks for another protocol at its head and would take its body for the
        # next request. Nobody has to grant an upgrade (Java's client asks for h2c with every first POST), so
        # the request is read again as if it had not asked.
        fields = b"".join([b"%b: %b\r\n" % field for field in self._headers if field[0] != b"upgrade"])
        version = b"1.1" if self._http11 else b"1.0"
        self._parser = httptools.HttpRequestParser(self)
        return b"%b %b HTTP/%b\r\n%b\r\n%b" % (self._method.encode(), self._target, version, fields, rest)

    def _check_size(self) -> None:
        limits = self._limits
        if len(self._headers) > limits.header_count:
            self._refuse(431, f"the request has more than {limits.header_count} header fields")
        # The head is in this piece and those that were counted, so that it rarely needs to be measured.
        if self._stray_bytes + PIECE_BYTES > limits.header_bytes:
            size_bytes = len(self._target) + sum(len(name) + len(value) + 4 for name, value in self._headers)
            if size_bytes > limits.header_bytes:
                self._refuse_head()

    def _count_stray(self, grown_bytes: int) -> None:
        # Bounds what of a head waits to be measured, and what nobody measures: trailers and chunk extensions.
        # One piece more than the limit, as the first may begin with the end of an earlier request.
        self._stray_bytes += grown_bytes
        if self._stray_bytes > self._limits.header_bytes + PIECE_BYTES:
            self._refuse_head()

    def _refuse_head(self) -> NoReturn:
        self._refuse(431, f"the header is larger than {self._limits.header_bytes} bytes")

    def _refuse_body(self) -> NoReturn:
        self._refuse(413, f"the body is larger than {self._limits.body_bytes} bytes")

    def _refuse(self, status: int, message: str) -> NoReturn:
        self.closed = True
        self._refusal = Refusal(status, message)
        raise self._refusal
