"""What tests of several modules share: the trained example, and the logs of servers beside a failure."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests import _server

EXAMPLE = Path(__file__).parents[1] / "examples" / "credit_risk"


class Trained(NamedTuple):
    """The store that holds the example's model, and what its training printed."""

    home: Path
    printed: str


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """The example, trained by its own script: once, for all workers of this run."""
    base = tmp_path_factory.getbasetemp()
    # The workers of one run share the folder above their own; a run without workers has its own to itself.
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    home, printed = shared / "trained", shared / "trained.txt"
    with (shared / "trained.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not printed.exists():
            done = subprocess.run(
                [sys.executable, "train.py"],
                cwd=EXAMPLE,
                env=_server.environment(home),
                capture_output=True,
                text=True,
            )
            assert done.returncode == 0, done.stderr
            printed.write_text(done.stdout)
    return Trained(home, printed.read_text())


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Show what the servers said beside a test that failed."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]  # pluggy sends a Result into the generator
    if report.failed:
        for server in _server.running:
            report.sections.append((f"log of {server.process.args}", server.log[-8000:]))


@pytest.fixture(scope="session")
def example(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Iterator[_server.Server]:
    """The example's service, its model in the API worker."""
    arguments = ("service:svc", "--working-dir", str(EXAMPLE), "--api-workers", "1")
    with _server.serving(*arguments, folder=tmp_path_factory.mktemp("example"), home=trained.home) as server:
        yield server


KITCHEN = Path(__file__).parent / "services" / "kitchen"
#: Both placements, two workers of each kind, and everything that is shown on request.
KITCHEN_OPTIONS = (
    "api_server.workers=2 api_server.http.max_body_size=1000000 api_server.http.response.server_timing=true "
    "api_server.http.response.trace_id=true runners.far.placement=worker_process runners.far.resources.cpu=2"
)


@pytest.fixture(scope="session")
def kitchen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_server.Server]:
    """The service of tests/services/kitchen, served for every test that does it no harm."""
    folder = tmp_path_factory.mktemp("kitchen")
    options = {"BENTOML_CONFIG_OPTIONS": KITCHEN_OPTIONS}
    with _server.serving(
        "service:svc", "--working-dir", str(KITCHEN), folder=folder, home=folder / "home", extra=options
    ) as server:
        yield server


#: The second one is what YAML would take for a number.
KEYS = ["first-key-of-the-tests", "04711081505"]
GUARDED = """
api_server:
  workers: 1
  auth: {api_keys: ["${FIRST_KEY}", "${SECOND_KEY}"]}
  traffic: {timeout: 2}
  metrics: {namespace: guarded}
  logging: {access: {style: json}}
  http:
    max_body_size: 1000000
    cors:
      enabled: true
      access_control_allow_origins: https://app.example
      access_control_expose_headers: x-bentoml-request-id
    response: {gzip: {enabled: true}}
runners:
  placement: in_process
"""


@pytest.fixture(scope="session")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_server.Server]:
    """The same service with all that stands around an app: API keys, CORS, compressed answers, a log of JSON."""
    folder = tmp_path_factory.mktemp("guarded")
    (folder / "config.yaml").write_text(GUARDED)
    extra = {"BENTOML_CONFIG": str(folder / "config.yaml"), "FIRST_KEY": KEYS[0], "SECOND_KEY": KEYS[1]}
    with _server.serving(
        "service:svc", "--working-dir", str(KITCHEN), folder=folder, home=folder / "home", extra=extra
    ) as server:
        yield server


@pytest.fixture
def key() -> dict[str, str]:
    """The header of a request that `guarded` lets in."""
    return {"X-API-Key": KEYS[0]}


MOUNTED = Path(__file__).parent / "services" / "mounted"


@pytest.fixture(scope="session")
def mounted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_server.Server]:
    """The service of tests/services/mounted: applications beside its API, middlewares around it; one worker."""
    folder = tmp_path_factory.mktemp("mounted")
    arguments = ("service:svc", "--working-dir", str(MOUNTED), "--api-workers", "1")
    with _server.serving(*arguments, folder=folder, home=folder / "home") as server:
        yield server


E2E = Path(__file__).parent / "services" / "e2e"


@pytest.fixture(scope="session")
def e2e_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store with the model of tests/services/e2e."""
    home = tmp_path_factory.mktemp("e2e_home")
    environment = _server.environment(home)
    done = subprocess.run([sys.executable, "train.py"], cwd=E2E, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return home


@pytest.fixture(scope="session")
def e2e(e2e_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[_server.Server]:
    """The service of tests/services/e2e, written as for BentoML 1.0 and 1.1, with the configuration as it comes."""
    folder = tmp_path_factory.mktemp("e2e")
    arguments = ("service.py:svc", "--working-dir", str(E2E), "--api-workers", "1")
    with _server.serving(*arguments, folder=folder, home=e2e_home) as server:
        yield server
