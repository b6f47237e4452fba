"""Tracing: the spans of requests and model calls as a real collector gets them from a real server."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import bentoml
from bentoml._http import Request, Response
from bentoml.config import LoadedConfig
from bentoml.config import Tracing as TracingConfig
from bentoml.config.observe import Otlp, OtlpGrpc
from bentoml.exceptions import BentoMLConfigException, MissingDependencyException
from bentoml.server import tracing
from bentoml.server.span_export import span_exporter
from bentoml.service.service import Service
from tests import _otlp
from tests._otlp import SERVER, Collector, Span
from tests._server import Answer, Server, serving, started

TRACED = Path(__file__).parent / "services" / "traced"
OPTIONS = (
    "tracing.exporter_type=otlp tracing.otlp.endpoint={endpoint} runners.far.placement=worker_process "
    "runners.far.resources.cpu=1 api_server.workers=1 api_server.http.response.trace_id=true "
)
ERROR = 2


class Traced(NamedTuple):
    server: Server
    collector: Collector

    def post(self, path: str, value: Any, **headers: str) -> tuple[Answer, dict[str, Span]]:
        """One request, and the spans of its trace."""
        answer = self.server.post(path, value, headers)
        return answer, self.collector.trace(answer.headers["x-bentoml-trace-id"])


def serving_traced(folder: Path, endpoint: str, more: str) -> Any:
    environment = {"BENTOML_CONFIG_OPTIONS": OPTIONS.format(endpoint=endpoint) + more, "OTEL_BSP_SCHEDULE_DELAY": "100"}
    arguments = ("service:svc", "--working-dir", str(TRACED))
    return serving(*arguments, folder=folder, home=folder / "home", extra=environment)


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traced]:
    """Every request sampled, but for the route that is excluded."""
    more = (
        "tracing.sample_rate=1 tracing.excluded_urls=[health,unse+n$] tracing.otlp.compression=gzip "
        "tracing.otlp.http.headers.x-key=secret tracing.timeout=5 api_server.traffic.timeout=3"
    )
    folder = tmp_path_factory.mktemp("traced")
    with _otlp.collecting() as collector, serving_traced(folder, collector.url, more) as server:
        yield Traced(server, collector)


# The tree


@pytest.mark.parametrize(("path", "runner"), [("/through_near", "near"), ("/through_far", "far")])
def test_below_a_request_stand_the_wait_the_batch_and_the_model_at_work(traced: Traced, path: str, runner: str) -> None:
    answer, spans = traced.post(path, [1, 2, 3])
    assert answer.value == [2, 4, 6]
    request, queue, batch, compute = (spans[name] for name in (f"POST {path}", "queue", "batch", "compute"))
    assert (request.kind, request.parent_id) == (SERVER, "")
    assert (queue.parent_id, batch.parent_id, compute.parent_id) == (request.span_id, request.span_id, batch.span_id)
    assert request.begin_ns <= queue.begin_ns <= queue.end_ns == batch.begin_ns <= compute.begin_ns
    assert compute.begin_ns < compute.end_ns == batch.end_ns <= request.end_ns
    of_call = {"bentoml.runner": runner, "bentoml.method": "double"}
    assert (queue.attributes, compute.attributes) == (of_call, of_call)
    assert batch.attributes == {**of_call, "bentoml.batch.rows": 3}


def test_a_request_shows_what_was_asked_and_answered_under_the_names_of_the_convention(traced: Traced) -> None:
    answer, spans = traced.post("/through_near?key=secret", [1], **{"User-Agent": "pytest/8"})
    assert answer.status == 200
    assert spans["POST /through_near"].attributes == {
        "http.request.method": "POST",
        "http.route": "/through_near",
        "http.response.status_code": 200,
        "url.path": "/through_near",
        "url.scheme": "http",
        "client.address": "127.0.0.1",
        "user_agent.original": "pytest/8",
    }
    resource = traced.collector.resource
    assert (resource["service.name"], resource["service.version"]) == ("traced", "not available")
    assert resource["bentoml.component"] == "api_server:traced:1"


def test_calls_from_threads_and_of_coroutine_methods_are_there_as_well(traced: Traced) -> None:
    _, spans = traced.post("/through_near_in_thread", [1, 2])
    assert spans["batch"].attributes["bentoml.batch.rows"] == 2
    _, spans = traced.post("/alone", [1, 2])
    trace_id = spans["POST /alone"].trace_id
    calls = [span for span in traced.collector.spans if span.trace_id == trace_id and span.name == "compute"]
    assert {span.attributes["bentoml.runner"] for span in calls} == {"near", "far"}


def test_spans_of_user_code_stand_below_the_request(traced: Traced) -> None:
    _, spans = traced.post("/through_near_in_thread", [1])
    assert spans["prepare"].parent_id == spans["POST /through_near_in_thread"].span_id


def test_a_stream_is_traced_to_its_end(traced: Traced) -> None:
    answer = traced.server.request("POST", "/count", b"3")
    spans = traced.collector.trace(answer.headers["x-bentoml-trace-id"])
    request = spans["POST /count"]
    assert {"item 0", "item 1", "item 2"} <= set(spans)
    assert all(span.parent_id == request.span_id for name, span in spans.items() if name.startswith("item"))
    assert spans["item 2"].end_ns <= request.end_ns
    assert request.status != ERROR


# Ids


def test_the_ids_in_answer_and_log_are_those_of_the_span(traced: Traced) -> None:
    answer, spans = traced.post("/through_near", [1])
    request = spans["POST /through_near"]
    assert answer.headers["x-bentoml-trace-id"] == request.trace_id
    assert f"{int(answer.headers['x-bentoml-request-id']):016x}" == request.span_id
    traced.server.said(f"(trace={request.trace_id},span={request.span_id},sampled=1)")


def test_a_sampled_caller_is_the_parent(traced: Traced) -> None:
    trace_id, parent_id = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    answer, spans = traced.post("/through_near", [1], traceparent=f"00-{trace_id}-{parent_id}-01")
    assert answer.headers["x-bentoml-trace-id"] == trace_id
    assert spans["POST /through_near"].parent_id == parent_id


@pytest.mark.parametrize("path", ["/unseen", "/through_near"])
def test_excluded_routes_and_callers_that_do_not_sample_leave_no_span(traced: Traced, path: str) -> None:
    trace_id = f"{'1' if path == '/unseen' else '2'}af7651916cd43dd8448eb211c80319c"
    flags = "01" if path == "/unseen" else "00"
    answer = traced.server.post(path, [1], {"traceparent": f"00-{trace_id}-b7ad6b7169203331-{flags}"})
    assert answer.headers["x-bentoml-trace-id"] == trace_id
    traced.server.said(f"(trace={trace_id},span={int(answer.headers['x-bentoml-request-id']):016x},sampled=")
    traced.post("/through_near", [1])  # what was to be sent before is there when this one's spans are
    assert trace_id not in {span.trace_id for span in traced.collector.spans}


def test_a_malformed_traceparent_begins_a_new_trace(traced: Traced) -> None:
    _, spans = traced.post("/through_near", [1], traceparent="00-0-0-01")
    assert spans["POST /through_near"].parent_id == ""


# Errors


def test_an_error_of_user_code_is_shown_with_its_traceback_and_bad_input_is_no_error(traced: Traced) -> None:
    answer, spans = traced.post("/fail", "worse")
    request = spans["POST /fail"]
    assert (answer.status, request.status) == (500, ERROR)
    assert request.attributes["error.type"] == "500"
    [(name, event)] = request.events
    assert (name, event["exception.message"]) == ("exception", "the secret of the kitchen")
    assert "service.py" in event["exception.stacktrace"]
    answer, spans = traced.post("/fail", "bad")
    request = spans["POST /fail"]
    assert (answer.status, request.status, request.events) == (400, 0, [])
    assert request.attributes["http.response.status_code"] == 400


def test_a_stream_that_breaks_off_is_an_error(traced: Traced) -> None:
    trace_id = "5af7651916cd43dd8448eb211c80319c"
    with contextlib.suppress(OSError, http.client.HTTPException):  # a reset tells the client
        traced.server.request("POST", "/count", b"2", {"traceparent": f"00-{trace_id}-b7ad6b7169203331-01"})
    request = traced.collector.trace(trace_id)["POST /count"]
    assert (request.status, request.attributes["error.type"]) == (ERROR, "500")


def test_a_request_that_is_answered_late_has_its_status_and_its_ids(traced: Traced) -> None:
    answer = traced.server.post("/forever", 1)
    assert answer.status == 504
    span_id = f"{int(answer.headers['x-bentoml-request-id']):016x}"
    traced.server.said(span_id)
    trace_id = re.search(rf"trace=(\w+),span={span_id}", traced.server.log)
    assert trace_id
    request = traced.collector.trace(trace_id[1])["POST /forever"]
    assert (request.span_id, request.attributes["http.response.status_code"]) == (span_id, 504)


# Export


def test_exports_are_sent_as_configured(traced: Traced) -> None:
    traced.post("/through_near", [1])
    path, headers, _ = traced.collector.requests[-1]
    assert (path, headers["x-key"], headers["content-encoding"]) == ("/v1/traces", "secret", "gzip")


def test_without_a_sample_rate_only_sampled_callers_are_traced_and_the_last_spans_are_sent_at_the_end(
    tmp_path: Path,
) -> None:
    sampled, unsampled = "3af7651916cd43dd8448eb211c80319c", "4af7651916cd43dd8448eb211c80319c"
    with _otlp.collecting() as collector:
        with serving_traced(tmp_path, collector.url, "") as server:
            assert "tracing.sample_rate is not set: only requests whose caller" in server.log
            server.post("/through_near", [1])
            for trace_id, flags in ((sampled, "01"), (unsampled, "00")):
                server.post("/through_near", [1], {"traceparent": f"00-{trace_id}-b7ad6b7169203331-{flags}"})
        assert {span.trace_id for span in collector.spans} == {sampled}


def test_a_dead_collector_costs_no_request_and_is_said_once(tmp_path: Path) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{nobody.getsockname()[1]}/v1/traces"
        with serving_traced(tmp_path, endpoint, "tracing.sample_rate=1 tracing.timeout=1") as server:
            # Four spans each: more than the queue of the exporter holds.
            answers = server.post_all("/through_near", [[number] for number in range(1500)])
            assert all(answer.status == 200 for answer in answers)
            server.said("tracing: ")
            assert server.stop() == 0
        said = [line.split("tracing: ")[1] for line in server.log.splitlines() if "tracing: " in line]
        assert 0 < len(said) == len(set(said)) <= 4
        assert "Traceback" not in server.log


# What is off, and what is missing


def test_without_tracing_the_library_is_not_imported() -> None:
    code = "import bentoml.server.api_worker, sys; sys.exit('opentelemetry' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_missing_library_is_an_error_that_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    made = tracing.Tracing(TracingConfig(exporter_type="otlp"), Service("s"), "api_server:s:1")
    monkeypatch.setitem(sys.modules, "opentelemetry.trace", None)
    with pytest.raises(MissingDependencyException) as caught:
        made.start()
    assert str(caught.value) == (
        "tracing.exporter_type: otlp needs the library 'opentelemetry', which is not installed "
        "(hint: pip install makunouchi[tracing])"
    )


def test_the_library_for_grpc_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.grpc.trace_exporter", None)
    with pytest.raises(MissingDependencyException, match="pip install opentelemetry-exporter-otlp-proto-grpc"):
        span_exporter(TracingConfig(exporter_type="otlp", otlp=Otlp(protocol="grpc")))


def test_spans_are_sent_over_grpc_where_its_library_is_there() -> None:
    grpc = pytest.importorskip("grpc")
    pytest.importorskip("opentelemetry.exporter.otlp.proto.grpc")
    from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

    arrived: list[tuple[dict[str, str], Any]] = []

    class Receiver(trace_service_pb2_grpc.TraceServiceServicer):
        def Export(self, request: Any, context: Any) -> Any:
            arrived.append((dict(context.invocation_metadata()), request))
            return trace_service_pb2.ExportTraceServiceResponse()

    server = grpc.server(ThreadPoolExecutor(1))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(Receiver(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        settings = Otlp(
            protocol="grpc",
            endpoint=f"http://127.0.0.1:{port}",
            compression="gzip",
            grpc=OtlpGrpc(headers={"x-key": "secret"}),
        )
        config = TracingConfig(exporter_type="otlp", sample_rate=1.0, timeout=5.0, otlp=settings)
        made = tracing.Tracing(config, bentoml.Service("over_grpc"), "api_server:over_grpc:1")
        made.start()
        asyncio.run(_one_span(made))
    finally:
        server.stop(None)
    [(metadata, request)] = arrived
    [span] = request.resource_spans[0].scope_spans[0].spans
    assert (metadata["x-key"], span.name) == ("secret", "POST /here")


async def _one_span(made: tracing.Tracing) -> None:
    made.begin(Request(path="/here"), "/here").answered(Response(b""))
    await made.close()


def test_a_server_without_the_library_does_not_start(tmp_path: Path) -> None:
    broken = tmp_path / "broken" / "opentelemetry"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise ModuleNotFoundError('no', name='opentelemetry')")
    (tmp_path / "service.py").write_text("import bentoml\nsvc = bentoml.Service('bare')\n")
    environment = {
        "BENTOML_CONFIG_OPTIONS": "tracing.exporter_type=otlp",
        "PYTHONPATH": f"{broken.parent}:{Path(tracing.__file__).parents[2]}",
    }
    with started("service:svc", folder=tmp_path, home=tmp_path / "home", extra=environment) as server:
        assert server.wait() == 1
        assert "needs the library 'opentelemetry', which is not installed" in server.log


@pytest.mark.parametrize(
    ("section", "message"),
    [
        (
            {"exporter_type": "zipkin"},
            "Invalid configuration file was given: `tracing`: exporter_type zipkin is gone from OpenTelemetry: set it "
            "to otlp, as Jaeger takes OTLP itself, Zipkin by way of an OpenTelemetry collector (set by here.yaml)",
        ),
        (
            {"excluded_urls": "fine,(bad"},
            "Invalid configuration file was given: `tracing`: excluded_urls: '(bad' is no regular expression: "
            "missing ), unterminated subpattern at position 0 (set by here.yaml)",
        ),
        (
            {"sample_rate": 2},
            "Invalid configuration file was given: `tracing.sample_rate`: expected `float` <= 1.0 (set by here.yaml)",
        ),
    ],
)
def test_a_configuration_that_cannot_be_says_why(section: dict[str, Any], message: str) -> None:
    origins = {f"tracing.{key}": "here.yaml" for key in section}
    with pytest.raises(BentoMLConfigException) as caught:
        LoadedConfig({"tracing": section}, origins)
    assert str(caught.value) == message
