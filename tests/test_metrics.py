"""Metrics: the text format, the declarations, and totals over processes, threads and deaths."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bentoml import _metrics, metrics
from bentoml._importing import is_installed
from bentoml._metrics import Registry, exponential_buckets, files, mark_dead
from bentoml.exceptions import BentoMLConfigException, BentoMLException, MissingDependencyException

SRC = Path(files.__file__).parents[2]
Sample = tuple[str, frozenset[tuple[str, str]]]

_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_LABEL = r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\\\|\\"|\\n)*)"'
_SAMPLE_LINE = re.compile(rf"({_NAME})(?:\{{({_LABEL}(?:,{_LABEL})*)\}})? (\S+)", re.DOTALL)
_HELP_LINE = re.compile(rf"# HELP ({_NAME}) ((?:[^\\\n]|\\\\|\\n)*)", re.DOTALL)
_TYPE_LINE = re.compile(rf"# TYPE ({_NAME}) (counter|gauge|histogram|summary)")
_SUFFIXES = {
    "histogram": ("_bucket", "_count", "_sum"),
    "summary": ("_count", "_sum"),
    "counter": ("",),
    "gauge": ("",),
}

_serial = count()


def unique(name: str = "metric") -> str:
    """A name that no other test has declared in the registry of this process."""
    return f"{name}_{next(_serial)}"


def unescape(text: str) -> str:
    return re.sub(r"\\(.)", lambda match: {"n": "\n"}.get(match[1], match[1]), text)


def parse(text: bytes) -> tuple[dict[Sample, float], dict[str, str], dict[str, str]]:
    """Samples, types and help texts; refuses all that the format 0.0.4 does not allow."""
    samples: dict[Sample, float] = {}
    kinds: dict[str, str] = {}
    helps: dict[str, str] = {}
    lines = text.decode().split("\n")
    assert lines.pop() == "", "the last line ends with a line break"
    family = ""
    for line in lines:
        if line.startswith("# HELP"):
            match = _HELP_LINE.fullmatch(line)
            assert match, line
            family = match[1]
            assert family not in helps, f"two HELP lines of {family}"
            helps[family] = unescape(match[2])
        elif line.startswith("# TYPE"):
            match = _TYPE_LINE.fullmatch(line)
            assert match, line
            assert match[1] == family
            assert family not in kinds, f"two TYPE lines of {family}"
            kinds[family] = match[2]
        else:
            match = _SAMPLE_LINE.fullmatch(line)
            assert match, line
            assert match[1] in [family + suffix for suffix in _SUFFIXES[kinds[family]]], line
            labels = [(key, unescape(value)) for key, value in re.findall(_LABEL, match[2] or "", re.DOTALL)]
            assert len(dict(labels)) == len(labels), f"a label twice: {line}"
            key = (match[1], frozenset(labels))
            assert key not in samples, f"a sample twice: {line}"
            samples[key] = float(match[7])
    return samples, kinds, helps


def sample(text: bytes, name: str, **labels: str) -> float | None:
    return parse(text)[0].get((name, frozenset(labels.items())))


def run_python(code: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(SRC)}
    return subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


# --- the text --------------------------------------------------------------------------------------------


def test_every_kind_is_written_as_the_text_format_wants_it() -> None:
    registry = Registry()
    registry.counter("requests", "All requests", ["path", "code"]).labels("/a", 200).inc(3)
    registry.gauge("in_progress", "Now", multiprocess_mode="livesum").labels().set(2)
    histogram = registry.histogram("size", "Sizes", ["path"], buckets=(1, 2.5)).labels(path="/a")
    for amount in (1, 2, 100):
        histogram.observe(amount)
    registry.summary("wait", "Waiting").labels().observe(0.5)
    assert registry.generate_latest().decode() == (
        "# HELP in_progress Now\n# TYPE in_progress gauge\nin_progress 2.0\n"
        "# HELP requests_total All requests\n# TYPE requests_total counter\n"
        'requests_total{code="200",path="/a"} 3.0\n'
        "# HELP size Sizes\n# TYPE size histogram\n"
        'size_bucket{le="1.0",path="/a"} 1.0\nsize_bucket{le="2.5",path="/a"} 2.0\n'
        'size_bucket{le="+Inf",path="/a"} 3.0\n'
        'size_count{path="/a"} 3.0\nsize_sum{path="/a"} 103.0\n'
        "# HELP wait Waiting\n# TYPE wait summary\nwait_count 1.0\nwait_sum 0.5\n"
    )


def test_without_metrics_the_text_is_empty() -> None:
    assert Registry().generate_latest() == b""


@settings(max_examples=60)
@given(value=st.text(max_size=8), other=st.text(max_size=8), documentation=st.text(max_size=12))
def test_any_label_value_and_help_text_comes_back_from_the_text(value: str, other: str, documentation: str) -> None:
    registry = Registry()
    registry.counter("c", documentation, ["x", "y"]).labels(value, other).inc()
    samples, _, helps = parse(registry.generate_latest())
    assert samples == {("c_total", frozenset({("x", value), ("y", other)})): 1.0}
    assert helps == {"c_total": documentation}


def test_a_lone_surrogate_in_a_label_or_help_text_does_not_break_the_scrape() -> None:
    registry = Registry()
    registry.counter("c", "\udc80", ["x"]).labels("a\udc80").inc()
    assert sample(registry.generate_latest(), "c_total", x="a?") == 1.0


@pytest.mark.parametrize(
    ("value", "text"), [(math.inf, "+Inf"), (-math.inf, "-Inf"), (math.nan, "NaN"), (1e22, "1e+22")]
)
def test_special_values_have_their_spelling(value: float, text: str) -> None:
    registry = Registry()
    registry.gauge("g", "", multiprocess_mode="sum").labels().set(value)
    assert registry.generate_latest().decode().endswith(f"\ng {text}\n")


def test_an_observation_that_is_not_a_number_is_above_every_bound() -> None:
    registry = Registry()
    registry.histogram("h", "", buckets=(1,)).labels().observe(math.nan)
    text = registry.generate_latest()
    assert sample(text, "h_bucket", le="1.0") == 0.0
    assert sample(text, "h_bucket", le="+Inf") == 1.0


@settings(max_examples=50)
@given(
    bounds=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=6, unique=True),
    amounts=st.lists(st.floats(-2e6, 2e6), max_size=20),
)
def test_a_bucket_holds_all_that_is_not_above_its_bound(bounds: list[float], amounts: list[float]) -> None:
    registry = Registry()
    histogram = registry.histogram("h", "", buckets=sorted(bounds)).labels()
    for amount in amounts:
        histogram.observe(amount)
    text = registry.generate_latest()
    for bound in bounds:
        expected = sum(amount <= bound for amount in amounts)
        assert sample(text, "h_bucket", le=repr(bound)) == expected
    assert sample(text, "h_bucket", le="+Inf") == sample(text, "h_count") == len(amounts)


# --- declarations ----------------------------------------------------------------------------------------


def test_a_full_name_has_its_prefixes_its_unit_and_total() -> None:
    full = _metrics.declare("counter", "uptime_total", "", namespace="a", subsystem="b", unit="seconds")
    assert full.name == "a_b_uptime_seconds_total"
    assert _metrics.declare("gauge", "wait_seconds", "", unit="seconds", multiprocess_mode="sum").name == "wait_seconds"


def test_the_same_declaration_is_the_same_metric() -> None:
    registry = Registry()
    assert registry.counter("c", "one", ["x"]) is registry.counter("c_total", "another text", ["x"])


@pytest.mark.parametrize(
    ("declare", "message"),
    [
        (
            lambda r: r.counter("c", "", ["y"]),
            "the counter 'c_total' with labels (y) cannot be declared: 'c_total' belongs",
        ),
        (lambda r: r.gauge("c_total", ""), "belongs to the counter 'c_total' with labels (x)"),
        (
            lambda r: r.histogram("h", "", buckets=(1, 3)),
            "belongs to the histogram 'h' with labels (), buckets (1.0, 2.0)",
        ),
        (lambda r: r.gauge("h_sum", ""), "'h_sum' belongs to the histogram 'h'"),
        (lambda r: r.gauge("a b", ""), "'a b' cannot be the name of a metric"),
        (lambda r: r.gauge("é", ""), "'é' cannot be the name of a metric"),
        (lambda r: r.counter("", "", namespace="n"), "'' cannot be the name of a metric"),
        (lambda r: r.counter("n", "", "path"), "must be a list of names, not the string 'path'"),
        (lambda r: r.counter("n", "", ["a-b"]), "'a-b' cannot be a label of 'n_total'"),
        (lambda r: r.counter("n", "", ["__a"]), "'__a' cannot be a label"),
        (lambda r: r.counter("n", "", ["a", "a"]), "has a label twice: a, a"),
        (lambda r: r.histogram("n", "", ["le"]), "'n' cannot have the label 'le'"),
        (lambda r: r.summary("n", "", ["quantile"]), "cannot have the label 'quantile'"),
        (lambda r: r.gauge("n", "", ["pid"]), "cannot have the label 'pid'"),
        (
            lambda r: r.gauge("n", "", multiprocess_mode="avg"),
            "'avg' is no multiprocess_mode of the gauge 'n'",
        ),
        (lambda r: r.histogram("n", "", buckets=()), "must be one upper bound or more in ascending order"),
        (lambda r: r.histogram("n", "", buckets=(2, 1)), "in ascending order, not (2.0, 1.0)"),
        (lambda r: r.histogram("n", "", buckets=(math.nan,)), "in ascending order, not (nan,)"),
    ],
)
def test_a_declaration_that_cannot_be_says_why(declare: Callable[[Registry], Any], message: str) -> None:
    registry = Registry()
    registry.counter("c", "", ["x"])
    registry.histogram("h", "", buckets=(1, 2))
    with pytest.raises(BentoMLException, match=re.escape(message)):
        declare(registry)


@pytest.mark.parametrize(
    ("values", "named", "given"),
    [
        ((), {}, "none"),
        (("a",), {}, "'a'"),
        ((), {"x": 1}, "x"),
        (("a",), {"y": 1}, "'a', y"),
        ((), {"x": 1, "z": 2}, "x, z"),
    ],
)
def test_wrong_labels_name_those_wanted_and_those_given(
    values: tuple[str, ...], named: dict[str, object], given: str
) -> None:
    family = Registry().counter("c", "", ["x", "y"])
    with pytest.raises(BentoMLException) as raised:
        family.labels(*values, **named)
    assert raised.value.message == f"the labels of 'c_total' are: x, y; given were: {given}"
    assert raised.value.hint == ".labels(x=…, y=…)"


@pytest.mark.parametrize("amount", [-1, -0.001, math.nan])
def test_a_counter_does_not_take_less_than_zero(amount: float) -> None:
    with pytest.raises(BentoMLException, match="a counter only grows: it cannot be incremented by"):
        Registry().counter("c", "").labels().inc(amount)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((1, 2, 4), (1, 2, 4, math.inf)),
        ((1, 2, 5), (1, 2, 4, 5, math.inf)),
        ((1, 2, 1), (1, math.inf)),
        ((1, 2, 100), (1, 2, 4, 8, 16, 32, 64, 100, math.inf)),
    ],
)
def test_exponential_buckets_end_at_the_given_end_and_infinity(
    arguments: tuple[float, float, float], expected: tuple[float, ...]
) -> None:
    assert exponential_buckets(*arguments) == expected


def test_exponential_buckets_are_at_most_a_hundred_before_the_end() -> None:
    assert len(exponential_buckets(1, 1.001, 1e9)) == 102


@pytest.mark.parametrize("arguments", [(2, 2, 1), (0, 2, 1), (1, 1, 5), (1, math.nan, 5)])
def test_impossible_exponential_buckets_are_refused(arguments: tuple[float, float, float]) -> None:
    with pytest.raises(BentoMLException, match="are impossible"):
        exponential_buckets(*arguments)


# --- many processes --------------------------------------------------------------------------------------

_WRITER = """
import sys
from pathlib import Path
from bentoml._metrics import Registry
registry = Registry(Path(sys.argv[1]))
counter = registry.counter("work", "Work done", ["who"])
histogram = registry.histogram("size", "Sizes", buckets=(1, 2, 4)).labels()
mine, ours = counter.labels(sys.argv[2]), counter.labels("all")
for i in range(int(sys.argv[3])):
    mine.inc(); ours.inc(2); histogram.observe(i % 5)
    if i % 500 == 0:
        counter.labels(f"{sys.argv[2]}-{i}").inc()
