"""NumpyNdarray: nested lists in and out, the rules on dtype and shape, and what is refused."""

from __future__ import annotations

import io
import json
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bentoml._context import Context
from bentoml._http import Request
from bentoml.exceptions import (
    BadInput,
    InternalServerError,
    InvalidArgument,
    MissingDependencyException,
    UnprocessableEntity,
)
from bentoml.io import NumpyNdarray, from_spec
from bentoml.testing.descriptor import HOSTILE_BODIES, check_descriptor


def decode(descriptor: NumpyNdarray, body: bytes | str) -> np.ndarray[Any, Any]:
    return descriptor.from_http_request(Request(body=body.encode() if isinstance(body, str) else body))


def encode(value: Any, descriptor: NumpyNdarray | None = None) -> str:
    body = (descriptor or NumpyNdarray()).to_http_response(value, None).body
    assert isinstance(body, bytes)
    return body.decode()


def refusal(descriptor: NumpyNdarray, body: bytes | str) -> str:
    with pytest.raises(BadInput) as caught:
        decode(descriptor, body)
    assert caught.value.error_code == 400
    return str(caught.value)


DESCRIPTORS = [
    NumpyNdarray(),
    NumpyNdarray(dtype="float64"),
    NumpyNdarray(dtype="float32", enforce_dtype=True),
    NumpyNdarray(dtype="uint8", enforce_dtype=True, shape=(-1, 2), enforce_shape=True),
    NumpyNdarray(dtype="int64", shape=(2, 2)),
    NumpyNdarray(dtype="bool"),
    NumpyNdarray(dtype="str"),
    NumpyNdarray(dtype="<U3", enforce_dtype=True),
    NumpyNdarray(dtype=">f4"),
    NumpyNdarray(shape=()),
]


# --- the contract ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("descriptor", "good", "bad"),
    [
        (NumpyNdarray(), [b"[]", b"[[1, 2.5]]", b'["a"]', b"5"], [b"", b"{}", b"null", b"[[1], [2, 3]]"]),
        (NumpyNdarray("float32"), [b"[1.5]", b"[[]]"], [b'["1.5"]', b"[{}]", b"[" * 70 + b"]" * 70]),
        (
            NumpyNdarray("uint8", enforce_dtype=True),
            [b"[255]"],
            [b"[256]", b"[-1]", b"[1.5]", b'[["2f",1],[4,3]]'],
        ),
        (NumpyNdarray(shape=(2, 2), enforce_shape=True), [b"[[1,2],[3,4]]"], [b"[1,2,3,4]"]),
        (NumpyNdarray("str"), [b'["a"]', b"[1]"], [b"[null]", b'{"a": 1}']),
        (NumpyNdarray.from_sample(np.eye(2)), [b"[[1,2],[3,4]]"], [b"[true, {}]"]),
    ],
    ids=repr,
)
def test_ndarrays_keep_the_contract_of_descriptors(
    descriptor: NumpyNdarray, good: list[bytes], bad: list[bytes]
) -> None:
    check_descriptor(descriptor, good_bodies=good, bad_bodies=bad)


@pytest.mark.parametrize("descriptor", DESCRIPTORS, ids=repr)
def test_hostile_bodies_are_an_array_or_a_refusal(descriptor: NumpyNdarray) -> None:
    check_descriptor(descriptor, good_bodies=[])


elements = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.dictionaries(st.text(), st.integers())
)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(DESCRIPTORS),
    st.binary()
    | st.sampled_from(HOSTILE_BODIES)
    | st.recursive(elements, st.lists, max_leaves=8).map(lambda value: json.dumps(value).encode()),
)
def test_any_bytes_are_an_array_or_a_refusal_with_a_4xx(descriptor: NumpyNdarray, body: bytes) -> None:
    try:
        array = decode(descriptor, body)
    except InvalidArgument:  # 400
        return
    assert isinstance(array, np.ndarray)
    assert array.dtype.kind in "biufU"
    encode(array)


