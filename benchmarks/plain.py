"""What a plain function costs against the same one as `async`, in one process and without HTTP, as a Markdown table.

Each does some 60 us of work in Python, then one call of a model that takes some 100 us for a batch of any size. The CPU
time of the process is what to look at: it says nearly the same on a machine that does other things as well.

python benchmarks/plain.py [--requests 20000] [--in-flight 1 32 64]
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import sys
import time
from statistics import quantiles
from typing import Any, NamedTuple

import numpy as np
import uvloop

import bentoml
from bentoml import config
from bentoml._http import Request
from bentoml.io import JSON
from bentoml.runner.placements.in_process import InProcess
from bentoml.server.app import App
from bentoml.server.worker import SWITCH_INTERVAL_S

WORK_S, MODEL_S = 60e-6, 100e-6
#: The kinds take turns, so that what else the machine does hits all of them.
ROUNDS = 4


def spin(count: int) -> int:
    total = 0
    for number in range(count):
        total += number
    return total


def counts_per_s() -> float:
    """How far `spin` counts in a second at best."""
    times_s = []
    for _ in range(50):
        started_s = time.perf_counter()
        spin(10_000)
        times_s.append(time.perf_counter() - started_s)
    return 10_000 / min(times_s)


RATE = counts_per_s()
WORK, MODEL = int(WORK_S * RATE), int(MODEL_S * RATE)


class Model(bentoml.Runnable):
    @bentoml.Runnable.method(batchable=True)
    def predict(self, rows: Any) -> Any:
        spin(MODEL)
        return rows


runner = bentoml.Runner(Model, name="model")
service = bentoml.Service("plain", runners=[runner])


@service.api(input=JSON(), output=JSON())
async def asynchronous(value: dict[str, Any]) -> list[float]:
    spin(WORK)
    rows = await runner.predict.async_run(np.array([value["row"]]))
    return rows[0].tolist()


@service.api(input=JSON(), output=JSON())
def plain(value: dict[str, Any]) -> list[float]:
    spin(WORK)
    return runner.predict.run(np.array([value["row"]]))[0].tolist()


class Sample(NamedTuple):
    requests: int
    cpu_s: float
    wall_s: float
    switches: int
    latencies_s: list[float]


async def sample(app: App, name: str, requests: int, in_flight: int) -> Sample:
    latencies_s: list[float] = []
    left = requests

    async def client(number: int) -> None:
        nonlocal left
        body = b'{"row": [%d, 2.5, 3.5]}' % number
        while left > 0:
            left -= 1
            started_s = time.perf_counter()
            response = await app.handle(Request(method="POST", path=f"/{name}", body=body))
            latencies_s.append(time.perf_counter() - started_s)
            assert response.body == b"[%d.0,2.5,3.5]" % number, response.body

    usage, cpu_s, wall_s = resource.getrusage(resource.RUSAGE_SELF), time.process_time(), time.perf_counter()
    await asyncio.gather(*(client(number) for number in range(in_flight)))
    cpu_s, wall_s = time.process_time() - cpu_s, time.perf_counter() - wall_s
    after = resource.getrusage(resource.RUSAGE_SELF)
    switches = after.ru_nvcsw + after.ru_nivcsw - usage.ru_nvcsw - usage.ru_nivcsw
    return Sample(len(latencies_s), cpu_s, wall_s, switches, latencies_s)


def row(name: str, in_flight: int, samples: list[Sample]) -> str:
    requests = sum(each.requests for each in samples)
    cpu_us = 1e6 * sum(each.cpu_s for each in samples) / requests
    per_s = requests / sum(each.wall_s for each in samples)
    cuts = quantiles([1000 * seconds for each in samples for seconds in each.latencies_s], n=100)
    switches = sum(each.switches for each in samples) / requests
    return f"| {name} | {in_flight} | {cpu_us:.0f} | {switches:.1f} | {per_s:,.0f} | {cuts[49]:.2f} | {cuts[98]:.2f} |"


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--in-flight", type=int, nargs="+", default=[1, 32, 64])
    options = parser.parse_args()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    placement = InProcess(runner.engine(config.current().runner(runner.name)))
    await placement.start()
    runner.attach(placement)
    app = App(service, config.current().config, is_ready=lambda: None, access_log=None)
    await app.start()
    print("| function | in flight | CPU us / request | switches / request | requests/s | p50 ms | p99 ms |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for in_flight in options.in_flight:
        found: dict[str, list[Sample]] = {"asynchronous": [], "plain": []}
        for name in found:
            await sample(app, name, 500, in_flight)
        for _ in range(ROUNDS):
            for name, samples in found.items():
                samples.append(await sample(app, name, options.requests // ROUNDS, in_flight))
        for name, samples in found.items():
            print(row(name, in_flight, samples), flush=True)
    await app.stop()
    await placement.close()
    app.close()


if __name__ == "__main__":
    uvloop.run(main())
