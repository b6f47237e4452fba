"""A service with applications of FastAPI, Starlette and Flask beside its API, and middlewares around all of it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import flask
from fastapi import BackgroundTasks, Depends, FastAPI, Request
from fastapi.security import HTTPBearer
from pydantic import BaseModel
from starlette.responses import PlainTextResponse, StreamingResponse

import bentoml
from bentoml.io import JSON


class Doubling(bentoml.Runnable):
    SUPPORTED_RESOURCES = ("cpu",)

    @bentoml.Runnable.method(batchable=True, batch_dim=0)
    def double(self, rows: list) -> list:
        return [row * 2 for row in rows]


class Order(BaseModel):
    dish: str
    count: int = 1


doubling = bentoml.Runner(Doubling, name="doubling")
svc = bentoml.Service("mounted", runners=[doubling])


@svc.api(input=JSON(pydantic_model=Order), output=JSON(pydantic_model=Order))
async def order(given: Order) -> Order:
    """Say it again."""
    return given


@svc.api(input=JSON(), output=JSON())
async def double(rows: list) -> list:
    return await doubling.double.async_run(rows)


@svc.api(input=JSON(), output=JSON())
async def wait_here(path: str) -> str:
    """Wait for a file on the event loop."""
    Path(f"{path}.begun").touch()
    try:
        while not Path(path).exists():
            await asyncio.sleep(0.002)
    except asyncio.CancelledError:
        Path(f"{path}.cancelled").touch()
        raise
    return "done"


@svc.on_startup
def remember(context: bentoml.Context) -> None:
    context.state["ready"] = True


# FastAPI, at the root: whatever no one else answers


@contextlib.asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
    if os.environ.get("MOUNTED_FAILS") == "start":
        raise RuntimeError("no database at db:5432")
    yield {"pool": "open", "pid": os.getpid()}
    print("the pool is closed", flush=True)


api = FastAPI(title="Kitchen", lifespan=lifespan)


class Item(BaseModel):
    name: str


class Ordered(BaseModel):
    item: Item


def _another_order() -> type[BaseModel]:
    class Order(BaseModel):
        number: int

    return Order


AnotherOrder = _another_order()


@api.get("/hello")
def hello() -> dict[str, str]:
    return {"Hello": "World"}


@api.get("/order")
def listed() -> list[AnotherOrder]:  # type: ignore[valid-type]
    return [AnotherOrder(number=1)]


@api.post("/items/{name}", dependencies=[Depends(HTTPBearer(auto_error=False))])
def item(name: str, given: Item) -> Ordered:
    return Ordered(item=Item(name=f"{name} {given.name}"))


@api.get("/state")
def state(request: Request) -> dict[str, Any]:
    return {"pool": request.state.pool, "pid": request.state.pid == os.getpid()}


@api.get("/scope/{rest:path}")
def scope(request: Request, rest: str) -> dict[str, Any]:
    kept = ("type", "http_version", "method", "scheme", "path", "root_path", "server", "asgi")
    seen = {name: request.scope[name] for name in kept}
    raw = {name: request.scope[name].decode("latin-1") for name in ("raw_path", "query_string")}
    return {**seen, **raw, "client": request.client.host, "url": str(request.url), "rest": rest}


@api.get("/stream")
def stream(kind: str = "") -> StreamingResponse:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"one,"
        await asyncio.sleep(0)
        if kind == "breaks":
            raise RuntimeError("bad luck in the stream")
        yield b"two"

    return StreamingResponse(chunks(), headers={"content-length": "7"} if kind in ("sized", "breaks") else None)


@api.get("/forever")
def forever(path: str) -> StreamingResponse:
    async def chunks() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"x" * 10_000
        finally:
            Path(path).touch()

    return StreamingResponse(chunks())


@api.get("/slow")
async def slow(request: Request, path: str) -> str:
    """Until the client is gone."""
    Path(f"{path}.begun").touch()
    while not await request.is_disconnected():
        await asyncio.sleep(0.002)
    Path(f"{path}.gone").touch()
    return "nobody reads this"


@api.get("/behind")
def behind(path: str, tasks: BackgroundTasks) -> str:
    tasks.add_task(Path(path).touch)
    return "answered"


@api.get("/fail")
def fail() -> None:
    raise RuntimeError("the secret of the kitchen")


@api.api_route("/echo", methods=["GET", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD"])
async def echo(request: Request) -> PlainTextResponse:
    return PlainTextResponse(await request.body(), headers={"x-method": request.method})


svc.mount_asgi_app(api)


# A plain ASGI application that knows no lifespan, below a longer path


async def plain(scope: dict, receive: Any, send: Any) -> None:
    assert scope["type"] == "http"
    kind = scope["path"].rpartition("/")[2]
    if kind == "nothing":
        return
    headers = {
        "split": [(b"x-a", b"1\r\nx-b: 2")],
        "long": [(b"content-length", b"2")],
        "short": [(b"content-length", b"99")],
        "framing": [(b"transfer-encoding", b"chunked"), (b"connection", b"close"), (b"Content-Type", b"text/css")],
    }
    await send({"type": "http.response.start", "status": 200, "headers": headers.get(kind, [])})
    if kind == "half":
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        return
    await send({"type": "http.response.body", "body": f"{scope['root_path']} {scope['path']}".encode()})


svc.mount_asgi_app(plain, path="/plain/", name="plain")


# Flask

web = flask.Flask("web")


@web.get("/")
def index() -> str:
    return f"{flask.request.script_root} {flask.request.path} {flask.request.url}"


@web.route("/echo", methods=["GET", "POST", "HEAD", "OPTIONS"])
def web_echo() -> flask.Response:
    seen = {name: value for name, value in flask.request.environ.items() if isinstance(value, str)}
    if flask.request.args.get("body"):
        return flask.Response(flask.request.get_data(), mimetype="application/x-echo")
    return flask.jsonify(seen)


@web.get("/stream")
def web_stream() -> flask.Response:
    def chunks() -> Iterator[bytes]:
        yield b"one,"
        if flask.request.args.get("kind") == "breaks":
            raise RuntimeError("bad luck in the thread")
        yield f"{flask.request.args.get('kind')}".encode()

    return flask.Response(flask.stream_with_context(chunks()))


@web.get("/forever")
def web_forever() -> flask.Response:
    path = flask.request.args["path"]

    def chunks() -> Iterator[bytes]:
        try:
            while True:
                yield b"x" * 10_000
        finally:
            Path(path).touch()

    return flask.Response(chunks())


@web.get("/wait")
def web_wait() -> str:
    path = flask.request.args["path"]
    Path(f"{path}.begun").touch()
    while not Path(path).exists():
        time.sleep(0.002)
    return "done"


@web.get("/fail")
def web_fail() -> str:
    raise RuntimeError("the secret of the web")


web.config["PROPAGATE_EXCEPTIONS"] = True
svc.mount_wsgi_app(web, path="/web")


# Middlewares, the outermost first


class Rewrite:
    """`/ping` is `/livez`, and `/again` is an API."""

    def __init__(self, app: Any, paths: dict[str, str]) -> None:
        self.app, self.paths = app, paths

    async def __call__(self, scope: dict, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["path"] in self.paths:
            scope = {**scope, "path": self.paths[scope["path"]]}
        await self.app(scope, receive, send)


class Mark:
    """Writes its mark on every answer, and what of it was there before."""

    def __init__(self, app: Any, mark: str = "") -> None:
        self.app, self.mark = app, mark

    async def __call__(self, scope: dict, receive: Any, send: Any) -> None:
        async def marked(message: dict) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-mark", self.mark.encode())]
            await send(message)

        await self.app(scope, receive, marked)


svc.add_asgi_middleware(Rewrite, paths={"/ping": "/livez", "/again": "/order"})
svc.add_asgi_middleware(Mark, mark="outer")
svc.add_asgi_middleware(Mark, mark="inner")
