"""Cells of one column: from values of JSON to an array, and from a column to values of JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from bentoml.exceptions import BadInput
from bentoml.io._json_body import shortened

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["column_of", "encode", "json_values"]

#: Integers up to it are floats without loss, and a null among them may be NaN.
_MAX_EXACT_INTEGER = 2**53

_NUMBERS = {int, float}


def column_of(np: Any, values: Sequence[Any], name: Any) -> Any:
    """The values of one column in the narrowest type that holds them all; text as a list, whose dtype pandas knows.

    Raises:
        BadInput: an integer is beyond 64 bits, or beyond a double among floats.
    """
    kinds = set(map(type, values))
    if kinds == {float}:
        return np.fromiter(values, np.float64, len(values))
    if kinds == {bool}:
        return np.fromiter(values, np.bool_, len(values))
    if not kinds & {dict, list} and str in kinds and kinds <= {str, type(None)}:
        return list(values)
    if int in kinds:
        _check_integers(values, name, is_float=float in kinds and kinds <= {*_NUMBERS, type(None)})
    if kinds == {int}:
        return _integers(np, values, name)
    numeric = kinds & _NUMBERS and kinds <= {*_NUMBERS, type(None)}
    if numeric and (float in kinds or all([each is None or abs(each) <= _MAX_EXACT_INTEGER for each in values])):
        return np.fromiter((np.nan if each is None else each for each in values), np.float64, len(values))
    objects = np.empty(len(values), dtype=object)
    for at, each in enumerate(values):  # at once, NumPy would look into lists
        objects[at] = each
    return objects


def _integers(np: Any, values: Sequence[int], name: Any) -> Any:
    try:
        return np.fromiter(values, np.int64, len(values))
    except OverflowError:
        pass
    try:
        return np.fromiter(values, np.uint64, len(values))
    except (OverflowError, ValueError):
        raise BadInput(f"the column {_shown(name)} has integers that no one type of 64 bits holds") from None


def _check_integers(values: Sequence[Any], name: Any, *, is_float: bool) -> None:
    low, high = (-(2**1023), 2**1023) if is_float else (-(2**63), 2**64 - 1)
    for at, each in enumerate(values):
        if type(each) is int and not low <= each <= high:
            what = "beyond the range of a double" if is_float else "of more than 64 bits"
            raise BadInput(f"row {at} of the column {_shown(name)} is an integer {what}")


def _shown(name: Any) -> str:
    return shortened(repr(name))


# -- writing -----------------------------------------------------------------------------------------------------------


def json_values(pd: Any, np: Any, column: pd.Series) -> list[Any]:
    """The cells as values that `encode` takes: null for what is missing, times in ISO 8601 in full precision."""
    dtype = column.dtype
    kind = getattr(dtype, "kind", "O")
    if isinstance(dtype, np.dtype) and kind in "biuf":
        return column.to_numpy().tolist()  # type: ignore[no-any-return]  # of a library whose types are not looked at
    if kind == "M":
        return _times(np, column)
    if kind == "m":
        return [None if each is pd.NaT else each.isoformat() for each in column]
    cells = column.astype(object).tolist()
    missing = column.isna().to_numpy()
    return (
        [None if is_missing else cell for cell, is_missing in zip(cells, missing, strict=True)]
        if missing.any()
        else cells
    )


def _times(np: Any, column: pd.Series) -> list[Any]:
    has_zone = getattr(column.dtype, "tz", None) is not None
    naive = column.dt.tz_convert("UTC").dt.tz_localize(None) if has_zone else column
    values = naive.to_numpy()
    suffix = "Z" if has_zone else ""
    return [None if each == "NaT" else f"{each}{suffix}" for each in np.datetime_as_string(values).tolist()]


def encode(value: Any) -> bytes:
    """The value as compact JSON; NaN and infinities, for which JSON has no words, as null.

    Raises:
        TypeError: a cell has no JSON form.
        ValueError, OverflowError, RecursionError: as above.
    """
    return _encode(value)


def _plain(cell: Any) -> Any:
    """A cell of a column of objects, in terms that msgspec knows.

    Raises:
        TypeError: it has no JSON form.
    """
    for form in ("isoformat", "tolist", "item"):
        if hasattr(cell, form):
            return getattr(cell, form)()
    raise TypeError(f"a cell of type {type(cell).__name__} has no JSON form")


_encode = msgspec.json.Encoder(enc_hook=_plain).encode
