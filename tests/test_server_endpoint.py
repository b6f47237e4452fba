"""Endpoint: decode, call, encode, in each of the forms that a function and its descriptors may have."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import pytest

from bentoml import Context
from bentoml._http import Request, Response
from bentoml.exceptions import BadInput
from bentoml.io import JSON, IODescriptor, Text
from bentoml.server.endpoint import endpoint_handler
from bentoml.service.api import InferenceAPI


class Slow(IODescriptor[str]):
    """A descriptor of one's own that reads and writes asynchronously."""

    async def from_http_request(self, request: Request) -> str:
        await asyncio.sleep(0)
        return request.body.decode()

    async def to_http_response(self, value: str, context: Context | None) -> Response:  # type: ignore[override]
        await asyncio.sleep(0)
        return self.respond(value.encode(), b"text/plain", context)

    def input_type(self) -> Any:
        return str

    def openapi_schema(self) -> dict[str, Any]:
        return {"type": "string"}


async def asynchronous(value: str) -> str:
    return value + "!"


def plain(value: str) -> str:
    return value + "!"


async def with_context(value: str, ctx: Context) -> str:
    ctx.response.headers["x-path"] = ctx.request.path
    ctx.state["seen"] = value
    return value + "!"


def plain_with_context(value: str, ctx: Context) -> str:
    ctx.response.headers["x-path"] = ctx.request.path
    ctx.state["seen"] = value
    return value + "!"


class Callable_:
    def __call__(self, value: str) -> str:
        return value + "!"


@pytest.fixture(scope="module")
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as pool:
        yield pool


def answer(
    threads: ThreadPoolExecutor,
    function: Callable[..., Any],
    *,
    io: tuple[IODescriptor[Any], IODescriptor[Any]],
    state: dict[str, Any] | None = None,
) -> Response:
    api = InferenceAPI(function, input=io[0], output=io[1], name="api")
    handle = endpoint_handler(api, threads=threads, state=state if state is not None else {})

    async def main() -> Response:
        return await handle(Request(path="/api", body=b"hello"))

    return asyncio.run(main())


@pytest.mark.parametrize("function", [asynchronous, plain, with_context, plain_with_context, Callable_()])
@pytest.mark.parametrize("descriptor", [Text, Slow])
def test_every_form_of_a_function_answers(
    threads: ThreadPoolExecutor, function: Callable[..., Any], descriptor: type[IODescriptor[Any]]
) -> None:
    state: dict[str, Any] = {}
    response = answer(threads, function, io=(descriptor(), descriptor()), state=state)
    assert response.body == b"hello!"
    takes_context = "context" in getattr(function, "__name__", "")
    assert response.raw_headers == ([(b"x-path", b"/api")] if takes_context else [])
    assert state == ({"seen": "hello"} if takes_context else {})


class Streamed(NamedTuple):
    status: int
    headers: list[tuple[bytes, bytes]]
    chunks: list[bytes]


def stream(threads: ThreadPoolExecutor, function: Callable[..., Any], body: bytes = b"hello") -> Streamed:
    """What comes of a function whose answer is a stream, read on the loop on which it began."""
    api = InferenceAPI(function, input=Text(), output=Text(), name="api")
    handle = endpoint_handler(api, threads=threads, state={})

    async def main() -> Streamed:
        response = await handle(Request(path="/api", body=body))
        assert not isinstance(response.body, bytes)
        return Streamed(response.status, response.raw_headers, [chunk async for chunk in response.body])

    return asyncio.run(main())


async def spell(value: str) -> AsyncIterator[str]:
    for char in value:
        yield char


async def spell_with_context(value: str, ctx: Context) -> AsyncIterator[str]:
    ctx.response.headers["x-length"] = str(len(value))
    ctx.response.status_code = 202
    for char in value:
        ctx.response.headers["x-late"] = "the head is sent when the second item is made"
        yield char
        ctx.response.status_code = 500


def spell_from_a_thread(value: str) -> AsyncIterator[str]:
    return spell(value)


async def spell_later(value: str) -> AsyncIterator[str]:
    return spell(value)


@pytest.mark.parametrize("function", [spell, spell_with_context, spell_from_a_thread, spell_later])
@pytest.mark.parametrize("body", [b"hello", b"a", b""])
def test_a_stream_has_each_item_once(threads: ThreadPoolExecutor, function: Callable[..., Any], body: bytes) -> None:
    assert b"".join(stream(threads, function, body).chunks) == body


def test_what_a_generator_sets_before_its_first_item_is_sent(threads: ThreadPoolExecutor) -> None:
    answer = stream(threads, spell_with_context)
    assert answer.status == 202
    assert (b"x-length", b"5") in answer.headers


@pytest.mark.parametrize("where", [spell_from_a_thread, spell_later, None])
def test_an_error_before_the_first_item_is_an_error_of_the_request(
    threads: ThreadPoolExecutor, where: Callable[..., Any] | None
) -> None:
    async def fail(value: str) -> AsyncIterator[str]:
        raise BadInput(value)
        yield ""

    def fail_from_a_thread(value: str) -> AsyncIterator[str]:
        return fail(value)

    async def fail_later(value: str) -> AsyncIterator[str]:
        return fail(value)

    function = {spell_from_a_thread: fail_from_a_thread, spell_later: fail_later, None: fail}[where]
    with pytest.raises(BadInput, match="hello"):
        stream(threads, function)


def test_a_stream_that_is_closed_after_its_first_item_closes_the_generator(threads: ThreadPoolExecutor) -> None:
    closed = []

    async def watched(value: str) -> AsyncIterator[str]:
        try:
            yield value
        finally:
            closed.append(value)

    async def main() -> None:
        api = InferenceAPI(watched, input=Text(), output=Text(), name="api")
        response = await endpoint_handler(api, threads=threads, state={})(Request(body=b"hello"))
        body: Any = response.body
        assert await anext(body) == b"hello"
        assert closed == []
        await body.aclose()
        assert closed == ["hello"]

    asyncio.run(main())


def test_a_plain_function_runs_in_a_thread_and_sees_the_context_variables_of_its_request(
    threads: ThreadPoolExecutor,
) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="")
    seen = []

    def look(value: str) -> str:
        seen.append((variable.get(), threading.current_thread() is threading.main_thread()))
        return value

    variable.set("of this request")
    answer(threads, look, io=(Text(), Text()))
    assert seen == [("of this request", False)]


def test_what_is_raised_comes_out(threads: ThreadPoolExecutor) -> None:
    def fail(value: str) -> str:
        raise KeyError(value)

    with pytest.raises(KeyError, match="hello"):
        answer(threads, fail, io=(Text(), JSON()))