"""


def test_totals_over_processes_are_exact_and_scrapes_in_between_only_grow(tmp_path: Path) -> None:
    rounds = 20_000
    writers = [run_python(_WRITER, tmp_path, f"w{n}", rounds) for n in range(3)]
    reader = Registry(tmp_path)
    previous: dict[Sample, float] = {}
    while any(writer.poll() is None for writer in writers):
        samples, _, _ = parse(reader.generate_latest())
        assert all(samples[key] >= value for key, value in previous.items())
        if samples.get(("size_count", frozenset())):
            assert samples["size_bucket", frozenset({("le", "+Inf")})] == samples["size_count", frozenset()]
        previous = samples
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    text = reader.generate_latest()
    assert sample(text, "work_total", who="all") == 2 * 3 * rounds
    assert [sample(text, "work_total", who=f"w{n}") for n in range(3)] == [rounds] * 3
    assert sample(text, "work_total", who="w2-3500") == 1
    buckets = [sample(text, "size_bucket", le=le) for le in ("1.0", "2.0", "4.0", "+Inf")]
    assert buckets == [24_000, 36_000, 60_000, 60_000]
    assert sample(text, "size_sum") == 3 * rounds * 2


_ENDLESS = """
import sys
from pathlib import Path
from bentoml._metrics import Registry
registry = Registry(Path(sys.argv[1]))
counter = registry.counter("work", "").labels()
busy = registry.gauge("busy", "", multiprocess_mode="livesum").labels()
peak = registry.gauge("peak", "", multiprocess_mode="max").labels()
busy.inc(); peak.set(7)
for i in range(1000):
    counter.inc()