# --- reading ---------------------------------------------------------------------------------------------


@given(st.lists(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=3, max_size=3), max_size=5))
def test_floats_arrive_exactly(rows: list[list[float]]) -> None:
    array = decode(NumpyNdarray(dtype="float64"), json.dumps(rows))
    assert array.dtype == np.float64
    assert array.tolist() == rows


@given(
    st.lists(st.integers(-(2**80), 2**80)),
    st.sampled_from(["int8", "uint8", "int64", "uint64", "float32", "bool"]),
)
def test_an_enforced_dtype_is_kept_exactly_or_refused(values: list[int], dtype: str) -> None:
    try:
        array = decode(NumpyNdarray(dtype=dtype, enforce_dtype=True), json.dumps(values))
    except BadInput:
        return
    assert array.dtype == dtype
    if dtype == "float32":
        assert np.allclose(array, np.array(values, dtype=np.float64), rtol=1e-6)
    else:
        assert [int(each) for each in array] == values


@pytest.mark.parametrize(
    ("dtype", "body", "expected"),
    [
        (None, "[[1, 2], [3, 4]]", np.array([[1, 2], [3, 4]])),
        (None, "[1, 2.5]", np.array([1, 2.5])),
        (None, "[true]", np.array([True])),
        (None, '["a", "bc"]', np.array(["a", "bc"])),
        (None, "[18446744073709551615]", np.array([2**64 - 1], dtype=np.uint64)),
        (None, "5", np.array(5)),
        ("uint8", "[[1, 2], [3, 4]]", np.array([[1, 2], [3, 4]], dtype=np.uint8)),
        ("int64", "[1.0, 2.0]", np.array([1, 2])),
        ("int64", "1.0", np.array(1)),
        ("int64", "[]", np.array([], dtype=np.int64)),
        ("int64", "[true]", np.array([1])),
        ("float32", "[1, 0.1]", np.array([1, 0.1], dtype=np.float32)),
        ("float64", "[1, null]", np.array([1, np.nan])),
        ("float16", "[null]", np.array([np.nan], dtype=np.float16)),
        ("complex128", "[1, 2.5]", np.array([1, 2.5], dtype=np.complex128)),
        ("bool", "[0, 1]", np.array([False, True])),
        (">i2", "[1]", np.array([1], dtype=">i2")),
        ("str", '[["a"], [1]]', np.array([["a"], ["1"]])),
        ("<U3", '["abc"]', np.array(["abc"])),
    ],
)
def test_elements_become_the_declared_dtype(dtype: str | None, body: str, expected: Any) -> None:
    array = decode(NumpyNdarray(dtype=dtype), body)
    assert array.dtype == expected.dtype
    assert array.shape == expected.shape
    assert np.array_equal(array, expected, equal_nan=expected.dtype.kind == "f")


@pytest.mark.parametrize(
    ("dtype", "body", "received"),
    [
        ("uint8", "[256]", "int64"),
        ("uint8", "[-1]", "int64"),
        ("int8", "[300]", "int64"),
        ("int64", "[1.5]", "float64"),
        ("int64", "[9223372036854775808]", "uint64"),
        ("int64", "[9223372036854775808.0]", "float64"),
        ("float32", "[1e39]", "float64"),
        ("bool", "[2]", "int64"),
        ("<U3", '["abcd"]', "<U4"),
    ],
)
def test_elements_that_do_not_fit_stay_as_they_came_and_are_refused_where_the_dtype_is_enforced(
    dtype: str, body: str, received: str
) -> None:
    assert decode(NumpyNdarray(dtype=dtype), body).dtype == received
    message = refusal(NumpyNdarray(dtype=dtype, enforce_dtype=True), body)
    assert message == f'NumpyNdarray: Expecting ndarray of dtype "{np.dtype(dtype)}", but "{received}" was received.'


