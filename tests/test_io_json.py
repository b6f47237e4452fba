"""JSON: strict in, compact out, validated where a type is declared."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import json
import math
import re
import subprocess
import sys
import warnings
from typing import Annotated, Any, Generic, NamedTuple, TypedDict, TypeVar

import msgspec
import numpy as np
import pandas as pd
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bentoml._context import Context
from bentoml._http import Request
from bentoml.exceptions import BadInput, InternalServerError, InvalidArgument
from bentoml.io import JSON, from_spec
from bentoml.testing.descriptor import HOSTILE_BODIES, check_descriptor

T = TypeVar("T")


class CreditApplication(pydantic.BaseModel):
    seniority: int
    home: str
    time: int
    age: int
    marital: str
    records: str
    job: str
    expenses: int
    income: float
    assets: float
    debt: float
    amount: int
    price: int


class Inner(pydantic.BaseModel):
    number: float = pydantic.Field(gt=0, examples=[1.5])


class Outer(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(json_schema_extra={"examples": [{"rows": [{"number": 2}]}]})
    rows: list[Inner]


@dataclasses.dataclass
class Flat:
    age: int
    names: list[str] = dataclasses.field(default_factory=list)


class Typed(TypedDict):
    age: int


class Record(msgspec.Struct):
    age: int
    of: dict[int, float] = {}


class Box(msgspec.Struct, Generic[T]):
    inside: T


class Page(pydantic.BaseModel, Generic[T]):
    rows: list[T]


class Pair(NamedTuple):
    a: int
    b: str


@dataclasses.dataclass
class Mixed:
    """A dataclass of which only a constraint belongs to pydantic."""

    age: Annotated[int, pydantic.Field(ge=18)]


APPLICATION = {
    "seniority": 3,
    "home": "owner",
    "time": 36,
    "age": 26,
    "marital": "single",
    "records": "no",
    "job": "freelance",
    "expenses": 35,
    "income": 0.0,
    "assets": 60000.0,
    "debt": 3000.0,
    "amount": 800,
    "price": 1000,
}

#: Ours next to what a reader of the standard library would make of the same bytes.
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def decode(descriptor: JSON, body: bytes | str) -> Any:
    return descriptor.from_http_request(Request(body=body.encode() if isinstance(body, str) else body))


def encode(value: Any, descriptor: JSON | None = None) -> bytes:
    body = (descriptor or JSON()).to_http_response(value, None).body
    assert isinstance(body, bytes)
    return body


def refusal(descriptor: JSON, body: bytes | str) -> str:
    with pytest.raises(BadInput) as caught:
        decode(descriptor, body)
    message = str(caught.value)
    assert message.startswith("Invalid JSON input received: ")
    assert len(message) < 3_000
    return message.removeprefix("Invalid JSON input received: ")


# --- the contract ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("descriptor", "good", "bad"),
    [
        (JSON(), [b"{}", b"null", b" [1, null] ", '{"ü":"é"}'.encode()], [b"", b"{'a': 1}"]),
        (JSON(pydantic_model=CreditApplication), [json.dumps(APPLICATION).encode()], [b"{}", b"[]"]),
        (JSON(type=Outer), [b'{"rows": [{"number": 1}]}'], [b'{"rows": [{"number": 0}]}']),
        (JSON(type=list[Outer]), [b"[]"], [b"{}"]),
        (JSON(type=pydantic.TypeAdapter(dict[str, Inner])), [b'{"a": {"number": 1}}'], [b'{"a": {}}']),
        (JSON(type=Flat), [b'{"age": 1}', b'{"age": 1, "names": ["a"]}'], [b"{}", b'{"age": "1"}']),
        (JSON(type=Typed), [b'{"age": 1}'], [b"{}"]),
        (JSON(type=Record), [b'{"age": 1, "of": {"1": 2.5}}'], [b'{"age": 1, "of": {"a": 2.5}}']),
        (JSON(type=Pair), [b'[1, "b"]'], [b"[1]"]),
        (JSON(type=list[float]), [b"[]", b"[1, 2.5]"], [b"[null]", b"{}"]),
        (JSON(type=int | None), [b"1", b"null"], [b"1.5"]),
        (JSON(json_encoder=json.JSONEncoder), [b"[1]"], [b"["]),
        (JSON.from_sample({"a": [1, None]}), [b"{}"], [b"["]),
    ],
    ids=lambda part: repr(part.type) if isinstance(part, JSON) else "",
)
def test_json_keeps_the_contract_of_descriptors(descriptor: JSON, good: list[bytes], bad: list[bytes]) -> None:
    check_descriptor(descriptor, good_bodies=good, bad_bodies=bad)


@settings(max_examples=80, deadline=None)
@given(st.binary() | json_values.map(lambda value: json.dumps(value).encode()) | st.sampled_from(HOSTILE_BODIES))
@pytest.mark.parametrize("descriptor", [JSON(), JSON(type=Outer), JSON(type=Flat), JSON(type=list[float])])
def test_any_bytes_are_an_answer_or_a_refusal_with_a_4xx(descriptor: JSON, body: bytes) -> None:
    try:
        value = decode(descriptor, body)
    except BadInput:  # 400
        return
    encode(value, descriptor)


# --- reading ---------------------------------------------------------------------------------------------


@given(json_values)
def test_a_document_is_read_as_the_standard_library_reads_it(value: Any) -> None:
    assert decode(JSON(), json.dumps(value)) == value
    assert decode(JSON(), json.dumps(value, ensure_ascii=False, indent=1)) == value


T9 = {
    "nested 10^5 deep": (b"[" * 100_000, "nested too deeply"),
    "objects nested 10^5 deep": (b'{"a":' * 100_000, "nested too deeply"),
    "an integer of 10^6 digits": (b"1" * 1_000_000, "Integer value out of range"),
    "a number beyond a double": (b'{"a": 1e999}', "Number out of range"),
    "NaN": (b'{"a": NaN}', "NaN and Infinity are not JSON (byte 6)"),
    "Infinity": (b"[Infinity]", "NaN and Infinity are not JSON (byte 1)"),
    "-Infinity": (b"-Infinity", "NaN and Infinity are not JSON (byte 1)"),
    "invalid UTF-8": (b'{"a": "ab\xff"}', "the body is not UTF-8: invalid start byte at byte 9"),
    "a lone surrogate in UTF-8": (
        b'"\xed\xa0\x80"',
        "the body is not UTF-8: invalid continuation byte at byte 1",
    ),
    "a lone surrogate, escaped": (b'"\\ud800"', "the document ends too early"),
    "a name twice": (b'{"a": 1, "a": 2}', "the name 'a' occurs twice in one object"),
    "a name twice, deep inside": (b'[{"b": {"x": 1, "x": 1}}]', "the name 'x' occurs twice in one object"),
    "a name twice, once escaped": (b'{"a": 1, "\\u0061": 2}', "the name 'a' occurs twice in one object"),
    "a name twice, hidden by a colon": (
        b'{"a": 1, "a": "\\u003a"}',
        "the name 'a' occurs twice in one object",
    ),
    "a name twice, hidden by a Colon": (
        b'{"a": 1, "a": "\\u003A"}',
        "the name 'a' occurs twice in one object",
    ),
}


@pytest.mark.parametrize(
    "descriptor",
    [JSON(), JSON(type=dict[str, Any]), JSON(type=Flat), JSON(type=Outer), JSON(type=list[float])],
)
@pytest.mark.parametrize("case", T9)
def test_t9_what_parsers_disagree_about_is_refused_with_a_reason(descriptor: JSON, case: str) -> None:
    body, reason = T9[case]
    assert reason in refusal(descriptor, body)


def test_a_name_twice_is_refused_where_the_type_ignores_it() -> None:
    assert "occurs twice" in refusal(JSON(type=Flat), b'{"age": 1, "other": {"a": 1, "a": 2}}')


@given(json_values, st.data())
def test_a_name_twice_is_found_wherever_it_stands(value: Any, data: st.DataObject) -> None:
    first, second = data.draw(json_values), data.draw(json_values)
    name = json.dumps(data.draw(st.text()), ensure_ascii=data.draw(st.booleans()))
    twice = f"{{{name}:{json.dumps(first)},{name}:{json.dumps(second, ensure_ascii=False)}}}"
    assert "occurs twice" in refusal(JSON(), f'[{json.dumps(value)},{{"x": {twice}}}]')


@pytest.mark.parametrize(
    "document",
    [
        '{"a": "x:y"}',
        '{"a:b": {"c": ":"}}',
        '{"a": "\\u003a"}',
        '[{"a": 1}, {"a": 2}]',
        '":::"',
        '{"a":{"a":1}}',
    ],
)
def test_colons_in_text_are_no_names(document: str) -> None:
    assert decode(JSON(), document) == json.loads(document)


@pytest.mark.parametrize("body", [b"", b" \r\n\t"])
def test_an_empty_body_is_called_so(body: bytes) -> None:
    assert refusal(JSON(), body) == "the body is empty"
    assert refusal(JSON(type=CreditApplication), body) == "the body is empty"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'{"a": ', "the document ends too early"),
        (b"{'a': 1}", "JSON is malformed: object keys must be strings (byte 1)"),
        (b"[1] x", "JSON is malformed: trailing characters"),
        (b"[01]", "JSON is malformed: "),
        (b"\xef\xbb\xbf1", "JSON is malformed: invalid character (byte 0)"),
    ],
)
def test_broken_json_is_refused_with_the_place(body: bytes, reason: str) -> None:
    assert refusal(JSON(), body).startswith(reason)


def test_the_content_type_of_a_request_does_not_matter() -> None:
    assert JSON().from_http_request(Request(body=b"1", raw_headers=[(b"content-type", b"text/csv")])) == 1


# --- declared types --------------------------------------------------------------------------------------


def test_the_function_receives_an_instance_of_the_model() -> None:
    value = decode(JSON(pydantic_model=CreditApplication), json.dumps(APPLICATION))
    assert value == CreditApplication(**APPLICATION)


@pytest.mark.parametrize("tp", [Flat, Typed, Record])
def test_the_function_receives_an_instance_of_the_type(tp: Any) -> None:
    value = decode(JSON(type=tp), '{"age": 1}')
    assert value == ({"age": 1} if tp is Typed else tp(age=1))
    assert type(value) is (dict if tp is Typed else tp)


def test_pydantic_names_every_field_and_its_rule() -> None:
    body = {**APPLICATION, "age": "old", "price": 1.5}
    del body["home"]
    assert refusal(JSON(pydantic_model=CreditApplication), json.dumps(body)).splitlines() == [
        "home: Field required (missing)",
        "age: Input should be a valid integer, unable to parse string as an integer (int_parsing)",
        "price: Input should be a valid integer, got a number with a fractional part (int_from_float)",
    ]


def test_a_field_inside_lists_is_named_by_its_path() -> None:
    assert refusal(JSON(type=Outer), '{"rows": [{"number": 1}, {"number": -1}]}') == (
        "rows[1].number: Input should be greater than 0 (greater_than)"
    )
    assert refusal(JSON(type=Flat), '{"age": 1, "names": ["a", 2]}') == "names[1]: Expected `str`, got `int`"


def test_a_missing_field_is_named() -> None:
    assert refusal(JSON(type=Flat), "{}") == "body: Object missing required field `age`"


def test_an_array_where_an_object_is_expected_is_called_so() -> None:
    assert refusal(JSON(pydantic_model=CreditApplication), "[]") == "body: Input should be an object (model_type)"
    assert refusal(JSON(type=Flat), "[]") == "body: Expected `object`, got `array`"


def test_many_problems_are_capped_and_counted() -> None:
    lines = refusal(JSON(type=Outer), json.dumps({"rows": [{}] * 1000})).splitlines()
    assert len(lines) == 11
    assert lines[-1] == "… and 990 more"


def test_a_refusal_never_echoes_the_input() -> None:
    secret = "secret" * 10
    for tp in (CreditApplication, Flat):
        assert secret not in refusal(JSON(type=tp), json.dumps({"age": secret}))


def test_names_that_a_caller_sent_are_cut_and_hold_no_line_break() -> None:
    message = refusal(JSON(type=dict[str, Inner]), json.dumps({"a\nb" + "x" * 10_000: {}}))
    assert len(message) < 250
    assert "\n" not in message
    assert "\n" not in refusal(JSON(), b'{"a\\nb": 1, "a\\nb": 2}')


def test_a_constraint_of_pydantic_is_kept_wherever_it_stands_in_the_type() -> None:
    assert "greater than or equal to 18" in refusal(JSON(type=Mixed), '{"age": 17}')
    assert "greater than or equal to 18" in refusal(JSON(type=list[Mixed]), '[{"age": 17}]')
    assert "greater than or equal to 18" in refusal(JSON(type=Annotated[int, pydantic.Field(ge=18)]), "17")


def test_a_constraint_of_msgspec_is_kept() -> None:
    assert refusal(JSON(type=Annotated[int, msgspec.Meta(ge=18)]), "17") == "body: Expected `int` >= 18"


def test_a_strict_model_still_takes_what_json_can_only_say_as_text() -> None:
    class Strict(pydantic.BaseModel):
        model_config = pydantic.ConfigDict(strict=True)
        day: datetime.date

    assert decode(JSON(pydantic_model=Strict), '{"day": "2024-02-29"}').day == datetime.date(2024, 2, 29)


def test_an_error_that_a_validator_of_the_user_raises_is_not_the_callers() -> None:
    class Broken(pydantic.BaseModel):
        a: int

        @pydantic.field_validator("a")
        @classmethod
        def _fail(cls, value: int) -> int:
            raise KeyError("a bug")

    with pytest.raises(KeyError):
        decode(JSON(pydantic_model=Broken), '{"a": 1}')


@pytest.mark.parametrize("given", [dict, Flat, list[int], CreditApplication(**APPLICATION), "CreditApplication"])
def test_a_pydantic_model_that_is_none_is_refused(given: Any) -> None:
    with pytest.raises(
        InvalidArgument,
        match=r"pydantic_model must be a class derived from BaseModel, .*hint: the BaseModel of pydantic 2",
    ):
        JSON(pydantic_model=given)


@pytest.mark.parametrize("given", [object, np.ndarray, "int", 5, Flat | Record])
def test_a_type_that_nothing_can_validate_is_refused_at_once(given: Any) -> None:
    with pytest.raises(InvalidArgument, match="JSON cannot validate the type"):
        JSON(type=given)


def test_an_annotation_that_cannot_be_resolved_is_refused_at_once() -> None:
    @dataclasses.dataclass
    class Dangling:
        a: Nowhere  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(InvalidArgument, match=r"Dangling has an annotation that cannot be resolved: .*'Nowhere'"):
        JSON(type=Dangling)


def test_two_types_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="pydantic_model and type both name the type"):
        JSON(pydantic_model=Inner, type=Flat)


def test_validate_json_warns_that_it_has_no_effect() -> None:
    with pytest.warns(DeprecationWarning, match="has no effect"):
        JSON(validate_json=False)


def test_without_a_pydantic_type_pydantic_is_not_imported() -> None:
    code = """
