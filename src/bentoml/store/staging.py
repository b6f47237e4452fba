"""Staging: where an item is written before it is one, and the locks that keep writers apart.

    <store>/.staging/<random>.lock    held by the writer while it lives: the kernel frees it when the writer dies
    <store>/.staging/<random>/        what the writer writes; swept by the next writer once the lock is free
    <store>/.staging/<name>.name      held while versions of `name` are added or removed

It lies inside the store because a rename is atomic only within one file system.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

__all__ = ["Staging"]


class Staging:
    """The staging folder of the store at `root`; made by the first writer."""

    def __init__(self, root: Path) -> None:
        self._folder = root / ".staging"

    @contextlib.contextmanager
    def slot(self) -> Iterator[Path]:
        """An empty folder of one's own; whatever is left in it is removed at the end, or by a later writer."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._sweep()
        slot, fd = self._claim()
        try:
            yield slot
        finally:
            shutil.rmtree(slot, ignore_errors=True)
            self._lock_of(slot).unlink(missing_ok=True)
            _unlock(fd)

    @contextlib.contextmanager
    def exclusive(self, name: str) -> Iterator[None]:
        """Nobody else adds or removes versions of `name` within the block."""
        # The file stays: removing a lock file that someone may be waiting on would split the lock in two.
        fd = os.open(self._folder / f"{name}.name", os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            _unlock(fd)

    def _claim(self) -> tuple[Path, int]:
        while True:
            slot = self._folder / os.urandom(8).hex()
            fd = os.open(self._lock_of(slot), os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
            # A sweeper may have come between these two calls; then the file is its to remove, and a new one is made.
            if _try_lock(fd) and os.fstat(fd).st_nlink:
                try:
                    slot.mkdir()
                except BaseException:
                    self._lock_of(slot).unlink(missing_ok=True)
                    os.close(fd)
                    raise
                return slot, fd
            os.close(fd)

    def _sweep(self) -> None:
        """Remove what dead writers left behind."""
        for path in list(self._folder.iterdir()):
            if path.suffix == ".lock":
                self._sweep_locked(path)
            elif path.is_dir() and not self._lock_of(path).exists():
                shutil.rmtree(path, ignore_errors=True)

    def _sweep_locked(self, lock: Path) -> None:
        try:
            fd = os.open(lock, os.O_RDWR)
        except OSError:  # its writer is done meanwhile, or it belongs to another user
            return
        try:
            if _try_lock(fd):
                shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
                lock.unlink(missing_ok=True)
        finally:
            os.close(fd)

    @staticmethod
    def _lock_of(slot: Path) -> Path:
        return slot.with_suffix(".lock")


def _try_lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _unlock(fd: int) -> None:
    # Closing is not enough: a process forked meanwhile shares the lock and would keep it.
    with contextlib.suppress(OSError):
        fcntl.flock(fd, fcntl.LOCK_UN)
    os.close(fd)