@pytest.mark.parametrize(
    ("dtype", "body", "reason"),
    [
        ("uint8", '[["2f", 1], [4, 3]]', "[0][0] is text, expected a number"),
        ("float64", '[1, "1.5"]', "[1] is text, expected a number or null"),
        ("bool", '["true"]', "[0] is text, expected a boolean"),
        (None, "{}", "the body is an object, expected a number or text"),
        ("int64", "[[1], [{}]]", "[1][0] is an object, expected a number"),
        ("float64", '[{"a": 1}]', "[0] is an object, expected a number or null"),
        (None, "null", "the body is null, expected a number or text"),
        (None, "[1, null]", "[1] is null, expected a number or text"),
        ("int64", "[1, null]", "[1] is null, expected a number"),
        ("str", "[null]", "[0] is null, expected text"),
        (None, f"[{2**64}]", "[0] is an integer of more than 64 bits, expected a number or text"),
        (
            "float64",
            f"[1, -{'9' * 400}]",
            "[1] is an integer beyond the range of a double, expected a number or null",
        ),
        (None, "[[1, 2], [3]]", "the rows of an axis differ in length"),
        ("float64", "[[1, 2], 3]", "the rows of an axis differ in length"),
        (None, '[["a"], "b"]', "the rows of an axis differ in length"),
        (None, "[" * 70 + "]" * 70, "more than 32 axes"),
        (None, "[" * 33 + '"a"' + "]" * 33, "more than 32 axes"),
        ("float64", "[" * 33 + "1" + "]" * 33, "more than 32 axes"),
        ("float64", "[" * 70 + "1" + "]" * 70, "more than 32 axes"),
    ],
)
def test_what_is_no_array_of_the_declared_elements_is_refused_with_the_place(
    dtype: str | None, body: str, reason: str
) -> None:
    message = refusal(NumpyNdarray(dtype=dtype), body)
    assert message.startswith("NumpyNdarray: ")
    assert reason in message


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "the body is empty"),
        (b"[1, 2", "the document ends too early"),
        (b"[NaN]", "NaN and Infinity are not JSON (byte 1)"),
        (b"[-Infinity]", "NaN and Infinity are not JSON (byte 2)"),
        (b"[1e999]", "Number out of range"),
        (b"[" * 100_000, "nested too deeply"),
        (b"[" + b"1" * 1_000_000 + b"]", "Integer value out of range"),
        (b'["\xff"]', "the body is not UTF-8"),
    ],
)
@pytest.mark.parametrize("descriptor", [NumpyNdarray(), NumpyNdarray("float64"), NumpyNdarray("str")], ids=repr)
def test_what_is_no_json_is_refused_with_a_reason(descriptor: NumpyNdarray, body: bytes, reason: str) -> None:
    assert reason in refusal(descriptor, body)


@pytest.mark.parametrize("descriptor", [NumpyNdarray(), NumpyNdarray("str")], ids=repr)
def test_text_that_would_take_far_more_memory_than_it_was_sent_in_is_refused(
    descriptor: NumpyNdarray,
) -> None:
    body = json.dumps(["x" * 100_000] + ["y"] * 1_000)
    assert "1001 elements, each as wide as the longest text of 100000 characters, take more than 64 MiB" in refusal(
        descriptor, body
    )


def test_the_search_for_the_wrong_element_ends() -> None:
    assert "differ in length" in refusal(NumpyNdarray(), json.dumps([[0] * 200_000, [None]]))


@pytest.mark.parametrize(
    ("shape", "body", "expected"),
    [
        ((2, 2), "[[1, 2], [3, 4]]", (2, 2)),
        ((-1, 2), "[[1, 2], [3, 4], [5, 6]]", (3, 2)),
        ((2, 2), "[1, 2, 3, 4]", (2, 2)),
        ((-1, 2), "[1, 2, 3, 4]", (2, 2)),
        ((2, 2), "[1, 2, 3]", (3,)),
        ((-1, -1), "[1, 2]", (2,)),
        (2, "[[1, 2]]", (2,)),
    ],
)
def test_a_shape_that_is_not_enforced_is_tried(shape: Any, body: str, expected: tuple[int, ...]) -> None:
    assert decode(NumpyNdarray(shape=shape), body).shape == expected


