"""The Swagger UI in a real browser: it opens without the internet, and Execute shows the model's answer.

BENTOML_TEST_SCREENSHOT=1 saves the picture of it that the documentation shows.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests._server import Server

PICTURE = Path(__file__).parents[1] / "docs" / "images" / "swagger-ui.png"
pytestmark = pytest.mark.browser

#: No sandbox, as containers let none be made; and nothing that a browser does by itself on the network.
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    missing = "Chromium" if not (path := shutil.which("chromium") or shutil.which("chromium-browser")) else ""
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError:
        missing = "playwright"
    if missing:
        reason = f"{missing} is not installed, which drives the page as a person would"
        if os.environ.get("BENTOML_TEST_REQUIRE_ALL") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Any, example: Server) -> Iterator[Any]:
    """The page, opened; what it asked for and what went wrong in it are checked afterwards."""
    context = browser.new_context(viewport={"width": 1100, "height": 1000})
    opened = context.new_page()
    asked: list[str] = []
    wrong: list[str] = []
    opened.on("request", lambda request: asked.append(request.url))
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on(
        "console",
        lambda message: (
            wrong.append(message.text) if message.type == "error" and "400 (Bad Request)" not in message.text else None
        ),
    )
    opened.goto(f"http://127.0.0.1:{example.port}/")
    yield opened
    context.close()
    assert {urlsplit(url).hostname for url in asked if not url.startswith("data:")} == {"127.0.0.1"}
    assert wrong == []


def test_the_page_shows_the_service_and_its_apis(page: Any) -> None:
    page.get_by_text("/classify", exact=True).wait_for()
    assert page.title() == "credit_risk_classifier"
    for route in ("/livez", "/readyz", "/healthz", "/metrics"):
        assert page.get_by_text(route, exact=True).is_visible()


def test_execute_sends_the_example_and_shows_the_answer(page: Any) -> None:
    page.locator(".opblock-post .opblock-summary").click()
    sent = json.loads(page.locator(".opblock-post textarea").input_value())
    assert sent["seniority"] == 3, "the example of the model is filled in"
    assert "Decide on one application: APPROVED, MAYBE or DECLINED." in page.locator(".opblock-post").inner_text()
    with page.expect_response("**/classify") as answered:
        page.locator(".opblock-post button.execute").click()
    assert answered.value.status == 200
    live = page.locator(".opblock-post .live-responses-table .response")
    live.wait_for()
    assert live.locator(".response-col_status").inner_text().startswith("200")
    assert '"Status": "MAYBE"' in live.locator("code").first.inner_text()
    if os.environ.get("BENTOML_TEST_SCREENSHOT") == "1":
        PICTURE.parent.mkdir(parents=True, exist_ok=True)
        page.set_viewport_size({"width": 1100, "height": 1680})
        page.screenshot(path=PICTURE)


def test_execute_shows_which_field_is_wrong(page: Any) -> None:
    page.locator(".opblock-post .opblock-summary").click()
    page.locator(".opblock-post textarea").fill('{"seniority": "three"}')
    with page.expect_response("**/classify") as answered:
        page.locator(".opblock-post button.execute").click()
    assert answered.value.status == 400
    live = page.locator(".opblock-post .live-responses-table .response")
    live.wait_for()
    assert "seniority: Input should be a valid integer" in live.inner_text()
