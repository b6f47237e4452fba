"""Multipart: fields by name, in and out, each by its own descriptor."""

from __future__ import annotations

import asyncio
import inspect
import io
import threading
from typing import Any

import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import create_model

from bentoml._context import Context
from bentoml._http import Request, Response
from bentoml.exceptions import BadInput, BentoMLException, InternalServerError, InvalidArgument, UnsupportedMediaType
from bentoml.io import JSON, File, Image, IODescriptor, Multipart, NumpyNdarray, Text, from_spec
from bentoml.io._form import Part, form_of, parse_form
from bentoml.testing.descriptor import check_descriptor


class Later(IODescriptor[str]):
    """A descriptor of one's own that reads and writes asynchronously, and that refuses what is empty."""

    mime_type = "text/plain"

    async def from_http_request(self, request: Request) -> str:
        await asyncio.sleep(0)
        if not request.body:
            raise BadInput("Later: the body is empty")
        return request.body.decode()

    async def to_http_response(self, value: str, context: Context | None) -> Response:  # type: ignore[override]  # as users may
        await asyncio.sleep(0)
        return self.respond(value.encode(), b"text/plain", context)

    def input_type(self) -> Any:
        return str

    def openapi_schema(self) -> dict[str, Any]:
        return {"type": "string"}


def png(size: tuple[int, int] = (4, 3)) -> bytes:
    file = io.BytesIO()
    PIL.Image.new("RGB", size).save(file, "PNG")
    return file.getvalue()


def part(name: str, body: bytes = b"1", content_type: str = "", filename: str | None = None) -> Part:
    headers = [(b"content-type", content_type.encode())] if content_type else []
    return Part(name, filename, headers, body)


def form(*parts: Part) -> Request:
    body, content_type = form_of(parts)
    return Request(body=body, raw_headers=[(b"content-type", content_type)])


def parts_of(response: Response) -> dict[str, Part]:
    assert isinstance(response.body, bytes)
    return {each.name: each for each in parse_form(response.content_type.decode(), response.body)}


AB = Multipart(a=JSON(), b=Text())
GOOD = form(part("a", b"[1]"), part("b", "ü".encode()))


def test_multipart_keeps_the_contract_of_descriptors() -> None:
    check_descriptor(
        AB,
        good_bodies=[GOOD, form(part("b"), part("a"))],
        bad_bodies=[
            form(part("a")),
            form(part("a"), part("b"), part("c")),
            form(part("a"), part("b"), part("a")),
            form(part("a", b"{"), part("b")),
            form(part("a"), part("b", b"\xff")),
            Request(body=GOOD.body, raw_headers=[(b"content-type", b"multipart/form-data")]),
            Request(body=GOOD.body, raw_headers=[(b"content-type", b"multipart/form-data; boundary=other")]),
            Request(body=GOOD.body[:-10], raw_headers=GOOD.raw_headers),
        ],
    )


def test_multipart_of_files_images_and_arrays_keeps_the_contract_of_descriptors() -> None:
    descriptor = Multipart(image=Image(mime_type="image/png"), file=File(), rows=NumpyNdarray())
    whole = form(part("image", png(), "image/png", "a.png"), part("file", b"\0"), part("rows", b"[[1, 2]]"))
    broken = form(part("image", png()[:-30], "image/png", "a.png"), part("file", b"\0"), part("rows", b"[[1, 2]]"))
    check_descriptor(descriptor, good_bodies=[whole], bad_bodies=[broken])


def test_multipart_of_a_descriptor_that_works_later_keeps_the_contract() -> None:
    later = Multipart(a=Later(), image=Image())
    assert inspect.iscoroutinefunction(later.from_http_request)
    assert inspect.iscoroutinefunction(later.to_http_response)
    request = form(part("a", b"x"), part("image", png(), "image/png"))
    value = asyncio.run(_awaited(later.from_http_request(request)))
    assert (value["a"], value["image"].size) == ("x", (4, 3))
    answer = asyncio.run(_awaited(later.to_http_response(value, None)))
    assert parts_of(answer)["a"].body == b"x"
    with pytest.raises(BadInput, match="^field 'a': Later: the body is empty$"):
        asyncio.run(_awaited(later.from_http_request(form(part("a", b""), part("image")))))


async def _awaited(value: Any) -> Any:
    return await value


def test_a_slow_field_beside_one_that_works_later_is_read_in_a_thread() -> None:
    threads = []

    class Slow(Text):
        offloads = True

        def from_http_request(self, request: Request) -> str:
            threads.append(threading.current_thread())
            return super().from_http_request(request)

    descriptor: Any = Multipart(a=Later(), b=Slow())
    asyncio.run(_awaited(descriptor.from_http_request(form(part("a"), part("b")))))
    assert threads != [threading.main_thread()]


