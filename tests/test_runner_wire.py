"""Values as bytes between our own processes: what comes back, and what is refused before memory is taken (T2, T3)."""

from __future__ import annotations

import contextlib
import datetime
import struct
import tracemalloc
from decimal import Decimal
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bentoml.runner import wire
from bentoml.runner.wire import FrameError, frame, frame_lengths, frame_size, pack, unframe, unpack


def there_and_back(value: Any) -> Any:
    buffers: list[Any] = []
    tree = pack(value, buffers)
    data = memoryview(bytearray(b"".join(frame(tree, buffers))))
    return unpack(*unframe(data), trusted=True)


def pickled_buffers(value: Any) -> int:
    """How much of a value travels as a pickle."""
    buffers: list[Any] = []
    tree = pack(value, buffers)
    return str(tree).count("[5, ")


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.lists(inner).map(tuple),
    max_leaves=20,
)


@settings(max_examples=100, deadline=None)
@given(PLAIN)
def test_plain_values_come_back_and_are_not_pickled(value: Any) -> None:
    back = there_and_back(value)
    assert back == value
    assert repr(back) == repr(value), "a tuple is no list, True is not 1"
    assert pickled_buffers(value) == 0


ARRAYS = hnp.arrays(
    dtype=hnp.scalar_dtypes() | hnp.byte_string_dtypes(min_len=1) | hnp.unicode_string_dtypes(min_len=1),
    shape=hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
)


@settings(max_examples=200, deadline=None)
@given(ARRAYS)
def test_arrays_come_back_and_are_not_pickled(array: np.ndarray) -> None:
    back = there_and_back(array)
    assert (back.dtype, back.shape) == (array.dtype, array.shape)
    assert back.tobytes() == array.tobytes()
    assert pickled_buffers(array) == 0
    assert back.flags.writeable
    if array.size:
        scalar = array.reshape(-1)[0]
        assert repr(there_and_back(scalar)) == repr(scalar)


