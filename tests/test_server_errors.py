"""From an exception to an answer: status, body, headers, and what the log keeps to itself."""

from __future__ import annotations

import logging
from http import HTTPStatus

import msgspec
import pytest

from bentoml import exceptions
from bentoml._http import Request
from bentoml.exceptions import BentoMLException, ServiceUnavailable, StateException
from bentoml.server.errors import error_response
from tests._server import Server

REQUEST = Request(path="/predict")
TOLD = "BentoService error handling API request: "


class Teapot(BentoMLException):
    error_code = HTTPStatus.IM_A_TEAPOT


class Forbidden(BentoMLException):
    error_code = HTTPStatus.FORBIDDEN


CLASSES = [found for name in exceptions.__all__ if issubclass(found := getattr(exceptions, name), BentoMLException)]


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    logging.getLogger("bentoml").propagate = True
    caplog.set_level(logging.DEBUG, logger="bentoml")
    return caplog


@pytest.mark.parametrize("kind", [*CLASSES, Teapot, Forbidden], ids=lambda kind: kind.__name__)
def test_the_status_is_that_of_the_class_and_only_the_callers_errors_are_told(
    kind: type[BentoMLException], log: pytest.LogCaptureFixture
) -> None:
    response = error_response(kind("what happened", hint="try this"), REQUEST, 7)
    assert response.status == kind.error_code
    assert response.content_type == b"application/json"
    told = 400 <= response.status < 500 and response.status not in (401, 403)
    expected = f"{TOLD}what happened (hint: try this)" if told else ""
    assert msgspec.json.decode(response.body) == expected
    assert "what happened" in log.text
    levels = [record.levelno for record in log.records]
    ours = response.status >= 500 and kind is not ServiceUnavailable
    assert levels == [logging.ERROR if ours else logging.DEBUG]


@pytest.mark.parametrize(("seconds", "header"), [(0.01, b"1"), (1.0, b"1"), (1.2, b"2"), (60, b"60")])
def test_a_refusal_says_when_to_come_again(seconds: float, header: bytes) -> None:
    response = error_response(ServiceUnavailable("full", retry_after_s=seconds), REQUEST, 7)
    assert response.raw_headers == [(b"retry-after", header)]


@pytest.mark.parametrize("error", [ZeroDivisionError("secret"), StateException("secret"), SystemExit("secret")])
def test_any_other_error_is_a_500_that_names_the_request_and_nothing_else(
    error: BaseException, log: pytest.LogCaptureFixture
) -> None:
    """T13."""
    response = error_response(error, REQUEST, 7)
    assert response.status == 500
    assert msgspec.json.decode(response.body) == (
        "An error has occurred in BentoML user code when handling this request; "
        "the server's log has the details under the request id 7"
    )
    [record] = log.records
    assert record.getMessage() == "Exception on /predict [POST] (request id 7)"
    assert record.exc_info is not None
    assert record.exc_info[1] is error


@pytest.mark.parametrize(
    ("kind", "status", "body"),
    [
        ("InvalidArgument", 400, f"{TOLD}the secret of /etc/kitchen"),
        ("NotFound", 404, f"{TOLD}the secret of /etc/kitchen"),
        ("TooManyRequests", 429, f"{TOLD}the secret of /etc/kitchen"),
        ("InternalServerError", 500, ""),
        ("DeadlineExceeded", 504, ""),
        ("unserialisable", 500, ""),
        ("ZeroDivisionError", 500, None),
        ("SystemExit", 500, None),
    ],
)
def test_what_user_code_raises_is_answered_and_logged(
    kitchen: Server, kind: str, status: int, body: str | None
) -> None:
    answer = kitchen.post("/fail", kind)
    request_id = answer.headers["x-bentoml-request-id"]
    assert answer.status == status
    if body is None:
        assert answer.value.endswith(f"under the request id {request_id}")
        assert b"kitchen" not in answer.body
        assert b"Traceback" not in answer.body
    else:
        assert answer.value == body
    if status >= 500:
        kitchen.said(f"Exception on /fail [POST] (request id {request_id})\nTraceback (most recent call last)")


def test_an_error_of_a_model_elsewhere_is_logged_with_the_place_where_it_was_raised(kitchen: Server) -> None:
    assert kitchen.post("/fail_far", "no such").status == 500
    kitchen.said("in the runner worker:\nTraceback (most recent call last)")
    kitchen.said("RuntimeError: from the model")
    assert kitchen.post("/fail_far", "InvalidArgument").value == f"{TOLD}from the model (hint: try)"
