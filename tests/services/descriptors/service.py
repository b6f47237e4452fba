"""One API for each descriptor there is, which answers with what it got: for fuzzing, where only descriptors may fail."""

from __future__ import annotations

import dataclasses
import enum
import warnings
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

import bentoml
from bentoml import io

svc = bentoml.Service("descriptors")


class Level(enum.Enum):
    LOW = "low"
    HIGH = "high"


class Position(BaseModel):
    model_config = ConfigDict(extra="forbid")

    symbol: Annotated[str, Field(min_length=1, max_length=12, pattern="^[A-Z]+$")]
    amount: Annotated[int, Field(ge=0, le=1_000_000)]
    price: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None


class Portfolio(BaseModel):
    owner: str
    positions: list[Position] = []
    tags: dict[str, str] = {}
    level: Level = Level.LOW
    kind: Literal["hedge", "pension"] = "pension"
    parent: Portfolio | None = None


@dataclasses.dataclass
class Reading:
    sensor: str
    celsius: float | None
    flags: list[bool] = dataclasses.field(default_factory=list)


def offer(
    name: str,
    input: io.IODescriptor[Any],
    output: io.IODescriptor[Any] | None = None,
    answer: Callable[[Any], Any] = lambda value: value,
) -> None:
    """An API that answers with what it got."""

    async def echo(value: Any) -> Any:
        return answer(value)

    async def echo_fields(**fields: Any) -> Mapping[str, Any]:
        return fields

    function = echo if input.fields is None else echo_fields
    svc.api(input=input, output=output or input, name=name, doc=f"What {name} makes of it.")(function)


# None would be an empty body, as BentoML has it, and NaN is no JSON in the eyes of others.
offer("json", io.JSON(), answer=lambda value: {"got": value})
offer("json_pydantic", io.JSON(pydantic_model=Portfolio))
offer("json_typed", io.JSON(type=list[Reading]))
offer("text", io.Text())
offer("array", io.NumpyNdarray())
floats = io.NumpyNdarray(dtype="float64", shape=(-1, 3), enforce_dtype=True, enforce_shape=True)
offer("array_floats", floats, answer=np.nan_to_num)
offer("array_bytes", io.NumpyNdarray(dtype="int8", enforce_dtype=True))
offer("array_reshaped", io.NumpyNdarray(dtype="int64", shape=(2, -1)), io.NumpyNdarray())
offer("array_text", io.NumpyNdarray(dtype="str"))
offer("array_booleans", io.NumpyNdarray(dtype="bool", enforce_dtype=True, shape=(2,), enforce_shape=True))

if hasattr(io, "PandasDataFrame"):
    for orient in ("records", "columns", "index", "split", "values"):
        offer(f"frame_{orient}", io.PandasDataFrame(orient=orient))
    columns = {"a": "int64", "b": "float64", "c": "str", "d": "bool"}
    offer("frame_typed", io.PandasDataFrame(columns=list(columns), dtype=columns, enforce_dtype=True))
    offer("frame_csv", io.PandasDataFrame(default_format="csv"))
    # A column of Parquet has one type, which cells of JSON need not have.
    offer("frame_parquet", io.PandasDataFrame(default_format="parquet"), answer=lambda frame: frame.astype(str))
if hasattr(io, "PandasSeries"):
    offer("series", io.PandasSeries())
    offer("series_floats", io.PandasSeries(dtype="float64", enforce_dtype=True))
if hasattr(io, "Image"):
    offer("image", io.Image())
    offer("image_png", io.Image(pilmode="L", mime_type="image/png", allowed_mime_types=["image/png"]))
if hasattr(io, "File"):
    offer("file", io.File())
    offer("file_pdf", io.File(mime_type="application/pdf"))
if hasattr(io, "Multipart"):
    parts: dict[str, io.IODescriptor[Any]] = {"text": io.Text(), "json": io.JSON(pydantic_model=Portfolio)}
    for field, kind in (("array", "NumpyNdarray"), ("frame", "PandasDataFrame"), ("image", "Image"), ("file", "File")):
        if hasattr(io, kind):
            parts[field] = getattr(io, kind)()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        offer("multipart", io.Multipart(**parts))
