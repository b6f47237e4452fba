"""bentoml.monitor: rows in files, over OTLP and through classes of the user's; what is lost is counted and said."""

from __future__ import annotations

import contextlib
import http.client
import json
import logging
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import json_format
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

import bentoml
from bentoml import _metrics, config, monitoring
from bentoml._context import Identity, current_request_id, identify
from bentoml.exceptions import BentoMLConfigException
from bentoml.monitoring import recording
from bentoml.monitoring.files import DailyFile, DefaultMonitor
from bentoml.monitoring.recording import Feed, Recording
from bentoml.monitoring.writer import Job, Writer
from tests import _otlp
from tests._server import SOURCE, Server, sample, serving, until

TRACED = Path(__file__).parent / "services" / "traced"


@pytest.fixture(autouse=True)
def anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No monitors yet, files below `tmp_path`, and logs that can be looked at."""
    monkeypatch.setattr(monitoring, "_feeds", {})
    monkeypatch.setattr(logging.getLogger("bentoml"), "propagate", True)
    monkeypatch.chdir(tmp_path)
    config.use(config.LoadedConfig({}, {}))
    yield
    config.use(None)
    identify(Identity())


def use(**settings: Any) -> None:
    config.use(config.LoadedConfig({"monitoring": settings}, {}))


def rows_of(path: Path) -> list[dict[str, Any]]:
    assert monitoring.flush(30)
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def data(name: str, worker: str = "0") -> Path:
    return Path(f"monitoring/{name}/data/data.{worker}.log")


def schema(name: str, worker: str = "0") -> Path:
    return Path(f"monitoring/{name}/schema/schema.{worker}.log")


def counted(metric: str, monitor: str) -> float:
    lines = _metrics.DEFAULT.generate_latest().decode().splitlines()
    found = [line for line in lines if line.startswith(f'bentoml_monitor_{metric}_total{{monitor="{monitor}"')]
    return sum(float(line.rpartition(" ")[2]) for line in found)


class Kept(monitoring.MonitorBase):
    """A monitor of the user's own."""

    made: list[Kept] = []

    def __init__(self, name: str, key: str = "") -> None:
        super().__init__(name)
        self.key = key
        self.schemas: list[Mapping[str, Mapping[str, str]]] = []
        self.data: list[Mapping[str, deque[Any]]] = []
        self.threads: set[str] = set()
        self.made.append(self)

    def export_schema(self, columns_schema: Mapping[str, Mapping[str, str]]) -> None:
        self.schemas.append(columns_schema)

    def export_data(self, datas: Mapping[str, deque[Any]]) -> None:
        self.threads.add(threading.current_thread().name)
        self.data.append(datas)


# Rows


def test_a_block_is_a_row_with_its_time_and_its_request() -> None:
    identify(Identity("3", "iris", "v1"))
    current_request_id.set(7)
    before = datetime.now(timezone.utc)
    with bentoml.monitor("iris") as mon:
        mon.log(3.5, name="width", role="feature", data_type="numerical")
        mon.log("setosa", name="kind", role="prediction", data_type="categorical")
    current_request_id.set(None)
    [row] = rows_of(data("iris", "3"))
    assert before <= datetime.fromisoformat(row.pop("timestamp")) <= datetime.now(timezone.utc)
    assert row == {"width": 3.5, "kind": "setosa", "request_id": "7"}
    assert rows_of(schema("iris", "3")) == [
        {
            "meta_data": {"bento_name": "iris", "bento_version": "v1"},
            "columns": [
                {"name": "width", "role": "feature", "type": "numerical"},
                {"name": "kind", "role": "prediction", "type": "categorical"},
            ],
        }
    ]


def test_a_batch_is_a_row_for_each_of_its_values_and_the_schema_is_written_once() -> None:
    for begin in (0, 10):
        with bentoml.monitor("batch") as mon:
            mon.log_batch(range(begin, begin + 3), "x", "feature", "numerical")
            mon.log_batch(iter("abc"), "y", "target", "categorical")
    rows = rows_of(data("batch"))
    assert [(row["x"], row["y"]) for row in rows] == [*zip(range(3), "abc"), *zip(range(10, 13), "abc")]  # noqa: B905
    assert len(rows_of(schema("batch"))) == 1


