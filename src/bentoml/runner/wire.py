"""Values as bytes between our own processes: msgpack for what is plain, raw buffers for arrays, pickle for the rest.

    value ──pack──► (plain tree, buffers) ──frame──► head, lengths, tree, buffers ──unframe──► value

An array is its bytes: neither side copies it, and the receiver uses it in the memory that it arrived in. A pickle
travels only where both ends are processes of one server: on a socket in a folder of mode 0700 whose peer has our uid.
Everything that is decoded is checked before memory is taken for it, whoever sent it.
"""

from __future__ import annotations

import functools
import re
import struct
from collections.abc import Sequence
from typing import Any

import msgspec

from bentoml._importing import loaded, require
from bentoml._pickling import dumps_oob, loads_oob
from bentoml.exceptions import BentoMLException

__all__ = ["HEAD", "FrameError", "frame", "frame_lengths", "pack", "unframe", "unpack"]

#: magic, version, number of buffers, length of the tree in bytes.
HEAD = struct.Struct("<4sHHQ")
MAGIC = b"mkwf"
VERSION = 1
#: One frame carries the calls of one turn of an event loop; each call has a few buffers.
MAX_BUFFERS = 65_535
#: The tree holds no arrays; text and small values only.
MAX_TREE_BYTES = 256 * 1024 * 1024
#: All buffers of one frame together.
MAX_FRAME_BYTES = 8 * 1024**3
#: Arrays begin at multiples of this, so that the receiver can use them where they lie.
#: Memory from the allocator is no better aligned.
ALIGNMENT_BYTES = 16
_PADDING = bytes(ALIGNMENT_BYTES)

#: More axes than any NumPy has: longer shapes are not even multiplied.
MAX_AXES = 64

#: Booleans, integers, floats, complex, bytes, text, times: whatever is its bytes. No objects, no structures.
_DTYPE_KINDS = frozenset("biufcSUmM")
_DTYPE = re.compile(r"[<>|=]?[biufcSUmM?][0-9]{0,9}(\[[0-9]{0,4}[a-zA-Zμ]{1,2}\])?")

#: Nested deeper, a value goes as a pickle: what one side encodes the other must be able to decode.
MAX_DEPTH = 32

#: The first item of a list in a tree; whatever is no list there is a plain value that stands for itself.
_ARRAY, _LIST, _TUPLE, _DICT, _PICKLE, _SCALAR = range(1, 7)
_SCALARS = frozenset({bool, float, bytes, type(None)})

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder()


class FrameError(BentoMLException):
    """Bytes that are no frame, or a frame that asks for more than it may."""


def pack(value: Any, buffers: list[Any], depth: int = 0) -> Any:
    """The value as a tree of plain values; its arrays are appended to `buffers` uncopied."""
    kind = type(value)
    if kind in _SCALARS or (kind is int and -(2**63) <= value < 2**63) or (kind is str and _has_utf8(value)):
        return value
    numpy = loaded("numpy")
    if numpy is not None:
        if kind is numpy.ndarray:
            if value.dtype.kind in _DTYPE_KINDS and value.dtype.itemsize:
                return _packed_array(_ARRAY, value, buffers)
        elif isinstance(value, numpy.generic) and value.dtype.kind in _DTYPE_KINDS and value.dtype.itemsize:
            return _packed_array(_SCALAR, numpy.asarray(value), buffers)
    if depth < MAX_DEPTH:
        if kind is list or kind is tuple:
            return [_LIST if kind is list else _TUPLE, [pack(item, buffers, depth + 1) for item in value]]
        if kind is dict and all(type(key) is str and _has_utf8(key) for key in value):
            return [_DICT, {key: pack(item, buffers, depth + 1) for key, item in value.items()}]
    pickled, out_of_band = dumps_oob(value)
    first = len(buffers)
    buffers.append(pickled)
    buffers.extend(out_of_band)
    return [_PICKLE, first, len(out_of_band)]


