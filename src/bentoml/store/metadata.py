"""Labels and metadata: what a user may attach to an item, brought into the form that a YAML file can hold."""

from __future__ import annotations

import datetime
import enum
import logging
from collections.abc import Callable, Mapping
from typing import Any

from bentoml._importing import loaded

__all__ = ["normalised_labels", "normalised_metadata"]

logger = logging.getLogger(__name__)

#: What a subclass (of a user, of NumPy) becomes: the writer of YAML knows the exact types only.
_PLAIN: dict[type, Callable[[Any], Any]] = {
    bool: bool,
    int: int,
    float: float,
    complex: complex,
    str: str.__str__,
    bytes: bytes,
}
_TIMES = (datetime.datetime, datetime.date, datetime.time, datetime.timedelta)


def normalised_labels(labels: Mapping[str, Any] | None) -> dict[str, str]:
    """Labels as text to text; a value that is no string is turned into one, with a warning.

    Raises:
        ValueError: `labels` is no mapping, or a key is no string.
    """
    if labels is None:
        return {}
    if not isinstance(labels, Mapping):
        raise ValueError(f"labels must be a mapping of str to str, not {type(labels).__name__}")
    clean: dict[str, str] = {}
    for key, value in labels.items():
        if not isinstance(key, str):
            raise ValueError(f"the key {key!r} of labels must be a str, not {type(key).__name__}")
        if not isinstance(value, str):
            logger.warning(
                "the label %r has the value %r, which is no string; it is stored as %r",
                key,
                value,
                str(value),
            )
        clean[key] = str(value)
    return clean


def normalised_metadata(metadata: Mapping[Any, Any] | None) -> dict[Any, Any]:
    """A copy of `metadata` in plain Python values.

    Leaves may be str, bytes, bool, int, float, complex, datetime, date, time and timedelta; containers dict (keys str,
    int or float), list and tuple. NumPy arrays become lists and NumPy scalars numbers; a Series becomes
    `{name: {index: value}}` and a DataFrame `{column: {index: value}}`, an unnamed Series takes the name 0 as in
    pandas; Timestamp, Timedelta, Period and Interval become datetime, timedelta, datetime and `(left, right)`.

    Raises:
        ValueError: a value has another type (None and sparse matrices included); names the place and the type.
    """
    if metadata is None:
        return {}
    if not isinstance(metadata, Mapping):
        raise ValueError(f"metadata must be a mapping, not {type(metadata).__name__}")
    try:
        clean = _plain(dict(metadata), "metadata")
    except RecursionError:
        raise ValueError("metadata is nested too deeply, or contains itself") from None
    assert isinstance(clean, dict)
    return clean


def _plain(value: Any, where: str) -> Any:
    value = _without_numpy(_without_pandas(value))
    if isinstance(value, enum.Enum):
        value = value.value
    if isinstance(value, Mapping):
        return {_plain_key(key, where): _plain(item, f"{where}[{key!r}]") for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        items = [_plain(item, f"{where}[{index}]") for index, item in enumerate(value)]
        return items if isinstance(value, list) else tuple(items)
    if type(value) in _TIMES:
        return value
    for kind, convert in _PLAIN.items():
        if isinstance(value, kind):
            return convert(value)
    raise ValueError(
        f"{where} has the type {type(value).__module__}.{type(value).__qualname__}, which metadata cannot hold; "
        "allowed are str, bytes, bool, int, float, complex, date and time types, dict, list, tuple, "
        "and the arrays and scalars of NumPy and pandas"
    )


def _plain_key(key: Any, where: str) -> str | int | float:
    plain = _without_numpy(key)
    for kind, convert in _PLAIN.items():
        if isinstance(plain, kind) and kind in (bool, int, float, str):
            clean: str | int | float = convert(plain)
            return clean
    raise ValueError(f"the key {key!r} in {where} must be a str, int or float, not {type(key).__name__}")


def _without_numpy(value: Any) -> Any:
    numpy = loaded("numpy")
    if numpy is not None:
        if isinstance(value, numpy.ndarray):
            return value.tolist()
        if isinstance(value, numpy.generic):
            return value.item()
    return value


def _without_pandas(value: Any) -> Any:
    pandas = loaded("pandas")
    if pandas is None or value is pandas.NaT:
        return value
    if isinstance(value, pandas.Series):
        return {0 if value.name is None else value.name: value.to_dict()}
    if isinstance(value, pandas.DataFrame):
        return value.to_dict()
    if isinstance(value, pandas.api.extensions.ExtensionArray):
        return list(value)
    if isinstance(value, pandas.Timestamp):
        return value.to_pydatetime(warn=False)
    if isinstance(value, pandas.Timedelta):
        return value.to_pytimedelta()
    if isinstance(value, pandas.Period):
        return value.to_timestamp().to_pydatetime(warn=False)
    if isinstance(value, pandas.Interval):
        return (value.left, value.right)
    return value
