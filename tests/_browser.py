"""A real Chromium, and what a visitor does in the Swagger UI: for the tests and for scripts/screenshots.py."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from typing import Any, NamedTuple

__all__ = ["Shown", "chromium", "execute", "expanded", "missing"]

#: No sandbox, as containers let none be made; and nothing that a browser does by itself on the network.
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip


class Shown(NamedTuple):
    """What the page shows of an answer, in `cell`: its body, then its headers."""

    status: int
    cell: Any

    @property
    def text(self) -> str:
        """The body, as it is shown."""
        return str(self.cell.locator("code").first.inner_text())


def _chromium() -> str | None:
    return shutil.which("chromium") or shutil.which("chromium-browser")


def missing() -> str | None:
    """What is not installed that `chromium` needs."""
    try:
        import playwright.sync_api  # noqa: F401
    except ModuleNotFoundError:
        return "playwright"
    return None if _chromium() else "Chromium"


@contextlib.contextmanager
def chromium(*flags: str) -> Iterator[Any]:
    """A browser of playwright, closed after the block."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=_chromium(), args=[*FLAGS, *flags])
        yield browser
        browser.close()


def expanded(page: Any, name: str) -> Any:
    """The operation of an API, opened by a click: ready to be filled in, as "Try it out" needs none."""
    operation = page.locator(f"[id='operations-Service_APIs-{name}']")
    operation.locator(".opblock-summary").click()
    operation.locator("button.execute").wait_for()
    return operation


def execute(operation: Any) -> Shown:
    """Click on Execute, and read the answer from the page."""
    with operation.page.expect_response(lambda response: response.request.method == "POST") as answered:
        operation.locator("button.execute").click()
    live = operation.locator(".live-responses-table .response")
    status = live.locator(".response-col_status", has_text=str(answered.value.status))
    status.wait_for()
    return Shown(int(status.inner_text().split()[0]), live.locator(".response-col_description"))