@pytest.mark.parametrize("body", ["[1, 2, 3, 4]", "[[1, 2, 3]]", "[[[1, 2]]]", "5"])
def test_an_enforced_shape_is_a_rule(body: str) -> None:
    message = refusal(NumpyNdarray(shape=(-1, 2), enforce_shape=True), body)
    received = np.array(json.loads(body)).shape
    assert message == f'NumpyNdarray: Expecting ndarray of shape "(-1, 2)", but "{received}" was received.'


# --- writing ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "array",
    [
        np.array([[2, 4], [6, 8]]),
        np.array([[2.5, -0.0], [1e300, 0.1]]),
        np.array([0.1, 2], dtype=np.float32),
        np.array([True, False]),
        np.array([["a, b", "ü"], ['"', "\n"]]),
        np.array([], dtype=np.float64),
        np.zeros((2, 0)),
        np.array(5),
        np.arange(24).reshape(2, 3, 4)[:, ::2].T,
        np.array([1.0, np.nan, np.inf, -np.inf]),
        np.array([2**64 - 1], dtype=np.uint64),
        np.array(["null", "a"]),
        np.array([["a", 1]], dtype=object),
    ],
)
def test_the_answer_is_that_of_json_dumps_blanks_included(array: Any) -> None:
    written = encode(array)
    expected = json.dumps(array.tolist(), ensure_ascii=False)
    # The two libraries write the exponents of floats in different ways, for the same numbers.
    assert written == expected.replace("e+", "e")


def test_the_answer_looks_as_in_bentoml() -> None:
    response = NumpyNdarray().to_http_response(np.array([[2, 4], [6, 8]]), None)
    assert (response.body, response.content_type, response.status) == (
        b"[[2, 4], [6, 8]]",
        b"application/json",
        200,
    )


@pytest.mark.parametrize(
    ("dtype", "value", "expected"),
    [
        ("str", np.array([[2, 4], [8, 6]]), '[["2", "4"], ["8", "6"]]'),
        ("float32", np.array([0.1]), "[0.10000000149011612]"),
        ("int32", np.array([1]), "[1]"),
        ("int64", np.array([1.0]), "[1.0]"),
        ("int8", np.array([300]), "[300]"),
        ("float32", np.array([np.inf, np.nan]), "[Infinity, NaN]"),
    ],
)
def test_the_dtype_of_an_answer_changes_only_within_its_kind(dtype: str, value: Any, expected: str) -> None:
    assert encode(value, NumpyNdarray(dtype=dtype)) == expected


@pytest.mark.parametrize(
    ("descriptor", "value", "reason"),
    [
        (
            NumpyNdarray("int64", enforce_dtype=True),
            np.array([1.0]),
            'of dtype "int64", but "float64" was received',
        ),
        (
            NumpyNdarray("int8", enforce_dtype=True),
            np.array([300]),
            'of dtype "int8", but "int64" was received',
        ),
        (
            NumpyNdarray(shape=(1,), enforce_shape=True),
            np.eye(2),
            r'of shape "\(1,\)", but "\(2, 2\)" was received',
        ),
    ],
)
def test_an_answer_that_breaks_an_enforced_rule_is_an_error_of_the_service(
    descriptor: NumpyNdarray, value: Any, reason: str
) -> None:
    with pytest.raises(InternalServerError, match=f"NumpyNdarray: Expecting ndarray {reason}"):
        encode(value, descriptor)


def test_an_answer_takes_the_shape_that_is_not_enforced_where_it_can() -> None:
    assert encode(np.arange(4), NumpyNdarray(shape=(2, -1))) == "[[0, 1], [2, 3]]"


