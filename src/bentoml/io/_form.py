"""Parts of multipart/form-data: parsed strictly and within limits, and written."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from multipart import MultipartError, MultipartSegment, PushMultipartParser, parse_options_header

from bentoml._http import RawHeader, Request
from bentoml.exceptions import BadInput, UnsupportedMediaType

__all__ = ["Part", "base_name", "file_name", "form_of", "media_type", "parse_form", "uploads"]

FORM: Final = "multipart/form-data"
#: Far more than any form has; each costs about 10 µs.
MAX_PARTS: Final = 1000
#: RFC 7578 knows three.
MAX_HEADERS_PER_PART: Final = 8
MAX_HEADER_BYTES: Final = 4096
#: Of all parts together: a byte of a header costs a hundred times what a byte of a body does.
MAX_HEADERS_BYTES: Final = 256 * 1024
#: RFC 2046, section 5.1.1.
MAX_BOUNDARY_BYTES: Final = 70
#: What file systems take for a name; longer ones are not meant as such.
MAX_FILE_NAME_CHARS: Final = 255


class Part(NamedTuple):
    """One part of a form.

    Attributes:
        filename: as sent, so nothing to open or to create; None for a part that is no file.
        raw_headers: names in lower case.
    """

    name: str
    filename: str | None
    raw_headers: list[RawHeader]
    body: bytes

    def request_in(self, whole: Request) -> Request:
        """The part as a request of its own, which came the way that the whole one did."""
        return Request(
            method=whole.method,
            path=whole.path,
            query_string=whole.query_string,
            raw_headers=self.raw_headers,
            body=self.body,
            client=whole.client,
            scheme=whole.scheme,
        )


def media_type(request: Request) -> str:
    """The content type in lower case and without parameters; empty where none was sent."""
    return request.header(b"content-type").partition(b";")[0].strip().lower().decode("latin-1")


def parse_form(content_type: str, body: bytes) -> Iterator[Part]:
    """The parts of a form in their order, each as soon as it is reached.

    Args:
        content_type: the header with its parameters, one of which is the boundary.

    Raises:
        UnsupportedMediaType: the content type is not that of a form.
        BadInput: the form is malformed, or beyond the limits.
    """
    essence, parameters = parse_options_header(content_type)
    if essence != FORM:
        raise UnsupportedMediaType(
            f"expected a form, but the content type is {essence[:100]!r}",
            hint=f"send {FORM}, as curl does with -F 'name=value' and -F 'name=@path'",
        )
    boundary = parameters.get("boundary", "")
    if not 0 < len(boundary) <= MAX_BOUNDARY_BYTES or not (boundary.isascii() and boundary.isprintable()):
        raise BadInput(f"the content type of a form must name its boundary, 1 to {MAX_BOUNDARY_BYTES} ASCII characters")
    try:
        yield from _parts(boundary, body)
    except MultipartError as error:
        raise BadInput(
            f"the form cannot be read: {error.args[0]}",
            hint=f"{MAX_PARTS} parts at most, each with up to {MAX_HEADERS_PER_PART} header fields of up to "
            f"{MAX_HEADER_BYTES} bytes, {MAX_HEADERS_BYTES} bytes in all",
        ) from None


def _parts(boundary: str, body: bytes) -> Iterator[Part]:
    with PushMultipartParser(
        boundary,
        max_header_size=MAX_HEADER_BYTES,
        max_header_count=MAX_HEADERS_PER_PART,
        max_segment_count=MAX_PARTS,
        strict=True,
    ) as parser:
        headers_bytes = 0
        for event in parser.parse(body):
            if isinstance(event, MultipartSegment):
                segment, pieces = event, []
                headers_bytes += sum(len(name) + len(value) for name, value in segment.headerlist)
                if headers_bytes > MAX_HEADERS_BYTES:
                    raise MultipartError("the headers of its parts are too long")
            elif event is not None:
                pieces.append(event)
            else:
                headers = [(name.lower().encode(), value.encode()) for name, value in segment.headerlist]
                yield Part(segment.name or "", segment.filename, headers, b"".join(pieces))


def uploads(request: Request) -> Iterator[Request]:
    """The request itself or, where it is a form, each of its parts that names a file or a content type."""
    if media_type(request) != FORM:
        yield request
        return
    for part in parse_form(request.header(b"content-type").decode("latin-1"), request.body):
        if part.filename is not None or any(name == b"content-type" for name, _ in part.raw_headers):
            yield part.request_in(request)


def file_name(request: Request) -> str | None:
    """The base name of the file that a request or part says to hold, None where it says nothing."""
    disposition = request.header(b"content-disposition")
    if not disposition:
        return None
    return base_name(parse_options_header(disposition.decode("utf-8", "replace"))[1].get("filename"))


def base_name(path: object) -> str | None:
    """The last component of a path of any system, with printable characters only; None if nothing is left of it."""
    if not isinstance(path, str):
        return None
    last = path.replace("\\", "/").rpartition("/")[2]
    name = "".join(char for char in last if char.isprintable()).strip()[:MAX_FILE_NAME_CHARS]
    return None if name in ("", ".", "..") else name


def form_of(parts: Iterable[Part]) -> tuple[bytes, bytes]:
    """Body and content type of a form; the content disposition of each part is written here.

    Raises:
        ValueError: a header of a part holds a line break or NUL.
    """
    boundary = secrets.token_hex(16).encode()  # so long that no body holds it
    chunks: list[bytes] = []
    for part in parts:
        disposition = f'form-data; name="{_quoted(part.name)}"'
        if part.filename is not None:
            disposition += f'; filename="{_quoted(part.filename)}"'
        chunks.append(b"--%b\r\ncontent-disposition: %b\r\n" % (boundary, disposition.encode("utf-8", "replace")))
        for name, value in part.raw_headers:
            if any(char in value for char in b"\r\n\0"):
                raise ValueError(f"the header {name.decode('latin-1')!r} holds a line break or NUL")
            chunks.append(b"%b: %b\r\n" % (name, value))
        chunks += (b"\r\n", part.body, b"\r\n")
    chunks.append(b"--%b--\r\n" % boundary)
    return b"".join(chunks), b"multipart/form-data; boundary=" + boundary


def _quoted(text: str) -> str:
    """As browsers write it; see "multipart/form-data encoding algorithm" of the HTML standard."""
    return text.replace("\r", "%0D").replace("\n", "%0A").replace('"', "%22")
