"""Accepting, sharing, draining and closing a listening socket."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import resource
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from bentoml._http import Request, Response
from bentoml.server import sockets
from bentoml.server.limits import Limits
from bentoml.server.listener import Listener
from tests._serving import GET, LOOPS, PATIENCE_S, Served, new_loop, serve


@pytest.fixture(params=LOOPS)
def loop(request: pytest.FixtureRequest) -> str:
    return request.param


def hello(request: Request) -> Response:
    return Response(b"hello")


class Gate:
    """A handler whose answers wait until it is opened."""

    def __init__(self) -> None:
        self.begun, self.cancelled = threading.Semaphore(0), threading.Semaphore(0)
        self._open = asyncio.Event()

    async def __call__(self, request: Request) -> Response:
        self.begun.release()
        try:
            await self._open.wait()
        except asyncio.CancelledError:
            self.cancelled.release()
            raise
        return Response(b"through the gate")

    def open(self, served: Served) -> None:
        served.call(self._open.set)


def draining(served: Served, grace_s: float = PATIENCE_S, **options: bool) -> asyncio.Future[int]:
    """Begin to drain, and wait until nobody new is accepted."""
    future = asyncio.run_coroutine_threadsafe(served.listener.drain(grace_s, **options), served.loop)
    while served.listener._sock.fileno() != -1:
        threading.Event().wait(0.005)
    return future  # type: ignore[return-value]  # a concurrent future, whose result() waits


# Accepting


def test_one_client_is_accepted_each_time_the_loop_comes_round(loop: str) -> None:
    async def main() -> list[int]:
        sock = sockets.bind("127.0.0.1", 0)
        clients = [socket.create_connection(sock.getsockname()) for _ in range(20)]
        listener = Listener(sock, hello)
        listener.start()
        accepted = []
        while listener.open_connections < 20:
            accepted.append(listener.open_connections)
            await asyncio.sleep(0)
        listener.close()
        for client in clients:
            client.close()
        return accepted

    event_loop = new_loop(loop)
    accepted = event_loop.run_until_complete(main())
    event_loop.close()
    assert all(later - earlier <= 1 for earlier, later in itertools.pairwise(accepted))


def test_small_answers_are_not_held_back_by_the_kernel(loop: str) -> None:
    with serve(hello, loop=loop) as served, served.connect() as client:
        client.send(GET)
        client.read()
        [connection] = served.listener._connections
        accepted = connection._transport.get_extra_info("socket")
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1


def test_unix_sockets_are_served(loop: str, tmp_path: Path) -> None:
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(tmp_path / "http.sock"))
    sock.listen()
    with serve(lambda request: Response(request.client.encode()), loop=loop, sock=sock) as served:
        assert served.ask(GET).body == b"_"
        assert served.run(served.listener.drain(PATIENCE_S)) == 0


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("openssl") is None:
        pytest.skip("needs the openssl command to make a certificate")
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    command = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=localhost -days 2"
    subprocess.run(
        ["openssl", *command.split(), "-keyout", path, "-out", f"{path}.crt"], check=True, capture_output=True
    )
    path.write_bytes(path.read_bytes() + Path(f"{path}.crt").read_bytes())
    return path


@pytest.mark.parametrize("size", [10, 2_000_000])
def test_tls_connections_are_served_closed_and_drained(loop: str, certificate: Path, size: int) -> None:
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(certificate)
    trusting = ssl.create_default_context(cafile=certificate)
    with serve(lambda request: Response(bytes(size)), loop=loop, ssl=server) as served:
        with served.connect() as plain:
            plain.send(GET)
            assert plain.is_closed() or b"\x15" in plain.file.read(1) + b"\x15"  # an alert, or nothing
        with (
            socket.create_connection(served.address) as raw,
            trusting.wrap_socket(raw, server_hostname="localhost") as client,
        ):
            file = client.makefile("rb")
            for number in range(3):
                client.sendall(GET if number < 2 else GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
                while file.readline() != b"\r\n":
                    pass
                assert file.read(size) == bytes(size)
            assert file.read() == b""
            file.close()
        assert served.run(served.listener.drain(PATIENCE_S)) == 0


def test_a_tls_client_that_does_not_shake_hands_is_dropped(loop: str, certificate: Path) -> None:
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(certificate)
    with serve(hello, loop=loop, ssl=server, header_timeout_s=0.2) as served, served.connect() as client:
        assert client.is_closed()


def test_clients_beyond_the_limit_wait_and_idle_ones_make_room(loop: str, caplog: pytest.LogCaptureFixture) -> None:
    gate = Gate()
    with serve(gate, loop=loop, connections=2, linger_s=0.1) as served:
        busy, idle, waiting = served.connect(), served.connect(), served.connect()
        busy.send(GET)
        assert gate.begun.acquire(timeout=PATIENCE_S)
        waiting.send(GET)
        assert idle.is_closed()
        assert gate.begun.acquire(timeout=PATIENCE_S)
        assert served.call(lambda: served.listener.open_connections) == 2
        assert "2 connections are open, the most that are allowed; new clients must wait" in caplog.text
        gate.open(served)
        for client in (busy, waiting):
            assert client.read().status == 200
            client.close()
        idle.close()


@contextlib.contextmanager
def few_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    probe = os.dup(0)
    os.close(probe)
    resource.setrlimit(resource.RLIMIT_NOFILE, (probe, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_without_descriptors_accepting_rests_and_says_so_once(loop: str, caplog: pytest.LogCaptureFixture) -> None:
    with serve(hello, loop=loop) as served:
        assert served.ask(GET).status == 200
        clients = [socket.socket() for _ in range(3)]
        with few_descriptors():
            for client in clients:
                client.settimeout(PATIENCE_S)
                client.connect(served.address)
                client.sendall(GET)
            while "cannot accept connections" not in caplog.text:
                threading.Event().wait(0.01)
        for client in clients:
            assert client.recv(1000).endswith(b"hello")
            client.close()
    assert caplog.text.count("cannot accept connections: Too many open files (hint: raise the limit") == 1


# Draining


def test_draining_an_unused_listener_ends_at_once(loop: str) -> None:
    with serve(hello, loop=loop) as served:
        assert served.run(served.listener.drain(PATIENCE_S)) == 0
        with pytest.raises(ConnectionRefusedError):
            served.connect()


def test_draining_answers_who_is_waiting_and_tells_them_to_close(loop: str) -> None:
    gate = Gate()
    with serve(gate, loop=loop) as served, served.connect() as client:
        client.send(GET)
        assert gate.begun.acquire(timeout=PATIENCE_S)
        future = draining(served)
        with pytest.raises(ConnectionRefusedError):
            served.connect()
        gate.open(served)
        answer = client.read()
        assert (answer.body, answer.headers[b"connection"]) == (b"through the gate", b"close")
        client.close()
        assert future.result(PATIENCE_S) == 0


def test_draining_answers_all_pipelined_requests_before_it_closes(loop: str) -> None:
    gate = Gate()
    with serve(gate, loop=loop) as served, served.connect() as client:
        client.send(GET * 3)
        assert gate.begun.acquire(timeout=PATIENCE_S)
        future = draining(served)
        gate.open(served)
        assert [client.read().headers.get(b"connection") for _ in range(3)] == [None, None, b"close"]
        client.close()
        assert future.result(PATIENCE_S) == 0


def test_a_request_on_an_idle_connection_is_answered_soon_after_draining_begins(loop: str) -> None:
    with serve(hello, loop=loop) as served, served.connect() as active, served.connect() as idle:
        active.send(GET)
        active.read()
        future = draining(served)
        active.send(GET)
        assert active.read().headers[b"connection"] == b"close"
        active.close()
        assert idle.is_closed()
        assert future.result(PATIENCE_S) == 0


def test_a_request_half_sent_when_draining_begins_is_answered(loop: str) -> None:
    with serve(hello, loop=loop) as served, served.connect() as client:
        client.send(GET[:20])
        while served.call(lambda: served.listener.in_flight) == 0:
            pass
        future = draining(served)
        client.send(GET[20:])
        assert client.read().body == b"hello"
        client.close()
        assert future.result(PATIENCE_S) == 0


def test_after_the_grace_handlers_are_cancelled_and_counted(loop: str) -> None:
    gate = Gate()
    with serve(gate, loop=loop) as served, served.connect() as one, served.connect() as two, served.connect():
        for client in (one, two):
            client.send(GET)
            assert gate.begun.acquire(timeout=PATIENCE_S)
        assert served.run(served.listener.drain(0.1)) == 2
        assert gate.cancelled.acquire(timeout=PATIENCE_S)
        assert gate.cancelled.acquire(timeout=PATIENCE_S)
        assert one.is_closed()
        assert two.is_closed()


def test_clients_that_were_not_accepted_yet_are_served_when_draining(loop: str) -> None:
    gate = Gate()
    with serve(gate, loop=loop, connections=1) as served:
        clients = [served.connect() for _ in range(30)]
        for client in clients:
            client.send(GET)
        assert gate.begun.acquire(timeout=PATIENCE_S)
        future = draining(served)
        gate.open(served)
        for client in clients:
            assert client.read().body == b"through the gate"
            client.close()
        assert future.result(PATIENCE_S) == 0


class Hammer(threading.Thread):
    """A client that asks without pause until it is told to close or refused; counts what was lost."""

    def __init__(self, address: tuple[str, int], *, reconnect: bool) -> None:
        super().__init__()
        self.address, self.reconnect = address, reconnect
        self.answered = 0
        self.lost: list[str] = []

    def run(self) -> None:
        while True:
            try:
                client = socket.create_connection(self.address, PATIENCE_S)
            except OSError:
                return
            with client:
                try:
                    while self._ask(client):
                        pass
                except OSError as error:
                    self.lost.append(repr(error))
                    return

    def _ask(self, client: socket.socket) -> bool:
        close = b"Connection: close\r\n" if self.reconnect else b""
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n" + close + b"\r\n")
        received = b""
        while not received.endswith(b"\r\n\r\nhello"):
            data = client.recv(4096)
            if not data:
                self.lost.append(f"closed after {received!r}")
                return False
            received += data
        self.answered += 1
        return b"connection: close" not in received


@pytest.mark.parametrize("listeners", [1, 2])
def test_no_request_is_lost_when_listeners_are_drained_under_load(loop: str, listeners: int) -> None:
    async def handler(request: Request) -> Response:
        await asyncio.sleep(0.001)
        return Response(b"hello")

    with contextlib.ExitStack() as stack:
        sock = sockets.bind("127.0.0.1", 0)
        shared = [sock, *(sock.dup() for _ in range(listeners - 1))]
        servers = [stack.enter_context(serve(handler, loop=loop, sock=each)) for each in shared]
        hammers = [Hammer(servers[0].address, reconnect=number % 2 == 0) for number in range(8)]
        for hammer in hammers:
            hammer.start()
        while min(hammer.answered for hammer in hammers) < 10:
            threading.Event().wait(0.005)
        futures = [
            asyncio.run_coroutine_threadsafe(server.listener.drain(PATIENCE_S), server.loop) for server in servers
        ]
        assert [future.result(PATIENCE_S) for future in futures] == [0] * listeners
        for hammer in hammers:
            hammer.join()
        assert [hammer.lost for hammer in hammers] == [[]] * 8


def test_a_listener_that_shares_its_socket_leaves_the_queue_to_the_others(loop: str) -> None:
    sock = sockets.bind("127.0.0.1", 0)
    with serve(hello, loop=loop, sock=sock.dup()) as stays, serve(hello, loop=loop, sock=sock) as goes:
        assert goes.run(goes.listener.drain(PATIENCE_S, shared=True)) == 0
        for _ in range(5):
            assert stays.ask(GET).body == b"hello"


def test_closing_cuts_everyone_off_and_frees_the_port(loop: str) -> None:
    gate = Gate()
    with serve(gate, loop=loop) as served, served.connect() as busy, served.connect() as idle:
        busy.send(GET)
        assert gate.begun.acquire(timeout=PATIENCE_S)
        served.call(served.listener.close)
        assert gate.cancelled.acquire(timeout=PATIENCE_S)
        assert busy.is_closed()
        assert idle.is_closed()
        sockets.bind(*served.address).close()


def test_no_limit_is_needed_to_begin() -> None:
    assert Listener(socket.socket(), hello)._limits == Limits()
