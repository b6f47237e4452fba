"""A service that is quick to start, for tests that start and stop servers: no NumPy, no pydantic."""

import asyncio
import os
import signal
import time
from pathlib import Path

import bentoml
from bentoml.io import JSON


class Doubling(bentoml.Runnable):
    SUPPORTED_RESOURCES = ("cpu",)
    SUPPORTS_CPU_MULTI_THREADING = False

    @bentoml.Runnable.method(batchable=True, batch_dim=0)
    def double(self, rows):
        return [2 * row for row in rows]

    @bentoml.Runnable.method
    def wait_for(self, path):
        """Take as long as the test wants: until the file is there."""
        Path(f"{path}.begun").write_text(str(os.getpid()))
        while not Path(path).exists():
            time.sleep(0.002)

    @bentoml.Runnable.method
    def die(self):
        os.kill(os.getpid(), signal.SIGKILL)


near = bentoml.Runner(Doubling, name="near")
far = bentoml.Runner(Doubling, name="far")
svc = bentoml.Service("light", runners=[near, far])


@svc.api(input=JSON(), output=JSON())
async def echo(value):
    return value


@svc.api(input=JSON(), output=JSON())
async def pid(_):
    return os.getpid()


@svc.api(input=JSON(), output=JSON())
async def double_near(rows):
    return await near.double.async_run(rows)


@svc.api(input=JSON(), output=JSON())
async def double_far(rows):
    return await far.double.async_run(rows)


@svc.api(input=JSON(), output=JSON())
async def wait_far(path):
    await far.wait_for.async_run(path)


@svc.api(input=JSON(), output=JSON())
async def die_far(_):
    await far.die.async_run()


@svc.api(input=JSON(), output=JSON())
async def wait_here(path):
    Path(f"{path}.begun").touch()
    while not Path(path).exists():
        await asyncio.sleep(0.002)
