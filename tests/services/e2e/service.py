"""A service as users of BentoML 1.0 and 1.1 wrote them: every descriptor, hook and mount, in the idioms of that time.

Nothing here may be brought up to date: that it runs as it stands is what the acceptance tests hold.
"""

import asyncio
import typing as t

import fastapi
import numpy as np
import pandas as pd
import pydantic
from PIL import Image as PILImage
from PIL import ImageChops

import bentoml
from bentoml.io import JSON, File, Image, Multipart, NumpyNdarray, PandasDataFrame, PandasSeries, Text
from bentoml.metrics import Counter, Histogram


class Doubling(bentoml.Runnable):
    """A Runnable of the user's own: one method that is batched, one that is not, one that yields."""

    SUPPORTED_RESOURCES = ("cpu",)
    SUPPORTS_CPU_MULTI_THREADING = True

    def __init__(self, factor: int = 2) -> None:
        self.factor = factor

    @bentoml.Runnable.method(batchable=True, batch_dim=0)
    def double(self, array):
        return array * self.factor

    @bentoml.Runnable.method
    def title(self) -> str:
        return f"times {self.factor}"

    @bentoml.Runnable.method(batchable=False)
    async def words(self, text: str):
        for word in text.split():
            yield f"{word} "


class Adder(bentoml.Runnable):
    SUPPORTED_RESOURCES = ("cpu",)
    SUPPORTS_CPU_MULTI_THREADING = False

    @bentoml.Runnable.method(batchable=False)
    def add(self, left, right=0):
        return left + right


case_model = bentoml.picklable_model.get("e2e_case").with_options(partial_kwargs={"predict_partial": {"factor": 4}})
case_runner = case_model.to_runner(method_configs={"predict_ndarray": {"max_batch_size": 10, "max_latency_ms": 5000}})
doubling_runner = bentoml.Runner(
    Doubling, name="doubling", runnable_init_params={"factor": 2}, max_batch_size=50, max_latency_ms=20000
)
adder_runner = bentoml.Runner(Adder)

requests_by_name = Counter(name="e2e_echo", documentation="echoed names", labelnames=["name"])
echo_length = Histogram(
    name="e2e_echo_length", documentation="characters of what is echoed", buckets=(1.0, 10.0, 100.0, float("inf"))
)

svc = bentoml.Service(name="E2E_General", runners=[case_runner, doubling_runner, adder_runner], models=[case_model])


# What is called once for each server, and once for each API worker.


@svc.on_deployment
def once_for_the_server():
    print("deployed")


@svc.on_startup
def first_start(context: bentoml.Context):
    context.state["data"] = "hello"


@svc.on_startup
async def second_start(context):
    await asyncio.sleep(0)
    context.state["data"] += "_startup"


@svc.on_shutdown
def at_the_end(context: bentoml.Context):
    print("ended with", context.state["data"])


# Text and JSON.


@svc.api(Text(), Text())
def echo_text(text: str) -> str:
    requests_by_name.labels(name="text").inc()
    echo_length.observe(len(text))
    return text


@svc.api(input=JSON(), output=JSON())
async def echo_json(json_obj: t.Any) -> t.Any:
    return await case_runner.echo_json.async_run(json_obj)


@svc.api(input=JSON(), output=JSON())
def echo_json_sync(json_obj: t.Any) -> t.Any:
    return case_runner.echo_json.run(json_obj)


class Query(pydantic.BaseModel):
    """An input with a default, an optional field and a list."""

    name: str
    endpoints: t.Optional[t.List[str]] = None
    weight: t.Union[int, float] = 1


@svc.api(input=JSON(pydantic_model=Query), output=JSON())
def pydantic_json(query: Query) -> t.Dict[str, t.Any]:
    return query.dict()


@svc.api(input=JSON(pydantic_model=Query), output=JSON(pydantic_model=Query), route="api/v1/with_prefix")
async def echo_query(query: Query) -> Query:
    return query


@svc.api(input=JSON(), output=JSON())
async def json_of_anything(kind: t.Union[str, t.Dict[str, t.Any]]):
    answers = {
        "ndarray": np.array([[1, 2], [3, 4]]),
        "scalar": np.float64(1.5),
        "query": Query(name="x"),
        "frame": pd.DataFrame({"a": [1, 2]}),
        "unicode": {"text": "é"},
        "none": None,
        "nan": float("nan"),
    }
    return answers[kind]


@svc.api(input=JSON(), output=JSON())
def raise_error(kind: str):
    if kind == "bento":
        raise bentoml.exceptions.InvalidArgument("this is wrong")
    if kind == "not_found":
        raise bentoml.exceptions.NotFound("not here")
    if kind == "unavailable":
        raise bentoml.exceptions.ServiceUnavailable("come back")
    if kind == "state":
        raise bentoml.exceptions.StateException("not now")
    raise KeyError(kind)


# The context.


@svc.api(input=JSON(), output=JSON())
def use_context(inp: t.Union[t.Dict[str, str], None], ctx: bentoml.Context):
    if ctx.request.query_params.get("error"):
        ctx.response.status_code = 400
        return ctx.request.query_params["error"]
    return {"state": ctx.state["data"], "header": ctx.request.headers.get("X-Asked"), **(inp or {})}