@pytest.mark.parametrize("value", [[1, 2], 5, None, np.float64(1), {"a": 1}])
def test_an_answer_that_is_no_array_is_an_error_of_the_service_that_names_its_type(value: Any) -> None:
    with pytest.raises(InternalServerError, match=rf"returned {type(value).__name__}, not a numpy.ndarray .*asarray"):
        encode(value)


@pytest.mark.parametrize("array", [np.array([1j]), np.array([object()]), np.array(["\ud800"])])
def test_elements_without_json_form_are_an_error_of_the_service(array: Any) -> None:
    with pytest.raises(InternalServerError, match=r"NumpyNdarray: an array of dtype .* cannot be sent.*hint: "):
        encode(array)


def test_a_context_sets_the_status_of_the_answer() -> None:
    context = Context(Request())
    context.response.status_code = 206
    assert NumpyNdarray().to_http_response(np.array([1]), context).status == 206


# --- construction ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["nonsense", 5, "float999"])
def test_a_dtype_that_numpy_does_not_know_is_refused(dtype: Any) -> None:
    with pytest.raises(UnprocessableEntity, match=f"NumpyNdarray: {dtype!r} is no dtype"):
        NumpyNdarray(dtype=dtype)


@pytest.mark.parametrize("dtype", [object, "O", "V4", "i4,f8", "M8[D]", "S3"])
def test_a_dtype_that_json_cannot_carry_is_refused(dtype: Any) -> None:
    with pytest.raises(UnprocessableEntity, match=r"cannot travel as JSON .hint: use booleans"):
        NumpyNdarray(dtype=dtype)


@pytest.mark.parametrize("shape", [(-2,), (True,), ("2",), (1.5,), (None, 2)])
def test_a_shape_that_is_none_is_refused(shape: Any) -> None:
    with pytest.raises(InvalidArgument, match="a shape is a tuple of sizes, -1 for any"):
        NumpyNdarray(shape=shape)


@pytest.mark.parametrize("rule", ["dtype", "shape"])
def test_a_rule_that_is_enforced_must_be_given(rule: str) -> None:
    with pytest.raises(InvalidArgument, match=f"enforce_{rule}=True needs a {rule}"):
        NumpyNdarray(**{f"enforce_{rule}": True})


def test_without_numpy_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numpy", None)
    with pytest.raises(MissingDependencyException, match=r"bentoml.io.NumpyNdarray needs .*hint: pip install numpy"):
        NumpyNdarray()


# --- what it says about itself ---------------------------------------------------------------------------


ANY_ELEMENT = {"type": ["number", "boolean", "string"]}


@pytest.mark.parametrize(
    ("descriptor", "schema"),
    [
        (NumpyNdarray(), {"$ref": "#/components/schemas/Array"}),
        (NumpyNdarray("int64"), {"$ref": "#/components/schemas/ArrayOfIntegers"}),
        (NumpyNdarray("int8", enforce_dtype=True), {"$ref": "#/components/schemas/ArrayOfIntegers_int8"}),
        (NumpyNdarray(shape=(2, -1)), {"type": "array", "items": {"type": "array", "items": ANY_ELEMENT}}),
        (NumpyNdarray("float32", shape=(-1,)), {"type": "array", "items": {"type": ["number", "null"]}}),
        (NumpyNdarray("str", shape=(3,)), {"type": "array", "items": {"type": "string"}}),
        (NumpyNdarray("bool", shape=()), {"type": "boolean"}),
        (
            NumpyNdarray("uint8", shape=(-1, 2, 3), enforce_dtype=True, enforce_shape=True),
            {
                "type": "array",
                "items": {
                    "type": "array",
                    "minItems": 2,
                    "maxItems": 2,
                    "items": {
                        "type": "array",
                        "minItems": 3,
                        "maxItems": 3,
                        "items": {"type": "integer", "minimum": 0, "maximum": 255},
                    },
                },
            },
        ),
    ],
    ids=repr,
)
def test_the_schema_has_one_level_per_axis(descriptor: NumpyNdarray, schema: dict[str, Any]) -> None:
    assert descriptor.openapi_schema() == schema


