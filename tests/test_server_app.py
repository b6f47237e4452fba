"""Requests to a real server: routes and methods, bad input, the context, limits of time and number."""

from __future__ import annotations

import contextlib
import json
import re
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests._server import PATIENCE_S, Server, exchange, sample, serving, until
from tests.conftest import KITCHEN

TOLD = "BentoService error handling API request: "


# Routes and methods


@pytest.mark.parametrize("path", ["/", "/docs.json", "/livez", "/healthz", "/readyz", "/static_content/swagger-ui.css"])
def test_pages_answer_get_and_head_with_the_same_headers(kitchen: Server, path: str) -> None:
    got, head = kitchen.get(path), kitchen.request("HEAD", path)
    assert (got.status, head.status, head.body) == (200, 200, b"")
    assert len(got.body) == int(got.headers["content-length"]) == int(head.headers["content-length"])
    assert got.headers["content-type"] == head.headers["content-type"]


@pytest.mark.parametrize("path", ["/livez", "/healthz", "/readyz"])
def test_probes_answer_with_an_empty_line(kitchen: Server, path: str) -> None:
    answer = kitchen.get(path)
    assert (answer.body, answer.headers["content-type"]) == (b"\n", "text/plain; charset=utf-8")


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_the_metrics_answer_any_method(kitchen: Server, method: str) -> None:
    answer = kitchen.request(method, "/metrics")
    assert (answer.status, answer.headers["content-type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/echo", "POST, OPTIONS"),
        ("HEAD", "/echo", "POST, OPTIONS"),
        ("PUT", "/echo", "POST, OPTIONS"),
        ("POST", "/", "GET, HEAD, OPTIONS"),
        ("DELETE", "/livez", "GET, HEAD, OPTIONS"),
    ],
)
def test_a_wrong_method_is_a_405_that_names_the_right_one(kitchen: Server, method: str, path: str, allow: str) -> None:
    answer = kitchen.request(method, path, b"{}")
    assert (answer.status, answer.headers["allow"]) == (405, allow)
    assert answer.body == (b"" if method == "HEAD" else f"Method Not Allowed. Use {allow}.\n".encode())


@pytest.mark.parametrize(
    ("path", "allow"),
    [("/echo", "POST, OPTIONS"), ("/kitchen/order", "POST, OPTIONS"), ("/docs.json", "GET, HEAD, OPTIONS")],
)
def test_options_names_the_methods_of_a_route(kitchen: Server, path: str, allow: str) -> None:
    answer = kitchen.request("OPTIONS", path)
    assert (answer.status, answer.headers["allow"], answer.body) == (204, allow, b"")
    assert "content-length" not in answer.headers


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "OPTIONS", "DELETE"])
def test_an_unknown_route_is_a_404_for_every_method(kitchen: Server, method: str) -> None:
    assert kitchen.request(method, "/nothing/at/all").status == 404


def test_an_unknown_route_is_a_404_that_suggests_the_nearest(kitchen: Server) -> None:
    answer = kitchen.post("/ecko", {})
    assert (answer.status, answer.headers["content-type"]) == (404, "text/plain; charset=utf-8")
    assert answer.body == b"Not Found. Did you mean POST /echo? See /docs.json for all routes.\n"
    assert b"This service has POST /echo, " in kitchen.get("/" + "q" * 50_000).body


@pytest.mark.parametrize("path", ["//echo", "/echo/", "/kitchen//order", "/echo/../echo"])
def test_routes_are_exact(kitchen: Server, path: str) -> None:
    assert kitchen.post(path, {}).status == 404


def test_a_route_may_have_several_parts_and_a_query(kitchen: Server) -> None:
    assert kitchen.post("/kitchen/order?table=3", {"dish": "soup", "count": 1}).value["price"] == 1.0