@svc.api(input=Text(), output=Text())
async def with_cookie(text, context):
    context.response.metadata["X-Told"] = context.request.metadata["x-asked"]
    context.response.set_cookie(key="seen", value=text, max_age=60, path="/", httponly=True)
    context.response.headers["content-type"] = "text/x-mine"
    return text


# Streams.


@svc.api(input=JSON(), output=Text(content_type="text/event-stream"))
async def count_text_stream(json_obj):
    async def lines():
        for i in range(json_obj["count"]):
            yield f"data: {i}\n\n"

    return lines()


@svc.api(input=Text(), output=Text())
async def predict_text_stream(text: str) -> t.AsyncGenerator[str, None]:
    async for word in doubling_runner.words.async_stream(text):
        yield word


# Arrays.


@svc.api(input=NumpyNdarray(shape=(2, 2), enforce_shape=True), output=NumpyNdarray(shape=(1, 4)))
async def predict_ndarray_enforce_shape(inp: "np.ndarray[t.Any, np.dtype[t.Any]]") -> "np.ndarray[t.Any, t.Any]":
    assert inp.shape == (2, 2)
    return await case_runner.predict_ndarray.async_run(inp)


@svc.api(input=NumpyNdarray(dtype="uint8", enforce_dtype=True), output=NumpyNdarray(dtype="str"))
async def predict_ndarray_enforce_dtype(inp: np.ndarray) -> np.ndarray:
    assert inp.dtype == np.dtype("uint8")
    return await case_runner.predict_ndarray.async_run(inp)


@svc.api(input=NumpyNdarray(), output=NumpyNdarray())
async def predict_ndarray_multi_output(inp: np.ndarray) -> np.ndarray:
    first, second = await case_runner.predict_multi_output.async_run(inp)
    return first + second


@svc.api(NumpyNdarray(), JSON())
def ndarray_by_every_runner(arr):
    return {
        "partial": case_runner.predict_partial.run(arr).tolist(),
        "double": doubling_runner.double.run(arr).tolist(),
        "title": doubling_runner.title.run(),
        "single": adder_runner.run(arr, right=1).tolist(),
        "method": adder_runner.add.run(arr, 2).tolist(),
    }


@svc.api(input=JSON(), output=JSON())
async def gathered(values: t.List[int]) -> t.List[int]:
    return list(await asyncio.gather(*(adder_runner.async_run(value, right=10) for value in values)))


# Frames.


@svc.api(
    input=PandasDataFrame(dtype={"col1": "int64"}, orient="records"),
    output=PandasDataFrame(),
)
async def predict_dataframe(df: pd.DataFrame) -> pd.DataFrame:
    assert df["col1"].dtype == "int64"
    output = await case_runner.predict_dataframe.async_run(df)
    dframe = pd.DataFrame()
    dframe["col1"] = output["col1"]
    assert isinstance(dframe, pd.DataFrame)
    return dframe


@svc.api(input=PandasSeries(), output=PandasSeries())
def predict_series(series: "pd.Series[t.Any]"):
    return series * 2


# Files and images.


@svc.api(input=File(), output=File())
async def predict_file(f: t.IO[bytes]) -> bytes:
    return await case_runner.predict_file.async_run([f.read()])


@svc.api(input=Image(), output=Image(mime_type="image/bmp"))
async def echo_image(f: PILImage.Image) -> "np.ndarray[t.Any, np.dtype[t.Any]]":
    assert isinstance(f, PILImage.Image)
    return np.array(f)


@svc.api(
    input=Multipart(original=Image(), compared=Image()),
    output=Multipart(img1=Image(), img2=Image()),
)
async def predict_multi_images(original: PILImage.Image, compared: PILImage.Image):
    output = ImageChops.difference(original.convert("RGB"), compared.convert("RGB"))
    return {"img1": output, "img2": original}


@svc.api(input=Multipart(arr=NumpyNdarray(), meta=JSON()), output=JSON())
def mixed_form(meta, arr, ctx):
    ctx.response.headers["X-Rows"] = str(len(arr))
    return {"sum": int(arr.sum()), **meta}


# Monitoring.


@svc.api(input=JSON(), output=JSON())
def monitored(row: t.Dict[str, t.Any]):
    with bentoml.monitor("e2e_monitor") as mon:
        mon.log(row["x"], name="x", role="feature", data_type="numerical")
        mon.log(row["x"] * 2, name="y", role="prediction", data_type="numerical")
    return row["x"] * 2


# What stands beside and around the APIs.


class AllowPing:
    """ASGI middleware: /ping is answered by /livez."""

    def __init__(self, app, to: str = "/livez"):
        self.app = app
        self.to = to

    async def __call__(self, scope, receive, send):
        if scope["type"] == "http" and scope["path"] == "/ping":
            scope["path"] = self.to
        await self.app(scope, receive, send)


svc.add_asgi_middleware(AllowPing, to="/healthz")

fastapi_app = fastapi.FastAPI()


@fastapi_app.get("/hello")
def hello():
    return {"Hello": "World"}


svc.mount_asgi_app(fastapi_app)
