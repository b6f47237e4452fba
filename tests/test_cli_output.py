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


def shown(monkeypatch: pytest.MonkeyPatch, stream: io.StringIO, *, level: int = logging.INFO) -> str:
    """What `stream`, as stderr, gets of some work that tells how far it is."""
    logger = logging.getLogger("bentoml")
    before = logger.level
    logger.setLevel(level)
    # Not in a fixture: pytest puts a stderr of its own in place between fixtures and test.
    monkeypatch.setattr(sys, "stderr", stream)
    try:
        with output.progress("exporting m:v") as show:
            for done in (0, 50, 100):
                if show is not None:
                    show(done, 100)
    finally:
        logger.setLevel(before)
    return stream.getvalue()


def test_a_terminal_shows_a_bar_when_the_work_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "PROGRESS_AFTER_S", 0)
    text = shown(monkeypatch, _Terminal())
    assert "exporting m:v" in text
    assert "100%" in text


def test_short_work_shows_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "PROGRESS_AFTER_S", 3600)
    assert shown(monkeypatch, _Terminal()) == ""


@pytest.mark.parametrize(("stream", "level"), [(io.StringIO(), logging.INFO), (_Terminal(), logging.ERROR)])
def test_neither_a_pipe_nor_a_quiet_command_has_a_bar(
    monkeypatch: pytest.MonkeyPatch, stream: io.StringIO, level: int
) -> None:
    monkeypatch.setattr(output, "PROGRESS_AFTER_S", 0)
    assert shown(monkeypatch, stream, level=level) == ""
