"""check_descriptor: the contract that every IO descriptor keeps."""

from __future__ import annotations

import asyncio
import inspect
import json
import warnings
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any

from bentoml._context import Context
from bentoml._http import Request, Response
from bentoml.exceptions import BentoMLException
from bentoml.io import IODescriptor, from_spec

__all__ = ["HOSTILE_BODIES", "check_descriptor"]

#: Bodies that have broken a parser somewhere: whatever the descriptor, they are a value or a refusal.
HOSTILE_BODIES: tuple[bytes, ...] = (
    b"",
    b" \r\n\t",
    b"\x00",
    b"\xff\xfe",
    b"\xed\xa0\x80",
    b"\xef\xbb\xbf{}",
    b"null",
    b"true",
    b"0",
    b"-1.5e-3",
    b'"text"',
    b"[]",
    b"{}",
    b"[[], []]",
    b"[[1, 2], [3]]",
    b"[1, [2]]",
    b'[1, "2", null, {}]',
    b'{"a": 1, "a": 2}',
    b'{"a": 1, "\\u0061": 2}',
    b"{",
    b'{"a": ',
    b"[1, 2] 3",
    b"NaN",
    b"[Infinity, -Infinity]",
    b"1e999",
    b"9" * 400,
    b"9" * 1_000_000,
    b"[" * 100_000,
    b"[" * 40 + b'"a"' + b"]" * 40,
    b"[" * 70 + b"]" * 70,
    b'{"a":' * 100_000,
    b'"\\ud800"',
    b'["\\u0000"]',
    b'["' + b"x" * 100_000 + b'"' + b', "y"' * 1_000 + b"]",
    b"a,b\n1,2\n3\n",
    b"\x80\x04\x95\x0e\x00\x00\x00\x00\x00\x00\x00\x8c\x02os\x94.",
    b"PK\x03\x04",
    b"PAR1",
    b"\x89PNG\r\n\x1a\n",
    b"--x\r\n\r\n--x--\r\n",
)


def check_descriptor(
    descriptor: IODescriptor[Any],
    *,
    good_bodies: Iterable[bytes | Request],
    bad_bodies: Iterable[bytes | Request] = (),
) -> None:
    """Check a descriptor as its users will use it.

    Args:
        descriptor: what to check.
        good_bodies: what it must take; a `Request` where the content type matters.
        bad_bodies: what it must refuse with a status of 400 to 499.

    Raises:
        AssertionError: it breaks the contract; the message says which part.
    """
    _check_spec(descriptor)
    _check_openapi(descriptor)
    for body in good_bodies:
        request = _request(body)
        response = descriptor.to_http_response(_decoded(descriptor, request), None)
        content = _content(response)
        assert response.status == 200, f"answered {response.status} without a context"
        if content:
            own = Request(body=content, raw_headers=[(b"content-type", response.content_type)])
            assert not _refused(descriptor, own), f"refuses its own answer {content[:60]!r}"
        _check_context(descriptor, request)
    for body in bad_bodies:
        request = _request(body)
        assert _refused(descriptor, request), f"took {request.body[:60]!r}, which it must refuse"
    for hostile in HOSTILE_BODIES:
        if not _refused(descriptor, request := Request(body=hostile)):
            _content(descriptor.to_http_response(_decoded(descriptor, request), None))


def _check_spec(descriptor: IODescriptor[Any]) -> None:
    """The spec is JSON, names the class, and makes an equal descriptor, or a warning of what is lost."""
    spec = descriptor.to_spec()
    assert json.loads(json.dumps(spec)) == spec, f"the spec is not made of JSON values: {spec}"
    assert spec["id"] == descriptor.descriptor_id
    if descriptor.descriptor_id is None:
        return  # nothing can find a class without an id
    with warnings.catch_warnings(record=True) as losses:
        warnings.simplefilter("always")
        again = from_spec(spec)
    assert type(again) is type(descriptor)
    assert losses or again.to_spec() == spec, f"{spec} made a descriptor whose spec is {again.to_spec()}"


def _check_openapi(descriptor: IODescriptor[Any]) -> None:
    """Request body and response are OpenAPI 3.1 objects of JSON values, whose references resolve."""
    components = descriptor.openapi_components()
    body, response = descriptor.openapi_request_body(), descriptor.openapi_responses()
    json.dumps([body, response, components], allow_nan=False)
    assert body["required"] is True
    assert response["description"]
    for part in (body, response):
        assert part["x-bentoml-io-descriptor"] == descriptor.to_spec()
        assert descriptor.mime_type in part["content"]
        assert all(isinstance(media["schema"], dict) for media in part["content"].values())
    for reference in _references([body, response, components]):
        prefix, _, name = reference.rpartition("/")
        assert prefix == "#/components/schemas", f"{reference} points outside the components"
        assert name in components, f"{reference} points to nothing"


def _check_context(descriptor: IODescriptor[Any], request: Request) -> None:
    """Status, headers, cookies and content type that the API function set are those of the answer."""
    context = Context(request)
    context.response.status_code = 418
    context.response.headers["x-check"] = "1"
    context.response.headers["content-type"] = "application/x-check"
    context.response.set_cookie("check", "1")
    response = descriptor.to_http_response(_decoded(descriptor, request), context)
    _content(response)
    assert response.status == 418
    assert response.content_type == b"application/x-check"
    names = [name for name, _ in response.raw_headers]
    assert b"content-type" not in names, "the content type would be sent twice"
    assert (b"x-check", b"1") in response.raw_headers
    assert b"set-cookie" in names


def _request(body: bytes | Request) -> Request:
    return body if isinstance(body, Request) else Request(body=body)


def _decoded(descriptor: IODescriptor[Any], request: Request) -> Any:
    value = descriptor.from_http_request(request)
    return asyncio.run(_awaited(value)) if inspect.isawaitable(value) else value


async def _awaited(value: Any) -> Any:
    return await value


def _refused(descriptor: IODescriptor[Any], request: Request) -> bool:
    error = _error_of(descriptor, request)
    if error is None:
        return False
    start = request.body[:60]
    assert 400 <= error.error_code < 500, f"answers {start!r} with {error.error_code}: {error}"
    assert str(error), f"refuses {start!r} without a reason"
    return True


def _error_of(descriptor: IODescriptor[Any], request: Request) -> BentoMLException | None:
    try:
        _decoded(descriptor, request)
    except BentoMLException as error:
        return error
    return None


def _content(response: Response) -> bytes:
    body = response.body
    return body if isinstance(body, bytes) else asyncio.run(_joined(body))


async def _joined(chunks: AsyncIterator[bytes]) -> bytes:
    return b"".join([chunk async for chunk in chunks])


def _references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        if isinstance(part.get("$ref"), str):
            yield part["$ref"]
        for inner in part.values():
            yield from _references(inner)
    elif isinstance(part, list):
        for inner in part:
            yield from _references(inner)