print("counting", flush=True)
while True:
    counter.inc()
"""


def test_a_killed_process_keeps_its_counters_and_loses_its_live_gauges(tmp_path: Path) -> None:
    reader = Registry(tmp_path)
    reader.gauge("busy", "", multiprocess_mode="livesum").labels().inc(10)
    writer = run_python(_ENDLESS, tmp_path)
    assert writer.stdout is not None
    assert writer.stdout.readline() == "counting\n"
    assert sample(reader.generate_latest(), "busy") == 11
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    mark_dead(tmp_path, writer.pid)
    text = reader.generate_latest()
    assert sample(text, "busy") == 10
    assert sample(text, "peak") == 7
    assert (sample(text, "work_total") or 0) >= 1000
    assert reader.generate_latest() == text
    assert Registry(tmp_path).generate_latest() == text, "a process that starts later sees the same"


def test_marking_a_process_that_never_wrote_does_nothing(tmp_path: Path) -> None:
    mark_dead(tmp_path, 1)
    mark_dead(tmp_path / "absent", 1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("mode", "alive", "one_dead"),
    [
        ("sum", [5], [5]), ("livesum", [5], [3]),
        ("min", [2], [2]), ("livemin", [2], [3]),
        ("max", [3], [3]), ("livemax", [3], [3]),
        ("mostrecent", [2], [2]), ("livemostrecent", [2], [3]),
        ("all", [2, 3], [2, 3]), ("liveall", [2, 3], [3]),
    ],
)  # fmt: skip
def test_each_mode_makes_one_of_many_gauges(
    tmp_path: Path, mode: str, alive: list[float], one_dead: list[float]
) -> None:
    gauge = Registry(tmp_path).gauge("g", "", multiprocess_mode=mode).labels()
    gauge.set(3)
    code = (
        "import sys; from pathlib import Path; from bentoml._metrics import Registry;"
        f"Registry(Path(sys.argv[1])).gauge('g', '', multiprocess_mode={mode!r}).labels().set(2)"
    )
    writer = run_python(code, tmp_path)
    assert writer.wait() == 0
    reader = Registry(tmp_path)
    samples = parse(reader.generate_latest())[0]
    assert sorted(samples.values()) == alive
    has_pid = mode.endswith("all")
    assert {dict(labels).get("pid") for _, labels in samples} == (
        {str(os.getpid()), str(writer.pid)} if has_pid else {None}
    )
    mark_dead(tmp_path, writer.pid)
    assert sorted(parse(reader.generate_latest())[0].values()) == one_dead


@pytest.mark.parametrize("step", ["inc", "dec"])
def test_a_most_recent_gauge_cannot_be_stepped(step: str) -> None:
    gauge = Registry().gauge("g", "", multiprocess_mode="mostrecent").labels()
    with pytest.raises(BentoMLException, match="a gauge of the mode 'mostrecent' can only be set"):
        getattr(gauge, step)()


def test_what_was_counted_before_use_is_shared_afterwards(tmp_path: Path) -> None:
    registry = Registry()
    counter = registry.counter("c", "").labels()
    counter.inc(3)
    registry.use(tmp_path)
    registry.use(tmp_path)
    counter.inc()
    assert sample(registry.generate_latest(), "c_total") == 4
    assert sample(Registry(tmp_path).generate_latest(), "c_total") == 4


_FORKING = """
import os, sys
from pathlib import Path
from bentoml._metrics import Registry
registry = Registry(Path(sys.argv[1]))
counter = registry.counter("c", "").labels()
counter.inc(5)
if (child := os.fork()) == 0:
    with registry.lock:
        counter.inc(2)
    os._exit(0)
