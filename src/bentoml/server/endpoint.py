"""Endpoint: decode(request) → call → encode(result), composed once at start into one function for each API."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from typing import Any

from bentoml._context import Context
from bentoml._http import Request, Response
from bentoml._threads import Lane, Threads
from bentoml.service.api import InferenceAPI

__all__ = ["EndpointHandler", "endpoint_handler"]

#: Answers a request or raises what went wrong.
EndpointHandler = Callable[[Request], Awaitable[Response]]


def endpoint_handler(api: InferenceAPI, *, threads: Threads, state: dict[str, Any]) -> EndpointHandler:
    """The function that answers requests for `api`; which steps it has is decided here and not per request.

    Args:
        threads: where plain functions run.
        state: `ctx.state`, one dictionary per process.
    """
    if _is_general(api):
        return _general(api, threads=threads, state=state)
    function = api.function
    decode: Callable[[Request], Any] = api.input.from_http_request
    encode: Callable[[Any, Context | None], Any] = api.output.to_http_response
    may_stream = api.output.streams

    if api.is_streaming:

        async def handle_stream(request: Request) -> Response:
            response: Response = encode(await _Begun.of(function(decode(request))), None)
            return response

        return handle_stream

    if api.is_async:

        async def handle_async(request: Request) -> Response:
            result = await function(decode(request))
            if may_stream and hasattr(result, "__aiter__"):
                result = await _Begun.of(result)
            response: Response = encode(result, None)
            return response

        return handle_async

    lane = Lane()

    async def handle_sync(request: Request) -> Response:
        result = await threads.run(lane, function, decode(request))
        if may_stream and hasattr(result, "__aiter__"):
            result = await _Begun.of(result)
        response: Response = encode(result, None)
        return response

    return handle_sync


def _is_general(api: InferenceAPI) -> bool:
    """Whether the API needs more than decode, call, encode."""
    sides = (api.input, api.output)
    return (
        api.needs_context
        or api.input.fields is not None
        or api.output.negotiates
        or any(side.offloads for side in sides)
        or any(_is_async(method) for method in (api.input.from_http_request, api.output.to_http_response))
    )


def _general(api: InferenceAPI, *, threads: Threads, state: dict[str, Any]) -> EndpointHandler:
    """With a Context, fields, negotiation, or descriptors that are asynchronous or slow."""
    function = _caller(api)
    decode: Callable[[Request], Any] = api.input.from_http_request
    encode = _encoder(api)
    in_thread = not (api.is_async or api.is_streaming)
    may_stream = api.is_streaming or api.output.streams
    lane = Lane()
    decode_step = _step(decode, threads, api.input.is_slow_to_read if api.input.offloads else None)
    encode_step = _step(encode, threads, api.output.is_slow_to_write if api.output.offloads else None)

    async def handle(request: Request) -> Response:
        context = Context(request, state) if api.needs_context else None
        value = await decode_step(request)
        if api.is_async:
            result = await function(value, context)
        elif api.is_streaming:
            result = function(value, context)
        else:
            result = await threads.run(lane, function, value, context)
        if may_stream and hasattr(result, "__aiter__"):
            result = await _Begun.of(result)
        response: Response = await encode_step(result, context, request)
        return response

    def answer(request: Request, context: Context | None) -> Any:
        return encode(function(decode(request), context), context, request)

    async def handle_in_thread(request: Request) -> Response:
        context = Context(request, state) if api.needs_context else None
        response: Response = await threads.run(lane, answer, request, context)
        return response

    # A plain function whose descriptors are slow takes one way to a thread and back instead of three.
    slow = api.input.offloads or api.output.offloads
    asynchronous = _is_async(decode) or _is_async(api.output.to_http_response)
    return handle_in_thread if in_thread and slow and not asynchronous else handle


class _Begun(AsyncIterator[Any]):
    """A stream whose first item is there: by then the function has set its headers, or has failed in time for a 500."""

    def __init__(self, first: list[Any], others: AsyncIterator[Any]) -> None:
        self._first = first
        self._others = others

    @classmethod
    async def of(cls, items: AsyncIterable[Any]) -> _Begun:
        """Wait for the first item of a stream."""
        others = aiter(items)
        try:
            return cls([await anext(others)], others)
        except StopAsyncIteration:
            return cls([], others)

    def __anext__(self) -> Awaitable[Any]:
        return _ready(self._first.pop()) if self._first else self._others.__anext__()

    async def aclose(self) -> None:
        """Close the stream."""
        close = getattr(self._others, "aclose", None)
        if close is not None:
            await close()


async def _ready(item: Any) -> Any:
    return item


def _caller(api: InferenceAPI) -> Callable[[Any, Context | None], Any]:
    """The function of the API as one of a value and a context."""
    function, context_name = api.function, api.context_name
    if api.input.fields is None:
        if api.needs_context:
            return function
        return lambda value, context: function(value)
    if context_name is None:
        return lambda value, context: function(**value)
    return lambda value, context: function(**value, **{context_name: context})


def _encoder(api: InferenceAPI) -> Callable[[Any, Context | None, Request], Any]:
    encode: Callable[..., Any] = api.output.to_http_response
    if not api.output.negotiates:
        if _is_async(encode):

            async def encode_async(value: Any, context: Context | None, request: Request) -> Any:
                return await encode(value, context)

            return encode_async
        return lambda value, context, request: encode(value, context)
    return lambda value, context, request: encode(value, context, accept=request.header(b"accept"))


def _step(
    function: Callable[..., Any], threads: Threads, is_slow: Callable[[Any], bool] | None
) -> Callable[..., Awaitable[Any]]:
    """The function as a coroutine function, in a thread if it is slow for its first argument."""
    if _is_async(function):
        return function
    if is_slow is not None:

        async def elsewhere(first: Any, *arguments: Any) -> Any:
            if is_slow(first):
                return await threads.run(None, function, first, *arguments)
            return function(first, *arguments)

        return elsewhere

    async def here(*arguments: Any) -> Any:
        result = function(*arguments)
        return await result if inspect.isawaitable(result) else result

    return here


def _is_async(function: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(function)
