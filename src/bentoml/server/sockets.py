"""Listening sockets: bound with errors that say what to do, closed without losing who has connected."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import stat
import struct
import sys
from pathlib import Path
from typing import NamedTuple

from bentoml.exceptions import BentoMLException

__all__ = ["UnixSocket", "bind", "bind_unix", "printed", "refuse_new_connections", "reset_on_close"]

#: What fits into the address of a unix socket, with the zero byte behind it, on Linux and on macOS.
_MAX_PATH_BYTES = 107 if sys.platform == "linux" else 103
_SO_ATTACH_FILTER = 26  # <asm/socket.h>; the socket module has no name for it
#: Classic BPF, run on each packet from its TCP header on: drop what carries SYN without ACK, pass the rest.
_DROP_SYN = (
    (0x30, 0, 0, 13),  # A = byte 13, the flags
    (0x54, 0, 0, 0x12),  # A &= SYN | ACK
    (0x15, 0, 1, 0x02),  # if A == SYN
    (0x06, 0, 0, 0),  # then return 0
    (0x06, 0, 0, 0xFFFF_FFFF),  # else return all
)


def bind(host: str, port: int, *, backlog: int = 2048) -> socket.socket:
    """A listening, non-blocking TCP socket.

    Args:
        host: a name or an IPv4 or IPv6 address; `"::"` takes IPv4 as well.
        port: 0 lets the system choose.
        backlog: how many clients may wait to be accepted; the system may allow fewer.

    Raises:
        BentoMLException: the port is none, taken or reserved, or the host is not one of this machine.
    """
    if not 0 <= port <= 65535:
        raise BentoMLException(f"{port} is not a port", hint="use --port with 0 to 65535")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError) as error:
        raise BentoMLException(
            f"the host {host!r} has no address: {getattr(error, 'strerror', None) or error}",
            hint="use --host 0.0.0.0 for every network of this machine, or 127.0.0.1 for this machine alone",
        ) from error
    sock = socket.socket(family, kind, protocol)
    try:
        # Else the port stays taken for a minute after a server with clients was stopped.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind(address)
        sock.listen(backlog)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        raise _bind_error(error, host, port) from error
    return sock


class UnixSocket(NamedTuple):
    """A listening unix socket and the file by which clients reach it."""

    sock: socket.socket
    path: Path
    identity: tuple[int, int]

    def remove(self) -> None:
        """Take the file away, unless another server has put its own there meanwhile."""
        with contextlib.suppress(OSError):
            if _identity(self.path) == self.identity:
                self.path.unlink()


def bind_unix(name: str, *, backlog: int = 2048) -> UnixSocket:
    """A listening, non-blocking unix socket at a path; one that a killed server has left there is replaced.

    Whoever may write to the file may connect; its mode is what the umask leaves of 0777.

    Raises:
        BentoMLException: the path is in use, or too long, or something else lies there.
    """
    path = Path(name).expanduser().absolute()
    if len(os.fsencode(path)) > _MAX_PATH_BYTES:
        raise BentoMLException(
            f"the path of the unix socket has more than {_MAX_PATH_BYTES} bytes: {path}", hint="use a shorter --uds"
        )
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            # Of two servers that find the same left-over at once, the second must not remove what the first has made.
            fcntl.flock(folder, fcntl.LOCK_EX)
            _remove_stale(path)
            sock.bind(str(path))
            sock.listen(backlog)
        finally:
            os.close(folder)
        sock.setblocking(False)
        return UnixSocket(sock, path, _identity(path))
    except OSError as error:
        sock.close()
        raise BentoMLException(
            f"cannot listen on the unix socket {path}: {error.strerror}",
            hint="use --uds with a path in a folder that exists and that this user may write to",
        ) from error
    except BaseException:
        sock.close()
        raise


def _identity(path: Path) -> tuple[int, int]:
    """Tells a file from another that takes its place; the number alone does not, as file systems use it again."""
    found = path.lstat()
    return found.st_ino, found.st_mtime_ns


def _remove_stale(path: Path) -> None:
    """Remove the socket of a server that is gone."""
    try:
        kind = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(kind):
        raise BentoMLException(f"{path} is there already, and it is no socket", hint="use another --uds")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except BlockingIOError:  # its queue is full: somebody listens
            pass
    raise BentoMLException(
        f"the unix socket {path} is already in use", hint="stop the server that listens there, or use another --uds"
    )


def _bind_error(error: OSError, host: str, port: int) -> BentoMLException:
    if error.errno == errno.EADDRINUSE:
        owner = _owner(port)
        stop = f"stop {owner}" if owner else f"stop what listens there (`lsof -i :{port}` names it)"
        return BentoMLException(f"port {port} on {host} is already in use", hint=f"use another --port, or {stop}")
    if error.errno == errno.EACCES:
        return BentoMLException(f"port {port} needs more rights than this user has", hint="use a --port above 1023")
    if error.errno == errno.EADDRNOTAVAIL:
        return BentoMLException(
            f"{host} is not an address of this machine",
            hint="use --host 0.0.0.0 for every network of this machine, or 127.0.0.1 for this machine alone",
        )
    return BentoMLException(f"cannot listen on {host}:{port}: {error.strerror}")


def _owner(port: int) -> str:
    """`"process 4711 (python -m http.server)"` if Linux tells us who listens on `port`, else `""`."""
    listening = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            rows = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for columns in map(str.split, rows):
            if columns[3] == "0A" and columns[1].endswith(f":{port:04X}"):
                listening.add(f"socket:[{columns[9]}]")
    for link in Path("/proc").glob("[0-9]*/fd/*") if listening else ():
        try:
            if os.readlink(link) in listening:
                process = link.parents[1]
                command = process.joinpath("cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
                return f"process {process.name} ({command.strip()[:80]})"
        except OSError:  # another user's process, or one that ended meanwhile
            continue
    return ""


def printed(address: object) -> str:
    """`"host:port"` of a TCP address as the socket module gives it, `"_"` for any other."""
    if not isinstance(address, tuple):
        return "_"
    host, port = address[0].removeprefix("::ffff:"), address[1]  # IPv4, on a socket that takes both
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def reset_on_close(sock: socket.socket) -> None:
    """Let the close of a connected socket be a reset, which the peer cannot take for the end of the data."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def refuse_new_connections(sock: socket.socket) -> bool:
    """Let no client begin to connect, in all processes that share `sock`; those that have begun get through.

    Closing a listening socket resets who connected but was not accepted, however soon after the last accept
    it comes. After this nobody is left to reset; who comes now tries again a second later, and is refused.

    Returns:
        False where this cannot be done: outside Linux, and for unix sockets.
    """
    if sys.platform != "linux" or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return False
    import ctypes

    program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in _DROP_SYN))
    try:
        sock.setsockopt(
            socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", len(_DROP_SYN), ctypes.addressof(program))
        )
    except OSError:
        return False
    return True