def test_without_a_shape_the_schema_is_one_of_any_number_of_axes() -> None:
    assert NumpyNdarray("uint8", enforce_dtype=True).openapi_components() == {
        "ArrayOfIntegers_uint8": {
            "title": "ArrayOfIntegers_uint8",
            "anyOf": [
                {"type": "array", "items": {"$ref": "#/components/schemas/ArrayOfIntegers_uint8"}},
                {"type": "integer", "minimum": 0, "maximum": 255},
            ],
            "examples": [[1, 2]],
        }
    }
    assert NumpyNdarray(shape=(2,)).openapi_components() == {}


@pytest.mark.parametrize(
    ("dtype", "name"),
    [("float", "float64"), (int, "int64"), (">f4", ">f4"), ("str", "str"), ("<U3", "<U3"), (None, None)],
)
def test_a_spec_makes_the_same_descriptor_again(dtype: Any, name: str | None) -> None:
    descriptor = NumpyNdarray(dtype=dtype, shape=(-1, 2), enforce_shape=True)
    spec = descriptor.to_spec()
    assert spec == {
        "id": "bentoml.io.NumpyNdarray",
        "args": {"dtype": name, "shape": [-1, 2], "enforce_dtype": False, "enforce_shape": True},
    }
    again = from_spec(spec)
    assert isinstance(again, NumpyNdarray)
    assert (again.dtype, again.shape, again.to_spec()) == (descriptor.dtype, (-1, 2), spec)


def test_a_sample_gives_dtype_shape_and_example_and_enforces_nothing() -> None:
    descriptor = NumpyNdarray.from_sample(np.array([[1, 2]], dtype=np.uint8))
    assert descriptor.to_spec()["args"] == {
        "dtype": "uint8",
        "shape": [1, 2],
        "enforce_dtype": False,
        "enforce_shape": False,
    }
    assert descriptor.openapi_request_body()["content"]["application/json"]["example"] == [[1, 2]]


def test_what_is_given_beside_a_sample_wins() -> None:
    descriptor = NumpyNdarray.from_sample([[1.5, 2]], shape=(-1, 2), enforce_shape=True, enforce_dtype=True)
    assert descriptor.shape == (-1, 2)
    assert descriptor.dtype == np.float64
    assert decode(descriptor, "[[1, 2], [3, 4]]").dtype == np.float64


def test_the_text_of_a_sample_may_be_shorter_than_that_of_others() -> None:
    assert decode(NumpyNdarray.from_sample(["a"], enforce_dtype=True), '["abc"]').tolist() == ["abc"]


def test_nan_in_a_sample_is_null_in_the_example() -> None:
    assert NumpyNdarray.from_sample([1.0, float("nan")]).openapi_example() == [1.0, None]


@pytest.mark.parametrize("sample", [np.float64(1), 5, None, "a", {"a": 1}, [[1], [2, 3]]])
def test_a_sample_that_is_no_array_is_refused(sample: Any) -> None:
    with pytest.raises(BadInput, match=r"NumpyNdarray: (a sample must be|the sample is no array)"):
        NumpyNdarray.from_sample(sample)


def test_the_api_function_receives_an_ndarray() -> None:
    assert NumpyNdarray().input_type() is np.ndarray


# --- .npy ------------------------------------------------------------------------------------------------

NPY = b"application/x-npy"


def npy(array: Any, *, version: tuple[int, int] | None = None) -> bytes:
    sink = io.BytesIO()
    np.lib.format.write_array(sink, array, version=version)
    return sink.getvalue()


def npy_of(header: str, elements: bytes = b"") -> bytes:
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + elements


def decode_npy(body: bytes, content_type: bytes = NPY, **arguments: Any) -> np.ndarray[Any, Any]:
    request = Request(body=body, raw_headers=[(b"content-type", content_type)])
    return NumpyNdarray(**arguments).from_http_request(request)


