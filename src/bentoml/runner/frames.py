"""FramePeer: one end of a private unix socket over which frames travel; large ones as a memory file, passed along.

Reading and writing are done on the event loop with plain socket calls, as asyncio's streams can neither gather buffers
nor pass file descriptors.
"""

from __future__ import annotations

import asyncio
import contextlib
import mmap
import os
import socket
import struct
from collections import deque
from collections.abc import Callable
from typing import Any

from bentoml.runner import wire
from bentoml.runner.wire import FrameError

__all__ = ["GONE", "FramePeer", "check_peer"]

#: Why a connection was lost that ended as connections do.
GONE = "the other process has ended"

#: Frames larger than this go through a memory file: a socket moves 200 KB at a time, with a wake-up of both sides each.
MEMORY_FILE_BYTES = 1024 * 1024
#: What one read takes at most; most turns of a loop have less to say.
READ_BYTES = 256 * 1024
#: Linux takes at most this many parts in one call.
MAX_PARTS = 512

#: A frame in the memory file that comes with it: magic and its size.
_FILE_HEAD = struct.Struct("<4s4xQ")
_FILE_MAGIC = b"mkwm"
_SEALS = 0x0001 | 0x0002 | 0x0004 | 0x0008  # F_SEAL_SEAL, SHRINK, GROW, WRITE
_F_ADD_SEALS, _F_GET_SEALS = 1033, 1034


def check_peer(sock: socket.socket) -> None:
    """Refuse a peer that runs under another user.

    Raises:
        FrameError: it does.
    """
    if not hasattr(socket, "SO_PEERCRED"):
        return
    _, uid, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    if uid != os.getuid():
        raise FrameError(f"a process of the user {uid} tried to speak to a runner of the user {os.getuid()}")


