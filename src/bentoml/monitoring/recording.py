"""Recording: what one block of `bentoml.monitor` logs; Feed: the rows of all blocks of a name, on their way out."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from datetime import datetime, timezone
from types import TracebackType
from typing import Any, Final

import msgspec

from bentoml import metrics
from bentoml._context import current_request_id
from bentoml.monitoring.base import REQUEST_ID, TIMESTAMP, MonitorBase, RowsLost
from bentoml.monitoring.writer import WRITER, Job

__all__ = ["NOTHING", "Feed", "NoRecording", "Recording"]

logger = logging.getLogger("bentoml")

ROLES: Final = ("feature", "prediction", "target")
TYPES: Final = ("numerical", "categorical", "numerical_sequence")
#: The same kind of loss is said once in so many seconds; the metric counts each row.
SAY_AGAIN_S: Final = 60.0

_written = metrics.Counter("bentoml_monitor_rows_total", "Rows that were exported", ["monitor"])
_lost = metrics.Counter("bentoml_monitor_lost_rows_total", "Rows that were lost, by reason", ["monitor", "reason"])


class Recording:
    """The block `with bentoml.monitor(…) as mon`; any number of them may be open at one time."""

    __slots__ = ("_columns", "_feed")

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        #: Name → role, type, values.
        self._columns: dict[str, tuple[str, str, list[Any]]] = {}

    def __enter__(self) -> Recording:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            self._feed.take(self._columns)
        self._columns = {}

    def log(self, data: Any, name: str, role: str, data_type: str) -> None:
        """Add a value to a column.

        Args:
            data: what JSON can hold, a NumPy value, a date or bytes (written as base64); NaN is written as null.
            name: of the column; `timestamp` and `request_id` get a `_` behind them.
            role: `feature`, `prediction` or `target`; another one is warned of.
            data_type: `numerical`, `categorical` or `numerical_sequence`; another one is warned of.
        """
        self._values(name, role, data_type).append(data)

    def log_batch(self, data_batch: Iterable[Any], name: str, role: str, data_type: str) -> None:
        """Add a value for each row of a batch; every column of the block must get as many."""
        self._values(name, role, data_type).extend(data_batch)

    def log_table(self, *data: Any, **options: Any) -> None:
        """Not supported: a warning, and nothing is logged."""
        logger.warning("log_table() logs nothing: log each column with log_batch()")

    def _values(self, name: str, role: str, data_type: str) -> list[Any]:
        if name in (TIMESTAMP, REQUEST_ID):
            name += "_"
        column = self._columns.get(name)
        if column is None:
            column = self._columns[name] = (role, data_type, [])
        return column[2]


class NoRecording:
    """What `bentoml.monitor` gives where `monitoring.enabled` is false."""

    def __enter__(self) -> NoRecording:
        return self

    def __exit__(self, *_: object) -> None: ...

    def log(self, data: Any, name: str, role: str, data_type: str) -> None:
        """Nothing."""

    def log_batch(self, data_batch: Iterable[Any], name: str, role: str, data_type: str) -> None:
        """Nothing."""

    def log_table(self, *data: Any, **options: Any) -> None:
        """Nothing."""


NOTHING: Final = NoRecording()


class Feed:
    """Makes rows of the blocks of one monitor, as lines of JSON, and accounts for them."""

    def __init__(self, name: str, target: MonitorBase, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.name = name
        self.target = target
        self._clock = clock
        self._schema: dict[str, dict[str, str]] = {}
        self._lock = threading.Lock()
        self._said: dict[str, float] = {}
        self._written = _written.labels(name)
        #: Whether the writer has yet to export the schema.
        self.schema_due = False

    @property
    def schema(self) -> dict[str, dict[str, str]]:
        """The columns known so far; a copy."""
        with self._lock:
            return dict(self._schema)

    def take(self, columns: dict[str, tuple[str, str, list[Any]]]) -> None:
        """Send the rows of one block; what cannot be sent is lost, and that is said."""
        counts = {len(values) for _, _, values in columns.values()}
        rows = max(counts, default=0)
        if not rows:
            self._say("empty", "a block logged nothing")
            return
        if len(counts) > 1:
            uneven = ", ".join(f"{name}: {len(values)}" for name, (_, _, values) in columns.items())
            self.lost(rows, "uneven", f"every column needs as many values ({uneven})")
            return
        if not columns.keys() <= self._schema.keys():
            self._learn(columns)
        request_id = current_request_id.get()
        row: dict[str, Any] = dict.fromkeys(columns)
        row[TIMESTAMP] = datetime.now(timezone.utc).isoformat()
        row[REQUEST_ID] = "" if request_id is None else str(request_id)
        lines = []
        try:
            for index in range(rows):
                for name, (_, _, values) in columns.items():
                    row[name] = values[index]
                lines.append(_encode(row))
        except Exception as error:  # noqa: BLE001 - values may be of any type; whatever they do harms no request
            self.lost(rows, "unwritable", f"a value cannot be written as JSON: {error}")
            return
        if not WRITER.submit(Job(self, lines)):
            self.lost(rows, "overflow", "rows come faster than they can be written")

    def _learn(self, columns: dict[str, tuple[str, str, list[Any]]]) -> None:
        with self._lock:
            for name, (role, data_type, _) in columns.items():
                if name in self._schema:
                    continue
                self._schema[name] = {"name": name, "role": role, "type": data_type}
                for given, known, what in ((role, ROLES, "role"), (data_type, TYPES, "data type")):
                    if given not in known:
                        logger.warning(
                            "the monitor %s: %r is an unknown %s of the column %r; known are %s",
                            self.name, given, what, name, ", ".join(known),
                        )  # fmt: skip
            self.schema_due = True

    def export(self, lines: list[bytes]) -> None:
        """Hand rows to the monitor; called by the writer's thread."""
        lost, rows = 0, len(lines)
        described = not self.schema_due
        try:
            if not described:
                self.schema_due = False  # before it is read: a column that comes meanwhile makes it due again
                self.target.export_schema(self.schema)
                described = True
            self.target.export_lines(lines)
        except Exception as error:  # noqa: BLE001 - the border of the writer: disks, networks and the user's classes
            # Rows without a schema would be of no use: they are not even tried.
            self.schema_due = self.schema_due or not described
            lost = error.rows if described and isinstance(error, RowsLost) else rows
            self.lost(lost, "failed", str(error) if isinstance(error, RowsLost) else f"{type(error).__name__}: {error}")
        if rows > lost:
            self._written.inc(rows - lost)

    def lost(self, rows: int, reason: str, text: str) -> None:
        """Count rows that were lost, and say so, though not each time."""
        _lost.labels(self.name, reason).inc(rows)
        self._say(reason, f"{rows} rows were lost: {text}", logging.ERROR)

    def _say(self, reason: str, text: str, level: int = logging.WARNING) -> None:
        now = self._clock()
        with self._lock:
            if now - self._said.get(reason, -SAY_AGAIN_S) < SAY_AGAIN_S:
                return
            self._said[reason] = now
        logger.log(level, "the monitor %s: %s (said once a minute)", self.name, text)


def _plain(value: Any) -> Any:
    """A value that msgspec does not know, in terms of those that it does: of NumPy, pandas, torch, pydantic."""
    if hasattr(value, "dtype") and getattr(value.dtype, "kind", "") in ("m", "M"):
        return value.astype(str).tolist()
    for method in ("tolist", "to_dict", "model_dump"):
        if hasattr(value, method):
            return getattr(value, method)()
    raise TypeError(f"{type(value).__name__} has no JSON form")


_encode = msgspec.json.Encoder(enc_hook=_plain).encode