@pytest.mark.parametrize("fields", [{"a": File()}, {"a": Text(), "b": Image()}])
def test_a_form_is_as_slow_as_its_slowest_field(fields: dict[str, Any]) -> None:
    assert Multipart(**fields).offloads
    assert not AB.offloads


# -- reading -----------------------------------------------------------------------------------------------------------


def test_the_values_come_by_name_in_the_order_of_the_fields() -> None:
    values = AB.from_http_request(form(part("b", b"x"), part("a", b'{"k": 1}')))
    assert list(values.items()) == [("a", {"k": 1}), ("b", "x")]


def test_a_field_sees_the_headers_of_its_part() -> None:
    seen: list[Request] = []

    class Looking(Text):
        def from_http_request(self, request: Request) -> str:
            seen.append(request)
            return super().from_http_request(request)

    request = form(part("a", b"x", "text/csv", "../x.csv"))
    request.path, request.client = "/p", "me"
    Multipart(a=Looking()).from_http_request(request)
    assert (seen[0].headers["content-type"], seen[0].path, seen[0].client) == ("text/csv", "/p", "me")


def test_a_file_in_a_form_knows_its_name() -> None:
    value = Multipart(a=File()).from_http_request(form(part("a", b"x", "text/csv", "../x.csv")))
    assert (value["a"].name, value["a"].content_type, value["a"].read()) == ("x.csv", "text/csv", b"x")


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([part("a")], r"^Multipart: missing b \(hint: the fields are a, b\)$"),
        ([], r"^Multipart: missing a, b "),
        ([part("a"), part("c")], r"^Multipart: there is no field 'c' \(hint: the fields are a, b\)$"),
        ([part("")], r"^Multipart: there is no field '' "),
        ([part("a"), part("a")], r"^Multipart: the field 'a' is there twice$"),
        ([part("a", b"{"), part("b")], r"^field 'a': Invalid JSON input received: the document ends too early"),
        ([part("a"), part("b", b"\xff")], r"^field 'b': Text: the body is not UTF-8"),
    ],
)
def test_what_is_wrong_with_a_form_is_said_with_the_field(parts: list[Part], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        AB.from_http_request(form(*parts))


def test_the_error_of_a_field_keeps_its_status_and_hint() -> None:
    with pytest.raises(UnsupportedMediaType, match=r"^field 'table': File: expected .* 'text/plain' \(hint: "):
        Multipart(table=File(mime_type="text/csv")).from_http_request(form(part("table", b"x", "text/plain")))


def test_a_body_that_is_no_form_is_a_415() -> None:
    with pytest.raises(UnsupportedMediaType, match="expected a form, but the content type is 'application/json'"):
        AB.from_http_request(Request(body=b"{}", raw_headers=[(b"content-type", b"application/json")]))


def test_a_form_of_many_unknown_parts_is_refused_at_the_first() -> None:
    with pytest.raises(BadInput, match="there is no field 'p0'"):
        AB.from_http_request(form(*(part(f"p{number}") for number in range(100_000))))


_PARTS = st.lists(
    st.builds(
        part,
        st.sampled_from(["a", "b", "image", "x"]) | st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
        st.binary(max_size=30) | st.sampled_from([b"1", png()]),
        st.sampled_from(["", "image/png", "text/plain", "multipart/form-data; boundary=x"]),
        st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    ),
    max_size=4,
)


@settings(max_examples=150, deadline=None)
@given(_PARTS, st.binary(max_size=20), st.integers(0, 400))
def test_any_form_is_values_or_refused(parts: list[Part], garbage: bytes, place: int) -> None:
    whole = form(*parts)
    body = whole.body[:place] + garbage + whole.body[place:]
    for request in (whole, Request(body=body, raw_headers=whole.raw_headers)):
        for descriptor in (AB, Multipart(a=File(), image=Image())):
            try:
                descriptor.to_http_response(descriptor.from_http_request(request), None)
            except BentoMLException as error:
                assert 400 <= error.error_code < 500  # noqa: PT017 - or it was taken


# -- writing -----------------------------------------------------------------------------------------------------------


def test_each_value_is_a_part_with_the_type_of_its_descriptor() -> None:
    descriptor = Multipart(a=JSON(), image=Image(), file=File(mime_type="text/csv"), raw=File())
    csv = io.BytesIO(b"1,2")
    csv.name = "/tmp/ü.csv"  # type: ignore[attr-defined]  # as users do
    value = {"a": [1], "image": PIL.Image.new("RGB", (2, 2)), "file": csv, "raw": b"x"}
    response = descriptor.to_http_response(value, None)
    parts = parts_of(response)
    assert list(parts) == ["a", "image", "file", "raw"]
    assert [(each.filename, dict(each.raw_headers).get(b"content-type")) for each in parts.values()] == [
        (None, b"application/json"),
        ("output.jpeg", b"image/jpeg"),
        ("ü.csv", b"text/csv"),
        (None, b"application/octet-stream"),
    ]
    assert (parts["a"].body, parts["file"].body, parts["raw"].body) == (b"[1]", b"1,2", b"x")
    assert response.body.count(b"isposition") == 4


def test_a_file_without_a_name_is_a_file_all_the_same() -> None:
    response = Multipart(a=File()).to_http_response({"a": io.BytesIO(b"x")}, None)
    assert parts_of(response)["a"].filename == "a"


def test_an_answer_carries_what_the_context_set() -> None:
    context = Context(Request())
    context.response.status_code = 202
    context.response.headers["x-own"] = "1"
    response = Multipart(a=Text()).to_http_response({"a": "x"}, context)
    assert (response.status, response.raw_headers) == (202, [(b"x-own", b"1")])


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "returned NoneType, not a dict"),
        ([1], "returned list, not a dict"),
        ({"a": 1}, "returned the fields a, not a, b"),
        ({"a": 1, "b": "x", "c": 1}, "returned the fields a, b, c, not a, b"),
        ({"a": 1, 2: "x"}, "returned the fields a, 2, not a, b"),
        ({"a": object(), "b": "x"}, "^field 'a': "),
        ({"a": 1, "b": 2}, "^field 'b': Text: the API function returned int"),
    ],
)
def test_a_value_that_is_not_the_fields_is_an_error_of_the_service(value: Any, message: str) -> None:
    with pytest.raises(InternalServerError, match=message):
        AB.to_http_response(value, None)