def test_a_new_column_makes_a_new_schema_with_all_columns() -> None:
    for columns in ("a", "ab", "b"):
        with bentoml.monitor("growing") as mon:
            for column in columns:
                mon.log(1, column, "feature", "numerical")
        assert monitoring.flush(30)
    assert [[each["name"] for each in line["columns"]] for line in rows_of(schema("growing"))] == [["a"], ["a", "b"]]
    assert [sorted(row) for row in rows_of(data("growing"))][2] == ["b", "request_id", "timestamp"]


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (np.float32(0.5), 0.5),
        (np.int64(7), 7),
        (np.bool_(True), True),
        (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
        (np.array([1.5, np.nan]), [1.5, None]),
        (np.datetime64("2026-11-22T18:00:00.123456789"), "2026-11-22T18:00:00.123456789"),
        (np.array(["2026-11-22"], "datetime64[D]"), ["2026-11-22"]),
        (float("nan"), None),
        (float("-inf"), None),
        (datetime(2026, 11, 22, 18, tzinfo=timezone.utc), "2026-11-22T18:00:00Z"),
        (b"\x00\xff", "AP8="),
        ("line\nbreak \u2028 and \U0001f600", "line\nbreak \u2028 and \U0001f600"),
        (None, None),
        (10**30, 10**30),
        ({"a": {1}}, {"a": [1]}),
    ],
    ids=repr,
)
def test_values_are_written_as_the_json_that_they_mean(value: Any, written: Any) -> None:
    with bentoml.monitor("values") as mon:
        mon.log(value, "value", "feature", "numerical")
    assert rows_of(data("values"))[0]["value"] == written
    assert data("values").read_bytes().count(b"\n") == 1


def test_the_columns_that_every_row_has_are_not_overwritten() -> None:
    with bentoml.monitor("reserved") as mon:
        for value in (1, 2):
            mon.log(value, "timestamp", "feature", "numerical")
            mon.log(value, "request_id", "feature", "numerical")
    rows = rows_of(data("reserved"))
    assert [(row["timestamp_"], row["request_id_"], row["request_id"]) for row in rows] == [(1, 1, ""), (2, 2, "")]


def test_blocks_that_are_open_at_one_time_do_not_mix() -> None:
    with bentoml.monitor("open") as one, bentoml.monitor("open") as other:
        one.log(1, "x", "feature", "numerical")
        other.log(2, "x", "feature", "numerical")
    assert sorted(row["x"] for row in rows_of(data("open"))) == [1, 2]


def test_an_exception_discards_what_its_block_has_logged() -> None:
    with contextlib.suppress(ZeroDivisionError), bentoml.monitor("broken") as mon:
        mon.log(1, "x", "feature", "numerical")
        raise ZeroDivisionError
    assert monitoring.flush(30)
    assert not data("broken").exists()


# Warnings and losses


def test_an_empty_block_is_warned_of_and_writes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        with bentoml.monitor("empty"):
            pass
    assert caplog.messages == ["the monitor empty: a block logged nothing (said once a minute)"]
    assert not data("empty").exists()


def test_unknown_roles_and_types_are_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        with bentoml.monitor("odd") as mon:
            mon.log(1, "x", "fature", "number")
    assert caplog.messages == [
        "the monitor odd: 'fature' is an unknown role of the column 'x'; known are feature, prediction, target",
        "the monitor odd: 'number' is an unknown data type of the column 'x'; "
        "known are numerical, categorical, numerical_sequence",
    ]
    assert len(rows_of(data("odd"))) == 2


def test_a_table_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    with bentoml.monitor("table") as mon:
        mon.log_table([[1]], {"x": "feature"})
    assert caplog.messages[0] == "log_table() logs nothing: log each column with log_batch()"


def test_uneven_columns_are_lost_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        with bentoml.monitor("uneven") as mon:
            mon.log_batch([1, 2], "x", "feature", "numerical")
            mon.log(1, "y", "prediction", "numerical")
    assert caplog.messages == [
        "the monitor uneven: 2 rows were lost: every column needs as many values (x: 2, y: 1) (said once a minute)"
    ]
    assert counted("lost_rows", "uneven") == 4