ARRAYS = [
    np.arange(6.0).reshape(2, 3),
    np.asfortranarray(np.arange(6).reshape(2, 3)),
    np.array(5),
    np.array([1.5, np.nan, np.inf, -0.0], dtype=np.float16),
    np.array(["a", "bc", "ü\U0001f600"]),
    np.zeros((0, 3)),
    np.array([True, False]),
    np.arange(3, dtype=">i4"),
    np.array(["a", "b"], dtype=">U1"),
    np.array([2**64 - 1], dtype=np.uint64),
    np.zeros((1,) * 32, dtype=np.int8),
]


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype.str}{array.shape}")
@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_what_numpy_saves_arrives_exactly_in_memory_of_its_own(array: Any, version: tuple[int, int]) -> None:
    decoded = decode_npy(npy(array, version=version))
    assert decoded.dtype == array.dtype.newbyteorder("=")
    assert np.array_equal(decoded, array, equal_nan=array.dtype.kind == "f")
    assert decoded.flags.aligned
    assert decoded.flags.writeable


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype.str}{array.shape}")
def test_an_answer_as_npy_is_the_file_that_numpy_saves(array: Any) -> None:
    response = NumpyNdarray().to_http_response(array, None, accept=b"application/x-npy")
    assert (response.body, response.content_type) == (npy(np.array(array, order="C")), NPY)


@pytest.mark.parametrize("content_type", [b"application/npy", b"Application/X-NPY", b"application/x-npy; x=y"])
def test_both_names_of_the_format_are_taken(content_type: bytes) -> None:
    assert decode_npy(npy(np.eye(2)), content_type).tolist() == [[1, 0], [0, 1]]


@pytest.mark.parametrize(
    "accept", [b"", b"*/*", b"application/json", b"application/x-npy;q=0", b"text/html, */*;q=0.5"]
)
def test_the_answer_is_json_unless_npy_is_asked_for_by_name(accept: bytes) -> None:
    response = NumpyNdarray().to_http_response(np.array([1]), None, accept=accept)
    assert (response.body, response.content_type) == (b"[1]", b"application/json")


def test_elements_that_npy_cannot_carry_everywhere_are_answered_as_json() -> None:
    response = NumpyNdarray().to_http_response(np.array([1, "a"], dtype=object), None, accept=NPY)
    assert response.body == b'[1, "a"]'


def test_the_rules_are_those_of_json() -> None:
    assert decode_npy(npy(np.array([1.0, 2.0])), dtype="int64").dtype == np.int64
    assert decode_npy(npy(np.arange(4)), shape=(2, -1)).shape == (2, 2)
    with pytest.raises(BadInput, match='of dtype "uint8", but "int64" was received'):
        decode_npy(npy(np.array([256])), dtype="uint8", enforce_dtype=True)
    with pytest.raises(BadInput, match=r'of shape "\(2, 2\)", but "\(4,\)" was received'):
        decode_npy(npy(np.arange(4)), shape=(2, 2), enforce_shape=True)
    with pytest.raises(BadInput, match=r"Expecting ndarray of real numbers or booleans, but <U1 was received"):
        decode_npy(npy(np.array(["1"])), dtype="float64")
    with pytest.raises(BadInput, match=r"but complex128 was received"):
        decode_npy(npy(np.array([1j])))
    assert decode_npy(npy(np.array([1j])), dtype="complex128").tolist() == [1j]


