"""SyncHTTPClient against a real server, and against one that misbehaves as it is told."""

from __future__ import annotations

import json
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from pydantic import BaseModel

from bentoml import exceptions
from bentoml.client import SyncHTTPClient, Timeouts
from bentoml.exceptions import BentoMLException, DeadlineExceeded, InvalidArgument, RemoteException, ServiceUnavailable
from tests._scripted import reply, scripted
from tests._server import Server

OK = reply(200, b"1")
BUSY = reply(503, b'""', retry_after="0")


def client_of(server: Server) -> SyncHTTPClient:
    return SyncHTTPClient.from_url(f"127.0.0.1:{server.port}")


# -- a real server -----------------------------------------------------------------------------------------------------


class Order(BaseModel):
    dish: str
    count: int


def test_each_api_is_a_method_with_native_values(kitchen: Server) -> None:
    with client_of(kitchen) as client:
        assert client.server_url == f"http://127.0.0.1:{kitchen.port}"
        assert {"echo", "order", "array", "text"} <= set(client.endpoints)
        assert client.echo({"a": [1, None, "é"]}) == {"a": [1, None, "é"]}
        assert client.echo(None) is None
        assert client.order(Order(dish="soup", count=2)) == {"dish": "soup", "count": 2, "price": 1.0}
        np.testing.assert_array_equal(client.array(np.array([[1.5, 2]])), [[2.5, 3]])
        assert client.text("grün") == "GRÜN"
        assert client.call("double_far", [1, 2]) == [2, 4]
        assert client.call("echo", inp=3) == 3


def test_the_trained_example_answers(example: Server) -> None:
    document = json.loads(example.get("/docs.json").body)
    application = document["components"]["schemas"]["CreditApplication"]["example"]
    with client_of(example) as client:
        assert client.classify(application)["Status"] in {"APPROVED", "MAYBE", "DECLINED"}


def test_a_method_shows_what_the_service_says_of_it(kitchen: Server) -> None:
    with client_of(kitchen) as client:
        assert client.echo.__doc__ == "Say it again."
        assert client.echo.__name__ == "echo"
        assert "echo" in repr(client)
        with pytest.raises(AttributeError, match=r"no attribute 'ecko'\. Did you mean 'echo'\?"):
            client.ecko
        with pytest.raises(
            exceptions.NotFound, match=re.escape("the service has no API 'ecko' (hint: did you mean 'echo'?)")
        ):
            client.call("ecko", 1)


@pytest.mark.parametrize(
    "name", ["BadInput", "NotFound", "PayloadTooLarge", "UnprocessableEntity", "TooManyRequests", "DeadlineExceeded"]
)
def test_an_error_comes_back_as_the_class_that_was_raised(kitchen: Server, name: str) -> None:
    with client_of(kitchen) as client, pytest.raises(getattr(exceptions, name)) as caught:
        client.fail(name)
    assert str(caught.value).startswith(f"Error making request: {int(caught.value.error_code)}: ")
    assert re.search(r"\(request id \d+\)$", str(caught.value))


def test_invalid_input_names_the_field(kitchen: Server) -> None:
    with (
        client_of(kitchen) as client,
        pytest.raises(exceptions.BadInput, match="400: Invalid JSON input received: .*count"),
    ):
        client.order({"dish": "soup"})


def test_a_failure_on_the_other_side_has_the_request_id_alone(kitchen: Server) -> None:
    with client_of(kitchen) as client, pytest.raises(RemoteException, match=r"500: .* the request id \d+$"):
        client.fail("ZeroDivisionError")


def test_a_stream_comes_piece_by_piece(kitchen: Server) -> None:
    with client_of(kitchen) as client:
        assert "".join(client.stream_count("4")) == "0;1;2;3;"
        assert "".join(client.stream("text", "ü" * 10_000)) == "Ü" * 10_000
        assert b"".join(client.stream("echo", [1])) == b"[1]"


def test_a_stream_that_is_left_early_does_not_spoil_the_client(kitchen: Server) -> None:
    with client_of(kitchen) as client:
        for piece in client.stream_count("100000"):
            assert piece
            break
        assert client.echo(1) == 1


def test_health_is_what_readyz_answers(kitchen: Server) -> None:
    with client_of(kitchen) as client:
        health = client.health()
    assert (health.status, health.status_code, health.text, health.is_ready) == (200, 200, "", True)


def test_threads_may_share_a_client(kitchen: Server) -> None:
    with client_of(kitchen) as client, ThreadPoolExecutor(8) as pool:
        assert list(pool.map(client.echo, range(100))) == list(range(100))


