"""The Swagger UI in a real browser: it opens without the internet, and Execute shows the model's answer."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from PIL import Image

from tests import _browser
from tests._browser import execute, expanded
from tests._server import Server, serving
from tests.conftest import KEYS

pytestmark = pytest.mark.browser
SERVICES = Path(__file__).parent / "services"

Visit = Callable[..., Any]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if missing := _browser.missing():
        reason = f"{missing} is not installed, which drives the page as a person would"
        if os.environ.get("BENTOML_TEST_REQUIRE_ALL") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    with _browser.chromium() as opened:
        yield opened


@pytest.fixture
def visit(browser: Any) -> Iterator[Visit]:
    """Opens the page of a server; what it asked for and what went wrong in it are checked afterwards."""
    asked: list[str] = []
    wrong: list[str] = []
    origins = set()

    def visit(server: Server, *, password: str | None = None) -> Any:
        credentials = password and {"username": "anybody", "password": password}
        context = contexts.enter_context(contextlib.closing(browser.new_context(http_credentials=credentials)))
        page = context.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
        origins.add(f"http://127.0.0.1:{server.port}")
        page.goto(f"http://127.0.0.1:{server.port}/")
        page.get_by_text("/livez", exact=True).wait_for()
        return page

    with contextlib.ExitStack() as contexts:
        yield visit
    found = {urlsplit(url) for url in asked if not url.startswith(("data:", "blob:"))}
    assert {f"{url.scheme}://{url.netloc}" for url in found} == origins
    # The browser notes each answer of 400 and above; those are looked at in the page.
    assert [text for text in wrong if not text.startswith("Failed to load resource: the server responded")] == []


@contextlib.contextmanager
def served(service: str, folder: Path, **extra: str) -> Iterator[Server]:
    arguments = ("service:svc", "--working-dir", str(SERVICES / service), "--api-workers", "1")
    with serving(*arguments, folder=folder, home=folder / "home", extra=extra) as server:
        yield server


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with served("gallery", tmp_path_factory.mktemp("gallery")) as server:
        yield server


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    Image.new("RGB", (32, 20), "teal").save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def test_the_page_shows_the_service_and_its_apis(visit: Visit, example: Server) -> None:
    page = visit(example)
    assert page.get_by_text("/classify", exact=True).is_visible()
    assert page.title() == "credit_risk_classifier"
    for route in ("/livez", "/readyz", "/healthz", "/metrics"):
        assert page.get_by_text(route, exact=True).is_visible()
    assert page.locator(".info .title").inner_text().split() == ["credit_risk_classifier", "OAS", "3.1"]


def test_execute_sends_the_example_and_shows_the_answer(visit: Visit, example: Server) -> None:
    operation = expanded(visit(example), "credit_risk_classifier__classify")
    sent = json.loads(operation.locator("textarea").input_value())
    assert sent["seniority"] == 3, "the example of the model is filled in"
    assert "Decide on one application: APPROVED, MAYBE or DECLINED." in operation.inner_text()
    shown = execute(operation)
    assert shown.status == 200
    assert '"Status": "MAYBE"' in shown.text


def test_execute_shows_which_field_is_wrong(visit: Visit, example: Server) -> None:
    operation = expanded(visit(example), "credit_risk_classifier__classify")
    operation.locator("textarea").fill('{"seniority": "three"}')
    shown = execute(operation)
    assert shown.status == 400
    assert "seniority: Input should be a valid integer" in shown.text


def test_a_document_is_sent_as_it_was_typed(visit: Visit, gallery: Server) -> None:
    operation = expanded(visit(gallery), "gallery__quote")
    assert json.loads(operation.locator("textarea").input_value()) == {
        "visitors": 2, "exhibition": "portraits", "guide": None,
    }  # fmt: skip
    operation.locator("textarea").fill('{"visitors": 4, "exhibition": "landscapes", "guide": "French"}')
    shown = execute(operation)
    assert shown.status == 200
    assert json.loads(shown.text) == {"price": 50, "guided": True}


def test_an_image_is_taken_from_the_disk_and_described(visit: Visit, gallery: Server, photo: Path) -> None:
    operation = expanded(visit(gallery), "gallery__describe")
    assert operation.get_by_label("Request content type").input_value() == "image/png"
    operation.locator("input[type=file]").set_input_files(photo)
    shown = execute(operation)
    assert shown.status == 200
    assert json.loads(shown.text) == {"width": 32, "height": 20, "mean": "#008080"}


def test_an_image_that_is_answered_is_seen(visit: Visit, gallery: Server, photo: Path) -> None:
    operation = expanded(visit(gallery), "gallery__mirror")
    operation.locator("input[type=file]").set_input_files(photo)
    shown = execute(operation)
    assert shown.status == 200
    picture = shown.cell.locator("img")
    assert picture.evaluate("async image => (await image.decode(), [image.naturalWidth, image.naturalHeight])") == [
        32, 20,
    ]  # fmt: skip


def test_a_form_has_an_entry_for_each_field(visit: Visit, gallery: Server, photo: Path) -> None:
    operation = expanded(visit(gallery), "gallery__hang")
    assert json.loads(operation.locator("textarea").input_value()) == {"width": 8, "color": "gold"}
    assert operation.locator("input[type=text]").input_value() == "Untitled"
    operation.locator("input[type=file]").set_input_files(photo)
    operation.locator("textarea").fill('{"width": 4, "color": "silver"}')
    operation.locator("input[type=text]").fill("A lake")
    shown = execute(operation)
    assert shown.status == 200
    assert json.loads(shown.text) == {
        "title": "A lake", "size": [40, 28], "color": "silver",
    }  # fmt: skip


def test_what_is_filled_in_is_taken(visit: Visit, tmp_path: Path, photo: Path) -> None:
    with served("descriptors", tmp_path) as server:
        page = visit(server)
        for name in ("array", "array_bytes", "frame_parquet", "multipart"):
            operation = expanded(page, f"descriptors__{name}")
            for chooser in operation.locator("input[type=file]").all():
                chooser.set_input_files(photo)
            assert (name, execute(operation).status) == (name, 200)


def test_a_guarded_page_opens_with_the_key_as_password_and_calls_once_it_is_told_the_key(
    visit: Visit, guarded: Server
) -> None:
    page = visit(guarded, password=KEYS[0])
    operation = expanded(page, "kitchen__text")
    shown = execute(operation)
    assert shown.status == 401
    assert "this server asks for an API key" in shown.text
    page.locator(".auth-wrapper > .authorize").click()
    dialog = page.locator(".modal-ux")
    dialog.locator("input").first.fill(KEYS[0])
    dialog.locator("button.authorize").first.click()
    dialog.locator(".btn-done").first.click()
    shown = execute(operation)
    assert shown.status == 200
    assert shown.text == "STRING"


def test_a_guarded_page_does_not_open_with_another_password(browser: Any, guarded: Server) -> None:
    context = browser.new_context(http_credentials={"username": "anybody", "password": "guessed"})
    with contextlib.closing(context):
        assert context.new_page().goto(f"http://127.0.0.1:{guarded.port}/").status == 401
