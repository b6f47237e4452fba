"""Servers started from Python as with BentoML 1.1: their end, their limits, and what is called when they begin and end."""

from __future__ import annotations

import re
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

import bentoml
from bentoml.client import HTTPClient
from bentoml.exceptions import BentoMLException, ServerStateException, ServiceUnavailable, UnservableException
from tests._server import PATIENCE_S, environment, until
from tests.conftest import E2E

QUICK: dict[str, Any] = {"host": "127.0.0.1", "port": 0, "timeout": PATIENCE_S}


@pytest.fixture(autouse=True)
def _as_a_user_of_an_empty_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment(tmp_path / "home").items():
        monkeypatch.setenv(name, value)


def test_a_server_is_started_asked_and_stopped(tmp_path: Path) -> None:
    server = bentoml.HTTPServer("light.py:svc", production=False, working_dir=str(E2E), **QUICK)
    with pytest.raises(ServerStateException):
        server.get_client()
    server.start(env={"BENTOML_TEST_DATA": str(tmp_path)})
    client = server.get_client()
    assert client.health().status_code == 200
    assert client.echo_text("x") == "x"
    server.stop()
    assert server.process is not None
    assert server.process.returncode is not None
    assert server.process.returncode <= 0
    assert {hook: len(pids) for hook, pids in _called(tmp_path).items()} == dict.fromkeys(_called(tmp_path), 1)
    with pytest.raises(ServerStateException):
        server.get_client()


def test_a_server_may_be_a_context_and_made_of_a_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(E2E))
    monkeypatch.chdir(E2E)
    try:
        service = bentoml.load("light:svc", working_dir=str(E2E))
        server = bentoml.HTTPServer(service, production=False, **QUICK)
        with server.start() as client:
            assert client.health().status_code == 200
            assert client.echo_text("x") == "x"
    finally:
        sys.modules.pop("light", None)
    assert server.process is not None
    assert server.process.returncode <= 0


def test_a_service_without_a_module_cannot_be_served_by_another_process() -> None:
    with pytest.raises(UnservableException):
        bentoml.HTTPServer(bentoml.Service("of_a_notebook"))


def test_what_takes_too_long_is_a_504_that_the_client_raises() -> None:
    env = {"BENTOML_CONFIG_OPTIONS": "api_server.traffic.timeout=1"}
    server = bentoml.HTTPServer("light.py:svc", api_workers=1, working_dir=str(E2E), **QUICK)
    with server.start(env=env) as client:
        assert client.echo_delay({"delay": 0.0}) == {"delay": 0.0}
        with pytest.raises(BentoMLException, match="504: b'Not able to process the request in 1 seconds'"):
            client.echo_delay({"delay": 30.0})
        text = httpx.get(f"{server.url}/metrics", timeout=PATIENCE_S).text
        assert re.search(r'request_total{endpoint="/echo_delay",http_response_code="504".*} 1', text)


def test_more_requests_than_max_concurrency_are_refused_with_a_503() -> None:
    env = {"BENTOML_CONFIG_OPTIONS": "api_server.traffic.max_concurrency=1"}
    server = bentoml.HTTPServer("light.py:svc", api_workers=1, working_dir=str(E2E), **QUICK)
    with server.start(env=env), ThreadPoolExecutor(1) as pool:
        url = f"http://127.0.0.1:{server.port}"
        with HTTPClient.from_url(url) as patient, HTTPClient.from_url(url, max_retries=0) as hasty:
            long_one = pool.submit(patient.echo_delay, {"delay": 2.0})
            refusal = until(lambda: _refusal(hasty), "a refusal")
            assert str(refusal).startswith("Error making request: 503: ")
            assert refusal.retry_after_s > 0
            assert long_one.result(PATIENCE_S) == {"delay": 2.0}
            assert hasty.echo_delay({"delay": 0.0}) == {"delay": 0.0}


def _refusal(client: HTTPClient) -> ServiceUnavailable | None:
    try:
        client.echo_delay({"delay": 0.0})
    except ServiceUnavailable as error:
        return error
    return None


def test_hooks_are_called_once_for_the_server_and_once_for_each_worker(tmp_path: Path) -> None:
    server = bentoml.HTTPServer("light.py:svc", api_workers=4, working_dir=str(E2E), **QUICK)
    with server.start(env={"BENTOML_TEST_DATA": str(tmp_path)}) as client:
        assert client.state({}) == "hello_startup"
    called = _called(tmp_path)
    assert {hook: len(pids) for hook, pids in called.items()} == {"deployment": 1, "startup": 4, "shutdown": 4}
    assert called["startup"] == called["shutdown"]


def test_a_server_is_not_ready_before_all_workers_are_and_no_start_is_without_its_end(tmp_path: Path) -> None:
    server = bentoml.HTTPServer("light.py:svc", api_workers=2, working_dir=str(E2E), **QUICK)
    server.start(env={"BENTOML_TEST_DATA": str(tmp_path), "BENTOML_TEST_SLOW": "1"})
    assert server.process is not None
    until(lambda: len(list(tmp_path.glob("startup-*"))) == 2, "both starts")
    assert until(lambda: _unready(server.url), "the first worker") == b"The server is starting."
    server.process.terminate()
    (tmp_path / "go").touch()
    assert server.process.wait(PATIENCE_S) == 0
    server.stop()
    called = _called(tmp_path)
    assert called["startup"] == called["shutdown"]


def _unready(url: str) -> bytes | None:
    """What `/readyz` says against it; None while nobody answers."""
    try:
        answer = httpx.get(f"{url}/readyz", timeout=PATIENCE_S)
    except httpx.TransportError:
        return None
    assert answer.status_code == 503
    return answer.content.strip()


def _called(folder: Path) -> dict[str, set[str]]:
    """The processes in which each hook was called."""
    return {
        hook: {path.name.removeprefix(f"{hook}-") for path in folder.glob(f"{hook}-*")}
        for hook in ("deployment", "startup", "shutdown")
    }
