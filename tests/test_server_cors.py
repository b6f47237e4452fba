"""CORS: what is permitted as a table, and what a server answers to pages of other sites."""

from __future__ import annotations

import contextlib
import socket
from typing import Any

import pytest

from bentoml._http import Request, Response
from bentoml.config.http import Cors
from bentoml.server.cors import CorsPolicy
from tests._server import PATIENCE_S, Server

APP = "https://app.example"


def policy(**keys: Any) -> CorsPolicy:
    names = {name: f"access_control_{name}" for name in keys}
    return CorsPolicy(Cors(enabled=True, **{names[name]: value for name, value in keys.items()}))


def preflight(cors: CorsPolicy, origin: str = APP, method: str = "POST", headers: str = "content-type") -> Response:
    sent = {"origin": origin, "access-control-request-method": method, "access-control-request-headers": headers}
    fields = [(name.encode(), value.encode()) for name, value in sent.items()]
    return cors.preflight(Request(method="OPTIONS", raw_headers=fields))


def permitted(cors: CorsPolicy, origin: str = APP, **sent: str) -> dict[str, str]:
    """The header fields of an answer to a page of this origin."""
    response = Response(raw_headers=[(name.replace("_", "-").encode(), value.encode()) for name, value in sent.items()])
    cors.permit(origin.encode(), response)
    return {name.decode(): value.decode() for name, value in response.raw_headers}


# Decisions


@pytest.mark.parametrize(
    ("keys", "origin", "expected"),
    [
        ({"allow_origins": "*"}, APP, True),
        ({"allow_origins": ["https://other.example", "*"]}, APP, True),
        ({"allow_origins": APP}, APP, True),
        ({"allow_origins": f"https://other.example, {APP}"}, APP, True),
        ({"allow_origins": ["https://other.example", APP]}, APP, True),
        ({"allow_origins": APP}, "https://app.example.evil", False),
        ({"allow_origins": APP}, "http://app.example", False),
        ({"allow_origins": APP}, "https://app.example:8443", False),
        ({"allow_origins": APP}, "null", False),
        ({"allow_origins": "null"}, "null", True),
        ({"allow_origin_regex": r"https://.*\.example"}, "https://a.example", True),
        ({"allow_origin_regex": r"https://.*\.example"}, "https://a.example.evil", False),
        ({"allow_origin_regex": r"https://.*\.example", "allow_origins": "http://x"}, "http://x", True),
    ],
)
def test_an_origin_is_permitted_as_a_whole_or_not_at_all(keys: dict[str, Any], origin: str, expected: bool) -> None:
    cors = policy(**keys)
    assert cors.permits(origin.encode()) is expected
    assert preflight(cors, origin).status == (200 if expected else 400)
    assert ("access-control-allow-origin" in permitted(cors, origin)) is expected


@pytest.mark.parametrize(
    ("keys", "asked", "refused"),
    [
        ({}, {"headers": "content-type, accept"}, ""),
        ({}, {"headers": ""}, ""),
        ({}, {"headers": "x-mine"}, "headers"),
        ({"allow_headers": ["X-Mine"]}, {"headers": "x-mine,Content-Type"}, ""),
        ({"allow_headers": "*"}, {"headers": "x-anything"}, ""),
        ({}, {"method": "GET"}, ""),
        ({}, {"method": "DELETE"}, "method"),
        ({"allow_methods": "*"}, {"method": "DELETE"}, ""),
        ({"allow_methods": ["get"]}, {"method": "POST"}, "method"),
        ({"allow_methods": "get, put"}, {"method": "PUT"}, ""),
        ({}, {"origin": "https://evil", "method": "PUT", "headers": "x"}, "origin, method, headers"),
    ],
)
def test_a_preflight_is_refused_with_what_is_not_permitted(
    keys: dict[str, Any], asked: dict[str, str], refused: str
) -> None:
    answer = preflight(policy(allow_origins=APP, **keys), **asked)
    if not refused:
        assert (answer.status, answer.body) == (200, b"OK")
        return
    assert (answer.status, answer.body) == (400, f"Disallowed CORS {refused}".encode())
    assert answer.raw_headers == [(b"vary", b"origin")]


def test_a_preflight_says_what_is_permitted_and_for_how_long() -> None:
    answer = preflight(policy(allow_origins=APP, allow_headers=["X-Mine"], max_age=60))
    assert dict(answer.raw_headers) == {
        b"vary": b"origin",
        b"access-control-allow-origin": APP.encode(),
        b"access-control-allow-methods": b"GET, HEAD, POST",
        b"access-control-allow-headers": b"accept, accept-language, content-language, content-type, x-mine",
        b"access-control-max-age": b"60",
    }
    assert dict(preflight(policy(allow_origins="*")).raw_headers)[b"access-control-max-age"] == b"600"


