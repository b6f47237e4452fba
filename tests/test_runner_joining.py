"""measure, joined, split_result: batches that cannot be told from the calls they are made of."""

from __future__ import annotations

import collections
import decimal
import enum
import functools
import math
import types
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from bentoml.exceptions import BentoMLException, InvalidArgument
from bentoml.runner.joining import join_results, joined, measure, split_result, split_rows


class Color(enum.Enum):
    RED = 1
    BLUE = 2


def key(*args: Any, **kwargs: Any) -> Any:
    return measure(args, kwargs, 0)[1]


ROW = np.zeros((1, 3))


# -- measure ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "axis", "rows"),
    [
        (np.zeros((4, 2)), 0, 4),
        (np.zeros((4, 2)), 1, 2),
        (np.zeros(5), 0, 5),
        (np.array(7.0), 0, 1),
        (np.float64(7.0), 0, 1),
        (pd.DataFrame({"a": [1, 2, 3]}), 0, 3),
        (pd.Series([1, 2]), 0, 2),
        (sp.csr_matrix((6, 2)), 0, 6),
        (sp.coo_array((6, 2)), 0, 6),
        ([1, 2, 3], 0, 3),
        ("text", 0, 1),
        ({"a": [1, 2]}, 0, 1),
        (None, 0, 1),
        (np.zeros((0, 3)), 0, 0),
        ([], 0, 0),
    ],
)
def test_rows_are_counted_along_the_batch_axis(value: Any, axis: int, rows: int) -> None:
    assert measure((value,), {}, axis)[0] == rows
    assert measure((), {"x": value}, axis)[0] == rows


@pytest.mark.parametrize("value", [np.zeros((0, 3)), [], pd.DataFrame({"a": []}), sp.csr_matrix((0, 3))])
def test_a_call_without_rows_runs_alone(value: Any) -> None:
    assert key(value) is None
    assert key(value, flag=True) is None


def test_arguments_with_different_numbers_of_rows_are_refused() -> None:
    with pytest.raises(InvalidArgument) as caught:
        measure((np.zeros((2, 1)), np.zeros((3, 1))), {}, 0)
    assert str(caught.value) == (
        "All batchable arguments must have the same batch size: argument 1 has 3 rows, the ones before it 2"
    )
    with pytest.raises(InvalidArgument, match="argument 'labels' has 1 rows, the ones before it 2"):
        measure((np.zeros((2, 1)),), {"labels": ["a"]}, 0)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.zeros(3), "batch_dim is 1, and the array has the shape (3,)"),
        ([1, 2], "a list can only be joined along axis 0, and batch_dim is 1"),
        (pd.DataFrame({"a": [1]}), "a DataFrame or Series can only be joined along axis 0, and batch_dim is 1"),
        (sp.csr_matrix((2, 2)), "a sparse matrix can only be joined along axis 0, and batch_dim is 1"),
    ],
)
def test_a_value_without_the_batch_axis_is_refused(value: Any, message: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        measure((value,), {}, 1)
    assert str(caught.value) == message


def test_a_scalar_in_the_form_of_an_array_is_no_row() -> None:
    assert measure((ROW, np.array(0.5)), {}, 0) == (1, None)
    assert measure((np.zeros((4, 2)),), {"threshold": np.array(0.5)}, 1) == (2, None)


def test_the_rows_after_an_argument_that_cannot_be_compared_still_count() -> None:
    assert measure(({"depth": 3}, np.zeros((5, 2))), {}, 0) == (5, None)


# -- parameters -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        True,
        1,
        "a",
        b"a",
        None,
        1.5,
        math.nan,
        1j,
        (1, "a", (2.0,)),
        (),
        Color.RED,
        np.mean,
        int,
        functools.partial(int),
    ],
)
def test_parameters_that_are_the_same_for_all_do_not_keep_calls_apart(value: Any) -> None:
    found = key(ROW, flag=value)
    assert found is not None
    assert found == key(ROW + 1, flag=value)
    assert found != key(ROW, flag="another")
    assert found != key(ROW)
    assert found != key(ROW, other=value)
    assert found != key(ROW, value)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, True),
        (1, 1.0),
        (0, False),
        (0.0, -0.0),
        ((1,), (True,)),
        ((0.0,), (-0.0,)),
        (((1,),), ((1.0,),)),
        ("1", 1),
        ("a", b"a"),
        (None, False),
        (Color.RED, Color.BLUE),
        (int, float),
        (object(), object()),
    ],
)
def test_parameters_that_are_equal_but_not_the_same_keep_calls_apart(one: Any, other: Any) -> None:
    assert key(ROW, flag=one) is not None
    assert key(ROW, flag=one) != key(ROW, flag=other)


