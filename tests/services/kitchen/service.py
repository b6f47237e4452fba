"""The service of most tests: one API for each thing that an API can do, and two runners."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel

import bentoml
from bentoml import exceptions
from bentoml.io import JSON, NumpyNdarray, Text


class Doubling(bentoml.Runnable):
    SUPPORTED_RESOURCES = ("cpu",)
    SUPPORTS_CPU_MULTI_THREADING = False

    @bentoml.Runnable.method(batchable=True, batch_dim=0)
    def double(self, rows: np.ndarray) -> np.ndarray:
        return rows * 2

    @bentoml.Runnable.method
    def wait_for(self, path: str) -> int:
        """Take as long as the test wants: until the file is there."""
        Path(f"{path}.begun").touch()
        while not Path(path).exists():
            time.sleep(0.002)
        return os.getpid()

    @bentoml.Runnable.method
    def fail(self, kind: str) -> None:
        raise getattr(exceptions, kind, RuntimeError)(
            "from the model", **({"hint": "try"} if kind in dir(exceptions) else {})
        )


near = bentoml.Runner(Doubling, name="near")
far = bentoml.Runner(Doubling, name="far")
svc = bentoml.Service("kitchen", runners=[near, far])
logger = logging.getLogger("bentoml")


class Order(BaseModel):
    dish: str
    count: int
    price: float = 1.0


@svc.api(input=JSON(), output=JSON())
async def echo(value: Any) -> Any:
    """Say it again."""
    return value


@svc.api(input=JSON(), output=JSON())
def echo_in_thread(value):
    return value


@svc.api(input=JSON(pydantic_model=Order), output=JSON(), route="kitchen/order")
async def order(given: Order) -> dict:
    return given.model_dump()


@svc.api(
    input=NumpyNdarray(dtype="float64", shape=(-1, 2), enforce_shape=True, enforce_dtype=True), output=NumpyNdarray()
)
def array(rows: np.ndarray) -> np.ndarray:
    return rows + 1


@svc.api(input=Text(), output=Text())
def text(given: str) -> str:
    return given.upper()


@svc.api(input=Text(), output=Text(content_type="text/event-stream"))
async def count(given: str) -> AsyncIterator[str]:
    for number in range(int(given)):
        yield f"{number};"
    if given == "13":
        raise RuntimeError("bad luck")


@svc.api(input=JSON(), output=JSON())
async def seen(value: Any, ctx: bentoml.Context) -> Any:
    """What the context holds, after others had the time to change it."""
    request, response = ctx.request, ctx.response
    response.status_code = int(request.query_params.get("status", "200"))
    response.headers["x-echo"] = request.headers.get("x-echo", "")
    response.set_cookie("who", str(value), max_age=60, httponly=True)
    await asyncio.sleep(0.005)
    return {
        "value": value,
        "header": request.headers.get("X-Echo"),
        "query": request.query_params.getlist("q"),
        "cookie": request.headers.get("cookie"),
        "path": request.path,
        "method": request.method,
        "started": ctx.state.get("started"),
    }


@svc.api(input=JSON(), output=JSON())
async def ids(value: Any, ctx: bentoml.Context) -> Any:
    request = ctx.request
    return {"request": request.request_id, "trace": request.trace_id, "traceparent": request.traceparent}


@svc.api(input=JSON(), output=JSON())
def seen_in_thread(value, ctx):
    ctx.response.headers["x-echo"] = ctx.request.headers.get("x-echo", "")
    time.sleep(0.002)
    return ctx.request.headers.get("x-echo")


@svc.api(input=JSON(), output=JSON())
def fail(kind: str) -> None:
    """Raise an exception of this name."""
    if kind == "ZeroDivisionError":
        return 1 // 0
    if kind == "SystemExit":
        raise SystemExit(3)
    if kind == "unserialisable":
        return object()
    raise getattr(exceptions, kind)("the secret of /etc/kitchen")


@svc.api(input=JSON(), output=JSON())
async def double_near(rows: list) -> list:
    return (await near.double.async_run(np.array(rows))).tolist()


@svc.api(input=JSON(), output=JSON())
async def double_far(rows: list) -> list:
    return (await far.double.async_run(np.array(rows))).tolist()


@svc.api(input=JSON(), output=JSON())
def double_far_in_thread(rows: list) -> list:
    return far.double.run(np.array(rows)).tolist()


@svc.api(input=JSON(), output=JSON())
async def wait_far(path: str) -> int:
    return await far.wait_for.async_run(path)


@svc.api(input=JSON(), output=JSON())
async def fail_far(kind: str) -> None:
    await far.fail.async_run(kind)


@svc.api(input=JSON(), output=JSON())
async def block_on_far(rows: list) -> list:
    return far.double.run(np.array(rows)).tolist()


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


@svc.api(input=JSON(), output=JSON())
def wait_in_thread(path: str) -> str:
    Path(f"{path}.begun").touch()
    while not Path(path).exists():
        time.sleep(0.002)
    return "done"


@svc.api(input=JSON(), output=JSON())
async def pid(_: Any) -> int:
    return os.getpid()


@svc.on_startup
def remember(ctx: bentoml.Context) -> None:
    ctx.state["started"] = os.getpid()
