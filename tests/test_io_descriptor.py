"""The base of the descriptors: registry, specs, OpenAPI parts, and what a context changes in a response."""

from __future__ import annotations

import subprocess
import sys
from http import HTTPStatus
from typing import Any

import pytest

import bentoml.io
from bentoml._context import Context
from bentoml._http import Request, Response
from bentoml.exceptions import BadInput, BentoMLException, InternalServerError, InvalidArgument
from bentoml.io import JSON, IODescriptor, Text, from_spec
from bentoml.testing.descriptor import check_descriptor


class Celsius(IODescriptor[float], descriptor_id="tests.Celsius", proto_fields=("serialized_bytes",)):
    """A descriptor as a user would write it."""

    mime_type = "text/x-celsius"

    def from_http_request(self, request: Request) -> float:
        try:
            return float(request.body)
        except ValueError:
            raise BadInput("Celsius: the body is no number") from None

    def to_http_response(self, value: float, context: Context | None) -> Response:
        return self.respond(str(value).encode(), b"text/x-celsius", context)

    def input_type(self) -> type[float]:
        return float

    def openapi_schema(self) -> dict[str, Any]:
        return {"type": "string"}


def _context() -> Context:
    return Context(Request())


def test_a_descriptor_written_by_a_user_passes_the_contract_check() -> None:
    check_descriptor(Celsius(), good_bodies=[b"36.6", Request(body=b"-1")], bad_bodies=[b"warm"])


def test_a_descriptor_written_by_a_user_may_decode_asynchronously() -> None:
    class Slow(Celsius):
        async def from_http_request(self, request: Request) -> float:
            return super().from_http_request(request)

    check_descriptor(Slow(), good_bodies=[b"36.6"], bad_bodies=[b"warm"])


@pytest.mark.parametrize("error", [ValueError("oops"), InternalServerError("oops")])
def test_the_contract_check_fails_where_a_body_is_answered_with_a_server_error(error: Exception) -> None:
    class Broken(Celsius):
        def from_http_request(self, request: Request) -> float:
            if request.body == b"1":
                return 1.0
            raise error

    with pytest.raises((AssertionError, ValueError), match="oops"):
        check_descriptor(Broken(), good_bodies=[b"1"])


def test_the_contract_check_fails_where_a_bad_body_is_taken() -> None:
    with pytest.raises(AssertionError, match="must refuse"):
        check_descriptor(Text(), good_bodies=[], bad_bodies=[b"fine"])


def test_the_contract_check_fails_where_a_schema_refers_to_nothing() -> None:
    class Dangling(Celsius):
        def openapi_schema(self) -> dict[str, Any]:
            return {"$ref": "#/components/schemas/Nothing"}

    with pytest.raises(AssertionError, match="points to nothing"):
        check_descriptor(Dangling(), good_bodies=[])


def test_two_classes_with_one_id_are_an_error() -> None:
    with pytest.raises(ValueError, match=r"'bentoml\.io\.JSON' belongs to .*JSON.* already"):

        class Other(JSON, descriptor_id="bentoml.io.JSON"):
            pass


def test_a_subclass_does_not_inherit_the_id() -> None:
    class Other(JSON):
        pass

    assert Other.descriptor_id is None
    assert Other().to_spec()["id"] is None


@pytest.mark.parametrize("spec", [{}, {"id": None}, {"args": {}}, {"id": 5}, "bentoml.io.JSON", None])
def test_a_spec_without_an_id_is_refused(spec: Any) -> None:
    with pytest.raises(InvalidArgument, match="must be a mapping with the key 'id'"):
        from_spec(spec)


@pytest.mark.parametrize("descriptor_id", ["bentoml.io.JSON", "bentoml.io.NumpyNdarray", "tests.Celsius"])
def test_a_spec_without_arguments_is_refused(descriptor_id: str) -> None:
    with pytest.raises(InvalidArgument, match="must have the mapping 'args'"):
        from_spec({"id": descriptor_id})


def test_a_spec_with_an_unknown_argument_is_refused() -> None:
    with pytest.raises(InvalidArgument, match=r"spec of JSON has arguments that it does not take: .*colour"):
        from_spec({"id": "bentoml.io.JSON", "args": {"colour": 1}})


@pytest.mark.parametrize("expected", [KeyError, InvalidArgument])
def test_an_unknown_id_is_a_key_error_and_names_the_known_ones(expected: type[Exception]) -> None:
    with pytest.raises(expected, match=r"no descriptor has the id 'acme.Nothing'; known are .*tests.Celsius"):
        from_spec({"id": "acme.Nothing", "args": {}})


def test_a_spec_finds_the_class_of_a_user() -> None:
    assert isinstance(from_spec({"id": "tests.Celsius", "args": {}}), Celsius)


