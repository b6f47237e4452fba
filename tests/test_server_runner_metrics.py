"""The metrics of runners: batch sizes that grow under load, in both placements."""

from __future__ import annotations

import pytest

from tests._server import Server, sample, until


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
