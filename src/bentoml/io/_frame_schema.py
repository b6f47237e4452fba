"""frame_schema() and series_schema(): the JSON Schema of each orient, by the columns and dtypes that are declared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bentoml.io._frame_rules import cell_schema

__all__ = ["frame_schema", "series_schema"]


def frame_schema(orient: str, columns: Sequence[Any] | None, dtype: Any, *, required: bool) -> dict[str, Any]:
    """The schema of a frame.

    Args:
        dtype: None, a bool, one dtype, or dtypes by column.
        required: whether the columns that have a dtype must be there.
    """
    by_name = isinstance(dtype, Mapping)
    any_cell = cell_schema(None if by_name or isinstance(dtype, bool) else dtype)
    names = [str(name) for name in (columns or (dtype if by_name else ()))]
    cells = {name: cell_schema(dtype.get(name)) if by_name else any_cell for name in names}
    row: dict[str, Any] = {"type": "object", "properties": cells} if cells else _object_of(any_cell)
    if required and by_name:
        row["required"] = [str(name) for name in dtype]
    if orient == "records":
        return {"type": "array", "items": row}
    if orient == "index":
        return _object_of(row)
    if orient == "columns":
        if not cells:
            return _object_of(_object_of(any_cell))
        return {"type": "object", "properties": {name: _object_of(cell) for name, cell in cells.items()}}
    if orient == "table":
        return _named({"schema": {"type": "object"}, "data": {"type": "array", "items": row}})
    rows = {"type": "array", "items": {"type": "array", "items": any_cell}}
    if orient == "values":
        return rows
    label = {"type": ["string", "number"]}
    schema = _named({"columns": {"type": "array", "items": label}, "data": rows})
    schema["properties"]["index"] = {"type": "array", "items": label}
    return schema


def series_schema(orient: str, dtype: Any) -> dict[str, Any]:
    """The schema of a series."""
    cells = {"type": "array", "items": cell_schema(dtype)}
    if orient in ("records", "values"):
        return cells
    if orient == "index":
        return _object_of(cell_schema(dtype))
    schema = _named({"data": cells})
    schema["properties"] |= {"name": {}, "index": {"type": "array"}}
    return schema


def _object_of(member: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": member}


def _named(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}