# Input


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "the body is empty"),
        (b"{", "the document ends too early"),
        (b"{'a': 1}", "JSON is malformed: object keys must be strings (byte 1)"),
        (b'{"a": 1}{', "JSON is malformed: trailing characters (byte 9)"),
        (b"NaN", "NaN and Infinity are not JSON (byte 0)"),
        (b"[1, -Infinity]", "NaN and Infinity are not JSON (byte 5)"),
        (b"1e999", "Number out of range"),
        (b"9" * 5000, "Integer value out of range"),
        (b'{"a": 1, "a": 2}', "the name 'a' occurs twice in one object"),
        (b'"\xff"', "the body is not UTF-8: invalid start byte at byte 1"),
        (b"[" * 100_000 + b"]" * 100_000, "it is nested too deeply"),
        (b'{"a":' * 100_000, "it is nested too deeply"),
    ],
    ids=lambda value: repr(value[:12]) if isinstance(value, bytes) else "",
)
@pytest.mark.parametrize("path", ["/echo", "/echo_in_thread", "/kitchen/order", "/array"])
def test_a_body_that_is_no_json_is_a_400_with_the_reason(kitchen: Server, path: str, body: bytes, reason: str) -> None:
    answer = kitchen.request("POST", path, body)
    assert (answer.status, answer.headers["content-type"]) == (400, "application/json")
    assert answer.value.startswith(TOLD)
    assert len(answer.body) < 400
    if path == "/echo":
        assert reason in answer.value


@pytest.mark.parametrize(
    ("value", "problems"),
    [
        ({"dish": "soup"}, ["count: Field required (missing)"]),
        ({"dish": "soup", "count": "two"}, ["count: Input should be a valid integer"]),
        ({"dish": 3, "count": 1}, ["dish: Input should be a valid string (string_type)"]),
        ({"dish": "x", "count": 1.5}, ["count: Input should be a valid integer"]),
        ([], ["body: "]),
    ],
)
def test_input_that_breaks_the_model_is_a_400_that_names_field_and_rule(
    kitchen: Server, value: Any, problems: list[str]
) -> None:
    answer = kitchen.post("/kitchen/order", value)
    assert answer.status == 400
    assert answer.value.startswith(f"{TOLD}Invalid JSON input received: ")
    for problem in problems:
        assert problem in answer.value


def test_a_message_does_not_repeat_the_input(kitchen: Server) -> None:
    answer = kitchen.post("/kitchen/order", {"dish": ["secret" * 1000], "count": "secret"})
    assert answer.status == 400
    assert b"secret" not in answer.body


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"[[1, 2, 3]]", 'Expecting ndarray of shape "(-1, 2)", but "(1, 3)" was received.'),
        (b'[["a", 2]]', "[0][0] is text, expected a number or null"),
        (b"[[1], [1, 2]]", ""),
        (b"3", 'Expecting ndarray of shape "(-1, 2)", but "()" was received.'),
        (b'{"a": 1}', ""),
    ],
)
def test_an_array_that_breaks_the_rules_is_a_400(kitchen: Server, body: bytes, problem: str) -> None:
    answer = kitchen.request("POST", "/array", body)
    assert answer.status == 400, answer
    assert problem in answer.value


def test_arrays_and_text_go_in_and_out(kitchen: Server) -> None:
    assert kitchen.request("POST", "/array", b"[[1, 2], [3, 4]]").body == b"[[2.0, 3.0], [4.0, 5.0]]"
    answer = kitchen.request("POST", "/text", "grüße".encode())
    assert (answer.body.decode(), answer.headers["content-type"]) == ("GRÜSSE", "text/plain; charset=utf-8")


def test_text_that_is_not_utf8_is_a_400(kitchen: Server) -> None:
    answer = kitchen.request("POST", "/text", b"\xff\xfe")
    assert answer.status == 400
    assert "UTF-8" in answer.value


