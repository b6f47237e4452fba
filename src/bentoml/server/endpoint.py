"""Endpoint: decode(request) → call → encode(result), composed once at start into one function for each API."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from typing import Any

from bentoml._context import Context
from bentoml._http import Request, Response
from bentoml.service.api import InferenceAPI

__all__ = ["EndpointHandler", "endpoint_handler"]

#: Answers a request or raises what went wrong.
EndpointHandler = Callable[[Request], Awaitable[Response]]


def endpoint_handler(api: InferenceAPI, *, threads: Executor, state: dict[str, Any]) -> EndpointHandler:
    """The function that answers requests for `api`; which steps it has is decided here and not per request.

    Args:
        threads: where plain functions run.
        state: `ctx.state`, one dictionary per process.
    """
    function = api.function
    decode: Callable[[Request], Any] = api.input.from_http_request
    encode: Callable[[Any, Context | None], Any] = api.output.to_http_response
    if inspect.iscoroutinefunction(decode) or inspect.iscoroutinefunction(encode) or api.needs_context:
        return _general(api, threads=threads, state=state)

    if api.is_async:

        async def handle_async(request: Request) -> Response:
            response: Response = encode(await function(decode(request)), None)
            return response

        return handle_async

    if api.is_streaming:

        async def handle_stream(request: Request) -> Response:
            response: Response = encode(function(decode(request)), None)
            return response

        return handle_stream

    async def handle_sync(request: Request) -> Response:
        value = decode(request)
        response: Response = encode(await _in_thread(threads, function, value), None)
        return response

    return handle_sync


def _general(api: InferenceAPI, *, threads: Executor, state: dict[str, Any]) -> EndpointHandler:
    """With a Context, or with descriptors that are asynchronous themselves."""
    function, decode, encode = api.function, api.input.from_http_request, api.output.to_http_response

    async def handle(request: Request) -> Response:
        context = Context(request, state) if api.needs_context else None
        value: Any = decode(request)
        if inspect.isawaitable(value):
            value = await value
        arguments = (value, context) if api.needs_context else (value,)
        if api.is_async:
            result = await function(*arguments)
        elif api.is_streaming:
            result = function(*arguments)
        else:
            result = await _in_thread(threads, function, *arguments)
        response: Any = encode(result, context)
        if inspect.isawaitable(response):
            response = await response
        answer: Response = response
        return answer

    return handle


async def _in_thread(threads: Executor, function: Callable[..., Any], *arguments: Any) -> Any:
    """Run a plain function in a thread, in the context of the request, so that context variables reach it.

    Cancelled, it drops a function that has not begun; for one that runs it waits, as nothing can stop it: until then
    the request counts as being in flight.
    """
    work = threads.submit(contextvars.copy_context().run, function, *arguments)
    try:
        return await asyncio.wrap_future(work)
    except asyncio.CancelledError:
        if not work.cancel():
            # Only a second cancellation, when the loop itself ends, leaves the thread to itself.
            ended = asyncio.wrap_future(work)
            await asyncio.wait([ended])
            ended.exception()  # nobody else will look at it, which asyncio would complain about
        raise