def test_a_value_that_json_cannot_hold_is_lost_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    with bentoml.monitor("object") as mon:
        mon.log(object(), "x", "feature", "numerical")
    assert "1 rows were lost: a value cannot be written as JSON: object has no JSON form" in caplog.text
    assert counted("lost_rows", "object") == 1


def test_a_loss_is_said_again_after_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    feed = Feed("minute", Kept("minute"), clock=lambda: now)
    for now in (0.0, 59.0, 61.0):
        feed.lost(1, "failed", f"at {now:g}")
    assert [message.split(": ")[2][:5] for message in caplog.messages] == ["at 0 ", "at 61"]


def test_rows_beyond_the_bound_of_the_queue_are_refused() -> None:
    begun, go_on = threading.Event(), threading.Event()

    class Slow:
        exported: list[bytes] = []

        def export(self, lines: list[bytes]) -> None:
            begun.set()
            assert go_on.wait(30)
            self.exported += lines

    slow, writer = Slow(), Writer(limit_bytes=500)
    assert writer.submit(Job(slow, [b"1" * 100]))
    assert begun.wait(30)
    # What is being written counts until it is.
    assert [writer.submit(Job(slow, [b"2" * 100])) for _ in range(3)] == [True, True, False]
    assert not writer.flush(0)
    go_on.set()
    assert writer.flush(30)
    assert len(slow.exported) == 3
    assert writer.submit(Job(slow, [b"3" * 400]))


