"""File: bytes in, as a file in memory, and bytes out."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bentoml._context import Context
from bentoml._http import Request
from bentoml.exceptions import BadInput, BentoMLException, InternalServerError, InvalidArgument, UnsupportedMediaType
from bentoml.io import File, from_spec
from bentoml.io._form import Part, form_of
from bentoml.service.api import InferenceAPI
from bentoml.testing.descriptor import check_descriptor


def request(body: bytes, content_type: str = "", **headers: str) -> Request:
    given = {"content-type": content_type, **headers}
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in given.items() if value]
    return Request(body=body, raw_headers=raw)


def form(*parts: Part) -> Request:
    body, content_type = form_of(parts)
    return request(body, content_type.decode())


FORM = form(
    Part("note", None, [], b"no file"),
    Part("x", "../a.txt", [(b"content-type", b"text/plain")], b"text"),
    Part("y", "b.csv", [(b"content-type", b"text/csv; header=present")], b"1,2"),
)


def test_file_keeps_the_contract_of_descriptors() -> None:
    check_descriptor(
        File(),
        good_bodies=[b"", b"abc", request(b"x", "image/png"), FORM],
        bad_bodies=[request(b"", "multipart/form-data")],
    )
    check_descriptor(
        File(mime_type="text/csv"),
        good_bodies=[request(b"1,2", "text/csv"), request(b"1,2", "Text/CSV; charset=utf-8"), FORM],
        bad_bodies=[b"1,2", request(b"1,2", "text/plain"), form(Part("a", None, [], b"1"))],
    )


@given(st.binary(), st.sampled_from(["", "multipart/form-data; boundary=x", "text/csv"]) | st.text(max_size=20))
def test_anything_is_a_file_or_refused(body: bytes, content_type: str) -> None:
    headers = [(b"content-type", content_type.encode()), (b"content-disposition", body[:50])]
    for descriptor in (File(), File(mime_type="text/csv")):
        try:
            file = descriptor.from_http_request(Request(body=body, raw_headers=headers))
        except BentoMLException as error:
            assert 400 <= error.error_code < 500  # noqa: PT017 - or it was taken
        else:
            assert descriptor.to_http_response(file, None).body == body or "multipart" in content_type


def test_the_function_gets_a_file_that_knows_its_name_and_type() -> None:
    file = File().from_http_request(
        request(b"abc", "Text/CSV; charset=utf-8", content_disposition='attachment; filename="/etc/x.csv"')
    )
    assert isinstance(file, io.BytesIO)
    assert isinstance(file, BinaryIO)
    assert (file.name, file.content_type, file.read()) == ("x.csv", "text/csv", b"abc")


def test_a_file_without_a_name_has_none() -> None:
    file = File().from_http_request(Request(body=b"abc"))
    assert (file.name, file.content_type) == (None, "")


def test_of_a_form_the_first_fitting_file_is_taken() -> None:
    first, csv = File().from_http_request(FORM), File(mime_type="text/csv").from_http_request(FORM)
    assert (first.name, first.read()) == ("a.txt", b"text")
    assert (csv.name, csv.read()) == ("b.csv", b"1,2")


def test_another_type_is_a_415_that_names_the_wanted_one() -> None:
    with pytest.raises(
        UnsupportedMediaType,
        match=r"expected a file of type text/csv, but the content type is 'image/png' \(hint: send",
    ):
        File(mime_type="text/csv").from_http_request(request(b"", "image/png"))


@pytest.mark.parametrize(
    ("descriptor", "wanted"), [(File(), "a file"), (File(mime_type="image/png"), "a file of type image/png")]
)
def test_a_form_without_a_fitting_file_is_refused(descriptor: File, wanted: str) -> None:
    with pytest.raises(BadInput, match=f"File: the form has no part that is {wanted} "):
        descriptor.from_http_request(form(Part("note", None, [], b"no file")))


@pytest.mark.parametrize("value", [b"abc", bytearray(b"abc"), memoryview(b"abc"), io.BytesIO(b"abc")])
def test_bytes_and_files_are_sent(value: Any) -> None:
    response = File().to_http_response(value, None)
    assert (response.body, response.content_type) == (b"abc", b"application/octet-stream")
    assert File(mime_type="text/csv").to_http_response(b"", None).content_type == b"text/csv"


def test_a_file_on_a_disk_is_sent(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    with (tmp_path / "a").open("rb") as file:
        assert File().to_http_response(file, Context(Request())).body == b"abc"


@pytest.mark.parametrize("value", ["text", None, 5, io.StringIO("text")])
def test_what_is_no_bytes_is_an_error_of_the_service(value: Any) -> None:
    with pytest.raises(InternalServerError, match=rf"returned {type(value).__name__}, not bytes or a binary file"):
        File().to_http_response(value, None)


def test_only_binary_files_are_a_kind() -> None:
    with pytest.raises(ValueError, match="kind must be 'binaryio', not 'textio'"):
        File(kind="textio")


@pytest.mark.parametrize("mime_type", ["", "csv", "a/b/c", "a/b\r\nx: y", "ü/x", "text/csv; charset=utf-8"])
def test_a_mime_type_must_be_one(mime_type: str) -> None:
    with pytest.raises(InvalidArgument, match="is no media type"):
        File(mime_type=mime_type)


def test_the_class_shows_under_the_name_that_bentoml_gives_it() -> None:
    assert type(File()).__name__ == "BytesIOFile"
    spec = {"id": "bentoml.io.File", "args": {"kind": "binaryio", "mime_type": "text/csv"}}
    assert File(mime_type="text/csv").to_spec() == spec
    assert from_spec(spec).to_spec() == spec


def test_the_document_has_bytes_under_the_type() -> None:
    schema = {"schema": {"type": "string", "format": "binary"}}
    assert File().openapi_request_body()["content"] == {"application/octet-stream": schema}
    assert File(mime_type="text/csv").openapi_responses()["content"] == {"text/csv": schema}


@pytest.mark.parametrize("annotation", [io.BytesIO, BinaryIO, Any, io.IOBase])
def test_functions_may_annotate_what_they_get_as_any_kind_of_binary_file(annotation: Any) -> None:
    def function(file): ...

    function.__annotations__["file"] = annotation
    InferenceAPI(function, input=File(), output=File())


def test_a_sample_gives_the_type(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"1,2")
    made = File.from_sample(tmp_path / "a.csv")
    assert (made.mime_type, made.sample) == ("text/csv", b"1,2")
    assert made.openapi_example() is None
    assert File.from_sample(str(tmp_path / "a.csv"), mime_type="text/x").mime_type == "text/x"
    assert File.from_sample(b"1,2").sample == File.from_sample(io.BytesIO(b"1,2")).sample == b"1,2"


@pytest.mark.parametrize("sample", [5, None, "/nowhere/at/all", io.StringIO("text")])
def test_a_sample_that_is_no_file_is_refused(sample: Any) -> None:
    with pytest.raises(BadInput, match="File: "):
        File.from_sample(sample)
