"""What the HTTP server answers to any bytes, over real sockets and on both event loops."""

from __future__ import annotations

import asyncio
import sys
import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bentoml._http import Request, Response
from bentoml.server.shared import Handler
from tests._serving import (
    FRAGMENTS,
    GET,
    LAST_GET,
    LOOPS,
    PATIENCE_S,
    Served,
    echo,
    echo_later,
    numbers,
    post,
    serve,
)


@pytest.fixture(params=LOOPS)
def loop(request: pytest.FixtureRequest) -> str:
    return request.param


# Plain requests and answers


def test_a_handler_sees_the_request_and_its_answer_is_written_whole(loop: str) -> None:
    seen: list[Request] = []

    def handler(request: Request) -> Response:
        seen.append(request)
        return Response(b"yes", status=201, raw_headers=[(b"x-one", b"1"), (b"set-cookie", b"a=b")])

    with serve(handler, loop=loop) as served, served.connect() as client:
        client.send(
            b"POST /a%20b/%C3%A9?q=%20&r HTTP/1.1\r\nHOST: x\r\nX-Empty:\r\nX-Pad:  v \t\r\n",
            b"Content-Length: 2\r\n\r\nhi",
        )
        answer = client.read()
        host, port = client.sock.getsockname()
    [request] = seen
    assert (request.method, request.path, request.query_string) == ("POST", "/a b/é", b"q=%20&r")
    assert request.raw_headers == [
        (b"host", b"x"),
        (b"x-empty", b""),
        (b"x-pad", b"v"),
        (b"content-length", b"2"),
    ]
    assert (request.body, request.client, request.scheme) == (b"hi", f"{host}:{port}", "http")
    assert (answer.version, answer.status, answer.body) == (b"HTTP/1.1", 201, b"yes")
    date = answer.headers.pop(b"date")
    assert date.endswith(b" GMT")
    assert answer.headers == {
        b"server": b"makunouchi",
        b"content-type": b"text/plain; charset=utf-8",
        b"content-length": b"3",
        b"x-one": b"1",
        b"set-cookie": b"a=b",
    }


@pytest.mark.parametrize("handler", [echo, echo_later])
def test_one_connection_serves_many_requests_in_any_pieces(loop: str, handler: Handler) -> None:
    with serve(handler, loop=loop) as served, served.connect() as client:
        for number in range(30):
            raw = post(b"%d" % number * 50)
            client.send(*(raw[start : start + number + 1] for start in range(0, len(raw), number + 1)))
            assert client.read().body == b"%d" % number * 50


def test_a_chunked_body_arrives_whole_and_its_trailers_are_dropped(loop: str) -> None:
    def handler(request: Request) -> Response:
        return Response(b"%b %b" % (request.body, request.header(b"x-admin")))

    head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    raw = head + b"2;ext=1\r\nab\r\n3\r\ncde\r\n0\r\nX-Admin: 1\r\n\r\n"
    with serve(handler, loop=loop) as served, served.connect() as client:
        client.send(raw, raw)
        assert client.read().body == client.read().body == b"abcde "


