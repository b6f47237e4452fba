"""read_array() and as_dtype(): from parsed JSON to an array of the same elements, or the reason why not."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

from bentoml.exceptions import BadInput
from bentoml.io._json_body import shortened

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

__all__ = ["as_dtype", "read_array"]

#: Kinds of dtype, "" for any, whose arrays may hold text.
_TEXT_KINDS = ("", "U")

_EXPECTED = {"": "a number or text", "U": "text", "f": "a number or null", "b": "a boolean"}

#: Every element of a text array is as wide as the longest one, so that a small body could ask for terabytes.
_MAX_TEXT_ARRAY_BYTES = 64 * 1024 * 1024

#: Axes of an array: all that NumPy 1 has, and all that many functions of NumPy 2 take.
_MAX_AXES = 32

#: Elements that are looked at to say which one is wrong; the search must not cost more than the request.
_MAX_SEARCHED = 100_000


def read_array(np: Any, value: Any, body: bytes, kind: str) -> Array:
    """The array that a parsed body stands for, in a dtype that holds its elements; not yet in the wanted one.

    Args:
        value: what `parse(body)` returned.
        kind: `numpy.dtype.kind` of the wanted dtype, `""` for any. It decides whether text is welcome, and
            whether null is (as NaN, among floats).

    Raises:
        BadInput: the elements are no numbers, booleans or text, or the rows differ in length.
    """
    try:
        if kind == "U" or b'"' in body:  # without a quote there is no text
            return _read_text(np, value, kind)
        array: Array = np.array(value, dtype=np.float64 if kind == "f" else None)
    except (TypeError, ValueError, OverflowError):
        raise _malformed(value, kind) from None
    if array.dtype.kind == "O" or array.ndim > _MAX_AXES:
        raise _malformed(value, kind)
    return array


def as_dtype(np: Any, array: Array, dtype: np.dtype[Any]) -> Array | None:
    """The array in another dtype, None where an element would become another one; floats may be rounded."""
    if np.can_cast(array.dtype, dtype, "safe"):
        return array.astype(dtype)
    with np.errstate(all="ignore"):
        converted: Array = array.astype(dtype)
        if dtype.kind in "fc":
            infinite = np.isinf(converted)
            if not infinite.any():
                return converted
            kept = infinite == np.isinf(array)
        else:
            kept = converted == array
        if array.dtype.kind == "f" and dtype.kind in "iu":
            # A float just beyond the integers may be clipped to the largest one, and then compares equal.
            kept &= array < float(np.iinfo(dtype).max) + 1
    return converted if kept.all() else None


def _read_text(np: Any, value: Any, kind: str) -> Array:
    elements: Array = np.array(value, dtype=object)
    flat = elements.ravel().tolist()
    # NumPy would read the text "1" as a number.
    if kind not in _TEXT_KINDS or elements.ndim > _MAX_AXES or not set(map(type, flat)) <= {str, int, float, bool}:
        raise _malformed(value, kind)
    longest = max(map(len, map(str, flat)), default=0)
    if 4 * longest * len(flat) > _MAX_TEXT_ARRAY_BYTES:
        raise BadInput(
            f"NumpyNdarray: {len(flat)} elements, each as wide as the longest text of {longest} characters, "
            f"take more than {_MAX_TEXT_ARRAY_BYTES >> 20} MiB",
            hint="send long text to a descriptor of type JSON",
        )
    return elements.astype(str)


def _malformed(value: Any, kind: str) -> BadInput:
    """The error that names the first element of a wrong type; where there is none, it is the shape."""
    for place, element in islice(_walk(value), _MAX_SEARCHED):
        got = _fault(element, kind)
        if got:
            where, expected = shortened(place) or "the body", _EXPECTED.get(kind, "a number")
            return BadInput(f"NumpyNdarray: {where} is {got}, expected {expected}")
    return BadInput(f"NumpyNdarray: the rows of an axis differ in length, or there are more than {_MAX_AXES} axes")


def _fault(element: Any, kind: str) -> str:
    """What is wrong with one element, `""` if nothing is."""
    if isinstance(element, dict):
        return "an object"
    if element is None and kind != "f":
        return "null"
    if isinstance(element, str) and kind not in _TEXT_KINDS:
        return "text"
    if isinstance(element, int) and kind == "f" and abs(element) > sys.float_info.max:
        return "an integer beyond the range of a double"
    if isinstance(element, int) and kind not in ("f", "U") and not -(2**63) <= element < 2**64:
        return "an integer of more than 64 bits"
    return ""


def _walk(value: Any) -> Iterator[tuple[str, Any]]:
    """Every list and element with its place, such as `[0][2]`, in the order of the document."""
    yield "", value
    stack = [("", enumerate(value))] if isinstance(value, list) else []
    while stack:
        outer, items = stack[-1]
        for index, item in items:
            place = f"{outer}[{index}]"
            yield place, item
            if isinstance(item, list):
                stack.append((place, enumerate(item)))
                break
        else:
            stack.pop()
