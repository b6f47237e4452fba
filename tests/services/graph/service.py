"""Several runners in one service: side by side, one after the other, in streams; and what each worker was given."""

import asyncio
import os
from pathlib import Path

import bentoml
from bentoml.io import JSON, Text


class Scale(bentoml.Runnable):
    SUPPORTED_RESOURCES = ("cpu",)
    SUPPORTS_CPU_MULTI_THREADING = False

    def __init__(self, factor):
        self.factor = factor
        self.calls = 0

    @bentoml.Runnable.method(batchable=True)
    def scale(self, rows):
        self.calls += 1
        return [self.factor * row for row in rows]

    @bentoml.Runnable.method
    def describe(self, note, *, loud=False):
        """Its state, and where it lives."""
        text = f"{note} {self.factor}"
        return {
            "text": text.upper() if loud else text,
            "calls": self.calls,
            "pid": os.getpid(),
            "threads": os.environ.get("OMP_NUM_THREADS"),
            "own_threads": os.environ.get("BENTOML_NUM_THREAD"),
        }


class Teller(bentoml.Runnable):
    SUPPORTED_RESOURCES = ("cpu",)
    SUPPORTS_CPU_MULTI_THREADING = True

    @bentoml.Runnable.method
    def words(self, text, folder=""):
        """A word at a time; `fail` does."""
        try:
            for word in text.split():
                if word == "fail":
                    raise RuntimeError("no more words")
                yield f"{word} "
        finally:
            if folder:
                Path(folder, "closed").touch()

    @bentoml.Runnable.method
    async def letters(self, text):
        for letter in text:
            await asyncio.sleep(0)
            yield letter

    @bentoml.Runnable.method
    def describe(self):
        return {"pid": os.getpid(), "threads": os.environ.get("OMP_NUM_THREADS")}


two = bentoml.Runner(Scale, name="two", runnable_init_params={"factor": 2})
ten = bentoml.Runner(Scale, name="ten", runnable_init_params={"factor": 10})
teller = bentoml.Runner(Teller, name="teller")
svc = bentoml.Service("graph", runners=[two, ten, teller])


@svc.api(input=JSON(), output=JSON())
async def fan_out(rows):
    return await asyncio.gather(two.scale.async_run(rows), ten.scale.async_run(rows))


@svc.api(input=JSON(), output=JSON())
async def chain(rows):
    return await ten.scale.async_run(await two.scale.async_run(rows))


@svc.api(input=JSON(), output=JSON())
def chain_in_thread(rows):
    return ten.scale.run(two.scale.run(rows))


@svc.api(input=JSON(), output=JSON())
async def describe(note):
    return await asyncio.gather(
        two.describe.async_run(note), ten.describe.async_run(note, loud=True), teller.describe.async_run()
    )


@svc.api(input=JSON(), output=JSON())
async def environment(_):
    return {"pid": os.getpid(), "threads": os.environ.get("OMP_NUM_THREADS")}


@svc.api(input=Text(), output=Text(content_type="text/event-stream"))
async def words(text):
    async for word in teller.words.async_stream(text):
        yield f"data: {word}\n\n"


@svc.api(input=Text(), output=Text(content_type="text/event-stream"))
async def letters(text):
    async for letter in teller.letters.async_stream(text):
        yield letter


@svc.api(input=JSON(), output=Text(content_type="text/event-stream"))
async def endless(folder):
    """Words for as long as somebody listens."""
    async for word in teller.words.async_stream("word " * 1_000_000, folder):
        yield word


@svc.api(input=Text(), output=JSON())
async def all_words(text):
    return await teller.words.async_run(text)
