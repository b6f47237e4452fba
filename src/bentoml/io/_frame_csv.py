"""read_csv(): from CSV to a DataFrame; its form is checked before pandas reads it, which mends what is broken."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from bentoml.exceptions import BadInput
from bentoml.io._arrow import MAX_CELLS
from bentoml.io._json_body import shortened

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["read_csv"]

#: What stands for a missing cell; `NA`, `null` and the like are text, as the name of a country may be.
_MISSING = ["", "NaN"]


def read_csv(pd: Any, body: bytes, *, text: Collection[str] | None) -> pd.DataFrame:
    """The frame in a CSV text: UTF-8, commas, quotes doubled, a header of different names, rows of equal length.

    A first column without a name is the index, as pandas writes it. Columns are integers, floats, booleans or text,
    whatever all their cells can be; floats are read exactly, dates stay text.

    Args:
        text: columns that are text whatever they look like, so that 007 keeps its zeros; None: all of them.

    Raises:
        BadInput: it is no such text; says which row.
    """
    decoded = _decoded(body)
    header, rows = _checked(decoded)
    has_index = header[0] == ""
    names = header[1:] if has_index else header
    wanted = [name for name in names if text is None or name in text]
    try:
        frame = pd.read_csv(
            io.StringIO(decoded, newline=""),
            dtype=dict.fromkeys(wanted, "str"),
            index_col=0 if has_index else False,
            na_values=_MISSING,
            keep_default_na=False,
            low_memory=False,
            **_exact_floats(pd),
        )
    except (ValueError, OverflowError) as error:
        raise BadInput(f"the CSV cannot be read: {shortened(str(error))}") from None
    if frame.shape != (rows, len(names)):
        raise BadInput("the CSV has lines of white space, or quotes, that readers understand differently")
    frame.columns = pd.Index(names)
    if has_index:
        frame.index.name = None
    return frame


def _exact_floats(pd: Any) -> dict[str, str]:
    """The option by which floats are read exactly; pandas 3.1 does so by itself, and warns of the option."""
    version = tuple(int(part) for part in pd.__version__.split(".")[:2])
    return {} if version >= (3, 1) else {"float_precision": "round_trip"}


def _decoded(body: bytes) -> str:
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInput(f"the CSV is not UTF-8: {error.reason} at byte {error.start}") from None
    if "\0" in text:
        raise BadInput("the CSV has a NUL character")
    return text


def _checked(text: str) -> tuple[list[str], int]:
    """(the header, how many rows follow it)"""
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] = []
    rows = 0
    try:
        for cells in lines:
            if not cells:  # a blank line
                continue
            if not header:
                header = cells
                continue
            if len(cells) != len(header):
                raise BadInput(f"row {rows} of the CSV has {len(cells)} cells, and its header {len(header)}")
            rows += 1
            if rows * len(header) > MAX_CELLS:
                raise BadInput(f"the CSV has more than {MAX_CELLS:,} cells")
    except csv.Error as error:
        raise BadInput(f"row {rows} of the CSV is malformed: {error}") from None
    if not header:
        raise BadInput("the CSV is empty; its first line must name the columns")
    if len(set(header)) != len(header) or "" in header[1:]:
        raise BadInput("the header of the CSV has a name twice, or a column without a name")
    return header, rows
