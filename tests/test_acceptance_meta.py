"""What stands around the APIs of a service written for BentoML 1.x: pages, mounts, CORS, context, names, metrics."""

from __future__ import annotations

import http.client
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Optional, Union

import numpy as np
import pydantic
import pytest

import bentoml
from bentoml import config
from bentoml.exceptions import (
    BentoMLConfigException,
    BentoMLException,
    InvalidArgument,
    NotFound,
    StateException,
    UnprocessableEntity,
)
from bentoml.io import JSON, File, Multipart, NumpyNdarray, Text, from_spec
from tests import _server
from tests._server import Server, sample
from tests.conftest import E2E

COMPATIBILITY = Path(__file__).parents[1] / "docs" / "compatibility.md"
ORIGIN = "http://bentoml.test:8080"
CORS = """
version: 1
api_server:
  http:
    cors:
      enabled: true
      access_control_allow_origin: "http://bentoml.test:8080"
      access_control_allow_methods: ["GET", "OPTIONS", "POST", "HEAD", "PUT"]
      access_control_allow_credentials: true
      access_control_allow_headers: ["*"]
      access_control_max_age: 1200
      access_control_expose_headers: ["Content-Length"]
    response: {trace_id: true}
monitoring: {enabled: true, options: {log_path: MONITORED}}
"""


