"""Layers: what stands around the whole app, composed once at start; what is off is not there.

    request ──▶ the last of the list ──▶ … ──▶ the first ──▶ App: endpoints, pages, mounts

A layer makes a handler of the handler inside of it. One file each.
"""

from __future__ import annotations

from collections.abc import Callable

from bentoml._trace_context import new_span_id
from bentoml.config import Config
from bentoml.server.auth import KEY_HEADERS, Refused, auth_layer
from bentoml.server.compression import gzip_layer
from bentoml.server.cors import CorsPolicy, cors_layer
from bentoml.server.shared import Handler
from bentoml.service.service import Service

__all__ = ["Layer", "cors_policy", "layers"]

Layer = Callable[[Handler], Handler]


def layers(service: Service, config: Config, *, cors: CorsPolicy | None, refused: Refused) -> list[Layer]:
    """The layers that are on, the innermost first.

    Args:
        cors: see `cors_policy`.
        refused: finishes and notes an answer that a layer gives in place of the app.
    """
    server = config.api_server
    found: list[Layer] = []
    if server.http.response.gzip.enabled:
        found.append(gzip_layer(server.http.response.gzip))
    if server.auth.is_on:
        found.append(auth_layer(server.auth, new_id=new_span_id, refused=refused))
    # Around the keys: a browser asks for permission without them, and a page must be able to read that one is missing.
    if cors is not None:
        found.append(cors_layer(cors))
    return found


def cors_policy(config: Config) -> CorsPolicy | None:
    """What pages of other sites may do; None: nothing, and no answer speaks of it."""
    server = config.api_server
    if not server.http.cors.enabled:
        return None
    return CorsPolicy(server.http.cors, key_headers=KEY_HEADERS if server.auth.is_on else ())