def test_a_stream_comes_in_chunks_and_breaks_off_visibly(kitchen: Server) -> None:
    answer = kitchen.request("POST", "/count", b"5")
    assert (answer.body, answer.headers["transfer-encoding"]) == (b"0;1;2;3;4;", "chunked")
    with pytest.raises(ConnectionResetError):
        kitchen.request("POST", "/count", b"13")


def test_a_body_over_the_limit_is_a_413_before_it_is_sent(kitchen: Server) -> None:
    with socket.create_connection(("127.0.0.1", kitchen.port), PATIENCE_S) as sock:
        sock.sendall(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1000001\r\n\r\n")
        answer = sock.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert answer.endswith(b'"the body is larger than 1000000 bytes"')


def test_a_chunked_body_over_the_limit_is_a_413(kitchen: Server) -> None:
    with socket.create_connection(("127.0.0.1", kitchen.port), PATIENCE_S) as sock:
        sock.sendall(b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(11):
            sock.sendall(b"186a0\r\n" + bytes(100_000) + b"\r\n")
        assert sock.makefile("rb").read().startswith(b"HTTP/1.1 413 ")


CANARY = b"cos\nsystem\n(S'touch canary'\ntR."


@pytest.mark.parametrize("path", ["/echo", "/kitchen/order", "/array", "/double_far", "/wait_far", "/", "/nothing"])
@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "application/vnd.bentoml+pickle"},
        {"Content-Type": "application/pickle", "Payload-Container": "DefaultContainer", "Payload-Meta": "{}"},
        {"Content-Type": "application/octet-stream", "Args-Number": "1", "Payload-Container": "NdarrayContainer"},
        {"Content-Type": "application/vnd.bentoml.DefaultContainer", "Args-Number": "2", "Bento-Name": "kitchen"},
        {"Content-Type": "application/x-python-serialize", "Payload-Meta": '{"format": "pickle5"}'},
    ],
    ids=lambda value: value["Content-Type"] if isinstance(value, dict) else None,
)
def test_a_pickle_is_refused_whatever_it_is_called(kitchen: Server, path: str, headers: dict[str, str]) -> None:
    """T2."""
    answer = kitchen.request("POST", path, CANARY, headers)
    assert 400 <= answer.status < 500
    folders = [kitchen.log_path.parent, KITCHEN, Path.cwd()]
    assert not any((folder / "canary").exists() for folder in folders)


# The context


def test_the_context_shows_the_request_and_shapes_the_answer(kitchen: Server) -> None:
    headers = {"X-Echo": "hello", "Cookie": "a=b"}
    answer = kitchen.post("/seen?status=418&q=1&q=2", 7, headers)
    assert answer.status == 418
    assert answer.headers["x-echo"] == "hello"
    assert answer.headers["set-cookie"] == "who=7; HttpOnly; Max-Age=60; Path=/; SameSite=lax"
    value = answer.value
    assert value.pop("started") in [worker.pid for worker in kitchen.workers("api_server")]
    assert value == {
        "value": 7,
        "header": "hello",
        "query": ["1", "2"],
        "cookie": "a=b",
        "path": "/seen",
        "method": "POST",
    }


def test_a_plain_function_gets_a_context_too(kitchen: Server) -> None:
    assert kitchen.post("/seen_in_thread", 0, {"X-Echo": "hello"}).headers["x-echo"] == "hello"


@pytest.mark.parametrize("path", ["/seen", "/seen_in_thread"])
def test_requests_at_one_time_never_see_each_other(kitchen: Server, path: str) -> None:
    """T18."""

    def ask(client: int) -> None:
        with contextlib.closing(kitchen.connect()) as connection:
            for number in range(25):
                name = f"{client}-{number}"
                status = 200 + (client + number) % 5
                answer = exchange(
                    connection, "POST", f"{path}?status={status}&q={name}", json.dumps(name).encode(), {"X-Echo": name}
                )
                assert answer.headers["x-echo"] == name
                if path == "/seen":
                    assert answer.headers.get_all("set-cookie") == [
                        f"who={name}; HttpOnly; Max-Age=60; Path=/; SameSite=lax"
                    ]
                    assert answer.status == status
                    if status != 204:
                        assert (answer.value["value"], answer.value["query"]) == (name, [name])
                else:
                    assert answer.value == name

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(ask, range(16)))