HEADER = "{{'descr': '{}', 'fortran_order': {}, 'shape': {}, }}"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "does not begin"),
        (b"[1]", "does not begin"),
        (b"\x93NUMPY\x04\x00\x00\x00", "does not begin"),
        (b"\x93NUMPY\x01\x01\x00\x00", "does not begin"),
        (b"\x93NUMPY\x01\x00\xff\xff{", "its header is longer than the body"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\xff{", "its header is longer than the body"),
        (npy(np.eye(2))[:-1], "announces 4 elements of 8 bytes, and 31 bytes follow"),
        (npy(np.eye(2)) + b"\0", "and 33 bytes follow"),
        (npy_of(HEADER.format("<f8", False, "(999999999999999999,)"), b"x" * 8), "announces 999999999999999999"),
        (npy_of(HEADER.format("<f8", False, "(-1,)")), "not that of one plain array"),
        (npy_of(HEADER.format("<f8", False, "(0, 1000000001)")), "without elements has more than 1000000 rows"),
        (npy_of(HEADER.format("<f8", False, "(" + "1, " * 33 + ")"), b"x" * 8), "more than 32 axes"),
        (npy_of(HEADER.format("|O", False, "(1,)"), b"x" * 8), "not that of one plain array"),
        (npy_of(HEADER.format("|V8", False, "(1,)"), b"x" * 8), "no booleans, integers"),
        (npy_of(HEADER.format("|S8", False, "(1,)"), b"x" * 8), "no booleans, integers"),
        (npy_of(HEADER.format("<M8[ns]", False, "(1,)"), b"x" * 8), "not that of one plain array"),
        (npy_of(HEADER.format("<f16", False, "(1,)"), b"x" * 16), "no booleans, integers"),
        (npy_of(HEADER.format("<U0", False, "(1000000,)")), "no booleans, integers"),
        (npy_of(HEADER.format("|f8", False, "(1,)"), b"x" * 8), "its elements have no byte order"),
        (npy_of(HEADER.format("|b1", False, "(1,)"), b"\x02"), "a boolean is neither 0 nor 1"),
        (npy_of(HEADER.format("<U1", False, "(1,)"), b"\xff" * 4), "its text is no Unicode"),
        (npy_of(HEADER.format("<U1", False, "(1,)"), b"\x00\xd8\x00\x00"), "its text is no Unicode"),
        (npy_of("{'descr': [('a', '<f8')], 'fortran_order': False, 'shape': (1,), }", b"x" * 8), "not that of one"),
        (npy_of("{'descr': '<f8', 'fortran_order': False, 'shape': (1,), 'x': 1}", b"x" * 8), "not that of one"),
        (npy_of("{'descr': '<f8', 'descr': '<f8', 'shape': (1,)}", b"x" * 8), "not that of one"),
        (npy_of("{'descr': '<f8', 'fortran_order': False}", b"x" * 8), "not that of one"),
        (npy_of("__import__('os')", b"x" * 8), "not that of one"),
        (npy_of("{" * 5_000), "not that of one"),
    ],
)
def test_a_file_that_is_no_plain_array_is_refused_before_memory_is_taken(body: bytes, reason: str) -> None:
    with pytest.raises(BadInput) as caught:
        decode_npy(body)
    assert caught.value.message.startswith("NumpyNdarray: no .npy file of a plain array: ")
    assert reason in caught.value.message


def test_an_array_of_objects_is_refused_and_its_pickle_left_alone() -> None:
    with pytest.raises(BadInput, match="not that of one plain array"):
        decode_npy(npy(np.array([{}], dtype=object)))


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from([npy(array) for array in ARRAYS]),
    st.lists(st.tuples(st.integers(0, 200), st.binary(max_size=3)), max_size=4),
    st.sampled_from(DESCRIPTORS),
)
def test_a_damaged_file_is_an_array_or_a_refusal(
    body: bytes, damages: list[tuple[int, bytes]], descriptor: NumpyNdarray
) -> None:
    for at, piece in damages:
        body = body[:at] + piece + body[at + len(piece) :]
    try:
        array = descriptor.from_http_request(Request(body=body, raw_headers=[(b"content-type", NPY)]))
    except InvalidArgument:  # 400
        return
    for accept in (b"", NPY):
        NumpyNdarray().to_http_response(array, None, accept=accept)


def test_the_document_offers_both_formats() -> None:
    content = NumpyNdarray().openapi_responses()["content"]
    assert content["application/x-npy"] == {"schema": {"type": "string", "format": "binary"}}
    assert list(content) == ["application/json", "application/x-npy"]
