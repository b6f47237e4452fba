"""Lines written by a thread: none within another, none waited for, and those that were lost are counted."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator

import pytest

from bentoml.server import line_writer
from bentoml.server.line_writer import LineWriter
from tests._server import until


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    os.close(reading)
    os.close(writing)


def read_until(reading: int, text: bytes) -> bytes:
    data = b""
    while text not in data:
        data += os.read(reading, 65536)
    return data


def test_a_reader_that_has_stopped_stops_nobody_and_lost_lines_are_counted(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line_writer, "PENDING_CHARS", 200_000)
    reading, writing = pipe
    writer = LineWriter(writing, "[WARNING] [x]")
    batch = [f"{number:099d}\n" for number in range(100)]
    for _ in range(50):  # five times what may wait; the pipe takes 64 KiB and is not read
        writer.write(batch)
    data = read_until(reading, b"were lost: nobody read them in time\n")
    told = re.search(rb"^\S+ \[WARNING\] \[x\] (\d+) lines of the access log were lost", data, re.MULTILINE)
    assert told is not None
    whole = re.findall(rb"^\d{99}$", data, re.MULTILINE)
    # What waited behind the line that told of the loss comes after it.
    while len(whole) + int(told[1]) < 5000:
        data += os.read(reading, 65536)
        whole = re.findall(rb"^\d{99}$", data, re.MULTILINE)
    assert len(whole) + int(told[1]) == 5000
    assert len(whole) >= 2000
    writer.write(["after\n"])
    assert read_until(reading, b"after\n").endswith(b"after\n")
    writer.close()


def test_a_reader_that_has_stopped_does_not_hold_the_end_for_long(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line_writer, "CLOSE_S", 0.01)
    others = set(threading.enumerate())
    writer = LineWriter(pipe[1], "x")
    writer.write(["x" * 200_000 + "\n"])
    writer.close()
    [thread] = [each for each in threading.enumerate() if each not in others and each.name == "access-log"]
    read_until(pipe[0], b"\n")
    until(lambda: not thread.is_alive(), "the end of the thread")


def test_lines_of_several_writers_on_one_pipe_stay_whole(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    writers = [LineWriter(writing, "x") for _ in range(4)]
    lengths = [7, 300, 1111, 4000]
    for writer, length, letter in zip(writers, lengths, "abcd", strict=True):
        writer.write([letter * length + "\n"] * (400_000 // length))
    expected = sum(400_000 // length for length in lengths)
    data = b""
    while data.count(b"\n") < expected:
        data += os.read(reading, 65536)
    counts = dict.fromkeys("abcd", 0)
    for line in data.decode().splitlines():
        letter = line[0]
        assert line == letter * lengths["abcd".index(letter)]
        counts[letter] += 1
    assert sum(counts.values()) == expected
    for writer in writers:
        writer.close()


def test_a_descriptor_that_does_not_block_loses_nothing(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    os.set_blocking(writing, False)
    writer = LineWriter(writing, "x")
    writer.write([f"{number:0100d}\n" for number in range(3000)])
    data = read_until(reading, b"%0100d\n" % 2999)
    assert data.count(b"\n") == 3000
    writer.close()


def test_a_writer_that_never_wrote_ends() -> None:
    LineWriter(1, "x").close()
