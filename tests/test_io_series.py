"""PandasSeries: JSON in its orients and Arrow streams, the rules on dtype and shape, and what is refused."""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bentoml._http import Request
from bentoml.exceptions import (
    BadInput,
    InternalServerError,
    InvalidArgument,
    MissingDependencyException,
    UnprocessableEntity,
    UnsupportedMediaType,
)
from bentoml.io import PandasSeries, from_spec
from bentoml.testing import HOSTILE_BODIES, check_descriptor

ARROW = b"application/vnd.apache.arrow.stream"


def request(body: bytes | str, content_type: bytes = b"") -> Request:
    headers = [(b"content-type", content_type)] if content_type else []
    return Request(body=body.encode() if isinstance(body, str) else body, raw_headers=headers)


def decode(body: bytes | str, content_type: bytes = b"", **arguments: Any) -> pd.Series:
    return PandasSeries(**arguments).from_http_request(request(body, content_type))


def encode(series: Any, accept: bytes = b"", **arguments: Any) -> bytes:
    body = PandasSeries(**arguments).to_http_response(series, None, accept=accept).body
    assert isinstance(body, bytes)
    return body


def refusal(body: bytes | str, content_type: bytes = b"", **arguments: Any) -> str:
    with pytest.raises(BadInput) as caught:
        decode(body, content_type, **arguments)
    assert caught.value.error_code == 400
    return caught.value.message


def stream(**columns: Any) -> bytes:
    table = pa.table(columns)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize(
    ("descriptor", "good", "bad"),
    [
        (PandasSeries(), ["[]", "[1,2.5,null]", '["a"]', "[true]"], ["", "{}", "1", "null"]),
        (PandasSeries("index"), ["{}", '{"x":1}'], ["[]"]),
        (PandasSeries("split"), ['{"data":[1]}', '{"name":"n","index":["x"],"data":[1]}'], ["{}", '{"data":1}']),
        (PandasSeries("values", dtype="int64", enforce_dtype=True), ["[1]", "[1.0]"], ["[1.5]", '["1"]', "[null]"]),
        (PandasSeries(shape=(2,), enforce_shape=True), ["[1,2]"], ["[1]"]),
        (PandasSeries.from_sample([1, 2]), ["[1]"], ["{}"]),
    ],
    ids=repr,
)
def test_series_keep_the_contract_of_descriptors(descriptor: PandasSeries, good: list[str], bad: list[str]) -> None:
    check_descriptor(
        descriptor, good_bodies=[each.encode() for each in good], bad_bodies=[each.encode() for each in bad]
    )


cells = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
anything = st.recursive(
    cells, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(["records", "values", "index", "split"]),
    st.sampled_from([None, "int64", "Int64", "str", "datetime64[ns]"]),
    st.sampled_from([b"", ARROW]),
    st.binary(max_size=40) | st.sampled_from(HOSTILE_BODIES) | anything.map(lambda value: json.dumps(value).encode()),
    st.sampled_from([b"", ARROW]),
)
def test_any_bytes_are_a_series_or_a_refusal_with_a_4xx(
    orient: str, dtype: str | None, content_type: bytes, body: bytes, accept: bytes
) -> None:
    try:
        series = decode(body, content_type, orient=orient, dtype=dtype)
    except InvalidArgument:  # 400
        return
    assert isinstance(series, pd.Series)
    encode(series, accept, orient=orient)


@pytest.mark.parametrize(
    ("orient", "body", "expected"),
    [
        ("records", "[1,2,3]", pd.Series([1, 2, 3])),
        ("values", "[1,null]", pd.Series([1, np.nan])),
        ("index", '{"x":1,"y":2}', pd.Series([1, 2], index=["x", "y"])),
        ("split", '{"name":"n","index":[5],"data":["a"]}', pd.Series(["a"], index=[5], name="n")),
    ],
)
def test_each_orient_is_read_and_written(orient: str, body: str, expected: pd.Series) -> None:
    pd.testing.assert_series_equal(decode(body, orient=orient), expected)
    assert json.loads(encode(expected, orient=orient)) == json.loads(body)


def test_json_is_what_pandas_writes() -> None:
    series = pd.Series([0.5, None], index=["x", "y"], name="n")
    for orient in ("records", "index", "split", "values"):
        assert json.loads(encode(series, orient=orient)) == json.loads(series.to_json(orient=orient))


def test_an_arrow_stream_of_one_column_is_a_series_there_and_back() -> None:
    series = decode(stream(n=[1.5, None]), ARROW)
    pd.testing.assert_series_equal(series, pd.Series([1.5, np.nan], name="n"))
    for each in (series, pd.Series(["a"], index=["x"])):
        response = PandasSeries().to_http_response(each, None, accept=ARROW)
        assert response.content_type == ARROW
        assert isinstance(response.body, bytes)
        pd.testing.assert_series_equal(decode(response.body, ARROW), each)


def test_a_series_of_mixed_cells_is_answered_as_json_whatever_was_asked_for() -> None:
    assert encode(pd.Series([1, "x"]), ARROW) == b'[1,"x"]'


