"""Text: UTF-8 in, UTF-8 out, whole or streamed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bentoml._context import Context
from bentoml._http import Request
from bentoml.exceptions import BadInput, InternalServerError, InvalidArgument
from bentoml.io import SSE, Text, from_spec
from bentoml.testing.descriptor import check_descriptor


def _collect(body: bytes | AsyncIterator[bytes]) -> list[bytes]:
    assert not isinstance(body, bytes)

    async def collect() -> list[bytes]:
        return [chunk async for chunk in body]

    return asyncio.run(collect())


@pytest.mark.parametrize("descriptor", [Text(), Text("text/event-stream"), Text.from_sample("ü")])
def test_text_keeps_the_contract_of_descriptors(descriptor: Text) -> None:
    check_descriptor(descriptor, good_bodies=[b"", b"a", "日本\n".encode()], bad_bodies=[b"\xff", b"a\xc3"])


@given(st.binary())
def test_any_bytes_are_a_string_or_bad_input(body: bytes) -> None:
    try:
        value = Text().from_http_request(Request(body=body))
    except BadInput:
        return
    assert Text().to_http_response(value, None).body == body


def test_a_body_that_is_not_utf_8_is_refused_with_the_place() -> None:
    with pytest.raises(BadInput, match="Text: the body is not UTF-8: invalid start byte at byte 2"):
        Text().from_http_request(Request(body=b"ab\xffc"))


def test_an_answer_is_sent_as_utf_8_and_says_so() -> None:
    response = Text().to_http_response("ü", None)
    assert (response.body, response.content_type) == (b"\xc3\xbc", b"text/plain; charset=utf-8")


def test_an_asynchronous_generator_is_streamed_in_its_own_chunks() -> None:
    async def words() -> AsyncIterator[str]:
        yield "data: ü\n\n"
        yield "data: 2\n\n"

    response = Text("text/event-stream").to_http_response(words(), None)
    assert response.content_type == b"text/event-stream; charset=utf-8"
    assert _collect(response.body) == ["data: ü\n\n".encode(), b"data: 2\n\n"]


@pytest.mark.parametrize("content_type", ["text/event-stream", "text/plain"])
def test_a_stream_may_mix_events_and_text_that_is_marshalled_already(content_type: str) -> None:
    async def events() -> AsyncIterator[Any]:
        yield SSE("ü\n1", event="token")
        yield "data: 2\n\n"

    response = Text(content_type).to_http_response(events(), None)
    assert _collect(response.body) == ["event: token\ndata: ü\ndata: 1\n\n".encode(), b"data: 2\n\n"]


def test_a_stream_carries_what_the_context_set() -> None:
    async def words() -> AsyncIterator[str]:
        yield "a"

    context = Context(Request())
    context.response.headers["content-type"] = "text/event-stream"
    response = Text().to_http_response(words(), context)
    assert response.content_type == b"text/event-stream"
    assert _collect(response.body) == [b"a"]


def test_closing_a_stream_closes_the_generator_of_the_user() -> None:
    seen: list[str] = []

    async def words() -> AsyncIterator[str]:
        try:
            while True:
                yield "a"
        finally:
            seen.append("closed")

    async def read_one() -> None:
        body: Any = Text().to_http_response(words(), None).body
        assert await anext(body) == b"a"
        await body.aclose()
        assert seen == ["closed"]

    asyncio.run(read_one())


def test_an_asynchronous_iterator_without_aclose_is_streamed_too() -> None:
    class Once:
        def __init__(self) -> None:
            self.left = ["a"]

        def __aiter__(self) -> Once:
            return self

        async def __anext__(self) -> str:
            if not self.left:
                raise StopAsyncIteration
            return self.left.pop()

    assert _collect(Text().to_http_response(Once(), None).body) == [b"a"]


@pytest.mark.parametrize("value", [b"bytes", None, 5, ["a"], {"a": 1}])
def test_an_answer_that_is_no_text_is_an_error_of_the_service_that_names_its_type(value: Any) -> None:
    with pytest.raises(InternalServerError, match=rf"returned {type(value).__name__}, not str .*hint: return str"):
        Text().to_http_response(value, None)


def test_a_chunk_that_is_no_text_ends_the_stream_with_an_error() -> None:
    async def words() -> AsyncIterator[Any]:
        yield b"bytes"

    with pytest.raises(InternalServerError, match="returned bytes, not str"):
        _collect(Text().to_http_response(words(), None).body)


def test_a_lone_surrogate_in_an_answer_is_an_error_of_the_service() -> None:
    with pytest.raises(InternalServerError, match="cannot be sent as UTF-8: surrogates not allowed at character 1"):
        Text().to_http_response("a\ud800", None)


@pytest.mark.parametrize(
    "content_type", ["", "text", "text/plain\r\nx: y", "text/plain; charset=latin-1", "a/b/c", "ü/x"]
)
def test_a_content_type_that_is_none_for_utf_8_is_refused(content_type: str) -> None:
    with pytest.raises(InvalidArgument, match=r"is no media type of UTF-8 text \(hint: content_type="):
        Text(content_type)


def test_a_charset_that_is_utf_8_may_be_written_out() -> None:
    assert Text("text/plain; charset=UTF-8").to_spec() == {"id": "bentoml.io.Text", "args": {}}


def test_the_spec_holds_the_content_type_only_where_it_is_not_plain() -> None:
    assert Text().to_spec() == {"id": "bentoml.io.Text", "args": {}}
    spec = {"id": "bentoml.io.Text", "args": {"content_type": "text/event-stream"}}
    assert Text("text/event-stream").to_spec() == spec
    assert from_spec(spec).mime_type == "text/event-stream"


def test_a_spec_of_bentoml_has_no_arguments() -> None:
    assert isinstance(from_spec({"id": "bentoml.io.Text"}), Text)


@pytest.mark.parametrize("sample", ["ü", "ü".encode()])
def test_a_sample_is_the_example_of_the_document(sample: str | bytes) -> None:
    body = Text.from_sample(sample).openapi_request_body()
    assert body["content"] == {"text/plain": {"schema": {"type": "string"}, "example": "ü"}}


def test_without_a_sample_there_is_no_example() -> None:
    assert Text().openapi_request_body()["content"] == {"text/plain": {"schema": {"type": "string"}}}


@pytest.mark.parametrize("sample", [5, None, b"\xff"])
def test_a_sample_that_is_no_text_is_refused(sample: Any) -> None:
    with pytest.raises(BadInput, match="Text: "):
        Text.from_sample(sample)


def test_the_api_function_receives_str() -> None:
    assert Text().input_type() is str