@pytest.mark.parametrize(
    "array",
    [
        np.asfortranarray(np.arange(6).reshape(2, 3)),
        np.arange(20)[::3],
        np.arange(6, dtype=">i4").reshape(2, 3),
        np.array(5.0),
        np.zeros((3, 0, 2)),
        np.array(["2020-01-01"], dtype="datetime64[ns]"),
        np.array([1, 2], dtype="timedelta64[ms]"),
        np.arange(4, dtype=np.float16),
        np.arange(4, dtype=np.longdouble),
        np.array([1 + 2j]),
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
def test_arrays_of_every_layout_and_type_come_back(array: np.ndarray) -> None:
    back = there_and_back({"a": [array]})["a"][0]
    np.testing.assert_array_equal(back, array)
    assert back.dtype == array.dtype
    assert pickled_buffers(array) == 0


class Point(msgspec.Struct):
    x: int


@pytest.mark.parametrize(
    "value",
    [
        2**70,
        {1: "a", (2,): "b"},
        {"a": {1, 2}},
        datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc),
        Decimal("1.5"),
        Point(3),
        np.array([1, "a", None], dtype=object),
        np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]),
        np.array([b"ab"], dtype="V2"),
        type("Text", (str,), {"__reduce__": lambda self: (str, (str(self),))})("sub"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_not_plain_travels_as_a_pickle(value: Any) -> None:
    assert pickled_buffers(value) == 1
    back = there_and_back(value)
    if isinstance(value, np.ndarray):
        np.testing.assert_array_equal(back, value)
    else:
        assert back == value


def test_a_data_frame_comes_back_with_its_index_and_types() -> None:
    frame_ = pd.DataFrame({"a": [1, 2], "b": ["x", None], "c": pd.Categorical(["u", "v"])}, index=[5, 7])
    pd.testing.assert_frame_equal(there_and_back(frame_), frame_)
    assert there_and_back((frame_, {"k": frame_["a"]}))[1]["k"].tolist() == [1, 2]


def test_the_bytes_of_an_array_are_not_copied() -> None:
    array = np.arange(1000.0)
    buffers: list[Any] = []
    tree = pack(array, buffers)
    assert np.shares_memory(np.frombuffer(buffers[0], dtype=np.float64), array)
    data = memoryview(bytearray(b"".join(frame(tree, buffers))))
    back = unpack(*unframe(data), trusted=True)
    assert np.shares_memory(back, np.frombuffer(data, dtype=np.uint8))
    assert back.ctypes.data % 8 == 0


def test_a_pickle_of_a_stranger_is_refused() -> None:
    """T2."""
    buffers: list[Any] = []
    tree = pack({1}, buffers)
    with pytest.raises(FrameError, match="a pickle came from a peer that is not a process of this server"):
        unpack(tree, [memoryview(bytes(buffer)) for buffer in buffers], trusted=False)


# Frames that lie


def encoded(tree: Any, *buffers: bytes) -> bytes:
    return b"".join(frame(tree, buffers))


@pytest.mark.parametrize(
    ("tree", "said"),
    [
        ([9, 1], "unknown kind of value 9"),
        ([], "cannot be decoded"),
        ({"a": 1}, "a map stands where a value was expected"),
        ([0], "unknown kind of value 0"),
        ([1, "<f8", [1], 1], "the frame has no buffer 1"),
        ([1, "<f8", [1], -1], "the frame has no buffer -1"),
        ([1, "<f8", [1], True], "the frame has no buffer True"),
        ([1, "<f8", [1], "0"], "the frame has no buffer '0'"),
        ([1, "|O", [1], 0], r"the dtype '\|O' cannot be sent"),
        ([1, "O", [1], 0], "the dtype 'O' cannot be sent"),
        ([1, "i4,O", [1], 0], "the dtype 'i4,O' cannot be sent"),
        ([1, "V8", [1], 0], "the dtype 'V8' cannot be sent"),
        ([1, ["f8"], [1], 0], "cannot be decoded"),
        ([1, 8, [1], 0], "the dtype 8 cannot be sent"),
        ([1, "<U0", [1], 0], "items of the dtype '<U0' have no bytes"),
        ([1, "<f8", [2], 0], r"8 bytes are not an array of dtype <f8 and shape \[2\]"),
        ([1, "<f8", [-1], 0], "a shape is a list of at most 64 sizes"),
        ([1, "<f8", [-1, -1], 0], "a shape is a list of at most 64 sizes"),
        ([1, "<f8", [1.0], 0], "a shape is a list of at most 64 sizes"),
        ([1, "<f8", [True], 0], "a shape is a list of at most 64 sizes"),
        ([1, "<f8", [2**40, 2**40], 0], "8 bytes are not an array"),
        ([1, "<f8", [2**62, 4], 0], "8 bytes are not an array"),
        ([1, "<f8", [2**62] * 100_000, 0], "a shape is a list of at most 64 sizes"),
        ([1, "<f8", 1, 0], "cannot be decoded"),
        ([1, "<U999999999", [1], 0], "cannot be decoded"),
        ([1, "<i3", [1], 0], "cannot be decoded"),
        ([6, "<f8", [2], 0], "8 bytes are not an array"),
        ([4, [1]], "cannot be decoded"),
        ([2, 5], "cannot be decoded"),
        ([5, 0, 7], "the frame has no buffer 1"),
        ([5, 3, 0], "the frame has no buffer 3"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_tree_that_does_not_fit_is_refused(tree: Any, said: str) -> None:
    data = memoryview(bytearray(encoded(tree, bytes(8))))
    with pytest.raises(FrameError, match=said):
        unpack(*unframe(data), trusted=True)


def test_a_tree_nested_too_deeply_is_refused() -> None:
    body = b"\x91" * 100_000 + b"\x90"
    head = wire.HEAD.pack(wire.MAGIC, wire.VERSION, 0, len(body))
    with pytest.raises(FrameError, match="the tree of a frame cannot be decoded"):
        unframe(memoryview(head + body))


HEADS = [
    (b"", "a head has 16 bytes, not 0"),
    (b"mkwf", "a head has 16 bytes, not 4"),
    (wire.HEAD.pack(b"HTTP", 1, 0, 1), "the peer does not speak this protocol"),
    (wire.HEAD.pack(wire.MAGIC, 2, 0, 1), "the peer does not speak this protocol"),
    (wire.HEAD.pack(wire.MAGIC, 1, 0, 2**63), "the frame announces a tree of 9223372036854775808 bytes"),
    (wire.HEAD.pack(wire.MAGIC, 1, 0, wire.MAX_TREE_BYTES + 1), "the frame announces a tree of"),
]


@pytest.mark.parametrize(("head", "said"), HEADS, ids=lambda value: repr(value)[:20])
def test_a_head_that_is_none_is_refused(head: bytes, said: str) -> None:
    with pytest.raises(FrameError, match=said):
        frame_lengths(head)


@pytest.mark.parametrize("lengths", [[2**64 - 1], [2**63, 2**63], [wire.MAX_FRAME_BYTES], [1] * 5 + [2**40]])
def test_lengths_beyond_all_measure_are_refused_before_memory_is_taken(lengths: list[int]) -> None:
    """T3."""
    head = wire.HEAD.pack(wire.MAGIC, wire.VERSION, len(lengths), 1)
    tracemalloc.start()
    with pytest.raises(FrameError, match="the frame announces more than"):
        frame_size(head, struct.pack(f"<{len(lengths)}Q", *lengths))
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 100_000


@pytest.mark.parametrize("cut", [1, 8, 15, 16, 17, 24, 40, -1])
def test_a_frame_that_is_cut_short_is_refused(cut: int) -> None:
    data = encoded([1, "<f8", [2], 0], bytes(16))
    with pytest.raises(FrameError):
        unframe(memoryview(data[:cut]))
    with pytest.raises(FrameError):
        unframe(memoryview(data + b"x"))


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200) | st.binary(max_size=100).map(lambda tail: wire.MAGIC + b"\1\0" + tail))
def test_no_bytes_do_more_than_be_refused(data: bytes) -> None:
    with contextlib.suppress(FrameError):
        unpack(*unframe(memoryview(bytearray(data))), trusted=False)


@settings(max_examples=150, deadline=None)
@given(PLAIN | ARRAYS, st.data())
def test_a_frame_with_one_wrong_byte_is_refused_or_understood(value: Any, data: st.DataObject) -> None:
    buffers: list[Any] = []
    raw = bytearray(b"".join(frame(pack(value, buffers), buffers)))
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(FrameError):
        unpack(*unframe(memoryview(raw)), trusted=False)


TREES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 2**63 - 1)
    | st.floats()
    | st.sampled_from(["<f8", "|O", "<U5", "a", ""]),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=20,
)


@settings(max_examples=200, deadline=None)
@given(st.tuples(st.integers(0, 7), TREES, TREES, TREES).map(list) | TREES)
def test_no_tree_does_more_than_be_refused(tree: Any) -> None:
    with contextlib.suppress(FrameError):
        unpack(tree, [memoryview(bytearray(8)), memoryview(bytearray())], trusted=False)


def test_more_buffers_than_a_head_can_count_are_refused() -> None:
    with pytest.raises(FrameError, match="a frame may have 65535 buffers, this one has 65536"):
        frame([], [b""] * 65_536)
