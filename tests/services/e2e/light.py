"""A service with hooks and without a model: it starts quickly, several times over."""

import asyncio
import os
import typing as t
from pathlib import Path

import bentoml
from bentoml.io import JSON, Text

svc = bentoml.Service("light")


def leave_a_file(prefix: str) -> None:
    if "BENTOML_TEST_DATA" in os.environ:
        (Path(os.environ["BENTOML_TEST_DATA"]) / f"{prefix}-{os.getpid()}").write_text("x")


async def all_but_the_first_wait(folder: Path) -> None:
    try:
        (folder / "first").touch(exist_ok=False)
    except FileExistsError:
        while not (folder / "go").exists():
            await asyncio.sleep(0.01)


@svc.on_deployment
def once_for_the_server():
    leave_a_file("deployment")


@svc.on_startup
def first_start(context: bentoml.Context):
    context.state["data"] = "hello"


@svc.on_startup
async def second_start(context):
    await asyncio.sleep(0)
    context.state["data"] += "_startup"
    leave_a_file("startup")
    if "BENTOML_TEST_SLOW" in os.environ:
        await all_but_the_first_wait(Path(os.environ["BENTOML_TEST_DATA"]))


@svc.on_shutdown
async def at_the_end(context: bentoml.Context):
    if context.state["data"] == "hello_startup":
        leave_a_file("shutdown")


@svc.api(input=Text(), output=Text())
def echo_text(text: str) -> str:
    return text


@svc.api(input=JSON(), output=JSON())
def state(json_obj, ctx: bentoml.Context):
    return ctx.state["data"]


@svc.api(input=JSON(), output=JSON())
async def echo_delay(data: t.Dict[str, float]):
    await asyncio.sleep(data["delay"])
    return data
