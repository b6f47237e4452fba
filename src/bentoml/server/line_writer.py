"""LineWriter: writes lines in a thread, so that a reader who has stopped reading stops nobody but that thread."""

from __future__ import annotations

import os
import queue
import select
import threading
import time
from typing import Final

__all__ = ["LineWriter"]

#: What may wait for the reader, in characters: ten seconds of a thousand requests each. Further lines are lost.
PENDING_CHARS: Final = 4 * 1024 * 1024
#: The most that a pipe takes as one piece: longer writes of several workers could end up within each other.
_PIECE_BYTES: Final = select.PIPE_BUF
#: How long the end of a worker waits for a reader, in seconds.
CLOSE_S: Final = 1.0


class LineWriter:
    """Takes lines from one thread, the event loop's, and writes them in its own.

    Each counter is written by one of the two and read by both, so that they need no lock.

    Args:
        fd: the file descriptor to write to; stays open.
        who: stands after the time in the line that says how many lines were lost.
    """

    def __init__(self, fd: int, who: str) -> None:
        self._fd = fd
        self._who = who
        self._batches: queue.SimpleQueue[list[str] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._taken_chars = self._written_chars = 0
        self._lost = self._told = 0

    def write(self, lines: list[str]) -> None:
        """Write them soon, or count them as lost if too much waits already; never waits."""
        chars = sum(map(len, lines))
        if self._taken_chars - self._written_chars + chars > PENDING_CHARS:
            self._lost += len(lines)
            return
        if self._thread is None:
            # A daemon: a process must be able to end while its reader holds the thread.
            self._thread = threading.Thread(target=self._run, name="access-log", daemon=True)
            self._thread.start()
        self._taken_chars += chars
        self._batches.put(lines)

    def close(self) -> None:
        """Write what waits, for at most a second."""
        if self._thread is not None:
            self._batches.put(None)
            self._thread.join(CLOSE_S)
            self._thread = None

    def _run(self) -> None:
        while (lines := self._batches.get()) is not None:
            text = "".join(lines)
            self._put(text)
            self._written_chars += len(text)
            lost = self._lost - self._told
            if lost:
                self._told += lost
                stamp = time.strftime("%Y-%m-%dT%H:%M:%S%z")
                self._put(f"{stamp} {self._who} {lost} lines of the access log were lost: nobody read them in time\n")

    def _put(self, text: str) -> None:
        data = text.encode("utf-8", "backslashreplace")
        start = 0
        while start < len(data):
            # Whole lines, as many as fit into one piece; a longer line goes alone.
            end = data.rfind(b"\n", start, start + _PIECE_BYTES) + 1 or data.find(b"\n", start) + 1 or len(data)
            try:
                start += os.write(self._fd, memoryview(data)[start:end])
            except BlockingIOError:  # somebody has made the descriptor non-blocking
                select.select([], [self._fd], [])
            except OSError:  # the reader went away
                return