import sys
from bentoml._http import Request
from bentoml.io import JSON
JSON(type=list[float]).from_http_request(Request(body=b"[1]"))
JSON().to_http_response({"a": [1, None]}, None)
print({"numpy", "pandas", "pydantic", "attrs"} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


# --- writing ---------------------------------------------------------------------------------------------


@given(json_values.filter(lambda value: value is not None))
def test_the_answer_is_that_of_json_dumps(value: Any) -> None:
    assert json.loads(encode(value)) == value


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(0.0001, 1e15) | st.text(),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(st.text() | st.integers() | st.booleans() | st.none(), inner, max_size=4)
        ),
        max_leaves=12,
    ).filter(lambda value: value is not None)
)
def test_the_answer_is_that_of_json_dumps_to_the_byte(value: Any) -> None:
    assert encode(value) == json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def test_none_is_an_empty_body_with_status_200() -> None:
    response = JSON().to_http_response(None, None)
    assert (response.status, response.body, response.content_type) == (200, b"", b"application/json")


class Colour(enum.Enum):
    RED = "red"


class Text(str):
    pass


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.float32(0.5), b"0.5"),
        (np.float64(1.5), b"1.5"),
        (np.int64(3), b"3"),
        (np.bool_(True), b"true"),
        (np.str_("a"), b'"a"'),
        (Text("a"), b'"a"'),
        (np.array([[1, 2], [3, 4]]), b"[[1,2],[3,4]]"),
        (np.array(5), b"5"),
        (np.array(["a", None], dtype=object), b'["a",null]'),
        ({"p": np.array([0.5]), "n": None}, b'{"p":[0.5],"n":null}'),
        (pd.DataFrame({"a": [1, 2]}), b'{"a":{"0":1,"1":2}}'),
        (pd.Series([1.5], index=["x"]), b'{"x":1.5}'),
        (Inner(number=1), b'{"number":1.0}'),
        ([Outer(rows=[Inner(number=1)])], b'[{"rows":[{"number":1.0}]}]'),
        (pydantic.RootModel[list[int]]([1]), b"[1]"),
        (Flat(1), b'{"age":1,"names":[]}'),
        (Record(1), b'{"age":1,"of":{}}'),
        (Pair(1, "b"), b'[1,"b"]'),
        ((1, 2), b"[1,2]"),
        ({1}, b"[1]"),
        (Colour.RED, b'"red"'),
        (datetime.date(2024, 2, 29), b'"2024-02-29"'),
        ({datetime.date(2024, 2, 29): None}, b'{"2024-02-29":null}'),
        (decimal.Decimal("1.5"), b'"1.5"'),
        ({None: 1, True: 2, 3: 4, 1.5: 5}, b'{"null":1,"true":2,"3":4,"1.5":5}'),
        ({np.float64(1.5): 1}, b'{"1.5":1}'),
        (2**70, str(2**70).encode()),
        ("null", b'"null"'),
        ({"a": "null", "when": datetime.date(2024, 2, 29)}, b'{"a":"null","when":"2024-02-29"}'),
    ],
    ids=lambda part: type(part).__name__,
)
def test_what_models_return_has_a_json_form(value: Any, expected: bytes) -> None:
    assert encode(value) == expected


