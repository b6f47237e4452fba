"""The values of one process in a memory-mapped file, and the list that says what each value is.

    <directory>/<pid>-<random>.values    doubles; the first becomes 1.0 when the process has died
    <directory>/<pid>-<random>.series    JSON lines, append-only: what one series is and where its values are

A process writes only its own two files and takes no lock that another process knows, so a kill at any moment
leaves every value that was stored and blocks nobody. Readers map the same pages: an aligned store of eight
bytes is one instruction on x86-64 and arm64, so they see the old value or the new one, never half of each.
"""

from __future__ import annotations

import json
import mmap
import os
import struct
from errno import ENOSPC
from pathlib import Path
from typing import Literal, NamedTuple, Protocol, TypeAlias

from bentoml.exceptions import BentoMLConfigException

__all__ = ["Cells", "Directory", "Kind", "OwnValues", "Process", "Series", "mark_dead"]

#: Some consecutive doubles: the values of one series.
Cells: TypeAlias = "memoryview[float]"
Kind: TypeAlias = Literal["counter", "gauge", "histogram", "summary"]

_CELL_BYTES = 8
#: Address space per process, not disk: about 29,000 histograms of the default buckets.
_FILE_BYTES = 4 << 20
#: The disk is taken in steps: touching a page that a full disk cannot back would end in SIGBUS.
_RESERVE_BYTES = 64 << 10
_DEAD = struct.pack("=d", 1.0)


class Series(NamedTuple):
    """What one series is; a line of the `.series` file.

    Attributes:
        labels: pairs of name and value, ordered by name.
        bounds: upper bounds of a histogram's buckets, without the last one, which is infinity.
        mode: how the gauges of several processes become one (`"sum"`, `"livemax"`, …).
        offset: where the first value stands, in doubles.
    """

    name: str
    kind: Kind
    documentation: str
    labels: tuple[tuple[str, str], ...]
    bounds: tuple[float, ...] = ()
    mode: str = ""
    offset: int = 0

    @property
    def size(self) -> int:
        """How many doubles: value · value, time · sum, count per bucket · sum, count."""
        if self.kind == "histogram":
            return len(self.bounds) + 2
        return 2 if self.kind == "summary" or self.mode.endswith("mostrecent") else 1

    def to_line(self) -> bytes:
        """The line, a line break on both sides: one that a full disk cut short must not spoil the next."""
        return f"\n{json.dumps({**self._asdict(), 'labels': dict(self.labels)})}\n".encode()

    @classmethod
    def from_line(cls, line: bytes) -> Series | None:
        """The series of a line, None where the line is not whole."""
        try:
            fields = json.loads(line)
            fields["labels"] = tuple(fields["labels"].items())
            fields["bounds"] = tuple(fields["bounds"])
            return cls(**fields)
        except (ValueError, TypeError, KeyError, AttributeError):
            return None


class Process(Protocol):
    """What a scrape needs to know of one process."""

    pid: int
    series: list[tuple[Series, Cells]]

    @property
    def is_dead(self) -> bool:
        """Whether the process has died."""


