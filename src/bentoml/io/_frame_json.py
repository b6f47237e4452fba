"""read_json(): from the JSON of the orients of pandas to a DataFrame, without a guess.

`pandas.read_json` takes text for dates or numbers by the name of its column. Here the types of JSON decide.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from bentoml.exceptions import BadInput
from bentoml.io._frame_cells import column_of
from bentoml.io._json_body import shortened

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ORIENTS", "read_json", "read_series"]

#: Cells that are in the frame and not in the body, as where each of many records has a name of its own.
_MAX_ABSENT_CELLS = 1_000_000

#: An index label that was a number before it became the name in a JSON object.
_INTEGER = re.compile(r"0|-?[1-9]\d{0,17}")

Rows = Sequence[Sequence[Any]]


def read_json(pd: Any, np: Any, value: Any, orient: str) -> pd.DataFrame:
    """The frame that a parsed document stands for.

    Numbers without a fraction are int64 (uint64 beyond it), others float64; null among numbers is NaN. Text stays text,
    also where it looks like a date. A column of anything else holds Python objects.

    Raises:
        BadInput: it has not the form of the orient; says which row or column.
    """
    return _READERS[orient](pd, np, value)


def _read_records(pd: Any, np: Any, value: Any) -> pd.DataFrame:
    names, rows = _aligned(_list(value, "an array of objects"), "row")
    return _frame(pd, np, names, rows, None)


def _read_index(pd: Any, np: Any, value: Any) -> pd.DataFrame:
    labels, members = _members(value, "an object of objects, one for each row")
    names, rows = _aligned(members, "row")
    return _frame(pd, np, names, rows, _labels(labels))


def _read_columns(pd: Any, np: Any, value: Any) -> pd.DataFrame:
    names, members = _members(value, "an object of objects, one for each column")
    if members and all([type(each) is list for each in members]):
        _check_lengths(members, "column")
        return _frame_of_columns(pd, np, names, members, None, len(members[0]))
    labels, columns = _aligned(members, "column")
    return _frame_of_columns(pd, np, names, columns, _labels(labels), len(labels))


def _read_split(pd: Any, np: Any, value: Any) -> pd.DataFrame:
    names, members = _members(value, 'an object of "columns", "index" and "data"')
    parts = dict(zip(names, members, strict=True))
    columns, rows = parts.pop("columns", None), parts.pop("data", None)
    index = parts.pop("index", None)
    if parts or type(columns) is not list or type(rows) is not list:
        raise _refused('expected an object of the arrays "columns", "data" and perhaps "index", and no other name')
    if not {type(name) for name in columns} <= {str, int} or len({str(name) for name in columns}) != len(columns):
        raise _refused('"columns" must be text or integers, each of them once')
    if index is not None:
        _check_index(index, len(rows))
    _check_rows(rows, len(columns))
    return _frame(pd, np, columns, rows, index)


def _read_values(pd: Any, np: Any, value: Any) -> pd.DataFrame:
    rows = _list(value, "an array of arrays")
    width = len(rows[0]) if rows and type(rows[0]) is list else 0
    _check_rows(rows, width)
    return _frame(pd, np, range(width), rows, None)


def _read_table(pd: Any, np: Any, value: Any) -> pd.DataFrame:
    expected = 'an object of "schema" and "data", as pandas writes it with orient="table"'
    names, members = _members(value, expected)
    parts = dict(zip(names, members, strict=True))
    schema, data = parts.get("schema"), parts.get("data")
    fields = schema.get("fields") if type(schema) is dict else None
    key = schema.get("primaryKey", []) if type(schema) is dict else None
    if set(parts) != {"schema", "data"} or type(fields) is not list or type(data) is not list:
        raise _refused(f"expected {expected}")
    if not all([type(each) is dict and type(each.get("name")) is str for each in fields]):
        raise _refused('each of the "fields" of the schema must have a "name"')
    names = [each["name"] for each in fields]
    key = [key] if type(key) is str else key
    if type(key) is not list or not all([name in names for name in key]) or len(set(names)) != len(names):
        raise _refused('the "fields" of the schema must differ, and "primaryKey" must name some of them')
    given, rows = _aligned(data, "row")
    if rows and set(given) != set(names):
        raise _refused("the rows have other columns than the schema")
    frame = _frame(pd, np, given, rows, None) if rows else pd.DataFrame(columns=names)
    frame = frame[names]
    for each in fields:
        if each.get("type") in ("datetime", "number") and rows:
            frame = _retyped(pd, frame, each["name"], each["type"])
    if key:
        frame = frame.set_index(key)
        frame.index.names = [None if name == "index" or name.startswith("level_") else name for name in key]
    return frame


def _retyped(pd: Any, frame: pd.DataFrame, name: str, kind: str) -> pd.DataFrame:
    """A column of the type that the schema of a table announces, where its JSON has another."""
    column = frame[name]
    if kind == "number" and column.dtype.kind in "iu":
        return frame.assign(**{name: column.astype("float64")})
    if kind == "datetime":
        try:
            return frame.assign(**{name: pd.to_datetime(column, format="ISO8601", utc=None)})
        except (ValueError, TypeError, OverflowError):
            raise _refused(f"the column {shortened(name)!r} has a text that is no time of ISO 8601") from None
    return frame


_READERS: Mapping[str, Callable[[Any, Any, Any], Any]] = {
    "records": _read_records,
    "columns": _read_columns,
    "index": _read_index,
    "split": _read_split,
    "values": _read_values,
    "table": _read_table,
}
ORIENTS = tuple(_READERS)


def read_series(pd: Any, np: Any, value: Any, orient: str) -> pd.Series:
    """The series that a parsed document stands for; cells as in `read_json`.

    Raises:
        BadInput: it has not the form of the orient.
    """
    name, index = None, None
    if orient == "index":
        names, cells = _members(value, "an object of cells by index label")
        index = _labels(names)
    elif orient == "split":
        if type(value) is not dict or not {"data"} <= set(value) <= {"name", "index", "data"}:
            raise _refused('expected an object of "data", and perhaps "name" and "index"')
        cells, index, name = _list(value["data"], 'an array as "data"'), value.get("index"), value.get("name")
        if type(name) not in (str, int, type(None)):
            raise _refused('"name" must be text or an integer')
        if index is not None:
            _check_index(index, len(cells))
    else:
        cells = _list(value, "an array of cells")
    return pd.Series(column_of(np, cells, ""), index=_index(pd, index), name=name)


# -- the form of the document -----------------------------------------------------------------------------------------


def _list(value: Any, expected: str) -> list[Any]:
    if type(value) is not list:
        raise _refused(f"expected {expected}")
    return value


def _members(value: Any, expected: str) -> tuple[list[str], list[Any]]:
    if type(value) is not dict:
        raise _refused(f"expected {expected}")
    return list(value), list(value.values())


def _aligned(objects: list[Any], what: str) -> tuple[list[str], Rows]:
    """(names, the values of each object in the order of the names); a name that one lacks is null there."""
    if set(map(type, objects)) - {dict}:
        at = next(at for at, each in enumerate(objects) if type(each) is not dict)
        raise _refused(f"{what} {at} is no object")
    names = list(objects[0]) if objects else []
    if len(names) > 1 and set(map(len, objects)) == {len(names)}:
        try:
            return names, list(map(itemgetter(*names), objects))
        except KeyError:
            pass
    names = list(dict.fromkeys(chain.from_iterable(objects)))
    absent = len(names) * len(objects) - sum(map(len, objects))
    if absent > _MAX_ABSENT_CELLS:
        raise _refused(f"the {what}s have different names, which leaves more than {_MAX_ABSENT_CELLS:,} cells empty")
    return names, [[each.get(name) for name in names] for each in objects]


def _check_rows(rows: list[Any], width: int) -> None:
    if set(map(type, rows)) - {list}:
        at = next(at for at, row in enumerate(rows) if type(row) is not list)
        raise _refused(f"row {at} is no array")
    if rows and set(map(len, rows)) != {width}:
        at = next(at for at, row in enumerate(rows) if len(row) != width)
        raise _refused(f"row {at} has {len(rows[at])} values, expected {width}")


def _check_lengths(columns: list[list[Any]], what: str) -> None:
    if len(set(map(len, columns))) > 1:
        at = next(at for at, column in enumerate(columns) if len(column) != len(columns[0]))
        raise _refused(f"{what} {at} has {len(columns[at])} values, the first one {len(columns[0])}")


def _labels(names: list[str]) -> list[Any]:
    """Index labels, which JSON has as text only: integers if all of them are."""
    return [int(name) for name in names] if all([_INTEGER.fullmatch(name) for name in names]) else names


def _check_index(labels: Any, length: int) -> None:
    if (
        type(labels) is not list
        or len(labels) != length
        or not set(map(type, labels)) <= {str, int, float}
        or any([type(label) is int and not -(2**63) <= label < 2**63 for label in labels])
    ):
        raise _refused('"index" must be an array of one number or text for each row of "data"')


# -- the frame ---------------------------------------------------------------------------------------------------------


def _frame(pd: Any, np: Any, names: Sequence[Any], rows: Rows, index: list[Any] | None) -> pd.DataFrame:
    kinds = set(map(type, chain.from_iterable(rows)))
    if len(kinds) == 1 and kinds <= {float, int}:
        # One type throughout, which is what models want, is one block of memory.
        dtype = np.float64 if kinds == {float} else np.int64
        try:
            block = np.fromiter(chain.from_iterable(rows), dtype, len(rows) * len(names))
            return pd.DataFrame(block.reshape(len(rows), len(names)), columns=_columns(names), index=_index(pd, index))
        except OverflowError:
            pass  # by columns, whose error says which
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(names)
    return _frame_of_columns(pd, np, names, columns, index, len(rows))


def _frame_of_columns(
    pd: Any, np: Any, names: Sequence[Any], columns: Rows, index: list[Any] | None, length: int
) -> pd.DataFrame:
    data = {at: column_of(np, column, name) for at, (name, column) in enumerate(zip(names, columns, strict=True))}
    frame = pd.DataFrame(data, index=pd.RangeIndex(length))
    frame.columns = pd.Index(_columns(names)) if len(names) else pd.Index([], dtype=object)
    if index is not None:
        frame.index = _index(pd, index)
    return frame


def _columns(names: Sequence[Any]) -> Any:
    return names if isinstance(names, range) else list(names)


def _index(pd: Any, labels: list[Any] | None) -> Any:
    if labels is None or labels == list(range(len(labels))):
        return None if labels is None else pd.RangeIndex(len(labels))
    return pd.Index(labels)


def _refused(reason: str) -> BadInput:
    return BadInput(reason)
