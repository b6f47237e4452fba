"""What the HTTP server answers to any bytes, over real sockets and on both event loops."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bentoml._http import Request, Response
from bentoml.server import http1
from bentoml.server.limits import Limits, Phase
from bentoml.server.reader import Refusal, RequestReader
from tests._serving import LOOPS, PATIENCE_S, Served, serve

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
LAST_GET = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def post(body: bytes, path: bytes = b"/") -> bytes:
    return b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (path, len(body), body)


def echo(request: Request) -> Response:
    return Response(request.body, content_type=b"application/json")


async def echo_later(request: Request) -> Response:
    await asyncio.sleep(0)
    return echo(request)


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
            b"POST /a%20b/%C3%A9?q=%20&r HTTP/1.1\r\nHOST: x\r\nX-Empty:\r\nX-Pad:  v \t\r\nContent-Length: 2\r\n\r\nhi"
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
def test_one_connection_serves_many_requests_in_any_pieces(loop: str, handler: object) -> None:
    with serve(handler, loop=loop) as served, served.connect() as client:
        for number in range(30):
            raw = post(b"%d" % number * 50)
            client.send(*(raw[start : start + number + 1] for start in range(0, len(raw), number + 1)))
            assert client.read().body == b"%d" % number * 50


def test_a_chunked_body_arrives_whole_and_its_trailers_are_dropped(loop: str) -> None:
    def handler(request: Request) -> Response:
        return Response(b"%b %b" % (request.body, request.header(b"x-admin")))

    raw = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2;ext=1\r\nab\r\n3\r\ncde\r\n0\r\nX-Admin: 1\r\n\r\n"
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
def test_thousands_of_requests_in_one_write_are_all_answered(loop: str, handler: object) -> None:
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


def test_two_writes_of_one_second_have_one_date() -> None:
    assert http1.stamp(784111777.0) == b"server: makunouchi\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\n"


# Targets


@pytest.mark.parametrize(
    ("method", "target", "path", "query"),
    [
        ("GET", b"/", "/", b""),
        ("GET", b"/a/b?x=1&y", "/a/b", b"x=1&y"),
        ("GET", b"/a?b?c", "/a", b"b?c"),
        ("GET", b"/%61%2f%3F", "/a/?", b""),
        ("GET", b"/%2561", "/%61", b""),  # decoded once
        ("GET", b"/%zz%", "/%zz%", b""),
        ("GET", b"//x/y", "//x/y", b""),
        ("GET", b"http://host:80/a?b", "/a", b"b"),
        ("GET", b"HTTPS://[::1]", "/", b""),
        ("GET", b"http://host?q", "/", b"q"),
        ("OPTIONS", b"*", "*", b""),
    ],
)
def test_every_form_of_target_gives_a_path(method: str, target: bytes, path: str, query: bytes) -> None:
    assert http1.split_target(target, method=method) == (path, query)


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        (b"/a#b", "fragment"),
        (b"*", "neither a path nor an http URL"),
        (b"ftp://x/y", "neither a path nor an http URL"),
        (b"http:///x", "neither a path nor an http URL"),
        (b"/%00", "control character"),
        (b"/a%0d%0ab", "control character"),
        (b"/%7f", "control character"),
        (b"/%ff", "not UTF-8"),
    ],
)
def test_a_bad_target_is_a_400_that_says_why(loop: str, target: bytes, reason: str) -> None:
    with serve(echo, loop=loop) as served:
        answer = served.ask(b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % target)
        assert (answer.status, answer.headers[b"content-type"]) == (400, b"application/json")
        assert reason in answer.body.decode()


# What is refused

SMUGGLING = {
    "two lengths": b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    "two equal lengths": b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    "a list of lengths": b"Content-Length: 5, 5\r\n\r\nhello",
    "a signed length": b"Content-Length: +5\r\n\r\nhello",
    "a negative length": b"Content-Length: -1\r\n\r\nhello",
    "a hexadecimal length": b"Content-Length: 0x5\r\n\r\nhello",
    "an empty length": b"Content-Length:\r\n\r\nhello",
    "an overflowing length": b"Content-Length: 18446744073709551621\r\n\r\nhello",
    "length, then chunked": b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked, then length": b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "another coding": b"Transfer-Encoding: identity\r\n\r\n",
    "a coding before chunked": b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "an empty coding before chunked": b"Transfer-Encoding: ,chunked\r\n\r\n0\r\n\r\n",
    "chunked not last": b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "chunked twice": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "almost chunked": b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunked behind a tab stop": b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "an empty coding": b"Transfer-Encoding:\r\n\r\n",
    "a space before the colon": b"Content-Length : 5\r\n\r\nhello",
    "a space in the name": b"Content Length: 5\r\n\r\nhello",
    "a line without a colon": b"Content-Length\r\n\r\n",
    "an empty name": b": 5\r\n\r\n",
    "a folded line": b"X: a\r\n Content-Length: 5\r\n\r\nhello",
    "a bare line feed": b"X: a\nContent-Length: 5\r\n\r\nhello",
    "a bare carriage return": b"X: a\rContent-Length: 5\r\n\r\nhello",
    "NUL in a value": b"X: a\x00b\r\n\r\n",
    "a second host": b"Host: y\r\n\r\n",
    "a chunk size with a sign": b"Transfer-Encoding: chunked\r\n\r\n+5\r\nhello\r\n0\r\n\r\n",
    "a chunk size in hexadecimal notation": b"Transfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n",
    "an overflowing chunk size": b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nhello\r\n0\r\n\r\n",
    "a chunk longer than its size": b"Transfer-Encoding: chunked\r\n\r\n5\r\nhelloo\r\n0\r\n\r\n",
    "a chunk that ends with a line feed": b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\n0\r\n\r\n",
    "a chunk size that ends with a line feed": b"Transfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n",
    "a line feed in a chunk extension": b"Transfer-Encoding: chunked\r\n\r\n5;a\nb\r\nhello\r\n0\r\n\r\n",
}  # fmt: skip


@pytest.mark.parametrize("fields", SMUGGLING.values(), ids=SMUGGLING.keys())
def test_what_two_servers_could_read_differently_is_refused(loop: str, fields: bytes) -> None:
    handled: list[Request] = []

    def handler(request: Request) -> Response:
        handled.append(request)
        return Response(b"")

    with serve(handler, loop=loop) as served, served.connect() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: x\r\n" + fields + GET)
        answer = client.read()
        assert answer.status in (400, 501)
        assert answer.headers[b"connection"] == b"close"
        assert client.is_closed()
        assert handled == []
        assert served.rejected == [answer.status]


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 400),  # no Host
        (b"GET / HTTP/1.0\r\nHost: x\r\nHost: y\r\n\r\n", 400),
        (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"get / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"NONSENSE / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET / HTTP/1.2\r\nHost: x\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\nHost: x\r\n\r\n", 505),
        (b"GET /\r\nHost: x\r\n\r\n", 505),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n", 501),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),  # a TLS handshake
        (b"GET /\x01 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    ],
)
def test_a_malformed_request_is_answered_in_json_and_the_connection_closed(loop: str, raw: bytes, status: int) -> None:
    with serve(echo, loop=loop) as served, served.connect() as client:
        client.send(raw)
        answer = client.read()
        assert answer.status == status
        assert answer.headers[b"content-type"] == b"application/json"
        assert answer.body.startswith(b'"')
        assert client.is_closed()
        assert served.rejected == [status]
        assert served.ask(GET).status == 200


def test_a_body_too_large_is_refused_before_it_is_sent(loop: str) -> None:
    with serve(echo, loop=loop, body_bytes=1000) as served, served.connect() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 1001\r\n\r\n")
        answer = client.read()
        assert (answer.status, answer.body) == (413, b'"the body is larger than 1000 bytes"')
        assert client.is_closed()
        assert served.ask(post(bytes(1000))).status == 200
        assert served.ask(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: " + b"0" * 5000 + b"1\r\n\r\n").status == 413


def test_a_chunked_body_too_large_is_refused_as_soon_as_it_passes_the_limit(loop: str) -> None:
    with serve(echo, loop=loop, body_bytes=1000) as served, served.connect() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        client.send(*[b"64\r\n" + bytes(100) + b"\r\n"] * 11)
        assert client.read().status == 413
        assert served.rejected == [413]


def test_an_answer_to_a_client_that_is_still_sending_is_not_lost(loop: str) -> None:
    with serve(echo, loop=loop, body_bytes=1000) as served, served.connect() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000\r\n\r\n", bytes(8_000_000))
        assert client.read().status == 413


def test_bodies_that_are_large_together_are_refused_until_one_is_done(loop: str) -> None:
    with serve(echo, loop=loop, bodies_bytes=1500) as served, served.connect() as first:
        first.send(post(bytes(1000))[:-1])
        with served.connect() as second:
            second.send(post(bytes(1000))[:-1])
            one, other = (first, second) if _peek(first) == b"" else (second, first)
            answer = other.read()
            assert (answer.status, answer.headers[b"retry-after"]) == (503, b"1")
        one.send(b"\0")
        assert one.read().status == 200
        assert served.ask(post(bytes(1400))).status == 200


def _peek(client: object) -> bytes:
    import select

    readable, _, _ = select.select([client.sock], [], [], 0.3)  # type: ignore[attr-defined]  # a Client
    return b"ready" if readable else b""


@pytest.mark.parametrize(
    "raw",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 10_000_000,
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"a" * 10_000_000,
        b"GET /" + b"a" * 10_000_000,
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"a:b\r\n" * 100_000,
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"a:b\r\n" * 128 + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * (64 * 1024) + b"\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: " + b"a" * 10_000_000,
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + b"a:b\r\n" * 100_000,
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1;" + b"a" * 10_000_000,
    ],
    ids=["value", "name", "target", "count", "one too many", "a little too large", "trailer", "trailers", "extension"],
)  # fmt: skip
def test_an_endless_head_is_refused(loop: str, raw: bytes) -> None:
    with serve(echo, loop=loop) as served, served.connect() as client:
        sender = threading.Thread(target=client.send, args=(raw,))
        sender.start()
        assert client.read().status == 431
        sender.join()
        assert served.rejected == [431]


def test_a_head_just_within_the_limits_is_served(loop: str) -> None:
    fields = b"a:b\r\n" * 126 + b"X: " + b"a" * 60_000
    with serve(echo, loop=loop) as served:
        assert served.ask(b"GET / HTTP/1.1\r\nHost: x\r\n" + fields + b"\r\n\r\n").status == 200


def test_a_small_limit_on_the_head_is_exact() -> None:
    raw = b"GET /12345 HTTP/1.1\r\nHost: x\r\n\r\n"  # 6 + (4 + 1 + 4)
    reader = RequestReader(Limits(header_bytes=15), client="_", scheme="http")
    reader.feed(raw)
    assert len(reader.requests) == 1
    with pytest.raises(Refusal, match="larger than 14 bytes"):
        RequestReader(Limits(header_bytes=14), client="_", scheme="http").feed(raw)


# Expect and Upgrade


def test_100_continue_is_sent_once_the_head_has_passed_the_limits(loop: str) -> None:
    head = b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-Continue\r\nContent-Length: 2\r\n\r\n"
    with serve(echo_later, loop=loop) as served, served.connect() as client:
        client.send(head)
        assert client.read().status == 100
        client.send(b"hi")
        assert client.read().body == b"hi"
        client.send(head + b"ho")  # did not wait
        assert client.read().body == b"ho"
        client.send(head.replace(b"2", b"0"))  # nothing to wait for
        assert client.read().body == b""
        client.send(post(b"first") + head)
        assert client.read().body == b"first"
        assert client.read().status == 100
        client.send(b"hu")
        assert client.read().body == b"hu"


@pytest.mark.parametrize(
    "body", [b"Content-Length: 5\r\n\r\nhello", b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"]
)
def test_a_request_that_asks_for_an_upgrade_is_answered_as_if_it_had_not(loop: str, body: bytes) -> None:
    ask = b"POST /up?q HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n"

    def handler(request: Request) -> Response:
        return Response(f"{request.method} {request.path} {request.header(b'upgrade')!r} {request.body!r}".encode())

    for cut in (10, 70, len(ask) + 22, len(ask + body)):
        with serve(handler, loop=loop) as served, served.connect() as client:
            client.send((ask + body)[:cut], (ask + body)[cut:] + ask + b"\r\n" + post(b"next"))
            assert client.read().body == b"POST /up b'' b'hello'"
            assert client.read().body == b"POST /up b'' b''"
            assert client.read().body == b"POST / b'' b'next'"


def test_hundreds_of_upgrades_in_one_piece_are_answered(loop: str) -> None:
    ask = b"GET / HTTP/1.1\r\nHost:\r\nConnection:upgrade\r\nUpgrade:a\r\n\r\n"
    with serve(echo, loop=loop) as served, served.connect() as client:
        client.send(ask * 280)
        assert {client.read().status for _ in range(280)} == {200}


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

    handlers = {
        f"/{function.__name__}": function
        for function in (
            at_once, later, cancels_itself, wrong_type, wrong_type_at_once, bad_header, bad_content_type, bad_status,
            bad_header_of_stream,
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


def test_a_request_that_breaks_off_reaches_no_handler(loop: str) -> None:
    handled: list[Request] = []
    with serve(lambda request: handled.append(request) or Response(b""), loop=loop) as served:
        client = served.connect()
        client.send(post(b"hello")[:-1])
        client.close()
        served.ask(GET)
        assert len(handled) == 1


# Slow clients


@pytest.mark.parametrize(
    ("raw", "limits"),
    [
        (b"G", {"header_timeout_s": 0.1}),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: y", {"header_timeout_s": 0.1}),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n", {"body_grace_s": 0.1}),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhello", {"body_grace_s": 0.1}),
    ],
)
def test_a_request_that_does_not_arrive_in_time_is_a_408(loop: str, raw: bytes, limits: dict[str, float]) -> None:
    with serve(echo, loop=loop, **limits) as served, served.connect() as client:
        client.send(raw)
        answer = client.read()
        assert (answer.status, answer.body) == (408, b'"the request took too long to arrive"')
        assert client.is_closed()
        assert served.rejected == [408]


def test_bytes_that_trickle_in_do_not_buy_time(loop: str) -> None:
    with serve(echo, loop=loop, header_timeout_s=0.2) as served, served.connect() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\n")
        client.sock.settimeout(0.01)
        received = b""
        while not received:
            client.send(b"X: y\r\n")
            try:
                received = client.sock.recv(100)
            except TimeoutError:
                continue
        assert received.startswith(b"HTTP/1.1 408 ")


def test_an_idle_connection_is_closed_without_a_word(loop: str) -> None:
    with serve(echo, loop=loop, keep_alive_s=0.1) as served, served.connect() as client:
        client.send(GET)
        assert client.read().status == 200
        assert client.is_closed()
        with served.connect() as silent:
            assert silent.is_closed()
        assert served.rejected == []


def test_how_long_each_phase_may_last() -> None:
    limits = Limits(
        header_timeout_s=1, body_grace_s=2, body_bytes_per_s=100, keep_alive_s=3, write_stall_s=4, linger_s=5
    )
    assert [limits.seconds_allowed(phase, 200) for phase in Phase] == [3, 1, 4, float("inf"), 4, 5]
    assert limits.sweep_interval_s == 0.5
    assert Limits().sweep_interval_s == 1.0


@pytest.mark.parametrize("last", [True, False])
def test_a_client_that_reads_nothing_is_cut_off(loop: str, last: bool) -> None:
    handler = lambda request: Response(bytes(30_000_000))  # noqa: E731
    with serve(handler, loop=loop, write_stall_s=0.2) as served:
        client = served.connect()
        client.send(LAST_GET if last else GET)
        while served.call(lambda: served.listener.open_connections) != 0:
            threading.Event().wait(0.01)
        client.close()


def test_a_client_that_reads_slowly_gets_everything(loop: str) -> None:
    with serve(lambda request: Response(bytes(5_000_000)), loop=loop, write_stall_s=0.5, linger_s=0.1) as served:
        client = served.connect()
        client.send(LAST_GET)
        received = 0
        while data := client.sock.recv(50_000):
            received += len(data)
            threading.Event().wait(0.002)
        assert received > 5_000_000
        client.close()


def test_a_client_that_asks_without_reading_is_no_longer_read(loop: str) -> None:
    handled: list[Request] = []

    def handler(request: Request) -> Response:
        handled.append(request)
        return Response(bytes(1_000_000))

    with serve(handler, loop=loop) as served, served.connect() as client:
        client.send(GET * 200)
        client.read()
        served.call(lambda: None)
        assert len(handled) < 50
        for _ in range(199):
            assert len(client.read().body) == 1_000_000


# Streams


async def numbers(count: int) -> AsyncIterator[bytes]:
    for number in range(count):
        yield b"%d," % number
        yield b""
        await asyncio.sleep(0)


@pytest.mark.parametrize("later", [True, False])
def test_a_stream_is_chunked_on_1_1_and_ends_with_the_connection_on_1_0(loop: str, later: bool) -> None:
    async def stream_later(request: Request) -> Response:
        return Response(numbers(3))

    handler = stream_later if later else lambda request: Response(numbers(3))
    with serve(handler, loop=loop) as served, served.connect() as client:
        for _ in range(2):
            client.send(GET)
            answer = client.read()
            assert answer.headers[b"transfer-encoding"] == b"chunked"
            assert b"content-length" not in answer.headers
            assert answer.body == b"0,1,2,"
        client.send(b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.read("HEAD").headers[b"transfer-encoding"] == b"chunked"
        client.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        answer = client.read()
        assert b"transfer-encoding" not in answer.headers
        assert (answer.headers[b"connection"], answer.body) == (b"close", b"0,1,2,")


def test_the_first_chunk_is_sent_before_the_second_is_made(loop: str) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"first"
        await served.loop.run_in_executor(None, go_on.wait)
        yield b"second"

    go_on = threading.Event()
    with serve(lambda request: Response(chunks()), loop=loop) as served, served.connect() as client:
        client.send(GET)
        while client.file.readline() != b"\r\n":
            pass
        received = client.chunks()
        assert next(received) == b"first"
        go_on.set()
        assert list(received) == [b"second"]


@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
def test_a_stream_that_fails_midway_breaks_the_connection(
    loop: str, version: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"some"
        raise RuntimeError("half way")

    with serve(lambda request: Response(chunks()), loop=loop) as served, served.connect() as client:
        client.send(b"GET / HTTP/%b\r\nHost: x\r\n\r\n" % version)
        with pytest.raises((ConnectionResetError, ValueError)):
            client.read()
        assert "the answer to GET / broke off" in caplog.text
        assert "half way" in caplog.text


def test_a_stream_waits_for_a_client_that_reads_slowly(loop: str) -> None:
    made = 0

    async def chunks() -> AsyncIterator[bytes]:
        nonlocal made
        for _ in range(300):
            made += 1
            yield bytes(100_000)

    with serve(lambda request: Response(chunks()), loop=loop) as served, served.connect() as client:
        client.send(GET)
        client.file.readline()
        previous = -1
        while previous != (previous := made):  # until it rests
            threading.Event().wait(0.05)
        assert made < 150
        while client.file.readline() != b"\r\n":
            pass
        assert sum(map(len, client.chunks())) == 30_000_000


def test_a_client_that_goes_ends_the_stream(loop: str) -> None:
    begun, closed = threading.Event(), threading.Event()

    async def chunks() -> AsyncIterator[bytes]:
        try:
            while True:
                yield bytes(100_000)
                begun.set()
        finally:
            closed.set()

    with serve(lambda request: Response(chunks()), loop=loop) as served:
        client = served.connect()
        client.send(GET)
        assert begun.wait(PATIENCE_S)
        client.reset()
        assert closed.wait(PATIENCE_S)


# Anything at all

fragments = st.one_of(
    st.binary(max_size=40),
    st.sampled_from(
        [
            b"GET / HTTP/1.1\r\n", b"POST /a?b HTTP/1.1\r\n", b"Host: x\r\n", b"\r\n", b"Content-Length: 5\r\n", b"hello",
            b"Transfer-Encoding: chunked\r\n", b"5\r\nhello\r\n", b"0\r\n\r\n", b"Connection: Upgrade\r\n", b"Upgrade: h2c\r\n",
            b"Connection: close\r\n", b"Expect: 100-continue\r\n", GET, post(b"x"), b"HEAD / HTTP/1.0\r\n\r\n",
        ]
    ),
)  # fmt: skip


@pytest.fixture(scope="module", params=LOOPS)
def fuzzed(request: pytest.FixtureRequest) -> object:
    handler = lambda request: echo(request) if len(request.path) % 2 else echo_later(request)  # noqa: E731
    with serve(handler, loop=request.param, header_timeout_s=1.0, body_grace_s=1.0) as served:
        yield served


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parts=st.lists(fragments, max_size=12))
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


@settings(max_examples=200, deadline=None)
@given(parts=st.lists(fragments, max_size=12), data=st.data())
def test_how_the_bytes_are_split_changes_nothing(parts: list[bytes], data: st.DataObject) -> None:
    def outcome(pieces: list[bytes]) -> object:
        reader = RequestReader(Limits(), client="_", scheme="http")
        refused = None
        try:
            for piece in pieces:
                reader.feed(piece)
        except Refusal as refusal:
            refused = refusal.status, refusal.message
        taken = [(r.method, r.path, r.raw_headers, r.body, *rest) for r, *rest in reader.requests]
        return taken, refused, reader.phase, reader.closed

    raw = b"".join(parts)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(raw)), max_size=20)))
    assert outcome([raw]) == outcome([raw[i:j] for i, j in zip([0, *cuts], [*cuts, len(raw)], strict=True)])
