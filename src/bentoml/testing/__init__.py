"""For the tests of services and of extensions: a server in a thread or a process, and contract checks of plug-ins.

`pytest_plugins = ["bentoml.testing.fixtures"]` in a conftest.py enables two fixtures: `bentoml_home`, an empty store,
and `bentoml_serve`, which serves until the test ends.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bentoml.testing.descriptor import HOSTILE_BODIES, check_descriptor
    from bentoml.testing.framework import check_framework
    from bentoml.testing.requests import FormFile, async_request, parse_multipart_form
    from bentoml.testing.serving import Served, serve

__all__ = [
    "HOSTILE_BODIES",
    "FormFile",
    "Served",
    "async_request",
    "check_descriptor",
    "check_framework",
    "parse_multipart_form",
    "serve",
]

_MODULES = {
    "HOSTILE_BODIES": "descriptor",
    "FormFile": "requests",
    "Served": "serving",
    "async_request": "requests",
    "check_descriptor": "descriptor",
    "check_framework": "framework",
    "parse_multipart_form": "requests",
    "serve": "serving",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
