"""What commands print: the same rows as a table, as JSON or as YAML; sizes, times and progress bars."""

from __future__ import annotations

import contextlib
import datetime
import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import click

__all__ = ["as_json", "as_yaml", "form_option", "print_rows", "progress", "size_text", "time_text"]

_F = TypeVar("_F", bound=Callable[..., Any])

#: Work that is done sooner than this shows no progress bar.
PROGRESS_AFTER_S = 0.5


def form_option(*forms: str) -> Callable[[_F], _F]:
    """The option `-o/--output`; the first of the forms is the default."""
    return click.option(
        "-o",
        "--output",
        "form",
        type=click.Choice(forms),
        default=forms[0],
        show_default=True,
        help="Form of the output.",
    )


def print_rows(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str], form: str) -> None:
    """Print rows as `"table"`, `"json"` or `"yaml"`.

    Args:
        columns: key → heading in a table, in the order of the columns; JSON and YAML have all keys of the rows.
    """
    if form == "table":
        _print_table([[str(row[key]) for key in columns] for row in rows], list(columns.values()))
    else:
        click.echo((as_json if form == "json" else as_yaml)(rows), nl=False)


def as_json(value: Any) -> str:
    """JSON with an indent of 2, and a line break at the end."""
    import msgspec

    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n"


def as_yaml(value: Any) -> str:
    """YAML in block style, keys in their order."""
    import msgspec

    return msgspec.yaml.encode(value).decode()


def _print_table(rows: Sequence[Sequence[str]], headings: Sequence[str]) -> None:
    # No line is folded or cut: one row is one line in a pipe, and a tag can be copied from a narrow terminal.
    widths = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]
    for number, row in enumerate((headings, *rows)):
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        click.echo(click.style(line, bold=True) if number == 0 else line)


def size_text(size_bytes: float) -> str:
    """`12.34 KiB`: in units of 1024, with two decimals."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        # 1023.995 would be printed as 1024.00.
        if round(size_bytes, 2) < 1024:
            return f"{size_bytes:.2f} {unit}"
        size_bytes /= 1024
    return f"{size_bytes:.2f} PiB"


def time_text(moment: datetime.datetime) -> str:
    """`2022-10-03 12:11:12`, in the zone of this machine."""
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")


@contextlib.contextmanager
def progress(title: str) -> Iterator[Callable[[int, int], None] | None]:
    """A function that takes the bytes done and the bytes in all, and shows a bar on stderr once that takes long.

    None where nobody would see it: stderr is not a terminal, or the command is quiet.
    """
    if not sys.stderr.isatty() or not logging.getLogger("bentoml").isEnabledFor(logging.INFO):
        yield None
        return
    started_s = time.monotonic()
    with contextlib.ExitStack() as stack:
        bar: Any = None  # click does not export its class

        def show(done: int, total: int) -> None:
            nonlocal bar
            if bar is None:
                if time.monotonic() - started_s < PROGRESS_AFTER_S:
                    return
                bar = stack.enter_context(click.progressbar(length=total, label=title, file=sys.stderr))
            bar.update(done - bar.pos)

        yield show
