"""bentoml.testing.serve and its fixtures, as the author of a service uses them."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path
from typing import Any

import pytest

import bentoml
from bentoml import metrics
from bentoml.exceptions import DeadlineExceeded, ServerStateException, StateException, UnservableException
from bentoml.io import JSON
from bentoml.testing import serve
from tests._server import environment

LIGHT = str(Path(__file__).parent / "services" / "light")


class Doubling(bentoml.Runnable):
    SUPPORTED_RESOURCES = ("cpu",)
    SUPPORTS_CPU_MULTI_THREADING = False

    @bentoml.Runnable.method(batchable=True, batch_dim=0)
    def double(self, rows: list[int]) -> list[int]:
        return [2 * row for row in rows]


def service(events: list[str] | None = None) -> bentoml.Service:
    """With one of everything that starts and stops."""
    noted = [] if events is None else events
    runner = bentoml.Runner(Doubling, name="doubling")
    svc = bentoml.Service("tested", runners=[runner])
    svc.on_deployment(lambda: noted.append("deployment"))

    @svc.on_startup
    async def start(context: bentoml.Context) -> None:
        noted.append("startup")
        context.state["thread"] = threading.current_thread().name

    svc.on_shutdown(lambda context: noted.append("shutdown"))

    @svc.api(input=JSON(), output=JSON())
    async def double(rows: list[int], ctx: bentoml.Context) -> Any:
        return {"rows": await runner.double.async_run(rows), "thread": ctx.state["thread"], "pid": os.getpid()}

    @svc.api(input=JSON(), output=JSON())
    async def wait(seconds: float) -> None:
        await asyncio.sleep(seconds)

    return svc


def test_a_service_in_a_thread_is_the_object_of_the_test() -> None:
    events: list[str] = []
    svc = service(events)
    with serve(svc) as server:
        assert server.service is svc
        assert server.process is None
        assert server.client.double([1, 2]) == {"rows": [2, 4], "thread": "serve tested", "pid": os.getpid()}
        assert server.url == f"http://127.0.0.1:{server.port}"
        assert server.client.health().is_ready
        assert events == ["deployment", "startup"]
    assert events == ["deployment", "startup", "shutdown"]
    assert server.client._pool.is_closed
    assert "serve tested" not in [thread.name for thread in threading.enumerate()]
    with pytest.raises(StateException, match="is not initialised"):
        svc.runners[0].placement


def test_a_service_can_be_served_again() -> None:
    svc = service()
    for _ in range(2):
        with serve(svc) as server:
            assert server.client.double([3])["rows"] == [6]


def test_metrics_of_the_service_are_counted() -> None:
    counter = metrics.Counter("tested_total", "Calls")
    svc = bentoml.Service("counted")
    svc.api(input=JSON(), output=JSON(), name="count")(lambda value: counter.inc())
    with serve(svc) as server:
        server.client.count(1)
        import httpx

        assert "tested_total 1" in httpx.get(f"{server.url}/metrics").text


@pytest.mark.parametrize("max_batch_size", [8, 64])
def test_services_whose_batches_differ_in_size_can_be_served_in_turn(max_batch_size: int) -> None:
    svc = bentoml.Service("tested", runners=[bentoml.Runner(Doubling, name="doubling", max_batch_size=max_batch_size)])

    @svc.api(input=JSON(), output=JSON())
    async def double(rows: list[int]) -> Any:
        return await svc.runners[0].double.async_run(rows)

    with serve(svc) as server:
        assert server.client.double([1]) == [2]


def test_options_are_keys_of_the_configuration() -> None:
    late = pytest.raises(DeadlineExceeded, match="504: b'Not able to process the request in 0.5 seconds'")
    with serve(service(), options={"api_server.traffic.timeout": 0.5}) as server, late:
        server.client.wait(60)


def test_what_a_hook_raises_reaches_the_test() -> None:
    svc = service()

    @svc.on_startup
    def fail(context: bentoml.Context) -> None:
        raise LookupError("no limits")

    with pytest.raises(LookupError, match="no limits"), serve(svc):
        pass
    assert "serve tested" not in [thread.name for thread in threading.enumerate()]


def test_a_test_that_fails_stops_its_server() -> None:
    with pytest.raises(ZeroDivisionError), serve(service()) as server:
        1 / 0
    with pytest.raises(bentoml.exceptions.ServiceUnavailable):
        bentoml.client.SyncHTTPClient.from_url(server.url, max_retries=0)


def test_a_name_is_imported_and_served_in_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment(tmp_path / "home").items():
        monkeypatch.setenv(name, value)
    options = {"api_server.workers": 1, "api_server.metrics.namespace": "of_a_test"}
    with serve("service:svc", in_thread=False, working_dir=LIGHT, options=options) as server:
        assert server.service is None
        assert server.process is not None
        assert server.client.pid(0) != os.getpid()
        assert server.client.double_near([2]) == [4]
    assert server.process.process is not None
    assert server.process.process.returncode == 0


def test_a_name_is_imported_and_served_in_a_thread() -> None:
    with serve("service:svc", working_dir=LIGHT) as server:
        assert server.client.pid(0) == os.getpid()


def test_what_cannot_be_served_in_processes_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnservableException), serve(bentoml.Service("here"), in_thread=False):
        pass
    for name, value in environment(tmp_path / "home").items():
        monkeypatch.setenv(name, value)
    refused = pytest.raises(ServerStateException, match="has no attribute 'nothing'")
    with refused, serve("service:nothing", in_thread=False, working_dir=LIGHT):
        pass


# -- fixtures ----------------------------------------------------------------------------------------------------------

pytest_plugins = ["pytester"]

TESTS = """
import os
import bentoml
from bentoml.io import JSON

def test_store(bentoml_home):
    assert bentoml.models.list() == []
    bentoml.picklable_model.save_model("rules", len)
    assert [model.tag.name for model in bentoml.models.list()] == ["rules"]
    assert os.environ["BENTOML_HOME"] == str(bentoml_home)

def test_store_is_empty_again(bentoml_home):
    assert bentoml.models.list() == []

def test_serve(bentoml_serve):
    svc = bentoml.Service("x")
    svc.api(input=JSON(), output=JSON(), name="echo")(lambda value: value)
    one, two = bentoml_serve(svc), bentoml_serve(svc, options={"api_server.metrics.enabled": False})
    assert one.client.echo(1) == two.client.echo(1) == 1
    assert one.port != two.port
"""


def test_fixtures_give_a_store_and_servers_to_each_test(pytester: pytest.Pytester) -> None:
    pytester.makeconftest('pytest_plugins = ["bentoml.testing.fixtures"]')
    pytester.makepyfile(TESTS)
    pytester.runpytest_inprocess("-p", "no:cacheprovider", "-p", "no:xdist").assert_outcomes(passed=3)