def test_header_fields_of_keys_are_permitted_unless_others_are_listed() -> None:
    config = {"enabled": True, "access_control_allow_origins": APP}
    keys = ("authorization", "x-api-key")
    assert preflight(CorsPolicy(Cors(**config), key_headers=keys), headers="x-api-key").status == 200
    listing = Cors(**config, access_control_allow_headers="x-mine")
    assert preflight(CorsPolicy(listing, key_headers=keys), headers="x-api-key").status == 400


def test_everybody_is_a_star_and_one_origin_varies() -> None:
    assert permitted(policy(allow_origins="*")) == {"access-control-allow-origin": "*"}
    assert permitted(policy(allow_origins=APP)) == {"vary": "origin", "access-control-allow-origin": APP}
    assert permitted(policy(allow_origins=APP), "https://evil") == {"vary": "origin"}
    assert permitted(policy(allow_origins=APP), "") == {"vary": "origin"}


def test_a_star_never_stands_beside_credentials() -> None:
    cors = policy(allow_origins="*", allow_credentials=True, allow_headers="*", allow_methods="*")
    expected = {"vary": "origin", "access-control-allow-origin": APP, "access-control-allow-credentials": "true"}
    assert permitted(cors) == expected
    answer = dict(preflight(cors, headers="x-a, x-b").raw_headers)
    assert answer[b"access-control-allow-headers"] == b"x-a, x-b"
    assert b"*" not in b"".join(answer.values())


def test_the_configuration_outranks_what_a_function_has_set() -> None:
    answer = permitted(policy(allow_origins=APP), access_control_allow_origin="*", x_mine="1")
    assert answer == {"vary": "origin", "access-control-allow-origin": APP, "x-mine": "1"}


def test_fields_are_exposed_to_pages_that_may_read_the_answer() -> None:
    cors = policy(allow_origins=APP, expose_headers=["X-BentoML-Request-ID", "Server-Timing"])
    assert permitted(cors)["access-control-expose-headers"] == "X-BentoML-Request-ID, Server-Timing"
    assert "access-control-expose-headers" not in permitted(cors, "https://evil")


# A server


def test_a_page_of_a_permitted_site_may_ask_first_without_a_key(guarded: Server) -> None:
    asked = {
        "Origin": APP,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type,x-api-key",
    }
    answer = guarded.request("OPTIONS", "/echo", headers=asked)
    assert (answer.status, answer.headers["access-control-allow-origin"]) == (200, APP)
    assert guarded.request("OPTIONS", "/echo", headers={**asked, "Origin": "https://evil"}).status == 400


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/echo", b"1", 200),
        ("POST", "/echo", b"{", 400),
        ("POST", "/fail", b'"ZeroDivisionError"', 500),
        ("POST", "/nothing", b"1", 404),
        ("GET", "/echo", None, 405),
        ("GET", "/livez", None, 200),
        ("POST", "/count", b"3", 200),
    ],
)
def test_a_page_may_read_every_answer(
    guarded: Server, key: dict[str, str], method: str, path: str, body: bytes | None, status: int
) -> None:
    answer = guarded.request(method, path, body, {**key, "Origin": APP})
    assert (answer.status, answer.headers["access-control-allow-origin"]) == (status, APP)
    assert answer.headers["access-control-expose-headers"] == "x-bentoml-request-id"
    assert "origin" in answer.headers.get_all("vary", [])
    other = guarded.request(method, path, body, {**key, "Origin": "https://evil"})
    assert "access-control-allow-origin" not in other.headers


def test_a_page_may_read_that_its_key_is_missing(guarded: Server) -> None:
    answer = guarded.request("POST", "/echo", b"1", {"Origin": APP})
    assert (answer.status, answer.headers["access-control-allow-origin"]) == (401, APP)


def test_a_page_may_read_that_its_body_is_too_large(guarded: Server) -> None:
    with contextlib.closing(socket.create_connection(("127.0.0.1", guarded.port), PATIENCE_S)) as sock:
        sock.sendall(f"POST /echo HTTP/1.1\r\nHost: x\r\nOrigin: {APP}\r\nContent-Length: 9999999\r\n\r\n".encode())
        answer = sock.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert f"access-control-allow-origin: {APP}\r\n".encode() in answer


def test_a_page_may_read_that_its_request_took_too_long(guarded: Server, key: dict[str, str], tmp_path: Any) -> None:
    answer = guarded.post("/wait_here", str(tmp_path / "never"), {**key, "Origin": APP})
    assert (answer.status, answer.headers["access-control-allow-origin"]) == (504, APP)
    assert int(answer.headers["x-bentoml-request-id"]) > 0