def test_a_header_with_a_line_break_is_a_500_and_not_two_headers(kitchen: Server) -> None:
    # The client's own library refuses to send one, so that it comes in through the query.
    answer = kitchen.post("/seen?status=999", 1)
    assert (answer.status, answer.body) == (500, b'""')
    assert int(answer.headers["x-bentoml-request-id"]) > 0


# What every answer carries


def test_every_answer_of_an_api_has_a_request_id_of_its_own(kitchen: Server) -> None:
    answers = [kitchen.post("/echo", 1), kitchen.post("/echo", 1), kitchen.request("POST", "/echo", b"{")]
    ids = [answer.headers["x-bentoml-request-id"] for answer in answers]
    assert len(set(ids)) == 3
    assert all(0 < int(each) < 2**64 for each in ids)


@pytest.mark.parametrize(
    "kind", ["ZeroDivisionError", "NotFound", "ServiceUnavailable", "SystemExit", "unserialisable"]
)
def test_every_error_of_an_api_has_a_request_id(kitchen: Server, kind: str) -> None:
    answer = kitchen.post("/fail", kind)
    assert answer.status >= 400
    assert int(answer.headers["x-bentoml-request-id"]) > 0


def test_the_trace_id_is_that_of_traceparent(kitchen: Server) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    sent = {"traceparent": f"00-{trace}-00f067aa0ba902b7-01"}
    headers = kitchen.post("/echo", 1, sent).headers
    span = f"{int(headers['x-bentoml-request-id']):016x}"
    assert headers["x-bentoml-trace-id"] == trace
    assert headers["traceresponse"] == f"00-{trace}-{span}-01"
    kitchen.said(f"(trace={trace},span={span},sampled=1)")


def test_the_context_has_the_ids_and_what_to_pass_on(kitchen: Server) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4737"
    answer = kitchen.post("/ids", 1, {"traceparent": f"00-{trace}-00f067aa0ba902b7-00"})
    number = int(answer.headers["x-bentoml-request-id"])
    assert answer.value == {"request": number, "trace": trace, "traceparent": f"00-{trace}-{number:016x}-00"}
    answer = kitchen.post("/ids", 1)
    assert answer.value["trace"] == answer.headers["x-bentoml-trace-id"]


@pytest.mark.parametrize(
    "bad", ["", "00-4bf9", "00-" + "0" * 32 + "-00f067aa0ba902b7-01", "00-" + "_" * 32 + "-" + "_" * 16 + "-01"]
)
def test_a_traceparent_that_is_none_is_replaced(kitchen: Server, bad: str) -> None:
    trace = kitchen.post("/echo", 1, {"traceparent": bad}).headers["x-bentoml-trace-id"]
    assert re.fullmatch("[0-9a-f]{32}", trace)
    assert int(trace, 16) != 0


@pytest.mark.parametrize("path", ["/double_near", "/double_far", "/double_far_in_thread"])
def test_server_timing_shows_wait_batch_and_compute(kitchen: Server, path: str) -> None:
    answer = kitchen.post(path, [1, 2, 3])
    assert answer.value == [2, 4, 6]
    assert re.fullmatch(r'queue;dur=[\d.]+, batch;desc="3", compute;dur=[\d.]+', answer.headers["server-timing"])
    assert "server-timing" not in kitchen.post("/echo", 1).headers


# Runners in both placements