@pytest.mark.parametrize(
    ("body", "content_type", "arguments", "reason"),
    [
        ("[1, 1.5]", b"", {"dtype": "int64", "enforce_dtype": True}, 'row 1 is not of dtype "int64"'),
        ("[1]", b"", {"shape": (2,), "enforce_shape": True}, 'Expecting shape "(2,)", but "(1,)" was received.'),
        ("{}", b"", {}, "expected an array of cells"),
        ('{"data":[1],"x":1}', b"", {"orient": "split"}, 'expected an object of "data"'),
        ('{"data":[1],"name":[]}', b"", {"orient": "split"}, '"name" must be text or an integer'),
        ('{"data":[1],"index":[]}', b"", {"orient": "split"}, '"index" must be an array of one'),
        (stream(a=[1], b=[2]), ARROW, {}, "expected one column, and 2 were received"),
        (b"", ARROW, {}, "the body is no Arrow stream"),
    ],
)
def test_what_is_no_such_series_is_refused_with_the_rule(
    body: bytes | str, content_type: bytes, arguments: dict[str, Any], reason: str
) -> None:
    message = refusal(body, content_type, **arguments)
    assert message.startswith("PandasSeries: ")
    assert reason in message


def test_without_being_enforced_a_rule_is_tried() -> None:
    assert decode("[1, 2.0]", dtype="int8", shape=(5,)).dtype == "int8"
    assert decode("[1, 2.5]", dtype="int8").dtype == "float64"


@pytest.mark.parametrize("value", [[1], np.array([1]), None, pd.DataFrame({"a": [1]})])
def test_an_answer_that_is_no_series_is_an_error_of_the_service_that_names_its_type(value: Any) -> None:
    with pytest.raises(InternalServerError, match=rf"returned {type(value).__name__}, not a pandas.Series .*hint"):
        encode(value)


@pytest.mark.parametrize(
    ("series", "arguments", "reason"),
    [
        (pd.Series([object()]), {}, "cannot be sent as JSON: a cell of type object"),
        (pd.Series([1, 2], index=[0, 0]), {"orient": "index"}, "index labels occur twice"),
        (pd.Series([1.5]), {"dtype": "int64", "enforce_dtype": True}, "the answer of the API function: row 0"),
    ],
)
def test_a_series_that_cannot_be_sent_is_an_error_of_the_service(
    series: pd.Series, arguments: dict[str, Any], reason: str
) -> None:
    with pytest.raises(InternalServerError, match=reason):
        encode(series, **arguments)


@pytest.mark.parametrize(
    ("arguments", "error", "reason"),
    [
        ({"orient": "table"}, InvalidArgument, "orient must be one of records, values, index, split, not 'table'"),
        ({"enforce_dtype": True}, InvalidArgument, "enforce_dtype=True needs a dtype"),
        ({"enforce_shape": True}, InvalidArgument, "enforce_shape=True needs a shape"),
        ({"shape": (1, 2)}, InvalidArgument, r"a shape is \(rows,\)"),
        ({"dtype": "nonsense"}, UnprocessableEntity, "'nonsense' is no dtype"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(
    arguments: dict[str, Any], error: type[Exception], reason: str
) -> None:
    with pytest.raises(error, match=f"PandasSeries: {reason}"):
        PandasSeries(**arguments)


def test_without_pandas_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingDependencyException, match=r"PandasSeries needs .*pip install 'makunouchi\[pandas\]'"):
        PandasSeries()


def test_without_pyarrow_json_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bentoml.io._frame_formats.is_installed", lambda name: name != "pyarrow")
    descriptor = PandasSeries()
    with pytest.raises(UnsupportedMediaType, match=r"does not read arrow .*makunouchi\[arrow\]"):
        descriptor.from_http_request(request(b"", ARROW))
    assert list(descriptor.openapi_request_body()["content"]) == ["application/json"]


@pytest.mark.parametrize(
    ("descriptor", "schema"),
    [
        (PandasSeries(), {"type": "array", "items": {}}),
        (PandasSeries("values", dtype="float32"), {"type": "array", "items": {"type": ["number", "null"]}}),
        (PandasSeries("index", dtype="int64"), {"type": "object", "additionalProperties": {"type": "integer"}}),
        (
            PandasSeries("split", dtype="bool"),
            {
                "type": "object",
                "properties": {
                    "data": {"type": "array", "items": {"type": "boolean"}},
                    "name": {},
                    "index": {"type": "array"},
                },
                "required": ["data"],
            },
        ),
    ],
    ids=repr,
)
def test_the_schema_is_that_of_the_orient(descriptor: PandasSeries, schema: dict[str, Any]) -> None:
    assert descriptor.openapi_schema() == schema


@pytest.mark.parametrize("sample", [pd.Series([1, 2]), [1, 2], "[1,2]", b"[1,2]"])
def test_a_sample_gives_the_dtype_and_the_example(sample: Any) -> None:
    descriptor = PandasSeries.from_sample(sample)
    assert descriptor.to_spec()["args"] == {
        "orient": "records", "dtype": "int64", "enforce_dtype": False, "shape": [-1], "enforce_shape": False,
    }  # fmt: skip
    assert descriptor.openapi_request_body()["content"]["application/json"]["example"] == [1, 2]
    assert from_spec(descriptor.to_spec()).to_spec() == descriptor.to_spec()


@pytest.mark.parametrize("sample", [5, None, {"a": 1}, "{}"])
def test_a_sample_that_is_no_series_is_refused(sample: Any) -> None:
    with pytest.raises(BadInput, match="PandasSeries: "):
        PandasSeries.from_sample(sample)


def test_the_api_function_receives_a_series() -> None:
    assert PandasSeries().input_type() is pd.Series
