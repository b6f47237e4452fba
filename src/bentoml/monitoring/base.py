"""MonitorBase: where the rows of one monitor go; one file for each way."""

from __future__ import annotations

import abc
import re
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from bentoml.exceptions import BentoMLConfigException

__all__ = ["REQUEST_ID", "TIMESTAMP", "MonitorBase", "RowsLost"]

#: Columns that every row has: when it was logged, and in which request.
TIMESTAMP, REQUEST_ID = "timestamp", "request_id"

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")


class RowsLost(Exception):
    """Some of the rows that were to be exported could not be; the others are where they belong."""

    def __init__(self, rows: int, why: str) -> None:
        super().__init__(why)
        self.rows = rows


class MonitorBase(abc.ABC):
    """Exports what is logged under one name; its methods are called by one thread, never by that of a request.

    A class of your own writes `export_schema` and `export_data`. What they raise is logged, and the rows are counted
    as lost.

    Args:
        name: of the monitor.
        options: `monitoring.options`, or `monitor_options` of `bentoml.monitor`.

    Raises:
        BentoMLConfigException: the name could not be that of a folder.
    """

    def __init__(self, name: str, **options: Any) -> None:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise BentoMLConfigException(
                f"{name!r} cannot be the name of a monitor: use letters, digits, '_', '-' and '.', at most 100, "
                "beginning with none of the last two"
            )
        if options:
            raise TypeError(f"{type(self).__name__} takes no option {next(iter(options))!r}")
        self.name = name

    @abc.abstractmethod
    def export_schema(self, columns_schema: Mapping[str, Mapping[str, str]]) -> None:
        """Take note of all columns known so far, by name; each has `name`, `role` and `type`.

        Called before the first rows, and again when a row has a column that is new.
        """

    @abc.abstractmethod
    def export_data(self, datas: Mapping[str, deque[Any]]) -> None:
        """Export rows: the values of each column as JSON has them, `timestamp` and `request_id` among the columns."""

    def export_lines(self, lines: Sequence[bytes]) -> None:
        """Export rows of JSON without line ends; those with the same columns go to `export_data` together."""
        rows: list[dict[str, Any]] = [msgspec.json.decode(line) for line in lines]
        begin = 0
        for end in range(1, len(rows) + 1):
            if end == len(rows) or rows[end].keys() != rows[begin].keys():
                self.export_data({column: deque(row[column] for row in rows[begin:end]) for column in rows[begin]})
                begin = end