@pytest.mark.parametrize("size", [0, 1, 70_000, 3_000_000])
def test_bodies_of_any_size_come_back_unchanged(loop: str, size: int) -> None:
    body = bytes(range(251)) * (size // 251 + 1)
    with serve(echo, loop=loop) as served:
        threading_client = served.connect()
        sender = threading.Thread(target=threading_client.send, args=(post(body[:size]),))
        sender.start()
        assert threading_client.read().body == body[:size]
        sender.join()
        threading_client.close()


@pytest.mark.parametrize(
    ("request_line_and_fields", "connection", "closes"),
    [
        (b"GET / HTTP/1.1\r\nHost: x", None, False),
        (b"GET / HTTP/1.1\r\nHost: x\r\nConnection: keep-alive", None, False),
        (b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close", b"close", True),
        (b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close, keep-alive", b"close", True),
        (b"GET / HTTP/1.0", b"close", True),
        (b"GET / HTTP/1.0\r\nConnection: keep-alive", b"keep-alive", False),
    ],
)
def test_the_connection_stays_open_as_the_request_asks(
    loop: str, request_line_and_fields: bytes, connection: bytes | None, closes: bool
) -> None:
    with serve(echo, loop=loop) as served, served.connect() as client:
        client.send(request_line_and_fields + b"\r\n\r\n")
        answer = client.read()
        assert answer.headers.get(b"connection") == connection
        if closes:
            assert client.is_closed()
        else:
            client.send(GET)
            assert client.read().status == 200


def test_head_204_and_304_have_no_body_and_the_right_length(loop: str) -> None:
    def handler(request: Request) -> Response:
        return Response(b"hello", status=int(request.path[1:]))

    with serve(handler, loop=loop) as served, served.connect() as client:
        client.send(b"HEAD /200 HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.read("HEAD").headers[b"content-length"] == b"5"
        for status in (204, 304):
            client.send(b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % status)
            answer = client.read()
            assert answer.status == status
            assert b"content-length" not in answer.headers
        client.send(b"GET /200 HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.read().body == b"hello"


def test_pipelined_requests_are_answered_in_their_order(loop: str) -> None:
    async def handler(request: Request) -> Response:
        for _ in range(5 - int(request.body)):  # the first takes longest
            await asyncio.sleep(0)
        return echo(request)

    with serve(handler, loop=loop) as served, served.connect() as client:
        client.send(b"".join(post(b"%d" % number) for number in range(5)))
        assert [client.read().body for _ in range(5)] == [b"%d" % number for number in range(5)]


@pytest.mark.parametrize("handler", [echo, echo_later])
def test_thousands_of_requests_in_one_write_are_all_answered(loop: str, handler: Handler) -> None:
    count = 4000
    with serve(handler, loop=loop) as served, served.connect() as client:
        sender = threading.Thread(target=client.send, args=(b"".join(post(b"%d" % n) for n in range(count)),))
        sender.start()
        assert [client.read().body for _ in range(count)] == [b"%d" % number for number in range(count)]
        sender.join()


def test_garbage_behind_a_good_request_is_refused_after_its_answer(loop: str) -> None:
    with serve(echo_later, loop=loop) as served, served.connect() as client:
        client.send(post(b"good") + b"\x00\x01\x02\r\n\r\n")
        assert client.read().body == b"good"
        assert client.read().status == 400
        assert client.is_closed()


def test_what_follows_a_last_request_is_ignored(loop: str) -> None:
    with serve(echo_later, loop=loop) as served, served.connect() as client:
        client.send(LAST_GET + GET + b"garbage" * 10_000)
        assert client.read().status == 200
        assert client.is_closed()
        assert served.rejected == []


def test_an_answer_to_a_client_that_is_still_sending_is_not_lost(loop: str) -> None:
    with serve(echo, loop=loop, body_bytes=1000) as served, served.connect() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000\r\n\r\n", bytes(8_000_000))
        assert client.read().status == 413


def test_bodies_that_are_large_together_are_refused_until_one_is_done(loop: str) -> None:
    with serve(echo, loop=loop, bodies_bytes=1500) as served, served.connect() as first:
        first.send(post(bytes(1000))[:-1])
        while served.call(lambda: served.listener._shared.bodies_bytes) < 999:
            pass
        answer = served.ask(post(bytes(1000))[:-1])
        assert (answer.status, answer.headers[b"retry-after"]) == (503, b"1")
        assert served.rejected == [503]
        first.send(b"\0")
        assert first.read().status == 200
        assert served.ask(post(bytes(1400))).status == 200
        assert served.call(lambda: served.listener._shared.bodies_bytes) == 0


@pytest.mark.parametrize("handler", [echo, echo_later])
def test_a_connection_does_not_keep_the_last_body(loop: str, handler: Handler) -> None:
    bodies = [bytes(100_001)]

    def keep(request: Request) -> object:
        bodies.append(request.body)
        return handler(request)

    with serve(keep, loop=loop) as served, served.connect() as client:
        client.send(post(bytes(100_000)))
        client.read()
        served.call(lambda: None)
        unknown_to_others, asked_with = (sys.getrefcount(body) for body in bodies)
        assert asked_with == unknown_to_others


# Handlers that fail


def test_an_error_of_the_handler_is_a_500_without_details_and_the_connection_goes_on(
    loop: str, caplog: pytest.LogCaptureFixture
) -> None:
    def at_once(request: Request) -> Response:
        raise RuntimeError("secret")

    async def later(request: Request) -> Response:
        await asyncio.sleep(0)
        raise RuntimeError("secret")

    async def cancels_itself(request: Request) -> Response:
        raise asyncio.CancelledError

    async def wrong_type(request: Request) -> Response:
        return "text"  # type: ignore[return-value]  # the error under test

    def wrong_type_at_once(request: Request) -> Response:
        return None  # type: ignore[return-value]  # the error under test

    def bad_header(request: Request) -> Response:
        return Response(b"secret", raw_headers=[(b"location", b"/x\r\nset-cookie: a=b")])

    def bad_content_type(request: Request) -> Response:
        return Response(b"secret", content_type=b"a\nb")

    def bad_status(request: Request) -> Response:
        return Response(b"secret", status=99)

    async def bad_header_of_stream(request: Request) -> Response:
        return Response(numbers(1), raw_headers=[(b"x", b"\0")])

    def text_header(request: Request) -> Response:
        return Response(b"secret", raw_headers=[("x", "y")])  # type: ignore[list-item]  # the error under test

    async def no_status(request: Request) -> Response:
        return Response(b"secret", status=None)  # type: ignore[arg-type]  # the error under test

    handlers = {
        f"/{function.__name__}": function
        for function in (
            at_once, later, cancels_itself, wrong_type, wrong_type_at_once, bad_header, bad_content_type,
            bad_status, bad_header_of_stream, text_header, no_status,
        )
    }  # fmt: skip
    handlers["/good"] = echo
    with (
        serve(lambda request: handlers[request.path](request), loop=loop) as served,
        served.connect() as client,
    ):
        for path in handlers:
            caplog.clear()
            client.send(post(b"in", path.encode()))
            answer = client.read()
            if path == "/good":
                assert answer.body == b"in"
            else:
                assert (answer.status, answer.body) == (500, b'""')
                assert caplog.records[0].exc_info is not None
                assert f"the handler of POST {path} failed" in caplog.text
        assert served.rejected == []


# Clients that go


@pytest.mark.parametrize("rudely", [True, False])
def test_a_client_that_goes_cancels_its_handler(loop: str, rudely: bool) -> None:
    begun, cancelled = threading.Event(), threading.Event()

    async def handler(request: Request) -> Response:
        begun.set()
        try:
            await asyncio.sleep(PATIENCE_S)
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return Response(b"")

    with serve(handler, loop=loop) as served:
        client = served.connect()
        client.send(GET)
        assert begun.wait(PATIENCE_S)
        assert served.call(lambda: served.listener.in_flight) == 1
        if rudely:
            client.reset()
        else:
            client.close()
        assert cancelled.wait(PATIENCE_S)
        assert served.call(lambda: served.listener.in_flight) == 0
        assert served.ask(b"bad").status == 400


def test_a_handler_that_ignores_its_cancellation_does_no_harm(loop: str) -> None:
    begun, ended = threading.Event(), threading.Event()

    async def handler(request: Request) -> Response:
        begun.set()
        try:
            await asyncio.sleep(PATIENCE_S)
        except asyncio.CancelledError:
            ended.set()
        return Response(b"")

    with serve(handler, loop=loop) as served:
        client = served.connect()
        client.send(GET)
        assert begun.wait(PATIENCE_S)
        client.reset()
        assert ended.wait(PATIENCE_S)


def test_a_handler_that_had_not_begun_is_dropped_without_complaint(loop: str, recwarn: pytest.WarningsRecorder) -> None:
    begun = threading.Event()

    async def handler(request: Request) -> Response:
        begun.set()
        return Response(b"")

    def ask_and_go() -> None:
        [connection] = served.listener._connections
        connection.data_received(GET)
        connection.abort()

    with serve(handler, loop=loop) as served, served.connect() as client:
        while not served.call(lambda: served.listener._connections):
            pass
        served.call(ask_and_go)
        assert client.is_closed()
    assert not begun.is_set()
    assert not recwarn.list


def test_a_request_that_breaks_off_reaches_no_handler(loop: str) -> None:
    handled: list[Request] = []
    with serve(lambda request: handled.append(request) or Response(b""), loop=loop) as served:
        client = served.connect()
        client.send(post(b"hello")[:-1])
        client.close()
        served.ask(GET)
        assert len(handled) == 1


# Anything at all


@pytest.fixture(scope="module", params=LOOPS)
def fuzzed(request: pytest.FixtureRequest) -> object:
    handler = lambda request: echo(request) if len(request.path) % 2 else echo_later(request)  # noqa: E731
    with serve(handler, loop=request.param, header_timeout_s=1.0, body_grace_s=1.0) as served:
        yield served


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parts=st.lists(FRAGMENTS, max_size=12))
def test_any_bytes_in_any_pieces_are_answered_or_the_connection_is_closed(fuzzed: Served, parts: list[bytes]) -> None:
    with fuzzed.connect() as client:
        try:
            client.send(*parts)
            client.sock.shutdown(1)
            received = client.file.read()
        except (BrokenPipeError, ConnectionResetError, OSError):
            received = b""
        assert received == b"" or received.startswith(b"HTTP/1.1 ")
    assert fuzzed.ask(GET).status == 200
    assert fuzzed.errors == []