@pytest.mark.parametrize("path", ["/double_near", "/double_far", "/double_far_in_thread"])
def test_concurrent_calls_are_joined_and_each_gets_its_own_rows(kitchen: Server, path: str) -> None:
    values = [list(range(number, number + number % 4 + 1)) for number in range(300)]
    answers = kitchen.post_all(path, values, connections=24)
    assert [answer.value for answer in answers] == [[2 * row for row in rows] for rows in values]


def test_an_array_that_takes_megabytes_comes_back_from_a_worker_process(kitchen: Server) -> None:
    rows = list(range(40_000))
    assert kitchen.post("/double_far", rows).value == [2 * row for row in rows]


def test_run_in_an_async_function_says_what_to_write_instead(kitchen: Server) -> None:
    assert kitchen.post("/block_on_far", [1]).status == 500
    kitchen.said("In an async function use `await far.double.async_run(...)`")


# Limits


@contextlib.contextmanager
def alone(folder: Path, options: str) -> Iterator[Server]:
    """The same service in one API worker, with other settings."""
    extra = {"BENTOML_CONFIG_OPTIONS": f"api_server.workers=1 runners.far.resources.cpu=1 {options}"}
    with serving("service:svc", "--working-dir", str(KITCHEN), folder=folder, home=folder, extra=extra) as server:
        yield server


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Gives each request half a second."""
    options = "api_server.traffic.timeout=0.5 api_server.metrics.namespace=strict runners.far.placement=worker_process"
    with alone(tmp_path_factory.mktemp("strict"), options) as server:
        yield server


@pytest.mark.parametrize("path", ["/wait_here", "/wait_in_thread", "/wait_far"])
def test_a_request_that_takes_too_long_is_a_504_counted_and_logged(strict: Server, path: str, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    answer = strict.post(path, str(gate))
    gate.touch()
    assert (answer.status, answer.headers["content-type"]) == (504, "text/plain; charset=utf-8")
    assert answer.body == b"Not able to process the request in 0.5 seconds"
    assert answer.headers["connection"] == "close"
    assert int(answer.headers["x-bentoml-request-id"]) > 0
    assert sample(strict, "strict_request_total", endpoint=path) == 1
    assert sample(strict, "strict_request_total", endpoint=path, http_response_code="504") == 1
    strict.said(f"path={path},type=,length={len(str(gate)) + 2}) (status=504,")
    assert strict.post("/echo", 1).status == 200


def test_a_request_that_takes_too_long_is_cancelled(strict: Server, tmp_path: Path) -> None:
    assert strict.post("/wait_here", str(tmp_path / "never")).status == 504
    until((tmp_path / "never.cancelled").exists, "the cancellation")


def test_requests_beyond_the_limit_are_refused_at_once_and_later_served(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with (
        alone(tmp_path, "api_server.traffic.max_concurrency=2") as server,
        ThreadPoolExecutor(2) as pool,
        contextlib.closing(server.connect()) as stream,
    ):
        # A stream counts until its end, which comes when the client reads on.
        stream.request("POST", "/count", b"3000000")
        begun = stream.getresponse()
        held = pool.submit(server.post, "/wait_here", str(gate))
        until(Path(f"{gate}.begun").exists, "the held request")
        refused = server.post("/echo", 1)
        assert (refused.status, refused.body, refused.headers["retry-after"]) == (503, b'""', "1")
        assert server.get("/readyz").status == 200
        gate.touch()
        assert held.result(PATIENCE_S).status == 200
        assert server.post("/echo", 1).status == 200
        begun.close()
        metric = {"endpoint": "/echo", "http_response_code": "503"}
        assert sample(server, "bentoml_api_server_request_total", **metric) == 1


def test_what_is_not_asked_for_is_not_sent(strict: Server) -> None:
    headers = strict.post("/double_far", [1]).headers
    assert "server-timing" not in headers
    assert "x-bentoml-trace-id" not in headers
    assert "traceresponse" not in headers
    assert "vary" not in headers
    assert not any(name.startswith("access-control-") for name in headers)
