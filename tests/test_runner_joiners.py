"""Joiners: what may be joined with what, for every type of value, and that parts are what went in."""

from __future__ import annotations

import enum
import sys
import types
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bentoml.runner.joiners import joiner_of
from bentoml.runner.joining import joined, measure


class Color(enum.Enum):
    RED = 1
    BLUE = 2


def key(value: Any, axis: int = 0) -> Any:
    return measure((value,), {}, axis)[1]


def may_join(one: Any, other: Any, axis: int = 0) -> bool:
    first, second = key(one, axis=axis), key(other, axis=axis)
    return first is not None and first == second and hash(first) == hash(second)


# -- what may be joined -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (np.zeros((1, 3)), np.ones((7, 3))),
        (np.zeros(1), np.zeros(2)),
        (np.array([("a", 1)], "U1,i4"), np.array([("b", 2), ("c", 3)], "U1,i4")),
        (np.array([None, "x"], object), np.array([1.5], object)),
        (np.zeros((2, 3), order="F"), np.zeros((1, 3), order="C")),
        (pd.DataFrame({"a": [1], "b": ["x"]}), pd.DataFrame({"a": [2, 3], "b": ["y", "z"]})),
        (pd.Series([1], name="a"), pd.Series([2, 3], name="a")),
        (sp.csr_matrix((1, 3)), sp.csr_matrix((2, 3))),
        (["a"], ["b", "c"]),
        ([{"a": 1}], [{"a": 2}, {"a": 3}]),
        ([[1, 2.0]], [[3, 4.0]]),
        ([np.zeros(3)], [np.zeros(5)]),
        ([Color.RED], [Color.BLUE]),
    ],
)
def test_values_that_differ_only_in_their_rows_may_be_joined(one: Any, other: Any) -> None:
    assert may_join(one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param(np.zeros((1, 3)), np.zeros((1, 3), "f4"), id="dtype"),
        pytest.param(np.zeros((1, 3)), np.zeros((1, 3), ">f8"), id="byte order"),
        pytest.param(np.zeros((1, 3), "i8"), np.zeros((1, 3), "?"), id="int and bool"),
        pytest.param(np.array(["ab"]), np.array(["abc"]), id="length of text"),
        pytest.param(np.zeros(1, "M8[s]"), np.zeros(1, "M8[D]"), id="unit of time"),
        pytest.param(np.zeros((1, 3)), np.zeros((1, 4)), id="columns"),
        pytest.param(np.zeros((1, 3)), np.zeros((1, 3, 1)), id="dimensions"),
        pytest.param(np.zeros(3), np.zeros((3, 1)), id="vector and matrix"),
        pytest.param(np.zeros(1, "i4,i4"), np.zeros(1, [("a", "i4"), ("b", "i4")]), id="names of fields"),
        pytest.param(np.ma.masked_array([1.0], [True]), np.ma.masked_array([2.0], [False]), id="masks"),
        pytest.param(np.zeros((1, 1)), np.matrix([[0.0]]), id="array and matrix"),
        pytest.param(np.zeros((1, 1)), [[0.0]], id="array and list"),
        pytest.param(pd.DataFrame({"a": [1]}), pd.DataFrame({"b": [1]}), id="names of columns"),
        pytest.param(pd.DataFrame({"a": [1], "b": [2]}), pd.DataFrame({"b": [2], "a": [1]}), id="order of columns"),
        pytest.param(pd.DataFrame({"a": [1]}), pd.DataFrame({"a": [1.0]}), id="dtype of a column"),
        pytest.param(pd.DataFrame({1: [1]}), pd.DataFrame({True: [1]}), id="labels 1 and True"),
        pytest.param(pd.DataFrame({1: [1]}), pd.DataFrame({1.0: [1]}), id="labels 1 and 1.0"),
        pytest.param(
            pd.DataFrame({"a": pd.Categorical(["x"], ["x", "y"])}),
            pd.DataFrame({"a": pd.Categorical(["x"], ["y", "x"])}),
            id="order of categories",
        ),
        pytest.param(
            pd.DataFrame({"a": pd.Categorical([1], [1, 2])}),
            pd.DataFrame({"a": pd.Categorical([1.0], [1.0, 2.0])}),
            id="type of categories",
        ),
        pytest.param(
            pd.DataFrame({"a": pd.to_datetime(["2020-01-01"])}),
            pd.DataFrame({"a": pd.to_datetime(["2020-01-01"], utc=True)}),
            id="time zone",
        ),
        pytest.param(pd.DataFrame({"a": [1]}), pd.Series([1], name="a"), id="frame and series"),
        pytest.param(pd.Series([1], name="a"), pd.Series([1], name="b"), id="name of a series"),
        pytest.param(pd.Series([1], name=1), pd.Series([1], name=True), id="series 1 and True"),
        pytest.param(sp.csr_matrix((1, 3)), sp.csc_matrix((1, 3)), id="sparse format"),
        pytest.param(sp.csr_matrix((1, 3)), sp.csr_array((1, 3)), id="sparse matrix and array"),
        pytest.param(sp.csr_matrix((1, 3)), sp.csr_matrix((1, 4)), id="sparse columns"),
        pytest.param(sp.csr_matrix((1, 3)), sp.csr_matrix((1, 3), dtype="f4"), id="sparse dtype"),
        pytest.param([1], [1.0], id="list of int and float"),
        pytest.param([1], [True], id="list of int and bool"),
        pytest.param(["a"], [None], id="list of text and None"),
        pytest.param(["a"], ["b", 1], id="mixed list"),
        pytest.param([[1, 2]], [[1, 2, 3]], id="length of rows"),
        pytest.param([[1, "a"]], [["a", 1]], id="types within rows"),
        pytest.param([[1]], [(1,)], id="rows of list and tuple"),
        pytest.param([[[1]]], [[["a"]]], id="nested rows"),
        pytest.param([{"a": 1}], [{"b": 1}], id="names of fields of rows"),
        pytest.param([{"a": 1, "b": 2}], [{"b": 2, "a": 1}], id="order of fields of rows"),
        pytest.param([{"a": 1}], [{"a": "1"}], id="types of fields of rows"),
        pytest.param([{"a": [1]}], [{"a": ["1"]}], id="types within fields of rows"),
        pytest.param([np.zeros(3)], [np.zeros(3, "f4")], id="dtype in a list"),
        pytest.param([np.zeros((3, 2))], [np.zeros((3, 4))], id="shape in a list"),
        pytest.param([pd.DataFrame({"a": [1]})], [pd.DataFrame({"b": [1]})], id="frames in a list"),
        pytest.param("text", "text", id="single texts"),
        pytest.param(1, 1, id="single numbers"),
        pytest.param(np.array(1.0), np.array(1.0), id="0-d"),
        pytest.param({"a": 1}, {"a": 1}, id="dicts"),
    ],
)
def test_values_that_differ_in_more_than_their_rows_never_share_a_batch(one: Any, other: Any) -> None:
    assert not may_join(one, other)


