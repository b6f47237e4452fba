"""read_npy() and write_npy(): the file format of `numpy.save`, by a strict reader of our own that runs no code."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

from bentoml.exceptions import BadInput

if TYPE_CHECKING:
    from bentoml.io._ndarray import Array

__all__ = ["MEDIA_TYPES", "can_write_npy", "read_npy", "write_npy"]

#: The format has no registered name; the first is what clients commonly use, and what we answer with.
MEDIA_TYPES = (b"application/x-npy", b"application/npy")

_MAGIC = b"\x93NUMPY"

#: As NumPy's own limit on what it parses; headers of plain arrays have 118 bytes.
_MAX_HEADER_BYTES = 10_000

#: Axes of an array, as in JSON.
_MAX_AXES = 32

#: An array without elements takes no memory in the body, but its nested lists would.
_MAX_EMPTY_ROWS = 1_000_000

#: One entry of the header, which is the text of a Python dictionary. It is matched, never evaluated.
_ENTRY = re.compile(
    rb"\s*'(?:(?P<descr>descr)': '(?P<dtype>[<>|][a-zA-Z]\d{1,9})'"
    rb"|(?P<order>fortran_order)': (?P<fortran>True|False)"
    rb"|(?P<shape>shape)': \((?P<sizes>(?:\d{1,18}, ?)*(?:\d{1,18})?)\))\s*(?:,|(?=\}))"
)

#: Types of elements, and their sizes in bytes, that mean the same on every machine; of text, the size is free.
_ELEMENTS = {
    b"b": (1,), b"i": (1, 2, 4, 8), b"u": (1, 2, 4, 8), b"f": (2, 4, 8), b"c": (8, 16),
}  # fmt: skip


def read_npy(np: Any, body: bytes) -> Array:
    """The array in the body: in memory of its own, aligned, in native byte order, so that the function may write to it.

    One copy of the elements is all that it costs. Axes in Fortran order stay so.

    Raises:
        BadInput: it is no such file; its elements are no numbers, booleans or text; or it is longer or shorter than its
            header says. No memory is taken before the lengths agree.
    """
    offset, dtype_text, is_fortran, shape = _header(body)
    element, width = dtype_text[1:2], int(dtype_text[2:])
    is_text = element == b"U" and width > 0
    if not is_text and width not in _ELEMENTS.get(element, ()):
        raise _refused("its elements are no booleans, integers, floats, complex numbers or text of a fixed width")
    itemsize = 4 * width if is_text else width
    if dtype_text[:1] == b"|" and itemsize > 1:
        raise _refused("its elements have no byte order")
    if len(shape) > _MAX_AXES:
        raise _refused(f"it has more than {_MAX_AXES} axes")
    count = math.prod(shape)
    if count * itemsize != len(body) - offset:
        raise _refused(
            f"the header announces {count} elements of {itemsize} bytes, and {len(body) - offset} bytes follow"
        )
    if not count and math.prod(filter(None, shape)) > _MAX_EMPTY_ROWS:
        raise _refused(f"an array without elements has more than {_MAX_EMPTY_ROWS} rows")
    dtype = np.dtype(dtype_text.decode("ascii"))
    array: Array = np.frombuffer(body, dtype, count, offset).astype(dtype.newbyteorder("="))
    _check_elements(np, array)
    return array.reshape(shape, order="F" if is_fortran else "C")


def can_write_npy(array: Array) -> bool:
    """Whether its elements mean the same on every machine."""
    dtype = array.dtype
    sizes = _ELEMENTS.get(dtype.kind.encode(), ())
    return dtype.itemsize in sizes or (dtype.kind == "U" and dtype.itemsize > 0)


def write_npy(array: Array) -> bytes:
    """The array as a file of version 1.0, in C order; NaN and infinities as they are."""
    header = f"{{'descr': '{array.dtype.str}', 'fortran_order': False, 'shape': {array.shape}, }}".encode("ascii")
    # The elements begin at a multiple of 64, the last byte before them is a line break.
    header += b" " * (-(len(_MAGIC) + 4 + len(header) + 1) % 64) + b"\n"
    return b"".join((_MAGIC, b"\x01\x00", len(header).to_bytes(2, "little"), header, array.tobytes()))


def _header(body: bytes) -> tuple[int, bytes, bool, tuple[int, ...]]:
    """(where the elements begin, dtype, Fortran order?, shape)"""
    if body[:6] != _MAGIC or len(body) < 10 or body[6] not in (1, 2, 3) or body[7]:
        raise _refused("it does not begin as one of version 1, 2 or 3")
    start = 10 if body[6] == 1 else 12
    length = int.from_bytes(body[8:start], "little")
    if length > min(_MAX_HEADER_BYTES, len(body) - start):
        raise _refused("its header is longer than the body, or than 10,000 bytes")
    text = body[start : start + length].strip()
    found: dict[str, bytes] = {}
    at = 1
    while text[:1] == b"{" and (entry := _ENTRY.match(text, at)):
        found |= {name: value for name, value in entry.groupdict().items() if value is not None}
        at = entry.end()
        if len(found) == 6:
            break
    if len(found) != 6 or text[at:].strip() != b"}":
        raise _refused("its header is not that of one plain array")
    shape = tuple(int(size) for size in found["sizes"].split(b",") if size.strip())
    return start + length, found["dtype"], found["fortran"] == b"True", shape


def _check_elements(np: Any, array: Array) -> None:
    """Refuse bytes that are no element: NumPy takes them, and whoever reads the array fails later."""
    if array.dtype.kind == "b" and array.size and array.view(np.uint8).max() > 1:
        raise _refused("a boolean is neither 0 nor 1")
    if array.dtype.kind == "U" and array.size:
        points = array.view(np.uint32)
        if ((points > 0x10FFFF) | ((points >= 0xD800) & (points <= 0xDFFF))).any():
            raise _refused("its text is no Unicode")


def _refused(reason: str) -> BadInput:
    return BadInput(f"NumpyNdarray: no .npy file of a plain array: {reason}")
