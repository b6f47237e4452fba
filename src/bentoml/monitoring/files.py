"""DefaultMonitor: rows as lines of JSON in files that are rotated each day, one file for each process.

<log_path>/<name>/schema/schema.<worker>.log
<log_path>/<name>/data/data.<worker>.log          and data.<worker>.log.2026-11-22 of days that are over
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import msgspec

from bentoml._context import identity
from bentoml.monitoring.base import MonitorBase, RowsLost
from bentoml.monitoring.loggers import Loggers

__all__ = ["DailyFile", "DefaultMonitor"]

Today = Callable[[], str]


def _today() -> str:
    return datetime.now(timezone.utc).date().isoformat()


class DefaultMonitor(MonitorBase):
    """Lines of JSON in files; a row has its columns, `timestamp` (ISO 8601, UTC) and `request_id`.

    Args:
        log_path: the folder; relative to that in which the server was started.
        log_config_file: a YAML file for `logging.config.dictConfig` that says where the loggers `bentoml_monitor_data`
            and `bentoml_monitor_schema` write; `{schema_filename}`, `{data_filename}`, `{worker_id}` and
            `{monitor_name}` in it stand for their values.
        today: the day, as `YYYY-MM-DD`; by default that of UTC.

    Raises:
        BentoMLConfigException: the name could not be that of a folder, or the file is no such configuration.
    """

    def __init__(
        self,
        name: str,
        log_path: str | Path = "monitoring",
        log_config_file: str | Path | None = None,
        *,
        today: Today = _today,
    ) -> None:
        super().__init__(name)
        worker = identity().worker
        folder = Path(log_path).expanduser().absolute() / name
        schema, data = folder / "schema" / f"schema.{worker}.log", folder / "data" / f"data.{worker}.log"
        self._schema: DailyFile | Loggers
        self._data: DailyFile | Loggers
        if log_config_file is None:
            self._schema, self._data = DailyFile(schema, lambda: ""), DailyFile(data, today)
        else:
            placeholders = {
                "schema_filename": str(schema),
                "data_filename": str(data),
                "worker_id": worker,
                "monitor_name": name,
            }
            schema.parent.mkdir(parents=True, exist_ok=True)
            data.parent.mkdir(parents=True, exist_ok=True)
            self._schema, self._data = Loggers.configured(Path(log_config_file), name, placeholders)

    def export_schema(self, columns_schema: Mapping[str, Mapping[str, str]]) -> None:
        """Write one line with all columns, and with what is served."""
        served = identity()
        meta_data = {"bento_name": served.bento_name, "bento_version": served.bento_version}
        self._schema.append([msgspec.json.encode({"meta_data": meta_data, "columns": list(columns_schema.values())})])

    def export_data(self, datas: Mapping[str, deque[Any]]) -> None:
        """Write a line for each row."""
        rows = (dict(zip(datas, values, strict=True)) for values in zip(*datas.values(), strict=True))
        self.export_lines([msgspec.json.encode(row) for row in rows])

    def export_lines(self, lines: Sequence[bytes]) -> None:
        """Write lines as they are."""
        self._data.append(lines)


class DailyFile:
    """A file to which one process appends whole lines, renamed when the day is over.

    A file that another process has open, of a second server in this folder for instance, is left to it: the name then
    gets the process id. A line that a kill cut short is removed when the file is opened again.
    """

    def __init__(self, path: Path, today: Today) -> None:
        self._path = self._wanted = path
        self._today = today
        self._fd = -1
        self._day = ""

    def append(self, lines: Sequence[bytes]) -> None:
        """Append the lines in one write.

        Raises:
            RowsLost: the disk took only some of them, or none.
            OSError: the file cannot be opened.
        """
        self._turn_over()
        data = b"\n".join(lines) + b"\n"
        size = os.fstat(self._fd).st_size
        written, why = 0, "the disk is full"
        try:
            written = os.write(self._fd, data)
            if written < len(data):
                # The next write says why; what it would add is a line's torn half.
                written += os.write(self._fd, data[written:])
        except OSError as error:
            why = str(error)
        if written < len(data):
            whole = data.rfind(b"\n", 0, written) + 1
            os.ftruncate(self._fd, size + whole)
            raise RowsLost(len(lines) - data.count(b"\n", 0, whole), f"{why}: {self._path}")

    def _turn_over(self) -> None:
        """Let the open file be that of today, and one that is still there."""
        today = self._today()
        if self._fd >= 0:
            if self._is_gone():
                self._close()
            elif self._day != today:
                self._close(rename_to=self._path.with_name(f"{self._path.name}.{self._day}"))
        if self._fd < 0:
            self._open(today)
            if self._day != today:
                self._turn_over()

    def _is_gone(self) -> bool:
        """Whether somebody has removed or renamed the file."""
        try:
            return os.stat(self._path).st_ino != os.fstat(self._fd).st_ino
        except FileNotFoundError:
            return True

    def _open(self, today: str) -> None:
        self._path = self._wanted
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._fd = self._opened()
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._fd)
            self._path = self._wanted.with_suffix(f".{os.getpid()}.log")
            self._fd = self._opened()
        except OSError:  # a file system without locks
            self._day = today
            return
        state = os.fstat(self._fd)
        os.ftruncate(self._fd, _end_of_whole_lines(self._fd, state.st_size))
        self._day = today
        if state.st_size and today:
            self._day = datetime.fromtimestamp(state.st_mtime, timezone.utc).date().isoformat()

    def _opened(self) -> int:
        return os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)

    def _close(self, rename_to: Path | None = None) -> None:
        if rename_to is not None:
            number = 0
            target = rename_to
            while target.exists():  # the clock was set back
                number += 1
                target = rename_to.with_name(f"{rename_to.name}.{number}")
            with contextlib.suppress(FileNotFoundError):
                self._path.rename(target)
        os.close(self._fd)
        self._fd = -1


def _end_of_whole_lines(fd: int, size: int) -> int:
    """Where the last whole line ends."""
    end = size
    while end:
        begin = max(0, end - 64 * 1024)
        newline = os.pread(fd, end - begin, begin).rfind(b"\n")
        if newline >= 0:
            return begin + newline + 1
        end = begin
    return 0
