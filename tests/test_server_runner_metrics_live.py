"""The metrics of runners over all processes of a server, while workers come and go."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests._server import Server, sample, serving, until

LIGHT = Path(__file__).parent / "services" / "light"
FAR = {"runner_name": "far", "method_name": "double"}


@pytest.fixture
def light(tmp_path: Path) -> Iterator[Server]:
    """Two API workers; one runner in each of them, another in two workers of its own."""
    extra = {
        "BENTOML_CONFIG_OPTIONS": "api_server.workers=2 runners.far.placement=worker_process runners.far.resources.cpu=2"
    }
    with serving("service:svc", "--working-dir", str(LIGHT), folder=tmp_path, home=tmp_path, extra=extra) as server:
        yield server


def rows(server: Server, **labels: str) -> float:
    return sample(server, "bentoml_runner_batch_rows_sum", **labels)


def scraped_by(server: Server, worker: psutil.Process) -> str:
    """What one API worker answers: its siblings are stopped meanwhile."""
    others = [each for each in server.workers("api_server") if each.pid != worker.pid]
    for other in others:
        other.suspend()
    try:
        return server.get("/metrics").body.decode()
    finally:
        for other in others:
            other.resume()


def test_every_worker_shows_all_and_nothing_is_lost_or_counted_twice_when_one_dies(light: Server) -> None:
    for path in ("/double_near", "/double_far"):
        assert {answer.status for answer in light.post_all(path, [[1, 2, 3]] * 100, connections=8)} == {200}
    until(lambda: rows(light, **FAR) == 300, "the rows of one runner")
    until(lambda: rows(light, runner_name="near") == 300, "the rows of the other")
    victim = light.workers("runner")[0]
    name = victim.cmdline()[-1]
    victim.kill()
    light.said("is ready again")
    until(light.is_ready, "/readyz")
    assert {answer.status for answer in light.post_all("/double_far", [[1]] * 100, connections=8)} == {200}
    until(lambda: rows(light, **FAR) == 400, "the rows of the dead worker, and of its successor")
    restarts = "bentoml_worker_restarts_total"
    until(lambda: sample(light, restarts, worker=name) == 1, "the restart")
    assert sample(light, restarts) == 1

    calls = "bentoml_runner_adaptive_batch_size"
    assert sample(light, f"{calls}_sum", **FAR) == 200
    assert sample(light, f"{calls}_count", **FAR) == sample(light, "bentoml_runner_batch_total", **FAR)
    assert sample(light, "bentoml_runner_compute_seconds_count", **FAR) == sample(light, f"{calls}_count", **FAR)
    assert sample(light, "bentoml_runner_queue_rows") == 0

    shown = [
        [line for line in scraped_by(light, worker).splitlines() if line.startswith(("bentoml_runner_batch", calls))]
        for worker in light.workers("api_server")
    ]
    assert len(shown) == 2
    assert shown[0] == shown[1] != []
