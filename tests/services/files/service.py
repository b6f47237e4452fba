"""Images, files, forms and streams, in and out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from PIL.Image import Image as Picture
from pydantic import BaseModel

import bentoml
from bentoml.exceptions import BadInput
from bentoml.io import JSON, SSE, File, Image, Multipart, NumpyNdarray, Text

svc = bentoml.Service("files")


class Options(BaseModel):
    width: int


@svc.api(input=Image(), output=Image(mime_type="image/png"))
def half(image: Picture) -> Picture:
    return image.resize((image.width // 2, image.height // 2))


@svc.api(input=Image(allowed_mime_types=["image/png"], max_pixels=10_000), output=JSON())
async def measure(image: Picture) -> list[int]:
    return list(image.size)


@svc.api(input=File(), output=JSON())
def inspect(file: Any) -> Any:
    return {"name": file.name, "size": len(file.read()), "type": file.content_type}


@svc.api(input=File(mime_type="text/csv"), output=File(mime_type="text/csv"))
async def table(file: Any, ctx: bentoml.Context) -> bytes:
    ctx.response.headers["content-disposition"] = 'attachment; filename="table.csv"'
    return file.read().upper()


@svc.api(
    input=Multipart(image=Image(), options=JSON(pydantic_model=Options), note=Text()),
    output=Multipart(thumbnail=Image(), note=Text(), size=NumpyNdarray()),
)
def resize(image: Picture, options: Options, note: str) -> dict[str, Any]:
    import numpy as np

    small = image.resize((options.width, image.height * options.width // image.width))
    return {"thumbnail": small, "note": note.upper(), "size": np.array(small.size)}


@svc.api(input=Multipart(a=JSON(), b=JSON()), output=JSON())
async def add(a: Any, b: Any, ctx: bentoml.Context) -> Any:
    ctx.response.headers["x-fields"] = "2"
    return a + b


@svc.api(input=JSON(), output=Text("text/event-stream"))
async def events(given: dict[str, Any], ctx: bentoml.Context) -> AsyncIterator[str | SSE]:
    """Count; wait for a file after the first item; fail where it is asked for."""
    ctx.response.headers["x-model"] = "v1"
    if given.get("fail") == "at once":
        raise BadInput("not like this")
    if given.get("fail") == "before":
        raise RuntimeError("secret")
    yield SSE("0", event="token", id="0")
    while "gate" in given and not Path(given["gate"]).exists():
        await asyncio.sleep(0.002)
    yield "data: 1\n"
    if given.get("fail") == "midway":
        raise RuntimeError("secret")
    yield "\n"
    if given.get("fail") == "told":
        raise BadInput("no further")


@svc.api(input=JSON(), output=Text())
async def lines(given: dict[str, Any]) -> AsyncIterator[str]:
    yield "first\n"
    if given.get("fail") == "exit":
        raise SystemExit(3)
    if given.get("fail"):
        raise RuntimeError("secret")
    yield "second\n"
