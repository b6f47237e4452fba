"""What a worker does before it takes requests: deployment hooks, and the description that the plan is made of."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest

from tests._server import Server, serving, started, until

SERVICE = """
import asyncio, os, signal, bentoml
from pathlib import Path
from bentoml.io import JSON

def note(what):
    with open("noted.txt", "a") as file:
        file.write(f"{{what}} {{os.getpid()}}\\n")

class Model(bentoml.Runnable):
    def __init__(self):
        note("model")
    @bentoml.Runnable.method
    def run(self, value):
        return value

model = bentoml.Runner(Model, name="model")
svc = bentoml.Service("hooked", runners=[model])

@svc.api(input=JSON(), output=JSON())
async def echo(value):
    return await model.async_run(value)

@svc.on_startup
def startup():
    note("startup")

@svc.on_deployment
def deployment():
    note("deployment")
    {body}

@svc.on_deployment
async def second():
    await asyncio.sleep(0)
    note("second")
"""
EXTRA = {
    "BENTOML_API_WORKERS": "2",
    "BENTOML_CONFIG_OPTIONS": "runners.model.placement=worker_process runners.model.resources.cpu=1",
}


def write(folder: Path, body: str = "") -> None:
    (folder / "service.py").write_text(SERVICE.format(body=body))


def noted(folder: Path) -> list[str]:
    return [line.split()[0] for line in (folder / "noted.txt").read_text().splitlines()]


def test_deployment_hooks_run_once_before_any_model_is_loaded(tmp_path: Path) -> None:
    write(tmp_path)
    with serving("service:svc", folder=tmp_path, home=tmp_path, extra=EXTRA) as server:
        assert noted(tmp_path) == ["deployment", "second", "model", "startup", "startup"]
        assert server.post("/echo", 1).value == 1
        victim = server.workers("api_server")[0]
        victim.kill()
        server.said("is ready again")
        assert noted(tmp_path).count("deployment") == 1
        assert noted(tmp_path).count("startup") == 3


def test_a_deployment_hook_that_fails_ends_the_server_and_says_why(tmp_path: Path) -> None:
    write(tmp_path, 'raise RuntimeError("no licence")')
    with started("service:svc", folder=tmp_path, home=tmp_path, extra=EXTRA) as server:
        assert server.wait() == 1
        assert server.log.splitlines()[-1] == "Error: `serve` failed: RuntimeError: no licence"
    assert noted(tmp_path) == ["deployment"]


def test_a_worker_that_dies_in_a_deployment_hook_is_replaced_by_one_that_begins_anew(tmp_path: Path) -> None:
    write(tmp_path, "if noted() == 1: os.kill(os.getpid(), signal.SIGKILL)")
    path = tmp_path / "service.py"
    counted = 'def noted():\n    return Path("noted.txt").read_text().count("deployment")\n\n'
    path.write_text(path.read_text().replace("class Model", f"{counted}class Model"))
    with serving("service:svc", folder=tmp_path, home=tmp_path, extra=EXTRA) as server:
        assert f"was killed by {signal.SIGKILL.name}" in server.log
        assert noted(tmp_path) == ["deployment", "deployment", "second", "model", "startup", "startup"]


def test_a_server_may_be_stopped_in_a_deployment_hook(tmp_path: Path) -> None:
    write(tmp_path, 'import time; Path("begun").touch(); time.sleep(600)')
    with started("service:svc", folder=tmp_path, home=tmp_path, extra=EXTRA) as server:
        until((tmp_path / "begun").exists, "the hook")
        assert server.stop() == 0


def test_a_hook_is_not_run_again_when_the_code_is_edited(tmp_path: Path) -> None:
    write(tmp_path)
    with serving("service:svc", "--reload", folder=tmp_path, home=tmp_path) as server:
        write(tmp_path, "pass")
        server.said("is ready again")
        assert noted(tmp_path).count("deployment") == 1
        assert noted(tmp_path).count("startup") == 2


@pytest.mark.parametrize("workers", [1, 2])
def test_the_plan_says_what_memory_each_api_worker_takes(tmp_path: Path, workers: int) -> None:
    write(tmp_path)
    extra = {**EXTRA, "BENTOML_API_WORKERS": str(workers)}
    with serving("service:svc", folder=tmp_path, home=tmp_path, extra=extra) as server:
        found = re.search(rf"{workers} API workers? with \d threads? each, about (\d+) MiB each for /echo", server.log)
        assert found is not None
        assert measured(server) / 2 < int(found[1]) < measured(server) * 2


def measured(server: Server) -> float:
    """MiB of an API worker now."""
    return float(server.workers("api_server")[0].memory_info().rss) / 2**20