def test_a_full_disk_loses_rows_loudly_and_leaves_whole_lines(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = 100
    write = os.write

    def short_write(fd: int, chunk: bytes) -> int:
        nonlocal room
        if not room:
            raise OSError(28, "No space left on device")
        written = write(fd, chunk[:room])
        room -= written
        return written

    with bentoml.monitor("full") as mon:
        mon.log(0, "x", "feature", "numerical")
    assert len(rows_of(data("full"))) == 1
    with monkeypatch.context() as patched:
        patched.setattr("bentoml.monitoring.files.os.write", short_write)
        with bentoml.monitor("full") as mon:
            mon.log_batch(range(1, 4), "x", "feature", "numerical")
        rows = rows_of(data("full"))
    assert [row["x"] for row in rows] == [0, 1]
    path = data("full").absolute()
    assert caplog.messages == [
        f"the monitor full: 2 rows were lost: [Errno 28] No space left on device: {path} (said once a minute)"
    ]
    assert (counted("lost_rows", "full"), counted("rows", "full")) == (2, 2)
    with bentoml.monitor("full") as mon:
        mon.log(4, "x", "feature", "numerical")
    assert [row["x"] for row in rows_of(data("full"))] == [0, 1, 4]


def test_rows_without_a_schema_are_lost_and_the_schema_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    Path("monitoring").write_text("no folder")
    for _ in range(2):
        with bentoml.monitor("nowhere") as mon:
            mon.log(1, "x", "feature", "numerical")
        assert monitoring.flush(30)
    assert counted("lost_rows", "nowhere") == 2
    assert "NotADirectoryError" in caplog.text or "FileExistsError" in caplog.text
    Path("monitoring").unlink()
    with bentoml.monitor("nowhere") as mon:
        mon.log(1, "x", "feature", "numerical")
    assert len(rows_of(schema("nowhere"))) == len(rows_of(data("nowhere"))) == 1


# Files


class Days:
    """A clock that shows days."""

    day = "2026-11-22"

    def __call__(self) -> str:
        return self.day


def appended(path: Path, days: Days, *lines: bytes) -> DailyFile:
    made = DailyFile(path, days)
    made.append(lines)
    return made


def test_a_file_is_renamed_when_its_day_is_over(tmp_path: Path) -> None:
    days = Days()
    path = tmp_path / "data" / "data.1.log"
    made = appended(path, days, b"1", b"2")
    days.day = "2026-11-23"
    made.append([b"3"])
    days.day = "2026-11-22"  # the clock is set back
    made.append([b"4"])
    days.day = "2026-11-23"
    made.append([b"5"])
    days.day = "2026-11-24"
    made.append([b"6"])
    found = {each.name.removeprefix("data.1.log"): each.read_bytes() for each in path.parent.iterdir()}
    assert found == {
        ".2026-11-22": b"1\n2\n",
        ".2026-11-23": b"3\n",
        ".2026-11-22.1": b"4\n",
        ".2026-11-23.1": b"5\n",
        "": b"6\n",
    }


def test_the_file_of_a_process_that_ended_days_ago_is_renamed_to_its_day(tmp_path: Path) -> None:
    path = tmp_path / "data.1.log"
    path.write_bytes(b"old\n")
    long_ago = (datetime(2026, 11, 19, tzinfo=timezone.utc) + timedelta(hours=5)).timestamp()
    os.utime(path, (long_ago, long_ago))
    appended(path, Days(), b"new")
    assert path.read_bytes() == b"new\n"
    assert (tmp_path / "data.1.log.2026-11-19").read_bytes() == b"old\n"


@pytest.mark.parametrize("torn", [b"", b"whole\n", b'{"torn": 1', b"x" * 200_000, b"whole\n" + b"x" * 200_000])
def test_a_line_that_a_kill_cut_short_is_removed(tmp_path: Path, torn: bytes) -> None:
    path = tmp_path / "data.1.log"
    path.write_bytes(torn)
    days = Days()
    days.day = datetime.now(timezone.utc).date().isoformat()
    appended(path, days, b"next")
    assert path.read_bytes() == torn[: torn.rfind(b"\n") + 1] + b"next\n"


def test_a_file_that_another_process_has_is_left_to_it(tmp_path: Path) -> None:
    path, days = tmp_path / "data.1.log", Days()
    first, second = appended(path, days, b"1"), appended(path, days, b"2")
    first.append([b"3"])
    second.append([b"4"])
    assert path.read_bytes() == b"1\n3\n"
    assert (tmp_path / f"data.1.{os.getpid()}.log").read_bytes() == b"2\n4\n"


@pytest.mark.parametrize("away", [Path.unlink, lambda path: path.rename(path.with_suffix(".old"))])
def test_a_file_that_was_taken_away_is_made_anew(tmp_path: Path, away: Callable[[Path], Any]) -> None:
    path, days = tmp_path / "data.1.log", Days()
    made = appended(path, days, b"1")
    away(path)
    made.append([b"2"])
    assert path.read_bytes() == b"2\n"


# Many at once


def test_threads_lose_and_mix_nothing() -> None:
    def log(thread: int) -> None:
        for number in range(200):
            with bentoml.monitor("threads") as mon:
                mon.log_batch([thread, thread], "thread", "feature", "numerical")
                mon.log_batch([number, -number], "number", "prediction", "numerical")

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(log, range(16)))
    found = sorted((row["thread"], row["number"]) for row in rows_of(data("threads")))
    assert found == sorted((thread, sign * number) for thread in range(16) for number in range(200) for sign in (1, -1))
    assert counted("rows", "threads") == 16 * 200 * 2


SCRIPT = """
import sys, bentoml
for number in range(2000):
    with bentoml.monitor("processes") as mon:
        mon.log(int(sys.argv[1]), "process", "feature", "numerical")
        mon.log("x" * 500, "text", "feature", "categorical")
        mon.log(number, "number", "prediction", "numerical")
"""


def test_processes_lose_and_mix_nothing_and_the_last_rows_are_written_at_the_end(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": SOURCE}
    ran = [
        subprocess.Popen([sys.executable, "-c", SCRIPT, str(number)], cwd=tmp_path, env=environment)
        for number in range(4)
    ]
    assert [each.wait() for each in ran] == [0] * 4
    lines = [line for path in data("processes").parent.iterdir() for line in path.read_bytes().splitlines()]
    rows = sorted((row["process"], row["number"]) for row in map(json.loads, lines))
    assert rows == [(process, number) for process in range(4) for number in range(2000)]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_writes_its_own_rows_and_not_its_parents(tmp_path: Path) -> None:
    script = """
import os, bentoml
def log(text):
    with bentoml.monitor("forked") as mon:
        mon.log(text, "who", "feature", "categorical")
log("parent")
child = os.fork()
log("parent" if child else "child")
if child:
    assert os.waitpid(child, 0)[1] == 0
"""
    environment = {**os.environ, "PYTHONPATH": SOURCE}
    assert subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=environment).returncode == 0
    lines = [line for path in data("forked").parent.iterdir() for line in path.read_bytes().splitlines()]
    assert sorted(json.loads(line)["who"] for line in lines) == ["child", "parent", "parent"]


