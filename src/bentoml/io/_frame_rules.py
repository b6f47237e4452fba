"""The rules on columns, dtype and shape, for frames and series, on their way in and out.

A broken rule is a `BadInput` here; the descriptor says whose it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bentoml.exceptions import BadInput, InvalidArgument, UnprocessableEntity
from bentoml.io._json_body import shortened
from bentoml.io._ndarray import as_dtype

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "cell_schema",
    "check_shape",
    "checked_shape",
    "column_with_dtype",
    "dtype_name",
    "dtype_of",
    "with_columns",
    "with_dtypes",
]

#: Kinds of dtype whose cells JSON and Arrow can carry.
_KINDS = "biufOMmU"

_NUMERIC = "biuf"

_SCHEMAS: dict[str, dict[str, Any]] = {
    "b": {"type": "boolean"},
    "i": {"type": "integer"},
    "u": {"type": "integer"},
    "f": {"type": ["number", "null"]},
    "M": {"type": ["string", "null"], "format": "date-time"},
    "m": {"type": ["string", "null"], "format": "duration"},
}


# -- what is declared --------------------------------------------------------------------------------------------------


def dtype_of(pd: Any, given: Any, what: str) -> Any:
    """The dtype that was named.

    Raises:
        UnprocessableEntity: pandas knows none of that name, or its cells cannot travel.
    """
    try:
        dtype = pd.api.types.pandas_dtype(given)
    except (TypeError, ValueError) as error:
        raise UnprocessableEntity(f"{what}: {shortened(repr(given))} is no dtype: {error}") from error
    if dtype.kind not in _KINDS or str(dtype).startswith(("period", "interval", "Sparse")):
        raise UnprocessableEntity(
            f"{what}: columns of dtype {str(dtype)!r} cannot travel",
            hint="use booleans, integers, floats, 'str', 'category', datetime64[ns] or object",
        )
    return dtype


def dtype_name(dtype: Any) -> str:
    """The name under which `dtype_of` finds it."""
    return "str" if dtype.kind == "U" else str(dtype)


def checked_shape(given: Any, what: str, *, axes: int) -> tuple[int, ...] | None:
    """The shape as a tuple; -1 stands for any size.

    Raises:
        InvalidArgument: it is none, or has more axes than the value.
    """
    if given is None:
        return None
    sizes = (given,) if isinstance(given, int) else tuple(given)
    if not 1 <= len(sizes) <= axes or any(isinstance(s, bool) or not hasattr(s, "__index__") or s < -1 for s in sizes):
        expected = "(rows, columns)" if axes == 2 else "(rows,)"
        raise InvalidArgument(f"{what}: a shape is {expected}, -1 for any size, not {given!r}")
    return tuple(int(size) for size in sizes)


def cell_schema(dtype: Any) -> dict[str, Any]:
    """The JSON Schema of one cell of a column, anything for columns of objects."""
    if dtype is None or str(dtype) in ("object", "category"):
        return {}
    if dtype.kind in "OU":
        return {"type": ["string", "null"]}
    schema = dict(_SCHEMAS[dtype.kind])
    # The dtypes of pandas' own have room for what is missing.
    if dtype.kind in "biu" and hasattr(dtype, "na_value"):
        schema["type"] = [schema["type"], "null"]
    return schema


# -- what is kept ------------------------------------------------------------------------------------------------------


def with_columns(frame: pd.DataFrame, columns: Sequence[Any]) -> pd.DataFrame:
    """The frame with these columns: put in order where it has them all, else renamed by position."""
    have = list(frame.columns)
    if len(have) != len(columns):
        raise BadInput(f"expected {len(columns)} columns, and {len(have)} were received")
    if have == columns:
        return frame
    if set(have) == set(columns):
        return frame[columns]
    return frame.set_axis(columns, axis="columns")


def check_shape(shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    """Refuse another number of rows or columns; -1 is any, and an axis that is not spoken of may be anything."""
    if any(e not in (-1, n) for e, n in zip(expected, shape, strict=False)):
        raise BadInput(f'Expecting shape "{expected}", but "{shape}" was received.')


def with_dtypes(pd: Any, np: Any, frame: pd.DataFrame, dtype: Any, *, enforced: bool) -> pd.DataFrame:
    """The frame with columns of these dtypes, where that loses nothing.

    Args:
        dtype: one for all columns, or by name.
        enforced: whether cells that the dtype cannot hold are refused, and columns that are missing; they stay as they
            are otherwise.
    """
    by_name = isinstance(dtype, Mapping)
    if by_name and enforced and (missing := [name for name in dtype if name not in frame.columns]):
        raise BadInput(f"the column {shortened(repr(missing[0]))} is missing")
    have = list(frame.dtypes)
    wanted = [dtype.get(name) for name in frame.columns] if by_name else [dtype] * len(have)
    if all(new is None or old == new for old, new in zip(have, wanted, strict=True)):
        return frame
    block = _whole_block(np, frame, have, wanted)
    if block is not None:
        return pd.DataFrame(block, index=frame.index, columns=frame.columns)
    frame = frame.copy(deep=False)
    for at, (old, new) in enumerate(zip(have, wanted, strict=True)):
        if new is not None and old != new:
            name = f" of the column {shortened(repr(frame.columns[at]))}"
            column = column_with_dtype(pd, np, frame.iloc[:, at], new, enforced=enforced, name=name)
            frame.isetitem(at, column)
    return frame


def column_with_dtype(pd: Any, np: Any, column: pd.Series, dtype: Any, *, enforced: bool, name: str) -> pd.Series:
    """The column in the dtype where that loses nothing; otherwise as it is, or refused with its first misfit.

    Args:
        name: what follows "row 3" in the message.
    """
    if column.dtype == dtype:
        return column
    converted = _converted(pd, np, column, dtype)
    if converted is not None:
        return converted
    if not enforced:
        return column
    low, high = 0, len(column) - 1
    while low < high:  # the shortest beginning that does not fit ends with the first misfit
        middle = (low + high) // 2
        if _converted(pd, np, column.iloc[low : middle + 1], dtype) is None:
            high = middle
        else:
            low = middle + 1
    raise BadInput(f'row {low}{name} is not of dtype "{dtype_name(dtype)}"')


def _whole_block(np: Any, frame: pd.DataFrame, have: list[Any], wanted: list[Any]) -> Any:
    """All cells in one new array where old and new dtypes are one each, and of numbers; None otherwise."""
    old: Any = have[0] if have else None
    new: Any = wanted[0] if wanted else None
    if not (_is_numeric(np, old) and _is_numeric(np, new)):
        return None
    # NumPy takes None for float64 where it compares dtypes.
    if any(each != old for each in have) or any(each is None or each != new for each in wanted):
        return None
    return as_dtype(np, frame.to_numpy(), new)


def _is_numeric(np: Any, dtype: Any) -> bool:
    return isinstance(dtype, np.dtype) and dtype.kind in _NUMERIC


def _converted(pd: Any, np: Any, column: pd.Series, dtype: Any) -> pd.Series | None:
    """The column in another dtype, None where a cell would become another one; floats may be rounded."""
    try:
        if _is_numeric(np, column.dtype) and _is_numeric(np, dtype):
            values = as_dtype(np, column.to_numpy(), dtype)
            return None if values is None else pd.Series(values, index=column.index, name=column.name)
        return _cast(pd, np, column, dtype)
    except (TypeError, ValueError, OverflowError, NotImplementedError):
        return None


def _cast(pd: Any, np: Any, column: pd.Series, dtype: Any) -> pd.Series | None:
    """As `_converted`, for text, times, categories, objects, and the dtypes with room for what is missing."""
    if str(dtype) in ("object", "category"):
        return column.astype(dtype)
    missing = column.isna()
    kinds = _kinds(column[~missing])
    if dtype.kind in "OU":
        if not kinds <= {str, int, float, bool} and column.dtype.kind not in "Mm":
            return None
        text = column.astype(dtype)
        return text.mask(missing) if missing.any() else text
    if dtype.kind in "Mm" and kinds <= {str} and column.dtype.kind != dtype.kind:
        column = _times(pd, column, dtype)
    if dtype.kind in "Mm":
        if column.dtype.kind != dtype.kind:
            return column.astype(dtype) if missing.all() else None
        times = column.astype(dtype)
        return times if (times[~missing] == column[~missing]).all() else None
    # Numbers and booleans: text is never read as one of them, nor is a boolean among objects a number.
    allowed = {bool} if dtype.kind == "b" else {int, float}
    if not kinds <= allowed and column.dtype.kind not in _NUMERIC:
        return None
    if missing.any() and isinstance(dtype, np.dtype) and dtype.kind in "biu":
        return None
    present = column[~missing].to_numpy(dtype=None if column.dtype.kind in _NUMERIC else np.dtype(_narrowest(kinds)))
    plain = dtype if isinstance(dtype, np.dtype) else np.dtype(getattr(dtype, "numpy_dtype", object))
    if len(present) and as_dtype(np, present, plain) is None:
        return None
    return column.astype(dtype)


def _kinds(column: pd.Series) -> set[type]:
    """The Python types of its cells."""
    kind = column.dtype.kind
    return set(map(type, column.tolist())) if kind in "OU" else {float} if kind in _NUMERIC else {object}


def _narrowest(kinds: set[type]) -> str:
    return "bool" if kinds == {bool} else "int64" if kinds == {int} else "float64"


def _times(pd: Any, column: pd.Series, dtype: Any) -> Any:
    if dtype.kind == "m":
        return pd.to_timedelta(column)
    return pd.to_datetime(column, format="ISO8601", utc=True if getattr(dtype, "tz", None) is not None else None)