def test_attrs_classes_have_a_json_form() -> None:
    attrs = pytest.importorskip("attrs")
    point = attrs.make_class("Point", ["x", "y"])
    assert encode(point(1, None)) == b'{"x":1,"y":null}'


@pytest.mark.parametrize(
    "value",
    [
        math.nan,
        math.inf,
        {"a": [None, -math.inf]},
        np.float32("nan"),
        np.array([1.0, math.nan]),
        Inner.model_construct(number=math.nan),
        Record(1, {1: math.nan}),
        pd.DataFrame({"a": [math.nan]}),
    ],
)
def test_nan_in_an_answer_is_an_error_of_the_service(value: Any) -> None:
    with pytest.raises(InternalServerError, match="cannot be encoded: Out of range float values") as caught:
        encode(value)
    assert caught.value.error_code == 500


def cyclic() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"a": object()}, "of type dict, cannot be encoded: object has no JSON form"),
        ([1j], "of type list, cannot be encoded: complex has no JSON form"),
        ({(1, 2): 3}, "of type dict, cannot be encoded: keys must be str"),
        ("a\ud800", "of type str, cannot be encoded: .*surrogates not allowed"),
        (cyclic(), "of type list, cannot be encoded: "),
        ([10**5000], "of type list, cannot be encoded: "),
    ],
)
def test_an_answer_without_json_form_is_an_error_that_names_the_type(value: Any, reason: str) -> None:
    with pytest.raises(InternalServerError, match=reason) as caught:
        encode(value)
    assert "hint: return dict, list" in str(caught.value)


