"""Sizes, times and progress as the command prints them."""

import datetime
import io
import logging
import sys
import time

import pytest

from bentoml.cli import output


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0.00 B"),
        (1023, "1023.00 B"),
        (1024, "1.00 KiB"),
        (12636, "12.34 KiB"),
        (1024**2 - 1, "1.00 MiB"),
        (5 * 1024**3, "5.00 GiB"),
        (1024**4, "1.00 TiB"),
        (3 * 1024**6, "3072.00 PiB"),
    ],
)
def test_sizes_are_in_units_of_1024_with_two_decimals(size_bytes: int, text: str) -> None:
    assert output.size_text(size_bytes) == text


def test_times_are_in_the_zone_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        moment = datetime.datetime(2022, 10, 3, 20, 11, 12, 345678, tzinfo=datetime.timezone.utc)
        assert output.time_text(moment) == "2022-10-04 05:11:12"
    finally:
        monkeypatch.undo()
        time.tzset()


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> _Terminal:
    stream = _Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(logging.getLogger("bentoml"), "level", logging.INFO)
    logging.getLogger("bentoml").manager._clear_cache()  # type: ignore[attr-defined]  # the level is cached
    return stream


def test_a_terminal_shows_a_bar_when_the_work_takes_long(terminal: _Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "PROGRESS_AFTER_S", 0)
    with output.progress("exporting m:v") as show:
        assert show is not None
        for done in (0, 50, 100):
            show(done, 100)
    assert "exporting m:v" in terminal.getvalue()
    assert "100%" in terminal.getvalue()


def test_short_work_shows_no_bar(terminal: _Terminal) -> None:
    with output.progress("exporting m:v") as show:
        assert show is not None
        show(100, 100)
    assert terminal.getvalue() == ""


def test_there_is_no_bar_without_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with output.progress("exporting m:v") as show:
        assert show is None


def test_a_quiet_command_has_no_bar(terminal: _Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    logging.getLogger("bentoml").setLevel(logging.ERROR)
    with output.progress("exporting m:v") as show:
        assert show is None
