"""Binding a port, what is said when it cannot be, and closing it without a loss."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bentoml._http import Response
from bentoml.exceptions import BentoMLException
from bentoml.server import sockets
from tests._serving import GET, LOOPS, echo, serve


@pytest.fixture(params=LOOPS)
def loop(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.mark.parametrize(
    ("host", "dialled"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("localhost", "localhost"),
        ("0.0.0.0", "127.0.0.1"),
        ("::1", "::1"),
        ("::", "127.0.0.1"),
    ],
)
def test_bind_listens_on_names_and_addresses_of_both_families(loop: str, host: str, dialled: str) -> None:
    if ":" in host and not socket.has_dualstack_ipv6():
        pytest.skip("no IPv6 here")
    sock = sockets.bind(host, 0)
    assert not sock.getblocking()
    port = sock.getsockname()[1]
    handler = lambda request: Response(request.client.encode())  # noqa: E731
    with serve(handler, loop=loop, sock=sock), socket.create_connection((dialled, port)) as client:
        client.sendall(GET)
        own = client.getsockname()
        expected = f"[{own[0]}]:{own[1]}" if ":" in own[0] else f"{own[0]}:{own[1]}"
        assert client.recv(1000).endswith(f"\r\n\r\n{expected}".encode())


def test_the_second_server_on_a_port_is_told_who_holds_it() -> None:
    with sockets.bind("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(BentoMLException, match=f"port {port} on 127.0.0.1 is already in use") as caught:
            sockets.bind("127.0.0.1", port)
        assert caught.value.hint.startswith("use another --port, or stop ")
        if os.path.exists("/proc/net/tcp"):
            assert f"process {os.getpid()} (" in caught.value.hint


def test_a_port_is_free_again_as_soon_as_its_server_is_gone(loop: str) -> None:
    with serve(echo, loop=loop) as served:
        client = served.connect()
        client.send(GET)
        client.read()
    sockets.bind(*served.address).close()
    client.close()


@pytest.mark.parametrize(
    ("host", "port", "message", "hint"),
    [
        ("no-such-host.invalid", 3000, "the host 'no-such-host.invalid' has no address", "--host 0.0.0.0"),
        ("a" * 70, 3000, "has no address", "--host"),
        ("192.0.2.1", 3000, "192.0.2.1 is not an address of this machine", "--host 0.0.0.0"),
        ("127.0.0.1", 65536, "65536 is not a port", "0 to 65535"),
        ("127.0.0.1", -1, "-1 is not a port", "0 to 65535"),
    ],
)
def test_bind_says_what_is_wrong(host: str, port: int, message: str, hint: str) -> None:
    with pytest.raises(BentoMLException) as caught:
        sockets.bind(host, port)
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_a_port_that_needs_more_rights_is_named() -> None:
    error = sockets._bind_error(PermissionError(errno.EACCES, "Permission denied"), "0.0.0.0", 80)
    assert str(error) == "port 80 needs more rights than this user has (hint: use a --port above 1023)"
    error = sockets._bind_error(OSError(errno.EIO, "I/O error"), "0.0.0.0", 80)
    assert str(error) == "cannot listen on 0.0.0.0:80: I/O error"


def test_refusing_new_connections_lets_those_that_connected_be_accepted() -> None:
    with sockets.bind("127.0.0.1", 0) as sock, socket.create_connection(sock.getsockname()):
        if not sockets.refuse_new_connections(sock):
            pytest.skip("this kernel has no socket filters")
        with socket.socket() as late:
            late.setblocking(False)
            assert late.connect_ex(sock.getsockname()) == errno.EINPROGRESS
            accepted, _ = sock.accept()
            accepted.close()
            assert select.select([sock], [late], [], 0.1) == ([], [], [])


# Unix sockets


def test_a_unix_socket_takes_clients_and_its_file_goes_with_it(tmp_path: Path) -> None:
    made = sockets.bind_unix(str(tmp_path / "s"))
    assert stat.S_ISSOCK((tmp_path / "s").stat().st_mode)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(tmp_path / "s"))
    made.remove()
    made.remove()
    assert list(tmp_path.iterdir()) == []
    made.sock.close()


def test_the_umask_says_who_may_connect(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        made = sockets.bind_unix(str(tmp_path / "s"))
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "s").stat().st_mode) == 0o700
    made.sock.close()


def test_a_left_over_socket_is_replaced(tmp_path: Path) -> None:
    left = sockets.bind_unix(str(tmp_path / "s"))
    left.sock.close()  # as a killed server leaves it
    made = sockets.bind_unix(str(tmp_path / "s"))
    left.remove()
    assert (tmp_path / "s").exists(), "the file is another server's by now"
    made.sock.close()


@pytest.mark.parametrize("backlog", [2048, 0])
def test_a_unix_socket_in_use_is_refused_and_goes_on(tmp_path: Path, backlog: int) -> None:
    path = tmp_path / "s"
    first = sockets.bind_unix(str(path), backlog=backlog)
    with contextlib.ExitStack() as clients:
        for _ in range(2):  # with a backlog of 0 the queue is full then
            client = clients.enter_context(socket.socket(socket.AF_UNIX))
            client.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                client.connect(str(path))
        with pytest.raises(BentoMLException) as raised:
            sockets.bind_unix(str(path))
    assert str(raised.value) == (
        f"the unix socket {path} is already in use (hint: stop the server that listens there, or use another --uds)"
    )
    assert path.exists()
    first.sock.close()


def test_of_servers_that_start_at_once_one_gets_the_path(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    sockets.bind_unix(path).sock.close()
    won: list[sockets.UnixSocket] = []
    lost: list[BentoMLException] = []

    def bind(_: int) -> None:
        try:
            won.append(sockets.bind_unix(path))
        except BentoMLException as error:
            lost.append(error)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(bind, range(16)))
    assert (len(won), len(lost)) == (1, 15)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
    won[0].sock.close()


def test_what_is_no_socket_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.write_text("precious")
    with pytest.raises(BentoMLException) as raised:
        sockets.bind_unix(str(path))
    assert str(raised.value) == f"{path} is there already, and it is no socket (hint: use another --uds)"
    assert path.read_text() == "precious"


def test_a_path_that_cannot_be_a_socket_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BentoMLException) as raised:
        sockets.bind_unix(str(tmp_path / "none" / "s"))
    assert str(raised.value) == (
        f"cannot listen on the unix socket {tmp_path}/none/s: No such file or directory "
        "(hint: use --uds with a path in a folder that exists and that this user may write to)"
    )
    with pytest.raises(BentoMLException, match="has more than 10[37] bytes: .*xxx .hint: use a shorter --uds."):
        sockets.bind_unix(str(tmp_path / ("x" * 120)))