def test_an_encoder_of_the_user_writes_the_answer() -> None:
    class Complex(json.JSONEncoder):
        def default(self, value: Any) -> Any:
            return [value.real, value.imag] if isinstance(value, complex) else super().default(value)

    descriptor = JSON(json_encoder=Complex)
    assert encode({"ü": 1 + 2j}, descriptor) == '{"ü":[1.0,2.0]}'.encode()
    assert encode(None, descriptor) == b""
    with pytest.raises(InternalServerError, match="Object of type object is not JSON serializable"):
        encode(object(), descriptor)
    with pytest.raises(InternalServerError, match="Out of range float"):
        encode(math.nan, descriptor)


def test_a_context_sets_status_and_headers_of_the_answer() -> None:
    context = Context(Request())
    context.response.status_code = 400
    response = JSON().to_http_response({"a": 1}, context)
    assert (response.status, response.body, response.content_type) == (400, b'{"a":1}', b"application/json")


# --- what it says about itself ---------------------------------------------------------------------------


def test_without_a_type_the_schema_is_an_object() -> None:
    assert JSON().openapi_schema() == {"type": "object"}
    assert JSON().openapi_components() == {}
    assert JSON().input_type() is Any


def test_the_schema_of_a_model_stands_among_the_components_with_those_inside_and_its_examples() -> None:
    descriptor = JSON(pydantic_model=Outer)
    assert descriptor.openapi_schema() == {"$ref": "#/components/schemas/Outer"}
    components = descriptor.openapi_components()
    assert set(components) == {"Outer", "Inner"}
    assert components["Outer"]["examples"] == [{"rows": [{"number": 2}]}]
    assert components["Outer"]["properties"]["rows"]["items"] == {"$ref": "#/components/schemas/Inner"}
    assert components["Inner"]["properties"]["number"]["examples"] == [1.5]
    assert descriptor.input_type() is Outer