# Where rows go


@pytest.mark.parametrize("how", ["class", "import string", "configuration"])
def test_a_class_of_ones_own_gets_columns_in_the_writers_thread(how: str) -> None:
    Kept.made.clear()
    path = f"{__name__}.Kept"
    if how == "configuration":
        use(type=path, options={"key": "secret"})
        block = bentoml.monitor("own")
    else:
        block = bentoml.monitor("own", Kept if how == "class" else path.replace(".Kept", ":Kept"), {"key": "secret"})
    with block as mon:
        mon.log_batch([np.float64(1.5), 2], "x", "feature", "numerical")
    assert monitoring.flush(30)
    kept = Kept.made[-1]
    assert (kept.name, kept.key, kept.threads) == ("own", "secret", {"monitoring"})
    assert kept.schemas == [{"x": {"name": "x", "role": "feature", "type": "numerical"}}]
    [columns] = kept.data
    assert (columns["x"].popleft(), columns["x"].popleft(), list(columns["request_id"])) == (1.5, 2, ["", ""])
    assert len(columns["timestamp"]) == 2


def test_rows_of_different_columns_go_to_ones_own_class_one_after_the_other() -> None:
    kept = Kept("mixed")
    kept.export_lines([b'{"a":1}', b'{"a":2}', b'{"b":3}', b'{"a":4}'])
    assert kept.data == [{"a": deque([1, 2])}, {"b": deque([3])}, {"a": deque([4])}]


def test_what_ones_own_class_raises_loses_rows_and_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    class Failing(Kept):
        def export_data(self, datas: Mapping[str, deque[Any]]) -> None:
            raise LookupError("no such table")

    with bentoml.monitor("failing", Failing) as mon:
        mon.log(1, "x", "feature", "numerical")
    assert monitoring.flush(30)
    assert "the monitor failing: 1 rows were lost: LookupError: no such table" in caplog.text


def test_rows_go_to_a_collector_as_log_records() -> None:
    identify(Identity("2", "iris", "v1"))
    with _otlp.collecting() as collector:
        use(type="otlp", options={"endpoint": collector.url, "headers": {"x-key": "secret"}})
        with bentoml.monitor("sent") as mon:
            mon.log_batch([1, 2], "x", "feature", "numerical")
            mon.log_batch([[0.5, None, True], {"a": "b"}], "y", "target", "numerical_sequence")
        assert monitoring.flush(30)
    requests = [
        json_format.Parse(body, ExportLogsServiceRequest())
        for path, headers, body in collector.requests
        if (path, headers["content-type"], headers["x-key"]) == ("/v1/logs", "application/json", "secret")
    ]
    columns, rows = (each.resource_logs[0].scope_logs[0].log_records for each in requests)
    assert [_otlp.attributes_of(each[0])["bentoml.monitor.record"] for each in (columns, rows)] == ["schema", "data"]
    assert _otlp.attributes_of(requests[0].resource_logs[0].resource) == {
        "service.name": "iris",
        "service.version": "v1",
        "bentoml.worker": "2",
    }
    first, second = ({each.key: each.value for each in row.body.kvlist_value.values} for row in rows)
    assert (first["x"].int_value, second["x"].int_value, first["request_id"].string_value) == (1, 2, "")
    number, nothing, yes = first["y"].array_value.values
    assert (number.double_value, nothing.WhichOneof("value"), yes.bool_value) == (0.5, None, True)
    assert second["y"].kvlist_value.values[0].value.string_value == "b"


def test_a_collector_that_is_gone_loses_rows_and_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    with _otlp.collecting() as collector:
        url = collector.url
    use(type="otlp", options={"endpoint": url})
    for _ in range(2):
        with bentoml.monitor("gone") as mon:
            mon.log(1, "x", "feature", "numerical")
        assert monitoring.flush(30)
    assert counted("lost_rows", "gone") == 2
    assert len([each for each in caplog.messages if "Connection refused" in each]) == 1


