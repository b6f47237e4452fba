"""The pages that need no model."""

from __future__ import annotations

import re

import bentoml
from bentoml._http import Request
from bentoml.server.pages import pages
from tests._server import Server


def test_the_page_names_nothing_outside_of_this_server(kitchen: Server) -> None:
    html = kitchen.get("/").body.decode()
    found = re.findall(r'(?:src|href|url)\s*[=:]\s*"([^"]+)"', html)
    assert found
    assert all(reference.startswith("./") for reference in found)
    for reference in found:
        assert kitchen.get(reference.removeprefix(".")).status == 200


def test_the_page_is_titled_with_the_services_name(kitchen: Server) -> None:
    assert b"<title>kitchen</title>" in kitchen.get("/").body


def test_assets_have_their_types_and_may_be_kept(kitchen: Server) -> None:
    answer = kitchen.get("/static_content/swagger-ui-bundle.js")
    assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
    assert answer.headers["cache-control"] == "max-age=3600"
    assert len(answer.body) > 1_000_000


def test_no_file_beside_the_assets_is_served(kitchen: Server) -> None:
    for path in ("LICENSE.swagger-ui", "../app.py", "..%2fapp.py", "%2e%2e/app.py", ""):
        assert kitchen.get(f"/static_content/{path}").status == 404


def test_without_metrics_the_document_has_none() -> None:
    found = pages(bentoml.Service("s"), metrics=False)
    assert b"/metrics" not in found["/docs.json"](Request()).body  # type: ignore[operator]
    assert "/metrics" not in found
