"""WSGI applications beside the APIs of a service: Flask on a real server, and the corners of PEP 3333."""

from __future__ import annotations

import asyncio
import http.client
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from wsgiref.validate import validator

import pytest

import bentoml
from bentoml._http import Request, Response
from bentoml._threads import Threads
from bentoml.exceptions import InternalServerError, InvalidArgument
from bentoml.server.chunks import Chunks
from bentoml.server.wsgi import WsgiHandler
from tests._server import Server, until
from tests.test_server_asgi import waiting

START = ("200 OK", [("Content-Type", "text/plain")])

# Flask on a real server


def test_flask_answers_below_its_path(mounted: Server) -> None:
    root = f"http://127.0.0.1:{mounted.port}/web/"
    assert mounted.get("/web/").body.decode() == f"/web / {root}"
    redirected = mounted.get("/web")
    assert (redirected.status, redirected.headers["location"]) == (308, root)
    assert mounted.get("/web/nowhere").status == 404


def test_a_body_goes_in_and_out(mounted: Server) -> None:
    body = bytes(range(256)) * 500
    answer = mounted.request("POST", "/web/echo?body=1", body, {"content-type": "application/x-any"})
    assert (answer.body, answer.headers["content-type"]) == (body, "application/x-echo")
    assert mounted.request("OPTIONS", "/web/").headers["allow"]


def test_the_environment_is_as_pep_3333_has_it(mounted: Server) -> None:
    seen = mounted.request(
        "POST", "/web/echo?q=%20", b"body", {"Content-Type": "text/x", "X-One": "1", "X_Two": "2", "Proxy": "evil"}
    ).value
    expected = {
        "REQUEST_METHOD": "POST",
        "SCRIPT_NAME": "/web",
        "PATH_INFO": "/echo",
        "QUERY_STRING": "q=%20",
        "CONTENT_TYPE": "text/x",
        "CONTENT_LENGTH": "4",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": str(mounted.port),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_X_ONE": "1",
        "wsgi.url_scheme": "http",
    }
    assert {name: seen.get(name) for name in expected} == expected
    assert not {"HTTP_X_TWO", "HTTP_PROXY", "HTTP_CONTENT_TYPE", "HTTP_CONTENT_LENGTH"} & set(seen)


def test_a_generator_is_a_stream(mounted: Server) -> None:
    answer = mounted.get("/web/stream?kind=two")
    assert (answer.body, answer.headers["transfer-encoding"]) == (b"one,two", "chunked")


def test_an_error_in_the_application_is_a_500_with_its_traceback_in_the_log_only(mounted: Server) -> None:
    answer = mounted.get("/web/fail")
    assert answer.status == 500
    assert b"secret" not in answer.body
    mounted.said("RuntimeError: the secret of the web")


def test_a_stream_that_breaks_off_cuts_the_connection(mounted: Server) -> None:
    with pytest.raises((OSError, http.client.HTTPException)):
        mounted.get("/web/stream?kind=breaks")
    mounted.said("RuntimeError: bad luck in the thread")


def test_a_stream_nobody_reads_gives_its_thread_back(mounted: Server, tmp_path: Path) -> None:
    with waiting(mounted, f"/web/forever?path={tmp_path}/closed") as client:
        assert client.recv(1000)
    until((tmp_path / "closed").exists, "the end of the generator")


def test_a_thread_that_waits_holds_up_nobody_else(mounted: Server, tmp_path: Path) -> None:
    with waiting(mounted, f"/web/wait?path={tmp_path}/go"):
        until((tmp_path / "go.begun").exists, "the view")
        assert mounted.get("/livez").status == 200
        (tmp_path / "go").touch()


# The corners of PEP 3333


def answer(app: Any, request: Request | None = None, *, root_path: str = "") -> tuple[Response, bytes]:
    """The application's answer, validated by the reference checker where the application is a function."""

    async def ask(threads: Threads) -> tuple[Response, bytes]:
        handler = WsgiHandler(app, name="app", root_path=root_path, threads=threads)
        response = await handler(request or Request(method="GET"))
        parts = [response.body]
        if not isinstance(response.body, bytes):
            parts = [part async for part in response.body]
            await response.body.aclose()  # type: ignore[attr-defined]
        # The only thread takes this when it is done with the request.
        await threads.run(None, str)
        return response, b"".join(parts)

    with closing(Threads(1, name="api")) as threads:
        return asyncio.run(ask(threads))


def test_the_reference_checker_has_nothing_to_say() -> None:
    @validator
    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        body = environ["wsgi.input"].read(2) + environ["wsgi.input"].read(-1)
        write = start_response("201 Created", [("Content-Type", "text/plain"), ("X-A", "1"), ("X-A", "2")])
        write(b"<")
        return [body, b">"]

    request = Request(
        path="/a/é",
        query_string=b"q",
        body=b"body",
        client="[::1]:9",
        raw_headers=[(b"host", b"x:1"), (b"cookie", b"a=1")],
    )
    response, body = answer(app, request, root_path="/a")
    assert (response.status, body, response.content_type) == (201, b"<body>", b"text/plain")
    assert response.raw_headers == [(b"x-a", b"1"), (b"x-a", b"2")]