counter.inc()
os.waitpid(child, 0)
assert b"c_total 8.0" in registry.generate_latest(), registry.generate_latest()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform does not fork")
def test_a_forked_process_counts_from_zero_in_its_own_file(tmp_path: Path) -> None:
    assert run_python(_FORKING, tmp_path).wait() == 0
    assert len(list(tmp_path.glob("*.values"))) == 2


def test_another_declaration_in_another_process_is_left_out_and_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, second, reader = Registry(tmp_path), Registry(tmp_path), Registry(tmp_path)
    first.gauge("g", "", multiprocess_mode="sum").labels().set(1)
    second.gauge("g", "", multiprocess_mode="max").labels().set(5)
    assert len(parse(reader.generate_latest())[0]) == 1
    reader.generate_latest()
    assert [record.message.partition(" of process")[0] for record in caplog.records] == ["The metric 'g'"]


def test_the_declaration_that_was_seen_first_stays_the_right_one(tmp_path: Path) -> None:
    reader = Registry(tmp_path)
    Registry(tmp_path).gauge("x_total", "", multiprocess_mode="sum").labels().set(5)
    expected = reader.generate_latest()
    late = Registry(tmp_path / "late")
    late.histogram("x_total", "").labels().observe(1)
    for file in (tmp_path / "late").iterdir():
        file.rename(tmp_path / f"0-sorts-before-all{file.suffix}")
    assert reader.generate_latest() == expected