def test_a_stream_cannot_be_a_part() -> None:
    async def words() -> Any:
        yield "a"

    with pytest.raises(InternalServerError, match=r"field 'a': a stream cannot be a part of a form \(hint: join its"):
        Multipart(a=Text()).to_http_response({"a": words()}, None)


# -- the constructor and the document ----------------------------------------------------------------------------------


def test_a_form_needs_fields_that_are_descriptors() -> None:
    with pytest.raises(InvalidArgument, match=r"Multipart: there is no field \(hint: Multipart\(image=Image"):
        Multipart()
    for wrong in (Multipart(a=Text()), Text, "text", None):
        with pytest.raises(InvalidArgument, match="the field 'b' must be a descriptor other than Multipart, not "):
            Multipart(a=Text(), b=wrong)  # type: ignore[arg-type]  # the error under test


def test_the_spec_holds_those_of_the_fields() -> None:
    descriptor = Multipart(a=File(mime_type="text/csv"), b=Text())
    spec = descriptor.to_spec()
    assert spec == {
        "id": "bentoml.io.Multipart",
        "args": {"a": File(mime_type="text/csv").to_spec(), "b": Text().to_spec()},
    }
    assert from_spec(spec).to_spec() == spec
    with pytest.raises(InvalidArgument, match="must have the mapping 'args'"):
        from_spec({"id": "bentoml.io.Multipart"})


def test_the_document_says_what_each_field_is() -> None:
    descriptor = Multipart(a=JSON.from_sample({"k": 1}), image=Image(allowed_mime_types=["image/png", "image/gif"]))
    [(mime_type, media)] = descriptor.openapi_request_body()["content"].items()
    assert mime_type == "multipart/form-data"
    assert media == {
        "schema": {
            "type": "object",
            "properties": {
                "a": {"type": "object", "examples": [{"k": 1}]},
                "image": {"type": "string", "format": "binary"},
            },
            "required": ["a", "image"],
            "additionalProperties": False,
        },
        "encoding": {"a": {"contentType": "application/json"}, "image": {"contentType": "image/png, image/gif"}},
    }


def test_two_models_of_one_name_stay_two_in_the_document() -> None:
    first, second = create_model("Input", x=(int, ...)), create_model("Input", y=(str, ...))
    descriptor = Multipart(a=JSON(pydantic_model=first), b=JSON(pydantic_model=second), c=JSON(pydantic_model=first))
    properties = descriptor.openapi_schema()["properties"]
    names = [each["$ref"].rpartition("/")[2] for each in properties.values()]
    assert names == ["Input", "Input_2", "Input"]
    components = descriptor.openapi_components()
    assert [list(components[name]["properties"]) for name in names] == [["x"], ["y"], ["x"]]


def test_a_sample_is_one_for_each_field() -> None:
    descriptor = Multipart.from_sample({"a": [1], "b": "x"}, a=JSON(), b=Text(), c=NumpyNdarray())
    assert descriptor.openapi_example() == {"a": [1], "b": "x"}
    with pytest.raises(BadInput, match=r"the sample must be a mapping of fields \(hint: some of a\)"):
        Multipart.from_sample({"z": 1}, a=JSON())


def test_the_api_function_receives_the_fields_as_keyword_arguments() -> None:
    assert list(AB.fields) == ["a", "b"]
    assert AB.input_type() is dict
    assert np.array_equal(Multipart(r=NumpyNdarray()).from_http_request(form(part("r", b"[1]")))["r"], [1])
