"""API keys: who is let in, and that nobody else is, wherever they knock."""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from bentoml._http import Request, Response
from bentoml.config.http import Auth
from bentoml.exceptions import BentoMLConfigException
from bentoml.server.auth import ApiKeys, auth_layer
from tests._server import Server, started, until
from tests.conftest import KEYS


def basic(password: str, user: str = "me") -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def request(method: str = "POST", path: str = "/echo", **headers: str) -> Request:
    fields = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request(method=method, path=path, raw_headers=fields)


# Decisions


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (request(authorization="Bearer first"), True),
        (request(authorization="bearer  second "), True),
        (request(x_api_key="second"), True),
        (request(authorization="Token other", x_api_key="first"), True),
        (request(authorization="Bearer wrong", x_api_key="first"), True),
        (request(), False),
        (request(authorization="Bearer"), False),
        (request(authorization="Bearer "), False),
        (request(authorization="first"), False),
        (request(authorization="Bearer firs"), False),
        (request(authorization="Bearer first1"), False),
        (request(authorization="Bearer FIRST"), False),
        (request(x_api_key=""), False),
        (request(x_api_key="f\xfcrst"), False),
        (request("GET", authorization=basic("first")), True),
        (request("HEAD", authorization=basic("second", "")), True),
        (request("GET", authorization=basic("wrong")), False),
        (request("GET", authorization="Basic first"), False),
        (request("GET", authorization="Basic !"), False),
        (request("POST", authorization=basic("first")), False),
    ],
)
def test_a_request_is_let_in_with_one_of_the_keys(given: Request, expected: bool) -> None:
    assert ApiKeys(["first", "second"]).permit(given) is expected


def ask(config: Auth, given: Request) -> Response:
    """What the layer answers; the app inside answers 200."""
    noted: list[int] = []

    def note(request: Request, response: Response, request_id: int) -> Response:
        noted.append(request_id)
        return response

    async def inner(request: Request) -> Response:
        return Response(b"in")

    async def main() -> Response:
        answer = auth_layer(config, new_id=lambda: 7, refused=note)(inner)(given)
        return answer if isinstance(answer, Response) else await answer

    response = asyncio.run(main())
    assert noted == ([] if response.status == 200 else [7]), "what is refused is counted and logged"
    return response


@pytest.mark.parametrize(
    ("given", "challenges"),
    [
        (request(), [b"Bearer"]),
        (request("GET", "/"), [b"Bearer"]),
        (request("GET", "/", accept="text/html,*/*"), [b"Bearer", b'Basic realm="API key as password"']),
        (request("POST", "/", accept="text/html"), [b"Bearer"]),
    ],
)
def test_only_a_browser_that_opens_a_page_is_asked_for_a_password(given: Request, challenges: list[bytes]) -> None:
    response = ask(Auth(api_keys=["k"]), given)
    assert (response.status, response.content_type) == (401, b"application/json")
    assert response.raw_headers == [(b"www-authenticate", challenge) for challenge in challenges]
    assert isinstance(response.body, bytes)
    assert json.loads(response.body) == (
        "this server asks for an API key: expected `Authorization: Bearer <key>` or `X-API-Key: <key>`"
    )


# A function of the user's


CHECKS = """
import bentoml
from bentoml.exceptions import BentoMLException

class Forbidden(BentoMLException):
    error_code = 403

class Unauthorized(BentoMLException):
    error_code = 401

def plain(request):
    return verdict(request)

async def asynchronous(request):
    return verdict(request)

class Checker:
    async def __call__(self, request):
        return verdict(request)

    def method(self, request):
        return verdict(request)

checker = Checker()
number = 3

def verdict(request):
    wish = request.headers.get("X-Wish")
    if wish == "yes":
        return True
    if wish == "nothing":
        return None
    if wish == "text":
        return "yes"
    if wish == "forbidden":
        raise Forbidden("secret reason")
    if wish == "unauthorized":
        raise Unauthorized("secret reason")
    if wish == "crash":
        raise ZeroDivisionError("secret reason")
    return request.method == "GET" and request.path == "/open" and request.query_params.get("a") == "b"
"""


@pytest.fixture(scope="module", autouse=True)
def _checks(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("checks")
    (folder / "own_checks.py").write_text(CHECKS)
    sys.path.insert(0, str(folder))
    yield
    sys.path.remove(str(folder))


@pytest.mark.parametrize("name", ["plain", "asynchronous", "checker", "checker.method"])
@pytest.mark.parametrize(
    ("wish", "status"),
    [
        ("yes", 200),
        ("nothing", 401),
        ("no", 401),
        ("text", 500),
        ("forbidden", 403),
        ("unauthorized", 401),
        ("crash", 500),
    ],
)
def test_a_function_decides_and_whatever_goes_wrong_in_it_lets_nobody_in(name: str, wish: str, status: int) -> None:
    response = ask(Auth(callable=f"own_checks:{name}"), request(x_wish=wish))
    assert response.status == status
    assert isinstance(response.body, bytes)
    assert b"secret" not in response.body
    challenged = [value for field, value in response.raw_headers if field == b"www-authenticate"]
    assert challenged == ([b"Bearer"] if status == 401 else [])


def test_a_function_sees_headers_method_path_and_query() -> None:
    given = Request(method="GET", path="/open", query_string=b"a=b")
    assert ask(Auth(callable="own_checks:plain"), given).status == 200


def test_the_probes_do_not_ask_the_function() -> None:
    for path in ("/livez", "/healthz", "/readyz"):
        for name in ("plain", "asynchronous"):
            assert ask(Auth(callable=f"own_checks:{name}"), request("GET", path, x_wish="crash")).status == 200


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "no_such_module:check",
            "`api_server.auth.callable`: no_such_module:check cannot be imported: No module named 'no_such_module' "
            "(hint: the module must be importable from the working directory of the service)",
        ),
        (
            "own_checks:missing",
            "`api_server.auth.callable`: own_checks:missing cannot be imported: module 'own_checks' has no attribute "
            "'missing' (hint: the module must be importable from the working directory of the service)",
        ),
        ("own_checks:number", "`api_server.auth.callable`: own_checks:number is no function but of type int"),
    ],
)
def test_a_function_that_is_none_is_refused(name: str, said: str) -> None:
    with pytest.raises(BentoMLConfigException) as raised:
        auth_layer(Auth(callable=name), new_id=int, refused=lambda request, response, number: response)
    assert str(raised.value) == said