def _has_utf8(text: str) -> bool:
    """Whether it can be encoded: half a surrogate pair cannot."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _packed_array(tag: int, array: Any, buffers: list[Any]) -> list[Any]:
    dtype, shape = array.dtype, array.shape
    if not array.size:
        buffers.append(b"")
    else:
        if not array.flags.c_contiguous:
            array = array.copy("C")
        # Times have no buffer of their own in Python.
        buffers.append(array.reshape(-1).view("u1") if dtype.kind in "mM" else array)
    return [tag, dtype.str, shape, len(buffers) - 1]


def unpack(tree: Any, buffers: Sequence[memoryview], *, trusted: bool) -> Any:
    """The value that `pack` was given.

    Args:
        trusted: whether the sender is a process of this server; pickles of any other are refused.

    Raises:
        FrameError: the tree is none of ours, or does not fit its buffers.
    """
    try:
        return _unpack(tree, buffers, trusted)
    except FrameError:
        raise
    except (TypeError, ValueError, IndexError, KeyError, AttributeError, RecursionError, OverflowError) as error:
        raise FrameError(f"a value of the frame cannot be decoded: {error}") from error


def _unpack(tree: Any, buffers: Sequence[memoryview], trusted: bool) -> Any:
    if type(tree) is not list:
        if type(tree) is dict:
            raise FrameError("a map stands where a value was expected")
        return tree
    kind = tree[0]
    if kind == _ARRAY:
        return _array(tree[1], tree[2], _buffer(buffers, tree[3]))
    if kind == _LIST:
        return [_unpack(item, buffers, trusted) for item in tree[1]]
    if kind == _TUPLE:
        return tuple(_unpack(item, buffers, trusted) for item in tree[1])
    if kind == _DICT:
        return {key: _unpack(item, buffers, trusted) for key, item in tree[1].items()}
    if kind == _SCALAR:
        return _array(tree[1], tree[2], _buffer(buffers, tree[3]))[()]
    if kind == _PICKLE:
        if not trusted:
            raise FrameError("a pickle came from a peer that is not a process of this server")
        first, count = tree[1], tree[2]
        pickled = _buffer(buffers, first)
        return loads_oob(pickled, [_buffer(buffers, first + 1 + index) for index in range(count)])
    raise FrameError(f"unknown kind of value {kind!r}")


def _buffer(buffers: Sequence[memoryview], index: Any) -> memoryview:
    if type(index) is not int or not 0 <= index < len(buffers):
        raise FrameError(f"the frame has no buffer {index!r}")
    return buffers[index]


def _array(dtype_text: Any, shape: Any, buffer: memoryview) -> Any:
    dtype = _dtype(dtype_text)
    if len(shape) > MAX_AXES:
        raise FrameError("a shape is a list of at most 64 sizes")
    size = dtype.itemsize
    for length in shape:
        if type(length) is not int or length < 0:
            raise FrameError("a shape is a list of at most 64 sizes")
        size *= length
    if size != len(buffer):
        raise FrameError(f"{len(buffer)} bytes are not an array of dtype {dtype_text} and shape {shape}")
    numpy = loaded("numpy") or require("numpy", what="this service")
    return numpy.ndarray(shape, dtype, buffer)


@functools.lru_cache(256)
def _dtype(text: Any) -> Any:
    if not isinstance(text, str) or not _DTYPE.fullmatch(text):
        raise FrameError(f"the dtype {text!r} cannot be sent")
    dtype = require("numpy", what="this service").dtype(text)
    if not dtype.itemsize:
        raise FrameError(f"items of the dtype {text!r} have no bytes")
    return dtype


def frame(tree: Any, buffers: Sequence[Any]) -> list[Any]:
    """The parts of a frame, to be written one after the other: head with lengths, tree, padded buffers.

    Raises:
        FrameError: the frame would be larger than a receiver takes.
    """
    if len(buffers) > MAX_BUFFERS:
        raise FrameError(f"a frame may have {MAX_BUFFERS} buffers, this one has {len(buffers)}")
    body = _encoder.encode(tree)
    lengths = [len(buffer) if type(buffer) is bytes else buffer.nbytes for buffer in buffers]
    head = HEAD.pack(MAGIC, VERSION, len(buffers), len(body)) + struct.pack(f"<{len(lengths)}Q", *lengths)
    position = len(head) + len(body)
    if len(body) > MAX_TREE_BYTES or position + sum(lengths) > MAX_FRAME_BYTES:
        raise FrameError(f"a frame may have {MAX_FRAME_BYTES} bytes")
    parts: list[Any] = [head + body]
    for buffer, length in zip(buffers, lengths, strict=True):
        padding = -position % ALIGNMENT_BYTES
        if padding:
            parts.append(_PADDING[:padding])
        parts.append(buffer)
        position += padding + length
    return parts


def frame_lengths(head: bytes | memoryview) -> tuple[int, int]:
    """(bytes of buffer lengths, bytes of the tree) that follow a head.

    Raises:
        FrameError: these bytes are no head of ours.
    """
    if len(head) != HEAD.size:
        raise FrameError(f"a head has {HEAD.size} bytes, not {len(head)}")
    magic, version, count, tree_bytes = HEAD.unpack(head)
    if magic != MAGIC or version != VERSION:
        raise FrameError("the peer does not speak this protocol")
    if tree_bytes > MAX_TREE_BYTES:
        raise FrameError(f"the frame announces a tree of {tree_bytes} bytes; {MAX_TREE_BYTES} are allowed")
    return 8 * count, tree_bytes


def frame_size(head: bytes | memoryview, lengths: bytes | memoryview) -> int:
    """Bytes of a whole frame, from its head and its buffer lengths.

    Raises:
        FrameError: it is larger than a receiver takes.
    """
    lengths_bytes, tree_bytes = frame_lengths(head)
    position = HEAD.size + lengths_bytes + tree_bytes
    for length in struct.unpack(f"<{lengths_bytes // 8}Q", lengths):
        position += -position % ALIGNMENT_BYTES + length
        if position > MAX_FRAME_BYTES:
            raise FrameError(f"the frame announces more than {MAX_FRAME_BYTES} bytes")
    return position


def unframe(data: memoryview) -> tuple[Any, list[memoryview]]:
    """The tree and the buffers of one whole frame; the buffers are views into `data`.

    Raises:
        FrameError: the frame is not as long as it says, or does not decode.
    """
    lengths_bytes, tree_bytes = frame_lengths(data[: HEAD.size])
    position = HEAD.size + lengths_bytes
    if len(data) < position or frame_size(data[: HEAD.size], data[HEAD.size : position]) != len(data):
        raise FrameError("a frame is not as long as it says")
    lengths = struct.unpack(f"<{lengths_bytes // 8}Q", data[HEAD.size : position])
    try:
        tree = _decoder.decode(data[position : position + tree_bytes])
    except (msgspec.DecodeError, RecursionError, ValueError) as error:
        raise FrameError(f"the tree of a frame cannot be decoded: {error}") from error
    position += tree_bytes
    buffers = []
    for length in lengths:
        position += -position % ALIGNMENT_BYTES
        buffers.append(data[position : position + length])
        position += length
    return tree, buffers
