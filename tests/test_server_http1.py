"""Request targets and the heads of answers."""

from __future__ import annotations

import pytest

from bentoml._http import Response
from bentoml.server import http1
from tests._serving import LOOPS, echo, serve


@pytest.fixture(params=LOOPS)
def loop(request: pytest.FixtureRequest) -> str:
    return request.param


def test_a_status_without_a_name_has_none_on_the_wire() -> None:
    assert http1.answer_head(Response(status=299, content_type=b""), fields=b"a: b\r\n") == (
        b"HTTP/1.1 299 \r\na: b\r\n\r\n"
    )


def test_the_date_is_that_of_rfc_9110() -> None:
    assert http1.stamp(784111777.0) == b"server: makunouchi\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\n"


@pytest.mark.parametrize(
    ("method", "target", "path", "query"),
    [
        ("GET", b"/", "/", b""),
        ("GET", b"/a/b?x=1&y", "/a/b", b"x=1&y"),
        ("GET", b"/a?b?c", "/a", b"b?c"),
        ("GET", b"/%61%2f%3F", "/a/?", b""),
        ("GET", b"/%2561", "/%61", b""),  # decoded once
        ("GET", b"/%zz%", "/%zz%", b""),
        ("GET", b"//x/y", "//x/y", b""),
        ("GET", b"http://host:80/a?b", "/a", b"b"),
        ("GET", b"HTTPS://[::1]", "/", b""),
        ("GET", b"http://host?q", "/", b"q"),
        ("OPTIONS", b"*", "*", b""),
    ],
)
def test_every_form_of_target_gives_a_path(method: str, target: bytes, path: str, query: bytes) -> None:
    assert http1.split_target(target, method=method) == (path, query)


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        (b"/a#b", "fragment"),
        (b"*", "neither a path nor an http URL"),
        (b"ftp://x/y", "neither a path nor an http URL"),
        (b"http:///x", "neither a path nor an http URL"),
        (b"/%00", "control character"),
        (b"/a%0d%0ab", "control character"),
        (b"/%7f", "control character"),
        (b"/%ff", "not UTF-8"),
    ],
)
def test_a_bad_target_is_a_400_that_says_why(loop: str, target: bytes, reason: str) -> None:
    with serve(echo, loop=loop) as served:
        answer = served.ask(b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % target)
        assert (answer.status, answer.headers[b"content-type"]) == (400, b"application/json")
        assert reason in answer.body.decode()
