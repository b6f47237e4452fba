"""Waiting for a server: what every client does between two looks at `/readyz`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from bentoml.client.options import base_url
from bentoml.exceptions import DeadlineExceeded

if TYPE_CHECKING:
    import httpx

__all__ = ["NotReady", "pause_before_look", "server_at", "why_not_ready"]


class NotReady(DeadlineExceeded, TimeoutError):
    """A server did not become ready in time; a TimeoutError too, which is what BentoML raises here."""


def server_at(host: str, port: int, url: str | None) -> str:
    """The URL of a server given by host and port, or by its URL."""
    shown = f"[{host}]" if ":" in host and not host.startswith("[") else host
    return base_url(f"http://{shown}:{port}" if url is None else url)


def why_not_ready(answer: httpx.Response) -> str | None:
    """None if the server is ready, else its reason."""
    return None if answer.status_code == 200 else answer.text.strip() or f"it answers {answer.status_code}"


def pause_before_look(url: str, deadline_s: float, timeout_s: float, interval_s: float, reason: str) -> float:
    """Seconds until the next look.

    Args:
        deadline_s: of `time.monotonic()`.

    Raises:
        NotReady: the time is over.
    """
    pause_s = min(interval_s, deadline_s - time.monotonic())
    if pause_s <= 0:
        raise NotReady(f"Timed out waiting {timeout_s:g} seconds for the server at {url}: {reason}")
    return pause_s
