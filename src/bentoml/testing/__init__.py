"""For the tests of services and of extensions: the contract checks of every kind of plug-in."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bentoml.testing.descriptor import HOSTILE_BODIES, check_descriptor
    from bentoml.testing.framework import check_framework

__all__ = ["HOSTILE_BODIES", "check_descriptor", "check_framework"]

_MODULES = {"HOSTILE_BODIES": "descriptor", "check_descriptor": "descriptor", "check_framework": "framework"}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
