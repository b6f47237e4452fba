"""FramePeer: frames of every size over a real socket pair, memory files, peers that lie or leave."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bentoml.runner import frames, wire
from bentoml.runner.frames import FramePeer, check_peer
from bentoml.runner.wire import FrameError

PATIENCE_S = 20.0


class End:
    """A peer and what has come to it."""

    def __init__(self, sock: socket.socket) -> None:
        self.frames: list[tuple[Any, list[bytes]]] = []
        self.lost: list[str] = []
        self.came = asyncio.Event()
        self.sock = sock
        self.peer = FramePeer(sock, on_frame=self._on_frame, on_lost=self._on_lost)

    def _on_frame(self, tree: Any, buffers: list[memoryview]) -> None:
        self.frames.append((tree, [bytes(buffer) for buffer in buffers]))
        self.came.set()

    def _on_lost(self, reason: str) -> None:
        self.lost.append(reason)
        self.came.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async def wait() -> None:
            while not condition():
                self.came.clear()
                await self.came.wait()

        await asyncio.wait_for(wait(), PATIENCE_S)


@contextlib.contextmanager
def pair() -> Iterator[tuple[End, End]]:
    one, other = map(End, socket.socketpair())
    try:
        yield one, other
    finally:
        one.peer.close()
        other.peer.close()


def run(coroutine: Any) -> Any:
    return asyncio.run(coroutine)


SIZES = [0, 1, 63, 64, 65, 1000, frames.READ_BYTES - 40, frames.READ_BYTES, frames.READ_BYTES * 3, 5_000_000]


def test_frames_of_every_size_come_in_order_in_both_directions() -> None:
    async def main() -> None:
        with pair() as (one, other):
            for number, size in enumerate(SIZES * 2):
                one.peer.send([number, "text"], [bytes([number]) * size, b"tail"])
                other.peer.send([number], [])
            await other.until(lambda: len(other.frames) == len(SIZES) * 2)
            await one.until(lambda: len(one.frames) == len(SIZES) * 2)
            assert other.frames == [
                ([number, "text"], [bytes([number]) * size, b"tail"]) for number, size in enumerate(SIZES * 2)
            ]
            assert [tree for tree, _ in one.frames] == [[number] for number in range(len(SIZES) * 2)]

    run(main())


def test_without_memory_files_large_frames_go_through_the_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "_memory_file", lambda parts, size: None)

    async def main() -> None:
        with pair() as (one, other):
            for size in SIZES:
                one.peer.send(size, [os.urandom(1) * size])
            one.peer.send("many", [b"x"] * 40_000)
            await other.until(lambda: len(other.frames) == len(SIZES) + 1)
            assert [len(buffers[0]) for _, buffers in other.frames[:-1]] == SIZES
            assert other.frames[-1] == ("many", [b"x"] * 40_000)

    run(main())


def test_no_memory_file_is_left_open() -> None:
    async def main() -> None:
        before = len(os.listdir("/proc/self/fd"))
        with pair() as (one, other):
            for _ in range(5):
                one.peer.send(1, [bytes(2_000_000)])
            await other.until(lambda: len(other.frames) == 5)
        assert len(os.listdir("/proc/self/fd")) <= before + 1

    run(main())


def test_a_peer_that_leaves_is_told_once() -> None:
    async def main() -> None:
        with pair() as (one, other):
            other.peer.close()
            await one.until(lambda: bool(one.lost))
            assert one.lost == ["the other process has ended"]
            one.peer.send(1, [])
            one.peer.close()
            assert one.lost == ["the other process has ended"]

    run(main())


async def _fed(data: bytes, ancillary: Any = ()) -> End:
    ours, theirs = socket.socketpair()
    end = End(ours)
    with theirs:
        theirs.sendmsg([data], ancillary)
    await end.until(lambda: bool(end.lost))
    end.peer.close()
    return end


HUGE = wire.HEAD.pack(wire.MAGIC, wire.VERSION, 1, 1) + struct.pack("<Q", 2**62)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "the peer does not speak this protocol"),
        (b"\x80\x05cos\nsystem\n(S'true'\ntR.", "the peer does not speak this protocol"),
        (HUGE, "the frame announces more than"),
        (wire.HEAD.pack(wire.MAGIC, 1, 0, 2**62), "the frame announces a tree"),
        (frames._FILE_HEAD.pack(frames._FILE_MAGIC, 100), "a memory file was announced and did not come"),
        (wire.HEAD.pack(wire.MAGIC, 1, 0, 1) + b"\xc1", "the tree of a frame cannot be decoded"),
    ],
    ids=lambda value: repr(value)[:24],
)
def test_a_peer_that_lies_is_dropped(data: bytes, said: str) -> None:
    """T3."""
    end = run(_fed(data))
    assert len(end.lost) == 1
    assert said in end.lost[0]
    assert end.frames == []


def _memfd(content: bytes, *, seal: bool) -> int:
    import fcntl

    fd = os.memfd_create("test", os.MFD_ALLOW_SEALING)
    os.write(fd, content)
    if seal:
        fcntl.fcntl(fd, frames._F_ADD_SEALS, frames._SEALS)
    return fd


@pytest.mark.parametrize(("size", "seal"), [(100, False), (99, True), (2**40, True), (0, True)])
def test_a_memory_file_must_be_sealed_and_of_the_announced_size(size: int, seal: bool) -> None:
    fd = _memfd(bytes(100), seal=seal)
    head = frames._FILE_HEAD.pack(frames._FILE_MAGIC, size)
    end = run(_fed(head, [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", fd))]))
    os.close(fd)
    assert end.lost == ["a memory file is not of the announced size, or not sealed"]


def test_a_memory_file_with_a_bad_frame_in_it_is_refused() -> None:
    fd = _memfd(b"x" * 100, seal=True)
    head = frames._FILE_HEAD.pack(frames._FILE_MAGIC, 100)
    end = run(_fed(head, [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", fd))]))
    os.close(fd)
    assert end.lost == ["the peer does not speak this protocol"]


@settings(max_examples=150, deadline=None)
@given(
    st.binary(max_size=300)
    | st.binary(max_size=100).map(lambda tail: wire.MAGIC + b"\1\0" + tail)
    | st.binary(max_size=100).map(lambda tail: frames._FILE_MAGIC + tail)
)
def test_no_bytes_do_more_than_end_the_connection(data: bytes) -> None:
    end = run(_fed(data))
    assert len(end.lost) == 1


def test_bytes_may_come_one_by_one() -> None:
    async def main() -> None:
        ours, theirs = socket.socketpair()
        end = End(ours)
        data = b"".join(bytes(part) for part in wire.frame([1, 2], [b"abc", bytes(100)]))
        loop = asyncio.get_running_loop()
        theirs.setblocking(False)
        for index in range(len(data)):
            await loop.sock_sendall(theirs, data[index : index + 1])
            await asyncio.sleep(0)
        await end.until(lambda: bool(end.frames))
        assert end.frames == [([1, 2], [b"abc", bytes(100)])]
        end.peer.close()
        theirs.close()

    run(main())


def test_a_process_of_this_user_may_connect(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s"))
        listening.listen()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(tmp_path / "s"))
            accepted, _ = listening.accept()
            with accepted:
                check_peer(accepted)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_a_process_of_another_user_is_refused() -> None:
    """T5: even where the folder would let it in."""
    path = f"\0bentoml-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()
        script = (
            "import os, socket, sys; os.setgid(65534); os.setuid(65534); "
            f"s = socket.socket(socket.AF_UNIX); s.connect({path!r}); sys.stdin.read()"
        )
        child = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE)
        try:
            listening.settimeout(PATIENCE_S)
            accepted, _ = listening.accept()
            with accepted, pytest.raises(FrameError, match="a process of the user 65534 tried to speak to a runner"):
                check_peer(accepted)
        finally:
            child.communicate(b"")