@pytest.mark.parametrize(
    "value",
    [
        {"a": 1},
        {1, 2},
        (1, {}),
        frozenset({1}),
        decimal.Decimal("1.0"),
        np.float64(1.0),
        np.array(1.0),
        bytearray(b"a"),
        collections.namedtuple("Point", "x")(1),
        types.SimpleNamespace(a=1),
    ],
)
def test_parameters_that_cannot_be_told_to_be_the_same_make_a_call_run_alone(value: Any) -> None:
    assert key(ROW, flag=value) is None


def test_keyword_arguments_are_the_same_in_any_order() -> None:
    assert key(a=ROW, b=1, c=[1]) == key(c=[2], a=ROW, b=1)


def test_two_nans_of_one_call_do_not_make_it_unlike_itself() -> None:
    assert key(ROW, flag=math.nan) == key(ROW, flag=float("nan"))


# -- joined answers equal separate ones -------------------------------------------------------------------------------


class Scores(NamedTuple):
    first: Any
    second: Any


def check_same(one: Any, other: Any) -> None:
    assert type(one) is type(other)
    if isinstance(one, tuple):
        assert len(one) == len(other)
        for left, right in zip(one, other, strict=True):
            check_same(left, right)
    elif isinstance(one, pd.DataFrame):
        pd.testing.assert_frame_equal(one, other)
    elif isinstance(one, pd.Series):
        pd.testing.assert_series_equal(one, other)
    elif sp.issparse(one):
        assert one.format == other.format
        np.testing.assert_array_equal(one.toarray(), other.toarray())
    elif isinstance(one, np.ndarray):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    else:
        assert one == other


METHODS: dict[str, Callable[[np.ndarray], Any]] = {
    "array": lambda x: x * 2,
    "vector": lambda x: x[:, 0],
    "list": lambda x: [row.tolist() for row in x],
    "frame": lambda x: pd.DataFrame(x, columns=["a", "b", "c"]),
    "series": lambda x: pd.Series(x[:, 1], name="score"),
    "sparse": sp.csr_matrix,
    "sparse columns": sp.csc_array,
    "tuple": lambda x: (x, [str(row) for row in x]),
    "nested tuple": lambda x: ((x[:, 0], x), pd.DataFrame(x)),
    "named tuple": lambda x: Scores(x, x[:, 2]),
    "view of the input": lambda x: x[:],
    "strings": lambda x: np.array([f"{row[0]}" for row in x], object),
}


@pytest.mark.parametrize("kind", METHODS)
@settings(max_examples=15)
@given(counts=st.lists(st.integers(1, 4), min_size=1, max_size=6))
def test_joined_answers_equal_separate_ones(kind: str, counts: list[int]) -> None:
    method = METHODS[kind]
    calls = [np.arange(3 * count, dtype=float).reshape(count, 3) + 100 * number for number, count in enumerate(counts)]
    assert len({key(x) for x in calls}) == 1
    (whole,), _ = joined([(x,) for x in calls], [{}] * len(calls), 0)
    answers = split_result(method(whole), counts, 0, method="predict")
    assert len(answers) == len(calls)
    for answer, x in zip(answers, calls, strict=True):
        check_same(answer, method(x))