def test_the_schema_of_other_types_stands_among_the_components_too() -> None:
    assert JSON(type=list[Flat]).openapi_schema() == {
        "type": "array",
        "items": {"$ref": "#/components/schemas/Flat"},
    }
    assert JSON(type=Flat).openapi_components()["Flat"]["required"] == ["age"]
    assert JSON(type=list[float]).openapi_schema() == {"type": "array", "items": {"type": "number"}}


@pytest.mark.parametrize("tp", [Box[int], Box[list[Flat]], Page[int], Page[Inner]])
def test_the_names_of_generic_types_are_fit_for_components(tp: Any) -> None:
    names = JSON(type=tp).openapi_components()
    assert names
    assert all(re.fullmatch(r"[a-zA-Z0-9._-]+", name) for name in names)


def test_a_spec_says_what_it_cannot_carry() -> None:
    assert JSON().to_spec() == {
        "id": "bentoml.io.JSON",
        "args": {"has_pydantic_model": False, "has_json_encoder": False},
    }
    spec = JSON(pydantic_model=Inner, json_encoder=json.JSONEncoder).to_spec()
    assert spec["args"] == {"has_pydantic_model": True, "has_json_encoder": True}
    with pytest.warns(UserWarning, match="does not carry what has_pydantic_model, has_json_encoder stand"):
        assert from_spec(spec).to_spec() == JSON().to_spec()