def test_a_spec_loads_the_file_of_a_descriptor_that_nobody_has_used() -> None:
    code = """
import sys
from bentoml.io import from_spec
assert not {"bentoml.io.text", "bentoml.io.json"} & set(sys.modules)
print(from_spec({"id": "bentoml.io.Text", "args": {}}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "Text()\n"


def test_importing_descriptors_loads_no_heavy_library() -> None:
    code = """
import sys
from bentoml.io import JSON, NumpyNdarray, PandasDataFrame, PandasSeries, Text
print({"numpy", "pandas", "pyarrow", "pydantic"} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_the_public_names_of_the_package_are_those_that_exist() -> None:
    assert bentoml.io.__all__ == [
        "JSON",
        "SSE",
        "File",
        "IODescriptor",
        "Image",
        "Multipart",
        "NumpyNdarray",
        "PandasDataFrame",
        "PandasSeries",
        "Text",
        "from_spec",
    ]
    assert dir(bentoml.io) == sorted(bentoml.io.__all__)
    assert all(hasattr(bentoml.io, name) for name in bentoml.io.__all__)
    with pytest.raises(AttributeError, match=r"'bentoml\.io' has no attribute 'Picture'"):
        bentoml.io.Picture


def test_the_request_body_and_the_response_describe_the_same_content() -> None:
    descriptor = Celsius.from_sample(36.6)
    content = {"text/x-celsius": {"schema": {"type": "string"}, "example": 36.6}}
    extension = {"id": "tests.Celsius", "args": {}}
    assert descriptor.openapi_request_body() == {
        "required": True,
        "content": content,
        "x-bentoml-io-descriptor": extension,
    }
    assert descriptor.openapi_responses() == {
        "description": "Successful Response",
        "content": content,
        "x-bentoml-io-descriptor": extension,
    }


def test_from_sample_lets_a_descriptor_learn_from_its_sample() -> None:
    class Learning(Celsius):
        def _from_sample(self, sample: Any) -> float:
            self.warmest = float(sample)
            return self.warmest

    descriptor = Learning.from_sample("40")
    assert (descriptor.warmest, descriptor.sample) == (40.0, 40.0)


def test_without_a_context_the_response_is_the_bare_body() -> None:
    response = IODescriptor.respond(b"1", b"text/x", None)
    assert (response.status, response.body, response.content_type, response.raw_headers) == (
        200,
        b"1",
        b"text/x",
        [],
    )


def test_status_headers_and_cookies_of_the_context_are_sent() -> None:
    context = _context()
    context.response.status_code = HTTPStatus.CREATED
    context.response.headers["X-Model"] = "v1"
    context.response.headers.add("Vary", "a")
    context.response.headers.add("Vary", "b")
    context.response.set_cookie("one", "1")
    context.response.set_cookie("two", "2", httponly=True)
    response = IODescriptor.respond(b"", b"text/x", context)
    assert response.status == 201
    assert type(response.status) is int
    assert response.content_type == b"text/x"
    assert response.raw_headers[:3] == [(b"x-model", b"v1"), (b"vary", b"a"), (b"vary", b"b")]
    cookies = [value for name, value in response.raw_headers if name == b"set-cookie"]
    assert len(cookies) == 2
    assert cookies[0].startswith(b"one=1;")
    assert b"HttpOnly" in cookies[1]


def test_the_content_type_of_the_context_wins_and_is_sent_once() -> None:
    context = _context()
    context.response.headers["Content-Type"] = "text/own"
    response = IODescriptor.respond(b"", b"text/x", context)
    assert response.content_type == b"text/own"
    assert response.raw_headers == []


@pytest.mark.parametrize("name", ["Content-Length", "Transfer-Encoding", "Connection"])
def test_headers_that_frame_the_message_are_left_to_the_server(name: str) -> None:
    context = _context()
    context.response.headers[name] = "5"
    assert IODescriptor.respond(b"", b"text/x", context).raw_headers == []


def test_responding_leaves_the_context_as_the_function_made_it() -> None:
    context = _context()
    context.response.headers["Content-Type"] = "text/own"
    context.response.set_cookie("one", "1")
    IODescriptor.respond(b"", b"text/x", context)
    assert list(context.response.headers) == ["content-type"]


@pytest.mark.parametrize("status", [0, 199, 600, "200", None, True, 2.0])
def test_a_status_that_is_none_is_an_error_of_the_service(status: Any) -> None:
    context = _context()
    context.response.status_code = status
    with pytest.raises(InternalServerError, match="is no HTTP status") as caught:
        IODescriptor.respond(b"", b"text/x", context)
    assert caught.value.error_code == 500


def test_a_cookie_that_would_forge_a_header_is_not_sent() -> None:
    context = _context()
    context.response.set_cookie("one", "1", path="/\r\nx-forged: 1")
    with pytest.raises((ValueError, BentoMLException)):
        IODescriptor.respond(b"", b"text/x", context)


def test_the_text_form_of_a_descriptor_shows_its_arguments() -> None:
    assert repr(Text("text/event-stream")) == "Text(content_type='text/event-stream')"