def test_all_arguments_of_a_call_are_joined_and_parameters_are_passed_once() -> None:
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
        (
            (np.full((count, 2), count), 7),
            {"names": [f"{count}"] * count, "table": pd.DataFrame({"a": [count] * count})},
        )
        for count in (1, 3, 2)
    ]
    assert len({key(*args, **kwargs) for args, kwargs in calls}) == 1
    (x, seven), kwargs = joined([args for args, _ in calls], [kwargs for _, kwargs in calls], 0)
    assert seven == 7
    assert x[:, 0].tolist() == [1, 3, 3, 3, 2, 2]
    assert kwargs["names"] == ["1", "3", "3", "3", "2", "2"]
    assert kwargs["table"].index.tolist() == [0, 1, 2, 3, 4, 5]


def test_inputs_and_outputs_may_have_different_axes() -> None:
    calls = [np.full((3, count), count) for count in (1, 2)]
    (whole,), _ = joined([(x,) for x in calls], [{}, {}], 1)
    assert whole.shape == (3, 3)
    first, second = split_result(whole.T, [1, 2], 0, method="predict")
    assert (first.shape, second.shape) == (((1, 3)), (2, 3))


def test_the_arguments_of_one_call_are_split_into_parts_and_its_results_put_together() -> None:
    x, names = np.arange(10).reshape(5, 2), list("abcde")
    parts = split_rows((x, 3), {"names": names}, [0, 2, 4, 5], 0)
    assert [args[0].tolist() for args, _ in parts] == [[[0, 1], [2, 3]], [[4, 5], [6, 7]], [[8, 9]]]
    assert [args[1] for args, _ in parts] == [3, 3, 3]
    assert [kwargs["names"] for _, kwargs in parts] == [["a", "b"], ["c", "d"], ["e"]]
    whole = join_results([Scores(args[0], kwargs["names"]) for args, kwargs in parts], 0)
    check_same(whole, Scores(x, names))


# -- results that break the contract ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("result", "returned"),
    [(np.zeros(4), 4), ([1, 2], 2), (pd.DataFrame({"a": []}), 0), ((np.zeros(3), np.zeros(2)), 2)],
)
def test_a_wrong_number_of_rows_is_an_error_that_names_the_method(result: Any, returned: int) -> None:
    with pytest.raises(BentoMLException) as caught:
        split_result(result, [1, 2], 0, method="predict")
    assert str(caught.value) == (
        f"the batchable method 'predict' was given 3 rows and returned {returned} "
        "(hint: one result for each row, in the same order; or declare the method batchable=False)"
    )


@pytest.mark.parametrize(
    ("result", "name"),
    [
        (0.5, "float"),
        (np.float64(0.5), "float64"),
        (np.array(0.5), "ndarray"),
        (None, "NoneType"),
        ((), "tuple"),
        ({}, "dict"),
    ],
)
@pytest.mark.parametrize("rows", [[1], [1, 1]])
def test_a_result_without_rows_is_an_error_that_names_the_method(result: Any, name: str, rows: list[int]) -> None:
    with pytest.raises(BentoMLException) as caught:
        split_result(result, rows, 0, method="predict")
    assert str(caught.value) == (
        f"the batchable method 'predict' returned a {name}, which has no rows to hand back "
        "(hint: return an array, a DataFrame, a list or a tuple of these, or declare the method batchable=False)"
    )


def test_a_result_without_the_axis_is_the_fault_of_the_method_and_not_of_the_caller() -> None:
    with pytest.raises(BentoMLException) as caught:
        split_result(np.zeros(3), [1, 2], 1, method="predict")
    assert not isinstance(caught.value, InvalidArgument)
    assert str(caught.value) == (
        "the result of the batchable method 'predict' cannot be split: batch_dim is 1, and the array has the shape (3,)"
    )
