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


# Under load, in both placements


@pytest.mark.parametrize(("path", "runner"), [("/double_near", "near"), ("/double_far", "far")])
def test_batches_are_counted_by_size_and_grow_under_load(kitchen: Server, path: str, runner: str) -> None:
    labels = {"runner_name": runner, "method_name": "double"}

    def values() -> list[float]:
        return [
            sample(kitchen, f"bentoml_runner_{name}", **labels)
            for name in ("adaptive_batch_size_sum", "adaptive_batch_size_count", "batch_rows_sum", "batch_total")
        ]

    def joined() -> bool:
        before = values()
        kitchen.post_all(path, [[1, 2]] * 400, connections=32)
        calls, batches, rows, left = (now - then for now, then in zip(values(), before, strict=True))
        assert (calls, rows) == (400, 800)
        assert batches == left
        return batches < calls

    until(joined, "calls that meet")


@pytest.mark.parametrize("runner", ["near", "far"])
def test_the_labels_are_those_of_bentoml_and_the_buckets_end_at_the_largest_batch(kitchen: Server, runner: str) -> None:
    kitchen.post(f"/double_{runner}", [1])
    text = kitchen.get("/metrics").body.decode()
    line = next(
        line
        for line in text.splitlines()
        if line.startswith("bentoml_runner_adaptive_batch_size_bucket{") and f'runner_name="{runner}"' in line
    )
    for label in ("le", "method_name", "runner_name", "service_name", "service_version", "worker_index"):
        assert f'{label}="' in line
    bounds = {
        line.split('le="')[1].split('"')[0]
        for line in text.splitlines()
        if line.startswith("bentoml_runner_adaptive_batch_size_bucket{") and 'method_name="double"' in line
    }
    assert bounds == {"1.0", "2.0", "4.0", "8.0", "16.0", "32.0", "64.0", "100.0", "+Inf"}


def test_waits_compute_times_and_queues_are_shown(kitchen: Server) -> None:
    kitchen.post("/double_near", [1])
    assert sample(kitchen, "bentoml_runner_compute_seconds_count", runner_name="near", method_name="double") >= 1
    assert sample(kitchen, "bentoml_runner_queue_seconds_count", runner_name="near", method_name="double") >= 1
    assert sample(kitchen, "bentoml_runner_queue_rows", runner_name="near", method_name="double") == 0