# --- damaged files ---------------------------------------------------------------------------------------


def test_half_written_foreign_and_missing_files_do_not_disturb_a_scrape(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    registry.counter("c", "").labels().inc()
    series = next(tmp_path.glob("*.series"))
    half = series.read_bytes().rstrip(b"\n").replace(b"c_total", b"d_total")
    with series.open("ab") as file:
        file.write(half[: len(half) // 2])
    reader = Registry(tmp_path)
    expected = registry.generate_latest()
    assert sample(expected, "c_total") == 1
    (tmp_path / "1-gone.series").write_bytes(b"{}\n")
    (tmp_path / "readme.series").write_bytes(b"")
    (tmp_path / "2-torn.values").write_bytes(b"\0")
    (tmp_path / "2-torn.series").write_bytes(b"{}\n")
    for line in (
        b"garbage",
        b"[]",
        b'{"name": "x"}',
        b"\xff\xfe",
        half.strip().replace(b'"offset": 1', b'"offset": 10000000'),
    ):
        with series.open("ab") as file:
            file.write(b"\n" + line + b"\n")
    assert reader.generate_latest() == expected
    with series.open("ab") as file:
        file.write(half)
    assert reader.generate_latest() == expected, "a line without its end waits"
    with series.open("ab") as file:
        file.write(b"\n")
    assert sample(reader.generate_latest(), "d_total") == 1


def test_a_scrape_after_the_directory_is_gone_is_empty(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "m")
    registry.counter("c", "").labels().inc()
    for file in (tmp_path / "m").iterdir():
        file.unlink()
    (tmp_path / "m").rmdir()
    assert registry.generate_latest() == b""


def test_series_that_find_no_room_stay_in_their_process_and_are_logged_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(files, "_FILE_BYTES", 1 << 16)
    registry, reader = Registry(tmp_path), Registry(tmp_path)
    family = registry.histogram("h", "", ["x"], buckets=range(5000))
    for x in range(3):
        family.labels(x).observe(1)
    assert sample(registry.generate_latest(), "h_count", x="2") == 1
    assert sample(reader.generate_latest(), "h_count", x="0") == 1
    assert sample(reader.generate_latest(), "h_count", x="2") is None
    assert len(caplog.records) == 1
    assert "The metric 'h' and later ones are seen only in the scrapes that this process" in caplog.text
    assert "all 8192 values are in use (hint: give labels few distinct values" in caplog.text


def test_a_full_disk_keeps_a_new_series_in_its_process(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("this platform has no /dev/full")
    registry = Registry(tmp_path)
    registry.counter("before", "").labels().inc()
    with open("/dev/full", "wb", buffering=0) as full:
        registry._own._series_file = full
        counter = registry.counter("after", "").labels()
    counter.inc(2)
    assert sample(registry.generate_latest(), "before_total") == 1
    assert sample(registry.generate_latest(), "after_total") == 2
    assert "No space left on device" in caplog.text


def test_a_directory_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    registry = Registry()
    counter = registry.counter("c", "").labels()
    with pytest.raises(BentoMLConfigException, match=r"the metrics directory '.*file.m' cannot be written: "):
        registry.use(tmp_path / "file" / "m")
    counter.inc()
    assert sample(registry.generate_latest(), "c_total") == 1


# --- sampled gauges --------------------------------------------------------------------------------------


def test_a_gauge_with_a_function_is_sampled_at_each_scrape(caplog: pytest.LogCaptureFixture) -> None:
    queue: list[int] | None = [1, 2]
    registry = Registry()
    length = registry.gauge("length", "", multiprocess_mode="livesum").labels()
    length.set_function(lambda: len(queue))  # type: ignore[arg-type]  # it fails later on, on purpose
    assert sample(registry.generate_latest(), "length") == 2
    queue.append(3)
    assert sample(registry.generate_latest(), "length") == 3
    queue = None
    assert sample(registry.generate_latest(), "length") == 3
    assert "The function of the gauge 'length' failed; its value stays" in caplog.text


# --- bentoml.metrics -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [metrics.Counter, metrics.Gauge, metrics.Histogram, metrics.Summary])
def test_a_metric_is_made_at_its_first_use(kind: type[metrics._LazyMetric[Any]]) -> None:
    name = unique()
    metric = kind(name, "documentation", labelnames=["x"])
    assert metric._proxy is None
    assert name.encode() not in metrics.generate_latest()
    metric.labels(x="a")
    assert metric._proxy is not None
    assert name.encode() in metrics.generate_latest()


@pytest.mark.parametrize("kind", [metrics.Counter, metrics.Gauge, metrics.Histogram, metrics.Summary])
def test_a_registry_of_ones_own_is_refused(kind: Any) -> None:
    with pytest.raises(ValueError, match="cannot have a registry of its own: there is one for all processes"):
        kind("c", "", registry=object())


def test_user_metrics_count_with_and_without_labels() -> None:
    name = unique()
    counter = metrics.Counter(name, "", ["a", "b"], namespace="n", subsystem="s")
    counter.labels("1", "2").inc()
    counter.labels(b="2", a="1").inc(2)
    gauge = metrics.Gauge(f"{name}_g", "", multiprocess_mode="sum")
    gauge.inc(5)
    gauge.dec(2)
    histogram = metrics.Histogram(f"{name}_h", "", buckets=[1])
    histogram.observe(0.5)
    summary = metrics.Summary(f"{name}_s", "", unit="bytes")
    summary.observe(4)
    text = metrics.generate_latest()
    assert sample(text, f"n_s_{name}_total", a="1", b="2") == 3
    assert sample(text, f"{name}_g") == 3
    assert sample(text, f"{name}_h_bucket", le="1.0") == 1
    assert sample(text, f"{name}_s_bytes_sum") == 4


def test_an_update_without_its_labels_says_which() -> None:
    name = unique()
    with pytest.raises(BentoMLException) as raised:
        metrics.Counter(name, "", ["a", "b"]).inc()
    assert str(raised.value) == (
        f"this use of '{name}_total' lacks its labels (a, b) (hint: .labels(a=…, b=…) comes first)"
    )


def test_a_metric_of_the_same_name_with_other_labels_fails_at_its_first_use() -> None:
    name = unique()
    metrics.Counter(name, "", ["a"]).labels("x").inc()
    other = metrics.Counter(name, "", ["b"])
    with pytest.raises(BentoMLException, match=r"with labels \(b\) cannot be declared: .* with labels \(a\)"):
        other.labels("x")


def test_threads_that_update_one_counter_lose_nothing() -> None:
    name = unique()
    counter, histogram = metrics.Counter(name, "", ["x"]), metrics.Histogram(f"{name}_h", "")
    start = threading.Barrier(4)

    def work() -> None:
        start.wait()
        for _ in range(5000):
            counter.labels("a").inc()
            histogram.observe(1)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    text = metrics.generate_latest()
    assert sample(text, f"{name}_total", x="a") == 20000
    assert sample(text, f"{name}_h_sum") == 20000


def test_time_works_as_block_and_on_plain_and_async_functions() -> None:
    name = unique()
    histogram = metrics.Histogram(name, "")

    @histogram.time()
    def plain(x: int) -> int:
        "What plain does."
        return plain(x - 1) if x else 7

    @histogram.time()
    async def later() -> int:
        inside.append(sample(metrics.generate_latest(), f"{name}_count"))
        await asyncio.sleep(0)
        return 8

    inside: list[float | None] = []
    with histogram.time():
        pass
    assert plain(2) == 7
    assert plain.__doc__ == "What plain does."
    assert asyncio.run(later()) == 8
    assert inside == [4], "the time of an async function ends when its result is there"
    assert sample(metrics.generate_latest(), f"{name}_count") == 5


def test_a_gauge_tracks_what_is_in_progress_and_the_last_duration() -> None:
    name = unique()
    gauge = metrics.Gauge(name, "", multiprocess_mode="livesum")
    with gauge.track_inprogress():
        with contextlib.suppress(KeyError), gauge.track_inprogress():
            assert sample(metrics.generate_latest(), name) == 2
            raise KeyError
        assert sample(metrics.generate_latest(), name) == 1
    assert sample(metrics.generate_latest(), name) == 0
    with gauge.time():
        pass
    assert 0 < (sample(metrics.generate_latest(), name) or 0) < 60
    gauge.set_to_current_time()
    assert (sample(metrics.generate_latest(), name) or 0) > 1.7e9
    gauge.set_function(lambda: 42)
    assert sample(metrics.generate_latest(), name) == 42


def test_exceptions_of_the_given_type_are_counted_and_raised() -> None:
    name = unique()
    counter = metrics.Counter(name, "")

    @counter.count_exceptions(KeyError)
    def fail(error: Exception) -> None:
        raise error

    with pytest.raises(KeyError):
        fail(KeyError())
    with pytest.raises(ValueError, match="other"):
        fail(ValueError("other"))
    assert sample(metrics.generate_latest(), f"{name}_total") == 1


def test_the_wsgi_app_answers_with_the_text() -> None:
    metrics.Counter(unique(), "").inc()
    answers: list[Any] = []
    body = b"".join(metrics.make_wsgi_app()({}, lambda *answer: answers.append(answer)))
    assert body == metrics.generate_latest()
    assert answers == [
        (
            "200 OK",
            [
                ("Content-Type", "text/plain; version=0.0.4; charset=utf-8"),
                ("Content-Length", str(len(body))),
            ],
        )
    ]


def test_parsed_families_come_from_prometheus_client_or_say_what_to_install() -> None:
    name = unique()
    metrics.Counter(name, "").inc()
    if is_installed("prometheus_client"):
        families = list(metrics.text_string_to_metric_families())
        assert name in [family.name for family in families]
    else:
        with pytest.raises(MissingDependencyException, match="pip install prometheus-client"):
            metrics.text_string_to_metric_families()


@pytest.mark.parametrize("name", ["REGISTRY", "CollectorRegistry", "push_to_gateway", "start_http_server", "Info"])
def test_what_cannot_be_shared_is_refused_with_a_reason(name: str) -> None:
    with pytest.raises(NotImplementedError, match=rf"bentoml\.metrics has no '{name}': .+"):
        getattr(metrics, name)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"module 'bentoml\.metrics' has no attribute 'Conuter'"):
        metrics.Conuter  # type: ignore[attr-defined]  # the misspelling is the point


def test_importing_the_module_is_light() -> None:
    code = """
import sys, bentoml.metrics
heavy = {"prometheus_client", "msgspec", "numpy", "logging", "asyncio", "inspect", "dataclasses", "ctypes"}
print(*sorted(heavy & set(sys.modules)))
"""
    out, _ = run_python(code).communicate()
    assert out == "\n"


def test_use_shares_the_metrics_of_module_scope(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from bentoml import _metrics, metrics
counter = metrics.Counter("c", "")
early = metrics.Counter("early", "")
early.inc()
_metrics.use(Path(sys.argv[1]))
counter.inc(); early.inc()
"""
    writers = [run_python(code, tmp_path) for _ in range(2)]
    assert [writer.wait() for writer in writers] == [0, 0]
    text = Registry(tmp_path).generate_latest()
    assert sample(text, "c_total") == 2
    assert sample(text, "early_total") == 4
