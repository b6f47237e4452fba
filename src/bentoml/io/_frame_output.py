"""dump(), dump_series(), dump_csv(): a DataFrame or a Series as JSON in one of the orients of pandas, or as CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from bentoml.io._frame_cells import encode, json_values

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["dump", "dump_csv", "dump_series"]


def dump(pd: Any, np: Any, frame: pd.DataFrame, orient: str) -> bytes:
    """The frame as compact JSON.

    Floats are written so that they come back exactly, where pandas keeps ten digits; NaN and what else is missing is
    null; times are ISO 8601, where pandas writes milliseconds; names and index labels are text where JSON has objects.

    Raises:
        ValueError: names of columns, or labels of the index, are the same where they would name members of an object.
        TypeError: a cell has no JSON form.
    """
    return encode(_WRITERS[orient](pd, np, frame))


def dump_series(pd: Any, np: Any, series: pd.Series, orient: str) -> bytes:
    """The series as compact JSON; cells and errors as in `dump`."""
    cells = json_values(pd, np, series)
    if orient == "index":
        return encode(dict(zip(_unique(_labels(pd, np, series.index), "index labels"), cells, strict=True)))
    if orient == "split":
        return encode({"name": series.name, "index": _values(pd, np, series.index), "data": cells})
    return encode(cells)


def dump_csv(pd: Any, np: Any, frame: pd.DataFrame) -> bytes:
    """The frame as CSV with its index first, as pandas writes it but for times, which are as in JSON."""
    if frame.index.nlevels > 1 or frame.columns.nlevels > 1:
        return frame.to_csv(lineterminator="\n").encode("utf-8")  # type: ignore[no-any-return]  # of pandas
    columns = [_values(pd, np, frame.index), *_columns(pd, np, frame)]
    columns = [_csv_floats(column) if set(map(type, column)) == {float} else column for column in columns]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["" if frame.index.name is None else frame.index.name, *_labels(pd, np, frame.columns)])
    writer.writerows(zip(*columns, strict=True))
    return text.getvalue().encode("utf-8")


def _csv_floats(column: list[float]) -> list[Any]:
    """A column of floats as text: those of JSON are the same, and written many times faster than by csv."""
    if any(map(math.isinf, column)):
        return [None if math.isnan(cell) else cell for cell in column]
    return encode(column).decode("ascii")[1:-1].replace("null", "").split(",")


def _records(pd: Any, np: Any, frame: pd.DataFrame) -> Any:
    names = _unique(_labels(pd, np, frame.columns), "column names")
    return [dict(zip(names, row, strict=True)) for row in _rows(pd, np, frame)]


def _by_index(pd: Any, np: Any, frame: pd.DataFrame) -> Any:
    return dict(zip(_unique(_labels(pd, np, frame.index), "index labels"), _records(pd, np, frame), strict=True))


def _by_columns(pd: Any, np: Any, frame: pd.DataFrame) -> Any:
    names = _unique(_labels(pd, np, frame.columns), "column names")
    labels = _unique(_labels(pd, np, frame.index), "index labels")
    columns = _columns(pd, np, frame)
    return {name: dict(zip(labels, cells, strict=True)) for name, cells in zip(names, columns, strict=True)}


def _split(pd: Any, np: Any, frame: pd.DataFrame) -> Any:
    columns, index = (_values(pd, np, axis) for axis in (frame.columns, frame.index))
    return {"columns": columns, "index": index, "data": _rows(pd, np, frame)}


def _table(pd: Any, np: Any, frame: pd.DataFrame) -> Any:
    schema = pd.io.json.build_table_schema(frame)
    records = frame.reset_index()
    # The index of a table is one of its columns, and its name may be taken.
    if [field["name"] for field in schema["fields"]] != list(records.columns):
        raise ValueError("a column has the name of the index, or a name that is no text")
    return {"schema": schema, "data": _records(pd, np, records)}


def _rows(pd: Any, np: Any, frame: pd.DataFrame) -> list[Any]:
    if (block := _block(np, frame)) is not None:
        return block.tolist()  # type: ignore[no-any-return]  # of a library whose types are not looked at
    return list(zip(*_columns(pd, np, frame), strict=True)) if frame.shape[1] else [()] * len(frame)


def _columns(pd: Any, np: Any, frame: pd.DataFrame) -> list[list[Any]]:
    if (block := _block(np, frame)) is not None:
        return block.T.tolist()  # type: ignore[no-any-return]  # of a library whose types are not looked at
    return [json_values(pd, np, frame.iloc[:, at]) for at in range(frame.shape[1])]


def _block(np: Any, frame: pd.DataFrame) -> Any:
    """All cells as one array where they are of one type of numbers, which is many times faster; else None."""
    dtypes = set(frame.dtypes)
    only = next(iter(dtypes), None)
    return frame.to_numpy() if len(dtypes) == 1 and isinstance(only, np.dtype) and only.kind in "biuf" else None


def _labels(pd: Any, np: Any, axis: Any) -> list[str]:
    """The labels of an axis as names of members."""
    return [label if type(label) is str else str(label) for label in _values(pd, np, axis)]


def _values(pd: Any, np: Any, axis: Any) -> list[Any]:
    return json_values(pd, np, axis.to_series()) if axis.nlevels == 1 else [list(label) for label in axis]


def _unique(names: list[str], what: str) -> list[str]:
    if len(set(names)) != len(names):
        raise ValueError(f"{what} occur twice")
    return names


_WRITERS: Mapping[str, Callable[[Any, Any, Any], Any]] = {
    "records": _records,
    "columns": _by_columns,
    "index": _by_index,
    "split": _split,
    "values": _rows,
    "table": _table,
}
