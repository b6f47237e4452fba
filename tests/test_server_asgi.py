"""ASGI applications beside the APIs of a service, middlewares around them, and the service as such an application."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from openapi_spec_validator import validate
from starlette.applications import Starlette
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

import bentoml
from bentoml import config
from bentoml._http import Request
from bentoml.exceptions import BentoMLException, InvalidArgument
from bentoml.io import JSON
from bentoml.server.asgi import authority
from bentoml.server.mounts import Middlewares, mount_of
from tests._server import Server, sample, serving, started, until
from tests.conftest import MOUNTED


@contextlib.contextmanager
def waiting(server: Server, path: str) -> Iterator[socket.socket]:
    """A client that has sent GET and does not read."""
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(f"GET {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
        yield client


# Requests


def test_an_application_at_the_root_gets_what_is_left(mounted: Server) -> None:
    assert mounted.get("/hello").value == {"Hello": "World"}
    assert mounted.get("/nowhere").value == {"detail": "Not Found"}
    assert mounted.post("/order", {"dish": "soup"}).value == {"dish": "soup", "count": 1}
    assert mounted.get("/order").value == [{"number": 1}], "the API of this path takes POST only"
    assert mounted.get("/").headers.get_content_type() == "text/html", "a page of the server comes first"


def test_the_longer_path_wins_and_is_its_root_path(mounted: Server) -> None:
    assert mounted.get("/plain/x").body == b"/plain /plain/x"
    assert mounted.get("/plain").body == b"/plain /plain"
    assert mounted.get("/plainly").status == 404


def test_the_scope_is_as_the_specification_has_it(mounted: Server) -> None:
    scope = mounted.get("/scope/a%2Fb%20%C3%A9?q=%20&r").value
    assert scope == {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/scope/a/b é",
        "root_path": "",
        "server": ["127.0.0.1", mounted.port],
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "raw_path": "/scope/a%2Fb%20%C3%A9",
        "query_string": "q=%20&r",
        "client": "127.0.0.1",
        "rest": "a/b é",
    }


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD"])
def test_every_method_reaches_the_application(mounted: Server, method: str) -> None:
    answer = mounted.request(method, "/echo", b"body" if method != "HEAD" else None)
    assert (answer.status, answer.headers["x-method"]) == (200, method)
    assert answer.body == (b"" if method == "HEAD" else b"body")


def test_the_answer_to_head_has_the_length_of_the_body_that_it_lacks(mounted: Server) -> None:
    answer = mounted.request("HEAD", "/web/echo")
    assert answer.body == b""
    assert int(answer.headers["content-length"]) > 100


def test_a_stream_is_sent_in_chunks_or_under_its_announced_length(mounted: Server) -> None:
    chunked, sized = mounted.get("/stream"), mounted.get("/stream?kind=sized")
    assert (chunked.body, chunked.headers["transfer-encoding"]) == (b"one,two", "chunked")
    assert (sized.body, sized.headers["content-length"]) == (b"one,two", "7")
    assert sized.headers["transfer-encoding"] is None


def test_headers_that_frame_the_message_are_the_servers(mounted: Server) -> None:
    answer = mounted.get("/plain/framing")
    assert (answer.headers["connection"], answer.headers["transfer-encoding"]) == (None, None)
    assert answer.headers.get_all("content-type") == ["text/css"]


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("nothing", "ended without an answer"),
        ("split", "answered with the header b'x-a', which holds a line break or NUL"),
        ("long", "announced 2 bytes and sent 18"),
        ("short", "announced 99 bytes and sent 19"),
    ],
)
def test_an_application_that_breaks_the_protocol_is_a_500_with_the_reason_in_the_log(
    mounted: Server, kind: str, reason: str
) -> None:
    answer = mounted.get(f"/plain/{kind}")
    assert (answer.status, answer.body) == (500, b'""')
    mounted.said(f"the ASGI application plain mounted at /plain {reason}")


def test_an_error_of_the_application_is_in_the_log_and_not_in_the_answer(mounted: Server) -> None:
    answer = mounted.get("/fail")
    assert (answer.status, answer.body) == (500, b"Internal Server Error")
    mounted.said("RuntimeError: the secret of the kitchen")


@pytest.mark.parametrize("path", ["/plain/half", "/stream?kind=breaks"])
def test_a_stream_that_breaks_off_cuts_the_connection(mounted: Server, path: str) -> None:
    with pytest.raises((OSError, http.client.HTTPException)):
        mounted.get(path)
    assert mounted.get("/livez").status == 200


def test_what_runs_behind_an_answer_does_not_delay_it(mounted: Server, tmp_path: Path) -> None:
    assert mounted.get(f"/behind?path={tmp_path}/done").value == "answered"
    until((tmp_path / "done").exists, "the background task")


def test_a_client_that_goes_away_is_a_disconnect_and_no_cancellation(mounted: Server, tmp_path: Path) -> None:
    with waiting(mounted, f"/slow?path={tmp_path}/slow"):
        until((tmp_path / "slow.begun").exists, "the handler")
    until((tmp_path / "slow.gone").exists, "the handler's notice of it")


def test_a_stream_nobody_reads_is_closed(mounted: Server, tmp_path: Path) -> None:
    with waiting(mounted, f"/forever?path={tmp_path}/closed") as client:
        assert client.recv(1000)
    until((tmp_path / "closed").exists, "the end of the generator")


# Metrics and logs


def test_the_metrics_know_a_mount_by_its_path(mounted: Server) -> None:
    for number in range(3):
        mounted.get(f"/plain/{number}")
    assert sample(mounted, "bentoml_api_server_request_total", endpoint="/plain", http_response_code="200") >= 3
    assert "plain/1" not in mounted.get("/metrics").body.decode()
    mounted.said("path=/plain/2,type=")


def test_answers_of_mounts_carry_a_request_id(mounted: Server) -> None:
    assert mounted.get("/hello").headers["x-bentoml-request-id"].isdigit()


# Start and stop


def test_an_application_sees_what_its_lifespan_left_for_it(mounted: Server) -> None:
    assert mounted.get("/state").value == {"pool": "open", "pid": True}


def test_an_application_that_knows_no_lifespan_is_fine(mounted: Server) -> None:
    mounted.said("the ASGI application plain mounted at /plain takes no part in start and stop (AssertionError: )")


def test_lifespans_end_with_the_server(tmp_path: Path) -> None:
    arguments = ("service:svc", "--working-dir", str(MOUNTED), "--api-workers", "1")
    with serving(*arguments, folder=tmp_path, home=tmp_path / "home") as server:
        assert server.stop() == 0
        server.said("the pool is closed")


def test_an_application_that_cannot_start_ends_the_server_with_its_reason(tmp_path: Path) -> None:
    arguments = ("service:svc", "--working-dir", str(MOUNTED), "--api-workers", "1")
    with started(*arguments, folder=tmp_path, home=tmp_path / "home", extra={"MOUNTED_FAILS": "start"}) as server:
        assert server.wait() != 0
        server.said("the ASGI application FastAPI mounted at / failed to start: RuntimeError: no database at db:5432")


# Middlewares


def test_a_middleware_may_change_the_path_before_it_is_routed(mounted: Server) -> None:
    assert mounted.get("/ping").body == b"\n"
    assert mounted.post("/again", {"dish": "soup"}).value["dish"] == "soup"
    mounted.said("method=POST,path=/order")


@pytest.mark.parametrize("path", ["/metrics", "/livez", "/hello", "/docs.json"])
def test_middlewares_see_every_answer_and_the_first_is_the_outermost(mounted: Server, path: str) -> None:
    assert mounted.get(path).headers.get_all("x-mark") == ["inner", "outer"]


def test_a_client_that_goes_away_cancels_its_request_through_middlewares(mounted: Server, tmp_path: Path) -> None:
    with socket.create_connection(("127.0.0.1", mounted.port)) as client:
        body = b'"%s/file"' % str(tmp_path).encode()
        client.sendall(b"POST /wait_here HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
        until((tmp_path / "file.begun").exists, "the function")
    until((tmp_path / "file.cancelled").exists, "its cancellation")


def test_a_late_answer_is_counted_once_behind_middlewares(tmp_path: Path) -> None:
    options = {"BENTOML_CONFIG_OPTIONS": "api_server.traffic.timeout=0.2"}
    arguments = ("service:svc", "--working-dir", str(MOUNTED), "--api-workers", "1")
    with serving(*arguments, folder=tmp_path, home=tmp_path / "home", extra=options) as server:
        assert server.post("/wait_here", f"{tmp_path}/file").status == 504
        until((tmp_path / "file.cancelled").exists, "the cancellation")
        assert server.get(f"/slow?path={tmp_path}/slow").status == 504
        until((tmp_path / "slow.gone").exists, "the notice")
        total = "bentoml_api_server_request_total"
        assert sample(server, total, endpoint="/wait_here") == 1
        assert sample(server, total, endpoint="/", http_response_code="504") == 1


def test_a_middleware_that_cannot_be_made_is_named() -> None:
    service = bentoml.Service("s")
    service.add_asgi_middleware(TestClient, colour="red")
    with pytest.raises(BentoMLException, match=r"the middleware TestClient cannot be made: TypeError: .*colour"):
        Middlewares(service.middlewares, body_bytes=1)(lambda request: None)  # type: ignore[arg-type,return-value]


# Declarations


@pytest.mark.parametrize("path", ["/metrics", "docs.json", "/static_content/x", "/livez/"])
def test_the_servers_own_paths_cannot_be_mounted_over(path: str) -> None:
    with pytest.raises(InvalidArgument, match="reserved for the server's own pages"):
        bentoml.Service("s").mount_asgi_app(Starlette(), path=path)


@pytest.mark.parametrize("path", ["/a?b", "/a#b", "/{x}", "//a", "/a\n", "/a%20b"])
def test_a_mount_needs_a_plain_path(path: str) -> None:
    with pytest.raises(InvalidArgument, match="must be without"):
        bentoml.Service("s").mount_asgi_app(Starlette(), path=path)


def test_a_class_is_no_application() -> None:
    with pytest.raises(InvalidArgument, match=r"can be called, not <class .*hint: Starlette\(\)"):
        bentoml.Service("s").mount_asgi_app(Starlette)
    with pytest.raises(InvalidArgument, match=r"can be called, not 'app'"):
        bentoml.Service("s").mount_asgi_app("app")
    with pytest.raises(InvalidArgument, match="'app' is neither"):
        bentoml.Service("s").add_asgi_middleware("app")  # type: ignore[arg-type]


def test_two_applications_cannot_have_one_path() -> None:
    service = bentoml.Service("s")
    service.mount_asgi_app(Starlette(), path="app", name="first")
    with pytest.raises(BentoMLException, match="'/app' .* is taken by the ASGI application first mounted at /app"):
        service.mount_asgi_app(Starlette(), path="/app/")


def test_mounts_are_found_by_whole_parts_of_the_path() -> None:
    mounts: list[Any] = [("/a/b", 1), ("/a", 2)]
    found = {path: mount_of(path, mounts) for path in ("/a", "/a/", "/a/b", "/a/bc", "/ab", "/", "*", "/A")}
    assert {path: mount and mount[1] for path, mount in found.items()} == {
        "/a": 2, "/a/": 2, "/a/b": 1, "/a/bc": 2, "/ab": None, "/": None, "*": None, "/A": None,
    }  # fmt: skip
    assert mount_of("/x", [("/", 3)]) == ("/", 3)  # type: ignore[list-item]
    assert mount_of("*", [("/", 3)]) is None  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        (b"example.org:81", ("example.org", 81)),
        (b"example.org", ("example.org", 80)),
        (b"[::1]:81", ("::1", 81)),
        (b"[::1]", ("::1", 80)),
        (b"", ("localhost", 80)),
        (b"a:b:c", ("localhost", 80)),
        (b"a:123456", ("localhost", 80)),
    ],
)
def test_the_authority_is_what_the_client_says(host: bytes, expected: tuple[str, int]) -> None:
    assert authority(Request(raw_headers=[(b"host", host)])) == expected


# The document


def test_the_document_has_the_operations_of_a_mounted_fastapi(mounted: Server) -> None:
    document = mounted.get("/docs.json").value
    validate(document)
    paths, schemas = document["paths"], document["components"]["schemas"]
    assert {"/order", "/hello", "/items/{name}"} <= set(paths)
    assert set(paths["/order"]) == {"post", "get"}
    assert paths["/order"]["get"]["tags"] == ["Kitchen"]
    assert {"name": "Kitchen", "description": "Mounted at /."} in document["tags"]
    listed = paths["/order"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert listed["items"] == {"$ref": "#/components/schemas/Order_2"}
    assert set(schemas["Order"]["properties"]) == {"dish", "count"}
    assert set(schemas["Order_2"]["properties"]) == {"number"}
    assert paths["/items/{name}"]["post"]["security"] == [{"HTTPBearer": []}]
    assert "HTTPBearer" in document["components"]["securitySchemes"]


class Described(Starlette):
    """An application that describes itself, in whatever way."""

    def __init__(self, document: Any) -> None:
        super().__init__()
        self.document = document

    def openapi(self) -> Any:
        if isinstance(self.document, Exception):
            raise self.document
        return self.document


def described(schema: Any, **more: Any) -> Described:
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Item"}}}
    operation = {"operationId": "get", "responses": {"200": {"description": "", "content": content}}}
    schemes = {
        "schemas": {"Item": schema},
        "securitySchemes": {"Key": {"type": "http", "scheme": more.pop("scheme", "basic")}},
    }
    info = {"title": "Other", "version": "1"}
    return Described(
        {"openapi": "3.1.0", "info": info, "paths": {"/item": {"get": operation}}, "components": schemes, **more}
    )


def test_what_two_applications_call_by_one_name_stays_apart() -> None:
    service = bentoml.Service("s")
    service.mount_asgi_app(described({"type": "string"}, security=[{"Key": []}]), path="/first", name="one")
    service.mount_asgi_app(described({"type": "integer"}, security=[{"Key": []}], scheme="bearer"), path="/two")
    service.mount_asgi_app(described({"type": "string"}), path="/first/item")
    document = service.openapi()
    validate(document)
    assert {path for path in document["paths"] if "item" in path} == {"/first/item/item", "/two/item"}
    assert set(document["components"]["schemas"]) == {"Error", "Item", "Item_2"}
    ids = [item["get"]["operationId"] for path, item in document["paths"].items() if "item" in path]
    assert sorted(ids) == ["Described__get", "get"]
    assert document["paths"]["/two/item"]["get"]["security"] == [{"Key_2": []}]


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (RuntimeError("no schema today"), r"RuntimeError: no schema today"),
        ({"openapi": "3.0.2", "paths": {}}, r"document of version '3\.0\.2', expected 3\.1"),
        ([], "document of version None"),
        ({"openapi": "3.1.0", "paths": {"/x": object()}}, "TypeError: "),
        ({"openapi": "3.1.0", "paths": ["/x"]}, "AttributeError: "),
    ],
)
def test_an_application_that_cannot_describe_itself_is_left_out_with_a_warning(
    document: Any, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    service = bentoml.Service("s")
    service.mount_asgi_app(Described(document), path="/app")
    validate(service.openapi())
    assert "the OpenAPI document lacks the operations of the ASGI application Described mounted at /app" in caplog.text
    caplog.clear()
    assert not [path for path in service.openapi()["paths"] if path.startswith("/app")]
    assert reason.replace("\\", "") in caplog.text


# The service as an application


class Adding(bentoml.Runnable):
    @bentoml.Runnable.method
    def add(self, value: int) -> int:
        return value + 1


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[bentoml.Service]:
    adding = bentoml.Runner(Adding, name="adding")
    made = bentoml.Service("s", runners=[adding])
    made.events = []  # type: ignore[attr-defined]

    @made.api(input=JSON(type=int), output=JSON())
    async def add(value: int, ctx: bentoml.Context) -> dict[str, Any]:
        return {"sum": await adding.add.async_run(value), "state": ctx.state}

    @made.api(input=JSON(), output=JSON())
    async def wait(value: Any) -> None:
        await asyncio.Event().wait()

    @made.on_startup
    def begin(ctx: bentoml.Context) -> None:
        ctx.state["ready"] = True

    made.on_shutdown(lambda ctx: made.events.append(ctx.state["ready"]))  # type: ignore[attr-defined]
    options = "api_server.traffic.timeout=0.1 api_server.http.max_body_size=1000"
    config.use(config.load(options=options))
    yield made
    config.use(None)


def test_the_service_runs_in_a_test_client(service: bentoml.Service) -> None:
    with TestClient(service.asgi_app) as client:
        assert client.get("/readyz").text == "\n"
        assert client.post("/add", json=1).json() == {"sum": 2, "state": {"ready": True}}
        assert client.post("/add", json="x").status_code == 400
        assert client.head("/livez").headers["content-length"] == "1"
        assert client.get("/docs.json").json()["info"]["title"] == "s"
        assert "bentoml_api_server_request_total" in client.get("/metrics").text
        with pytest.raises(WebSocketDisconnect), client.websocket_connect("/add"):
            pass
    assert service.events == [True]  # type: ignore[attr-defined]
    with pytest.raises(Exception, match="not initialised"):
        service.runners[0].add.run(1)


def test_without_a_lifespan_the_first_request_starts_it(service: bentoml.Service) -> None:
    async def ask() -> list[httpx.Response]:
        transport = httpx.ASGITransport(service.asgi_app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await asyncio.gather(*(client.post("/add", json=number) for number in range(3)))

    assert [answer.json()["sum"] for answer in asyncio.run(ask())] == [1, 2, 3]
    service.runners[0].destroy()


def test_limits_hold_under_another_server(service: bentoml.Service) -> None:
    with TestClient(service.asgi_app) as client:
        assert client.post("/add", content=b"1" * 1001).status_code == 413
        assert client.post("/add", content=iter([b"1" * 600] * 2)).status_code == 413
        late = client.post("/wait", json=1)
    assert (late.status_code, late.text) == (504, "Not able to process the request in 0.1 seconds")


def test_a_service_may_be_mounted_in_another_application(service: bentoml.Service) -> None:
    outer = bentoml.Service("outer")
    outer.mount_asgi_app(service.asgi_app, path="/inner")
    with TestClient(outer.asgi_app) as client:
        assert client.post("/inner/add", json=1).json()["sum"] == 2
        assert client.get("/inner/livez").text == "\n"


def test_a_service_that_cannot_start_says_so_to_its_server(service: bentoml.Service) -> None:
    @service.on_startup
    def fail() -> None:
        raise RuntimeError("no database")

    with pytest.raises(RuntimeError, match="no database"), TestClient(service.asgi_app):
        pass