@pytest.mark.parametrize("index", [[5], ["a"], pd.RangeIndex(1, 2), pd.RangeIndex(1, name="id")])
def test_a_table_with_an_index_of_its_own_runs_alone(index: Any) -> None:
    assert key(pd.DataFrame({"a": [1]}, index=index)) is None
    assert key(pd.Series([1], index=index)) is None


def test_very_deep_lists_are_measured_without_recursing_into_them() -> None:
    deep: list[Any] = []
    for _ in range(50_000):
        deep = [deep]
    rows, found = measure((deep,), {}, 0)
    assert rows == 1
    hash(found)


# -- joining and splitting give back what went in ---------------------------------------------------------------------


def check_round_trip(values: list[Any], same: Any, axis: int = 0) -> None:
    keys = {key(value, axis=axis) for value in values}
    assert len(keys) == 1
    assert None not in keys
    (whole,), _ = joined([(value,) for value in values], [{}] * len(values), axis)
    joiner = joiner_of(whole)
    assert joiner is not None
    rows = [measure((value,), {}, axis)[0] for value in values]
    bounds = [sum(rows[:count]) for count in range(len(rows) + 1)]
    assert joiner.rows(whole, axis) == bounds[-1]
    parts = joiner.split(whole, bounds, axis)
    assert len(parts) == len(values)
    for part, value in zip(parts, values, strict=True):
        assert type(part) is type(value)
        same(part, value)


@st.composite
def arrays_along_an_axis(draw: st.DrawFn) -> tuple[int, list[np.ndarray]]:
    dtype = draw(
        st.one_of(
            hnp.integer_dtypes(),
            hnp.floating_dtypes(),
            hnp.boolean_dtypes(),
            hnp.unicode_string_dtypes(max_len=4),
            hnp.datetime64_dtypes(),
            st.sampled_from([np.dtype([("a", "i4"), ("b", "U3")]), np.dtype("i1,i8", align=True)]),
        )
    )
    shape = list(draw(hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=3)))
    axis = draw(st.integers(0, len(shape) - 1))
    values = []
    for _ in range(draw(st.integers(1, 5))):
        shape[axis] = draw(st.integers(1, 4))
        values.append(draw(hnp.arrays(dtype, tuple(shape))))
    return axis, values


