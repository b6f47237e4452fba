"""ObservedStream: counted once, at its end, however it ends; and what a client hears of a failure."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator

import pytest

from bentoml._http import Request, Response
from bentoml.exceptions import BadInput, BentoMLException, InternalServerError
from bentoml.io import SSE
from bentoml.server.shared import StreamCut
from bentoml.server.streams import CLIENT_CLOSED, ObservedStream, close

REQUEST = Request(path="/tokens")
ID = 2**64 - 1


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    logging.getLogger("bentoml").propagate = True
    return caplog


async def chunks(*items: bytes, error: BaseException | None = None) -> AsyncIterator[bytes]:
    for item in items:
        yield item
    if error is not None:
        raise error


def observed(body: AsyncIterator[bytes], *, events: bool = True, status: int = 200) -> tuple[ObservedStream, list[int]]:
    ended: list[int] = []
    content_type = b"text/event-stream; charset=utf-8" if events else b"text/plain"
    response = Response(body, status=status, content_type=content_type)
    return ObservedStream(response, REQUEST, ID, ended=ended.append), ended


def read(stream: AsyncIterator[bytes]) -> list[bytes]:
    async def main() -> list[bytes]:
        try:
            return [chunk async for chunk in stream]
        finally:
            await close(stream)

    return asyncio.run(main())


def events_in(sent: list[bytes]) -> list[SSE]:
    async def main() -> list[SSE]:
        return [event async for event in SSE.from_iterator(chunks(*sent))]

    return asyncio.run(main())


@pytest.mark.parametrize("events", [True, False])
def test_a_whole_stream_is_counted_once_under_its_own_status(events: bool) -> None:
    stream, ended = observed(chunks(b"a", b"", b"b"), events=events, status=202)
    assert read(stream) == [b"a", b"", b"b"]
    assert ended == [202]


def test_a_stream_whose_client_goes_is_counted_as_such_and_its_chunks_are_closed() -> None:
    closed = []

    async def endless() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"a"
        finally:
            closed.append(True)

    async def main(read_some: bool) -> list[int]:
        stream, ended = observed(endless())
        if read_some:
            await anext(stream)
        await stream.aclose()
        await stream.aclose()
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
        return ended

    assert asyncio.run(main(True)) == [CLIENT_CLOSED]
    assert closed == [True]
    assert asyncio.run(main(False)) == [CLIENT_CLOSED]


def test_a_stream_whose_status_has_no_body_is_counted_under_it() -> None:
    async def main() -> list[int]:
        stream, ended = observed(chunks(b"never sent"), status=204)
        await stream.aclose()
        return ended

    assert asyncio.run(main()) == [204]


@pytest.mark.parametrize("error", [RuntimeError("secret"), InternalServerError("secret"), SystemExit("secret")])
def test_events_that_fail_end_with_an_event_that_names_the_request_and_nothing_else(
    error: BaseException, log: pytest.LogCaptureFixture
) -> None:
    stream, ended = observed(chunks(b"data: 1\n\n", error=error))
    sent = read(stream)
    first, last = events_in(sent)
    assert (first, last.event) == (SSE("1"), "error")
    assert json.loads(last.data) == {
        "error": "the service failed; its log has the details under the request id",
        "status": 500,
        "request_id": "18446744073709551615",
    }
    assert ended == [500]
    [record] = log.records
    assert record.getMessage() == f"Exception on /tokens [POST] (request id {ID}), after its answer had begun"
    assert record.exc_info is not None
    assert record.exc_info[1] is error


def test_what_the_client_did_wrong_is_told_it() -> None:
    stream, ended = observed(chunks(b"data: 1\n\n", error=BadInput("too far", hint="stop earlier")))
    data = json.loads(events_in(read(stream))[-1].data)
    assert (data["error"], data["status"]) == ("too far (hint: stop earlier)", 400)
    assert ended == [400]


@pytest.mark.parametrize("status", [401, 403])
def test_what_might_help_a_stranger_is_not_told(status: int) -> None:
    class Silent(BentoMLException):
        error_code = status  # type: ignore[assignment]  # an int is what some write

    stream, _ = observed(chunks(b"", error=Silent("secret")))
    assert b"secret" not in b"".join(read(stream))


@pytest.mark.parametrize(
    "begun",
    [[], [b"data: 1\n\n"], [b"data: 1\r\n\r\n"], [b"data: 1\r\r"], [b"data: 1\n"], [b"data: 1"], [b": c", b"\n"]],
)
def test_the_error_is_an_event_of_its_own_whatever_was_begun(begun: list[bytes]) -> None:
    stream, _ = observed(chunks(*begun, error=RuntimeError()))
    *before, last = events_in(read(stream))
    assert last.event == "error"
    assert json.loads(last.data)["status"] == 500
    assert before in ([], [SSE("1")])


def test_another_stream_that_fails_is_cut_once_it_is_logged(log: pytest.LogCaptureFixture) -> None:
    stream, ended = observed(chunks(b"a", error=RuntimeError("secret")), events=False)
    with pytest.raises(StreamCut):
        read(stream)
    assert ended == [500]
    assert f"(request id {ID}), after its answer had begun" in log.text
    assert "RuntimeError: secret" in log.text


def test_a_failure_at_the_close_is_logged_and_goes_no_further(log: pytest.LogCaptureFixture) -> None:
    async def stubborn() -> AsyncIterator[bytes]:
        try:
            yield b"a"
        finally:
            raise RuntimeError("at the end")

    async def main() -> list[int]:
        stream, ended = observed(stubborn())
        await anext(stream)
        await stream.aclose()
        return ended

    assert asyncio.run(main()) == [CLIENT_CLOSED]
    assert "RuntimeError: at the end" in log.text


def test_what_cannot_be_closed_is_let_go() -> None:
    class Bare(AsyncIterator[bytes]):
        async def __anext__(self) -> bytes:
            raise StopAsyncIteration

    assert read(Bare()) == []