class OwnValues:
    """The writing side: gives out cells of this process's file, or of its own memory where there is no file.

    Attributes:
        series: those that only this process sees: all without a directory, else those that found no room.

    Raises:
        BentoMLConfigException: the directory cannot be written.
    """

    is_dead = False

    def __init__(self, directory: Path | None) -> None:
        self.pid = os.getpid()
        self.series: list[tuple[Series, Cells]] = []
        self._is_shared = directory is not None
        self._used = 1  # the first cell says whether the process has died
        self._reserved_bytes = 0
        if directory is not None:
            try:
                self._open(directory)
            except OSError as error:
                raise BentoMLConfigException(
                    f"the metrics directory {str(directory)!r} cannot be written: {error}",
                    hint="name a directory that this user may write and whose disk has room",
                ) from error

    def add(self, series: Series) -> Cells:
        """Zeroed cells for a new series, visible to the other processes from now on where there is room."""
        if self._is_shared:
            try:
                return self._add_shared(series)
            except OSError as error:
                self._report(series, error)
        cells = memoryview(bytearray(series.size * _CELL_BYTES)).cast("d")
        self.series.append((series, cells))
        return cells

    def _open(self, directory: Path) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        stem = directory / f"{self.pid}-{os.urandom(4).hex()}"
        # Unbuffered and open for as long as the process lives; nothing has to be flushed when it is killed.
        self._values_file = open(f"{stem}.values", "x+b", buffering=0)  # noqa: SIM115
        self._values_file.truncate(_FILE_BYTES)
        self._reserve(_CELL_BYTES)
        self._cells: Cells = memoryview(mmap.mmap(self._values_file.fileno(), _FILE_BYTES)).cast("d")
        # Last: whoever finds this file may rely on the other one.
        self._series_file = open(f"{stem}.series", "xb", buffering=0)  # noqa: SIM115

    def _add_shared(self, series: Series) -> Cells:
        start, end = self._used, self._used + series.size
        if end * _CELL_BYTES > _FILE_BYTES:
            raise OSError(ENOSPC, f"all {_FILE_BYTES // _CELL_BYTES} values are in use")
        self._reserve(end * _CELL_BYTES)
        # Even if the line fails: a line that only lacks its end may still be read, and owns these cells.
        self._used = end
        line = series._replace(offset=start).to_line()
        if self._series_file.write(line) != len(line):
            raise OSError(ENOSPC, "the description was cut short")
        return self._cells[start:end]

    def _reserve(self, end_bytes: int) -> None:
        while self._reserved_bytes < end_bytes:
            self._values_file.seek(self._reserved_bytes)
            if self._values_file.write(bytes(_RESERVE_BYTES)) != _RESERVE_BYTES:
                raise OSError(ENOSPC, "no room for more values")
            self._reserved_bytes += _RESERVE_BYTES

    def _report(self, series: Series, error: OSError) -> None:
        if self.series:
            return  # once is enough: whatever fills the file goes on filling it
        from logging import getLogger

        getLogger(__name__).error(
            "The metric %r and later ones are seen only in the scrapes that this process (%d) answers: %s "
            "(hint: give labels few distinct values, and the disk some room)",
            series.name,
            self.pid,
            error,
        )


class _ProcessFile:
    """The reading side of one process's files."""

    def __init__(self, stem: str) -> None:
        self.pid = int(os.path.basename(stem).partition("-")[0])
        self.series: list[tuple[Series, Cells]] = []
        self._path = f"{stem}.series"
        self._position = 0
        with open(f"{stem}.values", "rb") as file:
            mapped = mmap.mmap(file.fileno(), _FILE_BYTES, access=mmap.ACCESS_READ)
        self._cells: Cells = memoryview(mapped).cast("d")

    @property
    def is_dead(self) -> bool:
        return self._cells[0] != 0.0

    def refresh(self) -> None:
        """Read the lines that are new; one that is still being written waits for the next scrape."""
        with open(self._path, "rb", buffering=0) as file:
            file.seek(self._position)
            whole, line_break, _ = file.read().rpartition(b"\n")
        self._position += len(whole) + len(line_break)
        for line in whole.split(b"\n"):
            series = Series.from_line(line) if line else None
            if series is not None and 0 < series.offset <= len(self._cells) - series.size:
                self.series.append((series, self._cells[series.offset : series.offset + series.size]))


class Directory:
    """Every process that ever wrote into one directory."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._files: dict[str, _ProcessFile] = {}

    def processes(self) -> list[Process]:
        """The processes in a stable order, with all series described so far."""
        try:
            names = sorted(name for name in os.listdir(self._path) if name.endswith(".series"))
        except FileNotFoundError:
            names = []
        known, self._files = self._files, {}
        for name in names:
            try:
                file = known.get(name) or _ProcessFile(str(self._path / name.removesuffix(".series")))
                file.refresh()
            except (OSError, ValueError):  # removed meanwhile, truncated, or none of ours
                continue
            self._files[name] = file
        return list(self._files.values())


def mark_dead(directory: Path, pid: int) -> None:
    """Say that a process has died: its `live…` gauges no longer count, all else stays."""
    for path in directory.glob(f"{pid}-*.values"):
        try:
            with open(path, "r+b", buffering=0) as file:
                file.write(_DEAD)
        except FileNotFoundError:
            continue
