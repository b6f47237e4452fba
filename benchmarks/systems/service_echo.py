"""Answers each request with its own id, by way of a batch: whoever gets another one's id has found a fault."""

import bentoml
from bentoml.io import JSON


class Echo(bentoml.Runnable):
    SUPPORTED_RESOURCES = ("cpu",)
    SUPPORTS_CPU_MULTI_THREADING = False

    @bentoml.Runnable.method(batchable=True)
    def double(self, numbers):
        return [2 * number for number in numbers]


runner = bentoml.Runner(Echo, name="echo")
svc = bentoml.Service("echo", runners=[runner])


@svc.api(input=JSON(), output=JSON())
async def echo(request, ctx):
    ctx.response.headers["x-own-id"] = str(request["id"])
    (doubled,) = await runner.double.async_run([request["id"]])
    return {"id": request["id"], "doubled": doubled}
