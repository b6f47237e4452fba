"""One request and a look at its answer."""

from __future__ import annotations

import asyncio

import pytest

from bentoml.testing import async_request, parse_multipart_form
from tests._scripted import reply, scripted


def test_a_request_returns_status_headers_and_body() -> None:
    with scripted(reply(201, b"made", x_kind="new")) as server:
        status, headers, body = asyncio.run(
            async_request(
                "POST", f"{server.url}/echo", headers={"x-a": "b"}, data=b"1", timeout=20, assert_status=201,
                assert_data=lambda body: body.startswith(b"m"), assert_headers=lambda found: found["X-Kind"] == "new",
            )
        )  # fmt: skip
        assert (status, headers["X-KIND"], body) == (201, "new", b"made")
        assert (server.calls[0].headers["x-a"], server.calls[0].body) == ("b", b"1")


@pytest.mark.parametrize(
    "expected", [{"assert_status": 200}, {"assert_status": lambda status: status < 300}, {"assert_data": b""}]
)
def test_another_answer_than_expected_shows_itself(expected: dict) -> None:
    with (
        scripted(reply(404, b"Not Found")) as server,
        pytest.raises(
            AssertionError, match=r"GET http://.*/x: unexpected (status|body) .*; the answer is 404: b'Not Found'"
        ),
    ):
        asyncio.run(async_request("GET", f"{server.url}/x", **expected))


def test_a_form_is_read_part_by_part() -> None:
    pytest.importorskip("bentoml.io._form")
    body = (
        b'--b\r\nContent-Disposition: form-data; name="note"\r\n\r\nhi\r\n'
        b'--b\r\nContent-Disposition: form-data; name="pic"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n\x89P\r\n--b--\r\n'
    )
    form = asyncio.run(parse_multipart_form({"Content-Type": "multipart/form-data; boundary=b"}, body))
    assert form["note"] == "hi"
    assert (form["pic"].filename, form["pic"].content_type) == ("a.png", "image/png")
    assert asyncio.run(form["pic"].read()) == b"\x89P"
