"""PandasDataFrame: every format in and out, the rules on columns, dtype and shape, and what is refused."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
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
from bentoml.io import PandasDataFrame, from_spec
from bentoml.io._npy import write_npy
from bentoml.testing import HOSTILE_BODIES, check_descriptor
from tests import _server

JSON, CSV, PARQUET = "application/json", "text/csv", "application/octet-stream"
ARROW = "application/vnd.apache.arrow.stream"
ORIENTS = ["records", "columns", "index", "split", "values", "table"]
FORMATS = {"json": JSON, "csv": CSV, "parquet": PARQUET, "arrow": ARROW}


def request(body: bytes | str, content_type: str = "") -> Request:
    headers = [(b"content-type", content_type.encode())] if content_type else []
    return Request(body=body.encode() if isinstance(body, str) else body, raw_headers=headers)


def decode(body: bytes | str, content_type: str = "", **arguments: Any) -> pd.DataFrame:
    return PandasDataFrame(**arguments).from_http_request(request(body, content_type))


def encode(frame: Any, accept: str = "", **arguments: Any) -> bytes:
    response = PandasDataFrame(**arguments).to_http_response(frame, None, accept=accept.encode())
    assert isinstance(response.body, bytes)
    return response.body


def refusal(body: bytes | str, content_type: str = "", **arguments: Any) -> str:
    with pytest.raises(BadInput) as caught:
        decode(body, content_type, **arguments)
    assert caught.value.error_code == 400
    assert caught.value.message.startswith(("PandasDataFrame: ", "Invalid JSON input received: "))
    return caught.value.message


def arrow_stream(table: pa.Table, **options: Any) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def parquet_file(table: pa.Table, **options: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, **options)
    return sink.getvalue()


TABLE = pa.table({"a": [1, 2], "b": [0.5, None], "c": ["x", None], "d": [True, False]})
FRAME = pd.DataFrame({"a": [1, 2], "b": [0.5, np.nan], "c": ["x", None], "d": [True, False]})


# --- the contract -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("descriptor", "good", "bad"),
    [
        (PandasDataFrame(), ["[]", '[{"a":1,"b":null}]', '[{"a":1},{"b":"x"}]', "[{}]"], ["", "{}", "[1]", "null"]),
        (PandasDataFrame("columns"), ["{}", '{"a":{"0":1}}', '{"a":[1,2]}'], ["[]", '{"a":1}', '{"a":[1],"b":[]}']),
        (PandasDataFrame("index"), ["{}", '{"x":{"a":1}}'], ["[]", '{"x":[1]}']),
        (PandasDataFrame("split"), ['{"columns":["a"],"data":[[1]]}'], ['{"columns":["a"],"data":[[1,2]]}', "{}"]),
        (PandasDataFrame("values"), ["[]", "[[1,2]]", "[[]]"], ["[[1],[]]", "[1]", "{}"]),
        (PandasDataFrame("table"), [encode(FRAME, orient="table")], ["{}", '{"schema":{},"data":[]}']),
        (PandasDataFrame(default_format="csv"), ["a\n", "a,b\n1,2\n", ",a\n5,1\n"], ["", "a,a\n", "a,b\n1\n", "a,\n"]),
        (PandasDataFrame(default_format="parquet"), [parquet_file(TABLE)], ["", "PAR1", "[]"]),
        (PandasDataFrame(default_format="arrow"), [arrow_stream(TABLE)], ["", "ARROW1", "[]"]),
        (
            PandasDataFrame(dtype={"a": "int64"}, enforce_dtype=True, shape=(-1, 1), enforce_shape=True),
            ['[{"a":1}]', '[{"a":1.0}]'],
            ['[{"a":1.5}]', '[{"a":"1"}]', '[{"b":1}]', '[{"a":1,"b":2}]'],
        ),
        (PandasDataFrame.from_sample(FRAME), ['[{"a":1}]', request(arrow_stream(TABLE), ARROW)], ["1"]),
    ],
    ids=lambda value: repr(value)[:60] if isinstance(value, PandasDataFrame) else "",
)
def test_frames_keep_the_contract_of_descriptors(
    descriptor: PandasDataFrame, good: list[str | bytes | Request], bad: list[str]
) -> None:
    bodies = [each if isinstance(each, Request) else request(each) for each in good]
    check_descriptor(descriptor, good_bodies=bodies, bad_bodies=[each.encode() for each in bad])


cells = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("2020-01-01")
anything = st.recursive(
    cells, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
)
records = st.lists(st.dictionaries(st.sampled_from("abc"), cells, max_size=3), max_size=4)
documents = records | st.lists(st.lists(cells, max_size=3), max_size=3) | anything
rules: list[dict[str, Any]] = [
    {},
    {"dtype": "float64"},
    {"dtype": "str", "enforce_dtype": True},
    {"dtype": {"a": "int64", "b": "category", "c": "datetime64[ns]"}, "enforce_dtype": True},
    {"dtype": {"a": "Int64", "b": "boolean", "c": "timedelta64[ns]"}},
    {"columns": ["x", "y"], "apply_column_names": True},
]


@settings(max_examples=250, deadline=None)
@given(
    st.sampled_from(ORIENTS),
    st.sampled_from(rules),
    st.sampled_from([*FORMATS.values(), ""]),
    st.binary(max_size=50) | st.sampled_from(HOSTILE_BODIES) | documents.map(lambda value: json.dumps(value).encode()),
    st.sampled_from(["", *FORMATS.values()]),
)
def test_any_bytes_are_a_frame_or_a_refusal_with_a_4xx(
    orient: str, rule: dict[str, Any], content_type: str, body: bytes, accept: str
) -> None:
    try:
        frame = decode(body, content_type, orient=orient, **rule)
    except InvalidArgument:  # 400
        return
    assert isinstance(frame, pd.DataFrame)
    encode(frame, accept, orient=orient)


TABLES = [
    arrow_stream(TABLE), parquet_file(TABLE), parquet_file(TABLE, data_page_version="2.0", compression="zstd"),
    arrow_stream(pa.table({"c": pa.array(["x", "y", "x"]).dictionary_encode(), "l": [[1.5], [], None]})),
]  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(TABLES), st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=6))
def test_a_damaged_file_is_a_frame_or_a_refusal(body: bytes, damages: list[tuple[float, int]]) -> None:
    damaged = bytearray(body)
    for place, byte in damages:
        damaged[int(place * (len(damaged) - 1))] = byte
    try:
        frame = decode(bytes(damaged), PARQUET if body[:4] == b"PAR1" else ARROW)
    except BadInput:
        return
    encode(frame)


# --- formats ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("orient", ORIENTS)
def test_json_of_every_orient_comes_back_as_it_went(orient: str) -> None:
    body = encode(FRAME, orient=orient)
    frame = decode(body, JSON, orient=orient)
    expected = FRAME.set_axis(range(4), axis="columns") if orient == "values" else FRAME
    pd.testing.assert_frame_equal(frame, expected, check_column_type=False)


@pytest.mark.parametrize("orient", ["records", "columns", "index", "split", "values", "table"])
def test_json_is_what_pandas_writes(orient: str) -> None:
    frame = pd.DataFrame({"a": [1, 2], "b": [0.5, None], "c": ["x", None]}, index=[7, 9])
    assert json.loads(encode(frame, orient=orient)) == json.loads(frame.to_json(orient=orient))


@pytest.mark.parametrize(
    "frame",
    [
        FRAME,
        pd.DataFrame(
            {"a": [0.1, np.nan, np.inf, -2.0], "b": [1.5, np.nan, 0.1, -0.0]},
            index=["x", 'quoted "y"', "z,", "line\nbreak"],
        ),
        pd.DataFrame({"t,": ["ü", ""], "l": [[1, 2], None]}).rename_axis("name"),
        pd.DataFrame({"a": [1]}, index=pd.MultiIndex.from_tuples([("x", 1)])),
        pd.DataFrame(),
    ],
)
def test_csv_is_what_pandas_writes(frame: pd.DataFrame) -> None:
    assert encode(frame, default_format="csv").decode() == frame.to_csv()


def test_the_answer_looks_as_in_bentoml() -> None:
    response = PandasDataFrame().to_http_response(pd.DataFrame({"col1": [202]}), None)
    assert (response.body, response.content_type) == (b'[{"col1":202}]', b"application/json")


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", '[{"a":1}]'),
        ("Application/JSON; charset=utf-8", '[{"a":1}]'),
        ("text/csv", "a\n1\n"),
        ("TEXT/CSV;header=present", "\ufeffa\r\n1\r\n"),
        ("application/octet-stream", parquet_file(pa.table({"a": [1]}))),
        ("application/vnd.apache.parquet", parquet_file(pa.table({"a": [1]}))),
        ("application/vnd.apache.arrow.stream", arrow_stream(pa.table({"a": [1]}))),
        ("application/x-www-form-urlencoded", '[{"a":1}]'),
        ("", '[{"a":1}]'),
    ],
)
def test_the_content_type_says_what_the_body_is(content_type: str, body: bytes | str) -> None:
    pd.testing.assert_frame_equal(decode(body, content_type), pd.DataFrame({"a": [1]}))


@pytest.mark.parametrize("default_format", FORMATS)
def test_another_content_type_means_the_default_format(default_format: str) -> None:
    body = encode(FRAME, default_format=default_format)
    frame = decode(body, "application/x-unknown", default_format=default_format)
    pd.testing.assert_frame_equal(frame, FRAME)


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("", JSON),
        ("*/*", JSON),
        ("text/html, application/*;q=0.9, */*;q=0.8", JSON),
        ("text/csv", CSV),
        ("Text/CSV ; q=0.1", CSV),
        ("application/json;q=0.5, text/csv", CSV),
        ("text/csv;q=0.5, */*", JSON),
        ("text/csv, */*", CSV),
        ("text/csv;q=0", JSON),
        ("text/csv;q=x", JSON),
        (ARROW, ARROW),
        ("application/vnd.apache.parquet", PARQUET),
        (PARQUET, PARQUET),
        ("," * 10_000, JSON),
    ],
)
def test_the_answer_has_the_format_that_is_asked_for_by_name(accept: str, content_type: str) -> None:
    response = PandasDataFrame().to_http_response(FRAME, None, accept=accept.encode())
    assert response.content_type == content_type.encode()
    assert isinstance(response.body, bytes)
    pd.testing.assert_frame_equal(decode(response.body, content_type), FRAME)


def test_a_wish_that_the_frame_does_not_allow_is_answered_in_the_default_format() -> None:
    response = PandasDataFrame().to_http_response(pd.DataFrame({"a": [1, "x"]}), None, accept=ARROW.encode())
    assert (response.body, response.content_type) == (b'[{"a":1},{"a":"x"}]', b"application/json")


@pytest.mark.parametrize("default_format", ["csv", "parquet", "arrow"])
def test_an_index_travels(default_format: str) -> None:
    frame = pd.DataFrame({"a": [1, 2]}, index=["x", "y"])
    again = decode(encode(frame, default_format=default_format), default_format=default_format)
    pd.testing.assert_frame_equal(again, frame)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
@settings(max_examples=40, deadline=None)
def test_floats_are_exact_in_every_format(values: list[float]) -> None:
    frame = pd.DataFrame({"a": values})
    for name in FORMATS:
        assert decode(encode(frame, default_format=name), default_format=name)["a"].tolist() == values


def test_times_are_written_in_iso_8601_and_read_where_the_dtype_says_so() -> None:
    frame = pd.DataFrame(
        {
            "naive": pd.Series(["2020-01-01T01:02:03.123456789", None], dtype="datetime64[ns]"),
            "zoned": pd.to_datetime(["2020-01-01T02:00:00+01:00", None]).tz_convert("UTC").as_unit("ns"),
            "long": pd.Series(["1 days 00:00:01", None], dtype="timedelta64[ns]"),
        }
    )
    body = encode(frame)
    assert json.loads(body)[0] == {
        "naive": "2020-01-01T01:02:03.123456789", "zoned": "2020-01-01T01:00:00.000000000Z", "long": "P1DT0H0M1S",
    }  # fmt: skip
    dtype = {"naive": "datetime64[ns]", "zoned": "datetime64[ns, UTC]", "long": "timedelta64[ns]"}
    pd.testing.assert_frame_equal(decode(body, dtype=dtype, enforce_dtype=True), frame)


# --- what is not guessed ----------------------------------------------------------------------------------------------


def test_the_types_of_json_decide() -> None:
    frame = decode('[{"date":"2020-01-01","zip":"007","n":1,"f":1,"big":18446744073709551615,"l":[1]},'
                   '{"date":"x","zip":"1","n":null,"f":2.5,"big":1,"l":null}]')  # fmt: skip
    assert frame["date"].tolist() == ["2020-01-01", "x"]
    assert frame["zip"].tolist() == ["007", "1"]
    assert [str(frame[name].dtype) for name in ("n", "f", "big", "l")] == ["float64", "float64", "uint64", "object"]


def test_an_integer_that_no_float_holds_stays_exact_beside_null() -> None:
    body = '[{"a":9007199254740993},{"a":null}]'
    assert decode(body)["a"].tolist() == [9007199254740993, None]
    assert decode(body, dtype="Int64", enforce_dtype=True)["a"].tolist() == [9007199254740993, pd.NA]


def test_a_name_that_some_records_lack_is_null_there() -> None:
    frame = decode('[{"a":1},{"b":2.5,"a":2}]')
    pd.testing.assert_frame_equal(frame, pd.DataFrame({"a": [1, 2], "b": [np.nan, 2.5]}))


def test_labels_of_an_index_are_integers_only_if_all_of_them_are() -> None:
    assert decode('{"a":{"1":0,"-2":0}}', orient="columns").index.tolist() == [1, -2]
    assert decode('{"a":{"1":0,"02":0}}', orient="columns").index.tolist() == ["1", "02"]


def test_csv_keeps_text_that_looks_like_something_else() -> None:
    body = 'country,zip,n,date\nNA,007,1.5,2020-01-01\nnull,"1,2",,x\n'
    frame = decode(body, CSV, dtype={"zip": "str"})
    assert frame["country"].tolist() == ["NA", "null"]
    assert frame["zip"].tolist() == ["007", "1,2"]
    assert frame["date"].tolist() == ["2020-01-01", "x"]
    assert frame["n"].isna().tolist() == [False, True]


# --- rules ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "body", "expected"),
    [
        ("float32", '[{"a":1,"b":0.5}]', ["float32", "float32"]),
        ("int8", '[{"a":1,"b":2}]', ["int8", "int8"]),
        ({"a": "float64"}, '[{"a":1,"b":2}]', ["float64", "int64"]),
        ({"a": "bool"}, '[{"a":1,"b":2}]', ["bool", "int64"]),
        ({"a": "boolean", "b": "Int8"}, '[{"a":true,"b":2},{"a":null,"b":null}]', ["boolean", "Int8"]),
        ({"a": "category", "b": "object"}, '[{"a":"x","b":2}]', ["category", "object"]),
        ({"a": "float64", "b": "datetime64[ns]"}, '[{"a":null,"b":null}]', ["float64", "datetime64[ns]"]),
        (True, '[{"a":1,"b":2}]', ["int64", "int64"]),
        (False, '[{"a":1,"b":2}]', ["int64", "int64"]),
    ],
)
def test_cells_become_the_declared_dtype(dtype: Any, body: str, expected: list[str]) -> None:
    assert [str(each) for each in decode(body, dtype=dtype, enforce_dtype=True).dtypes] == expected


@pytest.mark.parametrize(
    ("dtype", "cells", "row"),
    [
        ("int64", "[1, 1.5]", 1),
        ("int64", "[1, null]", 1),
        ("int8", "[1, 2, 300]", 2),
        ("Int8", "[1, 300, 1]", 1),
        ("UInt8", "[-1, 1]", 0),
        ("float64", '["1.5"]', 0),
        ("Int64", '[1, "2"]', 1),
        ("bool", "[true, null]", 1),
        ("boolean", '[true, "x"]', 1),
        ("datetime64[ns]", '["2020-01-01", "x"]', 1),
        ("datetime64[ns]", "[1577836800]", 0),
        ("datetime64[ns]", '["2020-01-01T00:00:00Z"]', 0),
        ("datetime64[s]", '["2020-01-01T00:00:00", "2020-01-01T00:00:00.5"]', 1),
        ("timedelta64[ns]", '["P1D", "long"]', 1),
        ("str", "[[1]]", 0),
        ("category", '["x", {}]', 1),
        ("int64", '["a"]', 0),
    ],
)
def test_cells_that_do_not_fit_stay_as_they_came_and_are_refused_where_the_dtype_is_enforced(
    dtype: str, cells: str, row: int
) -> None:
    body = json.dumps([{"a": cell} for cell in json.loads(cells)])
    assert str(decode(body, dtype=dtype)["a"].dtype) == str(decode(body)["a"].dtype)
    message = refusal(body, dtype={"a": dtype}, enforce_dtype=True)
    assert message == f"PandasDataFrame: row {row} of the column 'a' is not of dtype \"{dtype}\""


def test_a_column_that_has_a_dtype_may_be_missing_unless_it_is_enforced() -> None:
    assert decode('[{"b":1}]', dtype={"a": "int64"}).columns.tolist() == ["b"]
    message = refusal('[{"b":1}]', dtype={"a": "int64"}, enforce_dtype=True)
    assert message == "PandasDataFrame: the column 'a' is missing"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ('[{"a":1,"b":2}]', {"a": [1], "b": [2]}),
        ('[{"b":1,"a":2}]', {"a": [2], "b": [1]}),
        ('[{"x":1,"y":2}]', {"a": [1], "b": [2]}),
        ('[{"b":1,"y":2}]', {"a": [1], "b": [2]}),
    ],
)
def test_columns_get_their_names_by_order_only_where_their_own_say_nothing(body: str, expected: dict[str, Any]) -> None:
    frame = decode(body, columns=["a", "b"], apply_column_names=True)
    pd.testing.assert_frame_equal(frame, pd.DataFrame(expected))


def test_another_number_of_columns_is_refused_where_names_are_applied() -> None:
    message = refusal('[{"a":1}]', columns=["a", "b"], apply_column_names=True)
    assert message == "PandasDataFrame: expected 2 columns, and 1 were received"
    assert decode('[{"a":1}]', columns=["a", "b"]).columns.tolist() == ["a"]


@pytest.mark.parametrize(("shape", "received"), [((-1, 2), (1, 3)), ((2, -1), (1, 3)), ((2,), (1, 3)), (2, (1, 3))])
def test_an_enforced_shape_is_a_rule(shape: Any, received: tuple[int, int]) -> None:
    body = '[{"a":1,"b":2,"c":3}]'
    assert decode(body, shape=shape).shape == received
    expected = shape if isinstance(shape, tuple) else (shape,)
    message = f'PandasDataFrame: Expecting shape "{expected}", but "{received}" was received.'
    assert refusal(body, shape=shape, enforce_shape=True) == message


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("orient", "body", "reason"),
    [
        ("records", "{", "the document ends too early"),
        ("records", '[{"a":NaN}]', "NaN and Infinity are not JSON"),
        ("records", '[{"a":1,"a":2}]', "the name 'a' occurs twice"),
        ("records", "[" * 100_000, "nested too deeply"),
        ("records", '{"a":1}', "expected an array of objects"),
        ("records", '[{"a":1}, 5]', "row 1 is no object"),
        ("records", f'[{{"a":{2**64}}}]', "row 0 of the column 'a' is an integer of more than 64 bits"),
        ("records", f'[{{"a":0.5}},{{"a":{10**400}}}]', "row 1 of the column 'a' is an integer beyond the range"),
        ("records", f'[{{"a":-1}},{{"a":{2**63}}}]', "'a' has integers that no one type of 64 bits holds"),
        ("index", '{"x": 1}', "row 0 is no object"),
        ("columns", '{"a":{"0":1},"b":[1]}', "column 1 is no object"),
        ("columns", '{"a":[1],"b":[1,2]}', "column 1 has 2 values, the first one 1"),
        ("columns", '{"a":{"1":1,"01":1,"1.0":1}}', ""),
        ("values", "[[1,2],[3]]", "row 1 has 1 values, expected 2"),
        ("values", "[[1,2],3]", "row 1 is no array"),
        ("split", '{"columns":["a"],"data":[[1]],"x":1}', "and no other name"),
        ("split", '{"columns":["a",1,"1"],"data":[]}', "each of them once"),
        ("split", '{"columns":["a"],"data":[[1]],"index":[]}', '"index" must be an array of one'),
        ("split", '{"columns":["a"],"data":[[1]],"index":[[1]]}', '"index" must be an array of one'),
        ("table", '{"schema":{"fields":[{}]},"data":[]}', 'must have a "name"'),
        ("table", '{"schema":{"fields":[{"name":"a"}]},"data":[{"b":1}]}', "other columns than the schema"),
        ("table", '{"schema":{"fields":[{"name":"a"}],"primaryKey":"b"},"data":[]}', '"primaryKey" must name'),
        (
            "table",
            '{"schema":{"fields":[{"name":"a","type":"datetime"}]},"data":[{"a":"x"}]}',
            "the column 'a' has a text that is no time",
        ),
    ],
)
def test_json_that_is_no_frame_is_refused_with_the_place(orient: str, body: str, reason: str) -> None:
    if reason:
        assert reason in refusal(body, orient=orient)
    else:
        decode(body, orient=orient)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "the CSV is empty"),
        (b"\n\n", "the CSV is empty"),
        (b"a,a\n1,2\n", "a name twice"),
        (b"a,\n1,2\n", "a column without a name"),
        (b"a,b\n1,2\n3\n", "row 1 of the CSV has 1 cells, and its header 2"),
        (b"a,b\n1,2,3\n", "row 0 of the CSV has 3 cells, and its header 2"),
        (b'a\n"x\n', "row 0 of the CSV is malformed: unexpected end of data"),
        (b'a\n"x"y\n', "row 0 of the CSV is malformed"),
        (b"a\n\xff\n", "the CSV is not UTF-8: invalid start byte at byte 2"),
        (b"a\n1\x002\n", "the CSV has a NUL character"),
        (b"a\n \n1\n", "lines of white space"),
    ],
)
def test_csv_that_is_no_table_is_refused_with_the_place(body: bytes, reason: str) -> None:
    assert reason in refusal(body, CSV)


def test_a_refusal_does_not_repeat_the_input() -> None:
    secret = "s3cret" * 10
    for body in (f'[{{"a":"{secret}"}}]', f'[["{secret}"]]', f'{{"{secret}"'):
        assert secret not in refusal(body, dtype={"a": "int64"}, enforce_dtype=True)


def test_an_index_label_twice_is_refused_where_it_would_name_a_row() -> None:
    assert "an index label occurs twice" in refusal(",a\n1,1\n1,2\n", CSV, orient="index")
    assert len(decode(",a\n1,1\n1,2\n", CSV)) == 2


# --- what may not happen (T4, T7) -------------------------------------------------------------------------------------


class Canary(pa.ExtensionType):
    """An extension type that says when its code runs."""

    ran: list[str] = []

    def __init__(self) -> None:
        super().__init__(pa.int64(), "tests.canary")

    def __arrow_ext_serialize__(self) -> bytes:
        return b""

    @classmethod
    def __arrow_ext_deserialize__(cls, storage_type: Any, serialized: bytes) -> Canary:
        cls.ran.append("deserialised")
        return cls()


@pytest.mark.parametrize("name", ["a", "ab", "abc", "abcd"])  # the place within the base64 of the footer depends on it
def test_t4_an_extension_type_runs_no_code(name: str) -> None:
    pa.register_extension_type(Canary())
    try:
        table = pa.table({name: pa.ExtensionArray.from_storage(Canary(), pa.array([1]))})
        for content_type, body in ((ARROW, arrow_stream(table)), (PARQUET, parquet_file(table))):
            Canary.ran.clear()
            assert "has an extension type" in refusal(body, content_type)
            assert Canary.ran == []
    finally:
        pa.unregister_extension_type("tests.canary")


def test_t4_a_pickled_type_in_the_metadata_is_refused() -> None:
    metadata = {"ARROW:extension:name": "arrow.py_extension_type", "ARROW:extension:metadata": b"cos\nsystem\n."}
    schema = pa.schema([pa.field("a", pa.int64(), metadata=metadata)])
    table = pa.table({"a": [1]}, schema=schema)
    for content_type, body in ((ARROW, arrow_stream(table)), (PARQUET, parquet_file(table))):
        assert "has an extension type" in refusal(body, content_type)


@pytest.mark.parametrize(
    "metadata",
    [b"{", b"[]", b'{"index_columns":["x"]}', b'{"index_columns":5}', b'{"index_columns":[["a"]]}', b"\xff"],
)
def test_metadata_of_pandas_that_makes_no_sense_is_passed_over(metadata: bytes) -> None:
    table = pa.table({"a": [1]}).replace_schema_metadata({b"pandas": metadata})
    pd.testing.assert_frame_equal(decode(arrow_stream(table), ARROW), pd.DataFrame({"a": [1]}))


@pytest.mark.parametrize(
    ("array", "shown"),
    [
        (pa.array([b"x"]), "binary"),
        (pa.array([{"a": 1}]), "struct"),
        (pa.array([[["x"]]]), "list"),
        (pa.array([1], pa.timestamp("us", tz="../../etc/passwd")), "timestamp"),
    ],
)
def test_columns_that_are_not_plain_are_refused_with_their_type(array: pa.Array, shown: str) -> None:
    message = refusal(arrow_stream(pa.table({"c": array})), ARROW)
    assert f"the column 'c' of an Arrow stream has the type {shown}" in message


def test_a_name_twice_in_a_table_is_refused() -> None:
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
    assert "a column name occurs twice in an Arrow stream" in refusal(arrow_stream(table), ARROW)


def test_compressed_buffers_of_a_stream_are_refused() -> None:
    body = arrow_stream(pa.table({"a": np.zeros(10_000)}), compression="zstd")
    assert "compressed buffers; send it uncompressed" in refusal(body, ARROW)


def test_a_message_of_the_old_form_does_not_pass_unseen() -> None:
    table = pa.table({"a": np.zeros(1_000)})
    body = arrow_stream(table, compression="zstd")
    second = 8 + int.from_bytes(body[4:8], "little")
    hidden = body[:second] + body[second + 4 :]
    assert pa.ipc.open_stream(hidden).read_all().num_rows == 1_000
    assert "the body is no Arrow stream" in refusal(hidden, ARROW)
    for cut in (0, 8):  # the mark of the end may be missing
        whole = arrow_stream(table)
        assert len(decode(whole[: len(whole) - cut], ARROW)) == 1_000


def test_a_stream_of_nothing_a_billion_times_is_refused() -> None:
    sink = pa.BufferOutputStream()
    batch = pa.record_batch({"a": pa.nulls(60_000_000 // 8)})
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        for _ in range(8):
            writer.write_batch(batch)
    body = sink.getvalue().to_pybytes()
    assert len(body) < 10_000
    assert "more than 50,000,000 cells" in refusal(body, ARROW)


def test_offsets_that_lead_beyond_their_buffer_are_refused() -> None:
    body = arrow_stream(pa.table({"a": ["abc", "def"]}))
    at = body.index(b"abcdef") - 64
    offsets = body.index((3).to_bytes(4, "little") + (6).to_bytes(4, "little"), at)
    damaged = body[:offsets] + (2**30).to_bytes(4, "little") * 2 + body[offsets + 8 :]
    assert "is not an Arrow stream that can be read" in refusal(damaged, ARROW)


def test_text_that_is_stored_once_and_meant_often_is_refused() -> None:
    text = pa.DictionaryArray.from_arrays(pa.array([0] * 3_000, pa.int16()), ["x" * 100_000])
    assert "takes more than 256 MiB" in refusal(arrow_stream(pa.table({"a": text})), ARROW)
    file = parquet_file(pa.table({"a": text.cast(pa.large_string())}))
    assert len(file) < 100_000
    assert "takes more than 256 MiB" in refusal(file, PARQUET)


def test_pages_without_bound_are_refused_before_they_are_decoded() -> None:
    file = parquet_file(pa.table({"a": np.zeros(50_000_001, np.bool_)}), compression="zstd")
    assert len(file) < 1_000_000
    assert "more than 50,000,000 cells" in refusal(file, PARQUET)
    table = pa.table({"a": ["x" * 1_000] * 10})
    file = parquet_file(table, use_dictionary=False, column_encoding={"a": "DELTA_BYTE_ARRAY"})
    assert "DELTA_BYTE_ARRAY" in refusal(file, PARQUET)


def test_records_of_different_names_take_no_more_memory_than_is_allowed() -> None:
    body = json.dumps([{f"name{at}": 1} for at in range(2_000)])
    assert "leaves more than 1,000,000 cells empty" in refusal(body)


# --- answers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [[1], {"a": [1]}, None, np.eye(2), pd.Series([1])])
def test_an_answer_that_is_no_frame_is_an_error_of_the_service_that_names_its_type(value: Any) -> None:
    with pytest.raises(InternalServerError, match=rf"returned {type(value).__name__}, not a pandas.DataFrame .*hint"):
        encode(value)


@pytest.mark.parametrize(
    ("frame", "arguments", "reason"),
    [
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), {}, "column names occur twice"),
        (pd.DataFrame({"a": [1, 2]}, index=[0, 0]), {"orient": "index"}, "index labels occur twice"),
        (pd.DataFrame({"a": [object()]}), {}, "a cell of type object has no JSON form"),
        (pd.DataFrame({"a": [1, "x"]}), {"default_format": "arrow"}, "the frame cannot be sent as arrow"),
        (pd.DataFrame({"a": [1]}), {"shape": (2, 1), "enforce_shape": True}, "Expecting shape"),
        (pd.DataFrame({"a": [1.5]}), {"dtype": "int64", "enforce_dtype": True}, "is not of dtype"),
        (pd.DataFrame({"index": [1]}), {"orient": "table"}, "a column has the name of the index"),
    ],
)
def test_a_frame_that_cannot_be_sent_is_an_error_of_the_service(
    frame: pd.DataFrame, arguments: dict[str, Any], reason: str
) -> None:
    with pytest.raises(InternalServerError, match=reason):
        encode(frame, **arguments)


def test_the_rules_shape_the_answer_as_well() -> None:
    frame = pd.DataFrame({"b": [1.0], "a": [2.0]})
    body = encode(frame, columns=["a", "b"], apply_column_names=True, dtype={"a": "int64"})
    assert body == b'[{"a":2,"b":1.0}]'


def test_small_bodies_are_read_and_written_at_once_and_large_ones_in_a_thread() -> None:
    descriptor = PandasDataFrame()
    assert descriptor.offloads
    assert not descriptor.is_slow_to_read(request("[]"))
    assert descriptor.is_slow_to_read(request(b" " * 100_000))
    assert not descriptor.is_slow_to_write(FRAME)
    assert descriptor.is_slow_to_write(pd.DataFrame(np.zeros((1_000, 20))))
    assert not descriptor.is_slow_to_write(None)


# --- construction -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"orient": "rows"}, "orient must be one of records, columns, index, split, values, table, not 'rows'"),
        ({"default_format": "xml"}, "default_format must be one of json, csv, parquet, arrow, not 'xml'"),
        ({"apply_column_names": True}, r"apply_column_names=True needs columns .hint: give columns=…"),
        ({"enforce_dtype": True}, "enforce_dtype=True needs dtype"),
        ({"enforce_shape": True}, "enforce_shape=True needs shape"),
        ({"shape": (1, 2, 3)}, r"a shape is .rows, columns., -1 for any size"),
        ({"shape": ("1",)}, "a shape is"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(arguments: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidArgument, match=f"PandasDataFrame: {reason}"):
        PandasDataFrame(**arguments)


@pytest.mark.parametrize(
    ("dtype", "reason"), [("nonsense", "is no dtype"), ({"a": "period[D]"}, "cannot travel"), ("S3", "cannot travel")]
)
def test_a_dtype_that_cannot_be_used_is_refused(dtype: Any, reason: str) -> None:
    with pytest.raises(UnprocessableEntity, match=reason):
        PandasDataFrame(dtype=dtype)


def test_without_pandas_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingDependencyException, match=r"PandasDataFrame needs .*pip install 'makunouchi\[pandas\]'"):
        PandasDataFrame()


def test_without_pyarrow_json_and_csv_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bentoml.io._frame_formats.is_installed", lambda name: name != "pyarrow")
    descriptor = PandasDataFrame()
    for content_type in (ARROW, PARQUET):
        with pytest.raises(UnsupportedMediaType, match=r"does not read .*pip install 'makunouchi\[arrow\]'"):
            descriptor.from_http_request(request(b"", content_type))
    assert list(descriptor.openapi_request_body()["content"]) == [JSON, CSV]
    assert descriptor.to_http_response(FRAME, None, accept=ARROW.encode()).content_type == b"application/json"


@pytest.mark.parametrize("default_format", ["parquet", "arrow"])
def test_a_default_format_that_needs_pyarrow_says_what_to_install(
    default_format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingDependencyException, match=r"pip install 'makunouchi\[arrow\]'"):
        PandasDataFrame(default_format=default_format)


# --- what it says about itself ----------------------------------------------------------------------------------------

A = {"type": "integer"}
ROW = {"type": "object", "properties": {"a": A, "b": {"type": ["string", "null"]}}}


@pytest.mark.parametrize(
    ("orient", "schema"),
    [
        ("records", {"type": "array", "items": ROW}),
        ("index", {"type": "object", "additionalProperties": ROW}),
        (
            "columns",
            {
                "type": "object",
                "properties": {
                    "a": {"type": "object", "additionalProperties": A},
                    "b": {"type": "object", "additionalProperties": {"type": ["string", "null"]}},
                },
            },
        ),
        ("values", {"type": "array", "items": {"type": "array", "items": {}}}),
    ],
)
def test_the_schema_is_that_of_the_orient(orient: str, schema: dict[str, Any]) -> None:
    assert PandasDataFrame(orient, dtype={"a": "int64", "b": "str"}).openapi_schema() == schema


def test_an_enforced_dtype_makes_its_columns_required() -> None:
    schema = PandasDataFrame(dtype={"a": "Int64"}, enforce_dtype=True).openapi_schema()
    assert schema["items"] == {
        "type": "object", "properties": {"a": {"type": ["integer", "null"]}}, "required": ["a"],
    }  # fmt: skip


def test_the_document_names_every_content_type_the_default_one_first() -> None:
    descriptor = PandasDataFrame.from_sample(pd.DataFrame({"a": [1]}), default_format="csv")
    content = descriptor.openapi_request_body()["content"]
    assert list(content) == [CSV, JSON, PARQUET, ARROW, "application/vnd.apache.parquet"]
    assert content[CSV] == {"schema": {"type": "string"}, "example": ",a\n0,1\n"}
    assert content[JSON]["example"] == [{"a": 1}]
    assert list(descriptor.openapi_responses()["content"]) == [CSV, JSON, PARQUET, ARROW]


@pytest.mark.parametrize(
    "sample",
    [
        pd.DataFrame({"a": [1], "b": ["x"]}),
        {"a": [1], "b": ["x"]},
        [{"a": 1, "b": "x"}],
        '[{"a":1,"b":"x"}]',
        b'[{"a":1,"b":"x"}]',
    ],
)
def test_a_sample_gives_columns_dtypes_and_width_and_enforces_nothing(sample: Any) -> None:
    descriptor = PandasDataFrame.from_sample(sample)
    text = str(pd.Series(["x"]).dtype)
    assert descriptor.to_spec()["args"] == {
        "orient": "records", "columns": ["a", "b"], "apply_column_names": False, "dtype": {"a": "int64", "b": text},
        "enforce_dtype": False, "shape": [-1, 2], "enforce_shape": False, "default_format": "json",
    }  # fmt: skip
    assert descriptor.openapi_example() == [{"a": 1, "b": "x"}]
    assert decode('[{"a":1,"b":"x"}]', **from_spec(descriptor.to_spec()).to_spec()["args"]).shape == (1, 2)


def test_a_sample_of_rows_without_names_gives_them_their_names() -> None:
    descriptor = PandasDataFrame.from_sample({"a": [1], "b": [2]}, orient="values", enforce_dtype=True)
    assert descriptor.from_http_request(request("[[3,4]]")).to_dict("list") == {"a": [3], "b": [4]}


def test_a_sample_of_csv_is_read_as_csv_where_that_is_the_default() -> None:
    assert PandasDataFrame.from_sample("a\n1\n", default_format="csv").columns == ["a"]


@pytest.mark.parametrize("sample", [5, None, pd.Series([1]), {"a": 1}, "5"])
def test_a_sample_that_is_no_table_is_refused(sample: Any) -> None:
    with pytest.raises(BadInput, match="PandasDataFrame: "):
        PandasDataFrame.from_sample(sample)


@pytest.mark.parametrize(
    ("dtype", "name"),
    [
        ("float", "float64"),
        (int, "int64"),
        ("str", "str"),
        ({"a": "datetime64[ns, UTC]"}, {"a": "datetime64[ns, UTC]"}),
        (True, True),
        (None, None),
    ],
)
def test_a_spec_makes_the_same_descriptor_again(dtype: Any, name: Any) -> None:
    spec = PandasDataFrame("split", dtype=dtype, shape=(-1, 2)).to_spec()
    assert spec["args"]["dtype"] == name
    assert from_spec(spec).to_spec() == spec


def test_the_api_function_receives_a_frame() -> None:
    assert PandasDataFrame().input_type() is pd.DataFrame


# --- through a real server --------------------------------------------------------------------------------------------

SERVICE = Path(__file__).parent / "services" / "frames"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_server.Server]:
    folder = tmp_path_factory.mktemp("frames")
    arguments = ("service:svc", "--working-dir", str(SERVICE), "--api-workers", "1")
    with _server.serving(*arguments, folder=folder, home=folder / "home") as server:
        yield server


@pytest.mark.parametrize("content_type", FORMATS.values())
@pytest.mark.parametrize("path", ["/frame", "/frame_in_thread"])
@pytest.mark.parametrize("rows", [2, 20_000])
def test_a_server_takes_and_answers_each_content_type(
    server: _server.Server, path: str, content_type: str, rows: int
) -> None:
    frame = pd.DataFrame({"a": range(rows), "b": [0.5] * rows, "c": ["ü"] * rows})
    headers = {"content-type": content_type, "accept": content_type}
    answer = server.request("POST", path, encode(frame, content_type), headers)
    assert (answer.status, answer.headers["content-type"]) == (200, content_type)
    pd.testing.assert_frame_equal(decode(answer.body, content_type), frame)


@pytest.mark.parametrize(
    ("path", "content_type", "body"),
    [
        ("/series", "application/json", b"[1,2]"),
        ("/series", ARROW, encode(pd.DataFrame({"n": [1, 2]}), ARROW)),
        ("/array", "application/json", b"[[1.0, 2.0]]"),
        ("/array", "application/x-npy", write_npy(np.array([[1.0, np.nan]]))),
    ],
)
def test_a_server_takes_and_answers_series_and_arrays(
    server: _server.Server, path: str, content_type: str, body: bytes
) -> None:
    answer = server.request("POST", path, body, {"content-type": content_type, "accept": content_type})
    assert (answer.status, answer.headers["content-type"]) == (200, content_type)
    if content_type != ARROW:
        assert answer.body == body


@pytest.mark.parametrize("content_type", [*FORMATS.values(), "application/x-npy"])
@pytest.mark.parametrize("path", ["/frame", "/frame_in_thread", "/series", "/array"])
def test_a_server_refuses_what_is_no_value_with_a_400_that_says_why(
    server: _server.Server, path: str, content_type: str
) -> None:
    answer = server.request("POST", path, b"\xff", {"content-type": content_type})
    assert answer.status == 400
    assert answer.value.startswith("BentoService error handling API request: ")
