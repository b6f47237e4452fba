"""A service whose model is as slow as a test wants: for overload, time-outs and clients that go away."""

import asyncio
import time
from pathlib import Path

import bentoml
from bentoml.io import JSON

#: One call of the model, whatever its number of rows: with batches of 4, 200 rows a second.
CALL_S = 0.02


class Slow(bentoml.Runnable):
    SUPPORTED_RESOURCES = ("cpu",)
    SUPPORTS_CPU_MULTI_THREADING = True

    def __init__(self):
        self.rows = []

    @bentoml.Runnable.method(batchable=True)
    def work(self, rows):
        time.sleep(CALL_S)
        return rows

    @bentoml.Runnable.method(batchable=True)
    def note(self, rows):
        self.rows += rows
        return rows

    @bentoml.Runnable.method
    def hold(self, path):
        """Keep the model busy until the file is there."""
        Path(f"{path}.begun").touch()
        while not Path(path).exists():
            time.sleep(0.002)

    @bentoml.Runnable.method
    async def noted(self):
        """Answers also while the model is held."""
        return self.rows


slow = bentoml.Runner(Slow, name="slow")
svc = bentoml.Service("load", runners=[slow])


@svc.api(input=JSON(), output=JSON())
async def echo(value):
    return value


@svc.api(input=JSON(), output=JSON())
def echo_in_thread(value):
    return value


@svc.api(input=JSON(), output=JSON())
async def work(rows):
    return await slow.work.async_run(rows)


@svc.api(input=JSON(), output=JSON())
async def note(rows):
    return await slow.note.async_run(rows)


@svc.api(input=JSON(), output=JSON())
async def noted(_):
    return await slow.noted.async_run()


@svc.api(input=JSON(), output=JSON())
async def hold(path):
    await slow.hold.async_run(path)


@svc.api(input=JSON(), output=JSON())
def wait_in_thread(path):
    Path(f"{path}.begun").touch()
    while not Path(path).exists():
        time.sleep(0.002)


@svc.api(input=JSON(), output=JSON())
async def wait_here(path):
    Path(f"{path}.begun").touch()
    while not Path(path).exists():
        await asyncio.sleep(0.002)
