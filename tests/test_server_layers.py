"""Layers: what is off is not there, and in which order the others stand."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

import bentoml
from bentoml._http import Request, Response
from bentoml.config import Config
from bentoml.server.app import App

KEYS = {"auth": {"api_keys": ["k"]}}
CORS = {"http": {"cors": {"enabled": True, "access_control_allow_origins": "https://a.example"}}}


def app(**api_server: object) -> App:
    config = msgspec.convert({"api_server": api_server}, Config)
    return App(bentoml.Service("layered"), config, is_ready=lambda: None, access_log=None)


def ask(served: App, request: Request) -> Response:
    async def main() -> Response:
        answer = served(request)
        return answer if isinstance(answer, Response) else await answer

    return asyncio.run(main())


def test_without_layers_the_listener_calls_the_route_itself() -> None:
    served = app()
    assert served.handle == served._route


@pytest.mark.parametrize("path", ["/livez", "/docs.json", "/nothing"])
def test_pages_behind_keys_are_still_answered_at_once(path: str) -> None:
    assert isinstance(app(**KEYS)(Request(method="GET", path=path, raw_headers=[(b"x-api-key", b"k")])), Response)


def test_cors_stands_around_the_keys() -> None:
    served = app(**KEYS, **CORS)
    origin = (b"origin", b"https://a.example")
    preflight = Request(method="OPTIONS", raw_headers=[origin, (b"access-control-request-method", b"POST")])
    assert ask(served, preflight).status == 200
    refused = ask(served, Request(raw_headers=[origin]))
    assert refused.status == 401
    assert (b"access-control-allow-origin", b"https://a.example") in refused.raw_headers
