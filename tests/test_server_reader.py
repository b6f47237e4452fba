"""What is a request, what is refused, and that limits hold for any bytes."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bentoml._http import Request, Response
from bentoml.server.limits import Limits
from bentoml.server.reader import Refusal, RequestReader
from tests._serving import FRAGMENTS, GET, LOOPS, echo, echo_later, post, serve


@pytest.fixture(params=LOOPS)
def loop(request: pytest.FixtureRequest) -> str:
    return request.param


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
    ids=["value", "name", "target", "count", "one more", "just too large", "trailer", "trailers", "chunk"],
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
    ask = b"POST /up?q HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"

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


@settings(max_examples=200, deadline=None)
@given(parts=st.lists(FRAGMENTS, max_size=12), data=st.data())
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