class FramePeer:
    """Sends and receives frames on a connected unix socket.

    Args:
        on_frame: called with the tree and the buffers of each frame, in order.
        on_lost: called once, with the reason, when the connection has ended.
    """

    def __init__(
        self,
        sock: socket.socket,
        *,
        on_frame: Callable[[Any, list[memoryview]], None],
        on_lost: Callable[[str], None],
    ) -> None:
        check_peer(sock)
        sock.setblocking(False)
        self._sock = sock
        self._loop = asyncio.get_running_loop()
        self._on_frame = on_frame
        self._on_lost = on_lost
        self._outgoing: deque[tuple[list[memoryview], int | None]] = deque()
        self._writing = False
        self._buffer = bytearray(READ_BYTES)
        self._view = memoryview(self._buffer)
        self._have = 0
        #: The frame that did not fit the read buffer: its memory and how much of it is there.
        self._large: memoryview | None = None
        self._large_have = 0
        self._fds: list[int] = []
        self._closed = False
        self._loop.add_reader(sock, self._read)

    # -- sending ------------------------------------------------------------------------------------------------------

    def send(self, tree: Any, buffers: list[Any]) -> None:
        """Send one frame; returns at once."""
        if self._closed:
            return
        parts = wire.frame(tree, buffers)
        size = sum([part.nbytes if type(part) is not bytes else len(part) for part in parts])
        fd = None
        if size <= MEMORY_FILE_BYTES:
            # Hundreds of small parts: gathering them here takes less than describing them to the kernel.
            views = [memoryview(b"".join(parts))]
        else:
            views = [memoryview(part).cast("B") for part in parts]
            fd = _memory_file(views, size)
            if fd is not None:
                views = [memoryview(_FILE_HEAD.pack(_FILE_MAGIC, size))]
        self._outgoing.append((views, fd))
        if not self._writing:
            self._write()

    def _write(self) -> None:
        try:
            while self._outgoing:
                parts, fd = self._outgoing[0]
                ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", fd))] if fd is not None else []
                sent = self._sock.sendmsg(parts[:MAX_PARTS], ancillary)
                if fd is not None:
                    os.close(fd)
                while parts and sent >= len(parts[0]):
                    sent -= len(parts.pop(0))
                if parts:
                    parts[0] = parts[0][sent:]
                    # The file has gone with the first byte; the rest follows without it.
                    self._outgoing[0] = (parts, None)
                else:
                    self._outgoing.popleft()
        except (BlockingIOError, InterruptedError):
            if not self._writing:
                self._writing = True
                self._loop.add_writer(self._sock, self._write)
            return
        except OSError as error:
            self._lose(GONE if isinstance(error, ConnectionError) else str(error))
            return
        if self._writing:
            self._writing = False
            self._loop.remove_writer(self._sock)

    # -- receiving ----------------------------------------------------------------------------------------------------

    def _read(self) -> None:
        try:
            if self._large is not None:
                count = self._sock.recv_into(self._large[self._large_have :])
            else:
                count = self._receive()
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._lose(GONE if isinstance(error, ConnectionError) else str(error))
            return
        if count == 0:
            self._lose(GONE)
            return
        try:
            self._received(count)
        except FrameError as error:
            self._lose(str(error))

    def _receive(self) -> int:
        space = socket.CMSG_SPACE(8 * struct.calcsize("i"))
        count, ancillary, _, _ = self._sock.recvmsg_into([self._view[self._have :]], space)
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                usable = len(data) - len(data) % struct.calcsize("i")
                self._fds.extend(struct.unpack(f"{usable // 4}i", data[:usable]))
        return count

    def _received(self, count: int) -> None:
        if self._large is not None:
            self._large_have += count
            if self._large_have == len(self._large):
                whole, self._large = self._large, None
                self._deliver(whole)
            return
        self._have += count
        start = 0
        while not self._closed:
            taken = self._take(self._view[start : self._have])
            if taken == 0:
                break
            start += taken
        rest = self._have - start
        if start and rest:
            self._buffer[:rest] = bytes(self._view[start : self._have])
        self._have = rest

    def _take(self, data: memoryview) -> int:
        """Deliver the frame at the beginning of `data`; the bytes that it took, 0 when it is not whole yet."""
        if len(data) < _FILE_HEAD.size:
            return 0
        if data[:4] == _FILE_MAGIC:
            _, size = _FILE_HEAD.unpack(data[: _FILE_HEAD.size])
            self._deliver(self._mapped(size))
            return _FILE_HEAD.size
        lengths_bytes, _ = wire.frame_lengths(data[: wire.HEAD.size])
        known = wire.HEAD.size + lengths_bytes
        if len(data) < known:
            self._grow(known)
            return 0
        size = wire.frame_size(data[: wire.HEAD.size], data[wire.HEAD.size : known])
        if len(data) >= size:
            # A copy of its own: the values keep views into it, and the read buffer is used again.
            self._deliver(memoryview(bytearray(data[:size])))
            return size
        if size > len(self._buffer):
            # Pages that are taken as they are written to: what a head announces costs nothing until it comes.
            self._large = memoryview(mmap.mmap(-1, size))
            self._large_have = len(data)
            self._large[: len(data)] = data
            return len(data)
        return 0

    def _grow(self, size: int) -> None:
        if size > len(self._buffer):
            grown = bytearray(size * 2)
            grown[: self._have] = self._view[: self._have]
            self._buffer, self._view = grown, memoryview(grown)

    def _mapped(self, size: int) -> memoryview:
        if not self._fds:
            raise FrameError("a memory file was announced and did not come")
        fd = self._fds.pop(0)
        try:
            import fcntl

            # A file that could still shrink would kill us with SIGBUS while we read it.
            sealed = fcntl.fcntl(fd, _F_GET_SEALS) & _SEALS == _SEALS
            if not sealed or os.fstat(fd).st_size != size or not 0 < size <= wire.MAX_FRAME_BYTES:
                raise FrameError("a memory file is not of the announced size, or not sealed")
            return memoryview(mmap.mmap(fd, size, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE))
        except OSError as error:
            raise FrameError(f"a memory file cannot be read: {error}") from error
        finally:
            os.close(fd)

    def _deliver(self, data: memoryview) -> None:
        self._on_frame(*wire.unframe(data))

    # -- the end ------------------------------------------------------------------------------------------------------

    def _lose(self, reason: str) -> None:
        if not self._closed:
            self.close()
            self._on_lost(reason)

    def close(self) -> None:
        """End the connection; `on_lost` is not called."""
        if self._closed:
            return
        self._closed = True
        self._loop.remove_reader(self._sock)
        if self._writing:
            self._loop.remove_writer(self._sock)
        for fd in [*self._fds, *(fd for _, fd in self._outgoing if fd is not None)]:
            with contextlib.suppress(OSError):
                os.close(fd)
        self._outgoing.clear()
        self._sock.close()


def _memory_file(parts: list[memoryview], size: int) -> int | None:
    """A sealed anonymous file with these bytes; None where the system has none or no room for it."""
    if not hasattr(os, "memfd_create"):
        return None
    import fcntl

    try:
        fd = os.memfd_create("bentoml-frame", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    except OSError:
        return None
    try:
        for part in parts:
            written = 0
            while written < len(part):
                written += os.write(fd, part[written:])
        fcntl.fcntl(fd, _F_ADD_SEALS, _SEALS)
    except OSError:
        os.close(fd)
        return None
    return fd
