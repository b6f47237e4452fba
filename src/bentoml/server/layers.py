"""Layers: what stands around the whole app, composed once at start; what is off is not there.

    request ──▶ the last of the list ──▶ … ──▶ the first ──▶ App: endpoints, pages, mounts

A layer makes a handler of the handler inside of it. One file each.
"""

from __future__ import annotations

from collections.abc import Callable

from bentoml.config import Config
from bentoml.server.mounts import Middlewares
from bentoml.server.shared import Handler
from bentoml.service.service import Service

__all__ = ["Layer", "layers"]

Layer = Callable[[Handler], Handler]


def layers(service: Service, config: Config) -> list[Layer]:
    """The layers that are on, the innermost first."""
    found: list[Layer] = []
    if service.middlewares:
        found.append(Middlewares(service.middlewares, body_bytes=config.api_server.http.max_body_size))
    return found
