"""async_request and parse_multipart_form: one request and a look at its answer, as BentoML's own tests write them."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from bentoml._importing import require

__all__ = ["FormFile", "async_request", "parse_multipart_form"]


async def async_request(
    method: str,
    url: str,
    headers: Mapping[str, str] | None = None,
    data: bytes | str | None = None,
    timeout: float | None = None,
    assert_status: int | Callable[[int], bool] | None = None,
    assert_data: bytes | Callable[[bytes], bool] | None = None,
    assert_headers: Callable[[Mapping[str, str]], bool] | None = None,
) -> tuple[int, Mapping[str, str], bytes]:
    """Make one request on a connection of its own.

    Args:
        data: the body.
        timeout: seconds; None waits as long as it takes.
        assert_status, assert_data, assert_headers: what must be answered, or functions that say whether it is right.

    Returns:
        Status, headers (case-insensitive) and body of the answer.

    Raises:
        AssertionError: the answer is another one.
        MissingDependencyException: httpx is not installed.
    """
    httpx = require("httpx", install="'makunouchi[client]'", what="bentoml.testing.async_request")
    async with httpx.AsyncClient(timeout=timeout) as client:
        answer = await client.request(method, url, headers=headers, content=data)
    status, body = int(answer.status_code), bytes(answer.content)
    checks: tuple[tuple[str, Any, Any], ...] = (
        ("status", status, assert_status),
        ("body", body, assert_data),
        ("headers", answer.headers, assert_headers),
    )
    for what, found, expected in checks:
        if expected is not None:
            right = expected(found) if callable(expected) else found == expected
            assert right, f"{method} {url}: unexpected {what} {found!r}; the answer is {status}: {body[:500]!r}"
    return status, answer.headers, body


class FormFile(NamedTuple):
    """One file of a form.

    Attributes:
        file: its content, to be read.
        headers: of the part, names in lower case.
    """

    filename: str
    file: io.BytesIO
    headers: dict[str, str]

    @property
    def content_type(self) -> str:
        """Of the part; empty where it has none."""
        return self.headers.get("content-type", "")

    async def read(self) -> bytes:
        """The content, from where `file` stands."""
        return self.file.read()


async def parse_multipart_form(headers: Mapping[str, str], body: bytes) -> dict[str, str | FormFile]:
    """The fields of a `multipart/form-data` answer: text as `str`, files as `FormFile`.

    Args:
        headers: of the answer; its content type names the boundary.

    Raises:
        BentoMLException: the body is no such form.
    """
    from bentoml.io._form import parse_form

    content_type = next((value for name, value in headers.items() if name.lower() == "content-type"), "")
    found: dict[str, str | FormFile] = {}
    for part in parse_form(content_type, body):
        own = {name.decode("latin-1"): value.decode("latin-1") for name, value in part.raw_headers}
        is_file = part.filename is not None or not own.get("content-type", "text/plain").startswith("text/plain")
        if is_file:
            found[part.name] = FormFile(part.filename or "", io.BytesIO(part.body), own)
        else:
            found[part.name] = part.body.decode("utf-8", "replace")
    return found