def test_waiting_for_a_server_that_is_ready_returns(kitchen: Server) -> None:
    SyncHTTPClient.wait_until_server_ready("127.0.0.1", kitchen.port, timeout=30)
    SyncHTTPClient.wait_until_server_ready(url=f"http://127.0.0.1:{kitchen.port}")


# -- what it sends -----------------------------------------------------------------------------------------------------


def test_credentials_and_headers_go_with_every_request() -> None:
    with scripted(OK) as server:
        with SyncHTTPClient.from_url(server.url, api_key="k", headers={"x-team": "a"}) as client:
            client.echo(1)
        assert [each.headers["authorization"] for each in server.seen] == ["Bearer k", "Bearer k"]
        assert [each.headers["x-team"] for each in server.seen] == ["a", "a"]


def test_the_trace_of_the_caller_goes_with_a_call() -> None:
    trace = pytest.importorskip("opentelemetry.trace")
    parent = trace.SpanContext(0xABC, 0xDEF, is_remote=False, trace_flags=trace.TraceFlags(1))
    with scripted(OK, OK) as server, SyncHTTPClient.from_url(server.url) as client:
        with trace.use_span(trace.NonRecordingSpan(parent)):
            client.echo(1)
        client.echo(1)
        inside, outside = server.calls
    assert inside.headers["traceparent"] == f"00-{0xABC:032x}-{0xDEF:016x}-01"
    assert "traceparent" not in outside.headers


def test_a_unix_socket_is_a_way_as_well(tmp_path: Path) -> None:
    import socket

    path = str(tmp_path / "s")
    with scripted(OK) as server, socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()

        def pass_on() -> None:
            client, _ = listening.accept()
            with client, socket.create_connection(("127.0.0.1", server.port)) as inner:
                back = threading.Thread(target=_copy, args=(inner, client))
                back.start()
                _copy(client, inner)
                inner.shutdown(socket.SHUT_WR)
                back.join()

        thread = threading.Thread(target=pass_on)
        thread.start()
        with SyncHTTPClient.from_url("http://service", uds=path) as client:
            assert client.echo(0) == 1
        thread.join()
        assert server.calls[0].headers["host"] == "service"


def _copy(source: object, target: object) -> None:
    while data := source.recv(65536):
        target.sendall(data)


# -- connections -------------------------------------------------------------------------------------------------------


def test_one_connection_serves_one_call_after_the_other() -> None:
    with scripted(*[OK] * 20) as server, SyncHTTPClient.from_url(server.url) as client:
        for _ in range(20):
            client.echo(0)
        assert server.connections == 1


def test_threads_get_no_more_connections_than_are_allowed() -> None:
    with scripted(*[OK] * 40) as server, SyncHTTPClient.from_url(server.url, max_connections=2) as client:
        # Few at one time: the pool of httpcore may close a connection that another thread has just been given.
        with ThreadPoolExecutor(3) as pool:
            assert list(pool.map(client.echo, range(40))) == [1] * 40
        assert server.connections <= 2


def test_a_call_waits_for_a_connection_only_so_long() -> None:
    with scripted(reply(200, b"ab")) as server:
        options = {"max_connections": 1, "timeout": Timeouts(pool_s=0.05)}
        with SyncHTTPClient.from_url(server.url, **options) as client:
            stream = client.stream("echo", 1)
            next(stream)
            with pytest.raises(DeadlineExceeded, match=r"no connection of the pool became free \(hint: raise max_conn"):
                client.echo(1)
            stream.close()


# -- retries -----------------------------------------------------------------------------------------------------------


def test_a_refusal_is_followed_by_another_try() -> None:
    with scripted(BUSY, BUSY, OK) as server, SyncHTTPClient.from_url(server.url) as client:
        assert client.echo({"a": 1}) == 1
        assert [each.body for each in server.calls] == [b'{"a":1}'] * 3
        assert server.connections == 1


def test_refusals_without_end_are_an_error() -> None:
    with scripted(*[BUSY] * 3) as server, SyncHTTPClient.from_url(server.url, max_retries=2) as client:
        with pytest.raises(ServiceUnavailable, match="503: the server does not say why") as caught:
            client.echo(1)
        assert caught.value.retry_after_s == 0.0
        assert len(server.calls) == 3


def test_a_server_that_wants_more_time_than_there_is_gets_no_second_call() -> None:
    with scripted(reply(503, b'"later"', retry_after="60")) as server:
        with SyncHTTPClient.from_url(server.url, timeout=30) as client, pytest.raises(ServiceUnavailable) as caught:
            client.echo(1)
        assert caught.value.retry_after_s == 60.0
        assert len(server.calls) == 1


