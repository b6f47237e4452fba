"""Request, Response, Headers: the plain values that travel between HTTP server, descriptors and user code."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, MutableMapping
from urllib.parse import parse_qsl

__all__ = ["Headers", "QueryParams", "Request", "Response"]

#: A header as it stands on the wire: latin-1, the name in lower case.
RawHeader = tuple[bytes, bytes]


class Headers(MutableMapping[str, str]):
    """A case-insensitive multimap of header fields, kept as they stand on the wire.

    `headers[name]` is the first value, `getlist(name)` all of them; assigning replaces all of them.
    """

    __slots__ = ("raw",)

    def __init__(self, raw: list[RawHeader] | None = None) -> None:
        self.raw = raw if raw is not None else []

    def __getitem__(self, name: str) -> str:
        wanted = name.lower().encode("latin-1", "replace")
        for key, value in self.raw:
            if key == wanted:
                return value.decode("latin-1")
        raise KeyError(name)

    def __setitem__(self, name: str, value: str) -> None:
        self.pop(name, None)
        self.add(name, value)

    def __delitem__(self, name: str) -> None:
        wanted = name.lower().encode("latin-1", "replace")
        kept = [item for item in self.raw if item[0] != wanted]
        if len(kept) == len(self.raw):
            raise KeyError(name)
        self.raw[:] = kept

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(key.decode("latin-1") for key, _ in self.raw))

    def __len__(self) -> int:
        return len({key for key, _ in self.raw})

    def __repr__(self) -> str:
        return f"Headers({[(k.decode('latin-1'), v.decode('latin-1')) for k, v in self.raw]!r})"

    def add(self, name: str, value: str) -> None:
        """Append a field and keep those of the same name.

        Raises:
            ValueError: name or value hold a line break or NUL, which would forge further headers.
        """
        if any(c in name or c in value for c in "\r\n\0"):
            raise ValueError(f"the header {name!r} holds a line break or NUL")
        self.raw.append((name.lower().encode("latin-1"), value.encode("latin-1")))

    def getlist(self, name: str) -> list[str]:
        """Every value of the field, in order."""
        wanted = name.lower().encode("latin-1", "replace")
        return [value.decode("latin-1") for key, value in self.raw if key == wanted]


class QueryParams(dict[str, str]):
    """The query string as a mapping to the last value of each name; `getlist` has all of them."""

    def __init__(self, query_string: bytes) -> None:
        self._pairs = parse_qsl(query_string.decode("latin-1"), keep_blank_values=True)
        super().__init__(self._pairs)

    def getlist(self, name: str) -> list[str]:
        """Every value of the name, in order."""
        return [value for key, value in self._pairs if key == name]


class Request:
    """One HTTP request whose body has been read.

    Args:
        path: percent-decoded, without the query string.
        query_string: as sent, without the question mark.
        raw_headers: names in lower case.
        client: `"host:port"` of the peer, `"_"` where the transport has none.

    Attributes:
        is_late: it has been answered with a 504 in place of its handler.
        request_id: given when its handling begins; 0 before.
        trace: what `_context.trace_of` has found out, which is the one to ask.
    """

    __slots__ = (
        "body", "client", "is_late", "method", "path", "query_string", "raw_headers", "request_id", "scheme", "trace",
    )  # fmt: skip

    def __init__(
        self,
        *,
        method: str = "POST",
        path: str = "/",
        query_string: bytes = b"",
        raw_headers: list[RawHeader] | None = None,
        body: bytes = b"",
        client: str = "_",
        scheme: str = "http",
    ) -> None:
        self.method = method
        self.path = path
        self.query_string = query_string
        self.raw_headers = raw_headers if raw_headers is not None else []
        self.body = body
        self.client = client
        self.scheme = scheme
        self.is_late = False
        self.request_id = 0
        self.trace: tuple[int, bool] | None = None

    def header(self, name: bytes) -> bytes:
        """The first value of a header given in lower case, `b""` where it is absent."""
        for key, value in self.raw_headers:
            if key == name:
                return value
        return b""

    @property
    def headers(self) -> Headers:
        """The header fields as a case-insensitive multimap."""
        return Headers(self.raw_headers)

    @property
    def query_params(self) -> QueryParams:
        """The decoded query string."""
        return QueryParams(self.query_string)


class Response:
    """One HTTP answer.

    Args:
        status: the code, 200 to 599.
        body: the whole body, or an asynchronous iterator of its chunks.
        content_type: `b""` sends no such header.
        raw_headers: further header fields, names in lower case; neither length nor connection headers, which the
            server writes itself.
    """

    __slots__ = ("body", "content_type", "raw_headers", "status")

    def __init__(
        self,
        body: bytes | AsyncIterator[bytes] = b"",
        *,
        status: int = 200,
        content_type: bytes = b"text/plain; charset=utf-8",
        raw_headers: list[RawHeader] | None = None,
    ) -> None:
        self.body = body
        self.status = status
        self.content_type = content_type
        self.raw_headers = raw_headers if raw_headers is not None else []
