"""Service: its name, its runners and models, the functions it offers, how it prints."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

import bentoml
from bentoml.exceptions import BentoMLException
from bentoml.io import JSON


class Echo(bentoml.Runnable):
    SUPPORTED_RESOURCES = ("cpu",)

    @bentoml.Runnable.method
    def run(self, value: Any) -> Any:
        return value


def test_a_name_is_lower_cased_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, logger="bentoml")
    logging.getLogger("bentoml").propagate = True
    assert bentoml.Service("Kitchen-1").name == "kitchen-1"
    assert "to lowercase:" in caplog.text


@pytest.mark.parametrize("name", ["", "-a", "a_", "a b", "a!", "x" * 64, "ä"])
def test_a_name_follows_the_grammar_of_tags(name: str) -> None:
    with pytest.raises(ValueError, match="name of a service"):
        bentoml.Service(name)


def test_a_service_may_have_no_runners() -> None:
    service = bentoml.Service("plain")
    assert (service.runners, service.models, service.apis) == ([], [], {})


def test_runners_must_be_runners_and_models_models() -> None:
    with pytest.raises(AssertionError, match=r'Service runners list can only contain bentoml\.Runner, not "3"'):
        bentoml.Service("a", runners=[3])  # type: ignore[list-item]
    with pytest.raises(AssertionError, match=r"Service models list can only contain bentoml\.Model, not .'m'."):
        bentoml.Service("a", models=["m"])  # type: ignore[list-item]


def test_two_runners_of_one_name_are_refused() -> None:
    runners = [bentoml.Runner(Echo, name="same"), bentoml.Runner(Echo, name="same")]
    with pytest.raises(ValueError, match="Found duplicate name 'same' in the runners of the service 'a'"):
        bentoml.Service("a", runners=runners)


def test_an_api_stays_the_function_it_was() -> None:
    service = bentoml.Service("a")

    def predict(value: Any) -> Any:
        return value

    assert service.api(input=JSON(), output=JSON())(predict) is predict
    assert service.api(JSON(), JSON(), "second", "doc", "/elsewhere")(predict) is predict
    assert list(service.apis) == ["predict", "second"]
    assert service.apis["second"].route == "/elsewhere"


def test_a_name_and_a_route_are_given_once() -> None:
    service = bentoml.Service("a")
    service.api(input=JSON(), output=JSON(), name="predict", route="/p")(lambda value: value)
    with pytest.raises(BentoMLException, match="API 'predict' is already defined in Service 'a'"):
        service.api(input=JSON(), output=JSON(), name="predict")(lambda value: value)
    with pytest.raises(
        BentoMLException, match="the route '/p' is already defined in Service 'a', by the API 'predict'"
    ):
        service.api(input=JSON(), output=JSON(), name="other", route="p")(lambda value: value)


def test_how_a_service_prints() -> None:
    service = bentoml.Service("a", runners=[bentoml.Runner(Echo, name="x"), bentoml.Runner(Echo, name="y")])
    assert str(service) == repr(service) == 'bentoml.Service(name="a", runners=[x,y])'
    service.import_string, service.working_dir = "service:svc", "/somewhere"
    assert str(service) == 'bentoml.Service(name="a", import_str="service:svc", working_dir="/somewhere")'


def test_hooks_are_decorators() -> None:
    service = bentoml.Service("a")
    assert service.on_startup(print) is service.on_shutdown(print) is service.on_deployment(print) is print
    assert (service.startup_hooks, service.shutdown_hooks, service.deployment_hooks) == ([print], [print], [print])


def test_hooks_run_once_in_each_worker(tmp_path: Path) -> None:
    from tests._server import serving

    (tmp_path / "service.py").write_text(
        """
import os, pathlib, bentoml
svc = bentoml.Service("hooked")
@svc.on_startup
async def one(ctx):
    ctx.state["pid"] = os.getpid()
@svc.on_startup
def two():
    pathlib.Path(f"up-{os.getpid()}").touch()
@svc.on_shutdown
def three(ctx):
    pathlib.Path(f"down-{ctx.state['pid']}").touch()
"""
    )
    with serving(folder=tmp_path, home=tmp_path, extra={"BENTOML_API_WORKERS": "2"}) as server:
        pids = {worker.pid for worker in server.workers("api_server")}
        assert server.stop() == 0
    assert {path.name for path in tmp_path.glob("*-*")} >= {f"{kind}-{pid}" for kind in ("up", "down") for pid in pids}