def test_paths_are_bytes_in_the_form_of_text() -> None:
    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        start_response(*START)
        return [
            environ["SCRIPT_NAME"].encode("latin-1"),
            environ["PATH_INFO"].encode("latin-1"),
            environ["HTTP_X"].encode(),
        ]

    request = Request(path="/é/ü", raw_headers=[(b"x", b"1"), (b"x", b"2")])
    assert answer(app, request, root_path="/é")[1].decode() == "/é/ü1,2"


def test_an_error_before_the_body_may_change_the_answer() -> None:
    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        start_response(*START)
        try:
            raise KeyError("x")
        except KeyError:
            start_response("503 Busy", [], sys.exc_info())
        return [b"later"]

    response, body = answer(app)
    assert (response.status, response.content_type, body) == (503, b"", b"later")


def test_an_error_after_the_body_has_begun_is_raised_again() -> None:
    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterator[bytes]:
        start_response(*START)
        yield b"begun"
        try:
            raise KeyError("too late")
        except KeyError:
            start_response("503 Busy", [], sys.exc_info())

    with pytest.raises(KeyError, match="too late"):
        answer(app)


class Body:
    def __init__(self, parts: list[bytes]) -> None:
        self.parts = parts
        self.closed = 0

    def __iter__(self) -> Iterator[bytes]:
        yield from self.parts

    def close(self) -> None:
        self.closed += 1


@pytest.mark.parametrize("parts", [[], [b""], [b"a"], [b"", b"a", b"", b"b"]])
@pytest.mark.parametrize("length", [None, "exact"])
def test_what_has_a_close_is_closed_once(parts: list[bytes], length: str | None) -> None:
    body = Body(parts)
    headers = [("Content-Length", str(len(b"".join(parts))))] if length else []

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Body:
        start_response("200 OK", headers)
        return body

    assert answer(app)[1] == b"".join(parts)
    assert body.closed == 1


def test_what_is_known_to_be_whole_is_no_stream() -> None:
    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Length", "5")])
        yield b"whole"

    assert isinstance(answer(app)[0].body, bytes)


def test_a_request_is_served_by_one_thread_in_the_context_of_the_request() -> None:
    threads = set()

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterator[bytes]:
        threads.add(threading.get_ident())
        start_response(*START)
        for _ in range(20):
            threads.add(threading.get_ident())
            yield b"x"

    assert answer(app)[1] == b"x" * 20
    assert len(threads) == 1
    assert threading.get_ident() not in threads


@pytest.mark.parametrize(
    ("status", "headers", "reason"),
    [
        ("200 OK", [("Content-Length", "9")], "app announced 9 bytes and sent 4"),
        ("200 OK", [("X-A", "1\r\nX-B: 2")], "holds a line break or NUL"),
        ("OK", [], "app answered with the status 0; 200 to 599 can be sent"),
        ("101 Switching", [], "the status 101"),
    ],
)
def test_an_answer_that_cannot_be_sent_is_an_error(status: str, headers: list[Any], reason: str) -> None:
    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        start_response(status, headers)
        return [b"body"]

    with pytest.raises(InternalServerError, match=reason):
        answer(app)


def test_a_forgotten_or_repeated_start_is_an_error() -> None:
    def twice(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        start_response(*START)
        start_response(*START)
        return []

    with pytest.raises(InternalServerError, match="called start_response\\(\\) twice"):
        answer(twice)
    with pytest.raises(InternalServerError, match="answered without start_response"):
        answer(lambda environ, start_response: [b"x"])


def test_the_answer_to_head_says_how_long_the_body_would_be() -> None:
    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        start_response("200 OK", [("Content-Length", "1000")])
        return []

    response, body = answer(app, Request(method="HEAD"))
    assert isinstance(response.body, Chunks)
    assert (response.body.length, body) == (1000, b"")


def test_a_cancelled_request_waits_for_its_thread() -> None:
    go, begun, ended = threading.Event(), threading.Event(), []

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        begun.set()
        go.wait(30)
        ended.append(True)
        start_response(*START)
        return [b"late"]

    async def cancel() -> None:
        with closing(Threads(1, name="api")) as threads:
            handler = WsgiHandler(app, name="app", root_path="", threads=threads)
            task = asyncio.ensure_future(handler(Request(method="GET")))
            await asyncio.to_thread(begun.wait, 30)
            task.cancel()
            await asyncio.sleep(0)
            assert not task.done()
            go.set()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert ended == [True]

    asyncio.run(cancel())


def test_a_class_is_no_application() -> None:
    with pytest.raises(InvalidArgument, match="WSGI applications are functions, or other objects"):
        bentoml.Service("s").mount_wsgi_app(dict)
