"""An API as its document describes it: what a call may pass, how it travels, and what is wrong with other documents."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bentoml
from bentoml.client.endpoint import Endpoint, endpoint_named, endpoints_of
from bentoml.exceptions import BentoMLException, InvalidArgument, MissingDependencyException, NotFound
from bentoml.io import JSON, IODescriptor, NumpyNdarray, Text
from tests._scripted import DOCUMENT


def endpoint(input: IODescriptor[Any], output: IODescriptor[Any], **content: list[str]) -> Endpoint:
    """That of a service with one API `f`; `request` and `answer` replace the media types of its document."""
    svc = bentoml.Service("one")
    svc.api(input=input, output=output, name="f")(lambda value: value)
    document = svc.openapi()
    operation = document["paths"]["/f"]["post"]
    for side, name in ((operation["requestBody"], "request"), (operation["responses"]["200"], "answer")):
        if name in content:
            side["content"] = {each: {} for each in content[name]}
    return endpoints_of(document)["f"]


def test_the_apis_of_a_document_are_those_that_are_tagged() -> None:
    assert list(endpoints_of(DOCUMENT)) == ["echo", "text", "array"]
    assert endpoints_of(DOCUMENT)["echo"].path == "/echo"


def without(*path: str) -> Callable[[Any], Any]:
    def change(document: Any) -> Any:
        part = document["paths"]["/echo"]["post"]
        for name in path[:-1]:
            part = part[name]
        del part[path[-1]]
        return document

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda document: None, "it has no paths"),
        (lambda document: {"detail": "Not Found"}, "it has no paths"),
        (without("x-bentoml-name"), "the operation of /echo lacks 'x-bentoml-name'"),
        (without("requestBody"), "the operation of /echo lacks 'requestBody'"),
        (without("requestBody", "x-bentoml-io-descriptor"), "the operation of /echo lacks 'x-bentoml-io-descriptor'"),
        (without("responses", "200", "x-bentoml-io-descriptor"), "lacks 'x-bentoml-io-descriptor'"),
        (without("requestBody", "x-bentoml-io-descriptor", "id"), "the operation of /echo lacks 'id'"),
    ],
)
def test_a_document_that_is_none_of_a_service_is_malformed(change: Callable[[Any], Any], reason: str) -> None:
    with pytest.raises(BentoMLException, match=f"^Malformed OpenAPI document at /docs.json: .*{re.escape(reason)}"):
        endpoints_of(change(copy.deepcopy(DOCUMENT)))


def test_an_unknown_name_is_answered_with_one_that_may_be_meant() -> None:
    found = endpoints_of(DOCUMENT)
    with pytest.raises(NotFound, match=re.escape("the service has no API 'ecko' (hint: did you mean 'echo'?)")):
        endpoint_named("ecko", found)
    with pytest.raises(NotFound, match=re.escape("(hint: it has echo, text, array)")):
        endpoint_named("classify", found)


def test_a_route_is_sent_percent_encoded() -> None:
    document = copy.deepcopy(DOCUMENT)
    document["paths"]["/räume/a b"] = document["paths"].pop("/echo")
    assert endpoints_of(document)["echo"].path == "/r%C3%A4ume/a%20b"


# -- what a call passes ------------------------------------------------------------------------------------------------


def test_an_api_takes_one_value() -> None:
    echo = endpoints_of(DOCUMENT)["echo"]
    assert echo.value_of((1,), {}) == 1
    assert echo.value_of((), {"inp": 2}) == 2
    for args, fields, said in [
        ((), {}, "nothing"),
        ((1, 2), {}, "2 positional"),
        ((1,), {"a": 1}, "1 positional and a"),
    ]:
        with pytest.raises(
            InvalidArgument, match=re.escape(f"echo takes one value, not {said} (hint: client.echo(value))")
        ):
            echo.value_of(args, fields)


def test_null_is_sent_as_such_and_an_empty_answer_is_null() -> None:
    echo = endpoints_of(DOCUMENT)["echo"]
    assert echo.encode(None).body == b"null"
    assert echo.decode(b"", []) is None


def test_a_path_is_sent_as_the_file_that_it_names(tmp_path: Path) -> None:
    path = tmp_path / "request.json"
    path.write_bytes(b"[1, 2]")
    encoded = endpoints_of(DOCUMENT)["echo"].encode(path)
    assert (encoded.body, encoded.headers["content-type"]) == (b"[1, 2]", "application/json")


def test_what_cannot_be_sent_says_so_in_the_words_of_a_caller() -> None:
    with pytest.raises(
        InvalidArgument, match="f: the value cannot be sent: NumpyNdarray: the call was given list, not"
    ):
        endpoint(NumpyNdarray(), JSON()).encode([1, 2])
    with pytest.raises(InvalidArgument, match="f: the value cannot be sent: JSON: the answer, of type object"):
        endpoint(JSON(), JSON()).encode(object())


def test_an_answer_that_cannot_be_read_names_the_api() -> None:
    with pytest.raises(BentoMLException, match="echo: the answer cannot be read: Invalid JSON input received"):
        endpoints_of(DOCUMENT)["echo"].decode(b"<html>", [])


def test_an_array_may_hold_what_json_does_not() -> None:
    found = endpoints_of(DOCUMENT)["array"].decode(b"[1.5, NaN, -Infinity]", [])
    np.testing.assert_array_equal(found, [1.5, np.nan, -np.inf])


# -- forms in which values travel --------------------------------------------------------------------------------------

NPY, ARROW = "application/x-npy", "application/vnd.apache.arrow.stream"


class Negotiating(NumpyNdarray):
    """An array in the form that `accept` asks for."""

    negotiates = True

    def to_http_response(self, value: Any, context: Any, *, accept: bytes = b"") -> Any:
        if accept and value is None:
            raise BentoMLException("has no binary form")
        return self.respond(b"body", accept or b"application/json", context)


def negotiating(**content: list[str]) -> Endpoint:
    found = endpoint(NumpyNdarray(), NumpyNdarray(), **content)
    vars(found)["input"] = vars(found)["output"] = Negotiating()
    return found


def test_the_binary_form_is_sent_and_asked_for_where_the_document_lists_it() -> None:
    encoded = negotiating(request=[NPY], answer=[NPY]).encode(np.zeros(2))
    assert encoded.headers == {"content-type": NPY, "accept": f"{NPY}, */*;q=0.1"}
    encoded = negotiating(request=[NPY, ARROW], answer=["application/json"]).encode(np.zeros(2))
    assert encoded.headers == {"content-type": ARROW, "accept": "*/*"}
    encoded = negotiating(request=["application/json"], answer=["application/json"]).encode(np.zeros(2))
    assert encoded.headers == {"content-type": "application/json", "accept": "*/*"}


def test_the_binary_form_is_left_where_its_library_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bentoml.client.endpoint.is_installed", lambda library: library == "numpy")
    encoded = negotiating(request=[NPY, ARROW], answer=[ARROW]).encode(np.zeros(2))
    assert encoded.headers == {"content-type": NPY, "accept": "*/*"}


def test_a_value_without_a_binary_form_is_sent_in_the_default_one() -> None:
    assert negotiating(request=[NPY]).encode(None).headers["content-type"] == "application/json"


def test_the_descriptor_of_one_api_is_not_needed_for_another(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(module: str, **_: Any) -> Any:
        raise MissingDependencyException(f"needs {module}")

    monkeypatch.setattr("bentoml.io.numpy.require", missing)
    found = endpoints_of(DOCUMENT)
    assert found["echo"].encode({"a": 1}).body == b'{"a":1}'
    with pytest.raises(MissingDependencyException, match="needs numpy"):
        found["array"].encode([1])


def test_text_is_text() -> None:
    assert endpoint(Text(), Text()).is_text
    assert not endpoint(Text(), JSON()).is_text
