"""An answer that is no success becomes the exception that the server's own code would have raised."""

from __future__ import annotations

from http import HTTPStatus

import httpx
import pytest

from bentoml import exceptions
from bentoml.client.errors import error_of_answer, error_of_failure, retry_after_s
from bentoml.exceptions import BentoMLException


def error(status: int, body: bytes = b'"why"', **headers: str) -> BentoMLException:
    return error_of_answer(status, httpx.Headers({key.replace("_", "-"): v for key, v in headers.items()}), body, 0.0)


@pytest.mark.parametrize(
    ("status", "name"),
    [
        (400, "BadInput"), (404, "NotFound"), (413, "PayloadTooLarge"), (415, "UnsupportedMediaType"),
        (422, "UnprocessableEntity"), (429, "TooManyRequests"), (500, "RemoteException"), (503, "ServiceUnavailable"),
        (504, "DeadlineExceeded"), (401, "BentoMLException"), (418, "BentoMLException"), (302, "BentoMLException"),
    ],
)  # fmt: skip
def test_a_status_becomes_the_class_that_has_it(status: int, name: str) -> None:
    found = error(status)
    assert type(found) is getattr(exceptions, name)
    assert found.error_code == status


def test_a_status_that_python_does_not_know_is_a_plain_error() -> None:
    assert error(599).error_code is HTTPStatus.INTERNAL_SERVER_ERROR
    assert str(error(599)).startswith("Error making request: 599: ")


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b'"BentoService error handling API request: age must be 18"', "age must be 18"),
        (b'"something else"', "something else"),
        (b'""', "the server does not say why"),
        (b"", "b''"),
        (b"Not able to process the request in 1 seconds", "b'Not able to process the request in 1 seconds'"),
        (b'{"detail": "of another application"}', """b'{"detail": "of another application"}'"""),
        (b"\xff" * 600, repr(b"\xff" * 500)),
    ],
)
def test_the_text_is_what_the_server_said(body: bytes, text: str) -> None:
    assert str(error(504, body)) == f"Error making request: 504: {text}"


def test_the_text_has_the_request_id_once() -> None:
    assert str(error(400, x_bentoml_request_id="42")) == "Error making request: 400: why (request id 42)"
    assert str(error(500, b'"under the request id 42"', x_bentoml_request_id="42")).count("42") == 1


def test_a_401_says_what_to_give() -> None:
    assert "give the client an api_key" in str(error(401, b'""'))


@pytest.mark.parametrize(
    ("value", "expected_s"),
    [
        ("3", 3.0), ("0", 0.0), (" 7 ", 7.0), ("", None), ("soon", None), ("-1", None), ("1e3", None),
        ("Thu, 01 Jan 1970 00:01:00 GMT", 60.0), ("Wed, 31 Dec 1969 23:59:00 GMT", 0.0),
    ],
)  # fmt: skip
def test_retry_after_is_a_number_or_a_date(value: str, expected_s: float | None) -> None:
    assert retry_after_s({"retry-after": value}, now_s=0.0) == expected_s


def test_a_refusal_knows_when_to_come_back() -> None:
    assert error(503, retry_after="7").retry_after_s == 7.0
    assert error(503).retry_after_s == 1.0


@pytest.mark.parametrize(
    ("failure", "kind", "text"),
    [
        (httpx.ConnectError("refused"), "ServiceUnavailable", "http://x cannot be reached: refused (hint: is the"),
        (httpx.ConnectTimeout(""), "DeadlineExceeded", "http://x could not be reached in time"),
        (httpx.PoolTimeout(""), "DeadlineExceeded", "no connection of the pool became free (hint: raise max_conn"),
        (httpx.ReadTimeout(""), "DeadlineExceeded", "http://x did not answer in time (timeout 5 s)"),
        (httpx.ReadError(""), "RemoteException", "ended before the answer was complete: ReadError"),
        (httpx.DecodingError("bad gzip"), "InternalServerError", "the call of http://x failed: bad gzip"),
    ],
)
def test_a_call_without_an_answer_says_what_happened(failure: Exception, kind: str, text: str) -> None:
    found = error_of_failure(failure, "http://x", 5.0)
    assert type(found).__name__ == kind
    assert text in str(found)