LOG_CONFIG = """
version: 1
formatters:
  plain: {format: "{worker_id} {monitor_name} %(message)s"}
handlers:
  schema: {class: logging.FileHandler, formatter: plain, filename: "{schema_filename}"}
  data: {class: logging.FileHandler, formatter: plain, filename: "{data_filename}"}
loggers:
  bentoml_monitor_schema: {level: INFO, handlers: [schema]}
  bentoml_monitor_data: {level: INFO, handlers: [data]}
"""


def test_a_logging_configuration_says_where_rows_go_and_each_monitor_has_its_own(tmp_path: Path) -> None:
    (tmp_path / "log.yaml").write_text(LOG_CONFIG)
    use(options={"log_config_file": "log.yaml", "log_path": "rows"})
    for name in ("one", "two"):
        with bentoml.monitor(name) as mon:
            mon.log(f"{name} 100 %s", "x", "feature", "categorical")
    with bentoml.monitor("one") as mon:
        mon.log("again", "x", "feature", "categorical")
    assert monitoring.flush(30)
    for name, values in (("one", ["one 100 %s", "again"]), ("two", ["two 100 %s"])):
        lines = Path(f"rows/{name}/data/data.0.log").read_text().splitlines()
        assert [json.loads(line.removeprefix(f"0 {name} "))["x"] for line in lines] == values
        assert Path(f"rows/{name}/schema/schema.0.log").read_text().startswith(f"0 {name} {{")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "FileNotFoundError: "),
        ("version: 1", "KeyError: 'loggers'"),
        ("[", "DecodeError: "),
        ("3", "TypeError: "),
    ],
)
def test_a_logging_configuration_that_cannot_be_says_why(tmp_path: Path, text: str | None, reason: str) -> None:
    if text is not None:
        (tmp_path / "log.yaml").write_text(text)
    use(options={"log_config_file": "log.yaml"})
    with pytest.raises(BentoMLConfigException) as caught:
        bentoml.monitor("refused")
    assert str(caught.value).startswith(
        f"monitoring.options.log_config_file: log.yaml does not set up the monitor 'refused': {reason}"
    )


# Configuration


