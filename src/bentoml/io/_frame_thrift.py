"""read_struct(): the compact protocol of Thrift, in which Parquet has its footer and the headers of its pages."""

from __future__ import annotations

from typing import Any

__all__ = ["read_struct"]

#: Structs and lists in each other; those of Parquet need half of it.
_MAX_DEPTH = 16

_STOP, _TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _STRUCT = 0, 1, 2, 3, 7, 8, 9, 10, 12
_INTEGERS = (4, 5, 6)


def read_struct(buffer: bytes, at: int, depth: int = 0) -> tuple[dict[int, Any], int]:
    """The fields by number of the struct at an offset, and where it ends; text and doubles are passed over, as None.

    Raises:
        ValueError: it is no struct, or a field occurs twice.
        IndexError: it goes on beyond the buffer.
    """
    fields: dict[int, Any] = {}
    number = 0
    while head := buffer[at]:
        at += 1
        if head >> 4:
            number += head >> 4
        else:
            number, at = _integer(buffer, at)
        kind = head & 0x0F
        if number in fields:  # of which readers may take the first or the last
            raise ValueError("a field occurs twice")
        if kind in (_TRUE, _FALSE):
            fields[number] = kind == _TRUE
        else:
            fields[number], at = _value(buffer, at, kind, depth)
    return fields, at + 1


def _value(buffer: bytes, at: int, kind: int, depth: int) -> tuple[Any, int]:
    if kind in _INTEGERS:
        byte = buffer[at]
        if byte < 0x80:
            return (byte >> 1) ^ -(byte & 1), at + 1
        return _integer(buffer, at)
    if kind == _BINARY:
        length, at = _varint(buffer, at)
        return None, at + length
    if kind in (_STRUCT, _LIST, _SET) and depth < _MAX_DEPTH:
        return read_struct(buffer, at, depth + 1) if kind == _STRUCT else _list(buffer, at, depth + 1)
    if kind in (_TRUE, _FALSE, _BYTE):
        return buffer[at], at + 1
    if kind == _DOUBLE:
        return None, at + 8
    raise ValueError("its metadata is malformed")


def _list(buffer: bytes, at: int, depth: int) -> tuple[list[Any], int]:
    head = buffer[at]
    at += 1
    length, kind = head >> 4, head & 0x0F
    if length == 15:
        length, at = _varint(buffer, at)
    items = []
    for _ in range(length):
        item, at = _value(buffer, at, kind, depth)
        items.append(item)
    return items, at


def _integer(buffer: bytes, at: int) -> tuple[int, int]:
    value, at = _varint(buffer, at)
    return (value >> 1) ^ -(value & 1), at


def _varint(buffer: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = buffer[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number is too long")