@settings(max_examples=60)
@given(arrays_along_an_axis())
def test_arrays_of_any_dtype_come_back_along_any_axis(drawn: tuple[int, list[np.ndarray]]) -> None:
    axis, values = drawn

    def same(part: np.ndarray, value: np.ndarray) -> None:
        assert part.dtype == value.dtype
        np.testing.assert_array_equal(part, value)

    check_round_trip(values, same, axis)


@pytest.mark.parametrize("kind", ["matrix", "array"])
@pytest.mark.parametrize("sparse_format", ["csr", "csc", "coo", "lil", "dok", "bsr", "dia"])
def test_sparse_rows_come_back_in_every_format(kind: str, sparse_format: str) -> None:
    make = getattr(sp, f"{sparse_format}_{kind}")
    generator = np.random.default_rng(1)
    values = [make(generator.integers(0, 3, (count, 4)).astype("f4")) for count in (1, 3, 2)]

    def same(part: Any, value: Any) -> None:
        assert (part.format, part.dtype) == (value.format, value.dtype)
        np.testing.assert_array_equal(part.toarray(), value.toarray())

    check_round_trip(values, same)


def test_a_sparse_vector_runs_alone() -> None:
    assert key(sp.coo_array(np.array([0.0, 1.0]))) is None


def frame(count: int, seed: int) -> pd.DataFrame:
    generator = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "int": generator.integers(0, 9, count),
            "float": generator.normal(size=count).astype("f4"),
            "text": [f"row {seed} {number}" for number in range(count)],
            "maybe": pd.array([None, *range(count - 1)], dtype="Int64"),
            "kind": pd.Categorical.from_codes(generator.integers(0, 2, count), ["b", "a"]),
            "when": pd.date_range("2020-01-01", periods=count, tz="Asia/Tokyo"),
            ("a", 1): generator.normal(size=count) > 0,
        }
    )


def test_tables_come_back_with_their_dtypes_categories_and_numbers() -> None:
    check_round_trip([frame(count, count) for count in (1, 4, 2)], pd.testing.assert_frame_equal)


def test_series_come_back_with_their_names() -> None:
    for column in frame(1, 1).columns:
        values = [frame(count, count)[column] for count in (2, 1, 3)]
        check_round_trip(values, pd.testing.assert_series_equal)


def test_lists_come_back_and_are_not_the_joined_list() -> None:
    values = [["a"], ["b", "c"], ["d"]]

    def same(part: list[str], value: list[str]) -> None:
        assert part == value
        assert part is not value

    check_round_trip(values, same)


def test_a_table_with_an_index_of_its_own_keeps_it_when_split() -> None:
    table = pd.DataFrame({"a": [1, 2, 3]}, index=["x", "y", "z"])
    joiner = joiner_of(table)
    assert joiner is not None
    first, second = joiner.split(table, [0, 1, 3], 0)
    assert (list(first.index), list(second.index)) == (["x"], ["y", "z"])
    pd.testing.assert_frame_equal(joiner.join([first, second], 0), table)


def test_tensors_of_a_library_that_looks_like_torch_are_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch is large; the part of it that is used is small."""

    class Tensor:
        def __init__(self, data: Any, device: str = "cpu") -> None:
            self.data, self.device = np.asarray(data), device

        @property
        def shape(self) -> list[int]:
            return list(self.data.shape)

        @property
        def dtype(self) -> Any:
            return self.data.dtype

        def __getitem__(self, item: Any) -> Tensor:
            return Tensor(self.data[item], self.device)

    library = types.ModuleType("torch")
    library.Tensor = Tensor  # type: ignore[attr-defined]
    library.cat = lambda tensors, dim: Tensor(np.concatenate([t.data for t in tensors], axis=dim))  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch", library)

    values = [Tensor(np.full((2, count), count)) for count in (1, 3, 2)]
    check_round_trip(values, lambda part, value: np.testing.assert_array_equal(part.data, value.data), axis=1)
    assert not may_join(Tensor([1.0]), Tensor([1.0], "cuda:0"))
    assert not may_join(Tensor([1.0]), Tensor([1]))
    assert not may_join(Tensor([[1.0]]), Tensor([[1.0, 2.0]]))
    assert measure((Tensor(1.0),), {}, 0) == (1, None)


def test_types_without_rows_are_not_remembered_for_ever() -> None:
    from bentoml.runner import joiners

    made = type("Made", (), {})
    before = len(joiners._joiner_by_type)
    assert joiner_of(made()) is None
    assert len(joiners._joiner_by_type) == before