def test_without_monitoring_a_block_does_nothing() -> None:
    use(enabled=False)
    with bentoml.monitor("off") as mon:
        mon.log(1, "x", "feature", "numerical")
        mon.log_batch([1], "y", "feature", "numerical")
        mon.log_table(1)
    assert monitoring.flush(30)
    assert not Path("monitoring").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("../x",),
            "'../x' cannot be the name of a monitor: use letters, digits, '_', '-' and '.', at most 100, "
            "beginning with none of the last two",
        ),
        (
            ("m", "nowhere.Monitor"),
            "the monitor class 'nowhere.Monitor' cannot be imported: No module named 'nowhere' "
            "(hint: `default`, `otlp`, or `module.Class`)",
        ),
        (("m", "dfault"), "the monitor class 'dfault' cannot be imported: Empty module name (hint: "),
        (("m", "json.JSONDecoder"), "'json.JSONDecoder' is no subclass of bentoml.monitoring.MonitorBase"),
        (
            ("m", "default", {"path": "x"}),
            "the monitor 'm' cannot be made of the options path: "
            "DefaultMonitor.__init__() got an unexpected keyword argument 'path'",
        ),
        (("m", "otlp", {"endpoint": "collector"}), "monitoring.options.endpoint: 'collector' is no http or https URL"),
    ],
    ids=lambda value: "",
)
def test_a_monitor_that_cannot_be_made_says_why(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(BentoMLConfigException) as caught:
        bentoml.monitor(*arguments)
    assert str(caught.value).startswith(message)


def test_a_misspelt_option_is_an_error_when_the_server_starts() -> None:
    with pytest.raises(
        BentoMLConfigException, match="options.log_pth is unknown to the type default: did you mean log_path"
    ):
        use(options={"log_pth": "x"})
    use(type="my.Monitor", options={"anything": "goes"})


def test_importing_bentoml_imports_no_monitoring() -> None:
    code = "import bentoml.server.api_worker, sys; sys.exit('bentoml.monitoring' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


# A server


@contextlib.contextmanager
def watching(tmp_path: Path, more: str = "") -> Iterator[Server]:
    options = {
        "BENTOML_CONFIG_OPTIONS": f"api_server.workers=2 monitoring.options.log_path={tmp_path}/monitoring {more}"
    }
    arguments = ("service:svc", "--working-dir", str(TRACED))
    with serving(*arguments, folder=tmp_path, home=tmp_path / "home", extra=options) as server:
        yield server


def all_rows(name: str) -> list[dict[str, Any]]:
    folder = data(name).parent
    return [json.loads(line) for path in folder.iterdir() for line in path.read_bytes().splitlines()]


def test_a_server_writes_every_row_under_the_id_of_its_request(tmp_path: Path) -> None:
    with watching(tmp_path) as server:
        answers = server.post_all("/watched", [[number, -number] for number in range(1, 300)])
        in_thread = server.post_all("/watched_in_thread", list(range(50)))
        until(lambda: sample(server, "bentoml_monitor_rows_total") == 299 * 2 + 50, "the rows' count")
    ids = {answer.headers["x-bentoml-request-id"]: answer.value for answer in answers}
    rows = all_rows("rows")
    assert len(rows) == 2 * len(ids) == 598
    assert all(row["doubled"] == 2 * row["row"] and row["doubled"] in ids[row["request_id"]] for row in rows)
    found = {row["request_id"]: row["row"] for row in all_rows("rows_in_thread")}
    assert found == {answer.headers["x-bentoml-request-id"]: answer.value for answer in in_thread}
    assert {path.name for path in data("rows").parent.iterdir()} <= {"data.1.log", "data.2.log"}
    [line, *_] = [json.loads(line) for line in next(schema("rows").parent.iterdir()).read_text().splitlines()]
    assert line["meta_data"] == {"bento_name": "traced", "bento_version": "not available"}


def test_the_rows_of_the_last_requests_are_there_when_the_server_has_ended(tmp_path: Path) -> None:
    with watching(tmp_path) as server:
        server.post_all("/watched", [[1.0]] * 100)
        assert server.stop() == 0
    assert len(all_rows("rows")) == 100


def test_killed_workers_leave_whole_lines(tmp_path: Path) -> None:
    with watching(tmp_path) as server:
        for _ in range(3):
            for worker in server.workers("api_server"):
                with ThreadPoolExecutor(4) as pool:
                    asked = [pool.submit(_ask, server, number) for number in range(4)]
                    worker.send_signal(signal.SIGKILL)
                for each in asked:
                    each.result()
                until(lambda: len(server.workers("api_server")) == 2 and server.is_ready(), "the successor")
        server.wait_until_ready()
        until(lambda: server.post_all("/watched", [[1.0]] * 50) and _has_both(server), "rows of both workers")
    # Opened again by a successor, a file has lost the line that was cut short.
    assert all(row["doubled"] == 2 * row["row"] for row in all_rows("rows"))


def _ask(server: Server, number: int) -> None:
    with contextlib.suppress(OSError, http.client.HTTPException):
        server.post_all("/watched", [[number] * 50] * 20, connections=2)


def _has_both(server: Server) -> bool:
    return {path.name for path in data("rows").parent.iterdir()} == {"data.1.log", "data.2.log"}


def test_monitoring_that_is_off_writes_nothing(tmp_path: Path) -> None:
    with watching(tmp_path, "monitoring.enabled=false") as server:
        assert server.post("/watched", [1]).value == [2]
    assert not Path("monitoring").exists()


def test_the_cost_of_a_row_is_paid_by_another_thread() -> None:
    """The block itself touches no file: it works while the disk does not."""

    class Stuck(DefaultMonitor):
        release = threading.Event()

        def export_lines(self, lines: Any) -> None:
            assert self.release.wait(30)

    for number in range(100):
        with bentoml.monitor("stuck", Stuck) as mon:
            mon.log(number, "x", "feature", "numerical")
    assert not monitoring.flush(0)
    Stuck.release.set()
    assert monitoring.flush(30)


def test_a_recording_is_what_monitor_gives() -> None:
    assert isinstance(bentoml.monitor("kind"), Recording)
    use(enabled=False)
    assert bentoml.monitor("other kind") is recording.NOTHING
