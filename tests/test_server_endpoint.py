"""Endpoint: decode, call, encode, in each of the forms that a function and its descriptors may have."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from bentoml import Context
from bentoml._http import Request, Response
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


@pytest.mark.parametrize("takes_context", [False, True])
def test_a_generator_streams(threads: ThreadPoolExecutor, takes_context: bool) -> None:
    async def count(value: str) -> AsyncIterator[str]:
        yield value
        yield "!"

    async def count_with_context(value: str, ctx: Context) -> AsyncIterator[str]:
        ctx.response.headers["x"] = "too late: the head is sent before the first item"
        yield value
        yield "!"

    response = answer(threads, count_with_context if takes_context else count, io=(Text(), Text()))

    async def read() -> bytes:
        assert not isinstance(response.body, bytes)
        return b"".join([chunk async for chunk in response.body])

    assert asyncio.run(read()) == b"hello!"


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


@pytest.mark.parametrize(("large", "elsewhere"), [(False, False), (True, True)])
def test_a_coroutine_has_only_its_slow_bodies_read_and_written_in_a_thread(
    threads: ThreadPoolExecutor, large: bool, elsewhere: bool
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
