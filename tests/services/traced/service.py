"""A service for traces and monitoring: a model in the API worker, one in a worker process, and spans of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from opentelemetry import trace

import bentoml
from bentoml.io import JSON, Text

tracer = trace.get_tracer("kitchen")


class Doubling(bentoml.Runnable):
    SUPPORTED_RESOURCES = ("cpu",)
    SUPPORTS_CPU_MULTI_THREADING = False

    @bentoml.Runnable.method(batchable=True)
    def double(self, rows: list) -> list:
        return [2 * row for row in rows]

    @bentoml.Runnable.method
    async def double_alone(self, row: float) -> float:
        await asyncio.sleep(0)
        return 2 * row


near = bentoml.Runner(Doubling, name="near")
far = bentoml.Runner(Doubling, name="far")
svc = bentoml.Service("traced", runners=[near, far])


@svc.api(input=JSON(), output=JSON())
async def through_near(rows: list) -> list:
    return await near.double.async_run(rows)


@svc.api(input=JSON(), output=JSON())
async def through_far(rows: list) -> list:
    return await far.double.async_run(rows)


@svc.api(input=JSON(), output=JSON())
def through_near_in_thread(rows: list) -> list:
    with tracer.start_as_current_span("prepare"):
        prepared = [float(row) for row in rows]
    return near.double.run(prepared)


@svc.api(input=JSON(), output=JSON())
async def alone(rows: list) -> list:
    return [await near.double_alone.async_run(rows[0]), await far.double_alone.async_run(rows[1])]


@svc.api(input=JSON(), output=JSON())
async def fail(kind: str) -> Any:
    if kind == "bad":
        raise bentoml.exceptions.InvalidArgument("not this")
    raise RuntimeError("the secret of the kitchen")


@svc.api(input=JSON(), output=JSON())
async def unseen(value: Any) -> Any:
    return value


@svc.api(input=JSON(), output=JSON())
async def forever(value: Any) -> Any:
    await asyncio.Event().wait()


@svc.api(input=Text(), output=Text(content_type="text/event-stream"))
async def count(given: str) -> AsyncIterator[str]:
    for number in range(int(given)):
        with tracer.start_as_current_span(f"item {number}"):
            yield f"{number};"
    if given == "2":
        raise RuntimeError("bad luck")


@svc.api(input=JSON(), output=JSON())
async def watched(rows: list) -> list:
    with bentoml.monitor("rows") as mon:
        mon.log_batch(rows, "row", "feature", "numerical")
        result = await near.double.async_run(rows)
        mon.log_batch(result, "doubled", "prediction", "numerical")
    return result


@svc.api(input=JSON(), output=JSON())
def watched_in_thread(row: float) -> float:
    with bentoml.monitor("rows_in_thread") as mon:
        mon.log(row, "row", "feature", "numerical")
    return row
