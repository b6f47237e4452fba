"""gzip: who wants it, what is worth it, and that the body is the same afterwards."""

from __future__ import annotations

import asyncio
import gzip
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bentoml._http import Request, Response
from bentoml.config.http import Gzip
from bentoml.server import compression
from bentoml.server.compression import accepts_gzip, gzip_layer, is_compressible
from tests._server import Server

TEXT = b'{"label": "good", "probability": 0.5}' * 100


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("gzip", True),
        ("GZIP", True),
        ("x-gzip", True),
        ("gzip, deflate, br, zstd", True),
        ("deflate, gzip;q=1.0, *;q=0.5", True),
        ("gzip;q=0.001", True),
        ("gzip ; q = 0.8 , identity;q=0.5", True),
        ("*", True),
        ("br, *;q=0.1", True),
        ("", False),
        ("identity", False),
        ("br", False),
        ("gzip;q=0", False),
        ("gzip;q=0.000", False),
        ("gzip;q=0, *", False),
        ("*;q=0", False),
        ("gzip;q=0.5, identity", False),
        ("identity;q=1, *;q=0.5", False),
        ("gzip;q=nonsense", False),
        ("gzipped", False),
    ],
)
def test_a_client_gets_gzip_if_it_would_rather_have_it(value: str, expected: bool) -> None:
    assert accepts_gzip(value.encode()) is expected


@settings(max_examples=100)
@given(st.binary(max_size=60))
def test_no_wish_is_an_error(value: bytes) -> None:
    accepts_gzip(value)
    is_compressible(value)


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        ("application/json", True),
        ("application/json; charset=utf-8", True),
        ("text/plain; charset=utf-8", True),
        ("text/csv", True),
        ("application/problem+json", True),
        ("image/svg+xml", True),
        ("text/event-stream", False),
        ("text/event-stream; charset=utf-8", False),
        ("image/png", False),
        ("application/octet-stream", False),
        ("application/vnd.apache.parquet", False),
        ("", False),
    ],
)
def test_what_is_compressed_already_is_left_alone(content_type: str, expected: bool) -> None:
    assert is_compressible(content_type.encode()) is expected


def ask(response: Response, accept: bytes = b"gzip", **config: Any) -> Response:
    async def inner(request: Request) -> Response:
        return response

    async def main() -> Response:
        answer = gzip_layer(Gzip(enabled=True, **config))(inner)(Request(raw_headers=[(b"accept-encoding", accept)]))
        assert not isinstance(answer, Response)
        return await answer

    return asyncio.run(main())


def answer(body: Any = TEXT, **options: Any) -> Response:
    return Response(body, content_type=options.pop("content_type", b"application/json"), **options)


@pytest.mark.parametrize("size", [len(TEXT), compression.OFFLOAD_BYTES + 1], ids=["here", "in a thread"])
@pytest.mark.parametrize("level", [1, 9])
def test_a_compressed_body_is_the_same_and_smaller(size: int, level: int) -> None:
    body = (TEXT * (size // len(TEXT) + 1))[:size]
    response = ask(answer(body), level=level)
    assert isinstance(response.body, bytes)
    assert gzip.decompress(response.body) == body
    assert len(response.body) < size / 5
    assert response.raw_headers == [(b"vary", b"accept-encoding"), (b"content-encoding", b"gzip")]


def test_a_client_that_does_not_want_it_gets_the_body_and_a_cache_is_told() -> None:
    response = ask(answer(), accept=b"br")
    assert (response.body, response.raw_headers) == (TEXT, [(b"vary", b"accept-encoding")])


async def _chunks() -> Any:
    yield TEXT


@pytest.mark.parametrize(
    "response",
    [
        answer(b"x" * 1023),
        answer(content_type=b"image/png"),
        answer(_chunks()),
        answer(status=304),
        answer(raw_headers=[(b"content-encoding", b"br")]),
    ],
    ids=["small", "png", "stream", "304", "encoded"],
)
def test_what_is_not_worth_it_is_left_as_it_is(response: Response) -> None:
    body, fields = response.body, list(response.raw_headers)
    asked = ask(response)
    assert (asked.body, asked.raw_headers) == (body, fields)


def test_a_body_that_would_grow_is_sent_as_it_is() -> None:
    response = ask(answer(b"7"), min_bytes=0)
    assert (response.body, response.raw_headers) == (b"7", [(b"vary", b"accept-encoding")])


def test_a_strong_tag_becomes_a_weak_one() -> None:
    assert (b"etag", b'W/"a"') in ask(answer(raw_headers=[(b"etag", b'"a"')])).raw_headers
    assert (b"etag", b'W/"a"') in ask(answer(raw_headers=[(b"etag", b'W/"a"')])).raw_headers


# A server


def test_a_server_compresses_when_it_is_asked_to(guarded: Server, key: dict[str, str]) -> None:
    value = [{"label": "good"}] * 1000
    plain = guarded.post("/echo", value, key)
    assert "content-encoding" not in plain.headers
    compressed = guarded.post("/echo", value, {**key, "Accept-Encoding": "gzip"})
    assert compressed.headers["content-encoding"] == "gzip"
    assert int(compressed.headers["content-length"]) == len(compressed.body) < len(plain.body) / 10
    assert json.loads(gzip.decompress(compressed.body)) == value


def test_head_has_the_headers_of_get(guarded: Server, key: dict[str, str]) -> None:
    headers = {**key, "Accept-Encoding": "gzip"}
    got, head = (guarded.request(method, "/docs.json", headers=headers) for method in ("GET", "HEAD"))
    assert head.headers["content-length"] == got.headers["content-length"] == str(len(got.body))
    assert head.headers["content-encoding"] == "gzip"


def test_what_is_off_says_nothing(kitchen: Server) -> None:
    headers = kitchen.request("GET", "/docs.json", headers={"Accept-Encoding": "gzip"}).headers
    assert "content-encoding" not in headers
    assert "vary" not in headers
