"""The HTTP half of a service: connections of a listener read requests, ask a handler, write answers."""

from __future__ import annotations

from typing import Any

from bentoml._importing import import_module_named


def __getattr__(name: str) -> Any:
    # BentoML has its HTTPServer here. Ours stands above this floor, so it is found by name, when it is asked for.
    if name == "HTTPServer":
        return import_module_named("bentoml.http_server", what="bentoml.server.HTTPServer").HTTPServer
    raise AttributeError(f"module 'bentoml.server' has no attribute {name!r}")
