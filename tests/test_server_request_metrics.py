"""The metrics of requests: BentoML's names and labels, exact counts, no series that a stranger can add."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

import bentoml
from bentoml import _metrics
from bentoml.config.tree import ServerMetrics
from bentoml.server.request_metrics import RequestMetrics, duration_buckets
from tests._server import Server, sample

PREFIX = "bentoml_api_server"


def settings(**keys: Any) -> ServerMetrics:
    return msgspec.convert(keys, ServerMetrics)


def test_names_labels_and_buckets_are_those_of_bentoml() -> None:
    registry = _metrics.Registry()
    metrics = RequestMetrics(bentoml.Service("s"), settings(), registry)
    metrics.in_progress("/a").inc()
    metrics.observed("/a", 200, 0.003)
    metrics.observed("/a", 200, 7.0)
    metrics.observed("/a", 400, 0.003)
    text = registry.generate_latest().decode()
    labels = 'endpoint="/a",http_response_code="200",service_name="s",service_version="not available"'
    assert f"{PREFIX}_request_total{{{labels}}} 2.0" in text
    assert f"{PREFIX}_request_duration_seconds_count{{{labels}}} 2.0" in text
    assert f'{PREFIX}_request_in_progress{{endpoint="/a",service_name="s",service_version="not available"}} 1.0' in text
    assert f"# TYPE {PREFIX}_request_total counter" in text
    bounds = [line.split('le="')[1].split('"')[0] for line in text.splitlines() if 'le="' in line and '"200"' in line]
    assert bounds == [
        "0.005", "0.01", "0.025", "0.05", "0.075", "0.1", "0.25", "0.5", "0.75", "1.0", "2.5", "5.0", "7.5", "10.0",
        "+Inf",
    ]  # fmt: skip


def test_the_namespace_may_be_chosen() -> None:
    registry = _metrics.Registry()
    RequestMetrics(bentoml.Service("s"), settings(namespace="mine"), registry).observed("/a", 200, 0.1)
    assert b"mine_request_total{" in registry.generate_latest()


@pytest.mark.parametrize(
    ("duration", "expected"),
    [
        ({}, _metrics.DEFAULT_BUCKETS),
        ({"buckets": [0.1, 1.0]}, (0.1, 1.0)),
        ({"min": 0.1, "max": 1.0, "factor": 2.0}, (0.1, 0.2, 0.4, 0.8, 1.0)),
        ({"min": 0.1, "max": 1.0}, _metrics.DEFAULT_BUCKETS),
        ({"buckets": [5.0], "min": 0.1, "max": 1.0, "factor": 2.0}, (5.0,)),
    ],
)
def test_the_buckets_may_be_chosen(duration: dict[str, Any], expected: tuple[float, ...]) -> None:
    found = duration_buckets(settings(duration=duration))
    assert tuple(bound for bound in found if bound != float("inf")) == pytest.approx(
        tuple(bound for bound in expected if bound != float("inf"))
    )


def test_counts_are_exact_over_two_workers(kitchen: Server) -> None:
    labels = {"endpoint": "/kitchen/order", "http_response_code": "200"}
    wrong = {**labels, "http_response_code": "400"}
    name, duration = f"{PREFIX}_request_total", f"{PREFIX}_request_duration_seconds_count"
    before = [sample(kitchen, name, **labels), sample(kitchen, name, **wrong), sample(kitchen, duration, **labels)]
    kitchen.post_all("/kitchen/order", [{"dish": "a", "count": 1}, {"dish": 1}] * 60, connections=12)
    after = [sample(kitchen, name, **labels), sample(kitchen, name, **wrong), sample(kitchen, duration, **labels)]
    assert [now - then for now, then in zip(after, before, strict=True)] == [60, 60, 60]
    assert sample(kitchen, f"{PREFIX}_request_in_progress", endpoint="/kitchen/order") == 0


def test_strangers_cannot_add_series(kitchen: Server) -> None:
    before = sample(kitchen, f"{PREFIX}_request_total", endpoint="(unknown)")
    for number in range(20):
        kitchen.get(f"/nothing-{number}")
        kitchen.request("POST", "/echo?q=1", b"1")
    assert sample(kitchen, f"{PREFIX}_request_total", endpoint="(unknown)") == before + 20
    text = kitchen.get("/metrics").body.decode()
    assert "nothing-" not in text
    assert "q=1" not in text


def test_requests_that_are_refused_unread_are_counted(kitchen: Server) -> None:
    import socket

    labels = {"endpoint": "(refused)", "http_response_code": "400"}
    before = sample(kitchen, f"{PREFIX}_request_total", **labels)
    with socket.create_connection(("127.0.0.1", kitchen.port)) as sock:
        sock.sendall(b"nonsense\r\n\r\n")
        assert sock.makefile("rb").read().startswith(b"HTTP/1.1 400 ")
    assert sample(kitchen, f"{PREFIX}_request_total", **labels) == before + 1