@pytest.fixture(scope="module")
def configured(e2e_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The same service with a file of configuration as for BentoML 1.0; two workers."""
    folder = tmp_path_factory.mktemp("configured")
    (folder / "bentoml.yml").write_text(CORS.replace("MONITORED", str(folder / "monitored")))
    extra = {"BENTOML_CONFIG": str(folder / "bentoml.yml"), "BENTOML_CONFIG_OPTIONS": "api_server.workers=2"}
    arguments = ("service:svc", "--production", "--working-dir", str(E2E))
    with _server.serving(*arguments, folder=folder, home=e2e_home, extra=extra) as server:
        yield server


# Pages, mounts and middlewares


@pytest.mark.parametrize("path", ["/", "/healthz", "/livez", "/readyz", "/ping", "/hello", "/docs.json", "/metrics"])
def test_the_pages_are_there(e2e: Server, path: str) -> None:
    assert e2e.get(path).status == 200


@pytest.mark.parametrize("path", ["/", "/healthz", "/livez", "/readyz", "/docs.json"])
def test_the_pages_answer_head(e2e: Server, path: str) -> None:
    answer = e2e.request("HEAD", path)
    assert (answer.status, answer.body) == (200, b"")


@pytest.mark.parametrize("path", ["/healthz", "/livez", "/readyz", "/ping"])
def test_a_probe_answers_with_a_line_break(e2e: Server, path: str) -> None:
    answer = e2e.get(path)
    assert (answer.body, answer.headers["content-type"].partition(";")[0]) == (b"\n", "text/plain")


def test_a_mounted_application_gets_what_is_left(e2e: Server) -> None:
    assert e2e.get("/hello").body == b'{"Hello":"World"}'
    assert e2e.get("/nothing").status == 404


@pytest.mark.parametrize(
    ("path", "status"), [("/api/v1/with_prefix", 200), ("//api/v1/with_prefix", 404), ("/echo_query", 404)]
)
def test_a_route_with_a_prefix_is_routed_exactly(e2e: Server, path: str, status: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", e2e.port, timeout=_server.PATIENCE_S)
    answer = _server.exchange(connection, "POST", path, b'{"name": "x"}')
    connection.close()
    assert answer.status == status


def test_what_is_no_post_to_an_api_is_left_to_the_mounted_application(e2e: Server) -> None:
    answer = e2e.get("/echo_json")
    assert (answer.status, answer.body) == (404, b'{"detail":"Not Found"}')


def test_every_route_begins_with_a_slash() -> None:
    service = bentoml.Service("routes")
    service.api(JSON(), JSON(), route="a/b")(lambda_named("one"))
    service.api(JSON(), JSON(), route="/c")(lambda_named("two"))
    assert [api.route for api in service.apis.values()] == ["/a/b", "/c"]
    assert all(path.startswith("/") for path in service.openapi_spec["paths"])


def lambda_named(name: str) -> Any:
    def function(value):  # type: ignore[no-untyped-def]  # as users write it
        return value

    function.__name__ = name
    return function


def test_the_document_lists_the_apis_and_the_mounted_operations(e2e: Server) -> None:
    document = e2e.get("/docs.json").value
    assert {"/echo_json", "/api/v1/with_prefix", "/hello", "/healthz", "/livez", "/readyz", "/metrics"} <= set(
        document["paths"]
    )
    operation = document["paths"]["/api/v1/with_prefix"]["post"]
    assert operation["operationId"] == "e2e_general__echo_query"
    assert operation["tags"] == ["Service APIs"]
    assert operation["x-bentoml-name"] == "echo_query"
    assert operation["requestBody"]["x-bentoml-io-descriptor"]["id"] == "bentoml.io.JSON"
    assert "Query" in document["components"]["schemas"]
    assert document["servers"] == [{"url": "."}]


def test_metrics_of_the_user_appear_beside_those_of_the_server(e2e: Server) -> None:
    before = sample(e2e, "e2e_echo_total")
    e2e.request("POST", "/echo_text", b"twelve chars")
    assert sample(e2e, "e2e_echo_total") == before + 1
    assert b'e2e_echo_total{name="text"}' in e2e.get("/metrics").body
    assert sample(e2e, "e2e_echo_length_bucket", le="10.0") < sample(e2e, "e2e_echo_length_bucket", le="100.0")
    labels = {"endpoint": "/echo_text", "service_name": "e2e_general", "service_version": "not available"}
    assert sample(e2e, "bentoml_api_server_request_total", http_response_code="200", **labels) >= 1
    assert sample(e2e, "bentoml_api_server_request_duration_seconds_count", http_response_code="200", **labels) >= 1
    assert sample(e2e, "bentoml_api_server_request_in_progress", **labels) == 0
    assert e2e.get("/metrics").headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"


def test_an_answer_has_the_number_of_its_request(e2e: Server) -> None:
    assert e2e.post("/echo_json", 1).headers["x-bentoml-request-id"].isdecimal()
    assert e2e.request("POST", "/echo_json", b"{").headers["x-bentoml-request-id"].isdecimal()


# The context


def test_the_context_has_query_state_and_headers(e2e: Server) -> None:
    answer = e2e.post("/use_context", {"a": "b"}, {"X-Asked": "yes"})
    assert answer.value == {"state": "hello_startup", "header": "yes", "a": "b"}
    assert e2e.post("/use_context", None).value == {"state": "hello_startup", "header": None}


def test_a_status_that_the_function_sets_is_sent_with_its_body(e2e: Server) -> None:
    answer = e2e.post("/use_context?error=yes", {})
    assert (answer.status, answer.body) == (400, b'"yes"')


def test_metadata_cookies_and_content_type_of_the_function_are_sent(e2e: Server) -> None:
    answer = e2e.request("POST", "/with_cookie", b"abc", {"X-Asked": "me"})
    assert answer.headers["x-told"] == "me"
    assert answer.headers["content-type"] == "text/x-mine"
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("seen=abc;")
    assert {"Max-Age=60", "Path=/", "HttpOnly", "SameSite=lax"} <= {part.strip() for part in cookie.split(";")}


# Errors


@pytest.mark.parametrize(
    ("kind", "status", "body"),
    [
        ("bento", 400, '"BentoService error handling API request: this is wrong"'),
        ("not_found", 404, '"BentoService error handling API request: not here"'),
        ("unavailable", 503, '""'),
    ],
)
def test_errors_of_bentoml_have_their_status_and_body(e2e: Server, kind: str, status: int, body: str) -> None:
    answer = e2e.post("/raise_error", kind)
    assert (answer.status, answer.body.decode()) == (status, body)


@pytest.mark.parametrize("kind", ["state", "other"])
def test_any_other_error_is_a_500_whose_body_begins_as_ever(e2e: Server, kind: str) -> None:
    answer = e2e.post("/raise_error", kind)
    assert answer.status == 500
    assert answer.value.startswith("An error has occurred in BentoML user code when handling this request")


# CORS


def preflight(server: Server, origin: str) -> _server.Answer:
    headers = {
        "Content-Type": "application/json",
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "Content-Type",
    }
    return server.request("OPTIONS", "/echo_json", None, headers)


def test_without_cors_no_preflight_is_permitted(e2e: Server) -> None:
    answer = preflight(e2e, ORIGIN)
    assert not [name for name in answer.headers if name.lower().startswith("access-control-allow-origin")]
    answer = e2e.post("/echo_json", {"a": 1}, {"Origin": ORIGIN})
    assert answer.status == 200
    assert "access-control-allow-origin" not in answer.headers
    assert "access-control-expose-headers" not in answer.headers


def test_with_cors_the_configured_origin_is_permitted(configured: Server) -> None:
    answer = preflight(configured, ORIGIN)
    assert answer.status == 200
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert answer.headers["access-control-max-age"] == "1200"
    assert "POST" in answer.headers["access-control-allow-methods"]
    answer = configured.post("/echo_json", {"a": 1}, {"Origin": ORIGIN})
    assert (answer.status, answer.body) == (200, b'{"a":1}')
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert answer.headers["access-control-expose-headers"] == "Content-Length"
    assert answer.headers["access-control-allow-credentials"] == "true"


def test_with_cors_no_other_origin_is_permitted(configured: Server) -> None:
    other = "http://bentoml.test.evil"
    assert preflight(configured, other).status != 200
    answer = configured.post("/echo_json", {"a": 1}, {"Origin": other})
    assert answer.headers.get("access-control-allow-origin") not in ("*", other)


def test_the_trace_id_is_sent_if_asked_for(configured: Server) -> None:
    assert re.fullmatch(r"[0-9a-f]{32}", configured.post("/echo_json", 1).headers["x-bentoml-trace-id"])


def test_what_is_monitored_is_written_as_lines(configured: Server) -> None:
    folder = configured.log_path.parent / "monitored"
    assert configured.post("/monitored", {"x": 3}).value == 6

    def rows() -> list[str]:
        return [line for file in folder.glob("e2e_monitor/data/data.*.log") for line in file.read_text().splitlines()]

    (row,) = _server.until(rows, "a row of the monitor")
    assert re.search(r'"x": ?3\b', row)
    assert re.search(r'"y": ?6\b', row)
    assert '"timestamp"' in row
    assert '"request_id"' in row
    assert list(folder.glob("e2e_monitor/schema/schema.*.log"))


# Declaring a service


class Unit(bentoml.Runnable):
    SUPPORTED_RESOURCES = ("cpu",)
    SUPPORTS_CPU_MULTI_THREADING = True

    @bentoml.Runnable.method
    def same(self, value: Any) -> Any:
        return value


def test_two_runners_of_one_name_are_refused() -> None:
    runners = [bentoml.Runner(Unit, name="unit"), bentoml.Runner(Unit, name="unit")]
    with pytest.raises(ValueError, match="Found duplicate name"):
        bentoml.Service("twice", runners=runners)


def test_a_model_must_be_a_model() -> None:
    with pytest.raises(AssertionError, match="Service models list can only"):
        bentoml.Service("models", models=[Unit])  # type: ignore[list-item]


def test_the_name_is_lowered_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert bentoml.Service("A_Service").name == "a_service"
        assert bentoml.Runner(Unit).name == "unit"
    assert caplog.text.count("to lowercase:") == 2


@pytest.mark.parametrize("name", ["", "a" * 64, "has space", "no!", "_begins", "ends_"])
def test_a_name_that_is_no_tag_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="name of a runner"):
        bentoml.Runner(Unit, name=name)


def test_an_api_is_declared_once() -> None:
    service = bentoml.Service("apis")
    service.api(JSON(), JSON())(lambda_named("predict"))
    with pytest.raises(BentoMLException, match="is already defined in Service"):
        service.api(JSON(), JSON())(lambda_named("predict"))
    for reserved in ("index", "swagger", "docs", "metrics", "healthz", "livez", "readyz"):
        with pytest.raises(InvalidArgument):
            service.api(JSON(), JSON(), name=reserved)(lambda_named("other"))


def test_a_service_is_shown_with_its_origin(e2e_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runners = [bentoml.Runner(Unit, name="unit1"), bentoml.Runner(Unit, name="unit2")]
    assert str(bentoml.Service("shown", runners=runners)) == 'bentoml.Service(name="shown", runners=[unit1,unit2])'
    monkeypatch.setenv("BENTOML_HOME", str(e2e_home))
    assert str(bentoml.load("service:svc", working_dir=str(E2E))) == (
        f'bentoml.Service(name="e2e_general", import_str="service:svc", working_dir="{E2E}")'
    )


# Configuration


@pytest.mark.parametrize("options", ["api_server.nothing=1", "api_server.workers=many", "runners.batching.enabled=2"])
def test_a_wrong_option_is_refused(options: str) -> None:
    with pytest.raises(
        BentoMLConfigException, match="Invalid configuration file was given: .*" + options.split("=")[0]
    ):
        config.from_environment({"BENTOML_CONFIG_OPTIONS": options})


def test_a_server_listens_on_an_address_and_not_on_a_name(tmp_path: Path) -> None:
    extra = {"BENTOML_CONFIG_OPTIONS": "api_server.http.host=localhost"}
    done = _server.bentoml("serve", "service:svc", folder=E2E, home=tmp_path, extra=extra)
    assert done.returncode == 1
    assert "`api_server.http.host` must be an IPv4 or IPv6 address, not 'localhost'" in done.stderr


def test_options_may_have_quotes_brackets_and_indices() -> None:
    options = (
        'api_server.http.host="127.0.0.1" api_server.http.port=5000 runners.iris_clf.resources."nvidia.com/gpu"[0]=2 '
        "runners.iris_clf.batching.max_batch_size=7"
    )
    found = config.from_environment({"BENTOML_CONFIG_OPTIONS": options}).config
    assert (found.api_server.http.host, found.api_server.http.port) == ("127.0.0.1", 5000)


def test_a_file_of_bentoml_1_0_is_read_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "bentoml.yaml"
    file.write_text(
        "api_server: {host: 0.0.0.0, port: 5000, timeout: 30, backlog: 4096, max_request_size: 20971520}\n"
        "runners: {timeout: 60, batching: {enabled: true, max_batch_size: 100, max_latency_ms: 500}}\n"
        "tracing: {type: otlp, otlp: {url: 'http://127.0.0.1:4318'}}\n"
    )
    with caplog.at_level(logging.WARNING):
        found = config.from_environment({"BENTOML_CONFIG": str(file)}).config
    assert (found.api_server.http.host, found.api_server.http.port) == ("0.0.0.0", 5000)
    assert found.api_server.traffic.timeout == 30
    assert "Field 'api_server.port' is deprecated and has been renamed to 'api_server.http.port'" in caplog.text


# Names and idioms


def test_the_page_for_those_who_come_from_bentoml_lists_the_names_that_are_there() -> None:
    text = COMPATIBILITY.read_text().partition("<!-- names: begin -->")[2].partition("<!-- names: end -->")[0]
    there, _, absent = text.partition("| not there |")
    for name in re.findall(r"`(\w+)`", there):
        assert getattr(bentoml, name) is not None
    names = [name for line in absent.splitlines() for name in re.findall(r"`(\w+)`", "|".join(line.split("|")[:3]))]
    assert len(names) > 20
    for name in names:
        assert not hasattr(bentoml, name), f"bentoml.{name} is there now: move it in docs/compatibility.md"


def test_descriptors_are_made_as_ever(recwarn: pytest.WarningsRecorder) -> None:
    assert JSON(pydantic_model=Model, validate_json=True).to_spec()["args"]["has_pydantic_model"]
    assert NumpyNdarray(dtype="float32", shape=(-1, 4)).to_spec() == {
        "id": "bentoml.io.NumpyNdarray",
        "args": {"dtype": "float32", "shape": [-1, 4], "enforce_dtype": False, "enforce_shape": False},
    }
    assert from_spec(Text().to_spec()).to_spec()["id"] == "bentoml.io.Text"
    sample = NumpyNdarray.from_sample([[1, 2]], enforce_dtype=True)
    assert (sample.to_spec()["args"]["shape"], sample.sample.tolist()) == ([1, 2], [[1, 2]])
    for spec in ({}, {"id": None}, {"id": "bentoml.io.NumpyNdarray"}):
        with pytest.raises(InvalidArgument):
            from_spec(spec)
    with pytest.raises(InvalidArgument):
        Multipart(inner=Multipart(text=Text()))
    with pytest.raises(UnprocessableEntity):
        NumpyNdarray(dtype="nonsense")
    with pytest.raises(ValueError, match="kind"):
        File(kind="pathlike")


class Model(pydantic.BaseModel):
    a: int


@pytest.mark.parametrize(
    ("descriptor", "annotation", "fits"),
    [
        (JSON(pydantic_model=Model), Model, True),
        (JSON(pydantic_model=Model), Optional[Model], True),  # noqa: UP045 - as it was written
        (JSON(), Union[dict[str, Any], list[Any]], True),  # noqa: UP007 - as it was written
        (JSON(), "dict[str, Any]", True),
        (Text(), str, True),
        (File(), IO[bytes], True),
        (NumpyNdarray(), np.ndarray, True),
        (NumpyNdarray(), str, False),
        (Text(), int, False),
    ],
)
def test_annotations_are_loosely_checked(descriptor: Any, annotation: Any, fits: bool) -> None:
    def function(value: Any, context: bentoml.Context) -> Any:
        return value

    function.__annotations__["value"] = annotation
    offer = bentoml.Service("annotated").api(descriptor, JSON())
    if fits:
        assert offer(function) is function
    else:
        with pytest.raises(TypeError):
            offer(function)


def test_a_runner_in_this_process_runs_as_in_a_notebook(e2e_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENTOML_HOME", str(e2e_home))
    model = bentoml.picklable_model.get("e2e_case:latest")
    runner = model.with_options(partial_kwargs={"predict_partial": {"factor": 3}}).to_runner(name="Case")
    assert (runner.name, runner.models[0].tag) == ("case", model.tag)
    assert runner.scheduled_worker_count >= 1
    assert "CUDA_VISIBLE_DEVICES" in runner.scheduled_worker_env_map[0]
    with pytest.raises(StateException):
        runner.predict_ndarray.run(np.ones(1))
    runner.init_local(quiet=True)
    assert runner.predict_partial.run(np.ones(2)).tolist() == [3, 3]
    assert runner.echo_json.run({"a": 1}) == {"a": 1}
    with pytest.raises(StateException):
        runner.init_local(quiet=True)
    runner.destroy()


def test_a_model_of_another_framework_and_the_deprecated_names_say_what_to_use(
    e2e_home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("BENTOML_HOME", str(e2e_home))
    tag = bentoml.picklable_model.get("e2e_case").tag
    with pytest.raises(NotFound, match=f"^Model {tag} was saved with module bentoml.picklable_model, "):
        bentoml.sklearn.get("e2e_case")
    with caplog.at_level(logging.WARNING):
        assert bentoml.picklable_model.load_runner("e2e_case", 1).name == "e2e_case"
        bentoml.picklable_model.load("e2e_case")
    for new in ("get().to_runner", "load_model"):
        assert f'method is deprecated. Use "bentoml.picklable_model.{new}" instead.' in caplog.text


def test_metrics_are_made_when_they_are_used_first() -> None:
    counter = bentoml.metrics.Counter(name="acceptance_total", documentation="x")
    assert counter._proxy is None
    with pytest.raises(ValueError, match="registry"):
        bentoml.metrics.Counter(name="acceptance_other", documentation="x", registry=object())
    with pytest.raises(NotImplementedError):
        bentoml.metrics.push_to_gateway


def test_a_server_of_bentoml_1_1_is_found_where_it_was() -> None:
    from bentoml.server import HTTPServer

    assert HTTPServer is bentoml.HTTPServer is bentoml.server.HTTPServer
