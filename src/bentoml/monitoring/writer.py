"""Writer: the one thread of a process that hands rows to disk or network, from a queue that is bounded in bytes."""

from __future__ import annotations

import atexit
import os
import threading
from collections import deque
from typing import Final, NamedTuple, Protocol

__all__ = ["WRITER", "Feeding", "Job", "Writer"]

#: What may wait, in bytes of JSON; beyond it rows are lost rather than memory.
LIMIT_BYTES: Final = 64 * 1024 * 1024
#: What a row takes besides its JSON.
ROW_BYTES: Final = 64
#: How long the thread lets rows gather, in seconds: each time it wakes it takes the interpreter from the requests.
GATHER_S: Final = 0.05
#: How long the end of a process waits for the last rows, in seconds.
LAST_ROWS_S: Final = 5.0


class Feeding(Protocol):
    """Where rows come from, and how they go out."""

    def export(self, lines: list[bytes]) -> None:
        """Hand rows on; raises nothing."""


class Job(NamedTuple):
    """Rows of one feed, as JSON without line ends."""

    feed: Feeding
    lines: list[bytes]


class Writer:
    """Takes rows from any thread; the thread that writes them begins with the first."""

    def __init__(self, *, limit_bytes: int = LIMIT_BYTES) -> None:
        self._limit_bytes = limit_bytes
        self._begin_anew()
        if hasattr(os, "register_at_fork"):
            # Threads are not forked, and what waits here is the other process's to write.
            os.register_at_fork(after_in_child=self._begin_anew)

    def _begin_anew(self) -> None:
        self._lock = threading.Lock()
        self._written = threading.Condition(self._lock)
        self._jobs: deque[tuple[Job, int]] = deque()
        self._bytes = 0
        self._wake, self._hurry = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None

    def submit(self, job: Job) -> bool:
        """Queue rows; False: there is no room."""
        size = sum(map(len, job.lines)) + ROW_BYTES * len(job.lines)
        with self._lock:
            if self._bytes + size > self._limit_bytes:
                return False
            self._bytes += size
            self._jobs.append((job, size))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="monitoring", daemon=True)
                self._thread.start()
        if not self._wake.is_set():
            self._wake.set()
        return True

    def flush(self, timeout_s: float) -> bool:
        """Wait until what was queued is written; whether it was, in time."""
        self._hurry.set()
        try:
            with self._written:
                # Bytes are given back when they are written, not when they leave the queue.
                return self._written.wait_for(lambda: not self._bytes, timeout_s)
        finally:
            self._hurry.clear()

    def _run(self) -> None:
        while True:
            self._wake.wait()
            self._hurry.wait(GATHER_S)
            with self._lock:
                jobs, self._jobs = self._jobs, deque()
                self._wake.clear()
            by_feed: dict[Feeding, list[bytes]] = {}
            for job, _ in jobs:
                by_feed.setdefault(job.feed, []).extend(job.lines)
            for feed, lines in by_feed.items():
                feed.export(lines)
            with self._written:
                self._bytes -= sum(size for _, size in jobs)
                self._written.notify_all()


#: Of this process.
WRITER: Final = Writer()

# A script may end with its last block; a server flushes before, as it does not always end by way of the interpreter.
atexit.register(WRITER.flush, LAST_ROWS_S)
