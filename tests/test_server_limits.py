"""Clients that send or read slowly, and how long each phase of a connection may last."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest

from bentoml._http import Request, Response
from bentoml.server.limits import Limits, Phase
from tests._serving import GET, LAST_GET, LOOPS, PATIENCE_S, echo, post, serve


@pytest.fixture(params=LOOPS)
def loop(request: pytest.FixtureRequest) -> str:
    return request.param


def test_how_long_each_phase_may_last() -> None:
    limits = Limits(
        header_timeout_s=1, body_grace_s=2, body_bytes_per_s=100, keep_alive_s=3, write_stall_s=4, linger_s=5
    )
    assert {phase: limits.seconds_allowed(phase, 200) for phase in Phase} == {
        Phase.IDLE: 3,
        Phase.HEAD: 1,
        Phase.BODY: 4,
        Phase.ANSWERING: float("inf"),
        Phase.STREAMING: float("inf"),
        Phase.SENDING: 4,
        Phase.LINGERING: 5,
    }
    # Never early, although the clock of a connection stands still between two sweeps.
    assert (
        Limits(answer_timeout_s=7).seconds_allowed(Phase.ANSWERING) == 7 + Limits(answer_timeout_s=7).sweep_interval_s
    )
    assert limits.sweep_interval_s == 0.5
    assert Limits().sweep_interval_s == 1.0


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


@pytest.mark.parametrize("stubborn", [False, True])
def test_an_answer_that_takes_too_long_is_a_504_even_if_its_handler_goes_on(loop: str, stubborn: bool) -> None:
    cancelled = threading.Semaphore(0)

    async def handler(request: Request) -> Response:
        if request.path == "/":
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.release()
                if not stubborn:
                    raise
        return Response(b"late")

    with serve(handler, loop=loop, answer_timeout_s=0.2) as served:
        with served.connect() as client:
            client.send(GET, GET)
            answer = client.read()
            assert (answer.status, answer.body) == (504, b'"the answer took too long"')
            assert answer.headers[b"connection"] == b"close"
            assert client.is_closed()
        assert cancelled.acquire(timeout=PATIENCE_S)
        assert served.ask(post(b"", b"/quick")).body == b"late"


def test_a_stream_that_has_begun_may_take_as_long_as_it_likes(loop: str) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"a"
        await asyncio.sleep(0.5)
        yield b"b"

    async def handler(request: Request) -> Response:
        return Response(chunks())

    with serve(handler, loop=loop, answer_timeout_s=0.1) as served:
        assert served.ask(GET).body == b"ab"


def test_nobody_is_cut_off_early_for_having_idled_before(loop: str) -> None:
    async def handler(request: Request) -> Response:
        await asyncio.sleep(0.02)
        return Response()

    with serve(handler, loop=loop, answer_timeout_s=0.6) as served, served.connect() as client:
        client.send(GET)
        client.read()
        threading.Event().wait(0.9)
        client.send(GET)
        assert client.read().status == 200