def test_other_errors_are_not_tried_again() -> None:
    with scripted(reply(500, b'""')) as server, SyncHTTPClient.from_url(server.url) as client:
        with pytest.raises(RemoteException):
            client.echo(1)
        assert len(server.calls) == 1


def test_a_call_that_may_have_been_begun_is_not_sent_again() -> None:
    with scripted(reply(200, b"1", then="cut")._replace(raw=b"")) as server:
        client = SyncHTTPClient.from_url(server.url)
        with client, pytest.raises(RemoteException, match="the connection to .*/echo ended before the answer was"):
            client.echo(1)
        assert len(server.calls) == 1


def test_a_look_at_the_health_is_tried_again() -> None:
    lost = reply(then="cut")._replace(raw=b"")
    with (
        scripted(lost, reply(503, b"Runners are not ready.\n")) as server,
        SyncHTTPClient.from_url(server.url) as client,
    ):
        health = client.health()
        assert (health.status, health.text, health.is_ready) == (503, "Runners are not ready.", False)
        assert len(server.calls) == 2


# -- what goes wrong ---------------------------------------------------------------------------------------------------


def test_an_answer_that_is_cut_off_is_no_answer() -> None:
    cut = reply(200, b"[1, 2", "cut", content_length="100")
    with scripted(cut, cut) as server, SyncHTTPClient.from_url(server.url) as client:
        with pytest.raises(RemoteException, match="ended before the answer was complete"):
            client.echo(1)
        pieces = client.stream("echo", 1)
        assert next(pieces) == b"[1, 2"
        with pytest.raises(RemoteException, match="ended before the answer was complete"):
            next(pieces)


def test_a_silent_server_is_given_up() -> None:
    silent = reply(then="silent")._replace(raw=b"")
    with scripted(silent, silent) as server:
        client = SyncHTTPClient.from_url(server.url, timeout=Timeouts(read_s=0.05))
        with (
            client,
            pytest.raises(DeadlineExceeded, match=r"did not answer in time \(timeout 300 s\) \(hint: raise the"),
        ):
            client.echo(1)
        with SyncHTTPClient.from_url(server.url, timeout=0.2) as client, pytest.raises(DeadlineExceeded, match="0.2 s"):
            client.echo(1)


def test_nobody_there_is_said_so() -> None:
    with scripted() as server:
        url = server.url
    with pytest.raises(ServiceUnavailable, match=r"cannot be reached: .* \(hint: is the server running\?"):
        SyncHTTPClient.from_url(url, max_retries=0)
    with pytest.raises(TimeoutError, match=rf"Timed out waiting 0\.01 seconds for the server at {url}: .*refused"):
        SyncHTTPClient.wait_until_server_ready(url=url, timeout=0.01)


def test_a_server_that_never_becomes_ready_is_not_waited_for_for_ever() -> None:
    refused = pytest.raises(DeadlineExceeded, match="at http://127.0.0.1:.*: Runners are not ready.")
    with scripted(*[reply(503, b"Runners are not ready.\n")] * 1000) as server, refused:
        SyncHTTPClient.wait_until_server_ready("127.0.0.1", server.port, timeout=0.05, check_interval=0.01)


@pytest.mark.parametrize("document", [b"<html>", {"openapi": "3.1.0"}])
def test_what_is_no_service_is_malformed(document: object) -> None:
    with scripted() as server:
        server.document = document
        with pytest.raises(
            BentoMLException, match=r"^Malformed OpenAPI document at /docs.json: .* \(hint: is it a Bento"
        ):
            SyncHTTPClient.from_url(server.url)


@pytest.mark.parametrize("url", ["", "http://", "ftp://host", "http://host:port", "http://host:70000", "http://h/?a=1"])
def test_what_is_no_url_is_said_so(url: str) -> None:
    with pytest.raises(InvalidArgument, match="is not the URL of an HTTP server"):
        SyncHTTPClient.from_url(url)


def test_there_is_one_kind_of_server() -> None:
    with pytest.raises(InvalidArgument, match=re.escape("there is no client of kind 'grpc' (hint: kind='http')")):
        SyncHTTPClient.from_url("http://localhost", kind="grpc")


@pytest.mark.parametrize("timeout", [0, -1.0, float("nan")])
def test_a_time_out_is_above_zero(timeout: float) -> None:
    with pytest.raises(InvalidArgument, match="the time-out total_s must be above 0 seconds"):
        SyncHTTPClient.from_url("http://localhost", timeout=timeout)


def test_without_httpx_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "httpx", None)
    with pytest.raises(exceptions.MissingDependencyException, match=r"pip install 'makunouchi\[client\]'"):
        SyncHTTPClient.from_url("http://localhost")