def test_a_server_whose_function_is_none_says_so_and_ends(tmp_path: Path) -> None:
    (tmp_path / "service.py").write_text("import bentoml\nsvc = bentoml.Service('s')\n")
    extra = {"BENTOML_CONFIG_OPTIONS": "api_server.auth.callable=nowhere:check", "BENTOML_API_WORKERS": "1"}
    with started("service:svc", folder=tmp_path, home=tmp_path, extra=extra) as server:
        assert server.wait() == 1
        assert "`api_server.auth.callable`: nowhere:check cannot be imported" in server.log


# A server


@pytest.mark.parametrize("way", ["Bearer", "X-API-Key"])
@pytest.mark.parametrize("key", KEYS)
def test_each_key_opens_everything_in_both_ways(guarded: Server, way: str, key: str) -> None:
    headers = {"Authorization": f"Bearer {key}"} if way == "Bearer" else {way: key}
    assert guarded.post("/echo", 1, headers).value == 1
    for path in ("/", "/docs.json", "/metrics", "/static_content/swagger-ui.css"):
        assert guarded.request("GET", path, headers=headers).status == 200


@pytest.mark.parametrize(
    "path", ["/", "/docs.json", "/metrics", "/static_content/swagger-ui.css", "/echo", "/nothing", "//livez", "/livez/"]
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "OPTIONS", "PUT"])
@pytest.mark.parametrize("headers", [{}, {"X-API-Key": "wrong"}], ids=["none", "wrong"])
def test_nobody_else_gets_anything(guarded: Server, method: str, path: str, headers: dict[str, str]) -> None:
    answer = guarded.request(method, path, headers=headers)
    assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert int(answer.headers["x-bentoml-request-id"]) > 0


@pytest.mark.parametrize("path", ["/livez", "/healthz", "/readyz"])
def test_probes_need_no_key(guarded: Server, path: str) -> None:
    assert guarded.get(path).status == guarded.request("HEAD", path).status == 200


def test_a_browser_opens_the_page_with_the_key_as_password_and_posts_nothing_with_it(guarded: Server) -> None:
    asked = guarded.request("GET", "/", headers={"Accept": "text/html"})
    assert asked.headers.get_all("www-authenticate") == ["Bearer", 'Basic realm="API key as password"']
    password = {"Authorization": basic(KEYS[0])}
    assert guarded.request("GET", "/", headers=password).status == 200
    assert guarded.post("/echo", 1, password).status == 401


def test_refusals_are_counted_and_logged(guarded: Server, key: dict[str, str]) -> None:
    def refused(endpoint: str) -> float:
        text = guarded.request("GET", "/metrics", headers=key).body.decode()
        marks = (f'endpoint="{endpoint}"', 'http_response_code="401"', "guarded_request_total{")
        return sum(float(line.split()[-1]) for line in text.splitlines() if all(mark in line for mark in marks))

    before = refused("/array"), refused("(unknown)")
    answer = guarded.request("POST", "/array", b"[]")
    guarded.request("POST", "/some/nonsense", b"[]")
    assert (refused("/array"), refused("(unknown)")) == (before[0] + 1, before[1] + 1)
    number = answer.headers["x-bentoml-request-id"]
    entry = until(
        lambda: next((line for line in guarded.log.splitlines() if f'"request_id":"{number}"' in line), None),
        "the line of the refusal",
    )
    shown = json.loads(entry)
    assert (shown["path"], shown["status"], shown["method"]) == ("/array", 401, "POST")


def test_the_document_says_how_to_send_a_key(guarded: Server, key: dict[str, str]) -> None:
    document = guarded.request("GET", "/docs.json", headers=key).value
    schemes = document["components"]["securitySchemes"]
    assert (schemes["bearer"]["scheme"], schemes["apiKey"]["name"]) == ("bearer", "X-API-Key")
    assert document["security"] == [{"bearer": []}, {"apiKey": []}]
    assert document["paths"]["/livez"]["get"]["security"] == []
    assert "security" not in document["paths"]["/echo"]["post"]
    assert "401" in document["paths"]["/echo"]["post"]["responses"]


def test_no_key_is_in_the_log(guarded: Server, key: dict[str, str]) -> None:
    guarded.post("/fail", "ZeroDivisionError", key)
    guarded.said("ZeroDivisionError")
    assert not any(each in guarded.log for each in KEYS)


def test_without_keys_the_document_speaks_of_none(kitchen: Server) -> None:
    document = kitchen.get("/docs.json").value
    assert "security" not in document
    assert "securitySchemes" not in document["components"]
    assert "401" not in document["paths"]["/echo"]["post"]["responses"]
