"""Endpoint: decode, call, encode, in each of the forms that a function and its descriptors may have."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, NamedTuple

import pytest

from bentoml import Context
from bentoml._http import Request, Response
from bentoml._threads import Threads
from bentoml.exceptions import BadInput
from bentoml.io import JSON, IODescriptor, Multipart, Text
from bentoml.io._form import Part, form_of
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
def threads() -> Iterator[Threads]:
    pool = Threads(2, name="api")
    yield pool
    pool.close()


def answer(
    threads: Threads,
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
    threads: Threads, function: Callable[..., Any], descriptor: type[IODescriptor[Any]]
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


def stream(threads: Threads, function: Callable[..., Any], body: bytes = b"hello") -> Streamed:
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
def test_a_stream_has_each_item_once(threads: Threads, function: Callable[..., Any], body: bytes) -> None:
    assert b"".join(stream(threads, function, body).chunks) == body


def test_what_a_generator_sets_before_its_first_item_is_sent(threads: Threads) -> None:
    answer = stream(threads, spell_with_context)
    assert answer.status == 202
    assert (b"x-length", b"5") in answer.headers


@pytest.mark.parametrize("where", [spell_from_a_thread, spell_later, None])
def test_an_error_before_the_first_item_is_an_error_of_the_request(
    threads: Threads, where: Callable[..., Any] | None
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


def test_a_stream_that_is_closed_after_its_first_item_closes_the_generator(threads: Threads) -> None:
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
    threads: Threads,
) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="")
    seen = []

    def look(value: str) -> str:
        seen.append((variable.get(), threading.current_thread() is threading.main_thread()))
        return value

    variable.set("of this request")
    answer(threads, look, io=(Text(), Text()))
    assert seen == [("of this request", False)]


def test_what_is_raised_comes_out(threads: Threads) -> None:
    def fail(value: str) -> str:
        raise KeyError(value)

    with pytest.raises(KeyError, match="hello"):
        answer(threads, fail, io=(Text(), JSON()))


# -- descriptors that are slow, and forms ------------------------------------------------------------------------------


class Offloading(Text):
    """A descriptor that is slow, and notes in which thread it works."""

    offloads = True

    def __init__(self) -> None:
        super().__init__()
        self.worked: list[bool] = []

    def from_http_request(self, request: Request) -> str:
        self.worked.append(threading.current_thread() is threading.main_thread())
        return super().from_http_request(request)

    def to_http_response(self, value: Any, context: Context | None) -> Response:
        self.worked.append(threading.current_thread() is threading.main_thread())
        return super().to_http_response(value, context)


@pytest.mark.parametrize("function", [asynchronous, plain, with_context, plain_with_context])
def test_a_slow_descriptor_works_in_a_thread(threads: Threads, function: Callable[..., Any]) -> None:
    descriptor = Offloading()
    assert answer(threads, function, io=(descriptor, descriptor)).body == b"hello!"
    assert descriptor.worked == [False, False]


def test_a_slow_input_may_have_an_output_that_works_later(threads: Threads) -> None:
    assert answer(threads, plain, io=(Offloading(), Slow())).body == b"hello!"
    assert answer(threads, plain, io=(Slow(), Offloading())).body == b"hello!"


def test_a_plain_function_with_slow_descriptors_takes_one_way_to_a_thread(threads: Threads) -> None:
    variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable", default=0)

    class Counting(Offloading):
        def from_http_request(self, request: Request) -> str:
            variable.set(variable.get() + 1)  # seen by what runs in the same call alone
            return super().from_http_request(request)

    def count(value: str) -> str:
        return str(variable.get())

    assert answer(threads, count, io=(Counting(), Offloading())).body == b"1"


def test_what_a_slow_descriptor_raises_comes_out(threads: Threads) -> None:
    class Refusing(Offloading):
        def from_http_request(self, request: Request) -> str:
            raise BadInput("no")

    for function in (plain, asynchronous):
        with pytest.raises(BadInput, match="no"):
            answer(threads, function, io=(Refusing(), Text()))


def take_fields(a: str, b: str) -> str:
    return a + b


async def take_fields_later(b: str, a: str) -> str:
    return a + b


def take_fields_and_context(a: str, context: Context, b: str) -> str:
    context.response.headers["x-path"] = context.request.path
    return a + b


async def take_fields_and_context_later(a: str, b: str, ctx: Context) -> str:
    ctx.response.headers["x-path"] = ctx.request.path
    return a + b


@pytest.mark.parametrize("inner", [Text, Slow, Offloading])
@pytest.mark.parametrize(
    "function", [take_fields, take_fields_later, take_fields_and_context, take_fields_and_context_later]
)
def test_a_form_is_given_field_by_field(
    threads: Threads, function: Callable[..., Any], inner: type[IODescriptor[Any]]
) -> None:
    api = InferenceAPI(function, input=Multipart(a=inner(), b=Text()), output=inner(), name="api")
    body, content_type = form_of([Part("b", None, [], b"2"), Part("a", None, [], b"1")])
    request = Request(path="/api", body=body, raw_headers=[(b"content-type", content_type)])

    async def main() -> Response:
        return await endpoint_handler(api, threads=threads, state={})(request)

    response = asyncio.run(main())
    assert response.body == b"12"
    assert response.raw_headers == ([(b"x-path", b"/api")] if "context" in function.__name__ else [])


def test_a_generator_may_take_a_form(threads: Threads) -> None:
    async def both(a: str, b: str, ctx: Context) -> AsyncIterator[str]:
        ctx.response.headers["x-fields"] = "2"
        yield a
        yield b

    api = InferenceAPI(both, input=Multipart(a=Text(), b=Text()), output=Text(), name="api")
    body, content_type = form_of([Part("a", None, [], b"1"), Part("b", None, [], b"2")])

    async def main() -> Response:
        request = Request(body=body, raw_headers=[(b"content-type", content_type)])
        response = await endpoint_handler(api, threads=threads, state={})(request)
        assert not isinstance(response.body, bytes)
        assert [chunk async for chunk in response.body] == [b"1", b"2"]
        return response

    assert asyncio.run(main()).raw_headers == [(b"x-fields", b"2")]


@pytest.mark.parametrize(("large", "elsewhere"), [(False, False), (True, True)])
def test_a_coroutine_has_only_its_slow_bodies_read_and_written_in_a_thread(
    threads: Threads, large: bool, elsewhere: bool
) -> None:
    seen: list[bool] = []

    class Heavy(Text):
        offloads = True

        def from_http_request(self, request: Request) -> str:
            seen.append(threading.current_thread() is not threading.main_thread())
            return super().from_http_request(request)

        def to_http_response(self, value: str, context: Context | None) -> Response:
            seen.append(threading.current_thread() is not threading.main_thread())
            return super().to_http_response(value, context)

        def is_slow_to_read(self, request: Request) -> bool:
            return large

        def is_slow_to_write(self, value: str) -> bool:
            return large

    assert answer(threads, asynchronous, io=(Heavy(), Heavy())).body == b"hello!"
    assert seen == [elsewhere, elsewhere]