def test_a_spec_that_lost_nothing_makes_no_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        from_spec(JSON().to_spec())
        from_spec({"id": "bentoml.io.JSON", "args": {}})


@pytest.mark.parametrize(
    ("sample", "example", "tp"),
    [
        (Inner(number=2), {"number": 2.0}, Inner),
        (Flat(1, ["a"]), {"age": 1, "names": ["a"]}, Flat),
        (Record(1), {"age": 1, "of": {}}, Record),
        ({"a": np.float32(0.5)}, {"a": 0.5}, None),
        ([1, 2], [1, 2], None),
        ('{"a": 1}', {"a": 1}, None),
        (b"[1]", [1], None),
    ],
)
def test_a_sample_gives_the_type_and_the_example(sample: Any, example: Any, tp: Any) -> None:
    descriptor = JSON.from_sample(sample)
    assert descriptor.type is tp
    assert descriptor.openapi_request_body()["content"]["application/json"]["example"] == example


def test_a_type_that_is_given_beside_a_sample_is_kept() -> None:
    assert JSON.from_sample({"number": 1}, pydantic_model=Inner).type is Inner


@pytest.mark.parametrize("sample", [5, None, object(), np.array([1]), Flat, "{", b"\xff", "\ud800"])
def test_a_sample_that_is_none_is_refused(sample: Any) -> None:
    with pytest.raises(BadInput, match=r"no sample \(hint: give a pydantic model|Invalid JSON input received"):
        JSON.from_sample(sample)
